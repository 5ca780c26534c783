//! Slots: small records of an account's own, behind compare-and-swap.

use async_trait::async_trait;
use rusqlite::{OptionalExtension, Result as SqlResult};

use super::SqliteStore;
use super::queue::Lane;
use super::values::{int, uint};
use super::writer::Tx;
use crate::protocol::{AccountId, SlotId};
use crate::store::{Result, SlotCondition, SlotPut, Slots};

#[async_trait]
impl Slots for SqliteStore {
    async fn slot(&self, account: AccountId, slot: SlotId) -> Result<Option<(u64, Vec<u8>)>> {
        self.read(move |connection| {
            let mut find = connection.prepare_cached(
                "SELECT slots.version, slots.content
                 FROM accounts
                 JOIN slots ON slots.account = accounts.id
                 WHERE accounts.account = ?1 AND slots.slot = ?2",
            )?;
            find.query_row((account.as_bytes(), slot.as_bytes()), |row| Ok((uint(row, 0)?, row.get(1)?))).optional()
        })
        .await
    }

    async fn put_slot(
        &self,
        account: AccountId,
        slot: SlotId,
        condition: SlotCondition,
        content: Vec<u8>,
        slots_max: u64,
    ) -> Result<SlotPut> {
        // It adds, so it waits with the sends: what frees goes first.
        self.write(Lane::Sends, content.len(), move |tx| put(tx, &account, &slot, condition, &content, slots_max)).await
    }

    async fn delete_slot(&self, account: AccountId, slot: SlotId) -> Result<bool> {
        self.write(Lane::Urgent, 0, move |tx| {
            let mut delete = tx.connection.prepare_cached(
                "DELETE FROM slots
                 WHERE slot = ?2 AND account = (SELECT id FROM accounts WHERE account = ?1)",
            )?;
            let deleted = delete.execute((account.as_bytes(), slot.as_bytes()))? > 0;
            tx.effects.deleted |= deleted;
            Ok(deleted)
        })
        .await
    }
}

fn put(
    tx: &mut Tx<'_>,
    account: &AccountId,
    slot: &SlotId,
    condition: SlotCondition,
    content: &[u8],
    slots_max: u64,
) -> SqlResult<SlotPut> {
    let connection = tx.connection;
    let mut owner = connection.prepare_cached(
        "SELECT id
         FROM accounts
         WHERE account = ?1",
    )?;
    // Deleted under a session that was still good: nothing to change, and nobody to tell.
    let Some(owner) = owner.query_row([account.as_bytes()], |row| row.get::<_, i64>(0)).optional()? else {
        return Ok(SlotPut::Changed);
    };
    let mut find = connection.prepare_cached(
        "SELECT version
         FROM slots
         WHERE account = ?1 AND slot = ?2",
    )?;
    let there = find.query_row((owner, slot.as_bytes()), |row| uint(row, 0)).optional()?;
    match (condition, there) {
        (SlotCondition::New, None) => {
            let mut count = connection.prepare_cached(
                "SELECT count(*)
                 FROM slots
                 WHERE account = ?1",
            )?;
            if count.query_row([owner], |row| uint(row, 0))? >= slots_max {
                return Ok(SlotPut::TooMany);
            }
            let mut insert = connection.prepare_cached(
                "INSERT INTO slots (account, slot, version, content)
                 VALUES (?1, ?2, 1, ?3)",
            )?;
            insert.execute((owner, slot.as_bytes(), content))?;
            tx.effects.adds = true;
            Ok(SlotPut::Done(1))
        }
        (SlotCondition::Version(expected), Some(version)) if expected == version => {
            let mut update = connection.prepare_cached(
                "UPDATE slots
                 SET version = ?3, content = ?4
                 WHERE account = ?1 AND slot = ?2",
            )?;
            update.execute((owner, slot.as_bytes(), int(version + 1), content))?;
            tx.effects.deleted = true;
            tx.effects.adds = true;
            Ok(SlotPut::Done(version + 1))
        }
        _ => Ok(SlotPut::Changed),
    }
}
