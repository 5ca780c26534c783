//! Slots over HTTP: compare-and-swap by headers, sizes, and whose they are.

use restante::protocol::{Bytes, SlotId};
use serde_json::{Value, json};

use crate::support::person::{Device, Person, challenge, login, prove};
use crate::support::raw::{Ask, Reply, ask};
use crate::support::relay::TestRelay;

const FIRST: (&str, &str) = ("If-None-Match", "*");

fn content(byte: u8, size: usize) -> Value {
    json!({"content": Bytes(vec![byte; size])})
}

fn id(byte: u8) -> String {
    SlotId([byte; 32]).encode()
}

/// A change of slot 1 that has no condition yet.
fn change(session: &str) -> Ask {
    ask("PUT /v1/slot").by(session).header("Slot-Id", &id(1))
}

async fn put(relay: &TestRelay, session: &str, condition: (&str, &str), byte: u8) -> Reply {
    relay.answer(change(session).header(condition.0, condition.1).json(&content(byte, 1_024))).await
}

async fn get(relay: &TestRelay, session: &str, slot: u8) -> Reply {
    relay.answer(ask("GET /v1/slot").by(session).header("Slot-Id", &id(slot))).await
}

#[tokio::test]
async fn a_slot_is_read_changed_and_deleted() {
    let relay = TestRelay::start().await;
    let bo = Person::of(vec![Device::new(), Device::new()]);
    let session = bo.settle(&relay).await;
    let other_device = login(&relay, &bo.devices[1]).await;
    assert!(relay.relay.info().features.contains(&"slot".to_string()));

    get(&relay, &session, 1).await.refused(404, "no_such_slot");
    put(&relay, &session, ("If-Match", "\"1\""), 1).await.refused(412, "slot_changed");
    let first = put(&relay, &session, FIRST, 1).await;
    assert_eq!((first.ok(200), first.header("etag")), (json!({"version": 1}), Some("\"1\"")));
    put(&relay, &session, FIRST, 2).await.refused(412, "slot_changed");
    let read = get(&relay, &other_device, 1).await;
    assert_eq!(read.header("etag"), Some("\"1\""));
    assert_eq!(read.ok(200), json!({"version": 1, "content": Bytes(vec![1; 1_024])}));

    let second = put(&relay, &other_device, ("If-Match", "\"1\""), 2).await;
    assert_eq!((second.ok(200), second.header("etag")), (json!({"version": 2}), Some("\"2\"")));
    for stale in ["\"1\"", "\"3\"", "\"9007199254740993\""] {
        put(&relay, &session, ("If-Match", stale), 3).await.refused(412, "slot_changed");
    }
    assert_eq!(get(&relay, &session, 1).await.ok(200)["content"], json!(Bytes(vec![2; 1_024])));

    let account = relay.answer(ask("GET /v1/account").by(&session)).await.ok(200);
    assert_eq!(account["slots"], json!([{"slot": id(1), "version": 2, "bytes": 1_024}]));
    let delete = || relay.answer(ask("POST /v1/slot/delete").by(&session).header("Slot-Id", &id(1)).json(&json!({})));
    assert_eq!(delete().await.ok(200), json!({"deleted": true}));
    assert_eq!(delete().await.ok(200), json!({"deleted": false}));
    get(&relay, &session, 1).await.refused(404, "no_such_slot");
}

#[tokio::test]
async fn content_is_of_four_sizes() {
    let relay = TestRelay::start().await;
    let bo = Person::new();
    let session = bo.settle(&relay).await;
    for size in [0, 1, 1_023, 1_025, 4_095, 8_192, 16_385, 65_535, 65_537, 66_000] {
        let reply = relay.answer(change(&session).header("If-None-Match", "*").json(&content(1, size))).await;
        assert_eq!((reply.status, reply.code().as_str()), (422, "bad_size"), "{size}");
    }
    let larger = relay.answer(change(&session).header("If-None-Match", "*").json(&content(1, 68_000))).await;
    larger.refused(413, "too_large");
    for (version, size) in (1_u64..).zip([1_024, 4_096, 16_384, 65_536, 1_024]) {
        let tag = format!("\"{}\"", version - 1);
        let condition = if version == 1 { FIRST } else { ("If-Match", tag.as_str()) };
        let request = change(&session).header(condition.0, condition.1).json(&content(version as u8, size));
        assert_eq!(relay.answer(request).await.ok(200), json!({"version": version}));
        let read = get(&relay, &session, 1).await.ok(200);
        assert_eq!(read, json!({"version": version, "content": Bytes(vec![version as u8; size])}));
    }
}

