//! What `strace` wrote down of a relay, as events in their order: what was written to which file, what was synced, what was
//! asked on which connection and what answered.

use std::collections::HashMap;

use anyhow::{Context, bail};

/// One call that matters.
#[derive(Debug)]
pub(crate) enum Event {
    /// Bytes went into the page cache.
    Write {
        file: String,
        offset: usize,
        bytes: Vec<u8>,
        thread: u32,
    },
    Truncate {
        file: String,
        length: usize,
    },
    /// A thread begins a sync in whose course another thread does something, perhaps to the same file.
    Syncing {
        file: String,
        thread: u32,
    },
    /// A thread's sync returned.
    Sync {
        file: String,
        thread: u32,
    },
    /// A request was read, on the connection from this port.
    Asked {
        port: u16,
    },
    /// An answer is about to be written there.
    Answered {
        port: u16,
        status: u16,
    },
}

/// The calls to be traced, and how: every byte as hexadecimal, descriptors with their paths and peers. Syncs take longer, so that the
/// relay has several under way at once, as on a slow disk.
pub(crate) fn options() -> Vec<String> {
    let calls = "pwrite64,fsync,fdatasync,ftruncate,unlink,rename,read,readv,recvfrom,write,writev,sendto";
    let slow = format!("inject=fdatasync:delay_exit={SYNC_MICROS}");
    ["-yy", "-xx", "-s", "70000", "-e", &format!("trace={calls}"), "-e", &slow].map(String::from).to_vec()
}

/// The events of a trace. What writes counts from the call's end, as do syncs, for what was written before they began; an answer
/// from its beginning, so that nothing is called promised too late.
pub(crate) fn events(trace: &str) -> anyhow::Result<Vec<Event>> {
    let (mut events, mut unfinished) = (Vec::new(), HashMap::new());
    for line in trace.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let (call, number) = (call.trim_start(), thread.parse().unwrap_or_default());
        let parsed = if let Some(begun) = call.strip_suffix("<unfinished ...>") {
            unfinished.insert(thread, begun);
            answer(begun).or_else(|| syncing(begun, number))
        } else if let Some(resumed) = call.strip_prefix("<... ") {
            let begun = unfinished.remove(thread).unwrap_or_default();
            let rest = resumed.split_once(" resumed>").map_or("", |(_, rest)| rest);
            let whole = format!("{begun}{rest}");
            if answer(begun).is_some() { None } else { event(&whole, number).with_context(|| short(&whole))? }
        } else {
            event(call, number).with_context(|| short(call))?
        };
        events.extend(parsed);
    }
    Ok(events)
}

fn event(call: &str, thread: u32) -> anyhow::Result<Option<Event>> {
    let Some((name, rest)) = call.split_once('(') else { return Ok(None) };
    let Some((arguments, outcome)) = rest.rsplit_once(" = ") else { return Ok(None) };
    let outcome: i64 = outcome.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(-1);
    if outcome < 0 {
        return Ok(None);
    }
    let numbers = || -> Vec<usize> {
        let tail = arguments.rsplit_once(['"', '>']).map_or("", |(_, tail)| tail);
        tail.split([',', ' ', ')']).filter_map(|number| number.parse().ok()).collect()
    };
    Ok(match name {
        "pwrite64" => {
            let Some(file) = file(arguments) else { return Ok(None) };
            let text = arguments.split('"').nth(1).context("bytes")?;
            let (mut bytes, numbers) = (unhex(text), numbers());
            let offset = *numbers.get(1).context("an offset")?;
            bytes.truncate(outcome as usize);
            Some(Event::Write { file, offset, bytes, thread })
        }
        "ftruncate" => match file(arguments) {
            Some(file) => Some(Event::Truncate { file, length: *numbers().first().context("a length")? }),
            None => None,
        },
        "fsync" | "fdatasync" => file(arguments).map(|file| Event::Sync { file, thread }),
        "unlink" | "rename" => bail!("a file was moved or removed, which this model does not know"),
        "read" | "readv" | "recvfrom" => {
            let asks = data(arguments).is_some_and(|data| data.starts_with(GET) || data.starts_with(POST));
            peer(arguments).filter(|_| asks).map(|port| Event::Asked { port })
        }
        _ => answer(call),
    })
}

/// The answer that a call begins, if it is one.
fn answer(call: &str) -> Option<Event> {
    let arguments = ["write(", "writev(", "sendto("].iter().find_map(|name| call.strip_prefix(name))?;
    let head = data(arguments)?.strip_prefix(HTTP)?;
    let status = String::from_utf8(unhex(head.get(..12)?)).ok()?.parse().ok()?;
    Some(Event::Answered { port: peer(arguments)?, status })
}

/// The sync that a call begins, if it is one.
fn syncing(call: &str, thread: u32) -> Option<Event> {
    let arguments = ["fsync(", "fdatasync("].iter().find_map(|name| call.strip_prefix(name))?;
    Some(Event::Syncing { file: file(arguments)?, thread })
}

/// The file behind the descriptor, by its name, where it is one of the database's.
fn file(arguments: &str) -> Option<String> {
    let path = arguments.split_once('<')?.1.split_once('>')?.0;
    let path = String::from_utf8(unhex(path)).ok()?;
    let name = path.rsplit('/').next()?;
    (name == DATABASE || name == LOG).then(|| name.to_string())
}

/// The port at the other end of a TCP connection.
fn peer(arguments: &str) -> Option<u16> {
    arguments.split_once("<TCP:[")?.1.split_once("]>")?.0.rsplit_once(':')?.1.parse().ok()
}

/// The first bytes that a call gives or takes, as hexadecimal.
fn data(arguments: &str) -> Option<&str> {
    arguments.split('"').nth(1)
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap_or(0) as u8;
    text.as_bytes().chunks_exact(4).map(|escape| digit(escape[2]) << 4 | digit(escape[3])).collect()
}

fn short(call: &str) -> String {
    call.chars().take(200).collect()
}

const SYNC_MICROS: u32 = 4_000;
pub(crate) const DATABASE: &str = "restante.db";
pub(crate) const LOG: &str = "restante.db-wal";
const HTTP: &str = "\\x48\\x54\\x54\\x50\\x2f\\x31\\x2e\\x31\\x20";
const GET: &str = "\\x47\\x45\\x54\\x20";
const POST: &str = "\\x50\\x4f\\x53\\x54\\x20";
