//! `strace`, which makes system calls fail and writes down those that did not.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

use anyhow::{Context, bail, ensure};

use crate::relay::Relay;

/// One that watches a relay.
pub(crate) struct Strace {
    child: Child,
    log: PathBuf,
    // It says more when it ends.
    _stderr: BufReader<ChildStderr>,
}

/// Why it cannot be had; tries to install it first.
pub(crate) fn missing() -> Option<&'static str> {
    let runs = || Command::new("strace").arg("-V").output().is_ok();
    if runs() {
        return None;
    }
    let _ =
        Command::new("apt-get").args(["install", "-y", "-q", "strace"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    (!runs()).then_some("there is no strace, and apt-get does not bring it")
}

impl Strace {
    /// Watches every thread of a relay from here on.
    pub(crate) fn attach(relay: &Relay, options: &[String], log: &Path) -> anyhow::Result<Self> {
        Self::to(&relay.pid.as_raw_nonzero().to_string(), &[&["-f".into()], options].concat(), log)
    }

    /// Watches those of a name.
    pub(crate) fn attach_to_threads(relay: &Relay, name: &str, options: &[String], log: &Path) -> anyhow::Result<Self> {
        let mut threads = Vec::new();
        for thread in fs::read_dir(format!("/proc/{}/task", relay.pid.as_raw_nonzero()))? {
            let thread = thread?;
            if fs::read_to_string(thread.path().join("comm"))?.trim_end() == name {
                threads.push(thread.file_name().to_string_lossy().into_owned());
            }
        }
        ensure!(!threads.is_empty(), "no thread of the relay is called {name}");
        Self::to(&threads.join(","), options, log)
    }

    fn to(processes: &str, options: &[String], log: &Path) -> anyhow::Result<Self> {
        let mut child =
            Command::new("strace").arg("-o").arg(log).args(options).args(["-p", processes]).stderr(Stdio::piped()).spawn()?;
        let mut stderr = BufReader::new(child.stderr.take().context("a pipe")?);
        let mut line = String::new();
        while !line.contains(" attached") {
            line.clear();
            if stderr.read_line(&mut line)? == 0 || line.contains("ptrace") {
                bail!("strace may not attach here: {line}");
            }
        }
        Ok(Self { child, log: log.to_path_buf(), _stderr: stderr })
    }

    /// Lets the relay go on without it.
    pub(crate) fn detach(mut self) -> anyhow::Result<()> {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), rustix::process::Signal::INT)?;
        self.child.wait()?;
        Ok(())
    }

    /// Everything that it wrote down, once the relay has ended.
    pub(crate) fn ended(mut self) -> anyhow::Result<String> {
        self.child.wait()?;
        Ok(String::from_utf8_lossy(&fs::read(&self.log)?).into_owned())
    }
}
