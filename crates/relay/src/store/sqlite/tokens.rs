//! Delivery tokens, and where they lead.

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Result as SqlResult, Row};

use super::SqliteStore;
use super::entries;
use super::queue::Lane;
use super::routes::{RouteAccount, RouteToken};
use super::slices;
use super::values::{blob, blob_or_none, int, kind, uint, uint_or_none};
use super::writer::Tx;
use crate::protocol::envelopes::ListName;
use crate::protocol::tokens::TokenItem;
use crate::protocol::{AccountId, DeviceId, SealingKey, TokenHash};
use crate::store::{Result, Route, RouteDevice, TokenAdded, TokenPage, Tokens};

#[async_trait]
impl Tokens for SqliteStore {
    async fn add_token(&self, account: AccountId, item: TokenItem, tokens_max: u64, now: u64) -> Result<TokenAdded> {
        self.write(Lane::Urgent, 0, move |tx| add_token(tx, &account, &item, tokens_max, now)).await
    }

    async fn tokens(&self, account: AccountId, after: Option<TokenHash>, limit: u64, now: u64) -> Result<TokenPage> {
        self.read(move |connection| {
            let mut select = connection.prepare_cached(
                "SELECT tokens.hash, kind, expires_at, envelopes_max, used_tag, uses_left
                 FROM accounts
                 JOIN tokens ON tokens.account = accounts.id
                 WHERE accounts.account = ?1
                   AND (?2 IS NULL OR tokens.hash > ?2)
                   AND (expires_at IS NULL OR expires_at > ?3)
                 ORDER BY tokens.hash
                 LIMIT ?4",
            )?;
            let after = after.as_ref().map(TokenHash::as_bytes);
            let values = (account.as_bytes(), after, int(now), int(limit.saturating_add(1)));
            let mut tokens = select.query_and_then(values, item)?.collect::<SqlResult<Vec<_>>>()?;
            let more = tokens.len() as u64 > limit;
            tokens.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
            Ok(TokenPage { tokens, more })
        })
        .await
    }

    async fn revoke_tokens(&self, account: AccountId, hashes: Vec<TokenHash>) -> Result<u64> {
        self.write(Lane::Urgent, 0, move |tx| {
            let mut revoked = 0;
            for hash in &hashes {
                let mut own = tx.connection.prepare_cached(
                    "SELECT EXISTS (
                       SELECT 1
                       FROM tokens
                       JOIN accounts ON accounts.id = tokens.account
                       WHERE tokens.hash = ?1 AND accounts.account = ?2)",
                )?;
                if own.query_row((hash.as_bytes(), account.as_bytes()), |row| row.get(0))? {
                    slices::delete_token(tx, *hash)?;
                    revoked += 1;
                }
            }
            Ok(revoked)
        })
        .await
    }

    async fn route(&self, token: TokenHash, now: u64) -> Result<Option<Route>> {
        self.fate.check()?;
        self.queue.check()?;
        let (generation, found) = self.routes.find(&token);
        // One that has expired is looked for like one that never was: memory, being quicker, would tell them apart.
        let good = found.filter(|(token, _)| token.expires_at.is_none_or(|expires_at| now < expires_at));
        let found = match good {
            Some(found) => Some(found),
            None => self.read(move |connection| read_route(connection, &token, now)).await?.map(|(route, account)| {
                let account = Arc::new(account);
                self.routes.remember(generation, token, route.clone(), Arc::clone(&account));
                (route, account)
            }),
        };
        Ok(found.map(|(token, account)| account.route(token.kind)))
    }
}

