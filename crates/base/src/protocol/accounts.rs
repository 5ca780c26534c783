//! Accounts: device lists to the byte, and the requests that register, change, recover and delete.
//!
//! A list is parsed here and its [`claims`](SignedList::claims) are handed to whoever can verify signatures; nothing here
//! says whether a list is *true*.

use serde::{Deserialize, Serialize};

use super::bytes::{AccountId, Bytes, DeviceId, Hash, ListKey, SealingKey, Signature, Transcript};
use super::envelopes::SEQ_END;
use super::handles::HandleItem;
use super::slots::SlotItem;

/// A device list as it travels: certificate, bytes, signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedList {
    /// [`ListKeyCertificate`], 154 bytes.
    pub list_key_certificate: Bytes,
    /// [`DeviceList`], to the byte.
    pub list: Bytes,
    /// The list key's, over `list`.
    pub signature: Signature,
}

/// Who may sign lists of an account in one epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListKeyCertificate {
    /// Whose lists.
    pub account: AccountId,
    /// In which epoch.
    pub epoch: u32,
    /// Signed by which key.
    pub list_key: ListKey,
    /// The account key's, over [`ListKeyCertificate::transcript`].
    pub signature: Signature,
}

/// One device of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceEntry {
    /// Its name.
    pub device: DeviceId,
    /// What the relay wraps to.
    pub sealing_key: SealingKey,
    /// The suites it can open; bit 0 is suite 1.
    pub suites: u8,
    /// Its own, over [`DeviceEntry::transcript`].
    pub signature: Signature,
}

/// A parsed device list; its form is right, its signatures are not yet checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceList {
    /// Whose.
    pub account: AccountId,
    /// Raised when the list key changes.
    pub epoch: u32,
    /// Raised by one with every change.
    pub version: u64,
    /// SHA-256 of the list before, zeros at the first.
    pub previous: Hash,
    /// Ascending by device id, at least one.
    pub entries: Vec<DeviceEntry>,
}

/// Where a list stands, as messages name it: 44 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListHead {
    /// The list's epoch.
    pub epoch: u32,
    /// The list's version.
    pub version: u64,
    /// SHA-256 of its bytes.
    pub hash: Hash,
}

/// A signature that must verify for a list to be valid.
pub struct Claim {
    /// The Ed25519 key that signed.
    pub key: [u8; 32],
    /// What it signed.
    pub message: Vec<u8>,
    /// The signature.
    pub signature: Signature,
}

/// Why bytes are not a device list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAList {
    /// Too short, too long, or another purpose.
    #[error("the device list has the wrong length or purpose")]
    Form,
    /// No devices, or too many.
    #[error("a device list holds 1 to 10 devices")]
    Count,
    /// Not strictly ascending by device id.
    #[error("the devices of a list stand in ascending order, each once")]
    Order,
    /// A version of 0 or not below 2⁵³.
    #[error("a list's version is from 1 and below 2^53")]
    Version,
    /// An entry without suite 1, or with an unknown one.
    #[error("a device's suites hold suite 1 and none that is unknown")]
    Suites,
    /// The certificate is not 154 bytes of the right purpose.
    #[error("the list key certificate has the wrong length or purpose")]
    Certificate,
    /// Certificate and list name another account or epoch.
    #[error("certificate and list disagree on account or epoch")]
    Mismatch,
}

impl SignedList {
    /// Parses both parts and checks that they belong together.
    pub fn parse(&self) -> Result<(ListKeyCertificate, DeviceList), NotAList> {
        let certificate = ListKeyCertificate::parse(self.list_key_certificate.as_slice())?;
        let list = DeviceList::parse(self.list.as_slice())?;
        if certificate.account != list.account || certificate.epoch != list.epoch {
            return Err(NotAList::Mismatch);
        }
        Ok((certificate, list))
    }

