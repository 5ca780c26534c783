//! Senders that push and then wake, as the writer does after its commit, and waiters that loop as a subscription does:
//! register, read, and only when nothing is there wait.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use restante::protocol::DeviceId;
use shuttle::future::block_on;
use shuttle::thread;

use crate::sync::{Arc, Mutex};
use crate::wakeups::{Ticket, Wakeup, Wakeups};

const DEVICE: DeviceId = DeviceId([1; 32]);
/// Another's mailbox, whose wake-ups must not count for the device.
const OTHER: DeviceId = DeviceId([2; 32]);
const SENDERS: u64 = 3;
const SENDS: u64 = 2;
const ALL: usize = (SENDERS * SENDS) as usize;
/// Less than there is, so that a waiter reads more than one page.
const PAGE: usize = 4;

/// A mailbox, and who waits on it.
#[derive(Default, Clone)]
struct Counter {
    store: Arc<Mutex<Vec<u64>>>,
    wakeups: Arc<Wakeups>,
}

/// What ended a subscription.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Saw(Vec<u64>),
    Superseded,
}

/// One device's place, as `service::stream::Subscription` holds it.
struct Subscription<'a> {
    counter: &'a Counter,
    ticket: Ticket,
    look: bool,
    seen: Vec<u64>,
}

impl Counter {
    fn push(&self, envelope: u64) {
        self.store.lock().expect("no panic").push(envelope);
        self.wakeups.wake(&[OTHER, DEVICE]);
    }

    /// A page of what was not seen yet, and whether nothing is left beyond it.
    fn page(&self, after: usize) -> (Vec<u64>, bool) {
        let store = self.store.lock().expect("no panic");
        let page: Vec<u64> = store.iter().skip(after).take(PAGE).copied().collect();
        let drained = after + page.len() == store.len();
        (page, drained)
    }

    fn subscribe(&self) -> Subscription<'_> {
        Subscription { counter: self, ticket: self.wakeups.register(DEVICE), look: true, seen: Vec::new() }
    }

    /// Threads that send, each its own envelopes.
    fn senders(&self) -> Vec<thread::JoinHandle<()>> {
        let sender = |sender: u64| {
            let counter = self.clone();
            thread::spawn(move || (0..SENDS).for_each(|send| counter.push(sender * SENDS + send)))
        };
        (0..SENDERS).map(sender).collect()
    }
}

impl Subscription<'_> {
    /// The next page; nothing once a newer waiter took over.
    async fn next_batch(&mut self) -> Option<Vec<u64>> {
        loop {
            if self.ticket.superseded() {
                return None;
            }
            if self.look {
                let (page, drained) = self.counter.page(self.seen.len());
                self.look = !drained;
                if !page.is_empty() {
                    return Some(page);
                }
            }
            match self.ticket.wait().await {
                Wakeup::Superseded => return None,
                Wakeup::Look => self.look = true,
            }
        }
    }

    /// Batch after batch, until everything was seen.
    async fn all(mut self) -> End {
        while self.seen.len() < ALL {
            match self.next_batch().await {
                Some(page) => self.seen.extend(page),
                None => return End::Superseded,
            }
        }
        End::Saw(self.seen)
    }
}

/// Each once, and each sender's in its order.
fn is_all(seen: &[u64]) {
    let mut sorted = seen.to_vec();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..ALL as u64).collect::<Vec<_>>());
}

/// Polls once: none when it is not over.
async fn once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

fn join(senders: Vec<thread::JoinHandle<()>>) {
    for sender in senders {
        sender.join().expect("no panic");
    }
}

pub(super) fn a_waiter_sees_all_that_senders_push() {
    let counter = Counter::default();
    let senders = counter.senders();
    let End::Saw(seen) = block_on(counter.subscribe().all()) else { panic!("nobody superseded it") };
    is_all(&seen);
    join(senders);
}

pub(super) fn a_newer_waiter_supersedes_and_sees_all() {
    let counter = Counter::default();
    // Which of the two is the older is the schedule's choice.
    let waiters = [0, 1].map(|_| {
        let counter = counter.clone();
        thread::spawn(move || block_on(counter.subscribe().all()))
    });
    let senders = counter.senders();
    let ends = waiters.map(|waiter| waiter.join().expect("no panic"));
    join(senders);
    // Both may see all: the older was done before the newer came.
    assert_ne!(ends, [End::Superseded, End::Superseded]);
    for end in ends {
        if let End::Saw(seen) = end {
            is_all(&seen);
        }
    }
}

pub(super) fn polls_that_come_and_go_see_all() {
    let counter = Counter::default();
    let senders = counter.senders();
    let mut seen = Vec::new();
    block_on(async {
        // Hang-ups in the midst of a poll, whose place is given up while senders wake it.
        for _ in 0..2 {
            let mut poll = counter.subscribe();
            once(poll.next_batch()).await;
        }
        while seen.len() < ALL {
            let mut poll = counter.subscribe();
            poll.seen.clone_from(&seen);
            seen.extend(poll.next_batch().await.expect("nobody superseded it"));
        }
    });
    is_all(&seen);
    join(senders);
}

pub(super) fn a_wait_that_was_dropped_costs_nothing() {
    let counter = Counter::default();
    let senders = counter.senders();
    let mut subscription = counter.subscribe();
    let seen = block_on(async {
        while subscription.seen.len() < ALL {
            // As a stream does, whose loop drops the wait at each frame that the peer sends.
            let page = match once(subscription.next_batch()).await {
                Some(page) => page,
                None => subscription.next_batch().await,
            };
            subscription.seen.extend(page.expect("nobody superseded it"));
        }
        &subscription.seen
    });
    is_all(seen);
    join(senders);
}

/// Broken: what lands between the read and the registration wakes nobody.
pub(super) fn a_waiter_that_registers_after_it_reads() {
    let counter = Counter::default();
    let senders = counter.senders();
    let mut seen = Vec::new();
    block_on(async {
        while seen.len() < ALL {
            let (page, _) = counter.page(seen.len());
            if page.is_empty() {
                counter.subscribe().ticket.wait().await;
            }
            seen.extend(page);
        }
    });
    join(senders);
}
