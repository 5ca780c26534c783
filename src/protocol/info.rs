//! `GET /v1/info`: what a relay says of itself to anybody.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::bytes::RelayKey;

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
}
