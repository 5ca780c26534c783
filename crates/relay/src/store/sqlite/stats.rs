//! Counting, and showing rows as they lie on disk.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Result as SqlResult};

use super::values::{int, uint, uint_or_none};
use super::{SqliteStore, ledger, open};
use crate::store::{PurgePreview, Result, TableRows, Totals};

impl SqliteStore {
    pub(super) async fn count(&self) -> Result<Totals> {
        let file = self.file.clone();
        self.read(move |connection| {
            let one = |sql: &str| connection.prepare_cached(sql)?.query_row([], |row| uint(row, 0));
            let mut totals = Totals {
                accounts: one("SELECT count(*) FROM accounts WHERE account IS NOT NULL")?,
                devices: one("SELECT count(*) FROM devices")?,
                tokens: one("SELECT count(*) FROM tokens")? - one(TOKENS_LEFT)?,
                free_bytes: one("PRAGMA freelist_count")? * open::PAGE_BYTES,
                database_bytes: length(&file),
                log_bytes: length(&open::log_file(&file)),
                ..Totals::default()
            };
            (totals.envelopes, totals.envelope_bytes) = waiting(connection)?;
            let mut relay = connection.prepare_cached(
                "SELECT damaged, purged_at
                 FROM relay",
            )?;
            (totals.damaged, totals.purged_at) = relay.query_row([], |row| Ok((uint(row, 0)?, uint_or_none(row, 1)?)))?;
            let mut first = connection.prepare_cached(FIRST)?;
            totals.first_expires_at = first.query_row([], |row| uint_or_none(row, 0))?.filter(|_| totals.envelopes > 0);
            Ok(totals)
        })
        .await
    }

    pub(super) async fn preview(&self, cutoff: u64) -> Result<PurgePreview> {
        let file = self.file.clone();
        self.read(move |connection| {
            let (waiting, _) = waiting(connection)?;
            let (envelopes, bytes) = seen(connection, int(cutoff))?;
            Ok(PurgePreview { envelopes, bytes, waiting: waiting.max(envelopes), database_bytes: length(&file) })
        })
        .await
    }

    pub(super) async fn most_expired(&self, cutoff: u64, least: u64) -> Result<bool> {
        self.read(move |connection| {
            let (waiting, _) = waiting(connection)?;
            let (expired, _) = there(connection, int(cutoff))?;
            Ok(waiting > least && expired > waiting / 2)
        })
        .await
    }

    pub(super) async fn tables(&self, limit: u64) -> Result<Vec<TableRows>> {
        self.read(move |connection| {
            let mut select = connection.prepare_cached(
                "SELECT name
                 FROM sqlite_schema
                 WHERE type = 'table' AND name NOT LIKE 'sqlite_%'
                 ORDER BY name",
            )?;
            let names = select.query_and_then([], |row| row.get::<_, String>(0))?.collect::<SqlResult<Vec<_>>>()?;
            names.into_iter().map(|table| table_rows(connection, table, limit)).collect()
        })
        .await
    }
}

/// Envelopes that wait, and the bytes of their bodies.
fn waiting(connection: &Connection) -> SqlResult<(u64, u64)> {
    seen(connection, i64::MAX)
}

/// Of what expires up to a time that which somebody still sees.
fn seen(connection: &Connection, through: i64) -> SqlResult<(u64, u64)> {
    let mut left = connection.prepare_cached(ENVELOPES_LEFT)?;
    let left = left.query_row([through], |row| Ok((uint(row, 0)?, uint(row, 1)?)))?;
    let (envelopes, bytes) = there(connection, through)?;
    Ok((envelopes.saturating_sub(left.0), bytes.saturating_sub(left.1)))
}

/// Rows that expire up to a time, and the bytes of their bodies.
fn there(connection: &Connection, through: i64) -> SqlResult<(u64, u64)> {
    connection.prepare_cached(THERE)?.query_row([through], |row| Ok((uint(row, 0)?, uint(row, 1)?)))
}

