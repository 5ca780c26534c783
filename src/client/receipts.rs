//! Receipts: telling a contact that their texts are safe here or were shown, and taking theirs in.
//!
//! An instant answer to every message would tell a relay that watches its own traffic who talks with whom. So what is to be
//! told gathers per contact, for a random time that is drawn when the first of a batch comes in, and goes out as one message.
//! It takes the same way as any other: queued on disk, sealed, sent by the contact's token, tried again under the same id.
//! Only texts have receipts, so no receipt ever causes another.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Client;
use super::content::Content;
use super::error::{Error, Result};
use super::event::What;
use super::sent::Delivery;
use super::state::{Contact, State};
use crate::crypto::random;
use crate::protocol::{AccountId, EnvelopeId};

/// What contacts are told of the texts that they sent us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Receipts {
    /// Nothing.
    Off,
    /// That they are safe on this device.
    Delivered,
    /// That too, and that they were shown.
    #[default]
    Read,
}

/// Whether receipts are sent, and how long they are held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptSettings {
    /// What is told.
    pub receipts: Receipts,
    /// The shortest and the longest time, in seconds, that a batch gathers.
    pub delay_secs: (u64, u64),
}

impl Default for ReceiptSettings {
    fn default() -> Self {
        Self { receipts: Receipts::default(), delay_secs: (DELAY_SECS_MIN, DELAY_SECS_MAX) }
    }
}

/// What one contact is still to be told.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Pending {
    #[serde(default)]
    delivered: Vec<EnvelopeId>,
    /// Read implies delivered: an id stands in one of the two.
    #[serde(default)]
    read: Vec<EnvelopeId>,
    /// When the batch goes out; after that, when to look again whether it did.
    #[serde(default)]
    due_at: u64,
}

impl Client {
    /// What contacts are told, and when.
    pub fn receipts(&self) -> ReceiptSettings {
        self.state.receipts
    }

    /// Changes what contacts are told. What is not told any more and has not gone out yet is dropped.
    pub async fn set_receipts(&mut self, settings: ReceiptSettings) -> Result<()> {
        let (shortest, longest) = settings.delay_secs;
        if shortest > longest || longest > HELD_SECS_MAX {
            return Err(Error::asked(
                format!("{shortest}..{longest} is no span of seconds that receipts can be held back for"),
                "give the shorter time first, and at most 3600",
            ));
        }
        let _lock = self.enter().await?;
        self.state.set_receipts(settings);
        self.save()?;
        self.keep().await;
        Ok(())
    }

    /// How long until [`send_due_receipts`](Client::send_due_receipts) has something to do; none while nothing gathers.
    /// As of this client's last operation.
    pub fn receipts_due_in(&self) -> Option<Duration> {
        let now = self.clock.now();
        let due = self.state.receipts_due_at().into_iter().chain(self.state.slot_due_at(now)).min();
        due.map(|at| Duration::from_secs(at.saturating_sub(now)))
    }

    /// Sends the receipts whose time has come, and what else is queued; and writes what is held back for the other devices. [`receive`](Client::receive) does it too, and so does
    /// [`send`](Client::send) for its contact; call it when [`receipts_due_in`](Client::receipts_due_in) has passed where
    /// neither is called. What could not go out stays queued.
    pub async fn send_due_receipts(&mut self) -> Result<()> {
        let _lock = self.enter().await?;
        self.keep_what_was_held().await;
        match self.flush(None).await?.into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }
}

impl State {
    /// A text came in: its sender is to be told so.
    pub(crate) fn note_delivered(&mut self, from: &AccountId, id: EnvelopeId, now: u64) {
        if self.receipts.receipts >= Receipts::Delivered {
            let delay = self.receipts.delay_secs;
            self.gather(from, now, delay, |pending| pending.delivered.push(id));
        }
    }

    /// The event of that number was shown. It waits no longer, and the sender of a text is to be told so.
    pub(crate) fn note_shown(&mut self, number: u64, now: u64) {
        let Some(place) = self.inbox.iter().position(|event| event.number == number) else { return };
        let What::Text { account, id: Some(id), .. } = self.inbox.remove(place).what else { return };
        if self.receipts.receipts == Receipts::Read {
            let delay = self.receipts.delay_secs;
            self.gather(&account, now, delay, |pending| {
                pending.delivered.retain(|delivered| *delivered != id);
                pending.read.push(id);
            });
        }
    }

