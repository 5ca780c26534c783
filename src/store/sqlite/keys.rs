//! Prekeys in SQL.

use async_trait::async_trait;
use rusqlite::params;

use super::owners::current;
use super::{Result, SqliteStore};
use crate::protocol::keys::Prekey;
use crate::protocol::{AccountId, DeviceId, SealingKey, Signature, SignedList};
use crate::store::Keys;

#[async_trait]
impl Keys for SqliteStore {
    async fn put_prekey(&self, key: Prekey) -> Result<bool> {
        self.urgent(move |tx| {
            let changed = tx
                .connection
                .prepare_cached(
                    "UPDATE devices
                     SET prekey = ?2, prekey_expires_at = ?3, prekey_signature = ?4
                     WHERE device = ?1",
                )?
                .execute(params![key.device.0, key.prekey.0, key.expires_at, key.signature.0])?;
            Ok(changed == 1)
        })
        .await
    }

    async fn prekeys(&self, account: AccountId, now: u64) -> Result<Option<(SignedList, Vec<Prekey>)>> {
        self.readers
            .read(move |connection| {
                let Some(current) = current(connection, &account)? else { return Ok(None) };
                let prekeys = connection
                    .prepare_cached(
                        "SELECT device, prekey, prekey_expires_at, prekey_signature
                         FROM devices
                         WHERE account = ?1 AND prekey_expires_at > ?2
                         ORDER BY device",
                    )?
                    .query_map(params![current.id, now], |row| {
                        Ok(Prekey {
                            device: DeviceId(row.get(0)?),
                            prekey: SealingKey(row.get(1)?),
                            expires_at: row.get(2)?,
                            signature: Signature(row.get(3)?),
                        })
                    })?
                    .collect::<rusqlite::Result<_>>()?;
                Ok(Some((current.signed, prekeys)))
            })
            .await
    }
}
