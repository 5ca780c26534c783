//! Removing much without holding anybody up: the first transaction makes rows invisible, later ones remove them a slice at a
//! time, with other people's writes between.
//!
//! What is invisible: a mailbox's rows up to its `gone_through`, and whatever belongs to an account whose id is NULL.

use std::time::{Duration, Instant};

use rusqlite::{OptionalExtension, Result};

use super::memory::mailbox_of;
use super::rows;
use super::values::{blob, int, uint};
use super::writer::Tx;
use crate::protocol::envelopes::SEQ_END;
use crate::protocol::{DeviceId, Hash, TokenHash};

/// How much one slice may still remove.
pub(super) struct Budget {
    rows: usize,
    began: Instant,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self { rows: SLICE_ROWS_MAX, began: Instant::now() }
    }

    /// Takes one row's worth; false when the slice is over. The first row always passes.
    pub(super) fn take(&mut self) -> bool {
        let fresh = self.rows == SLICE_ROWS_MAX;
        if self.rows == 0 || (!fresh && self.began.elapsed() >= SLICE_TIME_MAX) {
            self.rows = 0;
            return false;
        }
        self.rows -= 1;
        true
    }

    /// Rows at most that may follow.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }
}

/// Makes a device and its mailbox invisible; its id is never accepted again.
pub(super) fn remove_device(tx: &mut Tx<'_>, device: &DeviceId) -> Result<()> {
    let Some((mailbox, account)) = mailbox_of(tx.connection, device)? else { return Ok(()) };
    let connection = tx.connection;
    let mut bar = connection.prepare_cached(
        "INSERT INTO removed_devices (hash)
         VALUES (?1)
         ON CONFLICT DO NOTHING",
    )?;
    bar.execute([Hash::of(device.as_bytes()).as_bytes()])?;
    let mut delete = connection.prepare_cached(
        "DELETE FROM devices
         WHERE mailbox = ?1",
    )?;
    delete.execute([mailbox])?;
    let mut leave = connection.prepare_cached(
        "UPDATE mailboxes
         SET gone_through = ?2, gap_count = 0, gap_through = 0
         WHERE id = ?1",
    )?;
    leave.execute([mailbox, int(SEQ_END)])?;
    tx.memory.drop_mailbox(mailbox);
    tx.effects.accounts.push(account);
    tx.effects.leftovers = true;
    tx.effects.deleted = true;
    Ok(())
}

/// Makes an account, its devices, tokens, handles and slots invisible, and gives its devices.
pub(super) fn delete_account(tx: &mut Tx<'_>, account: i64) -> Result<Vec<DeviceId>> {
    let connection = tx.connection;
    let mut find = connection.prepare_cached(
        "SELECT device
         FROM devices
         WHERE account = ?1
         ORDER BY device",
    )?;
    let devices: Vec<DeviceId> = find.query_and_then([account], |row| blob(row, 0).map(DeviceId))?.collect::<Result<_>>()?;
    for device in &devices {
        remove_device(tx, device)?;
    }
    let mut leave = connection.prepare_cached(
        "UPDATE accounts
         SET account = NULL, list_key_certificate = x'', list = x'', list_signature = x''
         WHERE id = ?1",
    )?;
    leave.execute([account])?;
    remove_factor(tx, account)?;
    tx.effects.accounts.push(account);
    tx.effects.leftovers = true;
    tx.effects.deleted = true;
    Ok(devices)
}

/// Removes an account's second factor with its recovery codes; true when there was one. A few rows, so at once.
pub(super) fn remove_factor(tx: &mut Tx<'_>, account: i64) -> Result<bool> {
    let connection = tx.connection;
    let mut codes = connection.prepare_cached(
        "DELETE FROM recovery_codes
         WHERE account = ?1",
    )?;
    codes.execute([account])?;
    let mut factor = connection.prepare_cached(
        "DELETE FROM factors
         WHERE account = ?1",
    )?;
    let removed = factor.execute([account])? > 0;
    tx.effects.deleted |= removed;
    Ok(removed)
}

