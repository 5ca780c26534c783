//! Registration, recovery, deletion and passes, over real sockets.

use restante::config::{Config, Registration};
use restante::crypto::sign;
use restante::protocol::{Hash, Signature, SignedList};
use serde_json::{Value, json};

use crate::support::person::{Device, Person, challenge, login, prove, prove_at, receive, send, seqs};
use crate::support::raw::{Reply, ask};
use crate::support::relay::TestRelay;

async fn register(relay: &TestRelay, request: &Value) -> Reply {
    relay.answer(ask("POST /v1/accounts").json(request)).await
}

#[tokio::test]
async fn the_same_list_registers_as_often_as_a_reply_is_lost() {
    let relay = TestRelay::start().await;
    let bo = Person::new();
    let request = bo.registration(&relay).await;
    let first = register(&relay, &request).await;
    assert_eq!(first.ok(201), json!({"account": bo.id()}));
    assert_eq!(register(&relay, &request).await, first, "the challenge is not used up by a repeat");
    assert_eq!(register(&relay, &bo.registration(&relay).await).await, first);
    let mut other = bo.clone();
    other.list = bo.next();
    register(&relay, &other.registration(&relay).await).await.refused(409, "account_exists");
    let mut thief = request.clone();
    thief["signature"] = json!(Signature([1; 64]));
    register(&relay, &thief).await.refused(401, "login_refused");
    let account = relay.answer(ask("GET /v1/account").by(&bo.login(&relay).await)).await.ok(200);
    assert_eq!(account["device_list"], json!(bo.list));
}

#[tokio::test]
async fn any_version_registers_and_a_used_challenge_registers_nobody_else() {
    let relay = TestRelay::start().await;
    let mut bo = Person::new();
    bo.list = bo.signed(7, 1_000, Hash([5; 32]));
    register(&relay, &bo.registration(&relay).await).await.ok(201);
    // A second account of one device: the device is the first's.
    let mut cy = Person::of(bo.devices.clone());
    register(&relay, &cy.registration(&relay).await).await.refused(409, "device_taken");
    cy.devices = vec![Device::new()];
    cy.list = cy.signed(1, 1, Hash::ZERO);
    let request = cy.registration(&relay).await;
    register(&relay, &request).await.ok(201);
    cy.list = cy.signed(1, 2, cy.list.hash());
    let mut again = cy.registration(&relay).await;
    again["challenge"] = request["challenge"].clone();
    register(&relay, &again).await.refused(401, "login_refused");
}

#[tokio::test]
async fn the_account_key_recovers_with_a_higher_epoch_alone() {
    let relay = TestRelay::start().await;
    let mut bo = Person::new();
    let old = bo.settle(&relay).await;
    let first = bo.list.clone();
    let fresh = Device::new();
    let recover = async |list: &SignedList, device: &Device, key: &sign::KeyPair| {
        let given = challenge(&relay, &device.id()).await;
        let id = list.parse().expect("a list").1.account;
        let signature = prove_at(&relay.origin(), &given, device, key, |proof| proof.recover(&id, &list.hash()));
        let body =
            json!({"device": device.id(), "challenge": given.challenge, "device_list": list, "account_signature": signature});
        relay.answer(ask("POST /v1/account/recover").json(&body)).await
    };
    bo.devices = vec![fresh.clone()];
    bo.list_key = sign::KeyPair::generate();
    let second = bo.signed(2, 1, Hash::ZERO);
    recover(&second, &fresh, &fresh.key).await.refused(401, "login_refused");
    recover(&second, &Device::new(), &bo.account).await.refused(401, "login_refused");
    let refused = recover(&bo.signed(1, 2, first.hash()), &fresh, &bo.account).await;
    refused.refused(409, "device_list_conflict");
    assert_eq!(refused.json()["device_list"], json!(first));
    let nobody = Person::new();
    recover(&nobody.list, &nobody.devices[0], &nobody.account).await.refused(404, "no_such_account");
    assert_eq!(recover(&second, &fresh, &bo.account).await.ok(200), json!({"epoch": 2, "version": 1}));
    relay.answer(ask("GET /v1/account").by(&old)).await.refused(401, "no_session");
    login(&relay, &fresh).await;
}

