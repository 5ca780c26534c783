//! The store on SQLite: one thread that writes, a pool of readers, one file.
//!
//! `open` looks at what is there before SQLite touches it. `writer` owns the one writing connection and commits whatever
//! waits together. Each topic file holds the SQL of its part of the trait, beside the function that binds it.

mod accounts;
mod check;
mod envelopes;
mod keys;
mod leavings;
mod mailbox;
mod open;
mod owners;
mod passes;
mod reader;
mod routes;
mod rows;
mod tokens;
mod upkeep;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

pub use check::{CheckReport, check};
pub use open::OpenError;

use super::{CommitListener, Result, Store};
use mailbox::Memory;
use reader::Readers;
use routes::Routes;
use writer::{Queue, Tx, Writer};

/// What a SQLite store is told when it is opened.
#[derive(Clone)]
pub struct Settings {
    /// The directory of `restante.db`; made when it is not there.
    pub dir: PathBuf,
    /// The database file grows no larger, in bytes.
    pub disk_bytes_max: u64,
    /// Reading connections.
    pub readers: u32,
    /// Operations that wait for the writer in each of its two queues.
    pub queue_max: usize,
    /// Mailboxes whose state the writer keeps in memory.
    pub mailbox_cache_max: usize,
    /// Tokens whose route is kept in memory.
    pub route_cache_max: usize,
    /// Envelopes waiting for one device.
    pub mailbox_envelopes_max: u64,
    /// Bytes of bodies waiting for one device.
    pub mailbox_bytes_max: u64,
    /// How long a repeat is known after its envelope is gone, in seconds.
    pub repeats_secs: u64,
    /// Repeats so known, in all.
    pub repeats_max: usize,
    /// Called once, with what happened, when the store can no longer be trusted. The process is to end.
    pub on_failure: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Settings {
    /// The defaults for a data directory.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            disk_bytes_max: 16 << 30,
            readers: 4,
            queue_max: 1_024,
            mailbox_cache_max: 4_096,
            route_cache_max: 16_384,
            mailbox_envelopes_max: 10_000,
            mailbox_bytes_max: 64 << 20,
            repeats_secs: 600,
            repeats_max: 1_000_000,
            on_failure: Arc::new(|what| tracing::error!("the store failed: {what}")),
        }
    }
}

/// The database's name in the data directory.
pub const DATABASE: &str = "restante.db";

/// A store on a SQLite file. One a file: whoever opens it holds the data directory's lock.
pub struct SqliteStore {
    writer: Writer,
    readers: Readers,
    routes: Arc<Routes>,
    database: PathBuf,
}

impl SqliteStore {
    /// Opens the database of a data directory, or makes it. What is foreign, newer or damaged is refused, untouched.
    pub fn open(settings: Settings) -> std::result::Result<Self, OpenError> {
        let database = settings.dir.join(DATABASE);
        let connection = open::writer(&settings, &database)?;
        let routes = Arc::new(Routes::new(settings.route_cache_max));
        let readers = Readers::open(&database, &settings)?;
        let memory = Memory::new(&settings);
        let writer = Writer::start(connection, memory, &database, &settings, Arc::clone(&routes), readers.failure())?;
        Ok(Self { writer, readers, routes, database })
    }

    fn log(&self) -> PathBuf {
        log_of(&self.database)
    }

    /// Hands an operation to the writer and waits until it is committed.
    async fn write<T, F>(&self, queue: Queue, bytes: usize, op: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        self.writer.submit(queue, bytes, op).await
    }

    /// An urgent operation of no size.
    async fn urgent<T, F>(&self, op: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut Tx<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        self.write(Queue::Urgent, 0, op).await
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn on_commit(&self, listener: CommitListener) {
        self.writer.listen(listener);
    }

    async fn close(&self) {
        self.writer.close().await;
    }
}

/// The write-ahead log beside a database.
fn log_of(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}
