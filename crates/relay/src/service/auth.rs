//! Logging in: proofs over challenges, sessions that live in memory only.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::challenges::Challenge;
use super::rates::{Counted, Prefix};
use super::{Error, Relay, Result};
use crate::crypto::sign;
use crate::protocol::auth::{
    ChallengeReply, ChallengeRequest, LoginReply, LoginRequest, Proof, RevokeSessionsRequest, RevokedReply, SessionItem,
    SessionsReply, challenge_transcript,
};
use crate::protocol::time::{WEEK, floor_hour};
use crate::protocol::{AccountId, Bytes, DeviceId, ErrorCode, Hash, SessionToken, Signature};

/// Proof that a device logged in; made only here.
#[derive(Clone)]
pub struct Session {
    /// Which device.
    pub(crate) device: DeviceId,
    /// Of which account.
    pub(crate) account: AccountId,
    /// When it runs out, by the clock's `elapsed`.
    pub(crate) ends: Duration,
    /// Ends when the session is revoked.
    pub(crate) revoked: CancellationToken,
    key: Hash,
}

/// Sessions by the hash of their bearer, and each device's, oldest first.
#[derive(Default)]
pub(crate) struct Sessions {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    entries: HashMap<Hash, Entry>,
    of_device: HashMap<DeviceId, Vec<Hash>>,
    /// How often devices were put out, by whatever way.
    ended: u64,
}

struct Entry {
    device: DeviceId,
    account: AccountId,
    ends: Duration,
    last_used: u64,
    /// Until when a second factor's code counts, by the clock's `elapsed`.
    elevated_until: Option<Duration>,
    revoked: CancellationToken,
}

impl Relay {
    /// A signed challenge for any device id, known or not; nothing is kept for it.
    pub fn challenge(&self, request: &ChallengeRequest, prefix: Option<Prefix>) -> Result<ChallengeReply> {
        let limits = self.limits();
        self.rate(prefix, Counted::Challenge)?;
        let mut nonce = [0; 32];
        (self.inner.random)(&mut nonce);
        let deadline = self.inner.clock.elapsed() + Duration::from_secs(limits.challenge_secs);
        let expires_at = self.now() + limits.challenge_secs;
        let challenge = self.inner.challenges.make(&request.device, nonce, deadline.as_millis() as u64, expires_at);
        let transcript = challenge_transcript(&request.device, &challenge, expires_at);
        Ok(ChallengeReply {
            signature: Signature(self.inner.settings.relay_key.sign(&transcript)),
            challenge: Bytes(challenge),
            relay_key: self.inner.relay_key,
            expires_at,
        })
    }

    /// A session for a device's signature over its challenge. Every failure is the same `login_refused`.
    pub async fn login(&self, request: &LoginRequest, prefix: Option<Prefix>) -> Result<LoginReply> {
        // After a restart everybody comes at once; the rest of the relay's work goes on beside them.
        let _turn = self.inner.logins.acquire().await;
        self.refusals_counted(prefix, async {
            let challenge = self.check_challenge(&request.device, &request.challenge)?;
            self.check_proof(&request.device, &challenge, &request.device.0, &request.signature, |proof| proof.login())?;
            self.spend(&challenge)?;
            loop {
                // What ends sessions while the store is read ends the one that is about to begin, too.
                let ended = self.inner.sessions.lock().ended;
                let record = self.inner.store.device(request.device).await?.ok_or_else(login_refused)?;
                if record.suspended {
                    return Err(suspended());
                }
                self.inner.store.visited(request.device, self.now() / WEEK).await?;
                if let Some(begun) = self.begin_session(request.device, record.account, ended)? {
                    self.logged_in_from(prefix, &request.device);
                    return Ok(begun);
                }
            }
        })
        .await
    }

    /// The session that a bearer names.
    pub fn authenticate(&self, token: &SessionToken) -> Result<Session> {
        let key = Hash::of(token.as_ref());
        let (now, hour) = (self.inner.clock.elapsed(), floor_hour(self.now()));
        let mut sessions = self.inner.sessions.lock();
        let entry = sessions.entries.get_mut(&key).filter(|entry| now < entry.ends).ok_or_else(no_session)?;
        entry.last_used = hour;
        Ok(Session { device: entry.device, account: entry.account, ends: entry.ends, revoked: entry.revoked.clone(), key })
    }

