//! Delivery tokens: who holds one may send.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zeroize::Zeroize;

use super::bytes::{EnvelopeId, NotBytes, TokenHash, Transcript, decode, encode, fixed_bytes};

fixed_bytes!(secret
    /// 32 random bytes minted by the recipient for one contact.
    DeliveryToken, 32);

impl DeliveryToken {
    /// What its owner registers: `SHA-256(T(/token, token))`.
    pub fn hash(&self) -> TokenHash {
        TokenHash(Transcript::new("/token").fixed(self).sha256().0)
    }
}

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    /// Sending, until it expires or is revoked.
    Contact,
    /// One envelope id.
    Once,
    /// A stranger's first message, as often as it has uses.
    Knock,
}

impl TokenKind {
    /// The byte that stands in a wrap.
    pub fn byte(self) -> u8 {
        match self {
            Self::Contact => 1,
            Self::Once => 2,
            Self::Knock => 3,
        }
    }
}

/// `POST /v1/tokens`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddTokenRequest {
    /// The token's hash.
    pub hash: TokenHash,
    /// What it allows.
    pub kind: TokenKind,
    /// Until when; required for `once`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    /// How many of its envelopes may wait in one mailbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envelopes_max: Option<u64>,
    /// How many envelopes a `knock` token takes in all, 1 to [`USES_MAX`]; other kinds have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses: Option<u64>,
}

/// The token is registered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AddTokenReply {
    /// The same hash.
    pub hash: TokenHash,
}

/// `POST /v1/tokens/list`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListTokensRequest {
    /// Only hashes above this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<TokenHash>,
    /// At most so many, 1 to 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// A page of the own tokens, ascending by hash.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ListTokensReply {
    /// The page.
    pub tokens: Vec<TokenItem>,
    /// Whether more follow.
    pub more: bool,
}

/// What the relay holds on one token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenItem {
    /// Its hash.
    pub hash: TokenHash,
    /// What it allows.
    pub kind: TokenKind,
    /// Until when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    /// How many of its envelopes may wait in one mailbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub envelopes_max: Option<u64>,
    /// Whether a `once` token has had its envelope.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub used: bool,
    /// How many envelopes a `knock` token still takes, where it was given uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses_left: Option<u64>,
}

/// `POST /v1/tokens/revoke`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokeTokensRequest {
    /// At most 1,000.
    pub hashes: Vec<TokenHash>,
}

/// The most hashes a page or a revocation holds.
pub const TOKENS_PAGE_MAX: u64 = 1_000;
/// The most uses of a `knock` token.
pub const USES_MAX: u64 = 1_000;
/// How far ahead a `once` token may expire, in seconds.
pub const ONCE_SECS_MAX: u64 = 30 * super::time::DAY;

/// The mark by which the store knows a repeat: `HMAC-SHA256(token, T(/repeat, id))`, its first 16 bytes.
///
/// Nothing on the wire equals it, and without the token it matches no id.
pub fn repeat_tag(token: &DeliveryToken, id: &EnvelopeId) -> [u8; 16] {
    tag(token, "/repeat", id)
}

/// The mark by which the store knows the one id that a `once` token was used for: as [`repeat_tag`], by another purpose, since it
/// stands beside the token's hash, and the repeat tag with the envelope's place: whoever takes the disk must not match the two.
pub fn once_tag(token: &DeliveryToken, id: &EnvelopeId) -> [u8; 16] {
    tag(token, "/once", id)
}

fn tag(token: &DeliveryToken, purpose: &str, id: &EnvelopeId) -> [u8; 16] {
    use hmac::{KeyInit, Mac};
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(token.as_ref()).expect("HMAC takes a key of any length");
    mac.update(&Transcript::new(purpose).fixed(id).bytes());
    let full: [u8; 32] = mac.finalize().into_bytes().into();
    let mut tag = [0; 16];
    tag.copy_from_slice(&full[..16]);
    tag
}
