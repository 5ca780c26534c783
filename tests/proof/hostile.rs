//! Slow and hostile clients: connections that say nothing, half a head or half a body, or take no reply; more of them than the
//! relay has descriptors for; and bytes that are no request, or one and a hidden one. Meanwhile fresh requests are answered,
//! all of them; what is held is closed when its time is over; memory stays below a bound. The count is how many are held of
//! each kind.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use restante::protocol::EnvelopeId;
use rustix::process::{Resource, Rlimit, getrlimit, prlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::http::Line;
use crate::people::{Device, id_by};
use crate::random::Random;
use crate::relay::{Place, Relay};
use crate::shapes;
use crate::usage::Usage;
use crate::{Outcome, Plan};

/// A way to hold a connection.
struct Kind {
    name: &'static str,
    /// What is sent; with `{session}` for a session.
    bytes: &'static str,
    /// So often.
    times: usize,
    /// Nothing of a reply is taken.
    deaf: bool,
    /// Of the count, one in so many.
    one_in: usize,
    /// What the relay may have in memory for each, beside `MEMORY_BASE`.
    memory: u64,
}

#[rustfmt::skip]
const KINDS: &[Kind] = &[
    Kind { name: "silent", bytes: "", deaf: false, times: 1, one_in: 1, memory: MEMORY_EACH },
    Kind { name: "idle after a request", bytes: "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", deaf: false, times: 1, one_in: 1, memory: MEMORY_EACH },
    Kind { name: "half a head", bytes: "POST /v1/envelopes HTTP/1.1\r\nHost: a\r\nContent-Ty", deaf: false, times: 1, one_in: 1, memory: MEMORY_EACH },
    Kind { name: "half a body", bytes: "POST /v1/envelopes HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 200000\r\n\r\n{\"token\":", deaf: false, times: 1, one_in: 10, memory: MEMORY_EACH },
    Kind { name: "taking no reply", bytes: "GET /v1/envelopes HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {session}\r\n\r\n", deaf: true, times: 1, one_in: 10, memory: PAGE_BYTES },
    // More than the system's buffers take: what is left is in the relay until it gives up.
    Kind { name: "taking none of five replies", bytes: "GET /v1/envelopes HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {session}\r\n\r\n", deaf: true, times: 5, one_in: 100, memory: 2 * PAGE_BYTES },
];

pub(crate) fn run(plan: &Plan) -> anyhow::Result<Outcome> {
    let own = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: own.maximum, maximum: own.maximum })?;
    if own.maximum.is_some_and(|most| most < (plan.count + SPARE) as u64) {
        return Ok(Outcome::Skipped(format!("{:?} descriptors are too few for {} connections", own.maximum, plan.count)));
    }
    // So many take a while to open.
    let secs = if plan.count > 1_000 { 10 } else { 2 };
    let place =
        Place::new(&plan.dir).set("LIMITS__HEAD_SECS", secs).set("LIMITS__BODY_SECS", secs).set("LIMITS__IDLE_SECS", secs);
    // Fresh sends all go to one mailbox.
    let place = place.set("LIMITS__MAILBOX_ENVELOPES_MAX", 1_000_000).set("LIMITS__MAILBOX_BYTES_MAX", 1_u64 << 40);
    let relay = place.start()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut random = Random::new(plan.seed);
    let mut device = Device::generate();
    device.settle(&relay, 2)?;
    let mut line = Line::new(relay.address);
    for _ in 0..PAGE_ENVELOPES {
        device.send(&mut line, 0, &id_by(&mut random), 16_384)?.expect::<serde_json::Value>(202)?;
    }
    let (mut held, mut memory) = (0, 0);
    for kind in KINDS {
        let count = plan.count.div_ceil(kind.one_in);
        // What was needed once is not given back to the system.
        memory = u64::max(memory, kind.memory * count as u64);
        let session = device.login(&relay, &mut Line::new(relay.address))?;
        held += wave(&runtime, &relay, &device, kind, (count, MEMORY_BASE + memory), &session, &mut random)
            .with_context(|| kind.name)?;
    }
    held += out_of_descriptors(&runtime, &relay, &device, &mut random).context("out of descriptors")?;
    let shapes = shapes::run(&runtime, relay.address, || fresh(&relay, &device, &id_by(&mut random)).map(drop))?;
    relay.stop()?;
    place.check()?;
    Ok(Outcome::Held(
        (held + shapes) as u64,
        format!(
            "{held} connections held and closed in time, {shapes} shapes that are no request: every fresh request was answered"
        ),
    ))
}

