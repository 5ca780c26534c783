//! What the relay's own jobs ask for: purge, the clock's mark, a probe.

use async_trait::async_trait;
use rusqlite::Result as SqlResult;

use super::SqliteStore;
use super::expiry::{self, Plan};
use super::queue::Lane;
use super::slices::{self, Budget};
use super::values::{blob, int, uint};
use super::writer::Tx;
use crate::protocol::TokenHash;
use crate::store::{PurgePreview, PurgeSlice, Result, StoreError, TableRows, Totals, Upkeep};

#[async_trait]
impl Upkeep for SqliteStore {
    async fn purge_slice(&self, cutoff: u64, unseen_week: u64, now: u64) -> Result<PurgeSlice> {
        let mut going = self.purge.lock().await;
        let plan = match going.take().filter(|plan| plan.goes_on(cutoff)) {
            Some(plan) => plan,
            None => Plan::read(self, cutoff).await?,
        };
        // From the same plan each time: the writer may have to do it twice.
        let slice = self.write_and_rest(move |tx| {
            let mut plan = plan.clone();
            Ok((purge_slice(tx, &mut plan, cutoff, unseen_week, now)?, plan))
        });
        let (slice, plan) = slice.await?;
        *going = Some(plan).filter(|_| !slice.done);
        Ok(slice)
    }

    async fn purge_preview(&self, cutoff: u64) -> Result<PurgePreview> {
        self.preview(cutoff).await
    }

    async fn mostly_expired(&self, cutoff: u64, least: u64) -> Result<bool> {
        self.most_expired(cutoff, least).await
    }

    async fn purged(&self, now: u64) -> Result<()> {
        let note = self.write(Lane::Urgent, 0, move |tx| {
            let mut note = tx.connection.prepare_cached(
                "UPDATE relay
                 SET purged_at = ?1",
            )?;
            note.execute([int(now)])
        });
        note.await?;
        // As many turns as the first one wants: others free pages meanwhile, too.
        let mut turns = None;
        while turns != Some(0)
            && let Some(free) = self.write_and_rest(give_back).await?
        {
            turns = Some(turns.map_or(free / FREE_PAGES_A_SLICE, |left| left - 1));
        }
        self.queue.truncate()?.await.unwrap_or_else(|_| self.fate.check().and(Err(StoreError::Closing)))
    }

    async fn totals(&self) -> Result<Totals> {
        self.count().await
    }

    async fn clock_mark(&self, now: u64) -> Result<u64> {
        self.write(Lane::Urgent, 0, move |tx| {
            let mut find = tx.connection.prepare_cached("SELECT clock_mark FROM relay")?;
            let latest = find.query_row([], |row| uint(row, 0))?;
            if now > latest {
                let mut note = tx.connection.prepare_cached(
                    "UPDATE relay
                     SET clock_mark = ?1",
                )?;
                note.execute([int(now)])?;
            }
            Ok(latest.max(now))
        })
        .await
    }

    async fn probe(&self) -> Result<()> {
        self.write(Lane::Urgent, 0, |_| Ok(())).await
    }

    async fn rows(&self, limit: u64) -> Result<Vec<TableRows>> {
        self.tables(limit).await
    }
}

fn purge_slice(tx: &mut Tx<'_>, plan: &mut Plan, cutoff: u64, unseen_week: u64, now: u64) -> SqlResult<PurgeSlice> {
    let (mut budget, mut slice) = (Budget::new(), PurgeSlice::default());
    // In this order: each goes on only when the one before found no more.
    slice.done = plan.remove(tx, &mut budget, &mut slice)?
        && plan.last
        && purge_tokens(tx, &mut budget, &mut slice, now)?
        && purge_passes(tx, &mut budget, &mut slice, now)?
        && purge_handles(tx, &mut budget, &mut slice, now)?
        && purge_accounts(tx, &mut budget, &mut slice, unseen_week)?
        && !slices::leftovers(tx, &mut budget)?;
    if slice.done {
        expiry::ended(tx.connection, cutoff)?;
    }
    Ok(slice)
}

/// True when none is left.
fn purge_tokens(tx: &mut Tx<'_>, budget: &mut Budget, slice: &mut PurgeSlice, now: u64) -> SqlResult<bool> {
    let connection = tx.connection;
    let mut select = connection.prepare_cached(
        "SELECT hash
         FROM tokens
         WHERE expires_at <= ?1
         LIMIT ?2",
    )?;
    let hashes = select.query_and_then([int(now), int(budget.rows() as u64 + 1)], |row| blob(row, 0).map(TokenHash))?;
    for hash in hashes.collect::<SqlResult<Vec<_>>>()? {
        if !budget.take() {
            return Ok(false);
        }
        slices::delete_token(tx, hash)?;
        slice.others += 1;
    }
    Ok(true)
}

