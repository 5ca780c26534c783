//! The second factor, over real sockets: what turns it on, which codes count, what it guards and what it must not.

use std::fs;
use std::sync::Arc;

use restante::protocol::factor::TotpSecret;
use restante::protocol::{Bytes, Hash, SignedList};
use restante::server::{self, ServerError};
use serde_json::{Value, json};
use totp_rs::Builder;

use crate::support::clock::ManualClock;
use crate::support::files::holds;
use crate::support::person::{Device, Person, challenge, login, prove, prove_at};
use crate::support::raw::{Ask, Reply, ask, text};
use crate::support::relay::TestRelay;

/// Somebody who has it on, with a session that was elevated at this moment.
struct Owner {
    person: Person,
    session: String,
    secret: TotpSecret,
    recovery_codes: Vec<String>,
}

impl Owner {
    async fn new(relay: &TestRelay, devices: usize) -> Self {
        let person = Person::of((0..devices).map(|_| Device::new()).collect());
        let session = person.settle(relay).await;
        let secret = generate(relay, &session).await;
        let confirmed = post(relay, "/v1/totp/confirm", &session, json!({"code": code(relay, &secret, 0)})).await.ok(200);
        let recovery_codes = serde_json::from_value(confirmed["recovery_codes"].clone()).expect("texts");
        Self { person, session, secret, recovery_codes }
    }

    /// The code of this moment, or of so many steps later.
    fn code(&self, relay: &TestRelay, steps: i64) -> String {
        code(relay, &self.secret, steps)
    }

    async fn elevate(&self, relay: &TestRelay, code: &str) -> Reply {
        elevate(relay, &self.session, code).await
    }
}

async fn by_hand() -> (TestRelay, Arc<ManualClock>) {
    TestRelay::by_hand(|_| {}).await
}

async fn post(relay: &TestRelay, path: &str, session: &str, body: Value) -> Reply {
    relay.answer(ask(&format!("POST {path}")).by(session).json(&body)).await
}

pub(crate) async fn generate(relay: &TestRelay, session: &str) -> TotpSecret {
    let reply = post(relay, "/v1/totp/generate", session, json!({})).await.ok(200);
    serde_json::from_value(reply["secret"].clone()).expect("20 bytes")
}

async fn elevate(relay: &TestRelay, session: &str, code: &str) -> Reply {
    post(relay, "/v1/session/elevate", session, json!({"code": code})).await
}

pub(crate) fn code(relay: &TestRelay, secret: &TotpSecret, steps: i64) -> String {
    let totp = Builder::new().with_secret(secret.0).build().expect("an authenticator");
    totp.generate(relay.relay.now().saturating_add_signed(30 * steps)).to_string()
}

/// A code that is none of the five steps around this moment.
fn wrong(relay: &TestRelay, secret: &TotpSecret) -> String {
    let near: Vec<String> = (-2..=2).map(|steps| code(relay, secret, steps)).collect();
    let mut others = (0..).map(|n| format!("{n:06}"));
    others.find(|other| !near.contains(other)).expect("six codes, five of them taken")
}

/// What the account's owner is told: whether it is on, and how many recovery codes are left.
async fn shown(relay: &TestRelay, session: &str) -> (bool, u64) {
    let account = relay.answer(ask("GET /v1/account").by(session)).await.ok(200);
    (account["totp"] == true, account["recovery_codes"].as_u64().expect("a count"))
}