fn add_token(tx: &mut Tx<'_>, account: &AccountId, new: &TokenItem, tokens_max: u64, now: u64) -> SqlResult<TokenAdded> {
    let connection = tx.connection;
    let mut owner = connection.prepare_cached(
        "SELECT id
         FROM accounts
         WHERE account = ?1",
    )?;
    // Deleted under a session that was still good: nothing to add to, and nobody to tell.
    let Some(owner) = owner.query_row([account.as_bytes()], |row| row.get::<_, i64>(0)).optional()? else {
        return Ok(TokenAdded::TooMany);
    };
    let mut known = connection.prepare_cached(
        "SELECT tokens.hash, kind, expires_at, envelopes_max, used_tag, uses, tokens.account, accounts.account IS NULL
         FROM tokens
         JOIN accounts ON accounts.id = tokens.account
         WHERE tokens.hash = ?1",
    )?;
    let known = known.query_row([new.hash.as_bytes()], |row| Ok((item(row)?, row.get::<_, i64>(6)?, row.get::<_, bool>(7)?)));
    let known = known.optional()?;
    if let Some((known, known_owner, false)) = &known
        && known.expires_at.is_none_or(|expires_at| now < expires_at)
    {
        let same = *known_owner == owner
            && known.kind == new.kind
            && known.expires_at.map(int) == new.expires_at.map(int)
            && known.envelopes_max.map(int) == new.envelopes_max.map(int)
            && known.uses_left == new.uses_left;
        return Ok(if same { TokenAdded::Added } else { TokenAdded::Taken });
    }
    let mut count = connection.prepare_cached(
        "SELECT count(*)
         FROM tokens
         WHERE account = ?1 AND (expires_at IS NULL OR expires_at > ?2)",
    )?;
    if count.query_row([owner, int(now)], |row| uint(row, 0))? >= tokens_max {
        return Ok(TokenAdded::TooMany);
    }
    if known.is_some() {
        // Nobody sees that one any more; it only waits to be removed.
        slices::delete_token(tx, new.hash)?;
    }
    entries::add_token(connection, owner, new)?;
    tx.effects.adds = true;
    tx.effects.tokens.push(new.hash);
    Ok(TokenAdded::Added)
}

/// Columns `hash, kind, expires_at, envelopes_max, used_tag`, and `uses_left` or `uses`.
fn item(row: &Row<'_>) -> SqlResult<TokenItem> {
    Ok(TokenItem {
        hash: TokenHash(blob(row, 0)?),
        kind: kind(row, 1)?,
        expires_at: uint_or_none(row, 2)?,
        envelopes_max: uint_or_none(row, 3)?,
        used: blob_or_none::<16>(row, 4)?.is_some(),
        uses_left: uint_or_none(row, 5)?,
    })
}

fn read_route(connection: &Connection, token: &TokenHash, now: u64) -> SqlResult<Option<(RouteToken, RouteAccount)>> {
    let mut find = connection.prepare_cached(
        "SELECT tokens.account, kind, expires_at, envelopes_max, accounts.account, epoch, version, suspended
         FROM tokens
         JOIN accounts ON accounts.id = tokens.account
         WHERE tokens.hash = ?1
           AND accounts.account IS NOT NULL
           AND (expires_at IS NULL OR expires_at > ?2)",
    )?;
    let found = find.query_row((token.as_bytes(), int(now)), |row| {
        let token = RouteToken {
            account: row.get(0)?,
            kind: kind(row, 1)?,
            expires_at: uint_or_none(row, 2)?,
            envelopes_max: uint_or_none(row, 3)?,
        };
        let account = RouteAccount {
            account: AccountId(blob(row, 4)?),
            list: ListName { epoch: row.get(5)?, version: uint(row, 6)? },
            devices: Vec::new(),
            mailboxes: Vec::new(),
            suspended: row.get(7)?,
        };
        Ok((token, account))
    });
    let Some((token, mut account)) = found.optional()? else { return Ok(None) };
    let mut devices = connection.prepare_cached(
        "SELECT device, sealing_key, seen_week, mailbox
         FROM devices
         WHERE account = ?1
         ORDER BY device",
    )?;
    let devices = devices.query_and_then([token.account], |row| -> SqlResult<(RouteDevice, i64)> {
        let device =
            RouteDevice { device: DeviceId(blob(row, 0)?), sealing_key: SealingKey(blob(row, 1)?), seen_week: uint(row, 2)? };
        Ok((device, row.get(3)?))
    })?;
    (account.devices, account.mailboxes) = devices.collect::<SqlResult<Vec<_>>>()?.into_iter().unzip();
    Ok(Some((token, account)))
}
