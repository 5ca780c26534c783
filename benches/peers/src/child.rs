//! Systems as ordinary child processes: started in a directory of their own, on a free loopback port, and gone at the end
//! with everything that they started. `setpriv` ties them to this process, so that they end also when it is killed.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// A fresh directory for one start of one system, gone at the end.
pub(crate) struct Place {
    path: PathBuf,
    /// Who the system runs as, where that is not who we are.
    user: Option<String>,
    /// Loaded into every program.
    preload: Option<PathBuf>,
}

impl Place {
    /// `PARENT/NAME`; a system that refuses to run as root gets the user named, where we are root.
    pub(crate) fn new(parent: &Path, name: &str, not_root: Option<&str>, preload: Option<&Path>) -> anyhow::Result<Self> {
        let path = parent.join(name);
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let user = not_root.filter(|_| rustix::process::geteuid().is_root()).map(str::to_owned);
        if let Some(user) = &user {
            let (uid, gid) = ids(user).with_context(|| format!("there is no user {user}"))?;
            // It has to get there.
            fs::set_permissions(parent, fs::Permissions::from_mode(0o711))?;
            chown(&path, Some(uid), Some(gid))?;
        }
        Ok(Self { path, user, preload: preload.map(Path::to_owned) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A path in it, as text.
    pub(crate) fn at(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> anyhow::Result<String> {
        fs::write(self.path.join(name), text)?;
        Ok(self.at(name))
    }

    /// A program in this directory with nothing of our environment but `PATH`, ended when we end.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if let Some(user) = &self.user {
            command.args(["--reuid", user, "--regid", user, "--clear-groups"]);
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.arg(program).env_clear().env("PATH", path).env("HOME", &self.path).env("LC_ALL", "C.UTF-8");
        command.current_dir(&self.path).stdin(Stdio::null());
        if let Some(library) = &self.preload {
            command.env("LD_PRELOAD", library);
        }
        command
    }

    /// Runs a program to its end.
    pub(crate) fn run(&self, command: &mut Command) -> anyhow::Result<()> {
        let done = command.output()?;
        if !done.status.success() {
            bail!("{}: {}", done.status, String::from_utf8_lossy(&done.stderr).trim());
        }
        Ok(())
    }

    /// Starts a program that stays; what it says goes into a file, but for standard output where it is asked for.
    pub(crate) fn start(&self, command: &mut Command, stdout: bool) -> anyhow::Result<Started> {
        let log = self.path.join("said.log");
        let said = fs::OpenOptions::new().create(true).append(true).open(&log)?;
        command.stderr(said.try_clone()?);
        if stdout {
            command.stdout(Stdio::piped())
        } else {
            command.stdout(said)
        };
        let child = command.spawn().context("setpriv cannot be started (package util-linux)")?;
        Ok(Started { child, log })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A system that runs; dropping it ends it and what it started.
pub(crate) struct Started {
    child: Child,
    log: PathBuf,
}

impl Started {
    /// The first line of its standard output, where that was asked for.
    pub(crate) fn line(&mut self) -> anyhow::Result<String> {
        let stdout = self.child.stdout.take().context("nobody asked for its standard output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        ensure!(!line.is_empty(), "it ended: {}", self.last_words());
        Ok(line)
    }

    /// Tries until it succeeds, for a minute, or until the process has ended.
    pub(crate) fn until<T>(&mut self, attempt: impl Fn() -> anyhow::Result<T>) -> anyhow::Result<T> {
        let began = Instant::now();
        loop {
            let error = match attempt() {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status}: {}", self.last_words());
            }
            if began.elapsed() > PATIENCE {
                return Err(error.context(format!("it does not get ready: {}", self.last_words())));
            }
            std::thread::sleep(LOOK);
        }
    }

    fn last_words(&self) -> String {
        let said = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join(" | ")
    }

    /// Seconds of processor time that it and all that it started have had, those that ended included.
    pub(crate) fn processor(&self) -> f64 {
        let ticks = tree(self.child.id()).iter().map(|id| ticks(*id).unwrap_or(0)).sum::<u64>();
        ticks as f64 / 100.0
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // Those that it started are found through it, so they come first to be found and last to be waited for.
        for id in tree(self.child.id()) {
            if let Some(id) = i32::try_from(id).ok().and_then(Pid::from_raw) {
                let _ = kill_process(id, Signal::KILL);
            }
        }
        let _ = self.child.wait();
    }
}

/// Seconds of processor time that this process has had.
pub(crate) fn own_processor() -> f64 {
    ticks(std::process::id()).unwrap_or(0) as f64 / 100.0
}

/// A process and everything below it.
fn tree(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Some(parent) = stat(id).and_then(|fields| fields.get(1)?.parse().ok()) {
            children.entry(parent).or_default().push(id);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(id) = found.get(next) {
        found.extend(children.remove(id).unwrap_or_default());
        next += 1;
    }
    found
}

/// Processor time in hundredths of a second (`USER_HZ` is 100 wherever Linux has a `/proc`), with that of children that ended.
fn ticks(id: u32) -> Option<u64> {
    let fields = stat(id)?;
    // The fields 14 to 17 of proc(5), of which the first two are not in here.
    (11..15).map(|field| fields.get(field)?.parse::<u64>().ok()).sum()
}

/// The fields of `/proc/ID/stat` from the third on: the name, in parentheses, may hold anything.
fn stat(id: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    Some(text.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

/// A loopback port that is free now.
pub(crate) fn free_port() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// A program by name, on the path or where Debian puts it.
pub(crate) fn program(name: &str, package: &str, more: &[&str]) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let known = more.iter().copied().chain(["/usr/sbin", "/usr/bin"]).map(PathBuf::from);
    let mut places = known.chain(std::env::split_paths(&path));
    let found = places.find_map(|place| Some(place.join(name)).filter(|file| file.is_file()));
    found.with_context(|| format!("{name} is not installed (package {package})"))
}

fn ids(user: &str) -> Option<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let line = users.lines().find(|line| line.split(':').next() == Some(user))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);
const LAST_LINES: usize = 3;
