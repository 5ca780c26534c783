//! A power cut: every write and sync of a real relay under load is traced, and crash states are made of them, each of which is
//! opened by the real store and held against what the relay had promised by then. A state is one of the count.
//!
//! In the gate that is 2,000 states of one trace; by hand, of one trace for each 20,000.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use anyhow::{Context, bail, ensure};
use restante::protocol::{EnvelopeId, Seq};
use restante::store::Envelopes;
use restante::store::Store;
use restante::store::sqlite::{Settings, SqliteStore, check};

use crate::http::{Line, Told};
use crate::people::id_by;
use crate::random::Random;
use crate::relay::{Place, Relay};
use crate::shadow::Disk;
use crate::strace::{self, Strace};
use crate::trace::{self, Event};
use crate::world::{Mailbox, World};
use crate::{Outcome, Plan, in_memory};

pub(crate) fn run(plan: &Plan) -> anyhow::Result<Outcome> {
    if let Some(why) = strace::missing() {
        return Ok(Outcome::Skipped(why.into()));
    }
    let mut random = Random::new(plan.seed);
    let (mut said, mut states, mut cut) = (Vec::new(), 0, 0);
    while states < plan.count {
        let dir = plan.dir.join(format!("trace-{states}"));
        fs::create_dir(&dir)?;
        let film = film(&dir, &mut random)?;
        let count = (plan.count - states).min(STATES_A_TRACE);
        cut += film.project(count, &mut random, &in_memory(plan, "states"))?;
        states += count;
        let (syncs, beside) = (film.syncs(), film.syncs_beside());
        ensure!(beside > 0 && beside < syncs, "of {syncs} syncs {beside} were beside the writer: both kinds are to be seen");
        let events = film.events.len();
        said.push(format!("{events} events with {syncs} syncs, {beside} beside the writer, and {} answers", film.answers()));
        fs::remove_dir_all(&dir)?;
    }
    let said =
        format!("{states} states of {}: 0 promises broken; unsynced changes were lost or torn in {cut}", said.join(", "));
    Ok(Outcome::Held(cut, said))
}

/// What was asked on a connection, in order.
#[derive(Clone)]
enum Asked {
    Send(usize, EnvelopeId),
    Ack(usize, Vec<EnvelopeId>),
    /// A page, with what was in it.
    Read(usize, Vec<EnvelopeId>),
}

/// A relay under load, frame by frame.
struct Film {
    world: World,
    begin: BTreeMap<String, Vec<u8>>,
    events: Vec<Event>,
    asked: HashMap<u16, Vec<Asked>>,
}

/// Runs a relay under `strace` and lets people write to each other.
fn film(dir: &Path, random: &mut Random) -> anyhow::Result<Film> {
    let place = Place::new(dir).set("RETENTION__PURGE_SCHEDULE", "0 0 29 2 *");
    let relay = place.start()?;
    let world = World::settle(&relay, READERS, 2)?;
    relay.stop()?;
    let relay = place.start()?;
    relay.ready(&place)?;
    let sessions = world.log_in(&relay)?;
    let strace = Strace::attach(&relay, &trace::options(), &dir.join("trace"))?;
    // The truncation brings everything into the file, and nothing is written from here to the first send.
    ensure!(place.operator(&["purge"])? == 0, "a purge is refused");
    let begin = files(place.data())?;
    let asked: Mutex<HashMap<u16, Vec<Asked>>> = Mutex::default();
    let outcome = thread::scope(|scope| {
        let sends = SENDS / SENDERS;
        let senders: Vec<_> = (0..SENDERS)
            .map(|_| {
                let (world, asked, random, relay) = (&world, &asked, random.fork(), &relay);
                scope.spawn(move || send(world, relay, asked, random, sends))
            })
            .collect();
        let readers: Vec<_> = (0..READERS)
            .map(|at| {
                let (mailbox, session, asked, random, relay) = (&world.boxes[at], &sessions[at], &asked, random.fork(), &relay);
                scope.spawn(move || read(mailbox, at, session, relay, asked, random))
            })
            .collect();
        let outcomes: Vec<Told<()>> =
            senders.into_iter().chain(readers).map(|worker| worker.join().expect("a worker of the load panicked")).collect();
        outcomes.into_iter().collect::<Told<()>>()
    });
    outcome?;
    relay.kill()?;
    let events = trace::events(&strace.ended()?)?;
    // Those from before `begin` are in it already.
    let first = events.iter().position(|event| matches!(event, Event::Asked { .. })).context("nothing was asked")?;
    let events: Vec<Event> = events.into_iter().skip(first).collect();
    let asked = asked.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    let film = Film { world, begin, events, asked };
    // What the model makes of the trace is what lies there: the trace missed nothing.
    let mut disk = film.disk();
    film.events.iter().for_each(|event| disk.follow(event));
    let (model, real) = (disk.cached(), files(place.data())?);
    ensure!(model == real, "the trace does not lead to the files that lie there");
    Ok(film)
}

