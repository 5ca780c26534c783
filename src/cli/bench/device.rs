//! The devices of the load: real accounts of one device each, registered over the real API. Thousands of client profiles
//! would be thousands of directories, so their keys are held here, in memory, and what a client signs is signed here: the one
//! file under `cli` that names `crypto`.

use std::sync::Arc;

use anyhow::{Context, ensure};

use super::crowd::{Numbers, together};
use super::http::{Address, Connection};
use crate::cli::output;
use crate::crypto::{exchange, random, sign, wrap};
use crate::protocol::accounts::{DeviceEntry, RegisterReply, RegisterRequest};
use crate::protocol::auth::{ChallengeReply, ChallengeRequest, LoginReply, LoginRequest, Proof};
use crate::protocol::bytes::Transcript;
use crate::protocol::envelopes::{
    ListName, Sealed, SendRequest, WRAP_LENGTH, wrap_aad, wrap_info, wrap_key_context, wrap_plaintext,
};
use crate::protocol::tokens::{AddTokenReply, AddTokenRequest, TokenItem, TokenKind, repeat_tag};
use crate::protocol::{
    AccountId, Bytes, DeliveryToken, DeviceId, DeviceList, EnvelopeId, Hash, ListKey, ListKeyCertificate, SealingKey,
    SessionToken, Signature, SignedList,
};
use crate::server::{NewEnvelope, NewList};

/// An account's one device.
pub(super) struct Device {
    id: DeviceId,
    key: sign::KeyPair,
    sealing: exchange::KeyPair,
    list: SignedList,
    token: DeliveryToken,
}

impl Device {
    fn generate() -> Self {
        Self::of(&random::bytes(), 0)
    }

    /// One of many that belong to a seed, the same each time: a million of them need not be kept.
    pub(super) fn of(seed: &[u8; 32], number: usize) -> Self {
        let secret = |purpose| Transcript::new(purpose).fixed(seed).u64(number as u64).sha256().0;
        let [account_key, list_key, key] =
            ["/account", "/list", "/device"].map(|purpose| sign::KeyPair::from_seed(&secret(purpose)));
        let sealing = exchange::KeyPair::from_secret(&secret("/sealing"));
        let (account, id, sealing_key) =
            (AccountId(account_key.public()), DeviceId(key.public()), SealingKey(sealing.public()));
        let signature = Signature(key.sign(&DeviceEntry::transcript(&account, &id, &sealing_key, 1)));
        let entries = vec![DeviceEntry { device: id, sealing_key, suites: 1, signature }];
        let ListName { epoch, version } = LIST;
        let mut certificate =
            ListKeyCertificate { account, epoch, list_key: ListKey(list_key.public()), signature: Signature([0; 64]) };
        certificate.signature = Signature(account_key.sign(&certificate.transcript()));
        let list = DeviceList { account, epoch, version, previous: Hash::ZERO, entries }.bytes();
        let list = SignedList {
            list_key_certificate: Bytes(certificate.bytes()),
            signature: Signature(list_key.sign(&list)),
            list: Bytes(list),
        };
        Self { id, key, sealing, list, token: DeliveryToken(secret("/token")) }
    }

    async fn register(&self, relay: &mut Connection, at: &Address) -> anyhow::Result<()> {
        let challenge = self.challenge(relay, at).await?;
        let signature = self.prove(at, &challenge, |proof| proof.register(&self.list.hash()));
        let request = RegisterRequest {
            device: self.id,
            challenge: challenge.challenge,
            device_list: self.list.clone(),
            signature,
            pass: None,
        };
        let _: RegisterReply = relay.expect(201, &at.post("/v1/accounts", None, &request)).await?;
        Ok(())
    }

    /// A fresh session.
    pub(super) async fn login(&self, relay: &mut Connection, at: &Address) -> anyhow::Result<SessionToken> {
        let challenge = self.challenge(relay, at).await?;
        let signature = self.prove(at, &challenge, |proof| proof.login());
        let request = LoginRequest { device: self.id, challenge: challenge.challenge, signature };
        let reply: LoginReply = relay.expect(200, &at.post("/v1/auth/login", None, &request)).await?;
        Ok(reply.session)
    }

