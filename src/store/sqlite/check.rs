//! `restante check`: verifies a stopped database, row by row.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use serde::Serialize;

use super::DATABASE;
use super::mailbox::Tag;
use super::open::{Found, OpenError, harden, inspect};
use super::rows::checksum;
use crate::protocol::DeviceId;

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// What SQLite says of the file's structure; empty when it is whole.
    pub broken: Vec<String>,
    /// Mailboxes whose next seq is not above every seq in them.
    pub miscounted: Vec<String>,
    /// Rows that name what is not there.
    pub dangling: u64,
    /// Envelopes whose checksum was verified.
    pub envelopes: u64,
    /// Envelopes whose checksum does not fit.
    pub damaged: u64,
    /// Envelopes of a mailbox that is gone, still to be removed.
    pub leavings: u64,
}

impl CheckReport {
    /// Nothing is wrong.
    pub fn good(&self) -> bool {
        self.broken.is_empty() && self.miscounted.is_empty() && self.dangling == 0 && self.damaged == 0
    }
}

/// Verifies the database of a data directory. Nobody else may have it open; nothing is changed but the log that a crash
/// left, which is read in.
pub fn check(dir: &Path) -> Result<CheckReport, OpenError> {
    let database = dir.join(DATABASE);
    if inspect(&database)? == Found::Nothing {
        return Err(OpenError::Foreign(database));
    }
    let failed = |error: rusqlite::Error| OpenError::of_sqlite(&database, &error);
    #[expect(clippy::disallowed_methods, reason = "store::sqlite opens the database, here to verify it")]
    let connection =
        Connection::open_with_flags(&database, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .map_err(failed)?;
    harden(&connection).and_then(|()| connection.execute_batch("PRAGMA query_only = ON")).map_err(failed)?;
    verify(&connection).map_err(failed)
}

fn verify(connection: &Connection) -> rusqlite::Result<CheckReport> {
    let mut report = CheckReport::default();
    let said: Vec<String> =
        connection.prepare("PRAGMA integrity_check(20)")?.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    report.broken = said.into_iter().filter(|line| line != "ok").collect();
    report.dangling = connection.prepare("PRAGMA foreign_key_check")?.query_map([], |_| Ok(()))?.count() as u64;
    report.miscounted = connection
        .prepare(
            "SELECT d.mailbox
             FROM devices d
             JOIN envelopes e ON e.mailbox = d.mailbox
             GROUP BY d.mailbox
             HAVING MAX(e.seq) >= d.next_seq",
        )?
        .query_map([], |row| Ok(format!("mailbox {}", row.get::<_, i64>(0)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut statement = connection.prepare(
        "SELECT d.device, e.seq, e.expires_at, e.repeat_tag, e.checksum, e.wrap, e.body
         FROM envelopes e
         LEFT JOIN devices d ON d.mailbox = e.mailbox",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let Some(device) = row.get::<_, Option<[u8; 32]>>(0)? else {
            report.leavings += 1;
            continue;
        };
        let (tag, sum): (Tag, [u8; 16]) = (row.get(3)?, row.get(4)?);
        let (wrap, body): (Vec<u8>, Vec<u8>) = (row.get(5)?, row.get(6)?);
        report.envelopes += 1;
        if checksum(&DeviceId(device), row.get(1)?, row.get(2)?, &tag, &wrap, &body) != sum {
            report.damaged += 1;
        }
    }
    Ok(report)
}
