//! The book: what an account's devices keep in common (contacts, open invites, the handle, who is blocked, which knocks were
//! answered, settings), and how two versions of it become one.
//!
//! Pure, and the same whichever comes first: [`Book::joined`] is commutative, associative and idempotent, so that devices
//! which change it at once lose nothing and end with one book. What a device changes itself is noticed by comparing
//! ([`Book::absorb`]): no place that changes a contact has to know of this one.
//!
//! - A contact's name and settings, the token that it is written to by, the handle and the settings are registers: the
//!   higher revision wins, and a change has the revision before plus one. Of its lists the newer wins. Tokens of ours that
//!   it holds are united, and one that was taken back stays so.
//! - A contact that was revoked stays revoked, whatever else was changed meanwhile, until it is made anew: that is its next
//!   life. Of what is gone a mark stays for thirty days.
//! - It may be cut into parts, for as many slots: joined, they are the whole again.

mod values;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::doors::{Blocked, OpenInvite};
use super::handle::OwnHandle;
use super::receipts::ReceiptSettings;
use super::state::{Contact, Invite};
use crate::protocol::time::DAY;
use crate::protocol::{AccountId, DeviceId, EnvelopeId, Hash, TokenHash};
use values::{Ban, Door, Entry, Offer, Stamped, bytes, either, is_zero};
pub(super) use values::{Here, Presence, Settings};

/// Everything.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Book {
    version: u32,
    /// Into how many parts it is cut, less one.
    #[serde(default, skip_serializing_if = "is_zero")]
    more: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) contacts: BTreeMap<AccountId, Entry>,
    /// Invites for one person, by their once token.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    invites: BTreeMap<TokenHash, Offer>,
    /// Invites for several, by their knock token.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    doors: BTreeMap<TokenHash, Door>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    blocked: BTreeMap<AccountId, Ban>,
    /// Knocks that were accepted or declined, and hellos that were taken; and when.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    answered: BTreeMap<EnvelopeId, u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    handle: Option<Stamped<Option<OwnHandle>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    settings: Option<Stamped<Settings>>,
}

/// What a device has, to be compared with the book.
pub(super) struct Own<'a> {
    pub(super) device: DeviceId,
    pub(super) contacts: &'a [Contact],
    pub(super) invites: &'a [Invite],
    pub(super) doors: &'a [OpenInvite],
    pub(super) blocked: &'a [Blocked],
    pub(super) handle: Option<&'a OwnHandle>,
    pub(super) settings: Settings,
}

