//! The operator's notice.

use async_trait::async_trait;
use rusqlite::OptionalExtension;

use super::SqliteStore;
use super::queue::Lane;
use super::values::{int, uint};
use crate::store::{KeptNotice, Notices, Result};

#[async_trait]
impl Notices for SqliteStore {
    async fn put_notice(&self, notice: Option<KeptNotice>) -> Result<bool> {
        self.write(Lane::Urgent, 0, move |tx| {
            let mut delete = tx.connection.prepare_cached("DELETE FROM notice")?;
            let before = delete.execute([])? > 0;
            if let Some(KeptNotice { text, set_at }) = &notice {
                let mut insert = tx.connection.prepare_cached(
                    "INSERT INTO notice (id, set_at, text)
                     VALUES (1, ?1, ?2)",
                )?;
                insert.execute((int(*set_at), text))?;
            }
            Ok(before)
        })
        .await
    }

    async fn notice(&self) -> Result<Option<KeptNotice>> {
        self.read(|connection| {
            let mut select = connection.prepare_cached(
                "SELECT text, set_at
                 FROM notice",
            )?;
            select.query_row([], |row| Ok(KeptNotice { text: row.get(0)?, set_at: uint(row, 1)? })).optional()
        })
        .await
    }
}
