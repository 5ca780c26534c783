//! Delivery tokens in SQL.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::owners::current;
use super::routes::Kept;
use super::rows::kind;
use super::{Result, SqliteStore};
use crate::protocol::envelopes::ListName;
use crate::protocol::tokens::TokenItem;
use crate::protocol::{AccountId, DeviceId, SealingKey, TokenHash};
use crate::store::{Route, RouteDevice, TokenAdded, TokenPage, Tokens};

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
        let good = |expires_at: Option<u64>| expires_at.is_none_or(|at| at > now);
        let generation = match self.routes.find(&token) {
            Kept::Route(route, expires_at) => return Ok(good(expires_at).then_some(route)),
            Kept::Nothing(generation) => generation,
        };
        let Some(found) = self.readers.read(move |connection| route(connection, &token)).await? else { return Ok(None) };
        self.routes.keep(token, found.clone(), generation);
        Ok(good(found.1).then_some(found.0))
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
