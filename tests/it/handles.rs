//! Handles over real sockets: put, held, given up, looked up; of the name itself the relay sees nothing.

use restante::protocol::handles::{RECORD_BYTES, handle_salt};
use restante::protocol::{Bytes, HandleHash, RelayKey};
use serde_json::{Value, json};

use crate::support::person::{Person, challenge, prove};
use crate::support::raw::{Reply, ask};
use crate::support::relay::TestRelay;

const WEEK: u64 = 7 * 86_400;

fn hash(number: u8) -> HandleHash {
    HandleHash([number; 32])
}

fn record(number: u8) -> Bytes {
    Bytes(vec![number; RECORD_BYTES])
}

async fn put(relay: &TestRelay, session: &str, number: u8) -> Reply {
    let body = json!({"hash": hash(number), "record": record(number)});
    relay.answer(ask("PUT /v1/handle").by(session).json(&body)).await
}

async fn release(relay: &TestRelay, session: &str) -> Reply {
    relay.answer(ask("POST /v1/handle/release").by(session).json(&json!({}))).await
}

async fn look_up(relay: &TestRelay, number: u8) -> Reply {
    relay.answer(ask("POST /v1/handles/lookup").json(&json!({"hash": hash(number)}))).await
}

async fn own(relay: &TestRelay, session: &str) -> Value {
    relay.answer(ask("GET /v1/account").by(session)).await.ok(200)["handles"].clone()
}

#[tokio::test]
async fn a_handle_is_put_found_renamed_and_given_up() {
    let (relay, clock) = TestRelay::by_hand(|_| {}).await;
    let (bo, eve) = (Person::new(), Person::new());
    let (session, of_eve) = (bo.settle(&relay).await, eve.settle(&relay).await);
    let nobody = look_up(&relay, 1).await;
    nobody.refused(404, "no_such_handle");
    assert_eq!(own(&relay, &session).await, json!([]));

    assert_eq!(put(&relay, &session, 1).await.ok(200), json!({"hash": hash(1)}));
    assert_eq!(put(&relay, &session, 1).await.ok(200), json!({"hash": hash(1)}), "as the first time");
    assert_eq!(look_up(&relay, 1).await.ok(200), json!({"record": record(1)}));
    put(&relay, &of_eve, 1).await.refused(409, "handle_taken");
    let again = json!({"hash": hash(1), "record": record(7)});
    relay.answer(ask("PUT /v1/handle").by(&session).json(&again)).await.ok(200);
    assert_eq!(look_up(&relay, 1).await.ok(200), json!({"record": record(7)}), "another record of the same handle");

    put(&relay, &session, 2).await.ok(200);
    assert_eq!(look_up(&relay, 1).await, nobody, "a held one is as one that never was");
    look_up(&relay, 2).await.ok(200);
    put(&relay, &of_eve, 1).await.refused(409, "handle_taken");
    let until = (relay.relay.now() + WEEK).div_ceil(3_600) * 3_600;
    assert_eq!(own(&relay, &session).await, json!([{"hash": hash(1), "held_until": until}, {"hash": hash(2)}]));

    assert_eq!(release(&relay, &session).await.ok(200), json!({"released": true}));
    assert_eq!(release(&relay, &session).await.ok(200), json!({"released": false}));
    assert_eq!(look_up(&relay, 2).await, nobody);
    put(&relay, &of_eve, 2).await.refused(409, "handle_taken");
    clock.advance(until - relay.relay.now() - 1);
    let of_eve = eve.login(&relay).await;
    put(&relay, &of_eve, 1).await.refused(409, "handle_taken");
    clock.advance(1);
    put(&relay, &of_eve, 1).await.ok(200);
    relay.relay.purge(Default::default(), |_| {}).await.expect("purged");
    let session = bo.login(&relay).await;
    assert_eq!(own(&relay, &session).await, json!([]), "the purge frees what was held");
    put(&relay, &session, 2).await.ok(200);
}

#[tokio::test]
async fn a_fourth_held_handle_has_to_wait() {
    let (relay, clock) = TestRelay::by_hand(|_| {}).await;
    let session = Person::new().settle(&relay).await;
    for number in 1..=4 {
        put(&relay, &session, number).await.ok(200);
    }
    for refused in [put(&relay, &session, 5).await, release(&relay, &session).await] {
        refused.refused(429, "rate_limited");
        let secs = refused.json()["retry_after"].as_u64().expect("when");
        assert!((WEEK..=WEEK + 3_600).contains(&secs), "{secs}");
        assert_eq!(refused.header("retry-after"), Some(secs.to_string().as_str()));
    }
    look_up(&relay, 4).await.ok(200);
    put(&relay, &session, 1).await.ok(200);
    clock.advance(WEEK + 3_600);
    let restarted = relay.restart().await;
    restarted.answer(ask("GET /v1/info")).await.ok(200);
    look_up(&restarted, 1).await.ok(200);
}

