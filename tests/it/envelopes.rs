//! Sending, receiving and acknowledging, over real sockets.

use restante::crypto::exchange;
use restante::protocol::keys::prekey_transcript;
use restante::protocol::{Bytes, DeliveryToken, SealingKey, Signature};
use serde_json::{Value, json};

use crate::support::person::{Device, Person, acknowledge, receive, send, seqs};
use crate::support::raw::ask;
use crate::support::relay::TestRelay;

const NONE: [u64; 0] = [];

#[tokio::test]
async fn a_repeat_is_answered_byte_for_byte_while_it_waits_after_the_ack_and_after_a_restart() {
    let (relay, clock) = TestRelay::by_hand(|_| {}).await;
    let bo = Person::new();
    let session = bo.settle(&relay).await;
    let token = bo.token(&relay, &session).await;
    let parcel = bo.parcel(&token, 1, 1_024);
    let first = send(&relay, &parcel).await;
    first.ok(202);
    assert_eq!(send(&relay, &parcel).await, first);
    let page = receive(&relay, &session, "").await;
    assert_eq!(seqs(&page), [1]);
    assert_eq!(page["drained"], true);
    let mut other = parcel.clone();
    other["sealed"][0]["body"] = json!(Bytes(vec![9; 4_096]));
    assert_eq!(send(&relay, &other).await, first, "another body under the id is a repeat all the same");

    let relay = relay.restart().await;
    let session = bo.login(&relay).await;
    assert_eq!(send(&relay, &parcel).await, first);
    assert_eq!(receive(&relay, &session, "").await["envelopes"], page["envelopes"], "the very row, not a new one");
    let ack = json!({"through": 1});
    assert_eq!(acknowledge(&relay, &session, &ack).await.ok(200)["removed"], 1);
    assert_eq!(acknowledge(&relay, &session, &ack).await.ok(200)["removed"], 0);
    assert_eq!(send(&relay, &parcel).await, first);
    assert_eq!(seqs(&receive(&relay, &session, "").await), NONE);
    clock.advance(599);
    assert_eq!(send(&relay, &parcel).await, first);
    assert_eq!(seqs(&receive(&relay, &session, "").await), NONE);
    clock.advance(1);
    assert_eq!(send(&relay, &parcel).await, first, "forgotten after ten minutes, and no answer says so");
    let again = seqs(&receive(&relay, &session, "").await);
    assert!(again.len() == 1 && again[0] > 1, "{again:?}");
}

#[tokio::test]
async fn the_answer_is_a_full_hour_within_the_retention() {
    let (relay, _) = TestRelay::by_hand(|_| {}).await;
    let bo = Person::new();
    let session = bo.settle(&relay).await;
    let token = bo.token(&relay, &session).await;
    let hour = 1_800_000_000;
    for (id, expires_in, due) in [
        (1, json!(null), hour + 604_800),
        (2, json!(604_800), hour + 604_800),
        (3, json!(3_600), hour + 2 * 3_600),
        (4, json!(6_600), hour + 2 * 3_600),
        (5, json!(6_601), hour + 3 * 3_600),
    ] {
        let mut parcel = bo.parcel(&token, id, 1_024);
        if !expires_in.is_null() {
            parcel["expires_in"] = expires_in;
        }
        let reply = send(&relay, &parcel).await.ok(202);
        assert_eq!(reply, json!({"expires_at": due, "full": []}), "{id}");
    }
    let page = receive(&relay, &session, "").await;
    assert_eq!(page["envelopes"][2]["expires_at"], hour + 2 * 3_600);
    assert!(page.get("gap").is_none());
}

#[tokio::test]
async fn a_send_for_another_list_brings_the_current_one() {
    let relay = TestRelay::start().await;
    let mut bo = Person::new();
    let session = bo.settle(&relay).await;
    let token = bo.token(&relay, &session).await;
    let old = bo.parcel(&token, 1, 1_024);
    bo.devices.push(Device::new());
    bo.list = bo.next();
    let put = json!({"device_list": bo.list});
    relay.answer(ask("PUT /v1/account/device-list").by(&session).json(&put)).await.ok(200);
    let refused = send(&relay, &old).await;
    refused.refused(409, "device_list_changed");
    assert_eq!(refused.json()["device_list"], json!(bo.list));
    send(&relay, &bo.parcel(&token, 1, 1_024)).await.ok(202);
    assert_eq!(seqs(&receive(&relay, &session, "").await), [1]);
}

