//! A relay in a process of its own whose clock is set by hand: its wall clock and the time since boot go where a line on
//! stdin says, and nowhere else. All floors of the relay are the real ones; only `main` is not.
//!
//! The harness starts itself for it: `proof by-hand DIRECTORY SECONDS`.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use restante::config::Config;
use restante::server::{self, Listener};
use restante::service::clock::TimeSource;
use restante::service::{Clock, Relay};
use tokio::sync::oneshot;

use crate::clock::ManualClock;
use crate::relay::At;

/// The name by which the harness starts itself.
pub(crate) const NAME: &str = "by-hand";

/// A relay, and the lines that set its clock; killed when dropped.
pub(crate) struct ByHand {
    at: At,
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl ByHand {
    /// Starts on a directory, so many seconds after the first start; its first purge is done.
    pub(crate) fn start(data: &Path, elapsed: u64) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([NAME.as_ref(), data.as_os_str(), elapsed.to_string().as_ref()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (orders, answers) = (child.stdin.take().context("a pipe")?, child.stdout.take().context("a pipe")?);
        let mut answers = BufReader::new(answers);
        let mut line = String::new();
        answers.read_line(&mut line)?;
        let Ok(address) = line.trim().parse::<SocketAddr>() else {
            bail!("the relay does not start: {}", child.wait()?);
        };
        Ok(Self { at: At { address, origin: format!("http://{address}") }, child, orders, answers })
    }

    pub(crate) fn at(&self) -> &At {
        &self.at
    }

    /// Gives an order and waits until it is done.
    pub(crate) fn order(&mut self, order: &str) -> anyhow::Result<()> {
        writeln!(self.orders, "{order}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        ensure!(line == "done\n", "`{order}` was answered {line:?}");
        Ok(())
    }

    /// As a power cut would end the process.
    pub(crate) fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Lets it drain and close.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        writeln!(self.orders, "stop")?;
        let status = self.child.wait()?;
        ensure!(status.success(), "the relay stopped with {status}");
        Ok(())
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The other side: runs the relay until stdin ends or says so.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let [data, elapsed] = arguments else { bail!("a directory and a number of seconds") };
    let mut config = Config::default();
    config.server.data = data.into();
    config.server.disk_free_bytes_min = 0;
    let limits = &mut config.limits;
    // The clock stands still while many are sent.
    (limits.token_sends_per_min, limits.device_requests_per_min) = (0, 0);
    (limits.mailbox_envelopes_max, limits.mailbox_bytes_max) = (MAILBOX_ENVELOPES_MAX, MAILBOX_BYTES_MAX);
    (limits.knocks_token_max, limits.knocks_max) = (KNOCKS_TOKEN_MAX, KNOCKS_MAX);
    limits.tokens_max = TOKENS_MAX;
    // Purges come when they are ordered, and at the start.
    config.retention.purge_schedule = "0 0 29 2 *".into();
    let clock = Arc::new(ManualClock::new());
    clock.advance(elapsed.parse()?);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(serve(config, clock))
}

async fn serve(config: Config, clock: Arc<ManualClock>) -> anyhow::Result<()> {
    let source: Arc<dyn TimeSource> = Arc::clone(&clock) as _;
    let listener = server::bind("127.0.0.1:0").await?;
    let Listener::Tcp(tcp) = &listener else { bail!("it was bound to a port") };
    let address = tcp.local_addr()?;
    let opened = server::open_with(&config, Some(&listener), Clock::new(source), |_| {}).await?;
    let relay = opened.relay.clone();
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async {
        let _ = stopped.await;
    };
    let served = tokio::spawn(async move { server::serve(opened, &config, listener, stopped, std::future::pending()).await });
    while !relay.purged_since(Duration::ZERO) {
        tokio::task::yield_now().await;
    }
    println!("{address}");
    let orders = tokio::task::spawn_blocking(move || obey(&relay, &clock, &tokio::runtime::Handle::current()));
    orders.await??;
    drop(stop);
    served.await??;
    Ok(())
}

fn obey(relay: &Relay, clock: &ManualClock, runtime: &tokio::runtime::Handle) -> anyhow::Result<()> {
    for line in std::io::stdin().lines() {
        match line?.split_once(' ').map_or(("", ""), |order| order) {
            ("advance", secs) => clock.advance(secs.parse()?),
            ("wall", secs) => clock.set_wall_by(secs.parse()?),
            ("purge", _) => {
                runtime.block_on(relay.purge(Default::default(), |_| {}))?;
            }
            _ => break,
        }
        relay.now();
        println!("done");
    }
    Ok(())
}

/// Small, so that they are reached.
pub(crate) const MAILBOX_ENVELOPES_MAX: u64 = 6;
/// Three of 16 KiB.
pub(crate) const MAILBOX_BYTES_MAX: u64 = 65_536;
pub(crate) const KNOCKS_TOKEN_MAX: u64 = 2;
pub(crate) const KNOCKS_MAX: u64 = 3;
pub(crate) const TOKENS_MAX: u64 = 3;
