//! The N-th call fails: `strace` makes the N-th `fdatasync`, `fsync`, `pwrite64` or `openat` of a thread fail, for N = 1, 2, 3 … until a
//! run passes untouched; first under a relay that works, then under one that starts. No `202` for what failed, exit code 70
//! after an error of the disk, and after a start without faults everything is where it belongs. The thread that moves the log has
//! faults of its own, under more sends, since it works only once the log is long; and so have those that sync beside the writer, after a
//! sync that took half a second, since they work only where syncs take long.
//!
//! The count is how many N each fault gets; below 100 they grow by three fifths.

use std::path::Path;

use anyhow::{Context, ensure};
use restante::protocol::EnvelopeId;

use crate::http::{Line, Told, Trouble, Undue};
use crate::people::id_by;
use crate::random::Random;
use crate::relay::{Place, Relay};
use crate::strace::{self, Strace};
use crate::world::World;
use crate::{Outcome, Plan};

/// A call, what it does the N-th time, and the exit codes that may follow.
struct Fault {
    call: &'static str,
    does: &'static str,
    code: i32,
}

/// To a relay that works.
const WORKING: &[Fault] = &[
    // SQLite's own; of the other kind there is one, of the directory.
    Fault { call: "fdatasync", does: "error=EIO", code: 70 },
    Fault { call: "fsync", does: "error=EIO", code: 70 },
    Fault { call: "pwrite64", does: "error=EIO", code: 70 },
    Fault { call: "ftruncate", does: "error=EIO", code: 70 },
    Fault { call: "pwrite64", does: "error=ENOSPC", code: 0 },
    // Not a byte was written, and no error said so.
    Fault { call: "pwrite64", does: "retval=0", code: 0 },
    Fault { call: "fdatasync", does: "delay_enter=200000", code: 0 },
];

/// To the one thread that moves the log of a relay that works.
const MOVING: &[Fault] = &[
    Fault { call: "fdatasync", does: "error=EIO", code: 70 },
    Fault { call: "pwrite64", does: "error=EIO", code: 70 },
    Fault { call: "pread64", does: "error=EIO", code: 70 },
    Fault { call: "pwrite64", does: "error=ENOSPC", code: 0 },
    Fault { call: "fdatasync", does: "delay_enter=200000", code: 0 },
];

/// To the threads that sync beside the writer of a relay that works.
const SYNCING: &[Fault] = &[
    Fault { call: "fdatasync", does: "error=EIO", code: 70 },
    Fault { call: "fdatasync", does: "delay_enter=200000", code: 0 },
];

/// To one that starts, on nothing and on what a crash left; it may end by any code but a crash's.
const STARTING: &[(&str, &str)] = &[
    ("fdatasync", "error=EIO"),
    ("fsync", "error=EIO"),
    ("pwrite64", "error=EIO"),
    ("pwrite64", "error=ENOSPC"),
    ("openat", "error=EMFILE"),
];

pub(crate) fn run(plan: &Plan) -> anyhow::Result<Outcome> {
    if let Some(why) = strace::missing() {
        return Ok(Outcome::Skipped(why.into()));
    }
    let mut random = Random::new(plan.seed);
    let place = Place::new(&plan.dir.join("template")).set("RETENTION__PURGE_SCHEDULE", "0 0 29 2 *");
    std::fs::create_dir(&place.dir)?;
    let relay = place.start()?;
    let world = World::settle(&relay, 2, 1)?;
    relay.stop()?;
    let mut tally = Tally::default();
    let moving = MOVING.iter().map(|fault| (fault, Some(MOVER)));
    let syncing = SYNCING.iter().map(|fault| (fault, Some(SYNCER)));
    for (fault, thread) in WORKING.iter().map(|fault| (fault, None)).chain(moving).chain(syncing) {
        for number in numbers(plan.count) {
            let dir = plan.dir.join(format!("{}-{}-{number}", fault.call, fault.does));
            let (place, world, random) = (place.copy(&dir)?, world.again(), random.fork());
            let errand = Errand { place, world, random, thread, failed: Vec::new() };
            let of = thread.unwrap_or("any thread");
            let injected =
                errand.run(fault, number).with_context(|| format!("{} {} at {number} of {of}", fault.call, fault.does))?;
            std::fs::remove_dir_all(&dir)?;
            tally.add(injected);
            if injected == 0 {
                break;
            }
        }
    }
    // What a relay that was killed left, with a log to recover.
    let relay = place.start()?;
    let mut line = Line::new(relay.address);
    for number in 0..20 {
        world.boxes[number % 2].send(&mut line, 0, &id_by(&mut random), 4_096)?;
    }
    relay.kill()?;
    for (call, does) in STARTING {
        for (what, from) in [("on nothing", None), ("after a crash", Some(&place))] {
            // A failed sync while the database was made left its schema in a log that nobody reads: the relay ran on what was
            // left, and the next start refused it. Every N, because only one of them shows that.
            let count = if from.is_none() && call.ends_with("sync") { plan.count.max(DENSE) } else { plan.count };
            for number in numbers(count) {
                let dir = plan.dir.join(format!("start-{call}-{does}-{number}"));
                let injected = start(from, &world, &dir, call, does, number)
                    .with_context(|| format!("a start {what}, {call} {does} at {number}"))?;
                std::fs::remove_dir_all(&dir)?;
                tally.add(injected);
                if injected == 0 {
                    break;
                }
            }
        }
    }
    Ok(Outcome::Held(
        tally.injected,
        format!(
            "{} runs, {} of them to the point where nothing is left to fail: no 202 for what failed",
            tally.runs, tally.whole
        ),
    ))
}

