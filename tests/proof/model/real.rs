//! The relay under test, as the steps meet it over HTTP: keys, tokens and sessions for the reference's names, and every
//! answer held against the reference's.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, ensure};
use restante::crypto::{random, sign};
use restante::protocol::accounts::RegisterRequest;
use restante::protocol::auth::{LoginReply, RevokeSessionsRequest};
use restante::protocol::envelopes::{AckRequest, ListName, ReceiveReply, Sealed, SendRequest};
use restante::protocol::tokens::{AddTokenRequest, RevokeTokensRequest, TokenKind};
use restante::protocol::{AccountId, Bytes, DeliveryToken, DeviceId, EnvelopeId, Hash, Seq, SignedList};
use serde_json::Value;

use super::host::Host;
use super::reference::{Model, Name};
use super::steps::{Acked, Aim, Misfit, Step};
use crate::http::{Reply, Told};
use crate::people::{Device, LIST, body_of, list_of};

/// What one case has at the relay.
pub(super) struct Real {
    /// The full hour at which it began.
    pub(super) base: u64,
    pub(super) parties: [Party; 2],
    pub(super) devices: HashMap<Name, Device>,
    pub(super) sessions: HashMap<Name, String>,
    tokens: BTreeMap<u8, DeliveryToken>,
    pub(super) ids: [u8; 15],
    /// The seq of each envelope that a mailbox was given.
    pub(super) seqs: HashMap<Name, Vec<u64>>,
    pub(super) before: Model,
}

/// One account's keys and list.
pub(super) struct Party {
    pub(super) account: sign::KeyPair,
    pub(super) list_key: sign::KeyPair,
    pub(super) list: SignedList,
}

impl Real {
    pub(super) fn begin(host: &mut Host, model: &Model) -> anyhow::Result<Self> {
        let base = host.begin()?;
        let mut devices = HashMap::new();
        for device in model.people.iter().flat_map(|person| &person.devices) {
            devices.insert(device.name, Device::unlisted(sign::KeyPair::generate()));
        }
        let party = |of: usize| Party::new(&model.people[of].devices.iter().map(|it| &devices[&it.name]).collect::<Vec<_>>());
        let parties = [party(0), party(1)];
        let mut real = Self {
            base,
            parties,
            devices,
            sessions: HashMap::new(),
            tokens: BTreeMap::new(),
            ids: random::bytes(),
            seqs: HashMap::new(),
            before: model.clone(),
        };
        for of in 0..2 {
            real.register(host, model, of)?;
        }
        real.log_in_missing(host, model)?;
        for of in 0..2 {
            let hash = real.token(of as u8).hash();
            let request = AddTokenRequest { hash, kind: TokenKind::Contact, expires_at: None, envelopes_max: None, uses: None };
            let _: Value = host.line().post("/v1/tokens", Some(real.session(of, 0)?), &request)?.expect(200)?;
        }
        real.look(host, model)?;
        Ok(real)
    }

    /// Does a step, and looks at everything; `model` is what the reference came to.
    pub(super) fn step(&mut self, host: &mut Host, model: &Model, step: &Step) -> anyhow::Result<()> {
        host.tally.step(step, &self.before, model);
        if let Some(reply) = self.act(host, model, step)? {
            self.compare(model, &reply)?;
            host.tally.answer(&model.said);
        }
        self.over(host, model)?;
        self.log_in_missing(host, model)?;
        self.look(host, model)?;
        self.before = model.clone();
        Ok(())
    }

