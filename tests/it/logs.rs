//! What the relay's log says of real traffic: at the finest level routes, statuses, durations and nobody's names; at the
//! default level no line a request.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use restante::client::{Client, Door, Options, Origin};
use restante::protocol::bytes::encode;
use rustix::process::Signal;

use crate::process::{Serving, restante, started};

/// A word that stands wherever a client can put one.
const CANARY: &str = "CANARY-7e3a91";

async fn person(relay: &Serving, name: &str) -> Client {
    let origin = Origin::parse(relay.banner["listening"].as_str().expect("an origin")).expect("an origin");
    Client::init(&relay.directory.join(name), Options::new(origin)).await.expect("an account").0
}

/// Sends bytes on a connection of their own and reads until its end.
fn raw(relay: &Serving, request: &str) -> String {
    let mut stream = TcpStream::connect(relay.address()).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a bound");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).expect("a reply");
    String::from_utf8_lossy(&reply).into_owned()
}

/// Runs of characters that could be bytes of ours in base64url: an envelope id has 22, everything else more.
fn suspicious(log: &str) -> Vec<&str> {
    let runs = log.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'));
    runs.filter(|run| {
        let mixed = run.bytes().any(|byte| byte.is_ascii_uppercase()) && run.bytes().any(|byte| byte.is_ascii_lowercase());
        run.len() >= 22 && mixed
    })
    .collect()
}

/// The log of people's traffic and of a stranger's bad requests; nobody and nothing of theirs is in it. At the default level
/// without one.
async fn logged(directory: &Path, level: Option<&str>, format: &str) -> String {
    let path = directory.join("log");
    let mut command = restante(directory, &["serve", "--json", "--listen", "127.0.0.1:0"]);
    command.envs(level.map(|level| ("RESTANTE_LOG", level))).env("RESTANTE_LOG__FORMAT", format);
    let mut relay = started(directory, command.stderr(File::create(&path).expect("a file")));

    let (mut bob, mut alice) = (person(&relay, "bob").await, person(&relay, "alice").await);
    let link = bob.invite(None).await.expect("a link");
    let Door::Once { once, contact } = &link.door else { panic!("a link for one person") };
    alice.add("bob", &link).await.expect("added");
    alice.send("bob", CANARY).await.expect("sent");
    for event in bob.receive(0).await.expect("events") {
        bob.shown(&event).await.expect("kept");
    }
    bob.acknowledge().await.expect("acknowledged");

    let bearer = encode(&[7; 32]);
    let head = format!("Host: {CANARY}\r\nUser-Agent: {CANARY}\r\nX-Forwarded-For: 198.51.100.77\r\nConnection: close");
    let json = "Content-Type: application/json";
    for (request, status) in [
        (format!("GET /v1/{CANARY}?token={bearer} HTTP/1.1\r\n{head}\r\n\r\n"), 404),
        (format!("GET /v1/info?token={bearer} HTTP/1.1\r\n{head}\r\n\r\n"), 400),
        (format!("{} /v1/info HTTP/1.1\r\n{head}\r\n\r\n", CANARY.replace('-', "")), 405),
        (format!("GET /v1/envelopes HTTP/1.1\r\n{head}\r\nAuthorization: Bearer {bearer}\r\n\r\n"), 401),
        (format!("GET /v1/envelopes?after={bearer} HTTP/1.1\r\n{head}\r\n\r\n"), 401),
        (format!("POST /v1/keys HTTP/1.1\r\n{head}\r\n{json}\r\nContent-Length: 55\r\n\r\n{{\"token\":\"{bearer}\"}}"), 404),
        (format!("POST /v1/keys HTTP/1.1\r\n{head}\r\n{json}\r\nContent-Length: 19\r\n\r\n{{\"{CANARY}\":1}}"), 400),
        (format!("POST /v1/keys HTTP/1.1\r\n{head}\r\nContent-Type: {CANARY}\r\nContent-Length: 2\r\n\r\n{{}}"), 415),
        (format!("{CANARY}\r\n\r\n"), 400),
    ] {
        let request = request.replace("Content-Length: 55", &format!("Content-Length: {}", 12 + bearer.len()));
        let reply = raw(&relay, &request);
        assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {reply}");
        assert!(!reply.contains(CANARY), "no value comes back: {reply}");
    }
    relay.signal(Signal::TERM);
    assert_eq!(relay.ended().0.code(), Some(0));

    let log = std::fs::read_to_string(&path).expect("the log");
    let address = relay.address();
    let port = address.rsplit_once(':').expect("a port").1;
    for (what, secret) in [
        ("a canary", CANARY.to_string()),
        ("a canary that was a method", CANARY.replace('-', "")),
        ("an address", "127.0.0.1".into()),
        ("a forwarded address", "198.51.100".into()),
        ("the port", format!(":{port}")),
        ("a bearer", bearer),
        ("an account", alice.account_id().encode()),
        ("a device", bob.device_id().encode()),
        ("a token", contact.encode()),
        ("a token", once.encode()),
        ("a token's hash", contact.hash().encode()),
    ] {
        let line = log.lines().find(|line| line.contains(&secret));
        assert_eq!(line, None, "{what} stands in the log");
    }
    assert_eq!(suspicious(&log), [""; 0]);
    log
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_names_routes_and_nobody() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = logged(directory.path(), Some("trace"), "text").await;
    for said in ["/v1/envelopes/ack", "/v1/auth/login", "POST", "202", "answered", "stopping"] {
        assert!(log.contains(said), "{said} is not in the log:\n{log}");
    }

    let directory = tempfile::tempdir().expect("a directory");
    // As `relay.toml` has it.
    let log = logged(directory.path(), Some("info,restante_relay::server=debug"), "json").await;
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let answered = lines.iter().filter(|line| line["message"] == "answered");
    let sends = answered.filter(|line| line["route"] == "/v1/envelopes" && line["status"] == 202).count();
    assert_eq!(sends, 3, "a hello, a text and a welcome were sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_no_request_leaves_a_line() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = logged(directory.path(), None, "json").await;
    assert!(!log.contains("/v1/") && !log.contains("answered"), "a request is in the log:\n{log}");
    let mut said = BTreeSet::new();
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let message = line["message"].as_str().expect("a message").to_string();
        // What comes with each of some thirty requests would come twice, whatever its words.
        assert!(message == "purged" || said.insert(message), "twice: {line}");
    }
    assert!(said.contains("stopping"), "there is a log: {said:?}");
}
