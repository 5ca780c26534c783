//! Prekeys.

use async_trait::async_trait;
use rusqlite::{OptionalExtension, Result as SqlResult};

use super::SqliteStore;
use super::queue::Lane;
use super::values::{blob, int, signed_list, uint};
use crate::protocol::keys::Prekey;
use crate::protocol::{AccountId, DeviceId, SealingKey, Signature, SignedList};
use crate::store::{Keys, Result};

#[async_trait]
impl Keys for SqliteStore {
    async fn put_prekey(&self, key: Prekey) -> Result<bool> {
        self.write(Lane::Urgent, 0, move |tx| {
            let mut put = tx.connection.prepare_cached(
                "UPDATE devices
                 SET prekey = ?2, prekey_expires_at = ?3, prekey_signature = ?4
                 WHERE device = ?1",
            )?;
            let values = (key.device.as_bytes(), key.prekey.as_bytes(), int(key.expires_at), key.signature.as_bytes());
            Ok(put.execute(values)? > 0)
        })
        .await
    }

    async fn prekeys(&self, account: AccountId, now: u64) -> Result<Option<(SignedList, Vec<Prekey>)>> {
        self.read(move |connection| {
            let mut find = connection.prepare_cached(
                "SELECT id, list_key_certificate, list, list_signature
                 FROM accounts
                 WHERE account = ?1",
            )?;
            let found = find.query_row([account.as_bytes()], |row| Ok((row.get::<_, i64>(0)?, signed_list(row, 1)?)));
            let Some((id, list)) = found.optional()? else { return Ok(None) };
            let mut select = connection.prepare_cached(
                "SELECT device, prekey, prekey_expires_at, prekey_signature
                 FROM devices
                 WHERE account = ?1 AND prekey IS NOT NULL AND prekey_expires_at > ?2
                 ORDER BY device",
            )?;
            let keys = select.query_and_then([id, int(now)], |row| -> SqlResult<Prekey> {
                Ok(Prekey {
                    device: DeviceId(blob(row, 0)?),
                    prekey: SealingKey(blob(row, 1)?),
                    expires_at: uint(row, 2)?,
                    signature: Signature(blob(row, 3)?),
                })
            })?;
            Ok(Some((list, keys.collect::<SqlResult<_>>()?)))
        })
        .await
    }
}
