//! What the writer knows without asking the database: each mailbox's next seq, count, bytes, tags and token shares, and the
//! tags of envelopes lately gone.
//!
//! It is the only one who writes, so what it loaded stays true until a batch fails; then what the batch touched is dropped
//! and loaded again. Which token an envelope came by is known here alone, and forgotten with the process.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU64;

use lru::LruCache;
use rusqlite::{Connection, OptionalExtension, Result};

use super::Settings;
use super::contents::{Contents, Held, Tag};
use super::places::{Place, Places};
use super::values::{int, uint};
use crate::protocol::TokenHash;
use crate::protocol::envelopes::SEQ_END;

pub(super) struct Memory {
    mailboxes: LruCache<i64, Mailbox>,
    /// Mailboxes and envelopes that are held, and may be.
    held: usize,
    held_max: usize,
    touched: Vec<i64>,
    /// The highest number of a mailbox that is gone: `repeats` knows mailboxes by their numbers, so none is given again.
    pub(super) gone_max: i64,
    pub(super) repeats: Repeats,
    pub(super) places: Places,
    pub(super) limits: MailboxLimits,
}

/// What one mailbox may hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct MailboxLimits {
    pub(super) envelopes_max: u64,
    pub(super) bytes_max: u64,
    /// Knocks of one token.
    pub(super) knocks_token_max: u64,
    /// Knocks of all tokens.
    pub(super) knocks_max: u64,
}

/// One mailbox as the writer sees it.
pub(super) struct Mailbox {
    id: i64,
    next_seq: u64,
    /// What its row says: above all that are gone.
    reserved: u64,
    /// Bytes of what is no knock.
    bytes: u64,
    knocks: u64,
    contents: Contents,
    shares: HashMap<ShareName, Share>,
    /// The highest seq of the gap not yet acknowledged; 0 when there is none.
    pub(super) gap_through: u64,
    counted: usize,
}

#[derive(Default)]
struct Share {
    envelopes: u64,
    bytes: u64,
}

impl Memory {
    pub(super) fn new(settings: &Settings, places: Places) -> Self {
        Self {
            mailboxes: LruCache::unbounded(),
            held: 0,
            held_max: settings.mailbox_cache_max,
            touched: Vec::new(),
            gone_max: 0,
            repeats: Repeats { secs: settings.repeats_secs, max: settings.repeats_max, ..Repeats::default() },
            places,
            limits: MailboxLimits {
                envelopes_max: settings.mailbox_envelopes_max,
                bytes_max: settings.mailbox_bytes_max,
                knocks_token_max: settings.knocks_token_max,
                knocks_max: settings.knocks_max,
            },
        }
    }

    /// The state of a mailbox, to be changed along with its rows.
    pub(super) fn mailbox(&mut self, connection: &Connection, id: i64) -> Result<&mut Mailbox> {
        self.touched.push(id);
        let places = &self.places;
        self.mailboxes.try_get_or_insert_mut(id, || Mailbox::load(connection, places, id))
    }

    /// The same, only when it is at hand anyway.
    pub(super) fn mailbox_at_hand(&mut self, id: i64) -> Option<&mut Mailbox> {
        self.touched.push(id);
        self.mailboxes.peek_mut(&id)
    }

    /// The mailbox is gone.
    pub(super) fn drop_mailbox(&mut self, id: i64) {
        self.gone_max = self.gone_max.max(id);
        self.forget(id);
    }

    fn forget(&mut self, id: i64) {
        if let Some(mailbox) = self.mailboxes.pop(&id) {
            self.held -= mailbox.counted;
        }
    }

    /// A batch, or a part of it, is undone: what it touched is no longer known.
    pub(super) fn undo(&mut self) {
        self.places.undo();
        for id in std::mem::take(&mut self.touched) {
            self.forget(id);
        }
    }

