//! Connections that do not behave: idle ones, halves, trickles, hang-ups. Each is bounded and hurts nobody else.

use restante::config::Config;

use crate::support::person::{Person, receive, send, seqs};
use crate::support::raw::{Socket, ask};
use crate::support::relay::TestRelay;

fn impatient(config: &mut Config) {
    config.limits.head_secs = 1;
    config.limits.body_secs = 1;
    config.limits.idle_secs = 1;
}

/// The head of a request whose body does not come.
fn half_body(length: usize) -> String {
    format!("POST /v1/envelopes HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{{")
}

#[tokio::test]
async fn silence_and_halves_are_closed_in_time() {
    let relay = TestRelay::with(impatient).await;
    let half_head = "GET /healthz HTTP/1.1\r\nHos";
    let mut silent = Vec::new();
    for (name, bytes) in [("1 nothing", ""), ("1 a byte", "P"), ("2 half a head", half_head)] {
        let mut socket = relay.socket().await;
        socket.send(bytes.as_bytes()).await;
        silent.push((name, socket));
    }
    let mut socket = relay.socket().await;
    for _ in 0..3 {
        socket.send(&ask("GET /healthz").bytes()).await;
        assert_eq!(socket.reply().await.expect("a reply").status, 200);
    }
    silent.push(("idle between two requests", socket));
    let mut half = relay.socket().await;
    half.send(half_body(1_000).as_bytes()).await;
    half.reply().await.expect("14: a reply").refused(408, "too_slow");
    silent.push(("14 the rest of the body is not waited for", half));
    for (name, mut socket) in silent {
        assert_eq!(socket.rest().await, b"", "{name}");
    }
    relay.stop().await;
}

#[tokio::test]
async fn a_head_may_not_be_dripped() {
    let relay = TestRelay::with(impatient).await;
    let (mut reading, mut writing) = relay.socket().await.split();
    let dripping = tokio::spawn(async move {
        let mut beat = tokio::time::interval(std::time::Duration::from_millis(50));
        for byte in b"GET /healthz HTTP/1.1\r\nX: ".iter().chain(std::iter::repeat(&b'a')) {
            beat.tick().await;
            if !writing.send(&[*byte]).await {
                return;
            }
        }
    });
    assert_eq!(reading.rest().await, b"", "2: bytes one by one do not put the deadline off");
    dripping.await.expect("the dripping ends with the connection");
}

#[tokio::test]
async fn a_body_may_not_be_dripped() {
    let relay = TestRelay::with(|config| config.limits.body_secs = 2).await;
    let (mut reading, mut writing) = relay.socket().await.split();
    writing.send(half_body(100_000).as_bytes()).await;
    let dripping = tokio::spawn(async move {
        let mut beat = tokio::time::interval(std::time::Duration::from_millis(50));
        while writing.send(b" ").await {
            beat.tick().await;
        }
    });
    reading.reply().await.expect("14: a reply").refused(408, "too_slow");
    reading.rest().await;
    dripping.await.expect("the dripping ends with the connection");
}

#[tokio::test]
async fn what_breaks_off_stores_nothing() {
    let relay = TestRelay::start().await;
    let bo = Person::new();
    let session = bo.settle(&relay).await;
    let token = bo.token(&relay, &session).await;
    let parcel = bo.parcel(&token, 1, 1_024);
    let whole = ask("POST /v1/envelopes").json(&parcel).bytes();
    let mut socket = relay.socket().await;
    socket.send(&whole[..whole.len() - 1]).await;
    socket.finish().await;
    let rest = String::from_utf8_lossy(&socket.rest().await).into_owned();
    assert!(!rest.contains(" 202 "), "13: {rest}");
    let mut socket = relay.socket().await;
    socket.send(&whole[..whole.len() / 2]).await;
    drop(socket);
    assert_eq!(seqs(&receive(&relay, &session, "").await), [0; 0]);
    send(&relay, &parcel).await.ok(202);
    assert_eq!(seqs(&receive(&relay, &session, "").await), [1]);
}

