//! Floor 4: opens a relay and runs it. `open` takes the data directory's lock, for a server and for an operator's command
//! alike; `serve` accepts, until it is told to stop, and then drains.

mod accept;
mod answers;
mod connection;
mod data;
mod error;
mod fill;
mod listener;
mod parked;

use std::fs::File;
use std::future::Future;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::config::{Config, Registration as Mode};
use crate::crypto::random;
use crate::protocol::info::Registration;
use crate::service::{Clock, Relay, Settings};
use crate::store::Factors;
use crate::store::sqlite::{self, SqliteStore};
use crate::{api, jobs};
use data::{lock, look_at_permissions, make_directory, relay_key, room, totp_key};
use listener::{hosts, is_loopback};

pub use error::ServerError;
pub use fill::Fill;
pub use listener::{Listener, bind};

pub use crate::store::sqlite::CheckReport;
pub use crate::store::{NewEnvelope, NewList};

/// A relay, and the lock that makes it the only one on its data.
pub struct Opened {
    /// The relay.
    pub relay: Relay,
    _lock: File,
}

/// Opens the relay of a data directory, under its lock; makes what is not there yet. With a listener, for serving.
pub async fn open(config: &Config, listener: Option<&Listener>) -> Result<Opened, ServerError> {
    open_with(config, listener, Clock::system(), |_| {}).await
}

/// [`open`] by another clock than the system's, one that a test advances, and with bounds of the store that no
/// configuration has: a test fills a short queue.
pub async fn open_with(
    config: &Config,
    listener: Option<&Listener>,
    clock: Clock,
    set: impl FnOnce(&mut sqlite::Settings),
) -> Result<Opened, ServerError> {
    let data = &config.server.data;
    make_directory(data)?;
    let lock = lock(data)?;
    // The key stands before the first database; beside one that is there already, whose it is is asked first.
    let first_key = if data::database(data).exists() { None } else { Some(relay_key(data)?) };
    let mut settings = sqlite::Settings {
        disk_bytes_max: config.server.disk_bytes_max,
        mailbox_envelopes_max: config.limits.mailbox_envelopes_max,
        mailbox_bytes_max: config.limits.mailbox_bytes_max,
        knocks_token_max: config.limits.knocks_token_max,
        knocks_max: config.limits.knocks_max,
        repeats_secs: config.limits.repeats_secs,
        repeats_max: config.limits.repeats_max as usize,
        on_failure: Arc::new(fail_stop),
        ..sqlite::Settings::new(data)
    };
    set(&mut settings);
    let store = SqliteStore::open(settings)?;
    let any_factor = Factors::any_factor(&store).await.map_err(crate::service::Error::from)?.is_some();
    // A proxy makes everybody come from loopback: what clients dial tells whether the world can.
    let local = listener.is_none_or(Listener::is_local) && config.server.origins.iter().all(|origin| is_loopback(origin));
    let settings = Settings {
        limits: config.limits.clone(),
        retention_secs: config.retention.secs,
        registration: match config.server.registration {
            Mode::Auto if local => Registration::Open,
            Mode::Auto | Mode::Pass => Registration::Pass,
            Mode::Open => Registration::Open,
            Mode::Closed => Registration::Closed,
        },
        origins: match listener {
            Some(listener) if config.server.origins.is_empty() => listener.origins(),
            _ => config.server.origins.clone(),
        },
        web_origins: config.server.web_origins.clone(),
        proxies_trusted: !config.server.trusted_proxies.is_empty(),
        relay_key: first_key.map_or_else(|| relay_key(data), Ok)?,
        totp_key: totp_key(data, any_factor)?,
        room: room(data.clone(), config.server.disk_free_bytes_min),
        purge_overdue_secs: 3 * jobs::period_secs(&config.retention.purge_schedule, 0).max(PURGE_OVERDUE_SECS_MIN / 3),
    };
    let relay = Relay::open(settings, Arc::new(store), clock, random::system()).await?;
    if !relay.totp_key_fits().await? {
        return Err(ServerError::TotpKey(data.join(data::TOTP_KEY)));
    }
    Ok(Opened { relay, _lock: lock })
}