    async fn challenge(&self, relay: &mut Connection, at: &Address) -> anyhow::Result<ChallengeReply> {
        relay.expect(200, &at.post("/v1/auth/challenge", None, &ChallengeRequest { device: self.id })).await
    }

    fn prove(&self, at: &Address, challenge: &ChallengeReply, what: impl Fn(&Proof<'_>) -> Vec<u8>) -> Signature {
        let proof = Proof {
            origin: &at.origin,
            relay_key: &challenge.relay_key,
            device: &self.id,
            challenge: challenge.challenge.as_slice(),
            expires_at: challenge.expires_at,
        };
        Signature(self.key.sign(&what(&proof)))
    }

    async fn add_token(&self, relay: &mut Connection, at: &Address, session: &SessionToken) -> anyhow::Result<()> {
        let request = AddTokenRequest {
            hash: self.token.hash(),
            kind: TokenKind::Contact,
            expires_at: None,
            envelopes_max: None,
            uses: None,
        };
        let _: AddTokenReply = relay.expect(200, &at.post("/v1/tokens", Some(session), &request)).await?;
        Ok(())
    }

    /// Where sends to it go.
    pub(super) fn addressee(&self) -> Addressee {
        Addressee { device: self.id, token: self.token.clone() }
    }

    /// A send to this device.
    pub(super) fn parcel(&self, at: &Address) -> Parcel {
        Parcel::new(at, &self.addressee())
    }

    /// Its account's list and its token, as the relay keeps them.
    pub(super) fn entry(&self) -> anyhow::Result<(NewList, TokenItem)> {
        let (_, list) = self.list.parse()?;
        let (hash, kind) = (self.token.hash(), TokenKind::Contact);
        let token = TokenItem { hash, kind, expires_at: None, envelopes_max: None, used: false, uses_left: None };
        Ok((NewList { signed: self.list.clone(), list }, token))
    }

    /// Agrees on the key under which a relay would wrap to it.
    pub(super) fn packer(&self) -> anyhow::Result<Packer> {
        let key = wrap::WrapKey::new(&self.sealing.public(), &wrap_info(&self.id), &wrap_key_context())?;
        Ok(Packer { addressee: self.addressee(), key })
    }

    /// Takes the relay's layer off, and gives the id that the sender chose.
    pub(super) fn opened(&self, expires_at: u64, wrap: &Bytes, body: &Bytes) -> anyhow::Result<EnvelopeId> {
        let wrap: &[u8; WRAP_LENGTH] = wrap.as_slice().try_into().context("a wrap of the wrong length")?;
        let (enc, nonce) = wrap.split_first_chunk::<32>().expect("32 are fewer than a wrap's 44");
        let nonce = nonce.try_into().expect("a wrap's 44 less 32 are 12");
        let aad = wrap_aad(&self.id, expires_at);
        let info = wrap_info(&self.id);
        let opened = wrap::unwrap(&self.sealing.secret(), enc, &info, &wrap_key_context(), nonce, &aad, body.as_slice());
        let opened = opened.context("an envelope does not open")?;
        ensure!(opened.len() == 1 + 32 + 16 + BODY_BYTES, "an envelope came with {} bytes", opened.len());
        Ok(EnvelopeId::from_slice(&opened[33..49])?)
    }
}

/// A device and a token that leads to it.
#[derive(Clone)]
pub(super) struct Addressee {
    device: DeviceId,
    token: DeliveryToken,
}

/// Makes envelopes for one device, as a relay stores them.
pub(super) struct Packer {
    addressee: Addressee,
    key: wrap::WrapKey,
}

impl Packer {
    /// A sealed body, under an id of its own; with the mark by which a relay knows a repeat.
    pub(super) fn pack(&self, body: &[u8], expires_at: u64) -> ([u8; 16], NewEnvelope) {
        let Addressee { device, token } = &self.addressee;
        let (id, nonce) = (fresh_id(), random::bytes());
        let plaintext = wrap_plaintext(TokenKind::Contact, &token.hash(), &id, body);
        let body = self.key.wrap(&nonce, &wrap_aad(device, expires_at), &plaintext);
        let wrap = [&self.key.enc[..], &nonce].concat();
        (repeat_tag(token, &id), NewEnvelope { device: *device, expires_at, wrap, body })
    }
}

/// A send that is ready but for its id, or for whom it is.
#[derive(Clone)]
pub(super) struct Parcel {
    request: Vec<u8>,
    token_at: usize,
    id_at: usize,
    device_at: usize,
}

impl Parcel {
    /// Of random bytes: that nobody could open them is not for a relay to see.
    pub(super) fn new(at: &Address, to: &Addressee) -> Self {
        let id = EnvelopeId([0xff; 16]);
        let sealed = vec![Sealed { device: to.device, body: Bytes(random::bytes::<BODY_BYTES>().to_vec()) }];
        let request = SendRequest { token: to.token.clone(), id, list: LIST, sealed, expires_in: None, live: None };
        let request = at.post("/v1/envelopes", None, &request);
        let place = |field: &str, value: String| {
            let text = format!("\"{field}\":\"{value}\"");
            let found = request.windows(text.len()).position(|window| window == text.as_bytes());
            found.expect("a request's own fields stand in it") + field.len() + 4
        };
        let (token_at, id_at) = (place("token", to.token.encode()), place("id", id.encode()));
        let device_at = place("device", to.device.encode());
        Self { request, token_at, id_at, device_at }
    }

