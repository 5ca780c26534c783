//! Delivery tokens as their owner keeps them, and as a sender finds them.

use restante::protocol::{Bytes, DeliveryToken, TokenHash};
use serde_json::{Value, json};

use crate::support::person::{Person, challenge, prove, send};
use crate::support::raw::{Reply, ask};
use crate::support::relay::TestRelay;

const DAY: u64 = 86_400;

/// What is done to a send that would be right.
type Change<'a> = &'a dyn Fn(&mut Value);

async fn post(relay: &TestRelay, session: &str, path: &str, body: Value) -> Reply {
    relay.answer(ask(&format!("POST {path}")).by(session).json(&body)).await
}

async fn add(relay: &TestRelay, session: &str, body: Value) -> Reply {
    post(relay, session, "/v1/tokens", body).await
}

#[tokio::test]
async fn a_token_is_registered_once_and_for_one_account() {
    let (relay, _clock) = TestRelay::by_hand(|config| config.limits.tokens_max = 3).await;
    let (bo, eve) = (Person::new(), Person::new());
    let (session, of_eve) = (bo.settle(&relay).await, eve.settle(&relay).await);
    let now = relay.relay.now();
    let hash = |n: u8| TokenHash([n; 32]);
    let contact = json!({"hash": hash(1), "kind": "contact"});
    assert_eq!(add(&relay, &session, contact.clone()).await.ok(200), json!({"hash": hash(1)}));
    assert_eq!(add(&relay, &session, contact.clone()).await.ok(200), json!({"hash": hash(1)}), "as the first time");
    add(&relay, &of_eve, contact).await.refused(409, "token_taken");
    let expires_at = now + DAY;
    add(&relay, &session, json!({"hash": hash(1), "kind": "contact", "expires_at": expires_at}))
        .await
        .refused(409, "token_taken");
    add(&relay, &session, json!({"hash": hash(1), "kind": "once", "expires_at": expires_at})).await.refused(409, "token_taken");

    for (name, body) in [
        ("once without an end", json!({"hash": hash(2), "kind": "once"})),
        ("once, too far", json!({"hash": hash(2), "kind": "once", "expires_at": now + 30 * DAY + 1})),
        ("now", json!({"hash": hash(2), "kind": "contact", "expires_at": now})),
        ("gone", json!({"hash": hash(2), "kind": "once", "expires_at": 0})),
        ("2^53", json!({"hash": hash(2), "kind": "contact", "expires_at": 1_u64 << 53})),
    ] {
        let reply = add(&relay, &session, body).await;
        assert_eq!((reply.status, reply.code().as_str()), (422, "bad_expiry"), "{name}");
    }
    for max in [json!(0), json!(10_001), json!(-1), json!("1"), json!(1.5)] {
        add(&relay, &session, json!({"hash": hash(2), "kind": "contact", "envelopes_max": max}))
            .await
            .refused(400, "bad_request");
    }
    add(&relay, &session, json!({"hash": hash(2), "kind": "friend"})).await.refused(400, "bad_request");
    add(&relay, &session, json!({"hash": hash(2), "kind": "once", "expires_at": now + 30 * DAY})).await.ok(200);
    add(&relay, &session, json!({"hash": hash(3), "kind": "contact", "envelopes_max": 10_000})).await.ok(200);
    add(&relay, &session, json!({"hash": hash(4), "kind": "contact"})).await.refused(409, "too_many_tokens");

    let page = post(&relay, &session, "/v1/tokens/list", json!({"limit": 2})).await.ok(200);
    let rounded = (now + 30 * DAY).div_ceil(3_600) * 3_600;
    let expected = json!([{"hash": hash(1), "kind": "contact"}, {"hash": hash(2), "kind": "once", "expires_at": rounded}]);
    assert_eq!(page, json!({"tokens": expected, "more": true}));
    let page = post(&relay, &session, "/v1/tokens/list", json!({"after": hash(2)})).await.ok(200);
    assert_eq!(page, json!({"tokens": [{"hash": hash(3), "kind": "contact", "envelopes_max": 10_000}], "more": false}));
    for limit in [0, 1_001] {
        post(&relay, &session, "/v1/tokens/list", json!({"limit": limit})).await.refused(400, "bad_request");
    }
    let none = post(&relay, &of_eve, "/v1/tokens/list", json!({})).await.ok(200);
    assert_eq!(none, json!({"tokens": [], "more": false}));

    let all: Vec<TokenHash> = (1..=4).map(hash).collect();
    let revoke = |session: &str, hashes: Value| {
        let session = session.to_string();
        let relay = &relay;
        async move { post(relay, &session, "/v1/tokens/revoke", json!({"hashes": hashes})).await }
    };
    assert_eq!(revoke(&of_eve, json!(all)).await.ok(200), json!({"revoked": 0}), "another's stay");
    assert_eq!(revoke(&session, json!(all)).await.ok(200), json!({"revoked": 3}));
    assert_eq!(revoke(&session, json!(all)).await.ok(200), json!({"revoked": 0}));
    revoke(&session, json!(vec![hash(9); 1_001])).await.refused(400, "too_many");
    revoke(&session, json!(vec![hash(9); 1_000])).await.ok(200);
    // The relay took a request that revoked nothing, which the protocol does not know (1 to 1,000); schemathesis found it.
    revoke(&session, json!([])).await.refused(400, "bad_request");
}

