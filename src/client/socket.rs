//! The client's end of a stream: frames over a WebSocket that the session's HTTP client was upgraded to, so that proxies,
//! roots and unix sockets are the same as for its requests. Called by `subscription` alone.

use futures_util::{FutureExt, SinkExt, StreamExt};
use reqwest::Upgraded;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::protocol::stream::{ClientFrame, RelayFrame};

pub(super) struct Socket(WebSocketStream<Upgraded>);

/// What the relay did.
pub(super) enum Said {
    Frame(Box<RelayFrame>),
    /// Asked whether we are here, and was answered.
    Ping,
    /// Hung up, with this close code; 0 where it gave none, as when the connection broke.
    Closed(u16),
}

impl Socket {
    pub(super) async fn new(io: Upgraded) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .max_message_size(Some(FRAME_BYTES_MAX))
            .max_frame_size(Some(FRAME_BYTES_MAX));
        Self(WebSocketStream::from_raw_socket(io, Role::Client, Some(config)).await)
    }

    /// False when the connection is gone.
    pub(super) async fn say(&mut self, frame: &ClientFrame) -> bool {
        let text = serde_json::to_string(frame).expect("a frame has string keys only and serializes");
        self.0.send(Message::text(text)).await.is_ok()
    }

    /// The next thing that the relay does. Cancel-safe.
    pub(super) async fn hear(&mut self) -> Said {
        loop {
            return match self.0.next().await {
                Some(Ok(Message::Text(text))) => {
                    Said::Frame(Box::new(serde_json::from_str(&text).unwrap_or(RelayFrame::Unknown)))
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => Said::Ping,
                Some(Ok(Message::Close(frame))) => Said::Closed(frame.map_or(0, |frame| frame.code.into())),
                Some(Ok(Message::Binary(_) | Message::Frame(_))) => continue,
                Some(Err(_)) | None => Said::Closed(0),
            };
        }
    }

    /// The next thing that is here already.
    pub(super) fn hear_now(&mut self) -> Option<Said> {
        self.hear().now_or_never()
    }

    /// Says goodbye, if that can be done at once.
    pub(super) async fn close(mut self) {
        self.0.close(None).await.ok();
    }
}

/// Several envelopes of 1 KiB.
const READ_BUFFER_BYTES: usize = 16 << 10;
/// An envelope of 16 KiB is 22,000 bytes as JSON.
const FRAME_BYTES_MAX: usize = 64 << 10;
