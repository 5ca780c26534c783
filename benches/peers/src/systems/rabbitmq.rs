//! RabbitMQ, AMQP 0-9-1, with queues of two kinds.

use anyhow::{bail, ensure};

use super::wire::Wire;
use super::{Acknowledged, MAILBOXES, Peer, Running, Share, Turns, body};
use crate::child::{Place, free_port, program};
use crate::load::Client;

pub(super) enum RabbitMq {
    Classic,
    /// By Raft, here with one member each.
    Quorum,
}

impl Peer for RabbitMq {
    fn name(&self) -> &'static str {
        match self {
            Self::Classic => "RabbitMQ",
            Self::Quorum => "RabbitMQ, quorum queues",
        }
    }

    fn version(&self) -> anyhow::Result<String> {
        program("rabbitmq-server", PACKAGE, &BINARIES)?;
        let releases = std::fs::read_dir("/usr/lib/rabbitmq/lib").into_iter().flatten().flatten();
        let names = releases.filter_map(|entry| entry.file_name().into_string().ok());
        let version = names.filter_map(|name| name.strip_prefix("rabbitmq_server-").map(str::to_owned)).max();
        Ok(format!("RabbitMQ {}", version.as_deref().unwrap_or("of an unknown version")))
    }

    fn settings(&self) -> &'static str {
        match self {
            Self::Classic => {
                "defaults, no plugins; persistent messages into durable classic queues, publisher confirms, a queue for each mailbox"
            }
            Self::Quorum => {
                "defaults, no plugins; messages into quorum queues of one member, publisher confirms, a queue for each mailbox"
            }
        }
    }

    fn acknowledged(&self) -> Acknowledged {
        let means = match self {
            Self::Classic => "confirm after the queue's journal was synced (version 1 of these queues, the default before 4.0)",
            Self::Quorum => {
                "confirm after the fdatasync of the node's write-ahead log, one for all queues' entries that came together"
            }
        };
        Acknowledged { on_disk: true, means }
    }

    fn start(&self, place: &Place) -> anyhow::Result<Running> {
        let (at, dist, epmd) = (free_port()?, free_port()?, free_port()?.port().to_string());
        // Erlang would start it as a daemon that stays.
        let mut mapper = place.command(&program("epmd", "erlang-base", &[])?);
        let mapper = place.start(mapper.args(["-address", "127.0.0.1", "-port", &epmd]), false)?;
        let mut command = place.command(&program("rabbitmq-server", PACKAGE, &BINARIES)?);
        let mut set = |name: &str, value: &str| {
            command.env(format!("RABBITMQ_{name}"), value);
        };
        set("NODENAME", "bench@localhost");
        set("NODE_IP_ADDRESS", "127.0.0.1");
        set("NODE_PORT", &at.port().to_string());
        set("DIST_PORT", &dist.port().to_string());
        set("MNESIA_BASE", &place.at("data"));
        set("LOG_BASE", &place.at("log"));
        set("CONFIG_FILE", &place.at("rabbitmq"));
        set("CONF_ENV_FILE", &place.at("no-environment"));
        set("ENABLED_PLUGINS_FILE", &place.write("plugins", "[].\n")?);
        set("PID_FILE", &place.at("pid"));
        command.env("ERL_EPMD_PORT", &epmd).env("ERL_EPMD_ADDRESS", "127.0.0.1");
        // The script becomes the server, and does not stay in front of it: what ends it ends the server.
        command.env("RUNNING_UNDER_SYSTEMD", "1");
        let mut child = place.start(&mut command, false)?;
        let mut wire = child.until(|| greet(at))?;
        let arguments = match self {
            Self::Classic => long(""),
            Self::Quorum => long_bytes(&[short("x-queue-type").as_slice(), b"S", &long("quorum")].concat()),
        };
        for mailbox in 0..MAILBOXES {
            // queue.declare, durable.
            let declare = [&[0, 50, 0, 10, 0, 0], short(&name(mailbox)).as_slice(), &[0b10], &arguments].concat();
            call(&mut wire, 1, &declare, (50, 11))?;
        }
        let connect = move |share: Share| {
            let mut wire = greet(at)?;
            // confirm.select
            call(&mut wire, 1, &[0, 85, 0, 10, 0], (85, 11))?;
            Ok((wire.done()?, Box::new(Publishes(Turns::new(share, publish))) as Box<dyn Client>))
        };
        Ok(Running::Server { children: vec![child, mapper], connect: Box::new(connect) })
    }
}

