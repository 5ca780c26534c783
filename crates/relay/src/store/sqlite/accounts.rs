//! Accounts, their lists and devices.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Result as SqlResult};

use super::SqliteStore;
use super::entries;
use super::fresh::Fresh;
use super::memory::mailbox_of;
use super::places;
use super::queue::Lane;
use super::slices;
use super::values::{blob, int, signed_list, uint, uint_or_none};
use super::writer::Tx;
use crate::protocol::accounts::{AccountReply, DeviceItem};
use crate::protocol::handles::HandleItem;
use crate::protocol::slots::SlotItem;
use crate::protocol::{AccountId, DeviceEntry, DeviceId, HandleHash, Hash, SealingKey, SignedList, SlotId};
use crate::store::{Accounts, DeviceRecord, NewList, Registered, Replaced, Result, Successor};

#[async_trait]
impl Accounts for SqliteStore {
    async fn register(&self, new: NewList, pass: Option<Hash>, pass_needed: bool, now: u64) -> Result<Registered> {
        self.write(Lane::Urgent, 0, move |tx| register(tx, &new, pass, pass_needed, now)).await
    }

    async fn replace_list(&self, new: NewList, rule: Successor, now: u64) -> Result<Replaced> {
        self.write(Lane::Urgent, 0, move |tx| replace_list(tx, &new, rule, now)).await
    }

    async fn device(&self, device: DeviceId) -> Result<Option<DeviceRecord>> {
        self.read(move |connection| {
            let mut find = connection.prepare_cached(
                "SELECT accounts.account, devices.sealing_key, accounts.suspended
                 FROM devices
                 JOIN accounts ON accounts.id = devices.account
                 WHERE devices.device = ?1",
            )?;
            let record = find.query_row([device.as_bytes()], |row| {
                Ok(DeviceRecord {
                    account: AccountId(blob(row, 0)?),
                    sealing_key: SealingKey(blob(row, 1)?),
                    suspended: row.get(2)?,
                })
            });
            record.optional()
        })
        .await
    }

    async fn visited(&self, device: DeviceId, week: u64) -> Result<()> {
        let seen = self.read(move |connection| {
            let mut find = connection.prepare_cached(
                "SELECT seen_week
                 FROM devices
                 WHERE device = ?1",
            )?;
            find.query_row([device.as_bytes()], |row| uint(row, 0)).optional()
        });
        if seen.await?.is_none_or(|seen| seen >= week) {
            return Ok(());
        }
        self.write(Lane::Urgent, 0, move |tx| {
            let Some((_, account)) = mailbox_of(tx.connection, &device)? else { return Ok(()) };
            let mut note = tx.connection.prepare_cached(
                "UPDATE devices
                 SET seen_week = max(seen_week, ?2)
                 WHERE device = ?1",
            )?;
            note.execute((device.as_bytes(), int(week)))?;
            tx.effects.accounts.push(account);
            Ok(())
        })
        .await
    }

    async fn account(&self, account: AccountId, now: u64) -> Result<Option<AccountReply>> {
        self.count_places(move |connection, fresh| account_reply(connection, fresh, account, now)).await
    }

    async fn delete_account(&self, account: AccountId) -> Result<Vec<DeviceId>> {
        self.write(Lane::Urgent, 0, move |tx| match find(tx.connection, &account)? {
            Some(current) => slices::delete_account(tx, current.id),
            None => Ok(Vec::new()),
        })
        .await
    }
}

/// An account's row.
struct Current {
    id: i64,
    epoch: u64,
    version: u64,
    signed: SignedList,
}

fn find(connection: &Connection, account: &AccountId) -> SqlResult<Option<Current>> {
    let mut find = connection.prepare_cached(
        "SELECT id, epoch, version, list_key_certificate, list, list_signature
         FROM accounts
         WHERE account = ?1",
    )?;
    let current = find.query_row([account.as_bytes()], |row| {
        Ok(Current { id: row.get(0)?, epoch: uint(row, 1)?, version: uint(row, 2)?, signed: signed_list(row, 3)? })
    });
    current.optional()
}

fn register(tx: &mut Tx<'_>, new: &NewList, pass: Option<Hash>, pass_needed: bool, now: u64) -> SqlResult<Registered> {
    if let Some(current) = find(tx.connection, &new.list.account)? {
        let same = current.signed.list == new.signed.list;
        return Ok(if same { Registered::Repeated } else { Registered::AccountExists });
    }
    let good = match pass {
        Some(pass) => pass_is_good(tx.connection, &pass, now)?,
        None => false,
    };
    if pass_needed && !good {
        return Ok(Registered::PassRefused);
    }
    for entry in &new.list.entries {
        if is_taken(tx.connection, &entry.device)? {
            return Ok(Registered::DeviceTaken);
        }
    }
    if let Some(pass) = pass.filter(|_| good) {
        let mut spend = tx.connection.prepare_cached(
            "UPDATE passes
             SET uses_left = uses_left - 1
             WHERE hash = ?1",
        )?;
        spend.execute([pass.as_bytes()])?;
    }
    tx.effects.adds = true;
    let id = entries::add_account(tx.connection, new)?;
    for entry in &new.list.entries {
        entries::add_device(tx.connection, id, entry, tx.memory.gone_max, now)?;
    }
    Ok(Registered::Created)
}