    /// A batch is on disk: makes room again, the mailboxes longest unused going first.
    pub(super) fn settle(&mut self) {
        self.places.settle();
        for id in std::mem::take(&mut self.touched) {
            if let Some(mailbox) = self.mailboxes.peek_mut(&id) {
                self.held -= mailbox.counted;
                mailbox.contents.trim();
                mailbox.counted = 1 + mailbox.contents.len();
                self.held += mailbox.counted;
            }
        }
        while self.held > self.held_max {
            let Some((_, mailbox)) = self.mailboxes.pop_lru() else { break };
            self.held -= mailbox.counted;
        }
    }
}

impl Mailbox {
    fn load(connection: &Connection, places: &Places, id: i64) -> Result<Self> {
        let mut row = connection.prepare_cached(
            "SELECT next_seq, gap_through, coalesce(gone_through, 0)
             FROM mailboxes
             WHERE id = ?1",
        )?;
        let row = row.query_row([id], |row| Ok((uint(row, 0)?, uint(row, 1)?, uint(row, 2)?)));
        let (next_seq, gap_through, gone_through) = row?;
        let mut mailbox = Self {
            id,
            next_seq,
            reserved: next_seq,
            bytes: 0,
            knocks: 0,
            contents: Contents::default(),
            shares: HashMap::new(),
            gap_through,
            counted: 0,
        };
        places.walk(connection, id, gone_through, SEQ_END, |place| {
            let Place { seq, tag, bytes, knock, .. } = place;
            mailbox.hold(Held { seq, tag, bytes: bytes as u32, knock, share: None });
            Ok(true)
        })?;
        let waiting_next = mailbox.contents.last_seq().map_or(0, |seq| seq + 1);
        mailbox.next_seq = next_seq.max(waiting_next);
        #[cfg(feature = "sabotage")]
        if crate::sabotage::on("seq_reused") {
            mailbox.next_seq = mailbox.contents.last_seq().map_or(1, |seq| seq + 1);
        }
        Ok(mailbox)
    }

    /// Whether an envelope with this tag waits.
    pub(super) fn waits(&self, tag: &Tag) -> bool {
        self.contents.has(tag)
    }

    /// Whether one more envelope fits: within the mailbox's limits, within what its token may hold (`envelopes_max`), and so
    /// that the token then holds no more than is still free.
    pub(super) fn has_room(&self, token: &TokenHash, bytes: u64, envelopes_max: Option<u64>, limits: MailboxLimits) -> bool {
        let (count, total) = (self.contents.len() as u64 - self.knocks + 1, self.bytes + bytes);
        if count > limits.envelopes_max || total > limits.bytes_max {
            return false;
        }
        let share = self.shares.get(&share_of(token, false));
        let (envelopes, share_bytes) = share.map_or((0, 0), |share| (share.envelopes, share.bytes));
        envelopes < envelopes_max.unwrap_or(u64::MAX)
            && envelopes < limits.envelopes_max - count
            && share_bytes + bytes <= limits.bytes_max - total
    }

    /// Whether one more knock fits: into the room that knocks have, and into its token's part of that.
    pub(super) fn has_room_to_knock(&self, token: &TokenHash, envelopes_max: Option<u64>, limits: MailboxLimits) -> bool {
        let of_token = self.shares.get(&share_of(token, true)).map_or(0, |share| share.envelopes);
        self.knocks < limits.knocks_max && of_token < limits.knocks_token_max.min(envelopes_max.unwrap_or(u64::MAX))
    }

    /// The next seq.
    pub(super) fn take_seq(&mut self) -> u64 {
        self.next_seq += 1;
        self.next_seq - 1
    }

    /// A seq is gone: where its being there was all that told that it was given, the row does from now on.
    pub(super) fn reserve(&mut self, connection: &Connection, gone: u64) -> Result<()> {
        if gone < self.reserved {
            return Ok(());
        }
        self.reserved = self.next_seq + SEQS_RESERVED;
        let mut reserve = connection.prepare_cached(
            "UPDATE mailboxes
             SET next_seq = ?2
             WHERE id = ?1",
        )?;
        reserve.execute([self.id, int(self.reserved)])?;
        Ok(())
    }

