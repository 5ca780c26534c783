//! Live envelopes on their way to the streams that are open now. They are nowhere written down: what finds no room here, or no
//! stream, is gone, and whoever sent it is told nothing of that.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::protocol::DeviceId;
use crate::protocol::stream::LiveEnvelope;

#[derive(Default)]
pub(crate) struct Live {
    streams: Mutex<HashMap<DeviceId, Arc<Queue>>>,
    /// Of all queues together.
    bytes: AtomicUsize,
}

#[derive(Default)]
struct Queue(Mutex<VecDeque<LiveEnvelope>>);

/// A stream's place, and what waits for its turn there; leaving it (dropping this) forgets that.
pub(crate) struct Seat {
    live: Arc<Live>,
    device: DeviceId,
    queue: Arc<Queue>,
}

impl Live {
    /// The one stream of a device; a newer one takes the place over.
    pub(crate) fn register(self: &Arc<Self>, device: DeviceId) -> Seat {
        let queue = Arc::<Queue>::default();
        lock(&self.streams).insert(device, Arc::clone(&queue));
        Seat { live: Arc::clone(self), device, queue }
    }

    /// Whether a device has a stream open. For the relay's own use: no reply may depend on it.
    pub(crate) fn is_open(&self, device: &DeviceId) -> bool {
        lock(&self.streams).contains_key(device)
    }

    /// Lays an envelope before the device's stream. True when it should be woken.
    pub(crate) fn offer(&self, device: &DeviceId, envelope: LiveEnvelope) -> bool {
        let Some(queue) = lock(&self.streams).get(device).cloned() else { return false };
        let mut queue = lock(&queue.0);
        let size = envelope.body.0.len();
        if self.bytes.fetch_add(size, Ordering::Relaxed) + size > LIVE_BYTES_MAX {
            self.bytes.fetch_sub(size, Ordering::Relaxed);
            return false;
        }
        if queue.len() >= LIVE_QUEUE_MAX {
            let oldest = queue.pop_front();
            self.give_back(oldest.iter());
        }
        queue.push_back(envelope);
        true
    }

    fn give_back<'a>(&self, envelopes: impl Iterator<Item = &'a LiveEnvelope>) {
        self.bytes.fetch_sub(envelopes.map(|envelope| envelope.body.0.len()).sum(), Ordering::Relaxed);
    }
}

impl Seat {
    /// What came since the last time, oldest first.
    pub(crate) fn take(&self) -> Vec<LiveEnvelope> {
        let mut queue = lock(&self.queue.0);
        if queue.is_empty() {
            return Vec::new();
        }
        // Taken whole, so that an idle stream keeps no room for what once came.
        let taken = Vec::from(std::mem::take(&mut *queue));
        self.live.give_back(taken.iter());
        taken
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut streams = lock(&self.live.streams);
        if streams.get(&self.device).is_some_and(|current| Arc::ptr_eq(current, &self.queue)) {
            streams.remove(&self.device);
        }
        drop(streams);
        self.take();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// What waits for one stream's turn; beyond it the oldest goes.
const LIVE_QUEUE_MAX: usize = 16;
/// Bytes of bodies that wait for all streams together; beyond it the newest goes.
const LIVE_BYTES_MAX: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Bytes;

    const DEVICE: DeviceId = DeviceId([1; 32]);

    fn envelope(number: u64, size: usize) -> LiveEnvelope {
        LiveEnvelope { expires_at: number, wrap: Bytes::default(), body: Bytes(vec![0; size]) }
    }

    fn numbers(seat: &Seat) -> Vec<u64> {
        seat.take().iter().map(|envelope| envelope.expires_at).collect()
    }

    #[test]
    fn only_an_open_stream_gets_any_and_the_newest_sixteen_wait_for_it() {
        let live = Arc::new(Live::default());
        assert!(!live.offer(&DEVICE, envelope(0, 10)), "nobody listens");
        let seat = live.register(DEVICE);
        assert!((0..20).all(|number| live.offer(&DEVICE, envelope(number, 10))));
        assert_eq!(live.bytes.load(Ordering::Relaxed), 160);
        assert_eq!(numbers(&seat), (4..20).collect::<Vec<_>>());
        assert_eq!(live.bytes.load(Ordering::Relaxed), 0);
        assert!(live.offer(&DEVICE, envelope(20, 10)));
        drop(seat);
        assert_eq!(live.bytes.load(Ordering::Relaxed), 0);
        assert!(!live.is_open(&DEVICE));
    }

    #[test]
    fn all_streams_share_one_budget() {
        let live = Arc::new(Live::default());
        let seats: Vec<Seat> = (0..=64).map(|at| live.register(DeviceId([at; 32]))).collect();
        let offered = |at: u8| (0..8).filter(|number| live.offer(&DeviceId([at; 32]), envelope(*number, 16_384))).count();
        assert!((0..64).all(|at| offered(at) == 8), "8 MiB fit");
        assert_eq!(offered(64), 0, "and no more");
        assert_eq!(seats[0].take().len(), 8);
        assert_eq!(offered(64), 8);
    }

    #[test]
    fn a_newer_stream_keeps_the_place_when_the_older_goes() {
        let live = Arc::new(Live::default());
        let older = live.register(DEVICE);
        let newer = live.register(DEVICE);
        drop(older);
        assert!(live.offer(&DEVICE, envelope(7, 1)));
        assert_eq!(numbers(&newer), [7]);
    }
}
