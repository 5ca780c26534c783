//! Relays that a command starts for itself, in a process of their own, and the temporary directory that they live in. The
//! demo and the bench call it; both want the shipped server and nothing in its place.

use std::io::{BufRead, BufReader, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use serde::Deserialize;

/// A fresh directory for one run, gone at the end.
pub(super) struct Place {
    path: PathBuf,
    keep: bool,
}

impl Place {
    /// `PARENT/restante-NAME-…`, readable by nobody else; `keep` leaves it there.
    pub(super) fn new(parent: &Path, name: &str, keep: bool) -> anyhow::Result<Self> {
        for attempt in 0..ATTEMPTS {
            let path = parent.join(format!("restante-{name}-{}-{attempt}", std::process::id()));
            match std::fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self { path, keep }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).with_context(|| format!("cannot make {}", path.display())),
            }
        }
        anyhow::bail!("cannot make a fresh directory in {}", parent.display())
    }

    /// The directory.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The data directory of the relay that lives here.
    pub(super) fn data(&self) -> PathBuf {
        self.path.join(DATA)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.keep {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// This program as a child that listens; killed when dropped.
pub(super) struct Listening {
    child: Child,
    said: Said,
}

/// The line that it prints once it listens.
#[derive(Deserialize)]
struct Said {
    listening: String,
    #[serde(default)]
    origins: Vec<String>,
    #[serde(default)]
    fingerprint: String,
}

impl Listening {
    /// `restante serve` with no configuration but these settings.
    pub(super) fn relay(place: &Place, listen: &str, settings: &[String]) -> anyhow::Result<Self> {
        let mut args = vec!["serve", "--json", "--listen", listen, "--data", DATA];
        settings.iter().for_each(|setting| args.extend(["--set", setting]));
        Self::start(place, &args)
    }

    /// Any command that says as JSON where it listens. It runs in the place, so that no relay.toml around here has a say.
    pub(super) fn start(place: &Place, args: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RESTANTE_")) {
            command.env_remove(name);
        }
        let log = place.path().join("relay.log");
        let mut child = command
            .args(args)
            .current_dir(place.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log)?)
            .spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.take();
        let mut child =
            Self { child, said: Said { listening: String::new(), origins: Vec::new(), fingerprint: String::new() } };
        BufReader::new(stdout.context("the relay has no stdout")?).read_line(&mut line)?;
        child.said = serde_json::from_str(&line)
            .with_context(|| format!("the relay did not start: {}", std::fs::read_to_string(log).unwrap_or_default().trim()))?;
        Ok(child)
    }

    /// Where it says that it listens.
    pub(super) fn listening(&self) -> &str {
        &self.said.listening
    }

    /// What is dialled.
    pub(super) fn origin(&self) -> &str {
        self.said.origins.first().unwrap_or(&self.said.listening)
    }

    /// `127.0.0.1:PORT`, to start at the same place again.
    pub(super) fn address(&self) -> &str {
        self.origin().trim_start_matches("http://")
    }

    /// Of the relay's key.
    pub(super) fn fingerprint(&self) -> &str {
        &self.said.fingerprint
    }

    /// The process.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it by SIGKILL, and waits until it is gone.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// In the place.
const DATA: &str = "data";
const ATTEMPTS: u32 = 100;
