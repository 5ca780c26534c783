//! The accept loop: caps on connections, in all and per address prefix, and the drain at the end. warp's own server has none
//! of it, nor a time-out.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::HeaderMap;
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::task::TaskTracker;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::Listener;
use super::answers;
use super::connection::Phase;
use super::parked::Parked;
use crate::service::Relay;
use crate::service::rates::Prefix;

/// What every connection shares.
pub(super) struct Hall {
    pub(super) relay: Relay,
    pub(super) routes: BoxedFilter<(Response,)>,
    /// The public hosts; none: any.
    pub(super) hosts: Vec<String>,
    pub(super) trusted_proxies: Vec<IpNet>,
    pub(super) connections_max: usize,
    open: Mutex<HashMap<u64, Place>>,
    next: AtomicU64,
    pub(super) tasks: TaskTracker,
}

struct Place {
    phase: Phase,
    prefix: Option<Prefix>,
}

impl Hall {
    pub(super) fn new(relay: Relay, routes: BoxedFilter<(Response,)>, hosts: Vec<String>, trusted_proxies: Vec<IpNet>) -> Self {
        let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
        let max = relay.limits().connections_max.min(descriptors.saturating_sub(DESCRIPTORS_KEPT)).max(1);
        Self {
            relay,
            routes,
            hosts,
            trusted_proxies,
            connections_max: max as usize,
            open: Mutex::default(),
            next: AtomicU64::new(0),
            tasks: TaskTracker::new(),
        }
    }

    /// Accepts until the relay stops.
    pub(super) async fn accept(self: &Arc<Self>, listener: &Listener) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.relay.stopped() => return,
            };
            match accepted {
                Ok((stream, address)) => self.admit(stream, address),
                Err(error) => {
                    // Most likely out of descriptors: make room, and let those that end give theirs back.
                    tracing::warn!(kind = ?error.kind(), "a connection could not be accepted");
                    self.close_longest_idle();
                    let clock = self.relay.clock();
                    clock.sleep_until(clock.elapsed() + ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Waits until everything in flight is answered, at most until `deadline` of the clock's `elapsed`.
    pub(super) async fn drain(&self, deadline: Duration) {
        self.tasks.close();
        for place in self.places().values() {
            if place.phase.is_unasked() {
                place.phase.close();
            }
        }
        tokio::select! {
            () = self.tasks.wait() => {}
            () = self.relay.clock().sleep_until(deadline) => {
                let places = self.places();
                tracing::warn!(connections = places.len(), "connections are cut at the end of the drain");
                places.values().for_each(|place| place.phase.close());
            }
        }
    }

    fn admit(self: &Arc<Self>, stream: Box<dyn Duplex>, address: Option<IpAddr>) {
        let prefix = address.filter(|address| !self.trusts(address)).and_then(|address| self.relay.prefix(address));
        if self.places().len() >= self.connections_max && !self.close_longest_idle() {
            return;
        }
        let phase = Phase::new(self.relay.clock());
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        {
            let mut places = self.places();
            let of_prefix = |place: &&Place| place.prefix == prefix;
            if prefix.is_some()
                && places.values().filter(of_prefix).count() as u64 >= self.relay.limits().prefix_connections_max
            {
                return;
            }
            places.insert(number, Place { phase: phase.clone(), prefix });
        }
        let seat = Arc::new(Seat { hall: Arc::clone(self), number, phase, parked: Mutex::default() });
        self.tasks.spawn(async move { answers::serve(&seat, stream, address).await });
    }

    /// The prefix that a request is counted by: the peer's, or the one that a trusted proxy reports.
    pub(super) fn caller(&self, headers: &HeaderMap, address: Option<IpAddr>) -> Option<Prefix> {
        let address = address?;
        if !self.trusts(&address) {
            if address.to_canonical().is_loopback() && headers.contains_key("x-forwarded-for") {
                self.relay.reported_by_loopback();
            }
            return self.relay.prefix(address);
        }
        let lines = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
        let hops: Vec<Option<IpAddr>> = lines.flat_map(|line| line.split(',')).map(|hop| address_of(hop.trim())).collect();
        // From the right, where the proxies write: what stands left of the first stranger is that stranger's own word.
        let stranger = hops.into_iter().rev().find(|hop| hop.is_none_or(|hop| !self.trusts(&hop)));
        self.relay.prefix(stranger??)
    }

    fn trusts(&self, address: &IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted_proxies.iter().any(|network| network.contains(&address))
    }

    /// False when every connection is busy.
    fn close_longest_idle(&self) -> bool {
        let mut places = self.places();
        let idle = places.iter().filter_map(|(number, place)| Some((place.phase.idle_since()?, *number))).min();
        let Some((_, number)) = idle else { return false };
        if let Some(place) = places.remove(&number) {
            place.phase.close();
        }
        true
    }

    fn places(&self) -> MutexGuard<'_, HashMap<u64, Place>> {
        self.open.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// What a proxy calls an address, with or without a port.
fn address_of(hop: &str) -> Option<IpAddr> {
    let with_port = || hop.parse::<SocketAddr>().map(|address| address.ip());
    hop.parse().or_else(|_| with_port()).ok()
}

/// A connection's place among the open ones, given back when its last task ends, however it ends.
pub(super) struct Seat {
    pub(super) hall: Arc<Hall>,
    number: u64,
    pub(super) phase: Phase,
    parked: Mutex<Option<Parked>>,
}

impl Seat {
    /// A poll that is to wait, on its way from the request to the connection.
    pub(super) fn parked(&self) -> MutexGuard<'_, Option<Parked>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.hall.places().remove(&self.number);
    }
}

/// A stream of bytes in both directions, of any kind.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

/// Descriptors that connections leave for the database, the log and the operator.
const DESCRIPTORS_KEPT: u64 = 128;
/// After an accept that failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
