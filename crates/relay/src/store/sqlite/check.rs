//! `restante check`: the whole of a stopped database, read and compared; nothing is changed.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, Result as SqlResult};

use super::expiring::Tally;
use super::refusal::{OpenError, OpenErrorKind, inspect, older, refused};
use super::rows::StoredRow;
use super::values::{blob_or_none, int, uint};
use super::{open, pages};
use crate::protocol::DeviceId;

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct CheckReport {
    /// Envelopes read.
    pub envelopes: u64,
    /// Those among them whose checksum fails; the relay will not deliver them.
    pub damaged: u64,
    /// SQLite's words on broken structure, at most 100.
    pub broken: Vec<String>,
    /// Rows that point at nothing.
    pub dangling: u64,
    /// Counters that disagree with the rows.
    pub miscounted: Vec<String>,
    /// Pages where bytes of rows are left that SQLite moved to others. No damage: a relay that is stopped leaves none, and one
    /// that was killed clears them at its next start.
    pub residue: u64,
}

impl CheckReport {
    /// Nothing is wrong.
    pub fn good(&self) -> bool {
        self.damaged == 0 && self.broken.is_empty() && self.dangling == 0 && self.miscounted.is_empty()
    }
}

/// Checks the database of a data directory that no relay has open. Reads all of it: a minute for some gigabytes.
pub fn check(dir: &Path) -> Result<CheckReport, OpenError> {
    let file = open::file(dir);
    if !inspect(&file)? {
        return Err(OpenError::new(OpenErrorKind::CannotCreate, "there is no database", file.display()));
    }
    let connection = open::connect(&file, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(|error| refused(&file, &error))?;
    // By SQLite, which reads the log along: an upgrade may still be there alone.
    let found =
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(|error| refused(&file, &error))?;
    if found < open::version() {
        return Err(older(&file, found));
    }
    let read = || {
        let snapshot = connection.unchecked_transaction()?;
        let mut report = CheckReport::default();
        structure(&snapshot, &mut report)?;
        if report.broken.is_empty() {
            rows(&snapshot, &mut report)?;
            report.residue = pages::count(&snapshot)?;
        }
        Ok(report)
    };
    read().map_err(|error| refused(&file, &error))
}

fn structure(connection: &Connection, report: &mut CheckReport) -> SqlResult<()> {
    connection.pragma(None, "integrity_check", 100, |row| {
        let words: String = row.get(0)?;
        if words != "ok" {
            report.broken.push(words);
        }
        Ok(())
    })?;
    if !report.broken.is_empty() {
        return Ok(());
    }
    connection.pragma_query(None, "foreign_key_check", |_| {
        report.dangling += 1;
        Ok(())
    })
}

fn rows(connection: &Connection, report: &mut CheckReport) -> SqlResult<()> {
    let cutoff = connection.query_row("SELECT coalesce(purge_cutoff, 0) FROM relay", [], |row| uint(row, 0))?;
    let mut select = connection.prepare(
        "SELECT envelopes.seq, envelopes.expires_at, checksum, wrap, body, device, filed.repeat_tag,
           CASE WHEN fresh.mailbox = envelopes.mailbox AND fresh.seq = envelopes.seq THEN fresh.repeat_tag END,
           envelopes.id, fresh.envelope IS NOT NULL
         FROM envelopes
         LEFT JOIN filed ON filed.mailbox = envelopes.mailbox AND filed.seq = envelopes.seq AND filed.envelope = envelopes.id
         LEFT JOIN fresh ON fresh.envelope = envelopes.id
         LEFT JOIN devices ON devices.mailbox = envelopes.mailbox",
    )?;
    let mut select = select.query([])?;
    let (mut there, mut purged, mut misplaced) = (Tally::default(), 0, 0);
    while let Some(row) = select.next()? {
        let stored = StoredRow::read(row);
        report.envelopes += 1;
        if !row.get::<_, bool>(9)? {
            there.add(row.get(8)?, row.get(1)?, stored.body.len() as u64);
        }
        let tag = match (blob_or_none(row, 6)?, blob_or_none(row, 7)?) {
            (Some(tag), None) | (None, Some(tag)) => tag,
            (Some(tag), Some(same)) if tag == same => tag,
            (None, None) if stored.expires_at <= cutoff => {
                purged += 1;
                continue;
            }
            _ => {
                misplaced += 1;
                [0; 16]
            }
        };
        // Of a removed device there is nothing to verify against, and nothing will be delivered.
        if blob_or_none(row, 5)?.is_some_and(|device| !stored.is_sound(&DeviceId(device), &tag)) {
            report.damaged += 1;
        }
    }
    let counted = Tally::read(connection)?;
    if counted != there {
        let ((envelopes, bytes), (envelopes_there, bytes_there)) = (counted.sum(), there.sum());
        report.miscounted.push(format!(
            "{envelopes} envelopes of {bytes} bytes are counted by hours of expiry, and {envelopes_there} of {bytes_there} bytes \
             are there; {} rows of `expiring` are wrong",
            counted.differs(&there)
        ));
    }
    let one = |sql: &str| connection.query_row(sql, [], |row| uint(row, 0));
    let ended = connection.query_row(
        "SELECT count(*)
         FROM mailboxes
         WHERE next_seq >= ?1",
        [int(crate::protocol::envelopes::SEQ_END)],
        |row| uint(row, 0),
    )?;
    if ended > 0 {
        report.miscounted.push(format!("{ended} mailboxes have no seq left to give"));
    }
    misplaced += one("SELECT count(*) FROM envelopes WHERE mailbox NOT IN (SELECT id FROM mailboxes)")?;
    // A pass of filing that is under way leaves in `fresh` what it has filed until its end.
    let places = one("SELECT (SELECT count(*) FROM filed)
           + (SELECT count(*) FROM fresh WHERE NOT EXISTS (
                SELECT 1
                FROM filed
                WHERE filed.mailbox = fresh.mailbox AND filed.seq = fresh.seq AND filed.envelope = fresh.envelope))")?;
    let waiting = report.envelopes - purged;
    if misplaced > 0 || places != waiting {
        report.miscounted.push(format!(
            "{misplaced} envelopes cannot be found in their mailbox; {places} places are kept for {waiting} envelopes"
        ));
    }
    Ok(())
}