fn send(world: &World, relay: &Relay, asked: &Mutex<HashMap<u16, Vec<Asked>>>, mut random: Random, count: usize) -> Told<()> {
    let mut line = Line::new(relay.address);
    for _ in 0..count {
        let (to, token, id) = (random.index(world.boxes.len()), random.index(2), id_by(&mut random));
        note(asked, line.port()?, Asked::Send(to, id));
        let size = if random.percent(10) { 4_096 } else { 1_024 };
        let status = world.boxes[to].send(&mut line, token, &id, size)?;
        if status != 202 {
            return Err(anyhow::anyhow!("a send was answered {status}").into());
        }
    }
    Ok(())
}

/// Waits for what comes and acknowledges half of it, and between looks at what is there.
fn read(
    mailbox: &Mailbox,
    at: usize,
    session: &str,
    relay: &Relay,
    asked: &Mutex<HashMap<u16, Vec<Asked>>>,
    mut random: Random,
) -> Told<()> {
    let mut line = Line::new(relay.address);
    let mut gone: Vec<u64> = Vec::new();
    for turn in 0..PAGES {
        let looks = turn % 4 > 0;
        let port = line.port()?;
        if looks && !gone.is_empty() {
            // Once more: it writes nothing, and so syncs nothing of what others sent.
            note(asked, port, Asked::Ack(at, Vec::new()));
            mailbox.acknowledge(&mut line, session, &gone, None)?;
        }
        note(asked, port, Asked::Read(at, Vec::new()));
        let page = mailbox.receive(&mut line, session, if looks { 0 } else { 2 }, 0)?;
        let opened = page.envelopes.iter().map(|envelope| Ok((envelope.seq.0, mailbox.device.open(envelope)?)));
        let opened = opened.collect::<anyhow::Result<Vec<_>>>()?;
        if let Some(Asked::Read(_, ids)) = locked(asked).get_mut(&port).and_then(|asked| asked.last_mut()) {
            ids.extend(opened.iter().map(|(_, id)| *id));
        }
        let (seqs, ids): (Vec<_>, Vec<_>) = opened.into_iter().filter(|_| random.percent(50)).unzip();
        if looks || ids.is_empty() {
            continue;
        }
        note(asked, port, Asked::Ack(at, ids));
        mailbox.acknowledge(&mut line, session, &seqs, None)?;
        gone = seqs;
    }
    Ok(())
}

fn note(asked: &Mutex<HashMap<u16, Vec<Asked>>>, port: u16, what: Asked) {
    locked(asked).entry(port).or_default().push(what);
}

/// Database and log, as they lie in a directory.
fn files(data: &Path) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    [trace::DATABASE, trace::LOG].into_iter().map(|name| Ok((name.to_string(), fs::read(data.join(name))?))).collect()
}

/// What the relay has promised, mailbox by mailbox.
#[derive(Clone, Default)]
struct Promises {
    /// Answered by a `202`, or seen in a page, and no acknowledgement under way.
    kept: Vec<HashSet<EnvelopeId>>,
    /// Acknowledged, and answered by a `200`.
    gone: Vec<HashSet<EnvelopeId>>,
}

