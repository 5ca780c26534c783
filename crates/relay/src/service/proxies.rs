//! Whether everybody seems to come from one address: then a proxy stands in front that the operator has not named, and the
//! limits for each address prefix are all clients' together, or nobody's.
//!
//! Called by `auth` for every login, and by the accept loop when a proxy on this machine gives itself away. It says so once, in the log and in
//! `stats`; it refuses nothing.

use std::collections::HashSet;
use std::sync::Mutex;

use super::Relay;
use super::rates::Prefix;
use crate::protocol::DeviceId;

/// What the logins since the start look like.
#[derive(Default)]
pub(crate) struct Proxies(Mutex<State>);

#[derive(Default)]
enum State {
    /// Nobody came from elsewhere than this machine.
    #[default]
    Nobody,
    /// Only this prefix, with these devices.
    One(Prefix, HashSet<DeviceId>),
    /// Two prefixes at least: as it should be.
    Many,
    /// The operator was told.
    Told,
}

impl Relay {
    /// A device has logged in from a prefix.
    pub(crate) fn logged_in_from(&self, prefix: Option<Prefix>, device: &DeviceId) {
        let Some(prefix) = prefix.filter(|_| !self.inner.settings.proxies_trusted) else { return };
        let mut state = self.inner.proxies.lock();
        match &mut *state {
            State::Nobody => *state = State::One(prefix, HashSet::from([*device])),
            State::One(only, _) if *only != prefix => *state = State::Many,
            State::One(_, devices) => {
                devices.insert(*device);
                if devices.len() >= DEVICES_TOLD {
                    *state = State::Told;
                    tracing::warn!(
                        "{DEVICES_TOLD} devices logged in, and all from one address: if a proxy stands in front, name it in \
                         server.trusted_proxies, or the limits for each address are one limit for all clients"
                    );
                }
            }
            State::Many | State::Told => {}
        }
    }

    /// A peer on this machine says for whom it asks, and is not trusted.
    pub fn reported_by_loopback(&self) {
        let mut state = self.inner.proxies.lock();
        if !matches!(*state, State::Told) {
            *state = State::Told;
            tracing::warn!(
                "a proxy on this machine stands in front and is not named in server.trusted_proxies: clients are not told apart, \
                 and the limits for each address count nobody"
            );
        }
    }

    /// Whether the operator was told.
    pub(crate) fn proxy_suspected(&self) -> bool {
        matches!(*self.inner.proxies.lock(), State::Told)
    }
}

impl Proxies {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// So many devices behind one address, and nobody elsewhere, are a proxy rather than a household.
const DEVICES_TOLD: usize = 50;
