//! Accounts and their lists, over real sockets: what follows what, and who may say so.

use restante::crypto::sign;
use restante::protocol::accounts::DeviceEntry;
use restante::protocol::{Bytes, DeviceId, Hash, SealingKey, SignedList};
use serde_json::{Value, json};

use crate::support::person::{Device, Person, challenge, login_request, prove, prove_at, receive, send};
use crate::support::raw::{Reply, ask, text};
use crate::support::relay::TestRelay;

async fn put(relay: &TestRelay, session: &str, list: &SignedList) -> Reply {
    relay.answer(ask("PUT /v1/account/device-list").by(session).json(&json!({"device_list": list}))).await
}

async fn register(relay: &TestRelay, request: &Value) -> Reply {
    relay.answer(ask("POST /v1/accounts").json(request)).await
}

/// A recovery by the first device, signed by `key`.
async fn recover(relay: &TestRelay, person: &Person, list: &SignedList, key: &sign::KeyPair) -> Reply {
    let device = &person.devices[0];
    let challenge = challenge(relay, &device.id()).await;
    let signature = prove_at(&relay.origin(), &challenge, device, key, |proof| proof.recover(&person.id(), &list.hash()));
    let body = json!({"device": device.id(), "challenge": challenge.challenge, "device_list": list,
        "account_signature": signature});
    relay.answer(ask("POST /v1/account/recover").json(&body)).await
}

#[tokio::test]
async fn the_same_registration_again_is_answered_as_the_first_time_and_another_list_is_not() {
    let relay = TestRelay::start().await;
    let mut bo = Person::new();
    let request = bo.registration(&relay).await;
    let first = register(&relay, &request).await;
    assert_eq!(first.ok(201)["account"], json!(bo.id()));
    assert_eq!(register(&relay, &request).await, first, "the very same request: neither challenge nor pass is needed");

    bo.list = bo.signed(1, 2, bo.list.hash());
    register(&relay, &bo.registration(&relay).await).await.refused(409, "account_exists");
    let mut thief = Person::of(bo.devices.clone());
    register(&relay, &thief.registration(&relay).await).await.refused(409, "device_taken");
    thief.devices = vec![Device::new()];
    thief.list = thief.signed(7, 40, Hash([3; 32]));
    register(&relay, &thief.registration(&relay).await).await.ok(201);
}

#[tokio::test]
async fn a_list_that_is_not_valid_is_refused_by_name() {
    let relay = TestRelay::start().await;
    let bo = Person::new();
    let good = bo.list.clone();
    let stranger = Person::new();
    let flipped = |bytes: &Bytes| {
        let mut bytes = bytes.clone();
        *bytes.0.last_mut().expect("bytes") ^= 1;
        bytes
    };
    let theirs = stranger.devices[0].entry(bo.id());
    let forged = DeviceEntry { signature: bo.devices[0].entry(bo.id()).signature, ..theirs.clone() };
    let own = bo.devices[0].entry(bo.id());
    let weak = DeviceEntry { sealing_key: SealingKey([0; 32]), ..own.clone() };
    let mut identity = [0; 32];
    identity[0] = 1;
    let small = DeviceEntry { device: DeviceId(identity), ..own.clone() };
    let suites = DeviceEntry { suites: 2, ..own.clone() };
    let list = |entries: Vec<DeviceEntry>| bo.signed_entries(1, 1, Hash::ZERO, entries);
    for (name, code, list) in [
        ("its signature", "bad_list", SignedList { signature: stranger.list.signature, ..good.clone() }),
        (
            "its certificate",
            "bad_list",
            SignedList { list_key_certificate: flipped(&good.list_key_certificate), ..good.clone() },
        ),
        (
            "another's certificate",
            "bad_list",
            SignedList { list_key_certificate: stranger.list.list_key_certificate.clone(), ..good.clone() },
        ),
        ("its bytes", "bad_list", SignedList { list: flipped(&good.list), ..good.clone() }),
        ("no bytes", "bad_list", SignedList { list: Bytes(vec![]), ..good.clone() }),
        ("a byte more", "bad_list", SignedList { list: Bytes([good.list.as_slice(), &[0]].concat()), ..good.clone() }),
        ("another's device, which did not sign", "bad_list", list(vec![own.clone(), forged])),
        ("no device of it signs the request", "bad_list", list(vec![theirs])),
        ("no devices", "bad_list", list(vec![])),
        ("a device twice", "bad_list", list(vec![own.clone(), own.clone()])),
        ("eleven devices", "bad_list", list((0..11).map(|_| Device::new().entry(bo.id())).collect())),
        ("no suite 1", "bad_list", list(vec![suites])),
        ("version 0", "bad_list", bo.signed(1, 0, Hash::ZERO)),
        ("version 2^53", "bad_list", bo.signed(1, 1 << 53, Hash::ZERO)),
        ("a weak sealing key", "weak_key", list(vec![weak])),
        ("a weak device key", "weak_key", list(vec![own.clone(), small])),
    ] {
        let person = Person { list, ..bo.clone() };
        let reply = register(&relay, &person.registration(&relay).await).await;
        assert_eq!((reply.status, reply.code().as_str()), (422, code), "{name}: {}", String::from_utf8_lossy(&reply.body));
    }
    // A small-order device key "signs" everything under a lax verifier; the proof alone refuses it here.
    let mut request = bo.registration(&relay).await;
    request["device"] = json!(DeviceId([0; 32]));
    register(&relay, &request).await.refused(401, "login_refused");
    register(&relay, &bo.registration(&relay).await).await.ok(201);
}

