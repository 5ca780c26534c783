//! `GET /v1/stream`: the upgrade, and the loop between a device's WebSocket and its [`Stream`]. What is sent and when is
//! `service`'s; here are frames, the heartbeat and close codes.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use warp::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use warp::reply::Response;

use super::error::{ApiError, sentence};
use super::extract;
use super::socket::{Heard, Socket};
use crate::protocol::ErrorCode;
use crate::protocol::stream::{Auth, ClientFrame, CloseCode, RelayFrame};
use crate::service::stream::{Batch, Stream};
use crate::service::{Error, Relay};

/// In a reply's extensions: the connection becomes a stream after it.
#[derive(Clone, Copy)]
pub struct Agreed;

/// The reply to a request for a stream.
pub(super) fn upgrade(method: &Method, headers: &HeaderMap) -> Result<Response, ApiError> {
    let has = |name, wanted: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| HeaderValue::to_str(value).ok());
        values.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case(wanted))
    };
    if method != Method::GET || !has(header::CONNECTION, "upgrade") || !has(header::UPGRADE, "websocket") {
        let detail = "this is a WebSocket; if you did ask for one, a proxy in between drops the Upgrade header";
        let refusal = ApiError::new(ErrorCode::UpgradeRequired, detail);
        return Err(refusal.header(header::CONNECTION, "upgrade").header(header::UPGRADE, "websocket"));
    }
    let bad = |detail| ApiError::new(ErrorCode::BadRequest, detail).header(header::SEC_WEBSOCKET_VERSION, "13");
    let only = |name| {
        let mut values = headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none()).and_then(|value| value.to_str().ok())
    };
    if only(header::SEC_WEBSOCKET_VERSION) != Some("13") {
        return Err(bad("a WebSocket is asked for with `Sec-WebSocket-Version: 13`"));
    }
    let key = only(header::SEC_WEBSOCKET_KEY).filter(|key| STANDARD.decode(key).is_ok_and(|key| key.len() == 16));
    let key = key.ok_or_else(|| bad("a WebSocket is asked for with 16 bytes of `Sec-WebSocket-Key` in base64"))?;
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()));
    let mut reply = Response::new(Vec::new().into());
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    reply.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = accept {
        reply.headers_mut().insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    reply.extensions_mut().insert(Agreed);
    Ok(reply)
}

/// Runs a stream until either side ends it.
pub async fn run(relay: Relay, io: impl AsyncRead + AsyncWrite + Unpin) {
    let mut socket = Socket::new(io).await;
    let clock = relay.clock();
    let code = match begin(&relay, &mut socket).await {
        Ok(mut stream) => serve(&relay, &mut socket, &mut stream).await,
        Err(end) => end,
    };
    if let End::Close(code) = code {
        socket.close(code, clock).await;
    }
}

/// How a stream ends.
enum End {
    /// With this code.
    Close(CloseCode),
    /// There is nobody to tell.
    Gone,
}

impl From<std::io::Error> for End {
    fn from(_: std::io::Error) -> Self {
        Self::Gone
    }
}

/// The first frame, which logs in.
async fn begin<S: AsyncRead + AsyncWrite + Unpin>(relay: &Relay, socket: &mut Socket<S>) -> Result<Stream, End> {
    let clock = relay.clock();
    let deadline = clock.elapsed() + AUTH_MAX;
    let mut beats = Beats::new(clock.elapsed());
    loop {
        let heard = tokio::select! {
            heard = socket.hear() => heard,
            () = clock.sleep_until(deadline) => return Err(End::Close(CloseCode::NoAuth)),
            () = relay.stopped() => return Err(End::Close(CloseCode::Restarting)),
        };
        let text = match heard {
            Heard::Text(text) => text,
            Heard::Beat => {
                beats.heard(clock.elapsed())?;
                continue;
            }
            Heard::Broke(code) => return Err(End::Close(code)),
            Heard::Gone => return Err(End::Gone),
        };
        let auth = match extract::frame(text.as_bytes()) {
            Ok(ClientFrame::Auth(auth)) => auth,
            Ok(ClientFrame::Ack(_)) => {
                let refusal = ApiError::new(ErrorCode::BadRequest, "the first frame is `auth`");
                return Err(refuse(socket, refusal, CloseCode::BadFrame).await);
            }
            Err(refusal) => return Err(refuse(socket, refusal, CloseCode::BadFrame).await),
        };
        let session = match relay.authenticate(&auth.session) {
            Ok(session) => session,
            Err(error) => return Err(ended(socket, error).await),
        };
        let stream = relay.stream(&session);
        socket.say(&RelayFrame::Ready { expires_at: relay.session_expires_at(&session) }).await?;
        socket.flush().await?;
        return Ok(stream);
    }
}

