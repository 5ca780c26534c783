//! Greetings: what a protocol says before the first request. They happen before the clock runs, one connection after the
//! other, so they block.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, ensure};

/// A connection, and what came on it and was not taken yet.
pub(super) struct Wire {
    stream: TcpStream,
    came: Vec<u8>,
}

impl Wire {
    pub(super) fn dial(at: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect_timeout(&at, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, came: Vec::new() })
    }

    pub(super) fn say(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Reads until there is an answer in it; `whole` gives the answer and where it ends.
    pub(super) fn hear<T>(&mut self, mut whole: impl FnMut(&[u8]) -> anyhow::Result<Option<(T, usize)>>) -> anyhow::Result<T> {
        let mut part = [0; 4_096];
        loop {
            if let Some((answer, end)) = whole(&self.came)? {
                self.came.drain(..end);
                return Ok(answer);
            }
            let read = self.stream.read(&mut part).context("no answer to the greeting")?;
            ensure!(read > 0, "the server closed the connection");
            self.came.extend_from_slice(&part[..read]);
        }
    }

    /// The connection, once everything that came was taken.
    pub(super) fn done(self) -> anyhow::Result<TcpStream> {
        ensure!(self.came.is_empty(), "the server says more than was expected");
        Ok(self.stream)
    }
}

/// The first line of what came, without its end, and where the next begins.
pub(super) fn line(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let end = bytes.windows(2).position(|window| window == b"\r\n")?;
    Some((&bytes[..end], end + 2))
}

const PATIENCE: Duration = Duration::from_secs(20);
