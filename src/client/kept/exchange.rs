//! Reading the slots and writing them.

use super::super::Client;
use super::super::book::Book;
use super::super::error::{Error, Result};
use super::super::event::What;
use super::{PARTS_MAX, Trouble};
use crate::protocol::ErrorCode;
use crate::protocol::time::DAY;

/// What was read of one slot, and is not joined yet.
struct News {
    at: usize,
    version: u64,
    book: Book,
}

impl Client {
    pub(super) async fn bring_together(&mut self, read_first: bool) -> Result<()> {
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
    pub(super) async fn read(&mut self) -> Result<()> {
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

/// Tries to write while other devices write too.
const ROUNDS_MAX: u32 = 5;
/// When what was held back, and could not be written, is tried again.
const AGAIN_SECS: u64 = 60;
