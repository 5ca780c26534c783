//! The book: what an account's devices keep in common (contacts, open invites, settings), and how two versions of it become
//! one.
//!
//! Pure, and the same whichever comes first: [`Book::joined`] is commutative, associative and idempotent, so that devices
//! which change it at once lose nothing and end with one book. What a device changes itself is noticed by comparing
//! ([`Book::absorb`]): no place that changes a contact has to know of this one.
//!
//! - A contact's name and settings, and the token that it is written to by, are registers: the higher (revision, device)
//!   wins, and a change has the revision before plus one. Of its lists the newer wins. Tokens of ours that it holds are
//!   united, and one that was taken back stays so.
//! - A contact that was revoked stays revoked, whatever else was changed meanwhile, until it is made anew: that is its next
//!   life. Of what is gone a mark stays for thirty days.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::live::LiveSettings;
use super::receipts::ReceiptSettings;
use super::state::{Contact, Invite, Mine};
use crate::protocol::time::DAY;
use crate::protocol::{AccountId, DeliveryToken, DeviceId, DeviceList, SignedList, TokenHash};

/// Everything.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Book {
    version: u32,
    pub(super) contacts: BTreeMap<AccountId, Entry>,
    /// By their once token.
    pub(super) invites: BTreeMap<TokenHash, Offer>,
    pub(super) settings: Option<Stamped<Settings>>,
}

/// A contact.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// How often it was made.
    life: u32,
    pub(super) is: Presence,
}

/// Whether it is one.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Presence {
    Here(Box<Here>),
    /// Since when not.
    Gone(u64),
}

/// What is known of a contact, but for what each device has with it alone.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Here {
    pub(super) label: Stamped<Label>,
    pub(super) way: Stamped<Way>,
    pub(super) list: SignedList,
    mine: BTreeMap<TokenHash, Held>,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Label {
    pub(super) name: String,
    pub(super) live: LiveSettings,
}

/// How it is written to.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Way {
    pub(super) token: DeliveryToken,
    pub(super) ready: bool,
    /// They were knocked at, and have not answered.
    #[serde(default)]
    pub(super) knocked: bool,
}

/// A token of ours that it holds.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Held {
    invite: bool,
    gone: Option<u64>,
}

/// An invite, and what became of it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Offer {
    invite: Invite,
    /// Since when it is no longer open, and which device said so.
    closed: Option<(u64, DeviceId)>,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Settings {
    pub(super) name: Option<String>,
    pub(super) receipts: ReceiptSettings,
}

/// A value, and which change of it this is.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Stamped<T> {
    pub(super) value: T,
    revision: u64,
    device: DeviceId,
}

/// What a device has, to be compared with the book.
pub(super) struct Own<'a> {
    pub(super) device: DeviceId,
    pub(super) contacts: &'a [Contact],
    pub(super) invites: &'a [Invite],
    pub(super) settings: Settings,
}

impl Default for Book {
    fn default() -> Self {
        Self { version: VERSION, contacts: BTreeMap::new(), invites: BTreeMap::new(), settings: None }
    }
}

