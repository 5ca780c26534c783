//! What the figures depend on beside the relay: the machine, the disk under the data, and how many descriptors there are.

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;

use super::figures::Times;
use crate::cli::output;

/// As far as the system tells.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    cores: usize,
    cpu: String,
    kernel: String,
    memory_mib: u64,
    /// Under the data.
    filesystem: String,
    /// An fdatasync of 4 KiB there; the median in milliseconds.
    fdatasync_ms: f64,
}

impl Machine {
    pub(super) fn look(directory: &Path) -> anyhow::Result<Self> {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name))?;
            Some(line.split_once(':')?.1.trim().to_string())
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal").and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
        let unknown = || "unknown".to_string();
        Ok(Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            cpu: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(unknown),
            kernel: Some(read("/proc/sys/kernel/osrelease").trim().to_string())
                .filter(|text| !text.is_empty())
                .unwrap_or_else(unknown),
            memory_mib: memory.unwrap_or(0) / 1_024,
            filesystem: filesystem(directory),
            fdatasync_ms: fdatasync(directory).context("the disk cannot be tried")?,
        })
    }

    /// As a sentence.
    pub(super) fn line(&self) -> String {
        format!(
            "{} × {}, {} MiB, Linux {}; data on {}, where an fdatasync of 4 KiB takes {:.2} ms",
            self.cores, self.cpu, self.memory_mib, self.kernel, self.filesystem, self.fdatasync_ms
        )
    }
}

/// By its magic number, as far as there are words for it here.
fn filesystem(directory: &Path) -> String {
    let Ok(found) = rustix::fs::statfs(directory) else { return "an unknown file system".into() };
    let magic = found.f_type as u32;
    match magic {
        0xef53 => "ext4".into(),
        0x5846_5342 => "xfs".into(),
        0x9123_683e => "btrfs".into(),
        0x2fc1_2fc1 => "zfs".into(),
        0x794c_7630 => "overlayfs".into(),
        0x0102_1994 => "tmpfs (memory: nothing here is durable)".into(),
        _ => format!("file system {magic:#x}"),
    }
}

fn fdatasync(directory: &Path) -> anyhow::Result<f64> {
    let path = directory.join("fdatasync");
    let mut file = std::fs::File::create(&path)?;
    let mut times = Times::default();
    for _ in 0..SYNCS {
        file.write_all(&[0x55; 4_096])?;
        let began = Instant::now();
        file.sync_data()?;
        times.add(began.elapsed());
    }
    std::fs::remove_file(path)?;
    Ok(times.percentile(50).unwrap_or(0.0))
}

/// Raises this process's limit of descriptors, and with it its children's, as far as the system lets it; gives how many
/// connections that is good for.
pub(super) fn connections_max() -> usize {
    let limit = getrlimit(Resource::Nofile);
    // Where it cannot be raised, the limit that there is counts.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(descriptors).unwrap_or(usize::MAX).saturating_sub(DESCRIPTORS_KEPT)
}

/// So many devices as the descriptors allow; says so where that is fewer.
pub(super) fn fit(devices: usize, scenario: &str) -> usize {
    let most = connections_max();
    if devices > most {
        output::say(&format!(
            "{scenario}: {most} devices instead of {devices}: the hard limit of open files is {}; \
             `ulimit -Hn` shows it, and root can raise it",
            most + DESCRIPTORS_KEPT
        ));
    }
    devices.min(most)
}

const SYNCS: usize = 100;
/// What the relay keeps for itself (128), and room for its other connections and the bench's own files.
const DESCRIPTORS_KEPT: usize = 512;
