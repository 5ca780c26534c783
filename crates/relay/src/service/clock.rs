//! The relay's sense of time.
//!
//! `now` is the wall clock as long as that runs along with the time since boot. It never goes back, and a jump ahead is not
//! believed: the relay's time then runs on from before the jump, so that expiry, filtering and purging alike wait until
//! the wall clock is right again or the operator says that it is. Deadlines use `elapsed`, which no one can set.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Where time comes from; tests put one in place that they advance themselves.
pub trait TimeSource: Send + Sync {
    /// The wall clock, Unix seconds.
    fn wall(&self) -> u64;
    /// Time since some moment before the relay's start; goes on while the machine sleeps.
    fn elapsed(&self) -> Duration;
    /// Ends when `elapsed` has reached `deadline`.
    fn sleep_until(&self, deadline: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// The operating system's clocks.
pub struct SystemTime;

impl TimeSource for SystemTime {
    #[allow(clippy::disallowed_methods, reason = "this is the one place that may ask the wall clock")]
    fn wall(&self) -> u64 {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }

    fn elapsed(&self) -> Duration {
        let since = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Duration::new(since.tv_sec.unsigned_abs(), since.tv_nsec.unsigned_abs() as u32)
    }

    #[allow(clippy::disallowed_methods, reason = "this is the one place that may wait on the machine's time")]
    fn sleep_until(&self, deadline: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::time::sleep(deadline.saturating_sub(self.elapsed())))
    }
}

/// The relay's clock; clones share it.
#[derive(Clone)]
pub struct Clock {
    source: Arc<dyn TimeSource>,
    started: Duration,
    state: Arc<Mutex<State>>,
}

struct State {
    /// The relay's time at `base_elapsed`.
    base: u64,
    base_elapsed: Duration,
    /// The latest time given out.
    latest: u64,
    /// The wall clock is not believed at present.
    doubted: bool,
}

impl Clock {
    /// A clock over a source, set by its wall clock.
    pub fn new(source: Arc<dyn TimeSource>) -> Self {
        let (base, started) = (source.wall(), source.elapsed());
        let state = State { base, base_elapsed: Duration::ZERO, latest: base, doubted: false };
        Self { source, started, state: Arc::new(Mutex::new(state)) }
    }

    /// The operating system's.
    pub fn system() -> Self {
        Self::new(Arc::new(SystemTime))
    }

    /// The relay's time, Unix seconds; never less than before.
    pub fn now(&self) -> u64 {
        let (wall, elapsed) = (self.source.wall(), self.elapsed());
        let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let expected = state.base + elapsed.saturating_sub(state.base_elapsed).as_secs();
        state.doubted = wall.abs_diff(expected) > JUMP_SECS;
        #[cfg(feature = "sabotage")]
        if crate::sabotage::on("jump_believed") {
            state.doubted = false;
        }
        let now = if state.doubted { expected } else { wall };
        if !state.doubted {
            // Follow a clock that is slewed: what counts as a jump is reckoned from here.
            state.base = wall;
            state.base_elapsed = elapsed;
        }
        state.latest = state.latest.max(now);
        state.latest
    }

    /// Whether the wall clock jumped and is not followed.
    pub fn doubted(&self) -> bool {
        self.now();
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).doubted
    }

    /// Runs on from `time` instead of the wall clock (until the two agree again); never goes back for it.
    pub fn hold_at(&self, time: u64) {
        let elapsed = self.elapsed();
        let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        state.base = time;
        state.base_elapsed = elapsed;
        state.latest = time;
    }

    /// Follows the wall clock again, because the operator says that it is right.
    pub fn trust_wall(&self) {
        let (wall, elapsed) = (self.source.wall(), self.elapsed());
        let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        state.base = wall.max(state.latest);
        state.base_elapsed = elapsed;
    }

    /// The wall clock, believed or not.
    pub fn wall(&self) -> u64 {
        self.source.wall()
    }

    /// Time since the relay's start, for deadlines and time-outs; it does not tell when the machine was started.
    pub fn elapsed(&self) -> Duration {
        self.source.elapsed().saturating_sub(self.started)
    }

    /// Ends when [`elapsed`](Self::elapsed) has reached `deadline`.
    pub async fn sleep_until(&self, deadline: Duration) {
        self.source.sleep_until(self.started + deadline).await;
    }
}

/// How far the wall clock may run from the time since boot before it counts as having jumped.
const JUMP_SECS: u64 = 60;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[derive(Default)]
    struct Fake {
        wall: AtomicU64,
        elapsed: AtomicU64,
    }

    impl TimeSource for Fake {
        fn wall(&self) -> u64 {
            self.wall.load(Ordering::SeqCst)
        }
        fn elapsed(&self) -> Duration {
            Duration::from_secs(self.elapsed.load(Ordering::SeqCst))
        }
        fn sleep_until(&self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
            Box::pin(std::future::pending())
        }
    }

    fn at(fake: &Fake, wall: u64, elapsed: u64) {
        fake.wall.store(wall, Ordering::SeqCst);
        fake.elapsed.store(elapsed, Ordering::SeqCst);
    }

    #[test]
    fn a_jump_ahead_is_not_believed_until_the_operator_says_so() {
        let fake = Arc::new(Fake::default());
        at(&fake, 1_000, 0);
        let clock = Clock::new(fake.clone());
        at(&fake, 1_010, 10);
        assert_eq!((clock.now(), clock.doubted()), (1_010, false));
        at(&fake, 1_010 + 8 * 86_400, 20);
        assert_eq!((clock.now(), clock.doubted()), (1_020, true));
        clock.trust_wall();
        assert_eq!((clock.now(), clock.doubted()), (1_010 + 8 * 86_400, false));
    }

    #[test]
    fn it_never_goes_back_and_still_runs() {
        let fake = Arc::new(Fake::default());
        at(&fake, 10_000, 0);
        let clock = Clock::new(fake.clone());
        at(&fake, 6_400, 1);
        assert_eq!((clock.now(), clock.doubted()), (10_001, true));
        at(&fake, 6_401, 500);
        assert_eq!(clock.now(), 10_500);
        at(&fake, 10_450, 600);
        assert_eq!(clock.now(), 10_600);
    }

    #[test]
    fn a_slewed_clock_is_followed() {
        let fake = Arc::new(Fake::default());
        at(&fake, 1_000, 0);
        let clock = Clock::new(fake.clone());
        for step in 1..=10 {
            at(&fake, 1_000 + step * 130, step * 100);
            assert_eq!((clock.now(), clock.doubted()), (1_000 + step * 130, false));
        }
    }
}
