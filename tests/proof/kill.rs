//! Kill -9 under load: 32 senders and 8 receivers with ledgers of their own, a relay that is killed at a random moment and
//! started again, and after each start an audit of every mailbox. A cycle is one kill; every fifth has a second one, when
//! every mailbox is empty.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use restante::protocol::EnvelopeId;
use rustix::process::{Pid, Signal, kill_process};

use crate::http::{Line, Told, Trouble};
use crate::ledger::Ledger;
use crate::people::id_by;
use crate::random::Random;
use crate::relay::Place;
use crate::world::{Mailbox, World};
use crate::{Outcome, Plan};

pub(crate) fn run(plan: &Plan) -> anyhow::Result<Outcome> {
    let mut random = Random::new(plan.seed);
    let place = Place::new(&plan.dir);
    let mut relay = place.start()?;
    let world = World::settle(&relay, RECEIVERS, TOKENS)?;
    let mut senders = workers(SENDERS, "sender", &plan.dir, &mut random, Sender::new)?;
    let mut receivers = workers(RECEIVERS, "receiver", &plan.dir, &mut random, Receiver::new)?;
    let mut open = 0;
    for cycle in 1..=plan.count {
        let sessions = world.log_in(&relay)?;
        let moment = [Moment::SendBegun, Moment::SendAnswered, Moment::AckBegun, Moment::AckAnswered][random.index(4)];
        let fuse = Fuse::new(relay.pid, moment, random.below(moment.replies_max()), SENDERS + RECEIVERS);
        let at = relay.address;
        let killed = thread::scope(|scope| {
            for sender in &mut senders {
                let (world, fuse) = (&world, &fuse);
                scope.spawn(move || fuse.watch(|| sender.work(world, Line::new(at), fuse)));
            }
            for (number, (receiver, session)) in receivers.iter_mut().zip(&sessions).enumerate() {
                let (mailbox, fuse) = (&world.boxes[number], &fuse);
                scope.spawn(move || fuse.watch(|| receiver.work(mailbox, Line::new(at), session, fuse)));
            }
            let burnt = fuse.burn();
            fuse.over.store(true, Ordering::SeqCst);
            // Dead already, unless something went wrong before the moment came.
            relay.kill().and(burnt)
        });
        killed.and(fuse.verdict()).with_context(|| format!("cycle {cycle}"))?;
        open += senders.iter().filter(|sender| sender.begun).count() as u64;
        relay = place.start().with_context(|| format!("after kill {cycle}"))?;
        world.audit(&relay).with_context(|| format!("after kill {cycle}, {moment:?}"))?;
        if cycle.is_multiple_of(EMPTY_EVERY) {
            // A mailbox that is empty at the kill has no row that says how far its seqs had come.
            world.drain(&relay)?;
            relay.kill()?;
            relay = place.start()?;
        }
    }
    world.drain(&relay)?;
    relay.stop()?;
    place.check()?;
    let (accepted, acknowledged) = (world.sum(|book| book.accepted), world.sum(|book| book.acknowledged));
    ensure!(accepted > 0 && acknowledged > 0, "nothing was sent or nothing acknowledged");
    let again = world.sum(|book| book.again);
    Ok(Outcome::Held(
        (plan.count + plan.count / EMPTY_EVERY) as u64,
        format!(
            "{accepted} accepted and {acknowledged} acknowledged, {open} sends cut off by a kill: 0 lost, 0 stored twice, 0 of the \
             acknowledged came back, {again} delivered again under their id after a retry across a restart"
        ),
    ))
}

fn workers<T>(
    count: usize,
    name: &str,
    dir: &Path,
    random: &mut Random,
    new: impl Fn(Random, Ledger) -> T,
) -> anyhow::Result<Vec<T>> {
    (0..count).map(|at| Ok(new(random.fork(), Ledger::new(&dir.join(format!("{name}-{at}.ledger")))?))).collect()
}

/// Sends to anybody; what a kill cut off goes again, under its id.
struct Sender {
    random: Random,
    ledger: Ledger,
    letters: VecDeque<(usize, usize, EnvelopeId)>,
    /// The first letter was sent, and its answer did not come.
    begun: bool,
}

impl Sender {
    fn new(random: Random, ledger: Ledger) -> Self {
        Self { random, ledger, letters: VecDeque::new(), begun: false }
    }

    fn work(&mut self, world: &World, mut line: Line, fuse: &Fuse) -> Told<()> {
        while !fuse.over.load(Ordering::SeqCst) {
            let Some((to, token, id)) = self.letters.front().copied() else {
                self.intend(world.boxes.len())?;
                continue;
            };
            self.begun = true;
            fuse.tick(Moment::SendBegun);
            let status = world.boxes[to].send(&mut line, token, &id, 1_024)?;
            if status != 202 {
                return Err(anyhow::anyhow!("a send was answered {status}").into());
            }
            fuse.tick(Moment::SendAnswered);
            self.begun = false;
            self.ledger.note(&format!("accepted {}\n", id.encode())).context("the ledger")?;
            // Now and then once more: a repeat stores nothing.
            if !self.random.percent(6) {
                self.letters.pop_front();
            }
        }
        Ok(())
    }

