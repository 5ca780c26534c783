//! Sending: seal for every device of a contact's list, send anonymously, keep the id until an answer came.
//!
//! A message is on disk, queued, before anything is sent, and so are the reply keys that it carries. A try that got no
//! answer is repeated with the same id and counters, now or by a later command. The text is dropped once the relay has
//! accepted it: what stays is when, to whom, and until when it waits.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::Client;
use super::content::Content;
use super::error::{Error, Result};
use super::http::Lane;
use super::message::{CONTENT_BYTES_MAX, Plain, To, body_size, filler, seal};
use super::state::{Outgoing, State};
use crate::crypto::random;
use crate::protocol::envelopes::{BODY_SIZES, ListName, Sealed, SendReply, SendRequest};
use crate::protocol::{AccountId, Bytes, DeliveryToken, DeviceId, DeviceList, EnvelopeId, ErrorCode, SealingKey};

/// A text that was sent, or is to be.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sent {
    /// The envelope's id.
    pub id: EnvelopeId,
    /// The contact's name at the time.
    pub to: String,
    /// The contact's account; none for what was sent before there were receipts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountId>,
    /// When `send` was called, Unix seconds.
    pub at: u64,
    /// How far it came.
    #[serde(flatten)]
    pub state: Delivery,
}

/// How far a message came. The relay does not say whether anybody fetched it; the contact may, by a receipt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Delivery {
    /// Here; it goes out with the next `send` or `receive`.
    Queued,
    /// On the relay's disk.
    Accepted {
        /// Until when it waits there.
        expires_at: u64,
        /// Devices whose mailbox was full.
        full: usize,
    },
    /// A device of the contact's has it safe.
    Delivered {
        /// When they said so, at the latest.
        #[serde(rename = "delivered_at")]
        at: u64,
    },
    /// It was shown to the contact.
    Read {
        /// When they said so, at the latest.
        #[serde(rename = "read_at")]
        at: u64,
    },
    /// Its time at the relay is over and no receipt has come: nobody fetched it, or the contact sends none. Never stored.
    ExpiredUnread {
        /// Until when it waited.
        expires_at: u64,
    },
    /// Refused for good.
    Failed {
        /// Why.
        why: String,
    },
}

impl Client {
    /// Sends a text. `Err(Queued)` means that it is kept and goes out later by itself.
    pub async fn send(&mut self, to: &str, text: &str) -> Result<Sent> {
        let _lock = self.enter().await?;
        let contact = self.named(to)?;
        if contact.knocked {
            let what = format!("{to} has not answered your knock yet");
            return Err(Error::asked(what, "`restante client receive` says when they have; then they can be written to"));
        }
        let account = contact.account;
        let content = Content::Text { text: text.to_string() };
        let length = content.bytes().len().max(self.state.copy_bytes(&account, text));
        if length > CONTENT_BYTES_MAX {
            let over = length - CONTENT_BYTES_MAX;
            let what = format!("the text is too long: a message holds {CONTENT_BYTES_MAX} bytes, and this one is {over} over");
            return Err(Error::asked(what, "cut it up and send the parts one after the other"));
        }
        if self.state.outbox.len() >= OUTBOX_MAX {
            return Err(Error::asked(
                format!("{OUTBOX_MAX} messages wait to be sent already"),
                "`restante client doctor` says what is the matter",
            ));
        }
        let id = self.state.queue(account, content, None);
        let now = self.clock.now();
        self.state.sent.push(Sent { id, to: to.to_string(), account: Some(account), at: now, state: Delivery::Queued });
        let surplus = self.state.sent.len().saturating_sub(SENT_MAX);
        self.state.sent.drain(..surplus);
        self.save()?;
        let problems = self.flush(Some(account)).await?;
        // Copies of earlier ones, whose time has come; they can wait.
        self.flush(Some(self.state.account)).await.ok();
        match self.state.sent.iter().find(|sent| sent.id == id) {
            Some(sent) if matches!(sent.state, Delivery::Accepted { .. }) => Ok(sent.clone()),
            _ => Err(problem_of(id, to, problems, self.state.outgoing(&id).is_some())),
        }
    }

    /// What was sent, oldest first; the last [`SENT_MAX`] of it.
    pub fn sent(&self) -> Vec<Sent> {
        let now = self.clock.now();
        self.state.sent.iter().map(|sent| sent.as_of(now)).collect()
    }

