//! What waits in one mailbox, as the writer remembers it: by seq, and found by tag.
//!
//! The writer keeps hundreds of thousands of envelopes in mind, so each takes little: a queue in the order of seqs, and a table
//! with the seqs alone, for which the tag is looked up in the queue.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::num::NonZeroU64;

use hashbrown::HashTable;

pub(super) type Tag = [u8; 16];

/// One envelope that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) seq: u64,
    pub(super) tag: Tag,
    /// Of its body.
    pub(super) bytes: u32,
    /// It came by a knock token, and has no place in the mailbox's own limits.
    pub(super) knock: bool,
    /// The token that it came by, where that is known.
    pub(super) share: Option<NonZeroU64>,
}

#[derive(Default)]
pub(super) struct Contents {
    /// By seq.
    held: VecDeque<Held>,
    /// Their seqs, by their tags.
    seqs: HashTable<u64>,
    /// With a key of its own: who sends can try ids until their tags have much in common.
    hasher: RandomState,
}

impl Contents {
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    pub(super) fn last_seq(&self) -> Option<u64> {
        self.held.back().map(|held| held.seq)
    }

    /// Whether an envelope with this tag waits.
    pub(super) fn has(&self, tag: &Tag) -> bool {
        let held = &self.held;
        let is_it = |seq: &u64| at(held, *seq).is_some_and(|index| held[index].tag == *tag);
        self.seqs.find(self.hasher.hash_one(tag), is_it).is_some()
    }

    /// Adds one that is not there; its seq is above all others, but for what a damaged file may say.
    pub(super) fn add(&mut self, new: Held) {
        if self.seqs.len() == self.seqs.capacity() {
            self.index((self.held.len() + 1) * 2);
        }
        self.note(&new);
        let held = &mut self.held;
        if held.len() == held.capacity() {
            held.reserve_exact(held.len() / 4 + 2);
        }
        match held.back() {
            Some(last) if last.seq > new.seq => held.insert(held.partition_point(|held| held.seq < new.seq), new),
            _ => held.push_back(new),
        }
    }

    pub(super) fn remove(&mut self, seq: u64) -> Option<Held> {
        let held = self.held.remove(at(&self.held, seq)?)?;
        if let Ok(entry) = self.seqs.find_entry(self.hasher.hash_one(held.tag), |other| *other == seq) {
            entry.remove();
        }
        Some(held)
    }

    /// The seqs that wait, up to and including `through`.
    pub(super) fn seqs_through(&self, through: u64) -> Vec<u64> {
        let end = self.held.partition_point(|held| held.seq <= through);
        self.held.range(..end).map(|held| held.seq).collect()
    }

    /// Gives back memory, where most of it holds nothing any more.
    pub(super) fn trim(&mut self) {
        let held = &mut self.held;
        if held.capacity() > SPARE_MIN && held.len() < held.capacity() / 4 {
            held.shrink_to(held.len() * 2);
            self.index(self.held.len() * 2);
        }
    }

    /// Makes the table anew, in the order of seqs: by itself, when it grows, it would look each of them up.
    fn index(&mut self, room: usize) {
        self.seqs = HashTable::with_capacity(room);
        for index in 0..self.held.len() {
            let held = self.held[index];
            self.note(&held);
        }
    }

    /// Puts a seq into the table, which has room.
    fn note(&mut self, new: &Held) {
        let Self { held, seqs, hasher } = self;
        let hash_at = |seq: &u64| at(held, *seq).map_or(0, |index| hasher.hash_one(held[index].tag));
        seqs.insert_unique(hasher.hash_one(new.tag), new.seq, hash_at);
    }
}

fn at(held: &VecDeque<Held>, seq: u64) -> Option<usize> {
    held.binary_search_by_key(&seq, |held| held.seq).ok()
}

/// Below so many places that could be held, memory is not given back.
const SPARE_MIN: usize = 64;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Each tag twice.
    fn held(seq: u64) -> Held {
        let mut tag = [0; 16];
        tag[8..].copy_from_slice(&(seq / 2).to_be_bytes());
        Held { seq, tag, bytes: seq as u32, knock: false, share: None }
    }

    /// Beside a map, with thousands added, removed anywhere and asked for by tag.
    #[test]
    fn what_waits_is_found_by_seq_and_by_tag() {
        let (mut contents, mut model) = (Contents::default(), BTreeMap::new());
        let mut at = 1_u64;
        for step in 0..3_000_u64 {
            // First it grows, then it shrinks.
            let adds = step % 3 < 2 && step < 2_000;
            if adds {
                contents.add(held(at));
                model.insert(at, held(at));
                at += 1 + step % 5 / 4;
            } else {
                let seq = (step * 7_919) % at;
                let seq = model.range(seq..).next().map_or(seq, |(seq, _)| *seq);
                assert_eq!(contents.remove(seq), model.remove(&seq));
                assert_eq!(contents.remove(seq), None);
            }
            contents.trim();
            assert_eq!((contents.len(), contents.seqs.len()), (model.len(), model.len()));
            assert_eq!(contents.last_seq(), model.keys().next_back().copied());
            for seq in [step % at, at - 1, at, at / 2] {
                let waits = model.values().any(|other| other.tag == held(seq).tag);
                assert_eq!(contents.has(&held(seq).tag), waits, "{seq} at step {step}");
            }
        }
        for through in [0, 1, at / 3, at / 2, at, u64::MAX] {
            assert_eq!(contents.seqs_through(through), model.range(..=through).map(|(seq, _)| *seq).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_a_damaged_file_holds_out_of_order_is_found_all_the_same() {
        let mut contents = Contents::default();
        [7, 9, 3, 8].into_iter().for_each(|seq| contents.add(held(seq)));
        assert_eq!(contents.seqs_through(8), [3, 7, 8]);
        assert_eq!((contents.remove(3), contents.remove(9)), (Some(held(3)), Some(held(9))));
        assert_eq!((contents.has(&held(8).tag), contents.has(&held(3).tag)), (true, false));
    }

    #[test]
    fn a_mailbox_that_was_emptied_keeps_no_room() {
        let mut contents = Contents::default();
        (1..=10_000).for_each(|seq| contents.add(held(seq)));
        assert!(contents.held.capacity() <= 12_502, "no more than a quarter in advance: {}", contents.held.capacity());
        (1..=10_000).for_each(|seq| assert!(contents.remove(seq).is_some()));
        contents.trim();
        assert!(contents.held.capacity() <= SPARE_MIN && contents.seqs.capacity() <= SPARE_MIN);
        assert_eq!(size_of::<Held>(), 40);
    }
}
