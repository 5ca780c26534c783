//! The one writing thread: takes what waits, commits it together, tells the listener, answers.
//!
//! While one commit is on its way to the disk the next batch gathers, and what comes while that is worked at joins it. So there is
//! no timer: the slower the disk, the larger the batch. An answer is given only after the commit that it speaks of is on the disk; where
//! that takes long, see `syncer`. Any error but a full disk ends the store for good; see `fate`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rusqlite::Connection;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::expiring::Tally;
use super::fate::{Fate, Fault};
use super::fresh::Fresh;
use super::log::Log;
use super::memory::Memory;
use super::places::Places;
use super::queue::{Batch, Queue, Turn};
use super::routes::Routes;
use super::slices::{self, Budget};
use super::syncer::Syncer;
use super::values::int;
use super::{Settings, open};
use crate::protocol::{DeviceId, TokenHash};
use crate::store::{CommitListener, Result, StoreError};

/// What a write sees: the connection inside the open transaction, the writer's memory, and what the commit will tell.
pub(super) struct Tx<'a> {
    pub(super) connection: &'a Connection,
    pub(super) memory: &'a mut Memory,
    pub(super) effects: &'a mut Effects,
    /// Of `routes`, as the last commit left it.
    generation: u64,
}

/// What follows from a commit.
#[derive(Default)]
pub(super) struct Effects {
    /// Something appeared in these devices' mailboxes.
    pub(super) woken: Vec<DeviceId>,
    /// Accounts and tokens whose routes changed.
    pub(super) accounts: Vec<i64>,
    pub(super) tokens: Vec<TokenHash>,
    /// Somebody wants room: refused where only the room is left that giving it back takes.
    pub(super) adds: bool,
    /// Places added.
    pub(super) placed: u64,
    /// What changes in `expiring`.
    pub(super) tally: Tally,
    /// Content was deleted, so the log is to be truncated soon.
    pub(super) deleted: bool,
    /// Free pages to give back to the file system.
    pub(super) give_back: Option<u64>,
    /// Rows were left behind that nobody sees any more.
    pub(super) leftovers: bool,
    /// The commit added to the log.
    wrote: bool,
}

/// One write in line.
pub(super) trait Job: Send {
    /// Runs it and keeps the outcome; may be called again after the transaction was undone.
    fn run(&mut self, tx: &mut Tx<'_>) -> rusqlite::Result<()>;
    /// Gives the outcome to whoever waits for it, or the reason why there is none.
    fn answer(self: Box<Self>, committed: Result<()>);
}

struct Write<T, F> {
    op: F,
    outcome: Option<T>,
    answer: oneshot::Sender<Result<T>>,
}

/// A job of a closure, and where its answer will come.
pub(super) fn job<T: Send + 'static>(
    op: impl FnMut(&mut Tx<'_>) -> rusqlite::Result<T> + Send + 'static,
) -> (Box<dyn Job>, oneshot::Receiver<Result<T>>) {
    let (sender, receiver) = oneshot::channel();
    (Box::new(Write { op, outcome: None, answer: sender }), receiver)
}

impl<T: Send, F: FnMut(&mut Tx<'_>) -> rusqlite::Result<T> + Send> Job for Write<T, F> {
    fn run(&mut self, tx: &mut Tx<'_>) -> rusqlite::Result<()> {
        self.outcome = None;
        self.outcome = Some((self.op)(tx)?);
        Ok(())
    }

    fn answer(self: Box<Self>, committed: Result<()>) {
        let Self { outcome, answer, .. } = *self;
        // Whoever asked may have gone; the write happened all the same.
        let _ = answer.send(committed.and_then(|()| outcome.ok_or(StoreError::Full)));
    }
}

/// What the writer has in common with the store.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) queue: Arc<Queue>,
    pub(super) fate: Arc<Fate>,
    pub(super) routes: Arc<Routes>,
    pub(super) listener: Arc<OnceLock<CommitListener>>,
    pub(super) fresh: Arc<Fresh>,
}