#[tokio::test]
async fn it_is_on_from_its_first_good_code() {
    let (relay, clock) = by_hand().await;
    let info = relay.answer(ask("GET /v1/info")).await.ok(200);
    assert!(info["features"].as_array().expect("features").contains(&json!("totp")));
    let bo = Person::new();
    let session = bo.settle(&relay).await;
    let confirm = async |code: &str| post(&relay, "/v1/totp/confirm", &session, json!({"code": code})).await;
    assert_eq!(post(&relay, "/v1/totp/remove", &session, json!({})).await.ok(200), json!({"removed": false}));
    elevate(&relay, &session, "123456").await.refused(409, "no_totp");
    confirm("123456").await.refused(409, "no_totp");

    let first = generate(&relay, &session).await;
    let given = post(&relay, "/v1/totp/generate", &session, json!({})).await.ok(200);
    assert_eq!(given["expires_at"], relay.relay.now() + 600);
    let secret: TotpSecret = serde_json::from_value(given["secret"].clone()).expect("20 bytes");
    assert_eq!(shown(&relay, &session).await, (false, 0), "nothing is on yet");
    elevate(&relay, &session, &code(&relay, &secret, 0)).await.refused(409, "no_totp");
    confirm(&code(&relay, &first, 0)).await.refused(403, "code_refused");
    let now = code(&relay, &secret, 0);
    let confirmed = confirm(&now).await.ok(200);
    let codes: Vec<String> = serde_json::from_value(confirmed["recovery_codes"].clone()).expect("texts");
    let mut different = codes.clone();
    different.sort();
    different.dedup();
    assert_eq!((codes.len(), different.len()), (10, 10));
    let base32 = |c: char| c.is_ascii_uppercase() || ('2'..='7').contains(&c);
    for code in &codes {
        let groups: Vec<&str> = code.split('-').collect();
        assert!(groups.len() == 4 && groups.iter().all(|group| group.len() == 4 && group.chars().all(base32)), "{code}");
    }
    assert_eq!(shown(&relay, &session).await, (true, 10));
    confirm(&now).await.refused(409, "no_totp");
    elevate(&relay, &session, &now).await.refused(403, "code_refused");

    // What was elevated by the confirmation is so for five minutes.
    let other = bo.login(&relay).await;
    clock.advance(299);
    generate(&relay, &session).await;
    post(&relay, "/v1/totp/generate", &other, json!({})).await.refused(403, "elevation_needed");
    clock.advance(1);
    post(&relay, "/v1/totp/generate", &session, json!({})).await.refused(403, "elevation_needed");
    let until = elevate(&relay, &other, &code(&relay, &secret, 0)).await.ok(200)["until"].clone();
    assert_eq!(until, relay.relay.now() + 300);
    post(&relay, "/v1/totp/generate", &session, json!({})).await.refused(403, "elevation_needed");
    assert_eq!(post(&relay, "/v1/totp/remove", &other, json!({})).await.ok(200), json!({"removed": true}));
    assert_eq!(shown(&relay, &session).await, (false, 0));
    elevate(&relay, &session, &codes[0]).await.refused(409, "no_totp");
}

#[tokio::test]
async fn a_secret_can_be_confirmed_for_ten_minutes() {
    let (relay, clock) = by_hand().await;
    let session = Person::new().settle(&relay).await;
    for (waited, good) in [(600, false), (599, true)] {
        let secret = generate(&relay, &session).await;
        clock.advance(waited);
        let reply = post(&relay, "/v1/totp/confirm", &session, json!({"code": code(&relay, &secret, 0)})).await;
        if good { drop(reply.ok(200)) } else { reply.refused(409, "no_totp") }
    }
}

#[tokio::test]
async fn a_code_counts_in_its_step_and_its_neighbours_and_once() {
    let (relay, clock) = by_hand().await;
    let owner = Owner::new(&relay, 1).await;
    clock.advance(600);
    owner.elevate(&relay, &owner.code(&relay, -2)).await.refused(403, "code_refused");
    owner.elevate(&relay, &owner.code(&relay, 2)).await.refused(403, "code_refused");
    owner.elevate(&relay, &owner.code(&relay, -1)).await.ok(200);
    owner.elevate(&relay, &owner.code(&relay, -1)).await.refused(403, "code_refused");
    owner.elevate(&relay, &owner.code(&relay, 1)).await.ok(200);
    // Between the two that were used, and never used itself.
    owner.elevate(&relay, &owner.code(&relay, 0)).await.refused(403, "code_refused");
    clock.advance(60);
    owner.elevate(&relay, &owner.code(&relay, -1)).await.refused(403, "code_refused");
    owner.elevate(&relay, &owner.code(&relay, 0)).await.ok(200);
}

#[tokio::test]
async fn of_forty_uses_of_one_code_at_once_one_wins() {
    let (relay, clock) = by_hand().await;
    let owner = Owner::new(&relay, 10).await;
    clock.advance(30);
    let (now, mut sockets) = (owner.code(&relay, 0), Vec::new());
    for device in &owner.person.devices {
        let session = login(&relay, device).await;
        let request = ask("POST /v1/session/elevate").by(&session).json(&json!({"code": now})).bytes();
        for _ in 0..4 {
            sockets.push((relay.socket().await, request.clone()));
        }
    }
    for (socket, request) in &mut sockets {
        socket.send(request).await;
    }
    let mut codes = Vec::new();
    for (socket, _) in &mut sockets {
        codes.push(socket.reply().await.expect("a reply").code());
    }
    assert_eq!(codes.iter().filter(|code| code.is_empty()).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| *code == "code_refused").count(), 39, "{codes:?}");
}

