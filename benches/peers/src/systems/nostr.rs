//! nostr-rs-relay: events over WebSocket, signed by their author. They are signed before the clock runs, as sealed bodies are
//! sealed before.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secp256k1::Keypair;
use sha2::{Digest, Sha256};

use super::wire::Wire;
use super::{Acknowledged, Peer, Running, Share, body, said};
use crate::child::{Place, free_port};
use crate::load::Client;

/// Where its program is, if it could be built.
pub(super) struct Nostr(pub(super) Option<PathBuf>);

impl Nostr {
    fn program(&self) -> anyhow::Result<&PathBuf> {
        self.0.as_ref().filter(|path| path.is_file()).context("there is no nostr-rs-relay (run.sh builds it from crates.io)")
    }
}

impl Peer for Nostr {
    fn name(&self) -> &'static str {
        "nostr-rs-relay"
    }

    fn version(&self) -> anyhow::Result<String> {
        said(self.program()?, &["--version"])
    }

    fn settings(&self) -> &'static str {
        "defaults (SQLite, which it sets to synchronous=NORMAL; no rate limit); EVENT of kind 4 with the body in base64, an \
         author for each connection"
    }

    fn acknowledged(&self) -> Acknowledged {
        Acknowledged { on_disk: false, means: "OK after the commit; the log is synced at checkpoints only" }
    }

    fn start(&self, place: &Place) -> anyhow::Result<Running> {
        let at = free_port()?;
        let config = format!("[info]\nrelay_url = \"ws://{at}/\"\n[network]\naddress = \"127.0.0.1\"\nport = {}\n", at.port());
        let config = place.write("config.toml", &config)?;
        let mut command = place.command(self.program()?);
        let mut child = place.start(command.args(["--config", &config, "--db"]).arg(place.path()), false)?;
        child.until(|| greet(at))?;
        let connect = move |_: Share| {
            let events = Events::new()?;
            Ok((greet(at)?.done()?, Box::new(events) as Box<dyn Client>))
        };
        Ok(Running::Server { children: vec![child], connect: Box::new(connect) })
    }
}

/// Asks for a WebSocket.
fn greet(at: std::net::SocketAddr) -> anyhow::Result<Wire> {
    let mut wire = Wire::dial(at)?;
    let key = STANDARD.encode(::restante::crypto::random::bytes::<16>());
    let hello = format!(
        "GET / HTTP/1.1\r\nHost: {at}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n\
         Sec-WebSocket-Version: 13\r\n\r\n"
    );
    wire.say(hello.as_bytes())?;
    wire.hear(|bytes| {
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
        ensure!(bytes.starts_with(b"HTTP/1.1 101"), "answered {}", String::from_utf8_lossy(&bytes[..end]));
        Ok(Some(((), end + 4)))
    })?;
    Ok(wire)
}

/// One author's events.
struct Events {
    key: Keypair,
    author: String,
    recipient: String,
    content: String,
    now: u64,
    made: u64,
    ready: Vec<Vec<u8>>,
    frame: Vec<u8>,
}

impl Events {
    fn new() -> anyhow::Result<Self> {
        let key = Keypair::from_secret_bytes(::restante::crypto::random::bytes())?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let recipient = hex(&::restante::crypto::random::bytes::<32>());
        let author = hex(&key.x_only_public_key().0.to_byte_array());
        let content = STANDARD.encode(body());
        let mut events = Self { key, author, recipient, content, now, made: 0, ready: Vec::new(), frame: Vec::new() };
        events.ready = (0..PREPARED).map(|_| events.make()).collect();
        Ok(events)
    }

    /// The next event (NIP-01), which differs from the last by a tag, in a frame.
    fn make(&mut self) -> Vec<u8> {
        self.made += 1;
        let Self { author, recipient, content, now, made, .. } = self;
        let tags = format!("[[\"p\",\"{recipient}\"],[\"n\",\"{made}\"]]");
        let id = Sha256::digest(format!("[0,\"{author}\",{now},4,{tags},\"{content}\"]"));
        let signature = hex(&self.key.sign_schnorr_no_aux_rand(&id).to_byte_array());
        let event = format!(
            "[\"EVENT\",{{\"id\":\"{}\",\"pubkey\":\"{author}\",\"created_at\":{now},\"kind\":4,\"tags\":{tags},\
             \"content\":\"{content}\",\"sig\":\"{signature}\"}}]",
            hex(&id)
        );
        // A text frame; masked, as a client's must be, with the mask that changes nothing.
        let length = (event.len() as u16).to_be_bytes();
        [&[0x81, 0x80 | 126, length[0], length[1], 0, 0, 0, 0], event.as_bytes()].concat()
    }
}

impl Client for Events {
    fn request(&mut self) -> &[u8] {
        self.frame = match self.ready.pop() {
            Some(frame) => frame,
            None => self.make(),
        };
        &self.frame
    }

    /// `["OK",ID,true,…]`; notices are errors, pings are passed over.
    fn acknowledged(&mut self, bytes: &[u8]) -> anyhow::Result<Option<usize>> {
        let mut begin = 0;
        while let Some(head) = bytes.get(begin..begin + 2) {
            let (length, more) = match head[1] {
                126 => match bytes.get(begin + 2..begin + 4) {
                    Some(length) => (usize::from(u16::from_be_bytes([length[0], length[1]])), 4),
                    None => return Ok(None),
                },
                length => (usize::from(length), 2),
            };
            let Some(said) = bytes.get(begin + more..begin + more + length) else { return Ok(None) };
            begin += more + length;
            if head[0] == 0x81 {
                let text = std::str::from_utf8(said)?;
                ensure!(text.starts_with("[\"OK\"") && text.contains(",true,"), "answered {text}");
                return Ok(Some(begin));
            }
            ensure!(head[0] == 0x89, "a frame of kind {:#x}", head[0]);
        }
        Ok(None)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// For each connection; what it sends beyond them it signs as it goes.
const PREPARED: usize = 400;