    /// Until when a session is good, Unix seconds, unless it is ended before.
    pub fn session_expires_at(&self, session: &Session) -> u64 {
        self.now() + session.ends.saturating_sub(self.inner.clock.elapsed()).as_secs()
    }

    /// Elevates a session, and gives until when, Unix seconds.
    pub(crate) fn elevate_session(&self, session: &Session, length: Duration) -> Result<u64> {
        let until = self.inner.clock.elapsed() + length;
        let mut sessions = self.inner.sessions.lock();
        sessions.entries.get_mut(&session.key).ok_or_else(no_session)?.elevated_until = Some(until);
        Ok(self.now() + length.as_secs())
    }

    /// Whether a session is elevated at this moment.
    pub(crate) fn is_elevated(&self, session: &Session) -> bool {
        let now = self.inner.clock.elapsed();
        let sessions = self.inner.sessions.lock();
        sessions.entries.get(&session.key).and_then(|entry| entry.elevated_until).is_some_and(|until| now < until)
    }

    /// The account's sessions, coarse.
    pub fn sessions(&self, session: &Session) -> SessionsReply {
        let now = self.inner.clock.elapsed();
        let sessions = self.inner.sessions.lock();
        let own = sessions.entries.iter().filter(|(_, entry)| entry.account == session.account && now < entry.ends);
        let items = own.map(|(key, entry)| SessionItem {
            device: entry.device,
            current: *key == session.key,
            last_used: entry.last_used,
        });
        SessionsReply { sessions: items.collect() }
    }

    /// Ends sessions of the own account, and every wait of theirs.
    pub fn revoke_sessions(&self, session: &Session, request: &RevokeSessionsRequest) -> Result<RevokedReply> {
        let revoked = match (request.all_others, request.device) {
            (Some(true), None) => self.end_sessions(|key, entry| entry.account == session.account && *key != session.key),
            (None, Some(device)) => self.end_sessions(|_, entry| entry.account == session.account && entry.device == device),
            _ => return Err(Error::refused(ErrorCode::BadRequest, "expected either `all_others: true` or `device`")),
        };
        Ok(RevokedReply { revoked })
    }

    /// Ends every session of these devices.
    pub(crate) fn end_sessions_of(&self, devices: &[DeviceId]) {
        let mut sessions = self.inner.sessions.lock();
        sessions.ended += 1;
        for device in devices {
            for key in sessions.of_device.get(device).cloned().unwrap_or_default() {
                sessions.end(&key);
            }
        }
    }

    /// Drops what has run out; called by the jobs.
    pub fn sweep_sessions(&self) {
        let now = self.inner.clock.elapsed();
        self.inner.sessions.lock().sweep(now);
        self.inner.challenges.sweep(now);
    }

    /// Refuses when a prefix was refused too often, and counts when this attempt is.
    pub(crate) async fn refusals_counted<T>(
        &self,
        prefix: Option<Prefix>,
        attempt: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        self.rate_reached(prefix, Counted::BadLogin)?;
        let outcome = attempt.await;
        if outcome.as_ref().is_err_and(|error| error.code() == ErrorCode::LoginRefused) {
            // Where others of the prefix took the last one meanwhile, the next look is refused; this one had its answer.
            let _ = self.rate(prefix, Counted::BadLogin);
        }
        outcome
    }

