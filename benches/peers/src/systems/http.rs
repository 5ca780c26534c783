//! As much of HTTP/1.1 as a relay and the bare framework say.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::wire::Wire;

/// A POST of JSON, whole.
pub(super) fn post(at: SocketAddr, path: &str, session: Option<&str>, body: &impl Serialize) -> anyhow::Result<Vec<u8>> {
    let body = serde_json::to_vec(body)?;
    let session = session.map_or_else(String::new, |session| format!("Authorization: Bearer {session}\r\n"));
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {at}\r\n{session}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    Ok([head.into_bytes(), body].concat())
}

/// A GET, whole.
pub(super) fn get(at: SocketAddr, path: &str, session: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {at}\r\nAuthorization: Bearer {session}\r\n\r\n").into_bytes()
}

/// A whole reply: its status, where its body begins and where it ends; none while it is not whole.
pub(super) fn reply(bytes: &[u8]) -> anyhow::Result<Option<(u16, usize, usize)>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&bytes[..end])?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("not an HTTP reply")?.parse()?;
    let mut headers = lines.filter_map(|line| line.split_once(':'));
    let length = headers.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: usize = length.map_or(Ok(0), |(_, value)| value.trim().parse())?;
    let whole = end + 4 + length;
    Ok((bytes.len() >= whole).then_some((status, end + 4, whole)))
}

/// A whole reply's body and where it ends; none while it is not whole, an error where it has another status.
pub(super) fn expect(bytes: &[u8], status: u16) -> anyhow::Result<Option<(&[u8], usize)>> {
    let Some((found, begin, end)) = reply(bytes)? else { return Ok(None) };
    ensure!(found == status, "answered {found}: {}", String::from_utf8_lossy(&bytes[begin..end]));
    Ok(Some((&bytes[begin..end], end)))
}

/// Asks once, before the load.
pub(super) fn ask<T: DeserializeOwned>(wire: &mut Wire, status: u16, request: &[u8]) -> anyhow::Result<T> {
    wire.say(request)?;
    wire.hear(|bytes| match expect(bytes, status)? {
        Some((body, end)) => Ok(Some((serde_json::from_slice(body)?, end))),
        None => Ok(None),
    })
}
