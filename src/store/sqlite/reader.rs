//! The readers: a pool of read-only connections, used on blocking threads, a bounded number at a time.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use r2d2::Pool;
use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::sync::Semaphore;

use super::open::{BUSY, OpenError, harden};
use super::{Result, Settings};
use crate::store::StoreError;

/// Says once that the store failed, and to everybody from then on.
#[derive(Clone)]
pub(super) struct Failure {
    failed: Arc<AtomicBool>,
    tell: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Failure {
    fn new(tell: Arc<dyn Fn(&str) + Send + Sync>) -> Self {
        Self { failed: Arc::default(), tell }
    }

    pub(super) fn is_set(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    /// The first to come tells; the message names no row.
    pub(super) fn set(&self, what: &str) -> StoreError {
        if !self.failed.swap(true, Ordering::SeqCst) {
            (self.tell)(what);
        }
        Self::error()
    }

    pub(super) fn error() -> StoreError {
        StoreError::Failed("the database can no longer be trusted; the relay is to be started again".into())
    }
}

pub(super) struct Readers {
    pool: Pool<SqliteConnectionManager>,
    free: Arc<Semaphore>,
    failure: Failure,
}

impl Readers {
    pub(super) fn open(database: &Path, settings: &Settings) -> std::result::Result<Self, OpenError> {
        let manager = SqliteConnectionManager::file(database)
            .with_flags(OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .with_init(prepare);
        let pool = Pool::builder()
            .max_size(settings.readers.max(1))
            .min_idle(Some(1))
            .idle_timeout(None)
            .max_lifetime(None)
            .test_on_check_out(false)
            .connection_timeout(WAIT)
            .build(manager)
            .map_err(|error| OpenError::Damaged { path: database.into(), why: error.to_string() })?;
        Ok(Self {
            pool,
            free: Arc::new(Semaphore::new(settings.readers.max(1) as usize)),
            failure: Failure::new(Arc::clone(&settings.on_failure)),
        })
    }

    pub(super) fn failure(&self) -> Failure {
        self.failure.clone()
    }

    /// Runs a query in one read transaction, so that all it sees is of one moment.
    pub(super) async fn read<T, F>(&self, query: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        if self.failure.is_set() {
            return Err(Failure::error());
        }
        let waited = tokio::time::timeout(WAIT, Arc::clone(&self.free).acquire_owned()).await;
        let permit = waited.ok().and_then(std::result::Result::ok).ok_or(StoreError::Busy)?;
        let (pool, failure) = (self.pool.clone(), self.failure.clone());
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let connection = pool.get().map_err(|_| StoreError::Busy)?;
            let transaction = connection.unchecked_transaction().map_err(|error| judged(&failure, &error))?;
            query(&transaction).map_err(|error| judged(&failure, &error))
        });
        task.await.unwrap_or_else(|_| Err(self.failure.set("a reader panicked")))
    }
}

fn prepare(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.execute_batch(
        "PRAGMA query_only = ON;
         PRAGMA trusted_schema = OFF;
         PRAGMA temp_store = MEMORY;
         PRAGMA mmap_size = 0;
         PRAGMA cell_size_check = ON;
         PRAGMA cache_size = -8192;",
    )?;
    harden(connection)
}

fn judged(failure: &Failure, error: &rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy,
        code => failure.set(&format!("a read failed ({code:?})")),
    }
}

/// How long a read waits for its turn before the relay says that it is busy.
const WAIT: Duration = Duration::from_secs(2);
