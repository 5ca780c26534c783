//! Device lists, as a client makes and judges them.
//!
//! Whatever a relay or a peer says of an account's devices goes through [`verify`]; what an account's list *becomes* goes
//! through [`succeed`], which never steps back and never chooses between two lists of one version.

use serde::{Deserialize, Serialize};

use super::error::{Error, Result};
use crate::crypto::{exchange, sign};
use crate::protocol::{
    AccountId, Bytes, DeviceEntry, DeviceId, DeviceList, Hash, ListHead, ListKey, ListKeyCertificate, SealingKey, Signature,
    SignedList,
};

/// What tells one list of an account from every other, where the list itself is not at hand. Ordered as lists are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Outline {
    pub(crate) epoch: u32,
    pub(crate) version: u64,
    /// SHA-256 of its bytes.
    pub(crate) hash: Hash,
    /// How many devices stand in it.
    pub(crate) devices: usize,
}

impl Outline {
    pub(crate) fn of(list: &DeviceList) -> Self {
        let ListHead { epoch, version, hash } = list.head();
        Self { epoch, version, hash, devices: list.entries.len() }
    }

    pub(crate) fn order(&self) -> (u32, u64) {
        (self.epoch, self.version)
    }
}

/// In the place of a list that is not known.
pub(crate) fn none() -> SignedList {
    SignedList { list_key_certificate: Bytes::default(), list: Bytes::default(), signature: Signature([0; 64]) }
}

/// What makes a list of one device.
pub(crate) struct Maker<'a> {
    pub(crate) account_key: &'a sign::KeyPair,
    pub(crate) list_key: &'a sign::KeyPair,
    pub(crate) device_key: &'a sign::KeyPair,
    pub(crate) sealing_key: SealingKey,
}

impl Maker<'_> {
    /// The signed list of one device, in `epoch`, after the list whose hash is `previous`.
    pub(crate) fn list(&self, epoch: u32, version: u64, previous: Hash) -> SignedList {
        let account = AccountId(self.account_key.public());
        let certificate = certificate(self.account_key, epoch, self.list_key);
        let entries = vec![entry(&account, self.device_key, self.sealing_key)];
        signed(Bytes(certificate.bytes()), self.list_key, &DeviceList { account, epoch, version, previous, entries })
    }
}

/// A device's entry, as it signs it for an account.
pub(crate) fn entry(account: &AccountId, device_key: &sign::KeyPair, sealing_key: SealingKey) -> DeviceEntry {
    let device = DeviceId(device_key.public());
    let transcript = DeviceEntry::transcript(account, &device, &sealing_key, SUITES);
    DeviceEntry { device, sealing_key, suites: SUITES, signature: Signature(device_key.sign(&transcript)) }
}

/// The list that follows another in its epoch, of other devices.
pub(crate) fn successor(before: &SignedList, list_key: &sign::KeyPair, mut entries: Vec<DeviceEntry>) -> Result<SignedList> {
    let known = verify(before)?;
    entries.sort_by_key(|entry| entry.device);
    let list = DeviceList { version: known.version + 1, previous: before.hash(), entries, ..known };
    Ok(signed(before.list_key_certificate.clone(), list_key, &list))
}

/// A list of a new epoch, under a new list key, after another.
pub(crate) fn next_epoch(
    before: &SignedList,
    account_key: &sign::KeyPair,
    list_key: &sign::KeyPair,
    entries: Vec<DeviceEntry>,
) -> Result<SignedList> {
    let known = verify(before)?;
    let epoch = known.epoch.saturating_add(1);
    let certificate = certificate(account_key, epoch, list_key);
    let list = DeviceList { epoch, version: 1, previous: before.hash(), entries, ..known };
    Ok(signed(Bytes(certificate.bytes()), list_key, &list))
}

/// The key that signs lists beside this one; none where its certificate is not even one.
pub(crate) fn list_key(signed: &SignedList) -> Option<ListKey> {
    Some(ListKeyCertificate::parse(signed.list_key_certificate.as_slice()).ok()?.list_key)
}

