//! Logging in: challenge, login, sessions, and the bytes that are signed for them.

use serde::{Deserialize, Serialize};

use super::bytes::{AccountId, Bytes, DeviceId, Hash, RelayKey, SessionToken, Signature, Transcript};

/// The longest challenge that a client accepts, in bytes.
pub const CHALLENGE_BYTES_MAX: usize = 256;

/// `POST /v1/auth/challenge`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChallengeRequest {
    /// The device that will prove itself.
    pub device: DeviceId,
}

/// The relay's challenge, signed by it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChallengeReply {
    /// Opaque to the client, at most [`CHALLENGE_BYTES_MAX`].
    pub challenge: Bytes,
    /// The relay's name.
    pub relay_key: RelayKey,
    /// Until when it is good.
    pub expires_at: u64,
    /// The relay key's, over [`challenge_transcript`].
    pub signature: Signature,
}

/// `POST /v1/auth/login`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    /// Who logs in.
    pub device: DeviceId,
    /// As it was given.
    pub challenge: Bytes,
    /// The device key's, over [`Proof::login`].
    pub signature: Signature,
}

/// A session, for `Authorization: Bearer`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LoginReply {
    /// The bearer.
    pub session: SessionToken,
    /// Until when it is good, unless the relay restarts.
    pub expires_at: u64,
}

/// `GET /v1/sessions`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SessionsReply {
    /// The account's sessions, in no order.
    pub sessions: Vec<SessionItem>,
}

/// One session of the own account.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SessionItem {
    /// Whose it is.
    pub device: DeviceId,
    /// Whether it is the one that asks.
    pub current: bool,
    /// Rounded down to the hour.
    pub last_used: u64,
}

/// `POST /v1/sessions/revoke`: exactly one of the two.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct RevokeSessionsRequest {
    /// All but the one that asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all_others: Option<bool>,
    /// All of one device of the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceId>,
}

/// How many ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RevokedReply {
    /// A count; what was not there is no error.
    pub revoked: u64,
}

/// What the relay signs with a challenge.
pub fn challenge_transcript(device: &DeviceId, challenge: &[u8], expires_at: u64) -> Vec<u8> {
    Transcript::new("/challenge").fixed(device).var(challenge).u64(expires_at).bytes()
}

/// The facts that every proof over a challenge binds: where, to which relay, by which device, on which challenge.
#[derive(Clone, Copy)]
pub struct Proof<'a> {
    /// Scheme, host and port that the client dialled.
    pub origin: &'a str,
    /// The relay's name.
    pub relay_key: &'a RelayKey,
    /// The device that asked for the challenge.
    pub device: &'a DeviceId,
    /// The challenge as given.
    pub challenge: &'a [u8],
    /// Its expiry.
    pub expires_at: u64,
}

impl Proof<'_> {
    /// Signed by the device key to log in.
    pub fn login(&self) -> Vec<u8> {
        self.begin("/login").bytes()
    }

    /// Signed by the device key to register an account with this list.
    pub fn register(&self, list_hash: &Hash) -> Vec<u8> {
        self.begin("/register").fixed(list_hash).bytes()
    }

    /// Signed by the account key to put this list in the place of all before it.
    pub fn recover(&self, account: &AccountId, list_hash: &Hash) -> Vec<u8> {
        self.begin("/recover").fixed(account).fixed(list_hash).bytes()
    }

    /// Signed by the device key to delete the account.
    pub fn delete_account(&self, account: &AccountId) -> Vec<u8> {
        self.begin("/delete-account").fixed(account).bytes()
    }

    fn begin(&self, purpose: &str) -> Transcript {
        Transcript::new(purpose)
            .var(self.origin)
            .fixed(self.relay_key)
            .fixed(self.device)
            .var(self.challenge)
            .u64(self.expires_at)
    }
}
