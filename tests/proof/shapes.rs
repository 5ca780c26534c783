//! Bytes that are no request of this protocol, or more than one in the disguise of one. Each gets one clean refusal, or its
//! connection is closed; what is hidden behind it is never answered.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

/// What a shape may get.
enum Due {
    /// One reply of such a status, or none.
    Refused(&'static [u16]),
    /// No reply.
    Closed,
    /// As many good replies, in order, and nothing else.
    Answered(usize),
}

use Due::{Answered, Closed, Refused};

/// A second request, which nobody made.
const HIDDEN: &str = "GET /v1/info HTTP/1.1\r\nHost: a\r\n\r\n";

fn shapes() -> Vec<(&'static str, Vec<u8>, Due)> {
    let head =
        |more: &str| format!("POST /v1/auth/challenge HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{more}\r\n\r\n");
    let hiding = |more: &str, body: &str| [head(more).as_bytes(), body.as_bytes(), HIDDEN.as_bytes()].concat();
    let get = |more: &str| format!("GET /healthz HTTP/1.1\r\nHost: a\r\n{more}\r\n").into_bytes();
    let hello = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 512]].concat();
    let frames = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
    vec![
        ("a length and a coding", hiding("Content-Length: 4\r\nTransfer-Encoding: chunked", "0\r\n\r\n"), Refused(&[400, 411])),
        ("a coding and a length", hiding("Transfer-Encoding: chunked\r\nContent-Length: 6", "0\r\n\r\n"), Refused(&[400, 411])),
        ("a coding alone", hiding("Transfer-Encoding: chunked", "0\r\n\r\n"), Refused(&[411])),
        ("an unknown coding", hiding("Transfer-Encoding: xchunked", "0\r\n\r\n"), Refused(&[400, 411])),
        ("a coding behind a tab", hiding("Transfer-Encoding:\tchunked", "0\r\n\r\n"), Refused(&[400, 411])),
        ("two codings", hiding("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", "0\r\n\r\n"), Refused(&[400, 411])),
        ("two lengths", hiding("Content-Length: 0\r\nContent-Length: 36", ""), Refused(&[400])),
        ("a list of lengths", hiding("Content-Length: 0, 36", ""), Refused(&[400])),
        ("a length with a sign", hiding("Content-Length: +0", ""), Refused(&[400])),
        ("a negative length", hiding("Content-Length: -1", ""), Refused(&[400])),
        ("a length beyond numbers", hiding("Content-Length: 18446744073709551616", ""), Refused(&[400])),
        ("a length in hexadecimal", hiding("Content-Length: 0x24", ""), Refused(&[400])),
        ("a length too large", hiding("Content-Length: 65537", ""), Refused(&[413])),
        ("no length", hiding("Accept: a", ""), Refused(&[411])),
        ("a body where there is none", [get("Content-Length: 36\r\n"), HIDDEN.into()].concat(), Refused(&[400])),
        ("a folded header", get("X: a\r\n b\r\n"), Refused(&[400])),
        ("a folded length", hiding("Content-Length:\r\n 0", ""), Refused(&[400])),
        ("a space before the colon", hiding("Content-Length : 0", ""), Refused(&[400])),
        ("a header without a name", get(": a\r\n"), Refused(&[400])),
        ("a header without a colon", get("Host\r\n"), Refused(&[400])),
        ("a NUL", get("X: a\0b\r\n"), Refused(&[400])),
        ("a CR alone", get("X: a\rContent-Length: 36\r\n"), Refused(&[400])),
        ("two hosts", get("Host: b\r\n"), Refused(&[400])),
        ("no host", b"GET /healthz HTTP/1.1\r\n\r\n".to_vec(), Refused(&[400])),
        ("a space in the path", b"GET /healthz /v1/info HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), Refused(&[400])),
        ("another version", b"GET /healthz HTTP/3.0\r\nHost: a\r\n\r\n".to_vec(), Refused(&[400, 505])),
        ("HTTP/0.9", b"GET /healthz\r\n\r\n".to_vec(), Refused(&[400])),
        ("a tunnel", b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(), Refused(&[400, 404, 405])),
        (
            "an upgrade to HTTP/2",
            get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"),
            Answered(1),
        ),
        ("HTTP/2's first words", frames, Refused(&[400, 505])),
        ("TLS", hello, Refused(&[400])),
        ("SSH", b"SSH-2.0-OpenSSH_9.9\r\n\r\n".to_vec(), Refused(&[400])),
        ("noise", (0..2_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect(), Refused(&[400])),
        ("nothing but line ends", b"\r\n".repeat(40), Closed),
        ("65 headers", get(&"X: a\r\n".repeat(65)), Refused(&[431])),
        ("a header of 20,000 bytes", get(&format!("X: {}\r\n", "a".repeat(20_000))), Refused(&[431])),
        (
            "a path of 2,000 bytes",
            format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(2_000)).into_bytes(),
            Refused(&[414]),
        ),
        // One request each: what hyper reads, a proxy in front must read alike.
        ("line feeds alone", b"GET /healthz HTTP/1.1\nHost: a\n\n".to_vec(), Answered(1)),
        ("a pipeline", get("").repeat(50), Answered(50)),
        ("a pipeline with a bad end", [get("").repeat(3), b"\0\0\r\n\r\n".to_vec()].concat(), Answered(3)),
    ]
}

