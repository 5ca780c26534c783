//! A process from outside, by `/proc`: its resident memory, its descriptors, and whether it has anything left to do.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::crowd::pause;

/// One process of this machine.
pub(super) struct Process(PathBuf);

impl Process {
    /// None where there is no `/proc`.
    pub(super) fn of(id: u32) -> Option<Self> {
        let path = PathBuf::from(format!("/proc/{id}"));
        path.join("status").exists().then_some(Self(path))
    }

    /// This one.
    pub(super) fn own() -> Option<Self> {
        Self::of(std::process::id())
    }

    /// Seconds of processor time so far, of all its threads.
    pub(super) fn processor(&self) -> anyhow::Result<f64> {
        Ok(self.ticks()? as f64 / 100.0)
    }

    /// VmRSS in bytes.
    pub(super) fn resident(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(self.0.join("status")).context("the relay is gone")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("there is no VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib * 1_024)
    }

    /// How many descriptors are open.
    pub(super) fn descriptors(&self) -> anyhow::Result<usize> {
        Ok(fs::read_dir(self.0.join("fd")).context("the relay's descriptors cannot be seen")?.count())
    }

    /// Waits until it does next to nothing: a fiftieth of a second of work, at most, in half a second.
    pub(super) async fn quiet(&self) -> anyhow::Result<()> {
        let mut before = self.ticks()?;
        let began = Instant::now();
        loop {
            pause(LOOK).await;
            let now = self.ticks()?;
            if now.saturating_sub(before) <= QUIET_TICKS {
                return Ok(());
            }
            before = now;
            ensure!(began.elapsed() < PATIENCE, "the relay does not come to rest within {} s", PATIENCE.as_secs());
        }
    }

    /// Waits until no more descriptors are open than so many, or until it has given none back for some time; gives how many
    /// there are then.
    pub(super) async fn descriptors_down_to(&self, wanted: usize) -> anyhow::Result<usize> {
        let (mut least, mut since) = (usize::MAX, Instant::now());
        loop {
            let open = self.descriptors()?;
            if open < least {
                (least, since) = (open, Instant::now());
            }
            if open <= wanted || since.elapsed() > STUCK {
                return Ok(open);
            }
            pause(LOOK / 10).await;
        }
    }

    /// Processor time so far, in hundredths of a second (`USER_HZ` is 100 wherever Linux has a `/proc`).
    fn ticks(&self) -> anyhow::Result<u64> {
        let stat = fs::read_to_string(self.0.join("stat")).context("the relay is gone")?;
        // The name, in parentheses, may hold anything; the fields behind it begin with the third.
        let (_, fields) = stat.rsplit_once(')').context("stat has no name in it")?;
        let field = |number: usize| fields.split_whitespace().nth(number - 3)?.parse::<u64>().ok();
        Ok(field(14).zip(field(15)).map_or(0, |(user, system)| user + system))
    }
}

const LOOK: Duration = Duration::from_millis(500);
const QUIET_TICKS: u64 = 2;
const PATIENCE: Duration = Duration::from_secs(120);
/// Without one descriptor less.
const STUCK: Duration = Duration::from_secs(10);