#[tokio::test]
async fn a_device_that_guesses_waits_ever_longer() {
    let (relay, clock) = by_hand().await;
    let owner = Owner::new(&relay, 2).await;
    let waits = |reply: Reply, secs: u64| {
        reply.refused(429, "rate_limited");
        assert_eq!(reply.header("retry-after"), Some(secs.to_string().as_str()));
    };
    clock.advance(30);
    for guess in ["", "12345", "not a code", &wrong(&relay, &owner.secret), "AAAA-AAAA-AAAA-AAAA"] {
        owner.elevate(&relay, guess).await.refused(403, "code_refused");
    }
    // Not even a good one is looked at now, and it stays good for another device.
    waits(owner.elevate(&relay, &owner.code(&relay, 0)).await, 60);
    let second = login(&relay, &owner.person.devices[1]).await;
    elevate(&relay, &second, &owner.code(&relay, 0)).await.ok(200);
    for wrong_so_far in 5..10 {
        clock.advance(59);
        waits(owner.elevate(&relay, &owner.code(&relay, 0)).await, 1);
        clock.advance(1);
        let guess = wrong(&relay, &owner.secret);
        let reply = owner.elevate(&relay, &guess).await;
        assert_eq!(reply.code(), "code_refused", "after {wrong_so_far}");
    }
    waits(owner.elevate(&relay, &owner.code(&relay, 0)).await, 86_400);
    clock.advance(86_399);
    let session = owner.person.login(&relay).await;
    waits(elevate(&relay, &session, &owner.code(&relay, 0)).await, 1);
    // Of 40 at the same moment no more are looked at than one after the other.
    clock.advance(1);
    let request = ask("POST /v1/session/elevate").by(&session).json(&json!({"code": wrong(&relay, &owner.secret)})).bytes();
    let mut sockets = Vec::new();
    for _ in 0..40 {
        sockets.push(relay.socket().await);
    }
    for socket in &mut sockets {
        socket.send(&request).await;
    }
    let mut refused = 0;
    for socket in &mut sockets {
        refused += u32::from(socket.reply().await.expect("a reply").code() == "code_refused");
    }
    assert_eq!(refused, 5);
    // A good one clears the count.
    clock.advance(60);
    elevate(&relay, &session, &owner.code(&relay, 0)).await.ok(200);
    for _ in 0..5 {
        elevate(&relay, &session, &wrong(&relay, &owner.secret)).await.refused(403, "code_refused");
    }
    waits(elevate(&relay, &session, "000000").await, 60);
}

#[tokio::test]
async fn each_recovery_code_opens_once() {
    let (relay, _) = by_hand().await;
    let (owner, other) = (Owner::new(&relay, 1).await, Owner::new(&relay, 1).await);
    let codes = &owner.recovery_codes;
    owner.elevate(&relay, &other.recovery_codes[0]).await.refused(403, "code_refused");
    let typed = [codes[0].clone(), codes[1].to_lowercase(), codes[2].replace('-', "")];
    for (used, text) in typed.iter().enumerate() {
        owner.elevate(&relay, text).await.ok(200);
        assert_eq!(shown(&relay, &owner.session).await, (true, 9 - used as u64));
    }
    for again in [&typed[0], &typed[0].to_lowercase(), &codes[1], &codes[2]] {
        owner.elevate(&relay, again).await.refused(403, "code_refused");
    }
    owner.elevate(&relay, &codes[3]).await.ok(200);
    // Only an authenticator's code confirms one, and with it come other recovery codes.
    let secret = generate(&relay, &owner.session).await;
    post(&relay, "/v1/totp/confirm", &owner.session, json!({"code": codes[4]})).await.refused(403, "code_refused");
    post(&relay, "/v1/totp/confirm", &owner.session, json!({"code": code(&relay, &secret, 0)})).await.ok(200);
    assert_eq!(shown(&relay, &owner.session).await, (true, 10));
    owner.elevate(&relay, &codes[4]).await.refused(403, "code_refused");
    assert_eq!(shown(&relay, &other.session).await, (true, 10));
}

