//! Handles: put, given up, looked up. What a name is, and what its record says, the relay never learns.

use super::auth::Session;
use super::rates::{Counted, Prefix};
use super::{Error, Relay, Result};
use crate::protocol::handles::{
    HELD_MAX, HELD_SECS, LookupReply, LookupRequest, PutHandleReply, PutHandleRequest, RECORD_BYTES, ReleaseHandleReply,
};
use crate::protocol::time::ceil_hour;
use crate::protocol::{Bytes, ErrorCode};
use crate::store::{HandlePut, HandleReleased};

impl Relay {
    /// Makes a handle the account's; the one before is held.
    pub async fn put_handle(&self, session: &Session, request: PutHandleRequest) -> Result<PutHandleReply> {
        self.elevated(session).await?;
        let PutHandleRequest { hash, record } = request;
        if record.as_slice().len() != RECORD_BYTES {
            return Err(Error::refused(ErrorCode::BadSize, format!("$.record is {RECORD_BYTES} bytes")));
        }
        let now = self.now();
        match self.inner.store.put_handle(session.account, hash, record.0, held_until(now), now).await? {
            HandlePut::Done => Ok(PutHandleReply { hash }),
            HandlePut::Taken => Err(Error::refused(ErrorCode::HandleTaken, "somebody else has that handle; choose another")),
            HandlePut::TooMany { until } => Err(too_many(until, now)),
        }
    }

    /// Gives the account's handle up; it is held.
    pub async fn release_handle(&self, session: &Session) -> Result<ReleaseHandleReply> {
        self.elevated(session).await?;
        let now = self.now();
        match self.inner.store.release_handle(session.account, held_until(now), now).await? {
            HandleReleased::Released => Ok(ReleaseHandleReply { released: true }),
            HandleReleased::None => Ok(ReleaseHandleReply { released: false }),
            HandleReleased::TooMany { until } => Err(too_many(until, now)),
        }
    }

    /// The record of a handle.
    pub async fn lookup_handle(&self, request: &LookupRequest, prefix: Option<Prefix>) -> Result<LookupReply> {
        self.rate(prefix, Counted::Lookup)?;
        let found = self.inner.store.handle(request.hash).await?;
        let none = || Error::refused(ErrorCode::NoSuchHandle, "nobody here has that handle");
        found.map(|record| LookupReply { record: Bytes(record) }).ok_or_else(none)
    }
}

/// On the full hour, so that it does not tell when the handle was given up.
fn held_until(now: u64) -> u64 {
    ceil_hour(now + HELD_SECS)
}

/// The bound of [`HELD_MAX`]: it opens again when the first of those that are held is free.
fn too_many(until: u64, now: u64) -> Error {
    const { assert!(HELD_MAX > 0, "else nothing is held that could become free") };
    Error::RateLimited(until.saturating_sub(now).max(1))
}
