//! A long run of a steady, mixed load, by hand: a row each minute of what the relay uses, and at the end how fast its memory
//! grows. Nothing may be lost, descriptors must not grow and the log not get long. The count is how many minutes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::http::{Line, Told};
use crate::people::{Device, id_by};
use crate::random::Random;
use crate::relay::{At, Place};
use crate::usage::Usage;
use crate::world::World;
use crate::{Outcome, Plan};

pub(crate) fn run(plan: &Plan) -> anyhow::Result<Outcome> {
    let mut random = Random::new(plan.seed);
    let place = Place::new(&plan.dir);
    let relay = place.start()?;
    let world = World::settle(&relay, BOXES, TOKENS)?;
    let (pace, requests) = (Pace::default(), AtomicU64::new(0));
    let mut rows: Vec<Row> = Vec::new();
    println!("soak: minute  resident KiB  descriptors  log KiB  database KiB  live KiB  requests/s");
    let watched = thread::scope(|scope| {
        let (world, relay, pace, requests) = (&world, &relay, &pace, &requests);
        let mut workers = Vec::new();
        for _ in 0..SENDERS {
            let random = random.fork();
            workers.push(scope.spawn(move || pace.keep(SEND_EVERY, requests, sender(world, relay, random))));
        }
        for at in 0..RECEIVERS {
            let random = random.fork();
            workers.push(scope.spawn(move || pace.keep(RECEIVE_EVERY, requests, receiver(world, relay, at, random))));
        }
        let random = random.fork();
        workers.push(scope.spawn(move || pace.keep(NEWCOMER_EVERY, requests, newcomer(relay, random))));
        let watched = (|| {
            for minute in 1..=plan.count {
                if pace.wait(Instant::now() + MINUTE) {
                    break;
                }
                let row = Row::of(&place, relay, requests.swap(0, Ordering::Relaxed))?;
                println!("soak: {minute:6}  {row}");
                rows.push(row);
            }
            anyhow::Ok(())
        })();
        pace.stop();
        let outcomes = workers.into_iter().map(|worker| worker.join().expect("a worker panicked").map_err(anyhow::Error::from));
        outcomes.fold(watched, |so_far, outcome| so_far.and(outcome))
    });
    watched?;
    world.audit(&relay)?;
    world.drain(&relay)?;
    relay.stop()?;
    place.check()?;
    // What fills at first, and then stays, is no growth.
    let settled = &rows[rows.len().min(plan.count / 2)..];
    let (first, last) = (settled.first().context("a row")?, settled.last().context("a row")?);
    let log = rows.iter().map(|row| row.log).max().unwrap_or_default();
    ensure!(log <= LOG_BYTES_MAX, "the log was {log} bytes long");
    ensure!(
        last.usage.descriptors <= first.usage.descriptors + DESCRIPTORS_MORE,
        "{} descriptors were {}",
        last.usage.descriptors,
        first.usage.descriptors
    );
    let (accepted, acknowledged) = (world.sum(|book| book.accepted), world.sum(|book| book.acknowledged));
    Ok(Outcome::Held(
        accepted,
        format!(
            "{accepted} accepted and {acknowledged} acknowledged in {} minutes, 0 lost; memory grows by {:.2} MiB/h, the log was \
             {} KiB at most",
            rows.len(),
            slope(settled) / f64::from(1 << 20),
            log >> 10
        ),
    ))
}

/// One minute's end.
struct Row {
    usage: Usage,
    log: u64,
    database: u64,
    live: u64,
    requests: u64,
}

impl Row {
    fn of(place: &Place, relay: &crate::relay::Relay, requests: u64) -> anyhow::Result<Self> {
        let length = |name: &str| std::fs::metadata(place.data().join(name)).map_or(0, |file| file.len());
        let stats: Value = place.told(&["stats", "--json"])?;
        Ok(Self {
            usage: Usage::of(relay.pid)?,
            log: length("restante.db-wal"),
            database: length("restante.db"),
            live: stats["envelope_bytes"].as_u64().context("bytes that wait")?,
            requests: requests / MINUTE.as_secs(),
        })
    }
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { usage: Usage { resident, descriptors }, log, database, live, requests } = self;
        let [resident, log, database, live] = [resident, log, database, live].map(|bytes| bytes >> 10);
        write!(f, "{resident:12}  {descriptors:11}  {log:7}  {database:12}  {live:8}  {requests:10}")
    }
}

