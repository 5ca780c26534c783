//! A person with devices, who talks to a relay in the protocol's own words.

use restante::crypto::{exchange, sign};
use restante::protocol::accounts::DeviceEntry;
use restante::protocol::auth::{ChallengeReply, Proof};
use restante::protocol::{
    AccountId, Bytes, DeliveryToken, DeviceId, DeviceList, Hash, ListKey, ListKeyCertificate, SealingKey, Signature, SignedList,
};
use serde_json::{Value, json};

use super::raw::{Reply, ask, text};
use super::relay::TestRelay;

/// A device's keys.
#[derive(Clone)]
pub(crate) struct Device {
    pub(crate) key: sign::KeyPair,
    pub(crate) sealing: exchange::KeyPair,
}

/// An account's keys, its devices and the list that they stand in.
#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) account: sign::KeyPair,
    pub(crate) list_key: sign::KeyPair,
    pub(crate) devices: Vec<Device>,
    pub(crate) list: SignedList,
}

impl Device {
    pub(crate) fn new() -> Self {
        Self { key: sign::KeyPair::generate(), sealing: exchange::KeyPair::generate() }
    }

    pub(crate) fn id(&self) -> DeviceId {
        DeviceId(self.key.public())
    }

    /// Its entry in an account's list.
    pub(crate) fn entry(&self, account: AccountId) -> DeviceEntry {
        let (device, sealing_key) = (self.id(), SealingKey(self.sealing.public()));
        let signature = Signature(self.key.sign(&DeviceEntry::transcript(&account, &device, &sealing_key, 1)));
        DeviceEntry { device, sealing_key, suites: 1, signature }
    }
}

impl Person {
    /// With one device.
    pub(crate) fn new() -> Self {
        Self::of(vec![Device::new()])
    }

    /// With these devices, in the first version of a list.
    pub(crate) fn of(devices: Vec<Device>) -> Self {
        let list = SignedList { list_key_certificate: Bytes(vec![]), list: Bytes(vec![]), signature: Signature([0; 64]) };
        let (account, list_key) = (sign::KeyPair::generate(), sign::KeyPair::generate());
        let mut person = Self { account, list_key, devices, list };
        person.list = person.signed(1, 1, Hash::ZERO);
        person
    }

    pub(crate) fn id(&self) -> AccountId {
        AccountId(self.account.public())
    }

    /// A list of the person's devices as they are now.
    pub(crate) fn signed(&self, epoch: u32, version: u64, previous: Hash) -> SignedList {
        self.signed_entries(epoch, version, previous, self.devices.iter().map(|device| device.entry(self.id())).collect())
    }

    /// A list of any entries.
    pub(crate) fn signed_entries(&self, epoch: u32, version: u64, previous: Hash, mut entries: Vec<DeviceEntry>) -> SignedList {
        entries.sort_by_key(|entry| entry.device);
        let (account, list_key) = (self.id(), ListKey(self.list_key.public()));
        let mut certificate = ListKeyCertificate { account, epoch, list_key, signature: Signature([0; 64]) };
        certificate.signature = Signature(self.account.sign(&certificate.transcript()));
        let list = DeviceList { account, epoch, version, previous, entries }.bytes();
        SignedList {
            list_key_certificate: Bytes(certificate.bytes()),
            signature: Signature(self.list_key.sign(&list)),
            list: Bytes(list),
        }
    }

    /// The list that follows the current one with the devices as they are now; not yet anybody's.
    pub(crate) fn next(&self) -> SignedList {
        let (_, current) = self.list.parse().expect("the person's own list");
        self.signed(current.epoch, current.version + 1, self.list.hash())
    }

    /// Registers, and must succeed.
    pub(crate) async fn register(&self, relay: &TestRelay) {
        let request = self.registration(relay).await;
        relay.answer(ask("POST /v1/accounts").json(&request)).await.ok(201);
    }

    /// A registration by the first device.
    pub(crate) async fn registration(&self, relay: &TestRelay) -> Value {
        let device = &self.devices[0];
        let challenge = challenge(relay, &device.id()).await;
        let signature = prove(relay, &challenge, device, |proof| proof.register(&self.list.hash()));
        json!({"device": device.id(), "challenge": challenge.challenge, "device_list": self.list, "signature": signature})
    }