/// Everything after `ready`.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(relay: &Relay, socket: &mut Socket<S>, stream: &mut Stream) -> End {
    let clock = relay.clock();
    let mut beats = Beats::new(clock.elapsed());
    let mut notices = relay.notice();
    if notices.borrow().is_some() {
        notices.mark_changed();
    }
    loop {
        let outcome = tokio::select! {
            heard = socket.hear() => match heard {
                Heard::Text(text) => {
                    beats.text(clock.elapsed());
                    take(relay, socket, stream, text.as_bytes()).await
                }
                Heard::Beat => beats.heard(clock.elapsed()),
                Heard::Broke(code) => Err(End::Close(code)),
                Heard::Gone => Err(End::Gone),
            },
            batch = stream.next() => match batch {
                Ok(batch) => give(socket, stream, batch).await,
                Err(error) => Err(ended(socket, error).await),
            },
            // The board outlives every stream: it is the relay's.
            Ok(()) = notices.changed() => {
                let notice = notices.borrow_and_update().as_deref().cloned();
                tell(socket, &RelayFrame::Notice { notice }).await
            }
            () = clock.sleep_until(beats.due) => beat(socket, &mut beats, clock.elapsed()).await,
        };
        if let Err(end) = outcome {
            return end;
        }
    }
}

/// Sends a batch. A session's end is seen also while the peer reads slowly.
async fn give<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut Socket<S>, stream: &mut Stream, batch: Batch) -> Result<(), End> {
    let sending = async {
        for live in batch.live {
            socket.say(&RelayFrame::Live(live)).await?;
        }
        for envelope in batch.envelopes {
            socket.say(&RelayFrame::Envelope(envelope)).await?;
        }
        if let Some(gap) = batch.gap {
            socket.say(&RelayFrame::Gap(gap)).await?;
        }
        if batch.drained {
            socket.say(&RelayFrame::Drained).await?;
        }
        socket.flush().await
    };
    tokio::select! {
        sent = sending => Ok(sent?),
        // Half a frame may be out: nothing more can be said.
        _ = stream.over() => Err(End::Gone),
    }
}

/// Does what a frame asks.
async fn take<S: AsyncRead + AsyncWrite + Unpin>(
    relay: &Relay,
    socket: &mut Socket<S>,
    stream: &mut Stream,
    text: &[u8],
) -> Result<(), End> {
    match extract::frame(text) {
        Ok(ClientFrame::Auth(Auth { session })) => {
            let prolonged = relay.authenticate(&session).and_then(|session| {
                let expires_at = relay.session_expires_at(&session);
                stream.prolong(session).map(|()| expires_at)
            });
            match prolonged {
                Ok(expires_at) => socket.say(&RelayFrame::Ready { expires_at }).await?,
                Err(error) => return Err(ended(socket, error).await),
            }
        }
        Ok(ClientFrame::Ack(request)) => match stream.ack(request).await {
            Ok(reply) => socket.say(&RelayFrame::Acked(reply)).await?,
            Err(error) => socket.say(&RelayFrame::Error { code: error.code(), detail: sentence(&error) }).await?,
        },
        Err(refusal) => return Err(refuse(socket, refusal, CloseCode::BadFrame).await),
    }
    Ok(socket.flush().await?)
}

async fn tell<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut Socket<S>, frame: &RelayFrame) -> Result<(), End> {
    socket.say(frame).await?;
    Ok(socket.flush().await?)
}

async fn beat<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut Socket<S>, beats: &mut Beats, now: Duration) -> Result<(), End> {
    if beats.asked {
        return Err(End::Gone);
    }
    beats.asked = true;
    beats.due = now + PONG_MAX;
    Ok(socket.ping().await?)
}

/// Says why, before the close code.
async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut Socket<S>, refusal: ApiError, code: CloseCode) -> End {
    let (error, detail) = refusal.parts();
    match socket.say(&RelayFrame::Error { code: error, detail }).await {
        Ok(()) => End::Close(code),
        Err(_) => End::Gone,
    }
}

/// What `service` ended a stream with, said.
async fn ended<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut Socket<S>, error: Error) -> End {
    let code = match error.code() {
        ErrorCode::Superseded => {
            let said = socket.say(&RelayFrame::Superseded).await;
            return if said.is_ok() { End::Close(CloseCode::Superseded) } else { End::Gone };
        }
        ErrorCode::NoSession => CloseCode::NoSession,
        ErrorCode::Stopping => return End::Close(CloseCode::Restarting),
        // The store cannot read: the client comes back, and sees.
        _ => CloseCode::Restarting,
    };
    refuse(socket, error.into(), code).await
}

/// When the peer was last heard, and how often it only beat.
struct Beats {
    due: Duration,
    asked: bool,
    since: Duration,
    count: u32,
}

impl Beats {
    fn new(now: Duration) -> Self {
        Self { due: now + SILENCE_MAX, asked: false, since: now, count: 0 }
    }

    fn text(&mut self, now: Duration) {
        self.due = now + SILENCE_MAX;
        self.asked = false;
    }

    fn heard(&mut self, now: Duration) -> Result<(), End> {
        self.text(now);
        if now >= self.since + BEATS_TIME {
            self.since = now;
            self.count = 0;
        }
        self.count += 1;
        if self.count > BEATS_MAX { Err(End::Close(CloseCode::Policy)) } else { Ok(()) }
    }
}

/// From the upgrade to `auth`.
const AUTH_MAX: Duration = Duration::from_secs(5);
/// After so much silence the peer is asked whether it is there; after [`PONG_MAX`] more it is gone.
const SILENCE_MAX: Duration = Duration::from_secs(30);
const PONG_MAX: Duration = Duration::from_secs(15);
/// So many pings and pongs in [`BEATS_TIME`]; an honest peer sends one in 30 s.
const BEATS_MAX: u32 = 60;
const BEATS_TIME: Duration = Duration::from_secs(10);