/// A disk after a power cut, and what it is held against.
struct State {
    number: usize,
    files: BTreeMap<String, Vec<u8>>,
    promises: Arc<Promises>,
}

impl Film {
    fn disk(&self) -> Disk {
        let mut disk = Disk::default();
        for (name, bytes) in &self.begin {
            disk.put(name, bytes.clone());
        }
        disk
    }

    fn syncs(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, Event::Sync { .. })).count()
    }

    /// Those of the log by threads that write nothing: beside the writer.
    fn syncs_beside(&self) -> usize {
        let writing = self.events.iter().filter_map(|event| match event {
            Event::Write { thread, .. } => Some(*thread),
            _ => None,
        });
        let writing: HashSet<u32> = writing.collect();
        let beside = |event: &&Event| matches!(event, Event::Sync { thread, .. } if !writing.contains(thread));
        self.events.iter().filter(beside).count()
    }

    fn answers(&self) -> usize {
        self.events.iter().filter(|event| matches!(event, Event::Answered { .. })).count()
    }

    /// Cuts the power so often, and gives how often something unsynced was lost by it.
    fn project(&self, count: usize, random: &mut Random, scratch: &Path) -> anyhow::Result<u64> {
        let mut moments: Vec<usize> = (0..count).map(|_| random.index(self.events.len())).collect();
        moments.sort_unstable();
        let (states, queue) = sync_channel(2);
        let queue = Arc::new(Mutex::new(queue));
        let wraps = Mutex::default();
        let outcome = thread::scope(|scope| {
            let auditors: Vec<_> = (0..AUDITORS)
                .map(|number| {
                    let (queue, wraps, dir) = (Arc::clone(&queue), &wraps, scratch.join(number.to_string()));
                    scope.spawn(move || self.audit_all(&queue, wraps, &dir))
                })
                .collect();
            drop(queue);
            let cut = self.walk(&moments, random, |state| states.send(state).is_ok());
            drop(states);
            let verdicts: Vec<_> = auditors.into_iter().map(|auditor| auditor.join().expect("an auditor panicked")).collect();
            let mut broken = 0;
            let mut first = None;
            for (count, why) in verdicts.into_iter().collect::<anyhow::Result<Vec<_>>>()? {
                broken += count;
                first = first.or(why);
            }
            match first {
                Some(why) => bail!("{broken} of {count} states broke a promise, such as: {why}"),
                None => cut,
            }
        });
        let _ = fs::remove_dir_all(scratch);
        outcome
    }

    /// Follows the events, and gives out a state at each of the moments; ends early when nobody takes them.
    fn walk(&self, moments: &[usize], random: &mut Random, mut give: impl FnMut(State) -> bool) -> anyhow::Result<u64> {
        let (mut disk, mut cut) = (self.disk(), 0);
        let empty = vec![HashSet::new(); self.world.boxes.len()];
        let mut promises = Arc::new(Promises { kept: empty.clone(), gone: empty });
        let (mut asked, mut answered) = (HashMap::new(), HashMap::new());
        // Read, and acknowledged, before its sender had its answer.
        let mut left = HashSet::new();
        let mut moments = moments.iter().enumerate().peekable();
        for (at, event) in self.events.iter().enumerate() {
            disk.follow(event);
            match event {
                Event::Asked { port } => {
                    let what = self.next(*port, &mut asked)?;
                    if let Asked::Ack(of, ids) = what {
                        let kept = &mut Arc::make_mut(&mut promises).kept[of];
                        kept.retain(|id| !ids.contains(id));
                        left.extend(ids);
                    }
                }
                Event::Answered { port, status } => match (self.next(*port, &mut answered)?, status) {
                    (Asked::Send(_, id), 202) if left.contains(&id) => {}
                    (Asked::Send(to, id), 202) => {
                        Arc::make_mut(&mut promises).kept[to].insert(id);
                    }
                    (Asked::Ack(of, ids), 200) => Arc::make_mut(&mut promises).gone[of].extend(ids),
                    (Asked::Read(of, ids), 200) => {
                        Arc::make_mut(&mut promises).kept[of].extend(ids.into_iter().filter(|id| !left.contains(id)));
                    }
                    (_, status) => bail!("the relay answered {status}"),
                },
                _ => {}
            }
            while let Some((number, _)) = moments.next_if(|(_, moment)| **moment == at) {
                let files = disk.crash(random);
                cut += u64::from(disk.unsynced() > 0 && files != disk.cached());
                if !give(State { number, files, promises: Arc::clone(&promises) }) {
                    return Ok(cut);
                }
            }
        }
        Ok(cut)
    }

    /// What the next request, or answer, on a connection is of.
    fn next(&self, port: u16, counts: &mut HashMap<u16, usize>) -> anyhow::Result<Asked> {
        let count = counts.entry(port).or_default();
        *count += 1;
        let asked = self.asked.get(&port).and_then(|asked| asked.get(*count - 1));
        asked.cloned().context("the trace holds a request that nobody made")
    }

    /// Audits what comes; gives how many states broke a promise, and what the first of them did.
    fn audit_all(
        &self,
        queue: &Mutex<Receiver<State>>,
        wraps: &Mutex<HashMap<Vec<u8>, EnvelopeId>>,
        dir: &Path,
    ) -> anyhow::Result<(usize, Option<String>)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut broken, mut first) = (0, None);
        loop {
            let Ok(state) = locked(queue).recv() else { return Ok((broken, first)) };
            let _ = fs::remove_dir_all(dir);
            fs::create_dir_all(dir)?;
            for (name, bytes) in &state.files {
                fs::write(dir.join(name), bytes)?;
            }
            if let Err(error) = runtime.block_on(self.audit(&state, wraps, dir)) {
                broken += 1;
                first.get_or_insert(format!("state {}: {error:#}", state.number));
            }
        }
    }

    async fn audit(&self, state: &State, wraps: &Mutex<HashMap<Vec<u8>, EnvelopeId>>, dir: &Path) -> anyhow::Result<()> {
        let store = SqliteStore::open(Settings { readers: 1, ..Settings::new(dir) }).context("it does not open")?;
        for (at, mailbox) in self.world.boxes.iter().enumerate() {
            let waiting = store.waiting(mailbox.device.id, Seq(0), u64::MAX, u64::MAX, 0).await?;
            ensure!(waiting.gap.is_none(), "mailbox {at} has a gap");
            let mut there = BTreeSet::new();
            for envelope in &waiting.envelopes {
                let wrap = [envelope.wrap.as_slice(), &envelope.body.as_slice()[..16]].concat();
                let known = locked(wraps).get(&wrap).copied();
                let id = match known {
                    Some(id) => id,
                    None => mailbox.device.open(envelope)?,
                };
                locked(wraps).insert(wrap, id);
                ensure!(there.insert(id), "an id stands twice in mailbox {at}");
            }
            let lost = state.promises.kept[at].iter().filter(|id| !there.contains(*id)).count();
            let back = state.promises.gone[at].iter().filter(|id| there.contains(*id)).count();
            ensure!(lost + back == 0, "in mailbox {at} {lost} accepted or seen are lost and {back} acknowledged are back");
        }
        store.close().await;
        if state.number.is_multiple_of(CHECK_EVERY) {
            ensure!(check(dir)?.good(), "the database is not whole");
        }
        Ok(())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

const SENDERS: usize = 4;
const READERS: usize = 3;
/// Of one trace; each is some 100 KiB of it.
const SENDS: usize = 240;
/// That a reader asks for.
const PAGES: usize = 40;
const STATES_A_TRACE: usize = 20_000;
const AUDITORS: usize = 2;
/// So seldom is the whole database read.
const CHECK_EVERY: usize = 50;
