//! The device's own X25519 keys that messages are sealed to: prekeys and reply keys, and when each is deleted.
//!
//! A prekey is good for 14 days and renewed after 7; a reply key is good for 7 days after the message that carried it. A
//! private half stays 8 days longer (a message may wait for 7, and clocks differ), and goes at the end of every `receive`.
//! A reply key also goes 8 days after the peer used a newer one.

use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::Client;
use super::error::Result;
use super::secret::Secret;
use super::state::State;
use crate::crypto::exchange;
use crate::protocol::envelopes::key_id;
use crate::protocol::keys::{Prekey as PublishedPrekey, PutKeyReply, PutKeyRequest, prekey_transcript};
use crate::protocol::time::{DAY, WEEK};
use crate::protocol::{DeviceId, SealingKey, Signature};

/// A published key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Prekey {
    secret: Secret,
    public: SealingKey,
    pub(crate) made_at: u64,
    pub(crate) expires_at: u64,
    pub(crate) published: bool,
}

/// A key that went out inside a message.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ReplyKey {
    secret: Secret,
    public: SealingKey,
    /// The device that it was sent to, and the counter of that message.
    peer: DeviceId,
    counter: u64,
    delete_at: u64,
}

/// A private half that a body may be sealed to.
pub(crate) struct Candidate {
    pub(crate) pair: exchange::KeyPair,
    /// For a reply key: whom it was sent to, and with which message.
    pub(crate) reply: Option<(DeviceId, u64)>,
}

impl State {
    /// A fresh reply key for the message `counter` to `peer`; kept before anything is sent.
    pub(crate) fn new_reply_key(&mut self, peer: DeviceId, counter: u64, sent_at: u64) -> SealingKey {
        let secret = Secret::generate();
        let public = SealingKey(secret.exchange().public());
        let delete_at = sent_at + REPLY_KEY_SECS + KEPT_SECS;
        self.reply_keys.push(ReplyKey { secret, public, peer, counter, delete_at });
        self.reply_keys.retain(|key| key.peer != peer || key.counter + REPLY_KEYS_PEER_MAX > counter);
        public
    }

    /// The private keys of that id; two may share one.
    pub(crate) fn candidates(&self, id: [u8; 4]) -> Vec<Candidate> {
        let replies = self.reply_keys.iter().filter(|key| key_id(&key.public) == id);
        let prekeys = self.prekeys.iter().filter(|key| key_id(&key.public) == id);
        replies
            .map(|key| Candidate { pair: key.secret.exchange(), reply: Some((key.peer, key.counter)) })
            .chain(prekeys.map(|key| Candidate { pair: key.secret.exchange(), reply: None }))
            .collect()
    }

    /// The peer used the reply key of message `counter`: those sent before it have eight days left.
    pub(crate) fn reply_key_used(&mut self, peer: &DeviceId, counter: u64, now: u64) {
        for key in self.reply_keys.iter_mut().filter(|key| key.peer == *peer && key.counter < counter) {
            key.delete_at = key.delete_at.min(now + KEPT_SECS);
        }
    }

    /// Deletes the private keys whose time has come.
    pub(crate) fn drop_old_keys(&mut self, now: u64) {
        self.reply_keys.retain(|key| now < key.delete_at);
        self.prekeys.retain(|key| now < key.expires_at + KEPT_SECS);
    }

    /// The newest prekey that is published and good, as its device signed it.
    pub(crate) fn published_prekey(&self, now: u64) -> Option<PublishedPrekey> {
        let newest = self.prekeys.iter().rfind(|key| key.published && now < key.expires_at)?;
        let PutKeyRequest { prekey, expires_at, signature } = self.signed(newest);
        Some(PublishedPrekey { device: self.device_id(), prekey, expires_at, signature })
    }

    fn signed(&self, key: &Prekey) -> PutKeyRequest {
        let transcript = prekey_transcript(&self.account, &self.device_id(), &key.public, key.expires_at);
        let signature = Signature(self.device_key().sign(&transcript));
        PutKeyRequest { prekey: key.public, expires_at: key.expires_at, signature }
    }

    fn prekey_due(&self, now: u64) -> bool {
        self.prekeys.last().is_none_or(|newest| !newest.published || now >= newest.made_at + PREKEY_RENEWED_SECS)
    }
}

impl Client {
    /// Publishes a fresh prekey where the newest is older than a week. Its private half is on disk first.
    pub(super) async fn renew_prekey(&mut self) -> Result<()> {
        let now = self.clock.now();
        if !self.state.prekey_due(now) {
            return Ok(());
        }
        if self.state.prekeys.last().is_none_or(|newest| newest.published) {
            let secret = Secret::generate();
            let public = SealingKey(secret.exchange().public());
            // On a full day: relay and contacts see it, and to the second it would tell when this device was there.
            let expires_at = (now + PREKEY_GOOD_SECS) / DAY * DAY;
            self.state.prekeys.push(Prekey { secret, public, made_at: now, expires_at, published: false });
            self.save()?;
        }
        let Some(newest) = self.state.prekeys.last() else { return Ok(()) };
        let request = self.state.signed(newest);
        let _: PutKeyReply = self.authed(Method::PUT, "/v1/keys", Some(&request)).await?;
        if let Some(newest) = self.state.prekeys.last_mut() {
            newest.published = true;
        }
        self.save()
    }
}

/// How long a prekey is good at most; it ends at a full day.
const PREKEY_GOOD_SECS: u64 = 14 * DAY;
/// When it is replaced.
const PREKEY_RENEWED_SECS: u64 = 7 * DAY;
/// How long after `sent_at` a reply key may be sealed to.
pub(crate) const REPLY_KEY_SECS: u64 = WEEK;
/// The newest so many of a peer's messages have their reply keys kept: as far back as a counter is believed.
const REPLY_KEYS_PEER_MAX: u64 = 1_024;
/// How long a private half stays after its key stopped being good.
const KEPT_SECS: u64 = 8 * DAY;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::state::tests::state;

    #[test]
    fn a_reply_key_goes_eight_days_after_its_time_or_after_a_newer_one_was_used() {
        let mut state = state();
        let (peer, other) = (DeviceId([1; 32]), DeviceId([2; 32]));
        let first = state.new_reply_key(peer, 1, 0);
        let second = state.new_reply_key(peer, 2, 0);
        let elsewhere = state.new_reply_key(other, 1, 0);
        state.reply_key_used(&peer, 2, DAY);
        let there = |state: &State, key: &SealingKey| {
            state.candidates(key_id(key)).iter().any(|candidate| candidate.pair.public() == key.0)
        };
        state.drop_old_keys(9 * DAY - 1);
        assert!(there(&state, &first) && there(&state, &second) && there(&state, &elsewhere));
        state.drop_old_keys(9 * DAY);
        assert!(!there(&state, &first) && there(&state, &second) && there(&state, &elsewhere));
        state.drop_old_keys(15 * DAY - 1);
        assert!(there(&state, &second));
        state.drop_old_keys(15 * DAY);
        assert!(!there(&state, &second) && !there(&state, &elsewhere));
    }

    #[test]
    fn no_more_reply_keys_are_kept_than_counters_are_believed() {
        let mut state = state();
        let first = state.new_reply_key(DeviceId([1; 32]), 1, 0);
        state.new_reply_key(DeviceId([1; 32]), 1_024, 0);
        assert_eq!(state.candidates(key_id(&first)).len(), 1);
        state.new_reply_key(DeviceId([1; 32]), 1_025, 0);
        assert!(state.candidates(key_id(&first)).is_empty());
    }
}
