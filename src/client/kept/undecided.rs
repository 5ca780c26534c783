//! What came by tokens that this device does not know: another may have made them, and not said so yet.
//!
//! It is looked at again after each read of the slots. A message makes this device read them at once. A knock does not: nothing
//! is asked because of one, so that it waits for the next read, which comes within the hour.

use serde::{Deserialize, Serialize};

use super::super::Client;
use super::super::envelope::Taken;
use super::super::state::State;
use crate::protocol::TokenHash;
use crate::protocol::envelopes::Envelope;

/// An envelope that is held back.
#[derive(Serialize, Deserialize)]
pub(super) struct Undecided {
    envelope: Envelope,
    at: u64,
    #[serde(default)]
    knock: bool,
}

impl State {
    /// Holds an envelope back; false when there is no room for it, or nobody else who could have made its token.
    pub(in super::super) fn hold_back(&mut self, envelope: &Envelope, knock: bool, now: u64) -> bool {
        let alike = self.kept.undecided.iter().filter(|undecided| undecided.knock == knock).count();
        let room = alike < if knock { KNOCKS_MAX } else { UNDECIDED_MAX };
        if room {
            self.kept.undecided.push(Undecided { envelope: envelope.clone(), at: now, knock });
        }
        room
    }

    /// Whether a knock by that token is better judged after the slots were read.
    pub(in super::super) fn is_door_of_another(&self, token: &TokenHash, now: u64) -> bool {
        let doors = &self.doors;
        let is_handle = doors.handle.iter().chain(&doors.next_handle).any(|handle| handle.token.hash() == *token);
        let is_invite = doors.invites.iter().any(|invite| invite.token == *token) || self.kept.book.knows_door(token);
        !is_handle && !is_invite && self.slot_works(now) && self.has_other_devices()
    }
}

impl Client {
    /// Looks again at what was held back, after the slots were read. Gives how many of them nobody knows.
    pub(in super::super) async fn decide(&mut self) -> u64 {
        let now = self.clock.now();
        if self.state.kept.undecided.is_empty() {
            return 0;
        }
        let retention = self.state.relay.retention_secs;
        let before = self.state.kept.undecided.len();
        self.state.kept.undecided.retain(|undecided| undecided.at + retention > now);
        let mut unopened = (before - self.state.kept.undecided.len()) as u64;
        let messages = self.state.kept.undecided.iter().any(|undecided| !undecided.knock);
        let looked = messages && (self.look().await || !self.state.has_slot(now));
        for undecided in std::mem::take(&mut self.state.kept.undecided) {
            let read_since = self.state.kept.read_at > undecided.at;
            let ripe = if undecided.knock { read_since || !self.state.slot_works(now) } else { looked };
            if !ripe {
                self.state.kept.undecided.push(undecided);
                continue;
            }
            match self.take_in(&undecided.envelope, undecided.knock).await {
                Ok(Taken::In) => {}
                Ok(Taken::Unopened) => unopened += 1,
                Ok(Taken::ByUnknown | Taken::AtUnknownDoor) if !self.state.has_other_devices() => unopened += 1,
                // Another device may write what it has done later: at random, or when it runs again.
                Ok(Taken::ByUnknown | Taken::AtUnknownDoor) | Err(_) => self.state.kept.undecided.push(undecided),
            }
        }
        unopened
    }
}

/// Envelopes held back; what is beyond counts as not opened.
const UNDECIDED_MAX: usize = 256;
/// Knocks among them; what is beyond is shown at once.
const KNOCKS_MAX: usize = 32;
