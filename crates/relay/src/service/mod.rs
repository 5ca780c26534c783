//! Floor 2: the relay itself: its rules, limits and sense of time. No HTTP and no SQL.
//!
//! [`Relay`] is a cheap clone. Its methods are the protocol's verbs, one file a topic. Those that need a login take a
//! [`Session`], which only `auth` can make, so that forgetting one is a compile error. The store is the only truth: what is
//! kept here (sessions, used challenges, wrap keys, rates) is meant to be forgotten with the process.

pub mod accounts;
pub mod auth;
mod challenges;
pub mod clock;
pub mod envelopes;
pub mod error;
pub mod factor;
pub mod handles;
pub mod health;
pub mod info;
pub mod keys;
mod live;
pub mod notices;
pub mod passes;
pub mod proxies;
pub mod purge;
pub mod rates;
pub mod roster;
pub mod slots;
pub mod stats;
pub mod stream;
mod sync;
pub mod tokens;
mod wakeups;
mod wraps;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

pub use auth::Session;
pub use clock::Clock;
pub use error::{Error, Result};

use crate::crypto::{random, sign};
use crate::protocol::info::Registration;
use crate::protocol::{DeviceId, Limits, RelayKey};
use crate::store::Store;

/// What a relay is told when it is made.
pub struct Settings {
    /// The bounds of `docs/protocol.md` §13.
    pub limits: Limits,
    /// How long an envelope waits at most, in seconds.
    pub retention_secs: u64,
    /// Whether strangers may register.
    pub registration: Registration,
    /// The origins under which proofs are accepted, canonical, at most [`ORIGINS_MAX`].
    pub origins: Vec<String>,
    /// The origins of web pages that may use the relay, canonical.
    pub web_origins: Vec<String>,
    /// Whether the operator named a proxy in front.
    pub proxies_trusted: bool,
    /// The relay's name.
    pub relay_key: sign::KeyPair,
    /// What the secrets of second factors are locked under.
    pub totp_key: Zeroizing<[u8; 32]>,
    /// Whether the disk has room for more; asked at most once in five seconds.
    pub room: Arc<dyn Fn() -> bool + Send + Sync>,
    /// After how many seconds without a purge the relay counts as not ready.
    pub purge_overdue_secs: u64,
}

/// The most origins a relay answers to: each costs a signature check at a refused login.
pub const ORIGINS_MAX: usize = 8;

/// The relay. Clones share everything.
#[derive(Clone)]
pub struct Relay {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    relay_key: RelayKey,
    store: Arc<dyn Store>,
    clock: Clock,
    random: random::Source,
    challenges: challenges::Challenges,
    sessions: auth::Sessions,
    factors: factor::Factors,
    logins: tokio::sync::Semaphore,
    rates: rates::Rates,
    proxies: proxies::Proxies,
    wraps: wraps::Wraps,
    wakeups: Arc<wakeups::Wakeups>,
    live: Arc<live::Live>,
    health: health::Health,
    notice: notices::Board,
    purging: tokio::sync::Mutex<()>,
    stopping: CancellationToken,
}

impl Relay {
    /// A relay over a store. Asks the store for the latest time it knows, so that the clock never goes back.
    pub async fn open(settings: Settings, store: Arc<dyn Store>, clock: Clock, random: random::Source) -> Result<Self> {
        let wakeups = Arc::new(wakeups::Wakeups::default());
        let waker = Arc::clone(&wakeups);
        store.on_commit(Arc::new(move |devices: &[DeviceId]| waker.wake(devices)));
        let relay = Self {
            inner: Arc::new(Inner {
                relay_key: RelayKey(settings.relay_key.public()),
                challenges: challenges::Challenges::new(&random),
                sessions: auth::Sessions::default(),
                factors: factor::Factors::new(&settings.totp_key),
                logins: tokio::sync::Semaphore::new(auth::LOGINS_MAX),
                rates: rates::Rates::new(&random, &settings.limits, &clock),
                proxies: proxies::Proxies::default(),
                wraps: wraps::Wraps::default(),
                wakeups,
                live: Arc::default(),
                health: health::Health::default(),
                notice: notices::Board::default(),
                purging: tokio::sync::Mutex::new(()),
                stopping: CancellationToken::new(),
                settings,
                store,
                clock,
                random,
            }),
        };
        relay.set_clock().await?;
        relay.put_up_notice().await?;
        Ok(relay)
    }

    /// Refuses new sends and ends every wait; what the writer has accepted is still answered.
    pub fn stop(&self) {
        self.inner.stopping.cancel();
    }

    /// Ends when [`stop`](Self::stop) was called.
    pub async fn stopped(&self) {
        self.inner.stopping.cancelled().await;
    }

    /// Whether [`stop`](Self::stop) was called.
    pub fn is_stopping(&self) -> bool {
        self.inner.stopping.is_cancelled()
    }

    /// Closes the store, after everything that it accepted is answered.
    pub async fn close(&self) {
        self.inner.store.close().await;
    }

    /// The bounds in force.
    pub fn limits(&self) -> &Limits {
        &self.inner.settings.limits
    }

    /// The origins under which proofs are accepted.
    pub fn origins(&self) -> &[String] {
        &self.inner.settings.origins
    }

    /// The origins of web pages that may use the relay.
    pub fn web_origins(&self) -> &[String] {
        &self.inner.settings.web_origins
    }

    /// The relay's own time, Unix seconds.
    pub fn now(&self) -> u64 {
        self.inner.clock.now()
    }

    /// The relay's clock.
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// Whether the disk has room for more.
    pub(crate) fn has_room(&self) -> bool {
        self.inner.health.room(&self.inner.clock, &self.inner.settings.room)
    }
}
