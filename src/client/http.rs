//! The transport: requests to one relay, over two separate HTTP clients.
//!
//! Session routes and anonymous ones never share a connection or a TLS cache, so that the relay cannot tie a send to a
//! login by them. No redirects, no cookies, no other server in the place of the one that was named. Refusals come back as
//! typed problems; what may pass is tried again with a jittered back-off, the very same request each time.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Certificate, Method, StatusCode, Upgraded, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::error::{Error, Result};
use super::origin::Origin;
use crate::crypto::random;
use crate::protocol::slots::{SLOT_ID, etag};
use crate::protocol::{ErrorCode, Problem, SessionToken, SlotId};

/// How a relay is dialled.
#[derive(Debug, Clone)]
pub struct Dial {
    /// Where.
    pub origin: Origin,
    /// Roots to trust in the place of the built-in ones, PEM.
    pub ca: Option<String>,
    /// Allow plain http beyond this machine.
    pub plain: bool,
}

/// Requests to one relay.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    origin: Origin,
    session: reqwest::Client,
    anonymous: reqwest::Client,
}

/// Which of the two clients a request takes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Lane<'a> {
    /// Session routes, with the bearer once there is one.
    Session(Option<&'a SessionToken>),
    /// Anonymous routes.
    Anonymous,
    /// A session route about a slot, which must be as the condition says.
    Slot(&'a SessionToken, &'a SlotId, Condition),
}

/// What a slot must be for a request to be done.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Condition {
    /// Anything.
    Any,
    /// Not there yet.
    New,
    /// Of this version.
    Version(u64),
}

/// A request without a body.
pub(crate) const NOTHING: Option<&()> = None;

impl Http {
    pub(crate) fn new(dial: &Dial) -> Result<Self> {
        dial.origin.refuse_plain(dial.plain)?;
        // Fails only when a provider is installed already, which then serves as well.
        rustls::crypto::ring::default_provider().install_default().ok();
        Ok(Self { session: client(dial)?, anonymous: client(dial)?, origin: dial.origin.clone() })
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(crate) async fn post<Q: Serialize, R: DeserializeOwned>(&self, lane: Lane<'_>, path: &str, body: &Q) -> Result<R> {
        self.request(Method::POST, lane, path, Some(body), Duration::ZERO).await
    }

    /// Sends until an answer comes that waiting would not change, [`TRIES_MAX`] times at most. `wait` is how long the relay
    /// may hold the request on top of the usual time.
    pub(crate) async fn request<Q: Serialize, R: DeserializeOwned>(
        &self,
        method: Method,
        lane: Lane<'_>,
        path: &str,
        body: Option<&Q>,
        wait: Duration,
    ) -> Result<R> {
        for round in 0.. {
            let refused = match self.once(method.clone(), lane, path, body, wait).await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            match pause(&refused, round) {
                #[allow(clippy::disallowed_methods, reason = "a back-off between two tries")]
                Some(pause) if round + 1 < TRIES_MAX => tokio::time::sleep(pause).await,
                _ => return Err(refused),
            }
        }
        unreachable!("the loop ends by returning")
    }

    /// Sends once, whatever comes of it.
    pub(crate) async fn once<Q: Serialize, R: DeserializeOwned>(
        &self,
        method: Method,
        lane: Lane<'_>,
        path: &str,
        body: Option<&Q>,
        wait: Duration,
    ) -> Result<R> {
        let url = format!("{}{path}", self.origin.base());
        let mut request = match lane {
            Lane::Session(None) => self.session.request(method, url),
            Lane::Session(Some(token)) => self.session.request(method, url).bearer_auth(token.encode()),
            Lane::Anonymous => self.anonymous.request(method, url),
            Lane::Slot(token, slot, condition) => {
                let request = self.session.request(method, url).bearer_auth(token.encode()).header(SLOT_ID, slot.encode());
                match condition {
                    Condition::Any => request,
                    Condition::New => request.header(header::IF_NONE_MATCH, "*"),
                    Condition::Version(version) => request.header(header::IF_MATCH, etag(version)),
                }
            }
        };
        if let Some(body) = body {
            request = request.json(body);
        }
        let mut response = request.timeout(REPLY_TIME + wait).send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > REPLY_BYTES_MAX {
                return Err(self.not_a_relay("its reply is too long"));
            }
        }
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(|_| self.not_a_relay("its reply is not what the protocol says"));
        }
        match serde_json::from_slice::<Problem>(&bytes) {
            Ok(problem) => Err(Error::Refused(Box::new(problem))),
            Err(_) => Err(self.not_a_relay(&format!("it answers {status} without a reason"))),
        }
    }

    /// A WebSocket's bytes, over the sessions' connections, with no login in its head. None where the answer is anything but
    /// an upgrade.
    pub(crate) async fn upgrade(&self, path: &str) -> Result<Option<Upgraded>> {
        let key = STANDARD.encode(random::bytes::<16>());
        let request = self
            .session
            .get(format!("{}{path}", self.origin.base()))
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, &key);
        let answer = tokio::time::timeout(CONNECT_TIME + REPLY_TIME, request.send()).await;
        let response = answer.map_err(|_| self.not_a_relay("no answer in time"))?.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status != StatusCode::SWITCHING_PROTOCOLS {
            let bytes = response.bytes().await.unwrap_or_default();
            return match serde_json::from_slice::<Problem>(&bytes) {
                Ok(problem) if !STREAMS_DO_NOT_PASS.contains(&problem.code) => Err(Error::Refused(Box::new(problem))),
                Err(_) if status.is_server_error() => Err(self.not_a_relay(&format!("it answers {status} without a reason"))),
                _ => Ok(None),
            };
        }
        let accept = response.headers().get(header::SEC_WEBSOCKET_ACCEPT);
        if accept.is_none_or(|accept| accept.as_bytes() != derive_accept_key(key.as_bytes()).as_bytes()) {
            return Ok(None);
        }
        response.upgrade().await.map(Some).map_err(|error| self.unreachable(&error))
    }

    fn not_a_relay(&self, why: &str) -> Error {
        Error::Unreachable { origin: self.origin.to_string(), why: why.to_string() }
    }

    /// The innermost cause says most; the outer ones repeat the address.
    fn unreachable(&self, error: &reqwest::Error) -> Error {
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        let why = if error.is_timeout() { "no answer in time".to_string() } else { cause.to_string() };
        Error::Unreachable { origin: self.origin.to_string(), why }
    }
}