#[derive(Default)]
struct Tally {
    runs: u64,
    whole: u64,
    injected: u64,
}

impl Tally {
    fn add(&mut self, injected: u64) {
        self.runs += 1;
        self.whole += u64::from(injected == 0);
        self.injected += injected;
    }
}

/// 1, 2, 3 and so on, or only some of them.
fn numbers(count: usize) -> impl Iterator<Item = usize> {
    let sparse = count < DENSE;
    let next = move |last: &usize| Some(if sparse { (last + 1).max(last * 8 / 5) } else { last + 1 });
    std::iter::successors(Some(1), next).take(count)
}

/// A little of everything that writes.
struct Errand {
    place: Place,
    world: World,
    random: Random,
    /// The thread that the fault is of; any where none is named.
    thread: Option<&'static str>,
    /// Sends that were not answered by a `202`.
    failed: Vec<(usize, EnvelopeId)>,
}

impl Errand {
    /// Gives how many faults were injected.
    fn run(mut self, fault: &Fault, number: usize) -> anyhow::Result<u64> {
        let relay = self.place.start()?;
        relay.ready(&self.place)?;
        let sessions = self.world.log_in(&relay)?;
        let options =
            ["-y".into(), "-e".into(), format!("trace={}", fault.call), "-e".into(), inject(fault.call, fault.does, number)];
        let log = self.place.dir.join("trace");
        if self.thread == Some(SYNCER) {
            self.slow_down(&relay)?;
        }
        let strace = match self.thread {
            None => Strace::attach(&relay, &options, &log)?,
            Some(name) => Strace::attach_to_threads(&relay, name, &options, &log)?,
        };
        let mut line = Line::new(relay.address);
        match self.go(&mut line, &sessions) {
            Ok(()) => {
                // It may have ended already.
                let _ = rustix::process::kill_process(relay.pid, rustix::process::Signal::TERM);
            }
            Err(Trouble::Gone(_)) => {}
            // The last word of a relay that has failed and is about to end.
            Err(Trouble::Wrong(error)) if fault.code != 0 && is_internal(&error) => {}
            Err(Trouble::Wrong(error)) => return Err(error),
        }
        let code = relay.ended()?.code();
        let trace = strace.ended()?;
        let injected = injected(&trace);
        // When it first syncs its log, SQLite syncs the directory, too, and passes over a failure. Whose name is in the
        // directory for good is the relay's business before that, at its start.
        let told = trace.lines().any(|line| line.contains("(INJECTED)") && !line.contains("/restante-data>)"));
        let due = if told { fault.code } else { 0 };
        ensure!(code == Some(due), "the relay ended with {code:?} and not with {due}");

        let relay = self.place.start()?;
        self.world.audit(&relay)?;
        let mut line = Line::new(relay.address);
        for (to, id) in &self.failed {
            ensure!(self.world.boxes[*to].send(&mut line, 0, id, 1_024)? == 202, "a repeat is refused");
        }
        self.world.audit(&relay)?;
        self.world.drain(&relay)?;
        relay.stop()?;
        self.place.check()?;
        Ok(injected)
    }

