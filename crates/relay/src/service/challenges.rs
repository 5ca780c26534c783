//! Challenges that cost no memory until they are spent: a MAC tells the relay's own from others'.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::{Error, Result};
use crate::crypto::random;
use crate::protocol::{DeviceId, ErrorCode, Transcript};

/// A challenge whose MAC, device and time are right; not yet spent.
pub(crate) struct Challenge<'a> {
    pub(super) bytes: &'a [u8],
    nonce: [u8; 32],
    deadline: Duration,
    pub(super) expires_at: u64,
}

pub(crate) struct Challenges {
    key: [u8; 32],
    used: Mutex<HashMap<[u8; 32], Duration>>,
}

impl Challenges {
    pub(crate) fn new(random: &random::Source) -> Self {
        let mut key = [0; 32];
        random(&mut key);
        Self { key, used: Mutex::default() }
    }

    fn mac(&self, device: &DeviceId, nonce: &[u8; 32], deadline_ms: u64, expires_at: u64) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        let transcript = Transcript::new("/challenge-mac").fixed(device).fixed(nonce).u64(deadline_ms).u64(expires_at);
        mac.update(&transcript.bytes());
        mac.finalize().into_bytes().into()
    }

    pub(super) fn make(&self, device: &DeviceId, nonce: [u8; 32], deadline_ms: u64, expires_at: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(CHALLENGE_LENGTH);
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(&deadline_ms.to_be_bytes());
        bytes.extend_from_slice(&expires_at.to_be_bytes());
        bytes.extend_from_slice(&self.mac(device, &nonce, deadline_ms, expires_at));
        bytes
    }

    pub(super) fn check<'a>(&self, device: &DeviceId, bytes: &'a [u8], now: Duration) -> Option<Challenge<'a>> {
        let (nonce, rest) = bytes.split_first_chunk::<32>()?;
        let (deadline, rest) = rest.split_first_chunk::<8>()?;
        let (expires_at, mac) = rest.split_first_chunk::<8>()?;
        let (deadline_ms, expires_at) = (u64::from_be_bytes(*deadline), u64::from_be_bytes(*expires_at));
        let genuine: bool = self.mac(device, nonce, deadline_ms, expires_at).ct_eq(mac).into();
        let deadline = Duration::from_millis(deadline_ms);
        (genuine && now < deadline).then_some(Challenge { bytes, nonce: *nonce, deadline, expires_at })
    }

    /// True for the first to spend it.
    pub(super) fn spend(&self, challenge: &Challenge<'_>, now: Duration) -> Result<bool> {
        if challenge.deadline <= now {
            // Over since it was checked: whether it was spent may be forgotten.
            return Ok(false);
        }
        let mut used = self.used.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if used.len() >= USED_CHALLENGES_MAX {
            used.retain(|_, deadline| *deadline > now);
        }
        if used.len() >= USED_CHALLENGES_MAX {
            return Err(Error::refused(ErrorCode::Busy, "too many logins at once"));
        }
        Ok(used.insert(challenge.nonce, challenge.deadline).is_none())
    }

    /// Forgets those that are over: no proof of theirs is taken any more.
    pub(super) fn sweep(&self, now: Duration) {
        let mut used = self.used.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        used.retain(|_, deadline| *deadline > now);
        used.shrink_to_fit();
    }
}

/// `nonce ‖ deadline ‖ expires_at ‖ mac`.
const CHALLENGE_LENGTH: usize = 32 + 8 + 8 + 32;
/// Challenges spent within their minute; each took a good signature, 34,000 a second and core at most.
const USED_CHALLENGES_MAX: usize = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// They were kept until there were a million: in a soak of two hours nobody would have seen an end of it.
    #[test]
    fn a_spent_challenge_is_remembered_until_it_is_over_and_no_longer() {
        let random: random::Source = std::sync::Arc::new(|bytes: &mut [u8]| bytes.fill(7));
        let challenges = Challenges::new(&random);
        let deadline = Duration::from_secs(60);
        let challenge = Challenge { bytes: &[], nonce: [1; 32], deadline, expires_at: 0 };
        assert!(challenges.spend(&challenge, Duration::ZERO).expect("room"));
        challenges.sweep(deadline - Duration::from_millis(1));
        assert!(!challenges.spend(&challenge, Duration::ZERO).expect("room"));
        challenges.sweep(deadline);
        assert!(!challenges.spend(&challenge, deadline).expect("room"), "nor is it taken again once it is forgotten");
        assert!(challenges.used.lock().expect("no panic").is_empty());
    }
}
