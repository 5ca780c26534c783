//! The accept loop: caps on connections, in all and per address prefix, and the drain at the end. warp's own server has none
//! of it, nor a time-out.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::CONTENT_LENGTH;
use hyper::header::HeaderValue;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::upgrade::OnUpgrade;
use hyper::{HeaderMap, Method, Request, Uri};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::task::TaskTracker;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::Listener;
use super::connection::{Patience, Phase, Timed};
use crate::api::error::ApiError;
use crate::api::extract::{Caller, check_head};
use crate::api::routes::template;
use crate::api::stream::{self, Agreed};
use crate::api::web;
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
    tasks: TaskTracker,
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
            if place.phase.idle_since().is_some() {
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
        let seat = Arc::new(Seat { hall: Arc::clone(self), number, phase });
        self.tasks.spawn(async move { self::serve(&seat, stream, address).await });
    }

    /// Answers a request, and logs nothing of it that could say whose it is.
    async fn answer(&self, mut request: Request<Incoming>, address: Option<IpAddr>) -> Response {
        let clock = self.relay.clock();
        let began = clock.elapsed();
        let (method, route) = (logged(request.method()), template(request.uri().path()));
        let size = size_class(request.headers());
        let page = web::judge(self.relay.web_origins(), request.headers());
        let preflight = || page.preflight(request.method(), request.uri().path(), request.headers());
        let caller = self.caller(request.headers(), address);
        let allowed = self.relay.rate_request(caller).map_err(ApiError::from);
        let head = || check_head(request.version(), request.uri(), request.headers(), &self.hosts);
        let mut reply = match allowed.and_then(|()| head()) {
            Err(refusal) => refusal.reply(),
            Ok(()) if let Some(reply) = preflight() => reply,
            Ok(()) => {
                request.extensions_mut().insert(Caller(caller));
                let routes = TowerToHyperService::new(warp::service(self.routes.clone()));
                let Ok(reply) = routes.call(request).await;
                reply
            }
        };
        page.dress(&mut reply);
        let micros = clock.elapsed().saturating_sub(began).as_micros() as u64;
        tracing::info!(method, route, size, status = reply.status().as_u16(), micros, "answered");
        reply
    }

    /// The prefix that a request is counted by: the peer's, or the one that a trusted proxy reports.
    fn caller(&self, headers: &HeaderMap, address: Option<IpAddr>) -> Option<Prefix> {
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

/// Answers requests on a connection until it ends, or becomes a stream.
async fn serve(seat: &Arc<Seat>, stream: Box<dyn Duplex>, address: Option<IpAddr>) {
    let (relay, phase) = (&seat.hall.relay, &seat.phase);
    let limits = relay.limits();
    let patience = Patience { head: Duration::from_secs(limits.head_secs), idle: Duration::from_secs(limits.idle_secs) };
    let stream = Timed::new(stream, relay.clock().clone(), phase.clone(), patience);
    let service = service_fn(|mut request: Request<Incoming>| {
        let seat = Arc::clone(seat);
        async move {
            let clock = seat.hall.relay.clock();
            seat.phase.busy(clock);
            if request.method() == Method::GET {
                request = detached(request);
            }
            let upgrade = hyper::upgrade::on(&mut request);
            let reply = seat.hall.answer(request, address).await;
            if reply.extensions().get::<Agreed>().is_some() {
                seat.phase.streaming(clock);
                seat.hall.tasks.spawn(run_stream(Arc::clone(&seat), upgrade));
            } else {
                seat.phase.replying(clock);
            }
            Ok::<_, Infallible>(reply)
        }
    });
    let mut builder = http1::Builder::new();
    // No Date: a reply that must be the same as another is the same a second later too.
    builder.max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX).auto_date_header(false);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service).with_upgrades());
    tokio::select! {
        // An error is the peer's doing, or its silence; there is nobody to tell.
        _ = connection.as_mut() => return,
        () = phase.closed() => return,
        () = relay.stopped() => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        _ = connection => {}
        () = phase.closed() => {}
    }
}

/// Copies a request's head out of the connection's read buffer. hyper takes another 8 KiB for as long as anybody refers to the
/// first, and a long poll is held for a minute.
fn detached(request: Request<Incoming>) -> Request<Incoming> {
    let (mut head, body) = request.into_parts();
    if let Ok(uri) = Uri::try_from(head.uri.to_string()) {
        head.uri = uri;
    }
    for value in head.headers.values_mut() {
        if let Ok(copy) = HeaderValue::from_bytes(value.as_bytes()) {
            *value = copy;
        }
    }
    Request::from_parts(head, body)
}

/// What a connection does after it has become a stream; it keeps its seat.
async fn run_stream(seat: Arc<Seat>, upgrade: OnUpgrade) {
    let Ok(upgraded) = upgrade.await else { return };
    tokio::select! {
        () = stream::run(seat.hall.relay.clone(), TokioIo::new(upgraded)) => {}
        () = seat.phase.closed() => {}
    }
}

/// A method that the log may name; any other is a word of the peer's.
fn logged(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::OPTIONS => "OPTIONS",
        _ => "-",
    }
}

/// About how large a request's body says it is.
fn size_class(headers: &HeaderMap) -> &'static str {
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    match length.unwrap_or(0) {
        0 => "none",
        1..=4_096 => "4K",
        4_097..=65_536 => "64K",
        _ => "more",
    }
}

/// What a proxy calls an address, with or without a port.
fn address_of(hop: &str) -> Option<IpAddr> {
    let with_port = || hop.parse::<SocketAddr>().map(|address| address.ip());
    hop.parse().or_else(|_| with_port()).ok()
}

/// A connection's place among the open ones, given back when its last task ends, however it ends.
struct Seat {
    hall: Arc<Hall>,
    number: u64,
    phase: Phase,
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
/// A longer head is answered 431.
const HEAD_BYTES_MAX: usize = 16_384;
/// More lines are answered 431.
const HEADERS_MAX: usize = 64;