pub(super) struct Writer {
    connection: Connection,
    memory: Memory,
    queue: Arc<Queue>,
    fate: Arc<Fate>,
    routes: Arc<Routes>,
    listener: Arc<OnceLock<CommitListener>>,
    // After the connection: see `mover`.
    log: Log,
    syncer: Syncer,
    /// The transaction under way, or the last one, is synced beside the writer and not by its COMMIT.
    unsynced: bool,
    fresh: Arc<Fresh>,
    leftovers: bool,
    /// Pages in use up to which anything may be added; what is left below the cap is for what frees room.
    pages_max: u64,
    /// Where answers are given: woken from there, a batch's waiters cost one call to the system and not one each.
    runtime: Option<Handle>,
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        places: Places,
        log: Log,
        syncer: Syncer,
        settings: &Settings,
        shared: Shared,
    ) -> Self {
        let Shared { queue, fate, routes, listener, fresh } = shared;
        Self {
            connection,
            memory: Memory::new(settings, places),
            queue,
            fate,
            routes,
            listener,
            log,
            syncer,
            unsynced: false,
            fresh,
            // A crash may have left some.
            leftovers: true,
            pages_max: open::pages_to_fill(settings.disk_bytes_max),
            runtime: Handle::try_current().ok(),
        }
    }

    /// Works until the queue is closed and empty, or the store has failed.
    pub(super) fn run(mut self) {
        loop {
            let (mut batch, truncations) = match self.queue.next(self.patience()) {
                Turn::Work(batch, truncations) => (batch, truncations),
                Turn::Idle => (Batch::default(), Vec::new()),
                Turn::Closed if self.leftovers => (Batch::default(), Vec::new()),
                Turn::Closed => break,
            };
            let idle = batch.jobs.is_empty() && !self.leftovers && !self.log.residue.is_going_over();
            let outcome = catch_unwind(AssertUnwindSafe(|| self.turn(&mut batch, idle, !truncations.is_empty())));
            let outcome = outcome.unwrap_or_else(|_| Err(self.fate.fail("the writer panicked".into())));
            for truncation in truncations {
                let _ = truncation.send(outcome.clone());
            }
            if let Err(StoreError::Failed(message)) = outcome {
                return self.give_up(batch, message);
            }
        }
        self.syncer.end();
        self.log.end();
        let closed = self.fate.check().and_then(|()| self.empty_log());
        let kept = self.log.residue.any();
        let closed = closed.and_then(|()| open::keep_log(&self.connection, kept).map_err(|error| self.fate.judge(&error)));
        if let Err(StoreError::Failed(message)) = closed {
            self.give_up(Batch::default(), message);
        }
    }

    /// How long to wait for work: not at all while rows are left behind or pages to go over; until the log is to be truncated
    /// while the log holds anything; else for ever.
    fn patience(&self) -> Option<Duration> {
        if self.leftovers || self.log.residue.is_going_over() {
            return Some(Duration::ZERO);
        }
        self.log.holds_anything().then_some(GAP)
    }

    /// One batch with its answers, a slice of what was left behind, and what is due of the log.
    fn turn(&mut self, batch: &mut Batch, idle: bool, truncate: bool) -> Result<()> {
        // A reader may have met what ends the store.
        self.fate.check()?;
        if !batch.jobs.is_empty() || self.log.residue.is_going_over() {
            self.commit_batch(batch)?;
        }
        // Without room or behind a lock the rest is left to the next purge.
        if std::mem::take(&mut self.leftovers) {
            let (slice, _) = job(|tx| {
                tx.effects.leftovers |= slices::leftovers(tx, &mut Budget::new())?;
                Ok(())
            });
            self.commit_batch(&mut Batch::alone(vec![slice]))?;
        }
        if truncate || idle || self.log.is_truncation_due() { self.empty_log() } else { self.log.tend(&self.connection) }
    }

    /// Clears what is left of moved rows, and then truncates the log; without room it stays until there is some.
    fn empty_log(&mut self) -> Result<()> {
        for _ in 0..2 {
            if self.log.residue.any() {
                self.commit_batch(&mut Batch::alone(Vec::new()))?;
            }
            if !self.log.residue.any() {
                return self.log.truncate(&self.connection);
            }
            self.log.start_over(&self.connection)?;
        }
        Ok(())
    }

    /// Commits the jobs together and answers them. When that fails for lack of room, each gets a transaction of its own, so
    /// that what frees room passes and only what needs it is refused.
    fn commit_batch(&mut self, batch: &mut Batch) -> Result<()> {
        let committed = self.transaction(batch);
        let jobs = &mut batch.jobs;
        let refusal = match committed {
            Ok(effects) => {
                self.follow(std::mem::take(jobs), effects);
                return self.log.look();
            }
            Err(error) => self.fate.judge(&error),
        };
        match refusal {
            StoreError::Failed(_) => return Err(refusal),
            StoreError::Full => {}
            refusal => {
                answer_all(std::mem::take(jobs), &Err(refusal));
                return Ok(());
            }
        }
        while !jobs.is_empty() {
            let mut alone = Batch::alone(jobs.drain(..1).collect());
            match self.transaction(&mut alone).map_err(|error| self.fate.judge(&error)) {
                Ok(effects) => self.follow(alone.jobs, effects),
                Err(StoreError::Failed(message)) => {
                    jobs.append(&mut alone.jobs);
                    return Err(StoreError::Failed(message));
                }
                Err(refusal) => answer_all(alone.jobs, &Err(refusal)),
            }
            self.log.look()?;
        }
        Ok(())
    }

    /// What follows from a commit once it is on the disk, and all before it: readers see it, the listener hears of it, and the jobs are
    /// answered. A COMMIT that wrote nothing synced nothing, either, and may speak of what is not synced yet.
    fn follow(&self, jobs: Vec<Box<dyn Job>>, effects: Effects) {
        let Effects { woken, wrote, .. } = effects;
        let synced = !self.unsynced && (wrote || !self.queue.is_syncing());
        let (fresh, listener, runtime) = (Arc::clone(&self.fresh), Arc::clone(&self.listener), self.runtime.clone());
        let next = self.memory.places.committed_next();
        let then = move |synced: Result<()>| {
            if synced.is_ok() {
                fresh.note_synced(next);
                if let Some(listener) = listener.get().filter(|_| !woken.is_empty()) {
                    listener(&woken);
                }
            }
            match runtime {
                // A runtime that ends drops them unanswered, and nobody is left to ask.
                Some(runtime) => drop(runtime.spawn(async move { answer_all(jobs, &synced) })),
                None => answer_all(jobs, &synced),
            }
        };
        if synced { then(self.fate.check()) } else { self.syncer.sync(Box::new(then)) }
    }

    /// One transaction, of a batch and of what joins it: all or nothing; gives what follows from it.
    ///
    /// No savepoints: on a full database SQLite rolls back the whole transaction, whatever savepoints it holds, and then the
    /// jobs have to be run again one by one anyway; any other error ends the store.
    fn transaction(&mut self, batch: &mut Batch) -> rusqlite::Result<Effects> {
        let mut effects = Effects::default();
        let outcome = self.run_jobs(batch, &mut effects);
        if let Err(error) = outcome {
            self.memory.undo();
            self.log.residue.undo();
            if !self.connection.is_autocommit() && Fault::of(&error) != Fault::Fatal {
                self.connection.execute_batch("ROLLBACK")?;
            }
            return Err(error);
        }
        self.memory.settle();
        self.log.residue.settle();
        self.leftovers |= effects.leftovers;
        if effects.deleted {
            self.log.note_deletion();
        }
        self.routes.forget(&effects.accounts, &effects.tokens);
        effects.woken.sort_unstable();
        effects.woken.dedup();
        Ok(effects)
    }

    /// Whether the next COMMIT syncs. That of sends alone need not: envelopes that are not on the disk are kept from readers, which
    /// nothing else is.
    fn choose_sync(&mut self, batch: &mut Batch) -> rusqlite::Result<()> {
        let unsynced = batch.is_sends() && self.syncer.is_due();
        if unsynced {
            batch.stay_sends();
        }
        if unsynced != self.unsynced {
            self.connection.pragma_update(None, "synchronous", if unsynced { "NORMAL" } else { "FULL" })?;
            self.unsynced = unsynced;
        }
        Ok(())
    }

    fn run_jobs(&mut self, batch: &mut Batch, effects: &mut Effects) -> rusqlite::Result<()> {
        self.choose_sync(batch)?;
        let connection = &self.connection;
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let (generation, mut done) = (self.routes.generation(), 0);
        while done < batch.jobs.len() {
            for job in &mut batch.jobs[done..] {
                job.run(&mut Tx { connection, memory: &mut self.memory, effects, generation })?;
                // A full database may have rolled everything back without an error of this job's: it must not go on alone.
                if connection.is_autocommit() {
                    return Err(full());
                }
            }
            done = batch.jobs.len();
            if self.unsynced { self.queue.gather(batch) } else { self.queue.join(batch) }
        }
        self.memory.places.step(connection, &mut effects.tally, effects.placed)?;
        effects.tally.write(connection)?;
        if effects.adds && open::pages_in_use(connection)? > self.pages_max {
            return Err(full());
        }
        self.log.residue.clear(connection)?;
        if let Some(pages) = effects.give_back {
            // Last: a page that is taken from behind the end in the same transaction would bring its old bytes along. And through
            // `pragma`, since only then all its rows are read, and all pages freed.
            connection.pragma(None, "incremental_vacuum", int(pages), |_| Ok(()))?;
        }
        #[cfg(feature = "sabotage")]
        if effects.placed > 0 && crate::sabotage::on("answer_before_commit") {
            batch.jobs.iter_mut().for_each(|asked| std::mem::replace(asked, job(|_| Ok(())).0).answer(Ok(())));
        }
        let pages = open::log_pages();
        connection.prepare_cached("COMMIT")?.execute([])?;
        effects.wrote = open::log_pages() != pages;
        Ok(())
    }

    /// Answers nothing but the failure, and leaves the file as it is: closing the connection would write once more.
    fn give_up(mut self, batch: Batch, message: String) {
        self.queue.close();
        let failed = StoreError::Failed(message);
        answer_all(batch.jobs, &Err(failed.clone()));
        while let Turn::Work(batch, truncations) = self.queue.next(Some(Duration::ZERO)) {
            answer_all(batch.jobs, &Err(failed.clone()));
            for truncation in truncations {
                let _ = truncation.send(Err(failed.clone()));
            }
        }
        self.syncer.end();
        self.log.end();
        std::mem::forget(self.connection);
    }
}

