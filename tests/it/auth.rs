//! Challenges, logins and sessions, over real sockets.

use restante::config::Config;
use restante::protocol::auth::ChallengeReply;
use restante::protocol::{Bytes, SessionToken, Signature, Transcript};
use serde_json::{Value, json};

use crate::support::person::{Device, Person, challenge, login, login_request, prove, prove_at};
use crate::support::raw::{Ask, Reply, ask, text};
use crate::support::relay::TestRelay;

fn behind_a_proxy(config: &mut Config) {
    config.server.trusted_proxies = vec!["127.0.0.0/8".into()];
    config.limits.prefix_challenges_per_min = 5;
    config.limits.prefix_bad_logins_per_min = 5;
}

fn login_ask(request: &Value) -> Ask {
    ask("POST /v1/auth/login").json(request)
}

fn claim(device: &Device, challenge: &Bytes, signature: Signature) -> Value {
    json!({"device": device.id(), "challenge": challenge, "signature": signature})
}

async fn sessions(relay: &TestRelay, session: &str) -> Reply {
    relay.answer(ask("GET /v1/sessions").by(session)).await
}

#[tokio::test]
async fn a_challenge_says_nothing_of_whether_the_device_is_known() {
    let relay = TestRelay::start().await;
    let bo = Person::new();
    bo.register(&relay).await;
    let mut shapes = Vec::new();
    for device in [&bo.devices[0], &Device::new()] {
        let reply = relay.answer(ask("POST /v1/auth/challenge").json(&json!({"device": device.id()}))).await;
        let given: ChallengeReply = serde_json::from_value(reply.ok(200)).expect("a challenge");
        let signed = restante::protocol::auth::challenge_transcript(&device.id(), given.challenge.as_slice(), given.expires_at);
        let verified = restante::crypto::sign::verify(&given.relay_key.0, &signed, &given.signature.0);
        assert_eq!(verified, Ok(()), "44: signed by the relay, for whoever asks");
        shapes.push((reply.headers, reply.body.len(), given.challenge.0.len(), given.relay_key));
    }
    assert_eq!(shapes[0], shapes[1]);
}

#[tokio::test]
async fn every_proof_that_is_not_right_is_refused_with_the_same_bytes() {
    let (relay, clock) = TestRelay::by_hand(|_| {}).await;
    let (bo, stranger) = (Person::of(vec![Device::new(), Device::new()]), Device::new());
    bo.register(&relay).await;
    let (device, second) = (&bo.devices[0], &bo.devices[1]);
    let mut rows: Vec<(&str, Value)> = Vec::new();

    let late = login_request(&relay, device).await;
    clock.advance(61);
    rows.push(("45 a second too late", late));
    let used = login_request(&relay, device).await;
    relay.answer(login_ask(&used)).await.ok(200);
    rows.push(("45 used", used));
    rows.push(("44 an unknown device", login_request(&relay, &stranger).await));
    let given = challenge(&relay, &device.id()).await;
    let good = prove(&relay, &given, device, |proof| proof.login());
    for length in [0, 1, 79, 80, 81, 256, 300] {
        rows.push(("45 made up", claim(device, &Bytes(vec![7; length]), good)));
    }
    for at in [0, 33, 41, 79] {
        let mut bent = given.challenge.clone();
        bent.0[at] ^= 1;
        rows.push(("46 a bit changed", claim(device, &bent, good)));
    }
    rows.push((
        "46 another device's challenge",
        claim(second, &given.challenge, prove(&relay, &given, second, |proof| proof.login())),
    ));
    rows.push((
        "47 another's key",
        claim(device, &given.challenge, prove_at(&relay.origin(), &given, device, &second.key, |proof| proof.login())),
    ));
    for origin in [
        "http://evil.example:80".to_string(),
        relay.origin().replace("http", "https"),
        relay.origin() + "/",
        relay.origin().to_uppercase(),
        format!("http://127.0.0.1:{}", relay.address.port().wrapping_add(1)),
        String::new(),
    ] {
        let signature = prove_at(&origin, &given, device, &device.key, |proof| proof.login());
        rows.push(("47 another origin", claim(device, &given.challenge, signature)));
    }
    let elsewhere = ChallengeReply { relay_key: restante::protocol::RelayKey([3; 32]), ..given.clone() };
    rows.push(("47 another relay", claim(device, &given.challenge, prove(&relay, &elsewhere, device, |proof| proof.login()))));
    let later = ChallengeReply { expires_at: given.expires_at + 1, ..given.clone() };
    rows.push(("47 another expiry", claim(device, &given.challenge, prove(&relay, &later, device, |proof| proof.login()))));
    let purpose = prove(&relay, &given, device, |proof| proof.delete_account(&bo.id()));
    rows.push(("47 another purpose", claim(device, &given.challenge, purpose)));
    let bare = Signature(device.key.sign(given.challenge.as_slice()));
    rows.push(("47 the bare challenge", claim(device, &given.challenge, bare)));
    let swapped = prove(&relay, &given, device, |proof| {
        let fields = Transcript::new("/login").var(proof.origin).fixed(proof.device).fixed(proof.relay_key);
        fields.var(proof.challenge).u64(proof.expires_at).bytes()
    });
    rows.push(("47 swapped fields", claim(device, &given.challenge, swapped)));
    rows.push(("48 zeros", claim(device, &given.challenge, Signature([0; 64]))));
    rows.push(("48 ones", claim(device, &given.challenge, Signature([0xff; 64]))));
    rows.push(("48 S + L", claim(device, &given.challenge, Signature(above_the_order(good.0)))));

    let mut bodies = Vec::new();
    for (name, request) in &rows {
        let reply = relay.answer(login_ask(request)).await;
        assert_eq!((reply.status, reply.code().as_str()), (401, "login_refused"), "{name}: {reply:?}");
        bodies.push((name, reply));
    }
    for (name, reply) in &bodies {
        assert_eq!(*reply, bodies[0].1, "{name}");
    }
    relay.answer(login_ask(&claim(device, &given.challenge, good))).await.ok(200);
    let before = login_request(&relay, device).await;
    let relay = relay.restart().await;
    let reply = relay.answer(login_ask(&before)).await;
    assert_eq!(reply, bodies[0].1, "45 from before a restart");
}