fn certificate(account_key: &sign::KeyPair, epoch: u32, list_key: &sign::KeyPair) -> ListKeyCertificate {
    let (account, list_key) = (AccountId(account_key.public()), ListKey(list_key.public()));
    let mut certificate = ListKeyCertificate { account, epoch, list_key, signature: Signature([0; 64]) };
    certificate.signature = Signature(account_key.sign(&certificate.transcript()));
    certificate
}

fn signed(list_key_certificate: Bytes, list_key: &sign::KeyPair, list: &DeviceList) -> SignedList {
    let list = list.bytes();
    SignedList { list_key_certificate, signature: Signature(list_key.sign(&list)), list: Bytes(list) }
}

/// The list, once every key in it is a good one and every signature verifies.
pub(crate) fn verify(signed: &SignedList) -> Result<DeviceList> {
    let untrue = || Error::Untrue("a device list does not verify");
    let (certificate, list) = signed.parse().map_err(|_| untrue())?;
    sign::check_key(&certificate.account.0).map_err(|_| untrue())?;
    sign::check_key(&certificate.list_key.0).map_err(|_| untrue())?;
    for entry in &list.entries {
        sign::check_key(&entry.device.0).map_err(|_| untrue())?;
        exchange::check_key(&entry.sealing_key.0).map_err(|_| untrue())?;
    }
    for claim in signed.claims(&certificate, &list) {
        sign::verify(&claim.key, &claim.message, &claim.signature.0).map_err(|_| untrue())?;
    }
    Ok(list)
}

/// What a list that was seen means beside the one that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Succession {
    /// The very same.
    Same,
    /// Older than what is known: an old reply, or somebody who turns the clock back. Never taken.
    Older,
    /// Two lists of one (epoch, version): somebody signs two truths. Never taken.
    Fork,
    /// The account's list from now on.
    Newer {
        /// Devices that came.
        added: usize,
        /// Devices that went.
        removed: usize,
    },
}

/// Judges a verified list against the one known of the same account.
pub(crate) fn succeed(known: &DeviceList, seen: &DeviceList) -> Succession {
    match (seen.epoch, seen.version).cmp(&(known.epoch, known.version)) {
        std::cmp::Ordering::Less => Succession::Older,
        std::cmp::Ordering::Equal if seen == known => Succession::Same,
        std::cmp::Ordering::Equal => Succession::Fork,
        std::cmp::Ordering::Greater => Succession::Newer {
            added: seen.entries.iter().filter(|entry| known.entry(&entry.device).is_none()).count(),
            removed: known.entries.iter().filter(|entry| seen.entry(&entry.device).is_none()).count(),
        },
    }
}

/// The same where the newest of the account is known by its outline, and `known` may be an older one, or none.
pub(crate) fn follow(newest: &Outline, known: Option<&DeviceList>, seen: &DeviceList) -> Succession {
    let shown = Outline::of(seen);
    match shown.order().cmp(&newest.order()) {
        std::cmp::Ordering::Less => Succession::Older,
        std::cmp::Ordering::Equal if shown.hash != newest.hash => Succession::Fork,
        order => match known {
            Some(known) => succeed(known, seen),
            // The very one that was known of: only the devices in it are new here.
            None if order.is_eq() => Succession::Newer { added: 0, removed: 0 },
            // How many more or fewer there are can be said, and that it is another list.
            None => {
                let added = shown.devices.saturating_sub(newest.devices);
                let removed = newest.devices.saturating_sub(shown.devices);
                if added + removed > 0 {
                    return Succession::Newer { added, removed };
                }
                Succession::Newer { added: 1, removed: 1 }
            }
        },
    }
}

