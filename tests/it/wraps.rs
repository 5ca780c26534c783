//! The relay's layer around an envelope: every device opens its own, and no key serves twice with one nonce.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use restante::crypto::{random, sign, wrap};
use restante::protocol::envelopes::{Envelope, SendRequest, wrap_aad, wrap_info, wrap_key_context};
use restante::protocol::info::Registration;
use restante::protocol::tokens::{TokenItem, TokenKind};
use restante::protocol::{DeliveryToken, ErrorCode, Limits, Seq};
use restante::service::{Clock, Relay, Settings};
use restante::store::sqlite;
use restante::store::{Accounts as _, Envelopes as _, NewList, Tokens as _};

use crate::support::person::{Device, Person, login, receive, send, seqs};
use crate::support::relay::TestRelay;

#[tokio::test]
async fn every_size_comes_to_every_device_and_opens() {
    let relay = TestRelay::start().await;
    let bo = Person::of((0..10).map(|_| Device::new()).collect());
    let session = bo.settle(&relay).await;
    let token = bo.token(&relay, &session).await;
    for (id, size) in [(1, 1_024), (2, 4_096), (3, 16_384)] {
        send(&relay, &bo.parcel(&token, id, size)).await.ok(202);
    }
    let mut used = HashSet::new();
    for device in &bo.devices {
        let session = login(&relay, device).await;
        let page = receive(&relay, &session, "").await;
        assert_eq!(seqs(&page), [1, 2, 3]);
        for (index, size) in [1_024, 4_096, 16_384].into_iter().enumerate() {
            let envelope: Envelope = serde_json::from_value(page["envelopes"][index].clone()).expect("an envelope");
            let opened = open(device, &envelope);
            assert_eq!(opened[0], 1, "a contact token");
            assert_eq!(opened[1..33], *token.hash().as_ref());
            assert_eq!(opened[33..49], (index as u128 + 1).to_be_bytes());
            assert_eq!(opened[49..], (0..size).map(|at| at as u8).collect::<Vec<u8>>());
            assert!(used.insert(envelope.wrap.0.clone()), "no (key, nonce) comes twice");
        }
    }
    assert_eq!(used.len(), 30);
}

/// The store refuses once it is full, after the wrap was made: the try that follows must not use its key and nonce again.
#[tokio::test]
async fn a_try_that_the_store_refused_wraps_anew() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let small = sqlite::Settings { disk_bytes_max: 2 << 20, ..sqlite::Settings::new(dir.path()) };
    let store = Arc::new(sqlite::SqliteStore::open(small).expect("a fresh store"));
    let drawn = Arc::<Mutex<Vec<Vec<u8>>>>::default();
    let (record, system) = (Arc::clone(&drawn), random::system());
    let source: random::Source = Arc::new(move |bytes| {
        system(bytes);
        if bytes.len() == 12 {
            record.lock().expect("nobody panics in here").push(bytes.to_vec());
        }
    });
    let settings = Settings {
        limits: Limits::default(),
        retention_secs: 604_800,
        registration: Registration::Open,
        origins: vec![],
        web_origins: vec![],
        proxies_trusted: false,
        relay_key: sign::KeyPair::generate(),
        totp_key: zeroize::Zeroizing::new([7; 32]),
        room: Arc::new(|| true),
        purge_overdue_secs: 900,
    };
    let relay = Relay::open(settings, store.clone(), Clock::system(), source).await.expect("a relay");
    let (bo, token, now) = (Person::new(), DeliveryToken([7; 32]), relay.now());
    let (_, list) = bo.list.parse().expect("a list");
    store.register(NewList { signed: bo.list.clone(), list }, None, false, now).await.expect("registered");
    let item = TokenItem {
        hash: token.hash(),
        kind: TokenKind::Contact,
        expires_at: None,
        envelopes_max: None,
        used: false,
        uses_left: None,
    };
    store.add_token(bo.id(), item, 10, now).await.expect("added");

    let parcel = |id| serde_json::from_value::<SendRequest>(bo.parcel(&token, id, 16_384)).expect("a send");
    let mut tries = 0;
    let refused = loop {
        tries += 1;
        if let Err(error) = relay.send(parcel(tries), None).await {
            break error;
        }
    };
    assert_eq!(refused.code(), ErrorCode::RelayFull, "{refused}");
    let device = bo.devices[0].id();
    store.ack(device, vec![], Some(Seq(tries as u64 / 2)), now).await.expect("removing works when nothing else does");
    relay.send(parcel(tries), None).await.expect("there is room again");
    let page = store.waiting(device, Seq(0), 1_000, u64::MAX, now).await.expect("a page");
    let last = page.envelopes.last().expect("the last one");
    let drawn = drawn.lock().expect("nobody panics in here").clone();
    assert_eq!(drawn.len() as u128, tries + 1, "every try drew a nonce of its own");
    assert_eq!(last.wrap.0[32..], drawn[tries as usize]);
    let distinct: HashSet<&Vec<u8>> = drawn.iter().collect();
    assert_eq!(distinct.len(), drawn.len());
    assert_eq!(open(&bo.devices[0], last)[33..49], tries.to_be_bytes());
    relay.close().await;
}

pub(crate) fn open(device: &Device, envelope: &Envelope) -> Vec<u8> {
    let (enc, nonce) = envelope.wrap.as_slice().split_at(32);
    let id = device.id();
    wrap::unwrap(
        &device.sealing.secret(),
        enc.try_into().expect("32 bytes"),
        &wrap_info(&id),
        &wrap_key_context(),
        nonce.try_into().expect("12 bytes"),
        &wrap_aad(&id, envelope.expires_at),
        envelope.body.as_slice(),
    )
    .expect("the device opens its wrap")
}