    fn act(&mut self, host: &mut Host, model: &Model, step: &Step) -> anyhow::Result<Option<Reply>> {
        Ok(Some(match step {
            Step::Send { to, token, id, size, hours, aim } => self.send(host, *to, (*token, *id), *size, *hours, *aim)?,
            Step::Poll { of, device, after, limit } => return self.poll(host, *of, *device, *after, *limit).map(Some),
            Step::Ack { of, device, what } => self.acknowledge(host, *of, *device, what)?,
            Step::AddToken { of, token, kind, hours, envelopes_max, uses } => {
                let hash = self.token(*token).hash();
                let expires_at = hours.map(|hours| self.base + self.before.now + u64::from(hours) * 3_600);
                let request = AddTokenRequest { hash, kind: *kind, expires_at, envelopes_max: *envelopes_max, uses: *uses };
                host.line().post("/v1/tokens", Some(self.session(*of, 0)?), &request)?
            }
            Step::RevokeTokens { of, tokens } => {
                let hashes = tokens.iter().map(|token| self.token(*token).hash()).collect();
                host.line().post("/v1/tokens/revoke", Some(self.session(*of, 0)?), &RevokeTokensRequest { hashes })?
            }
            Step::LogIn { of, device } => {
                let (at, line) = host.at_line();
                let login =
                    self.devices[&self.name(*of, *device)].login_by(at, line, |key, transcript| key.sign(transcript))?;
                let reply = line.post("/v1/auth/login", None, &login)?;
                self.logged_in(model, *of, *device, &reply)?;
                reply
            }
            Step::LogInBadly { of, device, how } => self.log_in_badly(host, model, (*of, *device), *how)?,
            Step::EndSessions { of, device, whose } => {
                let whose = whose.map(|whose| self.devices[&self.name(*of, whose)].id);
                let request = RevokeSessionsRequest { all_others: whose.is_none().then_some(true), device: whose };
                host.line().post("/v1/sessions/revoke", Some(self.session(*of, *device)?), &request)?
            }
            Step::Register { of, how } => self.register_again(host, *of, *how)?,
            Step::Change { of, how } => self.change(host, model, *of, *how)?,
            Step::Delete { of, badly } => {
                let (at, line) = host.at_line();
                let account = AccountId(self.parties[*of].account.public());
                let device = &self.devices[&self.name(*of, 0)];
                let mut request = device.deletion(at, line, &account)?;
                if *badly {
                    request.signature.0[40] ^= 1;
                }
                let reply = line.post("/v1/account/delete", Some(self.session(*of, 0)?), &request)?;
                if !badly {
                    let name = model.people[*of].devices[0].name;
                    let device = Device::unlisted(sign::KeyPair::generate());
                    self.parties[*of] = Party::new(&[&device]);
                    self.devices.insert(name, device);
                    self.register(host, model, *of)?;
                }
                reply
            }
            Step::Advance { mins } => {
                host.advance(u64::from(*mins) * 60)?;
                return Ok(None);
            }
            Step::Jump { hours } => {
                host.jump(i64::from(*hours) * 3_600)?;
                return Ok(None);
            }
            Step::Purge => {
                host.purge()?;
                return Ok(None);
            }
            Step::Restart | Step::Crash => {
                host.restart(matches!(step, Step::Crash))?;
                return Ok(None);
            }
            Step::Misfit(at) => {
                let request = Misfit::at(*at).request.replace("{session}", self.session(0, 0)?);
                host.line().ask(request.as_bytes())?
            }
        }))
    }

    fn send(
        &mut self,
        host: &mut Host,
        to: usize,
        (token, id): (u8, u8),
        size: usize,
        hours: Option<u16>,
        aim: Aim,
    ) -> anyhow::Result<Reply> {
        let (token, id) = (self.token(token), self.id(id));
        let person = &self.before.people[to];
        let mut devices: Vec<DeviceId> = person.devices.iter().map(|device| self.devices[&device.name].id).collect();
        let mut list = ListName { version: person.version, ..LIST };
        match aim {
            Aim::Right => devices.reverse(),
            Aim::AnotherList => list.version += 1,
            Aim::TooManyDevices => devices.push(DeviceId(sign::KeyPair::generate().public())),
            Aim::Nobody => devices.clear(),
        }
        let sealed = devices.into_iter().map(|device| Sealed { device, body: Bytes(body_of(&id, size)) }).collect();
        let expires_in = hours.map(|hours| u64::from(hours) * 3_600);
        Ok(host.line().post("/v1/envelopes", None, &SendRequest { token, id, list, sealed, expires_in, live: None })?)
    }

    /// A page, which must be the one that the reference has at that place.
    fn poll(&mut self, host: &mut Host, of: usize, device: u8, after: u8, limit: u64) -> anyhow::Result<Reply> {
        let own = self.before.device(of, device);
        let all: Vec<u64> = own.visible(self.before.now).map(|held| self.seqs[&own.name][held.place as usize - 1]).collect();
        let after = all.get(usize::from(after)).or(all.last()).map_or(0, |seq| seq - 1);
        let path = format!("/v1/envelopes?after={after}&limit={limit}");
        let reply = host.line().get(&path, Some(self.session(of, device)?))?;
        if reply.status == 200 {
            let page: ReceiveReply = reply.expect(200)?;
            let due: Vec<u64> = all.into_iter().filter(|seq| *seq > after).collect();
            let here: Vec<u64> = page.envelopes.iter().map(|envelope| envelope.seq.0).collect();
            let count = due.len().min(limit as usize);
            ensure!(here == due[..count], "a page of {limit} above {after} holds {here:?} of {due:?}");
            ensure!(page.drained == (count == due.len()), "a page says drained: {}", page.drained);
        }
        Ok(reply)
    }

