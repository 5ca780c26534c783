//! Who owns what: an account as it stands, its devices, and how both go; and the pass that lets one in.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::Tx;
use super::leavings::{LEFT_ENVELOPES, LEFT_TOKENS, leave};
use crate::protocol::{AccountId, Bytes, DeviceId, Hash, Signature, SignedList};

/// An account as it stands.
pub(super) struct Current {
    pub(super) id: i64,
    pub(super) epoch: u32,
    pub(super) version: u64,
    pub(super) signed: SignedList,
}

pub(super) fn current(connection: &Connection, account: &AccountId) -> rusqlite::Result<Option<Current>> {
    connection
        .prepare_cached(
            "SELECT id, epoch, version, certificate, list, signature
             FROM accounts
             WHERE account = ?1",
        )?
        .query_row([account.0], |row| {
            Ok(Current { id: row.get(0)?, epoch: row.get(1)?, version: row.get(2)?, signed: signed(row, 3)? })
        })
        .optional()
}

/// Removes an account and everything of it, as far as anybody can see; the bulk goes in slices.
pub(super) fn delete(tx: &mut Tx<'_>, account: i64) -> rusqlite::Result<Vec<DeviceId>> {
    let devices = devices_of(tx.connection, account)?;
    for (mailbox, device) in &devices {
        remove_device(tx, *mailbox, device)?;
    }
    tx.connection.prepare_cached("DELETE FROM accounts WHERE id = ?1")?.execute([account])?;
    leave(tx, LEFT_TOKENS, account, 0)?;
    tx.after.routes_changed = true;
    Ok(devices.into_iter().map(|(_, device)| device).collect())
}

fn signed(row: &Row<'_>, at: usize) -> rusqlite::Result<SignedList> {
    Ok(SignedList {
        list_key_certificate: Bytes(row.get(at)?),
        list: Bytes(row.get(at + 1)?),
        signature: Signature(row.get(at + 2)?),
    })
}

pub(super) fn devices_of(connection: &Connection, account: i64) -> rusqlite::Result<Vec<(i64, DeviceId)>> {
    connection
        .prepare_cached("SELECT mailbox, device FROM devices WHERE account = ?1 ORDER BY device")?
        .query_map([account], |row| Ok((row.get(0)?, DeviceId(row.get(1)?))))?
        .collect()
}

pub(super) fn remove_device(tx: &mut Tx<'_>, mailbox: i64, device: &DeviceId) -> rusqlite::Result<()> {
    tx.connection.prepare_cached("DELETE FROM devices WHERE mailbox = ?1")?.execute([mailbox])?;
    tx.connection
        .prepare_cached("INSERT OR IGNORE INTO removed_devices (hash) VALUES (?1)")?
        .execute([Hash::of(device.as_ref()).0])?;
    tx.memory.forget(mailbox);
    leave(tx, LEFT_ENVELOPES, mailbox, i64::MAX)
}

/// Uses a pass once; false when it is not good. Used up, it is gone.
pub(super) fn use_one(connection: &Connection, pass: Option<&Hash>, now: u64) -> rusqlite::Result<bool> {
    let Some(hash) = pass else { return Ok(false) };
    let used = connection
        .prepare_cached("UPDATE passes SET uses_left = uses_left - 1 WHERE hash = ?1 AND uses_left > 0 AND expires_at > ?2")?
        .execute(params![hash.0, now])?;
    connection.prepare_cached("DELETE FROM passes WHERE hash = ?1 AND uses_left = 0")?.execute([hash.0])?;
    Ok(used == 1)
}
