//! What a send is measured against: the HTTP framework alone. It reads the same body, does nothing, and answers as a relay
//! does. It runs in a process of its own, as the relay does: `restante bench baseline`, which only the bench itself calls.

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::net::TcpListener;
use warp::Filter;
use warp::http::StatusCode;

use crate::cli::output;
use crate::protocol::envelopes::SendReply;

/// Serves until it is killed.
pub(super) async fn run() -> anyhow::Result<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    output::print_json(&json!({"listening": format!("http://{}", listener.local_addr()?)}))?;
    let route = warp::path!("v1" / "envelopes").and(warp::post()).and(warp::body::bytes()).map(|_| {
        let reply = SendReply { expires_at: 1_800_000_000, full: Vec::new() };
        warp::reply::with_status(warp::reply::json(&reply), StatusCode::ACCEPTED)
    });
    let service = TowerToHyperService::new(warp::service(route));
    // Without what the relay's accept loop adds.
    loop {
        let stream = TokioIo::new(listener.accept().await?.0);
        tokio::spawn(http1::Builder::new().serve_connection(stream, service));
    }
}
