//! Passes that bring places from `fresh` over to `filed`, some with each commit.
//!
//! A pass takes what is in `fresh` when it begins. First it writes all of that to `filed`, in the order of mailboxes, in which
//! neighbours share pages; and then it removes the rows from `fresh`, in the order of arrival, in which they do there. Both at once
//! would write each page of `fresh` with each commit. After a restart a pass files again what it takes: that changes nothing.

use rusqlite::{Connection, Result};

use super::expiring::Tally;
use super::fresh::{Changes, Key};
use super::places;
use super::values::{int, uint};

/// The pass that is under way, and as the last commit left it.
#[derive(Default)]
pub(super) struct Filing {
    pass: Option<Pass>,
    committed: Option<Pass>,
}

#[derive(Clone, Copy)]
struct Pass {
    /// The last envelope that it takes.
    through: i64,
    at: At,
}

#[derive(Clone, Copy)]
enum At {
    Begin,
    /// Up to this place all are filed.
    Filed(Key),
    /// All are.
    Leaving,
}

impl Filing {
    pub(super) fn load(connection: &Connection) -> Result<Self> {
        let through = connection.query_row("SELECT filing_through FROM relay", [], |row| row.get::<_, Option<i64>>(0))?;
        let pass = through.map(|through| Pass { through, at: At::Begin });
        Ok(Self { pass, committed: pass })
    }

    /// The last envelope that the pass takes which is under way; below all when there is none. Of those before, each place in
    /// `fresh` may stand in `filed`, too.
    pub(super) fn through(&self) -> i64 {
        self.pass.map_or(0, |pass| pass.through)
    }

    /// A transaction that added so many places is about to be committed: goes on with the pass, or begins one where that is due,
    /// of envelopes up to `last`. One that added none moves none: what frees room must not need some.
    pub(super) fn step(
        &mut self,
        connection: &Connection,
        fresh: &Changes,
        tally: &mut Tally,
        added: u64,
        last: i64,
    ) -> Result<()> {
        if added == 0 {
            return Ok(());
        }
        let rows = (FILED_FOR_EACH * added).max(FILED_A_SLICE_MIN);
        let Some(pass) = &mut self.pass else {
            if fresh.since() > FRESH_MAX {
                self.pass = Some(Pass { through: last, at: At::Begin });
                note(connection, Some(last))?;
            }
            return Ok(());
        };
        pass.at = match pass.at {
            At::Begin => file(connection, fresh, (i64::MIN, 0), rows)?,
            At::Filed(reached) => file(connection, fresh, reached, rows)?,
            At::Leaving if leave(connection, tally, pass.through, rows)? => At::Leaving,
            At::Leaving => {
                self.pass = None;
                return note(connection, None);
            }
        };
        Ok(())
    }

    /// The transaction was undone.
    pub(super) fn undo(&mut self) {
        self.pass = self.committed;
    }

    /// It was committed; says whether a pass began or ended with it.
    pub(super) fn settle(&mut self) -> Option<Stage> {
        let before = std::mem::replace(&mut self.committed, self.pass);
        match (before, self.pass) {
            (None, Some(_)) => Some(Stage::Begun),
            (Some(_), None) => Some(Stage::Over),
            _ => None,
        }
    }
}

/// Of a pass.
pub(super) enum Stage {
    Begun,
    Over,
}

fn note(connection: &Connection, through: Option<i64>) -> Result<()> {
    let mut note = connection.prepare_cached(
        "UPDATE relay
         SET filing_through = ?1",
    )?;
    note.execute([through])?;
    Ok(())
}

/// Writes the next places of the pass to `filed`.
fn file(connection: &Connection, fresh: &Changes, reached: Key, rows: u64) -> Result<At> {
    let next = fresh.passing(reached, rows);
    places::file(connection, next.iter().map(|((mailbox, _), place)| (*mailbox, place)))?;
    let last = next.last().filter(|_| next.len() as u64 == rows);
    Ok(last.map_or(At::Leaving, |(key, _)| At::Filed(*key)))
}

/// Removes rows of the pass from `fresh`, whose envelopes are counted in `expiring` from here on; false when that were the last.
fn leave(connection: &Connection, tally: &mut Tally, through: i64, rows: u64) -> Result<bool> {
    let mut leave = connection.prepare_cached(
        "DELETE FROM fresh
         WHERE envelope IN (SELECT envelope FROM fresh WHERE envelope <= ?1 ORDER BY envelope LIMIT ?2)
         RETURNING envelope, expires_at, bytes",
    )?;
    let mut left = leave.query([through, int(rows)])?;
    let mut count = 0;
    while let Some(row) = left.next()? {
        tally.add(row.get(0)?, row.get(1)?, uint(row, 2)?);
        count += 1;
    }
    Ok(count == rows)
}

/// Places in `fresh` from which on a pass begins: some 4 MiB of memory. Fewer make more passes, each of which writes a page for nearly
/// every mailbox that was sent to.
const FRESH_MAX: u64 = 32_768;
/// Places that a commit moves for each that it adds: a pass is over before half as many came again, and no commit of a few sends
/// is kept long.
const FILED_FOR_EACH: u64 = 4;
/// Places that any commit moves that adds some.
const FILED_A_SLICE_MIN: u64 = 32;