    /// A session of the first device.
    pub(crate) async fn login(&self, relay: &TestRelay) -> String {
        login(relay, &self.devices[0]).await
    }

    /// Registered and logged in.
    pub(crate) async fn settle(&self, relay: &TestRelay) -> String {
        self.register(relay).await;
        self.login(relay).await
    }

    /// A fresh contact token.
    pub(crate) async fn token(&self, relay: &TestRelay, session: &str) -> DeliveryToken {
        let token = DeliveryToken(restante::crypto::random::bytes());
        let body = json!({"hash": token.hash(), "kind": "contact"});
        relay.answer(ask("POST /v1/tokens").by(session).json(&body)).await.ok(200);
        token
    }

    /// A send to all devices, of bodies of this many bytes.
    pub(crate) fn parcel(&self, token: &DeliveryToken, id: u128, size: usize) -> Value {
        let (_, list) = self.list.parse().expect("the person's own list");
        let body = Bytes((0..size).map(|at| at as u8).collect());
        let sealed: Vec<Value> = self.devices.iter().map(|device| json!({"device": device.id(), "body": body})).collect();
        let id = Bytes(id.to_be_bytes().to_vec());
        json!({"token": token, "id": id, "list": {"epoch": list.epoch, "version": list.version}, "sealed": sealed})
    }
}

/// Asks for a challenge and must get one.
pub(crate) async fn challenge(relay: &TestRelay, device: &DeviceId) -> ChallengeReply {
    let reply = relay.answer(ask("POST /v1/auth/challenge").json(&json!({"device": device}))).await;
    serde_json::from_value(reply.ok(200)).expect("a challenge")
}

/// A device's signature over what a challenge binds, as dialled at this relay.
pub(crate) fn prove(
    relay: &TestRelay,
    challenge: &ChallengeReply,
    device: &Device,
    transcript: impl Fn(&Proof<'_>) -> Vec<u8>,
) -> Signature {
    prove_at(&relay.origin(), challenge, device, &device.key, transcript)
}

/// The same by any key, for any origin.
pub(crate) fn prove_at(
    origin: &str,
    challenge: &ChallengeReply,
    device: &Device,
    key: &sign::KeyPair,
    transcript: impl Fn(&Proof<'_>) -> Vec<u8>,
) -> Signature {
    let proof = Proof {
        origin,
        relay_key: &challenge.relay_key,
        device: &device.id(),
        challenge: challenge.challenge.as_slice(),
        expires_at: challenge.expires_at,
    };
    Signature(key.sign(&transcript(&proof)))
}

/// A login that is right, not yet sent.
pub(crate) async fn login_request(relay: &TestRelay, device: &Device) -> Value {
    let challenge = challenge(relay, &device.id()).await;
    let signature = prove(relay, &challenge, device, |proof| proof.login());
    json!({"device": device.id(), "challenge": challenge.challenge, "signature": signature})
}

/// Logs in and must succeed.
pub(crate) async fn login(relay: &TestRelay, device: &Device) -> String {
    let request = login_request(relay, device).await;
    text(&relay.answer(ask("POST /v1/auth/login").json(&request)).await.ok(200)["session"])
}

/// Sends, and gives the reply.
pub(crate) async fn send(relay: &TestRelay, parcel: &Value) -> Reply {
    relay.answer(ask("POST /v1/envelopes").json(parcel)).await
}

/// A page of what waits.
pub(crate) async fn receive(relay: &TestRelay, session: &str, query: &str) -> Value {
    relay.answer(ask(&format!("GET /v1/envelopes{query}")).by(session)).await.ok(200)
}

/// The seqs of a page.
pub(crate) fn seqs(page: &Value) -> Vec<u64> {
    let envelopes = page["envelopes"].as_array().expect("a page");
    envelopes.iter().map(|envelope| envelope["seq"].as_u64().expect("a seq")).collect()
}

/// Acknowledges and gives the reply.
pub(crate) async fn acknowledge(relay: &TestRelay, session: &str, body: &Value) -> Reply {
    relay.answer(ask("POST /v1/envelopes/ack").by(session).json(body)).await
}
