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
}

impl State {
    /// Urgent ones first, bounded in number and bytes.
    fn fill(&mut self, batch: &mut Batch) {
        while !batch.alone && batch.jobs.len() < BATCH_JOBS_MAX && batch.bytes < BATCH_BYTES_MAX {
            let Some((bytes, job)) = self.urgent.pop_front().or_else(|| self.sends.pop_front()) else { break };
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
    /// It takes no more, however few they are.
    alone: bool,
}

impl Batch {
    /// These, and no more.
    pub(super) fn alone(jobs: Vec<Box<dyn Job>>) -> Self {
        Self { jobs, bytes: 0, alone: true }
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

    fn wake(&self, state: &mut State) {
        if std::mem::take(&mut state.waiting) {
            self.filled.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Jobs that share one commit: on a quick disk more than 128 gain nothing, on a slow one each wait is shared by twice as many.
const BATCH_JOBS_MAX: usize = 256;
/// A batch takes no further job once it holds so much.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// What all waiting jobs may hold: a full queue of sends to ten devices at 16 KiB would be 160 MiB.
const QUEUE_BYTES_MAX: usize = 64 << 20;