#[tokio::test]
async fn a_session_alone_deletes_nothing() {
    let relay = TestRelay::start().await;
    let bo = Person::of(vec![Device::new(), Device::new()]);
    let session = bo.settle(&relay).await;
    let token = bo.token(&relay, &session).await;
    send(&relay, &bo.parcel(&token, 1, 1_024)).await.ok(202);
    let delete = async |signer: &Device, purpose: bool| {
        let given = challenge(&relay, &signer.id()).await;
        let signature =
            prove(&relay, &given, signer, |proof| if purpose { proof.delete_account(&bo.id()) } else { proof.login() });
        let body = json!({"challenge": given.challenge, "signature": signature});
        relay.answer(ask("POST /v1/account/delete").by(&session).json(&body)).await
    };
    delete(&bo.devices[0], false).await.refused(401, "login_refused");
    delete(&bo.devices[1], true).await.refused(401, "login_refused");
    relay.answer(ask("POST /v1/account/delete").by(&session).json(&json!({}))).await.refused(400, "bad_request");
    assert_eq!(seqs(&receive(&relay, &session, "").await), [1]);
    assert_eq!(delete(&bo.devices[0], true).await.ok(200), json!({"deleted": true}));
    relay.answer(ask("GET /v1/account").by(&session)).await.refused(401, "no_session");
    send(&relay, &bo.parcel(&token, 1, 1_024)).await.refused(404, "no_such_token");
    let totals = relay.relay.stats().await.expect("stats").totals;
    assert_eq!((totals.accounts, totals.devices, totals.tokens, totals.envelopes), (0, 0, 0, 0));
    let mut again = bo.clone();
    register(&relay, &again.registration(&relay).await).await.refused(409, "device_taken");
    again.devices = vec![Device::new()];
    again.list = again.signed(1, 2, bo.list.hash());
    register(&relay, &again.registration(&relay).await).await.ok(201);
}

#[tokio::test]
async fn a_pass_is_good_for_its_uses_and_its_time() {
    let by_pass = |config: &mut Config| config.server.registration = Registration::Pass;
    let (relay, clock) = TestRelay::by_hand(by_pass).await;
    assert_eq!(relay.answer(ask("GET /v1/info")).await.ok(200)["registration"], "pass");
    let pass = relay.relay.create_pass(2, 3_600).await.expect("a pass");
    let with = async |person: &Person, code: Option<&str>| {
        let mut request = person.registration(&relay).await;
        if let Some(code) = code {
            request["pass"] = json!(code);
        }
        register(&relay, &request).await
    };
    let bo = Person::new();
    let missing = with(&bo, None).await;
    missing.refused(403, "pass_refused");
    assert_eq!(with(&bo, Some("aaaaa-bbbbb-ccccc-ddddd")).await, missing);
    with(&bo, Some(&pass.code)).await.ok(201);
    with(&bo, Some(&pass.code)).await.ok(201);
    with(&bo, None).await.ok(201);
    with(&Person::new(), Some(&pass.code)).await.ok(201);
    assert_eq!(with(&Person::new(), Some(&pass.code)).await, missing, "used up: the repeats used nothing");
    let late = relay.relay.create_pass(2, 3_600).await.expect("a pass");
    clock.advance(3_600);
    assert_eq!(with(&Person::new(), Some(&late.code)).await, missing, "expired");
}

#[tokio::test]
async fn a_closed_relay_takes_nobody_new() {
    let relay = TestRelay::start().await;
    let bo = Person::new();
    bo.register(&relay).await;
    let (mut config, dir, clock) = relay.stop().await;
    config.server.registration = Registration::Closed;
    let relay = TestRelay::run(config, dir, clock).await;
    register(&relay, &Person::new().registration(&relay).await).await.refused(403, "registration_closed");
    register(&relay, &bo.registration(&relay).await).await.ok(201);
    bo.login(&relay).await;
}

#[tokio::test]
async fn of_many_that_register_one_account_one_wins() {
    let relay = TestRelay::start().await;
    let bo = Person::new();
    let mut asked = Vec::new();
    for version in 1..=20 {
        let mut one = bo.clone();
        one.list = bo.signed(1, version, Hash::ZERO);
        asked.push(ask("POST /v1/accounts").json(&one.registration(&relay).await).bytes());
    }
    let mut sockets = Vec::new();
    for bytes in &asked {
        let mut socket = relay.socket().await;
        socket.send(bytes).await;
        sockets.push(socket);
    }
    let mut codes = Vec::new();
    for socket in &mut sockets {
        codes.push(socket.reply().await.expect("a reply").code());
    }
    assert_eq!(codes.iter().filter(|code| code.is_empty()).count(), 1);
    assert_eq!(codes.iter().filter(|code| *code == "account_exists").count(), 19, "{codes:?}");
}
