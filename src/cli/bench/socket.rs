//! A device's end of a stream: opened, authenticated, and heard frame by frame. Pings are answered on the way.

use std::time::Instant;

use anyhow::{Context, bail};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::http::Address;
use crate::protocol::envelopes::AckRequest;
use crate::protocol::stream::{Auth, ClientFrame, RelayFrame};
use crate::protocol::{Seq, SessionToken};

/// An open stream.
pub(super) struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    /// Open, and told that it is ready.
    pub(super) async fn open(at: &Address, session: &SessionToken) -> anyhow::Result<Self> {
        let tcp = at.connect().await.context("the relay takes no connection")?;
        let url = format!("ws://{}/v1/stream", at.host);
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES);
        let (socket, _) = client_async_with_config(url, tcp, Some(config)).await.context("the relay upgrades no connection")?;
        let mut socket = Self(socket);
        socket.say(&ClientFrame::Auth(Auth { session: session.clone() })).await?;
        match socket.hear().await? {
            (RelayFrame::Ready { .. }, _) => Ok(socket),
            (frame, _) => bail!("the relay answered a stream's session with {}", name(&frame)),
        }
    }

    /// The next frame, and when it came. An error is the stream's end.
    pub(super) async fn hear(&mut self) -> anyhow::Result<(RelayFrame, Instant)> {
        loop {
            match self.0.next().await.context("the stream broke off")?? {
                Message::Text(text) => {
                    let came = Instant::now();
                    return Ok((serde_json::from_str(&text)?, came));
                }
                Message::Close(frame) => bail!("the relay closed a stream with {}", frame.map_or(0, |frame| frame.code.into())),
                _ => {}
            }
        }
    }

    /// Acknowledges everything up to this one.
    pub(super) async fn acknowledge(&mut self, through: Seq) -> anyhow::Result<()> {
        self.say(&ClientFrame::Ack(AckRequest { seqs: None, through: Some(through) })).await
    }

    async fn say(&mut self, frame: &ClientFrame) -> anyhow::Result<()> {
        let text = serde_json::to_string(frame).expect("a frame has string keys only and serializes");
        Ok(self.0.send(Message::text(text)).await?)
    }
}

/// A frame in one word.
pub(super) fn name(frame: &RelayFrame) -> String {
    match frame {
        RelayFrame::Error { code, .. } => format!("the error {code:?}"),
        RelayFrame::Superseded => "superseded".into(),
        _ => "another frame".into(),
    }
}

/// One envelope of a KiB; ten thousand streams have a buffer each.
const READ_BUFFER_BYTES: usize = 4 << 10;