/// Bytes an hour, by least squares.
fn slope(rows: &[Row]) -> f64 {
    let count = rows.len() as f64;
    let (minutes, bytes) = ((count - 1.0) / 2.0, rows.iter().map(|row| row.usage.resident as f64).sum::<f64>() / count);
    let (mut above, mut below) = (0.0, 0.0);
    for (minute, row) in rows.iter().enumerate() {
        let minute = minute as f64 - minutes;
        above += minute * (row.usage.resident as f64 - bytes);
        below += minute * minute;
    }
    if below == 0.0 { 0.0 } else { above / below * 60.0 }
}

/// Keeps workers at their pace until somebody stops them.
#[derive(Default)]
struct Pace {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Pace {
    /// Does one thing after the other, each at its time; what is late is not made up for.
    fn keep(&self, every: Duration, requests: &AtomicU64, mut act: impl FnMut() -> Told<u64>) -> Told<()> {
        let outcome = loop {
            let next = Instant::now() + every;
            match act() {
                Ok(made) => requests.fetch_add(made, Ordering::Relaxed),
                Err(error) => break Err(error),
            };
            if self.wait(next) {
                break Ok(());
            }
        };
        self.stop();
        outcome
    }

    /// Until a moment; true when it is over before.
    fn wait(&self, until: Instant) -> bool {
        let mut stopped = self.stopped.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        while !*stopped {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            stopped = self.changed.wait_timeout(stopped, left).unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
        true
    }

    fn stop(&self) {
        *self.stopped.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = true;
        self.changed.notify_all();
    }
}

/// Sends to anybody, on a connection that is a new one now and then.
fn sender<'a>(world: &'a World, relay: &'a At, mut random: Random) -> impl FnMut() -> Told<u64> + 'a {
    let mut line = Line::new(relay.address);
    move || {
        if random.percent(2) {
            line = Line::new(relay.address);
        }
        let (to, token) = (&world.boxes[random.index(BOXES)], random.index(TOKENS));
        let (id, size) = (id_by(&mut random), [1_024, 1_024, 1_024, 4_096, 16_384][random.index(5)]);
        let status = to.send(&mut line, token, &id, size)?;
        if status != 202 {
            return Err(anyhow::anyhow!("a send was answered {status}").into());
        }
        Ok(1)
    }
}

/// Reads its mailboxes in turn, by a session that it takes anew now and then, and lets some of it lie.
fn receiver<'a>(world: &'a World, relay: &'a At, at: usize, mut random: Random) -> impl FnMut() -> Told<u64> + 'a {
    let mut line = Line::new(relay.address);
    let mut sessions: Vec<Option<String>> = vec![None; BOXES / RECEIVERS];
    move || {
        let which = random.index(sessions.len());
        let mailbox = &world.boxes[at + which * RECEIVERS];
        if random.percent(1) {
            (sessions[which], line) = (None, Line::new(relay.address));
        }
        let session = match &sessions[which] {
            Some(session) => session,
            None => sessions[which].insert(mailbox.device.login(relay, &mut line)?),
        };
        let whole = mailbox.receive(&mut line, session, 0, 0)?;
        let seqs: Vec<u64> = whole.envelopes.iter().map(|envelope| envelope.seq.0).collect();
        let kept = KEPT.min(seqs.len());
        let gone = &seqs[..seqs.len() - kept];
        let Some(last) = gone.last() else { return Ok(1) };
        if random.percent(50) {
            mailbox.acknowledge(&mut line, session, gone, None)?;
        } else {
            mailbox.acknowledge(&mut line, session, &[], Some(*last))?;
        }
        Ok(2)
    }
}

/// Accounts that come, and go again.
fn newcomer<'a>(relay: &'a At, mut random: Random) -> impl FnMut() -> Told<u64> + 'a {
    move || {
        let mut device = Device::generate();
        let session = device.settle(relay, 3)?;
        let mut line = Line::new(relay.address);
        for token in 0..3 {
            device.send(&mut line, token, &id_by(&mut random), 1_024)?.expect::<Value>(202)?;
        }
        let deletion = device.deletion(relay, &mut line, &device.account)?;
        line.post("/v1/account/delete", Some(&session), &deletion)?.expect::<Value>(200)?;
        Ok(12)
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const BOXES: usize = 16;
const TOKENS: usize = 4;
const SENDERS: usize = 4;
const RECEIVERS: usize = 4;
/// Of each sender: 160 sends a second in all.
const SEND_EVERY: Duration = Duration::from_millis(25);
const RECEIVE_EVERY: Duration = Duration::from_millis(100);
const NEWCOMER_EVERY: Duration = Duration::from_secs(2);
/// Envelopes that a reader leaves in its mailbox.
const KEPT: usize = 40;
/// What a checkpoint is due at, four times.
const LOG_BYTES_MAX: u64 = 64 << 20;
/// The store's, which come and go, and the workers' own connections.
const DESCRIPTORS_MORE: u64 = 30;
