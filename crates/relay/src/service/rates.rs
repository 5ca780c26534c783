//! How often one token, one device and one address prefix may do what costs the relay something.
//!
//! What is counted is kept in memory only, and not even there in the clear: a prefix, a device and a token are numbers under a
//! key that dies with the process. Peers on loopback and unix sockets have no prefix and no such limit; behind a proxy that
//! the operator trusts the prefix is of the address it reports. The counting itself is governor's (GCRA): a whole minute's
//! worth at once, then one at a time, so that a wait is never longer than it has to be.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};
use hmac::{Hmac, KeyInit, Mac};
use lru::LruCache;
use sha2::Sha256;

use super::auth::Session;
use super::{Clock, Error, Relay, Result};
use crate::crypto::random;
use crate::protocol::{Limits, TokenHash};

/// A /24 or /56, unrecognisable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prefix(u64);

/// What is counted. A new kind is one line here, one in [`ALL`](Self::ALL) and one in [`quota`](Self::quota).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    /// Requests of any kind, of a prefix.
    Request,
    /// Challenges, of a prefix.
    Challenge,
    /// Refused logins, of a prefix.
    BadLogin,
    /// Knocks, of a prefix.
    Knock,
    /// Handles looked up, of a prefix.
    Lookup,
    /// Sends and questions for keys, by a token.
    Send,
    /// Requests with a session, of a device.
    DeviceRequest,
}

impl Counted {
    const ALL: [Self; 7] =
        [Self::Request, Self::Challenge, Self::BadLogin, Self::Knock, Self::Lookup, Self::Send, Self::DeviceRequest];

    /// So many in so long; none where the operator has turned it off.
    fn quota(self, limits: &Limits) -> Option<Quota> {
        let (max, period) = match self {
            Self::Request => (limits.prefix_requests_per_min, MINUTE),
            Self::Challenge => (limits.prefix_challenges_per_min, MINUTE),
            Self::BadLogin => (limits.prefix_bad_logins_per_min, MINUTE),
            Self::Knock => (limits.prefix_knocks_per_hour, HOUR),
            Self::Lookup => (limits.prefix_lookups_per_min, MINUTE),
            Self::Send => (limits.token_sends_per_min, MINUTE),
            Self::DeviceRequest => (limits.device_requests_per_min, MINUTE),
        };
        let max = NonZeroU32::new(u32::try_from(max).unwrap_or(u32::MAX))?;
        Quota::with_period(period / max.get()).map(|quota| quota.allow_burst(max))
    }
}

/// A limiter for each kind, so that a crowd of one kind crowds out none of another.
pub(crate) struct Rates {
    key: [u8; 32],
    limiters: [Option<Limiter>; Counted::ALL.len()],
}

struct Limiter {
    governor: RateLimiter<Question, Kept, Ticks, NoOpMiddleware<Duration>>,
    kept: Kept,
}

impl Rates {
    pub(crate) fn new(random: &random::Source, limits: &Limits, clock: &Clock) -> Self {
        let mut key = [0; 32];
        random(&mut key);
        let limiter = |quota| {
            let kept = Kept::new();
            Limiter { governor: RateLimiter::new(quota, kept.clone(), Ticks(clock.clone())), kept }
        };
        Self { key, limiters: Counted::ALL.map(|counted| counted.quota(limits).map(limiter)) }
    }

    /// Counts one for whoever it is, or only asks; refused with the seconds after which one more is taken.
    fn ask(&self, counted: Counted, who: u64, takes: bool) -> Result<()> {
        let Some(limiter) = self.limiter(counted) else { return Ok(()) };
        limiter.governor.check_key(&Question { who, takes }).map_err(|until| {
            let wait = until.wait_time_from(limiter.governor.clock().0.elapsed());
            // Up to the next whole second: who comes then is not sent away again.
            Error::RateLimited(wait.as_nanos().div_ceil(SECOND_NANOS).max(1) as u64)
        })
    }

    /// Counts one for a device or a token, whose number is only made where it is counted.
    fn count(&self, counted: Counted, kind: u8, id: &[u8; 32]) -> Result<()> {
        if self.limiter(counted).is_none() { Ok(()) } else { self.ask(counted, self.number(kind, id), true) }
    }

