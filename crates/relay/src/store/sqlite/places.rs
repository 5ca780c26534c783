//! Where a mailbox's envelopes lie: the tables `fresh` and `filed`, which stand in for one index over mailbox and seq.
//!
//! Envelopes come one here, one there. In one index nearly every send would change a page of its own, and a commit writes
//! whole pages: 8 KiB for an envelope of one. So a send adds to the end of `fresh`, which is found by memory (`fresh`), and from
//! there the rows go over to `filed` many at a time and in its order (`filing`). What is acknowledged soon never gets there.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Result, Row};

use super::expiring::Tally;
use super::filing::{Filing, Stage};
use super::fresh::{Changes, Fresh};
use super::values::{blob, int, uint};
use crate::protocol::envelopes::SEQ_END;

/// Where one envelope lies, and what there is to know of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) seq: u64,
    /// Its row in `envelopes`.
    pub(super) envelope: i64,
    /// Zeros where it is damaged: one that no repeat matches, and no sum.
    pub(super) tag: [u8; 16],
    /// Of its body. Like `knock` under no sum: a rotten one moves a count.
    pub(super) bytes: u64,
    pub(super) knock: bool,
}

impl Place {
    /// Columns `seq, envelope, repeat_tag, bytes, knock`.
    pub(super) fn read(row: &Row<'_>) -> Result<Self> {
        Ok(Self {
            seq: uint(row, 0)?,
            envelope: row.get(1)?,
            tag: blob(row, 2).unwrap_or_default(),
            bytes: uint(row, 3).unwrap_or_default().min(BYTES_MAX),
            knock: row.get(4).unwrap_or_default(),
        })
    }
}

/// A place that is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Removed {
    /// Its row in `envelopes`.
    pub(super) envelope: i64,
    /// Whether that is counted in `expiring`: it is unless the place stood in `fresh`.
    pub(super) counted: bool,
}

/// The writer's: as the open transaction leaves them.
pub(super) struct Places {
    fresh: Changes,
    filing: Filing,
    /// The next row of `envelopes`. Counted here, since SQLite would give the last one's number again once that is gone, and a pass
    /// tells by the number what it takes.
    next_envelope: i64,
    /// The same when the last commit was made.
    committed_next: i64,
}

impl Places {
    /// Reads them, and gives what readers look in.
    pub(super) fn load(connection: &Connection) -> Result<(Self, Arc<Fresh>)> {
        let filing = Filing::load(connection)?;
        let fresh = Arc::new(Fresh::read(connection, filing.through())?);
        // Of both: in a damaged file a place may be there without its envelope.
        let mut last = connection.prepare(
            "SELECT max(coalesce((SELECT max(id) FROM envelopes), 0), coalesce((SELECT max(envelope) FROM fresh), 0))",
        )?;
        let last: i64 = last.query_row([], |row| row.get(0))?;
        let next_envelope = last.max(filing.through()) + 1;
        fresh.note_synced(next_envelope);
        let places = Self { fresh: Changes::new(Arc::clone(&fresh)), filing, next_envelope, committed_next: next_envelope };
        Ok((places, fresh))
    }

    /// A number for a new row of `envelopes`.
    pub(super) fn take_envelope(&mut self) -> i64 {
        self.next_envelope += 1;
        self.next_envelope - 1
    }

    pub(super) fn add(&mut self, connection: &Connection, mailbox: i64, place: &Place, expires_at: u64) -> Result<()> {
        self.fresh.add(connection, mailbox, place, expires_at)
    }

    /// Gives what was there.
    pub(super) fn remove(&mut self, connection: &Connection, mailbox: i64, seq: u64) -> Result<Option<Removed>> {
        let fresh = self.fresh.remove(connection, (mailbox, seq))?;
        let fresh = fresh.map(|(place, there)| Removed { envelope: place.envelope, counted: !there });
        if fresh.is_some_and(|removed| removed.envelope > self.filing.through()) {
            return Ok(fresh);
        }
        let mut filed = connection.prepare_cached(
            "DELETE FROM filed
             WHERE mailbox = ?1 AND seq = ?2
             RETURNING envelope",
        )?;
        let filed = filed.query_row([mailbox, int(seq)], |row| row.get(0)).optional()?;
        Ok(fresh.or(filed.map(|envelope| Removed { envelope, counted: true })))
    }

    /// The places of a mailbox from after `after` up to `through`, by seq, one by one until `each` says that it is enough.
    pub(super) fn walk(
        &self,
        connection: &Connection,
        mailbox: i64,
        after: u64,
        through: u64,
        each: impl FnMut(Place) -> Result<bool>,
    ) -> Result<()> {
        walk(connection, self.fresh.of(mailbox, after, through), mailbox, after, through, each)
    }