#[tokio::test]
async fn a_sender_that_hangs_up_after_its_send_has_sent_it_once() {
    let (relay, _) = TestRelay::by_hand(|_| {}).await;
    let bo = Person::new();
    let session = bo.settle(&relay).await;
    let token = bo.token(&relay, &session).await;
    let parcel = bo.parcel(&token, 1, 1_024);
    let mut socket = relay.socket().await;
    socket.send(&ask("POST /v1/envelopes").json(&parcel).bytes()).await;
    let page = receive(&relay, &session, "?wait=60").await;
    drop(socket);
    assert_eq!(seqs(&page), [1], "74");
    send(&relay, &parcel).await.ok(202);
    assert_eq!(seqs(&receive(&relay, &session, "").await), [1], "the repeat stored nothing");
}

#[tokio::test]
async fn a_pipeline_is_answered_in_order_or_dropped() {
    let relay = TestRelay::start().await;
    let mut socket = relay.socket().await;
    let one = ask("GET /healthz").bytes();
    socket.send(&one.repeat(100)).await;
    for _ in 0..100 {
        assert_eq!(socket.reply().await.expect("a reply").status, 200);
    }
    for _ in 0..20 {
        relay.socket().await.send(&one.repeat(100)).await;
    }
    assert_eq!(relay.answer(ask("GET /healthz")).await.status, 200, "25");
}

#[tokio::test]
async fn a_thousand_idle_connections_hurt_nobody() {
    let relay = TestRelay::start().await;
    let (bo, mut idle) = (Person::new(), Vec::new());
    for _ in 0..1_000 {
        idle.push(relay.socket().await);
    }
    let session = bo.settle(&relay).await;
    let token = bo.token(&relay, &session).await;
    send(&relay, &bo.parcel(&token, 1, 16_384)).await.ok(202);
    assert_eq!(seqs(&receive(&relay, &session, "").await), [1]);
    for socket in idle.iter_mut().step_by(100) {
        socket.send(&ask("GET /healthz").bytes()).await;
        assert_eq!(socket.reply().await.expect("it is still open").status, 200);
    }
}

#[tokio::test]
async fn at_the_cap_the_longest_idle_is_closed() {
    let (relay, clock) = TestRelay::by_hand(|config| config.limits.connections_max = 3).await;
    let mut sockets: Vec<Socket> = Vec::new();
    for _ in 0..3 {
        let mut socket = relay.socket().await;
        socket.send(&ask("GET /healthz").bytes()).await;
        assert_eq!(socket.reply().await.expect("a reply").status, 200);
        sockets.push(socket);
        clock.advance(1);
    }
    // The first has spoken last: the second is now the longest idle.
    sockets[0].send(&ask("GET /healthz").bytes()).await;
    assert_eq!(sockets[0].reply().await.expect("a reply").status, 200);
    assert_eq!(relay.answer(ask("GET /healthz")).await.status, 200, "a fourth is let in");
    assert_eq!(sockets[1].rest().await, b"");
}

#[tokio::test]
async fn a_stop_waits_for_nobody_beyond_the_drain() {
    let patient = |config: &mut Config| {
        config.limits.drain_secs = 3;
        config.limits.head_secs = 3_600;
        config.limits.body_secs = 3_600;
    };
    let mut relay = TestRelay::with(patient).await;
    let bo = Person::new();
    let session = bo.settle(&relay).await;
    let mut idle = relay.socket().await;
    let mut half_head = relay.socket().await;
    half_head.send(b"POST /v1/envelopes HTTP/1.1\r\nHos").await;
    let mut waiting_body = relay.socket().await;
    waiting_body.send(half_body(1_000).as_bytes()).await;
    let mut polling = relay.poll(&session).await;
    relay.begin_stop();
    polling.reply().await.expect("a reply").refused(503, "stopping");
    assert_eq!(idle.rest().await, b"");
    assert_eq!(half_head.rest().await, b"");
    relay.stop().await;
    assert_eq!(waiting_body.rest().await, b"", "a body that does not come is cut at the end of the drain");
}
