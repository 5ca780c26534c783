//! What time it is for a client: the machine's clock, or one that a test moves. By the latter nobody waits.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A source of Unix seconds. Clones share it.
#[derive(Clone)]
pub struct Clock {
    time: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Whether it goes on by itself.
    runs: bool,
}

impl Clock {
    /// The machine's.
    #[allow(clippy::disallowed_methods, reason = "the one place where a client asks the machine for the time")]
    pub fn system() -> Self {
        let time = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self { time: Arc::new(time), runs: true }
    }

    /// Any other; for tests. What a client does a little later on purpose it then does at once.
    pub fn from_fn(now: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { time: Arc::new(now), runs: false }
    }

    /// Now, in Unix seconds.
    pub fn now(&self) -> u64 {
        (self.time)()
    }

    /// Lets a short time pass.
    #[allow(clippy::disallowed_methods, reason = "jitter, which a clock that is moved by hand does without")]
    pub(crate) async fn pause(&self, pause: Duration) {
        if self.runs {
            tokio::time::sleep(pause).await;
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