/// Opens a connection and its first channel.
fn greet(at: std::net::SocketAddr) -> anyhow::Result<Wire> {
    let mut wire = Wire::dial(at)?;
    wire.say(b"AMQP\0\0\x09\x01")?;
    answer(&mut wire, (10, 10))?;
    let start = [&[0, 10, 0, 11, 0, 0, 0, 0], short("PLAIN").as_slice(), &long("\0guest\0guest"), &short("en_US")].concat();
    call(&mut wire, 0, &start, (10, 30))?;
    // One channel, frames of 128 KiB, no heartbeats.
    wire.say(&frame(1, 0, &[0, 10, 0, 31, 0, 1, 0, 2, 0, 0, 0, 0]))?;
    call(&mut wire, 0, &[&[0, 10, 0, 40], short("/").as_slice(), &[0, 0]].concat(), (10, 41))?;
    call(&mut wire, 1, &[0, 20, 0, 10, 0], (20, 11))?;
    Ok(wire)
}

fn call(wire: &mut Wire, channel: u16, method: &[u8], wanted: (u16, u16)) -> anyhow::Result<()> {
    wire.say(&frame(1, channel, method))?;
    answer(wire, wanted)
}

fn answer(wire: &mut Wire, wanted: (u16, u16)) -> anyhow::Result<()> {
    wire.hear(|bytes| Ok(method(bytes, wanted)?.map(|end| ((), end))))
}

/// Where the frame ends that holds this method; any other is an error.
fn method(bytes: &[u8], wanted: (u16, u16)) -> anyhow::Result<Option<usize>> {
    let Some(head) = bytes.get(..7) else { return Ok(None) };
    let end = 7 + u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize + 1;
    let Some(content) = bytes.get(7..end) else { return Ok(None) };
    ensure!(head[0] == 1 && content.len() >= 4, "a frame of kind {}", head[0]);
    let found = (u16::from_be_bytes([content[0], content[1]]), u16::from_be_bytes([content[2], content[3]]));
    if found != wanted {
        bail!("answered {found:?} and not {wanted:?}: {}", String::from_utf8_lossy(content));
    }
    Ok(Some(end))
}

fn frame(kind: u8, channel: u16, content: &[u8]) -> Vec<u8> {
    let (channel, length) = (channel.to_be_bytes(), (content.len() as u32).to_be_bytes());
    [&[kind], channel.as_slice(), &length, content, &[0xce]].concat()
}

fn short(text: &str) -> Vec<u8> {
    [&[text.len() as u8], text.as_bytes()].concat()
}

fn long(text: &str) -> Vec<u8> {
    long_bytes(text.as_bytes())
}

fn long_bytes(bytes: &[u8]) -> Vec<u8> {
    [(bytes.len() as u32).to_be_bytes().as_slice(), bytes].concat()
}

fn name(mailbox: usize) -> String {
    format!("box{mailbox}")
}

struct Publishes(Turns);

/// basic.publish through the default exchange, delivery mode 2 (persistent).
fn publish(mailbox: usize) -> Vec<u8> {
    let body = body();
    let publish = [&[0, 60, 0, 40, 0, 0, 0], short(&name(mailbox)).as_slice(), &[0]].concat();
    let length = (body.len() as u64).to_be_bytes();
    let header = [&[0, 60, 0, 0], length.as_slice(), &[0x10, 0, 2]].concat();
    [frame(1, 1, &publish), frame(2, 1, &header), frame(3, 1, &body)].concat()
}

impl Client for Publishes {
    fn request(&mut self) -> &[u8] {
        self.0.next()
    }

    /// basic.ack
    fn acknowledged(&mut self, bytes: &[u8]) -> anyhow::Result<Option<usize>> {
        method(bytes, (60, 80))
    }
}

const PACKAGE: &str = "rabbitmq-server";
/// Not Debian's wrapper, which becomes another user.
const BINARIES: [&str; 1] = ["/usr/lib/rabbitmq/bin"];
