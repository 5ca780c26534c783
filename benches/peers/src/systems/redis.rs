//! Redis Streams.

use anyhow::{bail, ensure};

use super::wire::{Wire, line};
use super::{Acknowledged, Errand, Peer, Running, Share, Turns, body, said};
use crate::child::{Place, free_port, program};
use crate::load::Client;

pub(super) struct Redis(pub(super) Errand);

impl Peer for Redis {
    fn name(&self) -> &'static str {
        match self.0 {
            Errand::Send => "Redis Streams",
            Errand::Through => "Redis Streams, taken too",
        }
    }

    fn version(&self) -> anyhow::Result<String> {
        said(&program("redis-server", "redis-server", &[])?, &["--version"])
    }

    fn settings(&self) -> &'static str {
        match self.0 {
            Errand::Send => {
                "appendonly yes, appendfsync always; in its favour no snapshots and no rewrite of the log; XADD, a stream for each \
                 mailbox"
            }
            Errand::Through => "the same; then XRANGE of up to 100, and XDEL of what was added",
        }
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
        let errand = self.0;
        let connect = move |share: Share| {
            let names = share.mailboxes().map(name).collect();
            let client = Stream { errand, adds: Turns::new(share, add), names, step: Step::Add, request: Vec::new() };
            Ok((Wire::dial(at)?.done()?, Box::new(client) as Box<dyn Client>))
        };
        Ok(Running::Server { children: vec![child], connect: Box::new(connect) })
    }
}

struct Stream {
    errand: Errand,
    adds: Turns,
    /// Of the streams, as the adds.
    names: Vec<String>,
    step: Step,
    request: Vec<u8>,
}

enum Step {
    Add,
    /// This was added.
    Read(Vec<u8>),
    Delete(Vec<u8>),
}

fn name(mailbox: usize) -> String {
    format!("box:{mailbox}")
}

fn add(mailbox: usize) -> Vec<u8> {
    command(&[b"XADD", name(mailbox).as_bytes(), b"*", b"b", &body()])
}

fn command(words: &[&[u8]]) -> Vec<u8> {
    let head = format!("*{}\r\n", words.len()).into_bytes();
    let words = words.iter().map(|word| [format!("${}\r\n", word.len()).as_bytes(), word, b"\r\n"].concat());
    [head].into_iter().chain(words).collect::<Vec<_>>().concat()
}

impl Client for Stream {
    fn request(&mut self) -> &[u8] {
        let name = self.names[self.adds.current()].as_bytes();
        self.request = match &self.step {
            Step::Add => return self.adds.next(),
            Step::Read(_) => command(&[b"XRANGE", name, b"-", b"+", b"COUNT", b"100"]),
            Step::Delete(id) => command(&[b"XDEL", name, id]),
        };
        &self.request
    }

    fn steps(&self) -> usize {
        if self.errand == Errand::Through { 3 } else { 1 }
    }

    fn acknowledged(&mut self, bytes: &[u8]) -> anyhow::Result<Option<usize>> {
        let Some(end) = whole(bytes, 1)? else { return Ok(None) };
        let answer = &bytes[..end];
        self.step = match std::mem::replace(&mut self.step, Step::Add) {
            Step::Add if self.errand == Errand::Send => Step::Add,
            // A bulk string with the entry's id.
            Step::Add => Step::Read(answer.split(|byte| *byte == b'\n').nth(1).unwrap_or_default().trim_ascii().to_vec()),
            Step::Read(id) => {
                ensure!(answer.windows(id.len()).any(|window| window == id), "what was added is not there");
                Step::Delete(id)
            }
            Step::Delete(_) => {
                ensure!(answer == b":1\r\n", "nothing was deleted");
                Step::Add
            }
        };
        Ok(Some(end))
    }
}

/// Where so many answers end, arrays and all that is in them.
fn whole(bytes: &[u8], answers: usize) -> anyhow::Result<Option<usize>> {
    let mut end = 0;
    for _ in 0..answers {
        let Some((head, after)) = line(&bytes[end..]) else { return Ok(None) };
        end += after;
        let length = || -> anyhow::Result<usize> { Ok(std::str::from_utf8(&head[1..])?.parse()?) };
        match head.first() {
            Some(b'$') => end += length()? + 2,
            Some(b'*') => match whole(&bytes[end..], length()?)? {
                Some(more) => end += more,
                None => return Ok(None),
            },
            Some(b':' | b'+') => {}
            _ => bail!("answered {}", String::from_utf8_lossy(head)),
        }
        if end > bytes.len() {
            return Ok(None);
        }
    }
    Ok(Some(end))
}
