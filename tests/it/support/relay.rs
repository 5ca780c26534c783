//! A whole relay in the test's process, on a port of the system's choice: the real accept loop, routes and database.

use std::net::SocketAddr;
use std::sync::Arc;

use restante::config::Config;
use restante::server;
use restante::service::clock::TimeSource;
use restante::service::{Clock, Relay};
use restante::store::sqlite::Settings;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::clock::ManualClock;
use super::raw::{Ask, Reply, Socket, ask, patiently};

/// A relay that serves.
pub(crate) struct TestRelay {
    pub(crate) relay: Relay,
    pub(crate) config: Config,
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<Result<(), server::ServerError>>,
    clock: Option<Arc<ManualClock>>,
    dir: TempDir,
}

impl TestRelay {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// With another configuration than the defaults.
    pub(crate) async fn with(set: impl FnOnce(&mut Config)) -> Self {
        Self::by(None, set).await
    }

    /// By a clock that stands still until it is advanced.
    pub(crate) async fn by_hand(set: impl FnOnce(&mut Config)) -> (Self, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new());
        (Self::by(Some(Arc::clone(&clock)), set).await, clock)
    }

    async fn by(clock: Option<Arc<ManualClock>>, set: impl FnOnce(&mut Config)) -> Self {
        let (config, dir) = Self::configured(set);
        Self::run(config, dir, clock).await
    }

    /// With other bounds of the store, too.
    pub(crate) async fn with_store(set: impl FnOnce(&mut Config), store: impl FnOnce(&mut Settings)) -> Self {
        let (config, dir) = Self::configured(set);
        Self::run_with(config, dir, None, store).await
    }

    fn configured(set: impl FnOnce(&mut Config)) -> (Config, TempDir) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut config = Config::default();
        config.server.data = dir.path().join("data");
        config.server.listen = "127.0.0.1:0".into();
        config.server.disk_free_bytes_min = 0;
        // A clock by hand gives no allowance back; a test of these limits sets them.
        config.limits.device_requests_per_min = 0;
        config.limits.token_sends_per_min = 0;
        set(&mut config);
        (config, dir)
    }

    pub(crate) async fn run(config: Config, dir: TempDir, clock: Option<Arc<ManualClock>>) -> Self {
        Self::run_with(config, dir, clock, |_| {}).await
    }

    async fn run_with(config: Config, dir: TempDir, clock: Option<Arc<ManualClock>>, set: impl FnOnce(&mut Settings)) -> Self {
        let listener = server::bind(&config.server.listen).await.expect("a port");
        let server::Listener::Tcp(tcp) = &listener else { unreachable!("it was bound to a port") };
        let address = tcp.local_addr().expect("an address");
        let source = clock.clone().map(|clock| clock as Arc<dyn TimeSource>);
        let time = source.map_or_else(Clock::system, Clock::new);
        let opened = server::open_with(&config, Some(&listener), time, set).await.expect("a relay");
        let relay = opened.relay.clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = config.clone();
        let served = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            server::serve(opened, &serving, listener, stopped, std::future::pending()).await
        });
        Self { relay, config, address, stop: Some(stop), served, clock, dir }
    }

    /// The origin that clients dial.
    pub(crate) fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Tells it to stop, and waits for nothing.
    pub(crate) fn begin_stop(&mut self) {
        drop(self.stop.take());
    }

    /// Stops it and waits until it has ended.
    pub(crate) async fn stop(mut self) -> (Config, TempDir, Option<Arc<ManualClock>>) {
        self.begin_stop();
        patiently(self.served).await.expect("no panic").expect("it ends well");
        (self.config, self.dir, self.clock)
    }

    /// The same data under a new process, as far as anybody can see: what lives in memory only is gone.
    pub(crate) async fn restart(self) -> Self {
        let (config, dir, clock) = self.stop().await;
        Self::run(config, dir, clock).await
    }

    /// A connection to it.
    pub(crate) async fn socket(&self) -> Socket {
        Socket::open(self.address).await
    }

    /// The reply to a request on a connection of its own.
    pub(crate) async fn answer(&self, ask: Ask) -> Reply {
        self.raw(&ask.bytes()).await.expect("a reply")
    }

    /// A long poll that is known to wait: it has ended one before it, whichever of the two came first.
    pub(crate) async fn poll(&self, session: &str) -> Socket {
        let wait = ask("GET /v1/envelopes?wait=60").by(session).bytes();
        let (mut one, mut other) = (self.socket().await, self.socket().await);
        one.send(&wait).await;
        other.send(&wait).await;
        let (ended, waiting) = tokio::select! {
            reply = one.reply() => (reply, other),
            reply = other.reply() => (reply, one),
        };
        ended.expect("a reply").refused(409, "superseded");
        waiting
    }

    /// The reply to bytes on a connection of their own; none when the relay hangs up without one.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> Option<Reply> {
        let mut socket = self.socket().await;
        socket.send(bytes).await;
        socket.reply().await
    }
}
