//! Removing what has expired: many rows, one here, one there, in an order in which neighbours share pages.
//!
//! Readers list what is due, some hundred thousand at a time. Then the writer removes, in the order of mailboxes, their places,
//! and with them all that anybody sees; and after that, in the order of arrival, their rows. One by one instead, each would
//! cost three pages of its own. Should the process end between the two, the rows are found by their expiry once more, and
//! `relay.purge_cutoff` tells a check that their missing places are no damage.

use std::sync::Arc;
use std::time::Instant;

use rusqlite::{Connection, OptionalExtension, Result, Row};

use super::SqliteStore;
use super::expiring;
use super::rest::rest;
use super::rows;
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
    expires_at: i64,
    bytes: u64,
}

impl Plan {
    /// The next envelopes with an expiry not after `cutoff`. Listed in parts, each in a snapshot of its own: while one lasts, the
    /// log cannot start over.
    pub(super) async fn read(store: &SqliteStore, cutoff: u64) -> store::Result<Self> {
        Self::list(store, cutoff, DUE_MAX, PART_MAX).await
    }

    async fn list(store: &SqliteStore, cutoff: u64, max: usize, part_max: usize) -> store::Result<Self> {
        // First: what leaves `fresh` meanwhile is listed twice then, and not left out.
        let mut due = store.read(move |connection| read_fresh(connection, cutoff)).await?;
        let mut next = Some((i64::MIN, i64::MIN));
        while let Some(after) = next.filter(|_| due.len() < max) {
            let began = Instant::now();
            let (part, then) = store.read(move |connection| read_part(connection, after, cutoff, part_max)).await?;
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
            let due = self.by_mailbox[*at as usize];
            rows::delete_row(tx, due.id, due.mailbox, due.seq, true)?;
            self.gone += 1;
        }
        Ok(true)
    }
}

/// By mailbox and seq, each once; and where in that those are that came first.
fn ordered(mut due: Vec<Due>) -> (Arc<[Due]>, Arc<[u32]>) {
    due.sort_unstable_by_key(|due| (due.mailbox, due.seq, due.id));
    due.dedup_by_key(|due| due.id);
    let mut by_arrival: Vec<u32> = (0..due.len() as u32).collect();
    by_arrival.sort_unstable_by_key(|at| due[*at as usize].id);
    (due.into(), by_arrival.into())
}

impl Due {
    /// Columns `id, mailbox, seq, expires_at`, and how long the body is.
    fn read(row: &Row<'_>) -> Result<Self> {
        Ok(Self { id: row.get(0)?, mailbox: row.get(1)?, seq: uint(row, 2)?, expires_at: row.get(3)?, bytes: uint(row, 4)? })
    }
}

/// What is due of that whose places are fresh.
fn read_fresh(connection: &Connection, cutoff: u64) -> Result<Vec<Due>> {
    let mut select = connection.prepare_cached(
        "SELECT envelope, mailbox, seq, expires_at, bytes
         FROM fresh
         WHERE expires_at <= ?1",
    )?;
    select.query_and_then([int(cutoff)], Due::read)?.collect()
}

/// Where a list goes on: after an hour of expiry and a block.
type After = (i64, i64);

