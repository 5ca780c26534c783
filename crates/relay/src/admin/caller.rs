//! The calling end: one HTTP/1.1 request over a stream that is already open, and the admin calls made of it.

use std::path::Path;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;

use super::{AdminError, Result};
use crate::protocol::Problem;

/// A reply, whole.
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Bytes,
}

/// Sends one request and reads the reply, of at most 16 MiB. Sets no time-out.
pub async fn ask<S>(stream: S, host: &str, method: Method, path: &str, body: Vec<u8>) -> std::result::Result<Answer, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, host)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| error.to_string())?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let driver = tokio::spawn(connection);
    let reply = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = reply.status().as_u16();
    let body = Limited::new(reply.into_body(), ANSWER_BYTES_MAX).collect().await.map_err(|error| error.to_string())?;
    driver.abort();
    Ok(Answer { status, body: body.to_bytes() })
}

pub(super) async fn get<T: DeserializeOwned>(socket: &Path, path: &str) -> Result<T> {
    call(socket, Method::GET, path, Vec::new()).await
}

pub(super) async fn post<T: DeserializeOwned>(socket: &Path, path: &str, body: &impl Serialize) -> Result<T> {
    let body = serde_json::to_vec(body).expect("plain structs of numbers and strings have a JSON form");
    call(socket, Method::POST, path, body).await
}

async fn call<T: DeserializeOwned>(socket: &Path, method: Method, path: &str, body: Vec<u8>) -> Result<T> {
    let unreachable = |cause: String| AdminError::Unreachable { socket: socket.to_path_buf(), cause };
    let stream = UnixStream::connect(socket).await.map_err(|error| unreachable(error.to_string()))?;
    let answer = ask(stream, "relay", method, path, body).await.map_err(unreachable)?;
    if answer.status == 200 {
        return serde_json::from_slice(&answer.body).map_err(|error| unreachable(format!("it is of another version: {error}")));
    }
    match serde_json::from_slice::<Problem>(&answer.body) {
        Ok(problem) => Err(AdminError::Refused(problem.code, problem.detail)),
        Err(_) => Err(unreachable(format!("it answered with status {}", answer.status))),
    }
}

/// A hundred rows of every table are far less.
const ANSWER_BYTES_MAX: usize = 16 << 20;
