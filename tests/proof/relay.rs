//! Relays as processes: started on a directory, under `strace` where a rung wants it, killed, stopped, checked.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Where a relay runs, and how.
#[derive(Clone)]
pub(crate) struct Place {
    /// Its data is in `restante-data` there, unless it is on another disk; what it said is in `relay.log`.
    pub(crate) dir: PathBuf,
    data: PathBuf,
    settings: Vec<(&'static str, String)>,
    under: Vec<OsString>,
}

/// Where a relay listens.
pub(crate) struct At {
    pub(crate) address: SocketAddr,
    /// What logins are signed for.
    pub(crate) origin: String,
}

/// A relay that runs; killed when dropped.
pub(crate) struct Relay {
    at: At,
    /// Of the relay itself, under whatever it runs.
    pub(crate) pid: Pid,
    child: Child,
    // Whoever listens no longer would have it write into a broken pipe.
    _stdout: BufReader<ChildStdout>,
}

impl Place {
    pub(crate) fn new(dir: &Path) -> Self {
        let data = dir.join("restante-data");
        let place = Self { dir: dir.to_path_buf(), data, settings: Vec::new(), under: Vec::new() };
        // Few devices make all of the load: what bounds one of them would bound the faults.
        place
            .set("SERVER__DISK_FREE_BYTES_MIN", 0)
            .set("LIMITS__TOKEN_SENDS_PER_MIN", 0)
            .set("LIMITS__DEVICE_REQUESTS_PER_MIN", 0)
    }

    /// With its data on another disk.
    pub(crate) fn on(mut self, disk: &Path) -> Self {
        self.data = disk.join("restante-data");
        self
    }

    /// With a setting, by its name in the environment less the prefix.
    pub(crate) fn set(mut self, name: &'static str, value: impl ToString) -> Self {
        self.settings.push((name, value.to_string()));
        self
    }

    /// Under another program, which is given the relay's command line.
    pub(crate) fn under(mut self, command: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.under = command.into_iter().map(Into::into).collect();
        self
    }

    /// The data directory.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// A relay that listens, on a port of the system's choice.
    pub(crate) fn start(&self) -> anyhow::Result<Relay> {
        self.try_start()?.map_err(|status| anyhow::anyhow!("the relay does not start: {status}, see relay.log"))
    }

    /// The same, or how it ended before it listened.
    pub(crate) fn try_start(&self) -> anyhow::Result<Result<Relay, ExitStatus>> {
        let mut child = self.command(&["serve", "--json", "--listen", "127.0.0.1:0"])?.stdout(Stdio::piped()).spawn()?;
        let mut stdout = BufReader::new(child.stdout.take().context("a pipe")?);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        if line.is_empty() {
            return Ok(Err(child.wait()?));
        }
        let banner: Value = serde_json::from_str(&line).context("the banner")?;
        let origin = banner["listening"].as_str().context("an origin")?.to_string();
        let at = At { address: origin.strip_prefix("http://").context("an origin")?.parse()?, origin };
        let pid = banner["pid"].as_i64().and_then(|pid| Pid::from_raw(pid as i32)).context("a pid")?;
        Ok(Ok(Relay { at, pid, child, _stdout: stdout }))
    }

    /// Starts a relay and kills it as soon as `moment` has come, or it listens; false when it ended by itself.
    pub(crate) fn kill_when(&self, moment: impl Fn() -> bool) -> anyhow::Result<bool> {
        let listening = self.dir.join("listening");
        let _ = std::fs::remove_file(&listening);
        let banner = File::create(&listening)?;
        let mut child = self.command(&["serve", "--json", "--listen", "127.0.0.1:0"])?.stdout(banner).spawn()?;
        let listens = || std::fs::metadata(&listening).is_ok_and(|banner| banner.len() > 0);
        while !moment() && !listens() {
            if let Some(status) = child.try_wait()? {
                bail!("the relay does not start: {status}, see relay.log");
            }
            std::thread::yield_now();
        }
        child.kill()?;
        Ok(!child.wait()?.success())
    }

    /// The same relay's data in another directory, which is made: every file of its that stands still.
    pub(crate) fn copy(&self, dir: &Path) -> anyhow::Result<Self> {
        let copy = Self { dir: dir.to_path_buf(), data: dir.join("restante-data"), ..self.clone() };
        std::fs::create_dir_all(copy.data())?;
        for entry in self.data().read_dir()? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                std::fs::copy(entry.path(), copy.data().join(entry.file_name()))?;
            }
        }
        Ok(copy)
    }

    /// The same place, with nothing that the binary runs under.
    fn alone(&self) -> Self {
        Self { under: Vec::new(), ..self.clone() }
    }

    /// A command of the operator's; gives its exit code.
    pub(crate) fn operator(&self, arguments: &[&str]) -> anyhow::Result<i32> {
        let status = self.alone().command(arguments)?.stdout(Stdio::null()).status()?;
        status.code().context("a command of the operator's was killed")
    }

    /// What such a command says in JSON.
    pub(crate) fn told(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let output = self.alone().command(arguments)?.output()?;
        serde_json::from_slice(&output.stdout).context("a command of the operator's said no JSON")
    }

    /// The database of a relay that was stopped in order is whole, and nothing of rows that were moved is left in it.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let output = self.alone().command(&["check", "--json"])?.output()?;
        ensure!(output.status.success(), "`restante check` ended with {}", output.status);
        let residue = &serde_json::from_slice::<Value>(&output.stdout)?["residue"];
        ensure!(*residue == 0, "bytes of rows that were moved are left in {residue} pages");
        Ok(())
    }

    fn command(&self, arguments: &[&str]) -> anyhow::Result<Command> {
        let binary = OsString::from(env!("CARGO_BIN_EXE_restante"));
        let mut line = self.under.iter().chain(std::iter::once(&binary));
        let mut command = Command::new(line.next().context("a program")?);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RESTANTE_")) {
            if name != "RESTANTE_SABOTAGE" {
                command.env_remove(name);
            }
        }
        command.envs(self.settings.iter().map(|(name, value)| (format!("RESTANTE_{name}"), value)));
        let log = OpenOptions::new().create(true).append(true).open(self.dir.join("relay.log"))?;
        command.env("RESTANTE_SERVER__DATA", &self.data);
        // What it might put elsewhere is to be found, too.
        command.env("TMPDIR", &self.dir);
        command.args(line).args(arguments).current_dir(&self.dir).stdin(Stdio::null()).stderr(log);
        Ok(command)
    }
}

impl Relay {
    /// Waits until it says that it is ready: its first purge is done, too.
    pub(crate) fn ready(&self, place: &Place) -> anyhow::Result<()> {
        while place.operator(&["healthcheck", "--url", &self.origin])? != 0 {}
        Ok(())
    }

    /// As a power cut would end the process.
    pub(crate) fn kill(mut self) -> anyhow::Result<()> {
        let _ = kill_process(self.pid, Signal::KILL);
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to stop and waits for the end, which must be a good one.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        kill_process(self.pid, Signal::TERM).context("the relay ended before it was stopped")?;
        match self.child.wait()?.code() {
            Some(0) => Ok(()),
            code => bail!("the relay stopped with {code:?}"),
        }
    }

    /// Its end, when it ends by itself or was told to.
    pub(crate) fn ended(mut self) -> anyhow::Result<ExitStatus> {
        Ok(self.child.wait()?)
    }
}

impl Deref for Relay {
    type Target = At;

    fn deref(&self) -> &At {
        &self.at
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = kill_process(self.pid, Signal::KILL);
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