#[tokio::test]
async fn a_change_needs_one_condition_of_the_one_form() {
    let relay = TestRelay::start().await;
    let bo = Person::new();
    let session = bo.settle(&relay).await;
    put(&relay, &session, FIRST, 1).await.ok(200);
    let with = |headers: &[(&str, &str)]| {
        headers.iter().fold(change(&session), |request, (name, value)| request.header(name, value)).json(&content(2, 1_024))
    };
    let current = ("If-Match", "\"1\"");
    for none_or_both in [&[][..], &[FIRST, current], &[FIRST, FIRST, current], &[("If-Modified-Since", "now")]] {
        relay.answer(with(none_or_both)).await.refused(428, "condition_needed");
    }
    for value in
        ["1", "W/\"1\"", "\"1", "1\"", "'1'", "\"01\"", "\"+1\"", "\"1.0\"", "\"\"", "", "*", "\"1\", \"2\"", "\"0\"", "\"-1\""]
    {
        let reply = relay.answer(with(&[("If-Match", value)])).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "bad_request"), "If-Match: {value}");
    }
    for value in ["\"1\"", "**", "\"*\"", "", "1", "*, *"] {
        let reply = relay.answer(with(&[("If-None-Match", value)])).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, "bad_request"), "If-None-Match: {value}");
    }
    for twice in [[current, current], [current, ("If-Match", "\"2\"")], [FIRST, FIRST]] {
        relay.answer(with(&twice)).await.refused(400, "bad_request");
    }
    assert_eq!(get(&relay, &session, 1).await.ok(200)["version"], 1, "nothing came of any of it");
    relay.answer(with(&[("if-match", "\"1\"")])).await.ok(200);
}

#[tokio::test]
async fn the_header_names_the_slot_and_the_body_only_fills_it() {
    let relay = TestRelay::start().await;
    let bo = Person::new();
    let session = bo.settle(&relay).await;
    let asks = [
        (ask("GET /v1/slot").by(&session), None),
        (ask("PUT /v1/slot").by(&session).header(FIRST.0, FIRST.1), Some(content(1, 1_024))),
        (ask("POST /v1/slot/delete").by(&session), Some(json!({}))),
    ];
    let good = id(1);
    let (padded, short, long) = (format!("{good}="), good[1..].to_string(), format!("{good}AA"));
    let (upper, loose) = (good.replace('A', "+"), format!("{}d", &good[..42]));
    for (request, body) in asks {
        let with = |headers: &[&str]| {
            let request = headers.iter().fold(request.clone(), |request, value| request.header("Slot-Id", value));
            relay.answer(body.iter().fold(request, |request, body| request.json(body)))
        };
        for bad in [&[][..], &[""], &["garbage"], &[&padded], &[&short], &[&long], &[&upper], &[&loose], &[&good, &good]] {
            let reply = with(bad).await;
            assert_eq!((reply.status, reply.code().as_str()), (400, "bad_request"), "{bad:?}");
            assert!(bad.iter().all(|value| value.is_empty() || !String::from_utf8_lossy(&reply.body).contains(value)));
        }
    }
    let first = || change(&session).header(FIRST.0, FIRST.1);
    for body in [
        json!({}),
        json!([]),
        json!({"content": 1}),
        json!({"content": "AA=="}),
        json!({"content": null}),
        json!({"content": Bytes(vec![1; 1_024]), "version": 1}),
    ] {
        relay.answer(first().json(&body)).await.refused(400, "bad_request");
    }
    let delete = |body: Value| ask("POST /v1/slot/delete").by(&session).header("Slot-Id", &id(1)).json(&body);
    relay.answer(delete(json!({"slot": id(1)}))).await.refused(400, "bad_request");
    relay.answer(delete(json!([]))).await.refused(400, "bad_request");
    get(&relay, &session, 1).await.refused(404, "no_such_slot");
}

#[tokio::test]
async fn a_slot_is_its_accounts_alone() {
    let relay = TestRelay::with(|config| config.limits.slots_max = 2).await;
    let (bo, eve) = (Person::new(), Person::new());
    let (session, of_eve) = (bo.settle(&relay).await, eve.settle(&relay).await);
    put(&relay, &session, FIRST, 1).await.ok(200);
    get(&relay, &of_eve, 1).await.refused(404, "no_such_slot");
    put(&relay, &of_eve, ("If-Match", "\"1\""), 9).await.refused(412, "slot_changed");
    let delete = ask("POST /v1/slot/delete").by(&of_eve).header("Slot-Id", &id(1)).json(&json!({}));
    assert_eq!(relay.answer(delete).await.ok(200), json!({"deleted": false}));
    put(&relay, &of_eve, FIRST, 9).await.ok(200);
    assert_eq!(get(&relay, &session, 1).await.ok(200)["content"], json!(Bytes(vec![1; 1_024])));

    let more = |slot: u8| {
        let request = ask("PUT /v1/slot").by(&session).header("Slot-Id", &id(slot)).header(FIRST.0, FIRST.1);
        relay.answer(request.json(&content(1, 1_024)))
    };
    more(2).await.ok(200);
    more(3).await.refused(409, "too_many_slots");

    let given = challenge(&relay, &bo.devices[0].id()).await;
    let signature = prove(&relay, &given, &bo.devices[0], |proof| proof.delete_account(&bo.id()));
    let delete = json!({"challenge": given.challenge, "signature": signature});
    relay.answer(ask("POST /v1/account/delete").by(&session).json(&delete)).await.ok(200);
    let mut back = Person::new();
    back.account = bo.account;
    back.list = back.signed(2, 1, restante::protocol::Hash::ZERO);
    let session = back.settle(&relay).await;
    get(&relay, &session, 1).await.refused(404, "no_such_slot");
    assert_eq!(get(&relay, &of_eve, 1).await.ok(200)["version"], 1);
}
