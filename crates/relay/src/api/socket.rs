//! A WebSocket as the relay speaks it (RFC 6455): text frames out, small text frames in, pings, and a close code. Called by
//! `stream` alone. What it must not do is keep memory for a peer that says nothing.

use std::io;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame, coding};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message, Utf8Bytes};

use crate::protocol::stream::{CLIENT_FRAME_BYTES_MAX, CloseCode};
use crate::service::Clock;

/// The relay's end of a stream.
pub(super) struct Socket<S> {
    inner: WebSocketStream<S>,
    /// Frames on their way out; given back when they are.
    out: Vec<u8>,
}

/// What a peer did.
pub(super) enum Heard {
    /// It said something.
    Text(Utf8Bytes),
    /// A ping or a pong.
    Beat,
    /// It broke the rules.
    Broke(CloseCode),
    /// It closed, or is gone.
    Gone,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    pub(super) async fn new(io: S) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(CONTROL_BYTES_MAX)
            .max_message_size(Some(CLIENT_FRAME_BYTES_MAX))
            .max_frame_size(Some(CLIENT_FRAME_BYTES_MAX));
        Self { inner: WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await, out: Vec::new() }
    }

    /// The next thing that the peer does. Cancel-safe. Answers pings.
    pub(super) async fn hear(&mut self) -> Heard {
        match self.inner.next().await {
            Some(Ok(Message::Text(text))) => Heard::Text(text),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Heard::Beat,
            Some(Ok(Message::Binary(_) | Message::Frame(_))) => Heard::Broke(CloseCode::BadFrame),
            Some(Err(Error::Capacity(_))) => Heard::Broke(CloseCode::TooLarge),
            Some(Err(Error::Utf8(_))) => Heard::Broke(CloseCode::NotText),
            Some(Err(Error::Protocol(problem))) if !is_end(&problem) => Heard::Broke(CloseCode::Protocol),
            // A pong that the peer doesn't read: it is not there.
            Some(Ok(Message::Close(_)) | Err(_)) | None => Heard::Gone,
        }
    }

    /// Lays a frame ready, and sends what is ready once it is much. Not cancel-safe: end the stream after.
    pub(super) async fn say(&mut self, frame: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_vec(frame).map_err(io::Error::other)?;
        let frame = Frame::message(Bytes::from(text), OpCode::Data(Data::Text), true);
        frame.format(&mut self.out).map_err(io::Error::other)?;
        if self.out.len() >= OUT_BYTES_MAX { self.flush().await } else { Ok(()) }
    }

    /// Sends what is ready. Written past tungstenite's own buffer, which keeps the size of the longest frame for ever: that
    /// would be 22 KiB for every stream that once got a large envelope. Its buffer, of control frames, goes out first.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        self.inner.flush().await.map_err(io::Error::other)?;
        let out = std::mem::take(&mut self.out);
        self.inner.get_mut().write_all(&out).await?;
        self.inner.get_mut().flush().await
    }

    pub(super) async fn ping(&mut self) -> io::Result<()> {
        self.inner.send(Message::Ping(Bytes::new())).await.map_err(io::Error::other)
    }

    /// Says why, and hangs up; not beyond a moment, whatever the peer does.
    pub(super) async fn close(mut self, code: CloseCode, clock: &Clock) {
        let deadline = clock.elapsed() + CLOSE_MAX;
        let closing = async {
            self.flush().await?;
            let frame = CloseFrame { code: coding::CloseCode::from(code as u16), reason: Utf8Bytes::from_static("") };
            self.inner.close(Some(frame)).await.map_err(io::Error::other)?;
            self.inner.get_mut().shutdown().await
        };
        tokio::select! {
            _ = closing => {}
            () = clock.sleep_until(deadline) => {}
        }
    }
}

/// The peer went away in the middle of something; nobody is there to be told.
fn is_end(problem: &tokio_tungstenite::tungstenite::error::ProtocolError) -> bool {
    use tokio_tungstenite::tungstenite::error::ProtocolError::{
        ReceivedAfterClosing, ResetWithoutClosingHandshake, SendAfterClosing,
    };
    matches!(problem, ResetWithoutClosingHandshake | SendAfterClosing | ReceivedAfterClosing)
}

/// Kept by every stream for as long as it is open; longer frames make room for themselves and give it back.
const READ_BUFFER_BYTES: usize = 1_024;
/// Pongs that a peer lets pile up; each is at most 131 bytes.
const CONTROL_BYTES_MAX: usize = 4_096;
/// Frames are gathered up to about so much before they are written.
const OUT_BYTES_MAX: usize = 32_768;
/// From the close frame to the end.
const CLOSE_MAX: Duration = Duration::from_secs(2);
