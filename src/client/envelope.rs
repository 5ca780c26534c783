//! One envelope, taken in: out of its wrap and seal, checked against who may have sent it, and acted on.

use super::Client;
use super::content::Content;
use super::doors::{Befriended, Newcomer};
use super::error::Result;
use super::event::What;
use super::kept::Answer;
use super::keys::REPLY_KEY_SECS;
use super::lists::{self, Succession};
use super::message::{Plain, Unwrapped, open, sealed_to, unwrap};
use super::state::{Mine, Peer, PeerKey};
use crate::crypto::exchange;
use crate::protocol::envelopes::Envelope;
use crate::protocol::tokens::TokenKind;
use crate::protocol::{AccountId, DeviceId, EnvelopeId, TokenHash};

/// An opened message, and which reply key of ours it was sealed to.
pub(super) struct Opened {
    pub(super) plain: Plain,
    pub(super) reply: Option<(DeviceId, u64)>,
}

/// What became of an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It was taken in, or was here before.
    In,
    /// It could not be opened, or came from somebody whom its token was not for.
    Unopened,
    /// It came by a token that this device does not know.
    ByUnknown,
    /// It is a knock at a door that this device does not know.
    AtUnknownDoor,
}

impl Client {
    /// Changes the state by one envelope, in memory. An error when it should be tried again later; then nothing has changed. A
    /// knock is taken in by whichever door where it has waited long enough: where it is `settled` that no other device knows more.
    pub(super) async fn take_in(&mut self, envelope: &Envelope, settled: bool) -> Result<Taken> {
        let unwrapped = unwrap(envelope, &self.state.device_id(), &self.state.sealing.exchange());
        let Ok(unwrapped) = unwrapped else { return Ok(Taken::Unopened) };
        let Some(opened) = self.opened(&unwrapped) else {
            // What own devices send opens, or is filler, or was the grant of this one.
            return Ok(if self.state.is_own_token(&unwrapped.token) { Taken::In } else { Taken::Unopened });
        };
        // Only live envelopes have that one, and this one was stored.
        if opened.plain.counter == 0 {
            return Ok(Taken::In);
        }
        if unwrapped.kind == TokenKind::Once.byte() {
            return self.take_hello(unwrapped.id, &unwrapped.token, opened).await;
        }
        if unwrapped.kind == TokenKind::Knock.byte() {
            if !settled && self.state.is_door_of_another(&unwrapped.token, self.clock.now()) {
                return Ok(Taken::AtUnknownDoor);
            }
            return self.take_knock(unwrapped.id, &unwrapped.token, opened).await;
        }
        let from = opened.plain.account;
        if from == self.state.account && self.take_keys(&opened, &unwrapped.token)? {
            return Ok(Taken::In);
        }
        if self.state.holder(&from, &unwrapped.token).is_none() {
            return Ok(Taken::ByUnknown);
        }
        if !self.is_device_of(&from, &opened.plain).await? {
            return Ok(Taken::Unopened);
        }
        if !self.take_counter(&from, &opened) {
            return Ok(Taken::In);
        }
        self.take_fresh_token(&from, &unwrapped.token);
        self.check_own_head(&from, &opened.plain).await;
        self.answer_head(&from, &opened.plain);
        if let Content::Sent { to, .. } = Content::parse(&opened.plain.content)
            && self.state.contact(&to).is_none()
        {
            // A copy of what was sent to somebody whom another device has just met.
            self.look().await;
        }
        self.act(&from, unwrapped.id, opened.plain);
        Ok(Taken::In)
    }

    /// Opens the seal with whichever own key it names.
    pub(super) fn opened(&self, unwrapped: &Unwrapped) -> Option<Opened> {
        let own = (&self.state.account, &self.state.device_id());
        self.state.candidates(sealed_to(&unwrapped.body)?).into_iter().find_map(|candidate| {
            let plain = open(&unwrapped.body, &unwrapped.id, own, &candidate.pair).ok()?;
            Some(Opened { plain, reply: candidate.reply })
        })
    }

