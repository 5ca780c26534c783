//! Removing what has expired: many rows, one here, one there, in an order in which neighbours share pages.
//!
//! A reader lists what is due, some ten thousand at a time. Then the writer removes, in the order of mailboxes, their places,
//! and with them all that anybody sees; and after that, in the order of arrival, their rows. One by one instead, each would
//! cost three pages of its own. Should the process end between the two, the rows are found by their expiry once more, and
//! `relay.purge_cutoff` tells a check that their missing places are no damage.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Result};

use super::slices::{self, Budget};
use super::values::{blob_or_none, int, uint};
use super::writer::Tx;
use crate::protocol::DeviceId;
use crate::store::PurgeSlice;

/// A list of what is due, and how far it has been worked off.
#[derive(Clone)]
pub(super) struct Plan {
    cutoff: u64,
    by_mailbox: Arc<[Due]>,
    by_arrival: Arc<[Due]>,
    /// Nothing was due beyond this list.
    pub(super) last: bool,
    placeless: usize,
    gone: usize,
}

#[derive(Clone, Copy)]
struct Due {
    id: i64,
    mailbox: i64,
    seq: u64,
    bytes: u64,
}

impl Plan {
    /// The next envelopes with an expiry not after `cutoff`.
    pub(super) fn read(connection: &Connection, cutoff: u64) -> Result<Self> {
        let mut select = connection.prepare_cached(
            "SELECT id, mailbox, seq, coalesce(length(body), 0)
             FROM envelopes
             WHERE expires_at <= ?1
             ORDER BY expires_at
             LIMIT ?2",
        )?;
        let due = select.query_and_then([int(cutoff), DUE_MAX as i64], |row| -> Result<_> {
            Ok(Due { id: row.get(0)?, mailbox: row.get(1)?, seq: uint(row, 2)?, bytes: uint(row, 3)? })
        })?;
        let mut due = due.collect::<Result<Vec<_>>>()?;
        due.sort_unstable_by_key(|due| (due.mailbox, due.seq));
        let by_mailbox = due.as_slice().into();
        due.sort_unstable_by_key(|due| due.id);
        let last = due.len() < DUE_MAX;
        Ok(Self { cutoff, by_mailbox, by_arrival: due.into(), last, placeless: 0, gone: 0 })
    }

    /// Whether this list, and not a new one, is what to go on with.
    pub(super) fn goes_on(&self, cutoff: u64) -> bool {
        self.cutoff == cutoff && (self.last || self.gone < self.by_arrival.len())
    }

    /// Removes as much as the budget allows; true when all of the list is gone.
    pub(super) fn remove(&mut self, tx: &mut Tx<'_>, budget: &mut Budget, slice: &mut PurgeSlice) -> Result<bool> {
        if self.placeless < self.by_mailbox.len() {
            let mut note = tx.connection.prepare_cached(
                "UPDATE relay
                 SET purge_cutoff = max(coalesce(purge_cutoff, 0), ?1)",
            )?;
            note.execute([int(self.cutoff)])?;
        }
        while let Some(due) = self.by_mailbox.get(self.placeless) {
            if !budget.take() {
                return Ok(false);
            }
            remove_place(tx, *due, slice)?;
            self.placeless += 1;
        }
        while let Some(due) = self.by_arrival.get(self.gone) {
            if !budget.take() {
                return Ok(false);
            }
            remove_row(tx, *due)?;
            self.gone += 1;
        }
        Ok(true)
    }
}

/// From here on nobody sees it; whoever it was for is told of a gap.
fn remove_place(tx: &mut Tx<'_>, due: Due, slice: &mut PurgeSlice) -> Result<()> {
    let connection = tx.connection;
    // Acknowledged since it was listed, or removed by a purge that did not end.
    if tx.memory.places.remove(connection, due.mailbox, due.seq)?.is_none() {
        return Ok(());
    }
    let mut reader = connection.prepare_cached(
        "SELECT devices.device, coalesce(mailboxes.gone_through, 0) < ?2
         FROM mailboxes
         LEFT JOIN devices ON devices.mailbox = mailboxes.id
         WHERE mailboxes.id = ?1",
    )?;
    let (device, visible): (Option<[u8; 32]>, bool) = reader
        .query_row([due.mailbox, int(due.seq)], |row| Ok((blob_or_none(row, 0)?, row.get(1)?)))
        .optional()?
        .unwrap_or_default();
    let Some(device) = device.filter(|_| visible) else { return Ok(()) };
    // Its tag is not kept: who sends it again is not told that it waits when it does not.
    if let Some(held) = tx.memory.mailbox_at_hand(due.mailbox) {
        held.remove(due.seq);
    }
    slices::add_gap(tx, due.mailbox, 1, due.seq)?;
    tx.effects.woken.push(DeviceId(device));
    slice.envelopes += 1;
    slice.bytes += due.bytes;
    Ok(())
}

fn remove_row(tx: &mut Tx<'_>, due: Due) -> Result<()> {
    // In a damaged file it may be another's row.
    let mut delete = tx.connection.prepare_cached(
        "DELETE FROM envelopes
         WHERE id = ?1 AND mailbox = ?2 AND seq = ?3
         RETURNING coalesce(length(body), 0)",
    )?;
    let removed = delete.query_row([due.id, due.mailbox, int(due.seq)], |row| uint(row, 0)).optional()?;
    if let Some(bytes) = removed {
        tx.removed(1, bytes);
    }
    Ok(())
}

/// All up to `cutoff` is gone.
pub(super) fn ended(connection: &Connection, cutoff: u64) -> Result<()> {
    let mut note = connection.prepare_cached(
        "UPDATE relay
         SET purge_cutoff = NULL
         WHERE purge_cutoff <= ?1",
    )?;
    note.execute([int(cutoff)])?;
    Ok(())
}

/// Envelopes listed at once: 4 MiB of memory, and enough that those of many mailboxes share a page of places.
const DUE_MAX: usize = 65_536;