    /// Whether a seq is above the highest given.
    pub(super) fn not_given(&self, seq: u64) -> bool {
        seq >= self.next_seq
    }

    /// An envelope is stored.
    pub(super) fn add(&mut self, seq: u64, tag: Tag, bytes: u64, token: &TokenHash, knock: bool) {
        let name = share_of(token, knock);
        let share = self.shares.entry(name).or_default();
        share.envelopes += 1;
        share.bytes += bytes;
        self.hold(Held { seq, tag, bytes: bytes as u32, knock, share: Some(name.0) });
    }

    /// An envelope is gone; gives what was known of it.
    pub(super) fn remove(&mut self, seq: u64) -> Option<Held> {
        let held = self.contents.remove(seq)?;
        let bytes = u64::from(held.bytes);
        match held.knock {
            true => self.knocks -= 1,
            false => self.bytes -= bytes,
        }
        if let Some(token) = held.share
            && let Some(share) = self.shares.get_mut(&(token, held.knock))
        {
            share.envelopes -= 1;
            share.bytes -= bytes;
            if share.envelopes == 0 {
                self.shares.remove(&(token, held.knock));
            }
        }
        Some(held)
    }

    /// Seqs up to `through` are lost to the device, and its row says so.
    pub(super) fn lose(&mut self, through: u64) {
        self.gap_through = self.gap_through.max(through);
        self.reserved = self.reserved.max(through + 1);
    }

    /// The seqs that wait, up to and including `through`.
    pub(super) fn seqs_through(&self, through: u64) -> Vec<u64> {
        self.contents.seqs_through(through)
    }

    fn hold(&mut self, held: Held) {
        match held.knock {
            true => self.knocks += 1,
            false => self.bytes += u64::from(held.bytes),
        }
        self.contents.add(held);
    }
}

/// The mailbox of a device of an account.
pub(super) fn mailbox_of(connection: &Connection, device: &crate::protocol::DeviceId) -> Result<Option<(i64, i64)>> {
    let mut find = connection.prepare_cached(
        "SELECT mailbox, account
         FROM devices
         WHERE device = ?1",
    )?;
    find.query_row([device.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?))).optional()
}

/// Tags of envelopes that were acknowledged, by mailbox, until their time is over or there are too many.
#[derive(Default)]
pub(super) struct Repeats {
    until: HashMap<(i64, Tag), u64>,
    oldest_first: VecDeque<(u64, i64, Tag)>,
    secs: u64,
    max: usize,
}

impl Repeats {
    pub(super) fn add(&mut self, mailbox: i64, tag: Tag, now: u64) {
        let until = now.saturating_add(self.secs);
        self.until.insert((mailbox, tag), until);
        self.oldest_first.push_back((until, mailbox, tag));
        while self.oldest_first.len() > self.max || self.oldest_first.front().is_some_and(|oldest| oldest.0 <= now) {
            let Some((until, mailbox, tag)) = self.oldest_first.pop_front() else { break };
            // A tag that was added again since stands further back, with a later time.
            if self.until.get(&(mailbox, tag)) == Some(&until) {
                self.until.remove(&(mailbox, tag));
            }
        }
    }

    pub(super) fn knows(&self, mailbox: i64, tag: &Tag, now: u64) -> bool {
        self.until.get(&(mailbox, *tag)).is_some_and(|until| now < *until)
    }
}

/// The head of a token's hash, and whether it is of its knocks: a hash that expired may come back as a token of another kind.
type ShareName = (NonZeroU64, bool);

/// Hashes are uniform, and only an account's own tokens can meet in its mailboxes.
fn share_of(token: &TokenHash, knock: bool) -> ShareName {
    let (head, _) = token.as_bytes().split_first_chunk::<8>().expect("a hash has 32 bytes");
    (NonZeroU64::MIN | u64::from_be_bytes(*head), knock)
}

/// Seqs reserved by one update of a mailbox's row; as many are skipped when the writer's memory of it is lost, at most.
const SEQS_RESERVED: u64 = 64;
