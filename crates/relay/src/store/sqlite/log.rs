//! The log beside the file: when it is moved over, by whom, and by when nothing of it may be left.
//!
//! Called by the writer after each of its turns. What comes is moved by `mover` beside the writer, a little at a time; once the
//! log has become long the writer moves the rest, so that it starts over; a log that is to be truncated the writer empties itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::fate::{Fate, Fault};
use super::mover::Mover;
use super::open;
use super::residue::Residue;
use crate::store::Result;

pub(super) struct Log {
    fate: Arc<Fate>,
    mover: Mover,
    pub(super) residue: Residue,
    /// By when it is to be truncated, because what was deleted may still stand in it.
    truncate_by: Option<Instant>,
    /// Pages from which on the next move is due.
    move_at: u64,
}

impl Log {
    pub(super) fn new(mover: Mover, residue: Residue, fate: &Arc<Fate>) -> Self {
        Self { fate: Arc::clone(fate), mover, residue, truncate_by: None, move_at: MOVE_PAGES }
    }

    /// Content was deleted.
    pub(super) fn note_deletion(&mut self) {
        self.truncate_by.get_or_insert_with(|| Instant::now() + DELETED_IN_LOG_MAX);
    }

    /// Something is in it that a gap between writes is to be used for.
    pub(super) fn holds_anything(&self) -> bool {
        open::log_pages() > 0 || self.truncate_by.is_some() || self.residue.any()
    }

    /// Looks at what a commit wrote.
    pub(super) fn look(&mut self) -> Result<()> {
        self.residue.look(open::log_pages()).map_err(|error| self.fate.fail(format!("the log could not be read: {error}")))
    }

    /// Content was deleted so long ago that it is to be truncated now.
    pub(super) fn is_truncation_due(&self) -> bool {
        self.truncate_by.is_some_and(|by| Instant::now() >= by)
    }

    /// What is due after a commit, but for truncation.
    pub(super) fn tend(&mut self, connection: &Connection) -> Result<()> {
        let pages = open::log_pages();
        if self.mover.under_way() {
            if pages >= self.move_at + MOVE_PAGES {
                // Twice as much came meanwhile: the writer must not run away from the disk.
                self.mover.wait()?;
            } else if !self.mover.over()? {
                return Ok(());
            }
            if pages >= START_OVER_PAGES {
                // It starts over once nobody reads in it; until then each move is followed by an attempt.
                self.checkpoint(connection, "PRAGMA wal_checkpoint(PASSIVE)")?;
            }
            return Ok(());
        }
        if pages < MOVE_PAGES {
            // It has started over.
            self.move_at = MOVE_PAGES;
        }
        if pages >= self.move_at {
            self.move_at = pages + MOVE_PAGES;
            self.mover.ask();
        }
        Ok(())
    }

    /// Moves everything, so that the log starts over in the room that it has, if no reader is in the way.
    pub(super) fn start_over(&mut self, connection: &Connection) -> Result<()> {
        self.mover.wait()?;
        self.checkpoint(connection, "PRAGMA wal_checkpoint(PASSIVE)").map(drop)
    }

    /// Moves everything, and leaves nothing of it if no reader is in the way.
    pub(super) fn truncate(&mut self, connection: &Connection) -> Result<()> {
        self.mover.wait()?;
        if self.checkpoint(connection, "PRAGMA wal_checkpoint(TRUNCATE)")? {
            open::log_truncated();
            self.truncate_by = None;
        } else if self.truncate_by.is_some() {
            self.truncate_by = Some(Instant::now() + READER_IN_THE_WAY);
        }
        Ok(())
    }

    /// Ends the thread beside the writer, whose connection is then the last.
    pub(super) fn end(&mut self) {
        self.mover.end();
    }

    /// False when somebody or something was in the way.
    fn checkpoint(&self, connection: &Connection, how: &str) -> Result<bool> {
        match connection.query_row(how, [], |row| row.get::<_, bool>(0)) {
            Ok(busy) => Ok(!busy),
            Err(error) if Fault::of(&error) == Fault::Fatal => Err(self.fate.judge(&error)),
            // No room to move it to, or a lock: the log stays, and grows.
            Err(_) => Ok(false),
        }
    }
}

/// Under load, a deletion's content is out of the log after so long at the latest, and the file after 60 s for certain.
const DELETED_IN_LOG_MAX: Duration = Duration::from_secs(45);
/// A reader kept the log from being truncated: the next attempt, which may stall the writer again, comes so much later.
const READER_IN_THE_WAY: Duration = Duration::from_secs(3);
/// Of log, moved at a time: what is synced at once is what a commit's own sync may wait for.
const MOVE_PAGES: u64 = (1 << 20) / open::PAGE_BYTES;
/// Of log, before it starts over, for which all commits wait.
const START_OVER_PAGES: u64 = (16 << 20) / open::PAGE_BYTES;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::Settings;

    #[test]
    fn a_log_is_moved_a_little_at_a_time_and_starts_over_once_it_is_long() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (connection, residue) = open::open_writer(&Settings::new(dir.path())).expect("it opens");
        let fate = Arc::new(Fate::new(Arc::new(|_| {})));
        let mover = Mover::start(&open::file(dir.path()), &fate).expect("it starts");
        let mut log = Log::new(mover, residue, &fate);
        connection.execute_batch("CREATE TABLE rows (content BLOB)").expect("room");
        let (mut before, mut longest, mut starts, mut moves) = (0, 0, 0, 0);
        // Some 14 pages each: five times what a log may have.
        for _ in 0..800 {
            connection.execute_batch("INSERT INTO rows VALUES (zeroblob(100000))").expect("room");
            let pages = open::log_pages();
            starts += u64::from(pages < before);
            (before, longest) = (pages, longest.max(pages));
            let under_way = log.mover.under_way();
            log.tend(&connection).expect("tended");
            moves += u64::from(!under_way && log.mover.under_way());
        }
        assert!(longest >= START_OVER_PAGES, "{longest}: it is not the writer's before");
        assert!(longest < START_OVER_PAGES + 4 * MOVE_PAGES, "{longest}: it stays bounded");
        assert!(starts >= 2, "{starts} times it started over");
        assert!(moves >= 4 * starts, "{moves} moves, and it started over {starts} times");
        log.end();
        assert_eq!(fate.check(), Ok(()));
    }
}