/// Holds so many at once until the relay has closed them all.
fn wave(
    runtime: &Runtime,
    relay: &Relay,
    device: &Device,
    kind: &'static Kind,
    (count, bound): (usize, u64),
    session: &str,
    random: &mut Random,
) -> anyhow::Result<usize> {
    let before = Usage::of(relay.pid)?;
    let bytes = kind.bytes.replace("{session}", session).repeat(kind.times);
    let mut opened = 0;
    let watched = watch(relay, device, random, || {
        let held = runtime.block_on(open(relay.address, count, &bytes, kind.deaf))?;
        opened = held.len();
        if kind.deaf {
            // Its reply is on its way; it can't see that it was cut before it reads, and it does not.
            runtime.block_on(async {
                for stream in &held {
                    stream.readable().await?;
                }
                Ok::<_, std::io::Error>(())
            })?;
            closed(relay, device, before.descriptors, count)?;
            drop(held);
            return Ok(());
        }
        runtime.block_on(ended(held))
    })?;
    ensure!(opened >= count * 9 / 10, "{opened} of {count} could be opened");
    closed(relay, device, before.descriptors, count)?;
    println!(
        "hostile: {count} {}: at most {} at once, closed after {:.1} s; {}; {} MiB at most, {} may be",
        kind.name,
        watched.most.descriptors.saturating_sub(before.descriptors),
        watched.secs,
        watched.latency(),
        watched.most.resident >> 20,
        bound >> 20
    );
    ensure!(watched.most.resident <= bound, "{} bytes resident, {bound} may be", watched.most.resident);
    Ok(count)
}

/// With fewer descriptors than the relay counts on, so that `accept` itself fails.
fn out_of_descriptors(runtime: &Runtime, relay: &Relay, device: &Device, random: &mut Random) -> anyhow::Result<usize> {
    let before = Usage::of(relay.pid)?;
    let few = Rlimit { current: Some(before.descriptors + FEW), maximum: getrlimit(Resource::Nofile).maximum };
    let own = prlimit(Some(relay.pid), Resource::Nofile, few)?;
    let count = 4 * FEW as usize;
    let watched = watch(relay, device, random, || {
        let held = runtime.block_on(open(relay.address, count, "", false))?;
        runtime.block_on(ended(held))
    })?;
    prlimit(Some(relay.pid), Resource::Nofile, own)?;
    println!("hostile: {count} silent for {FEW} descriptors: {}", watched.latency());
    Ok(count)
}

/// What fresh requests met with while something went on.
struct Watched {
    secs: f64,
    micros: Vec<u128>,
    most: Usage,
}

impl Watched {
    fn latency(&self) -> String {
        let mut micros = self.micros.clone();
        micros.sort_unstable();
        let at = |percent: usize| micros.get(micros.len() * percent / 100).copied().unwrap_or_default() as f64 / 1_000.0;
        format!("{} fresh sends, p50 {:.1} ms, p99 {:.1} ms", micros.len(), at(50), at(99))
    }
}

