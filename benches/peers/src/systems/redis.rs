//! Redis Streams.

use anyhow::bail;

use super::wire::{Wire, line};
use super::{Acknowledged, Peer, Running, Turns, body, said};
use crate::child::{Place, free_port, program};
use crate::load::Client;

pub(super) struct Redis;

impl Peer for Redis {
    fn name(&self) -> &'static str {
        "Redis Streams"
    }

    fn version(&self) -> anyhow::Result<String> {
        said(&program("redis-server", "redis-server", &[])?, &["--version"])
    }

    fn settings(&self) -> &'static str {
        "appendonly yes, appendfsync always; in its favour no snapshots and no rewrite of the log; XADD, a stream for each mailbox"
    }

    fn acknowledged(&self) -> Acknowledged {
        Acknowledged { on_disk: true, means: "id after the log's fdatasync, one for all that came together" }
    }

    fn start(&self, place: &Place) -> anyhow::Result<Running> {
        let at = free_port()?;
        let mut command = place.command(&program("redis-server", "redis-server", &[])?);
        command.args(["--bind", "127.0.0.1", "--port", &at.port().to_string(), "--dir"]).arg(place.path());
        command.args(["--save", "", "--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0"]);
        let mut child = place.start(&mut command, false)?;
        child.until(|| {
            let mut wire = Wire::dial(at)?;
            wire.say(b"PING\r\n")?;
            wire.hear(|bytes| match line(bytes) {
                Some((b"+PONG", end)) => Ok(Some(((), end))),
                Some((other, _)) => bail!("{}", String::from_utf8_lossy(other)),
                None => Ok(None),
            })
        })?;
        let connect = move |share| {
            let client = Adds(Turns::new(share, add));
            Ok((Wire::dial(at)?.done()?, Box::new(client) as Box<dyn Client>))
        };
        Ok(Running::Server { children: vec![child], connect: Box::new(connect) })
    }
}

struct Adds(Turns);

fn add(mailbox: usize) -> Vec<u8> {
    let name = format!("box:{mailbox}");
    let (body, length) = (body(), name.len());
    let head = format!("*5\r\n$4\r\nXADD\r\n${length}\r\n{name}\r\n$1\r\n*\r\n$1\r\nb\r\n${}\r\n", body.len());
    [head.as_bytes(), &body, b"\r\n"].concat()
}

impl Client for Adds {
    fn request(&mut self) -> &[u8] {
        self.0.next()
    }

    /// A bulk string with the entry's id.
    fn acknowledged(&mut self, bytes: &[u8]) -> anyhow::Result<Option<usize>> {
        let Some((head, begin)) = line(bytes) else { return Ok(None) };
        if head.first() != Some(&b'$') {
            bail!("answered {}", String::from_utf8_lossy(head));
        }
        Ok(line(&bytes[begin..]).map(|(_, end)| begin + end))
    }
}
