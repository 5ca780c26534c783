//! A new database filled in bulk, for measuring what a relay does with much in it: the rows that registering and sending
//! would have left, in one transaction, without the writer. Nothing of it is durable before its end, and what SQLite leaves of rows
//! that it moves stays: they are nobody's.

use std::fs::File;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, Result as SqlResult};

use super::expiring::Tally;
use super::places::{self, Place};
use super::refusal::{OpenError, OpenErrorKind, refused};
use super::values::int;
use super::{Settings, entries, open, rows};
use crate::protocol::tokens::TokenItem;
use crate::store::{NewEnvelope, NewList};

/// A database on its way to being full.
pub struct Fill {
    connection: Connection,
    file: PathBuf,
    /// Not yet filed.
    places: Vec<(i64, Place)>,
    envelopes: u64,
    tally: Tally,
}

impl Fill {
    /// In a data directory that has no database yet.
    pub fn begin(dir: &Path) -> Result<Self, OpenError> {
        let file = open::file(dir);
        if file.exists() {
            return Err(OpenError::at(OpenErrorKind::CannotCreate, &file, "only a new database is filled"));
        }
        let (connection, _) = open::open_writer(&Settings { disk_bytes_max: BYTES_MAX, ..Settings::new(dir) })?;
        // Without a log, which would write everything twice; no reader has the file open.
        let begun = connection.execute_batch(
            "PRAGMA journal_mode=MEMORY;
             PRAGMA synchronous=OFF;
             PRAGMA cache_size=-262144;
             BEGIN IMMEDIATE;",
        );
        begun.map_err(|error| refused(&file, &error))?;
        Ok(Self { connection, file, places: Vec::new(), envelopes: 0, tally: Tally::default() })
    }

    /// Adds an account of one device with one token, and gives the number of its mailbox.
    pub fn account(&mut self, new: &NewList, token: &TokenItem, now: u64) -> Result<i64, OpenError> {
        let add = || {
            let account = entries::add_account(&self.connection, new)?;
            entries::add_token(&self.connection, account, token)?;
            new.list.entries.iter().try_fold(0, |_, entry| entries::add_device(&self.connection, account, entry, 0, now))
        };
        self.done(add())
    }

    /// Adds an envelope at a seq of a mailbox that has none there.
    pub fn envelope(&mut self, mailbox: i64, seq: u64, tag: &[u8; 16], envelope: &NewEnvelope) -> Result<(), OpenError> {
        self.envelopes += 1;
        let bytes = envelope.body.len() as u64;
        let place = Place { seq, envelope: int(self.envelopes), tag: *tag, bytes, knock: false };
        self.done(rows::insert(&self.connection, mailbox, &place, envelope))?;
        self.tally.add(place.envelope, int(envelope.expires_at), bytes);
        self.places.push((mailbox, place));
        if self.places.len() < FILED_TOGETHER { Ok(()) } else { self.file() }
    }

    /// Brings everything onto the disk.
    pub fn finish(mut self) -> Result<(), OpenError> {
        self.file()?;
        self.done(self.connection.execute_batch("COMMIT"))?;
        drop(self.connection);
        let synced = File::open(&self.file).and_then(|file| file.sync_all());
        synced.map_err(|error| {
            OpenError::io(&self.file, OpenErrorKind::CannotCreate, "the filled database could not be put on disk", &error)
        })
    }

    fn file(&mut self) -> Result<(), OpenError> {
        let mut places = std::mem::take(&mut self.places);
        places.sort_unstable_by_key(|(mailbox, place)| (*mailbox, place.seq));
        self.done(places::file(&self.connection, places.iter().map(|(mailbox, place)| (*mailbox, place))))?;
        let tally = std::mem::take(&mut self.tally);
        self.done(tally.write(&self.connection))
    }

    fn done<T>(&self, outcome: SqlResult<T>) -> Result<T, OpenError> {
        outcome.map_err(|error| refused(&self.file, &error))
    }
}

/// Places that are filed together: a bulk in the order of arrival fills pages badly, and leaves many free.
const FILED_TOGETHER: usize = 65_536;
/// As large as a file may get here; whether a relay with its own cap then takes more is for the relay to say.
const BYTES_MAX: u64 = 1 << 40;
