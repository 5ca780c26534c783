//! Rests between the parts of long work, which leave the disk and the writer to others.

use std::time::{Duration, Instant};

use super::SqliteStore;
use super::queue::Lane;
use super::writer::Tx;
use crate::store::Result;

impl SqliteStore {
    /// One turn of the writer for long work; where anybody sent meanwhile, others have it then for longer than that took.
    pub(super) async fn write_and_rest<T: Send + 'static>(
        &self,
        op: impl FnMut(&mut Tx<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (sends, began) = (self.queue.sends(), Instant::now());
        let outcome = self.write(Lane::Urgent, 0, op).await?;
        rest(after_turn(began.elapsed(), self.queue.sends() != sends)).await;
        Ok(outcome)
    }
}

/// At most a quarter of a second.
pub(super) async fn rest(length: Duration) {
    #[expect(clippy::disallowed_methods, reason = "it spreads work, and decides nothing: no test waits for it")]
    tokio::time::sleep(length.min(REST_MAX)).await;
}

/// How long to rest after a turn that took so long, beside sends or alone.
fn after_turn(took: Duration, beside_sends: bool) -> Duration {
    if beside_sends { took * RESTS_A_TURN } else { Duration::ZERO }
}

/// Turns that others have for one: beside sends a purge has a fifth of the time, or more where turns are so long that `REST_MAX` cuts their rests.
const RESTS_A_TURN: u32 = 4;
const REST_MAX: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::time::Instant as Virtual;

    use super::super::Settings;
    use super::*;

    /// The clock goes on only when somebody sleeps.
    #[tokio::test(start_paused = true)]
    async fn long_work_rests_where_others_sent_and_only_there() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = SqliteStore::open(Settings::new(dir.path())).expect("it opens");
        let began = Virtual::now();
        assert_eq!(store.write_and_rest(|_| Ok(7)).await, Ok(7));
        assert_eq!(store.write(Lane::Sends, 0, |_| Ok(())).await, Ok(()));
        assert_eq!(store.write_and_rest(|_| Ok(8)).await, Ok(8));
        assert_eq!(began.elapsed(), Duration::ZERO, "nobody sent in the meantime");

        let ((here, begun), (go, wait)) = (mpsc::channel(), mpsc::channel());
        let turn = store.write_and_rest(move |_| {
            here.send(()).expect("somebody waits");
            wait.recv().expect("told to go on");
            Ok(9)
        });
        let begun = async { begun.recv().expect("the writer is held") };
        let going = async { go.send(()).expect("the writer waits") };
        let (turn, (), sent, ()) = tokio::join!(biased; turn, begun, store.write(Lane::Sends, 0, |_| Ok(())), going);
        assert_eq!((turn, sent), (Ok(9), Ok(())));
        assert!(began.elapsed() > Duration::ZERO);
    }

    #[test]
    fn a_rest_is_longer_than_the_turn() {
        let took = Duration::from_millis(3);
        assert_eq!((after_turn(took, false), after_turn(took, true)), (Duration::ZERO, 4 * took));
    }
}