    /// The whole request, under this id.
    pub(super) fn with(&mut self, id: &EnvelopeId) -> &[u8] {
        self.put(self.id_at, &id.encode());
        &self.request
    }

    /// The same, to somebody else.
    pub(super) fn to(&mut self, to: &Addressee, id: &EnvelopeId) -> &[u8] {
        self.put(self.token_at, &to.token.encode());
        self.put(self.device_at, &to.device.encode());
        self.with(id)
    }

    fn put(&mut self, at: usize, text: &str) {
        self.request[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
}

/// An id that nobody else chooses.
pub(super) fn fresh_id() -> EnvelopeId {
    EnvelopeId(random::bytes())
}

/// Makes accounts of one device, each with a contact token.
pub(super) async fn register(at: &Address, count: usize) -> anyhow::Result<Vec<Arc<Device>>> {
    output::say(&format!("registering {count} accounts"));
    let numbers = Numbers::up_to(count);
    let made = together(WORKERS.min(count), |_| {
        let (at, numbers) = (at.clone(), numbers.clone());
        async move {
            let mut relay = Connection::new(&at);
            let mut made = Vec::new();
            for _ in numbers {
                let device = Device::generate();
                device.register(&mut relay, &at).await.context("an account cannot be registered")?;
                let session = device.login(&mut relay, &at).await?;
                device.add_token(&mut relay, &at, &session).await?;
                made.push(Arc::new(device));
            }
            Ok(made)
        }
    });
    Ok(made.await?.into_iter().flatten().collect())
}

/// A device with a session.
#[derive(Clone)]
pub(super) struct Online {
    pub(super) device: Arc<Device>,
    pub(super) session: SessionToken,
}

/// Logs every device in, and gives them in their order.
pub(super) async fn log_in(at: &Address, devices: &[Arc<Device>]) -> anyhow::Result<Vec<Online>> {
    let numbers = Numbers::up_to(devices.len());
    let devices: Arc<[Arc<Device>]> = devices.into();
    let online = together(WORKERS.min(devices.len()), |_| {
        let (at, numbers, devices) = (at.clone(), numbers.clone(), Arc::clone(&devices));
        async move {
            let mut relay = Connection::new(&at);
            let mut online = Vec::new();
            for number in numbers {
                let device = Arc::clone(&devices[number]);
                let session = device.login(&mut relay, &at).await.context("a device cannot log in")?;
                online.push((number, Online { device, session }));
            }
            Ok(online)
        }
    });
    let mut online: Vec<(usize, Online)> = online.await?.into_iter().flatten().collect();
    online.sort_unstable_by_key(|(number, _)| *number);
    Ok(online.into_iter().map(|(_, online)| online).collect())
}

/// The list that every account registers.
const LIST: ListName = ListName { epoch: 1, version: 1 };
/// The smallest that there is.
pub(super) const BODY_BYTES: usize = 1_024;
/// Logins and registrations at once.
pub(super) const WORKERS: usize = 64;