impl Book {
    /// Reads one of a version that is known here.
    pub(super) fn parse(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).ok().filter(|book: &Self| book.version == VERSION)
    }

    pub(super) fn json(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(bytes(self))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.contacts.is_empty() && self.invites.is_empty() && self.settings.is_none()
    }

    /// Both as one.
    pub(super) fn joined(mut self, other: Self) -> Self {
        for (account, theirs) in other.contacts {
            let joined = match self.contacts.remove(&account) {
                Some(ours) => ours.joined(theirs),
                None => theirs,
            };
            self.contacts.insert(account, joined);
        }
        for (once, theirs) in other.invites {
            let joined = match self.invites.remove(&once) {
                Some(ours) => ours.joined(theirs),
                None => theirs,
            };
            self.invites.insert(once, joined);
        }
        self.settings = either(self.settings, other.settings, Stamped::joined);
        self
    }

    /// Whether both say the same, whoever was the one to write it.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        self.anonymous() == other.anonymous()
    }

    /// Takes in what the device itself changed since; true when there was anything.
    pub(super) fn absorb(&mut self, own: &Own<'_>, now: u64) -> bool {
        let before = self.clone();
        for contact in own.contacts {
            let life = match self.contacts.get_mut(&contact.account) {
                Some(Entry { is: Presence::Here(here), .. }) => {
                    here.absorb(contact, &own.device, now);
                    continue;
                }
                Some(Entry { life, is: Presence::Gone(_) }) => *life + 1,
                None => 1,
            };
            let is = Presence::Here(Box::new(Here::of(contact, &own.device)));
            self.contacts.insert(contact.account, Entry { life, is });
        }
        let kept: BTreeSet<AccountId> = own.contacts.iter().map(|contact| contact.account).collect();
        for (account, entry) in &mut self.contacts {
            if matches!(entry.is, Presence::Here(_)) && !kept.contains(account) {
                entry.is = Presence::Gone(now);
            }
        }
        for invite in own.invites {
            self.invites.entry(invite.once).or_insert_with(|| Offer { invite: invite.clone(), closed: None });
        }
        for (once, offer) in &mut self.invites {
            let open = offer.closed.is_none() && offer.invite.expires_at > now;
            if open && own.invites.iter().all(|invite| invite.once != *once) {
                offer.closed = Some((now, own.device));
            }
        }
        match &mut self.settings {
            Some(settings) => settings.set(&own.settings, &own.device),
            None if own.settings.name.is_some() || own.settings.receipts != ReceiptSettings::default() => {
                self.settings = Some(Stamped::first(own.settings.clone(), &own.device));
            }
            None => {}
        }
        self.prune(now);
        *self != before
    }

    /// Drops marks and invites that nobody needs any more.
    pub(super) fn prune(&mut self, now: u64) {
        let fresh = |gone: u64| gone + GONE_SECS > now;
        self.contacts.retain(|_, entry| match &mut entry.is {
            Presence::Gone(gone) => fresh(*gone),
            Presence::Here(here) => {
                here.mine.retain(|_, held| held.gone.is_none_or(fresh));
                true
            }
        });
        self.invites.retain(|_, offer| offer.invite.expires_at + CLOSED_SECS > now);
    }

    /// The invites that are open.
    pub(super) fn open_invites(&self, now: u64) -> impl Iterator<Item = &Invite> {
        let open = move |offer: &&Offer| offer.closed.is_none() && offer.invite.expires_at > now;
        self.invites.values().filter(open).map(|offer| &offer.invite)
    }

    /// Which device closed an invite; none for one that is open or not known.
    pub(super) fn closed_by(&self, once: &TokenHash) -> Option<DeviceId> {
        self.invites.get(once).and_then(|offer| offer.closed).map(|(_, device)| device)
    }

    /// Whether it holds that contact.
    pub(super) fn has(&self, account: &AccountId) -> bool {
        self.contacts.get(account).is_some_and(|entry| matches!(entry.is, Presence::Here(_)))
    }

    /// Takes back what this device alone thinks of an invite and of who came by it.
    pub(super) fn retract(&mut self, once: &TokenHash, account: &AccountId) {
        self.invites.remove(once);
        self.contacts.remove(account);
    }

    fn anonymous(&self) -> Self {
        const NOBODY: DeviceId = DeviceId([0; 32]);
        let mut book = self.clone();
        for entry in book.contacts.values_mut() {
            if let Presence::Here(here) = &mut entry.is {
                (here.label.device, here.way.device) = (NOBODY, NOBODY);
            }
        }
        if let Some(settings) = &mut book.settings {
            settings.device = NOBODY;
        }
        book
    }
}

impl Entry {
    fn joined(self, other: Self) -> Self {
        if self.life != other.life {
            return if self.life > other.life { self } else { other };
        }
        let is = match (self.is, other.is) {
            (Presence::Here(ours), Presence::Here(theirs)) => Presence::Here(Box::new(ours.joined(*theirs))),
            (Presence::Gone(ours), Presence::Gone(theirs)) => Presence::Gone(ours.max(theirs)),
            (gone @ Presence::Gone(_), _) | (_, gone) => gone,
        };
        Self { life: self.life, is }
    }
}

