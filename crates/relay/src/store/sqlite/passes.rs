//! Passes.

use async_trait::async_trait;
use rusqlite::Result as SqlResult;

use super::SqliteStore;
use super::queue::Lane;
use super::values::{blob, int, uint};
use crate::protocol::Hash;
use crate::store::{PassItem, Passes, Result};

#[async_trait]
impl Passes for SqliteStore {
    async fn add_pass(&self, pass: PassItem) -> Result<()> {
        self.write(Lane::Urgent, 0, move |tx| {
            let mut insert = tx.connection.prepare_cached(
                "INSERT INTO passes (hash, uses_left, expires_at)
                 VALUES (?1, ?2, ?3)
                 ON CONFLICT DO NOTHING",
            )?;
            insert.execute((pass.hash.as_bytes(), int(pass.uses_left), int(pass.expires_at)))?;
            Ok(())
        })
        .await
    }

    async fn passes(&self, now: u64) -> Result<Vec<PassItem>> {
        self.read(move |connection| {
            let mut select = connection.prepare_cached(
                "SELECT hash, uses_left, expires_at
                 FROM passes
                 WHERE uses_left > 0 AND expires_at > ?1
                 ORDER BY hash",
            )?;
            let passes = select.query_and_then([int(now)], |row| -> SqlResult<PassItem> {
                Ok(PassItem { hash: Hash(blob(row, 0)?), uses_left: uint(row, 1)?, expires_at: uint(row, 2)? })
            })?;
            passes.collect()
        })
        .await
    }

    async fn revoke_pass(&self, hash: Hash) -> Result<bool> {
        self.write(Lane::Urgent, 0, move |tx| {
            let mut delete = tx.connection.prepare_cached(
                "DELETE FROM passes
                 WHERE hash = ?1",
            )?;
            Ok(delete.execute([hash.as_bytes()])? > 0)
        })
        .await
    }
}
