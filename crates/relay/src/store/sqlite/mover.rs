//! A thread that moves the log into the file beside the writer, which goes on committing meanwhile.
//!
//! `log` asks it for one move at a time. SQLite lets the log start over only when all of it was moved, so what comes during a
//! move is left to the writer. SQLite also syncs the file only then; so the thread does that itself, for the writer's own sync
//! to find little to do.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::{Builder, JoinHandle};

use rusqlite::Connection;

use super::fate::{Fate, Fault};
use super::open;
use super::refusal::{OpenError, OpenErrorKind, refused};
use crate::store::Result;

pub(super) struct Mover {
    fate: Arc<Fate>,
    /// None once it is to end.
    orders: Option<SyncSender<()>>,
    moved: Receiver<()>,
    under_way: bool,
    thread: Option<JoinHandle<()>>,
    /// Closing any descriptor of a file takes the process's locks off it: this one is closed after the writer's connection.
    _file: Arc<File>,
}

impl Mover {
    /// Starts the thread, on a database that the writer has open.
    pub(super) fn start(database: &Path, fate: &Arc<Fate>) -> std::result::Result<Self, OpenError> {
        let connection = open::open_mover(database).map_err(|error| refused(database, &error))?;
        let cannot = |error| OpenError::new(OpenErrorKind::CannotCreate, "the log's thread could not be started", error);
        let file = Arc::new(File::open(database).map_err(cannot)?);
        let (orders, ordered) = sync_channel(1);
        let (done, moved) = sync_channel(1);
        let (of_thread, synced) = (Arc::clone(fate), Arc::clone(&file));
        let work = move || {
            while ordered.recv().is_ok() {
                let outcome = catch_unwind(AssertUnwindSafe(|| move_log(&connection, &synced, &of_thread)));
                let outcome = outcome.unwrap_or_else(|_| Err(of_thread.fail("the log's thread panicked".into())));
                if outcome.is_err() || done.send(()).is_err() {
                    break;
                }
            }
        };
        let thread = Builder::new().name("restante-log".into()).spawn(work).map_err(cannot)?;
        let fate = Arc::clone(fate);
        Ok(Self { fate, orders: Some(orders), moved, under_way: false, thread: Some(thread), _file: file })
    }

    /// Asks for a move; not while one is under way.
    pub(super) fn ask(&mut self) {
        debug_assert!(!self.under_way, "one at a time");
        self.under_way = self.orders.as_ref().is_some_and(|orders| orders.send(()).is_ok());
    }

    pub(super) fn under_way(&self) -> bool {
        self.under_way
    }

    /// Whether the move that was asked for is over; once true, none is under way.
    pub(super) fn over(&mut self) -> Result<bool> {
        match self.moved.try_recv() {
            Ok(()) => self.under_way = false,
            Err(TryRecvError::Empty) => return Ok(false),
            Err(TryRecvError::Disconnected) => return Err(self.ended()),
        }
        Ok(true)
    }

    /// Waits until none is under way.
    pub(super) fn wait(&mut self) -> Result<()> {
        if self.under_way {
            self.moved.recv().map_err(|_| self.ended())?;
            self.under_way = false;
        }
        Ok(())
    }

    /// Ends the thread, and closes its connection.
    pub(super) fn end(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // It catches its panics.
            let _ = thread.join();
        }
    }

    /// It ends by itself only when the store has failed, and then that is what is said.
    fn ended(&self) -> crate::store::StoreError {
        self.fate.fail("the log's thread ended".into())
    }
}

/// What was committed until now goes into the file, and the file onto the disk. A reader, or no room, may keep some of it in
/// the log.
fn move_log(connection: &Connection, file: &File, fate: &Fate) -> Result<()> {
    match connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
        Ok(()) => file.sync_data().map_err(|error| fate.fail(format!("the database could not be synced: {error}"))),
        Err(error) if Fault::of(&error) == Fault::Fatal => Err(fate.judge(&error)),
        Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::store::StoreError;
    use crate::store::sqlite::Settings;

    fn told() -> (Arc<Fate>, Arc<Mutex<Vec<String>>>) {
        let told = Arc::new(Mutex::new(Vec::new()));
        let hear = Arc::clone(&told);
        (Arc::new(Fate::new(Arc::new(move |message| hear.lock().expect("no panic").push(message.to_string())))), told)
    }

    /// Some 1,000 pages, in the log or in the file.
    fn fill(connection: &Connection) {
        connection
            .execute_batch("BEGIN; CREATE TABLE filler (bytes BLOB); INSERT INTO filler VALUES (zeroblob(8000000)); COMMIT;")
            .expect("room");
    }

    #[test]
    fn what_was_committed_is_moved_beside_the_writer_and_the_rest_is_little() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (writer, _) = open::open_writer(&Settings::new(dir.path())).expect("it opens");
        let (fate, told) = told();
        let mut mover = Mover::start(&open::file(dir.path()), &fate).expect("it starts");
        fill(&writer);
        assert!(!mover.under_way());
        mover.ask();
        assert!(mover.under_way());
        mover.wait().expect("moved");
        assert!(!mover.under_way());
        let pages: (i64, i64) = writer
            .query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| Ok((row.get(1)?, row.get(2)?)))
            .expect("pages of log, and how many of them were moved");
        assert!(pages.0 > 900 && pages.0 == pages.1, "{pages:?}");
        // The log starts over at the next commit, for nothing of it is left to move.
        writer.execute_batch("INSERT INTO filler VALUES (x'')").expect("room");
        assert!(open::log_pages() < 10);
        mover.end();
        assert!(told.lock().expect("no panic").is_empty());
    }

    #[test]
    fn a_file_that_it_cannot_move_to_ends_the_store() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (writer, _) = open::open_writer(&Settings::new(dir.path())).expect("it opens");
        let (fate, told) = told();
        let file = open::file(dir.path());
        let mut mover = Mover::start(&file, &fate).expect("it starts");
        fill(&writer);
        writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("emptied");
        writer.execute_batch("INSERT INTO filler VALUES (x'')").expect("room");
        // Shorter than the log allows.
        std::fs::OpenOptions::new().write(true).open(&file).and_then(|file| file.set_len(0)).expect("cut");
        mover.ask();
        let failed = mover.wait();
        assert!(matches!(&failed, Err(StoreError::Failed(message)) if message.contains("malformed")), "{failed:?}");
        assert_eq!(mover.over(), failed.clone().map(|()| false));
        assert_eq!(fate.check(), failed);
        assert_eq!(told.lock().expect("no panic").len(), 1);
        mover.end();
        std::mem::forget(writer);
    }
}
