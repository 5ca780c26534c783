//! What a stranger can ask must not tell what is there: tokens, devices, accounts. Byte for byte in the gate; by the clock in a
//! campaign that is run by hand:
//!
//!     cargo test --release --test it -- --ignored --nocapture enumeration

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use restante::crypto::sign;
use restante::protocol::{Bytes, DeliveryToken, Signature};
use serde_json::{Value, json};

use crate::support::person::{Device, Person, challenge, send};
use crate::support::raw::{Ask, Reply, ask};
use crate::support::relay::TestRelay;

/// Requests about what is there, or was, and about what never was.
struct Pair {
    name: &'static str,
    there: Vec<Ask>,
    missing: Vec<Ask>,
}

/// A relay with somebody on it, and everything that a stranger may ask about them.
async fn asked(number: usize) -> (TestRelay, Vec<Pair>) {
    let set = |config: &mut restante::config::Config| {
        config.limits.challenge_secs = 300;
        // What has expired stays where it is.
        config.retention.purge_schedule = "0 0 1 1 *".into();
    };
    let (relay, clock) = TestRelay::by_hand(set).await;
    let bo = Person::new();
    let session = bo.settle(&relay).await;
    let fresh = || DeliveryToken(restante::crypto::random::bytes());
    let mint = async |kind: &str, expires_in: Option<u64>| {
        let token = fresh();
        let mut body = json!({"hash": token.hash(), "kind": kind});
        if let Some(secs) = expires_in {
            body["expires_at"] = json!(relay.relay.now() + secs);
        }
        relay.answer(ask("POST /v1/tokens").by(&session).json(&body)).await.ok(200);
        token
    };
    let (mut revoked, mut expired, mut used, mut missing) = (vec![], vec![], vec![], vec![]);
    for id in 0..number as u128 {
        revoked.push(mint("contact", None).await);
        expired.push(mint("contact", Some(3_600)).await);
        used.push(mint("once", Some(86_400)).await);
        missing.push(fresh());
        for tokens in [&revoked, &expired, &used] {
            // Known to the relay's memory, too.
            send(&relay, &bo.parcel(&tokens[id as usize], id, 1_024)).await.ok(202);
        }
    }
    let hashes: Vec<_> = revoked.iter().map(DeliveryToken::hash).collect();
    relay.answer(ask("POST /v1/tokens/revoke").by(&session).json(&json!({"hashes": hashes}))).await.ok(200);
    clock.advance(7_200);

    let nobody = Person::new();
    let sends = |tokens: &[DeliveryToken]| -> Vec<Ask> {
        tokens.iter().map(|token| ask("POST /v1/envelopes").json(&bo.parcel(token, 1 << 100, 1_024))).collect()
    };
    let keys = |tokens: &[DeliveryToken]| -> Vec<Ask> {
        tokens.iter().map(|token| ask("POST /v1/keys").json(&json!({"token": token}))).collect()
    };
    let challenges = |person: &Person| vec![ask("POST /v1/auth/challenge").json(&json!({"device": person.devices[0].id()}))];
    let pair = |name, there, missing| Pair { name, there, missing };
    let pairs = vec![
        pair("send: token revoked / unknown", sends(&revoked), sends(&missing)),
        pair("send: token expired / unknown", sends(&expired), sends(&missing)),
        pair("send: token used up / unknown", sends(&used), sends(&missing)),
        pair("keys: token revoked / unknown", keys(&revoked), keys(&missing)),
        pair("keys: token expired / unknown", keys(&expired), keys(&missing)),
        pair("challenge: device known / unknown", challenges(&bo), challenges(&nobody)),
        pair("login: device known / unknown", vec![login(&relay, &bo).await], vec![login(&relay, &nobody).await]),
        pair("register: account known / unknown", vec![register(&relay, &bo).await], vec![register(&relay, &nobody).await]),
        pair("recover: account known / unknown", vec![recover(&relay, &bo).await], vec![recover(&relay, &nobody).await]),
    ];
    (relay, pairs)
}

/// A fresh challenge of the person's device, and a signature that is nobody's over it.
async fn forged(relay: &TestRelay, person: &Person) -> Value {
    let device = &person.devices[0];
    let given = challenge(relay, &device.id()).await;
    let signature = Signature(sign::KeyPair::generate().sign(given.challenge.as_slice()));
    json!({"device": device.id(), "challenge": given.challenge, "signature": signature})
}

async fn login(relay: &TestRelay, person: &Person) -> Ask {
    ask("POST /v1/auth/login").json(&forged(relay, person).await)
}

/// By somebody who has the person's list, as every contact has.
async fn register(relay: &TestRelay, person: &Person) -> Ask {
    let mut request = forged(relay, person).await;
    request["device_list"] = json!(person.list);
    ask("POST /v1/accounts").json(&request)
}

async fn recover(relay: &TestRelay, person: &Person) -> Ask {
    let mut request = forged(relay, person).await;
    request["account_signature"] = request["signature"].take();
    request["device_list"] = json!(person.signed(2, 1, person.list.hash()));
    request.as_object_mut().expect("an object").remove("signature");
    ask("POST /v1/account/recover").json(&request)
}

/// A challenge is drawn anew each time; but for that it must say the same.
fn without_chance(mut reply: Reply) -> Reply {
    if let Ok(mut body) = serde_json::from_slice::<Value>(&reply.body)
        && body["challenge"].is_string()
    {
        for field in ["challenge", "signature"] {
            let length = body[field].as_str().map(str::len);
            body[field] = json!(length);
        }
        reply.body = body.to_string().into_bytes();
    }
    reply
}

