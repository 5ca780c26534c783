//! The two bounded queues in front of the writer: what frees, ends or logs in goes before what adds.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::oneshot;

use super::writer::Job;
use crate::store::{Result, StoreError};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Acknowledgements, logins, revocations, accounts, purge: before every send.
    Urgent,
    /// Sends.
    Sends,
}

pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    jobs_max: usize,
}

#[derive(Default)]
struct State {
    urgent: VecDeque<(usize, Box<dyn Job>)>,
    sends: VecDeque<(usize, Box<dyn Job>)>,
    bytes: usize,
    truncations: Vec<Truncation>,
    /// Sends that ever came.
    sent: u64,
    closed: bool,
    /// The writer waits to be woken; while it works, nobody need call the system for that.
    waiting: bool,
    /// Syncs beside the writer.
    syncs: usize,
}

impl State {
    /// Urgent ones first, bounded in number and bytes.
    fn fill(&mut self, batch: &mut Batch) {
        while batch.has_room() {
            let urgent = if batch.takes == Takes::All { self.urgent.pop_front() } else { None };
            batch.has_urgent |= urgent.is_some();
            let Some((bytes, job)) = urgent.or_else(|| self.sends.pop_front()) else { break };
            self.bytes -= bytes;
            batch.bytes += bytes;
            batch.jobs.push(job);
        }
    }
}

/// Somebody waits for the log to be truncated.
pub(super) type Truncation = oneshot::Sender<Result<()>>;

/// Jobs that share one commit.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) jobs: Vec<Box<dyn Job>>,
    bytes: usize,
    /// It holds more than sends.
    has_urgent: bool,
    takes: Takes,
}

/// What else a batch takes, while there is room.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Takes {
    #[default]
    All,
    Sends,
    Nothing,
}

impl Batch {
    /// These, and no more.
    pub(super) fn alone(jobs: Vec<Box<dyn Job>>) -> Self {
        Self { jobs, bytes: 0, has_urgent: true, takes: Takes::Nothing }
    }

    /// It holds sends, and nothing else.
    pub(super) fn is_sends(&self) -> bool {
        !self.jobs.is_empty() && !self.has_urgent
    }

    /// It takes nothing else from here on.
    pub(super) fn stay_sends(&mut self) {
        self.takes = Takes::Sends;
    }

    fn has_room(&self) -> bool {
        self.takes != Takes::Nothing && self.jobs.len() < BATCH_JOBS_MAX && self.bytes < BATCH_BYTES_MAX
    }
}

/// What the writer does next.
pub(super) enum Turn {
    /// These, and what comes while they are done, together; and then whatever waits for a truncated log.
    Work(Batch, Vec<Truncation>),
    /// Nothing came in the time given.
    Idle,
    /// Nothing comes any more.
    Closed,
}

impl Queue {
    pub(super) fn new(jobs_max: usize) -> Self {
        Self { state: Mutex::default(), filled: Condvar::new(), jobs_max: jobs_max.max(1) }
    }

    /// Puts a job in line; never waits. `bytes` is what it holds in memory.
    pub(super) fn push(&self, lane: Lane, bytes: usize, job: Box<dyn Job>) -> Result<()> {
        let mut state = self.lock();
        if state.closed {
            return Err(StoreError::Closing);
        }
        let room = state.bytes + bytes <= QUEUE_BYTES_MAX || bytes == 0;
        let line = match lane {
            Lane::Urgent => &mut state.urgent,
            Lane::Sends => &mut state.sends,
        };
        if line.len() >= self.jobs_max || !room {
            return Err(StoreError::Busy);
        }
        line.push_back((bytes, job));
        state.sent += u64::from(lane == Lane::Sends);
        state.bytes += bytes;
        self.wake(&mut state);
        Ok(())
    }

