//! Polls that wait give their connection's buffers up, and nobody can tell: the reply, what comes after it on the connection
//! and what a stop, a hang-up or the end of a session do are what they are for a reply that is there at once.

use std::sync::Arc;
use std::time::Duration;

use restante::protocol::{DeliveryToken, ErrorCode, Seq};
use serde_json::json;

use crate::support::clock::ManualClock;
use crate::support::person::{Person, acknowledge, send, seqs};
use crate::support::raw::{Ask, Socket, ask, patiently};
use crate::support::relay::TestRelay;

/// A relay by hand, and a person with a session and a token there.
struct Scene {
    relay: TestRelay,
    clock: Arc<ManualClock>,
    bo: Person,
    session: String,
    token: DeliveryToken,
}

impl Scene {
    async fn new() -> Self {
        let pages = |config: &mut restante::config::Config| config.server.web_origins = vec!["https://app.example:443".into()];
        let (relay, clock) = TestRelay::by_hand(pages).await;
        let bo = Person::new();
        let session = bo.settle(&relay).await;
        let token = bo.token(&relay, &session).await;
        Self { relay, clock, bo, session, token }
    }

    fn poll(&self) -> Ask {
        ask("GET /v1/envelopes?wait=60").by(&self.session)
    }

    async fn waits(&self, socket: &mut Socket, bytes: &[u8]) {
        waits(&self.relay, &self.session, socket, bytes).await;
    }

    async fn send(&self, id: u128) {
        send(&self.relay, &self.bo.parcel(&self.token, id, 1_024)).await.ok(202);
    }
}

/// Sends bytes in which a poll is the last that is answered, and comes back when it stands at the counter.
async fn waits(relay: &TestRelay, session: &str, socket: &mut Socket, bytes: &[u8]) {
    let session = relay.relay.authenticate(&session.parse().expect("a bearer")).expect("a session");
    let mut before = relay.relay.subscribe(&session);
    socket.send(bytes).await;
    let ended = patiently(before.next_batch(Seq(1_000), 1, Duration::MAX)).await;
    assert_eq!(ended.expect_err("the poll took its place").code(), ErrorCode::Superseded);
}

/// A healthy reply, and the connection lives on.
async fn healthy(socket: &mut Socket) {
    socket.send(&ask("GET /healthz").bytes()).await;
    assert_eq!(socket.reply().await.expect("a reply").status, 200);
}

#[tokio::test]
async fn one_connection_waits_again_and_again() {
    let scene = Scene::new().await;
    let mut socket = scene.relay.socket().await;
    for id in 1..=3 {
        scene.waits(&mut socket, &scene.poll().bytes()).await;
        scene.send(id).await;
        assert_eq!(seqs(&socket.reply().await.expect("a reply").ok(200)), [id as u64]);
        acknowledge(&scene.relay, &scene.session, &json!({"through": id as u64})).await.ok(200);
        healthy(&mut socket).await;
    }
    // However it ends, the connection lives on.
    scene.waits(&mut socket, &scene.poll().bytes()).await;
    let mut newer = scene.relay.socket().await;
    scene.waits(&mut newer, &scene.poll().bytes()).await;
    socket.reply().await.expect("a reply").refused(409, "superseded");
    healthy(&mut socket).await;
    let revoke = json!({"device": scene.bo.devices[0].id()});
    scene.relay.answer(ask("POST /v1/sessions/revoke").by(&scene.session).json(&revoke)).await.ok(200);
    newer.reply().await.expect("a reply").refused(401, "no_session");
    healthy(&mut newer).await;
}

#[tokio::test]
async fn a_reply_is_to_the_byte_what_one_without_a_wait_is() {
    let scene = Scene::new().await;
    let bearer = format!("Authorization: Bearer {}", scene.session);
    for (line, headers) in [
        ("GET HTTP/1.1", "Host: x"),
        ("GET HTTP/1.1", "Host: x\r\nConnection: keep-alive"),
        ("GET HTTP/1.1", "Host: x\r\nConnection: close"),
        ("GET HTTP/1.1", "Host: x\r\nConnection: x, Close"),
        ("GET HTTP/1.1", "Host: x\r\nConnection: close\r\nConnection: keep-alive"),
        ("GET HTTP/1.0", "X: y"),
        ("GET HTTP/1.0", "Connection: keep-alive"),
        ("GET HTTP/1.0", "Connection: keep-alive, close"),
        ("HEAD HTTP/1.1", "Host: x"),
        ("HEAD HTTP/1.1", "Host: x\r\nConnection: close"),
        ("HEAD HTTP/1.0", "X: y"),
        ("GET HTTP/1.1", "Host: x\r\nOrigin: https://app.example"),
        ("GET HTTP/1.1", "Host: x\r\nOrigin: https://evil.example"),
        ("GET HTTP/1.1", "Host: x\r\nUpgrade: websocket\r\nConnection: upgrade"),
    ] {
        let (method, version) = line.split_once(' ').expect("a method and a version");
        // After it a request that ends the connection, if that is still there.
        let whole = |wait: &str| {
            let next = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
            format!("{method} /v1/envelopes?wait={wait} {version}\r\n{headers}\r\n{bearer}\r\n\r\n{next}").into_bytes()
        };
        let mut at_once = scene.relay.socket().await;
        at_once.send(&whole("0")).await;
        let expected = at_once.rest().await;
        assert!(expected.starts_with(b"HTTP/1."), "{line} {headers}");
        let mut waited = scene.relay.socket().await;
        scene.waits(&mut waited, &whole("60")).await;
        scene.clock.advance(60);
        let got = waited.rest().await;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(text(&got), text(&expected), "{line} {headers}");
        assert_eq!(text(&got).contains("access-control-allow-origin: https://app.example"), headers.ends_with("app.example"));
    }
}