#[tokio::test]
async fn what_is_there_is_answered_like_what_is_not() {
    let (relay, pairs) = asked(2).await;
    for Pair { name, there, missing } in pairs {
        let mut replies = Vec::new();
        for request in there.into_iter().chain(missing) {
            replies.push(without_chance(relay.answer(request).await));
        }
        assert!(replies.iter().all(|reply| *reply == replies[0]), "{name}: {replies:#?}");
        let refused = matches!(replies[0].code().as_str(), "no_such_token" | "login_refused");
        assert!(refused || name.starts_with("challenge"), "{name}: {:?}", replies[0]);
    }
}

#[tokio::test]
async fn what_is_refused_before_it_is_looked_for_is_refused_alike() {
    let relay = TestRelay::start().await;
    let bo = Person::new();
    let session = bo.settle(&relay).await;
    let (known, unknown) = (bo.token(&relay, &session).await, DeliveryToken([9; 32]));
    let spoilt = |token: &DeliveryToken| {
        let mut parcels = [bo.parcel(token, 1, 1_023), bo.parcel(token, 1, 1_024), bo.parcel(token, 1, 1_024)];
        parcels[1]["expires_in"] = json!(1);
        parcels[2]["sealed"] = json!([]);
        let mut asks: Vec<Ask> = parcels.iter().map(|parcel| ask("POST /v1/envelopes").json(parcel)).collect();
        asks.push(ask("POST /v1/envelopes").by(&session).json(&bo.parcel(token, 1, 1_024)));
        asks.push(ask("POST /v1/keys").by(&session).json(&json!({"token": token})));
        asks.push(ask("POST /v1/keys").json(&json!({"token": token, "more": 1})));
        asks
    };
    for (one, other) in spoilt(&known).into_iter().zip(spoilt(&unknown)) {
        let reply = relay.answer(one).await;
        assert!((400..=422).contains(&reply.status) && reply.status != 404, "{reply:?}");
        assert_eq!(relay.answer(other).await, reply);
    }
    // Somebody with another's list, and a device of their own that is not in it.
    for person in [&bo, &Person::new()] {
        let own = Device::new();
        let given = challenge(&relay, &own.id()).await;
        let hash = person.list.hash();
        let signature = crate::support::person::prove(&relay, &given, &own, |proof| proof.register(&hash));
        let mut body = json!({"device": own.id(), "device_list": person.list, "signature": signature});
        body["challenge"] = json!(Bytes(given.challenge.as_slice().to_vec()));
        relay.answer(ask("POST /v1/accounts").json(&body)).await.refused(422, "bad_list");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a campaign: minutes, and only on a machine with nothing else to do"]
async fn what_is_there_takes_as_long_as_what_is_not() {
    let (relay, pairs) = asked(100).await;
    let address = relay.address;
    let timed = tokio::task::spawn_blocking(move || pairs.iter().map(|pair| (pair.name, medians(address, pair))).collect());
    let timed: Vec<(&str, [f64; 2])> = timed.await.expect("no panic");
    println!("{:36} {:>10} {:>10} {:>7}", "medians of 2,000 tries each, in µs", "there", "missing", "ratio");
    let mut apart = Vec::new();
    for (name, [there, missing]) in timed {
        let ratio = there / missing;
        println!("{name:36} {there:>10.1} {missing:>10.1} {ratio:>7.3}");
        if !(1.0 / 1.1..=1.1).contains(&ratio) && !KNOWN_APART.contains(&name) {
            apart.push(name);
        }
    }
    assert_eq!(apart, Vec::<&str>::new(), "further apart than 10 %");
}

/// Interleaved on one connection, in turns of changing order.
fn medians(address: SocketAddr, pair: &Pair) -> [f64; 2] {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_nodelay(true).expect("set");
    let asks = [&pair.there, &pair.missing].map(|asks| asks.iter().map(Ask::bytes).collect::<Vec<_>>());
    let mut taken = [Vec::new(), Vec::new()];
    for turn in 0..WARM_UP + TRIES {
        for place in 0..2 {
            let which = (turn + place) % 2;
            let bytes = &asks[which][turn % asks[which].len()];
            let began = Instant::now();
            stream.write_all(bytes).expect("sent");
            hear(&mut stream);
            if turn >= WARM_UP {
                taken[which].push(began.elapsed().as_nanos());
            }
        }
    }
    taken.map(|mut nanos| {
        nanos.sort_unstable();
        nanos[nanos.len() / 2] as f64 / 1_000.0
    })
}

/// Reads one reply, whole.
fn hear(stream: &mut TcpStream) {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4_096]);
    loop {
        let read = stream.read(&mut buffer).expect("a reply");
        assert_ne!(read, 0, "the relay hung up");
        bytes.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
        if body.len() >= length.parse::<usize>().expect("a number") {
            return;
        }
    }
}

const TRIES: usize = 2_000;
const WARM_UP: usize = 200;
/// A `once` token that is used up is let as far as the writer, since it may be a repeat; `POST /v1/keys` answers to it until it
/// expires (§10.1), so that whoever holds it knows already that it is there.
const KNOWN_APART: [&str; 1] = ["send: token used up / unknown"];
