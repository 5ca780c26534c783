//! Devices with keys of their own, who speak the protocol's words: register, log in, send, open. Bodies follow from their
//! envelope's id, so that a wrong byte is seen without keeping any.

use std::io;

use anyhow::{Context, ensure};
use restante::crypto::{exchange, random, sign, wrap};
use restante::protocol::accounts::{DeleteAccountRequest, DeviceEntry, ListKeyCertificate, RegisterRequest};
use restante::protocol::auth::{ChallengeReply, ChallengeRequest, LoginReply, LoginRequest, Proof};
use restante::protocol::envelopes::{
    Envelope, ListName, Sealed, SendRequest, WRAP_LENGTH, wrap_aad, wrap_info, wrap_key_context,
};
use restante::protocol::tokens::{AddTokenRequest, TokenKind};
use restante::protocol::{
    AccountId, Bytes, DeliveryToken, DeviceId, DeviceList, EnvelopeId, Hash, ListKey, SealingKey, Signature, SignedList,
};
use serde_json::Value;

use crate::http::{Line, Reply, Told};
use crate::random::Random;
use crate::relay::At;

/// An account's one device, and the tokens that it gave away.
pub(crate) struct Device {
    pub(crate) id: DeviceId,
    pub(crate) tokens: Vec<DeliveryToken>,
    /// Where `of` listed it.
    pub(crate) account: AccountId,
    key: sign::KeyPair,
    sealing: exchange::KeyPair,
    list: SignedList,
}

impl Device {
    /// Of an account of its own.
    pub(crate) fn generate() -> Self {
        Self::of(&sign::KeyPair::generate(), &sign::KeyPair::generate(), 1)
    }

    /// Of this account, with this key, in a list of this version.
    pub(crate) fn of(account_key: &sign::KeyPair, key: &sign::KeyPair, version: u64) -> Self {
        let mut device = Self::unlisted(key.clone());
        device.account = AccountId(account_key.public());
        device.list = list_of(account_key, &sign::KeyPair::generate(), version, Hash::ZERO, &[&device]);
        device
    }

    /// In no list yet.
    pub(crate) fn unlisted(key: sign::KeyPair) -> Self {
        let list = SignedList { list_key_certificate: Bytes(vec![]), list: Bytes(vec![]), signature: Signature([0; 64]) };
        Self {
            id: DeviceId(key.public()),
            tokens: Vec::new(),
            account: AccountId([0; 32]),
            key,
            sealing: exchange::KeyPair::generate(),
            list,
        }
    }

    pub(crate) fn registration(&self, relay: &At, line: &mut Line) -> Told<RegisterRequest> {
        self.registration_with(relay, line, self.list.clone())
    }

    /// With another list than its own.
    pub(crate) fn registration_with(&self, relay: &At, line: &mut Line, device_list: SignedList) -> Told<RegisterRequest> {
        let challenge = self.challenge(line)?;
        let signature = Signature(self.key.sign(&self.proof(relay, &challenge).register(&device_list.hash())));
        Ok(RegisterRequest { device: self.id, challenge: challenge.challenge, device_list, signature, pass: None })
    }

    /// The end of its account.
    pub(crate) fn deletion(&self, relay: &At, line: &mut Line, account: &AccountId) -> Told<DeleteAccountRequest> {
        let challenge = self.challenge(line)?;
        let signature = Signature(self.key.sign(&self.proof(relay, &challenge).delete_account(account)));
        Ok(DeleteAccountRequest { challenge: challenge.challenge, signature })
    }

    /// Registers with so many tokens, and logs in.
    pub(crate) fn settle(&mut self, relay: &At, tokens: usize) -> Told<String> {
        let mut line = Line::new(relay.address);
        let registration = self.registration(relay, &mut line)?;
        let _: Value = line.post("/v1/accounts", None, &registration)?.expect(201)?;
        let session = self.login(relay, &mut line)?;
        for _ in 0..tokens {
            self.mint(&mut line, &session)?;
        }
        Ok(session)
    }

    /// One token more.
    pub(crate) fn mint(&mut self, line: &mut Line, session: &str) -> Told<()> {
        let token = DeliveryToken(random::bytes());
        let request =
            AddTokenRequest { hash: token.hash(), kind: TokenKind::Contact, expires_at: None, envelopes_max: None, uses: None };
        let _: Value = line.post("/v1/tokens", Some(session), &request)?.expect(200)?;
        self.tokens.push(token);
        Ok(())
    }

    /// A fresh session.
    pub(crate) fn login(&self, relay: &At, line: &mut Line) -> Told<String> {
        let request = self.login_by(relay, line, |key, transcript| key.sign(transcript))?;
        let reply: LoginReply = line.post("/v1/auth/login", None, &request)?.expect(200)?;
        Ok(reply.session.encode())
    }

