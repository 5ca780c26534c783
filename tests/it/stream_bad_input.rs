//! Bad input on streams, row by row, each over a real socket. After each the relay still serves, and has lost nothing.

use restante::protocol::DeliveryToken;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::support::person::{Person, receive, send, seqs};
use crate::support::raw::{Ask, ask};
use crate::support::relay::TestRelay;
use crate::support::ws::{Ws, upgrade};

struct Scene {
    relay: TestRelay,
    bo: Person,
    session: String,
    token: DeliveryToken,
    sent: u64,
}

impl Scene {
    async fn new() -> Self {
        let relay = TestRelay::start().await;
        let bo = Person::new();
        let session = bo.settle(&relay).await;
        let token = bo.token(&relay, &session).await;
        Self { relay, bo, session, token, sent: 0 }
    }

    /// One more goes in, and all that went in so far is still there.
    async fn still_well(&mut self, row: &str) {
        self.sent += 1;
        send(&self.relay, &self.bo.parcel(&self.token, u128::from(self.sent), 1_024)).await.ok(202);
        let there = seqs(&receive(&self.relay, &self.session, "").await);
        assert_eq!(there, (1..=self.sent).collect::<Vec<_>>(), "{row}");
    }
}

fn without(name: &str) -> Ask {
    let mut asked = ask("GET /v1/stream");
    for (known, value) in [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ] {
        if known != name {
            asked = asked.header(known, value);
        }
    }
    asked
}

#[tokio::test]
async fn upgrades_that_are_none() {
    let mut scene = Scene::new().await;
    for (row, asked, status, code) in [
        ("79 no version", without("Sec-WebSocket-Version"), 400, "bad_request"),
        ("79 version 12", without("Sec-WebSocket-Version").header("Sec-WebSocket-Version", "12"), 400, "bad_request"),
        ("79 two versions", upgrade().header("Sec-WebSocket-Version", "13"), 400, "bad_request"),
        ("79 no key", without("Sec-WebSocket-Key"), 400, "bad_request"),
        ("79 a short key", without("Sec-WebSocket-Key").header("Sec-WebSocket-Key", "AAAA"), 400, "bad_request"),
        ("79 no key at all", without("Sec-WebSocket-Key").header("Sec-WebSocket-Key", "?"), 400, "bad_request"),
        ("79 no upgrade", without("Upgrade"), 426, "upgrade_required"),
        ("79 h2c", without("Upgrade").header("Upgrade", "h2c"), 426, "upgrade_required"),
        ("79 no connection", without("Connection"), 426, "upgrade_required"),
    ] {
        let reply = scene.relay.answer(asked).await;
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{row}");
        if status == 400 {
            assert_eq!(reply.header("sec-websocket-version"), Some("13"), "{row}");
        }
        scene.still_well(row).await;
    }
    let token = ask(&format!("GET /v1/stream?token={}", scene.session));
    scene.relay.answer(token).await.refused(400, "bad_request");
    scene.still_well("54").await;
}

