//! `GET /v1/info`: what a relay says of itself to anybody.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::bytes::{RelayKey, Signature, Transcript};

/// Whether strangers may register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Registration {
    /// Anybody who reaches the relay.
    Open,
    /// Who brings a pass.
    Pass,
    /// Nobody.
    Closed,
    /// A mode that this version does not know.
    #[serde(other)]
    Unknown,
}

/// The reply to `GET /v1/info`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Info {
    /// The protocol's version: 1.
    pub version: u32,
    /// Name and version of the software.
    pub software: String,
    /// What the relay offers beyond version 1's core.
    pub features: Vec<String>,
    /// The relay's name.
    pub relay_key: RelayKey,
    /// The same, for people.
    pub fingerprint: String,
    /// The origins under which a login is accepted.
    pub origins: Vec<String>,
    /// Whether strangers may register.
    pub registration: Registration,
    /// How long an envelope waits at most, in seconds.
    pub retention_secs: u64,
    /// The relay's clock.
    pub now: u64,
    /// The limits of `docs/protocol.md` §13, by name.
    pub limits: BTreeMap<String, u64>,
    /// What the operator has to say to everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<Notice>,
}

/// What the operator has to say to everybody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// At most [`NOTICE_BYTES_MAX`].
    pub text: String,
    /// When it was set, Unix seconds.
    pub set_at: u64,
    /// The relay key's, over [`notice_transcript`].
    pub signature: Signature,
}

/// What the relay key signs for a notice.
pub fn notice_transcript(set_at: u64, text: &str) -> Vec<u8> {
    Transcript::new("/notice").u64(set_at).var(text.as_bytes()).bytes()
}

/// The longest notice, in bytes.
pub const NOTICE_BYTES_MAX: usize = 1_000;