    /// Whether the sender's device stands in the contact's list, which is looked up again where the message knows more.
    async fn is_device_of(&mut self, account: &AccountId, plain: &Plain) -> Result<bool> {
        let Some(contact) = self.state.contact(account) else { return Ok(false) };
        let (newest, token) = (contact.outline(), contact.token.clone());
        let listed = contact.is_current() && contact.devices_listed().entry(&plain.device).is_some();
        if listed && plain.head.order() == newest.order() && plain.head.hash != newest.hash {
            self.tell_fork(account);
        }
        if listed && plain.head.order() <= newest.order() {
            return Ok(true);
        }
        match self.look_up(account, &token).await {
            // Without the look-up a listed device is as good as it was before.
            Err(error) if error.passes() && !listed => return Err(error),
            Err(_) => {}
            Ok(_) => {
                // The list stood at the relay before anything could be sent by it.
                let known = self.state.contact(account).map(|contact| contact.outline().order());
                if known.is_some_and(|known| known < plain.head.order()) {
                    self.tell_behind(account);
                }
            }
        }
        let contact = self.state.contact(account);
        Ok(contact.is_some_and(|contact| contact.devices_listed().entry(&plain.device).is_some()))
    }

    /// False for a repeat. Else the counter counts as seen, and the reply key inside is kept.
    pub(super) fn take_counter(&mut self, account: &AccountId, opened: &Opened) -> bool {
        let now = self.clock.now();
        let plain = &opened.plain;
        let Some(contact) = self.state.contact(account) else { return false };
        if !contact.devices.entry(plain.device).or_default().take(plain, now) {
            return false;
        }
        if let Some((peer, counter)) = opened.reply.filter(|(peer, _)| *peer == plain.device) {
            self.state.reply_key_used(&peer, counter, now);
        }
        true
    }

    /// Once the contact uses the token that was made for it, the invite's is revoked.
    fn take_fresh_token(&mut self, account: &AccountId, token: &TokenHash) {
        let Some(contact) = self.state.contact(account) else { return };
        if contact.mine.iter().any(|mine| mine.hash == *token && mine.invite) {
            return;
        }
        let stale: Vec<TokenHash> = contact.mine.iter().filter(|mine| mine.invite).map(|mine| mine.hash).collect();
        contact.mine.retain(|mine| !mine.invite);
        self.state.revoking.extend(stale);
    }

    /// Who writes for an older list of ours is sent the current one, once for each.
    fn answer_head(&mut self, account: &AccountId, plain: &Plain) {
        let (own, me) = (self.state.own_list().head(), self.state.account);
        let Some(contact) = self.state.contact(account).filter(|_| *account != me) else { return };
        if plain.recipient_head.order() >= own.order() || contact.list_told == Some(own.order()) {
            return;
        }
        contact.list_told = Some(own.order());
        let content = Content::List { device_list: self.state.device_list.clone() };
        self.state.queue(*account, content, None);
    }

    fn act(&mut self, account: &AccountId, id: EnvelopeId, plain: Plain) {
        if *account == self.state.account {
            return self.act_on_own(id, plain);
        }
        let now = self.clock.now();
        let Some(contact) = self.state.contact(account) else { return };
        let from = contact.name.clone();
        let what = match Content::parse(&plain.content) {
            Content::Text { text } => {
                self.state.note_delivered(account, id, now);
                What::Text { from, account: *account, device: plain.device, id: Some(id), sent_at: plain.sent_at, text }
            }
            Content::Welcome { token } => {
                contact.token = token;
                contact.knocked = false;
                if std::mem::replace(&mut contact.ready, true) {
                    return;
                }
                What::ContactReady { from }
            }
            Content::List { device_list } => {
                // A list that does not verify changes nothing; a fork was told by `learn`.
                self.learn(account, &device_list).ok();
                return;
            }
            Content::Receipt { delivered, read } => {
                // A sender's clock that runs ahead does not put it into the future.
                self.state.take_receipt(account, &delivered, &read, plain.sent_at.min(now));
                return;
            }
            // They are live or nothing.
            Content::Typing { .. } | Content::Presence { .. } => return,
            // Of these only what the own devices write is believed.
            Content::Sent { .. } | Content::Keys { .. } | Content::Grant { .. } => What::Unknown { from },
            Content::Hello { .. } | Content::Knock { .. } | Content::Unknown => What::Unknown { from },
        };
        self.state.tell(now, what);
    }