/// Suite 1, HPKE with X25519, is bit 0.
const SUITES: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{exchange, sign::KeyPair};

    struct Keys(KeyPair, KeyPair, KeyPair, exchange::KeyPair);

    impl Keys {
        fn new() -> Self {
            Self(KeyPair::generate(), KeyPair::generate(), KeyPair::generate(), exchange::KeyPair::generate())
        }

        fn list(&self, epoch: u32, version: u64) -> SignedList {
            let sealing_key = SealingKey(self.3.public());
            Maker { account_key: &self.0, list_key: &self.1, device_key: &self.2, sealing_key }.list(epoch, version, Hash::ZERO)
        }
    }

    #[test]
    fn a_made_list_verifies_and_an_altered_one_does_not() {
        let keys = Keys::new();
        let good = keys.list(1, 1);
        assert_eq!(verify(&good).expect("a good list").account, AccountId(keys.0.public()));
        for at in [0, 40, 60, 80, 130, 200, good.list.0.len() - 1] {
            let mut bad = good.clone();
            bad.list.0[at] ^= 1;
            assert!(verify(&bad).is_err(), "list byte {at}");
        }
        for at in [0, 30, 60, 100] {
            let mut bad = good.clone();
            bad.list_key_certificate.0[at] ^= 1;
            assert!(verify(&bad).is_err(), "certificate byte {at}");
        }
        let mut bad = good.clone();
        bad.signature = keys.list(1, 2).signature;
        assert!(verify(&bad).is_err(), "the signature of another version");
        let mut bad = good.clone();
        bad.list_key_certificate = Keys::new().list(1, 1).list_key_certificate;
        assert!(verify(&bad).is_err(), "the certificate of another account");
    }

    #[test]
    fn a_list_known_by_its_outline_alone_is_taken_and_nothing_else_in_its_place() {
        let keys = Keys::new();
        let at = |epoch, version| verify(&keys.list(epoch, version)).expect("a good list");
        let (known, newest) = (at(1, 1), Outline::of(&at(1, 2)));
        for known in [None, Some(&known)] {
            assert_eq!(follow(&newest, known, &at(1, 2)), Succession::Newer { added: 0, removed: 0 });
            assert_eq!(follow(&newest, known, &at(1, 1)), Succession::Older, "the relay holds the change back");
            let mut forked = at(1, 2);
            forked.previous = Hash([9; 32]);
            assert_eq!(follow(&newest, known, &forked), Succession::Fork);
        }
        assert_eq!(follow(&newest, Some(&at(1, 2)), &at(1, 2)), Succession::Same);
        assert_eq!(follow(&newest, None, &at(1, 3)), Succession::Newer { added: 1, removed: 1 }, "it is told");
        let two = Outline { devices: 2, ..newest };
        assert_eq!(follow(&two, None, &at(2, 1)), Succession::Newer { added: 0, removed: 1 });
    }

    #[test]
    fn another_accounts_device_cannot_be_listed() {
        let (mine, theirs) = (Keys::new(), Keys::new());
        let sealing_key = SealingKey(theirs.3.public());
        let mut list = verify(&mine.list(1, 1)).expect("a good list");
        let stolen = verify(&theirs.list(1, 1)).expect("a good list").entries.remove(0);
        assert_eq!(stolen.sealing_key, sealing_key);
        list.entries = vec![stolen];
        let bytes = list.bytes();
        let signed = SignedList {
            list_key_certificate: mine.list(1, 1).list_key_certificate,
            signature: Signature(mine.1.sign(&bytes)),
            list: Bytes(bytes),
        };
        assert!(verify(&signed).is_err());
    }

    #[test]
    fn lists_only_ever_go_forward() {
        let keys = Keys::new();
        let at = |epoch, version| verify(&keys.list(epoch, version)).expect("a good list");
        assert_eq!(succeed(&at(1, 2), &at(1, 2)), Succession::Same);
        assert_eq!(succeed(&at(1, 2), &at(1, 1)), Succession::Older);
        assert_eq!(succeed(&at(2, 1), &at(1, 9)), Succession::Older);
        assert_eq!(succeed(&at(1, 2), &at(2, 1)), Succession::Newer { added: 0, removed: 0 });
        let mut other = at(1, 2);
        other.previous = Hash([1; 32]);
        assert_eq!(succeed(&at(1, 2), &other), Succession::Fork);
        let mut elsewhere = at(1, 3);
        elsewhere.entries[0].device = DeviceId([9; 32]);
        assert_eq!(succeed(&at(1, 2), &elsewhere), Succession::Newer { added: 1, removed: 1 });
    }
}
