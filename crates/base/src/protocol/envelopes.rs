//! Envelopes: sending, receiving, acknowledging, and the bytes of the wrap and the seal around one.

use serde::{Deserialize, Serialize};

use super::bytes::{AccountId, Bytes, DeviceId, EnvelopeId, SealingKey, Signature, TokenHash, Transcript};
use super::tokens::{DeliveryToken, TokenKind};

/// The sizes that a sealed body may have, in bytes, suite byte to tag.
pub const BODY_SIZES: [usize; 3] = [1_024, 4_096, 16_384];
/// The one size that a knock has.
pub const KNOCK_BODY_BYTES: usize = 4_096;
/// What the seal adds to its plaintext: suite, key id, `enc`, tag.
pub const SEAL_OVERHEAD: usize = 1 + 4 + 32 + 16;
/// What a wrap adds to a body inside its ciphertext: kind, token hash, id, tag.
pub const WRAP_OVERHEAD: usize = 1 + 32 + 16 + 16;
/// The length of `wrap`: `enc` and nonce.
pub const WRAP_LENGTH: usize = 32 + 12;
/// Every seq, version and counter is below this: 2⁵³, what a JSON number holds exactly.
pub const SEQ_END: u64 = 1 << 53;

/// An envelope's place in its mailbox: from 1, strictly rising, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

/// A sealed body of one of the three sizes.
#[derive(Clone, PartialEq, Eq)]
pub struct PaddedBody(Vec<u8>);

impl PaddedBody {
    /// Takes bytes of a right size, and gives none otherwise.
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        BODY_SIZES.contains(&bytes.len()).then_some(Self(bytes))
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for PaddedBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PaddedBody({} bytes)", self.0.len())
    }
}

/// Epoch and version of the list that a sender sealed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListName {
    /// The list's epoch.
    pub epoch: u32,
    /// The list's version.
    pub version: u64,
}

/// `POST /v1/envelopes`, anonymous.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendRequest {
    /// A token of the recipient.
    pub token: DeliveryToken,
    /// Fresh for each recipient; kept by a retry.
    pub id: EnvelopeId,
    /// The list sealed for.
    pub list: ListName,
    /// One body for each device of that list.
    pub sealed: Vec<Sealed>,
    /// Seconds; absent, the relay's retention.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
    /// Only to streams that are open now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<bool>,
}

/// One device's copy.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    /// For whom.
    pub device: DeviceId,
    /// 1, 4 or 16 KiB.
    pub body: Bytes,
}

/// `202`: it is on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendReply {
    /// A full hour.
    pub expires_at: u64,
    /// The devices whose mailbox or share was full.
    pub full: Vec<DeviceId>,
}

/// The query of `GET /v1/envelopes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReceiveQuery {
    /// Seconds to hold the request when nothing waits.
    pub wait: u64,
    /// Envelopes at most; none means the relay's page.
    pub limit: Option<u64>,
    /// Only above this seq.
    pub after: u64,
}

/// A page of what waits.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReceiveReply {
    /// Oldest first.
    pub envelopes: Vec<Envelope>,
    /// Nothing waits beyond this page.
    pub drained: bool,
    /// What was lost unread since the last acknowledged gap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<Gap>,
}

/// One waiting envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Its place.
    pub seq: Seq,
    /// A full hour.
    pub expires_at: u64,
    /// `enc ‖ nonce`.
    pub wrap: Bytes,
    /// The wrapped envelope.
    pub body: Bytes,
}

/// Envelopes that expired unread, or were damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// How many.
    pub count: u64,
    /// The highest of them; acknowledging it ends the gap.
    pub through: Seq,
}

/// `POST /v1/envelopes/ack`: at least one of the two.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AckRequest {
    /// These.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seqs: Option<Vec<Seq>>,
    /// Everything up to and with this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub through: Option<Seq>,
}

/// The relay has forgotten them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AckReply {
    /// How many rows went.
    pub removed: u64,
}

/// What a wrap encrypts: `kind ‖ token hash ‖ id ‖ body`.
pub fn wrap_plaintext(kind: TokenKind, token: &TokenHash, id: &EnvelopeId, body: &[u8]) -> Vec<u8> {
    let mut plaintext = Vec::with_capacity(49 + body.len());
    plaintext.push(kind.byte());
    plaintext.extend_from_slice(token.as_ref());
    plaintext.extend_from_slice(id.as_ref());
    plaintext.extend_from_slice(body);
    plaintext
}

/// HPKE `info` of a wrap.
pub fn wrap_info(device: &DeviceId) -> Vec<u8> {
    Transcript::new("/wrap").fixed(device).bytes()
}

/// HPKE exporter context of a wrap.
pub fn wrap_key_context() -> Vec<u8> {
    Transcript::new("/wrap-key").bytes()
}

/// Associated data of a wrap.
pub fn wrap_aad(device: &DeviceId, expires_at: u64) -> [u8; 40] {
    let mut aad = [0; 40];
    aad[..32].copy_from_slice(device.as_ref());
    aad[32..].copy_from_slice(&expires_at.to_be_bytes());
    aad
}

/// HPKE `info` of a seal.
pub fn seal_info(account: &AccountId, device: &DeviceId) -> Vec<u8> {
    Transcript::new("/envelope").fixed(account).fixed(device).bytes()
}

/// Associated data of a seal.
pub fn seal_aad(suite: u8, key_id: [u8; 4], id: &EnvelopeId) -> [u8; 21] {
    let mut aad = [0; 21];
    aad[0] = suite;
    aad[1..5].copy_from_slice(&key_id);
    aad[5..].copy_from_slice(id.as_ref());
    aad
}

/// What the sender's device signs; the AEAD ties the content to `enc`.
pub fn seal_signature_transcript(
    recipient: (&AccountId, &DeviceId),
    id: &EnvelopeId,
    enc: &[u8; 32],
    sender: (&AccountId, &DeviceId),
) -> Vec<u8> {
    Transcript::new("/envelope-signature")
        .fixed(recipient.0)
        .fixed(recipient.1)
        .fixed(id)
        .fixed(enc)
        .fixed(sender.0)
        .fixed(sender.1)
        .bytes()
}

/// The four bytes by which a recipient finds the private key: of `SHA-256(T(/key-id, key))`.
pub fn key_id(key: &SealingKey) -> [u8; 4] {
    let hash = Transcript::new("/key-id").fixed(key).sha256();
    [hash.0[0], hash.0[1], hash.0[2], hash.0[3]]
}

/// A signature's place in a message that has none yet.
pub const NO_SIGNATURE: Signature = Signature([0; 64]);
