//! Streams over real sockets: order, window, acknowledgement, mixing with polls, and what ends one.

use serde_json::{Value, json};

use crate::support::person::{Person, acknowledge, login, receive, send, seqs};
use crate::support::raw::ask;
use crate::support::relay::TestRelay;
use crate::support::ws::{Ws, types, upgrade};

async fn settled(relay: &TestRelay) -> (Person, String, restante::protocol::DeliveryToken) {
    let bo = Person::new();
    let session = bo.settle(relay).await;
    let token = bo.token(relay, &session).await;
    (bo, session, token)
}

fn seq(frame: &Value) -> u64 {
    assert_eq!(frame["type"], "envelope", "{frame}");
    frame["seq"].as_u64().expect("a seq")
}

#[tokio::test]
async fn what_waits_comes_then_what_lands_and_each_is_acknowledged() {
    let relay = TestRelay::start().await;
    let (bo, session, token) = settled(&relay).await;
    for id in 1..=3 {
        send(&relay, &bo.parcel(&token, id, 1_024)).await.ok(202);
    }
    let page = receive(&relay, &session, "").await;
    let mut ws = Ws::by(&relay, &session).await;
    for at in 0..3 {
        let mut frame = ws.hear().await;
        frame.as_object_mut().expect("an object").remove("type");
        assert_eq!(frame, page["envelopes"][at], "the same as a poll's");
    }
    assert_eq!(ws.hear().await, json!({"type": "drained"}));
    ws.say(&json!({"type": "ack", "through": 2})).await;
    assert_eq!(ws.hear().await, json!({"type": "acked", "removed": 2}));
    ws.say(&json!({"type": "ack", "seqs": [3], "through": 1})).await;
    assert_eq!(ws.hear().await, json!({"type": "acked", "removed": 1}));
    for id in 4..=6 {
        send(&relay, &bo.parcel(&token, id, 4_096)).await.ok(202);
        assert_eq!(seq(&ws.hear().await), id as u64);
        assert_eq!(ws.hear().await, json!({"type": "drained"}));
    }
    // What was not acknowledged comes again, here and by a poll.
    drop(ws);
    assert_eq!(seqs(&receive(&relay, &session, "").await), [4, 5, 6]);
    let mut ws = Ws::by(&relay, &session).await;
    assert_eq!([seq(&ws.hear().await), seq(&ws.hear().await), seq(&ws.hear().await)], [4, 5, 6]);
}

#[tokio::test]
async fn no_more_than_the_window_is_in_flight_however_it_is_acknowledged() {
    let relay = TestRelay::with(|config| config.limits.stream_unacked_max = 4).await;
    let (bo, session, token) = settled(&relay).await;
    for id in 1..=12 {
        send(&relay, &bo.parcel(&token, id, 1_024)).await.ok(202);
    }
    let mut ws = Ws::by(&relay, &session).await;
    let next = async |ws: &mut Ws| seq(&ws.hear().await);
    assert_eq!([next(&mut ws).await, next(&mut ws).await, next(&mut ws).await, next(&mut ws).await], [1, 2, 3, 4]);
    // Were a fifth sent, it would come before the answer.
    ws.say(&json!({"type": "ack", "seqs": [2]})).await;
    assert_eq!(ws.hear().await, json!({"type": "acked", "removed": 1}));
    assert_eq!(next(&mut ws).await, 5);
    // By the other way: 1, 3, 4 go, 5 stays in flight.
    acknowledge(&relay, &session, &json!({"through": 4})).await.ok(200);
    assert_eq!([next(&mut ws).await, next(&mut ws).await, next(&mut ws).await], [6, 7, 8]);
    ws.say(&json!({"type": "ack", "through": 8})).await;
    assert_eq!(ws.hear().await["removed"], 4);
    assert_eq!([next(&mut ws).await, next(&mut ws).await, next(&mut ws).await, next(&mut ws).await], [9, 10, 11, 12]);
    assert_eq!(ws.hear().await, json!({"type": "drained"}), "the last of them drains it, window or not");
}

