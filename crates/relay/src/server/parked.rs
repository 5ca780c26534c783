//! Long polls that wait. hyper keeps two buffers of 8 KiB, and all that its connection is made of, for as long as a request
//! is being answered, and a poll is answered after a minute. So a connection whose poll waits is taken apart and waits as a
//! bare stream. The reply is written by a new one, which is first given a head like that of the request that it answers:
//! what hyper makes of a reply depends on the method, the version and whether the peer wanted the connection to end.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::future::BoxFuture;
use hyper::header::CONNECTION;
use hyper::{Method, Request, Version};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use warp::reply::Response;

use super::answers::Ending;

/// A reply that is waited for, and what will have to be known when it is there.
pub(super) struct Parked {
    pub(super) reply: BoxFuture<'static, Response>,
    pub(super) ending: Ending,
    pub(super) head: Head,
}

/// Of a request's head, what decides how hyper writes the reply to it.
#[derive(Clone, Copy)]
pub(super) struct Head {
    is_head: bool,
    is_old: bool,
    closes: bool,
}

impl Head {
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        let lines = request.headers().get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
        let words: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
        let says = |wanted: &str| words.iter().any(|word| word.eq_ignore_ascii_case(wanted));
        let is_old = request.version() == Version::HTTP_10;
        let closes = says("close") || (is_old && !says("keep-alive"));
        Self { is_head: request.method() == Method::HEAD, is_old, closes }
    }

    /// After whose reply the connection ends.
    pub(super) fn closing(self) -> Self {
        Self { closes: true, ..self }
    }

    fn bytes(self) -> Vec<u8> {
        let method = if self.is_head { "HEAD" } else { "GET" };
        let version = if self.is_old { "1.0" } else { "1.1" };
        let connection = if self.closes { "close" } else { "keep-alive" };
        format!("{method} / HTTP/{version}\r\nconnection: {connection}\r\n\r\n").into_bytes()
    }
}

/// A stream that is read again from a point before.
pub(super) struct Rewound<S> {
    before: Vec<u8>,
    stream: S,
}

impl<S> Rewound<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { before: Vec::new(), stream }
    }

    /// Puts bytes before what there is still to read.
    pub(super) fn unread(&mut self, bytes: &[u8]) {
        self.before.splice(..0, bytes.iter().copied());
    }

    /// As if this head came next.
    pub(super) fn ask(&mut self, head: Head) {
        self.unread(&head.bytes());
    }
}

impl<S: AsyncRead + Unpin> Rewound<S> {
    /// Ends when the peer is gone. Of a next request that is there already as much is read as to know that; with more to
    /// read hyper doesn't look either.
    pub(super) async fn gone(&mut self) {
        poll_fn(|context| {
            let mut space = [0; LOOK_BYTES];
            while self.before.is_empty() {
                let mut buffer = ReadBuf::new(&mut space);
                let read = ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer));
                if read.is_err() || buffer.filled().is_empty() {
                    return Poll::Ready(());
                }
                self.before.extend_from_slice(buffer.filled());
            }
            Poll::Pending
        })
        .await;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.before.is_empty() {
            return Pin::new(&mut this.stream).poll_read(context, buffer);
        }
        let count = this.before.len().min(buffer.remaining());
        buffer.put_slice(&this.before[..count]);
        this.before.drain(..count);
        if this.before.is_empty() {
            this.before = Vec::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// How much of a next request is read while a reply is waited for.
const LOOK_BYTES: usize = 512;