    /// Sends what is queued, and the receipts that are due, in order; to one contact, or to all. What could not go out stays queued and holds up the rest
    /// for that contact; what was refused for good is dropped. Gives the errors of both.
    pub(super) async fn flush(&mut self, only: Option<AccountId>) -> Result<Vec<(EnvelopeId, Error)>> {
        if self.state.queue_due_receipts(only, self.clock.now()) {
            self.save()?;
        }
        let (mut problems, mut held_up) = (Vec::new(), HashSet::new());
        let ids: Vec<EnvelopeId> = self.state.outbox.iter().map(|outgoing| outgoing.id).collect();
        for id in ids {
            let Some(outgoing) = self.state.outgoing(&id) else { continue };
            let (to, is_grant) = (outgoing.to, outgoing.grant.is_some());
            let waits = self.state.waits_for_slot(&id) || self.state.awaits_an_answer(&id);
            let asked_for = only.is_none_or(|only| only == to) && !waits;
            if !asked_for || outgoing.due_at > self.clock.now() || (held_up.contains(&to) && !is_grant) {
                continue;
            }
            let outcome = match self.deliver(&id).await {
                Ok(reply) => Delivery::Accepted { expires_at: reply.expires_at, full: reply.full.len() },
                Err(Error::NoKey { .. }) if self.state.is_of_no_use_later(&id) => {
                    self.state.outbox.retain(|outgoing| outgoing.id != id);
                    self.save()?;
                    continue;
                }
                Err(error) if error.passes() => {
                    self.state.put_off(&id, self.clock.now());
                    held_up.insert(to);
                    problems.push((id, error));
                    continue;
                }
                Err(error) => {
                    let why = error.to_string();
                    problems.push((id, error));
                    Delivery::Failed { why }
                }
            };
            if matches!(outcome, Delivery::Accepted { .. }) {
                self.state.queue_copy(&id, self.clock.now());
            }
            self.state.outbox.retain(|outgoing| outgoing.id != id);
            // A receipt may have overtaken the answer to the first try.
            let awaits = |sent: &&mut Sent| sent.id == id && sent.state == Delivery::Queued;
            if let Some(sent) = self.state.sent.iter_mut().find(awaits) {
                sent.state = outcome;
            }
            self.save()?;
        }
        Ok(problems)
    }

    /// Seals and sends one message, again with the same id where the list had changed.
    async fn deliver(&mut self, id: &EnvelopeId) -> Result<SendReply> {
        for _ in 0..LIST_CHANGES_MAX {
            let request = self.sealed(id).await?;
            let refused = match self.http.post(Lane::Anonymous, "/v1/envelopes", &request).await {
                Err(Error::Refused(problem)) if problem.code == ErrorCode::DeviceListChanged => problem,
                answer => return answer,
            };
            let changed = refused.device_list.ok_or(NO_NEWER_LIST)?;
            let account = self.state.outgoing(id).map(|outgoing| outgoing.to).ok_or(GONE)?;
            if !self.learn_shown(&account, &changed)? {
                return Err(NO_NEWER_LIST);
            }
        }
        Err(Error::Untrue("the recipient's device list changes faster than a message can be sealed"))
    }

    /// The request for a queued message, with fresh reply keys that are on disk when this returns.
    async fn sealed(&mut self, id: &EnvelopeId) -> Result<SendRequest> {
        let outgoing = self.state.outgoing(id).cloned().ok_or(GONE)?;
        if outgoing.to == self.state.account {
            self.register_own_token().await?;
        }
        let contact = self.state.contact(&outgoing.to).ok_or(GONE)?;
        let token = outgoing.token.clone().unwrap_or_else(|| contact.token.clone());
        let keys = self.keys_for(&outgoing.to, &token).await?;
        let now = self.clock.now();
        let list = self.state.contact(&outgoing.to).ok_or(GONE)?.devices_listed();
        let content = outgoing.content.bytes();
        let letter = Letter { id, to: &outgoing.to, list: &list, keys: &keys, content, sent_at: now };
        let mut sealed = Vec::with_capacity(list.entries.len());
        let mut for_nobody = true;
        for entry in &list.entries {
            if let Some(grant) = outgoing.grant.as_ref().filter(|grant| grant.device == entry.device) {
                sealed.push(self.state.granted(grant, entry, id)?);
                for_nobody = false;
                continue;
            }
            if self.state.is_this(&entry.device) {
                sealed.push(letter.filler(&entry.device));
                continue;
            }
            // A device that nothing can be sealed to sees by its counter that something was missed.
            let counter = self.state.counter(id, &outgoing.to, &entry.device);
            if !keys.contains_key(&entry.device) {
                sealed.push(letter.filler(&entry.device));
                continue;
            }
            let reply_key = self.state.new_reply_key(entry.device, counter, now);
            sealed.push(self.state.sealed(&letter, &entry.device, counter, reply_key)?);
            for_nobody = false;
        }
        if for_nobody {
            return Err(self.no_key(&outgoing.to));
        }
        self.save()?;
        Ok(SendRequest { token, id: *id, list: letter.list_name(), sealed, expires_in: None, live: None })
    }
}

impl Client {
    fn no_key(&mut self, account: &AccountId) -> Error {
        Error::NoKey { to: self.state.contact(account).map(|contact| contact.name.clone()).unwrap_or_default() }
    }
}

impl Sent {
    fn as_of(&self, now: u64) -> Self {
        let state = match self.state {
            Delivery::Accepted { expires_at, .. } if expires_at <= now => Delivery::ExpiredUnread { expires_at },
            _ => self.state.clone(),
        };
        Self { state, ..self.clone() }
    }
}

