//! Accounts as the operator deals with them: listed, suspended.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Result as SqlResult};

use super::SqliteStore;
use super::fresh::Fresh;
use super::places;
use super::queue::Lane;
use super::values::{blob, int, uint};
use super::writer::Tx;
use crate::protocol::{AccountId, DeviceId};
use crate::store::{AccountItem, AccountPage, Result, Roster};

#[async_trait]
impl Roster for SqliteStore {
    async fn accounts(&self, from: AccountId, limit: u64, now: u64) -> Result<AccountPage> {
        self.count_places(move |connection, fresh| page(connection, fresh, &from, limit, now)).await
    }

    async fn suspend(&self, account: AccountId, suspended: bool) -> Result<Option<Vec<DeviceId>>> {
        self.write(Lane::Urgent, 0, move |tx| suspend(tx, &account, suspended)).await
    }
}

fn page(connection: &Connection, fresh: &Fresh, from: &AccountId, limit: u64, now: u64) -> SqlResult<AccountPage> {
    let mut select = connection.prepare_cached(
        "SELECT id, account, suspended
         FROM accounts
         WHERE account >= ?1
         ORDER BY account
         LIMIT ?2",
    )?;
    let found = select.query_and_then((from.as_bytes(), int(limit.saturating_add(1))), |row| -> SqlResult<_> {
        Ok((row.get::<_, i64>(0)?, AccountId(blob(row, 1)?), row.get::<_, bool>(2)?))
    })?;
    let mut found = found.collect::<SqlResult<Vec<_>>>()?;
    let next = if found.len() as u64 > limit { found.pop().map(|(_, account, _)| account) } else { None };
    let items = found.into_iter().map(|(id, account, suspended)| item(connection, fresh, id, account, suspended, now));
    Ok(AccountPage { accounts: items.collect::<SqlResult<_>>()?, next })
}

fn item(
    connection: &Connection,
    fresh: &Fresh,
    id: i64,
    account: AccountId,
    suspended: bool,
    now: u64,
) -> SqlResult<AccountItem> {
    let mut devices = connection.prepare_cached(
        "SELECT count(*), coalesce(max(seen_week), 0)
         FROM devices
         WHERE account = ?1",
    )?;
    let (devices, seen_week) = devices.query_row([id], |row| Ok((uint(row, 0)?, uint(row, 1)?)))?;
    let mut mailboxes = connection.prepare_cached(
        "SELECT mailbox
         FROM devices
         WHERE account = ?1",
    )?;
    let (mut envelopes, mut bytes) = (0, 0);
    for mailbox in mailboxes.query_and_then([id], |row| row.get::<_, i64>(0))? {
        let waiting = places::waiting(connection, fresh, mailbox?, now)?;
        envelopes += waiting.0;
        bytes += waiting.1;
    }
    let mut tokens = connection.prepare_cached(
        "SELECT count(*)
         FROM tokens
         WHERE account = ?1 AND (expires_at IS NULL OR expires_at > ?2)",
    )?;
    let tokens = tokens.query_row([id, int(now)], |row| uint(row, 0))?;
    Ok(AccountItem { account, devices, envelopes, bytes, tokens, seen_week, suspended })
}

fn suspend(tx: &mut Tx<'_>, account: &AccountId, suspended: bool) -> SqlResult<Option<Vec<DeviceId>>> {
    let mut mark = tx.connection.prepare_cached(
        "UPDATE accounts
         SET suspended = ?2
         WHERE account = ?1
         RETURNING id",
    )?;
    let Some(id) = mark.query_row((account.as_bytes(), suspended), |row| row.get::<_, i64>(0)).optional()? else {
        return Ok(None);
    };
    tx.effects.accounts.push(id);
    let mut devices = tx.connection.prepare_cached(
        "SELECT device
         FROM devices
         WHERE account = ?1
         ORDER BY device",
    )?;
    let devices = devices.query_and_then([id], |row| blob(row, 0).map(DeviceId))?;
    devices.collect::<SqlResult<_>>().map(Some)
}