    /// Every signature that must verify: certificate, list, and each device's entry.
    pub fn claims(&self, certificate: &ListKeyCertificate, list: &DeviceList) -> Vec<Claim> {
        let mut claims = vec![
            Claim { key: certificate.account.0, message: certificate.transcript(), signature: certificate.signature },
            Claim { key: certificate.list_key.0, message: self.list.0.clone(), signature: self.signature },
        ];
        claims.extend(list.entries.iter().map(|entry| Claim {
            key: entry.device.0,
            message: DeviceEntry::transcript(&list.account, &entry.device, &entry.sealing_key, entry.suites),
            signature: entry.signature,
        }));
        claims
    }

    /// SHA-256 of the list's bytes.
    pub fn hash(&self) -> Hash {
        Hash::of(self.list.as_slice())
    }
}

impl ListKeyCertificate {
    /// What the account key signs.
    pub fn transcript(&self) -> Vec<u8> {
        Transcript::new("/list-key").fixed(self.account).u32(self.epoch).fixed(self.list_key).bytes()
    }

    /// The 154 bytes of the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.transcript();
        bytes.extend_from_slice(self.signature.as_ref());
        bytes
    }

    /// The inverse of [`bytes`](Self::bytes).
    pub fn parse(bytes: &[u8]) -> Result<Self, NotAList> {
        let mut reader = Reader::new(bytes, "/list-key").ok_or(NotAList::Certificate)?;
        let mut read = || {
            let certificate = Self {
                account: AccountId(reader.take()?),
                epoch: u32::from_be_bytes(reader.take()?),
                list_key: ListKey(reader.take()?),
                signature: Signature(reader.take()?),
            };
            reader.end().then_some(certificate)
        };
        read().ok_or(NotAList::Certificate)
    }
}

impl DeviceEntry {
    /// What the device key signs to stand in an account's list.
    pub fn transcript(account: &AccountId, device: &DeviceId, sealing_key: &SealingKey, suites: u8) -> Vec<u8> {
        Transcript::new("/device").fixed(account).fixed(device).fixed(sealing_key).u8(suites).bytes()
    }
}

impl DeviceList {
    /// The most devices that the form allows.
    pub const DEVICES_MAX: usize = 10;

    /// The list to the byte, as the list key signs it.
    pub fn bytes(&self) -> Vec<u8> {
        let mut transcript = Transcript::new("/list")
            .fixed(self.account)
            .u32(self.epoch)
            .u64(self.version)
            .fixed(self.previous)
            .u8(self.entries.len() as u8);
        for entry in &self.entries {
            transcript = transcript.fixed(entry.device).fixed(entry.sealing_key).u8(entry.suites).fixed(entry.signature);
        }
        transcript.bytes()
    }

    /// The inverse of [`bytes`](Self::bytes); refuses whatever that would not have written.
    pub fn parse(bytes: &[u8]) -> Result<Self, NotAList> {
        let mut reader = Reader::new(bytes, "/list").ok_or(NotAList::Form)?;
        let account = AccountId(reader.take().ok_or(NotAList::Form)?);
        let epoch = u32::from_be_bytes(reader.take().ok_or(NotAList::Form)?);
        let version = u64::from_be_bytes(reader.take().ok_or(NotAList::Form)?);
        let previous = Hash(reader.take().ok_or(NotAList::Form)?);
        let [count] = reader.take().ok_or(NotAList::Form)?;
        if count == 0 || usize::from(count) > Self::DEVICES_MAX {
            return Err(NotAList::Count);
        }
        if version == 0 || version >= SEQ_END {
            return Err(NotAList::Version);
        }
        let mut entries: Vec<DeviceEntry> = Vec::with_capacity(count.into());
        for _ in 0..count {
            let mut read = || {
                Some(DeviceEntry {
                    device: DeviceId(reader.take()?),
                    sealing_key: SealingKey(reader.take()?),
                    suites: reader.take::<1>()?[0],
                    signature: Signature(reader.take()?),
                })
            };
            let entry = read().ok_or(NotAList::Form)?;
            if entries.last().is_some_and(|last| last.device >= entry.device) {
                return Err(NotAList::Order);
            }
            if entry.suites & 1 == 0 || entry.suites > 3 {
                return Err(NotAList::Suites);
            }
            entries.push(entry);
        }
        if !reader.end() {
            return Err(NotAList::Form);
        }
        Ok(Self { account, epoch, version, previous, entries })
    }