fn table_rows(connection: &Connection, table: String, limit: u64) -> SqlResult<TableRows> {
    // A table's name can't be bound; these come from our own schema.
    let count = connection.query_row(&format!("SELECT count(*) FROM \"{table}\""), [], |row| uint(row, 0))?;
    let mut select = connection.prepare(&format!("SELECT * FROM \"{table}\" LIMIT ?1"))?;
    let columns: Vec<String> = select.column_names().into_iter().map(str::to_owned).collect();
    let width = columns.len();
    let rows = select.query_and_then([int(limit)], |row| -> SqlResult<Vec<String>> {
        (0..width).map(|column| Ok(shown(row.get_ref(column)?))).collect()
    })?;
    let rows = rows.collect::<SqlResult<_>>()?;
    let entries = columns.iter().map(|column| ledger::of_column(&table, column)).collect();
    Ok(TableRows { reveals: ledger::of_table(&table), table, columns, ledger: entries, count, rows })
}

fn shown(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "null".into(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
        ValueRef::Blob(bytes) => {
            let head: String = bytes.iter().take(SHOWN_BYTES).map(|byte| format!("{byte:02x}")).collect();
            let more = if bytes.len() > SHOWN_BYTES { "…" } else { "" };
            format!("{}: {head}{more}", bytes.len())
        }
    }
}

fn length(file: &std::path::Path) -> u64 {
    std::fs::metadata(file).map_or(0, |there| there.len())
}

const THERE: &str = "SELECT coalesce(sum(envelopes), 0), coalesce(sum(bytes), 0)
     FROM (
       SELECT envelopes, bytes
       FROM expiring
       WHERE expires_at <= ?1
       UNION ALL
       SELECT 1, bytes
       FROM fresh
       WHERE expires_at <= ?1
     )";
const FIRST: &str = "SELECT min(expires_at)
     FROM (
       SELECT min(expires_at) AS expires_at
       FROM expiring
       UNION ALL
       SELECT min(expires_at)
       FROM fresh
     )";
/// Rows that nobody sees any more and that wait for their slice. `CROSS JOIN` is SQLite's word for this order and no other: by itself
/// it read all envelopes, and all of `fresh`, for the few that are looked for.
const ENVELOPES_LEFT: &str = "SELECT count(*), coalesce(sum(length(body)), 0)
     FROM (
       SELECT envelope
       FROM mailboxes
       JOIN filed ON filed.mailbox = mailboxes.id AND filed.seq <= mailboxes.gone_through
       WHERE mailboxes.gone_through IS NOT NULL
       UNION
       SELECT envelope
       FROM mailboxes
       CROSS JOIN fresh ON fresh.mailbox = mailboxes.id AND fresh.seq <= mailboxes.gone_through
       WHERE mailboxes.gone_through IS NOT NULL
     )
     CROSS JOIN envelopes ON envelopes.id = envelope AND expires_at <= ?1";
const TOKENS_LEFT: &str = "SELECT count(*)
     FROM accounts
     JOIN tokens ON tokens.account = accounts.id
     WHERE accounts.account IS NULL";
/// Bytes of a blob that are shown.
const SHOWN_BYTES: usize = 8;

#[cfg(test)]
mod tests {
    use super::super::plans::assert_no_scan;
    use super::*;

    /// These are asked before and after every purge: neither may read what merely waits.
    #[test]
    fn what_is_due_and_what_is_left_behind_are_counted_without_reading_all_that_waits() {
        let tables = ["envelopes", "filed", "tokens"];
        assert_no_scan(ENVELOPES_LEFT, &[0], &[&tables[..], &["fresh"]].concat());
        for asked in [THERE, FIRST, TOKENS_LEFT] {
            assert_no_scan(asked, &vec![0; asked.matches('?').count().min(1)], &tables);
        }
        assert_no_scan(THERE, &[0], &["expiring"]);
    }
}