    /// A transaction that added so many is about to be committed: files some, if that is due.
    pub(super) fn step(&mut self, connection: &Connection, tally: &mut Tally, added: u64) -> Result<()> {
        self.filing.step(connection, &self.fresh, tally, added, self.committed_next - 1)
    }

    /// What the next envelope was when the last commit was made.
    pub(super) fn committed_next(&self) -> i64 {
        self.committed_next
    }

    /// The transaction was undone.
    pub(super) fn undo(&mut self) {
        self.fresh.undo();
        self.filing.undo();
    }

    /// It was committed, and readers see it from here on.
    pub(super) fn settle(&mut self) {
        self.committed_next = self.next_envelope;
        match self.filing.settle() {
            Some(Stage::Begun) => self.fresh.begin_pass(),
            Some(Stage::Over) => self.fresh.end_pass(),
            None => {}
        }
        self.fresh.settle();
    }
}

/// What is filed of a mailbox together with its places in `fresh`, which may be filed, too: by seq, one by one until `each` says
/// that it is enough.
pub(super) fn walk(
    connection: &Connection,
    fresh: impl IntoIterator<Item = Place>,
    mailbox: i64,
    after: u64,
    through: u64,
    mut each: impl FnMut(Place) -> Result<bool>,
) -> Result<()> {
    let mut fresh = fresh.into_iter().peekable();
    let mut select = connection.prepare_cached(FILED)?;
    let mut rows = select.query([mailbox, int(after), int(through)])?;
    while let Some(row) = rows.next()? {
        let filed = Place::read(row)?;
        while let Some(place) = fresh.next_if(|place| place.seq < filed.seq) {
            if !each(place)? {
                return Ok(());
            }
        }
        // Where a damaged file holds another at this place, the newer one is right.
        let place = fresh.next_if(|place| place.seq == filed.seq).unwrap_or(filed);
        if !each(place)? {
            return Ok(());
        }
    }
    for place in fresh {
        if !each(place)? {
            break;
        }
    }
    Ok(())
}

/// Writes places of mailboxes to `filed`.
pub(super) fn file<'a>(connection: &Connection, places: impl IntoIterator<Item = (i64, &'a Place)>) -> Result<()> {
    // Where a damaged file holds the place already, the newer one is right.
    let mut file = connection.prepare_cached(
        "INSERT OR REPLACE INTO filed (mailbox, seq, envelope, repeat_tag, bytes, knock)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for (mailbox, place) in places {
        file.execute((mailbox, int(place.seq), place.envelope, place.tag, int(place.bytes), place.knock))?;
    }
    Ok(())
}

/// Whether a place that was in `fresh` is in either table.
pub(super) fn stands(connection: &Connection, mailbox: i64, place: &Place) -> Result<bool> {
    let mut stands = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM fresh WHERE envelope = ?1)
           OR EXISTS (SELECT 1 FROM filed WHERE mailbox = ?2 AND seq = ?3)",
    )?;
    stands.query_row([place.envelope, mailbox, int(place.seq)], |row| row.get(0))
}

/// How many envelopes of a mailbox wait, with the bytes of their bodies.
pub(super) fn waiting(connection: &Connection, fresh: &Fresh, mailbox: i64, now: u64) -> Result<(u64, u64)> {
    let mut gone = connection.prepare_cached(
        "SELECT coalesce(gone_through, 0)
         FROM mailboxes
         WHERE id = ?1",
    )?;
    let gone_through = gone.query_row([mailbox], |row| uint(row, 0)).optional()?.unwrap_or(0);
    let mut body = connection.prepare_cached(
        "SELECT coalesce(length(body), 0)
         FROM envelopes
         WHERE id = ?1 AND expires_at > ?2",
    )?;
    let (mut envelopes, mut bytes) = (0, 0);
    walk(connection, fresh.of(mailbox, gone_through), mailbox, gone_through, SEQ_END, |place| {
        if let Some(length) = body.query_row([place.envelope, int(now)], |row| uint(row, 0)).optional()? {
            envelopes += 1;
            bytes += length;
        }
        Ok(true)
    })?;
    Ok((envelopes, bytes))
}

/// What is filed of a mailbox, by seq.
const FILED: &str = "SELECT seq, envelope, repeat_tag, bytes, knock
     FROM filed
     WHERE mailbox = ?1 AND seq > ?2 AND seq <= ?3
     ORDER BY seq";
/// More than any body has.
const BYTES_MAX: u64 = u16::MAX as u64;

#[cfg(test)]
mod tests {
    use super::super::plans::{database, steps};
    use super::*;

    struct Bench {
        connection: Connection,
        fresh: Arc<Fresh>,
        places: Places,
        tally: Tally,
    }

