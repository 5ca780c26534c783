//! The relay itself, as it is shipped and with its defaults, and the web framework that it stands on, doing nothing with the
//! same requests: `restante bench` serves that, so that both are of one build.

use std::net::SocketAddr;
use std::path::PathBuf;

use ::restante::crypto::{exchange, random, sign};
use ::restante::protocol::accounts::{DeviceEntry, RegisterReply, RegisterRequest};
use ::restante::protocol::auth::{ChallengeReply, ChallengeRequest, LoginReply, LoginRequest, Proof};
use ::restante::protocol::envelopes::{AckReply, AckRequest, ListName, Sealed, SendRequest};
use ::restante::protocol::tokens::{AddTokenReply, AddTokenRequest, TokenKind};
use ::restante::protocol::{
    AccountId, Bytes, DeliveryToken, DeviceId, DeviceList, EnvelopeId, Hash, ListKey, ListKeyCertificate, SealingKey, Seq,
    Signature, SignedList,
};
use anyhow::{Context, ensure};
use serde::Deserialize;

use super::wire::Wire;
use super::{Acknowledged, Errand, MAILBOXES, Peer, Running, Share, Turns, body, http, said};
use crate::child::{Place, Started};
use crate::load::Client;

/// The relay.
pub(super) struct Restante(pub(super) PathBuf, pub(super) Errand);

/// The framework alone.
pub(super) struct Bare(pub(super) PathBuf);

impl Peer for Restante {
    fn name(&self) -> &'static str {
        match self.1 {
            Errand::Send => "restante",
            Errand::Through => "restante, taken too",
        }
    }

    fn version(&self) -> anyhow::Result<String> {
        said(&self.0, &["--version"])
    }

    fn settings(&self) -> &'static str {
        match self.1 {
            Errand::Send => {
                "defaults (SQLite, synchronous=FULL; on loopback no rate limit applies); POST /v1/envelopes, an account of one \
                 device for each mailbox"
            }
            Errand::Through => "the same; then GET /v1/envelopes, and POST /v1/envelopes/ack through the last of its page",
        }
    }

    fn acknowledged(&self) -> Acknowledged {
        Acknowledged { on_disk: true, means: "202 after the commit's fdatasync" }
    }

    fn start(&self, place: &Place) -> anyhow::Result<Running> {
        let mut command = place.command(&self.0);
        // A token is good for 100 sends a second, and here there are fewer tokens than that would take.
        let args = ["serve", "--json", "--listen", "127.0.0.1:0", "--data", "data", "--set", "limits.token_sends_per_min=0"];
        let mut child = place.start(command.args(args), true)?;
        let at = listening(&mut child)?;
        let mut wire = Wire::dial(at)?;
        let mailboxes = (0..MAILBOXES).map(|_| register(&mut wire, at)).collect::<anyhow::Result<Vec<_>>>()?;
        let errand = self.1;
        let connect = move |share: Share| {
            let request = |number: usize| http::post(at, "/v1/envelopes", None, &mailboxes[number].1);
            let sends = Sends::new(share, request)?;
            let client: Box<dyn Client> = match errand {
                Errand::Send => Box::new(sends),
                Errand::Through => {
                    let sessions = share.mailboxes().map(|number| mailboxes[number].0.clone()).collect();
                    Box::new(Through { at, sends, sessions, step: Step::Send, request: Vec::new() })
                }
            };
            Ok((Wire::dial(at)?.done()?, client))
        };
        Ok(Running::Server { children: vec![child], connect: Box::new(connect) })
    }
}

