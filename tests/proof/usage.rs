//! What a process uses, as the system counts it.

use std::fs;

use anyhow::Context;
use rustix::process::Pid;

/// At one moment, or the most of several.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// Bytes of memory.
    pub(crate) resident: u64,
    pub(crate) descriptors: u64,
}

impl Usage {
    pub(crate) fn of(pid: Pid) -> anyhow::Result<Self> {
        let process = format!("/proc/{}", pid.as_raw_nonzero());
        let status = fs::read_to_string(format!("{process}/status")).context("the relay is gone")?;
        let kibibytes =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        let descriptors = fs::read_dir(format!("{process}/fd"))?.count() as u64;
        Ok(Self { resident: kibibytes.context("its resident memory")? << 10, descriptors })
    }

    pub(crate) fn max(self, other: Self) -> Self {
        Self { resident: self.resident.max(other.resident), descriptors: self.descriptors.max(other.descriptors) }
    }
}
