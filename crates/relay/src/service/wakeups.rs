//! Who waits on which mailbox. A wake-up carries nothing: the waiter reads the store again, so a lost or an extra one costs
//! a query and never an envelope.
//!
//! A waiter registers *before* it reads, and being woken is remembered until it next waits: what lands between its read
//! and its wait is not missed. One waiter per device: a newer one supersedes the older.

use std::collections::HashMap;
use std::future::poll_fn;
use std::task::{Poll, Waker};

use super::sync::{Arc, Mutex, MutexGuard};
use crate::protocol::DeviceId;

#[derive(Default)]
pub(crate) struct Wakeups {
    waiters: Mutex<HashMap<DeviceId, Arc<Mutex<Waiter>>>>,
}

#[derive(Default)]
struct Waiter {
    woken: bool,
    superseded: bool,
    waker: Option<Waker>,
}

/// What ended a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wakeup {
    /// Something may have landed.
    Look,
    /// A newer waiter of the device took over.
    Superseded,
}

/// A place in the register; leaving it (dropping this) makes room.
pub(crate) struct Ticket {
    wakeups: Arc<Wakeups>,
    device: DeviceId,
    waiter: Arc<Mutex<Waiter>>,
}

impl Wakeups {
    /// Registers the one waiter of a device, superseding the one before.
    pub(crate) fn register(self: &Arc<Self>, device: DeviceId) -> Ticket {
        let waiter = Arc::<Mutex<Waiter>>::default();
        let before = lock(&self.waiters).insert(device, Arc::clone(&waiter));
        if let Some(before) = before {
            wake(&before, |waiter| waiter.superseded = true);
        }
        Ticket { wakeups: Arc::clone(self), device, waiter }
    }

    /// Tells the waiters of these mailboxes to look again.
    pub(crate) fn wake(&self, devices: &[DeviceId]) {
        for device in devices {
            let waiter = lock(&self.waiters).get(device).cloned();
            if let Some(waiter) = waiter {
                wake(&waiter, |waiter| waiter.woken = true);
            }
        }
    }
}

impl Ticket {
    /// Ends at the first wake-up since the last one it reported. Cancel-safe: a wake-up is cleared only when reported.
    pub(crate) async fn wait(&self) -> Wakeup {
        poll_fn(|context| {
            let mut waiter = lock(&self.waiter);
            if waiter.superseded {
                return Poll::Ready(Wakeup::Superseded);
            }
            if std::mem::take(&mut waiter.woken) {
                return Poll::Ready(Wakeup::Look);
            }
            waiter.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Whether a newer waiter took over.
    pub(crate) fn superseded(&self) -> bool {
        lock(&self.waiter).superseded
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut waiters = lock(&self.wakeups.waiters);
        if waiters.get(&self.device).is_some_and(|current| Arc::ptr_eq(current, &self.waiter)) {
            waiters.remove(&self.device);
        }
    }
}

fn wake(waiter: &Mutex<Waiter>, set: impl FnOnce(&mut Waiter)) {
    let waker = {
        let mut waiter = lock(waiter);
        set(&mut waiter);
        waiter.waker.take()
    };
    if let Some(waker) = waker {
        waker.wake();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: DeviceId = DeviceId([1; 32]);

    #[tokio::test]
    async fn what_lands_between_look_and_wait_is_not_missed() {
        let wakeups = Arc::new(Wakeups::default());
        let ticket = wakeups.register(DEVICE);
        wakeups.wake(&[DEVICE]);
        assert_eq!(ticket.wait().await, Wakeup::Look);
    }

    #[tokio::test]
    async fn a_newer_waiter_supersedes_and_keeps_its_place() {
        let wakeups = Arc::new(Wakeups::default());
        let older = wakeups.register(DEVICE);
        let newer = wakeups.register(DEVICE);
        assert_eq!(older.wait().await, Wakeup::Superseded);
        drop(older);
        wakeups.wake(&[DEVICE]);
        assert_eq!(newer.wait().await, Wakeup::Look);
        drop(newer);
        assert!(lock(&wakeups.waiters).is_empty());
    }
}