impl Peer for Bare {
    fn name(&self) -> &'static str {
        "bare warp route"
    }

    fn version(&self) -> anyhow::Result<String> {
        said(&self.0, &["--version"])
    }

    fn settings(&self) -> &'static str {
        "restante bench baseline: takes restante's own requests, and neither parses nor keeps them"
    }

    fn acknowledged(&self) -> Acknowledged {
        Acknowledged { on_disk: false, means: "nothing: the request was read (a ceiling)" }
    }

    fn start(&self, place: &Place) -> anyhow::Result<Running> {
        let mut child = place.start(place.command(&self.0).args(["bench", "baseline"]), true)?;
        let at = listening(&mut child)?;
        let connect = move |share: Share| {
            let send = send(DeviceId(random::bytes()), DeliveryToken(random::bytes()));
            let request = |_| http::post(at, "/v1/envelopes", None, &send);
            Ok((Wire::dial(at)?.done()?, Box::new(Sends::new(share, request)?) as Box<dyn Client>))
        };
        Ok(Running::Server { children: vec![child], connect: Box::new(connect) })
    }
}

/// The line of JSON that says where it listens.
fn listening(child: &mut Started) -> anyhow::Result<SocketAddr> {
    let line = child.line()?;
    let said: serde_json::Value = serde_json::from_str(&line).with_context(|| format!("it says {line}"))?;
    let origin = said["origins"][0].as_str().or(said["listening"].as_str()).context("it does not say where it listens")?;
    Ok(origin.trim_start_matches("http://").parse()?)
}

/// Sends under ever new ids, which is all that differs from one to the next.
struct Sends {
    turns: Turns,
    place: usize,
    id: EnvelopeId,
    sent: u64,
}

impl Sends {
    fn new(share: Share, request: impl Fn(usize) -> anyhow::Result<Vec<u8>>) -> anyhow::Result<Self> {
        let requests = share.mailboxes().map(request).collect::<anyhow::Result<Vec<_>>>()?;
        let text = format!("\"id\":\"{}\"", NO_ID.encode());
        let found = requests[0].windows(text.len()).position(|window| window == text.as_bytes());
        let place = found.context("a request without its id")? + "\"id\":\"".len();
        Ok(Self { turns: Turns { requests, next: 0 }, place, id: EnvelopeId(random::bytes()), sent: 0 })
    }
}

impl Client for Sends {
    fn request(&mut self) -> &[u8] {
        self.sent += 1;
        self.id.0[8..].copy_from_slice(&self.sent.to_be_bytes());
        let (text, request) = (self.id.encode(), self.turns.next());
        request[self.place..self.place + text.len()].copy_from_slice(text.as_bytes());
        request
    }

    fn acknowledged(&mut self, bytes: &[u8]) -> anyhow::Result<Option<usize>> {
        Ok(http::expect(bytes, 202)?.map(|(_, end)| end))
    }
}

/// A send; what waits then; its acknowledgement.
struct Through {
    at: SocketAddr,
    sends: Sends,
    /// By mailbox, as the sends.
    sessions: Vec<String>,
    step: Step,
    request: Vec<u8>,
}

enum Step {
    Send,
    Read,
    Acknowledge(Seq),
}

/// As much of a page as its reader needs.
#[derive(Deserialize)]
struct Page {
    envelopes: Vec<Waiting>,
}

#[derive(Deserialize)]
struct Waiting {
    seq: Seq,
}

impl Client for Through {
    fn request(&mut self) -> &[u8] {
        let session = &self.sessions[self.sends.turns.current()];
        self.request = match self.step {
            Step::Send => return self.sends.request(),
            Step::Read => http::get(self.at, "/v1/envelopes", session),
            Step::Acknowledge(through) => {
                let request = AckRequest { seqs: None, through: Some(through) };
                http::post(self.at, "/v1/envelopes/ack", Some(session), &request).expect("it serializes")
            }
        };
        &self.request
    }

    fn steps(&self) -> usize {
        3
    }

