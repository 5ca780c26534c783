//! Purging: what has expired goes, in slices between which sends pass; and the guard against a clock that lies.

use serde::{Deserialize, Serialize};
use tokio::sync::MutexGuard;

use super::{Error, Relay, Result};
use crate::protocol::ErrorCode;
use crate::protocol::time::{DAY, WEEK};
use crate::store::PurgeSlice;

/// What the operator, or the schedule, asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PurgeRequest {
    /// Only say what would go.
    #[serde(default)]
    pub dry_run: bool,
    /// Also what is older than so many seconds, reckoned from its expiry as if it had been sent for the whole retention.
    #[serde(default)]
    pub older_than_secs: Option<u64>,
    /// Believe the wall clock, though it jumped.
    #[serde(default)]
    pub trust_clock: bool,
}

/// What a purge did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeReport {
    /// Nothing was removed: this is what would be.
    pub dry_run: bool,
    /// Envelopes removed.
    pub envelopes: u64,
    /// Bytes of their bodies.
    pub envelope_bytes: u64,
    /// Expired tokens and passes, and accounts that nobody visited.
    pub others: u64,
    /// Envelopes that still wait.
    pub waiting: u64,
    /// Length of the database file before.
    pub database_bytes_before: u64,
    /// And after.
    pub database_bytes_after: u64,
}

impl Relay {
    /// Sets the clock by the store's latest time: it never goes back past that. When the wall clock is so far ahead that most
    /// of what waits would be gone at once, it is not believed, until the operator says that it is right.
    pub(crate) async fn set_clock(&self) -> Result<()> {
        let (clock, store) = (&self.inner.clock, &self.inner.store);
        let wall = clock.wall();
        let latest = store.clock_mark(0).await?;
        if latest > wall {
            clock.hold_at(latest);
            tracing::warn!(
                behind_secs = latest - wall,
                "the wall clock is behind the database; the relay's clock runs on from there"
            );
            return Ok(());
        }
        if latest > 0 && wall - latest > DAY && store.mostly_expired(wall, GUARD_ENVELOPES).await? {
            clock.hold_at(latest);
            tracing::error!(
                ahead_secs = wall - latest,
                "the wall clock is far ahead of the database and most of what waits would expire; nothing expires until \
                 `restante purge --trust-clock` says that the clock is right"
            );
            return Ok(());
        }
        store.clock_mark(wall).await?;
        Ok(())
    }

    /// Removes what has expired, after the purge that runs, if one does; `progress` hears of every slice.
    pub async fn purge(&self, request: PurgeRequest, progress: impl FnMut(&PurgeSlice) + Send) -> Result<PurgeReport> {
        let turn = self.inner.purging.lock().await;
        self.purge_in_turn(turn, request, progress).await
    }

    /// The same for the schedule: refused as busy when one runs, which does what this would.
    pub async fn purge_unless_running(&self) -> Result<PurgeReport> {
        let turn = self.inner.purging.try_lock().map_err(|_| Error::refused(ErrorCode::Busy, "a purge is running"))?;
        self.purge_in_turn(turn, PurgeRequest::default(), |_| {}).await
    }

    async fn purge_in_turn(
        &self,
        _turn: MutexGuard<'_, ()>,
        request: PurgeRequest,
        mut progress: impl FnMut(&PurgeSlice) + Send,
    ) -> Result<PurgeReport> {
        let retention = self.inner.settings.retention_secs;
        if request.older_than_secs.is_some_and(|secs| secs > retention) {
            let detail = format!("nothing is older than the retention of {retention} s");
            return Err(Error::refused(ErrorCode::BadRequest, detail));
        }
        let store = &self.inner.store;
        if request.trust_clock {
            self.inner.clock.trust_wall();
        }
        let now = self.now();
        let cutoff = now + request.older_than_secs.map_or(0, |secs| retention - secs);
        // Nothing expires at 0. Totals of accounts and tokens would be counted here every few minutes, for nobody.
        let before = store.purge_preview(0).await?;
        let mut report = PurgeReport {
            dry_run: request.dry_run,
            waiting: before.waiting,
            database_bytes_before: before.database_bytes,
            database_bytes_after: before.database_bytes,
            ..PurgeReport::default()
        };
        if request.dry_run {
            let preview = store.purge_preview(cutoff).await?;
            report.envelopes = preview.envelopes;
            report.envelope_bytes = preview.bytes;
            report.waiting = preview.waiting - preview.envelopes;
            return Ok(report);
        }
        store.clock_mark(now).await?;
        let unseen_week = (now / WEEK).saturating_sub(self.limits().account_unseen_days.div_ceil(7));
        loop {
            let slice = store.purge_slice(cutoff, unseen_week, now).await?;
            report.envelopes += slice.envelopes;
            report.envelope_bytes += slice.bytes;
            report.others += slice.others;
            progress(&slice);
            if slice.done {
                break;
            }
        }
        store.purged(now).await?;
        let after = store.purge_preview(0).await?;
        report.waiting = after.waiting;
        report.database_bytes_after = after.database_bytes;
        self.inner.health.purged(self.inner.clock.elapsed());
        Ok(report)
    }
}

/// Below so many envelopes a jump of the clock cannot do much, and the guard would only be in the way.
const GUARD_ENVELOPES: u64 = 1_000;
