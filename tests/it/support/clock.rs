//! A clock that stands still until a test advances it.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use restante::service::clock::TimeSource;
use tokio::sync::watch;

/// Time by hand.
pub(crate) struct ManualClock {
    elapsed: watch::Sender<Duration>,
    /// How far the wall clock has run away from the time since boot, in seconds.
    astray: AtomicI64,
}

impl ManualClock {
    pub(crate) fn new() -> Self {
        Self { elapsed: watch::Sender::new(Duration::ZERO), astray: AtomicI64::new(0) }
    }

    /// Lets so many seconds pass, and wakes whoever waited for them.
    pub(crate) fn advance(&self, secs: u64) {
        self.elapsed.send_modify(|elapsed| *elapsed += Duration::from_secs(secs));
    }

    /// Sets the wall clock alone, by so many seconds.
    pub(crate) fn set_wall_by(&self, secs: i64) {
        self.astray.fetch_add(secs, Ordering::SeqCst);
    }
}

impl TimeSource for ManualClock {
    fn wall(&self) -> u64 {
        (START + self.elapsed.borrow().as_secs()).saturating_add_signed(self.astray.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Duration {
        *self.elapsed.borrow()
    }

    fn sleep_until(&self, deadline: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let mut elapsed = self.elapsed.subscribe();
        Box::pin(async move {
            let _ = elapsed.wait_for(|elapsed| *elapsed >= deadline).await;
        })
    }
}

/// Ten minutes past an hour.
const START: u64 = 1_800_000_000 + 600;