/// Removes a slice of what is invisible; true when there is more.
pub(super) fn leftovers(tx: &mut Tx<'_>, budget: &mut Budget) -> Result<bool> {
    while mailbox_slice(tx, budget)? || account_slice(tx, budget)? {
        if budget.rows() == 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// True when there was anything to do.
fn mailbox_slice(tx: &mut Tx<'_>, budget: &mut Budget) -> Result<bool> {
    let connection = tx.connection;
    let mut find = connection.prepare_cached(
        "SELECT id, gone_through
         FROM mailboxes
         WHERE gone_through IS NOT NULL
         LIMIT 1",
    )?;
    let found = find.query_row([], |row| Ok((row.get::<_, i64>(0)?, uint(row, 1)?))).optional()?;
    let Some((mailbox, through)) = found else { return Ok(false) };
    let mut seqs = Vec::new();
    tx.memory.places.walk(connection, mailbox, 0, through, |place| {
        seqs.push(place.seq);
        Ok(seqs.len() <= budget.rows())
    })?;
    for seq in seqs {
        if !budget.take() {
            return Ok(true);
        }
        rows::delete(tx, mailbox, seq)?;
    }
    let mut stay = connection.prepare_cached(
        "UPDATE mailboxes
         SET gone_through = NULL
         WHERE id = ?1 AND EXISTS (SELECT 1 FROM devices WHERE mailbox = ?1)",
    )?;
    if stay.execute([mailbox])? == 0 {
        let mut delete = connection.prepare_cached(
            "DELETE FROM mailboxes
             WHERE id = ?1",
        )?;
        delete.execute([mailbox])?;
    }
    Ok(true)
}

/// True when there was anything to do.
fn account_slice(tx: &mut Tx<'_>, budget: &mut Budget) -> Result<bool> {
    let connection = tx.connection;
    let mut find = connection.prepare_cached(
        "SELECT id
         FROM accounts
         WHERE account IS NULL
         LIMIT 1",
    )?;
    let Some(account) = find.query_row([], |row| row.get::<_, i64>(0)).optional()? else { return Ok(false) };
    let mut select = connection.prepare_cached(
        "SELECT hash
         FROM tokens
         WHERE account = ?1
         LIMIT ?2",
    )?;
    let hashes = select.query_and_then([account, int(budget.rows() as u64 + 1)], |row| blob(row, 0).map(TokenHash))?;
    for hash in hashes.collect::<Result<Vec<_>>>()? {
        if !budget.take() {
            return Ok(true);
        }
        delete_token(tx, hash)?;
    }
    let mut slots = connection.prepare_cached(
        "SELECT id
         FROM slots
         WHERE account = ?1",
    )?;
    for slot in slots.query_and_then([account], |row| row.get::<_, i64>(0))?.collect::<Result<Vec<_>>>()? {
        if !budget.take() {
            return Ok(true);
        }
        let mut delete = connection.prepare_cached(
            "DELETE FROM slots
             WHERE id = ?1",
        )?;
        delete.execute([slot])?;
        tx.effects.deleted = true;
    }
    // HELD_MAX and one more, at the most.
    let mut handles = connection.prepare_cached(
        "DELETE FROM handles
         WHERE account = ?1",
    )?;
    if handles.execute([account])? > 0 {
        tx.effects.deleted = true;
    }
    let mut delete = connection.prepare_cached(
        "DELETE FROM accounts
         WHERE id = ?1",
    )?;
    delete.execute([account])?;
    Ok(true)
}

/// So many envelopes of a mailbox are lost to its device, the highest being `through`.
pub(super) fn add_gap(tx: &mut Tx<'_>, mailbox: i64, count: u64, through: u64) -> Result<()> {
    let mut add = tx.connection.prepare_cached(
        "UPDATE mailboxes
         SET gap_count = gap_count + ?2, gap_through = max(gap_through, ?3), next_seq = max(next_seq, ?3 + 1)
         WHERE id = ?1",
    )?;
    add.execute([mailbox, int(count), int(through)])?;
    if let Some(mailbox) = tx.memory.mailbox_at_hand(mailbox) {
        mailbox.lose(through);
    }
    Ok(())
}

/// Removes one handle.
pub(super) fn delete_handle(tx: &mut Tx<'_>, id: i64) -> Result<()> {
    let mut delete = tx.connection.prepare_cached(
        "DELETE FROM handles
         WHERE id = ?1",
    )?;
    delete.execute([id])?;
    tx.effects.deleted = true;
    Ok(())
}

/// Removes one token.
pub(super) fn delete_token(tx: &mut Tx<'_>, hash: TokenHash) -> Result<()> {
    let mut delete = tx.connection.prepare_cached(
        "DELETE FROM tokens
         WHERE hash = ?1",
    )?;
    delete.execute([hash.as_bytes()])?;
    tx.effects.tokens.push(hash);
    tx.effects.deleted = true;
    Ok(())
}

/// Rows a slice removes at most: with secure_delete 128 rows keep a commit near 2 ms.
pub(super) const SLICE_ROWS_MAX: usize = 128;
const SLICE_TIME_MAX: Duration = Duration::from_millis(1);