/// A message to a contact, but for what is of one device's copy.
pub(super) struct Letter<'a> {
    pub(super) id: &'a EnvelopeId,
    pub(super) to: &'a AccountId,
    pub(super) list: &'a DeviceList,
    pub(super) keys: &'a HashMap<DeviceId, SealingKey>,
    pub(super) content: Vec<u8>,
    pub(super) sent_at: u64,
}

impl Letter<'_> {
    pub(super) fn list_name(&self) -> ListName {
        ListName { epoch: self.list.epoch, version: self.list.version }
    }

    /// What stands in the place of a copy that nobody could open.
    pub(super) fn filler(&self, device: &DeviceId) -> Sealed {
        Sealed { device: *device, body: Bytes(filler(body_size(self.content.len()).unwrap_or(BODY_SIZES[2]))) }
    }
}

impl State {
    /// One device's copy of a message.
    pub(super) fn sealed(&self, letter: &Letter<'_>, device: &DeviceId, counter: u64, reply_key: SealingKey) -> Result<Sealed> {
        let plain = Plain {
            account: self.account,
            device: self.device_id(),
            head: self.own_list().head(),
            recipient_head: letter.list.head(),
            counter,
            sent_at: letter.sent_at,
            reply_key,
            content: letter.content.clone(),
        };
        let to = To { account: letter.to, device, key: letter.keys.get(device).ok_or(GONE)? };
        let body = seal(&plain, &to, letter.id, &self.device_key());
        let body = body.ok_or(Error::Untrue("a key of the recipient's cannot be used"))?;
        Ok(Sealed { device: *device, body: Bytes(body) })
    }

    /// Puts a message into the outbox.
    pub(crate) fn queue(&mut self, to: AccountId, content: Content, token: Option<DeliveryToken>) -> EnvelopeId {
        let id = EnvelopeId(random::bytes());
        let (counters, due_at, grant) = (Default::default(), 0, None);
        self.outbox.push(Outgoing { id, to, content, token, counters, due_at, grant });
        id
    }

    /// The same, to go out not before `due_at`.
    pub(crate) fn queue_for_later(&mut self, to: AccountId, content: Content, due_at: u64) {
        self.queue(to, content, None);
        if let Some(last) = self.outbox.last_mut() {
            last.due_at = due_at;
        }
    }

    /// Whether a message is to somebody who has been knocked at and has not answered: nothing but the knock can go there.
    fn awaits_an_answer(&self, id: &EnvelopeId) -> bool {
        let Some(outgoing) = self.outgoing(id).filter(|outgoing| outgoing.token.is_none()) else { return false };
        self.contacts.iter().any(|contact| contact.account == outgoing.to && contact.knocked)
    }

    /// What was held back is not due again at once, so that whoever waits for it to be does not try without end.
    fn put_off(&mut self, id: &EnvelopeId, now: u64) {
        if let Some(outgoing) = self.outbox.iter_mut().find(|outgoing| outgoing.id == *id && outgoing.due_at > 0) {
            outgoing.due_at = now + AGAIN_SECS;
        }
    }

    pub(crate) fn outgoing(&self, id: &EnvelopeId) -> Option<&Outgoing> {
        self.outbox.iter().find(|outgoing| outgoing.id == *id)
    }

    /// The message's counter for a device: the one it has, or the next.
    fn counter(&mut self, id: &EnvelopeId, account: &AccountId, device: &DeviceId) -> u64 {
        if let Some(counter) = self.outgoing(id).and_then(|outgoing| outgoing.counters.get(device)) {
            return *counter;
        }
        let Some(contact) = self.contact(account) else { return 0 };
        let peer = contact.devices.entry(*device).or_default();
        peer.sent += 1;
        let counter = peer.sent;
        if let Some(outgoing) = self.outbox.iter_mut().find(|outgoing| outgoing.id == *id) {
            outgoing.counters.insert(*device, counter);
        }
        counter
    }
}

/// The error of one message among those of a flush: its own, or that of the one before it in the queue.
pub(super) fn problem_of(id: EnvelopeId, to: &str, mut problems: Vec<(EnvelopeId, Error)>, queued: bool) -> Error {
    let place = problems.iter().position(|(of, _)| *of == id).unwrap_or(problems.len().saturating_sub(1));
    let cause = if problems.is_empty() { GONE } else { problems.swap_remove(place).1 };
    if queued { Error::Queued { to: to.to_string(), cause: Box::new(cause) } } else { cause }
}

/// The contact was revoked while a message to it was on its way.
pub(super) const GONE: Error = Error::Untrue("the contact is no longer there");
const NO_NEWER_LIST: Error = Error::Untrue("the relay says that the recipient's device list changed, and shows no newer one");
/// How often a list may change between sealing and sending.
const LIST_CHANGES_MAX: u32 = 3;
/// When a message that was held back and could not go out is tried again by itself.
const AGAIN_SECS: u64 = 60;
/// How many messages may wait to be sent.
const OUTBOX_MAX: usize = 1_000;
/// How many sent texts are remembered.
pub const SENT_MAX: usize = 200;
