//! Which messages of a peer's device have come: one rising counter, a window of [`WINDOW`], and what was skipped.
//!
//! A counter seen before, or too far behind, is a repeat. One that was jumped over is remembered with the time, and counts
//! as never arrived once it has been missing for longer than any relay keeps an envelope.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::protocol::envelopes::SEQ_END;

/// The counters of one pair of devices, as the receiving one sees them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Counters {
    highest: u64,
    /// Counters below `highest` that have not come, and when that was noticed.
    skipped: BTreeMap<u64, u64>,
    /// Skipped ones that fell out of the window and await their report.
    #[serde(default)]
    lost: u64,
}

impl Counters {
    /// Takes a counter in; false for a repeat, which is to be dropped.
    pub(crate) fn take(&mut self, counter: u64, now: u64) -> bool {
        if counter == 0 || counter >= SEQ_END {
            return false;
        }
        if counter <= self.highest {
            return self.skipped.remove(&counter).is_some();
        }
        let window_begins = counter.saturating_sub(WINDOW - 1);
        let first = (self.highest + 1).max(window_begins);
        self.lost += first - (self.highest + 1);
        self.skipped.extend((first..counter).map(|missing| (missing, now)));
        let within = self.skipped.split_off(&window_begins);
        self.lost += self.skipped.len() as u64;
        self.skipped = within;
        self.highest = counter;
        true
    }

    /// How many have been missing since `since` or longer; each is told once.
    pub(crate) fn never_arrived(&mut self, since: u64) -> u64 {
        let before = self.skipped.len();
        self.skipped.retain(|_, noticed| *noticed > since);
        std::mem::take(&mut self.lost) + (before - self.skipped.len()) as u64
    }
}

/// A counter as far or farther behind the highest is a repeat.
const WINDOW: u64 = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_passes_once_in_any_order() {
        let mut counters = Counters::default();
        for counter in [1, 3, 2, 7, 5] {
            assert!(counters.take(counter, 10), "{counter}");
            assert!(!counters.take(counter, 10), "{counter} again");
        }
        assert!(!counters.take(0, 10) && !counters.take(SEQ_END, 10));
        assert_eq!(counters.never_arrived(9), 0);
        assert_eq!(counters.never_arrived(10), 2, "4 and 6");
        assert_eq!(counters.never_arrived(10), 0, "told once");
        assert!(!counters.take(4, 11), "what was told as lost does not come after all");
    }

    #[test]
    fn the_window_is_1024_wide() {
        let mut counters = Counters::default();
        assert!(counters.take(1_025, 0));
        assert!(!counters.take(1, 0), "1,024 behind");
        assert!(counters.take(2, 0), "1,023 behind");
        assert_eq!(counters.never_arrived(0), 1 + 1_022, "1 at once, 3 to 1,024 by their time");
        assert!(counters.take(1 << 50, 0), "a jump costs a window of memory, not more");
        assert_eq!(counters.skipped.len(), 1_023);
    }
}
