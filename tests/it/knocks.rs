//! Knocks over real sockets: what a knock token takes, how often, and that a flood of it is in nobody's way.

use restante::protocol::envelopes::{wrap_aad, wrap_info, wrap_key_context, wrap_plaintext};
use restante::protocol::tokens::TokenKind;
use restante::protocol::{Bytes, DeliveryToken, EnvelopeId};
use serde_json::{Value, json};

use crate::support::person::{Person, acknowledge, receive, send, seqs};
use crate::support::raw::{Reply, ask};
use crate::support::relay::TestRelay;

const SIZE: usize = 4_096;

async fn add(relay: &TestRelay, session: &str, token: &DeliveryToken, more: Value) -> Reply {
    let mut body = json!({"hash": token.hash(), "kind": "knock"});
    body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    relay.answer(ask("POST /v1/tokens").by(session).json(&body)).await
}

fn token(number: u8) -> DeliveryToken {
    DeliveryToken([number; 32])
}

#[tokio::test]
async fn a_knock_is_4096_bytes_never_live_and_wrapped_as_one() {
    let relay = TestRelay::start().await;
    let bo = Person::new();
    let session = bo.settle(&relay).await;
    add(&relay, &session, &token(1), json!({})).await.ok(200);
    for size in [1_024, 16_384] {
        send(&relay, &bo.parcel(&token(1), 1, size)).await.refused(422, "bad_size");
    }
    for size in [0, 4_095, 4_097] {
        send(&relay, &bo.parcel(&token(1), 1, size)).await.refused(422, "bad_size");
    }
    let mut live = bo.parcel(&token(1), 1, SIZE);
    live["live"] = json!(true);
    send(&relay, &live).await.refused(400, "bad_request");
    let mut stale = bo.parcel(&token(1), 1, 1_024);
    stale["list"]["version"] = json!(9);
    send(&relay, &stale).await.refused(409, "device_list_changed");
    assert_eq!(receive(&relay, &session, "").await["envelopes"], json!([]), "nothing was stored");

    send(&relay, &bo.parcel(&token(1), 1, SIZE)).await.ok(202);
    let mut not_live = bo.parcel(&token(1), 2, SIZE);
    not_live["live"] = json!(false);
    send(&relay, &not_live).await.ok(202);
    let page = receive(&relay, &session, "").await;
    assert_eq!(seqs(&page), [1, 2]);
    let (device, envelope) = (&bo.devices[0], &page["envelopes"][0]);
    let bytes = |name: &str| serde_json::from_value::<Bytes>(envelope[name].clone()).expect("bytes").0;
    let (wrap, body) = (bytes("wrap"), bytes("body"));
    let (enc, nonce) = (wrap[..32].try_into().expect("32 bytes"), wrap[32..].try_into().expect("12 bytes"));
    let aad = wrap_aad(&device.id(), envelope["expires_at"].as_u64().expect("a time"));
    let (info, context) = (wrap_info(&device.id()), wrap_key_context());
    let opened = restante::crypto::wrap::unwrap(&device.sealing.secret(), &enc, &info, &context, &nonce, &aad, &body);
    let sealed: Vec<u8> = (0..SIZE).map(|at| at as u8).collect();
    let expected = wrap_plaintext(TokenKind::Knock, &token(1).hash(), &EnvelopeId(1_u128.to_be_bytes()), &sealed);
    assert_eq!((opened.expect("it opens"), expected[0]), (expected.clone(), 3));
    assert_eq!(acknowledge(&relay, &session, &json!({"through": 2})).await.ok(200), json!({"removed": 2}));

    let keys = relay.answer(ask("POST /v1/keys").json(&json!({"token": token(1)}))).await.ok(200);
    assert_eq!(keys["device_list"], json!(bo.list));
}

#[tokio::test]
async fn uses_are_a_knock_tokens_alone_and_within_their_bounds() {
    let relay = TestRelay::start().await;
    let bo = Person::new();
    let session = bo.settle(&relay).await;
    for uses in [json!(0), json!(1_001), json!(-1), json!("5"), json!(1.5)] {
        add(&relay, &session, &token(1), json!({"uses": uses})).await.refused(400, "bad_request");
    }
    for kind in ["contact", "once"] {
        let expires_at = relay.relay.now() + 86_400;
        add(&relay, &session, &token(1), json!({"kind": kind, "uses": 1, "expires_at": expires_at}))
            .await
            .refused(400, "bad_request");
    }
    add(&relay, &session, &token(1), json!({"uses": 1_000})).await.ok(200);
    add(&relay, &session, &token(1), json!({"uses": 1_000})).await.ok(200);
    for other in [json!({"uses": 999}), json!({}), json!({"kind": "contact"})] {
        add(&relay, &session, &token(1), other).await.refused(409, "token_taken");
    }
    add(&relay, &session, &token(2), json!({"uses": null, "envelopes_max": 3})).await.ok(200);
    let listed = relay.answer(ask("POST /v1/tokens/list").by(&session).json(&json!({}))).await.ok(200);
    let mut expected = vec![
        json!({"hash": token(1).hash(), "kind": "knock", "uses_left": 1_000}),
        json!({"hash": token(2).hash(), "kind": "knock", "envelopes_max": 3}),
    ];
    expected.sort_by_key(|item| std::cmp::Reverse(item["hash"] == json!(token(1).hash().min(token(2).hash()))));
    assert_eq!(listed["tokens"], json!(expected));
}