    /// A login that somebody else signs.
    pub(crate) fn login_by(
        &self,
        relay: &At,
        line: &mut Line,
        sign: impl FnOnce(&sign::KeyPair, &[u8]) -> [u8; 64],
    ) -> Told<LoginRequest> {
        let challenge = self.challenge(line)?;
        let signature = Signature(sign(&self.key, &self.proof(relay, &challenge).login()));
        Ok(LoginRequest { device: self.id, challenge: challenge.challenge, signature })
    }

    fn challenge(&self, line: &mut Line) -> Told<ChallengeReply> {
        Ok(line.post("/v1/auth/challenge", None, &ChallengeRequest { device: self.id })?.expect(200)?)
    }

    fn proof<'a>(&'a self, relay: &'a At, challenge: &'a ChallengeReply) -> Proof<'a> {
        Proof {
            origin: &relay.origin,
            relay_key: &challenge.relay_key,
            device: &self.id,
            challenge: challenge.challenge.as_slice(),
            expires_at: challenge.expires_at,
        }
    }

    /// A send to this device, for as long as the relay keeps it.
    pub(crate) fn send(&self, line: &mut Line, token: usize, id: &EnvelopeId, size: usize) -> io::Result<Reply> {
        self.send_for(line, token, id, size, None)
    }

    /// A send to this device, for so many seconds.
    pub(crate) fn send_for(
        &self,
        line: &mut Line,
        token: usize,
        id: &EnvelopeId,
        size: usize,
        expires_in: Option<u64>,
    ) -> io::Result<Reply> {
        let sealed = vec![Sealed { device: self.id, body: Bytes(body_of(id, size)) }];
        let token = self.tokens[token].clone();
        line.post("/v1/envelopes", None, &SendRequest { token, id: *id, list: LIST, sealed, expires_in, live: None })
    }

    /// Takes the relay's layer off and gives the id; the body must be the one that the id calls for.
    pub(crate) fn open(&self, Envelope { expires_at, wrap, body, .. }: &Envelope) -> anyhow::Result<EnvelopeId> {
        let wrap: &[u8; WRAP_LENGTH] = wrap.as_slice().try_into().context("a wrap of the wrong length")?;
        let (enc, nonce) = wrap.split_first_chunk::<32>().context("a wrap of the wrong length")?;
        let nonce = nonce.try_into().context("a wrap of the wrong length")?;
        let (aad, info) = (wrap_aad(&self.id, *expires_at), wrap_info(&self.id));
        let opened = wrap::unwrap(&self.sealing.secret(), enc, &info, &wrap_key_context(), nonce, &aad, body.as_slice())
            .context("an envelope does not open")?;
        ensure!(opened.len() > BODY_AT, "an envelope came with {} bytes", opened.len());
        let id = EnvelopeId::from_slice(&opened[33..BODY_AT])?;
        ensure!(opened[BODY_AT..] == body_of(&id, opened.len() - BODY_AT), "an envelope holds another body than was sent");
        Ok(id)
    }
}

/// A list of these devices, each of which signs its own entry.
pub(crate) fn list_of(
    account_key: &sign::KeyPair,
    list_key: &sign::KeyPair,
    version: u64,
    previous: Hash,
    devices: &[&Device],
) -> SignedList {
    let (account, epoch) = (AccountId(account_key.public()), LIST.epoch);
    let entry = |device: &&Device| {
        let sealing_key = SealingKey(device.sealing.public());
        let signature = Signature(device.key.sign(&DeviceEntry::transcript(&account, &device.id, &sealing_key, 1)));
        DeviceEntry { device: device.id, sealing_key, suites: 1, signature }
    };
    let mut entries: Vec<DeviceEntry> = devices.iter().map(entry).collect();
    entries.sort_unstable_by_key(|entry| entry.device);
    let mut certificate =
        ListKeyCertificate { account, epoch, list_key: ListKey(list_key.public()), signature: Signature([0; 64]) };
    certificate.signature = Signature(account_key.sign(&certificate.transcript()));
    let list = DeviceList { account, epoch, version, previous, entries }.bytes();
    SignedList {
        list_key_certificate: Bytes(certificate.bytes()),
        signature: Signature(list_key.sign(&list)),
        list: Bytes(list),
    }
}

/// An id that the seed leads to.
pub(crate) fn id_by(random: &mut Random) -> EnvelopeId {
    let mut id = [0; 16];
    random.fill(&mut id);
    EnvelopeId(id)
}

/// The body that belongs to an id.
pub(crate) fn body_of(id: &EnvelopeId, size: usize) -> Vec<u8> {
    let seed = id.0.first_chunk().map_or(0, |head| u64::from_be_bytes(*head));
    let mut body = vec![0; size];
    Random::new(seed).fill(&mut body);
    body
}

/// The list that every account registers.
pub(crate) const LIST: ListName = ListName { epoch: 1, version: 1 };
/// Behind kind, token hash and id.
const BODY_AT: usize = 1 + 32 + 16;