#[tokio::test]
async fn a_list_follows_the_one_before_or_is_refused_with_it() {
    let relay = TestRelay::start().await;
    let mut bo = Person::new();
    let session = bo.settle(&relay).await;
    let first = bo.list.clone();
    bo.devices.push(Device::new());
    let second = bo.next();
    assert_eq!(put(&relay, &session, &second).await.ok(200), json!({"epoch": 1, "version": 2}));
    let repeated = put(&relay, &session, &second).await;
    assert_eq!(repeated.ok(200), json!({"epoch": 1, "version": 2}), "the current list again");
    for (name, list) in [
        ("the one before", first.clone()),
        ("a fork of the current one", bo.signed(1, 2, Hash::ZERO)),
        ("version + 2", bo.signed(1, 4, second.hash())),
        ("the wrong previous", bo.signed(1, 3, first.hash())),
        ("a lower epoch", bo.signed(0, 9, second.hash())),
    ] {
        let reply = put(&relay, &session, &list).await;
        reply.refused(409, "device_list_conflict");
        assert_eq!(reply.json()["device_list"], json!(second), "{name}: the current list comes with it");
    }
    put(&relay, &session, &Person::new().list).await.refused(422, "bad_list");
    assert_eq!(put(&relay, &session, &bo.signed(2, 1, Hash::ZERO)).await.ok(200), json!({"epoch": 2, "version": 1}));
}

#[tokio::test]
async fn a_removed_device_loses_everything_at_once_and_never_comes_back() {
    let relay = TestRelay::start().await;
    let mut bo = Person::of(vec![Device::new(), Device::new()]);
    let session = bo.settle(&relay).await;
    let lost = bo.devices[1].clone();
    let of_lost = crate::support::person::login(&relay, &lost).await;
    let token = bo.token(&relay, &session).await;
    send(&relay, &bo.parcel(&token, 1, 1_024)).await.ok(202);
    let stale = bo.parcel(&token, 2, 1_024);

    assert_eq!(receive(&relay, &of_lost, "").await["drained"], true);
    let mut polling = relay.socket().await;
    polling.send(&ask("GET /v1/envelopes?wait=60&after=1").by(&of_lost).bytes()).await;
    bo.devices.truncate(1);
    bo.list = bo.next();
    put(&relay, &session, &bo.list).await.ok(200);
    polling.reply().await.expect("the poll ends").refused(401, "no_session");
    relay.answer(ask("GET /v1/envelopes").by(&of_lost)).await.refused(401, "no_session");
    let login = login_request(&relay, &lost).await;
    relay.answer(ask("POST /v1/auth/login").json(&login)).await.refused(401, "login_refused");

    let reply = send(&relay, &stale).await;
    reply.refused(409, "device_list_changed");
    assert_eq!(reply.json()["device_list"], json!(bo.list));
    send(&relay, &bo.parcel(&token, 2, 1_024)).await.ok(202);

    let current = bo.list.clone();
    bo.devices.push(lost.clone());
    put(&relay, &session, &bo.next()).await.refused(409, "device_taken");
    let elsewhere = Person::of(vec![lost]);
    register(&relay, &elsewhere.registration(&relay).await).await.refused(409, "device_taken");
    let shown = relay.answer(ask("GET /v1/account").by(&session)).await.ok(200);
    assert_eq!(shown["device_list"], json!(current));
    assert_eq!(shown["devices"].as_array().map(Vec::len), Some(1));
    assert_eq!(shown["devices"][0]["envelopes"], 2);
}

