//! `restante serve`: a relay in the foreground, until a signal ends it.

use std::path::Path;

use clap::Args;
use rustix::process::{Resource, Rlimit, setrlimit, umask};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{LevelFilter, ParseError, Targets, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::config::ConfigArgs;
use super::{output, units};
use crate::config::{Config, ConfigError, Flag, Loaded, LogFormat, Problem};
use crate::protocol::info::{Info, Registration};
use crate::{admin, server};

/// `restante serve`.
#[derive(Debug, Args)]
#[command(
    after_help = "Stops on SIGTERM or SIGINT (Ctrl-C) within limits.drain_secs, whatever clients do; a second signal ends it at \
once.\n\nExamples:\n  restante serve\n  restante serve --listen unix:/run/restante/relay.sock --data /var/lib/restante\n  \
RESTANTE_SERVER__ORIGINS=https://relay.example:443 restante serve"
)]
pub(super) struct ServeArgs {
    /// Listen here: ADDRESS:PORT or unix:PATH (server.listen).
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Say where it listens as one line of JSON, for scripts.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(args: ServeArgs) -> anyhow::Result<u8> {
    let listen = args.listen.map(|value| Flag { flag: "--listen", key: "server.listen".into(), value });
    let loaded = args.config.load_with(listen)?;
    log(&loaded.config)?;
    server::hush_panics();
    harden();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().max_blocking_threads(BLOCKING_THREADS_MAX).enable_all().build()?;
    let result = runtime.block_on(serve(&loaded, args.json));
    // What a client left unfinished must not hold the process up.
    runtime.shutdown_background();
    result
}

async fn serve(loaded: &Loaded, as_json: bool) -> anyhow::Result<u8> {
    let config = &loaded.config;
    // Before the banner: whoever reads it may send a signal.
    let (stop, force) = signals()?;
    let listener = server::bind(&config.server.listen).await?;
    let opened = server::open(config, Some(&listener)).await?;
    let relay = opened.relay.clone();
    let socket = admin::bind(&config.server.data).map_err(server::ServerError::from)?;
    tokio::spawn(admin::serve(socket, relay.clone()));
    let banner = Banner { address: listener.origin(), loaded, info: relay.info() };
    // A relay whose stdout nobody reads is a relay all the same.
    let _ = if as_json { output::print_json(&banner.json()) } else { output::print(&banner.text()) };
    let forced = force.clone();
    server::serve(opened, config, listener, async move { stop.cancelled().await }, async move { force.cancelled().await })
        .await?;
    Ok(u8::from(forced.is_cancelled()))
}

/// Cancelled by the first SIGTERM or SIGINT, and by the second.
fn signals() -> std::io::Result<(CancellationToken, CancellationToken)> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (stop, force) = (CancellationToken::new(), CancellationToken::new());
    let tokens = [stop.clone(), force.clone()];
    tokio::spawn(async move {
        for token in tokens {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            token.cancel();
        }
    });
    Ok((stop, force))
}

/// Log lines on stderr.
fn log(config: &Config) -> Result<(), ConfigError> {
    let (origin, text) = match std::env::var("RESTANTE_LOG") {
        Ok(text) if !text.is_empty() => ("environment RESTANTE_LOG", text),
        _ => ("log.level", config.log.level.clone()),
    };
    let filter: Targets = text.parse().map_err(|error: ParseError| Problem {
        key: None,
        origin: origin.into(),
        message: format!("`{text}` does not say what to log: {error}"),
        excerpt: None,
        hint: Some("such as info, or info,restante_relay::server=debug".into()),
    })?;
    let finest = filter.iter().map(|(_, level)| level).chain(filter.default_level()).max().unwrap_or(LevelFilter::OFF);
    let builder = tracing_subscriber::fmt().with_max_level(finest).with_writer(std::io::stderr);
    // A line that cannot be written, on a full disk, is lost: to say so on stderr would panic.
    let builder = builder.log_internal_errors(false);
    // An error means that a test of this process has set one before; that one will do.
    let _ = match config.log.format {
        LogFormat::Text => {
            let builder = builder.with_ansi(output::colour_on_stderr());
            builder.finish().with(filter).with(filter_fn(may_be_said)).try_init()
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_current_span(false);
            builder.finish().with(filter).with(filter_fn(may_be_said)).try_init()
        }
    };
    Ok(())
}

/// Whether a line may be written at all, whatever the operator asks for. Libraries say more than this relay may: at `trace` the
/// WebSocket's writes every frame, with the session in it.
fn may_be_said(line: &Metadata<'_>) -> bool {
    let crate_name = line.target().split("::").next().unwrap_or_default();
    *line.level() <= Level::WARN || ["restante", "restante_relay"].contains(&crate_name)
}

/// What the process makes is the user's alone, and its memory is not written to disk when it fails.
fn harden() {
    umask(rustix::fs::Mode::from_bits_truncate(0o077));
    // Where the system does not allow it there is nothing to be done about it.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}

/// What is said once the relay listens.
struct Banner<'a> {
    address: String,
    loaded: &'a Loaded,
    info: Info,
}

impl Banner<'_> {
    /// What a client on this machine dials.
    fn relay(&self) -> &str {
        self.info.origins.first().unwrap_or(&self.address)
    }

    fn data(&self) -> std::path::PathBuf {
        let data: &Path = &self.loaded.config.server.data;
        data.canonicalize().unwrap_or_else(|_| data.to_path_buf())
    }

    fn next_purge(&self) -> Option<u64> {
        server::next_run(&self.loaded.config.retention.purge_schedule, self.info.now)
    }

    fn text(&self) -> String {
        let (registration, pass) = match self.info.registration {
            Registration::Open => ("open to whoever reaches this address", ""),
            Registration::Closed => ("closed", ""),
            _ => ("by pass: `restante pass create` makes one", " --pass CODE"),
        };
        let next = self.next_purge().map_or_else(
            || "never".into(),
            |at| format!("{}, in {}", units::time(at), units::about(at.saturating_sub(self.info.now))),
        );
        let config = self.loaded.file.as_ref().map_or_else(|| "the defaults".into(), |file| file.display().to_string());
        let title = output::bold(&format!("restante {} listens on {}", env!("CARGO_PKG_VERSION"), self.address));
        let (data, fingerprint, relay) = (self.data(), &self.info.fingerprint, self.relay());
        format!(
            "{title}\n\n  data          {}\n  relay key     {fingerprint}\n  retention     {}\n  next purge    {next}\n  registration  \
             {registration}\n  configuration {config}\n\nTry it, in another terminal:\n\n  restante client init --relay {relay} \
             --relay-key {fingerprint}{pass}\n\nCtrl-C stops it.\n",
            data.display(),
            units::span(self.info.retention_secs),
        )
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "listening": self.address,
            "data": self.data(),
            "relay_key": self.info.relay_key,
            "fingerprint": self.info.fingerprint,
            "origins": self.info.origins,
            "registration": self.info.registration,
            "retention_secs": self.info.retention_secs,
            "next_purge": self.next_purge(),
            "config": self.loaded.file,
            "pid": std::process::id(),
        })
    }
}

/// Readers of the store and little else: more would only wait for the same two cores.
const BLOCKING_THREADS_MAX: usize = 16;
