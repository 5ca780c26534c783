//! Passes in SQL.

use async_trait::async_trait;
use rusqlite::params;

use super::{Result, SqliteStore};
use crate::protocol::Hash;
use crate::store::{PassItem, Passes};

#[async_trait]
impl Passes for SqliteStore {
    async fn add_pass(&self, pass: PassItem) -> Result<()> {
        self.urgent(move |tx| {
            tx.connection
                .prepare_cached("INSERT OR IGNORE INTO passes (hash, uses_left, expires_at) VALUES (?1, ?2, ?3)")?
                .execute(params![pass.hash.0, pass.uses_left, pass.expires_at])?;
            Ok(())
        })
        .await
    }

    async fn passes(&self, now: u64) -> Result<Vec<PassItem>> {
        self.readers
            .read(move |connection| {
                connection
                    .prepare_cached("SELECT hash, uses_left, expires_at FROM passes WHERE expires_at > ?1 ORDER BY hash")?
                    .query_map([now], |row| {
                        Ok(PassItem { hash: Hash(row.get(0)?), uses_left: row.get(1)?, expires_at: row.get(2)? })
                    })?
                    .collect()
            })
            .await
    }

    async fn revoke_pass(&self, hash: Hash) -> Result<bool> {
        self.urgent(move |tx| {
            let deleted = tx.connection.prepare_cached("DELETE FROM passes WHERE hash = ?1")?.execute([hash.0])?;
            tx.after.deleted = true;
            Ok(deleted == 1)
        })
        .await
    }
}
