//! Where a mailbox's envelopes lie: the tables `fresh` and `filed`, which stand in for one index over mailbox and seq.
//!
//! Envelopes come one here, one there. In one index nearly every send would change a page of its own, and a commit writes
//! whole pages: 8 KiB for an envelope of one. So a send adds to `fresh`, whose few pages all sends of a commit share, and from
//! there the rows go over to `filed` many at a time and in its order. What is acknowledged soon never gets there.

use rusqlite::{Connection, OptionalExtension, Result, Row};

use super::values::{blob, int, uint};

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
    fn read(row: &Row<'_>) -> Result<Self> {
        Ok(Self {
            seq: uint(row, 0)?,
            envelope: row.get(1)?,
            tag: blob(row, 2).unwrap_or_default(),
            bytes: uint(row, 3).unwrap_or_default().min(BYTES_MAX),
            knock: row.get(4).unwrap_or_default(),
        })
    }
}

pub(super) fn add(connection: &Connection, mailbox: i64, place: &Place) -> Result<()> {
    let mut add = connection.prepare_cached(
        "INSERT INTO fresh (mailbox, seq, envelope, repeat_tag, bytes, knock)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    add.execute((mailbox, int(place.seq), place.envelope, place.tag, int(place.bytes), place.knock))?;
    Ok(())
}

/// Gives the row that was there.
pub(super) fn remove(connection: &Connection, mailbox: i64, seq: u64) -> Result<Option<i64>> {
    let mut fresh = connection.prepare_cached(
        "DELETE FROM fresh
         WHERE mailbox = ?1 AND seq = ?2
         RETURNING envelope",
    )?;
    let removed = fresh.query_row([mailbox, int(seq)], |row| row.get(0)).optional()?;
    if removed.is_some() {
        return Ok(removed);
    }
    let mut filed = connection.prepare_cached(
        "DELETE FROM filed
         WHERE mailbox = ?1 AND seq = ?2
         RETURNING envelope",
    )?;
    filed.query_row([mailbox, int(seq)], |row| row.get(0)).optional()
}

/// The places of a mailbox from after `after` up to `through`, by seq, one by one until `each` says that it is enough.
pub(super) fn walk(
    connection: &Connection,
    mailbox: i64,
    after: u64,
    through: u64,
    mut each: impl FnMut(Place) -> Result<bool>,
) -> Result<()> {
    let mut select = connection.prepare_cached(PLACES)?;
    let mut rows = select.query([mailbox, int(after), int(through)])?;
    while let Some(row) = rows.next()? {
        if !each(Place::read(row)?)? {
            break;
        }
    }
    Ok(())
}

/// How many envelopes of a mailbox wait, with the bytes of their bodies.
pub(super) fn waiting(connection: &Connection, mailbox: i64, now: u64) -> Result<(u64, u64)> {
    let mut count = connection.prepare_cached(WAITING)?;
    count.query_row([mailbox, int(now)], |row| Ok((uint(row, 0)?, uint(row, 1)?)))
}

/// The writer's passes over `fresh`.
#[derive(Default)]
pub(super) struct Filing {
    /// Rows of `fresh` at most; none where that is not known.
    fresh: Option<u64>,
    /// Where the pass that is under way has come to.
    reached: Option<(i64, i64)>,
}

impl Filing {
    /// A transaction that added so many rows is about to be committed: moves a slice of them, if that is due. One that added
    /// none moves none: what frees room must not need some.
    pub(super) fn step(&mut self, connection: &Connection, added: u64) -> Result<()> {
        if added == 0 {
            return Ok(());
        }
        self.fresh = self.fresh.map(|fresh| fresh + added);
        if self.reached.is_none() && self.fresh.is_none_or(|fresh| fresh > FRESH_MAX) {
            // Many that were counted may be gone again.
            let fresh = connection.prepare_cached("SELECT count(*) FROM fresh")?.query_row([], |row| uint(row, 0))?;
            self.fresh = Some(fresh);
            self.reached = (fresh > FRESH_MAX).then_some((i64::MIN, i64::MIN));
        }
        if let Some(reached) = self.reached {
            let rows = (FILED_FOR_EACH * added).max(FILED_A_SLICE_MIN);
            self.reached = slice(connection, reached, int(rows))?;
        }
        Ok(())
    }

    /// The transaction was undone: nothing that is remembered of it holds.
    pub(super) fn undo(&mut self) {
        *self = Self::default();
    }
}

/// Moves all that is in `fresh` at once.
pub(super) fn file_all(connection: &Connection) -> Result<()> {
    slice(connection, (i64::MIN, i64::MIN), i64::MAX).map(drop)
}

/// Moves the next rows after `reached`; gives where it has come to, nothing at the end.
fn slice(connection: &Connection, reached: (i64, i64), rows: i64) -> Result<Option<(i64, i64)>> {
    let mut last = connection.prepare_cached(
        "SELECT mailbox, seq
         FROM fresh
         WHERE (mailbox, seq) > (?1, ?2)
         ORDER BY mailbox, seq
         LIMIT 1 OFFSET ?3",
    )?;
    let last = last.query_row((reached.0, reached.1, rows - 1), |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let through = last.unwrap_or((i64::MAX, i64::MAX));
    let range = [reached.0, reached.1, through.0, through.1];
    // Where a damaged file holds the place already, the newer one is right.
    let mut file = connection.prepare_cached(
        "INSERT OR REPLACE INTO filed (mailbox, seq, envelope, repeat_tag, bytes, knock)
         SELECT mailbox, seq, envelope, repeat_tag, bytes, knock
         FROM fresh
         WHERE (mailbox, seq) > (?1, ?2) AND (mailbox, seq) <= (?3, ?4)
         ORDER BY mailbox, seq",
    )?;
    file.execute(range)?;
    let mut leave = connection.prepare_cached(
        "DELETE FROM fresh
         WHERE (mailbox, seq) > (?1, ?2) AND (mailbox, seq) <= (?3, ?4)",
    )?;
    leave.execute(range)?;
    Ok(last)
}

/// The places of a mailbox, by seq.
const PLACES: &str = "SELECT seq, envelope, repeat_tag, bytes, knock
     FROM filed
     WHERE mailbox = ?1 AND seq > ?2 AND seq <= ?3
     UNION ALL
     SELECT seq, envelope, repeat_tag, bytes, knock
     FROM fresh
     WHERE mailbox = ?1 AND seq > ?2 AND seq <= ?3
     ORDER BY seq";
/// What waits in a mailbox.
const WAITING: &str = "SELECT count(*), coalesce(sum(length(body)), 0)
     FROM (
       SELECT envelope, seq FROM filed WHERE mailbox = ?1
       UNION ALL
       SELECT envelope, seq FROM fresh WHERE mailbox = ?1
     ) AS places
     JOIN envelopes ON envelopes.id = envelope
     WHERE places.seq > (SELECT coalesce(gone_through, 0) FROM mailboxes WHERE id = ?1)
       AND expires_at > ?2";
/// More than any body has.
const BYTES_MAX: u64 = u16::MAX as u64;
/// Rows of `fresh` from which on a pass begins: some thirteen pages of it. Fewer make more passes, each of which writes a page for
/// nearly every mailbox that was sent to.
const FRESH_MAX: u64 = 2_048;
/// Rows that a commit moves for each that it adds: a pass is over before the table has grown by half, and no commit of a few sends
/// is kept long.
const FILED_FOR_EACH: u64 = 4;
/// Rows that any commit moves that adds some.
const FILED_A_SLICE_MIN: u64 = 32;

#[cfg(test)]
mod tests {
    use super::super::plans::{assert_no_scan, database, steps};
    use super::*;

    /// Each place's row and tag follow from where it is.
    fn place(mailbox: i64, seq: u64) -> Place {
        let envelope = mailbox.wrapping_mul(1_000_000) + int(seq);
        Place { seq, envelope, tag: [seq as u8; 16], bytes: 1_089, knock: seq.is_multiple_of(7) }
    }

    fn count(connection: &Connection, table: &str) -> u64 {
        connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| uint(row, 0)).expect("a number")
    }

    fn seqs(connection: &Connection, mailbox: i64, after: u64, through: u64, max: usize) -> Vec<u64> {
        let mut seqs = Vec::new();
        let walked = walk(connection, mailbox, after, through, |place| {
            assert_eq!(place, self::place(mailbox, place.seq));
            seqs.push(place.seq);
            Ok(seqs.len() < max)
        });
        walked.expect("places");
        seqs
    }

    /// Sends come in commits of 30, to 100 mailboxes in turn.
    #[test]
    fn what_came_goes_over_a_slice_at_a_time_and_is_found_on_both_sides() {
        let (connection, mut filing) = (database(), Filing::default());
        let mut largest = 0;
        for at in 0..9_000_u64 {
            let (mailbox, seq) = (int(at % 100), at / 100 + 1);
            add(&connection, mailbox, &place(mailbox, seq)).expect("a place");
            if at % 30 == 29 {
                filing.step(&connection, 30).expect("a step");
                largest = largest.max(count(&connection, "fresh"));
            }
        }
        assert_eq!(count(&connection, "fresh") + count(&connection, "filed"), 9_000);
        assert!(count(&connection, "filed") > 5_000, "passes went by");
        assert!(largest < FRESH_MAX * 3 / 2, "{largest}: a pass is over before much has come");
        for mailbox in [0, 50, 99] {
            assert_eq!(seqs(&connection, mailbox, 0, u64::MAX, usize::MAX), (1..=90).collect::<Vec<_>>());
            assert_eq!(seqs(&connection, mailbox, 40, 80, 3), [41, 42, 43]);
            for seq in [1, 90] {
                assert_eq!(remove(&connection, mailbox, seq), Ok(Some(place(mailbox, seq).envelope)));
                assert_eq!(remove(&connection, mailbox, seq), Ok(None));
            }
            assert_eq!(seqs(&connection, mailbox, 0, u64::MAX, usize::MAX), (2..=89).collect::<Vec<_>>());
        }
    }

    #[test]
    fn one_mailbox_is_counted_without_reading_what_waits_in_others() {
        assert_no_scan(WAITING, &[1, 0], &["envelopes", "filed", "fresh"]);
    }

    #[test]
    fn places_are_read_in_order_without_sorting() {
        let steps = steps(PLACES, &[1, 2, 3]);
        assert!(steps.iter().any(|step| step.contains("MERGE")), "{steps:?}");
        assert!(!steps.iter().any(|step| step.contains("TEMP B-TREE") || step.starts_with("SCAN")), "{steps:?}");
    }

    #[test]
    fn what_is_acknowledged_soon_is_never_filed() {
        let (connection, mut filing) = (database(), Filing::default());
        for at in 0..20_000 {
            add(&connection, 1, &place(1, at)).expect("a place");
            assert!(remove(&connection, 1, at).expect("removed").is_some());
            filing.step(&connection, 1).expect("a step");
        }
        assert_eq!((count(&connection, "fresh"), count(&connection, "filed")), (0, 0));
        assert!(filing.fresh.is_some_and(|fresh| fresh <= FRESH_MAX), "counted anew each time that it seemed much");
    }

    /// A full disk comes just when many places are due: what frees room is not to wait for a move that needs some.
    #[test]
    fn in_a_full_database_only_sends_want_places_moved() {
        let (connection, mut filing) = (database(), Filing::default());
        for seq in 0..FRESH_MAX + 100 {
            add(&connection, i64::MAX / 2, &place(i64::MAX / 2, seq)).expect("a place");
        }
        let pages: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0)).expect("a number");
        connection.query_row(&format!("PRAGMA max_page_count={pages}"), [], |_| Ok(())).expect("a full database");
        assert!(remove(&connection, i64::MAX / 2, 7).expect("removed").is_some());
        assert_eq!(filing.step(&connection, 0), Ok(()));
        assert_eq!(count(&connection, "filed"), 0);
        let refused = filing.step(&connection, 64).expect_err("no room");
        assert_eq!(refused.sqlite_error_code(), Some(rusqlite::ErrorCode::DiskFull));
    }
}
