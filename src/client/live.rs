//! Live messages: typing and presence, for whoever is there now. Nothing of them is written to disk, at either end.
//!
//! Off until the user turns them on for a contact: each one tells a relay that watches its own traffic that two people are
//! there at one time. A live message is tried once, its counter is 0, and it carries no reply key. Nobody answers one.

use std::time::Duration;

use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::Client;
use super::content::Content;
use super::error::{Error, Result};
use super::event::Live;
use super::http::Lane;
use super::message::unwrap;
use super::sent::{GONE, Letter};
use crate::crypto::random;
use crate::protocol::envelopes::{SendReply, SendRequest};
use crate::protocol::stream::LiveEnvelope;
use crate::protocol::tokens::TokenKind;
use crate::protocol::{AccountId, EnvelopeId, SealingKey};

/// What a contact may see of this device while it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LiveSettings {
    /// That a message to them is being written.
    #[serde(default)]
    pub typing: bool,
    /// That somebody is here.
    #[serde(default)]
    pub presence: bool,
}

impl Client {
    /// What a contact may see live.
    pub fn live(&self, name: &str) -> Result<LiveSettings> {
        Ok(self.named(name)?.live)
    }

    /// Changes what a contact may see live.
    pub async fn set_live(&mut self, name: &str, settings: LiveSettings) -> Result<()> {
        let _lock = self.enter().await?;
        let account = self.named(name)?.account;
        self.state.contact(&account).ok_or(GONE)?.live = settings;
        self.save()?;
        self.keep().await;
        Ok(())
    }

    /// Tells a contact that a message to them is being written, or no longer. Waits for up to two seconds first; does nothing
    /// where this client told them less than four seconds ago (they forget it after ten). An error is of no consequence.
    pub async fn typing(&mut self, to: &str, active: bool) -> Result<()> {
        drop(self.enter().await?);
        let contact = self.named(to)?;
        if !contact.live.typing {
            return Err(turned_off("typing", to));
        }
        let account = contact.account;
        // Whole seconds: five apart are more than four.
        let now = self.clock.now();
        if self.typed.get(&account).is_some_and(|last| now.abs_diff(*last) <= TYPING_EVERY_SECS) {
            return Ok(());
        }
        let jitter_ms = u64::from_be_bytes(random::bytes()) % TYPING_JITTER_MS;
        self.clock.pause(Duration::from_millis(jitter_ms)).await;
        self.typed.insert(account, self.clock.now());
        self.send_live(&account, &Content::Typing { active }).await
    }

    /// Tells a contact that somebody is here, or leaving. They forget it after 150 seconds. A
    /// [`Subscription`](super::Subscription) says it every minute or two while its stream is open. An error is of no
    /// consequence.
    pub async fn presence(&mut self, to: &str, online: bool) -> Result<()> {
        drop(self.enter().await?);
        let contact = self.named(to)?;
        if !contact.live.presence {
            return Err(turned_off("presence", to));
        }
        let account = contact.account;
        self.send_live(&account, &Content::Presence { online }).await
    }

    /// Tells everybody who may know that somebody is here.
    pub(super) async fn tell_presence(&mut self) {
        let told: Vec<AccountId> =
            self.state.contacts.iter().filter(|contact| contact.live.presence).map(|contact| contact.account).collect();
        for account in told {
            // Where the relay cannot be reached for one, it cannot for the others.
            if let Err(Error::Unreachable { .. }) = self.send_live(&account, &Content::Presence { online: true }).await {
                return;
            }
        }
    }

    /// What a live envelope says; nothing unless a device of a contact's, known here, sent it within the last minute by a
    /// token that was made for that contact. Changes nothing and asks nobody.
    pub fn take_live(&self, envelope: &LiveEnvelope) -> Option<Live> {
        let unwrapped = unwrap(envelope, &self.state.device_id(), &self.state.sealing.exchange()).ok()?;
        if unwrapped.kind != TokenKind::Contact.byte() {
            return None;
        }
        let plain = self.opened(&unwrapped)?.plain;
        let contact = self.state.holder(&plain.account, &unwrapped.token)?;
        let is_known = contact.devices_listed().entry(&plain.device).is_some();
        let is_now = self.clock.now().abs_diff(plain.sent_at) <= LIVE_SECS;
        if plain.counter != 0 || !is_known || !is_now {
            return None;
        }
        let from = contact.name.clone();
        match Content::parse(&plain.content) {
            Content::Typing { active } => Some(Live::Typing { from, active }),
            Content::Presence { online } => Some(Live::Presence { from, online }),
            _ => None,
        }
    }

    /// Sends a live message, once. The lock is not held: what a look-up shows is used for this and not kept.
    async fn send_live(&mut self, to: &AccountId, content: &Content) -> Result<()> {
        drop(self.enter().await?);
        let request = self.sealed_live(to, content).await?;
        let reply: Result<SendReply> =
            self.http.once(Method::POST, Lane::Anonymous, "/v1/envelopes", Some(&request), Duration::ZERO).await;
        reply.map(drop)
    }

    async fn sealed_live(&mut self, to: &AccountId, content: &Content) -> Result<SendRequest> {
        let token = self.state.contact(to).ok_or(GONE)?.token.clone();
        let keys = self.keys_for(to, &token).await?;
        let list = self.state.contact(to).ok_or(GONE)?.devices_listed();
        let id = EnvelopeId(random::bytes());
        let letter = Letter { id: &id, to, list: &list, keys: &keys, content: content.bytes(), sent_at: self.clock.now() };
        let sealed = list.entries.iter().map(|entry| match keys.contains_key(&entry.device) {
            true => self.state.sealed(&letter, &entry.device, 0, NO_REPLY_KEY),
            false => Ok(letter.filler(&entry.device)),
        });
        let sealed = sealed.collect::<Result<Vec<_>>>()?;
        Ok(SendRequest { token, id, list: letter.list_name(), sealed, expires_in: None, live: Some(true) })
    }
}

fn turned_off(what: &str, name: &str) -> Error {
    let hint = "`restante client live NAME on` turns typing and presence on for one contact";
    Error::asked(format!("{what} is off for {name}"), hint)
}

/// What stands in the place of a reply key.
const NO_REPLY_KEY: SealingKey = SealingKey([0; 32]);
/// How far a live message's time may be from ours.
const LIVE_SECS: u64 = 60;
/// At most how often a contact is told of typing.
const TYPING_EVERY_SECS: u64 = 4;
/// The longest that word of typing is held back.
const TYPING_JITTER_MS: u64 = 2_000;

#[cfg(test)]
mod tests;
