//! What a newcomer's rows are when they are first written: an account, its devices with their mailboxes, a token. Whether
//! they may be written is for the topics to say.

use rusqlite::{Connection, Result};

use super::values::int;
use crate::protocol::DeviceEntry;
use crate::protocol::tokens::TokenItem;
use crate::store::NewList;

/// Gives the account's number; its devices are added by [`add_device`].
pub(super) fn add_account(connection: &Connection, new: &NewList) -> Result<i64> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO accounts (account, epoch, version, list_key_certificate, list, list_signature)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    let NewList { signed, list } = new;
    insert.execute((
        list.account.as_bytes(),
        list.epoch,
        int(list.version),
        signed.list_key_certificate.as_slice(),
        signed.list.as_slice(),
        signed.signature.as_bytes(),
    ))?;
    Ok(connection.last_insert_rowid())
}

/// Gives the number of the device's mailbox, which is empty: above `gone_max`, and above every one that is there.
pub(super) fn add_device(connection: &Connection, account: i64, entry: &DeviceEntry, gone_max: i64, now: u64) -> Result<i64> {
    let mut mailbox = connection.prepare_cached(
        "INSERT INTO mailboxes (id)
         SELECT max(coalesce(max(id), 0), ?1) + 1
         FROM mailboxes",
    )?;
    mailbox.execute([gone_max])?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO devices (mailbox, account, device, sealing_key, seen_week)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    let week = int(now / crate::protocol::time::WEEK);
    let mailbox = connection.last_insert_rowid();
    insert.execute((mailbox, account, entry.device.as_bytes(), entry.sealing_key.as_bytes(), week))?;
    Ok(mailbox)
}

/// A token nobody used yet.
pub(super) fn add_token(connection: &Connection, account: i64, new: &TokenItem) -> Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO tokens (hash, account, kind, expires_at, envelopes_max, uses, uses_left)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)",
    )?;
    let (expires_at, envelopes_max, uses) = (new.expires_at.map(int), new.envelopes_max.map(int), new.uses_left.map(int));
    insert.execute((new.hash.as_bytes(), account, new.kind.byte(), expires_at, envelopes_max, uses))?;
    Ok(())
}
