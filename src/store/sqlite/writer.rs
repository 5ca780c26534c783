//! The writer: one thread, one connection, and a commit for whatever waits.
//!
//! An operation is a closure that may be run again: it decides by what it reads, in a savepoint of its own, and is answered
//! after the commit that holds it. There is no timer: a batch is what came while the last one was being committed. When a
//! batch cannot be committed whole because the file is full, each of its operations is run again alone, so that what
//! removes still passes. After any other error nothing is true any more: the store fails, once and for ever, because SQLite
//! goes on committing after an fsync that failed, and what failed may come back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};
use tokio::sync::oneshot;

use super::mailbox::Memory;
use super::open::OpenError;
use super::reader::Failure;
use super::routes::Routes;
use super::{CommitListener, Result, Settings, leavings, log_of};
use crate::protocol::DeviceId;
use crate::store::StoreError;

/// Which operations go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queue {
    /// Acknowledgements, logins, revocations, the operator.
    Urgent,
    /// Sends.
    Sends,
}

/// What an operation works on: a transaction's connection, the writer's memory, and what to tell after the commit.
pub(super) struct Tx<'a> {
    pub(super) connection: &'a Connection,
    pub(super) memory: &'a mut Memory,
    pub(super) after: &'a mut After,
}

/// What follows a commit.
#[derive(Default)]
pub(super) struct After {
    /// Mailboxes in which something appeared.
    pub(super) wake: Vec<DeviceId>,
    /// A token, a list or a device changed: routes kept in memory are no longer true.
    pub(super) routes_changed: bool,
    /// Rows were deleted: the log holds their bytes until it is truncated.
    pub(super) deleted: bool,
    /// There is something to remove in slices.
    pub(super) leavings: bool,
}

pub(super) struct Writer {
    urgent: SyncSender<Box<dyn Job>>,
    sends: SyncSender<Box<dyn Job>>,
    knock: SyncSender<()>,
    listener: Arc<OnceLock<CommitListener>>,
    closing: Arc<AtomicBool>,
    truncations: Arc<Mutex<Vec<oneshot::Sender<()>>>>,
    failure: Failure,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(super) fn start(
        connection: Connection,
        memory: Memory,
        database: &Path,
        settings: &Settings,
        routes: Arc<Routes>,
        failure: Failure,
    ) -> std::result::Result<Self, OpenError> {
        let (urgent, urgent_jobs) = sync_channel(settings.queue_max);
        let (sends, send_jobs) = sync_channel(settings.queue_max);
        let (knock, knocks) = sync_channel(1);
        let listener = Arc::<OnceLock<CommitListener>>::default();
        let closing = Arc::<AtomicBool>::default();
        let truncations = Arc::<Mutex<Vec<oneshot::Sender<()>>>>::default();
        let desk = Desk {
            connection,
            memory,
            log: log_of(database),
            routes,
            listener: Arc::clone(&listener),
            closing: Arc::clone(&closing),
            truncations: Arc::clone(&truncations),
            failure: failure.clone(),
            urgent: urgent_jobs,
            sends: send_jobs,
            knocks,
            deleted_at: None,
            leavings: true,
        };
        let thread = std::thread::Builder::new()
            .name("writer".into())
            .spawn(move || desk.run())
            .map_err(|error| OpenError::CannotCreate { path: database.into(), why: error.to_string() })?;
        Ok(Self { urgent, sends, knock, listener, closing, truncations, failure, thread: Mutex::new(Some(thread)) })
    }

    pub(super) fn listen(&self, listener: CommitListener) {
        // A second listener would be a second relay on one store.
        assert!(self.listener.set(listener).is_ok(), "a store has one listener");
    }

    /// Cancel-safe in that a dropped caller changes nothing: once queued, the operation happens.
    pub(super) async fn submit<T, F>(&self, queue: Queue, bytes: usize, op: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        if self.failure.is_set() {
            return Err(Failure::error());
        }
        if self.closing.load(Ordering::SeqCst) {
            return Err(StoreError::Closing);
        }
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Operation { op, result: None, reply: Some(reply), bytes });
        let sender = if queue == Queue::Urgent { &self.urgent } else { &self.sends };
        sender.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::Busy,
            TrySendError::Disconnected(_) => StoreError::Closing,
        })?;
        // A knock that finds one waiting is the same knock.
        let _ = self.knock.try_send(());
        answer.await.unwrap_or_else(|_| Err(if self.failure.is_set() { Failure::error() } else { StoreError::Closing }))
    }

    /// Brings the log into the file and cuts it to nothing, between two batches.
    pub(super) async fn truncate_log(&self) -> Result<()> {
        let (reply, done) = oneshot::channel();
        lock(&self.truncations).push(reply);
        let _ = self.knock.try_send(());
        done.await.map_err(|_| if self.failure.is_set() { Failure::error() } else { StoreError::Closing })
    }

    pub(super) async fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
        let _ = self.knock.try_send(());
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            // The writer has a queue at most to work off, and then ends.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.closing.store(true, Ordering::SeqCst);
        let _ = self.knock.try_send(());
    }
}

