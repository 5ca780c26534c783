//! Keeping the [`Book`] in the account's slots: read them, join what stands there with one's own, write; again where another
//! device was faster.
//!
//! Whatever changes contacts, invites or settings calls [`keep`](Client::keep) afterwards, or [`keep_later`](Client::keep_later)
//! where the change goes with an anonymous send. Neither fails: what could not be written is written the next time. What came by
//! a token that this device does not know may be from a contact that another device has just made: it is held back until that
//! is known. Who said hello is answered only once the slot says so; compare-and-swap decides which device it is that answers.

mod apply;
mod epochs;
mod exchange;
mod rollback;
mod undecided;

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::Client;
use super::book::{Book, Own, Settings};
use super::slot::Slot;
use super::state::State;
use crate::protocol::time::{DAY, HOUR};
use crate::protocol::{AccountId, EnvelopeId, Hash, SlotId, TokenHash};
use undecided::Undecided;

/// What this device knows of the slots.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Kept {
    /// The slots of this epoch, one for each part of the book.
    parts: Vec<Part>,
    /// What stands there, and our own changes.
    pub(super) book: Book,
    /// Own changes that went with an anonymous send are written not before.
    due_at: u64,
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

/// One slot.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Part {
    id: SlotId,
    /// The highest version that was seen; none is 0.
    seen: u64,
    /// Of the JSON that stands there.
    stands: Option<Hash>,
}

/// A `welcome` that goes out once the slot says that this device is the one to answer.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(super) welcome: EnvelopeId,
    pub(super) once: TokenHash,
    pub(super) fresh: TokenHash,
    pub(super) account: AccountId,
}

/// Why the slots cannot be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Trouble {
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

    /// What hinders, as of the last look.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.told
    }

    /// The parts that are not what stands in their slots, the last first: whoever reads the first finds the others in place.
    fn unwritten(&self) -> Vec<(usize, Book)> {
        let cut = self.book.cut(self.book.parts().max(self.parts.len())).into_iter().enumerate().rev();
        cut.filter(|(at, book)| match self.parts.get(*at).and_then(|part| part.stands) {
            Some(stands) => book.hash() != stands,
            None => !book.is_empty(),
        })
        .collect()
    }

    /// Cuts the book into as many parts as it needs; false where as many as there may be are too few.
    fn fit(&mut self) -> bool {
        let fits = |parts: &usize| self.book.cut(*parts).iter().all(|book| Slot::holds(&book.json()));
        let Some(parts) = (self.book.parts().max(self.parts.len())..=PARTS_MAX).find(fits) else { return false };
        self.book.set_parts(parts);
        true
    }
}

impl State {
    /// Whether there are slots to be read.
    pub(super) fn has_slot(&self, now: u64) -> bool {
        self.sync_key.is_some() && self.kept.none_until <= now
    }

    /// Whether they can be waited for.
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

    /// When what was held back is to be written; none where nothing is.
    pub(super) fn slot_due_at(&self, now: u64) -> Option<u64> {
        Some(self.kept.due_at).filter(|at| *at > 0 && self.has_slot(now))
    }

    /// The tokens that somebody may come by.
    pub(super) fn tokens_in_use(&self) -> HashSet<TokenHash> {
        let held = self.contacts.iter().flat_map(|contact| contact.mine.iter().map(|mine| mine.hash));
        let invited = self.invites.iter().flat_map(|invite| [invite.once, invite.contact]);
        let own = self.myself.iter().flat_map(|myself| myself.mine.iter().map(|mine| mine.hash));
        let doors = self.doors.invites.iter().map(|invite| invite.token);
        let handles = self.doors.handle.iter().chain(&self.doors.next_handle).map(|handle| handle.token.hash());
        let pool = self.pool.iter().map(|token| token.hash());
        held.chain(own).chain(invited).chain(doors).chain(handles).chain(pool).collect()
    }

    fn slot(&self, at: usize) -> Option<Slot> {
        let part = u8::try_from(at).ok()?;
        self.sync_key.as_ref().map(|sync_key| Slot::of(sync_key, &self.account, part))
    }

