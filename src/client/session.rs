//! Logging in, by itself and whenever needed; and the proofs that a challenge is signed for.

use std::time::Duration;

use reqwest::{Method, Upgraded};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Client;
use super::error::{Error, Result};
use super::http::{Http, Lane, NOTHING};
use crate::crypto::sign;
use crate::protocol::auth::{
    CHALLENGE_BYTES_MAX, ChallengeReply, ChallengeRequest, LoginReply, LoginRequest, Proof, RevokeSessionsRequest,
    RevokedReply, SessionItem, SessionsReply, challenge_transcript,
};
use crate::protocol::info::Info;
use crate::protocol::{Bytes, DeviceId, ErrorCode, RelayKey, SessionToken, Signature};

/// A challenge that the pinned relay signed.
pub(super) struct Challenge {
    pub(super) bytes: Bytes,
    relay_key: RelayKey,
    device: DeviceId,
    origin: String,
    expires_at: u64,
}

impl Challenge {
    /// Asks for one; nothing is signed for a relay that is not the pinned one.
    pub(super) async fn of(http: &Http, device: DeviceId, pinned: &RelayKey) -> Result<Self> {
        let reply: ChallengeReply = http.post(Lane::Session(None), "/v1/auth/challenge", &ChallengeRequest { device }).await?;
        if reply.relay_key != *pinned {
            return Err(relay_key_changed(http, &pinned.fingerprint(), &reply.relay_key));
        }
        let transcript = challenge_transcript(&device, reply.challenge.as_slice(), reply.expires_at);
        let genuine = sign::verify(&pinned.0, &transcript, &reply.signature.0).is_ok();
        if !genuine || reply.challenge.as_slice().len() > CHALLENGE_BYTES_MAX {
            return Err(Error::Untrue("the relay's challenge is not signed by its key"));
        }
        Ok(Self {
            bytes: reply.challenge,
            relay_key: *pinned,
            device,
            origin: http.origin().to_string(),
            expires_at: reply.expires_at,
        })
    }

    /// What is signed, bound to this challenge.
    pub(super) fn proof(&self) -> Proof<'_> {
        Proof {
            origin: &self.origin,
            relay_key: &self.relay_key,
            device: &self.device,
            challenge: self.bytes.as_slice(),
            expires_at: self.expires_at,
        }
    }
}

/// What the relay says of itself, by a connection that no anonymous request takes.
pub(super) async fn info(http: &Http) -> Result<Info> {
    let info: Info = http.request(Method::GET, Lane::Session(None), "/v1/info", NOTHING, Duration::ZERO).await?;
    if info.version != 1 {
        return Err(Error::asked(
            format!("the relay at {} speaks version {} of the protocol", http.origin(), info.version),
            "use a version of restante that speaks it too",
        ));
    }
    Ok(info)
}

pub(super) fn relay_key_changed(http: &Http, expected: &str, found: &RelayKey) -> Error {
    Error::RelayKeyChanged { origin: http.origin().to_string(), expected: expected.to_string(), found: found.fingerprint() }
}

impl Client {
    /// A request with a session; logs in where there is none, and once more where the relay has forgotten it.
    pub(super) async fn authed<Q: Serialize, R: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Q>,
    ) -> Result<R> {
        self.authed_for(method, path, body, Duration::ZERO).await
    }

    /// The same, for a request that the relay may hold for `wait`.
    pub(super) async fn authed_for<Q: Serialize, R: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Q>,
        wait: Duration,
    ) -> Result<R> {
        let session = self.session().await?;
        let first = self.http.request(method.clone(), Lane::Session(Some(&session)), path, body, wait).await;
        if !first.as_ref().is_err_and(|error| error.code() == Some(ErrorCode::NoSession)) {
            return first;
        }
        self.session = None;
        let session = self.session().await?;
        self.http.request(method, Lane::Session(Some(&session)), path, body, wait).await
    }

    /// Ends every session of this device, here and at the relay. How many those were, this one among them.
    pub async fn logout(&mut self) -> Result<u64> {
        let _lock = self.enter().await?;
        let request = RevokeSessionsRequest { device: Some(self.state.device_id()), all_others: None };
        let reply: RevokedReply = self.authed(Method::POST, "/v1/sessions/revoke", Some(&request)).await?;
        self.session = None;
        Ok(reply.revoked)
    }

    /// Where the account is logged in.
    pub async fn sessions(&mut self) -> Result<Vec<SessionItem>> {
        let _lock = self.enter().await?;
        let reply: SessionsReply = self.authed(Method::GET, "/v1/sessions", NOTHING).await?;
        Ok(reply.sessions)
    }

    /// Ends every session of a device of the account, or all but this one, and says how many.
    pub async fn revoke_sessions(&mut self, device: Option<DeviceId>) -> Result<u64> {
        let _lock = self.enter().await?;
        let request = RevokeSessionsRequest { device, all_others: device.is_none().then_some(true) };
        let reply: RevokedReply = self.authed(Method::POST, "/v1/sessions/revoke", Some(&request)).await?;
        if device == Some(self.state.device_id()) {
            self.session = None;
        }
        Ok(reply.revoked)
    }

    /// The next request logs in.
    pub(super) fn forget_session(&mut self) {
        self.session = None;
    }

    /// A stream's bytes; none where the relay, or what stands before it, does not let streams pass.
    pub(super) async fn upgrade(&self) -> Result<Option<Upgraded>> {
        self.http.upgrade("/v1/stream").await
    }

    /// That the relay went away in the middle.
    pub(super) fn lost(&self, why: &str) -> Error {
        Error::Unreachable { origin: self.http.origin().to_string(), why: why.to_string() }
    }

    /// Lets go of every connection: after a sleep they are dead, and nothing says so but a reply that never comes.
    pub(super) fn redial(&mut self) -> Result<()> {
        self.http = Http::new(&self.dial()?)?;
        Ok(())
    }

    pub(super) async fn session(&mut self) -> Result<SessionToken> {
        if let Some(session) = &self.session {
            return Ok(session.clone());
        }
        let challenge = Challenge::of(&self.http, self.state.device_id(), &self.state.relay.key).await?;
        let request = LoginRequest {
            device: challenge.device,
            challenge: challenge.bytes.clone(),
            signature: Signature(self.state.device_key().sign(&challenge.proof().login())),
        };
        let answer: Result<LoginReply> = self.http.post(Lane::Session(None), "/v1/auth/login", &request).await;
        let reply = answer.map_err(|error| match error {
            Error::Refused(mut problem) if problem.code == ErrorCode::LoginRefused => {
                problem.detail = NOT_KNOWN.to_string();
                Error::Refused(problem)
            }
            other => other,
        })?;
        Ok(self.session.insert(reply.session).clone())
    }
}

/// The relay does not say more, so that a stranger learns nothing. Who has the keys of a device that once got in can tell.
const NOT_KNOWN: &str = "it does not let this device in: it was removed from its account, or the account is gone there";
