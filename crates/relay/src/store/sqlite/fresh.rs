//! The places of what came lately: the table `fresh` in the order of arrival, and in memory by mailbox and seq, where the
//! writer and the readers look.
//!
//! What readers see is what is committed. Who needs all of a mailbox's places copies these first and takes a snapshot then:
//! whatever was committed before is in the one or in the other, and of two envelopes of a mailbox never only the later.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use rusqlite::{Connection, Result};

use super::places::Place;
use super::values::int;

/// Mailbox and seq.
pub(super) type Key = (i64, u64);

/// What is committed, shared with the readers.
#[derive(Default)]
pub(super) struct Fresh {
    committed: Mutex<Committed>,
    /// Envelopes before this one are on the disk.
    synced: AtomicI64,
}

#[derive(Default)]
struct Committed {
    /// Of the pass of filing that is under way, also those that are filed.
    passing: BTreeMap<Key, Place>,
    /// What came since it began.
    since: BTreeMap<Key, Place>,
    /// Passes that are over.
    passes: u64,
}

impl Fresh {
    /// Reads the table, in which a pass is under way for envelopes up to `passing`.
    pub(super) fn read(connection: &Connection, passing: i64) -> Result<Self> {
        let mut select = connection.prepare_cached(
            "SELECT seq, envelope, repeat_tag, bytes, knock, mailbox
             FROM fresh",
        )?;
        let mut rows = select.query([])?;
        let mut committed = Committed::default();
        while let Some(row) = rows.next()? {
            let (mailbox, place) = (row.get(5)?, Place::read(row)?);
            let part = if place.envelope <= passing { &mut committed.passing } else { &mut committed.since };
            part.insert((mailbox, place.seq), place);
        }
        Ok(Self { committed: Mutex::new(committed), synced: AtomicI64::new(0) })
    }

    /// The places of a mailbox from after `after`, by seq.
    pub(super) fn of(&self, mailbox: i64, after: u64) -> Vec<Place> {
        let committed = self.lock();
        committed.of(mailbox, after, u64::MAX).map(|(_, place)| *place).collect()
    }

    /// Envelopes before this one are on the disk, and for readers to see.
    pub(super) fn synced(&self) -> i64 {
        self.synced.load(Ordering::Acquire)
    }

    /// All that was committed when `next` was the next envelope is on the disk.
    pub(super) fn note_synced(&self, next: i64) {
        self.synced.fetch_max(next, Ordering::AcqRel);
    }

    /// As often as this changes, places were removed here that are filed.
    pub(super) fn passes(&self) -> u64 {
        self.lock().passes
    }

    fn lock(&self) -> MutexGuard<'_, Committed> {
        self.committed.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Committed {
    fn of(&self, mailbox: i64, after: u64, through: u64) -> impl Iterator<Item = (&Key, &Place)> {
        of(&self.passing, mailbox, after, through).chain(of(&self.since, mailbox, after, through))
    }

    fn get(&self, key: Key) -> Option<Place> {
        self.passing.get(&key).or_else(|| self.since.get(&key)).copied()
    }
}

/// What the open transaction adds and removes.
pub(super) struct Changes {
    fresh: Arc<Fresh>,
    added: BTreeMap<Key, Place>,
    removed: BTreeSet<Key>,
}

impl Changes {
    pub(super) fn new(fresh: Arc<Fresh>) -> Self {
        Self { fresh, added: BTreeMap::new(), removed: BTreeSet::new() }
    }

    pub(super) fn add(&mut self, connection: &Connection, mailbox: i64, place: &Place, expires_at: u64) -> Result<()> {
        let mut add = connection.prepare_cached(
            "INSERT INTO fresh (envelope, mailbox, seq, repeat_tag, bytes, knock, expires_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?;
        add.execute((place.envelope, mailbox, int(place.seq), place.tag, int(place.bytes), place.knock, int(expires_at)))?;
        self.added.insert((mailbox, place.seq), *place);
        Ok(())
    }

    /// Gives the place that was there, and whether it still was in the table: those of a pass leave it before they leave memory.
    pub(super) fn remove(&mut self, connection: &Connection, key: Key) -> Result<Option<(Place, bool)>> {
        let place = match self.added.remove(&key) {
            Some(added) => Some(added),
            None => self.fresh.lock().get(key).filter(|_| self.removed.insert(key)),
        };
        let Some(place) = place else { return Ok(None) };
        let mut remove = connection.prepare_cached(
            "DELETE FROM fresh
             WHERE envelope = ?1",
        )?;
        let there = remove.execute([place.envelope])? > 0;
        Ok(Some((place, there)))
    }

    /// The places of a mailbox from after `after` up to `through`, by seq.
    pub(super) fn of(&self, mailbox: i64, after: u64, through: u64) -> Vec<Place> {
        let committed = self.fresh.lock();
        let kept = committed.of(mailbox, after, through).filter(|(key, _)| !self.removed.contains(key));
        kept.chain(of(&self.added, mailbox, after, through)).map(|(_, place)| *place).collect()
    }

    /// How many are committed, but for those of a pass.
    pub(super) fn since(&self) -> u64 {
        self.fresh.lock().since.len() as u64
    }

    /// The next of a pass after `reached`, by mailbox and seq.
    pub(super) fn passing(&self, reached: Key, max: u64) -> Vec<(Key, Place)> {
        let committed = self.fresh.lock();
        let after = (Bound::Excluded(reached), Bound::Unbounded);
        let due = committed.passing.range(after).filter(|(key, _)| !self.removed.contains(key));
        due.take(max as usize).map(|(key, place)| (*key, *place)).collect()
    }

    /// The transaction was undone.
    pub(super) fn undo(&mut self) {
        self.added.clear();
        self.removed.clear();
    }

    /// It was committed, and readers see it from here on.
    pub(super) fn settle(&mut self) {
        if self.added.is_empty() && self.removed.is_empty() {
            return;
        }
        let mut committed = self.fresh.lock();
        for key in std::mem::take(&mut self.removed) {
            if committed.passing.remove(&key).is_none() {
                committed.since.remove(&key);
            }
        }
        committed.since.extend(std::mem::take(&mut self.added));
    }

    /// A pass begins, of all that is committed.
    pub(super) fn begin_pass(&mut self) {
        let mut committed = self.fresh.lock();
        committed.passing = std::mem::take(&mut committed.since);
    }

    /// It is over: the table `fresh` has nothing of it any more.
    pub(super) fn end_pass(&mut self) {
        let mut committed = self.fresh.lock();
        committed.passing.clear();
        committed.passes += 1;
    }
}

/// A mailbox's places from after `after` up to `through`, by seq.
fn of(places: &BTreeMap<Key, Place>, mailbox: i64, after: u64, through: u64) -> impl Iterator<Item = (&Key, &Place)> {
    let range = (mailbox, after.min(through))..=(mailbox, through);
    places.range(range).filter(move |(key, _)| key.1 > after)
}