    /// Makes room to remember so many slots.
    fn grow(&mut self, parts: usize) {
        for at in self.kept.parts.len()..parts {
            let Some(slot) = self.slot(at) else { return };
            self.kept.parts.push(Part { id: slot.id, seen: 0, stands: None });
        }
    }

    /// Notices own changes, in the book of the slots that this epoch has; true when there were any.
    fn absorb(&mut self, now: u64) -> bool {
        let Some(first) = self.slot(0) else { return false };
        let device = self.device_id();
        let kept = &mut self.kept;
        if kept.parts.first().is_none_or(|part| part.id != first.id) {
            // Other devices may hear of the new epoch later.
            kept.old.extend(kept.parts.iter().map(|part| (part.id, now + OLD_SECS)));
            kept.parts = vec![Part { id: first.id, seen: 0, stands: None }];
            (kept.read_at, kept.told, kept.due_at) = (0, None, 0);
        }
        // A device that is new here has nothing to say before it has listened.
        if kept.read_at == 0 && kept.book.is_empty() && kept.parts.iter().all(|part| part.seen == 0) {
            return false;
        }
        let settings = Settings { name: self.name.clone(), receipts: self.receipts };
        let (doors, blocked, handle) = (&self.doors.invites, &self.doors.blocked, self.doors.handle.as_ref());
        let own = Own { device, contacts: &self.contacts, invites: &self.invites, doors, blocked, handle, settings };
        kept.book.absorb(&own, now)
    }
}

impl Client {
    /// Brings own changes into the slots, and reads them where that was long ago. What fails is done the next time.
    pub(super) async fn keep(&mut self) {
        let now = self.clock.now();
        if !self.state.has_slot(now) {
            return;
        }
        if self.state.absorb(now) {
            self.state.kept.due_at = 0;
        }
        self.keep_what_is_due().await;
    }

    /// Notices own changes that go with an anonymous send, or are nobody's business, and writes them after a random time: the request
    /// for it, which has a session, would else tell the relay whose the other was, or when something was decided. Until then they
    /// are safe in the profile. The bounds are those of receipts.
    pub(super) async fn keep_later(&mut self) {
        let now = self.clock.now();
        if !self.state.has_slot(now) {
            return;
        }
        let changed = self.state.absorb(now) || !self.state.kept.unwritten().is_empty() || self.state.kept.read_at == 0;
        if changed && self.state.kept.due_at <= now {
            self.state.kept.due_at = now + self.state.drawn_delay();
        }
        self.save().ok();
        self.keep_what_was_held().await;
    }

    /// Brings everything into the slots, also what was held back: a device that is about to be let in is to find it there.
    pub(super) async fn keep_now(&mut self) {
        self.state.kept.due_at = 0;
        self.keep().await;
    }

    /// Writes what was held back, if its time has come.
    pub(super) async fn keep_what_was_held(&mut self) {
        let now = self.clock.now();
        if self.state.slot_due_at(now).is_some_and(|at| at <= now) {
            self.keep_what_is_due().await;
        }
    }

    /// Reads the slots now, because something is not known here that another device may know. False when that cannot be.
    pub(super) async fn look(&mut self) -> bool {
        let now = self.clock.now();
        if !self.state.has_slot(now) {
            return false;
        }
        self.state.absorb(now);
        self.read().await.is_ok()
    }

    async fn keep_what_is_due(&mut self) {
        let now = self.clock.now();
        let stale = self.state.kept.read_at + READ_EVERY <= now;
        if stale || !self.state.kept.unwritten().is_empty() {
            self.bring_together(stale).await.ok();
        } else {
            self.state.kept.due_at = 0;
        }
        self.sweep(now).await;
    }
}

impl Kept {
    fn seen(&self, at: usize) -> u64 {
        self.parts.get(at).map_or(0, |part| part.seen)
    }

    fn note(&mut self, at: usize, version: u64, book: &Book) {
        if let Some(part) = self.parts.get_mut(at) {
            (part.seen, part.stands) = (version, Some(book.hash()));
        }
    }
}

/// How old what was read may be.
const READ_EVERY: u64 = HOUR;
/// How long the slots of the epoch before stay.
const OLD_SECS: u64 = 8 * DAY;
/// Slots that the book may take, of the four that an account has.
const PARTS_MAX: usize = 3;
