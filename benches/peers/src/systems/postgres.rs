//! PostgreSQL as a queue: a row for each envelope, taken with `SKIP LOCKED`.

use anyhow::{bail, ensure};

use super::wire::Wire;
use super::{Acknowledged, Errand, Peer, Running, Share, Turns, body, said};
use crate::child::{Place, free_port, program};
use crate::load::Client;

pub(super) struct Postgres(pub(super) Errand);

impl Peer for Postgres {
    fn name(&self) -> &'static str {
        match self.0 {
            Errand::Send => "PostgreSQL",
            Errand::Through => "PostgreSQL, taken too",
        }
    }

    fn version(&self) -> anyhow::Result<String> {
        // initdb comes with the server, psql without it.
        program("initdb", "postgresql", &BINARIES)?;
        said(&program("postgres", "postgresql", &BINARIES)?, &["--version"])
    }

    fn settings(&self) -> &'static str {
        match self.0 {
            Errand::Send => {
                "defaults (fsync, synchronous_commit), max_connections 300; a prepared INSERT and its commit, one table with an \
                 index by mailbox, as a queue that is read with SKIP LOCKED has it"
            }
            Errand::Through => {
                "the same; then one statement and its commit that reads up to 100 of the mailbox with SKIP LOCKED and deletes them"
            }
        }
    }

    fn acknowledged(&self) -> Acknowledged {
        Acknowledged { on_disk: true, means: "ready for the next after the log's fdatasync, shared by commits that wait" }
    }

    fn not_root(&self) -> Option<&'static str> {
        Some("postgres")
    }

    fn start(&self, place: &Place) -> anyhow::Result<Running> {
        let at = free_port()?;
        let data = place.at("data");
        let args = ["-D", &data, "-U", USER, "-A", "trust", "-E", "UTF8", "--locale", "C.UTF-8", "--no-sync"];
        place.run(place.command(&program("initdb", "postgresql", &BINARIES)?).args(args))?;
        let port = at.port().to_string();
        let mut command = place.command(&program("postgres", "postgresql", &BINARIES)?);
        command.args(["-D", &data, "-p", &port, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
        let mut child = place.start(command.args(["-c", "max_connections=300"]), false)?;
        let mut wire = child.until(|| greet(at))?;
        for statement in [
            "CREATE TABLE queue (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, mailbox int NOT NULL, body bytea NOT NULL)",
            "CREATE INDEX queue_mailbox ON queue (mailbox, id)",
        ] {
            wire.say(&message(b'Q', &[statement.as_bytes(), b"\0"].concat()))?;
            ready(&mut wire)?;
        }
        let errand = self.0;
        let connect = move |share: Share| {
            let mut wire = greet(at)?;
            // Of an int4 and a bytea, and of an int4.
            let insert = b"insert\0INSERT INTO queue (mailbox, body) VALUES ($1, $2)\0\0\x02\0\0\0\x17\0\0\0\x11";
            let take = [b"take\0", TAKE.as_bytes(), b"\0\0\x01\0\0\0\x17"].concat();
            wire.say(&[message(b'P', insert), message(b'P', &take), message(b'S', b"")].concat())?;
            ready(&mut wire)?;
            let (inserts, takes) = (Turns::new(share, insert_into), share.mailboxes().map(take_from).collect());
            Ok((wire.done()?, Box::new(Queue { errand, inserts, takes, taking: false }) as Box<dyn Client>))
        };
        Ok(Running::Server { children: vec![child], connect: Box::new(connect) })
    }
}

fn greet(at: std::net::SocketAddr) -> anyhow::Result<Wire> {
    let mut wire = Wire::dial(at)?;
    let parameters = format!("\0\x03\0\0user\0{USER}\0database\0postgres\0\0");
    wire.say(&[&(parameters.len() as u32 + 4).to_be_bytes(), parameters.as_bytes()].concat())?;
    ready(&mut wire)?;
    Ok(wire)
}

fn ready(wire: &mut Wire) -> anyhow::Result<()> {
    wire.hear(|bytes| Ok(answered(bytes)?.map(|(_, end)| ((), end))))
}

fn message(kind: u8, rest: &[u8]) -> Vec<u8> {
    [&[kind], (rest.len() as u32 + 4).to_be_bytes().as_slice(), rest].concat()
}

/// How many rows an answer has, and where it ends: with `ReadyForQuery`, whatever came before it.
fn answered(bytes: &[u8]) -> anyhow::Result<Option<(usize, usize)>> {
    let (mut begin, mut rows) = (0, 0);
    while let Some(head) = bytes.get(begin..begin + 5) {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let Some(rest) = bytes.get(begin + 5..begin + 1 + length) else { return Ok(None) };
        begin += 1 + length;
        match head[0] {
            b'D' => rows += 1,
            b'Z' => return Ok(Some((rows, begin))),
            b'E' => bail!("answered {}", String::from_utf8_lossy(rest).replace('\0', " ")),
            _ => {}
        }
    }
    Ok(None)
}

struct Queue {
    errand: Errand,
    inserts: Turns,
    /// By mailbox, as the inserts.
    takes: Vec<Vec<u8>>,
    taking: bool,
}

/// Bind, execute and sync, in the binary formats.
fn insert_into(mailbox: usize) -> Vec<u8> {
    let (body, mailbox) = (body(), mailbox as u32);
    let parameters = [&(body.len() as u32).to_be_bytes(), body.as_slice()].concat();
    let formats = b"\0insert\0\0\x01\0\x01\0\x02\0\0\0\x04";
    let bind = [formats.as_slice(), &mailbox.to_be_bytes(), &parameters, b"\0\0"].concat();
    [message(b'B', &bind), message(b'E', b"\0\0\0\0\0"), message(b'S', b"")].concat()
}

fn take_from(mailbox: usize) -> Vec<u8> {
    let formats = b"\0take\0\0\x01\0\x01\0\x01\0\0\0\x04";
    // The answer's formats: binary, all of them.
    let bind = [formats.as_slice(), &(mailbox as u32).to_be_bytes(), b"\0\x01\0\x01"].concat();
    [message(b'B', &bind), message(b'E', b"\0\0\0\0\0"), message(b'S', b"")].concat()
}

impl Client for Queue {
    fn request(&mut self) -> &[u8] {
        if self.taking { &self.takes[self.inserts.current()] } else { self.inserts.next() }
    }

    fn steps(&self) -> usize {
        if self.errand == Errand::Through { 2 } else { 1 }
    }

    fn acknowledged(&mut self, bytes: &[u8]) -> anyhow::Result<Option<usize>> {
        let Some((rows, end)) = answered(bytes)? else { return Ok(None) };
        ensure!(!self.taking || rows > 0, "what was inserted is not there");
        self.taking = self.errand == Errand::Through && !self.taking;
        Ok(Some(end))
    }
}

const TAKE: &str = "DELETE FROM queue WHERE id IN \
     (SELECT id FROM queue WHERE mailbox = $1 ORDER BY id LIMIT 100 FOR UPDATE SKIP LOCKED) RETURNING id, body";
const USER: &str = "bench";
/// Where Debian keeps what `pg_ctlcluster` calls.
const BINARIES: [&str; 4] =
    ["/usr/lib/postgresql/15/bin", "/usr/lib/postgresql/16/bin", "/usr/lib/postgresql/17/bin", "/usr/lib/postgresql/18/bin"];