/// Sends each on a connection of its own, all at once, and a fresh request after them; gives how many there are.
pub(crate) fn run(
    runtime: &Runtime,
    relay: SocketAddr,
    mut fresh: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<usize> {
    let shapes = shapes();
    let replies = runtime.block_on(async {
        let asking: Vec<_> = shapes.iter().map(|(_, bytes, _)| tokio::spawn(ask(relay, bytes.clone()))).collect();
        let mut replies = Vec::new();
        for reply in asking {
            replies.push(reply.await.expect("nothing panics there"));
        }
        replies
    });
    for ((name, _, due), reply) in shapes.iter().zip(replies) {
        judge(&reply.with_context(|| format!("{name}: not closed"))?, due).with_context(|| format!("a shape: {name}"))?;
        fresh().with_context(|| format!("after a shape: {name}"))?;
    }
    Ok(shapes.len())
}

/// Everything that comes until the relay closes.
async fn ask(relay: SocketAddr, bytes: Vec<u8>) -> Option<Vec<u8>> {
    let mut reply = Vec::new();
    let asked = async {
        let mut stream = TcpStream::connect(relay).await?;
        // It may be refused before it is all there.
        let _ = stream.write_all(&bytes).await;
        stream.read_to_end(&mut reply).await
    };
    let _ended = tokio::time::timeout(PATIENCE, asked).await.ok()?;
    Some(reply)
}

fn judge(reply: &[u8], due: &Due) -> anyhow::Result<()> {
    let text = String::from_utf8_lossy(reply);
    let statuses: Vec<u16> = text
        .match_indices("HTTP/1.1 ")
        .filter_map(|(at, found)| text.get(at + found.len()..)?.get(..3)?.parse().ok())
        .collect();
    ensure!(!text.contains("relay_key"), "what was hidden behind it was answered");
    match due {
        Closed => ensure!(reply.is_empty(), "it was answered {statuses:?}"),
        Refused(with) => {
            ensure!(statuses.len() <= 1, "it was answered {} times: {statuses:?}", statuses.len());
            ensure!(statuses.iter().all(|status| with.contains(status)), "it was answered {statuses:?}");
            ensure!(reply.is_empty() || statuses.len() == 1, "it was answered, and not by HTTP");
        }
        Answered(count) => {
            let good = statuses.iter().filter(|status| **status == 200).count();
            ensure!(good == *count && statuses.len() <= count + 1, "it was answered {statuses:?}");
        }
    }
    Ok(())
}

/// Beyond every deadline.
const PATIENCE: Duration = Duration::from_secs(45);
