//! Keeping the [`Book`] in the slot: read it, join it with one's own, write it; again where another device was faster.
//!
//! Whatever changes contacts, invites or settings calls [`keep`](Client::keep) afterwards. That never fails: what could not be
//! written is written the next time. What came by a token that this device does not know may be from a contact that another
//! device has just made: it is held back until the slot was read. Who said hello is answered only once the slot says so;
//! compare-and-swap decides which device it is that answers.

mod apply;
mod epochs;

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::Client;
use super::book::{Book, Own, Settings};
use super::envelope::Taken;
use super::error::{Error, Result};
use super::event::What;
use super::slot::Slot;
use super::state::State;
use crate::protocol::envelopes::Envelope;
use crate::protocol::time::{DAY, HOUR};
use crate::protocol::{AccountId, EnvelopeId, ErrorCode, SlotId, TokenHash};

/// What this device knows of the slot.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Kept {
    /// The slot that the rest is about; another epoch has another.
    id: Option<SlotId>,
    /// The highest version that was seen; none is 0.
    seen: u64,
    /// What stands there, and our own changes.
    book: Book,
    /// The book is not what stands there.
    dirty: bool,
    read_at: u64,
    /// The relay has no slots: it is asked again then.
    none_until: u64,
    /// What hinders, once it was told.
    told: Option<Trouble>,
    /// Answers that wait for the slot.
    pub(super) answers: Vec<Answer>,
    /// Envelopes by tokens that are not known, oldest first.
    undecided: Vec<Undecided>,
    /// Slots of epochs before, and when each is deleted.
    old: Vec<(SlotId, u64)>,
}

/// A `welcome` that goes out once the slot says that this device is the one to answer.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(super) welcome: EnvelopeId,
    pub(super) once: TokenHash,
    pub(super) fresh: TokenHash,
    pub(super) account: AccountId,
}

#[derive(Serialize, Deserialize)]
struct Undecided {
    envelope: Envelope,
    at: u64,
}

/// Why the slot cannot be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Trouble {
    RolledBack,
    Unreadable,
    TooLarge,
}

impl Kept {
    /// For another device: what was held back was for the one before.
    pub(super) fn begin_anew(&mut self) {
        self.answers.clear();
        self.undecided.clear();
    }
}

impl State {
    /// Whether there is a slot to be read.
    pub(super) fn has_slot(&self, now: u64) -> bool {
        self.sync_key.is_some() && self.kept.none_until <= now
    }

    /// Whether it can be waited for.
    pub(super) fn slot_works(&self, now: u64) -> bool {
        self.has_slot(now) && self.kept.told.is_none()
    }

    /// Whether an envelope of the outbox waits for the slot.
    pub(super) fn waits_for_slot(&self, id: &EnvelopeId) -> bool {
        self.kept.answers.iter().any(|answer| answer.welcome == *id)
    }

    /// Whether an invite is known here and no longer open.
    pub(super) fn was_invited(&self, once: &TokenHash) -> bool {
        self.kept.book.closed_by(once).is_some()
    }

    /// Holds an envelope back; false when there is no room for it.
    pub(super) fn hold_back(&mut self, envelope: &Envelope, now: u64) -> bool {
        let room = self.kept.undecided.len() < UNDECIDED_MAX;
        if room {
            self.kept.undecided.push(Undecided { envelope: envelope.clone(), at: now });
        }
        room
    }

    /// The tokens that somebody may come by.
    pub(super) fn tokens_in_use(&self) -> HashSet<TokenHash> {
        let held = self.contacts.iter().flat_map(|contact| contact.mine.iter().map(|mine| mine.hash));
        let invited = self.invites.iter().flat_map(|invite| [invite.once, invite.contact]);
        let own = self.myself.iter().flat_map(|myself| myself.mine.iter().map(|mine| mine.hash));
        held.chain(own).chain(invited).chain(self.pool.iter().map(|token| token.hash())).collect()
    }

    fn slot(&self) -> Option<Slot> {
        self.sync_key.as_ref().map(|sync_key| Slot::of(sync_key, &self.account))
    }

    /// Notices own changes, in the book of the slot that this epoch has.
    fn absorb(&mut self, slot: &Slot, now: u64) {
        let device = self.device_id();
        let kept = &mut self.kept;
        if kept.id != Some(slot.id) {
            // Other devices may hear of the new epoch later.
            kept.old.extend(kept.id.map(|id| (id, now + OLD_SECS)));
            (kept.id, kept.seen, kept.read_at, kept.told) = (Some(slot.id), 0, 0, None);
            kept.dirty = !kept.book.is_empty();
        }
        // A device that is new here has nothing to say before it has listened.
        if kept.seen == 0 && kept.read_at == 0 && kept.book.is_empty() {
            return;
        }
        let settings = Settings { name: self.name.clone(), receipts: self.receipts };
        let own = Own { device, contacts: &self.contacts, invites: &self.invites, settings };
        kept.dirty |= kept.book.absorb(&own, now);
    }
}

impl Client {
    /// Brings own changes into the slot, and reads it where that was long ago. What fails is done the next time.
    pub(super) async fn keep(&mut self) {
        let now = self.clock.now();
        let Some(slot) = self.state.slot().filter(|_| self.state.has_slot(now)) else { return };
        self.state.absorb(&slot, now);
        let stale = self.state.kept.read_at + READ_EVERY <= now;
        if stale || self.state.kept.dirty {
            self.bring_together(&slot, stale).await.ok();
        }
        self.sweep(now).await;
    }

