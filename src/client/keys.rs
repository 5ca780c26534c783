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
use crate::protocol::keys::{PutKeyReply, PutKeyRequest, prekey_transcript};
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
            let expires_at = now + PREKEY_GOOD_SECS;
            self.state.prekeys.push(Prekey { secret, public, made_at: now, expires_at, published: false });
            self.save()?;
        }
        let (account, device) = (self.state.account, self.state.device_id());
        let Some(newest) = self.state.prekeys.last() else { return Ok(()) };
        let transcript = prekey_transcript(&account, &device, &newest.public, newest.expires_at);
        let request = PutKeyRequest {
            prekey: newest.public,
            expires_at: newest.expires_at,
            signature: Signature(self.state.device_key().sign(&transcript)),
        };
        let _: PutKeyReply = self.authed(Method::PUT, "/v1/keys", Some(&request)).await?;
        if let Some(newest) = self.state.prekeys.last_mut() {
            newest.published = true;
        }
        self.save()
    }
}

/// How long a prekey is good.
const PREKEY_GOOD_SECS: u64 = 14 * DAY;
/// When it is replaced.
const PREKEY_RENEWED_SECS: u64 = 7 * DAY;
/// How long after `sent_at` a reply key may be sealed to.
pub(crate) const REPLY_KEY_SECS: u64 = WEEK;
/// How long a private half stays after its key stopped being good.
const KEPT_SECS: u64 = 8 * DAY;