/// An operation whose result type is hidden.
trait Job: Send {
    fn run(&mut self, tx: &mut Tx<'_>) -> rusqlite::Result<()>;
    fn answer(&mut self, refused: Option<StoreError>);
    fn bytes(&self) -> usize;
}

struct Operation<T, F> {
    op: F,
    result: Option<T>,
    reply: Option<oneshot::Sender<Result<T>>>,
    bytes: usize,
}

impl<T, F> Job for Operation<T, F>
where
    T: Send + 'static,
    F: FnMut(&mut Tx<'_>) -> rusqlite::Result<T> + Send,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> rusqlite::Result<()> {
        self.result = None;
        self.result = Some((self.op)(tx)?);
        Ok(())
    }

    fn answer(&mut self, refused: Option<StoreError>) {
        let Some(reply) = self.reply.take() else { return };
        let answer = match (refused, self.result.take()) {
            (None, Some(result)) => Ok(result),
            (refused, _) => Err(refused.unwrap_or(StoreError::Closing)),
        };
        // A caller that hung up no longer wants to know.
        let _ = reply.send(answer);
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}

/// The writer's own thread.
struct Desk {
    connection: Connection,
    memory: Memory,
    log: PathBuf,
    routes: Arc<Routes>,
    listener: Arc<OnceLock<CommitListener>>,
    closing: Arc<AtomicBool>,
    truncations: Arc<Mutex<Vec<oneshot::Sender<()>>>>,
    failure: Failure,
    urgent: Receiver<Box<dyn Job>>,
    sends: Receiver<Box<dyn Job>>,
    knocks: Receiver<()>,
    deleted_at: Option<Instant>,
    leavings: bool,
}

/// How an attempt to commit ended, when it did not.
enum Broken {
    /// The file is full, and the transaction is gone.
    Full,
    /// Somebody else holds the lock: only ever for a moment.
    Busy,
    /// Nothing here can be trusted any more.
    Failed(String),
}

impl Desk {
    fn run(mut self) {
        let worked = catch_unwind(AssertUnwindSafe(|| self.work()));
        if worked.is_err() {
            self.failure.set("the writer panicked");
        }
        // Whoever still waits is told by the dropped channel.
    }

    fn work(&mut self) {
        loop {
            let asked = std::mem::take(&mut *lock(&self.truncations));
            if !asked.is_empty() {
                self.truncate_log();
                for reply in asked {
                    // Whoever asked may have hung up.
                    let _ = reply.send(());
                }
            }
            let mut batch = self.take();
            if batch.is_empty() {
                if self.closing.load(Ordering::SeqCst) {
                    break;
                }
                if self.leavings {
                    self.remove_leavings();
                    continue;
                }
                match self.knocks.recv_timeout(IDLE) {
                    Ok(()) => {}
                    Err(RecvTimeoutError::Timeout) => self.truncate_log(),
                    Err(RecvTimeoutError::Disconnected) => break,
                }
                continue;
            }
            self.commit(&mut batch);
            if self.failure.is_set() {
                self.refuse_all();
                return;
            }
            if self.leavings {
                self.remove_leavings();
            }
            self.checkpoint_under_load();
        }
        self.truncate_log();
    }

    /// What waits: urgent ones first, at most [`BATCH_OPS_MAX`] or [`BATCH_BYTES_MAX`].
    fn take(&mut self) -> Vec<Box<dyn Job>> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        for queue in [&self.urgent, &self.sends] {
            while batch.len() < BATCH_OPS_MAX && bytes < BATCH_BYTES_MAX {
                let Ok(job) = queue.try_recv() else { break };
                bytes += job.bytes();
                batch.push(job);
            }
        }
        batch
    }

    fn commit(&mut self, batch: &mut [Box<dyn Job>]) {
        match self.attempt(batch) {
            Ok(()) => {}
            Err(Broken::Failed(what)) => {
                let error = self.failure.set(&what);
                batch.iter_mut().for_each(|job| job.answer(Some(error.clone())));
            }
            Err(Broken::Busy) => batch.iter_mut().for_each(|job| job.answer(Some(StoreError::Busy))),
            Err(Broken::Full) if batch.len() == 1 => batch.iter_mut().for_each(|job| job.answer(Some(StoreError::Full))),
            Err(Broken::Full) => {
                for at in 0..batch.len() {
                    self.commit(&mut batch[at..=at]);
                }
            }
        }
    }