/// Rows 56 and 57: to the byte, headers too, whatever else is right or wrong about the send.
#[tokio::test]
async fn unknown_expired_used_revoked_and_orphaned_are_one_refusal() {
    let (relay, clock) = TestRelay::by_hand(|_| {}).await;
    let (bo, gone) = (Person::new(), Person::new());
    let (session, of_gone) = (bo.settle(&relay).await, gone.settle(&relay).await);
    let soon = relay.relay.now() + 3_600;
    let token = |n: u8| DeliveryToken([n; 32]);
    for (n, session, person, body) in [
        (1, &session, &bo, json!({"kind": "contact", "expires_at": soon})),
        (2, &session, &bo, json!({"kind": "once", "expires_at": soon + 3 * DAY})),
        (3, &session, &bo, json!({"kind": "contact"})),
        (4, &of_gone, &gone, json!({"kind": "contact"})),
    ] {
        let mut body = body;
        body["hash"] = json!(token(n).hash());
        add(&relay, session, body).await.ok(200);
        send(&relay, &person.parcel(&token(n), u128::from(n), 1_024)).await.ok(202);
    }
    let used = bo.parcel(&token(2), 2, 1_024);
    send(&relay, &used).await.ok(202);
    post(&relay, &session, "/v1/tokens/revoke", json!({"hashes": [token(3).hash()]})).await.ok(200);
    let given = challenge(&relay, &gone.devices[0].id()).await;
    let signature = prove(&relay, &given, &gone.devices[0], |proof| proof.delete_account(&gone.id()));
    let delete = json!({"challenge": given.challenge, "signature": signature});
    post(&relay, &of_gone, "/v1/account/delete", delete).await.ok(200);
    clock.advance(2 * 3_600);

    let changes: [(&str, Change<'_>); 5] = [
        ("as it should be", &|_| {}),
        ("of another size", &|parcel| parcel["sealed"][0]["body"] = json!(Bytes(vec![0; 16_384]))),
        ("for another list", &|parcel| parcel["list"]["version"] = json!(7)),
        ("for another's device", &|parcel| parcel["sealed"][0]["device"] = json!(gone.devices[0].id())),
        ("live", &|parcel| parcel["live"] = json!(true)),
    ];
    let keys = |n: u8| relay.answer(ask("POST /v1/keys").json(&json!({"token": token(n)})));
    // Before the purge that removes the expired one's row, and after.
    for purged in [false, true] {
        if purged {
            relay.relay.purge(Default::default(), |_| {}).await.expect("purged");
        }
        for (change, spoil) in changes {
            let parcel = |n: u8| {
                let mut parcel = bo.parcel(&token(n), 99, 1_024);
                spoil(&mut parcel);
                parcel
            };
            let unknown = send(&relay, &parcel(9)).await;
            unknown.refused(404, "no_such_token");
            for n in [1, 3, 4] {
                assert_eq!(send(&relay, &parcel(n)).await, unknown, "token {n}, {change}, purged: {purged}");
            }
        }
        let unknown = send(&relay, &bo.parcel(&token(9), 99, 1_024)).await;
        assert_eq!(send(&relay, &bo.parcel(&token(2), 99, 1_024)).await, unknown, "used up");
        send(&relay, &used).await.ok(202);
        let unknown = keys(9).await;
        unknown.refused(404, "no_such_token");
        for n in [1, 3, 4] {
            assert_eq!(keys(n).await, unknown, "token {n}, purged: {purged}");
        }
        keys(2).await.ok(200);
    }
}