/// What is due in the next blocks, and where to go on, if anywhere.
fn read_part(connection: &Connection, after: After, cutoff: u64, blocks_max: usize) -> Result<(Vec<Due>, Option<After>)> {
    let mut blocks = connection.prepare_cached(BLOCKS)?;
    let blocks = blocks.query_map([after.0, after.1, int(cutoff), blocks_max as i64], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let blocks = blocks.collect::<Result<Vec<(i64, i64)>>>()?;
    let next = blocks.last().copied().filter(|_| blocks.len() == blocks_max);
    let (mut due, mut select) = (Vec::new(), connection.prepare_cached(OF_A_BLOCK)?);
    for (expires_at, block) in &blocks {
        let (from, to) = expiring::envelopes_of(*block);
        for found in select.query_and_then([from, to, *expires_at], Due::read)? {
            due.push(found?);
        }
    }
    if next.is_none() {
        let mut select = connection.prepare_cached(LOST)?;
        for found in select.query_and_then([int(cutoff), LOST_MAX, expiring::BLOCK], Due::read)? {
            due.push(found?);
        }
    }
    Ok((due, next))
}

/// From here on nobody sees it; whoever it was for is told of a gap.
fn remove_place(tx: &mut Tx<'_>, due: Due, slice: &mut PurgeSlice) -> Result<()> {
    let connection = tx.connection;
    // Acknowledged since it was listed, or removed by a purge that did not end.
    let Some(place) = tx.memory.places.remove(connection, due.mailbox, due.seq)? else { return Ok(()) };
    if !place.counted {
        // Until its row is gone, too: by this it is found again.
        tx.effects.tally.add(place.envelope, due.expires_at, due.bytes);
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

/// All up to `cutoff` is gone.
pub(super) fn ended(connection: &Connection, cutoff: u64) -> Result<()> {
    let mut note = connection.prepare_cached(
        "UPDATE relay
         SET purge_cutoff = NULL
         WHERE purge_cutoff <= ?1",
    )?;
    note.execute([int(cutoff)])?;
    // In a damaged file more may be counted than is there; it would count for ever, and keep `LOST` from what is behind it.
    connection.prepare_cached(COUNTED_IN_VAIN)?.execute([int(cutoff), expiring::BLOCK, IN_VAIN_MAX])?;
    Ok(())
}

const BLOCKS: &str = "SELECT expires_at, block
     FROM expiring
     WHERE (expires_at, block) > (?1, ?2) AND expires_at <= ?3
     ORDER BY expires_at, block
     LIMIT ?4";
const OF_A_BLOCK: &str = "SELECT id, mailbox, seq, expires_at, coalesce(length(body), 0)
     FROM envelopes
     WHERE id >= ?1 AND id < ?2 AND expires_at = ?3";
/// What neither table knows of, in a damaged file: found once it is older than all that they do, a retention later at the most.
const LOST: &str = "SELECT id, mailbox, seq, expires_at, coalesce(length(body), 0)
     FROM envelopes
     WHERE id < min(
         coalesce((SELECT min(block) * ?3 FROM expiring), 9223372036854775807),
         coalesce((SELECT min(envelope) FROM fresh), 9223372036854775807))
       AND expires_at <= ?1
     LIMIT ?2";
/// Counts of what is not there, among the first up to a cutoff.
const COUNTED_IN_VAIN: &str = "DELETE FROM expiring
     WHERE (expires_at, block) IN (
       SELECT expires_at, block
       FROM (SELECT expires_at, block FROM expiring WHERE expires_at <= ?1 ORDER BY expires_at, block LIMIT ?3) AS old
       WHERE NOT EXISTS (
         SELECT 1
         FROM envelopes
         WHERE id >= old.block * ?2 AND id < (old.block + 1) * ?2 AND envelopes.expires_at = old.expires_at))";
/// Looked at by the end of a purge, on the writer: mostly there are none.
const IN_VAIN_MAX: i64 = 16;
/// Of those in a list: the next purge takes the rest.
const LOST_MAX: i64 = 8_192;
/// Envelopes in a list: 22 MiB of memory (twice that for a moment), and enough that those of a million mailboxes share pages of places.
const DUE_MAX: usize = 524_288;
/// Blocks of them listed at once: some 10 MiB to read.
const PART_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::super::plans::steps;
    use super::super::queue::Lane;
    use super::*;

    #[test]
    fn what_is_due_is_listed_in_parts_without_looking_at_what_is_not() {
        let plan = steps(BLOCKS, &[5, 1, 9, 4]);
        assert_eq!(plan, ["SEARCH expiring USING PRIMARY KEY ((expires_at,block)>(?,?) AND expires_at<?)"]);
        let plan = steps(LOST, &[5, 9, expiring::BLOCK]);
        assert!(plan[0].starts_with("SEARCH envelopes USING INTEGER PRIMARY KEY (rowid<?)"), "{plan:?}");
        let plan = steps(COUNTED_IN_VAIN, &[5, expiring::BLOCK, IN_VAIN_MAX]);
        assert!(!plan.iter().any(|step| step.starts_with("SCAN envelopes") || step.starts_with("SCAN expiring")), "{plan:?}");
        let plan = steps(OF_A_BLOCK, &[64, 128, 5]);
        assert_eq!(plan, ["SEARCH envelopes USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"]);
    }

    #[tokio::test]
    async fn what_a_damaged_file_does_not_count_is_found_once_it_is_the_oldest() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = SqliteStore::open(Settings::new(dir.path())).expect("it opens");
        // The first and the last hundred are not counted, and the first fifty have expired, as have the last hundred.
        let fill = "WITH RECURSIVE numbers (n) AS (SELECT 64 UNION ALL SELECT n + 1 FROM numbers WHERE n < 363)
                    INSERT INTO envelopes SELECT n, 1, n, CASE WHEN n < 114 OR n > 263 THEN 1 ELSE 3 END, x'', x'', x'' FROM numbers;
                    INSERT INTO expiring VALUES (3, 3, 64, 0);
                    INSERT INTO fresh SELECT id, mailbox, seq, zeroblob(16), 0, 0, expires_at FROM envelopes WHERE id BETWEEN 256 AND 263";
        assert_eq!(store.write(Lane::Urgent, 0, |tx| tx.connection.execute_batch(fill)).await, Ok(()));
        let listed = async |store: &SqliteStore, cutoff| {
            let plan = Plan::list(store, cutoff, 1_000, 128).await.expect("a list");
            plan.by_mailbox.iter().map(|due| due.id).collect::<Vec<_>>()
        };
        assert_eq!(listed(&store, 0).await, [0; 0]);
        assert_eq!(listed(&store, 1).await, (64..114).collect::<Vec<_>>());
        for (table, last) in [("expiring", 0), ("fresh", 364)] {
            let emptied = store.write(Lane::Urgent, 0, move |tx| tx.connection.execute(&format!("DELETE FROM {table}"), []));
            assert!(emptied.await.is_ok());
            assert_eq!(listed(&store, 1).await, (64..114).chain(264..last).collect::<Vec<_>>(), "{table}");
        }
    }

    /// But not what a purge with a later cutoff found a little late: that is there, and its count with it.
    #[tokio::test]
    async fn what_a_damaged_file_counts_in_vain_is_counted_no_longer() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = SqliteStore::open(Settings::new(dir.path())).expect("it opens");
        let fill = "INSERT INTO envelopes VALUES (127, 1, 1, 3, x'', x'', x''), (130, 1, 2, 5, x'', x'', x'');
                    INSERT INTO expiring VALUES (3, 1, 1, 0), (3, 2, 7, 0), (4, 2, 7, 0), (5, 9223372036854775807, 1, 0), (6, 2, 1, 0)";
        let left = store.write(Lane::Urgent, 0, |tx| {
            tx.connection.execute_batch(fill)?;
            ended(tx.connection, 5)?;
            let mut left = tx.connection.prepare("SELECT expires_at, block FROM expiring")?;
            left.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<Vec<(i64, i64)>>>()
        });
        assert_eq!(left.await, Ok(vec![(3, 1), (6, 2)]));
    }

    #[tokio::test]
    async fn a_list_has_every_envelope_once_whatever_its_parts() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = SqliteStore::open(Settings::new(dir.path())).expect("it opens");
        // Of three hours, of which the last is not over; four mailboxes, ten blocks. The places of some are fresh, and some of those have
        // left and stand in an older list.
        let fill = "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 300)
                    INSERT INTO envelopes SELECT n * 2, n % 4, 1000 - n, 1 + (n - 1) / 100, x'', x'', zeroblob(n) FROM numbers;
                    INSERT INTO expiring SELECT expires_at, id / 64, count(*), sum(length(body)) FROM envelopes WHERE id <= 340 GROUP BY 1, 2;
                    INSERT INTO fresh SELECT id, mailbox, seq, zeroblob(16), length(body), 0, expires_at FROM envelopes WHERE id > 330";
        assert_eq!(store.write(Lane::Urgent, 0, |tx| tx.connection.execute_batch(fill)).await, Ok(()));
        let mut expected: Vec<_> = (1..=200).map(|n| (n % 4, 1000 - n as u64, n * 2, n as u64)).collect();
        expected.sort_unstable();
        for part_max in 1..=12 {
            let plan = Plan::list(&store, 2, 1_000, part_max).await.expect("a list");
            assert!(plan.last);
            let listed: Vec<_> = plan.by_mailbox.iter().map(|due| (due.mailbox, due.seq, due.id, due.bytes)).collect();
            assert_eq!(listed, expected, "{part_max}");
            let ids: Vec<_> = plan.by_arrival.iter().map(|at| plan.by_mailbox[*at as usize].id).collect();
            assert!(ids.len() == 200 && ids.is_sorted(), "{ids:?}");
        }
        let plan = Plan::list(&store, 2, 80, 1).await.expect("a list");
        assert!(!plan.last, "there is more than fits");
        // What is fresh, and the first two blocks.
        let ids: Vec<_> = plan.by_arrival.iter().map(|at| plan.by_mailbox[*at as usize].id / 2).collect();
        assert_eq!(ids, (1..=63).chain(166..=200).collect::<Vec<_>>());
    }
}
