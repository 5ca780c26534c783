//! The second factor: secrets that wait to be confirmed, codes, and the elevation that they give a session.
//!
//! What lives here in memory is bounded and meant to be forgotten: secrets not yet confirmed, and how often a device was
//! wrong. What must not be forgotten is the store's: the locked secret, the highest step, the recovery codes' hashes.

use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use lru::LruCache;
use totp_rs::{Builder, Totp};
use zeroize::Zeroizing;

use super::auth::Session;
use super::{Error, Relay, Result};
use crate::crypto::locker::Locker;
use crate::protocol::factor::{
    Code, CodeRequest, ConfirmReply, ElevateReply, RECOVERY_CODE_BYTES, RECOVERY_CODES, RemoveReply, TOTP_STEP_SECS,
    TotpRequest, TotpSecret, TotpSecretReply, recovery_code, recovery_code_hash,
};
use crate::protocol::{AccountId, DeviceId, ErrorCode};
use crate::store::{KeptFactor, LOCKED_SECRET_LENGTH};

/// What the relay remembers of second factors until it stops.
pub(crate) struct Factors {
    locker: Locker,
    pending: Mutex<LruCache<AccountId, Pending>>,
    tries: Mutex<LruCache<DeviceId, Tries>>,
}

/// A secret that was shown and not yet confirmed.
struct Pending {
    secret: TotpSecret,
    ends: Duration,
}

/// How often a device was wrong in a row, and when last. A day later it is forgotten.
#[derive(Clone, Copy)]
struct Tries {
    wrong: u32,
    last: Duration,
}

impl Factors {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        let (pending, tries) = (LruCache::new(PENDING_MAX), LruCache::new(TRIES_MAX));
        Self { locker: Locker::new(key), pending: Mutex::new(pending), tries: Mutex::new(tries) }
    }

    /// Nothing that was shown before can be confirmed any more.
    pub(crate) fn forget(&self, account: &AccountId) {
        lock(&self.pending).pop(account);
    }

    fn sweep(&self, now: Duration) {
        let mut pending = lock(&self.pending);
        let over: Vec<AccountId> = pending.iter().filter(|(_, held)| held.ends <= now).map(|(account, _)| *account).collect();
        for account in over {
            pending.pop(&account);
        }
        let mut tries = lock(&self.tries);
        let over: Vec<DeviceId> = tries.iter().filter(|(_, tries)| tries.is_over(now)).map(|(device, _)| *device).collect();
        for device in over {
            tries.pop(&device);
        }
    }

    /// Whether a secret waits to be confirmed.
    fn is_pending(&self, account: &AccountId, now: Duration) -> bool {
        lock(&self.pending).peek(account).is_some_and(|held| now < held.ends)
    }

    /// The pending secret that makes this code, and the code's step; of several who come with it, one gets it.
    fn take_pending(&self, account: &AccountId, code: &str, at: u64, now: Duration) -> Result<(Pending, u64)> {
        let mut pending = lock(&self.pending);
        let held = pending.peek(account).filter(|held| now < held.ends).ok_or_else(not_generated)?;
        let step = step_of(&held.secret, code, at, None).ok_or_else(code_refused)?;
        Ok((pending.pop(account).ok_or_else(not_generated)?, step))
    }

    fn locked(&self, nonce: [u8; 12], account: &AccountId, secret: &TotpSecret) -> [u8; LOCKED_SECRET_LENGTH] {
        let locked = self.locker.lock(nonce, account.as_bytes(), secret.as_bytes());
        locked.try_into().expect("a nonce, 20 bytes and a tag")
    }

    fn unlocked(&self, account: &AccountId, locked: &[u8]) -> Option<TotpSecret> {
        let secret = self.locker.unlock(account.as_bytes(), locked)?;
        TotpSecret::from_slice(&secret).ok()
    }

    /// Counts a try as wrong before anybody looks at it, so that many at once are no more than one after the other; refuses
    /// when this device has to wait.
    fn begin(&self, device: DeviceId, now: Duration) -> Result<()> {
        let mut all = lock(&self.tries);
        let tries = all.get_or_insert_mut(device, || Tries { wrong: 0, last: now });
        if tries.is_over(now) {
            tries.wrong = 0;
        }
        let wait = match tries.wrong {
            ..SOME_WRONG => Duration::ZERO,
            SOME_WRONG..MANY_WRONG => MINUTE,
            _ => DAY,
        };
        let left = (tries.last + wait).saturating_sub(now);
        if tries.wrong >= SOME_WRONG && !left.is_zero() {
            return Err(Error::RateLimited(left.as_millis().div_ceil(1_000) as u64));
        }
        *tries = Tries { wrong: tries.wrong + 1, last: now };
        Ok(())
    }

    /// The code was good.
    fn clear(&self, device: &DeviceId) {
        lock(&self.tries).pop(device);
    }

    /// The relay could not tell: it counts as no try.
    fn take_back(&self, device: &DeviceId) {
        if let Some(tries) = lock(&self.tries).peek_mut(device) {
            tries.wrong = tries.wrong.saturating_sub(1);
        }
    }
}

