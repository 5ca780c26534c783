//! Device lists, over real sockets: which are valid, which follow which, and what goes with a device that is removed.

use restante::crypto::sign;
use restante::protocol::accounts::DeviceEntry;
use restante::protocol::{DeviceId, Hash, SealingKey, Signature, SignedList};
use serde_json::{Value, json};

use crate::support::person::{Device, Person, challenge, login, prove, receive, send, seqs};
use crate::support::raw::{Reply, ask};
use crate::support::relay::TestRelay;

async fn register(relay: &TestRelay, request: &Value) -> Reply {
    relay.answer(ask("POST /v1/accounts").json(request)).await
}

async fn put(relay: &TestRelay, session: &str, list: &SignedList) -> Reply {
    relay.answer(ask("PUT /v1/account/device-list").by(session).json(&json!({"device_list": list}))).await
}

/// A registration by one device of a list that may be anything.
async fn registration_of(relay: &TestRelay, device: &Device, list: &SignedList) -> Value {
    let given = challenge(relay, &device.id()).await;
    let signature = prove(relay, &given, device, |proof| proof.register(&list.hash()));
    json!({"device": device.id(), "challenge": given.challenge, "device_list": list, "signature": signature})
}

#[tokio::test]
async fn a_list_that_is_not_valid_registers_nobody() {
    let relay = TestRelay::start().await;
    let (bo, stranger) = (Person::of(vec![Device::new(), Device::new()]), Device::new());
    let device = &bo.devices[0];
    let entries: Vec<DeviceEntry> = bo.devices.iter().map(|device| device.entry(bo.id())).collect();
    let of = |entries: Vec<DeviceEntry>| bo.signed_entries(1, 1, Hash::ZERO, entries);
    let change = |change: &dyn Fn(&mut DeviceEntry)| {
        let mut entries = entries.clone();
        change(&mut entries[1]);
        of(entries)
    };
    let bytes = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut list = bo.list.clone();
        change(&mut list.list.0);
        list.signature = Signature(bo.list_key.sign(list.list.as_slice()));
        list
    };
    // The identity in the place of a key of the certificate, and in the list too where it stands there.
    let weak = |certificate: usize, list: usize| {
        let mut weak = bo.list.clone();
        let identity: [u8; 32] = std::array::from_fn(|at| u8::from(at == 0));
        weak.list_key_certificate.0[certificate..certificate + 32].copy_from_slice(&identity);
        if let Some(key) = weak.list.0.get_mut(list..list.saturating_add(32)) {
            key.copy_from_slice(&identity);
        }
        weak
    };
    let small_order = |device: &mut DeviceEntry| device.device = DeviceId([0; 32]);
    let identity = |key: &mut DeviceEntry| key.device = DeviceId(std::array::from_fn(|at| u8::from(at == 0)));
    let above_p = |key: &mut DeviceEntry| key.device = DeviceId(std::array::from_fn(|at| if at == 31 { 0x7f } else { 0xff }));
    let high_bit = |key: &mut DeviceEntry| key.sealing_key.0[31] |= 0x80;
    let theirs = |entry: &mut DeviceEntry| *entry = stranger.entry(Person::new().id());
    let unsigned = |entry: &mut DeviceEntry| entry.signature = Signature([0; 64]);
    let rows: Vec<(&str, &str, SignedList)> = vec![
        ("an entry signed for another account", "bad_list", change(&theirs)),
        ("an entry nobody signed", "bad_list", change(&unsigned)),
        ("no suite 1", "bad_list", change(&|entry| entry.suites = 2)),
        ("an unknown suite", "bad_list", change(&|entry| entry.suites = 5)),
        ("a device that is not the signer's", "bad_list", change(&|entry| entry.device = stranger.id())),
        (
            "another sealing key than was signed",
            "bad_list",
            change(&|entry| {
                entry.sealing_key = SealingKey(stranger.sealing.public());
            }),
        ),
        ("49 a device key of small order", "weak_key", change(&small_order)),
        ("49 the identity", "weak_key", change(&identity)),
        ("49 a device key above the field", "weak_key", change(&above_p)),
        ("49 a sealing key of small order", "weak_key", change(&|entry| entry.sealing_key = SealingKey([0; 32]))),
        ("49 a sealing key with its top bit set", "weak_key", change(&high_bit)),
        ("49 a weak account key", "weak_key", weak(22, 18)),
        ("49 a weak list key", "weak_key", weak(58, usize::MAX)),
        ("no devices", "bad_list", of(vec![])),
        ("a device twice", "bad_list", of(vec![entries[0].clone(), entries[0].clone()])),
        ("version 0", "bad_list", bo.signed(1, 0, Hash::ZERO)),
        ("version 2^53", "bad_list", bo.signed(1, 1 << 53, Hash::ZERO)),
        ("a byte more", "bad_list", bytes(&|list| list.push(0))),
        (
            "a byte less",
            "bad_list",
            bytes(&|list| {
                list.pop();
            }),
        ),
        ("another purpose", "bad_list", bytes(&|list| list[5] ^= 1)),
        (
            "more devices than it says",
            "bad_list",
            bytes(&|list| {
                let at = 2 + 16 + 32 + 4 + 8 + 32;
                list[at] = 1;
            }),
        ),
        ("empty", "bad_list", bytes(&|list| list.clear())),
        (
            "signed by the account key",
            "bad_list",
            SignedList { signature: Signature(bo.account.sign(bo.list.list.as_slice())), ..bo.list.clone() },
        ),
        (
            "another account's certificate",
            "bad_list",
            SignedList { list_key_certificate: Person::new().list.list_key_certificate, ..bo.list.clone() },
        ),
        (
            "a certificate of another epoch",
            "bad_list",
            SignedList { list_key_certificate: bo.signed(2, 1, Hash::ZERO).list_key_certificate, ..bo.list.clone() },
        ),
        ("a list of others than the signer", "bad_list", of(vec![entries[1].clone()])),
    ];
    for (name, code, list) in rows {
        let reply = register(&relay, &registration_of(&relay, device, &list).await).await;
        assert_eq!((reply.status, reply.code().as_str()), (422, code), "{name}: {}", String::from_utf8_lossy(&reply.body));
        assert!(relay.relay.stats().await.expect("stats").totals.accounts == 0, "{name}");
    }
    let eleven = Person::of((0..11).map(|_| Device::new()).collect());
    register(&relay, &eleven.registration(&relay).await).await.refused(422, "bad_list");
    bo.register(&relay).await;
}

