//! Removing what has expired: many rows, one here, one there, in an order in which neighbours share pages.
//!
//! Readers list what is due, some hundred thousand at a time. Then the writer removes, in the order of mailboxes, their places,
//! and with them all that anybody sees; and after that, in the order of arrival, their rows. One by one instead, each would
//! cost three pages of its own. Should the process end between the two, the rows are found by their expiry once more, and
//! `relay.purge_cutoff` tells a check that their missing places are no damage.

use std::sync::Arc;
use std::time::Instant;

use rusqlite::{Connection, OptionalExtension, Result};

use super::SqliteStore;
use super::rest::rest;
use super::slices::{self, Budget};
use super::values::{blob_or_none, int, uint};
use super::writer::Tx;
use crate::protocol::DeviceId;
use crate::store::{self, PurgeSlice};

/// A list of what is due, and how far it has been worked off.
#[derive(Clone)]
pub(super) struct Plan {
    cutoff: u64,
    by_mailbox: Arc<[Due]>,
    /// Where in that each is.
    by_arrival: Arc<[u32]>,
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
    /// The next envelopes with an expiry not after `cutoff`. Listed in parts, each in a snapshot of its own: while one lasts, the
    /// log cannot start over.
    pub(super) async fn read(store: &SqliteStore, cutoff: u64) -> store::Result<Self> {
        Self::list(store, cutoff, DUE_MAX, PART_MAX).await
    }

    async fn list(store: &SqliteStore, cutoff: u64, max: usize, part_max: usize) -> store::Result<Self> {
        let mut due = Vec::new();
        let mut next = store.read(move |connection| next_hour(connection, i64::MIN, cutoff)).await?;
        while let Some(from) = next.filter(|_| due.len() < max) {
            let began = Instant::now();
            let (part, then) = store.read(move |connection| read_part(connection, from, cutoff, part_max)).await?;
            due.extend(part);
            next = then;
            if next.is_some() {
                // The disk that it is read from is the one that commits wait for.
                rest(began.elapsed()).await;
            }
        }
        // On a reader's thread: so many take a tenth of a second.
        let (by_mailbox, by_arrival) = store.look(move |_| Ok(ordered(due))).await?;
        Ok(Self { cutoff, by_mailbox, by_arrival, last: next.is_none(), placeless: 0, gone: 0 })
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
        while let Some(at) = self.by_arrival.get(self.gone) {
            if !budget.take() {
                return Ok(false);
            }
            remove_row(tx, self.by_mailbox[*at as usize])?;
            self.gone += 1;
        }
        Ok(true)
    }
}

/// By mailbox and seq; and where in that those are that came first.
fn ordered(mut due: Vec<Due>) -> (Arc<[Due]>, Arc<[u32]>) {
    due.sort_unstable_by_key(|due| (due.mailbox, due.seq));
    let mut by_arrival: Vec<u32> = (0..due.len() as u32).collect();
    by_arrival.sort_unstable_by_key(|at| due[*at as usize].id);
    (due.into(), by_arrival.into())
}

/// Where a list goes on: in an hour of expiry, after an envelope.
type From = (i64, i64);

/// What is due next, and where to go on, if anywhere.
fn read_part(connection: &Connection, from: From, cutoff: u64, max: usize) -> Result<(Vec<Due>, Option<From>)> {
    let mut select = connection.prepare_cached(PART)?;
    let due = select.query_and_then([from.0, from.1, max as i64], |row| -> Result<Due> {
        Ok(Due { id: row.get(0)?, mailbox: row.get(1)?, seq: uint(row, 2)?, bytes: uint(row, 3)? })
    })?;
    let due = due.collect::<Result<Vec<_>>>()?;
    let next = match due.last().filter(|_| due.len() == max) {
        Some(last) => Some((from.0, last.id)),
        None => next_hour(connection, from.0, cutoff)?,
    };
    Ok((due, next))
}

fn next_hour(connection: &Connection, after: i64, cutoff: u64) -> Result<Option<From>> {
    let mut hour = connection.prepare_cached(
        "SELECT min(expires_at)
         FROM envelopes
         WHERE expires_at > ?1 AND expires_at <= ?2",
    )?;
    let hour = hour.query_row([after, int(cutoff)], |row| row.get::<_, Option<i64>>(0))?;
    Ok(hour.map(|hour| (hour, i64::MIN)))
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

/// By the index, but an envelope's row says how long its body is.
const PART: &str = "SELECT id, mailbox, seq, coalesce(length(body), 0)
     FROM envelopes
     WHERE expires_at = ?1 AND id > ?2
     ORDER BY id
     LIMIT ?3";
/// Envelopes in a list: 18 MiB of memory (twice that for a moment), and enough that those of a million mailboxes share pages of places.
const DUE_MAX: usize = 524_288;
/// Of them listed at once: some 10 MiB to read.
const PART_MAX: usize = 8_192;

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::super::plans::steps;
    use super::super::queue::Lane;
    use super::*;

    #[test]
    fn what_is_due_is_listed_in_parts_without_looking_at_what_is_not() {
        let steps = steps(PART, &[5, 1, 9]);
        assert_eq!(steps, ["SEARCH envelopes USING INDEX envelopes_expires_at (expires_at=? AND rowid>?)"]);
    }

    #[tokio::test]
    async fn a_list_has_every_envelope_once_whatever_its_parts() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = SqliteStore::open(Settings::new(dir.path())).expect("it opens");
        // Of three hours, of which the last is not over; four mailboxes.
        let fill = "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 30)
                    INSERT INTO envelopes SELECT n, n % 4, 100 - n, 1 + (n - 1) / 10, x'', x'', zeroblob(n) FROM numbers";
        assert_eq!(store.write(Lane::Urgent, 0, |tx| tx.connection.execute(fill, [])).await, Ok(30));
        let mut expected: Vec<_> = (1..=20).map(|n| (n % 4, 100 - n as u64, n, n as u64)).collect();
        expected.sort_unstable();
        for part_max in 1..=21 {
            let plan = Plan::list(&store, 2, 100, part_max).await.expect("a list");
            assert!(plan.last);
            let listed: Vec<_> = plan.by_mailbox.iter().map(|due| (due.mailbox, due.seq, due.id, due.bytes)).collect();
            assert_eq!(listed, expected, "{part_max}");
            let ids: Vec<_> = plan.by_arrival.iter().map(|at| plan.by_mailbox[*at as usize].id).collect();
            assert!(ids.len() == 20 && ids.is_sorted(), "{ids:?}");
        }
        let plan = Plan::list(&store, 2, 8, 5).await.expect("a list");
        assert!(!plan.last, "there is more than fits");
        // Those of the first hour.
        let ids: Vec<_> = plan.by_arrival.iter().map(|at| plan.by_mailbox[*at as usize].id).collect();
        assert_eq!(ids, (1..=10).collect::<Vec<_>>());
    }
}
