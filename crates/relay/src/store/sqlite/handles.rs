//! Handles: a hash and a record that only who knows the name can read.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Result as SqlResult};

use super::SqliteStore;
use super::queue::Lane;
use super::slices;
use super::values::{int, uint};
use super::writer::Tx;
use crate::protocol::handles::HELD_MAX;
use crate::protocol::{AccountId, HandleHash};
use crate::store::{HandlePut, HandleReleased, Handles, Result};

#[async_trait]
impl Handles for SqliteStore {
    async fn put_handle(
        &self,
        account: AccountId,
        hash: HandleHash,
        record: Vec<u8>,
        held_until: u64,
        now: u64,
    ) -> Result<HandlePut> {
        self.write(Lane::Urgent, 0, move |tx| put(tx, &account, &hash, &record, held_until, now)).await
    }

    async fn release_handle(&self, account: AccountId, held_until: u64, now: u64) -> Result<HandleReleased> {
        self.write(Lane::Urgent, 0, move |tx| {
            let Some(owner) = owner(tx.connection, &account)? else { return Ok(HandleReleased::None) };
            let Some(current) = current(tx.connection, owner)? else { return Ok(HandleReleased::None) };
            if let Some(until) = held_enough(tx.connection, owner, None, now)? {
                return Ok(HandleReleased::TooMany { until });
            }
            hold(tx, current, held_until)?;
            Ok(HandleReleased::Released)
        })
        .await
    }

    async fn handle(&self, hash: HandleHash) -> Result<Option<Vec<u8>>> {
        self.read(move |connection| {
            let mut find = connection.prepare_cached(
                "SELECT record
                 FROM handles
                 JOIN accounts ON accounts.id = handles.account
                 WHERE handles.hash = ?1 AND record IS NOT NULL AND accounts.account IS NOT NULL",
            )?;
            find.query_row([hash.as_bytes()], |row| row.get(0)).optional()
        })
        .await
    }
}

fn put(
    tx: &mut Tx<'_>,
    account: &AccountId,
    hash: &HandleHash,
    record: &[u8],
    held_until: u64,
    now: u64,
) -> SqlResult<HandlePut> {
    let connection = tx.connection;
    // Deleted under a session that was still good: nobody is left to have it.
    let Some(owner) = owner(connection, account)? else { return Ok(HandlePut::Taken) };
    let mut find = connection.prepare_cached(
        "SELECT handles.id, handles.account, accounts.account IS NULL OR coalesce(held_until <= ?2, 0)
         FROM handles
         JOIN accounts ON accounts.id = handles.account
         WHERE handles.hash = ?1",
    )?;
    let found = find.query_row((hash.as_bytes(), int(now)), |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, bool>(2)?))
    });
    let mine = match found.optional()? {
        // Nobody sees this one any more; it only waits to be removed.
        Some((id, _, true)) => {
            slices::delete_handle(tx, id)?;
            None
        }
        Some((_, other, false)) if other != owner => return Ok(HandlePut::Taken),
        Some((id, ..)) => Some(id),
        None => None,
    };
    let before = current(connection, owner)?.filter(|before| Some(*before) != mine);
    if let Some(before) = before {
        if let Some(until) = held_enough(connection, owner, mine, now)? {
            return Ok(HandlePut::TooMany { until });
        }
        hold(tx, before, held_until)?;
    }
    match mine {
        Some(id) => {
            let mut update = connection.prepare_cached(
                "UPDATE handles
                 SET record = ?2, held_until = NULL
                 WHERE id = ?1",
            )?;
            update.execute((id, record))?;
            tx.effects.deleted = true;
        }
        None => {
            let mut insert = connection.prepare_cached(
                "INSERT INTO handles (hash, account, record)
                 VALUES (?1, ?2, ?3)",
            )?;
            insert.execute((hash.as_bytes(), owner, record))?;
            tx.effects.adds = true;
        }
    }
    Ok(HandlePut::Done)
}

fn owner(connection: &Connection, account: &AccountId) -> SqlResult<Option<i64>> {
    let mut find = connection.prepare_cached(
        "SELECT id
         FROM accounts
         WHERE account = ?1",
    )?;
    find.query_row([account.as_bytes()], |row| row.get(0)).optional()
}

/// The row of the handle that an account has.
fn current(connection: &Connection, owner: i64) -> SqlResult<Option<i64>> {
    let mut find = connection.prepare_cached(
        "SELECT id
         FROM handles
         WHERE account = ?1 AND held_until IS NULL",
    )?;
    find.query_row([owner], |row| row.get(0)).optional()
}

/// Until when the first is held, where as many are as may be; `but` is one that is no longer going to be.
fn held_enough(connection: &Connection, owner: i64, but: Option<i64>, now: u64) -> SqlResult<Option<u64>> {
    let mut count = connection.prepare_cached(
        "SELECT count(*), coalesce(min(held_until), 0)
         FROM handles
         WHERE account = ?1 AND held_until > ?2 AND id IS NOT ?3",
    )?;
    let (held, first) = count.query_row((owner, int(now), but), |row| Ok((uint(row, 0)?, uint(row, 1)?)))?;
    Ok((held >= HELD_MAX).then_some(first))
}

fn hold(tx: &mut Tx<'_>, id: i64, held_until: u64) -> SqlResult<()> {
    let mut hold = tx.connection.prepare_cached(
        "UPDATE handles
         SET record = NULL, held_until = ?2
         WHERE id = ?1",
    )?;
    hold.execute([id, int(held_until)])?;
    tx.effects.deleted = true;
    Ok(())
}