#[tokio::test]
async fn a_list_follows_the_one_before_it() {
    let relay = TestRelay::start().await;
    let mut bo = Person::new();
    let session = bo.settle(&relay).await;
    let first = bo.list.clone();
    assert_eq!(put(&relay, &session, &first).await.ok(200), json!({"epoch": 1, "version": 1}));
    for (name, list) in [
        ("two ahead", bo.signed(1, 3, first.hash())),
        ("another before it", bo.signed(1, 2, Hash([1; 32]))),
        ("the same version, other bytes", bo.signed(1, 1, Hash([1; 32]))),
        ("a lower epoch", bo.signed(0, 2, first.hash())),
    ] {
        let refused = put(&relay, &session, &list).await;
        assert_eq!((refused.status, refused.code().as_str()), (409, "device_list_conflict"), "{name}");
        assert_eq!(refused.json()["device_list"], json!(first), "{name}: with the current one");
    }
    bo.devices.push(Device::new());
    let second = bo.next();
    let done = put(&relay, &session, &second).await;
    assert_eq!(done.ok(200), json!({"epoch": 1, "version": 2}));
    assert_eq!(put(&relay, &session, &second).await, done, "again, as the first time");
    put(&relay, &session, &first).await.refused(409, "device_list_conflict");
    bo.list_key = sign::KeyPair::generate();
    let higher = bo.signed(2, 9, Hash([4; 32]));
    assert_eq!(put(&relay, &session, &higher).await.ok(200), json!({"epoch": 2, "version": 9}));
    put(&relay, &session, &Person::new().list).await.refused(422, "bad_list");
}

#[tokio::test]
async fn nobody_lists_a_device_that_is_anothers() {
    let relay = TestRelay::start().await;
    let (mut bo, cy) = (Person::new(), Person::new());
    let (session, theirs) = (bo.settle(&relay).await, cy.settle(&relay).await);
    // With the other device's entry as it stands in the other's list, and then with one that it signed for this account too.
    let own = bo.devices[0].entry(bo.id());
    let stolen = bo.signed_entries(1, 2, bo.list.hash(), vec![own, cy.devices[0].entry(cy.id())]);
    put(&relay, &session, &stolen).await.refused(422, "bad_list");
    bo.devices.push(cy.devices[0].clone());
    put(&relay, &session, &bo.next()).await.refused(409, "device_taken");
    assert_eq!(seqs(&receive(&relay, &theirs, "").await), [0; 0], "and the other is still there");
}

#[tokio::test]
async fn a_removed_device_is_gone_for_good() {
    let (relay, _) = TestRelay::by_hand(|_| {}).await;
    let mut bo = Person::of(vec![Device::new(), Device::new()]);
    let session = bo.settle(&relay).await;
    let removed = bo.devices[1].clone();
    let its = login(&relay, &removed).await;
    let token = bo.token(&relay, &session).await;
    send(&relay, &bo.parcel(&token, 1, 1_024)).await.ok(202);
    let mut polling = relay.socket().await;
    polling.send(&ask("GET /v1/envelopes?wait=60&after=1").by(&its).bytes()).await;
    bo.devices.pop();
    bo.list = bo.next();
    put(&relay, &session, &bo.list).await.ok(200);
    polling.reply().await.expect("a reply").refused(401, "no_session");
    relay.answer(ask("GET /v1/account").by(&its)).await.refused(401, "no_session");
    assert_eq!(relay.relay.stats().await.expect("stats").totals.envelopes, 1, "its mailbox went");
    bo.devices.push(removed.clone());
    put(&relay, &session, &bo.next()).await.refused(409, "device_taken");
    let mut elsewhere = Person::of(vec![removed]);
    register(&relay, &elsewhere.registration(&relay).await).await.refused(409, "device_taken");
    elsewhere.devices.clear();
}