    /// One transaction for all of them; when it stands, tells the listener, then answers.
    fn attempt(&mut self, batch: &mut [Box<dyn Job>]) -> std::result::Result<(), Broken> {
        let mut after = After::default();
        let outcome = self.transact(|connection, memory| {
            for job in batch.iter_mut() {
                connection.execute_batch("SAVEPOINT op")?;
                job.run(&mut Tx { connection, memory, after: &mut after })?;
                connection.execute_batch("RELEASE op")?;
            }
            Ok(())
        });
        outcome?;
        self.settle(after);
        batch.iter_mut().for_each(|job| job.answer(None));
        Ok(())
    }

    fn transact(
        &mut self,
        run: impl FnOnce(&Connection, &mut Memory) -> rusqlite::Result<()>,
    ) -> std::result::Result<(), Broken> {
        let (connection, memory) = (&self.connection, &mut self.memory);
        let begun = connection.execute_batch("BEGIN IMMEDIATE");
        let done = begun.and_then(|()| run(connection, memory)).and_then(|()| {
            // A full file rolls the whole transaction back, savepoints or not; a commit then would be of nothing.
            if connection.is_autocommit() { Err(full()) } else { connection.execute_batch("COMMIT") }
        });
        let Err(error) = done else {
            memory.committed();
            return Ok(());
        };
        memory.rolled_back();
        let broken = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Broken::Full,
            Some(ErrorCode::DatabaseBusy) if connection.is_autocommit() => return Err(Broken::Busy),
            code => Broken::Failed(format!("a write failed ({code:?})")),
        };
        if !connection.is_autocommit() && connection.execute_batch("ROLLBACK").is_err() {
            return Err(Broken::Failed("a write failed and could not be rolled back".into()));
        }
        Err(broken)
    }

    fn settle(&mut self, after: After) {
        if after.routes_changed {
            self.routes.clear();
        }
        if after.deleted && self.deleted_at.is_none() {
            self.deleted_at = Some(Instant::now());
        }
        self.leavings |= after.leavings;
        if !after.wake.is_empty()
            && let Some(listener) = self.listener.get()
        {
            listener(&after.wake);
        }
    }

    /// One slice of what is gone for everybody; between slices, whatever waits is committed.
    fn remove_leavings(&mut self) {
        let mut more = false;
        let outcome = self.transact(|connection, _| {
            more = leavings::remove_leavings(connection)?;
            Ok(())
        });
        match outcome {
            Ok(()) => {
                self.deleted_at.get_or_insert_with(Instant::now);
                self.leavings = more;
            }
            Err(Broken::Failed(what)) => {
                self.failure.set(&what);
                self.leavings = false;
            }
            // The next deletion tries again.
            Err(Broken::Full | Broken::Busy) => self.leavings = false,
        }
    }

    /// Keeps the log small while there is no pause, and truncates it when deleted bytes have lain in it for too long.
    fn checkpoint_under_load(&mut self) {
        if self.deleted_at.is_some_and(|at| at.elapsed() >= DELETED_MAX) {
            self.truncate_log();
        } else if self.log_bytes() >= LOG_BYTES_BUSY {
            self.checkpoint("PRAGMA wal_checkpoint(PASSIVE)");
        }
    }

    fn truncate_log(&mut self) {
        if self.log_bytes() > 0 && self.checkpoint("PRAGMA wal_checkpoint(TRUNCATE)") {
            self.deleted_at = None;
        }
    }

    /// True when it went through; a reader may be in the way of truncating for a moment.
    fn checkpoint(&mut self, pragma: &str) -> bool {
        match self.connection.query_row(pragma, [], |row| row.get::<_, i64>(0)) {
            Ok(busy) => busy == 0,
            Err(error) => match error.sqlite_error_code() {
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::DiskFull) => false,
                code => {
                    self.failure.set(&format!("a checkpoint failed ({code:?})"));
                    false
                }
            },
        }
    }

    fn log_bytes(&self) -> u64 {
        std::fs::metadata(&self.log).map_or(0, |metadata| metadata.len())
    }

    fn refuse_all(&mut self) {
        while let Some(mut job) = self.urgent.try_recv().ok().or_else(|| self.sends.try_recv().ok()) {
            job.answer(Some(Failure::error()));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn full() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL), None)
}

/// Operations of one commit.
const BATCH_OPS_MAX: usize = 128;
/// Bytes of bodies of one commit.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// A pause as long as this truncates the log.
const IDLE: Duration = Duration::from_secs(1);
/// Without a pause, deleted bytes lie in the log no longer than this.
const DELETED_MAX: Duration = Duration::from_secs(45);
/// A log as long as this is brought into the file under load.
const LOG_BYTES_BUSY: u64 = 2 << 20;
