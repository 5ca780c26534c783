//! What the writer keeps in memory of mailboxes, being the only one who writes: the next seq, what waits, and by which
//! token it came. All of it but the shares and the repeats can be loaded again with one query.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::num::NonZeroUsize;

use lru::LruCache;
use rusqlite::{Connection, params};

use super::Settings;
use crate::protocol::TokenHash;

/// A mailbox's number.
pub(super) type Mailbox = i64;
/// The mark of a repeat.
pub(super) type Tag = [u8; 16];

/// The writer's memory.
pub(super) struct Memory {
    mailboxes: LruCache<Mailbox, State>,
    gone: Gone,
    envelopes_max: u64,
    bytes_max: u64,
    touched: Vec<Mailbox>,
}

/// One mailbox.
#[derive(Default)]
pub(super) struct State {
    /// The next seq to give.
    pub(super) next_seq: u64,
    /// Seqs below this may be given without writing it down.
    pub(super) reserved: u64,
    waiting: BTreeMap<u64, Row>,
    bytes: u64,
    tags: HashMap<Tag, u64>,
    shares: HashMap<TokenHash, Share>,
}

struct Row {
    tag: Tag,
    bytes: u64,
    token: Option<TokenHash>,
}

#[derive(Default, Clone, Copy)]
struct Share {
    envelopes: u64,
    bytes: u64,
}

/// Repeats whose envelope is gone.
#[derive(Default)]
struct Gone {
    until: HashMap<(Mailbox, Tag), u64>,
    order: VecDeque<(Mailbox, Tag, u64)>,
    secs: u64,
    max: usize,
}

impl Memory {
    pub(super) fn new(settings: &Settings) -> Self {
        let cached = NonZeroUsize::new(settings.mailbox_cache_max).unwrap_or(NonZeroUsize::MIN);
        Self {
            mailboxes: LruCache::new(cached),
            gone: Gone { secs: settings.repeats_secs, max: settings.repeats_max, ..Gone::default() },
            envelopes_max: settings.mailbox_envelopes_max,
            bytes_max: settings.mailbox_bytes_max,
            touched: Vec::new(),
        }
    }

    /// A mailbox's state, loaded if need be. Whoever asks may change it: should the transaction fail, it is dropped.
    pub(super) fn mailbox(&mut self, connection: &Connection, mailbox: Mailbox) -> rusqlite::Result<&mut State> {
        self.touched.push(mailbox);
        if !self.mailboxes.contains(&mailbox) {
            let state = State::load(connection, mailbox)?;
            self.mailboxes.put(mailbox, state);
        }
        Ok(self.mailboxes.get_mut(&mailbox).expect("it is there or was put just now"))
    }

    /// A mailbox's state, if it is in memory.
    pub(super) fn cached(&mut self, mailbox: Mailbox) -> Option<&mut State> {
        self.touched.push(mailbox);
        self.mailboxes.get_mut(&mailbox)
    }

    /// The mailbox is no more.
    pub(super) fn forget(&mut self, mailbox: Mailbox) {
        self.mailboxes.pop(&mailbox);
    }

    /// What was done to mailboxes since the last call stands.
    pub(super) fn committed(&mut self) {
        self.touched.clear();
    }

    /// What was done to mailboxes since the last call did not happen.
    pub(super) fn rolled_back(&mut self) {
        for mailbox in self.touched.drain(..) {
            self.mailboxes.pop(&mailbox);
        }
    }

    /// Whether this was stored before and is gone since a short while.
    pub(super) fn is_gone(&self, mailbox: Mailbox, tag: &Tag, now: u64) -> bool {
        self.gone.until.get(&(mailbox, *tag)).is_some_and(|until| *until > now)
    }

    /// Remembers that an envelope is gone.
    pub(super) fn remember_gone(&mut self, mailbox: Mailbox, tag: Tag, now: u64) {
        self.gone.insert(mailbox, tag, now);
    }