/// The same signature with the group's order added to its S: plain arithmetic, and no good.
fn above_the_order(mut signature: [u8; 64]) -> [u8; 64] {
    let order: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut carry = 0;
    for (byte, add) in signature[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    signature
}

#[tokio::test]
async fn of_a_hundred_uses_of_one_challenge_one_wins() {
    let relay = TestRelay::start().await;
    let bo = Person::new();
    bo.register(&relay).await;
    let request = login_ask(&login_request(&relay, &bo.devices[0]).await).bytes();
    let mut sockets = Vec::new();
    for _ in 0..100 {
        sockets.push(relay.socket().await);
    }
    for socket in &mut sockets {
        socket.send(&request).await;
    }
    let mut statuses = Vec::new();
    for socket in &mut sockets {
        statuses.push(socket.reply().await.expect("a reply").status);
    }
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1);
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 99);
}

#[tokio::test]
async fn what_is_no_session_is_answered_alike() {
    let (relay, clock) = TestRelay::by_hand(|config| config.limits.session_secs = 100).await;
    let bo = Person::new();
    let session = bo.settle(&relay).await;
    sessions(&relay, &session).await.ok(200);
    let mut bent = session.clone();
    bent.replace_range(..1, if session.starts_with('A') { "B" } else { "A" });
    let revoked = bo.login(&relay).await;
    let all_others = ask("POST /v1/sessions/revoke").by(&session).json(&json!({"all_others": true}));
    assert_eq!(relay.answer(all_others).await.ok(200)["revoked"], 1);
    let plain = || ask("GET /v1/sessions");
    let mut replies = Vec::new();
    for (name, asked) in [
        ("41 none", plain()),
        ("41 empty", plain().header("Authorization", "")),
        ("41 Basic", plain().header("Authorization", "Basic YTpi")),
        ("41 two", plain().by(&session).by(&session)),
        ("41 lower case", plain().header("Authorization", &format!("bearer {session}"))),
        ("41 two spaces", plain().header("Authorization", &format!("Bearer  {session}"))),
        ("42 a bit changed", plain().by(&bent)),
        ("42 truncated", plain().by(&session[1..])),
        ("42 padded", plain().by(&format!("{session}="))),
        ("42 zeros", plain().by(&SessionToken([0; 32]).encode())),
        ("43 revoked", plain().by(&revoked)),
    ] {
        let reply = relay.answer(asked).await;
        assert_eq!((reply.status, reply.code().as_str()), (401, "no_session"), "{name}");
        replies.push((name, reply));
    }
    let long = relay.answer(plain().by(&"A".repeat(17_000))).await;
    assert_eq!((long.status, long.body.len()), (431, 0), "42 17 KB");
    sessions(&relay, &session).await.ok(200);
    clock.advance(100);
    replies.push(("43 expired", sessions(&relay, &session).await));
    for (name, reply) in &replies {
        assert_eq!(*reply, replies[0].1, "{name}");
    }
}

