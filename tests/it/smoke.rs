//! A first walk through the relay's rules on a real file; width is in the topic files.

use std::sync::Arc;

use restante::crypto::{exchange, random, sign};
use restante::protocol::accounts::{DeviceEntry, RegisterRequest};
use restante::protocol::auth::{ChallengeRequest, LoginRequest, Proof};
use restante::protocol::envelopes::{AckRequest, ListName, ReceiveQuery, Sealed, SendRequest};
use restante::protocol::info::Registration;
use restante::protocol::tokens::{AddTokenRequest, TokenKind};
use restante::protocol::*;
use restante::service::{Clock, Relay, Settings};
use restante::store::sqlite::{self, SqliteStore};

#[tokio::test]
async fn an_envelope_waits_is_fetched_acknowledged_and_forgotten() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = SqliteStore::open(sqlite::Settings::new(dir.path())).expect("a fresh store");
    let relay_key = sign::KeyPair::generate();
    let key = RelayKey(relay_key.public());
    let origin = "http://127.0.0.1:1";
    let settings = Settings {
        limits: Limits::default(),
        retention_secs: 604_800,
        registration: Registration::Open,
        origins: vec![origin.into()],
        relay_key,
        room: Arc::new(|| true),
        purge_overdue_secs: 900,
    };
    let relay = Relay::open(settings, Arc::new(store), Clock::system(), random::system()).await.expect("a relay");

    let (account, device, list_key) = (sign::KeyPair::generate(), sign::KeyPair::generate(), sign::KeyPair::generate());
    let sealing = exchange::KeyPair::generate();
    let (account_id, device_id, sealing_key) =
        (AccountId(account.public()), DeviceId(device.public()), SealingKey(sealing.public()));
    let mut certificate = ListKeyCertificate {
        account: account_id,
        epoch: 1,
        list_key: ListKey(list_key.public()),
        signature: Signature([0; 64]),
    };
    certificate.signature = Signature(account.sign(&certificate.transcript()));
    let entry = DeviceEntry {
        device: device_id,
        sealing_key,
        suites: 1,
        signature: Signature(device.sign(&DeviceEntry::transcript(&account_id, &device_id, &sealing_key, 1))),
    };
    let list = DeviceList { account: account_id, epoch: 1, version: 1, previous: Hash::ZERO, entries: vec![entry] };
    let signed = SignedList {
        list_key_certificate: Bytes(certificate.bytes()),
        signature: Signature(list_key.sign(&list.bytes())),
        list: Bytes(list.bytes()),
    };
    let challenge = relay.challenge(&ChallengeRequest { device: device_id }, None).expect("a challenge");
    let proof = Proof {
        origin,
        relay_key: &key,
        device: &device_id,
        challenge: challenge.challenge.as_slice(),
        expires_at: challenge.expires_at,
    };
    let request = RegisterRequest {
        device: device_id,
        challenge: challenge.challenge.clone(),
        signature: Signature(device.sign(&proof.register(&signed.hash()))),
        device_list: signed,
        pass: None,
    };
    relay.register(&request, None).await.expect("registered");
    relay.register(&request, None).await.expect("registered again");
    let challenge = relay.challenge(&ChallengeRequest { device: device_id }, None).expect("a challenge");
    let proof = Proof { challenge: challenge.challenge.as_slice(), expires_at: challenge.expires_at, ..proof };
    let login = LoginRequest {
        device: device_id,
        challenge: challenge.challenge.clone(),
        signature: Signature(device.sign(&proof.login())),
    };
    let session = relay.login(&login, None).await.expect("logged in");
    assert!(relay.login(&login, None).await.is_err(), "a challenge is good once");
    let session = relay.authenticate(&session.session).expect("a session");

    let token = DeliveryToken([9; 32]);
    let add = AddTokenRequest { hash: token.hash(), kind: TokenKind::Contact, expires_at: None, envelopes_max: None };
    relay.add_token(&session, &add).await.expect("a token");
    let send = SendRequest {
        token,
        id: EnvelopeId([3; 16]),
        list: ListName { epoch: 1, version: 1 },
        sealed: vec![Sealed { device: device_id, body: Bytes(vec![7; 1_024]) }],
        expires_in: None,
        live: None,
    };
    let first = relay.send(send.clone()).await.expect("sent");
    let waiting = relay.receive(&session, ReceiveQuery { wait: 25, ..ReceiveQuery::default() }).await.expect("a page");
    assert_eq!(waiting.envelopes.len(), 1);
    assert_eq!(relay.send(send.clone()).await.expect("sent again"), first);
    let seq = waiting.envelopes[0].seq;
    let ack = AckRequest { seqs: None, through: Some(seq) };
    assert_eq!(relay.ack(&session, ack.clone()).await.expect("acknowledged").removed, 1);
    assert_eq!(relay.ack(&session, ack).await.expect("acknowledged").removed, 0);
    assert_eq!(relay.send(send).await.expect("sent again"), first);
    let waiting = relay.receive(&session, ReceiveQuery::default()).await.expect("a page");
    assert!(waiting.envelopes.is_empty() && waiting.drained);
    let report = relay.purge(Default::default(), |_| {}).await.expect("purged");
    assert_eq!((report.envelopes, report.waiting), (0, 0));
    assert_eq!(relay.stats().await.expect("stats").totals.accounts, 1);
    relay.close().await;
}
