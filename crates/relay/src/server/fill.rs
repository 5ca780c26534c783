//! A data directory made full before a relay runs on it, which `restante bench` measures: no request, no commit for each
//! send, but the rows that those would have left.

use std::fs::File;
use std::path::Path;

use super::data::{lock, make_directory, relay_key};
use super::error::ServerError;
use crate::protocol::tokens::TokenItem;
use crate::service::Clock;
use crate::store::sqlite;
use crate::store::{NewEnvelope, NewList};

/// A new data directory on its way to being full.
pub struct Fill {
    store: sqlite::Fill,
    now: u64,
    _lock: File,
}

impl Fill {
    /// Of a directory that holds no relay yet.
    pub fn begin(data: &Path) -> Result<Self, ServerError> {
        make_directory(data)?;
        let lock = lock(data)?;
        relay_key(data)?;
        Ok(Self { store: sqlite::Fill::begin(data)?, now: Clock::system().wall(), _lock: lock })
    }

    /// When it began: what is added is reckoned from then.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Adds an account of one device with one token, and gives the number of its mailbox.
    pub fn account(&mut self, new: &NewList, token: &TokenItem) -> Result<i64, ServerError> {
        Ok(self.store.account(new, token, self.now)?)
    }

    /// Adds an envelope at a seq of a mailbox that has none there.
    pub fn envelope(&mut self, mailbox: i64, seq: u64, tag: &[u8; 16], envelope: &NewEnvelope) -> Result<(), ServerError> {
        Ok(self.store.envelope(mailbox, seq, tag, envelope)?)
    }

    /// Puts everything on the disk; a relay may run on it then.
    pub fn finish(self) -> Result<(), ServerError> {
        Ok(self.store.finish()?)
    }
}
