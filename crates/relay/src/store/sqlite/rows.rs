//! One row of envelopes: writing it, removing it, and telling whether it is still what was written.

use rusqlite::{Connection, OptionalExtension, Result, Row};
use sha2::{Digest, Sha256};

use super::places::Place;
use super::values::{int, uint};
use super::writer::Tx;
use crate::protocol::DeviceId;
use crate::store::NewEnvelope;

/// A row as it lies there, whatever befell it: a column that is no longer of its type reads as empty, and fails the sum.
pub(super) struct StoredRow<'a> {
    pub(super) seq: u64,
    pub(super) expires_at: u64,
    pub(super) wrap: &'a [u8],
    pub(super) body: &'a [u8],
    checksum: &'a [u8],
}

impl<'a> StoredRow<'a> {
    /// Columns `seq, expires_at, checksum, wrap, body`.
    pub(super) fn read(row: &'a Row<'_>) -> Self {
        let bytes = |column| row.get_ref(column).ok().and_then(|value| value.as_blob().ok()).unwrap_or_default();
        let number = |column| {
            let value = row.get_ref(column).ok().and_then(|value| value.as_i64().ok());
            value.and_then(|value| u64::try_from(value).ok()).unwrap_or(0)
        };
        Self { seq: number(0), expires_at: number(1), checksum: bytes(2), wrap: bytes(3), body: bytes(4) }
    }

    /// Whether it is what was written for this device, with this tag at its place.
    pub(super) fn is_sound(&self, device: &DeviceId, tag: &[u8; 16]) -> bool {
        #[cfg(feature = "sabotage")]
        if crate::sabotage::on("checksum_unchecked") {
            return true;
        }
        checksum(device, self.seq, self.expires_at, tag, self.wrap, self.body) == self.checksum
    }
}

/// Writes the row that a place of a mailbox names.
pub(super) fn insert(connection: &Connection, mailbox: i64, place: &Place, envelope: &NewEnvelope) -> Result<()> {
    let NewEnvelope { device, expires_at, wrap, body } = envelope;
    let mut insert = connection.prepare_cached(
        "INSERT INTO envelopes (id, mailbox, seq, expires_at, checksum, wrap, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    let checksum = checksum(device, place.seq, *expires_at, &place.tag, wrap, body);
    insert.execute((place.envelope, mailbox, int(place.seq), int(*expires_at), checksum, wrap, body))?;
    Ok(())
}

/// Removes a place with its row.
pub(super) fn delete(tx: &mut Tx<'_>, mailbox: i64, seq: u64) -> Result<()> {
    match tx.memory.places.remove(tx.connection, mailbox, seq)? {
        Some(place) => delete_row(tx, place.envelope, mailbox, seq, place.counted),
        None => Ok(()),
    }
}

/// Removes a row, if it is the one that a place named: a damaged one must not cost another envelope's. `counted` in `expiring`.
pub(super) fn delete_row(tx: &mut Tx<'_>, id: i64, mailbox: i64, seq: u64, counted: bool) -> Result<()> {
    let mut delete = tx.connection.prepare_cached(
        "DELETE FROM envelopes
         WHERE id = ?1 AND mailbox = ?2 AND seq = ?3
         RETURNING expires_at, coalesce(length(body), 0)",
    )?;
    let removed = delete.query_row([id, mailbox, int(seq)], |row| Ok((row.get(0)?, uint(row, 1)?))).optional()?;
    let Some((expires_at, bytes)) = removed else { return Ok(()) };
    if counted {
        tx.effects.tally.remove(id, expires_at, bytes);
    }
    tx.effects.deleted = true;
    Ok(())
}

/// SHA-256 cut to 8 bytes. The lengths of tag and wrap are fixed where they were written, and stand in front for where they
/// were not.
fn checksum(device: &DeviceId, seq: u64, expires_at: u64, tag: &[u8; 16], wrap: &[u8], body: &[u8]) -> [u8; 8] {
    let mut sum = Sha256::new();
    sum.update(device);
    sum.update(seq.to_be_bytes());
    sum.update(expires_at.to_be_bytes());
    sum.update((tag.len() as u32).to_be_bytes());
    sum.update((wrap.len() as u32).to_be_bytes());
    sum.update(tag);
    sum.update(wrap);
    sum.update(body);
    let sum: [u8; 32] = sum.finalize().into();
    let (short, _) = sum.split_first_chunk().expect("a sum has 32 bytes");
    *short
}
