//! How much expires when, and where it lies: the table `expiring`, in the place of an index over `envelopes.expires_at`.
//!
//! An index has a row for each envelope, and costs each commit a page, for a question that is asked every five minutes. Here neighbours
//! share a row. It is written when their places leave `fresh`, so what is acknowledged soon never gets here; and of what has its
//! place there this table says nothing: who counts or lists asks both.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Result};

use super::values::int;

/// By hour and block: envelopes, and the bytes of their bodies. Of a transaction what it adds less what it removes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally(BTreeMap<(i64, i64), (i64, i64)>);

impl Tally {
    /// All of it, as it lies there.
    pub(super) fn read(connection: &Connection) -> Result<Self> {
        let mut select = connection.prepare(
            "SELECT expires_at, block, envelopes, bytes
             FROM expiring",
        )?;
        let rows = select.query_map([], |row| Ok(((row.get(0)?, row.get(1)?), (row.get(2)?, row.get(3)?))))?;
        Ok(Self(rows.collect::<Result<_>>()?))
    }

    pub(super) fn add(&mut self, envelope: i64, expires_at: i64, bytes: u64) {
        self.count(envelope, expires_at, 1, int(bytes));
    }

    pub(super) fn remove(&mut self, envelope: i64, expires_at: i64, bytes: u64) {
        self.count(envelope, expires_at, -1, -int(bytes));
    }

    fn count(&mut self, envelope: i64, expires_at: i64, envelopes: i64, bytes: i64) {
        let counted = self.0.entry((expires_at, envelope.div_euclid(BLOCK))).or_default();
        counted.0 += envelopes;
        counted.1 += bytes;
    }

    /// How many there are in all, and their bytes.
    pub(super) fn sum(&self) -> (i64, i64) {
        self.0.values().fold((0, 0), |sum, counted| (sum.0 + counted.0, sum.1 + counted.1))
    }

    /// In how many rows it differs from another.
    pub(super) fn differs(&self, other: &Self) -> usize {
        let both = self.0.iter().filter(|(key, counted)| other.0.get(key) == Some(counted)).count();
        self.0.len() + other.0.len() - 2 * both
    }

    /// Brings the table up to it.
    pub(super) fn write(&self, connection: &Connection) -> Result<()> {
        for (&(expires_at, block), &(envelopes, bytes)) in &self.0 {
            let change = (expires_at, block, envelopes, bytes);
            if envelopes > 0 {
                let mut add = connection.prepare_cached(
                    "INSERT INTO expiring (expires_at, block, envelopes, bytes)
                     VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT DO UPDATE
                     SET envelopes = envelopes + excluded.envelopes, bytes = bytes + excluded.bytes",
                )?;
                add.execute(change)?;
                continue;
            }
            // In a damaged file there may be no such row.
            let mut take = connection.prepare_cached(
                "UPDATE expiring
                 SET envelopes = envelopes + ?3, bytes = bytes + ?4
                 WHERE expires_at = ?1 AND block = ?2
                 RETURNING envelopes",
            )?;
            let left = take.query_row(change, |row| row.get::<_, i64>(0)).optional()?;
            if left.is_some_and(|left| left <= 0) {
                let mut end = connection.prepare_cached(
                    "DELETE FROM expiring
                     WHERE expires_at = ?1 AND block = ?2",
                )?;
                end.execute((expires_at, block))?;
            }
        }
        Ok(())
    }
}

/// The envelopes of a block: from the first up to before the second.
pub(super) fn envelopes_of(block: i64) -> (i64, i64) {
    (block.saturating_mul(BLOCK), block.saturating_add(1).saturating_mul(BLOCK))
}

/// Neighbours that are counted together; upgrades speak of it, too. Of 1 KiB bodies they are some nine pages.
pub(super) const BLOCK: i64 = 64;
