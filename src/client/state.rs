//! What a profile remembers, as it is written to disk: one value, replaced as a whole.
//!
//! Keys, contacts, counters and the events that still wait to be shown are in one file on purpose: a message and the
//! counter that says it came are on disk together or not at all.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::content::Content;
use super::counters::Counters;
use super::doors::Doors;
use super::event::{Event, What};
use super::kept::Kept;
use super::keys::{Prekey, ReplyKey};
use super::lists::{self, Outline, Succession};
use super::live::LiveSettings;
use super::receipts::{Pending, ReceiptSettings};
use super::secret::Secret;
use super::sent::Sent;
use crate::crypto::sign;
use crate::protocol::envelopes::Gap;
use crate::protocol::keys::Prekey as PublishedPrekey;
use crate::protocol::{
    AccountId, DeliveryToken, DeviceId, DeviceList, EnvelopeId, Hash, RelayKey, SealingKey, SignedList, TokenHash,
};

/// Everything.
#[derive(Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) version: u32,
    pub(crate) relay: PinnedRelay,
    /// How this account calls itself to those it says hello to.
    pub(crate) name: Option<String>,
    pub(crate) account: AccountId,
    pub(crate) device: Secret,
    pub(crate) sealing: Secret,
    pub(crate) list_key: Secret,
    pub(crate) device_list: SignedList,
    pub(crate) prekeys: Vec<Prekey>,
    pub(crate) reply_keys: Vec<ReplyKey>,
    /// Registered contact tokens that nobody has yet.
    pub(crate) pool: Vec<DeliveryToken>,
    pub(crate) refill_at: Option<u64>,
    /// Hashes that the relay is still to be told to forget.
    pub(crate) revoking: Vec<TokenHash>,
    pub(crate) invites: Vec<Invite>,
    pub(crate) contacts: Vec<Contact>,
    /// Events not yet shown, oldest first.
    pub(crate) inbox: Vec<Event>,
    pub(crate) events: u64,
    /// Messages not yet accepted, oldest first.
    pub(crate) outbox: Vec<Outgoing>,
    pub(crate) sent: Vec<Sent>,
    /// Every envelope up to this seq has been dealt with here.
    pub(crate) stored_through: u64,
    /// The relay was told so up to this one.
    pub(crate) acked_through: u64,
    /// The gap that was told, until it is acknowledged.
    pub(crate) gap: Option<Gap>,
    /// Hashes of the operator's notices that were told, oldest first.
    #[serde(default)]
    pub(crate) notices_told: Vec<Hash>,
    #[serde(default)]
    pub(crate) receipts: ReceiptSettings,
    /// What all devices of the account share in this epoch; none in profiles from before there was one.
    #[serde(default)]
    pub(crate) sync_key: Option<Secret>,
    /// What they keep together, and this device's part in it.
    #[serde(default)]
    pub(crate) kept: Kept,
    /// The own account as somebody to write to: its other devices. There is one where there is a sync key.
    #[serde(default)]
    pub(crate) myself: Option<Contact>,
    /// The own token of this epoch stands at the relay.
    #[serde(default)]
    pub(crate) own_token_registered: bool,
    /// The own list beside which the relay was told to show an older one.
    #[serde(default)]
    pub(crate) behind_told: Option<(u32, u64)>,
    /// That a fork of the own list was told.
    #[serde(default)]
    pub(crate) fork_told: bool,
    /// Hashes of the secrets of link codes that were taken, oldest first.
    #[serde(default)]
    pub(crate) links_taken: Vec<Hash>,
    /// While this device waits to be linked: what it is to be given is sealed under this, too.
    #[serde(default)]
    pub(crate) linking: Option<LinkSecret>,
    #[serde(default)]
    pub(crate) doors: Doors,
}

/// What a link code carries, and until when it is good.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LinkSecret {
    pub(crate) secret: Secret,
    pub(crate) expires_at: u64,
}

/// The relay of this profile.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PinnedRelay {
    pub(crate) origin: String,
    pub(crate) key: RelayKey,
    pub(crate) ca: Option<String>,
    pub(crate) plain: bool,
    pub(crate) retention_secs: u64,
}

