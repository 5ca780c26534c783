//! The systems: how each is started, what a send to it is, and what its acknowledgement promises. A file each.

mod http;
mod mosquitto;
mod nats;
mod nostr;
mod postgres;
mod rabbitmq;
mod redis;
mod restante;
mod sqlite;
mod wire;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::child::{Place, Started};
use crate::load::{Lane, Outcome};

/// One system.
pub(crate) trait Peer {
    fn name(&self) -> &'static str;

    /// What it says that it is; an error where it cannot be had, with the reason.
    fn version(&self) -> anyhow::Result<String>;

    /// What differs from its defaults, and what one send is.
    fn settings(&self) -> &'static str;

    fn acknowledged(&self) -> Acknowledged;

    /// A user that it can run as, where it refuses to run as root.
    fn not_root(&self) -> Option<&'static str> {
        None
    }

    /// Starts it on nothing, ready for sends to every mailbox.
    fn start(&self, place: &Place) -> anyhow::Result<Running>;
}

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Errand {
    /// A send.
    Send,
    /// A send, and its taking: everything that waits is read, up to a page of a hundred, and removed.
    Through,
}

/// What a sender knows once it has been answered.
pub(crate) struct Acknowledged {
    /// Whether it is on the disk (fsync or fdatasync), so that a power cut leaves it there.
    pub(crate) on_disk: bool,
    pub(crate) means: &'static str,
}

/// A system that runs.
pub(crate) enum Running {
    /// A server, which is loaded over connections.
    Server { children: Vec<Started>, connect: Connect },
    /// A loop within this process, which is given its batch and its time.
    Loop(Box<dyn FnMut(usize, Duration) -> anyhow::Result<Outcome>>),
}

/// Opens one of so many connections.
pub(crate) type Connect = Box<dyn Fn(Share) -> anyhow::Result<Lane>>;

/// Which connection of how many. Every connection has mailboxes of its own, and sends to them in turns.
#[derive(Clone, Copy)]
pub(crate) struct Share {
    pub(crate) lane: usize,
    pub(crate) lanes: usize,
}

impl Share {
    /// All mailboxes are somebody's, whatever the number of connections.
    fn mailboxes(self) -> impl Iterator<Item = usize> {
        (self.lane % MAILBOXES..MAILBOXES).step_by(self.lanes.min(MAILBOXES))
    }
}

/// Requests that take turns.
struct Turns {
    requests: Vec<Vec<u8>>,
    next: usize,
}

impl Turns {
    fn new(share: Share, request: impl FnMut(usize) -> Vec<u8>) -> Self {
        Self { requests: share.mailboxes().map(request).collect(), next: 0 }
    }

    fn next(&mut self) -> &mut Vec<u8> {
        self.next = (self.next + 1) % self.requests.len();
        &mut self.requests[self.next]
    }

    /// The one of which the turn is.
    fn current(&self) -> usize {
        self.next
    }
}

/// All of them, in the order in which they are shown.
pub(crate) fn all(restante: &Path, nostr: Option<&Path>) -> Vec<Box<dyn Peer>> {
    vec![
        Box::new(restante::Restante(restante.to_owned(), Errand::Send)),
        Box::new(restante::Bare(restante.to_owned())),
        Box::new(sqlite::Sqlite),
        Box::new(redis::Redis(Errand::Send)),
        Box::new(postgres::Postgres(Errand::Send)),
        Box::new(rabbitmq::RabbitMq::Classic),
        Box::new(rabbitmq::RabbitMq::Quorum),
        Box::new(nats::Nats),
        Box::new(mosquitto::Mosquitto),
        Box::new(nostr::Nostr(nostr.map(PathBuf::from))),
        Box::new(restante::Restante(restante.to_owned(), Errand::Through)),
        Box::new(redis::Redis(Errand::Through)),
        Box::new(postgres::Postgres(Errand::Through)),
    ]
}

/// What a program prints about itself, the first line of it.
fn said(program: &Path, args: &[&str]) -> anyhow::Result<String> {
    let output = std::process::Command::new(program).args(args).output()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    Ok(text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("of an unknown version").to_string())
}

/// Random, as sealed bodies are.
fn body() -> [u8; BODY_BYTES] {
    ::restante::crypto::random::bytes()
}

/// Enough for the relay's limit of what one sender may leave in one mailbox.
pub(crate) const MAILBOXES: usize = 256;
pub(crate) const BODY_BYTES: usize = 1_024;
