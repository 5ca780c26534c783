//! So much a minute: of a token, of a device, of an address prefix. The counting itself is tested where it lies.

use restante::config::Config;
use restante::protocol::DeliveryToken;
use serde_json::json;

use crate::support::person::{Device, Person, login, send};
use crate::support::raw::{Reply, ask};
use crate::support::relay::TestRelay;

fn limited(config: &mut Config) {
    config.server.trusted_proxies = vec!["127.0.0.0/8".into()];
    config.limits.token_sends_per_min = 4;
    config.limits.device_requests_per_min = 4;
    config.limits.prefix_requests_per_min = 6;
}

#[track_caller]
fn refused(reply: &Reply, retry_after: &str) {
    reply.refused(429, "rate_limited");
    assert_eq!(reply.header("retry-after"), Some(retry_after));
    assert_eq!(reply.json()["retry_after"].to_string(), retry_after);
}

#[tokio::test]
async fn a_token_takes_so_many_sends_and_others_are_unhurt() {
    let (relay, clock) = TestRelay::by_hand(limited).await;
    let bo = Person::new();
    let session = bo.settle(&relay).await;
    let (token, other) = (bo.token(&relay, &session).await, bo.token(&relay, &session).await);
    for id in 1..=3 {
        send(&relay, &bo.parcel(&token, id, 1_024)).await.ok(202);
    }
    // A question for keys counts too; so does what is refused.
    let keys = async |token: &DeliveryToken| relay.answer(ask("POST /v1/keys").json(&json!({"token": token}))).await;
    keys(&token).await.ok(200);
    refused(&send(&relay, &bo.parcel(&token, 4, 1_024)).await, "15");
    refused(&keys(&token).await, "15");
    let mut live = bo.parcel(&token, 5, 1_024);
    live["live"] = json!(true);
    refused(&send(&relay, &live).await, "15");
    send(&relay, &bo.parcel(&other, 6, 1_024)).await.ok(202);
    clock.advance(15);
    send(&relay, &bo.parcel(&token, 4, 1_024)).await.ok(202);
    refused(&send(&relay, &bo.parcel(&token, 7, 1_024)).await, "15");
}

#[tokio::test]
async fn a_token_that_is_not_good_is_refused_as_often_as_it_is_tried() {
    let (relay, _clock) = TestRelay::by_hand(limited).await;
    let bo = Person::new();
    let session = bo.settle(&relay).await;
    let token = bo.token(&relay, &session).await;
    let unknown = DeliveryToken([9; 32]);
    let first = send(&relay, &bo.parcel(&unknown, 1, 1_024)).await;
    first.refused(404, "no_such_token");
    for _ in 0..10 {
        assert_eq!(send(&relay, &bo.parcel(&unknown, 1, 1_024)).await, first);
    }
    // Nor does one that was used up to its limit tell that it was, once it is revoked.
    for id in 1..=5 {
        send(&relay, &bo.parcel(&token, id, 1_024)).await;
    }
    refused(&send(&relay, &bo.parcel(&token, 6, 1_024)).await, "15");
    let revoke = ask("POST /v1/tokens/revoke").by(&session).json(&json!({"hashes": [token.hash()]}));
    relay.answer(revoke).await.ok(200);
    assert_eq!(send(&relay, &bo.parcel(&token, 6, 1_024)).await, first);
}

#[tokio::test]
async fn a_device_makes_so_many_requests_whichever_session_it_uses() {
    let (relay, clock) = TestRelay::by_hand(limited).await;
    let bo = Person::of(vec![Device::new(), Device::new()]);
    let one = bo.settle(&relay).await;
    let (same, other) = (login(&relay, &bo.devices[0]).await, login(&relay, &bo.devices[1]).await);
    let look = async |session: &str| relay.answer(ask("GET /v1/envelopes").by(session)).await;
    for session in [&one, &same, &one, &same] {
        look(session).await.ok(200);
    }
    refused(&look(&one).await, "15");
    refused(&relay.answer(ask("POST /v1/envelopes/ack").by(&same).json(&json!({"through": 0}))).await, "15");
    look(&other).await.ok(200);
    // A session that is none is told so, as ever.
    look("garbage").await.refused(401, "no_session");
    clock.advance(60);
    look(&one).await.ok(200);
}

#[tokio::test]
async fn a_prefix_makes_so_many_requests_of_any_kind_and_loopback_any_number() {
    let (relay, clock) = TestRelay::by_hand(limited).await;
    let from = async |line: &str, address: &str| relay.answer(ask(line).from(address)).await;
    for (line, status) in [("GET /v1/info", 200), ("GET /healthz", 200), ("GET /nowhere", 404), ("DELETE /v1/info", 405)] {
        assert_eq!(from(line, "203.0.113.1").await.status, status);
    }
    from("GET /v1/account", "203.0.113.2").await.refused(401, "no_session");
    from("GET /v1/stream", "203.0.113.3").await.refused(426, "upgrade_required");
    refused(&from("GET /v1/info", "203.0.113.4").await, "10");
    refused(&from("OPTIONS /v1/info", "203.0.113.4").await, "10");
    from("GET /v1/info", "203.0.114.1").await.ok(200);
    for _ in 0..20 {
        relay.answer(ask("GET /v1/info")).await.ok(200);
    }
    clock.advance(10);
    from("GET /v1/info", "203.0.113.5").await.ok(200);
}