    fn acknowledged(&mut self, bytes: &[u8]) -> anyhow::Result<Option<usize>> {
        let status = if matches!(self.step, Step::Send) { 202 } else { 200 };
        let Some((body, end)) = http::expect(bytes, status)? else { return Ok(None) };
        self.step = match self.step {
            Step::Send => Step::Read,
            Step::Read => {
                let page: Page = serde_json::from_slice(body)?;
                Step::Acknowledge(page.envelopes.last().context("what was sent is not there")?.seq)
            }
            Step::Acknowledge(_) => {
                let AckReply { removed } = serde_json::from_slice(body)?;
                ensure!(removed > 0, "nothing was removed");
                Step::Send
            }
        };
        Ok(Some(end))
    }
}

fn send(device: DeviceId, token: DeliveryToken) -> SendRequest {
    let sealed = vec![Sealed { device, body: Bytes(body().to_vec()) }];
    SendRequest { token, id: NO_ID, list: LIST, sealed, expires_in: None, live: None }
}

/// An account of one device with a contact token: its session, and a send to it.
fn register(relay: &mut Wire, at: SocketAddr) -> anyhow::Result<(String, SendRequest)> {
    let (account_key, list_key, key) = (sign::KeyPair::generate(), sign::KeyPair::generate(), sign::KeyPair::generate());
    let (account, device) = (AccountId(account_key.public()), DeviceId(key.public()));
    let sealing_key = SealingKey(exchange::KeyPair::generate().public());
    let signature = Signature(key.sign(&DeviceEntry::transcript(&account, &device, &sealing_key, 1)));
    let entries = vec![DeviceEntry { device, sealing_key, suites: 1, signature }];
    let ListName { epoch, version } = LIST;
    let mut certificate =
        ListKeyCertificate { account, epoch, list_key: ListKey(list_key.public()), signature: Signature([0; 64]) };
    certificate.signature = Signature(account_key.sign(&certificate.transcript()));
    let list = DeviceList { account, epoch, version, previous: Hash::ZERO, entries }.bytes();
    let device_list = SignedList {
        list_key_certificate: Bytes(certificate.bytes()),
        signature: Signature(list_key.sign(&list)),
        list: Bytes(list),
    };
    let origin = format!("http://{at}");
    let challenge = |relay: &mut Wire| -> anyhow::Result<ChallengeReply> {
        http::ask(relay, 200, &http::post(at, "/v1/auth/challenge", None, &ChallengeRequest { device })?)
    };
    let proof = |challenge: &ChallengeReply, what: &dyn Fn(&Proof<'_>) -> Vec<u8>| {
        let (relay_key, expires_at) = (&challenge.relay_key, challenge.expires_at);
        let challenge = challenge.challenge.as_slice();
        Signature(key.sign(&what(&Proof { origin: &origin, relay_key, device: &device, challenge, expires_at })))
    };
    let asked = challenge(relay)?;
    let signature = proof(&asked, &|proof| proof.register(&device_list.hash()));
    let request = RegisterRequest { device, challenge: asked.challenge, device_list, signature, pass: None };
    let _: RegisterReply = http::ask(relay, 201, &http::post(at, "/v1/accounts", None, &request)?)?;
    let asked = challenge(relay)?;
    let signature = proof(&asked, &|proof| proof.login());
    let request = LoginRequest { device, challenge: asked.challenge, signature };
    let login: LoginReply = http::ask(relay, 200, &http::post(at, "/v1/auth/login", None, &request)?)?;
    let token = DeliveryToken(random::bytes());
    let request =
        AddTokenRequest { hash: token.hash(), kind: TokenKind::Contact, expires_at: None, envelopes_max: None, uses: None };
    let session = login.session.encode();
    let _: AddTokenReply = http::ask(relay, 200, &http::post(at, "/v1/tokens", Some(&session), &request)?)?;
    Ok((session, send(device, token)))
}

/// The list that every account registers.
const LIST: ListName = ListName { epoch: 1, version: 1 };
/// Stands where every send puts its own.
const NO_ID: EnvelopeId = EnvelopeId([0xff; 16]);
