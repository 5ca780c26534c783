//! Where a send goes, as the writer remembers it: contact tokens with their account's list, and the mailboxes of devices.
//!
//! The writer is the only one who changes them, so what it read stays true until a job of its own says otherwise, and that
//! job's effects say it before the next one runs. A token of another kind changes with each use and is always read.

use std::hash::Hash;

use lru::LruCache;
use rusqlite::{Connection, OptionalExtension, Result};

use super::memory::mailbox_of;
use super::values::{blob_or_none, kind, uint, uint_or_none};
use crate::protocol::envelopes::ListName;
use crate::protocol::tokens::TokenKind;
use crate::protocol::{DeviceId, TokenHash};

/// What a send needs to know of its token.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) account: i64,
    pub(super) kind: TokenKind,
    pub(super) expires_at: Option<u64>,
    pub(super) envelopes_max: Option<u64>,
    pub(super) used_tag: Option<[u8; 16]>,
    pub(super) uses_left: Option<u64>,
    pub(super) list: ListName,
    pub(super) suspended: bool,
}

pub(super) struct Targets {
    tokens: LruCache<TokenHash, Token>,
    mailboxes: LruCache<DeviceId, (i64, i64)>,
}

impl Targets {
    pub(super) fn new() -> Self {
        Self { tokens: LruCache::unbounded(), mailboxes: LruCache::unbounded() }
    }

    pub(super) fn token(&mut self, connection: &Connection, hash: &TokenHash) -> Result<Option<Token>> {
        if let Some(known) = self.tokens.get(hash) {
            return Ok(Some(known.clone()));
        }
        let found = find_token(connection, hash)?;
        if let Some(token) = found.as_ref().filter(|token| token.kind == TokenKind::Contact) {
            keep(&mut self.tokens, *hash, token.clone());
        }
        Ok(found)
    }

    /// The mailbox of a device, and its account.
    pub(super) fn mailbox(&mut self, connection: &Connection, device: &DeviceId) -> Result<Option<(i64, i64)>> {
        if let Some(known) = self.mailboxes.get(device) {
            return Ok(Some(*known));
        }
        let found = mailbox_of(connection, device)?;
        if let Some(mailbox) = found {
            keep(&mut self.mailboxes, *device, mailbox);
        }
        Ok(found)
    }

    /// A job changed these tokens, or any account.
    pub(super) fn changed(&mut self, tokens: &[TokenHash], any_account: bool) {
        if any_account {
            self.forget();
        }
        for token in tokens {
            self.tokens.pop(token);
        }
    }

    pub(super) fn forget(&mut self) {
        self.tokens.clear();
        self.mailboxes.clear();
    }
}

fn keep<K: Hash + Eq, V>(cache: &mut LruCache<K, V>, key: K, value: V) {
    cache.put(key, value);
    if cache.len() > TARGETS_MAX {
        cache.pop_lru();
    }
}

fn find_token(connection: &Connection, hash: &TokenHash) -> Result<Option<Token>> {
    let mut find = connection.prepare_cached(
        "SELECT tokens.account, kind, expires_at, envelopes_max, used_tag, epoch, version, uses_left, suspended
         FROM tokens
         JOIN accounts ON accounts.id = tokens.account
         WHERE tokens.hash = ?1 AND accounts.account IS NOT NULL",
    )?;
    let token = find.query_row([hash.as_bytes()], |row| {
        Ok(Token {
            account: row.get(0)?,
            kind: kind(row, 1)?,
            expires_at: uint_or_none(row, 2)?,
            envelopes_max: uint_or_none(row, 3)?,
            used_tag: blob_or_none(row, 4)?,
            list: ListName { epoch: row.get(5)?, version: uint(row, 6)? },
            uses_left: uint_or_none(row, 7)?,
            suspended: row.get(8)?,
        })
    });
    token.optional()
}

/// Tokens, and devices, remembered at once; some 150 bytes each.
const TARGETS_MAX: usize = 32_768;
