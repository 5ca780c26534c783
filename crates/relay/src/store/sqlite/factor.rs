//! Second factors and their recovery codes.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Result as SqlResult};

use super::SqliteStore;
use super::queue::Lane;
use super::slices;
use super::values::{blob, int, uint};
use crate::protocol::{AccountId, Hash};
use crate::store::{Factors, KeptFactor, LOCKED_SECRET_LENGTH, Result};

#[async_trait]
impl Factors for SqliteStore {
    async fn put_factor(
        &self,
        account: AccountId,
        before: Option<[u8; LOCKED_SECRET_LENGTH]>,
        factor: KeptFactor,
        recovery_codes: Vec<Hash>,
    ) -> Result<bool> {
        self.write(Lane::Urgent, 0, move |tx| {
            let Some(account) = find(tx.connection, &account)? else { return Ok(false) };
            if current(tx.connection, account)? != before {
                return Ok(false);
            }
            slices::remove_factor(tx, account)?;
            let mut insert = tx.connection.prepare_cached(
                "INSERT INTO factors (account, secret, step)
                 VALUES (?1, ?2, ?3)",
            )?;
            insert.execute((account, factor.secret, int(factor.step)))?;
            let mut insert = tx.connection.prepare_cached(
                "INSERT INTO recovery_codes (account, hash)
                 VALUES (?1, ?2)
                 ON CONFLICT DO NOTHING",
            )?;
            for hash in &recovery_codes {
                insert.execute((account, hash.as_bytes()))?;
            }
            Ok(true)
        })
        .await
    }

    async fn factor(&self, account: AccountId) -> Result<Option<KeptFactor>> {
        self.read(move |connection| {
            let mut find = connection.prepare_cached(
                "SELECT factors.secret, factors.step
                 FROM factors
                 JOIN accounts ON accounts.id = factors.account
                 WHERE accounts.account = ?1",
            )?;
            let kept = |row: &rusqlite::Row<'_>| Ok(KeptFactor { secret: blob(row, 0)?, step: uint(row, 1)? });
            find.query_row([account.as_bytes()], kept).optional()
        })
        .await
    }

    async fn use_step(&self, account: AccountId, secret: [u8; LOCKED_SECRET_LENGTH], step: u64) -> Result<bool> {
        self.write(Lane::Urgent, 0, move |tx| {
            let Some(account) = find(tx.connection, &account)? else { return Ok(false) };
            let mut raise = tx.connection.prepare_cached(
                "UPDATE factors
                 SET step = ?3
                 WHERE account = ?1 AND secret = ?2 AND step < ?3",
            )?;
            Ok(raise.execute((account, secret, int(step)))? > 0)
        })
        .await
    }

    async fn use_recovery_code(&self, account: AccountId, hash: Hash) -> Result<bool> {
        self.write(Lane::Urgent, 0, move |tx| {
            let Some(account) = find(tx.connection, &account)? else { return Ok(false) };
            let mut delete = tx.connection.prepare_cached(
                "DELETE FROM recovery_codes
                 WHERE account = ?1 AND hash = ?2",
            )?;
            let used = delete.execute((account, hash.as_bytes()))? > 0;
            tx.effects.deleted |= used;
            Ok(used)
        })
        .await
    }

    async fn remove_factor(&self, account: AccountId, secret: [u8; LOCKED_SECRET_LENGTH]) -> Result<bool> {
        self.write(Lane::Urgent, 0, move |tx| match find(tx.connection, &account)? {
            Some(account) if current(tx.connection, account)? == Some(secret) => slices::remove_factor(tx, account),
            _ => Ok(false),
        })
        .await
    }

    async fn any_factor(&self) -> Result<Option<(AccountId, [u8; LOCKED_SECRET_LENGTH])>> {
        self.read(|connection| {
            let mut find = connection.prepare_cached(ANY_FACTOR)?;
            find.query_row([], |row| Ok((AccountId(blob(row, 0)?), blob(row, 1)?))).optional()
        })
        .await
    }
}

/// The locked secret of the one that is on.
fn current(connection: &Connection, account: i64) -> SqlResult<Option<[u8; LOCKED_SECRET_LENGTH]>> {
    let mut find = connection.prepare_cached(
        "SELECT secret
         FROM factors
         WHERE account = ?1",
    )?;
    find.query_row([account], |row| blob(row, 0)).optional()
}

fn find(connection: &Connection, account: &AccountId) -> SqlResult<Option<i64>> {
    let mut find = connection.prepare_cached(
        "SELECT id
         FROM accounts
         WHERE account = ?1",
    )?;
    find.query_row([account.as_bytes()], |row| row.get(0)).optional()
}

/// `CROSS JOIN` is SQLite's word for this order and no other: by itself it looked through all accounts for one that has a factor.
const ANY_FACTOR: &str = "SELECT accounts.account, factors.secret
     FROM factors
     CROSS JOIN accounts ON accounts.id = factors.account
     LIMIT 1";

#[cfg(test)]
mod tests {
    use super::super::plans::assert_no_scan;
    use super::*;

    /// Asked at each start: it must not take longer where there are many accounts.
    #[test]
    fn a_factor_is_found_without_looking_through_all_accounts() {
        assert_no_scan(ANY_FACTOR, &[], &["accounts"]);
    }
}