#[tokio::test]
async fn a_full_mailbox_and_a_full_share_refuse_the_new_one() {
    let small = |config: &mut restante::config::Config| config.limits.mailbox_envelopes_max = 4;
    let relay = TestRelay::with(small).await;
    let bo = Person::of(vec![Device::new(), Device::new()]);
    let session = bo.settle(&relay).await;
    let token = bo.token(&relay, &session).await;
    for id in [1, 2] {
        assert_eq!(send(&relay, &bo.parcel(&token, id, 1_024)).await.ok(202)["full"], json!([]));
    }
    let refused = send(&relay, &bo.parcel(&token, 3, 1_024)).await;
    refused.refused(429, "mailbox_full");
    assert_eq!(refused.header("retry-after"), Some(refused.json()["retry_after"].to_string().as_str()));
    assert_eq!(acknowledge(&relay, &session, &json!({"through": 1})).await.ok(200)["removed"], 1);
    let full = send(&relay, &bo.parcel(&token, 3, 1_024)).await.ok(202)["full"].clone();
    assert_eq!(full, json!([bo.devices[1].id()]), "the one device that acknowledged nothing");
    let other = bo.token(&relay, &session).await;
    let reply = send(&relay, &bo.parcel(&other, 4, 1_024)).await.ok(202);
    assert_eq!(reply["full"], json!([]), "one token's share leaves room for another");
    assert_eq!(seqs(&receive(&relay, &session, "").await), [2, 3, 4], "nothing old gave way");
}

#[tokio::test]
async fn a_once_token_takes_one_id() {
    let (relay, _) = TestRelay::by_hand(|_| {}).await;
    let bo = Person::new();
    let session = bo.settle(&relay).await;
    let token = DeliveryToken([5; 32]);
    let add = |body: Value| ask("POST /v1/tokens").by(&session).json(&body);
    let hash = token.hash();
    relay.answer(add(json!({"hash": hash, "kind": "once"}))).await.refused(422, "bad_expiry");
    for expires_at in [0, 1_800_000_600, 1_800_000_600 + 30 * 86_400 + 1] {
        let body = json!({"hash": hash, "kind": "once", "expires_at": expires_at});
        relay.answer(add(body)).await.refused(422, "bad_expiry");
    }
    let body = json!({"hash": hash, "kind": "once", "expires_at": 1_800_003_000_u64});
    relay.answer(add(body.clone())).await.ok(200);
    relay.answer(add(body)).await.ok(200);
    let first = send(&relay, &bo.parcel(&token, 1, 1_024)).await;
    first.ok(202);
    let refused = send(&relay, &bo.parcel(&token, 2, 1_024)).await;
    refused.refused(404, "no_such_token");
    assert_eq!(send(&relay, &bo.parcel(&token, 1, 1_024)).await, first);
    assert_eq!(seqs(&receive(&relay, &session, "").await), [1]);
    let keys = ask("POST /v1/keys").json(&json!({"token": token}));
    relay.answer(keys.clone()).await.ok(200);
    let unknown = send(&relay, &bo.parcel(&DeliveryToken([6; 32]), 2, 1_024)).await;
    assert_eq!(unknown.body, refused.body, "used up and unknown are one answer");
    let revoke = ask("POST /v1/tokens/revoke").by(&session).json(&json!({"hashes": [hash]}));
    assert_eq!(relay.answer(revoke.clone()).await.ok(200)["revoked"], 1);
    assert_eq!(relay.answer(revoke).await.ok(200)["revoked"], 0);
    assert_eq!(send(&relay, &bo.parcel(&token, 1, 1_024)).await.body, refused.body, "revoked too");
    assert_eq!(relay.answer(keys).await.body, refused.body);
}

