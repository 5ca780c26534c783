//! The requests and replies of one connection, from its first byte to its end or to the stream that it becomes.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::CONTENT_LENGTH;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::upgrade::OnUpgrade;
use hyper::{HeaderMap, Method, Request};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use warp::reply::Response;

use super::accept::{Duplex, Hall, Seat};
use super::connection::{Patience, Timed};
use super::parked::{Head, Parked, Rewound};
use crate::api::error::ApiError;
use crate::api::extract::{Caller, check_head};
use crate::api::parked;
use crate::api::routes::template;
use crate::api::stream::{self, Agreed};
use crate::api::web::{self, Page};
use crate::service::Clock;

/// Answers requests on a connection until it ends, or becomes a stream.
pub(super) async fn serve(seat: &Arc<Seat>, stream: Box<dyn Duplex>, address: Option<IpAddr>) {
    let relay = &seat.hall.relay;
    let limits = relay.limits();
    let patience = Patience { head: Duration::from_secs(limits.head_secs), idle: Duration::from_secs(limits.idle_secs) };
    let mut stream = Rewound::new(Timed::new(stream, relay.clock().clone(), seat.phase.clone(), patience));
    let mut first = None;
    // What answers is on the heap, so that its room is given back for as long as a poll waits.
    while let Some((bare, parked)) = Box::pin(converse(seat, stream, first.take(), address)).await {
        stream = bare;
        let Parked { reply, ending, mut head } = parked;
        let mut reply = tokio::select! {
            reply = reply => reply,
            () = stream.gone() => return,
            () = seat.phase.closed() => return,
        };
        seat.phase.busy(relay.clock());
        ending.end(relay.clock(), &mut reply);
        if relay.is_stopping() {
            head = head.closing();
        }
        stream.ask(head);
        first = Some(reply);
    }
}

/// Answers requests, the first of them with `first` where that is given, until the connection is over, or a poll waits.
async fn converse(
    seat: &Arc<Seat>,
    stream: Connection,
    first: Option<Response>,
    address: Option<IpAddr>,
) -> Option<(Connection, Parked)> {
    let first = Mutex::new(first);
    let service = service_fn(|request: Request<Incoming>| {
        let first = first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let seat = Arc::clone(seat);
        async move {
            let reply = match first {
                Some(reply) => {
                    seat.phase.replying(seat.hall.relay.clock());
                    reply
                }
                None => reply(&seat, request, address).await,
            };
            Ok::<_, Infallible>(reply)
        }
    });
    let mut builder = http1::Builder::new();
    // No Date: a reply that must be the same as another is the same a second later too.
    builder.max_buf_size(HEAD_BYTES_MAX).max_headers(HEADERS_MAX).auto_date_header(false);
    let mut connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut stopping = false;
    let parked = loop {
        // What is written before a poll is out when hyper has flushed since: then nothing is lost with its buffers.
        let answered = poll_fn(|context| match Pin::new(&mut connection).poll(context) {
            // An error is the peer's doing, or its silence; there is nobody to tell.
            Poll::Ready(_) => Poll::Ready(None),
            Poll::Pending if seat.phase.is_parked() => Poll::Ready(seat.parked().take()),
            Poll::Pending => Poll::Pending,
        });
        tokio::select! {
            // hyper first: asked to end before it has read anything it would not read the request whose reply is ready.
            biased;
            parked = answered => break parked?,
            () = seat.phase.closed() => return None,
            () = seat.hall.relay.stopped(), if !stopping => {
                stopping = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    let parts = connection.into_parts()?;
    let mut stream = parts.io.into_inner();
    stream.unread(&parts.read_buf);
    Some((stream, parked))
}

/// The reply to a request. Of one that is waited for it leaves the wait with the seat, and never ends.
async fn reply(seat: &Arc<Seat>, mut request: Request<Incoming>, address: Option<IpAddr>) -> Response {
    let clock = seat.hall.relay.clock();
    seat.phase.busy(clock);
    let head = Head::of(&request);
    let upgrade = hyper::upgrade::on(&mut request);
    let (mut reply, ending) = answer(&seat.hall, request, address).await;
    if let Some(reply) = parked::wait(&mut reply) {
        *seat.parked() = Some(Parked { reply, ending, head });
        seat.phase.parking(clock);
        return std::future::pending().await;
    }
    ending.end(clock, &mut reply);
    if reply.extensions().get::<Agreed>().is_some() {
        seat.phase.streaming(clock);
        seat.hall.tasks.spawn(run_stream(Arc::clone(seat), upgrade));
    } else {
        seat.phase.replying(clock);
    }
    reply
}

/// Asks the routes. The ending is due as soon as the reply is what it will be.
async fn answer(hall: &Hall, mut request: Request<Incoming>, address: Option<IpAddr>) -> (Response, Ending) {
    let began = hall.relay.clock().elapsed();
    let (method, route) = (logged(request.method()), template(request.uri().path()));
    let size = size_class(request.headers());
    let page = web::judge(hall.relay.web_origins(), request.headers());
    let preflight = || page.preflight(request.method(), request.uri().path(), request.headers());
    let caller = hall.caller(request.headers(), address);
    let allowed = hall.relay.rate_request(caller).map_err(ApiError::from);
    let head = || check_head(request.version(), request.uri(), request.headers(), &hall.hosts);
    let reply = match allowed.and_then(|()| head()) {
        Err(refusal) => refusal.reply(),
        Ok(()) if let Some(reply) = preflight() => reply,
        Ok(()) => {
            request.extensions_mut().insert(Caller(caller));
            let routes = TowerToHyperService::new(warp::service(hall.routes.clone()));
            let Ok(reply) = routes.call(request).await;
            reply
        }
    };
    (reply, Ending { page, method, route, size, began })
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

/// What is done with a reply that is known.
pub(super) struct Ending {
    page: Page,
    method: &'static str,
    route: &'static str,
    size: &'static str,
    began: Duration,
}

impl Ending {
    /// Lets a page read the reply, and logs nothing of the request that could say whose it is. What went well is logged for
    /// who looks for a fault, and not otherwise: a line a request is a diary of when messages come.
    fn end(self, clock: &Clock, reply: &mut Response) {
        let Self { page, method, route, size, began } = self;
        page.dress(reply);
        let micros = clock.elapsed().saturating_sub(began).as_micros() as u64;
        let status = reply.status();
        if status.is_server_error() {
            tracing::warn!(method, route, size, status = status.as_u16(), micros, "answered");
        } else {
            tracing::debug!(method, route, size, status = status.as_u16(), micros, "answered");
        }
    }
}

/// A connection's bytes, timed, and read again where that is due.
type Connection = Rewound<Timed<Box<dyn Duplex>>>;

/// A longer head is answered 431.
const HEAD_BYTES_MAX: usize = 16_384;
/// More lines are answered 431.
const HEADERS_MAX: usize = 64;