    impl Bench {
        fn new() -> Self {
            let connection = database();
            let (places, fresh) = Places::load(&connection).expect("none");
            Self { connection, fresh, places, tally: Tally::default() }
        }

        /// As after a kill: from what is in the tables.
        fn restart(&mut self) {
            (self.places, self.fresh) = Places::load(&self.connection).expect("places");
        }

        /// A place whose tag follows from where it is.
        fn add(&mut self, mailbox: i64, seq: u64) -> Place {
            let envelope = self.places.take_envelope();
            let place = Place { seq, envelope, tag: tag(mailbox, seq), bytes: 1_089, knock: seq.is_multiple_of(7) };
            self.places.add(&self.connection, mailbox, &place, hour(envelope) as u64).expect("a place");
            place
        }

        fn remove(&mut self, mailbox: i64, seq: u64) -> Option<i64> {
            let removed = self.places.remove(&self.connection, mailbox, seq).expect("removed")?;
            if removed.counted {
                self.tally.remove(removed.envelope, hour(removed.envelope), 1_089);
            }
            Some(removed.envelope)
        }

        fn commit(&mut self, added: u64) {
            let mut tally = std::mem::take(&mut self.tally);
            self.places.step(&self.connection, &mut tally, added).expect("a step");
            tally.write(&self.connection).expect("counted");
            self.places.settle();
        }

        fn count(&self, table: &str) -> u64 {
            self.connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| uint(row, 0)).expect("a number")
        }

        /// What should be in `expiring`.
        fn counted(&self) -> Tally {
            let mut select =
                self.connection.prepare("SELECT envelope FROM filed WHERE envelope NOT IN (SELECT envelope FROM fresh)");
            let select = select.as_mut().expect("a query");
            let mut counted = Tally::default();
            for envelope in select.query_map([], |row| row.get(0)).expect("rows") {
                let envelope = envelope.expect("a row");
                counted.add(envelope, hour(envelope), 1_089);
            }
            counted
        }

        /// In both tables.
        fn twice(&self) -> u64 {
            self.count("filed JOIN fresh ON fresh.mailbox = filed.mailbox AND fresh.seq = filed.seq")
        }

        /// As the writer sees them.
        fn seqs(&self, mailbox: i64, after: u64, through: u64, max: usize) -> Vec<u64> {
            let mut seqs = Vec::new();
            let each = |place| note(&mut seqs, mailbox, place, max);
            self.places.walk(&self.connection, mailbox, after, through, each).expect("places");
            seqs
        }

