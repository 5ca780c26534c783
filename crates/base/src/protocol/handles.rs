//! Handles: names under which an account can be found, of which the relay sees a hash and an encrypted record
//! (`docs/protocol.md` §10.3). Deriving the two from a name is the client's work.

use serde::{Deserialize, Serialize};

use super::bytes::{Bytes, HandleHash, RelayKey, Transcript};

/// `PUT /v1/handle`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutHandleRequest {
    /// The lookup hash.
    pub hash: HandleHash,
    /// [`RECORD_BYTES`], opaque to the relay.
    pub record: Bytes,
}

/// The handle is the account's.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PutHandleReply {
    /// The same hash.
    pub hash: HandleHash,
}

/// `POST /v1/handle/release`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseHandleRequest {}

/// The account has no handle now.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReleaseHandleReply {
    /// Whether it had one.
    pub released: bool,
}

/// `POST /v1/handles/lookup`, anonymous.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LookupRequest {
    /// The lookup hash.
    pub hash: HandleHash,
}

/// Somebody has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LookupReply {
    /// As its owner put it.
    pub record: Bytes,
}

/// A handle of an account's, as the relay holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandleItem {
    /// Its lookup hash.
    pub hash: HandleHash,
    /// Until when it is kept for the account, which has another now or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_until: Option<u64>,
}

/// The salt of every handle at one relay: the first 16 bytes of `SHA-256(T(/handle-salt, relay_key))`.
pub fn handle_salt(relay_key: &RelayKey) -> [u8; 16] {
    let hash = Transcript::new("/handle-salt").fixed(relay_key).sha256();
    let (head, _) = hash.0.split_first_chunk::<16>().expect("a hash has 32 bytes");
    *head
}

/// What a record is bound to.
pub fn record_aad(hash: &HandleHash) -> Vec<u8> {
    Transcript::new("/handle-record").fixed(hash).bytes()
}

/// A record's one size: a nonce of 12 bytes, [`RECORD_PLAIN_BYTES`] encrypted, a tag of 16.
pub const RECORD_BYTES: usize = 1_024;
/// What is in a record.
pub const RECORD_PLAIN_BYTES: usize = RECORD_BYTES - 12 - 16;
/// How long a handle that was given up is kept for who had it, in seconds.
pub const HELD_SECS: u64 = super::time::WEEK;
/// How many handles may be held for one account at once.
pub const HELD_MAX: u64 = 3;
