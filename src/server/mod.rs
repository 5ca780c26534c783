//! Floor 4: opens a relay and runs it. `open` takes the data directory's lock, for a server and for an operator's command
//! alike; `serve` accepts, until it is told to stop, and then drains.

mod accept;
mod connection;

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::future::Future;
use std::io::{self, ErrorKind, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use tokio::net::{TcpListener, UnixListener};
use zeroize::Zeroizing;

use crate::config::{Config, Registration as Mode};
use crate::crypto::{random, sign};
use crate::protocol::bytes::{decode, encode};
use crate::protocol::info::Registration;
use crate::service::{Clock, Relay, Settings};
use crate::store::sqlite::{self, OpenError, OpenErrorKind, SqliteStore};
use crate::{api, jobs};

pub use crate::store::sqlite::CheckReport;

/// Why a relay cannot be opened or run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The data directory is another process's.
    #[error("a relay is running on {} already", .0.display())]
    Running(PathBuf),
    /// The database was not opened.
    #[error(transparent)]
    Database(#[from] OpenError),
    /// A file or directory of the relay's.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The relay key's file does not hold one.
    #[error("{} does not hold a relay key", .0.display())]
    RelayKey(PathBuf),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// As it was configured.
        address: String,
        /// What the system said.
        error: io::Error,
    },
    /// A value of the configuration is not what it should be.
    #[error("{0}")]
    Configuration(String),
    /// The relay itself.
    #[error("the relay cannot start: {0}")]
    Relay(#[from] crate::service::Error),
    /// Something of the system's.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl ServerError {
    /// The next step, where there is one.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Running(_) => "stop it first, or name another directory with `--data`".into(),
            Self::Database(error) => error.hint().into(),
            Self::File { path, .. } => format!("see that this user may read and write {}", path.display()),
            Self::RelayKey(_) => "put the relay's key back from a backup; a new key would be a new relay".into(),
            Self::Listen { error, .. } if error.kind() == ErrorKind::AddrInUse => {
                "something listens there already; choose another port with `--listen`".into()
            }
            Self::Listen { .. } => "choose another address with `--listen ADDRESS:PORT` or `--listen unix:PATH`".into(),
            Self::Configuration(_) => "`restante config check` says more".into(),
            Self::Relay(_) | Self::Io(_) => return None,
        })
    }

    /// The process's exit code for it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Running(_) => 75,
            Self::Database(error) => match error.kind() {
                OpenErrorKind::Foreign | OpenErrorKind::Newer | OpenErrorKind::Damaged | OpenErrorKind::NotAFile => 65,
                OpenErrorKind::CannotCreate => 73,
                OpenErrorKind::InUse => 75,
                OpenErrorKind::NotPermitted => 77,
            },
            Self::RelayKey(_) => 65,
            Self::File { error, .. } | Self::Io(error) | Self::Listen { error, .. }
                if error.kind() == ErrorKind::PermissionDenied =>
            {
                77
            }
            Self::File { .. } => 73,
            Self::Configuration(_) => 78,
            Self::Listen { .. } | Self::Relay(_) | Self::Io(_) => 1,
        }
    }
}

/// A relay, and the lock that makes it the only one on its data.
pub struct Opened {
    /// The relay.
    pub relay: Relay,
    _lock: File,
}

/// Where a relay listens.
pub enum Listener {
    /// An address and port.
    Tcp(TcpListener),
    /// A socket in the file system, gone at the end.
    Unix(UnixListener, PathBuf),
}

/// Listens on `ADDRESS:PORT` or `unix:PATH`.
pub async fn bind(listen: &str) -> Result<Listener, ServerError> {
    let failed = |error| ServerError::Listen { address: listen.to_string(), error };
    let Some(path) = listen.strip_prefix("unix:") else {
        return Ok(Listener::Tcp(TcpListener::bind(listen).await.map_err(failed)?));
    };
    let path = std::path::absolute(path).map_err(failed)?;
    match tokio::net::UnixStream::connect(&path).await {
        Ok(_) => return Err(failed(ErrorKind::AddrInUse.into())),
        // A socket that nobody listens on was left by a relay that was killed.
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(&path).map_err(failed)?,
        Err(_) => {}
    }
    let listener = UnixListener::bind(&path).map_err(failed)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(Listener::Unix(listener, path))
}

impl Listener {
    /// What a client dials, with the port that the system chose.
    pub fn origin(&self) -> String {
        match self {
            Self::Tcp(listener) => listener.local_addr().map_or_else(|_| "-".into(), |address| format!("http://{address}")),
            Self::Unix(_, path) => format!("unix:{}", path.display()),
        }
    }

    /// The origins that a relay answers to when none are configured.
    fn origins(&self) -> Vec<String> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map_or_else(|_| Vec::new(), own_origins),
            Self::Unix(..) => vec![self.origin()],
        }
    }

    fn is_local(&self) -> bool {
        match self {
            Self::Tcp(listener) => listener.local_addr().is_ok_and(|address| address.ip().is_loopback()),
            Self::Unix(..) => true,
        }
    }

    async fn accept(&self) -> io::Result<(Box<dyn accept::Duplex>, Option<IpAddr>)> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // Replies are whole; waiting to fill a packet only delays them.
                let _ = stream.set_nodelay(true);
                (Box::new(stream), Some(address.ip()))
            }
            Self::Unix(listener, _) => (Box::new(listener.accept().await?.0), None),
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            let _ = fs::remove_file(path);
        }
    }
}