        /// As a reader does.
        fn read(&self, mailbox: i64) -> Vec<u64> {
            let mut seqs = Vec::new();
            let each = |place| note(&mut seqs, mailbox, place, usize::MAX);
            walk(&self.connection, self.fresh.of(mailbox, 0), mailbox, 0, SEQ_END, each).expect("places");
            seqs
        }
    }

    fn tag(mailbox: i64, seq: u64) -> [u8; 16] {
        [mailbox as u8 ^ seq as u8; 16]
    }

    fn hour(envelope: i64) -> i64 {
        3_600 * (1 + envelope % 3)
    }

    fn note(seqs: &mut Vec<u64>, mailbox: i64, place: Place, max: usize) -> Result<bool> {
        assert_eq!((place.tag, place.bytes), (tag(mailbox, place.seq), 1_089));
        seqs.push(place.seq);
        Ok(seqs.len() < max)
    }

    /// Sends come in commits of 64, to 100 mailboxes in turn, and each mailbox loses a place now and then. At any time all are found,
    /// once, by writer and readers, and also after a restart.
    #[test]
    fn what_came_goes_over_a_slice_at_a_time_and_is_found_all_the_while() {
        let mut bench = Bench::new();
        let (mut largest, mut at, mut removed) = (0, 0, vec![Vec::new(); 100]);
        let (mut passing, mut leaving) = (0, 0);
        for commit in 0..2_000_usize {
            for _ in 0..64 {
                bench.add(int(at % 100), at / 100 + 1);
                at += 1;
            }
            // The middle of what waits: early it is fresh, then filed and in a pass, and in the end filed alone.
            let (mailbox, seq) = (commit % 100, at / 200);
            let gone: &mut Vec<u64> = &mut removed[commit % 100];
            if seq > 0 && !gone.contains(&seq) {
                assert!(bench.remove(mailbox as i64, seq).is_some());
                assert_eq!(bench.remove(mailbox as i64, seq), None);
                gone.push(seq);
            }
            bench.commit(64);
            if commit % 50 == 0 {
                let (fresh, twice) = (bench.count("fresh"), bench.twice());
                largest = largest.max(fresh);
                (passing, leaving) = (passing + u64::from(twice > 0), leaving + u64::from(twice > 0 && fresh < largest));
                let gone: usize = removed.iter().map(Vec::len).sum();
                assert_eq!(fresh + bench.count("filed") - twice, at - gone as u64);
                assert_eq!(
                    Tally::read(&bench.connection),
                    Ok(bench.counted()),
                    "all but what is fresh is counted, where it lies"
                );
                // In a pass or out of it; one that began anew has to get to its end before the next.
                if commit % 450 == 0 {
                    bench.restart();
                }
                for mailbox in [0_u64, 50, 99] {
                    let last = at / 100 + u64::from(at % 100 > mailbox);
                    let expected: Vec<u64> = (1..=last).filter(|seq| !removed[mailbox as usize].contains(seq)).collect();
                    assert_eq!(bench.seqs(int(mailbox), 0, SEQ_END, usize::MAX), expected);
                    assert_eq!(bench.read(int(mailbox)), expected);
                    let some = expected.iter().copied().filter(|seq| (40..=80).contains(seq)).take(3).collect::<Vec<_>>();
                    assert_eq!(bench.seqs(int(mailbox), 39, 80, 3), some);
                }
            }
        }
        assert!(removed.iter().map(Vec::len).sum::<usize>() > 300, "{removed:?}");
        assert!(passing >= 6 && leaving >= 3, "{passing} {leaving}: looked at in the middle of passes");
        assert!(bench.count("filed") > 60_000, "passes went by");
        assert!(largest < FRESH_AT_MOST, "{largest}: a pass is over before much has come");
    }

    #[test]
    fn an_undone_transaction_leaves_all_as_it_was() {
        let mut bench = Bench::new();
        bench.add(1, 1);
        bench.add(1, 2);
        bench.commit(2);
        bench.connection.execute_batch("BEGIN").expect("begun");
        bench.add(1, 3);
        assert!(bench.remove(1, 1).is_some());
        assert_eq!(bench.seqs(1, 0, SEQ_END, 9), [2, 3], "what the transaction did, the writer sees");
        assert_eq!(bench.fresh.of(1, 0).iter().map(|place| place.seq).collect::<Vec<_>>(), [1, 2], "and nobody else");
        bench.connection.execute_batch("ROLLBACK").expect("undone");
        bench.places.undo();
        assert_eq!((bench.seqs(1, 0, SEQ_END, 9), bench.read(1)), (vec![1, 2], vec![1, 2]));
        let next = bench.add(1, 3);
        bench.commit(1);
        assert_eq!(bench.remove(1, 3), Some(next.envelope));
        bench.commit(0);
        let after = bench.add(1, 4);
        assert!(after.envelope > next.envelope, "no number twice");
    }

    #[test]
    fn places_are_read_in_order_without_sorting() {
        let steps = steps(FILED, &[1, 2, 3]);
        assert!(!steps.iter().any(|step| step.contains("TEMP B-TREE") || step.starts_with("SCAN")), "{steps:?}");
    }

    #[test]
    fn what_is_acknowledged_soon_is_never_filed() {
        let mut bench = Bench::new();
        for at in 0..2 * FRESH_AT_MOST {
            bench.add(1, at + 1);
            bench.commit(1);
            if at >= 100 {
                assert!(bench.remove(1, at - 99).is_some());
            }
        }
        assert_eq!((bench.count("fresh"), bench.count("filed")), (100, 0));
    }

    /// A full disk comes just when many places are due: what frees room is not to wait for a move that needs some.
    #[test]
    fn in_a_full_database_only_sends_want_places_moved() {
        let mut bench = Bench::new();
        let mut at = 0;
        while bench.count("relay WHERE filing_through IS NOT NULL") == 0 {
            for _ in 0..1_000 {
                at += 1;
                bench.add(i64::MAX / 2, at);
            }
            bench.commit(1_000);
        }
        let pages: i64 = bench.connection.query_row("PRAGMA page_count", [], |row| row.get(0)).expect("a number");
        bench.connection.query_row(&format!("PRAGMA max_page_count={pages}"), [], |_| Ok(())).expect("a full database");
        assert!(bench.remove(i64::MAX / 2, 7).is_some());
        let mut tally = Tally::default();
        assert_eq!(bench.places.step(&bench.connection, &mut tally, 0), Ok(()));
        assert_eq!(bench.count("filed"), 0);
        let refused = bench.places.step(&bench.connection, &mut tally, 64).expect_err("no room");
        assert_eq!(refused.sqlite_error_code(), Some(rusqlite::ErrorCode::DiskFull));
    }

    /// Half as much again as a pass begins with.
    const FRESH_AT_MOST: u64 = 50_000;
}
