//! The time-outs by a clock that is set by hand, over a pipe.

use super::*;
use crate::service::clock::TimeSource;
use std::task::Waker;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

#[derive(Default)]
struct Hand(AtomicU64);

impl TimeSource for Hand {
    fn wall(&self) -> u64 {
        1_800_000_000
    }
    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::SeqCst))
    }
    fn sleep_until(&self, deadline: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        // Nobody is woken: the tests poll again.
        let due = move |_: &mut Context<'_>| if self.elapsed() >= deadline { Poll::Ready(()) } else { Poll::Pending };
        Box::pin(std::future::poll_fn(due))
    }
}

struct Scene {
    hand: Arc<Hand>,
    clock: Clock,
    phase: Phase,
    ours: Timed<DuplexStream>,
    peer: DuplexStream,
}

impl Scene {
    fn new(pipe_bytes: usize) -> Self {
        let hand = Arc::new(Hand::default());
        let clock = Clock::new(hand.clone());
        let phase = Phase::new(&clock);
        let (stream, peer) = duplex(pipe_bytes);
        let patience = Patience { head: Duration::from_secs(5), idle: Duration::from_secs(75) };
        Self { ours: Timed::new(stream, clock.clone(), phase.clone(), patience), hand, clock, phase, peer }
    }

    fn advance(&self, millis: u64) {
        self.hand.0.fetch_add(millis, Ordering::SeqCst);
    }

    /// What a read gives: bytes, an error, or nothing yet.
    fn read(&mut self) -> Option<io::Result<usize>> {
        let mut space = [0; 64];
        let mut buffer = ReadBuf::new(&mut space);
        match Pin::new(&mut self.ours).poll_read(&mut Context::from_waker(Waker::noop()), &mut buffer) {
            Poll::Ready(result) => Some(result.map(|()| buffer.filled().len())),
            Poll::Pending => None,
        }
    }

