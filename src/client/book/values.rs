//! What stands in a book, each with how two of it become one. What is usual is left out of the JSON, since room is scarce there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::doors::OpenInvite;
use super::super::lists::Outline;
use super::super::live::LiveSettings;
use super::super::receipts::ReceiptSettings;
use super::super::state::{Contact, Invite, Mine};
use crate::protocol::{DeliveryToken, DeviceId, TokenHash};

/// A contact.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// How often it was made.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub(super) life: u64,
    pub(crate) is: Presence,
}

/// Whether it is one.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Presence {
    Here(Box<Here>),
    /// Since when not.
    Gone(u64),
}

/// What is known of a contact, but for what each device has with it alone. Of its devices only which list is the newest: whoever
/// needs the list asks for it, and can tell whether it is that one.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Here {
    pub(super) label: Stamped<Label>,
    pub(super) way: Stamped<Way>,
    pub(crate) list: Outline,
    pub(super) mine: BTreeMap<TokenHash, Held>,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Label {
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) live: LiveSettings,
}

/// How it is written to.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Way {
    pub(crate) token: DeliveryToken,
    pub(crate) ready: bool,
    /// They were knocked at, and have not answered.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) knocked: bool,
}

/// A token of ours that it holds.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Held {
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) invite: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) gone: Option<u64>,
}

/// An invite for one person, and what became of it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Offer {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    pub(super) contact: TokenHash,
    pub(super) expires_at: u64,
    /// Since when it is no longer open, and which device said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) closed: Option<(u64, DeviceId)>,
}

/// An invite for several.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Door {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    pub(super) uses: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) came: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) ask: bool,
    pub(super) expires_at: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) closed: bool,
}

/// Whether somebody is heard. The one that was changed more often is the greater, and of two the one that blocks.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Ban {
    pub(super) revision: u64,
    /// What they are remembered by, while they are blocked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    /// Since when they are not any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lifted: Option<u64>,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Settings {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    pub(crate) receipts: ReceiptSettings,
}

/// A value, and which change of it this is.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Stamped<T> {
    pub(super) value: T,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub(super) revision: u64,
}

impl Entry {
    pub(super) fn joined(self, other: Self) -> Self {
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
    pub(super) fn of(contact: &Contact) -> Self {
        let (label, way) = registers(contact);
        Self {
            label: Stamped::first(label),
            way: Stamped::first(way),
            list: contact.outline(),
            mine: contact.mine.iter().map(|mine| (mine.hash, Held { invite: mine.invite, gone: None })).collect(),
        }
    }

    pub(super) fn absorb(&mut self, contact: &Contact, now: u64) {
        let (label, way) = registers(contact);
        self.label.set(&label);
        self.way.set(&way);
        self.list = self.list.max(contact.outline());
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
        for (hash, theirs) in other.mine {
            let ours = self.mine.entry(hash).or_insert(theirs);
            *ours = Held { invite: ours.invite || theirs.invite, gone: ours.gone.max(theirs.gone) };
        }
        Self {
            label: self.label.joined(other.label),
            way: self.way.joined(other.way),
            list: self.list.max(other.list),
            mine: self.mine,
        }
    }

    pub(super) fn forget_gone(&mut self, fresh: impl Fn(u64) -> bool) {
        self.mine.retain(|_, held| held.gone.is_none_or(&fresh));
    }

    pub(crate) fn label(&self) -> &Label {
        &self.label.value
    }

    pub(crate) fn way(&self) -> &Way {
        &self.way.value
    }

    /// The tokens that it holds now.
    pub(crate) fn mine(&self) -> impl Iterator<Item = Mine> {
        let live = self.mine.iter().filter(|(_, held)| held.gone.is_none());
        live.map(|(hash, held)| Mine { hash: *hash, invite: held.invite })
    }

    /// Whether it holds, or held, that one.
    pub(crate) fn knows(&self, hash: &TokenHash) -> bool {
        self.mine.contains_key(hash)
    }
}

impl Offer {
    pub(super) fn of(invite: &Invite) -> Self {
        Self { name: invite.name.clone(), contact: invite.contact, expires_at: invite.expires_at, closed: None }
    }

