//! Keeping the [`Book`] in the account's slots: read them, join what stands there with one's own, write; again where another
//! device was faster.
//!
//! Whatever changes contacts, invites or settings calls [`keep`](Client::keep) afterwards, or [`keep_later`](Client::keep_later)
//! where the change goes with an anonymous send. Neither fails: what could not be written is written the next time. What came by
//! a token that this device does not know may be from a contact that another device has just made: it is held back until that
//! is known. Who said hello is answered only once the slot says so; compare-and-swap decides which device it is that answers.

mod apply;
mod epochs;
mod rollback;
mod undecided;

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::Client;
use super::book::{Book, Own, Settings};
use super::error::{Error, Result};
use super::event::What;
use super::slot::Slot;
use super::state::State;
use crate::protocol::time::{DAY, HOUR};
use crate::protocol::{AccountId, EnvelopeId, ErrorCode, Hash, SlotId, TokenHash};
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

/// What was read of one slot, and is not joined yet.
struct News {
    at: usize,
    version: u64,
    book: Book,
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

    async fn bring_together(&mut self, read_first: bool) -> Result<()> {
        let outcome = self.try_to_bring_together(read_first).await;
        let now = self.clock.now();
        let kept = &mut self.state.kept;
        match &outcome {
            Err(error) if error.passes() => {
                if (1..=now).contains(&kept.due_at) {
                    kept.due_at = now + AGAIN_SECS;
                }
            }
            Ok(false) => {}
            // For what can never be written nobody is kept waiting.
            Ok(true) | Err(_) => {
                kept.answers.clear();
                kept.due_at = 0;
            }
        }
        self.save()?;
        outcome.map(drop)
    }

    /// False where what is to be written is held back.
    async fn try_to_bring_together(&mut self, read_first: bool) -> Result<bool> {
        let never_seen = self.state.kept.parts.iter().all(|part| part.seen == 0);
        if read_first || never_seen {
            self.read().await?;
        }
        if self.state.kept.due_at > self.clock.now() && self.state.kept.answers.is_empty() {
            return Ok(false);
        }
        for _ in 0..ROUNDS_MAX {
            if self.write().await? {
                self.state.kept.told = None;
                return Ok(true);
            }
            let before = self.state.kept.parts.clone();
            self.read().await?;
            if self.state.kept.parts == before {
                return Err(Error::Untrue("the relay says that the slot changed, and shows what was there before"));
            }
        }
        Err(Error::Unreachable { origin: self.http.origin().to_string(), why: "the slot changes too fast".into() })
    }

    /// Writes the parts that changed. False when another device was faster.
    async fn write(&mut self) -> Result<bool> {
        if self.state.kept.unwritten().is_empty() {
            return Ok(true);
        }
        self.state.kept.book.prune(self.clock.now());
        if !self.state.kept.fit() {
            return Err(self.in_trouble(Trouble::TooLarge));
        }
        self.state.grow(self.state.kept.book.parts());
        // Written down first: what is sent under a revision is never changed under it.
        self.save()?;
        for (at, book) in self.state.kept.unwritten() {
            let Some(slot) = self.state.slot(at) else { continue };
            let version = self.state.kept.seen(at) + 1;
            let Some(content) = slot.locked(version, &book.json()) else { continue };
            let written = match self.write_slot(&slot.id, version, content.clone()).await {
                Err(error) if error.code() == Some(ErrorCode::TooManySlots) && self.drop_old_slots().await => {
                    self.write_slot(&slot.id, version, content).await?
                }
                written => written?,
            };
            if !written {
                return Ok(false);
            }
            self.state.kept.note(at, version, &book);
        }
        Ok(true)
    }

    /// Joins what stands in the slots with the own book, and takes over what came of it.
    async fn read(&mut self) -> Result<()> {
        let now = self.clock.now();
        let (mut news, mut at, mut parts): (Vec<News>, _, _) = (Vec::new(), 0, self.state.kept.parts.len().max(1));
        while at < parts.min(PARTS_MAX) {
            news.extend(self.read_part(at, now).await?);
            parts = news.iter().map(|part| part.book.parts()).max().unwrap_or(1).max(parts);
            at += 1;
        }
        let heard = !news.is_empty();
        let mut theirs = Book::default();
        self.state.grow(at);
        for News { at, version, book } in news {
            self.state.kept.note(at, version, &book);
            theirs = theirs.joined(book);
        }
        // What is too large stays so until it was written.
        self.state.kept.told.take_if(|told| *told == Trouble::RolledBack || (heard && *told == Trouble::Unreadable));
        if heard {
            self.state.yield_to(&theirs);
            self.state.kept.book = std::mem::take(&mut self.state.kept.book).joined(theirs);
            self.apply();
        }
        self.state.absorb(now);
        Ok(())
    }

    /// What is new in one slot; none where nothing is.
    async fn read_part(&mut self, at: usize, now: u64) -> Result<Option<News>> {
        let Some(slot) = self.state.slot(at) else { return Ok(None) };
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
        let seen = self.state.kept.seen(at);
        let reply = match found {
            Some(reply) if reply.version > seen => reply,
            Some(reply) if reply.version == seen => return Ok(None),
            None if seen == 0 => return Ok(None),
            _ => return Err(self.in_trouble(Trouble::RolledBack)),
        };
        let json = slot.opened(reply.version, reply.content.as_slice());
        match json.and_then(|json| Book::parse(&json)) {
            Some(book) => Ok(Some(News { at, version: reply.version, book })),
            None => Err(self.in_trouble(Trouble::Unreadable)),
        }
    }

    fn in_trouble(&mut self, trouble: Trouble) -> Error {
        let (what, why) = match trouble {
            Trouble::RolledBack => (What::SlotRolledBack, "the relay shows an older copy of your own data"),
            Trouble::Unreadable => (What::SlotUnreadable, "what the relay shows as your own data does not open"),
            Trouble::TooLarge => (What::SlotTooLarge, "contacts and settings are too many for the slots"),
        };
        if self.state.kept.told.replace(trouble) != Some(trouble) {
            self.state.tell(self.clock.now(), what);
        }
        Error::Untrue(why)
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
/// Tries to write while other devices write too.
const ROUNDS_MAX: u32 = 5;
/// When what was held back, and could not be written, is tried again.
const AGAIN_SECS: u64 = 60;
/// Slots that the book may take, of the four that an account has.
const PARTS_MAX: usize = 3;