    /// Makes whoever says hello through an invite a contact, and answers with a token of their own.
    async fn take_hello(&mut self, id: EnvelopeId, once: &TokenHash, opened: Opened) -> Result<Taken> {
        let now = self.clock.now();
        let Some(invite) = self.state.invites.iter().find(|invite| invite.once == *once).cloned() else {
            return Ok(self.take_answered_hello(once, &opened));
        };
        let plain = &opened.plain;
        let Content::Hello { name, token, device_list, relay_key, .. } = Content::parse(&plain.content) else {
            return Ok(Taken::Unopened);
        };
        let Ok(list) = lists::verify(&device_list) else { return Ok(Taken::Unopened) };
        let is_theirs = list.account == plain.account && list.entry(&plain.device).is_some();
        if !is_theirs || relay_key != self.state.relay.key || list.account == self.state.account {
            return Ok(Taken::Unopened);
        }
        // Said before, and said again by somebody else: it would begin the counts of what they sent anew.
        if self.state.is_blocked(&list.account) || self.state.kept.book.was_answered(&id) {
            return Ok(Taken::In);
        }
        let known = self.state.contact(&plain.account).map(|known| known.judge(&list));
        if matches!(known, Some(Succession::Older | Succession::Fork)) {
            return Ok(Taken::Unopened);
        }
        let mut peer = Peer::default();
        peer.take(plain, now);
        let (account, device) = (plain.account, plain.device);
        let from = Newcomer { account, device, list: device_list, token, peer, prekeys: Vec::new() };
        let by = vec![Mine { hash: invite.contact, invite: true }];
        let Befriended { name, welcome, fresh } = self.befriend(from, invite.name.as_deref().or(name.as_deref()), by).await?;
        self.state.invites.retain(|other| other.once != *once);
        self.state.kept.book.answer(id, now);
        if self.state.slot_works(now) && self.state.has_other_devices() {
            // Every device of the account has this hello; the slot says which of them answers.
            self.state.kept.answers.push(Answer { welcome, once: *once, fresh, account });
        }
        self.state.tell(now, What::ContactAdded { from: name, account });
        Ok(Taken::In)
    }

    /// A hello by an invite that another device of ours, or this one, has dealt with.
    fn take_answered_hello(&mut self, once: &TokenHash, opened: &Opened) -> Taken {
        let account = opened.plain.account;
        if !self.state.was_invited(once) {
            return Taken::ByUnknown;
        }
        let now = self.clock.now();
        if let Content::Hello { device_list, .. } = Content::parse(&opened.plain.content) {
            // Of who was made a contact by another device the list may not be here yet.
            self.learn(&account, &device_list).ok();
        }
        let Some(contact) = self.state.contact(&account) else { return Taken::Unopened };
        if contact.devices_listed().entry(&opened.plain.device).is_none() {
            return Taken::Unopened;
        }
        let from = contact.name.clone();
        if self.take_counter(&account, opened) {
            self.state.tell(now, What::ContactAdded { from, account });
        }
        Taken::In
    }
}

impl Peer {
    /// Counts a message in and keeps its reply key; false for a repeat.
    pub(super) fn take(&mut self, plain: &Plain, now: u64) -> bool {
        if !self.counters.take(plain.counter, now) {
            return false;
        }
        let newest = self.reply_key.as_ref().is_none_or(|known| known.counter < plain.counter);
        if newest && exchange::check_key(&plain.reply_key.0).is_ok() {
            // A sender's clock that runs ahead does not make its key good for longer.
            let good_until = plain.sent_at.min(now) + REPLY_KEY_SECS;
            self.reply_key = Some(PeerKey { key: plain.reply_key, good_until, counter: plain.counter });
        }
        true
    }
}
