//! What the relay answers when it does not do what it was asked; `api` makes a reply of it.

use std::borrow::Cow;

use crate::protocol::{ErrorCode, SignedList};
use crate::store::StoreError;

/// What a service method gives.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the relay refused, or could not.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A refusal with its code and a sentence for people; never a value from the request.
    #[error("{1}")]
    Refused(ErrorCode, Cow<'static, str>),
    /// The send was sealed for another list than this, the current one.
    #[error("the device list has changed: verify the one given here and seal again, with the same id")]
    DeviceListChanged(SignedList),
    /// The new list does not follow this, the current one.
    #[error("the new device list does not follow the current one, given here")]
    DeviceListConflict(SignedList),
    /// Too often; again after so many seconds.
    #[error("too many requests of this kind; wait {0} s")]
    RateLimited(u64),
    /// Nothing was stored, because every mailbox, or the token's share of it, is full.
    #[error("every mailbox of the account is full; try again when its devices have been online")]
    MailboxFull,
    /// The store could not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Error {
    /// A refusal.
    pub(crate) fn refused(code: ErrorCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::Refused(code, detail.into())
    }

    /// The code that a client sees.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Refused(code, _) => *code,
            Self::DeviceListChanged(_) => ErrorCode::DeviceListChanged,
            Self::DeviceListConflict(_) => ErrorCode::DeviceListConflict,
            Self::RateLimited(_) => ErrorCode::RateLimited,
            Self::MailboxFull => ErrorCode::MailboxFull,
            Self::Store(StoreError::Busy) => ErrorCode::Busy,
            Self::Store(StoreError::Full) => ErrorCode::RelayFull,
            Self::Store(StoreError::Closing) => ErrorCode::Stopping,
            Self::Store(StoreError::Failed(_)) => ErrorCode::Internal,
        }
    }

    /// Seconds after which trying again may help.
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::RateLimited(secs) => Some(*secs),
            Self::MailboxFull => Some(MAILBOX_FULL_RETRY_SECS),
            Self::Store(StoreError::Busy | StoreError::Closing) => Some(BUSY_RETRY_SECS),
            Self::Store(StoreError::Full) => Some(RELAY_FULL_RETRY_SECS),
            Self::Refused(ErrorCode::Stopping | ErrorCode::Busy, _) => Some(BUSY_RETRY_SECS),
            Self::Refused(ErrorCode::RelayFull, _) => Some(RELAY_FULL_RETRY_SECS),
            _ => None,
        }
    }
}

/// The one answer to a token that is unknown, expired, used up or revoked.
pub(crate) fn no_such_token() -> Error {
    Error::refused(ErrorCode::NoSuchToken, "the delivery token is not, or no longer, good; ask its owner for a fresh one")
}

/// A full mailbox empties when its device comes; asking each hour is enough.
const MAILBOX_FULL_RETRY_SECS: u64 = 3_600;
/// A full relay empties with its purge.
const RELAY_FULL_RETRY_SECS: u64 = 300;
/// The writer drains its queue in far less.
const BUSY_RETRY_SECS: u64 = 1;