fn replace_list(tx: &mut Tx<'_>, new: &NewList, rule: Successor, now: u64) -> SqlResult<Replaced> {
    let Some(current) = find(tx.connection, &new.list.account)? else { return Ok(Replaced::NoSuchAccount) };
    if current.signed.list == new.signed.list {
        if rule == Successor::HigherEpoch {
            slices::remove_factor(tx, current.id)?;
        }
        return Ok(Replaced::Done { removed: Vec::new() });
    }
    let epoch = u64::from(new.list.epoch);
    let follows = epoch == current.epoch
        && new.list.version == current.version + 1
        && new.list.previous == current.signed.hash()
        && rule == Successor::Next;
    if !follows && epoch <= current.epoch {
        return Ok(Replaced::Conflict(current.signed));
    }
    let before = devices_of(tx.connection, current.id)?;
    let added: Vec<&DeviceEntry> = new.list.entries.iter().filter(|entry| !before.contains(&entry.device)).collect();
    for entry in &added {
        if is_taken(tx.connection, &entry.device)? {
            return Ok(Replaced::DeviceTaken);
        }
    }
    let mut update = tx.connection.prepare_cached(
        "UPDATE accounts
         SET epoch = ?2, version = ?3, list_key_certificate = ?4, list = ?5, list_signature = ?6
         WHERE id = ?1",
    )?;
    update.execute((
        current.id,
        new.list.epoch,
        int(new.list.version),
        new.signed.list_key_certificate.as_slice(),
        new.signed.list.as_slice(),
        new.signed.signature.as_bytes(),
    ))?;
    if rule == Successor::HigherEpoch {
        slices::remove_factor(tx, current.id)?;
    }
    let removed: Vec<DeviceId> = before.into_iter().filter(|device| new.list.entry(device).is_none()).collect();
    for device in &removed {
        slices::remove_device(tx, device)?;
    }
    for entry in &new.list.entries {
        let mut rekey = tx.connection.prepare_cached(
            "UPDATE devices
             SET sealing_key = ?2
             WHERE device = ?1",
        )?;
        rekey.execute((entry.device.as_bytes(), entry.sealing_key.as_bytes()))?;
    }
    for entry in added {
        entries::add_device(tx.connection, current.id, entry, tx.memory.gone_max, now)?;
    }
    tx.effects.accounts.push(current.id);
    Ok(Replaced::Done { removed })
}

fn account_reply(connection: &Connection, fresh: &Fresh, account: AccountId, now: u64) -> SqlResult<Option<AccountReply>> {
    let Some(current) = find(connection, &account)? else { return Ok(None) };
    let mut devices = connection.prepare_cached(
        "SELECT device, seen_week, prekey_expires_at, mailbox
         FROM devices
         WHERE account = ?1
         ORDER BY device",
    )?;
    let devices = devices.query_and_then([current.id], |row| -> SqlResult<DeviceItem> {
        let mailbox: i64 = row.get(3)?;
        let (envelopes, bytes) = places::waiting(connection, fresh, mailbox, now)?;
        Ok(DeviceItem {
            device: DeviceId(blob(row, 0)?),
            seen_week: uint(row, 1)?,
            envelopes,
            bytes,
            prekey_expires_at: uint_or_none(row, 2)?.filter(|expires_at| *expires_at > now),
        })
    })?;
    let devices = devices.collect::<SqlResult<Vec<_>>>()?;
    let mut tokens = connection.prepare_cached(
        "SELECT count(*)
         FROM tokens
         WHERE account = ?1 AND (expires_at IS NULL OR expires_at > ?2)",
    )?;
    let tokens = tokens.query_row([current.id, int(now)], |row| uint(row, 0))?;
    let mut handles = connection.prepare_cached(
        "SELECT hash, held_until
         FROM handles
         WHERE account = ?1 AND (held_until IS NULL OR held_until > ?2)
         ORDER BY hash",
    )?;
    let handles = handles.query_and_then([current.id, int(now)], |row| -> SqlResult<HandleItem> {
        Ok(HandleItem { hash: HandleHash(blob(row, 0)?), held_until: uint_or_none(row, 1)? })
    })?;
    let handles = handles.collect::<SqlResult<_>>()?;
    let mut slots = connection.prepare_cached(
        "SELECT slot, version, length(content)
         FROM slots
         WHERE account = ?1
         ORDER BY slot",
    )?;
    let slots = slots.query_and_then([current.id], |row| -> SqlResult<SlotItem> {
        Ok(SlotItem { slot: SlotId(blob(row, 0)?), version: uint(row, 1)?, bytes: uint(row, 2)? })
    })?;
    let slots = slots.collect::<SqlResult<_>>()?;
    let mut factor = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM factors WHERE account = ?1),
                (SELECT count(*) FROM recovery_codes WHERE account = ?1)",
    )?;
    let (totp, recovery_codes) = factor.query_row([current.id], |row| Ok((row.get(0)?, uint(row, 1)?)))?;
    Ok(Some(AccountReply { account, device_list: current.signed, devices, tokens, totp, recovery_codes, handles, slots }))
}

fn devices_of(connection: &Connection, account: i64) -> SqlResult<Vec<DeviceId>> {
    let mut find = connection.prepare_cached(
        "SELECT device
         FROM devices
         WHERE account = ?1
         ORDER BY device",
    )?;
    find.query_and_then([account], |row| blob(row, 0).map(DeviceId))?.collect()
}

/// Whether a device stands in any account, or was removed once.
fn is_taken(connection: &Connection, device: &DeviceId) -> SqlResult<bool> {
    let mut find = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM devices WHERE device = ?1)
             OR EXISTS (SELECT 1 FROM removed_devices WHERE hash = ?2)",
    )?;
    find.query_row((device.as_bytes(), Hash::of(device.as_bytes()).as_bytes()), |row| row.get(0))
}

fn pass_is_good(connection: &Connection, pass: &Hash, now: u64) -> SqlResult<bool> {
    let mut find = connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM passes WHERE hash = ?1 AND uses_left > 0 AND expires_at > ?2)")?;
    find.query_row((pass.as_bytes(), int(now)), |row| row.get(0))
}
