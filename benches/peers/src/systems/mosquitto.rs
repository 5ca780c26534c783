//! Mosquitto, MQTT 3.1.1.

use anyhow::bail;

use super::wire::Wire;
use super::{Acknowledged, MAILBOXES, Peer, Running, Share, Turns, body, said};
use crate::child::{Place, free_port, program};
use crate::load::Client;

pub(super) struct Mosquitto;

impl Peer for Mosquitto {
    fn name(&self) -> &'static str {
        "Mosquitto"
    }

    fn version(&self) -> anyhow::Result<String> {
        said(&program("mosquitto", "mosquitto", &[])?, &["-h"])
    }

    fn settings(&self) -> &'static str {
        "persistence true, max_queued_messages 0; PUBLISH with QoS 1 to absent subscribers with persistent sessions, a topic \
         for each mailbox"
    }

    fn acknowledged(&self) -> Acknowledged {
        Acknowledged { on_disk: false, means: "PUBACK from memory; saved every 30 minutes and at its end" }
    }

    fn start(&self, place: &Place) -> anyhow::Result<Running> {
        let at = free_port()?;
        // As root it would become another user, who may not write here.
        let user = if rustix::process::geteuid().is_root() { "user root\n" } else { "" };
        let config = format!(
            "listener {} 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location {}/\n\
             max_queued_messages 0\nlog_type error\n{user}",
            at.port(),
            place.path().display()
        );
        let config = place.write("mosquitto.conf", &config)?;
        let mut command = place.command(&program("mosquitto", "mosquitto", &[])?);
        let mut child = place.start(command.args(["-c", &config]), false)?;
        child.until(|| greet(at, "first", true))?;
        // Somebody must want the messages, or they are dropped.
        for mailbox in 0..MAILBOXES {
            let mut wire = greet(at, &format!("box{mailbox}"), false)?;
            let topic = text(&format!("box/{mailbox}"));
            wire.say(&packet(0x82, &[&[0, 1], topic.as_slice(), &[1]].concat()))?;
            wire.hear(|bytes| whole(bytes, &[0x90, 3, 0, 1, 1]))?;
            wire.say(&[0xe0, 0])?;
        }
        let connect = move |share: Share| {
            let client = Publishes(Turns::new(share, publish));
            Ok((greet(at, &format!("lane{}", share.lane), true)?.done()?, Box::new(client) as Box<dyn Client>))
        };
        Ok(Running::Server { children: vec![child], connect: Box::new(connect) })
    }
}

/// Connects, with or without a session that outlives the connection.
fn greet(at: std::net::SocketAddr, name: &str, clean: bool) -> anyhow::Result<Wire> {
    let mut wire = Wire::dial(at)?;
    let flags = if clean { 2 } else { 0 };
    wire.say(&packet(0x10, &[text("MQTT").as_slice(), &[4, flags, 0, 0], &text(name)].concat()))?;
    wire.hear(|bytes| whole(bytes, &[0x20, 2, 0, 0]))?;
    Ok(wire)
}

fn packet(kind: u8, rest: &[u8]) -> Vec<u8> {
    let (mut packet, mut length) = (vec![kind], rest.len());
    while length > 0x7f {
        packet.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    packet.push(length as u8);
    packet.extend_from_slice(rest);
    packet
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat()
}

/// Waits for exactly these bytes.
fn whole(bytes: &[u8], wanted: &[u8]) -> anyhow::Result<Option<((), usize)>> {
    match bytes.get(..wanted.len()) {
        None => Ok(None),
        Some(found) if found == wanted => Ok(Some(((), wanted.len()))),
        Some(other) => bail!("answered {other:02x?}"),
    }
}

struct Publishes(Turns);

/// With one in flight, its number may always be the same.
fn publish(mailbox: usize) -> Vec<u8> {
    packet(0x32, &[text(&format!("box/{mailbox}")).as_slice(), &[0, 1], &body()].concat())
}

impl Client for Publishes {
    fn request(&mut self) -> &[u8] {
        self.0.next()
    }

    fn acknowledged(&mut self, bytes: &[u8]) -> anyhow::Result<Option<usize>> {
        Ok(whole(bytes, &[0x40, 2, 0, 1])?.map(|((), end)| end))
    }
}