/// An invite that nobody has used yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Invite {
    /// What to call who comes by it, where it was said.
    pub(crate) name: Option<String>,
    pub(crate) once: TokenHash,
    pub(crate) contact: TokenHash,
    pub(crate) expires_at: u64,
}

/// Somebody we write to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Contact {
    pub(crate) name: String,
    pub(crate) account: AccountId,
    /// The newest of theirs that we have verified; [`lists::none`] where only `newest` is known.
    pub(crate) list: SignedList,
    /// The newest that another device of ours has verified.
    #[serde(default)]
    pub(crate) newest: Option<Outline>,
    /// The token of theirs that we send by.
    pub(crate) token: DeliveryToken,
    /// Whether `token` was made for us, or is still an invite's or a door's.
    pub(crate) ready: bool,
    /// Whether `token` takes knocks alone: nothing can be sent before they accept.
    #[serde(default)]
    pub(crate) knocked: bool,
    /// Prekeys that came inside their knock, each signed by its device.
    #[serde(default)]
    pub(crate) prekeys: Vec<PublishedPrekey>,
    /// Tokens of ours by which they may come.
    pub(crate) mine: Vec<Mine>,
    pub(crate) devices: BTreeMap<DeviceId, Peer>,
    /// Our list's (epoch, version) that we last sent them unasked.
    pub(crate) list_told: Option<(u32, u64)>,
    pub(crate) fork_told: bool,
    /// The list of theirs beside which the relay was told to show an older one.
    #[serde(default)]
    pub(crate) behind_told: Option<(u32, u64)>,
    /// What they are still to be told of their texts.
    #[serde(default)]
    pub(crate) receipts: Pending,
    /// What they may see of us while we are here.
    #[serde(default)]
    pub(crate) live: LiveSettings,
}

/// A token that a contact holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Mine {
    pub(crate) hash: TokenHash,
    /// Stood in an invite, so that others may have seen it; revoked once a fresh one is used.
    pub(crate) invite: bool,
}

/// One device of a contact, seen from this device.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Peer {
    /// The last counter that we gave out.
    pub(crate) sent: u64,
    pub(crate) counters: Counters,
    pub(crate) reply_key: Option<PeerKey>,
}

/// The newest reply key that a device gave us.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PeerKey {
    pub(crate) key: SealingKey,
    pub(crate) good_until: u64,
    pub(crate) counter: u64,
}

/// A message on its way out.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Outgoing {
    pub(crate) id: EnvelopeId,
    pub(crate) to: AccountId,
    pub(crate) content: Content,
    /// The once token of a hello, or the token of a knock; none means the contact's.
    pub(crate) token: Option<DeliveryToken>,
    /// The counter given to each device at the first try; kept by every other.
    pub(crate) counters: BTreeMap<DeviceId, u64>,
    /// Not before.
    #[serde(default)]
    pub(crate) due_at: u64,
    /// The device that is given the account's keys by this one, under the secret of its code.
    #[serde(default)]
    pub(crate) grant: Option<Grant>,
}

/// To whom a grant goes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Grant {
    pub(crate) device: DeviceId,
    pub(crate) secret: Secret,
}

impl State {
    pub(crate) const VERSION: u32 = 1;

    pub(crate) fn device_key(&self) -> sign::KeyPair {
        self.device.signing()
    }

    pub(crate) fn device_id(&self) -> DeviceId {
        DeviceId(self.device_key().public())
    }

    /// The own list; it was made or verified here.
    pub(crate) fn own_list(&self) -> DeviceList {
        DeviceList::parse(self.device_list.list.as_slice()).expect("the own list was made by this client")
    }

    /// A contact; the own account's other devices are one, too.
    pub(crate) fn contact(&mut self, account: &AccountId) -> Option<&mut Contact> {
        let myself = self.myself.as_mut().filter(|myself| myself.account == *account);
        myself.or_else(|| self.contacts.iter_mut().find(|contact| contact.account == *account))
    }

