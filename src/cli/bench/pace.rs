//! Sends at a fixed rate, whether the relay keeps up or not. Each has a time at which it is due, and is measured from then: what
//! waits because those before it are slow has waited, and is not left out (the "coordinated omission" of a load that only
//! sends when it was answered).

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::{Mutex, mpsc};

use super::crowd::together;
use super::figures::Times;
use super::http::{Address, Connection};
use super::load::{Recipients, Sent};

/// What came of paced sends.
pub(super) struct Paced {
    /// From when each was due to its 202.
    pub(super) sent: Sent,
    /// From when each was due to when it was handed to the connections: the bench's own part of the above.
    pub(super) late: Times,
}

/// When a send of a rate is due, from the beginning.
fn due(number: u64, rate: f64) -> Duration {
    Duration::from_secs_f64(number as f64 / rate)
}

/// Sends at a rate over so many connections, as long as `more` wants, which is told how long it has been.
pub(super) async fn pace(
    at: &Address,
    recipients: &Recipients,
    connections: usize,
    rate: f64,
    more: impl Fn(Duration) -> bool + Send + 'static,
) -> anyhow::Result<Paced> {
    // Unbounded: what is due and waits is what this is about.
    let (hand, line) = mpsc::unbounded_channel();
    let line = Arc::new(Mutex::new(line));
    let began = Instant::now();
    // A thread of its own, because tokio's timer has a grain of a millisecond.
    let clock = thread::Builder::new().name("pace".into()).spawn(move || keep_time(began, rate, &hand, more))?;
    let lanes = together(connections, |number| {
        let (at, line, mut lane) = (at.clone(), Arc::clone(&line), recipients.lane(number));
        async move {
            let mut connection = Connection::new(&at);
            let mut sent = Sent::default();
            loop {
                let due: Option<Instant> = line.lock().await.recv().await;
                let Some(due) = due else { break };
                let reply = connection.ask(lane.next()).await;
                sent.note(reply, Some(due));
            }
            Ok(sent)
        }
    });
    let mut sent = Sent::all(lanes.await?);
    sent.length = began.elapsed();
    let late = clock.join().ok().context("the pace was not kept")?;
    Ok(Paced { sent, late })
}

/// Hands each send over when it is due, and those that are due already at once. Gives by how much each was late.
fn keep_time(began: Instant, rate: f64, hand: &mpsc::UnboundedSender<Instant>, more: impl Fn(Duration) -> bool) -> Times {
    let mut late = Times::default();
    for number in 0.. {
        let due = began + due(number, rate);
        if let Some(early) = due.checked_duration_since(Instant::now()) {
            #[expect(clippy::disallowed_methods, reason = "a load has a pace, and this thread does nothing else")]
            thread::sleep(early);
        }
        if !more(began.elapsed()) || hand.send(due).is_err() {
            break;
        }
        late.add(due.elapsed());
    }
    late
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sends_are_due_evenly_and_never_drift() {
        assert_eq!((due(0, 4_000.0), due(1, 4_000.0)), (Duration::ZERO, Duration::from_micros(250)));
        assert_eq!(due(3_600 * 3_000, 3_000.0), Duration::from_secs(3_600));
        assert!((1..1_000).all(|number| due(number, 777.7) > due(number - 1, 777.7)));
    }

    #[test]
    fn what_is_late_keeps_the_time_at_which_it_was_due() {
        let began = Instant::now().checked_sub(Duration::from_secs(1)).expect("a second ago");
        let (hand, mut line) = mpsc::unbounded_channel();
        let handed = std::cell::Cell::new(0);
        let late = keep_time(began, 100.0, &hand, |_| handed.replace(handed.get() + 1) < 50);
        // All 50 were due within the second that is over: none is sent later because of it, and none is left out.
        let dues: Vec<Instant> = std::iter::from_fn(|| line.try_recv().ok()).collect();
        assert_eq!(dues, (0..50).map(|number| began + due(number, 100.0)).collect::<Vec<_>>());
        assert_eq!(late.count(), 50);
    }
}
