//! Threads that bring sends onto a slow disk while the writer already works at the next ones.
//!
//! SQLite syncs the log within COMMIT, with the writer standing still: where a sync takes milliseconds, that is most of its time. There a
//! commit of sends alone syncs nothing. What follows from it (readers see what came, streams are told, senders are answered) is
//! handed over, and happens once one of these threads has synced the log. Several syncs are under way at once: most disks that are slow are so
//! for each of them, and not for all together. A sync covers all commits before it, so none waits for an earlier one's. A power cut loses
//! the last commits, whole, by the sums in the log, and nobody was told of those.

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use super::fate::Fate;
use super::queue::{Queue, SYNCS_MAX};
use super::refusal::{OpenError, OpenErrorKind};
use crate::store::Result;

/// What follows from a commit: told that it is on the disk, or why nobody knows.
pub(super) type Then = Box<dyn FnOnce(Result<()>) + Send>;

pub(super) struct Syncer {
    shared: Arc<Shared>,
    /// None once they are to end.
    orders: Option<SyncSender<Then>>,
    threads: Vec<JoinHandle<()>>,
    /// Commits of sends since one was a look at how long a sync takes.
    skipped: u32,
}

struct Shared {
    fate: Arc<Fate>,
    queue: Arc<Queue>,
    orders: Mutex<Receiver<Then>>,
    /// How long a sync lately took, in microseconds.
    pace: AtomicU64,
}

impl Syncer {
    /// Starts the threads, for a log that is there.
    pub(super) fn start(log: &Path, fate: &Arc<Fate>, queue: &Arc<Queue>) -> std::result::Result<Self, OpenError> {
        let cannot = |error| OpenError::new(OpenErrorKind::CannotCreate, "the threads that sync could not be started", error);
        // A descriptor for each: the system tells each of them of an error, but once.
        let files: io::Result<Vec<File>> = (0..SYNCS_MAX).map(|_| File::options().write(true).open(log)).collect();
        let files = files.map_err(cannot)?;
        // What a killed relay left in the log is shown from here on.
        files[0].sync_data().map_err(cannot)?;
        let syncs = files.into_iter().map(|file| move || file.sync_data());
        Self::with(syncs, fate, queue).map_err(cannot)
    }

    /// The same, by other syncs, each a thread's.
    pub(super) fn with<S: Fn() -> io::Result<()> + Send + 'static>(
        syncs: impl IntoIterator<Item = S>,
        fate: &Arc<Fate>,
        queue: &Arc<Queue>,
    ) -> io::Result<Self> {
        let (orders, ordered) = sync_channel(1);
        let (fate, queue) = (Arc::clone(fate), Arc::clone(queue));
        let shared = Arc::new(Shared { fate, queue, orders: Mutex::new(ordered), pace: AtomicU64::new(0) });
        let start = |sync: S| {
            let shared = Arc::clone(&shared);
            Builder::new().name("restante-sync".into()).spawn(move || shared.work(&sync))
        };
        let threads = syncs.into_iter().map(start).collect::<io::Result<_>>()?;
        Ok(Self { shared, orders: Some(orders), threads, skipped: SKIPPED_MAX })
    }

    /// Hands over what was just committed.
    pub(super) fn sync(&self, then: Then) {
        self.shared.queue.sync_begins();
        // They end only when they are told to, and what is not taken then is dropped unanswered.
        let _ = self.orders.as_ref().map(|orders| orders.send(then));
    }

    /// Whether the next commit of sends is one for these threads: syncs lately took so long that the writer has better to do meanwhile, or
    /// it is time to see how long they take.
    pub(super) fn is_due(&mut self) -> bool {
        self.skipped = if self.skipped == SKIPPED_MAX { 0 } else { self.skipped + 1 };
        self.skipped == 0 || self.shared.pace.load(Ordering::Relaxed) >= SLOW_SYNC_MICROS
    }

    /// As if each sync had taken minutes.
    #[cfg(test)]
    pub(super) fn seem_slow(&self) {
        self.shared.pace.store(SLOW_SYNC_MICROS << 20, Ordering::Relaxed);
    }

    /// Ends the threads, after what is under way.
    pub(super) fn end(&mut self) {
        self.orders = None;
        for thread in self.threads.drain(..) {
            // It catches its panics.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn work(&self, sync: &impl Fn() -> io::Result<()>) {
        loop {
            let ordered = self.orders.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(then) = ordered else { break };
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                let outcome = self.synchronize(sync);
                self.queue.sync_ended();
                then(outcome);
            }));
            if outcome.is_err() {
                self.fate.fail("a thread that syncs panicked".into());
            }
        }
    }

    /// After one that failed nobody knows what is on the disk: that is the end, and nothing is answered from there on.
    fn synchronize(&self, sync: &impl Fn() -> io::Result<()>) -> Result<()> {
        #[cfg(feature = "sabotage")]
        if crate::sabotage::on("synchronous_normal") {
            return Ok(());
        }
        let began = Instant::now();
        sync().map_err(|error| self.fate.fail(format!("the log could not be synced: {error}")))?;
        let (took, before) = (began.elapsed().as_micros() as u64, self.pace.load(Ordering::Relaxed));
        // Of two at a time one may be left out.
        self.pace.store((before + took) / 2, Ordering::Relaxed);
        self.fate.check()
    }
}

/// From here on the writer goes on beside it; quicker ones cost less than to wake another thread for each.
const SLOW_SYNC_MICROS: u64 = 1_500;
/// Commits of sends that sync by themselves between two looks at how long that takes.
const SKIPPED_MAX: u32 = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quick_disk_is_looked_at_now_and_then_and_a_slow_one_always() {
        let (fate, queue) = (Arc::new(Fate::new(Arc::new(|_| {}))), Arc::new(Queue::new(1)));
        let mut syncer = Syncer::with([|| Ok(())], &fate, &queue).expect("it starts");
        let due = |syncer: &mut Syncer| (0..600).filter(|_| syncer.is_due()).collect::<Vec<_>>();
        assert_eq!(due(&mut syncer), [0, 256, 512]);
        syncer.seem_slow();
        assert_eq!(due(&mut syncer).len(), 600);
        syncer.end();
    }
}