#[tokio::test]
async fn what_expired_unread_is_a_gap_until_it_is_acknowledged() {
    let (relay, clock) = TestRelay::by_hand(|_| {}).await;
    let bo = Person::new();
    let session = bo.settle(&relay).await;
    let token = bo.token(&relay, &session).await;
    for (id, secs) in [(1, 3_600), (2, 3_600), (3, 604_800)] {
        let mut parcel = bo.parcel(&token, id, 1_024);
        parcel["expires_in"] = json!(secs);
        send(&relay, &parcel).await.ok(202);
    }
    assert_eq!(seqs(&receive(&relay, &session, "").await), [1, 2, 3]);
    let polling = bo.login(&relay).await;
    clock.advance(2 * 3_600);
    let session = bo.login(&relay).await;
    assert_eq!(seqs(&receive(&relay, &session, "").await), [3], "75: expired is gone, purged or not");
    relay.answer(ask("GET /v1/sessions").by(&polling)).await.refused(401, "no_session");
    relay.relay.purge(Default::default(), |_| {}).await.expect("purged");
    let gap = json!({"count": 2, "through": 2});
    for query in ["", "?after=3", "?wait=60&after=3"] {
        assert_eq!(receive(&relay, &session, query).await["gap"], gap, "{query}: a gap is something to tell");
    }
    acknowledge(&relay, &session, &json!({"seqs": [1]})).await.ok(200);
    assert_eq!(receive(&relay, &session, "").await["gap"], gap);
    acknowledge(&relay, &session, &json!({"seqs": [3]})).await.ok(200);
    assert!(receive(&relay, &session, "").await.get("gap").is_none());
}

#[tokio::test]
async fn a_clock_that_is_set_back_stops_no_send_and_one_set_ahead_loses_nothing() {
    let (relay, clock) = TestRelay::by_hand(|_| {}).await;
    let bo = Person::new();
    let session = bo.settle(&relay).await;
    let token = bo.token(&relay, &session).await;
    let reply = send(&relay, &bo.parcel(&token, 1, 1_024)).await;
    clock.set_wall_by(-86_400);
    assert_eq!(send(&relay, &bo.parcel(&token, 2, 1_024)).await, reply, "78");
    clock.set_wall_by(86_400 + 8 * 86_400);
    assert_eq!(send(&relay, &bo.parcel(&token, 3, 1_024)).await, reply);
    assert_eq!(seqs(&receive(&relay, &session, "").await), [1, 2, 3]);
}

#[tokio::test]
async fn pages_follow_after_and_say_when_nothing_is_left() {
    let relay = TestRelay::start().await;
    let bo = Person::new();
    let session = bo.settle(&relay).await;
    let token = bo.token(&relay, &session).await;
    for id in 1..=5 {
        send(&relay, &bo.parcel(&token, id, 1_024)).await.ok(202);
    }
    for (query, due, drained) in [
        ("?limit=2", vec![1, 2], false),
        ("?limit=2&after=2", vec![3, 4], false),
        ("?limit=2&after=4", vec![5], true),
        ("?limit=5", vec![1, 2, 3, 4, 5], true),
        ("?after=77", vec![], true),
    ] {
        let page = receive(&relay, &session, query).await;
        assert_eq!((seqs(&page), &page["drained"]), (due, &json!(drained)), "{query}");
    }
    let not_given = acknowledge(&relay, &session, &json!({"seqs": [1, 2], "through": 6})).await;
    not_given.refused(400, "seq_not_given");
    assert_eq!(seqs(&receive(&relay, &session, "").await).len(), 5, "67: nothing was removed");
    let acked = acknowledge(&relay, &session, &json!({"seqs": [4, 4], "through": 2})).await.ok(200);
    assert_eq!(acked["removed"], 3);
    assert_eq!(seqs(&receive(&relay, &session, "").await), [3, 5]);
}