impl Default for Book {
    fn default() -> Self {
        Self {
            version: VERSION,
            more: 0,
            contacts: BTreeMap::new(),
            invites: BTreeMap::new(),
            doors: BTreeMap::new(),
            blocked: BTreeMap::new(),
            answered: BTreeMap::new(),
            handle: None,
            settings: None,
        }
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

    pub(super) fn hash(&self) -> Hash {
        Hash::of(&self.json())
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Both as one.
    pub(super) fn joined(self, other: Self) -> Self {
        Self {
            version: self.version,
            more: self.more.max(other.more),
            contacts: united(self.contacts, other.contacts, Entry::joined),
            invites: united(self.invites, other.invites, Offer::joined),
            doors: united(self.doors, other.doors, Door::joined),
            blocked: united(self.blocked, other.blocked, Ord::max),
            answered: united(self.answered, other.answered, Ord::max),
            handle: either(self.handle, other.handle, Stamped::joined),
            settings: either(self.settings, other.settings, Stamped::joined),
        }
    }

    /// How many parts it is cut into at least, as any device has said.
    pub(super) fn parts(&self) -> usize {
        usize::try_from(self.more).unwrap_or(usize::MAX).saturating_add(1)
    }

    pub(super) fn set_parts(&mut self, parts: usize) {
        self.more = self.more.max(parts.saturating_sub(1) as u64);
    }

    /// Cuts it into so many parts: contacts and blocked accounts by their id, everything else in the first.
    pub(super) fn cut(&self, parts: usize) -> Vec<Self> {
        let parts = parts.max(1);
        let first = Self { contacts: BTreeMap::new(), blocked: BTreeMap::new(), more: parts as u64 - 1, ..self.clone() };
        let mut cut: Vec<Self> = std::iter::once(first).chain((1..parts).map(|_| Self::default())).collect();
        let place = |account: &AccountId| usize::from(account.0[0]) % parts;
        for (account, entry) in &self.contacts {
            cut[place(account)].contacts.insert(*account, entry.clone());
        }
        for (account, ban) in &self.blocked {
            cut[place(account)].blocked.insert(*account, ban.clone());
        }
        cut
    }

    /// Takes in what the device itself changed since; true when there was anything.
    pub(super) fn absorb(&mut self, own: &Own<'_>, now: u64) -> bool {
        let before = self.clone();
        self.absorb_contacts(own.contacts, now);
        for invite in own.invites {
            self.invites.entry(invite.once).or_insert_with(|| Offer::of(invite));
        }
        let kept: BTreeSet<TokenHash> = own.invites.iter().map(|invite| invite.once).collect();
        for (once, offer) in &mut self.invites {
            if offer.is_open(now) && !kept.contains(once) {
                offer.close(now, own.device);
            }
        }
        for door in own.doors {
            self.doors.entry(door.token).or_insert_with(|| Door::of(door)).came(door.came);
        }
        let kept: BTreeSet<TokenHash> = own.doors.iter().map(|door| door.token).collect();
        for (token, door) in &mut self.doors {
            if door.is_open(now) && !kept.contains(token) {
                door.close();
            }
        }
        for blocked in own.blocked {
            self.blocked.entry(blocked.account).or_default().block(&blocked.name);
        }
        let kept: BTreeSet<AccountId> = own.blocked.iter().map(|blocked| blocked.account).collect();
        for (account, ban) in &mut self.blocked {
            if !kept.contains(account) {
                ban.lift(now);
            }
        }
        set(&mut self.handle, own.handle.cloned(), own.handle.is_some());
        let said = own.settings.name.is_some() || own.settings.receipts != ReceiptSettings::default();
        set(&mut self.settings, own.settings.clone(), said);
        *self != before
    }

    fn absorb_contacts(&mut self, contacts: &[Contact], now: u64) {
        for contact in contacts {
            let life = match self.contacts.get_mut(&contact.account) {
                Some(Entry { is: Presence::Here(here), .. }) => {
                    here.absorb(contact, now);
                    continue;
                }
                Some(Entry { life, is: Presence::Gone(_) }) => *life + 1,
                None => 1,
            };
            let is = Presence::Here(Box::new(Here::of(contact)));
            self.contacts.insert(contact.account, Entry { life, is });
        }
        let kept: BTreeSet<AccountId> = contacts.iter().map(|contact| contact.account).collect();
        for (account, entry) in &mut self.contacts {
            if matches!(entry.is, Presence::Here(_)) && !kept.contains(account) {
                entry.is = Presence::Gone(now);
            }
        }
    }

    /// Drops marks and invites that nobody needs any more. It happens where the book is to be written anyway: for its sake alone
    /// nothing is.
    pub(super) fn prune(&mut self, now: u64) {
        let fresh = |gone: u64| gone + GONE_SECS > now;
        self.contacts.retain(|_, entry| match &mut entry.is {
            Presence::Gone(gone) => fresh(*gone),
            Presence::Here(here) => {
                here.forget_gone(fresh);
                true
            }
        });
        self.invites.retain(|_, offer| offer.expires_at() + CLOSED_SECS > now);
        self.doors.retain(|_, door| door.expires_at() + CLOSED_SECS > now);
        self.blocked.retain(|_, ban| ban.lifted_at().is_none_or(fresh));
        self.answered.retain(|_, at| fresh(*at));
        while self.answered.len() > ANSWERED_MAX {
            let oldest = self.answered.iter().min_by_key(|(id, at)| (**at, **id)).map(|(id, _)| *id);
            self.answered.retain(|id, _| Some(*id) != oldest);
        }
    }

    /// The invites for one person that are open.
    pub(super) fn open_invites(&self, now: u64) -> impl Iterator<Item = Invite> {
        let open = self.invites.iter().filter(move |(_, offer)| offer.is_open(now));
        open.map(|(once, offer)| offer.invite(*once))
    }

    /// Those for several.
    pub(super) fn open_doors(&self, now: u64) -> impl Iterator<Item = OpenInvite> {
        let open = self.doors.iter().filter(move |(_, door)| door.is_open(now));
        open.map(|(token, door)| door.invite(*token))
    }

    /// Whether it knows of an invite for one person, open or not.
    pub(super) fn knows_invite(&self, once: &TokenHash) -> bool {
        self.invites.contains_key(once)
    }

    /// The same of one for several.
    pub(super) fn knows_door(&self, token: &TokenHash) -> bool {
        self.doors.contains_key(token)
    }

    /// Which device closed an invite; none for one that is open or not known.
    pub(super) fn closed_by(&self, once: &TokenHash) -> Option<DeviceId> {
        self.invites.get(once).and_then(Offer::closed_by)
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

    /// Notes that a knock was accepted or declined, or a hello taken.
    pub(super) fn answer(&mut self, id: EnvelopeId, now: u64) {
        self.answered.entry(id).or_insert(now);
    }

    /// Whether it was.
    pub(super) fn was_answered(&self, id: &EnvelopeId) -> bool {
        self.answered.contains_key(id)
    }

    /// Who is not heard.
    pub(super) fn blocked(&self) -> impl Iterator<Item = Blocked> {
        let named = |(account, ban): (&AccountId, &Ban)| Some(Blocked { account: *account, name: ban.name()?.to_string() });
        self.blocked.iter().filter_map(named)
    }

    /// The handle, where anything was ever said of one: it may have been given up.
    pub(super) fn handle(&self) -> Option<Option<&OwnHandle>> {
        self.handle.as_ref().map(|handle| handle.value.as_ref())
    }

    pub(super) fn settings(&self) -> Option<&Settings> {
        self.settings.as_ref().map(|settings| &settings.value)
    }
}

/// Puts a value into a register that may not be there yet; it comes to be only where `said`.
fn set<T: Clone + PartialEq + Serialize>(register: &mut Option<Stamped<T>>, value: T, said: bool) {
    match register {
        Some(register) => register.set(&value),
        None if said => *register = Some(Stamped::first(value)),
        None => {}
    }
}

fn united<K: Ord, V>(mut ours: BTreeMap<K, V>, theirs: BTreeMap<K, V>, both: impl Fn(V, V) -> V) -> BTreeMap<K, V> {
    for (key, theirs) in theirs {
        let value = match ours.remove(&key) {
            Some(ours) => both(ours, theirs),
            None => theirs,
        };
        ours.insert(key, value);
    }
    ours
}

const VERSION: u32 = 2;
/// How long a mark of what is gone stays: a device that was away for longer may bring it back.
const GONE_SECS: u64 = 30 * DAY;
/// How long an invite stays known after its end: a hello may have come by it at the last moment, and wait for a week.
const CLOSED_SECS: u64 = 8 * DAY;
/// Answered knocks that are known; the newest.
const ANSWERED_MAX: usize = 128;

#[cfg(test)]
mod tests;