fn client(dial: &Dial) -> Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT_TIME)
        .pool_idle_timeout(IDLE_TIME)
        .http1_only()
        .referer(false);
    if let Some(path) = dial.origin.socket() {
        builder = builder.unix_socket(path);
    }
    if dial.origin.is_local() {
        builder = builder.no_proxy();
    }
    let bad_ca =
        || Error::asked("the file given with --ca holds no certificate", "it should be PEM: -----BEGIN CERTIFICATE-----");
    let roots = match &dial.ca {
        Some(pem) => Certificate::from_pem_bundle(pem.as_bytes()).map_err(|_| bad_ca())?,
        None => webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().filter_map(|root| Certificate::from_der(root).ok()).collect(),
    };
    if roots.is_empty() {
        return Err(bad_ca());
    }
    builder
        .tls_certs_only(roots)
        .build()
        .map_err(|error| Error::Unreachable { origin: dial.origin.to_string(), why: error.to_string() })
}

/// How long to wait before the next try: none where a try would change nothing or the relay asks for too much patience.
fn pause(error: &Error, round: u32) -> Option<Duration> {
    let asked = match error {
        Error::Unreachable { .. } => None,
        Error::Refused(problem) => match problem.code {
            ErrorCode::Busy | ErrorCode::Stopping | ErrorCode::RateLimited | ErrorCode::TooSlow => problem.retry_after,
            _ => return None,
        },
        _ => return None,
    };
    if asked.is_some_and(|secs| secs > RETRY_AFTER_SECS_MAX) {
        return None;
    }
    let backoff_ms = BACKOFF_MS << round;
    let jitter_ms = u64::from_be_bytes(random::bytes()) % backoff_ms;
    Some(Duration::from_secs(asked.unwrap_or(0)) + Duration::from_millis(backoff_ms / 2 + jitter_ms))
}

/// Answers to an upgrade after which a long poll is tried: an older relay, or a proxy that drops the upgrade.
const STREAMS_DO_NOT_PASS: [ErrorCode; 4] =
    [ErrorCode::UpgradeRequired, ErrorCode::NotFound, ErrorCode::BadRequest, ErrorCode::MethodNotAllowed];
/// Until a connection stands.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// From the request to the end of its reply, besides a long poll's wait.
const REPLY_TIME: Duration = Duration::from_secs(30);
/// Below the relay's 75 s, so that it is never the relay who hangs up first.
const IDLE_TIME: Duration = Duration::from_secs(60);
/// A page is at most 1 MiB of bodies, 1.4 as base64url; an operator may have allowed more.
const REPLY_BYTES_MAX: usize = 8 << 20;
/// Tries of one request, the first included.
const TRIES_MAX: u32 = 4;
/// The first back-off's middle; doubled with each try.
const BACKOFF_MS: u64 = 200;
/// The longest `Retry-After` that is waited for; beyond it the caller is told.
const RETRY_AFTER_SECS_MAX: u64 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_obeyed_and_not_beyond_patience() {
        let mut problem = Problem::new(ErrorCode::Busy, "");
        problem.retry_after = Some(3);
        let wait = pause(&Error::Refused(Box::new(problem.clone())), 0).expect("busy passes");
        assert!(wait >= Duration::from_secs(3) && wait < Duration::from_secs(4), "{wait:?}");
        problem.retry_after = Some(RETRY_AFTER_SECS_MAX + 1);
        assert!(pause(&Error::Refused(Box::new(problem)), 0).is_none());
        assert!(pause(&Error::Refused(Box::new(Problem::new(ErrorCode::NoSuchToken, ""))), 0).is_none());
    }
}
