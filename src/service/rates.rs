//! How often one address prefix may do what costs the relay something.
//!
//! Addresses stay in memory, and not even there in the clear: a prefix is kept as an HMAC under a key that dies with the
//! process. Peers on loopback and unix sockets have no prefix and no such limit; behind a proxy that the operator trusts
//! the prefix is of the address it reports.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use lru::LruCache;
use sha2::Sha256;

use super::{Error, Relay, Result};
use crate::crypto::random;

/// A /24 or /56, unrecognisable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prefix(u64);

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Counted {
    Challenge,
    BadLogin,
    Knock,
    Lookup,
}

impl Counted {
    /// How long what is counted counts.
    fn period(self) -> Duration {
        if self == Self::Knock { HOUR } else { MINUTE }
    }
}

pub(crate) struct Rates {
    key: [u8; 32],
    windows: Mutex<LruCache<(Prefix, Counted), Window>>,
}

#[derive(Clone, Copy)]
struct Window {
    began: Duration,
    count: u64,
}

impl Rates {
    pub(crate) fn new(random: &random::Source) -> Self {
        let mut key = [0; 32];
        random(&mut key);
        Self { key, windows: Mutex::new(LruCache::new(PREFIXES_MAX)) }
    }

    /// Counts one, and gives the count of the running period with the seconds until it ends.
    fn count(&self, prefix: Prefix, counted: Counted, by: u64, now: Duration) -> (u64, u64) {
        let mut windows = self.windows.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let window = windows.get_or_insert_mut((prefix, counted), || Window { began: now, count: 0 });
        if now.saturating_sub(window.began) >= counted.period() {
            *window = Window { began: now, count: 0 };
        }
        window.count += by;
        let left = (window.began + counted.period()).saturating_sub(now).as_secs() + 1;
        (window.count, left)
    }
}

impl Relay {
    /// The prefix of a peer's address; none for loopback.
    pub fn prefix(&self, address: IpAddr) -> Option<Prefix> {
        let address = address.to_canonical();
        if address.is_loopback() {
            return None;
        }
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.inner.rates.key).expect("HMAC takes a key of any length");
        match address {
            IpAddr::V4(v4) => mac.update(&v4.octets()[..3]),
            IpAddr::V6(v6) => mac.update(&v6.octets()[..7]),
        }
        let hash: [u8; 32] = mac.finalize().into_bytes().into();
        let (head, _) = hash.split_first_chunk::<8>().expect("32 bytes begin with 8");
        Some(Prefix(u64::from_be_bytes(*head)))
    }

    /// Counts one of `counted` for the prefix, and refuses when there were more than `max` in its period.
    pub(crate) fn rate(&self, prefix: Option<Prefix>, counted: Counted, max: u64) -> Result<()> {
        self.rate_by(prefix, counted, max, 1)
    }

    /// Refuses when there were more than `max` in its period, counting nothing.
    pub(crate) fn rate_reached(&self, prefix: Option<Prefix>, counted: Counted, max: u64) -> Result<()> {
        self.rate_by(prefix, counted, max.saturating_sub(1), 0)
    }

    fn rate_by(&self, prefix: Option<Prefix>, counted: Counted, max: u64, by: u64) -> Result<()> {
        let Some(prefix) = prefix else { return Ok(()) };
        let (count, left) = self.inner.rates.count(prefix, counted, by, self.inner.clock.elapsed());
        if count > max { Err(Error::RateLimited(left)) } else { Ok(()) }
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
/// Prefixes remembered; the least recently seen goes first. About 1 MiB.
const PREFIXES_MAX: NonZeroUsize = NonZeroUsize::new(10_000).expect("not zero");
