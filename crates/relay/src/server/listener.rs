//! Where a relay listens, and under which names it is dialled there.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, UnixListener};

use super::accept::Duplex;
use super::error::ServerError;

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
        // A socket that nobody listens on was left by a relay that was killed. Any other file refuses a connection too, and
        // stays.
        Err(error) if error.kind() == ErrorKind::ConnectionRefused && is_socket(&path) => {
            fs::remove_file(&path).map_err(failed)?;
        }
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
    pub(super) fn origins(&self) -> Vec<String> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map_or_else(|_| Vec::new(), own_origins),
            Self::Unix(..) => vec![self.origin()],
        }
    }

    pub(super) fn is_local(&self) -> bool {
        match self {
            Self::Tcp(listener) => listener.local_addr().is_ok_and(|address| address.ip().is_loopback()),
            Self::Unix(..) => true,
        }
    }

    pub(super) async fn accept(&self) -> io::Result<(Box<dyn Duplex>, Option<IpAddr>)> {
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

/// The `Host`s of an origin: with its port, and without where it is the scheme's own.
pub(super) fn hosts(origin: &str) -> Vec<String> {
    let Some((scheme, host)) = origin.split_once("://") else { return Vec::new() };
    let mut hosts = vec![host.to_string()];
    let port = if scheme == "https" { ":443" } else { ":80" };
    hosts.extend(host.strip_suffix(port).map(str::to_string));
    hosts
}

/// Whether an origin is dialled on its own machine.
pub(super) fn is_loopback(origin: &str) -> bool {
    let rest = origin.split_once("://").map_or("", |(_, rest)| rest);
    let host = rest.rsplit_once(':').map_or(rest, |(host, _)| host);
    host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
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

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_in_the_place_of_a_socket_stays_and_a_dead_relays_socket_goes() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("relay.sock");
        let listen = format!("unix:{}", path.display());
        fs::write(&path, "somebody's file").expect("a file");
        assert!(bind(&listen).await.is_err());
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "somebody's file");

        fs::remove_file(&path).expect("removed");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket that nobody listens on any more"));
        let listener = bind(&listen).await.expect("a listener");
        assert!(is_socket(&path));
        assert!(bind(&listen).await.is_err(), "somebody answers there");
        drop(listener);
        assert!(!path.exists());
    }
}
