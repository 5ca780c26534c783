//! Streams: the frames of `GET /v1/stream`, one JSON object each.

use serde::{Deserialize, Serialize};

use super::bytes::{Bytes, SessionToken};
use super::envelopes::{AckReply, AckRequest, Envelope, Gap};
use super::error::ErrorCode;
use super::info::Notice;

/// The longest frame that a client sends, in bytes: an acknowledgement of 100 seqs is 1,800.
pub const CLIENT_FRAME_BYTES_MAX: usize = 4_096;

/// What a client says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ClientFrame {
    /// The first frame; later, the stream goes on by a newer session of the same device.
    Auth(Auth),
    /// These are safe.
    Ack(AckRequest),
}

/// A session, in the place of the header that a browser cannot send.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// The bearer.
    pub session: SessionToken,
}

/// What a relay says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RelayFrame {
    /// The answer to an `auth`.
    Ready {
        /// Until when the session is good.
        expires_at: u64,
    },
    /// One that waits.
    Envelope(Envelope),
    /// What was lost unread.
    Gap(Gap),
    /// Nothing waits beyond what was sent.
    Drained,
    /// The answer to an `ack`.
    Acked(AckReply),
    /// One that is nowhere written down.
    Live(LiveEnvelope),
    /// The operator's notice, or that it was taken back.
    Notice {
        /// None: there is none any more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        notice: Option<Notice>,
    },
    /// A newer poll or stream of the device took over.
    Superseded,
    /// A refusal.
    Error {
        /// Why.
        code: ErrorCode,
        /// For a person.
        detail: String,
    },
    /// A frame that this version does not know.
    #[serde(other)]
    Unknown,
}

/// A live envelope, in the same wrap as any other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveEnvelope {
    /// What the wrap's associated data has; it is gone at once.
    pub expires_at: u64,
    /// `enc ‖ nonce`.
    pub wrap: Bytes,
    /// The wrapped envelope.
    pub body: Bytes,
}

/// Why a stream was closed: WebSocket close codes (`docs/protocol.md` §9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum CloseCode {
    /// It is not WebSocket.
    Protocol = 1002,
    /// A text frame that is not UTF-8.
    NotText = 1007,
    /// Too many pings.
    Policy = 1008,
    /// A frame or message that is too large.
    TooLarge = 1009,
    /// The relay is stopping.
    Restarting = 1012,
    /// A frame that is not one of the client's.
    BadFrame = 4400,
    /// The session is not, or no longer, good.
    NoSession = 4401,
    /// No `auth` in time.
    NoAuth = 4408,
    /// A newer poll or stream took over.
    Superseded = 4409,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Seq;

    #[test]
    fn frames_are_flat_objects_with_a_type() {
        let frame = |frame: RelayFrame| serde_json::to_string(&frame).expect("it serializes");
        assert_eq!(frame(RelayFrame::Drained), r#"{"type":"drained"}"#);
        assert_eq!(frame(RelayFrame::Notice { notice: None }), r#"{"type":"notice"}"#);
        assert_eq!(frame(RelayFrame::Gap(Gap { count: 2, through: Seq(9) })), r#"{"type":"gap","count":2,"through":9}"#);
        let later: RelayFrame = serde_json::from_str(r#"{"type":"song"}"#).expect("an unknown one is no error");
        assert!(matches!(later, RelayFrame::Unknown));
    }

    #[test]
    fn a_clients_frame_is_strict() {
        let session = SessionToken([1; 32]).encode();
        let parse = |text: &str| serde_json::from_str::<ClientFrame>(text);
        assert!(matches!(parse(&format!(r#"{{"type":"auth","session":"{session}"}}"#)), Ok(ClientFrame::Auth(_))));
        assert!(matches!(parse(r#"{"type":"ack","through":3}"#), Ok(ClientFrame::Ack(_))));
        assert!(parse(&format!(r#"{{"type":"auth","session":"{session}","more":1}}"#)).is_err());
        assert!(parse(r#"{"type":"ack","through":3,"more":1}"#).is_err());
        assert!(parse(r#"{"type":"song"}"#).is_err());
        assert!(parse(r#"{"through":3}"#).is_err());
    }
}