#[tokio::test]
async fn a_revoked_session_ends_its_poll() {
    let (relay, _) = TestRelay::by_hand(|_| {}).await;
    let bo = Person::of(vec![Device::new(), Device::new()]);
    let first = bo.settle(&relay).await;
    let second = login(&relay, &bo.devices[1]).await;
    let mut polling = relay.poll(&second).await;
    let revoke = |body: Value| ask("POST /v1/sessions/revoke").by(&first).json(&body);
    for bad in [json!({}), json!({"all_others": false}), json!({"all_others": true, "device": bo.devices[1].id()})] {
        relay.answer(revoke(bad)).await.refused(400, "bad_request");
    }
    let revoked = relay.answer(revoke(json!({"device": bo.devices[1].id()}))).await;
    assert_eq!(revoked.ok(200)["revoked"], 1);
    polling.reply().await.expect("a reply").refused(401, "no_session");
    sessions(&relay, &second).await.refused(401, "no_session");
    let stranger = Person::new();
    let other = stranger.settle(&relay).await;
    let revoked = relay.answer(revoke(json!({"device": stranger.devices[0].id()}))).await;
    assert_eq!(revoked.ok(200)["revoked"], 0, "another account's are not there");
    sessions(&relay, &other).await.ok(200);
}

#[tokio::test]
async fn of_five_sessions_the_oldest_gives_way() {
    let relay = TestRelay::start().await;
    let bo = Person::new();
    let oldest = bo.settle(&relay).await;
    let mut newer = Vec::new();
    for _ in 0..4 {
        newer.push(bo.login(&relay).await);
    }
    sessions(&relay, &oldest).await.refused(401, "no_session");
    let shown = sessions(&relay, &newer[0]).await.ok(200);
    let shown = shown["sessions"].as_array().expect("sessions");
    assert_eq!(shown.len(), 4);
    assert_eq!(shown.iter().filter(|session| session["current"] == true).count(), 1);
    for session in shown {
        assert_eq!(session["device"], json!(bo.devices[0].id()));
        assert_eq!(session["last_used"].as_u64().expect("a time") % 3_600, 0, "coarse");
    }
}

#[tokio::test]
async fn a_prefix_may_ask_for_so_many_challenges_a_minute() {
    let (relay, clock) = TestRelay::by_hand(behind_a_proxy).await;
    let device = Device::new();
    let asked = || ask("POST /v1/auth/challenge").json(&json!({"device": device.id()}));
    for last in 1..=5 {
        relay.answer(asked().from(&format!("203.0.113.{last}"))).await.ok(200);
    }
    let refused = relay.answer(asked().from("203.0.113.99")).await;
    refused.refused(429, "rate_limited");
    assert_eq!(refused.header("retry-after"), Some(refused.json()["retry_after"].to_string().as_str()));
    relay.answer(asked().from("203.0.114.1")).await.ok(200);
    relay.answer(asked().from("203.0.113.7, 203.0.115.1")).await.ok(200);
    relay.answer(asked().from("203.0.115.1, 127.0.0.9, 203.0.113.7, 127.0.0.3")).await.refused(429, "rate_limited");
    relay.answer(asked()).await.ok(200);
    for last in 1..=5 {
        relay.answer(asked().from(&format!("2001:db8:1:10{last}::1"))).await.ok(200);
    }
    relay.answer(asked().from("2001:db8:1:1ff::1")).await.refused(429, "rate_limited");
    relay.answer(asked().from("2001:db8:1:2ff::1")).await.ok(200);
    clock.advance(60);
    relay.answer(asked().from("203.0.113.99")).await.ok(200);
}

#[tokio::test]
async fn a_prefix_may_be_refused_so_often_a_minute_and_others_are_unhurt() {
    let (relay, clock) = TestRelay::by_hand(behind_a_proxy).await;
    let bo = Person::new();
    bo.register(&relay).await;
    let device = &bo.devices[0];
    let bad = claim(device, &Bytes(vec![1; 80]), Signature([1; 64]));
    for _ in 0..5 {
        relay.answer(login_ask(&bad).from("198.51.100.7")).await.refused(401, "login_refused");
    }
    relay.answer(login_ask(&bad).from("198.51.100.8")).await.refused(429, "rate_limited");
    let good = login_request(&relay, device).await;
    relay.answer(login_ask(&good).from("198.51.100.9")).await.refused(429, "rate_limited");
    let granted = relay.answer(login_ask(&good).from("198.51.101.1")).await.ok(200);
    sessions(&relay, &text(&granted["session"])).await.ok(200);
    clock.advance(60);
    let good = login_request(&relay, device).await;
    relay.answer(login_ask(&good).from("198.51.100.9")).await.ok(200);
}

#[tokio::test]
async fn a_report_of_nobody_trusted_is_not_believed() {
    let relay = TestRelay::with(|config| config.limits.prefix_challenges_per_min = 1).await;
    let asked = || ask("POST /v1/auth/challenge").json(&json!({"device": Device::new().id()}));
    for _ in 0..5 {
        relay.answer(asked().from("203.0.113.1")).await.ok(200);
    }
}
