//! Delivery tokens in SQL, and the routes that are kept in memory.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use lru::LruCache;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::accounts::current;
use super::{Result, SqliteStore};
use crate::protocol::envelopes::ListName;
use crate::protocol::tokens::{TokenItem, TokenKind};
use crate::protocol::{AccountId, DeviceId, SealingKey, TokenHash};
use crate::store::{Route, RouteDevice, TokenAdded, TokenPage, Tokens};

/// Routes by token. Emptied by every commit that could make one untrue; a query that began before that is not kept.
pub(super) struct Routes {
    kept: Mutex<Kept>,
}

struct Kept {
    generation: u64,
    routes: LruCache<TokenHash, (Route, Option<u64>)>,
}

impl Routes {
    pub(super) fn new(max: usize) -> Self {
        let routes = LruCache::new(NonZeroUsize::new(max).unwrap_or(NonZeroUsize::MIN));
        Self { kept: Mutex::new(Kept { generation: 0, routes }) }
    }

    pub(super) fn clear(&self) {
        let mut kept = self.lock();
        kept.generation += 1;
        kept.routes.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[async_trait]
impl Tokens for SqliteStore {
    async fn add_token(&self, account: AccountId, item: TokenItem, tokens_max: u64, now: u64) -> Result<TokenAdded> {
        self.urgent(move |tx| {
            let Some(owner) = current(tx.connection, &account)? else { return Ok(TokenAdded::TooMany) };
            let known = tx
                .connection
                .prepare_cached(
                    "SELECT hash, kind, expires_at, envelopes_max, used_tag IS NOT NULL, account
                     FROM tokens
                     WHERE hash = ?1",
                )?
                .query_row([item.hash.0], |row| Ok((token(row)?, row.get::<_, i64>(5)?)))
                .optional()?;
            if let Some((known, of)) = known {
                let same = of == owner.id && TokenItem { used: item.used, ..known } == item;
                return Ok(if same { TokenAdded::Added } else { TokenAdded::Taken });
            }
            let held: u64 = tx
                .connection
                .prepare_cached(
                    "SELECT COUNT(*)
                     FROM tokens
                     WHERE account = ?1 AND (expires_at IS NULL OR expires_at > ?2)",
                )?
                .query_row(params![owner.id, now], |row| row.get(0))?;
            if held >= tokens_max {
                return Ok(TokenAdded::TooMany);
            }
            tx.connection
                .prepare_cached(
                    "INSERT INTO tokens (hash, account, kind, expires_at, envelopes_max)
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![item.hash.0, owner.id, item.kind.byte(), item.expires_at, item.envelopes_max])?;
            Ok(TokenAdded::Added)
        })
        .await
    }

    async fn tokens(&self, account: AccountId, after: Option<TokenHash>, limit: u64, now: u64) -> Result<TokenPage> {
        self.readers
            .read(move |connection| {
                let after = after.map_or_else(Vec::new, |hash| hash.0.to_vec());
                let mut tokens: Vec<TokenItem> = connection
                    .prepare_cached(
                        "SELECT t.hash, t.kind, t.expires_at, t.envelopes_max, t.used_tag IS NOT NULL
                         FROM tokens t
                         JOIN accounts a ON a.id = t.account
                         WHERE a.account = ?1 AND t.hash > ?2 AND (t.expires_at IS NULL OR t.expires_at > ?3)
                         ORDER BY t.hash
                         LIMIT ?4",
                    )?
                    .query_map(params![account.0, after, now, limit + 1], token)?
                    .collect::<rusqlite::Result<_>>()?;
                let more = tokens.len() as u64 > limit;
                tokens.truncate(limit as usize);
                Ok(TokenPage { tokens, more })
            })
            .await
    }

    async fn revoke_tokens(&self, account: AccountId, hashes: Vec<TokenHash>) -> Result<u64> {
        self.urgent(move |tx| {
            let Some(owner) = current(tx.connection, &account)? else { return Ok(0) };
            let mut revoked = 0;
            for hash in &hashes {
                revoked += tx
                    .connection
                    .prepare_cached("DELETE FROM tokens WHERE hash = ?1 AND account = ?2")?
                    .execute(params![hash.0, owner.id])?;
            }
            tx.after.routes_changed = true;
            tx.after.deleted = true;
            Ok(revoked as u64)
        })
        .await
    }

    async fn route(&self, token: TokenHash, now: u64) -> Result<Option<Route>> {
        let good = |expires_at: &Option<u64>| expires_at.is_none_or(|at| at > now);
        let generation = {
            let mut kept = self.routes.lock();
            if let Some((route, expires_at)) = kept.routes.get(&token) {
                return Ok(good(expires_at).then(|| route.clone()));
            }
            kept.generation
        };
        let Some(found) = self.readers.read(move |connection| route(connection, &token)).await? else { return Ok(None) };
        let mut kept = self.routes.lock();
        if kept.generation == generation {
            kept.routes.put(token, found.clone());
        }
        Ok(good(&found.1).then_some(found.0))
    }
}

fn route(connection: &Connection, token: &TokenHash) -> rusqlite::Result<Option<(Route, Option<u64>)>> {
    let found = connection
        .prepare_cached(
            "SELECT a.id, a.account, t.kind, a.epoch, a.version, t.expires_at
             FROM tokens t
             JOIN accounts a ON a.id = t.account
             WHERE t.hash = ?1",
        )?
        .query_row([token.0], |row| {
            let id: i64 = row.get(0)?;
            let route = Route {
                account: AccountId(row.get(1)?),
                kind: kind(row.get(2)?),
                list: ListName { epoch: row.get(3)?, version: row.get(4)? },
                devices: Vec::new(),
            };
            Ok((id, route, row.get(5)?))
        })
        .optional()?;
    let Some((id, mut route, expires_at)) = found else { return Ok(None) };
    route.devices = connection
        .prepare_cached("SELECT device, sealing_key, seen_week FROM devices WHERE account = ?1 ORDER BY device")?
        .query_map([id], |row| {
            Ok(RouteDevice { device: DeviceId(row.get(0)?), sealing_key: SealingKey(row.get(1)?), seen_week: row.get(2)? })
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Some((route, expires_at)))
}

fn token(row: &Row<'_>) -> rusqlite::Result<TokenItem> {
    Ok(TokenItem {
        hash: TokenHash(row.get(0)?),
        kind: kind(row.get(1)?),
        expires_at: row.get(2)?,
        envelopes_max: row.get(3)?,
        used: row.get(4)?,
    })
}

/// The schema allows 1 and 2.
pub(super) fn kind(byte: u8) -> TokenKind {
    if byte == TokenKind::Once.byte() { TokenKind::Once } else { TokenKind::Contact }
}