#[tokio::test]
async fn a_refused_acknowledgement_is_told_and_the_stream_goes_on() {
    let relay = TestRelay::start().await;
    let (bo, session, token) = settled(&relay).await;
    let mut ws = Ws::idle(&relay, &session).await;
    for (frame, code) in [
        (json!({"type": "ack", "through": 1}), "seq_not_given"),
        (json!({"type": "ack", "seqs": [9_007_199_254_740_991_u64]}), "seq_not_given"),
        (json!({"type": "ack"}), "bad_request"),
        (json!({"type": "ack", "seqs": (1..=101).collect::<Vec<_>>()}), "too_many"),
    ] {
        ws.say(&frame).await;
        let error = ws.hear().await;
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!(code)), "88: {error}");
    }
    send(&relay, &bo.parcel(&token, 1, 1_024)).await.ok(202);
    assert_eq!(seq(&ws.hear().await), 1);
}

#[tokio::test]
async fn the_newer_of_stream_and_poll_ends_the_older() {
    let (relay, _) = TestRelay::by_hand(|_| {}).await;
    let (_, session, _) = settled(&relay).await;
    let older = Ws::idle(&relay, &session).await;
    let newer = Ws::idle(&relay, &session).await;
    let (frames, code) = older.end().await;
    assert_eq!((types(&frames), code), (vec!["superseded"], 4409));
    let poll = relay.poll(&session).await;
    let (frames, code) = newer.end().await;
    assert_eq!((types(&frames), code), (vec!["superseded"], 4409));
    let mut poll = poll;
    let _newest = Ws::idle(&relay, &session).await;
    poll.reply().await.expect("a reply").refused(409, "superseded");
}

#[tokio::test]
async fn a_stream_ends_with_its_session_and_goes_on_by_a_newer_one() {
    let (relay, clock) = TestRelay::by_hand(|_| {}).await;
    let (bo, session, token) = settled(&relay).await;
    let mut ws = Ws::idle(&relay, &session).await;
    clock.advance(1_700);
    let newer = bo.login(&relay).await;
    ws.say(&json!({"type": "auth", "session": newer})).await;
    let ready = ws.hear().await;
    assert_eq!((&ready["type"], ready["expires_at"].as_u64()), (&json!("ready"), Some(relay.relay.now() + 1_800)));
    clock.advance(200);
    send(&relay, &bo.parcel(&token, 1, 1_024)).await.ok(202);
    assert_eq!(seq(&ws.hear().await), 1, "the first session is over, the stream is not");
    assert_eq!(ws.hear().await["type"], "drained");
    // Said so that the relay has heard it since the clock was advanced.
    ws.say(&json!({"type": "ack", "through": 1})).await;
    assert_eq!(ws.hear().await["type"], "acked");
    clock.advance(1_600);
    let (frames, code) = ws.end().await;
    assert_eq!((types(&frames), &frames[0]["code"], code), (vec!["error"], &json!("no_session"), 4401));
}

#[tokio::test]
async fn revoked_or_removed_streams_and_polls_end_at_once() {
    let (relay, _) = TestRelay::by_hand(|_| {}).await;
    let (bo, session, _) = settled(&relay).await;
    let revoke = json!({"device": bo.devices[0].id()});

    let ws = Ws::idle(&relay, &session).await;
    relay.answer(ask("POST /v1/sessions/revoke").by(&session).json(&revoke)).await.ok(200);
    let (frames, code) = ws.end().await;
    assert_eq!((types(&frames), &frames[0]["code"], code), (vec!["error"], &json!("no_session"), 4401), "90");

    let session = bo.login(&relay).await;
    let mut poll = relay.poll(&session).await;
    relay.answer(ask("POST /v1/sessions/revoke").by(&session).json(&revoke)).await.ok(200);
    poll.reply().await.expect("a reply").refused(401, "no_session");

    // A list without the device, put there by the account's other one.
    let mut two = Person::of(vec![crate::support::person::Device::new(), crate::support::person::Device::new()]);
    two.register(&relay).await;
    let (kept, removed) = (login(&relay, &two.devices[0]).await, login(&relay, &two.devices[1]).await);
    let ws = Ws::idle(&relay, &removed).await;
    two.devices.truncate(1);
    let list = json!({"device_list": two.next()});
    relay.answer(ask("PUT /v1/account/device-list").by(&kept).json(&list)).await.ok(200);
    let (_, code) = ws.end().await;
    assert_eq!(code, 4401, "a removed device");
}