/// Runs a relay until `shutdown` ends, then drains; `force` ends it at once.
pub async fn serve(
    opened: Opened,
    config: &Config,
    listener: Listener,
    shutdown: impl Future<Output = ()> + Send + 'static,
    force: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServerError> {
    look_at_permissions(&config.server.data);
    let relay = opened.relay.clone();
    let networks = |text: &String| text.parse().map_err(|_| ServerError::Configuration(format!("`{text}` is no network")));
    let trusted: Vec<IpNet> = config.server.trusted_proxies.iter().map(networks).collect::<Result<_, _>>()?;
    let hosts = config.server.origins.iter().flat_map(|origin| hosts(origin)).collect();
    let hall = Arc::new(accept::Hall::new(relay.clone(), api::routes(&relay), hosts, trusted));
    let jobs = tokio::spawn(jobs::run(relay.clone(), config.retention.purge_schedule.clone()));
    let running = async {
        tokio::select! {
            () = hall.accept(&listener) => {}
            () = shutdown => {}
        }
        tracing::info!("stopping");
        relay.stop();
        drop(listener);
        let clock = relay.clock();
        let secs = relay.limits().drain_secs;
        let deadline = clock.elapsed() + Duration::from_secs(secs).saturating_sub(CLOSING);
        hall.drain(deadline).await;
        let closing = async {
            // The jobs hold at most one purge, which ends with its slice's refusal.
            relay.close().await;
            let _ = jobs.await;
        };
        tokio::select! {
            () = closing => {}
            () = clock.sleep_until(deadline + CLOSING) => tracing::warn!("the store did not close in time"),
        }
    };
    tokio::select! {
        () = running => {}
        () = force => {}
    }
    Ok(())
}

/// From now on a panic says where it was and not in which words: those may hold what a request held.
pub fn hush_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a panic");
    }));
}

/// Verifies the database of a stopped relay.
pub fn check(config: &Config) -> Result<CheckReport, ServerError> {
    let data = &config.server.data;
    if !database(config).exists() {
        return Err(ServerError::File { path: database(config), error: ErrorKind::NotFound.into() });
    }
    let _lock = lock(data)?;
    Ok(sqlite::check(data)?)
}

/// The database's path.
pub fn database(config: &Config) -> PathBuf {
    data::database(&config.server.data)
}

/// When the schedule next runs; none when it is no schedule, or never runs.
pub fn next_run(schedule: &str, now: u64) -> Option<u64> {
    jobs::next_run(schedule, now).ok().flatten()
}

/// After a failed fsync nothing that the process says can be believed: it ends at once. What another thread may answer in that
/// moment is a `500`, and never that something was done.
fn fail_stop(what: &str) {
    // When stderr is gone too, the exit code says it.
    let _ = writeln!(io::stderr(), "restante: error: {what}; the relay stops, so that it promises nothing it cannot keep");
    let _ = writeln!(
        io::stderr(),
        "hint: look at the disk, run `restante check`, then start it again; senders repeat what had no answer"
    );
    #[expect(clippy::disallowed_methods, reason = "fail-stop: nothing may be promised after this")]
    std::process::exit(FAIL_STOP);
}

const FAIL_STOP: i32 = 70;
/// Of the drain, what is kept for closing the store.
const CLOSING: Duration = Duration::from_secs(2);
/// However short the schedule, a purge is not overdue before.
const PURGE_OVERDUE_SECS_MIN: u64 = 900;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Server;

    #[tokio::test]
    async fn behind_a_proxy_registration_is_by_pass() {
        let dir = tempfile::tempdir().expect("a directory");
        for (at, (origins, expected)) in [
            (vec![], Registration::Open),
            (vec!["http://127.0.0.1:8484", "http://[::1]:8484", "http://localhost:80"], Registration::Open),
            (vec!["https://relay.example:443"], Registration::Pass),
            (vec!["http://localhost:80", "http://abc.onion:80"], Registration::Pass),
        ]
        .into_iter()
        .enumerate()
        {
            let origins = origins.into_iter().map(String::from).collect();
            let server = Server { data: dir.path().join(at.to_string()), origins, ..Server::default() };
            let config = Config { server, ..Config::default() };
            let listener = bind("127.0.0.1:0").await.expect("a listener");
            let opened = open(&config, Some(&listener)).await.expect("a relay");
            assert_eq!(opened.relay.info().registration, expected, "{:?}", config.server.origins);
        }
    }
}