    /// Adds to what a contact is to be told. The first of a batch draws when it goes out.
    fn gather(&mut self, account: &AccountId, now: u64, delay_secs: (u64, u64), add: impl FnOnce(&mut Pending)) {
        let Some(contact) = self.contact(account) else { return };
        let pending = &mut contact.receipts;
        if pending.is_empty() {
            pending.due_at = now + drawn(delay_secs);
        }
        add(pending);
        let surplus = (pending.delivered.len() + pending.read.len()).saturating_sub(IDS_MAX);
        let of_delivered = surplus.min(pending.delivered.len());
        pending.delivered.drain(..of_delivered);
        pending.read.drain(..surplus - of_delivered);
    }

    /// Puts the batches whose time has come into the outbox; of one contact, or of all. A contact has one at most there: until
    /// it is gone the next batch gathers on. True when the state changed.
    pub(crate) fn queue_due_receipts(&mut self, only: Option<AccountId>, now: u64) -> bool {
        let due: Vec<AccountId> = self
            .contacts
            .iter()
            .filter(|contact| only.is_none_or(|only| only == contact.account))
            .filter(|contact| contact.receipts.due_at <= now && self.receipts_wait(contact))
            .map(|contact| contact.account)
            .collect();
        for account in &due {
            let in_outbox = self.receipt_in_outbox(account);
            let Some(contact) = self.contact(account) else { continue };
            contact.receipts.due_at = now + AGAIN_SECS;
            if !in_outbox {
                let delivered = std::mem::take(&mut contact.receipts.delivered);
                let read = std::mem::take(&mut contact.receipts.read);
                self.queue(*account, Content::Receipt { delivered, read }, None);
            }
        }
        !due.is_empty()
    }

    /// Takes a contact's receipt in: only ids that were sent to that contact count, and no state goes back.
    pub(crate) fn take_receipt(&mut self, from: &AccountId, delivered: &[EnvelopeId], read: &[EnvelopeId], at: u64) {
        for sent in self.sent.iter_mut().filter(|sent| sent.account == Some(*from)) {
            if matches!(sent.state, Delivery::Read { .. }) {
                continue;
            }
            if read.contains(&sent.id) {
                sent.state = Delivery::Read { at };
            } else if delivered.contains(&sent.id) && !matches!(sent.state, Delivery::Delivered { .. }) {
                sent.state = Delivery::Delivered { at };
            }
        }
    }

    pub(super) fn set_receipts(&mut self, settings: ReceiptSettings) {
        self.receipts = settings;
        for contact in &mut self.contacts {
            let pending = &mut contact.receipts;
            match settings.receipts {
                Receipts::Off => *pending = Pending::default(),
                Receipts::Delivered => pending.delivered.append(&mut pending.read),
                Receipts::Read => {}
            }
        }
        self.outbox.retain_mut(|outgoing| match &mut outgoing.content {
            // Once it has counters it may have arrived: without it there the contact would miss a message for ever.
            Content::Receipt { delivered, read } if outgoing.counters.is_empty() => match settings.receipts {
                Receipts::Off => false,
                Receipts::Delivered => {
                    delivered.append(read);
                    true
                }
                Receipts::Read => true,
            },
            _ => true,
        });
    }

    /// A time to hold something back for, in seconds.
    pub(crate) fn drawn_delay(&self) -> u64 {
        drawn(self.receipts.delay_secs)
    }

    fn receipts_due_at(&self) -> Option<u64> {
        let receipts =
            self.contacts.iter().filter(|contact| self.receipts_wait(contact)).map(|contact| contact.receipts.due_at);
        let later = self.outbox.iter().map(|outgoing| outgoing.due_at).filter(|at| *at > 0);
        receipts.chain(later).min()
    }

    fn receipts_wait(&self, contact: &Contact) -> bool {
        !contact.receipts.is_empty() || self.receipt_in_outbox(&contact.account)
    }

    fn receipt_in_outbox(&self, account: &AccountId) -> bool {
        let is_receipt = |content: &Content| matches!(content, Content::Receipt { .. });
        self.outbox.iter().any(|outgoing| outgoing.to == *account && is_receipt(&outgoing.content))
    }
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.delivered.is_empty() && self.read.is_empty()
    }
}

/// A number of seconds within the bounds, each as likely as any other.
fn drawn((shortest, longest): (u64, u64)) -> u64 {
    shortest + u64::from_be_bytes(random::bytes()) % (longest - shortest + 1)
}

/// The default bounds of a batch's delay.
const DELAY_SECS_MIN: u64 = 5;
const DELAY_SECS_MAX: u64 = 120;
/// The longest delay that can be set.
const HELD_SECS_MAX: u64 = 3_600;
/// When a batch that went into the outbox is looked for there again.
const AGAIN_SECS: u64 = 60;
/// How many ids gather for a contact: 25 bytes each in a content of 16,063, so that one message holds them all, and three
/// times as many as this client remembers of what it sent. The oldest give way.
const IDS_MAX: usize = 600;

#[cfg(test)]
mod tests;
