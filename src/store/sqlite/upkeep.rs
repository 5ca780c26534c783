//! Purging, totals, the clock's mark, and a look at the rows, in SQL.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, params};

use super::leavings::SLICE_ROWS_MAX;
use super::mailbox::{Mailbox, Tag};
use super::rows::add_to_gap;
use super::{Result, SqliteStore, Tx, owners};
use crate::store::{PurgePreview, PurgeSlice, TableRows, Totals, Upkeep};

#[async_trait]
impl Upkeep for SqliteStore {
    async fn purge_slice(&self, cutoff: u64, unseen_week: u64, now: u64) -> Result<PurgeSlice> {
        self.urgent(move |tx| purge_slice(tx, cutoff, unseen_week, now)).await
    }

    async fn purge_preview(&self, cutoff: u64) -> Result<PurgePreview> {
        self.readers
            .read(move |connection| {
                let (envelopes, bytes) = connection.query_row(
                    "SELECT COUNT(*), COALESCE(SUM(length(body)), 0) FROM envelopes WHERE expires_at <= ?1",
                    [cutoff],
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )?;
                let waiting = connection.query_row("SELECT COUNT(*) FROM envelopes", [], |row| row.get(0))?;
                Ok(PurgePreview { envelopes, bytes, waiting })
            })
            .await
    }

    async fn purged(&self, now: u64) -> Result<()> {
        loop {
            // Freed pages go back to the file system in slices, between which sends pass.
            let free = self
                .urgent(move |tx| {
                    tx.connection.prepare_cached("UPDATE relay SET purged_at = ?1")?.execute([now])?;
                    tx.connection.pragma(None, "incremental_vacuum", VACUUM_PAGES, |_| Ok(()))?;
                    tx.connection.query_row("PRAGMA freelist_count", [], |row| row.get::<_, u64>(0))
                })
                .await?;
            if free == 0 {
                break;
            }
        }
        self.writer.truncate_log().await
    }

    async fn totals(&self) -> Result<Totals> {
        let (database, log) = (self.database.clone(), self.log());
        self.readers
            .read(move |connection| {
                let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, u64>(0));
                let (envelopes, envelope_bytes, first_expires_at) = connection.query_row(
                    "SELECT COUNT(*), COALESCE(SUM(length(body)), 0), MIN(expires_at) FROM envelopes",
                    [],
                    |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
                )?;
                let (damaged, purged_at) =
                    connection.query_row("SELECT damaged, purged_at FROM relay", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
                let page_bytes = count("PRAGMA page_size")?;
                Ok(Totals {
                    accounts: count("SELECT COUNT(*) FROM accounts")?,
                    devices: count("SELECT COUNT(*) FROM devices")?,
                    tokens: count("SELECT COUNT(*) FROM tokens")?,
                    envelopes,
                    envelope_bytes,
                    first_expires_at,
                    database_bytes: length(&database),
                    log_bytes: length(&log),
                    free_bytes: count("PRAGMA freelist_count")? * page_bytes,
                    damaged,
                    purged_at,
                })
            })
            .await
    }

    async fn clock_mark(&self, now: u64) -> Result<u64> {
        self.urgent(move |tx| {
            tx.connection
                .prepare_cached("UPDATE relay SET clock_mark = MAX(clock_mark, ?1) RETURNING clock_mark")?
                .query_row([now], |row| row.get(0))
        })
        .await
    }

    async fn probe(&self) -> Result<()> {
        self.urgent(|tx| {
            tx.connection.prepare_cached("UPDATE relay SET damaged = damaged")?.execute([])?;
            Ok(())
        })
        .await
    }

    async fn rows(&self, limit: u64) -> Result<Vec<TableRows>> {
        self.readers
            .read(move |connection| {
                let names: Vec<String> = connection
                    .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name")?
                    .query_map([], |row| row.get(0))?
                    .collect::<rusqlite::Result<_>>()?;
                names.into_iter().map(|name| table(connection, name, limit)).collect()
            })
            .await
    }
}