    fn limiter(&self, counted: Counted) -> Option<&Limiter> {
        self.limiters[counted as usize].as_ref()
    }

    /// A number for what must not be recognised; `kind` keeps a device from sharing a token's.
    fn number(&self, kind: u8, bytes: &[u8]) -> u64 {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        mac.update(&[kind]);
        mac.update(bytes);
        let hash: [u8; 32] = mac.finalize().into_bytes().into();
        let (head, _) = hash.split_first_chunk::<8>().expect("32 bytes begin with 8");
        u64::from_be_bytes(*head)
    }
}

impl Relay {
    /// The prefix of a peer's address; none for loopback.
    pub fn prefix(&self, address: IpAddr) -> Option<Prefix> {
        let address = address.to_canonical();
        if address.is_loopback() {
            return None;
        }
        let rates = &self.inner.rates;
        Some(Prefix(match address {
            IpAddr::V4(v4) => rates.number(4, &v4.octets()[..3]),
            IpAddr::V6(v6) => rates.number(6, &v6.octets()[..7]),
        }))
    }

    /// Counts a request of any kind.
    pub fn rate_request(&self, prefix: Option<Prefix>) -> Result<()> {
        self.rate(prefix, Counted::Request)
    }

    /// Counts a request with a session.
    pub fn rate_device(&self, session: &Session) -> Result<()> {
        self.inner.rates.count(Counted::DeviceRequest, DEVICE, session.device.as_bytes())
    }

    /// Counts what a token is used for; only for a token that is good, so that strangers' guesses fill nothing.
    pub(crate) fn rate_token(&self, token: &TokenHash) -> Result<()> {
        self.inner.rates.count(Counted::Send, TOKEN, token.as_bytes())
    }

    /// Counts one of `counted` for the prefix, and refuses when that is one too many.
    pub(crate) fn rate(&self, prefix: Option<Prefix>, counted: Counted) -> Result<()> {
        prefix.map_or(Ok(()), |Prefix(who)| self.inner.rates.ask(counted, who, true))
    }

    /// Refuses when one more of `counted` would be too many, counting nothing.
    pub(crate) fn rate_reached(&self, prefix: Option<Prefix>, counted: Counted) -> Result<()> {
        prefix.map_or(Ok(()), |Prefix(who)| self.inner.rates.ask(counted, who, false))
    }

    /// Forgets whose allowance is whole again; called by the jobs.
    pub fn sweep_rates(&self) {
        let now = Nanos::from(self.inner.clock.elapsed());
        for limiter in self.inner.rates.limiters.iter().flatten() {
            limiter.kept.sweep(now);
        }
    }
}

/// governor's question: whose allowance, and whether one is taken out of it or only looked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Question {
    who: u64,
    takes: bool,
}

/// When each allowance is whole again, the least recently asked first. governor's own map grows with the peers; this one holds
/// [`KEPT_MAX`], and who has to go starts with a whole allowance, so that a crowd can make the relay lenient and never
/// makes it refuse somebody who did nothing.
#[derive(Clone)]
struct Kept(Arc<Mutex<LruCache<u64, Nanos>>>);