    /// Reads the slot now, because something is not known here that another device may know. False when that cannot be.
    pub(super) async fn look(&mut self) -> bool {
        let now = self.clock.now();
        let Some(slot) = self.state.slot().filter(|_| self.state.has_slot(now)) else { return false };
        self.state.absorb(&slot, now);
        self.read(&slot).await.is_ok()
    }

    /// Looks again at what was held back, after the slot was read. Gives how many of them nobody knows.
    pub(super) async fn decide(&mut self) -> u64 {
        let now = self.clock.now();
        if self.state.kept.undecided.is_empty() {
            return 0;
        }
        let retention = self.state.relay.retention_secs;
        let before = self.state.kept.undecided.len();
        self.state.kept.undecided.retain(|undecided| undecided.at + retention > now);
        let mut unopened = (before - self.state.kept.undecided.len()) as u64;
        if self.look().await || !self.state.has_slot(now) {
            for undecided in std::mem::take(&mut self.state.kept.undecided) {
                match self.take_in(&undecided.envelope).await {
                    Ok(Taken::In) => {}
                    Ok(Taken::Unopened | Taken::ByUnknown) => unopened += 1,
                    Err(_) => self.state.kept.undecided.push(undecided),
                }
            }
        }
        unopened
    }

    async fn bring_together(&mut self, slot: &Slot, read_first: bool) -> Result<()> {
        let outcome = self.try_to_bring_together(slot, read_first).await;
        match &outcome {
            Err(error) if error.passes() => {}
            // For what can never be written nobody is kept waiting.
            _ => self.state.kept.answers.clear(),
        }
        self.save()?;
        outcome
    }

    async fn try_to_bring_together(&mut self, slot: &Slot, read_first: bool) -> Result<()> {
        if read_first || self.state.kept.seen == 0 {
            self.read(slot).await?;
        }
        for _ in 0..ROUNDS_MAX {
            if !self.state.kept.dirty {
                return Ok(());
            }
            let version = self.state.kept.seen + 1;
            let Some(content) = slot.locked(version, &self.state.kept.book.json()) else {
                return Err(self.in_trouble(Trouble::TooLarge));
            };
            // Written down first: what is sent under a revision is never changed under it.
            self.save()?;
            let written = self.write_slot(&slot.id, version, content).await;
            if written.as_ref().is_err_and(|error| error.code() == Some(ErrorCode::TooManySlots)) {
                self.state.kept.old.iter_mut().for_each(|(_, at)| *at = 0);
            }
            if written? {
                let kept = &mut self.state.kept;
                (kept.seen, kept.dirty, kept.told) = (version, false, None);
                return Ok(());
            }
            self.read(slot).await?;
            if self.state.kept.seen < version {
                return Err(Error::Untrue("the relay says that the slot changed, and shows what was there before"));
            }
        }
        Err(Error::Unreachable { origin: self.http.origin().to_string(), why: "the slot changes too fast".into() })
    }

    /// Joins what stands in the slot with the own book, and takes over what came of it.
    async fn read(&mut self, slot: &Slot) -> Result<()> {
        let now = self.clock.now();
        let found = match self.read_slot(&slot.id).await {
            Ok(found) => found,
            Err(error) => {
                if error.code() == Some(ErrorCode::NotFound) {
                    self.state.kept.none_until = now + DAY;
                }
                return Err(error);
            }
        };
        self.state.kept.read_at = now;
        let seen = self.state.kept.seen;
        let reply = match found {
            Some(reply) if reply.version > seen => reply,
            Some(reply) if reply.version == seen => {
                self.state.kept.told.take_if(|told| *told == Trouble::RolledBack);
                return Ok(());
            }
            None if seen == 0 => {
                self.state.absorb(slot, now);
                self.state.kept.dirty = !self.state.kept.book.is_empty();
                return Ok(());
            }
            _ => return Err(self.in_trouble(Trouble::RolledBack)),
        };
        let json = slot.opened(reply.version, reply.content.as_slice());
        let Some(mut theirs) = json.and_then(|json| Book::parse(&json)) else {
            return Err(self.in_trouble(Trouble::Unreadable));
        };
        self.state.yield_to(&theirs);
        let mut joined = std::mem::take(&mut self.state.kept.book).joined(theirs.clone());
        joined.prune(now);
        theirs.prune(now);
        let kept = &mut self.state.kept;
        kept.dirty = !joined.says_the_same(&theirs);
        kept.book = if kept.dirty { joined } else { theirs };
        kept.seen = reply.version;
        kept.told.take_if(|told| *told != Trouble::TooLarge);
        self.apply();
        self.state.absorb(slot, now);
        Ok(())
    }

    fn in_trouble(&mut self, trouble: Trouble) -> Error {
        let (what, why) = match trouble {
            Trouble::RolledBack => (What::SlotRolledBack, "the relay shows an older copy of your own data"),
            Trouble::Unreadable => (What::SlotUnreadable, "what the relay shows as your own data does not open"),
            Trouble::TooLarge => (What::SlotTooLarge, "contacts and settings are too many for the slot"),
        };
        if self.state.kept.told.replace(trouble) != Some(trouble) {
            self.state.tell(self.clock.now(), what);
        }
        Error::Untrue(why)
    }
}

/// How old what was read may be.
const READ_EVERY: u64 = HOUR;
/// How long the slot of the epoch before stays.
const OLD_SECS: u64 = 8 * DAY;
/// Tries to write while other devices write too.
const ROUNDS_MAX: u32 = 5;
/// Envelopes held back; what is beyond counts as not opened.
const UNDECIDED_MAX: usize = 256;