    /// Epoch, version and hash.
    pub fn head(&self) -> ListHead {
        ListHead { epoch: self.epoch, version: self.version, hash: Hash::of(&self.bytes()) }
    }

    /// The entry of one device.
    pub fn entry(&self, device: &DeviceId) -> Option<&DeviceEntry> {
        self.entries.iter().find(|entry| entry.device == *device)
    }
}

impl ListHead {
    /// As a message carries it.
    pub fn bytes(&self) -> [u8; 44] {
        let mut bytes = [0; 44];
        bytes[..4].copy_from_slice(&self.epoch.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.version.to_be_bytes());
        bytes[12..].copy_from_slice(self.hash.as_ref());
        bytes
    }

    /// Lists are ordered by epoch, then version.
    pub fn order(&self) -> (u32, u64) {
        (self.epoch, self.version)
    }
}

/// `POST /v1/accounts`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisterRequest {
    /// The device that asked for the challenge; it stands in the list.
    pub device: DeviceId,
    /// The challenge as given.
    pub challenge: Bytes,
    /// The account's list.
    pub device_list: SignedList,
    /// The device key's, over [`Proof::register`](super::auth::Proof::register).
    pub signature: Signature,
    /// The pass, where registration needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass: Option<String>,
}

/// The reply to a registration, first or repeated.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RegisterReply {
    /// The account.
    pub account: AccountId,
}

/// `PUT /v1/account/device-list`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutListRequest {
    /// The new list.
    pub device_list: SignedList,
}

/// `POST /v1/account/recover`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecoverRequest {
    /// The device that asked for the challenge; it stands in the list.
    pub device: DeviceId,
    /// The challenge as given.
    pub challenge: Bytes,
    /// The new list, of a higher epoch.
    pub device_list: SignedList,
    /// The account key's, over [`Proof::recover`](super::auth::Proof::recover).
    pub account_signature: Signature,
}

/// Where the account's list stands now.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ListReply {
    /// Its epoch.
    pub epoch: u32,
    /// Its version.
    pub version: u64,
}

/// `POST /v1/account/delete`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeleteAccountRequest {
    /// A fresh challenge of the session's device.
    pub challenge: Bytes,
    /// That device key's, over [`Proof::delete_account`](super::auth::Proof::delete_account).
    pub signature: Signature,
}

/// The account is gone.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeletedReply {
    /// Always true.
    pub deleted: bool,
}

/// `GET /v1/account`: everything the relay holds on it, but for its tokens.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AccountReply {
    /// Its id.
    pub account: AccountId,
    /// Its current list.
    pub device_list: SignedList,
    /// Its devices.
    pub devices: Vec<DeviceItem>,
    /// How many tokens it has registered.
    pub tokens: u64,
    /// Whether the second factor is on.
    #[serde(default)]
    pub totp: bool,
    /// How many of its recovery codes are left.
    #[serde(default)]
    pub recovery_codes: u64,
    /// Its handle, and those that are held for it.
    #[serde(default)]
    pub handles: Vec<HandleItem>,
    /// Its slots, without their content.
    #[serde(default)]
    pub slots: Vec<SlotItem>,
}

/// What the relay holds on one device.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DeviceItem {
    /// Its id.
    pub device: DeviceId,
    /// The week of its last login: Unix time divided by 604,800.
    pub seen_week: u64,
    /// Envelopes waiting for it.
    pub envelopes: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Until when its prekey is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prekey_expires_at: Option<u64>,
}

/// The hash of a pass as the relay keeps it: `SHA-256(T(/pass, var code))`.
pub fn pass_hash(code: &str) -> Hash {
    Transcript::new("/pass").var(code).sha256()
}

/// Takes fixed fields off the front of bytes that begin with a purpose.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8], purpose: &str) -> Option<Self> {
        bytes.strip_prefix(Transcript::new(purpose).bytes().as_slice()).map(Self)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }

    fn end(&self) -> bool {
        self.0.is_empty()
    }
}
