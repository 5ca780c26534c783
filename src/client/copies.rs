//! Between the devices of one account: what one of them sends shows on the others, and the keys of a new epoch reach them.
//!
//! A copy goes by the own token, under an id of its own and after a random time, so that nothing ties it to the message that it
//! is of. It is queued, sealed and sent as any other.

use super::Client;
use super::content::Content;
use super::envelope::Opened;
use super::error::Result;
use super::event::What;
use super::lists;
use super::message::Plain;
use super::sent::{Delivery, SENT_MAX, Sent};
use super::state::State;
use super::sync::own_token;
use crate::protocol::time::floor_hour;
use crate::protocol::{AccountId, EnvelopeId, ListHead, TokenHash};

impl State {
    /// Queues a copy of a text that was accepted, where there is another device to show it.
    pub(crate) fn queue_copy(&mut self, id: &EnvelopeId, now: u64) {
        if !self.has_other_devices() {
            return;
        }
        let Some(outgoing) = self.outgoing(id) else { return };
        let Content::Text { text } = outgoing.content.clone() else { return };
        let to = outgoing.to;
        let sent_at = self.sent.iter().find(|sent| sent.id == *id).map_or(now, |sent| sent.at);
        let due_at = now + self.drawn_delay();
        self.queue_for_later(self.account, Content::Sent { to, id: *id, text, sent_at }, due_at);
    }

    /// Whether a message to own devices is dropped where none of them has a key: a copy, or news of a list that each of them asks for
    /// itself. They would else gather for as long as the others are away.
    pub(crate) fn is_of_no_use_later(&self, id: &EnvelopeId) -> bool {
        let is_passing = |content: &Content| matches!(content, Content::Sent { .. } | Content::List { .. });
        self.outgoing(id).is_some_and(|outgoing| outgoing.to == self.account && is_passing(&outgoing.content))
    }

    /// How long the copy of a text will be; nothing where there will be none.
    pub(crate) fn copy_bytes(&self, to: &AccountId, text: &str) -> usize {
        if !self.has_other_devices() {
            return 0;
        }
        let (id, sent_at) = (EnvelopeId([0; 16]), u64::from(u32::MAX));
        Content::Sent { to: *to, id, text: text.to_string(), sent_at }.bytes().len()
    }
}

impl Client {
    /// Does what another device of the account says.
    pub(super) fn act_on_own(&mut self, _envelope: EnvelopeId, plain: Plain) {
        match Content::parse(&plain.content) {
            Content::Sent { to: account, id, text, sent_at } => {
                let (now, device) = (self.clock.now(), plain.device);
                if self.state.sent.iter().any(|sent| sent.id == id) {
                    return;
                }
                let known = self.state.contact(&account).filter(|contact| contact.account != plain.account);
                let to = known.map_or_else(|| account.to_string(), |contact| contact.name.clone());
                // As if it had been sent from here: receipts for it come to both.
                let state = Delivery::Accepted { expires_at: floor_hour(sent_at + self.state.relay.retention_secs), full: 0 };
                self.state.sent.push(Sent { id, to: to.clone(), account: Some(account), at: sent_at, state });
                let surplus = self.state.sent.len().saturating_sub(SENT_MAX);
                self.state.sent.drain(..surplus);
                self.state.tell(now, What::SentElsewhere { to, account, device, id, sent_at, text });
            }
            // A list that does not verify changes nothing; a fork was told by `learn_own`.
            Content::List { device_list } => drop(self.learn_own(&device_list)),
            _ => {}
        }
    }

    /// Takes the keys of a new epoch in, if that is what was opened; by whatever token it came, since the device that is to
    /// learn that token learns it by this. What is in it must prove itself: only the account key makes a list of a new epoch,
    /// and only who made it has its list key.
    pub(super) fn take_keys(&mut self, opened: &Opened, token: &TokenHash) -> Result<bool> {
        let Content::Keys { device_list, list_key, sync_key } = Content::parse(&opened.plain.content) else { return Ok(false) };
        let account = self.state.account;
        let Ok(list) = lists::verify(&device_list) else { return Ok(false) };
        let both_listed = list.entry(&opened.plain.device).is_some() && list.entry(&self.state.device_id()).is_some();
        let is_its_list_key = lists::list_key(&device_list).is_some_and(|key| key.0 == list_key.signing().public());
        let is_its_token = own_token(&sync_key, &account).hash() == *token;
        if list.account != account || !both_listed || !is_its_list_key || !is_its_token {
            return Ok(false);
        }
        let own = self.state.own_list();
        let is_wanted = list.epoch > own.epoch || (list.epoch == own.epoch && !self.state.holds_list_key());
        if !is_wanted || (self.learn_own(&device_list).is_err()) {
            // Old news, or a fork, which was told.
            self.take_counter(&account, opened);
            return Ok(true);
        }
        self.state.list_key = list_key;
        self.state.hold_sync_key(sync_key);
        // Whoever made the epoch has registered its token.
        self.state.own_token_registered = true;
        self.take_counter(&account, opened);
        Ok(true)
    }

    /// A contact that has seen a newer list of ours than we have, or another of the same version, knows something: the relay is
    /// asked, and what it holds back is told.
    pub(super) async fn check_own_head(&mut self, from: &AccountId, plain: &Plain) {
        let ListHead { epoch, version, hash } = plain.recipient_head;
        let own = self.state.own_list().head();
        if *from == self.state.account || (epoch, version) < own.order() {
            return;
        }
        if (epoch, version) == own.order() {
            if hash != own.hash {
                self.tell_own_fork();
            }
            return;
        }
        if self.state.behind_told == Some(own.order()) {
            return;
        }
        if self.refresh_own().await.is_ok() && self.state.own_list().head().order() < (epoch, version) {
            self.tell_own_behind();
        }
    }
}
