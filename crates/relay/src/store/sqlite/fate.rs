//! What a SQLite error means here, and the end of the store once one was fatal.
//!
//! After a failed fsync SQLite would go on committing, and what failed may come back after a restart; so the first error
//! of the disk or of the file ends everything: whoever runs the store is told, and nothing is answered any more.

use std::sync::{Arc, OnceLock};

use rusqlite::ErrorCode;

use crate::store::{Result, StoreError};

/// Told once, with a sentence, when the store has failed; it must not block for long.
pub type OnFailure = Arc<dyn Fn(&str) + Send + Sync>;

/// Whether the store has failed.
pub(super) struct Fate {
    failed: OnceLock<String>,
    on_failure: OnFailure,
}

/// The three things an error can mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// No room, by the cap or on the disk.
    Full,
    /// Somebody else holds a lock.
    Busy,
    /// Anything else: I/O, damage, or a fault of ours.
    Fatal,
}

impl Fault {
    pub(super) fn of(error: &rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            _ => Self::Fatal,
        }
    }
}

impl Fate {
    pub(super) fn new(on_failure: OnFailure) -> Self {
        Self { failed: OnceLock::new(), on_failure }
    }

    /// [`StoreError::Failed`] once it has failed.
    pub(super) fn check(&self) -> Result<()> {
        self.failed.get().map_or(Ok(()), |message| Err(StoreError::Failed(message.clone())))
    }

    /// Fails for ever; the first message stands and is told.
    pub(super) fn fail(&self, message: String) -> StoreError {
        if self.failed.set(message).is_ok() {
            let message = self.failed.get().map_or("", String::as_str);
            tracing::error!(cause = message, "the store failed; nothing further is answered");
            (self.on_failure)(message);
        }
        StoreError::Failed(self.failed.get().cloned().unwrap_or_default())
    }

    /// What a caller is told of an error, after whatever it calls for was done.
    pub(super) fn judge(&self, error: &rusqlite::Error) -> StoreError {
        match Fault::of(error) {
            Fault::Full => StoreError::Full,
            Fault::Busy => StoreError::Busy,
            Fault::Fatal => self.fail(sentence(error)),
        }
    }
}

/// An error without SQL, values or paths: only SQLite's words for its code.
pub(super) fn sentence(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(cause, _) => format!("SQLite: {cause}"),
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::IntegralValueOutOfRange(..) => "a row holds what was never written there".into(),
        _ => "a statement was refused".into(),
    }
}