    pub(crate) fn check_challenge<'a>(&self, device: &DeviceId, challenge: &'a Bytes) -> Result<Challenge<'a>> {
        self.inner.challenges.check(device, challenge.as_slice(), self.inner.clock.elapsed()).ok_or_else(login_refused)
    }

    /// Verifies a signature over the transcript that binds the challenge, under any of the relay's origins.
    pub(crate) fn check_proof(
        &self,
        device: &DeviceId,
        challenge: &Challenge<'_>,
        key: &[u8; 32],
        signature: &Signature,
        transcript: impl Fn(&Proof<'_>) -> Vec<u8>,
    ) -> Result<()> {
        let verifies = |origin: &String| {
            let proof = Proof {
                origin,
                relay_key: &self.inner.relay_key,
                device,
                challenge: challenge.bytes,
                expires_at: challenge.expires_at,
            };
            sign::verify(key, &transcript(&proof), &signature.0).is_ok()
        };
        if self.inner.settings.origins.iter().any(verifies) { Ok(()) } else { Err(login_refused()) }
    }

    /// Uses a challenge up; refused when it was used before.
    pub(crate) fn spend(&self, challenge: &Challenge<'_>) -> Result<()> {
        if self.inner.challenges.spend(challenge, self.inner.clock.elapsed())? { Ok(()) } else { Err(login_refused()) }
    }

    /// None when devices were put out since `ended` was read: this one may be among them.
    fn begin_session(&self, device: DeviceId, account: AccountId, ended: u64) -> Result<Option<LoginReply>> {
        let mut token = SessionToken([0; 32]);
        (self.inner.random)(&mut token.0);
        let limits = self.limits();
        let now = self.inner.clock.elapsed();
        let mut sessions = self.inner.sessions.lock();
        if sessions.ended != ended {
            return Ok(None);
        }
        if sessions.entries.len() >= SESSIONS_MAX {
            sessions.sweep(now);
        }
        if sessions.entries.len() >= SESSIONS_MAX {
            return Err(Error::refused(ErrorCode::Busy, "too many sessions at once"));
        }
        let own = sessions.of_device.get(&device).cloned().unwrap_or_default();
        let surplus = (own.len() + 1).saturating_sub(limits.sessions_device_max as usize);
        for oldest in own.iter().take(surplus) {
            sessions.end(oldest);
        }
        let entry = Entry {
            device,
            account,
            ends: now + Duration::from_secs(limits.session_secs),
            last_used: floor_hour(self.now()),
            elevated_until: None,
            revoked: CancellationToken::new(),
        };
        let key = Hash::of(token.as_ref());
        sessions.entries.insert(key, entry);
        sessions.of_device.entry(device).or_default().push(key);
        Ok(Some(LoginReply { session: token, expires_at: self.now() + limits.session_secs }))
    }

    fn end_sessions(&self, which: impl Fn(&Hash, &Entry) -> bool) -> u64 {
        let mut sessions = self.inner.sessions.lock();
        // What is over counts as revoked by nobody.
        sessions.sweep(self.inner.clock.elapsed());
        let ending: Vec<Hash> = sessions.entries.iter().filter(|(key, entry)| which(key, entry)).map(|(key, _)| *key).collect();
        ending.iter().for_each(|key| sessions.end(key));
        ending.len() as u64
    }
}

impl Sessions {
    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Table {
    /// Ends one session and its waits.
    fn end(&mut self, key: &Hash) {
        let Some(entry) = self.entries.remove(key) else { return };
        entry.revoked.cancel();
        if let Some(own) = self.of_device.get_mut(&entry.device) {
            own.retain(|other| other != key);
            if own.is_empty() {
                self.of_device.remove(&entry.device);
            }
        }
    }

    fn sweep(&mut self, now: Duration) {
        let over: Vec<Hash> = self.entries.iter().filter(|(_, entry)| entry.ends <= now).map(|(key, _)| *key).collect();
        over.iter().for_each(|key| self.end(key));
    }
}

/// The one answer to every failed proof.
pub(crate) fn login_refused() -> Error {
    Error::refused(
        ErrorCode::LoginRefused,
        "the proof was refused: ask for a fresh challenge, and check origin, relay key and device",
    )
}

/// Only for who has proved to be a device of the account.
fn suspended() -> Error {
    Error::refused(
        ErrorCode::Suspended,
        "the relay's operator has suspended this account; what waits for it stays until it expires",
    )
}

/// The one answer to every bearer that names no session.
pub(crate) fn no_session() -> Error {
    Error::refused(ErrorCode::NoSession, "log in and send the session as `Authorization: Bearer`")
}

/// Logins that are worked on at once; others wait for their turn.
pub(crate) const LOGINS_MAX: usize = 64;
/// Sessions at once; some 200 bytes each.
const SESSIONS_MAX: usize = 1_000_000;
