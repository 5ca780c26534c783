//! What the relay's own jobs ask for: purge, the clock's mark, a probe.

use async_trait::async_trait;
use rusqlite::{OptionalExtension, Result as SqlResult};

use super::SqliteStore;
use super::places;
use super::queue::Lane;
use super::slices::{self, Budget};
use super::values::{blob, blob_or_none, int, uint};
use super::writer::Tx;
use crate::protocol::{DeviceId, TokenHash};
use crate::store::{PurgePreview, PurgeSlice, Result, StoreError, TableRows, Totals, Upkeep};

#[async_trait]
impl Upkeep for SqliteStore {
    async fn purge_slice(&self, cutoff: u64, unseen_week: u64, now: u64) -> Result<PurgeSlice> {
        self.write(Lane::Urgent, 0, move |tx| purge_slice(tx, cutoff, unseen_week, now)).await
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
        while self.write(Lane::Urgent, 0, give_back).await? {}
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

fn purge_slice(tx: &mut Tx<'_>, cutoff: u64, unseen_week: u64, now: u64) -> SqlResult<PurgeSlice> {
    let (mut budget, mut slice) = (Budget::new(), PurgeSlice::default());
    // In this order: each goes on only when the one before found no more.
    slice.done = purge_envelopes(tx, &mut budget, &mut slice, cutoff, now)?
        && purge_tokens(tx, &mut budget, &mut slice, now)?
        && purge_passes(tx, &mut budget, &mut slice, now)?
        && purge_handles(tx, &mut budget, &mut slice, now)?
        && purge_accounts(tx, &mut budget, &mut slice, unseen_week)?
        && !slices::leftovers(tx, &mut budget)?;
    Ok(slice)
}

/// True when none is left.
fn purge_envelopes(tx: &mut Tx<'_>, budget: &mut Budget, slice: &mut PurgeSlice, cutoff: u64, now: u64) -> SqlResult<bool> {
    let connection = tx.connection;
    let mut select = connection.prepare_cached(
        "SELECT id, mailbox, seq, repeat_tag, coalesce(length(body), 0)
         FROM envelopes
         WHERE expires_at <= ?1
         ORDER BY expires_at
         LIMIT ?2",
    )?;
    let rows = select.query_and_then([int(cutoff), int(budget.rows() as u64 + 1)], |row| -> SqlResult<_> {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, uint(row, 2)?, blob(row, 3).unwrap_or_default(), uint(row, 4)?))
    })?;
    for (id, mailbox, seq, tag, bytes) in rows.collect::<SqlResult<Vec<_>>>()? {
        if !budget.take() {
            return Ok(false);
        }
        places::remove(connection, mailbox, seq)?;
        // By its own number: a row whose place is damaged must not stay for ever.
        let mut delete = connection.prepare_cached(
            "DELETE FROM envelopes
             WHERE id = ?1",
        )?;
        delete.execute([id])?;
        tx.removed(1, bytes);
        let mut reader = connection.prepare_cached(
            "SELECT devices.device, coalesce(mailboxes.gone_through, 0) < ?2
             FROM mailboxes
             LEFT JOIN devices ON devices.mailbox = mailboxes.id
             WHERE mailboxes.id = ?1",
        )?;
        let (device, visible): (Option<[u8; 32]>, bool) = reader
            .query_row([mailbox, int(seq)], |row| Ok((blob_or_none(row, 0)?, row.get(1)?)))
            .optional()?
            .unwrap_or_default();
        let Some(device) = device.filter(|_| visible) else { continue };
        if let Some(held) = tx.memory.mailbox_at_hand(mailbox) {
            held.remove(seq);
        }
        tx.memory.repeats.add(mailbox, tag, now);
        slices::add_gap(tx, mailbox, 1, seq)?;
        tx.effects.woken.push(DeviceId(device));
        slice.envelopes += 1;
        slice.bytes += bytes;
    }
    Ok(true)
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
    let mut select = connection.prepare_cached(
        "SELECT DISTINCT stale.account
         FROM devices AS stale
         WHERE stale.seen_week < ?1
           AND NOT EXISTS (
             SELECT 1
             FROM devices AS other
             WHERE other.account = stale.account AND other.seen_week >= ?1)
         LIMIT ?2",
    )?;
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

/// Gives some free pages back to the file system; true when more are to follow.
fn give_back(tx: &mut Tx<'_>) -> SqlResult<bool> {
    let free = free_pages(tx)?;
    if free <= FREE_PAGES_KEPT {
        return Ok(false);
    }
    let pages = (free - FREE_PAGES_KEPT).min(FREE_PAGES_A_SLICE);
    // Through `pragma` alone are all its rows read, and only then all pages freed.
    tx.connection.pragma(None, "incremental_vacuum", int(pages), |_| Ok(()))?;
    let left = free_pages(tx)?;
    Ok(left > FREE_PAGES_KEPT && left < free)
}

fn free_pages(tx: &Tx<'_>) -> SqlResult<u64> {
    tx.connection.query_row("PRAGMA freelist_count", [], |row| uint(row, 0))
}

/// Free pages not worth giving back: the next minute's envelopes need them (1 MiB).
const FREE_PAGES_KEPT: u64 = 128;
/// Pages given back in one turn of the writer.
const FREE_PAGES_A_SLICE: u64 = 128;
