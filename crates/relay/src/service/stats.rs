//! Totals for the operator; never anything about one account.

use serde::{Deserialize, Serialize};

use super::{Relay, Result};
pub use crate::store::{TableRows, Totals};

/// What `restante stats` shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// What the store counts.
    #[serde(flatten)]
    pub totals: Totals,
    /// Hours that the oldest envelope has waited at most, reckoned from its expiry.
    pub oldest_wait_hours: Option<u64>,
    /// The wall clock jumped and is not believed.
    pub clock_doubted: bool,
    /// All clients seem to come through one proxy that is not named in `server.trusted_proxies`.
    pub proxy_suspected: bool,
    /// The relay's time.
    pub now: u64,
}

impl Relay {
    /// Totals.
    pub async fn stats(&self) -> Result<Stats> {
        let totals = self.inner.store.totals().await?;
        let now = self.now();
        let arrived = totals.first_expires_at.map(|expiry| expiry.saturating_sub(self.inner.settings.retention_secs));
        Ok(Stats {
            oldest_wait_hours: arrived.map(|arrived| now.saturating_sub(arrived) / 3_600),
            clock_doubted: self.inner.clock.doubted(),
            proxy_suspected: self.proxy_suspected(),
            now,
            totals,
        })
    }

    /// At most `limit` rows of every table, as they lie on disk: what somebody who takes the disk would see.
    pub async fn explain(&self, limit: u64) -> Result<Vec<TableRows>> {
        Ok(self.inner.store.rows(limit.min(EXPLAIN_ROWS_MAX)).await?)
    }
}

/// Rows of a table that are shown at most.
const EXPLAIN_ROWS_MAX: u64 = 100;