/// What SQLite says where there is no room.
fn full() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL), None)
}

fn answer_all(jobs: Vec<Box<dyn Job>>, committed: &Result<()>) {
    for job in jobs {
        job.answer(committed.clone());
    }
}

impl Tx<'_> {
    /// Whether what `routes` said as of a generation is so in this transaction.
    pub(super) fn routes_are_of(&self, generation: u64) -> bool {
        self.generation == generation && self.effects.accounts.is_empty() && self.effects.tokens.is_empty()
    }
}

/// Without work for so long the writer uses the gap to empty the log.
const GAP: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use rusqlite::StatementStatus;

    use super::super::mover::Mover;
    use super::super::places::Place;
    use super::super::queue::Lane;
    use super::*;

    fn writer(dir: &Path) -> Writer {
        writer_with(dir, || Ok(()))
    }

    /// One of which two threads sync by this, where it does not leave that to SQLite.
    fn writer_with(dir: &Path, sync: impl Fn() -> io::Result<()> + Clone + Send + 'static) -> Writer {
        let settings = Settings::new(dir);
        let (connection, residue) = open::open_writer(&settings).expect("it opens");
        let fate = Arc::new(Fate::new(Arc::new(|_| {})));
        let mover = Mover::start(&open::file(dir), &fate).expect("it starts");
        let log = Log::new(mover, residue, &fate);
        let (queue, routes) = (Arc::new(Queue::new(1_000)), Arc::new(Routes::new(1)));
        let (places, fresh) = Places::load(&connection).expect("none");
        let shared = Shared { queue, fate, routes, listener: Arc::default(), fresh };
        let syncer = Syncer::with([sync.clone(), sync], &shared.fate, &shared.queue).expect("it starts");
        Writer::new(connection, places, log, syncer, &settings, shared)
    }

    fn device(number: u16) -> DeviceId {
        let mut device = DeviceId([0; 32]);
        device.0[..2].copy_from_slice(&number.to_be_bytes());
        device
    }

    /// A job of which the listener hears.
    fn number(number: u16) -> Box<dyn Job> {
        let (job, _) = job(move |tx| {
            tx.effects.woken.push(device(number));
            Ok(())
        });
        job
    }

    /// What the listener hears of each commit.
    fn told(writer: &Writer) -> Arc<Mutex<Vec<Vec<DeviceId>>>> {
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = Arc::clone(&told);
        let listener: CommitListener = Arc::new(move |devices| tell.lock().expect("told").push(devices.to_vec()));
        assert!(writer.listener.set(listener).is_ok());
        told
    }

    #[test]
    fn what_comes_while_a_batch_is_worked_at_joins_it_and_no_more_than_fit() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut writer = writer(dir.path());
        let push_many = |queue: Arc<Queue>| {
            job(move |_| {
                for at in 0..300 {
                    queue.push(Lane::Sends, 1, number(at)).expect("room");
                }
                Ok(())
            })
        };
        let (first, _) = push_many(Arc::clone(&writer.queue));
        writer.queue.push(Lane::Sends, 1, first).expect("room");
        let Turn::Work(mut batch, _) = writer.queue.next(None) else { panic!("there is work") };
        assert_eq!(batch.jobs.len(), 1);
        let effects = writer.transaction(&mut batch).expect("committed");
        assert_eq!(batch.jobs.len(), 256);
        assert_eq!(effects.woken, (0..255).map(device).collect::<Vec<_>>(), "in one commit, and in their order");
        let Turn::Work(rest, _) = writer.queue.next(None) else { panic!("there is work") };
        assert_eq!(rest.jobs.len(), 45);
        let (first, _) = push_many(Arc::clone(&writer.queue));
        let mut batch = Batch::alone(vec![first]);
        writer.transaction(&mut batch).expect("committed");
        assert_eq!(batch.jobs.len(), 1, "what is done alone is not joined");
        writer.log.end();
    }

    /// A send, as far as readers see it: a place in mailbox 1.
    fn send(writer: &Writer, seq: u64) -> oneshot::Receiver<Result<()>> {
        let (job, answer) = job(move |tx| {
            let envelope = tx.memory.places.take_envelope();
            let place = Place { seq, envelope, tag: [1; 16], bytes: 1, knock: false };
            tx.memory.places.add(tx.connection, 1, &place, 3_600)?;
            tx.effects.placed += 1;
            tx.effects.woken.push(device(seq as u16));
            Ok(())
        });
        writer.queue.push(Lane::Sends, 1, job).expect("room");
        answer
    }

    fn next(writer: &Writer) -> Batch {
        let Turn::Work(batch, _) = writer.queue.next(None) else { panic!("there is work") };
        batch
    }

    /// The seqs that readers are shown.
    fn shown(writer: &Writer) -> Vec<u64> {
        let (synced, places) = (writer.fresh.synced(), writer.fresh.of(1, 0));
        places.iter().filter(|place| place.envelope < synced).map(|place| place.seq).collect()
    }

    /// One sync of the disk's, which says that it began and waits until it may end.
    type Syncs = (Receiver<Sender<io::Result<()>>>, Writer);

    fn slow_writer(dir: &Path) -> Syncs {
        let (here, begun) = channel();
        let writer = writer_with(dir, move || {
            let (end, ended) = channel();
            here.send(end).expect("somebody listens");
            ended.recv().expect("it may end")
        });
        writer.syncer.seem_slow();
        (begun, writer)
    }

    #[test]
    fn on_a_slow_disk_the_next_sends_are_committed_while_nobody_is_told_of_the_last() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (begun, mut writer) = slow_writer(dir.path());
        let told = told(&writer);
        let mut first = send(&writer, 1);
        writer.commit_batch(&mut next(&writer)).expect("committed");
        let first_sync = begun.recv().expect("it is being synced");
        let mut second = send(&writer, 2);
        writer.commit_batch(&mut next(&writer)).expect("committed");
        let second_sync = begun.recv().expect("it is being synced, too");
        assert!(first.try_recv().is_err() && second.try_recv().is_err());
        assert!(shown(&writer).is_empty() && told.lock().expect("told").is_empty());
        // The second sync covers what the first is for.
        second_sync.send(Ok(())).expect("it waits");
        assert_eq!(second.blocking_recv(), Ok(Ok(())));
        assert_eq!((shown(&writer), told.lock().expect("told").clone()), (vec![1, 2], vec![vec![device(2)]]));
        first_sync.send(Ok(())).expect("it waits");
        assert_eq!(first.blocking_recv(), Ok(Ok(())));
        assert_eq!((shown(&writer), told.lock().expect("told").len()), (vec![1, 2], 2));
        writer.syncer.end();
        writer.log.end();
    }

    #[test]
    fn what_is_no_send_is_synced_by_its_commit_with_all_before_it() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (begun, mut writer) = slow_writer(dir.path());
        let mut sent = send(&writer, 1);
        writer.commit_batch(&mut next(&writer)).expect("committed");
        let sync = begun.recv().expect("it is being synced");
        let synchronous = |writer: &Writer| writer.connection.query_row("PRAGMA synchronous", [], |row| row.get::<_, u8>(0));
        assert_eq!(synchronous(&writer), Ok(1), "NORMAL");
        let mut urgently = |statement: &'static str| {
            let (urgent, answer) = job(move |tx| tx.connection.execute(statement, []));
            writer.queue.push(Lane::Urgent, 1, urgent).expect("room");
            writer.commit_batch(&mut next(&writer)).expect("committed");
            assert_eq!(synchronous(&writer), Ok(2), "FULL");
            (answer, shown(&writer))
        };
        // It writes nothing, and so its COMMIT synced nothing.
        let (mut nothing, seen) = urgently("DELETE FROM mailboxes");
        let its_sync = begun.recv_timeout(Duration::from_secs(20)).expect("it is being synced");
        assert!(nothing.try_recv().is_err() && seen.is_empty());
        let (mut something, seen) = urgently("INSERT INTO mailboxes (id) VALUES (1)");
        assert_eq!((something.try_recv(), seen), (Ok(Ok(1)), vec![1]));
        its_sync.send(Ok(())).expect("it waits");
        assert_eq!(nothing.blocking_recv(), Ok(Ok(0)));
        assert!(sent.try_recv().is_err() && begun.try_recv().is_err());
        sync.send(Ok(())).expect("it waits");
        assert_eq!(sent.blocking_recv(), Ok(Ok(())));
        writer.syncer.end();
        writer.log.end();
    }

    #[test]
    fn what_is_urgent_does_not_join_sends_that_are_synced_later() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut writer = writer(dir.path());
        writer.syncer.seem_slow();
        let queue = Arc::clone(&writer.queue);
        let (pushes, _) = job(move |_| {
            queue.push(Lane::Urgent, 1, number(1)).expect("room");
            queue.push(Lane::Sends, 1, number(2)).expect("room");
            Ok(())
        });
        writer.queue.push(Lane::Sends, 1, pushes).expect("room");
        let mut batch = next(&writer);
        let woken = |writer: &mut Writer, batch: &mut Batch| writer.transaction(batch).map(|effects| effects.woken);
        assert_eq!((woken(&mut writer, &mut batch), writer.unsynced), (Ok(vec![device(2)]), true));
        let mut rest = next(&writer);
        assert_eq!((woken(&mut writer, &mut rest), writer.unsynced), (Ok(vec![device(1)]), false));
        writer.syncer.end();
        writer.log.end();
    }

    #[test]
    fn a_sync_that_fails_is_the_end_for_those_under_way_too() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (begun, mut writer) = slow_writer(dir.path());
        let told = told(&writer);
        let mut commit = |seq| {
            let sent = send(&writer, seq);
            writer.commit_batch(&mut next(&writer)).expect("committed");
            (sent, begun.recv().expect("it is being synced"))
        };
        let ((first, first_sync), (second, second_sync)) = (commit(1), commit(2));
        first_sync.send(Err(io::Error::other("no disk"))).expect("it waits");
        let failed = first.blocking_recv().expect("an answer").expect_err("it failed");
        assert!(matches!(&failed, StoreError::Failed(message) if message.contains("no disk")), "{failed:?}");
        second_sync.send(Ok(())).expect("it waits");
        assert_eq!(second.blocking_recv(), Ok(Err(failed.clone())));
        assert!(shown(&writer).is_empty() && told.lock().expect("told").is_empty());
        drop(send(&writer, 3));
        assert_eq!(writer.turn(&mut next(&writer), false, false), Err(failed));
        writer.syncer.end();
        writer.log.end();
        std::mem::forget(writer.connection);
    }

    #[test]
    fn a_statement_with_a_limit_is_compiled_once() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut writer = writer(dir.path());
        let mut some = writer.connection.prepare("SELECT envelope FROM fresh ORDER BY envelope LIMIT ?1").expect("a statement");
        for limit in 1..4 {
            assert_eq!(some.query_map([limit], |_| Ok(())).expect("rows").count(), 0);
        }
        assert_eq!(some.get_status(StatementStatus::RePrepare), 0);
        drop(some);
        writer.log.end();
    }

    /// A page that was moved from the end, and taken from behind it again by the same transaction, came with what it had held: behind
    /// the end of a body that did not fill it, where nothing overwrites it.
    #[test]
    fn a_page_that_is_given_back_and_taken_again_brings_nothing_along() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut writer = writer(dir.path());
        let fill = "CREATE TABLE rows (id INTEGER PRIMARY KEY, content BLOB);
                    WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 200)
                    INSERT INTO rows SELECT n, CAST(replace(hex(zeroblob(4000)), '00', '<marks>') AS BLOB) FROM numbers;
                    DELETE FROM rows WHERE id <= 100;";
        writer.connection.execute_batch(fill).expect("room");
        let (back, _) = job(|tx| {
            tx.effects.give_back = Some(32);
            Ok(())
        });
        let (take, _) = job(|tx| {
            let more = "WITH RECURSIVE numbers (n) AS (SELECT 1000 UNION ALL SELECT n + 1 FROM numbers WHERE n < 1800)
                        INSERT INTO rows SELECT n, zeroblob(8500) FROM numbers;";
            tx.connection.execute_batch(more)
        });
        writer.transaction(&mut Batch::alone(vec![back, take])).expect("committed");
        writer.connection.execute_batch("DELETE FROM rows WHERE id <= 200").expect("deleted");
        writer.log.truncate(&writer.connection).expect("truncated");
        let file = std::fs::read(open::file(dir.path())).expect("the file");
        assert_eq!(file.windows(7).filter(|window| window == b"<marks>").count(), 0);
        writer.log.end();
    }
}
