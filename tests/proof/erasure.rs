//! What is gone is gone from the disk: marks of everything that waited, looked for in every file after it was acknowledged or
//! had expired. A mark is 16 bytes that nothing else has: pieces of the wrapped body, of the wrap, and the repeat tag. What
//! people wrote must never be found at all. The count is how many envelopes are acknowledged.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use restante::protocol::EnvelopeId;
use restante::protocol::envelopes::Envelope;
use restante::protocol::tokens::repeat_tag;

use crate::http::{Line, Told, Trouble};
use crate::people::{body_of, id_by};
use crate::random::Random;
use crate::relay::{Place, Relay};
use crate::world::{Mailbox, World};
use crate::{Outcome, Plan};

pub(crate) fn run(plan: &Plan) -> anyhow::Result<Outcome> {
    let mut random = Random::new(plan.seed);
    let place = Place::new(&plan.dir).set("LOG", "trace");
    let relay = place.start()?;
    let world = World::settle(&relay, PAIRS + 1, 1)?;
    let sessions = world.log_in(&relay)?;
    let (wake, over) = (Wake::default(), AtomicBool::new(false));
    let begun = Instant::now();
    let seen = thread::scope(|scope| {
        for (mailbox, session) in world.boxes.iter().zip(&sessions).take(PAIRS) {
            let (wake, over, relay, random) = (&wake, &over, &relay, random.fork());
            scope.spawn(move || wake.ended(work(mailbox, session, relay, random, wake, over)));
        }
        let half = wake.acknowledged(plan.count / 2).and_then(|marks| {
            ensure!(place.operator(&["purge"])? == 0, "a purge is refused");
            gone(&plan.dir, &marks).context("under load")?;
            wake.acknowledged(plan.count)
        });
        over.store(true, Ordering::SeqCst);
        half
    })?;
    let rate = seen.len() as f64 / begun.elapsed().as_secs_f64();
    let marks = wake.acknowledged(0)?;
    // Nobody asks for it now: a relay without work truncates its log by itself.
    let secs = gone(&plan.dir, &marks).context("after the load")?;

    let waiting = waiting(&world, &relay, &sessions, &mut random)?;
    let there = find(&plan.dir, &waiting)?;
    ensure!(
        there.len() == waiting.len(),
        "of {} marks that wait only {} are found: the search is blind",
        waiting.len(),
        there.len()
    );
    ensure!(place.operator(&["purge", "--older-than", "1s"])? == 0, "a purge is refused");
    gone(&plan.dir, &waiting).context("after the expiry")?;
    thin_out(&world.boxes[PAIRS], &relay, &sessions[PAIRS], &mut random)?;
    relay.stop()?;
    ensure!(find(&plan.dir, &marks)?.is_empty(), "something came back when the relay stopped");
    place.check()?;
    Ok(Outcome::Held(
        marks.len() as u64,
        format!(
            "{} envelopes acknowledged at {rate:.0}/s under a log at trace, and {WAITING} expired: 0 of their marks are left, the \
             last {secs:.1} s after the load; {} marks of what waited were found before",
            wake.count(),
            there.len()
        ),
    ))
}

/// Sends to a mailbox and acknowledges what comes, until it is over.
fn work(mailbox: &Mailbox, session: &str, relay: &Relay, mut random: Random, wake: &Wake, over: &AtomicBool) -> Told<()> {
    let mut line = Line::new(relay.address);
    while !over.load(Ordering::SeqCst) {
        for _ in 0..BATCH {
            let size = [1_024, 1_024, 1_024, 4_096, 16_384][random.index(5)];
            let status = mailbox.send(&mut line, 0, &id_by(&mut random), size)?;
            if status != 202 {
                return Err(anyhow::anyhow!("a send was answered {status}").into());
            }
        }
        let page = mailbox.receive(&mut line, session, 0, 0)?;
        let marks = page.envelopes.iter().map(|envelope| Ok((envelope.seq.0, marks(mailbox, envelope)?)));
        let marks = marks.collect::<anyhow::Result<Vec<_>>>()?;
        let seqs: Vec<u64> = marks.iter().map(|(seq, _)| *seq).collect();
        mailbox.acknowledge(&mut line, session, &seqs, None)?;
        wake.add(seqs.len(), marks.into_iter().flat_map(|(_, marks)| marks).collect());
    }
    Ok(())
}

/// Leaves some envelopes waiting, and gives their marks, but for what people wrote.
fn waiting(world: &World, relay: &Relay, sessions: &[String], random: &mut Random) -> anyhow::Result<Marks> {
    let (mut line, mut all) = (Line::new(relay.address), Marks::new());
    for number in 0..WAITING {
        let mailbox = &world.boxes[number % PAIRS];
        ensure!(mailbox.send(&mut line, 0, &id_by(random), 1_024)? == 202, "a send is refused");
    }
    for (mailbox, session) in world.boxes.iter().zip(sessions) {
        for envelope in mailbox.whole(&mut line, session)? {
            all.extend(marks(mailbox, &envelope)?.into_iter().filter(|(_, what)| *what != "what was written"));
        }
    }
    Ok(all)
}