/// Does something, while sends on fresh connections follow each other; each of them must be accepted.
fn watch(
    relay: &Relay,
    device: &Device,
    random: &mut Random,
    act: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Watched> {
    let (over, began) = (AtomicBool::new(false), Instant::now());
    let watched = Mutex::new(Watched { secs: 0.0, micros: Vec::new(), most: Usage::default() });
    let mut random = random.fork();
    let acted = thread::scope(|scope| {
        let watcher = scope.spawn(|| -> anyhow::Result<()> {
            while !over.load(Ordering::SeqCst) {
                let micros = fresh(relay, device, &id_by(&mut random))?;
                let mut watched = watched.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                watched.micros.push(micros);
                watched.most = watched.most.max(Usage::of(relay.pid)?);
            }
            Ok(())
        });
        let acted = act();
        over.store(true, Ordering::SeqCst);
        watcher.join().expect("the watcher panicked").and(acted)
    });
    acted?;
    let mut watched = watched.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    watched.secs = began.elapsed().as_secs_f64();
    ensure!(!watched.micros.is_empty(), "no fresh request was made");
    Ok(watched)
}

/// One send on a connection of its own; how long it took.
fn fresh(relay: &Relay, device: &Device, id: &EnvelopeId) -> anyhow::Result<u128> {
    let began = Instant::now();
    let reply = device.send(&mut Line::new(relay.address), 1, id, 1_024).context("a fresh request")?;
    reply.expect::<serde_json::Value>(202).context("a fresh send")?;
    Ok(began.elapsed().as_micros())
}

/// Opens so many connections and says the same on each.
async fn open(relay: SocketAddr, count: usize, bytes: &str, deaf: bool) -> anyhow::Result<Vec<TcpStream>> {
    let mut held = Vec::with_capacity(count);
    for first in (0..count).step_by(AT_ONCE) {
        let mut opening = JoinSet::new();
        for at in first..count.min(first + AT_ONCE) {
            let bytes = bytes.to_string();
            opening.spawn(async move {
                let socket = TcpSocket::new_v4()?;
                // Ports of several addresses: one has too few for everybody who was here within a minute.
                socket.bind((Ipv4Addr::new(127, 0, 1, 1 + (at / 2_000) as u8), 0).into())?;
                if deaf {
                    socket.set_recv_buffer_size(4_096)?;
                }
                let mut stream = socket.connect(relay).await?;
                stream.write_all(bytes.as_bytes()).await?;
                Ok::<_, std::io::Error>(stream)
            });
        }
        // One that the relay hung up on at once is none that it holds.
        held.extend(opening.join_all().await.into_iter().flatten());
    }
    Ok(held)
}

/// Waits until each has been closed by the relay.
async fn ended(held: Vec<TcpStream>) -> anyhow::Result<()> {
    let mut ending = JoinSet::new();
    for mut stream in held {
        ending.spawn(async move {
            let mut reply = Vec::new();
            tokio::time::timeout(PATIENCE, stream.read_to_end(&mut reply)).await.is_ok()
        });
    }
    let open = ending.join_all().await.into_iter().filter(|closed| !closed).count();
    ensure!(open == 0, "{open} are still open long after their time");
    Ok(())
}

/// Waits until the relay has given back what it had more than before.
fn closed(relay: &Relay, device: &Device, before: u64, count: usize) -> anyhow::Result<()> {
    let (began, mut random) = (Instant::now(), Random::new(before));
    while Usage::of(relay.pid)?.descriptors > before + DESCRIPTORS_MORE {
        fresh(relay, device, &id_by(&mut random))?;
        if began.elapsed() > PATIENCE + PATIENCE_EACH * count as u32 {
            bail!("{} descriptors are open, {before} were before", Usage::of(relay.pid)?.descriptors);
        }
    }
    Ok(())
}

/// Descriptors of our own beside the connections.
const SPARE: usize = 200;
/// Connections that are opened together; the system's backlog is longer.
const AT_ONCE: usize = 100;
/// What a relay has in memory that serves nobody, in a build that is not optimized.
const MEMORY_BASE: u64 = 96 << 20;
/// Of a connection that is held.
const MEMORY_EACH: u64 = 20 << 10;
/// As many as one page holds, of 16 KiB.
const PAGE_ENVELOPES: usize = 62;
/// A page as it is written.
const PAGE_BYTES: u64 = 1_500_000;
/// So many descriptors are left.
const FEW: u64 = 40;
/// The store's, which come and go.
const DESCRIPTORS_MORE: u64 = 2;
/// Beyond every deadline: only what is never closed is waited for so long.
const PATIENCE: Duration = Duration::from_secs(25);
/// Of many pages each takes its time to be made, in a build that is not optimized.
const PATIENCE_EACH: Duration = Duration::from_millis(300);
