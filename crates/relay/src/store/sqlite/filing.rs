//! Passes that bring places from `fresh` over to `filed`, some with each commit.
//!
//! A pass takes what is in `fresh` when it begins. First it writes all of that to `filed`, in the order of mailboxes, in which
//! neighbours share pages; and then it removes the rows from `fresh`, in the order of arrival, in which they do there. Both at once
//! would write each page of `fresh` with each commit. How far it came stands in the database.

use rusqlite::{Connection, OptionalExtension, Result};

use super::fresh::{Changes, Key};
use super::places;
use super::values::{int, uint};

/// The pass that is under way, and as the last commit left it.
#[derive(Default)]
pub(super) struct Filing {
    pass: Option<Pass>,
    committed: Option<Pass>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Pass {
    /// The last envelope that it takes.
    through: i64,
    /// The last place that is filed.
    reached: Key,
}

impl Filing {
    pub(super) fn load(connection: &Connection) -> Result<Self> {
        let mut select = connection.prepare(
            "SELECT filing_through, filed_mailbox, filed_seq
             FROM relay
             WHERE filing_through IS NOT NULL",
        )?;
        let pass = select.query_row([], |row| Ok(Pass { through: row.get(0)?, reached: (row.get(1)?, uint(row, 2)?) }));
        let pass = pass.optional()?;
        Ok(Self { pass, committed: pass })
    }

    /// The last envelope that the pass takes which is under way; below all when there is none.
    pub(super) fn through(&self) -> i64 {
        self.pass.map_or(0, |pass| pass.through)
    }

    /// Whether a place in `fresh` stands in `filed`, too.
    pub(super) fn has_filed(&self, key: Key, envelope: i64) -> bool {
        self.pass.is_some_and(|pass| envelope <= pass.through && key <= pass.reached)
    }

    /// A transaction that added so many places is about to be committed: goes on with the pass, or begins one where that is due,
    /// of envelopes up to `last`. One that added none moves none: what frees room must not need some.
    pub(super) fn step(&mut self, connection: &Connection, fresh: &Changes, added: u64, last: i64) -> Result<()> {
        if added == 0 {
            return Ok(());
        }
        let rows = (FILED_FOR_EACH * added).max(FILED_A_SLICE_MIN);
        self.pass = match self.pass {
            None if fresh.since() <= FRESH_MAX => return Ok(()),
            None => Some(Pass { through: last, reached: BEGIN }),
            Some(pass) if pass.reached < END => Some(file(connection, fresh, pass, rows)?),
            Some(pass) => leave(connection, pass, rows)?,
        };
        let pass = self.pass;
        let mut note = connection.prepare_cached(
            "UPDATE relay
             SET filing_through = ?1, filed_mailbox = ?2, filed_seq = ?3",
        )?;
        note.execute((pass.map(|pass| pass.through), pass.map(|pass| pass.reached.0), pass.map(|pass| int(pass.reached.1))))?;
        Ok(())
    }

    /// The transaction was undone.
    pub(super) fn undo(&mut self) {
        self.pass = self.committed;
    }

    /// It was committed; says whether a pass began or ended with it.
    pub(super) fn settle(&mut self) -> Option<Turn> {
        let before = std::mem::replace(&mut self.committed, self.pass);
        match (before, self.pass) {
            (None, Some(_)) => Some(Turn::Begun),
            (Some(_), None) => Some(Turn::Over),
            _ => None,
        }
    }
}

/// Of a pass.
pub(super) enum Turn {
    Begun,
    Over,
}

/// Writes the next places of the pass to `filed`.
fn file(connection: &Connection, fresh: &Changes, pass: Pass, rows: u64) -> Result<Pass> {
    let next = fresh.passing(pass.reached, rows);
    for ((mailbox, _), place) in &next {
        places::file(connection, *mailbox, place)?;
    }
    let last = next.last().filter(|_| next.len() as u64 == rows);
    Ok(Pass { reached: last.map_or(END, |(key, _)| *key), ..pass })
}

/// Removes rows of the pass from `fresh`; nothing is left of it when that were the last.
fn leave(connection: &Connection, pass: Pass, rows: u64) -> Result<Option<Pass>> {
    let mut leave = connection.prepare_cached(
        "DELETE FROM fresh
         WHERE envelope IN (SELECT envelope FROM fresh WHERE envelope <= ?1 ORDER BY envelope LIMIT ?2)",
    )?;
    let left = leave.execute([pass.through, int(rows)])?;
    Ok(Some(pass).filter(|_| left as u64 == rows))
}

const BEGIN: Key = (i64::MIN, 0);
/// After every place: all of the pass is filed.
const END: Key = (i64::MAX, i64::MAX as u64);
/// Places in `fresh` from which on a pass begins: some 4 MiB of memory. Fewer make more passes, each of which writes a page for nearly
/// every mailbox that was sent to.
const FRESH_MAX: u64 = 32_768;
/// Places that a commit moves for each that it adds: a pass is over before half as many came again, and no commit of a few sends
/// is kept long.
const FILED_FOR_EACH: u64 = 4;
/// Places that any commit moves that adds some.
const FILED_A_SLICE_MIN: u64 = 32;
