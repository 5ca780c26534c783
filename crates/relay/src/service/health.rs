//! Whether the relay can do its job: asked by `/readyz`, answered from at most one probe a second.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Clock, Relay};

#[derive(Default)]
pub(crate) struct Health {
    room: Mutex<Option<(Duration, bool)>>,
    purged: Mutex<Option<Duration>>,
    probe: tokio::sync::Mutex<Option<(Duration, bool)>>,
}

/// The parts of readiness.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// All of what follows.
    pub ready: bool,
    /// A transaction went through the writer within the last second.
    pub writer: bool,
    /// The disk has room.
    pub disk: bool,
    /// The last purge is not overdue.
    pub purge: bool,
    /// The relay is stopping.
    pub stopping: bool,
}

impl Relay {
    /// Whether it is ready. Concurrent callers share one probe.
    pub async fn ready(&self) -> Readiness {
        let inner = &self.inner;
        let writer = {
            let mut probe = inner.health.probe.lock().await;
            let now = inner.clock.elapsed();
            match *probe {
                Some((at, good)) if now.saturating_sub(at) < PROBE_EVERY => good,
                _ => {
                    let good = inner.store.probe().await.is_ok();
                    *probe = Some((now, good));
                    good
                }
            }
        };
        let overdue = Duration::from_secs(inner.settings.purge_overdue_secs);
        // Before the first purge has ended, its time runs from the start.
        let last = inner.health.last_purge().unwrap_or_default();
        let purge = inner.clock.elapsed().saturating_sub(last) < overdue;
        let (disk, stopping) = (self.has_room(), inner.stopping.is_cancelled());
        Readiness { ready: writer && disk && purge && !stopping, writer, disk, purge, stopping }
    }
}

impl Relay {
    /// Whether a purge ended at or after a moment of the clock's `elapsed`.
    pub fn purged_since(&self, moment: Duration) -> bool {
        self.inner.health.last_purge().is_some_and(|at| at >= moment)
    }
}

impl Health {
    pub(crate) fn room(&self, clock: &Clock, ask: &Arc<dyn Fn() -> bool + Send + Sync>) -> bool {
        let now = clock.elapsed();
        let mut room = self.room.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match *room {
            Some((at, has)) if now.saturating_sub(at) < ROOM_EVERY => has,
            _ => {
                let has = ask();
                *room = Some((now, has));
                has
            }
        }
    }

    pub(crate) fn purged(&self, at: Duration) {
        *self.purged.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(at);
    }

    fn last_purge(&self) -> Option<Duration> {
        *self.purged.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

const PROBE_EVERY: Duration = Duration::from_secs(1);
/// The disk is asked so often: what is written meanwhile must fit into the room that is kept free, and a fast disk takes the
/// 64 MiB of the default in less than a second. The question costs a microsecond.
const ROOM_EVERY: Duration = Duration::from_millis(100);