#[tokio::test]
async fn a_change_of_it_is_guarded_to_its_end() {
    let (relay, clock) = by_hand().await;
    let owner = Owner::new(&relay, 1).await;
    let secret = generate(&relay, &owner.session).await;
    clock.advance(300);
    let confirm = async || post(&relay, "/v1/totp/confirm", &owner.session, json!({"code": code(&relay, &secret, 0)})).await;
    confirm().await.refused(403, "elevation_needed");
    owner.elevate(&relay, &owner.code(&relay, 0)).await.ok(200);
    confirm().await.ok(200);
    clock.advance(30);
    owner.elevate(&relay, &owner.code(&relay, 0)).await.refused(403, "code_refused");
    owner.elevate(&relay, &code(&relay, &secret, 0)).await.ok(200);
}

/// Requests to each gated route, which would succeed but for the second factor.
async fn gated(relay: &TestRelay, owner: &Owner) -> Vec<(&'static str, Ask)> {
    let person = &owner.person;
    let (_, current) = person.list.parse().expect("a list");
    let mut more = person.clone();
    more.devices.push(Device::new());
    let list = |list: SignedList| ask("PUT /v1/account/device-list").json(&json!({"device_list": list}));
    let given = challenge(relay, &person.devices[0].id()).await;
    let signature = prove(relay, &given, &person.devices[0], |proof| proof.delete_account(&person.id()));
    let delete = json!({"challenge": given.challenge, "signature": signature});
    let mut swapped = more.clone();
    swapped.devices.remove(1);
    vec![
        ("a device more", list(more.next())),
        ("a device in another's place", list(swapped.next())),
        ("a device more in a new epoch", list(more.signed(current.epoch + 1, 1, Hash::ZERO))),
        ("generate", ask("POST /v1/totp/generate").json(&json!({}))),
        ("confirm", ask("POST /v1/totp/confirm").json(&json!({"code": "000000"}))),
        ("remove", ask("POST /v1/totp/remove").json(&json!({}))),
        ("delete", ask("POST /v1/account/delete").json(&delete)),
    ]
}

#[tokio::test]
async fn what_could_destroy_asks_for_it_and_nothing_else_does() {
    for nth in 0..7 {
        let (relay, clock) = by_hand().await;
        let owner = Owner::new(&relay, 2).await;
        clock.advance(300);
        let requests = gated(&relay, &owner).await;
        assert_eq!(requests.len(), 7);
        for (name, request) in &requests {
            let reply = relay.answer(request.clone().by(&owner.session)).await;
            assert_eq!((reply.status, reply.code().as_str()), (403, "elevation_needed"), "{name}");
        }
        assert_eq!(shown(&relay, &owner.session).await, (true, 10));
        owner.elevate(&relay, &owner.code(&relay, 0)).await.ok(200);
        let (name, request) = &requests[nth];
        let reply = relay.answer(request.clone().by(&owner.session)).await;
        // The challenge of a refused deletion is as fresh as before. There is nothing to confirm.
        if *name == "confirm" { reply.refused(409, "no_totp") } else { drop(reply.ok(200)) }
    }

    let (relay, clock) = by_hand().await;
    let mut owner = Owner::new(&relay, 2).await;
    clock.advance(300);
    owner.session = owner.person.login(&relay).await;
    let put = async |list: &SignedList| {
        relay.answer(ask("PUT /v1/account/device-list").by(&owner.session).json(&json!({"device_list": list}))).await
    };
    put(&owner.person.list).await.ok(200);
    let mut fewer = owner.person.clone();
    fewer.devices.pop();
    put(&fewer.next()).await.ok(200);
    put(&fewer.signed(2, 1, Hash::ZERO)).await.ok(200);
    post(&relay, "/v1/sessions/revoke", &owner.session, json!({"all_others": true})).await.ok(200);
    owner.person.token(&relay, &owner.session).await;
    // Nobody else is asked.
    let other = Person::new();
    let session = other.settle(&relay).await;
    let mut more = other.clone();
    more.devices.push(Device::new());
    let body = json!({"device_list": more.next()});
    relay.answer(ask("PUT /v1/account/device-list").by(&session).json(&body)).await.ok(200);
}

