//! The store on SQLite: one file, one writing thread, a few reading connections.
//!
//! Writes are closures that go through `writer`'s queue and are committed together; reads go to a pool on blocking
//! threads. Nobody else opens the file while a relay runs (`server` holds a lock on the directory), which is what lets the
//! writer keep each mailbox's state in memory, and lets only it and `mover`, one at a time, run checkpoints.

mod accounts;
mod check;
mod contents;
mod entries;
mod envelopes;
mod expiring;
mod expiry;
mod factor;
mod fate;
mod filing;
mod fill;
mod fresh;
mod handles;
mod keys;
mod ledger;
mod log;
mod memory;
mod mover;
mod notices;
mod open;
mod pages;
mod passes;
mod places;
#[cfg(test)]
mod plans;
mod purge;
mod queue;
mod refusal;
mod residue;
mod rest;
mod roster;
mod routes;
mod rows;
mod slices;
mod slots;
mod stats;
mod syncer;
mod tokens;
mod values;
mod writer;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::Connection;
use tokio::sync::Semaphore;

pub use check::{CheckReport, check};
pub use fate::OnFailure;
pub use fill::Fill;
pub use refusal::{OpenError, OpenErrorKind};

use super::{CommitListener, Result, Store, StoreError};
use expiry::Plan;
use fate::Fate;
use fresh::Fresh;
use log::Log;
use mover::Mover;
use places::Places;
use queue::{Lane, Queue};
use refusal::refused;
use routes::Routes;
use syncer::Syncer;
use writer::{Shared, Tx, Writer};

/// What a store is told when it is opened.
#[derive(Clone)]
pub struct Settings {
    /// The data directory; the store's files are `restante.db` and, beside it, `-wal` and `-shm`.
    pub dir: PathBuf,
    /// The database file grows no larger, in bytes.
    pub disk_bytes_max: u64,
    /// Reading connections, and so blocking threads.
    pub readers: u32,
    /// Writes that wait, of each of the two kinds; beyond, they are refused as busy.
    pub queue_max: usize,
    /// Mailboxes and waiting envelopes whose state the writer keeps in memory, some 100 bytes each. Where those that are written to
    /// have more together, nearly every batch loads a whole mailbox again.
    pub mailbox_cache_max: usize,
    /// Tokens, and accounts, whose routes are kept in memory.
    pub route_cache_max: usize,
    /// Envelopes waiting for one device.
    pub mailbox_envelopes_max: u64,
    /// Bytes of their bodies.
    pub mailbox_bytes_max: u64,
    /// Knocks of one token waiting for one device.
    pub knocks_token_max: u64,
    /// Knocks waiting for one device.
    pub knocks_max: u64,
    /// How long a repeat is known after its envelope was acknowledged, in seconds.
    pub repeats_secs: u64,
    /// How many such repeats are known in all; the oldest go first.
    pub repeats_max: usize,
    /// Told when the store has failed: whoever runs it ends the process.
    pub on_failure: OnFailure,
}

impl Settings {
    /// The defaults, for a data directory.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            disk_bytes_max: 16 << 30,
            readers: 4,
            queue_max: 1_024,
            mailbox_cache_max: 524_288,
            route_cache_max: 65_536,
            mailbox_envelopes_max: 10_000,
            mailbox_bytes_max: 64 << 20,
            knocks_token_max: 32,
            knocks_max: 256,
            repeats_secs: 600,
            repeats_max: 1_000_000,
            on_failure: Arc::new(|_| {}),
        }
    }
}

/// A store in one SQLite file.
pub struct SqliteStore {
    file: PathBuf,
    fate: Arc<Fate>,
    queue: Arc<Queue>,
    routes: Arc<Routes>,
    fresh: Arc<Fresh>,
    listener: Arc<OnceLock<CommitListener>>,
    pool: Mutex<Option<Pool>>,
    permits: Arc<Semaphore>,
    readers: u32,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// The purge that is under way.
    purge: tokio::sync::Mutex<Option<Plan>>,
}

type Pool = r2d2::Pool<SqliteConnectionManager>;