    pub(super) fn invite(&self, once: TokenHash) -> Invite {
        Invite { name: self.name.clone(), once, contact: self.contact, expires_at: self.expires_at }
    }

    pub(super) fn is_open(&self, now: u64) -> bool {
        self.closed.is_none() && self.expires_at > now
    }

    pub(super) fn expires_at(&self) -> u64 {
        self.expires_at
    }

    pub(super) fn close(&mut self, now: u64, device: DeviceId) {
        self.closed.get_or_insert((now, device));
    }

    pub(super) fn closed_by(&self) -> Option<DeviceId> {
        self.closed.map(|(_, device)| device)
    }

    /// The first to close it is the one who did.
    pub(super) fn joined(self, other: Self) -> Self {
        let closed = either(self.closed, other.closed, Ord::min);
        let (ours, theirs) = (Self { closed: None, ..self }, Self { closed: None, ..other });
        Self { closed, ..if bytes(&ours) >= bytes(&theirs) { ours } else { theirs } }
    }
}

impl Door {
    pub(super) fn of(invite: &OpenInvite) -> Self {
        let OpenInvite { name, uses, came, ask, expires_at, .. } = invite.clone();
        Self { name, uses, came, ask, expires_at, closed: false }
    }

    pub(super) fn invite(&self, token: TokenHash) -> OpenInvite {
        let Self { name, uses, came, ask, expires_at, .. } = self.clone();
        OpenInvite { token, name, uses, came, ask, expires_at }
    }

    pub(super) fn is_open(&self, now: u64) -> bool {
        !self.closed && self.expires_at > now
    }

    pub(super) fn expires_at(&self) -> u64 {
        self.expires_at
    }

    pub(super) fn came(&mut self, came: u64) {
        self.came = self.came.max(came);
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    pub(super) fn joined(self, other: Self) -> Self {
        let (came, closed) = (self.came.max(other.came), self.closed || other.closed);
        let (ours, theirs) = (Self { came, closed, ..self }, Self { came, closed, ..other });
        if bytes(&ours) >= bytes(&theirs) { ours } else { theirs }
    }
}

impl Ban {
    pub(super) fn block(&mut self, name: &str) {
        if self.name.is_none() {
            *self = Self { revision: self.revision + 1, name: Some(name.to_string()), lifted: None };
        }
    }

    pub(super) fn lift(&mut self, now: u64) {
        if self.name.is_some() {
            *self = Self { revision: self.revision + 1, name: None, lifted: Some(now) };
        }
    }

    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(super) fn lifted_at(&self) -> Option<u64> {
        self.lifted
    }
}

impl<T: Clone + PartialEq + Serialize> Stamped<T> {
    pub(super) fn first(value: T) -> Self {
        Self { value, revision: 1 }
    }

    pub(super) fn set(&mut self, value: &T) {
        if self.value != *value {
            *self = Self { value: value.clone(), revision: self.revision + 1 };
        }
    }

    /// Of two values under one revision, which two devices gave at once, either may stay: only the same one for all.
    pub(super) fn joined(self, other: Self) -> Self {
        let ours = self.revision.cmp(&other.revision).then_with(|| bytes(&self.value).cmp(&bytes(&other.value)));
        if ours.is_ge() { self } else { other }
    }
}

fn registers(contact: &Contact) -> (Label, Way) {
    let label = Label { name: contact.name.clone(), live: contact.live };
    (label, Way { token: contact.token.clone(), ready: contact.ready, knocked: contact.knocked })
}

pub(super) fn bytes(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("a value of the book has string keys only and serializes")
}

pub(super) fn either<T>(ours: Option<T>, theirs: Option<T>, both: impl FnOnce(T, T) -> T) -> Option<T> {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) => Some(both(ours, theirs)),
        (ours, theirs) => ours.or(theirs),
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn one() -> u64 {
    1
}

fn is_one(value: &u64) -> bool {
    *value == 1
}

pub(super) fn is_zero(value: &u64) -> bool {
    *value == 0
}