/// Opens the relay of a data directory, under its lock; makes what is not there yet. With a listener, for serving.
pub async fn open(config: &Config, listener: Option<&Listener>) -> Result<Opened, ServerError> {
    open_with(config, listener, Clock::system()).await
}

/// [`open`] by another clock than the system's: one that a test advances.
pub async fn open_with(config: &Config, listener: Option<&Listener>, clock: Clock) -> Result<Opened, ServerError> {
    let data = &config.server.data;
    make_directory(data)?;
    let lock = lock(data)?;
    let store = SqliteStore::open(sqlite::Settings {
        disk_bytes_max: config.server.disk_bytes_max,
        mailbox_envelopes_max: config.limits.mailbox_envelopes_max,
        mailbox_bytes_max: config.limits.mailbox_bytes_max,
        repeats_secs: config.limits.repeats_secs,
        repeats_max: config.limits.repeats_max as usize,
        on_failure: Arc::new(fail_stop),
        ..sqlite::Settings::new(data)
    })?;
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
        relay_key: relay_key(data)?,
        room: room(data.clone(), config.server.disk_free_bytes_min),
        purge_overdue_secs: 3 * jobs::period_secs(&config.retention.purge_schedule, 0).max(PURGE_OVERDUE_SECS_MIN / 3),
    };
    let relay = Relay::open(settings, Arc::new(store), clock, random::system()).await?;
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
    config.server.data.join(DATABASE)
}

/// When the schedule next runs; none when it is no schedule, or never runs.
pub fn next_run(schedule: &str, now: u64) -> Option<u64> {
    jobs::next_run(schedule, now).ok().flatten()
}

fn own_origins(address: SocketAddr) -> Vec<String> {
    let port = address.port();
    if !address.ip().is_loopback() {
        return vec![format!("http://{address}")];
    }
    let mut origins = vec![format!("http://{address}")];
    for name in ["127.0.0.1", "[::1]", "localhost"] {
        let origin = format!("http://{name}:{port}");
        if !origins.contains(&origin) {
            origins.push(origin);
        }
    }
    origins
}

/// The `Host`s of an origin: with its port, and without where it is the scheme's own.
fn hosts(origin: &str) -> Vec<String> {
    let Some((scheme, host)) = origin.split_once("://") else { return Vec::new() };
    let mut hosts = vec![host.to_string()];
    let port = if scheme == "https" { ":443" } else { ":80" };
    hosts.extend(host.strip_suffix(port).map(str::to_string));
    hosts
}

fn make_directory(path: &Path) -> Result<(), ServerError> {
    if path.is_dir() {
        return Ok(());
    }
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| ServerError::File { path: path.into(), error })
}

fn lock(data: &Path) -> Result<File, ServerError> {
    let path = data.join(LOCK);
    let failed = |error| ServerError::File { path: path.clone(), error };
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(ServerError::Running(data.into())),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// The relay's key: read, or made once and put on disk before it is used.
fn relay_key(data: &Path) -> Result<sign::KeyPair, ServerError> {
    let path = data.join(RELAY_KEY);
    let failed = |error| ServerError::File { path: path.clone(), error };
    match fs::read_to_string(&path).map(Zeroizing::new) {
        Ok(text) => {
            let seed =
                decode(text.trim()).ok().map(Zeroizing::new).and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok());
            let seed = seed.map(Zeroizing::new).ok_or_else(|| ServerError::RelayKey(path.clone()))?;
            Ok(sign::KeyPair::from_seed(&seed))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let key = sign::KeyPair::generate();
            let text = Zeroizing::new(format!("{}\n", encode(&*key.seed())));
            let temporary = data.join(format!("{RELAY_KEY}.new"));
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary).map_err(failed)?;
            file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
            fs::rename(&temporary, &path).map_err(failed)?;
            File::open(data).and_then(|directory| directory.sync_all()).map_err(failed)?;
            Ok(key)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Whether an origin is dialled on its own machine.
fn is_loopback(origin: &str) -> bool {
    let rest = origin.split_once("://").map_or("", |(_, rest)| rest);
    let host = rest.rsplit_once(':').map_or(rest, |(host, _)| host);
    host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether the disk has more than the least that must stay free. A disk that cannot be asked is not held to be full.
fn room(data: PathBuf, free_bytes_min: u64) -> Arc<dyn Fn() -> bool + Send + Sync> {
    Arc::new(move || {
        rustix::fs::statvfs(&data).map_or(true, |disk| disk.f_bavail.saturating_mul(disk.f_frsize) >= free_bytes_min)
    })
}

/// After a failed fsync nothing that the process says can be believed: it ends at once, and answers nobody.
fn fail_stop(what: &str) {
    // When stderr is gone too, the exit code says it.
    let _ = writeln!(io::stderr(), "restante: error: {what}; the relay stops, so that it promises nothing it cannot keep");
    let _ = writeln!(
        io::stderr(),
        "hint: look at the disk, run `restante check`, then start it again; senders repeat what had no answer"
    );
    #[expect(clippy::disallowed_methods, reason = "fail-stop: no reply may leave after this")]
    std::process::exit(FAIL_STOP);
}

const DATABASE: &str = "restante.db";
const LOCK: &str = "restante.lock";
const RELAY_KEY: &str = "relay.key";
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
