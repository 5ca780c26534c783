//! `restante healthcheck`: asks a relay's `/readyz`, for containers and monitoring. It never starts anything.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use clap::Args;
use hyper::Method;
use tokio::net::{TcpStream, UnixStream};

use super::config::ConfigArgs;
use super::failure::Failure;
use super::output;
use crate::admin::{Answer, ask};
use crate::config::Config;

/// `restante healthcheck`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exits with 0 when the relay is ready and with 1 when it isn't or cannot be asked.\n\nExample, in a Dockerfile:\n  \
HEALTHCHECK CMD [\"restante\", \"healthcheck\"]"
)]
pub(super) struct HealthcheckArgs {
    /// Ask here (http://ADDRESS:PORT or unix:PATH) instead of where the configuration says that the relay listens.
    #[arg(long)]
    url: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) async fn run(args: HealthcheckArgs) -> anyhow::Result<u8> {
    let (listen, host) = match args.url {
        Some(url) => named(&url)?,
        None => configured(&args.config.load()?.config),
    };
    let answer = tokio::time::timeout(TIMEOUT, readyz(&listen, &host))
        .await
        .map_err(|_| Failure::new(format!("{listen} did not answer within {} s", TIMEOUT.as_secs())))?
        .map_err(|cause| Failure::new(format!("cannot ask {listen}: {cause}")))?;
    let body = String::from_utf8_lossy(&answer.body);
    if answer.status == 200 {
        output::print(body.trim_end())?;
        return Ok(0);
    }
    Err(Failure::new(format!("{listen} is not ready (status {}): {}", answer.status, body.trim_end())).into())
}

/// Where to connect, as the configuration would write it, and which `Host` to name.
fn named(url: &str) -> Result<(String, String), Failure> {
    if url.starts_with("unix:") {
        return Ok((url.to_string(), "localhost".into()));
    }
    let wrong = || {
        Failure::new(format!("cannot ask {url}"))
            .hint("give http://ADDRESS:PORT or unix:PATH; behind a proxy, ask the relay itself")
            .code(super::failure::USAGE)
    };
    let host = url.strip_prefix("http://").ok_or_else(wrong)?.trim_end_matches('/');
    if host.is_empty() || host.contains('/') {
        return Err(wrong());
    }
    Ok((host.to_string(), host.to_string()))
}

fn configured(config: &Config) -> (String, String) {
    let listen = match config.server.listen.parse::<SocketAddr>() {
        // A relay on every address is asked on the loopback one.
        Ok(address) if address.ip().is_unspecified() => {
            let ip = if address.is_ipv4() { IpAddr::from(Ipv4Addr::LOCALHOST) } else { Ipv6Addr::LOCALHOST.into() };
            SocketAddr::new(ip, address.port()).to_string()
        }
        _ => config.server.listen.clone(),
    };
    let origin = config.server.origins.first().and_then(|origin| origin.split_once("://"));
    let host = match origin {
        Some((_, host)) => host.to_string(),
        None if listen.starts_with("unix:") => "localhost".into(),
        None => listen.clone(),
    };
    (listen, host)
}

async fn readyz(listen: &str, host: &str) -> Result<Answer, String> {
    match listen.strip_prefix("unix:") {
        Some(path) => {
            let stream = UnixStream::connect(path).await.map_err(|error| error.to_string())?;
            ask(stream, host, Method::GET, "/readyz", Vec::new()).await
        }
        None => {
            let stream = TcpStream::connect(listen).await.map_err(|error| error.to_string())?;
            ask(stream, host, Method::GET, "/readyz", Vec::new()).await
        }
    }
}

/// Below the 30 seconds that Docker gives by default.
const TIMEOUT: Duration = Duration::from_secs(5);