    /// The contact whose account this is, where that token was made for it.
    pub(crate) fn holder(&self, account: &AccountId, token: &TokenHash) -> Option<&Contact> {
        let holds = |contact: &&Contact| contact.account == *account && contact.mine.iter().any(|mine| mine.hash == *token);
        self.myself.iter().chain(&self.contacts).find(holds)
    }

    /// Adds an event to those to be shown.
    pub(crate) fn tell(&mut self, at: u64, what: What) {
        self.events += 1;
        self.inbox.push(Event { number: self.events, at, what });
    }
}

impl Contact {
    /// Somebody who is written to by that token, called as they are, and as yet nothing more.
    pub(crate) fn new(name: String, account: AccountId, list: SignedList, token: DeliveryToken) -> Self {
        Self {
            name,
            account,
            list,
            newest: None,
            token,
            ready: false,
            knocked: false,
            prekeys: Vec::new(),
            mine: Vec::new(),
            devices: BTreeMap::new(),
            list_told: None,
            fork_told: false,
            behind_told: None,
            receipts: Pending::default(),
            live: LiveSettings::default(),
        }
    }

    /// The verified list, parsed; one of no device where none is known.
    pub(crate) fn devices_listed(&self) -> DeviceList {
        let none = || DeviceList { account: self.account, epoch: 0, version: 0, previous: Hash::ZERO, entries: Vec::new() };
        self.known_list().unwrap_or_else(none)
    }

    /// What is known of their newest list.
    pub(crate) fn outline(&self) -> Outline {
        let own = Outline::of(&self.devices_listed());
        self.newest.filter(|newest| newest.order() > own.order()).unwrap_or(own)
    }

    /// Whether the list that is known is the newest that was heard of.
    pub(crate) fn is_current(&self) -> bool {
        self.known_list().is_some_and(|list| Outline::of(&list).order() == self.outline().order())
    }

    /// Judges a verified list of theirs.
    pub(crate) fn judge(&self, seen: &DeviceList) -> Succession {
        lists::follow(&self.outline(), self.known_list().as_ref(), seen)
    }

    fn known_list(&self) -> Option<DeviceList> {
        let parsed = || DeviceList::parse(self.list.list.as_slice()).expect("only verified lists are kept");
        (!self.list.list.as_slice().is_empty()).then(parsed)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::protocol::{Bytes, Signature};

    /// A state of nobody in particular.
    pub(crate) fn state() -> State {
        let json = serde_json::json!({
            "version": State::VERSION,
            "relay": { "origin": "http://127.0.0.1:1", "key": RelayKey([1; 32]), "plain": false, "retention_secs": 604_800 },
            "account": AccountId([1; 32]),
            "device": Secret::generate(), "sealing": Secret::generate(), "list_key": Secret::generate(),
            "device_list": SignedList {
                list_key_certificate: Bytes::default(), list: Bytes::default(), signature: Signature([0; 64]),
            },
            "prekeys": [], "reply_keys": [], "pool": [], "revoking": [], "invites": [], "contacts": [],
            "inbox": [], "events": 0, "outbox": [], "sent": [], "stored_through": 0, "acked_through": 0,
        });
        serde_json::from_value(json).expect("a state")
    }

    /// A contact without devices.
    pub(crate) fn contact(name: &str, account: AccountId) -> Contact {
        let json = serde_json::json!({
            "name": name, "account": account, "token": DeliveryToken([7; 32]), "ready": true, "mine": [], "devices": {},
            "list": {
                "list_key_certificate": Bytes::default(), "list": Bytes::default(), "signature": Signature([0; 64]),
            },
            "fork_told": false,
        });
        serde_json::from_value(json).expect("a contact")
    }

    #[test]
    fn a_state_reads_back_as_it_was_written() {
        let mut first = state();
        first.tell(7, What::ContactReady { from: "bob".into() });
        first.new_reply_key(DeviceId([3; 32]), 1, 5);
        let text = serde_json::to_string(&first).expect("written");
        let second: State = serde_json::from_str(&text).expect("read");
        assert_eq!(serde_json::to_string(&second).expect("written"), text);
    }
}
