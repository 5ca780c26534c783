//! The one writing thread: takes what waits, commits it together, tells the listener, answers.
//!
//! While one commit is on its way to the disk the next batch gathers, and what comes while that is worked at joins it. So there is
//! no timer: the slower the disk, the larger the batch. An answer is given only after the commit that it speaks of. Any error but a full disk ends the store for good;
//! see `fate`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rusqlite::Connection;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::expiring::Tally;
use super::fate::{Fate, Fault};
use super::log::Log;
use super::memory::Memory;
use super::places::Places;
use super::queue::{Batch, Queue, Turn};
use super::routes::Routes;
use super::slices::{self, Budget};
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
    leftovers: bool,
    /// Pages in use up to which anything may be added; what is left below the cap is for what frees room.
    pages_max: u64,
    /// Where answers are given: woken from there, a batch's waiters cost one call to the system and not one each.
    runtime: Option<Handle>,
}

impl Writer {
    pub(super) fn new(connection: Connection, places: Places, log: Log, settings: &Settings, shared: Shared) -> Self {
        let Shared { queue, fate, routes, listener } = shared;
        Self {
            connection,
            memory: Memory::new(settings, places),
            queue,
            fate,
            routes,
            listener,
            log,
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
            Ok(()) => {
                let jobs = std::mem::take(jobs);
                match &self.runtime {
                    // A runtime that ends drops them unanswered, and nobody is left to ask.
                    Some(runtime) => drop(runtime.spawn(async move { answer_all(jobs, &Ok(())) })),
                    None => answer_all(jobs, &Ok(())),
                }
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
            let outcome = self.transaction(&mut alone).map_err(|error| self.fate.judge(&error));
            if let Err(StoreError::Failed(_)) = outcome {
                jobs.append(&mut alone.jobs);
                return outcome;
            }
            answer_all(alone.jobs, &outcome);
            self.log.look()?;
        }
        Ok(())
    }

    /// One transaction, of a batch and of what joins it: all or nothing, and the listener told when all.
    ///
    /// No savepoints: on a full database SQLite rolls back the whole transaction, whatever savepoints it holds, and then the
    /// jobs have to be run again one by one anyway; any other error ends the store.
    fn transaction(&mut self, batch: &mut Batch) -> rusqlite::Result<()> {
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
        if let Some(listener) = self.listener.get().filter(|_| !effects.woken.is_empty()) {
            effects.woken.sort_unstable();
            effects.woken.dedup();
            listener(&effects.woken);
        }
        Ok(())
    }

    fn run_jobs(&mut self, batch: &mut Batch, effects: &mut Effects) -> rusqlite::Result<()> {
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
            self.queue.join(batch);
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
        connection.prepare_cached("COMMIT")?.execute([])?;
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
    use std::path::Path;
    use std::sync::Mutex;

    use rusqlite::StatementStatus;

    use super::super::mover::Mover;
    use super::super::queue::Lane;
    use super::*;

    fn writer(dir: &Path) -> Writer {
        let settings = Settings::new(dir);
        let (connection, residue) = open::open_writer(&settings).expect("it opens");
        let fate = Arc::new(Fate::new(Arc::new(|_| {})));
        let mover = Mover::start(&open::file(dir), &fate).expect("it starts");
        let log = Log::new(mover, residue, &fate);
        let (queue, routes) = (Arc::new(Queue::new(1_000)), Arc::new(Routes::new(1)));
        let shared = Shared { queue, fate, routes, listener: Arc::default() };
        let (places, _) = Places::load(&connection).expect("none");
        Writer::new(connection, places, log, &settings, shared)
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
        let told = told(&writer);
        writer.transaction(&mut batch).expect("committed");
        assert_eq!(batch.jobs.len(), 256);
        assert_eq!(
            *told.lock().expect("told"),
            [(0..255).map(device).collect::<Vec<_>>()],
            "in one commit, and in their order"
        );
        let Turn::Work(rest, _) = writer.queue.next(None) else { panic!("there is work") };
        assert_eq!(rest.jobs.len(), 45);
        let (first, _) = push_many(Arc::clone(&writer.queue));
        let mut batch = Batch::alone(vec![first]);
        writer.transaction(&mut batch).expect("committed");
        assert_eq!(batch.jobs.len(), 1, "what is done alone is not joined");
        writer.log.end();
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
