//! HTTP/1.1 on a blocking socket: one request in flight, and the end of the relay as an error that a rung expects.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why there is no reply that can be gone on with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    /// The relay hung up, or is not there: what was asked may have happened or not.
    #[error("the relay is gone: {0}")]
    Gone(#[from] io::Error),
    /// It said what it must not.
    #[error("{0:#}")]
    Wrong(anyhow::Error),
}

/// A reply of another status than the one that was due.
#[derive(Debug, thiserror::Error)]
#[error("the relay answered {status} where {due} was due: {said}")]
pub(crate) struct Undue {
    pub(crate) status: u16,
    pub(crate) due: u16,
    pub(crate) said: String,
}

impl From<anyhow::Error> for Trouble {
    fn from(error: anyhow::Error) -> Self {
        Self::Wrong(error)
    }
}

/// What a request gives.
pub(crate) type Told<T> = Result<T, Trouble>;

/// A reply.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// Its JSON, where the status is this one.
    pub(crate) fn expect<T: DeserializeOwned>(&self, status: u16) -> anyhow::Result<T> {
        if self.status != status {
            let said = String::from_utf8_lossy(&self.body).into_owned();
            return Err(Undue { status: self.status, due: status, said }.into());
        }
        serde_json::from_slice(&self.body).context("a reply is not what it should be")
    }
}

/// A connection that is kept, and opened anew after it broke.
pub(crate) struct Line {
    at: SocketAddr,
    stream: Option<TcpStream>,
}

impl Line {
    pub(crate) fn new(at: SocketAddr) -> Self {
        Self { at, stream: None }
    }

    /// The port on our side of the connection that the next request takes.
    pub(crate) fn port(&mut self) -> io::Result<u16> {
        self.stream()?.local_addr().map(|address| address.port())
    }

    pub(crate) fn post(&mut self, path: &str, session: Option<&str>, body: &impl Serialize) -> io::Result<Reply> {
        self.with_body("POST", path, session, body)
    }

    pub(crate) fn put(&mut self, path: &str, session: Option<&str>, body: &impl Serialize) -> io::Result<Reply> {
        self.with_body("PUT", path, session, body)
    }

    fn with_body(&mut self, method: &str, path: &str, session: Option<&str>, body: &impl Serialize) -> io::Result<Reply> {
        let body = serde_json::to_vec(body).map_err(io::Error::other)?;
        let length = body.len();
        let typed = format!("Content-Type: application/json\r\nContent-Length: {length}\r\n");
        let mut request = head(method, path, session, &typed);
        request.extend_from_slice(&body);
        self.ask(&request)
    }

    pub(crate) fn get(&mut self, path: &str, session: Option<&str>) -> io::Result<Reply> {
        self.ask(&head("GET", path, session, ""))
    }

    /// Sends these bytes, which are one request.
    pub(crate) fn ask(&mut self, request: &[u8]) -> io::Result<Reply> {
        let reply = self.stream().and_then(|mut stream| {
            stream.write_all(request)?;
            read(stream)
        });
        if !matches!(reply, Ok((_, false))) {
            self.stream = None;
        }
        reply.map(|(reply, _)| reply)
    }

    fn stream(&mut self) -> io::Result<&TcpStream> {
        let stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = match TcpStream::connect(self.at) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => TcpStream::connect(self.at)?,
                    connected => connected?,
                };
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream
            }
        };
        Ok(self.stream.insert(stream))
    }
}

fn head(method: &str, path: &str, session: Option<&str>, more: &str) -> Vec<u8> {
    let session = session.map_or_else(String::new, |session| format!("Authorization: Bearer {session}\r\n"));
    format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{session}{more}\r\n").into_bytes()
}

/// A reply, and whether the connection ends with it.
fn read(mut stream: &TcpStream) -> io::Result<(Reply, bool)> {
    let strange = || io::Error::new(ErrorKind::InvalidData, "not an HTTP reply");
    let (mut bytes, mut chunk) = (Vec::new(), [0; 16_384]);
    loop {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = end {
            let text = std::str::from_utf8(&bytes[..end]).map_err(|_| strange())?.to_ascii_lowercase();
            let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(strange)?;
            let header = |name: &str| text.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let length: usize =
                header("content-length").map_or(Ok(0), |length| length.trim().parse()).map_err(|_| strange())?;
            if bytes.len() >= end + 4 + length {
                let closes = header("connection").is_some_and(|value| value.trim() == "close");
                return Ok((Reply { status, body: bytes[end + 4..end + 4 + length].to_vec() }, closes));
            }
        }
        match stream.read(&mut chunk) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            // A machine that was frozen for a moment interrupts what waits.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Beyond the longest poll and the slowest disk: only a relay that hangs makes anybody wait for it.
const PATIENCE: Duration = Duration::from_secs(120);