#[tokio::test]
async fn of_sixty_four_knocks_at_once_as_many_get_in_as_there_are_uses() {
    let relay = TestRelay::start().await;
    let bo = Person::new();
    let session = bo.settle(&relay).await;
    add(&relay, &session, &token(1), json!({"uses": 7})).await.ok(200);
    let mut sockets = Vec::new();
    for _ in 0..64 {
        sockets.push(relay.socket().await);
    }
    for (id, socket) in sockets.iter_mut().enumerate() {
        let parcel = bo.parcel(&token(1), id as u128, SIZE);
        socket.send(&ask("POST /v1/envelopes").json(&parcel).bytes()).await;
    }
    let mut taken = Vec::new();
    for (id, socket) in sockets.iter_mut().enumerate() {
        let reply = socket.reply().await.expect("a reply");
        match reply.status {
            202 => taken.push(id as u128),
            _ => reply.refused(404, "no_such_token"),
        }
    }
    assert_eq!(taken.len(), 7);
    let unknown = send(&relay, &bo.parcel(&token(9), 99, SIZE)).await;
    assert_eq!(send(&relay, &bo.parcel(&token(1), 99, SIZE)).await, unknown, "used up is as unknown");
    send(&relay, &bo.parcel(&token(1), taken[0], SIZE)).await.ok(202);
    assert_eq!(receive(&relay, &session, "").await["envelopes"].as_array().expect("a page").len(), 7);
    let listed = relay.answer(ask("POST /v1/tokens/list").by(&session).json(&json!({}))).await.ok(200);
    assert_eq!(listed["tokens"][0]["uses_left"], json!(0));
}

#[tokio::test]
async fn a_flood_of_knocks_takes_no_contacts_place() {
    let small = |config: &mut restante::config::Config| {
        config.limits.mailbox_envelopes_max = 4;
        config.limits.knocks_token_max = 5;
        config.limits.knocks_max = 12;
    };
    let mut relay = TestRelay::with(small).await;
    let bo = Person::new();
    let mut session = bo.settle(&relay).await;
    let friend = bo.token(&relay, &session).await;
    for number in 1..=4 {
        add(&relay, &session, &token(number), json!({})).await.ok(200);
    }
    let mut taken = 0;
    for restart in [false, true] {
        if restart {
            relay = relay.restart().await;
            session = bo.login(&relay).await;
        }
        for number in 1..=4 {
            let mut of_token = 0;
            for id in 0..8_u128 {
                let id = id + if restart { 100 } else { 0 };
                let reply = send(&relay, &bo.parcel(&token(number), id, SIZE)).await;
                match reply.status {
                    202 => of_token += 1,
                    _ => reply.refused(429, "mailbox_full"),
                }
            }
            assert!(of_token <= 5, "of one token");
            taken += of_token;
        }
        assert_eq!(taken, 12, "of all, restarted or not");
    }
    for id in 0..2 {
        send(&relay, &bo.parcel(&friend, id, 1_024)).await.ok(202);
    }
    send(&relay, &bo.parcel(&friend, 2, 1_024)).await.refused(429, "mailbox_full");
    assert_eq!(seqs(&receive(&relay, &session, "").await).len(), 14);
}

#[tokio::test]
async fn a_prefix_knocks_so_often_an_hour_and_writes_to_friends_as_it_likes() {
    let (relay, clock) = TestRelay::by_hand(|config| config.server.trusted_proxies = vec!["127.0.0.0/8".into()]).await;
    let bo = Person::new();
    let session = bo.settle(&relay).await;
    let friend = bo.token(&relay, &session).await;
    add(&relay, &session, &token(1), json!({})).await.ok(200);
    let send = |token: &DeliveryToken, id: u128, from: &str| {
        relay.answer(ask("POST /v1/envelopes").json(&bo.parcel(token, id, SIZE)).from(from))
    };
    for id in 0..4 {
        send(&token(1), id, "2001:db8:1:100::1").await.ok(202);
    }
    let refused = send(&token(1), 4, "2001:db8:1:1ff::9").await;
    refused.refused(429, "rate_limited");
    let secs: u64 = refused.header("retry-after").and_then(|secs| secs.parse().ok()).expect("seconds");
    assert_eq!(secs, 900, "four an hour are one in a quarter of it");
    send(&friend, 5, "2001:db8:1:1ff::9").await.ok(202);
    send(&token(9), 6, "2001:db8:1:1ff::9").await.refused(404, "no_such_token");
    send(&token(1), 7, "2001:db8:1:200::1").await.ok(202);
    clock.advance(3_601);
    send(&token(1), 8, "2001:db8:1:100::1").await.ok(202);
}