impl SqliteStore {
    /// Opens the database of a data directory, making both where there is none. Refuses, and leaves as it was, whatever is
    /// not this program's, is newer than it, or is damaged. Blocks; called before the first request.
    pub fn open(settings: Settings) -> std::result::Result<Self, OpenError> {
        let (connection, residue, pool) = open::open(&settings)?;
        let fate = Arc::new(Fate::new(Arc::clone(&settings.on_failure)));
        let file = open::file(&settings.dir);
        let (places, fresh) = Places::load(&connection).map_err(|error| refused(&file, &error))?;
        let log = Log::new(Mover::start(&file, &fate)?, residue, &fate);
        let shared = Shared {
            queue: Arc::new(Queue::new(settings.queue_max)),
            fate,
            routes: Arc::new(Routes::new(settings.route_cache_max)),
            listener: Arc::default(),
            fresh,
        };
        let syncer = Syncer::start(&open::log_file(&file), &shared.fate, &shared.queue)?;
        let writer = Writer::new(connection, places, log, syncer, &settings, shared.clone());
        let thread = std::thread::Builder::new()
            .name("restante-writer".into())
            .spawn(move || writer.run())
            .map_err(|error| OpenError::new(OpenErrorKind::CannotCreate, "the writer's thread could not be started", &error))?;
        let Shared { queue, fate, routes, listener, fresh } = shared;
        Ok(Self {
            file,
            fate,
            queue,
            routes,
            fresh,
            listener,
            pool: Mutex::new(Some(pool)),
            permits: Arc::new(Semaphore::new(settings.readers.max(1) as usize)),
            readers: settings.readers.max(1),
            writer: Mutex::new(Some(thread)),
            purge: tokio::sync::Mutex::default(),
        })
    }

    /// Runs a write on the writer's thread and gives its outcome once that is on disk. The closure may run more than once;
    /// only its last run counts.
    async fn write<T: Send + 'static>(
        &self,
        lane: Lane,
        bytes: usize,
        op: impl FnMut(&mut Tx<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.fate.check()?;
        let (job, answer) = writer::job(op);
        self.queue.push(lane, bytes, job)?;
        answer.await.unwrap_or_else(|_| self.fate.check().and(Err(StoreError::Closing)))
    }

    /// Runs a read on a reading connection, in one snapshot.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.look(move |connection| read(&*connection.unchecked_transaction()?)).await
    }

    /// Runs a read that counts places, in one snapshot.
    async fn count_places<T: Send + 'static>(
        &self,
        count: impl Fn(&Connection, &Fresh) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let fresh = Arc::clone(&self.fresh);
        self.look(move |connection| {
            let passes = fresh.passes();
            let snapshot = connection.unchecked_transaction()?;
            let counted = count(&snapshot, &fresh)?;
            if fresh.passes() == passes {
                return Ok(counted);
            }
            // Some left memory meanwhile, because they are filed: once more, by the table as it is in the snapshot.
            count(&snapshot, &Fresh::read(&snapshot, 0)?)
        })
        .await
    }

    /// Runs a read on a reading connection that takes its snapshot itself.
    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        self.fate.check()?;
        let permit = tokio::time::timeout(READER_WAIT, Arc::clone(&self.permits).acquire_owned());
        let permit = permit.await.map_err(|_| StoreError::Busy)?.map_err(|_| StoreError::Closing)?;
        let pool = lock(&self.pool).clone().ok_or(StoreError::Closing)?;
        let fate = Arc::clone(&self.fate);
        // The permit goes along: a dropped future must not let more readers in than there are connections.
        let task = tokio::task::spawn_blocking(move || {
            let (_permit, pool) = (permit, pool);
            let connection = pool.get_timeout(open::CONNECTION_WAIT).map_err(|_| StoreError::Busy)?;
            look(&connection).map_err(|error| fate.judge(&error))
        });
        task.await.unwrap_or_else(|_| Err(self.fate.fail("a reader panicked".into())))
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn on_commit(&self, listener: CommitListener) {
        // One, before the first request; a second would be a fault of the caller's that costs nobody an envelope.
        let _ = self.listener.set(listener);
    }

    async fn close(&self) {
        self.queue.close();
        // Readers first: the writer can truncate the log only when nobody reads in it.
        if let Ok(all) = self.permits.acquire_many(self.readers).await {
            all.forget();
            self.permits.close();
        }
        drop(lock(&self.pool).take());
        let thread = lock(&self.writer).take();
        if let Some(thread) = thread {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.queue.close();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// How long a read waits for one of the connections before it is refused as busy.
const READER_WAIT: Duration = Duration::from_secs(2);