impl Tries {
    fn is_over(&self, now: Duration) -> bool {
        now.saturating_sub(self.last) >= DAY
    }
}

impl Relay {
    /// Refuses a session that is not elevated, where the account's second factor is on. Whatever a stolen phone could
    /// destroy asks this first.
    pub(crate) async fn elevated(&self, session: &Session) -> Result<()> {
        if self.is_elevated(session) { Ok(()) } else { self.guarded(session).await.map(drop) }
    }

    /// The same, and the locked secret of the factor that is on: whoever changes it changes that one and no other, so that what
    /// was asked while it was off does nothing to one that was turned on meanwhile.
    async fn guarded(&self, session: &Session) -> Result<Option<[u8; LOCKED_SECRET_LENGTH]>> {
        let kept = self.inner.store.factor(session.account).await?;
        if kept.is_none() || self.is_elevated(session) {
            return Ok(kept.map(|kept| kept.secret));
        }
        Err(Error::refused(
            ErrorCode::ElevationNeeded,
            "the second factor is on, and this takes a session that was elevated by a code of it",
        ))
    }

    /// A fresh secret for an authenticator, which nothing hangs on until it is confirmed.
    pub async fn generate_totp(&self, session: &Session, _: &TotpRequest) -> Result<TotpSecretReply> {
        self.elevated(session).await?;
        let mut secret = TotpSecret([0; 20]);
        (self.inner.random)(&mut secret.0);
        let pending = Pending { secret: secret.clone(), ends: self.inner.clock.elapsed() + PENDING };
        lock(&self.inner.factors.pending).put(session.account, pending);
        Ok(TotpSecretReply { secret, expires_at: self.now() + PENDING.as_secs() })
    }

    /// Turns the second factor on by a code of the secret that was generated last, in the place of any before, and elevates
    /// the session. Where another is on already, that is a change of it and takes an elevated session.
    pub async fn confirm_totp(&self, session: &Session, request: &CodeRequest) -> Result<ConfirmReply> {
        let before = self.guarded(session).await?;
        let (factors, account) = (&self.inner.factors, session.account);
        if !factors.is_pending(&account, self.inner.clock.elapsed()) {
            return Err(not_generated());
        }
        let confirmed = self.counted(session.device, async {
            let Some(Code::Totp(code)) = Code::parse(&request.code) else { return Err(code_refused()) };
            let (pending, step) = factors.take_pending(&account, &code, self.now(), self.inner.clock.elapsed())?;
            let codes: Vec<String> = (0..RECOVERY_CODES).map(|_| recovery_code(&self.fresh::<RECOVERY_CODE_BYTES>())).collect();
            let hashes = codes.iter().map(|code| recovery_code_hash(&account, &code.replace('-', ""))).collect();
            let kept = KeptFactor { secret: factors.locked(*self.fresh(), &account, &pending.secret), step };
            match self.inner.store.put_factor(account, before, kept, hashes).await {
                Ok(true) => Ok(ConfirmReply { recovery_codes: codes }),
                // Another was turned on or off meanwhile.
                Ok(false) => Err(not_generated()),
                Err(error) => {
                    // What the authenticator was shown is good for another try, unless it was shown another since.
                    lock(&factors.pending).get_or_insert(account, || pending);
                    Err(error.into())
                }
            }
        });
        let reply = confirmed.await?;
        self.elevate_session(session, ELEVATION)?;
        Ok(reply)
    }

    /// Turns the second factor off.
    pub async fn remove_totp(&self, session: &Session, _: &TotpRequest) -> Result<RemoveReply> {
        let current = self.guarded(session).await?;
        self.inner.factors.forget(&session.account);
        let Some(secret) = current else { return Ok(RemoveReply { removed: false }) };
        Ok(RemoveReply { removed: self.inner.store.remove_factor(session.account, secret).await? })
    }

    /// Elevates the session for five minutes, by a code that was not used before.
    pub async fn elevate(&self, session: &Session, request: &CodeRequest) -> Result<ElevateReply> {
        let account = session.account;
        let kept = self.inner.store.factor(account).await?.ok_or_else(no_totp)?;
        let used = self.counted(session.device, async {
            let good = match Code::parse(&request.code) {
                Some(Code::Totp(code)) => self.use_totp(&account, &kept, &code).await?,
                Some(Code::Recovery(code)) => {
                    self.inner.store.use_recovery_code(account, recovery_code_hash(&account, &code)).await?
                }
                None => false,
            };
            if good { Ok(()) } else { Err(code_refused()) }
        });
        used.await?;
        Ok(ElevateReply { until: self.elevate_session(session, ELEVATION)? })
    }

