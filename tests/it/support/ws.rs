//! A stream's client by hand: frames as JSON, and bytes where the rules of WebSocket are to be broken.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::raw::{Ask, ask, patiently};
use super::relay::TestRelay;

/// One open WebSocket.
pub(crate) struct Ws(WebSocketStream<TcpStream>);

/// A request that is upgraded.
pub(crate) fn upgrade() -> Ask {
    ask("GET /v1/stream")
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
}

impl Ws {
    /// Open, and not yet anybody's.
    pub(crate) async fn open(relay: &TestRelay) -> Self {
        let tcp = patiently(TcpStream::connect(relay.address)).await.expect("the relay takes connections");
        let url = format!("ws://{}/v1/stream", relay.address);
        let (ws, reply) = patiently(client_async(url, tcp)).await.expect("an upgrade");
        assert_eq!(reply.status(), 101);
        Self(ws)
    }

    /// Open, and ready for a session's device.
    pub(crate) async fn by(relay: &TestRelay, session: &str) -> Self {
        let mut ws = Self::open(relay).await;
        ws.say(&json!({"type": "auth", "session": session})).await;
        assert_eq!(ws.hear().await["type"], "ready");
        ws
    }

    /// The same, once it has been told that nothing waits.
    pub(crate) async fn idle(relay: &TestRelay, session: &str) -> Self {
        let mut ws = Self::by(relay, session).await;
        assert_eq!(ws.hear().await, json!({"type": "drained"}));
        ws
    }

    pub(crate) async fn say(&mut self, frame: &Value) {
        self.text(&frame.to_string()).await;
    }

    pub(crate) async fn text(&mut self, text: &str) {
        let _ = patiently(self.0.send(Message::text(text))).await;
    }

    pub(crate) async fn message(&mut self, message: Message) -> bool {
        patiently(self.0.send(message)).await.is_ok()
    }

    /// Bytes past all rules.
    pub(crate) async fn bytes(&mut self, bytes: &[u8]) {
        let _ = patiently(self.0.get_mut().write_all(bytes)).await;
    }

    /// The next frame.
    pub(crate) async fn hear(&mut self) -> Value {
        loop {
            match patiently(self.0.next()).await {
                Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).expect("a frame is JSON"),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("a frame was due: {other:?}"),
            }
        }
    }

    /// The next ping, answered.
    pub(crate) async fn ping(&mut self) {
        loop {
            match patiently(self.0.next()).await {
                Some(Ok(Message::Ping(_))) => {
                    let _ = patiently(self.0.flush()).await;
                    return;
                }
                Some(Ok(_)) => {}
                other => panic!("a ping was due: {other:?}"),
            }
        }
    }

    /// Waits until the relay has asked, by the raw bytes, which nobody answers.
    pub(crate) async fn unread_ping(&mut self) {
        let mut bytes = [0; 2];
        patiently(self.0.get_mut().read_exact(&mut bytes)).await.expect("a ping");
        assert_eq!(bytes, [0x89, 0], "a ping without a payload");
    }

    /// How many bytes still come before the connection ends.
    pub(crate) async fn cut(mut self) -> usize {
        let mut bytes = Vec::new();
        let _ = patiently(self.0.get_mut().read_to_end(&mut bytes)).await;
        bytes.len()
    }

    /// Frames until the relay hangs up, and its close code; 0 where it gave none.
    pub(crate) async fn end(mut self) -> (Vec<Value>, u16) {
        let mut frames = Vec::new();
        let mut code = 0;
        loop {
            match patiently(self.0.next()).await {
                Some(Ok(Message::Text(text))) => frames.push(serde_json::from_str(&text).expect("a frame is JSON")),
                Some(Ok(Message::Close(frame))) => code = frame.map_or(0, |frame| frame.code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return (frames, code),
            }
        }
    }
}

/// The types of frames.
pub(crate) fn types(frames: &[Value]) -> Vec<&str> {
    frames.iter().map(|frame| frame["type"].as_str().unwrap_or_default()).collect()
}
