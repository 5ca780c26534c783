//! Slots: an account's small records of its own, changed by compare-and-swap. The relay reads none of it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::bytes::{AccountId, Bytes, NotBytes, Transcript, decode, encode, fixed_bytes};

fixed_bytes!(public
    /// A slot's name among its account's: 32 bytes that its owner chose.
    SlotId, 32);

/// `GET /v1/slot`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotReply {
    /// From 1; one more with every change.
    pub version: u64,
    /// What was put there.
    pub content: Bytes,
}

/// `PUT /v1/slot`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutSlotRequest {
    /// Of one of [`SLOT_SIZES`].
    pub content: Bytes,
}

/// The slot is changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutSlotReply {
    /// Its version now.
    pub version: u64,
}

/// `POST /v1/slot/delete`: nothing but the header's `Slot-Id`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeleteSlotRequest {}

/// What the relay holds on one slot, but for its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotItem {
    /// Its name.
    pub slot: SlotId,
    /// Its version.
    pub version: u64,
    /// Length of its content.
    pub bytes: u64,
}

/// The entity tag of a version, as `ETag` and `If-Match` carry it.
pub fn etag(version: u64) -> String {
    format!("\"{version}\"")
}

/// The inverse of [`etag`]; refuses every other form: weak ones, lists, `*`, leading zeros.
pub fn version_of(etag: &str) -> Option<u64> {
    let digits = etag.strip_prefix('"')?.strip_suffix('"')?;
    let canonical = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    if canonical { digits.parse().ok() } else { None }
}

/// HKDF `info` of the id of a slot that an account's devices keep their contacts in: the first, or the `part`th after it.
pub fn slot_id_info(account: &AccountId, part: u8) -> Vec<u8> {
    of_part(Transcript::new("/slot-id").fixed(account), part)
}

/// HKDF `info` of that slot's key.
pub fn slot_key_info(account: &AccountId, part: u8) -> Vec<u8> {
    of_part(Transcript::new("/slot-key").fixed(account), part)
}

fn of_part(transcript: Transcript, part: u8) -> Vec<u8> {
    if part == 0 { transcript.bytes() } else { transcript.u8(part).bytes() }
}

/// What its content is bound to: `version` is the one that it gets.
pub fn slot_aad(slot: &SlotId, version: u64) -> Vec<u8> {
    Transcript::new("/slot").fixed(slot).u64(version).bytes()
}

/// The header that names a slot.
pub const SLOT_ID: &str = "slot-id";
/// The only lengths that a content has.
pub const SLOT_SIZES: [usize; 4] = [1_024, 4_096, 16_384, 65_536];
/// The largest request: 65,536 bytes are 87,382 characters, and the rest is JSON.
pub const PUT_SLOT_BYTES_MAX: u64 = 90_112;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_has_one_entity_tag() {
        for version in [1, 9, 10, u64::MAX] {
            assert_eq!(version_of(&etag(version)), Some(version));
        }
        for other in [
            "",
            "\"",
            "\"\"",
            "1",
            "\"0\"",
            "\"01\"",
            "W/\"1\"",
            "*",
            "\"*\"",
            "\"1\", \"2\"",
            " \"1\"",
            "\"+1\"",
            "\"1",
            "\"18446744073709551616\"",
        ] {
            assert_eq!(version_of(other), None, "{other}");
        }
    }
}
