//! The reference's mailboxes: what waits for one device, what of it is delivered, what fits and what is remembered.

use std::collections::BTreeMap;

use super::reference::Name;
use super::steps::Acked;
use crate::by_hand::{KNOCKS_MAX, KNOCKS_TOKEN_MAX, MAILBOX_BYTES_MAX, MAILBOX_ENVELOPES_MAX};

/// A device, its sessions and its mailbox.
#[derive(Debug, Clone)]
pub(super) struct Device {
    pub(super) name: Name,
    /// Oldest first, and until when.
    pub(super) sessions: Vec<(Name, u64)>,
    /// How many envelopes it was ever given.
    pub(super) given: u64,
    pub(super) held: Vec<Held>,
    /// How many expired unread, and the last of them.
    pub(super) gap: Option<(u64, u64)>,
    /// Sends that are gone, and until when they are known.
    pub(super) repeats: BTreeMap<(u8, u8), u64>,
}

/// An envelope that waits, or has expired and was not purged.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) place: u64,
    pub(super) token: u8,
    pub(super) id: u8,
    pub(super) size: usize,
    pub(super) expires_at: u64,
    pub(super) knock: bool,
    /// The relay remembers which token it came by.
    pub(super) share: bool,
}

impl Device {
    pub(super) fn new(name: Name) -> Self {
        Self { name, sessions: Vec::new(), given: 0, held: Vec::new(), gap: None, repeats: BTreeMap::new() }
    }

    /// What is delivered.
    pub(super) fn visible(&self, now: u64) -> impl Iterator<Item = &Held> {
        self.held.iter().filter(move |held| now < held.expires_at)
    }

    /// The places that an acknowledgement names, and the one through which it goes; 0 for none.
    pub(super) fn places(&self, what: &Acked, now: u64) -> (Vec<u64>, u64) {
        let visible: Vec<u64> = self.visible(now).map(|held| held.place).collect();
        let pick = |at: &u8| visible.get(usize::from(*at) % visible.len().max(1)).copied();
        match what {
            Acked::Some(picks) => (picks.iter().filter_map(pick).collect(), 0),
            Acked::Through(at) => (vec![], pick(at).unwrap_or(0)),
            Acked::Gone(at) => {
                let place = 1 + u64::from(*at) % self.given.max(1);
                let gone = place <= self.given && self.held.iter().all(|held| held.place != place);
                (gone.then_some(place).into_iter().collect(), 0)
            }
            Acked::Gap => (self.gap.iter().map(|(_, last)| *last).collect(), 0),
            _ => (vec![], 0),
        }
    }

    /// Whether this very send waits here, or lately did.
    pub(super) fn knows(&self, token: u8, id: u8, now: u64) -> bool {
        self.held.iter().any(|held| (held.token, held.id) == (token, id))
            || self.repeats.get(&(token, id)).is_some_and(|until| now < *until)
    }

    pub(super) fn forget(&mut self, gone: &[Held], now: u64) {
        self.repeats.extend(gone.iter().map(|held| ((held.token, held.id), now + REPEATS_SECS)));
    }

    /// A token may hold as much of a mailbox as is still free.
    pub(super) fn has_room(&self, token: u8, size: usize, knock: bool, envelopes_max: Option<u64>) -> bool {
        let stored = |size: usize| (size + WRAPPED) as u64;
        let of_token = || self.held.iter().filter(|held| held.share && held.token == token && held.knock == knock);
        let envelopes = of_token().count() as u64;
        if envelopes_max.is_some_and(|max| envelopes >= max) {
            return false;
        }
        let knocks = self.held.iter().filter(|held| held.knock).count() as u64;
        if knock {
            return knocks < KNOCKS_MAX && envelopes < KNOCKS_TOKEN_MAX;
        }
        let bytes: u64 = self.held.iter().filter(|held| !held.knock).map(|held| stored(held.size)).sum();
        let of_token: u64 = of_token().map(|held| stored(held.size)).sum();
        let free = MAILBOX_ENVELOPES_MAX.checked_sub(self.held.len() as u64 - knocks + 1);
        let free_bytes = MAILBOX_BYTES_MAX.checked_sub(bytes + stored(size));
        free.is_some_and(|free| envelopes < free) && free_bytes.is_some_and(|free| of_token + stored(size) <= free)
    }
}

/// `kind ‖ token hash ‖ id`, and the tag of the wrap.
const WRAPPED: usize = 1 + 32 + 16 + 16;
const REPEATS_SECS: u64 = 600;