impl Kept {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(LruCache::unbounded())))
    }

    /// Takes the oldest out as long as they say nothing any more.
    fn sweep(&self, now: Nanos) {
        let mut kept = self.lock();
        while kept.peek_lru().is_some_and(|(_, whole_at)| *whole_at <= now) {
            kept.pop_lru();
        }
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<u64, Nanos>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl StateStore for Kept {
    type Key = Question;

    fn measure_and_replace<T, F, E>(&self, question: &Question, decide: F) -> std::result::Result<T, E>
    where
        F: Fn(Option<Nanos>) -> std::result::Result<(T, Nanos), E>,
    {
        let mut kept = self.lock();
        let (granted, whole_at) = decide(kept.get(&question.who).copied())?;
        if question.takes {
            kept.put(question.who, whole_at);
            if kept.len() > KEPT_MAX {
                kept.pop_lru();
            }
        }
        Ok(granted)
    }
}

/// The relay's monotonic clock, as governor wants it.
struct Ticks(Clock);

impl governor::clock::Clock for Ticks {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const SECOND_NANOS: u128 = 1_000_000_000;
/// Prefixes, devices or tokens remembered, for each kind that is counted; some 80 bytes each.
const KEPT_MAX: usize = 65_536;
/// Kinds of numbers beside the two of addresses.
const DEVICE: u8 = 1;
const TOKEN: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::clock::TimeSource;
    use std::future::Future;
    use std::pin::Pin;

    /// Time by hand, in seconds.
    struct Hand(Mutex<u64>);

    impl TimeSource for Hand {
        fn wall(&self) -> u64 {
            0
        }
        fn elapsed(&self) -> Duration {
            Duration::from_secs(*self.0.lock().expect("no panic"))
        }
        fn sleep_until(&self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
            Box::pin(std::future::pending())
        }
    }

    fn rates(limits: &Limits) -> (Rates, Arc<Hand>) {
        let hand = Arc::new(Hand(Mutex::new(0)));
        (Rates::new(&random::system(), limits, &Clock::new(hand.clone())), hand)
    }

    #[test]
    fn a_minutes_worth_at_once_then_one_at_a_time_and_the_wait_is_kept() {
        let (rates, hand) = rates(&Limits { prefix_challenges_per_min: 4, ..Limits::default() });
        let ask = |takes| rates.ask(Counted::Challenge, 7, takes).map_err(|error| error.retry_after());
        assert_eq!([ask(true), ask(true), ask(true), ask(false), ask(true)], [const { Ok(()) }; 5], "a look takes nothing");
        assert_eq!((ask(false), ask(true)), (Err(Some(15)), Err(Some(15))));
        assert_eq!(rates.ask(Counted::Challenge, 8, true).is_ok(), rates.ask(Counted::Request, 7, true).is_ok());
        *hand.0.lock().expect("no panic") = 14;
        assert_eq!(ask(true), Err(Some(1)));
        *hand.0.lock().expect("no panic") = 15;
        assert_eq!((ask(true), ask(true)), (Ok(()), Err(Some(15))));
    }

    #[test]
    fn nothing_is_counted_where_the_operator_says_zero() {
        let (rates, _) = rates(&Limits { token_sends_per_min: 0, ..Limits::default() });
        assert!((0..2_000).all(|_| rates.ask(Counted::Send, 1, true).is_ok()));
        assert!(rates.limiters[Counted::Send as usize].is_none());
    }

    #[test]
    fn a_crowd_is_remembered_up_to_the_bound_and_forgotten_when_it_is_quiet() {
        let (rates, hand) = rates(&Limits { prefix_challenges_per_min: 1, ..Limits::default() });
        let kept = &rates.limiters[Counted::Challenge as usize].as_ref().expect("it is on").kept;
        let first = |who| rates.ask(Counted::Challenge, who, true).is_ok();
        assert!(first(0) && !first(0));
        assert!((1..=KEPT_MAX as u64 + 10).all(first));
        assert_eq!(kept.lock().len(), KEPT_MAX);
        assert!(!first(KEPT_MAX as u64), "who came lately is known");
        assert!(first(0), "who was crowded out starts anew");
        *hand.0.lock().expect("no panic") = 59;
        kept.sweep(Nanos::from(Duration::from_secs(59)));
        assert_eq!(kept.lock().len(), KEPT_MAX);
        kept.sweep(Nanos::from(Duration::from_secs(60)));
        assert_eq!(kept.lock().len(), 0);
    }

    #[test]
    fn what_is_counted_is_not_recognised_by_another_process() {
        let (one, other) = (rates(&Limits::default()).0, rates(&Limits::default()).0);
        assert_eq!(one.number(TOKEN, b"x"), one.number(TOKEN, b"x"));
        assert_ne!(one.number(TOKEN, b"x"), one.number(DEVICE, b"x"));
        assert_ne!(one.number(TOKEN, b"x"), other.number(TOKEN, b"x"));
    }
}
