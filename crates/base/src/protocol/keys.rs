//! Prekeys: what a message is sealed to before the peers have spoken.

use serde::{Deserialize, Serialize};

use super::accounts::SignedList;
use super::bytes::{AccountId, DeviceId, SealingKey, Signature, Transcript};
use super::tokens::DeliveryToken;

/// How far ahead a prekey may expire, in seconds.
pub const PREKEY_SECS_MAX: u64 = 30 * super::time::DAY;

/// `PUT /v1/keys`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutKeyRequest {
    /// The X25519 prekey.
    pub prekey: SealingKey,
    /// Until when it is good.
    pub expires_at: u64,
    /// The device key's, over [`prekey_transcript`].
    pub signature: Signature,
}

/// The prekey is published.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PutKeyReply {
    /// Until when it is good.
    pub expires_at: u64,
}

/// `POST /v1/keys`, anonymous.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeysRequest {
    /// A token of the account asked for.
    pub token: DeliveryToken,
}

/// An account's list and the prekeys of its devices.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeysReply {
    /// The current list.
    pub device_list: SignedList,
    /// Of every device that has a good one.
    pub prekeys: Vec<Prekey>,
}

/// One device's published prekey.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prekey {
    /// Whose.
    pub device: DeviceId,
    /// The key.
    pub prekey: SealingKey,
    /// Until when it is good.
    pub expires_at: u64,
    /// The device key's, over [`prekey_transcript`].
    pub signature: Signature,
}

/// What a device signs to publish a prekey.
pub fn prekey_transcript(account: &AccountId, device: &DeviceId, prekey: &SealingKey, expires_at: u64) -> Vec<u8> {
    Transcript::new("/prekey").fixed(account).fixed(device).fixed(prekey).u64(expires_at).bytes()
}