#[tokio::test]
async fn frames_that_are_not_the_clients() {
    let mut scene = Scene::new().await;
    let auth = json!({"type": "auth", "session": scene.session}).to_string();
    for (row, text) in [
        ("81 empty", String::new()),
        ("81 no JSON", "hello".into()),
        ("81 an array", format!("[{auth}]")),
        ("81 serde's array of a tagged object", format!("[\"auth\", {{\"session\": \"{}\"}}]", scene.session)),
        ("81 no type", "{}".into()),
        ("81 an unknown type", r#"{"type":"song"}"#.into()),
        ("81 a relay's frame", r#"{"type":"drained"}"#.into()),
        ("81 an unknown field", auth.replace('}', ",\"more\":1}")),
        ("81 a field twice", auth.replace('}', ",\"type\":\"auth\"}")),
        ("81 something after", format!("{auth} {auth}")),
        ("81 a seq with a sign", r#"{"type":"ack","through":"+5"}"#.into()),
        ("81 a broken number", r#"{"type":"ack","through":1.0}"#.into()),
        ("81 deep nesting", "{\"type\":".repeat(400)),
        ("81 before auth", r#"{"type":"ack","through":1}"#.into()),
    ] {
        let mut first = Ws::open(&scene.relay).await;
        first.text(&text).await;
        let (frames, code) = first.end().await;
        assert_eq!(
            (frames[0]["type"].as_str(), frames[0]["code"].as_str(), code),
            (Some("error"), Some("bad_request"), 4400),
            "{row}"
        );
        assert!(!frames[0].to_string().contains("song"), "{row}: no echo");
        if row != "81 before auth" {
            let mut later = Ws::by(&scene.relay, &scene.session).await;
            later.text(&text).await;
            assert_eq!(later.end().await.1, 4400, "{row}, after auth");
        }
        scene.still_well(row).await;
    }
    let mut binary = Ws::open(&scene.relay).await;
    binary.message(Message::binary(auth.clone().into_bytes())).await;
    assert_eq!(binary.end().await.1, 4400, "81 binary");
    scene.still_well("81 binary").await;

    for wrong in [scene.session.replace(&scene.session[..4], "AAAA"), "short".into()] {
        let mut ws = Ws::open(&scene.relay).await;
        ws.say(&json!({"type": "auth", "session": wrong})).await;
        let (frames, code) = ws.end().await;
        let expected = if wrong == "short" { ("bad_request", 4400) } else { ("no_session", 4401) };
        assert_eq!((frames[0]["code"].as_str().expect("a code"), code), expected, "42");
    }
    scene.still_well("42").await;
}

/// A client's frame to the byte, masked with zeros.
fn frame(first: u8, length: usize, masked: bool) -> Vec<u8> {
    let mask = if masked { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match length {
        0..=125 => bytes.push(mask | length as u8),
        126..=0xffff => {
            bytes.push(mask | 126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(mask | 127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    if masked {
        bytes.extend_from_slice(&[0; 4]);
    }
    bytes.resize(bytes.len() + length, b' ');
    bytes
}

#[tokio::test]
async fn bytes_that_are_not_websocket() {
    let mut scene = Scene::new().await;
    let (fin, more) = (0x80, 0x00);
    let endless: Vec<u8> =
        std::iter::once(frame(more | 1, 1_000, true)).chain((0..4).map(|_| frame(more, 1_000, true))).flatten().collect();
    for (row, bytes, code) in [
        ("82 a frame of 97 KiB", frame(fin | 1, 99_328, true), 1009),
        ("82 a frame of 4,097 bytes", frame(fin | 1, 4_097, true), 1009),
        ("82 a frame that says 2^63", [vec![fin | 1, 0xff], vec![0x7f; 8], vec![0; 4]].concat(), 1009),
        ("83 unmasked", frame(fin | 1, 10, false), 1002),
        ("84 fragments without end", endless, 1009),
        ("84 a continuation of nothing", frame(fin, 10, true), 1002),
        ("89 a reserved bit", frame(fin | 0x40 | 1, 10, true), 1002),
        ("89 a reserved opcode", frame(fin | 3, 10, true), 1002),
        ("89 a ping of 126 bytes", frame(fin | 9, 126, true), 1002),
        ("89 a ping in parts", frame(more | 9, 10, true), 1002),
        ("not UTF-8", [frame(fin | 1, 2, true)[..6].to_vec(), vec![0xff, 0xff]].concat(), 1007),
    ] {
        for by in [None, Some(scene.session.clone())] {
            let mut ws = match &by {
                None => Ws::open(&scene.relay).await,
                Some(session) => Ws::by(&scene.relay, session).await,
            };
            ws.bytes(&bytes).await;
            assert_eq!(ws.end().await.1, code, "{row}, logged in: {}", by.is_some());
        }
        scene.still_well(row).await;
    }
}

#[tokio::test]
async fn a_thousand_pings() {
    let mut scene = Scene::new().await;
    for by in [None, Some(scene.session.clone())] {
        let mut ws = match &by {
            None => Ws::open(&scene.relay).await,
            Some(session) => Ws::by(&scene.relay, session).await,
        };
        for _ in 0..1_000 {
            if !ws.message(Message::Ping(Vec::new().into())).await {
                break;
            }
        }
        assert_eq!(ws.end().await.1, 1008, "85");
    }
    scene.still_well("85").await;
}

#[tokio::test]
async fn who_is_silent_too_long() {
    let (relay, clock) = TestRelay::by_hand(|_| {}).await;
    let bo = Person::new();
    let session = bo.settle(&relay).await;
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(Ws::open(&relay).await);
    }
    let mut living = Ws::idle(&relay, &session).await;
    clock.advance(5);
    for ws in silent {
        assert_eq!(ws.end().await, (vec![], 4408), "80");
    }
    // One that answers pings stays for as long as it likes.
    for _ in 0..5 {
        clock.advance(30);
        living.ping().await;
        // The relay has the pong when it has what was said after it.
        living.say(&json!({"type": "ack", "through": 0})).await;
        assert_eq!(living.hear().await["type"], "acked");
    }
    // One that is dead is cut after 45 seconds.
    let mut dead = Ws::idle(&relay, &session).await;
    assert_eq!(living.end().await.1, 4409);
    clock.advance(30);
    dead.unread_ping().await;
    clock.advance(15);
    assert_eq!(dead.cut().await, 0, "86: cut, without a word that nobody would read");
}

#[tokio::test]
async fn who_never_reads_is_cut_and_loses_nothing() {
    let (relay, clock) = TestRelay::by_hand(|config| config.limits.stream_unacked_max = 1_000).await;
    let bo = Person::new();
    let session = bo.settle(&relay).await;
    let token = bo.token(&relay, &session).await;
    // 13 MB on the wire: more than two sockets' buffers.
    let count = 600;
    for id in 1..=count {
        send(&relay, &bo.parcel(&token, id, 16_384)).await.ok(202);
    }
    let slow = Ws::by(&relay, &session).await;
    // Until the relay's write stands still, advancing the clock does nothing; then 15 seconds end it.
    for _ in 0..100 {
        relay.answer(ask("GET /healthz")).await.ok(200);
        clock.advance(16);
    }
    let (frames, code) = slow.end().await;
    assert!(frames.len() < count as usize, "87: cut in the middle, after {} frames", frames.len());
    assert_eq!(code, 0);
    let mut all = Vec::new();
    let session = bo.login(&relay).await;
    while all.len() < count as usize {
        let after = all.last().copied().unwrap_or(0);
        let page = seqs(&receive(&relay, &session, &format!("?after={after}")).await);
        assert!(!page.is_empty(), "{} of {count}", all.len());
        all.extend(page);
    }
    assert_eq!(all, (1..=count as u64).collect::<Vec<_>>());
}