    fn acknowledge(&mut self, host: &mut Host, of: usize, device: u8, what: &Acked) -> anyhow::Result<Reply> {
        let own = self.before.device(of, device);
        let none = Vec::new();
        let given = self.seqs.get(&own.name).unwrap_or(&none);
        let seq = |place: u64| given[place as usize - 1];
        let named = |seqs: Vec<u64>| AckRequest { seqs: Some(seqs.into_iter().map(Seq).collect()), through: None };
        let through = |seq| AckRequest { seqs: None, through: Some(Seq(seq)) };
        let request = match what {
            Acked::Nothing => named(vec![]),
            Acked::TooMany => named(vec![1; 101]),
            // A restart may skip seqs, and those that it skipped count as given.
            Acked::Beyond => through(given.last().unwrap_or(&0) + 1_000_000),
            Acked::Anothers(which) => {
                let others: Vec<_> = self.before.people.iter().flat_map(|person| &person.devices).collect();
                let other = others[usize::from(*which) % others.len()];
                let end = own.gap.map_or(given.last().copied().unwrap_or(0) + 1, |(_, last)| seq(last));
                let own_seqs: Vec<u64> = own.held.iter().map(|held| seq(held.place)).collect();
                let there = other.held.iter().map(|held| self.seqs[&other.name][held.place as usize - 1]);
                let seqs: Vec<u64> = there.filter(|seq| *seq < end && !own_seqs.contains(seq)).collect();
                if seqs.is_empty() { through(0) } else { named(seqs) }
            }
            what => match own.places(what, self.before.now) {
                (places, 0) if places.is_empty() => through(0),
                (places, 0) => named(places.into_iter().map(seq).collect()),
                (_, place) => through(seq(place)),
            },
        };
        Ok(host.line().post("/v1/envelopes/ack", Some(self.session(of, device)?), &request)?)
    }

    fn register(&mut self, host: &mut Host, model: &Model, of: usize) -> anyhow::Result<()> {
        let (at, line) = host.at_line();
        let device = &self.devices[&model.people[of].devices[0].name];
        let request: RegisterRequest = device.registration_with(at, line, self.parties[of].list.clone())?;
        let _: Value = line.post("/v1/accounts", None, &request)?.expect(201)?;
        Ok(())
    }

    pub(super) fn logged_in(&mut self, model: &Model, of: usize, device: u8, reply: &Reply) -> Told<()> {
        let told: LoginReply = reply.expect(200)?;
        let (name, _) = model.device(of, device).sessions.last().context("a session")?;
        self.sessions.insert(*name, told.session.encode());
        Ok(())
    }

    /// The newest session of a device as it was before the step.
    pub(super) fn session(&self, of: usize, device: u8) -> anyhow::Result<&str> {
        let (name, _) = self.before.device(of, device).sessions.last().context("everybody has a session")?;
        Ok(&self.sessions[name])
    }

    pub(super) fn name(&self, of: usize, device: u8) -> Name {
        self.before.device(of, device).name
    }

    pub(super) fn own_devices(&self, of: usize) -> Vec<&Device> {
        self.before.people[of].devices.iter().map(|device| &self.devices[&device.name]).collect()
    }

    fn token(&mut self, number: u8) -> DeliveryToken {
        self.tokens.entry(number).or_insert_with(|| DeliveryToken(random::bytes())).clone()
    }

    fn id(&self, number: u8) -> EnvelopeId {
        id_of(&self.ids, number)
    }
}

impl Party {
    fn new(devices: &[&Device]) -> Self {
        let (account, list_key) = (sign::KeyPair::generate(), sign::KeyPair::generate());
        let list = list_of(&account, &list_key, 1, Hash::ZERO, devices);
        Self { account, list_key, list }
    }
}

pub(super) fn id_of(case: &[u8; 15], number: u8) -> EnvelopeId {
    let mut id = [number; 16];
    id[..15].copy_from_slice(case);
    EnvelopeId(id)
}