    fn go(&mut self, line: &mut Line, sessions: &[String]) -> Told<()> {
        for _ in 0..3 {
            self.send(line, 0)?;
            self.send(line, 1)?;
        }
        if self.thread.is_some() {
            for _ in 0..SENDS_A_MOVE {
                self.send(line, 0)?;
            }
        }
        self.acknowledge(line, &sessions[0], 0)?;
        let purged = self.place.operator(&["purge"])?;
        if purged != 0 {
            self.send(line, 1)?;
        }
        self.send(line, 0)?;
        self.acknowledge(line, &sessions[1], 1)
    }

    /// Has a sync take so long that the next few sends are synced beside the writer.
    fn slow_down(&mut self, relay: &Relay) -> anyhow::Result<()> {
        let options = ["-e".into(), "trace=fdatasync".into(), "-e".into(), inject("fdatasync", "delay_exit=500000", 1)];
        let strace = Strace::attach(relay, &options, &self.place.dir.join("slow"))?;
        self.send(&mut Line::new(relay.address), 0)?;
        strace.detach()
    }

    fn send(&mut self, line: &mut Line, to: usize) -> Told<()> {
        let id = id_by(&mut self.random);
        let outcome = self.world.boxes[to].send(line, 0, &id, 1_024);
        match outcome {
            Ok(202) => {}
            Ok(503 | 507) | Err(Trouble::Gone(_)) => self.failed.push((to, id)),
            Ok(status) => {
                self.failed.push((to, id));
                return Err(anyhow::Error::from(Undue { status, due: 202, said: "to a send".into() }).into());
            }
            Err(wrong) => return Err(wrong),
        }
        outcome.map(|_| ())
    }

    fn acknowledge(&mut self, line: &mut Line, session: &str, of: usize) -> Told<()> {
        let mailbox = &self.world.boxes[of];
        let page = mailbox.receive(line, session, 0, 0)?;
        let seqs: Vec<u64> = page.envelopes.iter().map(|envelope| envelope.seq.0).take(2).collect();
        if !seqs.is_empty() {
            // A relay whose disk is full may refuse this, and says so.
            mailbox.try_acknowledge(line, session, &seqs)?;
        }
        Ok(())
    }
}

fn is_internal(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Undue>().is_some_and(|undue| undue.status == 500)
}

/// One start under a fault, and one without.
fn start(from: Option<&Place>, world: &World, dir: &Path, call: &str, does: &str, number: usize) -> anyhow::Result<u64> {
    std::fs::create_dir_all(dir)?;
    let place = match from {
        Some(from) => from.copy(dir)?,
        None => Place::new(dir),
    };
    let log = dir.join("trace");
    let arguments =
        ["strace", "-f", "-o", &log.to_string_lossy(), "-e", &format!("trace={call}"), "-e", &inject(call, does, number)]
            .map(String::from);
    let status = match place.clone().under(arguments).try_start()? {
        Err(status) => status,
        Ok(relay) => {
            let _ = rustix::process::kill_process(relay.pid, rustix::process::Signal::TERM);
            relay.ended()?
        }
    };
    let injected = injected(&std::fs::read_to_string(&log)?);
    let code = status.code();
    ensure!(code.is_some_and(|code| code < PANIC || code == NO_LIBRARY), "the relay ended with {status}");
    ensure!(injected > 0 || code == Some(0), "the relay ended with {status}, and nothing failed");
    let relay = place.start()?;
    match from {
        Some(_) => world.audit(&relay)?,
        None => drop(World::settle(&relay, 1, 1)?),
    }
    relay.stop()?;
    place.check()?;
    Ok(injected)
}

fn inject(call: &str, does: &str, number: usize) -> String {
    format!("inject={call}:{does}:when={number}")
}

fn injected(trace: &str) -> u64 {
    trace.lines().filter(|line| line.contains("(INJECTED)") || line.contains("(DELAYED)")).count() as u64
}

/// What the system calls the thread that moves the log.
const MOVER: &str = "restante-log";
/// And those that sync beside the writer.
const SYNCER: &str = "restante-sync";
/// Twice as many as make the log long enough to be moved: one is some six pages of it.
const SENDS_A_MOVE: usize = 100;
/// From so many on, every N.
const DENSE: usize = 100;
/// A panic's exit code; those above are a shell's for signals.
const PANIC: i32 = 101;
/// The loader's, which may not open a library.
const NO_LIBRARY: i32 = 127;