    fn poll<T>(&mut self, poll: impl FnOnce(Pin<&mut Timed<DuplexStream>>, &mut Context<'_>) -> Poll<T>) -> Option<T> {
        match poll(Pin::new(&mut self.ours), &mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }
}

fn is_late<T>(outcome: Option<io::Result<T>>) -> bool {
    matches!(outcome, Some(Err(error)) if error.kind() == io::ErrorKind::TimedOut)
}

/// Out of descriptors the relay closes whoever is idle longest. Of a crowd that was accepted in one moment that was the first,
/// and its request lay there unread.
#[tokio::test]
async fn a_connection_is_not_idle_before_somebody_has_looked_for_its_request() {
    let mut scene = Scene::new(64);
    scene.advance(1);
    assert_eq!((scene.phase.idle_since(), scene.phase.is_unasked()), (None, true));
    scene.peer.write_all(b"G").await.expect("room");
    assert_eq!(scene.read().and_then(Result::ok), Some(1));
    assert_eq!(scene.phase.idle_since(), None, "there may be more");
    assert!(scene.read().is_none());
    assert_eq!(scene.phase.idle_since(), Some(0), "since it was accepted");
    scene.phase.busy(&scene.clock);
    assert_eq!((scene.phase.idle_since(), scene.phase.is_unasked()), (None, false));
}

#[tokio::test]
async fn a_head_is_due_in_five_seconds_however_it_drips() {
    let mut scene = Scene::new(64);
    assert!(scene.read().is_none());
    scene.advance(3_000);
    scene.peer.write_all(b"G").await.expect("room");
    assert_eq!(scene.read().and_then(Result::ok), Some(1));
    scene.advance(1_999);
    assert!(scene.read().is_none());
    scene.advance(1);
    assert!(is_late(scene.read()));
}

#[tokio::test]
async fn no_time_out_while_a_request_is_answered_and_75_seconds_after_its_reply_is_out() {
    let mut scene = Scene::new(64);
    scene.phase.busy(&scene.clock);
    assert!(scene.read().is_none());
    scene.advance(1_000_000);
    assert!(scene.read().is_none());
    scene.phase.replying(&scene.clock);
    assert_eq!(scene.phase.idle_since(), None, "a reply that is not out yet must not be cut");
    scene.advance(1_000);
    assert!(scene.poll(Timed::poll_flush).is_some_and(|flushed| flushed.is_ok()));
    assert_eq!(scene.phase.idle_since(), Some(1_001_000));
    scene.advance(74_999);
    assert!(scene.read().is_none());
    scene.peer.write_all(b"G").await.expect("room");
    assert_eq!(scene.read().and_then(Result::ok), Some(1));
    scene.advance(4_999);
    assert!(scene.read().is_none());
    scene.advance(1);
    assert!(is_late(scene.read()));

    let mut scene = Scene::new(64);
    scene.phase.replying(&scene.clock);
    assert!(scene.poll(Timed::poll_flush).is_some());
    assert!(scene.read().is_none());
    scene.advance(75_000);
    assert!(is_late(scene.read()));
}

/// A reply of more than a megabyte stood in the system's buffers for a peer that took none of it, and 45 seconds later the
/// connection was still there: hyper had looked for a next request while the reply was on its way, when no time-out runs, and
/// had no reason to look again. Whoever made the reply go out slowly could so be idle for ever.
#[tokio::test]
async fn a_reply_that_goes_out_late_starts_the_time_between_two_requests() {
    let mut scene = Scene::new(64);
    scene.phase.busy(&scene.clock);
    scene.phase.replying(&scene.clock);
    assert!(scene.read().is_none());
    assert!(scene.ours.reading.is_none(), "nothing is due while a reply is on its way");
    assert!(scene.poll(Timed::poll_flush).is_some_and(|flushed| flushed.is_ok()));
    let alarm = scene.ours.reading.as_ref().expect("who waits for the peer is woken, though nobody reads");
    assert_eq!(alarm.at, Duration::from_secs(75));
    scene.advance(75_000);
    assert!(is_late(scene.read()));
}

#[tokio::test]
async fn a_poll_is_parked_when_all_before_it_is_out_and_then_has_time() {
    let mut scene = Scene::new(64);
    scene.phase.busy(&scene.clock);
    scene.phase.parking(&scene.clock);
    assert!(scene.read().is_none());
    assert!(!scene.phase.is_parked());
    assert!(scene.poll(Timed::poll_flush).is_some_and(|flushed| flushed.is_ok()));
    assert!(scene.phase.is_parked());
    assert_eq!(scene.phase.idle_since(), None, "it must not be closed to make room");
    scene.advance(1_000_000);
    assert!(scene.read().is_none());
}

#[tokio::test]
async fn a_peer_that_takes_nothing_for_15_seconds_is_gone() {
    let mut scene = Scene::new(2);
    let write = |scene: &mut Scene| scene.poll(|ours, context| ours.poll_write(context, b"reply"));
    assert_eq!(write(&mut scene).and_then(Result::ok), Some(2));
    assert!(write(&mut scene).is_none());
    scene.advance(14_999);
    assert!(write(&mut scene).is_none());
    assert_eq!(scene.peer.read(&mut [0; 1]).await.expect("a byte"), 1);
    assert_eq!(write(&mut scene).and_then(Result::ok), Some(1), "it took a byte, and has 15 more");
    assert!(write(&mut scene).is_none());
    scene.advance(14_999);
    assert!(write(&mut scene).is_none());
    scene.advance(1);
    assert!(is_late(write(&mut scene)));
}

#[tokio::test]
async fn closing_reads_the_rest_away_for_two_seconds_at_most() {
    let mut scene = Scene::new(64);
    scene.peer.write_all(b"the rest of a body").await.expect("room");
    assert!(scene.poll(Timed::poll_shutdown).is_none(), "the peer has not closed");
    assert_eq!(scene.peer.read(&mut [0; 1]).await.expect("our end"), 0, "but we have");
    scene.peer.shutdown().await.expect("closed");
    assert!(scene.poll(Timed::poll_shutdown).is_some());

    let mut scene = Scene::new(64);
    assert!(scene.poll(Timed::poll_shutdown).is_none());
    scene.advance(1_999);
    scene.peer.write_all(b"more").await.expect("room");
    assert!(scene.poll(Timed::poll_shutdown).is_none());
    scene.advance(1);
    assert!(scene.poll(Timed::poll_shutdown).is_some());

    let mut scene = Scene::new(LINGER_BYTES_MAX + 1);
    scene.peer.write_all(&vec![0; LINGER_BYTES_MAX + 1]).await.expect("room");
    assert!(scene.poll(Timed::poll_shutdown).is_some(), "nobody is read for ever");
}
