//! Accounts, lists and devices in SQL.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};

use super::owners::{current, delete, devices_of, remove_device, use_one};
use super::{Result, SqliteStore};
use crate::protocol::accounts::{AccountReply, DeviceItem};
use crate::protocol::time::WEEK;
use crate::protocol::{AccountId, DeviceEntry, DeviceId, Hash, SealingKey};
use crate::store::{Accounts, DeviceRecord, NewList, Registered, Replaced, Successor};

#[async_trait]
impl Accounts for SqliteStore {
    async fn register(&self, new: NewList, pass: Option<Hash>, pass_needed: bool, now: u64) -> Result<Registered> {
        self.urgent(move |tx| {
            if let Some(current) = current(tx.connection, &new.list.account)? {
                let same = current.signed == new.signed;
                return Ok(if same { Registered::Repeated } else { Registered::AccountExists });
            }
            if taken(tx.connection, &new.list.entries, None)? {
                return Ok(Registered::DeviceTaken);
            }
            if pass_needed && !use_one(tx.connection, pass.as_ref(), now)? {
                return Ok(Registered::PassRefused);
            }
            tx.connection
                .prepare_cached(
                    "INSERT INTO accounts (account, certificate, list, signature, epoch, version)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )?
                .execute(params![
                    new.list.account.0,
                    new.signed.list_key_certificate.0,
                    new.signed.list.0,
                    new.signed.signature.0,
                    new.list.epoch,
                    new.list.version
                ])?;
            let account = tx.connection.last_insert_rowid();
            for entry in &new.list.entries {
                insert_device(tx.connection, account, entry, now)?;
            }
            Ok(Registered::Created)
        })
        .await
    }

    async fn replace_list(&self, new: NewList, rule: Successor, now: u64) -> Result<Replaced> {
        self.urgent(move |tx| {
            let Some(current) = current(tx.connection, &new.list.account)? else { return Ok(Replaced::NoSuchAccount) };
            if current.signed == new.signed {
                return Ok(Replaced::Done { removed: Vec::new() });
            }
            let next = new.list.epoch == current.epoch
                && new.list.version == current.version + 1
                && new.list.previous == current.signed.hash();
            let follows = new.list.epoch > current.epoch || (rule == Successor::Next && next);
            if !follows {
                return Ok(Replaced::Conflict(current.signed));
            }
            if taken(tx.connection, &new.list.entries, Some(current.id))? {
                return Ok(Replaced::DeviceTaken);
            }
            tx.connection
                .prepare_cached(
                    "UPDATE accounts
                     SET certificate = ?2, list = ?3, signature = ?4, epoch = ?5, version = ?6
                     WHERE id = ?1",
                )?
                .execute(params![
                    current.id,
                    new.signed.list_key_certificate.0,
                    new.signed.list.0,
                    new.signed.signature.0,
                    new.list.epoch,
                    new.list.version
                ])?;
            let before = devices_of(tx.connection, current.id)?;
            let removed: Vec<_> = before.iter().filter(|(_, device)| new.list.entry(device).is_none()).copied().collect();
            for (mailbox, device) in &removed {
                remove_device(tx, *mailbox, device)?;
            }
            for entry in &new.list.entries {
                if before.iter().any(|(_, device)| *device == entry.device) {
                    tx.connection
                        .prepare_cached("UPDATE devices SET sealing_key = ?2 WHERE device = ?1")?
                        .execute(params![entry.device.0, entry.sealing_key.0])?;
                } else {
                    insert_device(tx.connection, current.id, entry, now)?;
                }
            }
            tx.after.routes_changed = true;
            Ok(Replaced::Done { removed: removed.into_iter().map(|(_, device)| device).collect() })
        })
        .await
    }

    async fn device(&self, device: DeviceId) -> Result<Option<DeviceRecord>> {
        self.readers
            .read(move |connection| {
                connection
                    .prepare_cached(
                        "SELECT a.account, d.sealing_key
                         FROM devices d
                         JOIN accounts a ON a.id = d.account
                         WHERE d.device = ?1",
                    )?
                    .query_row([device.0], |row| {
                        Ok(DeviceRecord { account: AccountId(row.get(0)?), sealing_key: SealingKey(row.get(1)?) })
                    })
                    .optional()
            })
            .await
    }

    async fn visited(&self, device: DeviceId, week: u64) -> Result<()> {
        let seen: Option<u64> = self
            .readers
            .read(move |connection| {
                connection
                    .prepare_cached("SELECT seen_week FROM devices WHERE device = ?1")?
                    .query_row([device.0], |row| row.get(0))
                    .optional()
            })
            .await?;
        if seen.is_none_or(|seen| seen >= week) {
            return Ok(());
        }
        self.urgent(move |tx| {
            tx.after.routes_changed = true;
            tx.connection
                .prepare_cached("UPDATE devices SET seen_week = ?2 WHERE device = ?1 AND seen_week < ?2")?
                .execute(params![device.0, week])?;
            Ok(())
        })
        .await
    }

    async fn account(&self, account: AccountId, now: u64) -> Result<Option<AccountReply>> {
        self.readers
            .read(move |connection| {
                let Some(current) = current(connection, &account)? else { return Ok(None) };
                let mut statement = connection.prepare_cached(
                    "SELECT d.device, d.seen_week, d.prekey_expires_at, COUNT(e.id), COALESCE(SUM(length(e.body)), 0)
                     FROM devices d
                     LEFT JOIN envelopes e ON e.mailbox = d.mailbox AND e.seq > d.acked_through AND e.expires_at > ?2
                     WHERE d.account = ?1
                     GROUP BY d.mailbox
                     ORDER BY d.device",
                )?;
                let devices = statement
                    .query_map(params![current.id, now], |row| {
                        Ok(DeviceItem {
                            device: DeviceId(row.get(0)?),
                            seen_week: row.get(1)?,
                            prekey_expires_at: row.get(2)?,
                            envelopes: row.get(3)?,
                            bytes: row.get(4)?,
                        })
                    })?
                    .collect::<rusqlite::Result<_>>()?;
                let tokens = connection
                    .prepare_cached(
                        "SELECT COUNT(*)
                         FROM tokens
                         WHERE account = ?1 AND (expires_at IS NULL OR expires_at > ?2)",
                    )?
                    .query_row(params![current.id, now], |row| row.get(0))?;
                Ok(Some(AccountReply { account, device_list: current.signed, devices, tokens }))
            })
            .await
    }

    async fn delete_account(&self, account: AccountId) -> Result<Vec<DeviceId>> {
        self.urgent(move |tx| {
            let Some(current) = current(tx.connection, &account)? else { return Ok(Vec::new()) };
            delete(tx, current.id)
        })
        .await
    }
}

/// Whether a device is another account's than `own`, or was removed once.
fn taken(connection: &Connection, entries: &[DeviceEntry], own: Option<i64>) -> rusqlite::Result<bool> {
    for entry in entries {
        let elsewhere: bool = connection
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM devices WHERE device = ?1 AND account IS NOT ?2)
                     OR EXISTS (SELECT 1 FROM removed_devices WHERE hash = ?3)",
            )?
            .query_row(params![entry.device.0, own, Hash::of(entry.device.as_ref()).0], |row| row.get(0))?;
        if elsewhere {
            return Ok(true);
        }
    }
    Ok(false)
}

fn insert_device(connection: &Connection, account: i64, entry: &DeviceEntry, now: u64) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO devices (account, device, sealing_key, seen_week, next_seq, gap_count, gap_through, acked_through)
             VALUES (?1, ?2, ?3, ?4, 1, 0, 0, 0)",
        )?
        .execute(params![account, entry.device.0, entry.sealing_key.0, now / WEEK])?;
    Ok(())
}