#[tokio::test]
async fn of_two_accounts_that_race_for_a_handle_one_gets_it() {
    let relay = TestRelay::start().await;
    let (bo, eve) = (Person::new(), Person::new());
    let (session, of_eve) = (bo.settle(&relay).await, eve.settle(&relay).await);
    let (one, other) = tokio::join!(put(&relay, &session, 1), put(&relay, &of_eve, 1));
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409]);
    let winner = if one.status == 200 { &session } else { &of_eve };
    assert_eq!(own(&relay, winner).await, json!([{"hash": hash(1)}]));
}

#[tokio::test]
async fn a_deleted_account_leaves_no_handle_behind() {
    let relay = TestRelay::start().await;
    let (bo, eve) = (Person::new(), Person::new());
    let (session, of_eve) = (bo.settle(&relay).await, eve.settle(&relay).await);
    put(&relay, &session, 1).await.ok(200);
    let given = challenge(&relay, &bo.devices[0].id()).await;
    let signature = prove(&relay, &given, &bo.devices[0], |proof| proof.delete_account(&bo.id()));
    let delete = json!({"challenge": given.challenge, "signature": signature});
    relay.answer(ask("POST /v1/account/delete").by(&session).json(&delete)).await.ok(200);
    look_up(&relay, 1).await.refused(404, "no_such_handle");
    put(&relay, &of_eve, 1).await.ok(200);
}

#[tokio::test]
async fn what_is_no_handle_is_refused() {
    let relay = TestRelay::start().await;
    let session = Person::new().settle(&relay).await;
    let (good, long) = (record(1), Bytes(vec![0; RECORD_BYTES + 1]));
    for (name, body, status, code) in [
        ("a record too short", json!({"hash": hash(1), "record": Bytes(vec![0; RECORD_BYTES - 1])}), 422, "bad_size"),
        ("a record too long", json!({"hash": hash(1), "record": long}), 422, "bad_size"),
        ("an empty record", json!({"hash": hash(1), "record": ""}), 422, "bad_size"),
        ("no record", json!({"hash": hash(1)}), 400, "bad_request"),
        ("null for a record", json!({"hash": hash(1), "record": null}), 400, "bad_request"),
        ("a hash too short", json!({"hash": Bytes(vec![1; 31]), "record": good}), 400, "bad_request"),
        ("a name in the place of its hash", json!({"hash": "alice", "record": good}), 400, "bad_request"),
        ("a field too many", json!({"hash": hash(1), "record": good, "name": "alice"}), 400, "bad_request"),
        ("an array", json!([]), 400, "bad_request"),
    ] {
        let reply = relay.answer(ask("PUT /v1/handle").by(&session).json(&body)).await;
        assert_eq!((reply.status, reply.code().as_str()), (status, code), "{name}");
    }
    for body in [json!({"hash": hash(1)}), json!({"all": true}), json!([]), json!(null), json!("")] {
        relay.answer(ask("POST /v1/handle/release").by(&session).json(&body)).await.refused(400, "bad_request");
    }
    for body in [json!({}), json!({"hash": "alice"}), json!({"hash": hash(1), "x": 1}), json!({"hash": [hash(1)]})] {
        relay.answer(ask("POST /v1/handles/lookup").json(&body)).await.refused(400, "bad_request");
    }
    assert_eq!(own(&relay, &session).await, json!([]));
}

#[tokio::test]
async fn a_prefix_looks_up_so_many_a_minute_and_no_other_pays_for_it() {
    let (relay, clock) = TestRelay::by_hand(|config| config.server.trusted_proxies = vec!["127.0.0.0/8".into()]).await;
    let session = Person::new().settle(&relay).await;
    put(&relay, &session, 1).await.ok(200);
    let look_up =
        |number: u8, from: &str| relay.answer(ask("POST /v1/handles/lookup").json(&json!({"hash": hash(number)})).from(from));
    for last in 0..10_u8 {
        let status = look_up(last % 2, &format!("203.0.113.{last}")).await.status;
        assert_eq!(status, if last % 2 == 1 { 200 } else { 404 }, "found or not, it counts");
    }
    let refused = look_up(1, "203.0.113.200").await;
    refused.refused(429, "rate_limited");
    assert!(refused.header("retry-after").is_some());
    look_up(1, "203.0.114.1").await.ok(200);
    clock.advance(61);
    look_up(1, "203.0.113.200").await.ok(200);
}

#[tokio::test]
async fn the_relay_says_that_it_has_handles_and_by_which_salt() {
    let relay = TestRelay::start().await;
    let info = relay.answer(ask("GET /v1/info")).await.ok(200);
    let key: RelayKey = serde_json::from_value(info["relay_key"].clone()).expect("a key");
    assert_eq!(info["handle_salt"], json!(Bytes(handle_salt(&key).to_vec())));
    let features = info["features"].as_array().expect("a list");
    assert!(features.contains(&json!("handle")) && features.contains(&json!("knock")), "{features:?}");
}