#[tokio::test]
async fn recovery_is_the_account_keys_word_and_a_higher_epoch() {
    let relay = TestRelay::start().await;
    let mut bo = Person::new();
    recover(&relay, &bo, &bo.list, &bo.account).await.refused(404, "no_such_account");
    let session = bo.settle(&relay).await;
    let before = bo.list.clone();
    let conflict = recover(&relay, &bo, &bo.next(), &bo.account).await;
    conflict.refused(409, "device_list_conflict");
    assert_eq!(conflict.json()["device_list"], json!(before));

    let old = std::mem::replace(&mut bo.devices, vec![Device::new()]);
    let fresh = bo.signed(2, 1, Hash::ZERO);
    recover(&relay, &bo, &fresh, &old[0].key).await.refused(401, "login_refused");
    recover(&relay, &bo, &fresh, &bo.list_key).await.refused(401, "login_refused");
    assert_eq!(recover(&relay, &bo, &fresh, &bo.account).await.ok(200), json!({"epoch": 2, "version": 1}));
    relay.answer(ask("GET /v1/account").by(&session)).await.refused(401, "no_session");
    bo.login(&relay).await;
}

#[tokio::test]
async fn an_account_is_deleted_by_a_proof_and_not_by_a_session() {
    let relay = TestRelay::start().await;
    let bo = Person::of(vec![Device::new(), Device::new()]);
    let session = bo.settle(&relay).await;
    let token = bo.token(&relay, &session).await;
    send(&relay, &bo.parcel(&token, 1, 1_024)).await.ok(202);
    let delete = |body: &Value| relay.answer(ask("POST /v1/account/delete").by(&session).json(body));

    let given = challenge(&relay, &bo.devices[0].id()).await;
    let as_login = prove(&relay, &given, &bo.devices[0], |proof| proof.login());
    delete(&json!({"challenge": given.challenge, "signature": as_login})).await.refused(401, "login_refused");
    let of_other = challenge(&relay, &bo.devices[1].id()).await;
    let by_other = prove(&relay, &of_other, &bo.devices[1], |proof| proof.delete_account(&bo.id()));
    delete(&json!({"challenge": of_other.challenge, "signature": by_other})).await.refused(401, "login_refused");
    assert_eq!(receive(&relay, &session, "").await["envelopes"].as_array().map(Vec::len), Some(1));

    let signature = prove(&relay, &given, &bo.devices[0], |proof| proof.delete_account(&bo.id()));
    let reply = delete(&json!({"challenge": given.challenge, "signature": signature})).await;
    assert_eq!(reply.ok(200), json!({"deleted": true}));
    relay.answer(ask("GET /v1/envelopes").by(&session)).await.refused(401, "no_session");
    send(&relay, &bo.parcel(&token, 2, 1_024)).await.refused(404, "no_such_token");
    let again = login_request(&relay, &bo.devices[0]).await;
    relay.answer(ask("POST /v1/auth/login").json(&again)).await.refused(401, "login_refused");
    register(&relay, &bo.registration(&relay).await).await.refused(409, "device_taken");
}

#[tokio::test]
async fn closed_is_closed_and_a_pass_is_needed_where_it_is() {
    use restante::config::Registration;
    let relay = TestRelay::with(|config| config.server.registration = Registration::Closed).await;
    let bo = Person::new();
    register(&relay, &bo.registration(&relay).await).await.refused(403, "registration_closed");

    let relay = TestRelay::with(|config| config.server.registration = Registration::Pass).await;
    register(&relay, &bo.registration(&relay).await).await.refused(403, "pass_refused");
    let mut request = bo.registration(&relay).await;
    request["pass"] = json!("no such pass");
    register(&relay, &request).await.refused(403, "pass_refused");
    let info = relay.answer(ask("GET /v1/info")).await.ok(200);
    assert_eq!(text(&info["registration"]), "pass");
}