    /// Asks for a truncated log, after the next batch.
    pub(super) fn truncate(&self) -> Result<oneshot::Receiver<Result<()>>> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.lock();
        if state.closed {
            return Err(StoreError::Closing);
        }
        if state.truncations.len() >= self.jobs_max {
            return Err(StoreError::Busy);
        }
        state.truncations.push(sender);
        self.wake(&mut state);
        Ok(receiver)
    }

    /// Takes nothing more; what is in line is still done.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        self.wake(&mut state);
    }

    /// [`StoreError::Closing`] once it takes nothing more.
    pub(super) fn check(&self) -> Result<()> {
        if self.lock().closed { Err(StoreError::Closing) } else { Ok(()) }
    }

    /// The next batch. Waits for at most `wait`, for ever when none.
    pub(super) fn next(&self, wait: Option<Duration>) -> Turn {
        let mut state = self.lock();
        let empty = |state: &mut State| {
            state.waiting = state.urgent.is_empty() && state.sends.is_empty() && state.truncations.is_empty() && !state.closed;
            state.waiting
        };
        match wait {
            Some(wait) if wait.is_zero() => {}
            Some(wait) => {
                state = match self.filled.wait_timeout_while(state, wait, empty) {
                    Ok((state, _)) => state,
                    Err(poisoned) => poisoned.into_inner().0,
                }
            }
            None => state = self.filled.wait_while(state, empty).unwrap_or_else(|poisoned| poisoned.into_inner()),
        }
        state.waiting = false;
        let mut batch = Batch::default();
        state.fill(&mut batch);
        let truncations = std::mem::take(&mut state.truncations);
        match (batch.jobs.is_empty() && truncations.is_empty(), state.closed) {
            (false, _) => Turn::Work(batch, truncations),
            (true, false) => Turn::Idle,
            (true, true) => Turn::Closed,
        }
    }

    /// As often as this changes, somebody sent.
    pub(super) fn sends(&self) -> u64 {
        self.lock().sent
    }

    /// Adds to a batch what has come since, within the same bounds.
    pub(super) fn join(&self, batch: &mut Batch) {
        self.lock().fill(batch);
    }

    /// The same, for a batch that is synced beside the writer: while as many syncs as may be are under way, it waits for the first of
    /// them that ends, or for more that the batch takes.
    pub(super) fn gather(&self, batch: &mut Batch) {
        let before = batch.jobs.len();
        let mut state = self.lock();
        loop {
            state.fill(batch);
            let more = batch.jobs.len() > before;
            let others = state.closed || !state.urgent.is_empty() || !state.truncations.is_empty();
            if more || others || state.syncs < SYNCS_MAX || !batch.has_room() {
                return;
            }
            state.waiting = true;
            state = self.filled.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
            state.waiting = false;
        }
    }

    /// Syncs beside the writer are under way.
    pub(super) fn is_syncing(&self) -> bool {
        self.lock().syncs > 0
    }

    /// One more commit is to be synced beside the writer.
    pub(super) fn sync_begins(&self) {
        self.lock().syncs += 1;
    }

    /// One of them is, or failed.
    pub(super) fn sync_ended(&self) {
        let mut state = self.lock();
        state.syncs -= 1;
        self.wake(&mut state);
    }

    fn wake(&self, state: &mut State) {
        if std::mem::take(&mut state.waiting) {
            self.filled.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Syncs beside the writer at once. More gain little: with 5 ms for each, 16 gave as much as 8.
pub(super) const SYNCS_MAX: usize = 8;
/// Jobs that share one commit: on a quick disk more than 128 gain nothing, on a slow one each wait is shared by twice as many.
const BATCH_JOBS_MAX: usize = 256;
/// A batch takes no further job once it holds so much.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// What all waiting jobs may hold: a full queue of sends to ten devices at 16 KiB would be 160 MiB.
const QUEUE_BYTES_MAX: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{TryRecvError, channel};
    use std::thread;

    use super::super::writer::job;
    use super::*;

    /// What has not happened by then does not happen.
    const PATIENCE: Duration = Duration::from_secs(20);

    fn push(queue: &Queue, lane: Lane) {
        queue.push(lane, 1, job(|_| Ok(())).0).expect("room");
    }

    #[test]
    fn sends_gather_until_a_sync_ends_or_something_else_is_in_line() {
        let queue = Arc::new(Queue::new(10));
        push(&queue, Lane::Sends);
        let Turn::Work(mut batch, _) = queue.next(None) else { panic!("there is work") };
        batch.stay_sends();
        let (gathering, (go, gone), (tell, told)) = (Arc::clone(&queue), channel(), channel());
        let gatherer = thread::spawn(move || {
            while gone.recv().is_ok() {
                gathering.gather(&mut batch);
                tell.send(batch.jobs.len()).expect("somebody listens");
            }
        });
        let gather = || go.send(()).expect("it is asked once more");
        let waits = || {
            while !queue.lock().waiting {
                assert_eq!(told.try_recv(), Err(TryRecvError::Empty), "it does not wait")
            }
        };
        (1..SYNCS_MAX).for_each(|_| queue.sync_begins());
        gather();
        assert_eq!(told.recv_timeout(PATIENCE), Ok(1), "one more sync may begin");
        queue.sync_begins();
        gather();
        waits();
        push(&queue, Lane::Sends);
        assert_eq!(told.recv_timeout(PATIENCE), Ok(2), "what comes is worked at meanwhile");
        gather();
        waits();
        queue.sync_ended();
        assert_eq!(told.recv_timeout(PATIENCE), Ok(2), "a sync may begin again");
        queue.sync_begins();
        gather();
        waits();
        push(&queue, Lane::Urgent);
        gather();
        assert_eq!(
            (told.recv_timeout(PATIENCE), told.recv_timeout(PATIENCE)),
            (Ok(2), Ok(2)),
            "what is urgent does not wait for a sync, and does not join"
        );
        drop(go);
        gatherer.join().expect("no panic");
    }
}
