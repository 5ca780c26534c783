//! Long polls, over real sockets: what ends one, and what a stop does.

mod parked;
mod stress;

use serde_json::json;

use crate::support::person::{Person, acknowledge, receive, send, seqs};
use crate::support::raw::ask;
use crate::support::relay::TestRelay;

#[tokio::test]
async fn a_poll_ends_when_something_lands_and_when_a_newer_one_comes() {
    let (relay, clock) = TestRelay::by_hand(|_| {}).await;
    let bo = Person::new();
    let session = bo.settle(&relay).await;
    let token = bo.token(&relay, &session).await;
    let mut first = relay.poll(&session).await;
    let mut second = relay.socket().await;
    second.send(&ask("GET /v1/envelopes?wait=60").by(&session).bytes()).await;
    first.reply().await.expect("a reply").refused(409, "superseded");
    send(&relay, &bo.parcel(&token, 1, 1_024)).await.ok(202);
    assert_eq!(seqs(&second.reply().await.expect("a reply").ok(200)), [1]);
    acknowledge(&relay, &session, &json!({"through": 1})).await.ok(200);
    let mut third = relay.poll(&session).await;
    clock.advance(60);
    let page = third.reply().await.expect("a reply").ok(200);
    assert_eq!((seqs(&page), &page["drained"]), (vec![], &json!(true)), "an empty page at the deadline");
}

#[tokio::test]
async fn a_hang_up_in_mid_poll_loses_nothing() {
    let (relay, _) = TestRelay::by_hand(|_| {}).await;
    let bo = Person::new();
    let session = bo.settle(&relay).await;
    let token = bo.token(&relay, &session).await;
    for id in 1..=20 {
        drop(relay.poll(&session).await);
        send(&relay, &bo.parcel(&token, id, 1_024)).await.ok(202);
        assert_eq!(seqs(&receive(&relay, &session, "?wait=60").await), [id as u64], "73");
        acknowledge(&relay, &session, &json!({"through": id as u64})).await.ok(200);
    }
}

#[tokio::test]
async fn a_send_after_the_stop_is_refused() {
    let relay = TestRelay::start().await;
    let bo = Person::new();
    let session = bo.settle(&relay).await;
    let token = bo.token(&relay, &session).await;
    let mut socket = relay.socket().await;
    let whole = ask("POST /v1/envelopes").json(&bo.parcel(&token, 1, 1_024)).bytes();
    socket.send(&whole[..whole.len() - 1]).await;
    let polling = relay.poll(&session).await;
    relay.relay.stop();
    drop(polling);
    socket.send(&whole[whole.len() - 1..]).await;
    let reply = socket.reply().await.expect("77: a reply");
    reply.refused(503, "stopping");
    assert!(reply.header("retry-after").is_some());
}
