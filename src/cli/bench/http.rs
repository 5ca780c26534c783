//! A lean HTTP/1.1 client on a socket of its own: whole requests as bytes, one in flight, replies cut out of one buffer. It
//! must cost less than the relay that it loads, so it knows nothing that a relay does not say.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::protocol::SessionToken;

/// Where requests go.
#[derive(Debug, Clone)]
pub(super) struct Address {
    /// What is connected to.
    pub(super) socket: SocketAddr,
    /// What the `Host` header says.
    pub(super) host: String,
    /// What logins are signed for.
    pub(super) origin: String,
}

impl Address {
    /// Of `http://HOST:PORT`.
    pub(super) async fn of(origin: &str) -> anyhow::Result<Self> {
        let host = origin.strip_prefix("http://").context("the bench speaks plain HTTP: give http://HOST:PORT")?;
        let host = host.trim_end_matches('/').to_ascii_lowercase();
        let socket = tokio::net::lookup_host(&host).await.with_context(|| format!("cannot find {host}"))?.next();
        Ok(Self { socket: socket.with_context(|| format!("{host} has no address"))?, origin: format!("http://{host}"), host })
    }

    /// A POST, whole.
    pub(super) fn post(&self, path: &str, session: Option<&SessionToken>, body: &impl Serialize) -> Vec<u8> {
        let body = serde_json::to_vec(body).expect("requests have string keys only and serialize");
        let length = body.len();
        let typed = format!("Content-Type: application/json\r\nContent-Length: {length}\r\n");
        let mut request = self.head("POST", path, session, &typed);
        request.extend_from_slice(&body);
        request
    }

    /// A GET, whole.
    pub(super) fn get(&self, path: &str, session: Option<&SessionToken>) -> Vec<u8> {
        self.head("GET", path, session, "")
    }

    fn head(&self, method: &str, path: &str, session: Option<&SessionToken>, more: &str) -> Vec<u8> {
        let session = session.map_or_else(String::new, |session| format!("Authorization: Bearer {}\r\n", session.encode()));
        format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n{session}{more}\r\n", self.host).into_bytes()
    }

    /// A connection.
    pub(super) async fn connect(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect(self.socket).await?;
        // Requests are whole; waiting to fill a packet only delays them.
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// A connection that is kept, opened when it is first needed and after it broke.
pub(super) struct Connection {
    address: Address,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

/// What came back.
pub(super) struct Reply<'a> {
    pub(super) status: u16,
    pub(super) body: &'a [u8],
}

impl Connection {
    pub(super) fn new(address: &Address) -> Self {
        Self { address: address.clone(), stream: None, buffer: Vec::new() }
    }

    /// Sends a request and reads its reply. After an error the next request has a connection of its own.
    pub(super) async fn ask(&mut self, request: &[u8]) -> Result<Reply<'_>> {
        self.say(request).await?;
        self.hear().await
    }

    /// Sends a request. Its reply must be heard before the next.
    pub(super) async fn say(&mut self, request: &[u8]) -> Result<()> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            closed => closed.insert(self.address.connect().await?),
        };
        let said = stream.write_all(request).await;
        if said.is_err() {
            self.stream = None;
        }
        said
    }

    /// Reads the reply to what was sent.
    pub(super) async fn hear(&mut self) -> Result<Reply<'_>> {
        let heard = tokio::time::timeout(PATIENCE, self.read()).await;
        match heard.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into())) {
            Ok(head) => {
                if head.closes {
                    self.stream = None;
                }
                Ok(Reply { status: head.status, body: &self.buffer[head.length..head.length + head.body] })
            }
            Err(error) => {
                self.stream = None;
                Err(error)
            }
        }
    }

    /// [`ask`](Self::ask), where any other status than this is an error that says what the relay said.
    pub(super) async fn expect<T: DeserializeOwned>(&mut self, status: u16, request: &[u8]) -> anyhow::Result<T> {
        let reply = self.ask(request).await.context("the relay does not answer")?;
        if reply.status != status {
            bail!("the relay answered {}: {}", reply.status, String::from_utf8_lossy(reply.body));
        }
        Ok(serde_json::from_slice(reply.body)?)
    }

    async fn read(&mut self) -> Result<Head> {
        let stream = self.stream.as_mut().ok_or(ErrorKind::NotConnected)?;
        self.buffer.clear();
        let mut head: Option<Head> = None;
        loop {
            if let Some(head) = head.take_if(|head| self.buffer.len() >= head.length + head.body) {
                return Ok(head);
            }
            if stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if head.is_none() {
                head = Head::parse(&self.buffer)?;
                let missing = head.as_ref().map_or(0, |head| (head.length + head.body).saturating_sub(self.buffer.len()));
                self.buffer.reserve(missing);
            }
        }
    }
}

/// What matters of a reply's head.
struct Head {
    status: u16,
    /// With the empty line.
    length: usize,
    body: usize,
    closes: bool,
}

impl Head {
    /// None while the empty line is missing.
    fn parse(bytes: &[u8]) -> Result<Option<Self>> {
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
        let strange = || Error::new(ErrorKind::InvalidData, "not an HTTP reply");
        let text = std::str::from_utf8(&bytes[..end]).map_err(|_| strange())?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).ok_or_else(strange)?;
        let mut head = Self { status, length: end + 4, body: 0, closes: false };
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            match name {
                _ if name.eq_ignore_ascii_case("content-length") => head.body = value.trim().parse().map_err(|_| strange())?,
                _ if name.eq_ignore_ascii_case("connection") => head.closes = value.trim().eq_ignore_ascii_case("close"),
                _ => {}
            }
        }
        Ok(Some(head))
    }
}

/// Beyond the longest poll: only a relay that is broken makes anybody wait for it.
const PATIENCE: Duration = Duration::from_secs(120);
