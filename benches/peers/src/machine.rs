//! What the figures depend on beside the systems.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

/// As far as the system tells.
pub(crate) struct Machine {
    pub(crate) cores: usize,
    cpu: String,
    kernel: String,
    memory_mib: u64,
    /// Under the data.
    filesystem: String,
    /// An fdatasync of 4 KiB there; the median in milliseconds.
    fdatasync_ms: f64,
    /// What else there was to do, when this began.
    load: String,
}

impl Machine {
    pub(crate) fn look(directory: &Path) -> anyhow::Result<Self> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name))?;
            Some(line.split_once(':')?.1.trim().to_string())
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal").and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
        Ok(Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            cpu: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown".into()),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_string(),
            memory_mib: memory.unwrap_or(0) / 1_024,
            filesystem: filesystem(directory),
            fdatasync_ms: fdatasync(directory)?,
            load: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_string(),
        })
    }

    /// As a sentence.
    pub(crate) fn line(&self) -> String {
        format!(
            "{} × {}, {} MiB, Linux {}; data on {}, where an fdatasync of 4 KiB takes {:.2} ms; load {} before it began",
            self.cores, self.cpu, self.memory_mib, self.kernel, self.filesystem, self.fdatasync_ms, self.load
        )
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "cores": self.cores, "cpu": self.cpu, "kernel": self.kernel, "memory_mib": self.memory_mib,
            "filesystem": self.filesystem, "fdatasync_ms": self.fdatasync_ms, "load_before": self.load,
        })
    }
}

/// By its magic number, as far as there are words for it here.
fn filesystem(directory: &Path) -> String {
    let Ok(found) = rustix::fs::statfs(directory) else { return "an unknown file system".into() };
    match found.f_type as u32 {
        0xef53 => "ext4".into(),
        0x5846_5342 => "xfs".into(),
        0x9123_683e => "btrfs".into(),
        0x2fc1_2fc1 => "zfs".into(),
        0x794c_7630 => "overlayfs".into(),
        0x0102_1994 => "tmpfs (memory: nothing here is durable)".into(),
        magic => format!("file system {magic:#x}"),
    }
}

fn fdatasync(directory: &Path) -> anyhow::Result<f64> {
    let path = directory.join("fdatasync");
    let mut file = fs::File::create(&path)?;
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        file.write_all(&[0x55; 4_096])?;
        let began = Instant::now();
        file.sync_data()?;
        times.push(began.elapsed());
    }
    fs::remove_file(path)?;
    times.sort_unstable();
    Ok(times[SYNCS / 2].as_secs_f64() * 1_000.0)
}

const SYNCS: usize = 101;
