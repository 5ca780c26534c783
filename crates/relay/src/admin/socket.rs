//! The listening end of `admin.sock`. Whoever can open the file is the operator: there is no other login.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::UnixListener;
use tokio::sync::Semaphore;

use super::{SOCKET, routes};
use crate::service::Relay;

/// Listens in the data directory. The caller holds the directory's lock, so that a socket lying there is a dead relay's.
pub fn bind(data: &Path) -> io::Result<UnixListener> {
    let path = data.join(SOCKET);
    if std::fs::symlink_metadata(&path).is_ok_and(|found| found.file_type().is_socket()) {
        std::fs::remove_file(&path)?;
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers until the relay stops, and takes the socket away. What is still running then ends with the process.
pub async fn serve(listener: UnixListener, relay: Relay) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let service = TowerToHyperService::new(warp::service(routes::routes(relay.clone())));
    loop {
        let accept = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, stream) = tokio::select! {
            (permit, accepted) = accept => match accepted {
                Ok((stream, _)) => (permit, stream),
                Err(error) => {
                    tracing::warn!(%error, "the admin socket could not accept a connection");
                    // Out of descriptors, most likely: waiting a moment is better than spinning.
                    relay.clock().sleep_until(relay.clock().elapsed() + ACCEPT_PAUSE).await;
                    continue;
                }
            },
            () = relay.stopped() => break,
        };
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).keep_alive(false);
        let connection = http.serve_connection(TokioIo::new(stream), service.clone());
        tokio::spawn(async move {
            let _permit = permit;
            // A caller that hung up is no news.
            let _ = connection.await;
        });
    }
    // Now, because the lock is still held: a little later it could be the next relay's.
    if let Some(path) = listener.local_addr().ok().as_ref().and_then(|address| address.as_pathname()) {
        let _ = std::fs::remove_file(path);
    }
}

/// An operator, his scripts and his monitoring at once.
const CONNECTIONS_MAX: usize = 16;
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
