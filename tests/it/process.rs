//! The real binary: commands run to their end, and relays that run beside a test. Nothing here sleeps; a relay is up when
//! it has said where it listens.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// What a command did.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    /// Its stdout as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// The binary, in a directory of the test's and with nothing of ours in the environment.
pub(crate) fn restante(directory: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_restante"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("RESTANTE_")) {
        command.env_remove(name);
    }
    command.current_dir(directory).args(args).stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn run(directory: &Path, args: &[&str]) -> Done {
    finish(&mut restante(directory, args))
}

/// Runs a prepared command to its end.
pub(crate) fn finish(command: &mut Command) -> Done {
    let output = command.output().expect("the binary runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    let code = output.status.code().expect("an exit code, not a signal");
    Done { code, stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A relay that runs; killed when dropped.
pub(crate) struct Serving {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// The line of `--json`.
    pub(crate) banner: Value,
    /// The directory that it was started in; its data is in `restante-data` there.
    pub(crate) directory: PathBuf,
    _own: Option<TempDir>,
}

/// A fresh relay on a port of the system's choice.
pub(crate) fn serve(args: &[&str]) -> Serving {
    let own = TempDir::new().expect("a directory");
    let mut serving = serve_in(own.path(), args);
    serving._own = Some(own);
    serving
}

/// A relay in a directory; with `--listen 127.0.0.1:0` unless the arguments say where.
pub(crate) fn serve_in(directory: &Path, args: &[&str]) -> Serving {
    let listen: &[&str] = if args.contains(&"--listen") { &[] } else { &["--listen", "127.0.0.1:0"] };
    started(directory, restante(directory, &[&["serve", "--json"], listen, args].concat()).stderr(Stdio::inherit()))
}

/// A relay by a prepared command, which has it say on stdout where it listens.
pub(crate) fn started(directory: &Path, command: &mut Command) -> Serving {
    let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary runs");
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a line");
    let banner = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}, {:?}", child.wait()));
    Serving { child, stdout, banner, directory: directory.to_path_buf(), _own: None }
}

impl Serving {
    /// `127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> &str {
        let listening = self.banner["listening"].as_str().expect("an address");
        listening.strip_prefix("http://").unwrap_or(listening)
    }

    /// Asks until it is ready: its first purge is done, too.
    pub(crate) fn ready(&self) {
        let url = self.banner["listening"].as_str().expect("an address");
        while self.operator(&["healthcheck", "--url", url]).code != 0 {}
    }

    /// A command of the operator's on this relay's data, from the directory that it was started in.
    pub(crate) fn operator(&self, args: &[&str]) -> Done {
        run(&self.directory, args)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the process is there");
    }

    /// Waits for its end; gives the exit code, and what it printed after the banner.
    pub(crate) fn ended(&mut self) -> (ExitStatus, String) {
        let status = self.child.wait().expect("its end");
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).expect("UTF-8");
        (status, rest)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