    fn intend(&mut self, boxes: usize) -> anyhow::Result<()> {
        let mut lines = String::new();
        for _ in 0..LETTERS {
            let letter = (self.random.index(boxes), self.random.index(TOKENS), id_by(&mut self.random));
            lines += &format!("send {} to {}\n", letter.2.encode(), letter.0);
            self.letters.push_back(letter);
        }
        self.ledger.intend(&lines).context("the ledger")
    }
}

/// Reads one mailbox and acknowledges most of it, in every way that there is.
struct Receiver {
    random: Random,
    ledger: Ledger,
}

impl Receiver {
    fn new(random: Random, ledger: Ledger) -> Self {
        Self { random, ledger }
    }

    fn work(&mut self, mailbox: &Mailbox, mut line: Line, session: &str, fuse: &Fuse) -> Told<()> {
        while !fuse.over.load(Ordering::SeqCst) {
            let page = mailbox.receive(&mut line, session, 20, 0)?;
            let mut seqs: Vec<u64> = page.envelopes.iter().map(|envelope| envelope.seq.0).collect();
            let Some(last) = seqs.last().copied() else { continue };
            let through = (seqs.len() >= PAGE_LONG || self.random.percent(30)).then_some(last);
            if through.is_some() {
                seqs.clear();
            } else {
                let kept = [0, 0, 20, 100][self.random.index(4)];
                seqs.retain(|_| !self.random.percent(kept));
                if seqs.is_empty() {
                    continue;
                }
            }
            self.ledger.intend(&format!("acknowledge {seqs:?} through {through:?}\n")).context("the ledger")?;
            fuse.tick(Moment::AckBegun);
            let removed = mailbox.acknowledge(&mut line, session, &seqs, through)?;
            fuse.tick(Moment::AckAnswered);
            self.ledger.note(&format!("removed {removed}\n")).context("the ledger")?;
        }
        Ok(())
    }
}

/// What the kill waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    SendBegun,
    SendAnswered,
    AckBegun,
    AckAnswered,
}

impl Moment {
    /// A cycle's length: the kill comes at one of so many.
    fn replies_max(self) -> u64 {
        if matches!(self, Self::SendBegun | Self::SendAnswered) { 600 } else { 60 }
    }
}

/// Burns until so many of its moments have passed, or nobody works any more. Whoever sees the last of them kills the relay on
/// the spot, before another thread is woken: what an answer was ahead of is microseconds.
struct Fuse {
    relay: Pid,
    moment: Moment,
    at: u64,
    passed: AtomicU64,
    working: AtomicUsize,
    wrong: Mutex<Option<anyhow::Error>>,
    changed: Condvar,
    /// The relay is about to be killed.
    over: AtomicBool,
}

impl Fuse {
    fn new(relay: Pid, moment: Moment, at: u64, workers: usize) -> Self {
        let (wrong, changed) = (Mutex::new(None), Condvar::new());
        let (passed, working, over) = (AtomicU64::new(0), AtomicUsize::new(workers), AtomicBool::new(false));
        Self { relay, moment, at, passed, working, wrong, changed, over }
    }

    fn tick(&self, moment: Moment) {
        if moment == self.moment && self.passed.fetch_add(1, Ordering::SeqCst) == self.at {
            let _ = kill_process(self.relay, Signal::KILL);
            let _wrong = self.lock();
            self.changed.notify_all();
        }
    }

    /// Runs a worker to its end, which is the relay's.
    fn watch(&self, work: impl FnOnce() -> Told<()>) {
        let outcome = work();
        let mut wrong = self.lock();
        if let Err(Trouble::Wrong(error)) = outcome {
            wrong.get_or_insert(error);
        }
        self.working.fetch_sub(1, Ordering::SeqCst);
        self.changed.notify_all();
    }

    /// Waits for the moment.
    fn burn(&self) -> anyhow::Result<()> {
        let mut wrong = self.lock();
        while wrong.is_none() && self.passed.load(Ordering::SeqCst) <= self.at {
            if self.working.load(Ordering::SeqCst) == 0 {
                bail!("the relay hung up before it was killed");
            }
            let (next, waited) = self.changed.wait_timeout(wrong, PATIENCE).unwrap_or_else(|poisoned| poisoned.into_inner());
            ensure!(!waited.timed_out(), "the relay does not get on");
            wrong = next;
        }
        Ok(())
    }

    fn verdict(&self) -> anyhow::Result<()> {
        self.lock().take().map_or(Ok(()), Err)
    }

    fn lock(&self) -> MutexGuard<'_, Option<anyhow::Error>> {
        self.wrong.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// So often everything is acknowledged before one more kill.
const EMPTY_EVERY: usize = 5;
const SENDERS: usize = 32;
const RECEIVERS: usize = 8;
/// Of each receiver; a token may hold as much of a mailbox as is free.
const TOKENS: usize = 4;
/// Intents that one sync puts on disk.
const LETTERS: usize = 16;
/// A page as long as this is acknowledged whole, so that mailboxes stay short.
const PAGE_LONG: usize = 60;
/// Only a relay that hangs makes anybody wait so long.
const PATIENCE: Duration = Duration::from_secs(60);