/// Leaves a mailbox with holes in it, which SQLite moves rows to close.
fn thin_out(mailbox: &Mailbox, relay: &Relay, session: &str, random: &mut Random) -> anyhow::Result<()> {
    let mut line = Line::new(relay.address);
    for _ in 0..THINNED {
        let size = [1_024, 1_024, 1_024, 4_096, 16_384][random.index(5)];
        ensure!(mailbox.send(&mut line, 0, &id_by(random), size)? == 202, "a send is refused");
    }
    let there = mailbox.whole(&mut line, session)?;
    for some in there.chunks(100) {
        let gone: Vec<u64> = some.iter().map(|envelope| envelope.seq.0).filter(|_| random.percent(70)).collect();
        mailbox.acknowledge(&mut line, session, &gone, None)?;
    }
    Ok(())
}

/// Marks, and what each is of.
type Marks = HashMap<[u8; 16], &'static str>;

fn marks(mailbox: &Mailbox, envelope: &Envelope) -> anyhow::Result<Marks> {
    let id: EnvelopeId = mailbox.device.open(envelope)?;
    let (wrap, body) = (envelope.wrap.as_slice(), envelope.body.as_slice());
    let mark = |bytes: &[u8], at: usize| bytes[at..].first_chunk::<16>().copied().context("16 bytes");
    let mut marks = Marks::new();
    for at in [0, 300, 600, 900, body.len() - 16] {
        marks.insert(mark(body, at)?, "a body");
    }
    // `enc`, the first 32 bytes, is an hour's; the nonce and the four bytes before it are this envelope's.
    marks.insert(mark(wrap, 28)?, "a wrap");
    marks.insert(repeat_tag(&mailbox.device.tokens[0], &id), "a repeat tag");
    marks.insert(mark(&body_of(&id, 1_024), 512)?, "what was written");
    Ok(marks)
}

/// Searches until nothing is found, and for a minute at most; gives how long it took.
fn gone(dir: &Path, marks: &Marks) -> anyhow::Result<f64> {
    let begun = Instant::now();
    loop {
        let found = find(dir, marks)?;
        let written = found.iter().find(|(what, _)| *what == "what was written");
        ensure!(written.is_none(), "{written:?} stands on disk");
        if found.is_empty() {
            return Ok(begun.elapsed().as_secs_f64());
        }
        if begun.elapsed() > MINUTE {
            bail!("{} of {} marks are still there, such as of {:?}", found.len(), marks.len(), found[0]);
        }
    }
}

/// The marks that stand in any file below a directory, and in which.
fn find(dir: &Path, marks: &Marks) -> anyhow::Result<Vec<(&'static str, String)>> {
    let mut begin = vec![false; 1 << 16];
    let pair = |bytes: &[u8]| usize::from(bytes[0]) << 8 | usize::from(bytes[1]);
    marks.keys().for_each(|mark| begin[pair(mark)] = true);
    let (mut found, mut dirs) = (HashMap::new(), vec![dir.to_path_buf()]);
    while let Some(dir) = dirs.pop() {
        for entry in dir.read_dir()? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                dirs.push(entry.path());
            }
            // What was there a moment ago may be gone; a socket has no bytes.
            let Ok(bytes) = std::fs::read(entry.path()) else { continue };
            for window in bytes.windows(16) {
                if begin[pair(window)]
                    && let Some((mark, what)) = window.try_into().ok().and_then(|mark: [u8; 16]| marks.get_key_value(&mark))
                {
                    found.insert(*mark, (*what, entry.file_name().to_string_lossy().into_owned()));
                }
            }
        }
    }
    Ok(found.into_values().collect())
}

/// What was acknowledged so far, and whoever waits for more of it.
#[derive(Default)]
struct Wake {
    state: Mutex<Acknowledged>,
    changed: Condvar,
}

#[derive(Default)]
struct Acknowledged {
    count: usize,
    marks: Marks,
    wrong: Option<String>,
}

impl Wake {
    fn add(&self, count: usize, marks: Marks) {
        let mut state = self.lock();
        state.count += count;
        state.marks.extend(marks);
        self.changed.notify_all();
    }

    fn ended(&self, outcome: Result<(), Trouble>) {
        self.lock().wrong = outcome.err().map(|error| error.to_string());
        self.changed.notify_all();
    }

    fn count(&self) -> usize {
        self.lock().count
    }

    /// The marks of what was acknowledged, once it is so many.
    fn acknowledged(&self, count: usize) -> anyhow::Result<Marks> {
        let mut state = self.lock();
        while state.count < count {
            ensure!(state.wrong.is_none(), "{:?}", state.wrong);
            state = self.changed.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        Ok(state.marks.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Acknowledged> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Mailboxes, each with somebody who sends to it and reads it; there is one more.
const PAIRS: usize = 3;
/// Sent between two reads.
const BATCH: usize = 8;
const WAITING: usize = 30;
const THINNED: usize = 2_000;
/// What the protocol allows.
const MINUTE: Duration = Duration::from_secs(60);
