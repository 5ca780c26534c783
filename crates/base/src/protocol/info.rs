//! `GET /v1/info`: what a relay says of itself to anybody.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::bytes::{Bytes, RelayKey, Signature, Transcript};

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
    /// The salt of handles, which the relay key gives: [`handle_salt`](super::handles::handle_salt).
    #[serde(default)]
    pub handle_salt: Bytes,
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
    /// 1 to [`NOTICE_BYTES_MAX`] bytes, without control characters but `\n`.
    pub text: String,
    /// When it was set, Unix seconds.
    pub set_at: u64,
    /// The relay key's, over [`notice_transcript`].
    pub signature: Signature,
}

/// Why a text is not a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadNotice {
    /// It says nothing.
    #[error("a notice has at least one character")]
    Empty,
    /// It is so many bytes long.
    #[error("a notice is at most {NOTICE_BYTES_MAX} bytes of UTF-8, and this is {0}")]
    TooLong(usize),
    /// A control character stands in it.
    #[error("a notice has no control characters but the end of a line, and this has U+{:04X}", u32::from(*.0))]
    Control(char),
}

/// Refuses a text that is not 1 to [`NOTICE_BYTES_MAX`] bytes, or has control characters but `\n`.
pub fn check_notice(text: &str) -> Result<(), BadNotice> {
    if text.is_empty() {
        return Err(BadNotice::Empty);
    }
    if text.len() > NOTICE_BYTES_MAX {
        return Err(BadNotice::TooLong(text.len()));
    }
    text.chars().find(|c| c.is_control() && *c != '\n').map_or(Ok(()), |c| Err(BadNotice::Control(c)))
}

/// What the relay key signs for a notice.
pub fn notice_transcript(set_at: u64, text: &str) -> Vec<u8> {
    Transcript::new("/notice").u64(set_at).var(text.as_bytes()).bytes()
}

/// The longest notice, in bytes.
pub const NOTICE_BYTES_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_has_its_borders() {
        for good in ["x", "two\nlines", "grüße", &"x".repeat(NOTICE_BYTES_MAX), &"ü".repeat(NOTICE_BYTES_MAX / 2)] {
            assert_eq!(check_notice(good), Ok(()), "{good}");
        }
        assert_eq!(check_notice(""), Err(BadNotice::Empty));
        assert_eq!(check_notice(&"x".repeat(1_001)), Err(BadNotice::TooLong(1_001)));
        assert_eq!(check_notice(&"ü".repeat(501)), Err(BadNotice::TooLong(1_002)));
        for control in ['\t', '\r', '\0', '\u{1b}', '\u{7f}', '\u{85}'] {
            assert_eq!(check_notice(&format!("a{control}b")), Err(BadNotice::Control(control)));
        }
        assert_eq!(BadNotice::Control('\u{1b}').to_string().rsplit(' ').next(), Some("U+001B"));
    }
}
