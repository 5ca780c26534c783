//! What the devices of one account share: the sync key of the epoch, and the own token that is made of it, by which they
//! write to each other. To the rest of the client the account's other devices are a contact like any other, only not listed.

use reqwest::Method;

use super::Client;
use super::error::{Error, Result};
use super::lists;
use super::secret::Secret;
use super::state::{Contact, Mine, State};
use crate::crypto::derive::derive;
use crate::crypto::sign;
use crate::protocol::linking::{own_token_info, sync_key_info};
use crate::protocol::tokens::{AddTokenReply, AddTokenRequest, TokenKind};
use crate::protocol::{AccountId, DeliveryToken, DeviceEntry, DeviceId, DeviceList, SignedList, TokenHash};

/// The sync key of an epoch, of the account key.
pub(crate) fn sync_key(account_key: &sign::KeyPair, epoch: u32) -> Secret {
    Secret::of(&derive(&account_key.seed(), &sync_key_info(&AccountId(account_key.public()), epoch)))
}

/// The token by which an account's devices write to the account.
pub(crate) fn own_token(sync_key: &Secret, account: &AccountId) -> DeliveryToken {
    DeliveryToken(*derive(sync_key.bytes(), &own_token_info(account)))
}

impl State {
    /// Takes the sync key of the list's epoch. The token of the one before is to be revoked, but what came by it is still
    /// taken.
    pub(crate) fn hold_sync_key(&mut self, sync_key: Secret) {
        let token = own_token(&sync_key, &self.account);
        let mut myself = self.myself.take().unwrap_or_else(|| {
            let myself = Contact::new(MYSELF.into(), self.account, self.device_list.clone(), token.clone());
            Contact { ready: true, ..myself }
        });
        if myself.token != token || myself.mine.is_empty() {
            if std::mem::take(&mut self.own_token_registered) {
                self.revoking.push(myself.token.hash());
            }
            myself.mine.push(Mine { hash: token.hash(), invite: false });
            let surplus = myself.mine.len().saturating_sub(OWN_TOKENS_MAX);
            myself.mine.drain(..surplus);
        }
        (myself.token, myself.list) = (token, self.device_list.clone());
        self.myself = Some(myself);
        self.sync_key = Some(sync_key);
    }

    /// Puts a verified list in the place of the own one. What was on its way to own devices that went is dropped.
    pub(crate) fn set_own_list(&mut self, signed: SignedList, list: &DeviceList) {
        let (account, this) = (self.account, self.device_id());
        let others = list.entry(&this).is_some() && list.entries.len() > 1;
        self.outbox.retain(|outgoing| {
            let for_somebody = outgoing.grant.as_ref().is_none_or(|grant| list.entry(&grant.device).is_some());
            outgoing.to != account || (others && for_somebody)
        });
        if let Some(myself) = &mut self.myself {
            myself.list = signed.clone();
            myself.devices.retain(|device, _| list.entry(device).is_some());
        }
        self.device_list = signed;
    }

    /// Whether a token is, or was lately, the one by which the own devices write to each other.
    pub(crate) fn is_own_token(&self, hash: &TokenHash) -> bool {
        self.myself.as_ref().is_some_and(|myself| myself.mine.iter().any(|mine| mine.hash == *hash))
    }

    /// Whether this device can sign the next list of the epoch: its list key is the one that the certificate names.
    pub(crate) fn holds_list_key(&self) -> bool {
        lists::list_key(&self.device_list).is_some_and(|key| key.0 == self.list_key.signing().public())
    }

    /// Whether there is another device to write to.
    pub(crate) fn has_other_devices(&self) -> bool {
        self.myself.is_some() && self.holds_list_key() && self.own_list().entries.len() > 1
    }

    /// The own entry, as this device signs it.
    pub(crate) fn own_entry(&self) -> DeviceEntry {
        let sealing_key = crate::protocol::SealingKey(self.sealing.exchange().public());
        lists::entry(&self.account, &self.device_key(), sealing_key)
    }

    /// Whether this device still stands in the account's list.
    pub(crate) fn is_listed(&self) -> bool {
        self.own_list().entry(&self.device_id()).is_some()
    }

    /// Whether that is this device.
    pub(crate) fn is_this(&self, device: &DeviceId) -> bool {
        self.device_id() == *device
    }
}

impl Client {
    /// Registers the own token, once an epoch; the same from another device is no error.
    pub(super) async fn register_own_token(&mut self) -> Result<()> {
        if self.state.own_token_registered {
            return Ok(());
        }
        let Some(myself) = &self.state.myself else { return Err(no_sync_key()) };
        let request = AddTokenRequest {
            hash: myself.token.hash(),
            kind: TokenKind::Contact,
            expires_at: None,
            envelopes_max: None,
            uses: None,
        };
        let _: AddTokenReply = self.authed(Method::POST, "/v1/tokens", Some(&request)).await?;
        self.state.own_token_registered = true;
        self.save()
    }
}

/// A profile from before there were several devices.
pub(super) fn no_sync_key() -> Error {
    Error::asked(
        "this profile was made before accounts had several devices, and lacks the key that they share",
        "`restante client recover` with the 24 words brings it back; the contacts stay",
    )
}

/// The name of the hidden contact.
const MYSELF: &str = "your other devices";
/// The own token's hashes that are known: this epoch's, and the one before for what still waits.
const OWN_TOKENS_MAX: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::state::tests::state;

    #[test]
    fn the_words_give_each_epoch_its_key() {
        let key = sign::KeyPair::generate();
        assert_eq!(sync_key(&key, 1).bytes(), sync_key(&key, 1).bytes());
        assert_ne!(sync_key(&key, 1).bytes(), sync_key(&key, 2).bytes());
        assert_ne!(sync_key(&key, 1).bytes(), sync_key(&sign::KeyPair::generate(), 1).bytes());
    }

    #[test]
    fn a_new_epochs_token_revokes_the_one_before_and_what_came_by_that_is_still_taken() {
        let mut state = state();
        state.hold_sync_key(Secret::of(&[1; 32]));
        state.own_token_registered = true;
        let first = own_token(&Secret::of(&[1; 32]), &state.account).hash();
        assert!(state.is_own_token(&first) && state.revoking.is_empty());
        state.hold_sync_key(Secret::of(&[2; 32]));
        assert_eq!(state.revoking, [first]);
        assert!(state.is_own_token(&first) && !state.own_token_registered);
        state.hold_sync_key(Secret::of(&[3; 32]));
        assert!(!state.is_own_token(&first));
        assert_eq!(state.revoking, [first], "the second was never registered");
    }
}