#[tokio::test]
async fn the_words_are_more_than_it_and_turn_it_off() {
    let (relay, _) = by_hand().await;
    let mut owner = Owner::new(&relay, 1).await;
    let pending = generate(&relay, &owner.session).await;
    let fresh = Device::new();
    owner.person.devices = vec![fresh.clone()];
    let list = owner.person.signed(2, 1, Hash::ZERO);
    let given = challenge(&relay, &fresh.id()).await;
    let signature = prove_at(&relay.origin(), &given, &fresh, &owner.person.account, |proof| {
        proof.recover(&owner.person.id(), &list.hash())
    });
    let body = json!({"device": fresh.id(), "challenge": given.challenge, "device_list": list, "account_signature": signature});
    relay.answer(ask("POST /v1/account/recover").json(&body)).await.ok(200);
    let session = login(&relay, &fresh).await;
    assert_eq!(shown(&relay, &session).await, (false, 0));
    elevate(&relay, &session, &owner.recovery_codes[0]).await.refused(409, "no_totp");
    let reply = post(&relay, "/v1/totp/confirm", &session, json!({"code": code(&relay, &pending, 0)})).await;
    reply.refused(409, "no_totp");
}

#[tokio::test]
async fn it_outlives_a_restart_and_lies_on_disk_in_no_clear() {
    let (relay, clock) = by_hand().await;
    let owner = Owner::new(&relay, 1).await;
    clock.advance(30);
    let used = owner.code(&relay, 0);
    owner.elevate(&relay, &used).await.ok(200);
    owner.elevate(&relay, &owner.recovery_codes[0]).await.ok(200);
    let data = relay.config.server.data.clone();
    let mut needles = vec![owner.secret.0.to_vec(), owner.secret.base32().into_bytes(), owner.secret.encode().into_bytes()];
    for code in &owner.recovery_codes {
        needles.extend([code.clone().into_bytes(), code.replace('-', "").into_bytes()]);
    }
    assert!(holds(&data, owner.person.id().as_bytes()), "the bytes are looked for where they would lie");
    for needle in &needles {
        assert!(!holds(&data, needle));
    }
    let relay = relay.restart().await;
    for needle in &needles {
        assert!(!holds(&data, needle));
    }
    let session = owner.person.login(&relay).await;
    assert_eq!(shown(&relay, &session).await, (true, 9));
    post(&relay, "/v1/totp/remove", &session, json!({})).await.refused(403, "elevation_needed");
    elevate(&relay, &session, &used).await.refused(403, "code_refused");
    elevate(&relay, &session, &owner.recovery_codes[0]).await.refused(403, "code_refused");
    elevate(&relay, &session, &owner.code(&relay, 1)).await.ok(200);
}

#[tokio::test]
async fn without_its_key_a_relay_that_has_some_does_not_start() {
    let relay = TestRelay::start().await;
    let data = relay.config.server.data.clone();
    let (key, spare) = (data.join("totp.key"), data.join("spare"));
    assert!(key.exists(), "it is made at the first start");
    let session = Person::new().settle(&relay).await;
    let (config, dir, clock) = relay.stop().await;

    // Nobody has a second factor yet: as in a database from before there was one.
    fs::remove_file(&key).expect("removed");
    let relay = TestRelay::run(config, dir, clock).await;
    assert!(key.exists());
    relay.answer(ask("GET /v1/account").by(&session)).await.refused(401, "no_session");
    let owner = Owner::new(&relay, 1).await;
    let (config, dir, clock) = relay.stop().await;

    fs::rename(&key, &spare).expect("moved");
    let refused = async || {
        let error = server::open(&config, None).await.err().expect("it is refused");
        assert!(matches!(&error, ServerError::TotpKey(path) if *path == key), "{error}");
        assert_eq!(error.exit_code(), 65);
        assert!(error.hint().expect("a hint").contains("backup"));
    };
    refused().await;
    assert!(!key.exists(), "another key would open nothing");
    fs::write(&key, format!("{}\n", Bytes(vec![7; 32]))).expect("written");
    refused().await;
    fs::rename(&spare, &key).expect("moved back");
    let relay = TestRelay::run(config.clone(), dir, clock).await;
    let session = owner.person.login(&relay).await;
    elevate(&relay, &session, &owner.recovery_codes[0]).await.ok(200);
    assert_eq!(text(&relay.answer(ask("GET /v1/account").by(&session)).await.ok(200)["account"]), owner.person.id().encode());
}