    /// Whether one more of this token has room: within the mailbox, within `max` of its own, and within what is still free,
    /// so that n greedy tokens leave one part in n + 1.
    fn has_room(&self, state: &State, token: &TokenHash, bytes: u64, max: Option<u64>) -> bool {
        let share = state.shares.get(token).copied().unwrap_or_default();
        let (count, total) = (state.waiting.len() as u64 + 1, state.bytes + bytes);
        let (own, own_bytes) = (share.envelopes + 1, share.bytes + bytes);
        count <= self.envelopes_max
            && total <= self.bytes_max
            && own <= max.unwrap_or(u64::MAX)
            && own <= self.envelopes_max - count
            && own_bytes <= self.bytes_max - total
    }

    /// The limits alone, for [`has_room`](Self::has_room) beside a state borrowed from here.
    pub(super) fn room_for(
        &mut self,
        connection: &Connection,
        mailbox: Mailbox,
        token: &TokenHash,
        bytes: u64,
        max: Option<u64>,
    ) -> rusqlite::Result<bool> {
        self.mailbox(connection, mailbox)?;
        let state = self.mailboxes.peek(&mailbox).expect("it was loaded just now");
        Ok(self.has_room(state, token, bytes, max))
    }
}

impl State {
    fn load(connection: &Connection, mailbox: Mailbox) -> rusqlite::Result<Self> {
        let (next_seq, acked_through): (u64, u64) = connection
            .prepare_cached("SELECT next_seq, acked_through FROM devices WHERE mailbox = ?1")?
            .query_row([mailbox], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut state = Self { next_seq, reserved: next_seq, ..Self::default() };
        let mut statement = connection.prepare_cached(
            "SELECT seq, repeat_tag, length(body)
             FROM envelopes
             WHERE mailbox = ?1 AND seq > ?2",
        )?;
        let mut rows = statement.query(params![mailbox, acked_through])?;
        while let Some(row) = rows.next()? {
            state.insert(row.get(0)?, row.get(1)?, row.get(2)?, None);
        }
        Ok(state)
    }

    /// Something waits.
    pub(super) fn insert(&mut self, seq: u64, tag: Tag, bytes: u64, token: Option<TokenHash>) {
        self.bytes += bytes;
        self.tags.insert(tag, seq);
        if let Some(token) = token {
            let share = self.shares.entry(token).or_default();
            share.envelopes += 1;
            share.bytes += bytes;
        }
        self.waiting.insert(seq, Row { tag, bytes, token });
    }

    /// It no longer waits; gives its tag.
    pub(super) fn remove(&mut self, seq: u64) -> Option<Tag> {
        let row = self.waiting.remove(&seq)?;
        self.bytes -= row.bytes;
        self.tags.remove(&row.tag);
        if let Some(token) = row.token
            && let Some(share) = self.shares.get_mut(&token)
        {
            share.envelopes -= 1;
            share.bytes -= row.bytes;
            if share.envelopes == 0 {
                self.shares.remove(&token);
            }
        }
        Some(row.tag)
    }

    /// Whether an envelope of this tag waits.
    pub(super) fn has(&self, tag: &Tag) -> bool {
        self.tags.contains_key(tag)
    }

    /// Whether anything waits at this seq.
    pub(super) fn has_seq(&self, seq: u64) -> bool {
        self.waiting.contains_key(&seq)
    }

    /// The seqs that wait up to and with one.
    pub(super) fn through(&self, seq: u64) -> Vec<u64> {
        self.waiting.range(..=seq).map(|(seq, _)| *seq).collect()
    }
}

impl Gone {
    fn insert(&mut self, mailbox: Mailbox, tag: Tag, now: u64) {
        while let Some((mailbox, tag, until)) = self.order.front().copied() {
            if until > now && self.order.len() < self.max {
                break;
            }
            self.order.pop_front();
            if self.until.get(&(mailbox, tag)) == Some(&until) {
                self.until.remove(&(mailbox, tag));
            }
        }
        let until = now + self.secs;
        self.until.insert((mailbox, tag), until);
        self.order.push_back((mailbox, tag, until));
    }
}
