//! The keys of a contact's devices that a message is sealed to: reply keys that came inside messages, else prekeys that the
//! devices signed. Nothing else that a relay shows is ever sealed to.

use std::collections::HashMap;

use super::Client;
use super::error::{Error, Result};
use super::http::Lane;
use super::sent::GONE;
use crate::crypto::{exchange, sign};
use crate::protocol::keys::{KeysReply, KeysRequest, Prekey, prekey_transcript};
use crate::protocol::{AccountId, DeliveryToken, DeviceId, SealingKey};

impl Client {
    /// A key to seal to for every device of a contact that has one: the newest good reply key, else the prekey that it
    /// signed. An own device needs none for itself.
    pub(super) async fn keys_for(
        &mut self,
        account: &AccountId,
        token: &DeliveryToken,
    ) -> Result<HashMap<DeviceId, SealingKey>> {
        let now = self.clock.now();
        let this = self.state.device_id();
        let contact = self.state.contact(account).ok_or(GONE)?;
        let listed = contact.devices_listed();
        let replies = |device: &DeviceId| {
            let peer = contact.devices.get(device)?;
            peer.reply_key.as_ref().filter(|reply| now < reply.good_until).map(|reply| reply.key)
        };
        // Those that came inside a knock were checked when it came.
        let given = |device: &DeviceId| {
            let good = contact.prekeys.iter().find(|key| key.device == *device && now < key.expires_at);
            good.map(|key| key.prekey)
        };
        let at_hand = |device: &DeviceId| replies(device).or_else(|| given(device));
        let mut keys: HashMap<DeviceId, SealingKey> =
            listed.entries.iter().filter_map(|entry| Some((entry.device, at_hand(&entry.device)?))).collect();
        let has_all = listed.entries.iter().all(|entry| entry.device == this || keys.contains_key(&entry.device));
        if contact.is_current() && has_all {
            return Ok(keys);
        }
        let published = self.look_up(account, token).await?;
        let contact = self.state.contact(account).ok_or(GONE)?;
        if !contact.is_current() {
            return Err(Error::Untrue("the relay shows an older list of the contact's devices than your other devices know"));
        }
        for entry in &contact.devices_listed().entries {
            if entry.device == this || keys.contains_key(&entry.device) {
                continue;
            }
            if let Some(key) = checked_prekey(account, &entry.device, &published.prekeys, now)? {
                keys.insert(entry.device, key);
            }
        }
        Ok(keys)
    }

    /// The list and prekeys that a token leads to; the list is learned.
    pub(super) async fn look_up(&mut self, account: &AccountId, token: &DeliveryToken) -> Result<KeysReply> {
        let reply: KeysReply = self.http.post(Lane::Anonymous, "/v1/keys", &KeysRequest { token: token.clone() }).await?;
        self.learn_shown(account, &reply.device_list)?;
        Ok(reply)
    }
}

/// A device's good prekey among those that a relay shows: only one that the device signed for this account is taken.
fn checked_prekey(account: &AccountId, device: &DeviceId, shown: &[Prekey], now: u64) -> Result<Option<SealingKey>> {
    let Some(prekey) = shown.iter().find(|prekey| prekey.device == *device && now < prekey.expires_at) else {
        return Ok(None);
    };
    if !is_signed(account, prekey) {
        return Err(Error::Untrue("a prekey is weak, or not signed by the device that it is said to be of"));
    }
    Ok(Some(prekey.prekey))
}

/// Whether a prekey is a good key, and signed for this account by the device that it is said to be of.
pub(super) fn is_signed(account: &AccountId, prekey: &Prekey) -> bool {
    let transcript = prekey_transcript(account, &prekey.device, &prekey.prekey, prekey.expires_at);
    let signed = sign::verify(&prekey.device.0, &transcript, &prekey.signature.0).is_ok();
    signed && exchange::check_key(&prekey.prekey.0).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Signature;

    #[test]
    fn a_prekey_is_taken_only_as_its_device_signed_it() {
        let device_key = sign::KeyPair::generate();
        let (account, device) = (AccountId([1; 32]), DeviceId(device_key.public()));
        let signed = |by: &sign::KeyPair, account: &AccountId, key: [u8; 32]| {
            let prekey = SealingKey(key);
            let signature = Signature(by.sign(&prekey_transcript(account, &device, &prekey, 100)));
            vec![Prekey { device, prekey, expires_at: 100, signature }]
        };
        let key = exchange::KeyPair::generate().public();
        let good = signed(&device_key, &account, key);
        assert_eq!(checked_prekey(&account, &device, &good, 99).expect("signed"), Some(SealingKey(key)));
        assert_eq!(checked_prekey(&account, &device, &good, 100).expect("nothing shown"), None, "expired");
        assert_eq!(checked_prekey(&account, &device, &[], 0).expect("nothing shown"), None);
        let mut longer = good.clone();
        longer[0].expires_at += 1;
        let by_another = signed(&sign::KeyPair::generate(), &account, key);
        let of_another = signed(&device_key, &AccountId([2; 32]), key);
        for bad in [longer, by_another, of_another, signed(&device_key, &account, [0; 32])] {
            assert!(checked_prekey(&account, &device, &bad, 99).is_err());
        }
    }
}