impl Here {
    fn of(contact: &Contact, device: &DeviceId) -> Self {
        let (label, way) = registers(contact);
        Self {
            label: Stamped::first(label, device),
            way: Stamped::first(way, device),
            list: contact.list.clone(),
            mine: contact.mine.iter().map(|mine| (mine.hash, Held { invite: mine.invite, gone: None })).collect(),
        }
    }

    fn absorb(&mut self, contact: &Contact, device: &DeviceId, now: u64) {
        let (label, way) = registers(contact);
        self.label.set(&label, device);
        self.way.set(&way, device);
        if order(&contact.list) > order(&self.list) {
            self.list = contact.list.clone();
        }
        for mine in &contact.mine {
            self.mine.entry(mine.hash).or_insert(Held { invite: mine.invite, gone: None });
        }
        for (hash, held) in &mut self.mine {
            if contact.mine.iter().all(|mine| mine.hash != *hash) {
                held.gone.get_or_insert(now);
            }
        }
    }

    fn joined(mut self, other: Self) -> Self {
        self.label = self.label.joined(other.label);
        self.way = self.way.joined(other.way);
        if order(&other.list) > order(&self.list) {
            self.list = other.list;
        }
        for (hash, theirs) in other.mine {
            let ours = self.mine.entry(hash).or_insert(theirs);
            *ours = Held { invite: ours.invite || theirs.invite, gone: ours.gone.max(theirs.gone) };
        }
        self
    }

    /// The tokens that it holds now.
    pub(super) fn mine(&self) -> impl Iterator<Item = Mine> {
        let live = self.mine.iter().filter(|(_, held)| held.gone.is_none());
        live.map(|(hash, held)| Mine { hash: *hash, invite: held.invite })
    }

    /// Whether it holds, or held, that one.
    pub(super) fn knows(&self, hash: &TokenHash) -> bool {
        self.mine.contains_key(hash)
    }
}

impl Offer {
    /// The first to close it is the one who did.
    fn joined(self, other: Self) -> Self {
        let invite = if bytes(&self.invite) >= bytes(&other.invite) { self.invite } else { other.invite };
        Self { invite, closed: either(self.closed, other.closed, Ord::min) }
    }
}

impl<T: Clone + PartialEq + Serialize> Stamped<T> {
    fn first(value: T, device: &DeviceId) -> Self {
        Self { value, revision: 1, device: *device }
    }

    fn set(&mut self, value: &T, device: &DeviceId) {
        if self.value != *value {
            *self = Self { value: value.clone(), revision: self.revision + 1, device: *device };
        }
    }

    /// Two values under one stamp are a device that forgot one of them; which stays does not matter, only that it is the same
    /// for all.
    fn joined(self, other: Self) -> Self {
        let rank = |one: &Self| (one.revision, one.device);
        let ours = rank(&self).cmp(&rank(&other)).then_with(|| bytes(&self.value).cmp(&bytes(&other.value)));
        if ours.is_ge() { self } else { other }
    }
}

fn registers(contact: &Contact) -> (Label, Way) {
    let label = Label { name: contact.name.clone(), live: contact.live };
    (label, Way { token: contact.token.clone(), ready: contact.ready, knocked: contact.knocked })
}

/// By epoch and version; between two of one version, and between bytes that are no list, by the bytes.
fn order(list: &SignedList) -> impl Ord {
    let named = DeviceList::parse(list.list.as_slice()).ok().map(|list| (list.epoch, list.version));
    (named, list.list.0.clone(), list.list_key_certificate.0.clone(), list.signature)
}

fn bytes(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("a value of the book has string keys only and serializes")
}

fn either<T>(ours: Option<T>, theirs: Option<T>, both: impl FnOnce(T, T) -> T) -> Option<T> {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) => Some(both(ours, theirs)),
        (ours, theirs) => ours.or(theirs),
    }
}

const VERSION: u32 = 1;
/// How long a mark of what is gone stays: a device that was away for longer may bring it back.
const GONE_SECS: u64 = 30 * DAY;
/// How long an invite stays known after its end: a hello may have come by it at the last moment, and wait for a week.
const CLOSED_SECS: u64 = 8 * DAY;

#[cfg(test)]
mod tests;