#[tokio::test]
async fn an_acknowledgement_touches_nobody_elses_mailbox() {
    let relay = TestRelay::start().await;
    let (bo, cy) = (Person::new(), Person::new());
    let (session, other) = (bo.settle(&relay).await, cy.settle(&relay).await);
    let token = bo.token(&relay, &session).await;
    send(&relay, &bo.parcel(&token, 1, 1_024)).await.ok(202);
    acknowledge(&relay, &other, &json!({"through": 1})).await.refused(400, "seq_not_given");
    assert_eq!(seqs(&receive(&relay, &other, "").await), NONE);
    assert_eq!(seqs(&receive(&relay, &session, "").await), [1]);
}

#[tokio::test]
async fn keys_are_published_signed_or_not_at_all() {
    let (relay, clock) = TestRelay::by_hand(|_| {}).await;
    let bo = Person::new();
    let session = bo.settle(&relay).await;
    let token = bo.token(&relay, &session).await;
    let (device, now) = (&bo.devices[0], 1_800_000_600_u64);
    let put = |prekey: SealingKey, expires_at: u64, signature: Signature| {
        let body = json!({"prekey": prekey, "expires_at": expires_at, "signature": signature});
        ask("PUT /v1/keys").by(&session).json(&body)
    };
    let signed = |prekey: &SealingKey, expires_at| {
        Signature(device.key.sign(&prekey_transcript(&bo.id(), &device.id(), prekey, expires_at)))
    };
    let prekey = SealingKey(exchange::KeyPair::generate().public());
    let good = signed(&prekey, now + 3_600);
    relay.answer(put(prekey, now + 3_600, Signature([0; 64]))).await.refused(422, "bad_signature");
    relay.answer(put(prekey, now + 3_601, good)).await.refused(422, "bad_signature");
    let other = SealingKey(exchange::KeyPair::generate().public());
    relay.answer(put(other, now + 3_600, good)).await.refused(422, "bad_signature");
    for expires_at in [0, now, now + 30 * 86_400 + 1] {
        relay.answer(put(prekey, expires_at, signed(&prekey, expires_at))).await.refused(422, "bad_expiry");
    }
    let weak = SealingKey([0; 32]);
    relay.answer(put(weak, now + 3_600, signed(&weak, now + 3_600))).await.refused(422, "weak_key");
    let look = ask("POST /v1/keys").json(&json!({"token": token}));
    assert_eq!(relay.answer(look.clone()).await.ok(200), json!({"device_list": bo.list, "prekeys": []}));
    relay.answer(put(prekey, now + 3_600, good)).await.ok(200);
    let item = json!({"device": device.id(), "prekey": prekey, "expires_at": now + 3_600, "signature": good});
    assert_eq!(relay.answer(look.clone()).await.ok(200)["prekeys"], json!([item]));
    clock.advance(3_600);
    assert_eq!(relay.answer(look).await.ok(200)["prekeys"], json!([]), "an expired one is missing");
}

#[tokio::test]
async fn a_relay_without_room_still_gives_out_and_takes_back() {
    let relay = TestRelay::start().await;
    let bo = Person::new();
    let session = bo.settle(&relay).await;
    let token = bo.token(&relay, &session).await;
    send(&relay, &bo.parcel(&token, 1, 1_024)).await.ok(202);
    let (mut config, dir, clock) = relay.stop().await;
    config.server.disk_free_bytes_min = u64::MAX;
    let relay = TestRelay::run(config, dir, clock).await;
    let session = bo.login(&relay).await;
    let refused = send(&relay, &bo.parcel(&token, 2, 1_024)).await;
    refused.refused(507, "relay_full");
    assert_eq!(refused.header("retry-after"), Some(refused.json()["retry_after"].to_string().as_str()), "64");
    let stranger = Person::new().registration(&relay).await;
    relay.answer(ask("POST /v1/accounts").json(&stranger)).await.refused(503, "busy");
    assert_eq!(seqs(&receive(&relay, &session, "").await), [1]);
    assert_eq!(acknowledge(&relay, &session, &json!({"through": 1})).await.ok(200)["removed"], 1);
}