/// True when none is left.
fn purge_passes(tx: &mut Tx<'_>, budget: &mut Budget, slice: &mut PurgeSlice, now: u64) -> SqlResult<bool> {
    let connection = tx.connection;
    let mut select = connection.prepare_cached(
        "SELECT hash
         FROM passes
         WHERE expires_at <= ?1
         LIMIT ?2",
    )?;
    let hashes = select.query_and_then([int(now), int(budget.rows() as u64 + 1)], |row| blob::<32>(row, 0))?;
    for hash in hashes.collect::<SqlResult<Vec<_>>>()? {
        if !budget.take() {
            return Ok(false);
        }
        let mut delete = connection.prepare_cached(
            "DELETE FROM passes
             WHERE hash = ?1",
        )?;
        delete.execute([hash])?;
        slice.others += 1;
    }
    Ok(true)
}

/// Those that were held for long enough; true when none is left.
fn purge_handles(tx: &mut Tx<'_>, budget: &mut Budget, slice: &mut PurgeSlice, now: u64) -> SqlResult<bool> {
    let connection = tx.connection;
    let mut select = connection.prepare_cached(
        "SELECT id
         FROM handles
         WHERE held_until <= ?1
         LIMIT ?2",
    )?;
    let ids = select.query_and_then([int(now), int(budget.rows() as u64 + 1)], |row| row.get::<_, i64>(0))?;
    for id in ids.collect::<SqlResult<Vec<_>>>()? {
        if !budget.take() {
            return Ok(false);
        }
        slices::delete_handle(tx, id)?;
        slice.others += 1;
    }
    Ok(true)
}

/// Accounts none of whose devices came since `unseen_week`; true when none is left.
fn purge_accounts(tx: &mut Tx<'_>, budget: &mut Budget, slice: &mut PurgeSlice, unseen_week: u64) -> SqlResult<bool> {
    let connection = tx.connection;
    let mut select = connection.prepare_cached(UNSEEN_ACCOUNTS)?;
    let values = [int(unseen_week), int(budget.rows() as u64 + 1)];
    let accounts = select.query_and_then(values, |row| row.get::<_, i64>(0))?;
    for account in accounts.collect::<SqlResult<Vec<_>>>()? {
        if !budget.take() {
            return Ok(false);
        }
        slices::delete_account(tx, account)?;
        slice.others += 1;
    }
    Ok(true)
}

/// Lets some free pages be given back to the file system; how many there are, as long as that is worth while.
fn give_back(tx: &mut Tx<'_>) -> SqlResult<Option<u64>> {
    let free = tx.connection.query_row("PRAGMA freelist_count", [], |row| uint(row, 0))?;
    if free <= FREE_PAGES_KEPT {
        return Ok(None);
    }
    tx.effects.give_back = Some((free - FREE_PAGES_KEPT).min(FREE_PAGES_A_SLICE));
    Ok(Some(free))
}

/// Accounts none of whose devices came since `?1`. By itself SQLite went through all devices in the order of accounts, on the writer.
const UNSEEN_ACCOUNTS: &str = "SELECT DISTINCT stale.account
     FROM devices AS stale INDEXED BY devices_seen_week
     WHERE stale.seen_week < ?1
       AND NOT EXISTS (
         SELECT 1
         FROM devices AS other
         WHERE other.account = stale.account AND other.seen_week >= ?1)
     LIMIT ?2";
/// Free pages not worth giving back: the next minute's envelopes need them (1 MiB).
const FREE_PAGES_KEPT: u64 = 128;
/// Pages given back in one turn of the writer: each moves another into the gap, with all that points there, some three pages of log.
const FREE_PAGES_A_SLICE: u64 = 8;

#[cfg(test)]
mod tests {
    use super::super::plans::assert_no_scan;
    use super::*;

    /// Asked by the writer in each purge, with everybody's sends waiting behind it.
    #[test]
    fn accounts_nobody_visits_are_found_without_going_through_all_devices() {
        // As a slice asks: for few accounts SQLite would choose otherwise.
        let values = [0, int(slices::SLICE_ROWS_MAX as u64 + 1)];
        assert_no_scan(UNSEEN_ACCOUNTS, &values, &["stale", "other"]);
    }
}
