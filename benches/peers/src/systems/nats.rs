//! NATS JetStream.

use anyhow::{bail, ensure};

use super::wire::{Wire, line};
use super::{Acknowledged, Peer, Running, Share, Turns, body, said};
use crate::child::{Place, free_port, program};
use crate::load::Client;

pub(super) struct Nats;

impl Peer for Nats {
    fn name(&self) -> &'static str {
        "NATS JetStream"
    }

    fn version(&self) -> anyhow::Result<String> {
        said(&program("nats-server", "nats-server", &[])?, &["--version"])
    }

    fn settings(&self) -> &'static str {
        "file storage, defaults; PUB with a reply subject, one stream with a subject for each mailbox"
    }

    fn acknowledged(&self) -> Acknowledged {
        Acknowledged { on_disk: false, means: "sequence after write(2); synced to the disk every two minutes" }
    }

    fn start(&self, place: &Place) -> anyhow::Result<Running> {
        let at = free_port()?;
        let store = place.at("store");
        let config = format!("listen: \"{at}\"\njetstream {{ store_dir: \"{store}\", max_file_store: 32G }}\n");
        let config = place.write("nats.conf", &config)?;
        let mut command = place.command(&program("nats-server", "nats-server", &[])?);
        let mut child = place.start(command.args(["--config", &config]), false)?;
        child.until(|| {
            let mut wire = greet(at, "make")?;
            let stream = r#"{"name":"BOX","subjects":["box.*"],"storage":"file","retention":"limits","num_replicas":1}"#;
            wire.say(format!("PUB $JS.API.STREAM.CREATE.BOX make {}\r\n{stream}\r\n", stream.len()).as_bytes())?;
            wire.hear(|bytes| Ok(message(bytes)?.map(|end| ((), end))))
        })?;
        let connect = move |share: Share| {
            let inbox = format!("inbox.{}", share.lane);
            let client = Publishes(Turns::new(share, |mailbox| publish(mailbox, &inbox)));
            Ok((greet(at, &inbox)?.done()?, Box::new(client) as Box<dyn Client>))
        };
        Ok(Running::Server { children: vec![child], connect: Box::new(connect) })
    }
}

/// Connects, and listens for what is said to an inbox.
fn greet(at: std::net::SocketAddr, inbox: &str) -> anyhow::Result<Wire> {
    let mut wire = Wire::dial(at)?;
    wire.hear(|bytes| Ok(line(bytes).map(|(_, end)| ((), end))))?;
    let hello = format!("CONNECT {{\"verbose\":false,\"pedantic\":false,\"headers\":true}}\r\nSUB {inbox} 1\r\nPING\r\n");
    wire.say(hello.as_bytes())?;
    wire.hear(|bytes| {
        let mut begin = 0;
        while let Some((said, end)) = line(&bytes[begin..]) {
            begin += end;
            match said {
                b"PONG" => return Ok(Some(((), begin))),
                b"PING" => {}
                other => bail!("{}", String::from_utf8_lossy(other)),
            }
        }
        Ok(None)
    })?;
    // It may ask at once whether we are there; an answer that nobody asked for does no harm.
    wire.say(b"PONG\r\n")?;
    Ok(wire)
}

/// Where the message ends that answers a request. A `PING` before it is left unanswered: two may be, minutes apart.
fn message(bytes: &[u8]) -> anyhow::Result<Option<usize>> {
    let mut begin = 0;
    while let Some((said, end)) = line(&bytes[begin..]) {
        begin += end;
        if said == b"PING" {
            continue;
        }
        let text = std::str::from_utf8(said)?;
        ensure!(text.starts_with("MSG "), "answered {text}");
        let length: usize = text.rsplit(' ').next().unwrap_or_default().parse()?;
        let Some(payload) = bytes.get(begin..begin + length) else { return Ok(None) };
        if payload.windows(7).any(|window| window == b"\"error\"") {
            bail!("answered {}", String::from_utf8_lossy(payload));
        }
        return Ok(Some(begin + length + 2).filter(|end| bytes.len() >= *end));
    }
    Ok(None)
}

struct Publishes(Turns);

fn publish(mailbox: usize, inbox: &str) -> Vec<u8> {
    let body = body();
    [format!("PUB box.{mailbox} {inbox} {}\r\n", body.len()).as_bytes(), &body, b"\r\n"].concat()
}

impl Client for Publishes {
    fn request(&mut self) -> &[u8] {
        self.0.next()
    }

    fn acknowledged(&mut self, bytes: &[u8]) -> anyhow::Result<Option<usize>> {
        message(bytes)
    }
}