#[tokio::test]
async fn what_is_pipelined_behind_a_poll_is_answered_after_it() {
    let scene = Scene::new().await;
    let (poll, next) = (scene.poll().bytes(), ask("GET /healthz").bytes());
    let (begun, rest) = next.split_at(9);
    // More than a head may have, and more than hyper reads at once.
    let behind = [next.repeat(1_000), begun.to_vec()].concat();
    for (id, at_once) in [(1, true), (2, false)] {
        let mut socket = scene.relay.socket().await;
        if at_once {
            scene.waits(&mut socket, &[poll.clone(), behind.clone()].concat()).await;
        } else {
            scene.waits(&mut socket, &poll).await;
            socket.send(&behind).await;
        }
        scene.send(id).await;
        assert_eq!(seqs(&socket.reply().await.expect("a reply").ok(200)), [id as u64]);
        for _ in 0..1_000 {
            socket.reply().await.expect("a reply").ok(200);
        }
        socket.send(rest).await;
        socket.reply().await.expect("a reply").ok(200);
        acknowledge(&scene.relay, &scene.session, &json!({"through": id as u64})).await.ok(200);
    }
}

#[tokio::test]
async fn what_was_not_taken_yet_before_a_poll_is_not_lost() {
    let scene = Scene::new().await;
    for id in 1..=40 {
        send(&scene.relay, &scene.bo.parcel(&scene.token, id, 16_384)).await.ok(202);
    }
    // More than the system takes in for a peer that does not read.
    let page = ask("GET /v1/envelopes").by(&scene.session).bytes();
    let poll = ask("GET /v1/envelopes?wait=60&after=40").by(&scene.session).bytes();
    let mut socket = scene.relay.socket().await;
    socket.send(&[page.repeat(24), poll].concat()).await;
    for _ in 0..24 {
        assert_eq!(seqs(&socket.reply().await.expect("a reply").ok(200)).len(), 40);
    }
    scene.send(41).await;
    assert_eq!(seqs(&socket.reply().await.expect("a reply").ok(200)), [41]);
}

#[tokio::test]
async fn who_hangs_up_while_waiting_gives_the_seat_back() {
    let (relay, _) = TestRelay::by_hand(|config| config.limits.connections_max = 4).await;
    let mut waiting = Vec::new();
    for _ in 0..4 {
        let session = Person::new().settle(&relay).await;
        waiting.push((relay.socket().await, session));
    }
    for (socket, session) in &mut waiting {
        let poll = ask("GET /v1/envelopes?wait=60").by(session).bytes();
        // The seat that it was given may be gone to one of the others' logins.
        *socket = relay.socket().await;
        waits(&relay, session, socket, &poll).await;
    }
    let healthz = ask("GET /healthz").bytes();
    assert_eq!(relay.raw(&healthz).await, None, "all seats are taken");
    let (mut socket, _) = waiting.pop().expect("a poll");
    socket.finish().await;
    assert_eq!(socket.rest().await, b"", "who says no more is gone");
    patiently(async { while relay.raw(&healthz).await.is_none() {} }).await;
    drop(waiting.pop());
    patiently(async {
        let mut two = (relay.socket().await, relay.socket().await);
        while !(both(&mut two, &healthz).await) {
            two = (relay.socket().await, relay.socket().await);
        }
    })
    .await;
}

/// Whether two connections at once are answered.
async fn both((one, other): &mut (Socket, Socket), bytes: &[u8]) -> bool {
    one.send(bytes).await;
    other.send(bytes).await;
    one.reply().await.is_some() && other.reply().await.is_some()
}

#[tokio::test]
async fn a_stop_answers_who_waits_and_ends_the_connection() {
    let mut scene = Scene::new().await;
    let (mut alone, mut followed) = (scene.relay.socket().await, scene.relay.socket().await);
    scene.waits(&mut alone, &scene.poll().bytes()).await;
    let other = Person::new().settle(&scene.relay).await;
    let poll = ask("GET /v1/envelopes?wait=60").by(&other).bytes();
    waits(&scene.relay, &other, &mut followed, &[poll.clone(), poll].concat()).await;
    scene.relay.begin_stop();
    for mut socket in [alone, followed] {
        let reply = socket.reply().await.expect("a reply");
        reply.refused(503, "stopping");
        assert!(reply.header("retry-after").is_some());
        assert_eq!(reply.header("connection"), Some("close"));
        assert_eq!(socket.rest().await, b"");
    }
    scene.relay.stop().await;
}