fn purge_slice(tx: &mut Tx<'_>, cutoff: u64, unseen_week: u64, now: u64) -> rusqlite::Result<PurgeSlice> {
    let began = Instant::now();
    let rows: Vec<(i64, Mailbox, u64, Tag, u64)> = tx
        .connection
        .prepare_cached(
            "SELECT id, mailbox, seq, repeat_tag, length(body)
             FROM envelopes
             WHERE expires_at <= ?1
             ORDER BY expires_at
             LIMIT ?2",
        )?
        .query_map(params![cutoff, SLICE_ROWS_MAX], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let mut slice = PurgeSlice::default();
    let mut gaps: HashMap<Mailbox, (u64, u64)> = HashMap::new();
    for (id, mailbox, seq, tag, bytes) in &rows {
        tx.connection.prepare_cached("DELETE FROM envelopes WHERE id = ?1")?.execute([id])?;
        if let Some(state) = tx.memory.cached(*mailbox) {
            state.remove(*seq);
        }
        tx.memory.remember_gone(*mailbox, *tag, now);
        let gap = gaps.entry(*mailbox).or_default();
        *gap = (gap.0 + 1, gap.1.max(*seq));
        slice.envelopes += 1;
        slice.bytes += bytes;
        if began.elapsed() >= SLICE_TIME {
            break;
        }
    }
    for (mailbox, (count, through)) in gaps {
        add_to_gap(tx.connection, mailbox, count, through)?;
    }
    tx.after.deleted |= slice.envelopes > 0;
    if !rows.is_empty() {
        return Ok(slice);
    }
    slice.others = purge_others(tx, unseen_week, now)?;
    slice.done = slice.others == 0;
    Ok(slice)
}

/// Tokens and passes that expired, and one account that nobody visited.
fn purge_others(tx: &mut Tx<'_>, unseen_week: u64, now: u64) -> rusqlite::Result<u64> {
    let mut others = tx
        .connection
        .prepare_cached(
            "DELETE FROM tokens
             WHERE hash IN (SELECT hash FROM tokens WHERE expires_at <= ?1 LIMIT ?2)",
        )?
        .execute(params![now, SLICE_ROWS_MAX])?;
    tx.after.routes_changed |= others > 0;
    others += tx.connection.prepare_cached("DELETE FROM passes WHERE expires_at <= ?1")?.execute([now])?;
    let unseen: Vec<i64> = tx
        .connection
        .prepare_cached(
            "SELECT account
             FROM devices
             GROUP BY account
             HAVING MAX(seen_week) < ?1
             LIMIT 1",
        )?
        .query_map([unseen_week], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for account in unseen {
        owners::delete(tx, account)?;
        others += 1;
    }
    tx.after.deleted |= others > 0;
    Ok(others as u64)
}

fn table(connection: &Connection, table: String, limit: u64) -> rusqlite::Result<TableRows> {
    let count = connection.query_row(&format!("SELECT COUNT(*) FROM {table}"), [], |row| row.get(0))?;
    let mut statement = connection.prepare(&format!("SELECT * FROM {table} LIMIT {limit}"))?;
    let columns: Vec<String> = statement.column_names().into_iter().map(str::to_string).collect();
    let width = columns.len();
    let rows = statement
        .query_map([], |row| (0..width).map(|at| row.get_ref(at).map(shown)).collect())?
        .collect::<rusqlite::Result<_>>()?;
    Ok(TableRows { table, columns, count, rows })
}

fn shown(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "-".into(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
        ValueRef::Blob(bytes) => {
            let head: String = bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            format!("{}: {head}{}", bytes.len(), if bytes.len() > 8 { "…" } else { "" })
        }
    }
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// The time of one slice: a send that waits behind it waits no longer.
const SLICE_TIME: Duration = Duration::from_millis(1);
/// Pages given back to the file system at once.
const VACUUM_PAGES: i64 = 256;
