//! From one epoch's slot to the next: what a recovery brings back, and when an old slot goes.

use reqwest::Method;

use super::super::Client;
use super::super::book::Book;
use super::super::error::Result;
use super::super::http::NOTHING;
use super::super::secret::Secret;
use super::super::slot::Slot;
use super::PARTS_MAX;
use crate::protocol::accounts::AccountReply;

impl Client {
    /// After a recovery: what stands in the slots of epochs before. False when there is none that can be read.
    pub(in super::super) async fn bring_back(&mut self, sync_key: impl Fn(u32) -> Secret, before: Option<u32>) -> Result<bool> {
        let Some(before) = before else { return Ok(false) };
        let account = self.state.account;
        let held: AccountReply = self.authed(Method::GET, "/v1/account", NOTHING).await?;
        let epochs = (before.saturating_sub(EPOCHS_MAX - 1)..=before).rev();
        let parts = epochs.flat_map(|epoch| {
            let key = sync_key(epoch);
            (0..PARTS_MAX as u8).map(move |part| Slot::of(&key, &account, part)).collect::<Vec<_>>()
        });
        let slots: Vec<Slot> = parts.filter(|slot| held.slots.iter().any(|item| item.slot == slot.id)).collect();
        let mut found = false;
        for slot in &slots {
            let Some(reply) = self.read_slot(&slot.id).await? else { continue };
            let json = slot.opened(reply.version, reply.content.as_slice());
            if let Some(book) = json.and_then(|json| Book::parse(&json)) {
                self.state.kept.book = std::mem::take(&mut self.state.kept.book).joined(book);
                found = true;
            }
        }
        if found {
            self.apply();
            self.state.kept.old.extend(slots.iter().map(|slot| (slot.id, 0)));
            self.save()?;
        }
        Ok(found)
    }

    /// Makes room for slots of this epoch: those of the ones before go now. True when any went.
    pub(super) async fn drop_old_slots(&mut self) -> bool {
        let mut dropped = false;
        for (slot, _) in std::mem::take(&mut self.state.kept.old) {
            match self.delete_slot(&slot).await {
                Ok(()) => dropped = true,
                Err(_) => self.state.kept.old.push((slot, 0)),
            }
        }
        dropped
    }

    /// Deletes the slots that nobody needs any more, once what they held stands in the new one.
    pub(super) async fn sweep(&mut self, now: u64) {
        if self.state.kept.seen(0) == 0 || !self.state.kept.unwritten().is_empty() {
            return;
        }
        for (slot, at) in self.state.kept.old.clone() {
            if at <= now && self.delete_slot(&slot).await.is_ok() {
                self.state.kept.old.retain(|(old, _)| *old != slot);
                self.save().ok();
            }
        }
    }
}

/// How many epochs back a slot is looked for: one that a recovery left behind which broke off.
const EPOCHS_MAX: u32 = 8;