    /// Whether this relay has the key that the store's secrets are locked under; yes where there are none.
    pub async fn totp_key_fits(&self) -> Result<bool> {
        let any = self.inner.store.any_factor().await?;
        Ok(any.is_none_or(|(account, locked)| self.inner.factors.unlocked(&account, &locked).is_some()))
    }

    /// Drops what has run out; called by the jobs.
    pub fn sweep_factors(&self) {
        self.inner.factors.sweep(self.inner.clock.elapsed());
    }

    async fn use_totp(&self, account: &AccountId, kept: &KeptFactor, code: &str) -> Result<bool> {
        let Some(secret) = self.inner.factors.unlocked(account, &kept.secret) else {
            tracing::error!("a second factor's secret does not open: totp.key is of another backup than the database");
            return Err(Error::refused(ErrorCode::Internal, "the relay cannot read the second factor; tell its operator"));
        };
        match step_of(&secret, code, self.now(), Some(kept.step)) {
            // Whoever comes at the same moment read the same highest step; the store decides.
            Some(step) => Ok(self.inner.store.use_step(*account, kept.secret, step).await?),
            None => Ok(false),
        }
    }

    /// Counts the device's wrong codes around an attempt. An attempt that is dropped half-way stays counted.
    async fn counted<T>(&self, device: DeviceId, attempt: impl Future<Output = Result<T>>) -> Result<T> {
        self.inner.factors.begin(device, self.inner.clock.elapsed())?;
        let outcome = attempt.await;
        match &outcome {
            Ok(_) => self.inner.factors.clear(&device),
            Err(error) if error.code() == ErrorCode::CodeRefused => {}
            Err(_) => self.inner.factors.take_back(&device),
        }
        outcome
    }

    fn fresh<const N: usize>(&self) -> Zeroizing<[u8; N]> {
        let mut bytes = Zeroizing::new([0; N]);
        (self.inner.random)(bytes.as_mut());
        bytes
    }
}

/// The step above `used` whose code this is: the one that holds `at`, the one before or the one after.
fn step_of(secret: &TotpSecret, code: &str, at: u64, used: Option<u64>) -> Option<u64> {
    let (totp, now) = (totp(secret), at / TOTP_STEP_SECS);
    let mut steps = now.saturating_sub(1)..=now + 1;
    steps.find(|step| used.is_none_or(|used| *step > used) && totp.check(code, step * TOTP_STEP_SECS).is_some())
}

/// SHA-1, six digits, half a minute; which steps count is decided here and not there.
fn totp(secret: &TotpSecret) -> Totp {
    let builder = Builder::new().with_secret(secret.0).with_step_duration(TOTP_STEP_SECS).with_skew(0);
    builder.build().expect("20 bytes and six digits are within the RFC's bounds")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The one answer to every code that is not good, whatever was wrong with it.
fn code_refused() -> Error {
    Error::refused(ErrorCode::CodeRefused, "the code is not good, or was used before; wait for the next one")
}

fn no_totp() -> Error {
    Error::refused(ErrorCode::NoTotp, "the second factor is off")
}

fn not_generated() -> Error {
    Error::refused(ErrorCode::NoTotp, "no secret waits to be confirmed; generate one, and confirm it within ten minutes")
}

/// How long a secret can be confirmed.
const PENDING: Duration = Duration::from_secs(600);
/// How long a session stays elevated.
const ELEVATION: Duration = Duration::from_secs(300);
/// Wrong codes after which a device has one try a minute.
const SOME_WRONG: u32 = 5;
/// Wrong codes after which it has none for a day.
const MANY_WRONG: u32 = 10;
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
/// Secrets that wait at once; the one that waited longest gives way. About 8 MiB.
const PENDING_MAX: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");
/// Devices whose wrong codes are counted. Whoever wants another's count forgotten needs so many devices of their own, each
/// with a wrong code in the same day. About 16 MiB.
const TRIES_MAX: NonZeroUsize = NonZeroUsize::new(131_072).expect("not zero");

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B, SHA-1: the last six of its eight digits.
    #[test]
    fn codes_are_those_of_rfc_6238() {
        let secret = TotpSecret(*b"12345678901234567890");
        for (time, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(step_of(&secret, code, time, None), Some(time / 30), "at {time}");
        }
    }

    #[test]
    fn a_code_is_good_in_its_step_and_its_neighbours_and_above_what_was_used() {
        let (secret, code, step) = (TotpSecret(*b"12345678901234567890"), "081804", 1_111_111_109 / 30);
        let at = |offset: i64, used| step_of(&secret, code, ((step as i64 + offset) * 30) as u64, used);
        for offset in -1..=1 {
            assert_eq!(at(offset, None), Some(step), "{offset}");
        }
        assert_eq!((at(-2, None), at(2, None)), (None, None));
        assert_eq!((at(0, Some(step - 1)), at(0, Some(step)), at(0, Some(step + 1))), (Some(step), None, None));
        assert_eq!(step_of(&secret, "081805", step * 30, None), None);
        assert_eq!(step_of(&secret, "081804 ", step * 30, None), None);
    }
}
