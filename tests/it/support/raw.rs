//! HTTP/1.1 by hand: requests to the byte, replies as they came. Time-outs here only keep a broken relay from hanging a test.

use std::fmt::Write as _;
use std::future::Future;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// A request that is as it should be, to be sent or to be spoilt first.
#[derive(Clone)]
pub(crate) struct Ask {
    line: String,
    headers: String,
    body: Option<Vec<u8>>,
}

/// `METHOD PATH`.
pub(crate) fn ask(line: &str) -> Ask {
    Ask { line: line.into(), headers: "Host: 127.0.0.1\r\n".into(), body: None }
}

impl Ask {
    /// With one header more.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        write!(self.headers, "{name}: {value}\r\n").expect("a string takes more");
        self
    }

    /// With a session.
    pub(crate) fn by(self, session: &str) -> Self {
        self.header("Authorization", &format!("Bearer {session}"))
    }

    /// As a trusted proxy reports it.
    pub(crate) fn from(self, address: &str) -> Self {
        self.header("X-Forwarded-For", address)
    }

    /// With a JSON body.
    pub(crate) fn json(self, body: &Value) -> Self {
        self.body(body.to_string())
    }

    /// With bytes that are called JSON.
    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        self = self.header("Content-Type", "application/json").header("Content-Length", &body.len().to_string());
        self.body = Some(body);
        self
    }

    /// As it goes over the wire.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{} HTTP/1.1\r\n{}\r\n", self.line, self.headers).into_bytes();
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }
}

/// A reply, but for its `Date`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body, which must be JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The problem's code; nothing where there is no problem.
    pub(crate) fn code(&self) -> String {
        serde_json::from_slice::<Value>(&self.body).map_or_else(|_| String::new(), |body| text(&body["code"]))
    }

    /// The body, of a reply that is what was hoped for.
    #[track_caller]
    pub(crate) fn ok(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self.json()
    }

    /// A refusal with this status and code.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.code().as_str()), (status, code), "{}", String::from_utf8_lossy(&self.body));
    }
}

/// A JSON string; nothing where there is none.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_string()
}

/// One connection.
pub(crate) struct Socket {
    reading: Reading,
    writing: Writing,
}

/// What comes.
pub(crate) struct Reading(BufReader<OwnedReadHalf>);

/// What goes.
pub(crate) struct Writing(OwnedWriteHalf);

impl Socket {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let stream = patiently(TcpStream::connect(address)).await.expect("the relay takes connections");
        let (reading, writing) = stream.into_split();
        Self { reading: Reading(BufReader::new(reading)), writing: Writing(writing) }
    }

    /// Sends bytes; a relay that has hung up already has its answer read all the same.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.writing.send(bytes).await;
    }

    /// Says that nothing more comes.
    pub(crate) async fn finish(&mut self) {
        let _ = patiently(self.writing.0.shutdown()).await;
    }

    /// The next reply; none when the connection ends instead.
    pub(crate) async fn reply(&mut self) -> Option<Reply> {
        self.reading.reply().await
    }

    /// Everything until the relay closes.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        self.reading.rest().await
    }

    /// Both directions apart.
    pub(crate) fn split(self) -> (Reading, Writing) {
        (self.reading, self.writing)
    }
}

impl Writing {
    /// False when nobody takes it any more.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        patiently(self.0.write_all(bytes)).await.is_ok()
    }
}

impl Reading {
    /// The next reply; none when the connection ends instead.
    pub(crate) async fn reply(&mut self) -> Option<Reply> {
        patiently(self.read_reply()).await
    }

    /// Everything until the relay closes.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Err(error) = patiently(self.0.read_to_end(&mut bytes)).await {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
        }
        bytes
    }

    async fn read_reply(&mut self) -> Option<Reply> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).await.unwrap_or(0) == 0 {
                return None;
            }
            if line.trim_end().is_empty() {
                break;
            }
            lines.push(line.trim_end().to_string());
        }
        let status = lines.first()?.split(' ').nth(1)?.parse().expect("a status line");
        let header = |line: &String| line.split_once(':').map(|(name, value)| (name.to_string(), value.trim().to_string()));
        let mut headers: Vec<_> = lines.iter().skip(1).filter_map(header).collect();
        headers.retain(|(name, _)| name != "date");
        let mut reply = Reply { status, headers, body: Vec::new() };
        if status >= 200 {
            let length = reply.header("content-length").map_or(0, |length| length.parse().expect("a length"));
            reply.body.resize(length, 0);
            self.0.read_exact(&mut reply.body).await.expect("the whole body");
        }
        Some(reply)
    }
}

/// Fails the test when the relay keeps it waiting beyond all measure.
#[track_caller]
pub(crate) fn patiently<T>(future: impl Future<Output = T>) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move { tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("the relay hangs: {caller}")) }
}

/// Less than the longest poll, whose own end must not pass for an answer.
const PATIENCE: Duration = Duration::from_secs(45);