#[tokio::test]
async fn anothers_session_does_not_prolong() {
    let relay = TestRelay::start().await;
    let (_, session, _) = settled(&relay).await;
    let (_, others, _) = settled(&relay).await;
    for wrong in [others, restante::protocol::SessionToken([7; 32]).encode()] {
        let mut ws = Ws::idle(&relay, &session).await;
        ws.say(&json!({"type": "auth", "session": wrong})).await;
        let (frames, code) = ws.end().await;
        assert_eq!((&frames[0]["code"], code), (&json!("no_session"), 4401));
    }
}

#[tokio::test]
async fn a_gap_is_told_once_before_its_drained_and_again_on_the_next_stream() {
    let (relay, clock) = TestRelay::by_hand(|_| {}).await;
    let (bo, session, token) = settled(&relay).await;
    let mut parcel = bo.parcel(&token, 1, 1_024);
    parcel["expires_in"] = json!(3_600);
    send(&relay, &parcel).await.ok(202);
    send(&relay, &bo.parcel(&token, 2, 1_024)).await.ok(202);
    clock.advance(2 * 3_600);
    relay.relay.purge(Default::default(), |_| {}).await.expect("a purge");
    let session = {
        drop(session);
        bo.login(&relay).await
    };
    for _ in 0..2 {
        let mut ws = Ws::by(&relay, &session).await;
        assert_eq!(seq(&ws.hear().await), 2);
        assert_eq!(ws.hear().await, json!({"type": "gap", "count": 1, "through": 1}));
        assert_eq!(ws.hear().await, json!({"type": "drained"}));
    }
    let mut ws = Ws::by(&relay, &session).await;
    assert_eq!(
        [ws.hear().await, ws.hear().await, ws.hear().await].map(|frame| frame["type"].clone()),
        ["envelope", "gap", "drained"]
    );
    send(&relay, &bo.parcel(&token, 3, 1_024)).await.ok(202);
    assert_eq!(seq(&ws.hear().await), 3);
    assert_eq!(ws.hear().await, json!({"type": "drained"}), "a gap is told once a stream");
    acknowledge(&relay, &session, &json!({"through": 3})).await.ok(200);
    let _ended = Ws::idle(&relay, &session).await;
}

#[tokio::test]
async fn a_stop_closes_streams_with_1012() {
    let mut relay = TestRelay::start().await;
    let (_, session, _) = settled(&relay).await;
    let (ready, waiting) = (Ws::idle(&relay, &session).await, Ws::open(&relay).await);
    relay.begin_stop();
    assert_eq!(ready.end().await, (vec![], 1012));
    assert_eq!(waiting.end().await, (vec![], 1012));
    relay.stop().await;
}

#[tokio::test]
async fn the_upgrade_is_rfc_6455s() {
    let relay = TestRelay::start().await;
    let reply = relay.answer(upgrade()).await;
    assert_eq!(reply.status, 101);
    assert_eq!(reply.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "the RFC's own example");
    let plain = relay.answer(ask("GET /v1/stream")).await;
    plain.refused(426, "upgrade_required");
    assert_eq!((plain.header("upgrade"), plain.header("connection")), (Some("websocket"), Some("upgrade")));
    assert!(plain.json()["detail"].as_str().expect("a detail").contains("proxy"));
    relay.answer(ask("POST /v1/stream").json(&json!({}))).await.refused(405, "method_not_allowed");
}

#[tokio::test]
async fn the_operators_notice_comes_at_first_and_at_each_change() {
    let relay = TestRelay::start().await;
    let (_, session, _) = settled(&relay).await;
    let mut ws = Ws::idle(&relay, &session).await;
    let notice = relay.relay.set_notice("down on Sunday").await.expect("a notice");
    let told = json!({"type": "notice", "notice": notice});
    assert_eq!(ws.hear().await, told);
    let mut newer = Ws::by(&relay, &session).await;
    let both = [newer.hear().await, newer.hear().await];
    assert!(both.contains(&told) && both.contains(&json!({"type": "drained"})), "{both:?}");
    relay.relay.clear_notice().await.expect("taken back");
    assert_eq!(newer.hear().await, json!({"type": "notice"}));
}
