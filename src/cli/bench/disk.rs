//! The disk by itself, beside what it does for a relay: what a send would take if nothing but the disk took time.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use super::figures::Times;

/// Writes and syncs a commit's worth again and again, as a relay does, and gives how long those would wait who come at even times:
/// for the sync that is under way, and for their own. The file is removed.
pub(super) fn waits(dir: &Path, length: Duration) -> io::Result<Times> {
    let path = dir.join("bench-disk");
    let syncs = syncs(&path, length);
    std::fs::remove_file(path)?;
    Ok(waits_of(&syncs?))
}

fn syncs(path: &Path, length: Duration) -> io::Result<Vec<Duration>> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    // As long as a log that starts over: no sync of those measured makes the file longer.
    let commit = vec![0xa5; COMMIT_BYTES];
    for at in 0..COMMITS {
        file.write_all_at(&commit, at * COMMIT_BYTES as u64)?;
    }
    file.sync_all()?;
    let (began, mut syncs) = (Instant::now(), Vec::new());
    while began.elapsed() < length {
        let at = syncs.len() as u64 % COMMITS;
        let begun = Instant::now();
        file.write_all_at(&commit, at * COMMIT_BYTES as u64)?;
        file.sync_data()?;
        syncs.push(begun.elapsed());
    }
    Ok(syncs)
}

fn waits_of(syncs: &[Duration]) -> Times {
    let mut waits = Times::default();
    let mut early = Duration::ZERO;
    for pair in syncs.windows(2) {
        let (under_way, own) = (pair[0], pair[1]);
        while early < under_way {
            waits.add(under_way - early + own);
            early += EVERY;
        }
        early -= under_way;
    }
    waits
}

/// What a commit writes at half of the peak rate.
const COMMIT_BYTES: usize = 64 << 10;
/// 2 MiB.
const COMMITS: u64 = 32;
const EVERY: Duration = Duration::from_micros(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_at_even_times_waits_mostly_for_what_is_long() {
        let mut syncs = vec![Duration::from_millis(1); 900];
        syncs.extend([Duration::from_millis(100); 2]);
        let mut waits = waits_of(&syncs);
        // 899 ms before short ones, one before a long one, and a long one.
        assert_eq!(waits.count(), 20_000);
        assert_eq!([50, 89, 99].map(|percent| waits.percentile(percent)), [Some(1.6), Some(2.0), Some(190.0)]);
    }

    #[test]
    fn nothing_is_left_of_it() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        waits(dir.path(), Duration::from_millis(1)).expect("syncs");
        assert_eq!(dir.path().read_dir().expect("a directory").count(), 0);
    }
}
