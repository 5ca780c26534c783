//! What a relay must do, in plain maps: two accounts, their devices, tokens, sessions and mailboxes. It is written from
//! `docs/protocol.md` and knows nothing of how the relay does it. Times count from the full hour at which a case begins; an
//! envelope is known by its place among those that its mailbox ever took.

use std::collections::BTreeMap;

use restante::protocol::ErrorCode::{self, *};
use restante::protocol::time::{HOUR, WEEK, envelope_expiry};
use restante::protocol::tokens::TokenKind;

use super::mailbox::{Device, Held};
use super::steps::{Acked, Aim, BadLogin, Changed, Misfit, Registered, Step};
use super::tokens::Token;

/// A number that names a device or a session for as long as the case runs.
pub(super) type Name = u64;

/// The whole state, and what the last step must be answered.
#[derive(Debug, Clone)]
pub(super) struct Model {
    pub(super) now: u64,
    pub(super) astray: i64,
    pub(super) people: [Person; 2],
    pub(super) tokens: BTreeMap<u8, Token>,
    /// Devices that were in a list once.
    pub(super) removed: Vec<Name>,
    pub(super) said: Result<Said, ErrorCode>,
    names: u64,
}

/// A good answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// With nothing in it that could be wrong.
    Done,
    /// How many were removed or revoked.
    Number(u64),
    /// Until when, and whose mailbox is full.
    Sent { expires_at: u64, full: Vec<Name> },
}

#[derive(Debug, Clone)]
pub(super) struct Person {
    /// Which of its lists counts.
    pub(super) version: u64,
    pub(super) devices: Vec<Device>,
}

impl Model {
    pub(super) fn new() -> Self {
        let person =
            |count: u64, first: u64| Person { version: 1, devices: (0..count).map(|at| Device::new(first + at)).collect() };
        let mut model = Self {
            now: 600,
            astray: 0,
            people: [person(2, 0), person(1, 2)],
            tokens: (0..2).map(|of| (of as u8, Token::of(of))).collect(),
            removed: Vec::new(),
            said: Ok(Said::Done),
            names: 3,
        };
        model.log_in_everybody();
        model
    }

    pub(super) fn step(mut self, step: &Step) -> Self {
        self.said = self.act(step);
        self.log_in_everybody();
        self
    }

    /// Envelopes that were ever stored for anybody who is here.
    pub(super) fn given(&self) -> u64 {
        self.people.iter().flat_map(|person| &person.devices).map(|device| device.given).sum()
    }

    /// A device as a step means it.
    pub(super) fn device(&self, of: usize, device: u8) -> &Device {
        let devices = &self.people[of].devices;
        &devices[usize::from(device) % devices.len()]
    }

    fn device_mut(&mut self, of: usize, device: u8) -> &mut Device {
        let devices = &mut self.people[of].devices;
        let at = usize::from(device) % devices.len();
        &mut devices[at]
    }

    fn act(&mut self, step: &Step) -> Result<Said, ErrorCode> {
        match step {
            Step::Send { to, token, id, size, hours, aim } => self.send(*to, *token, *id, *size, *hours, *aim),
            Step::Poll { limit, .. } if !(1..=100).contains(limit) => Err(BadRequest),
            Step::Poll { .. } => Ok(Said::Done),
            Step::Ack { of, device, what } => self.acknowledge(*of, *device, what),
            Step::AddToken { of, token, kind, hours, envelopes_max, uses } => {
                self.add_token(*of, *token, *kind, *hours, *envelopes_max, *uses)
            }
            Step::RevokeTokens { of, tokens } => {
                let mut own: Vec<u8> =
                    tokens.iter().copied().filter(|token| self.tokens.get(token).is_some_and(|it| it.owner == *of)).collect();
                own.sort_unstable();
                own.dedup();
                self.tokens.retain(|token, _| !own.contains(token));
                Ok(Said::Number(own.len() as u64))
            }
            Step::LogIn { of, device } => {
                self.log_in(*of, *device);
                Ok(Said::Done)
            }
            Step::LogInBadly { of, device, how } => {
                match how {
                    BadLogin::Twice => self.log_in(*of, *device),
                    BadLogin::Late => self.advance(60),
                    BadLogin::AnothersKey | BadLogin::AnothersChallenge | BadLogin::Removed => {}
                }
                Err(LoginRefused)
            }
            Step::EndSessions { of, device, whose } => {
                let (own, target) = (self.device(*of, *device), whose.map(|whose| self.device(*of, whose).name));
                let current = own.sessions.last().map(|(name, _)| *name);
                let mut ended = 0;
                for device in &mut self.people[*of].devices {
                    let before = device.sessions.len();
                    match target {
                        Some(target) if device.name == target => device.sessions.clear(),
                        Some(_) => {}
                        None => device.sessions.retain(|(name, _)| Some(*name) == current),
                    }
                    ended += before - device.sessions.len();
                }
                Ok(Said::Number(ended as u64))
            }
            Step::Register { how, .. } => match how {
                Registered::Again => Ok(Said::Done),
                Registered::AnotherList => Err(AccountExists),
                Registered::DeviceOfAnother => Err(DeviceTaken),
                Registered::BadProof => Err(LoginRefused),
                Registered::BadList => Err(BadList),
            },
            Step::Change { of, how } => self.change(*of, *how),
            Step::Delete { badly: true, .. } => Err(LoginRefused),
            Step::Delete { of, .. } => {
                let devices = std::mem::take(&mut self.people[*of].devices);
                self.removed.extend(devices.iter().map(|device| device.name));
                self.tokens.retain(|_, token| token.owner != *of);
                self.people[*of] = Person { version: 1, devices: vec![Device::new(self.names)] };
                self.names += 1;
                Ok(Said::Done)
            }
            Step::Advance { mins } => {
                self.advance(u64::from(*mins) * 60);
                Ok(Said::Done)
            }
            // A jump is not believed.
            Step::Jump { hours } => {
                self.astray += i64::from(*hours) * 3_600;
                Ok(Said::Done)
            }
            Step::Purge => {
                self.purge();
                Ok(Said::Done)
            }
            Step::Restart | Step::Crash => {
                self.astray = 0;
                for device in self.people.iter_mut().flat_map(|person| &mut person.devices) {
                    device.sessions.clear();
                    device.repeats.clear();
                    device.held.iter_mut().for_each(|held| held.share = false);
                }
                self.purge();
                Ok(Said::Done)
            }
            Step::Misfit(at) => Err(Misfit::at(*at).code),
        }
    }

    fn send(&mut self, to: usize, token: u8, id: u8, size: usize, hours: Option<u16>, aim: Aim) -> Result<Said, ErrorCode> {
        let expires_in = hours.map_or(WEEK, |hours| u64::from(hours) * HOUR);
        if !(HOUR..=WEEK).contains(&expires_in) {
            return Err(BadExpiry);
        }
        match aim {
            Aim::Nobody => return Err(BadRequest),
            _ if ![1_024, 4_096, 16_384].contains(&size) => return Err(BadSize),
            _ => {}
        }
        let (now, expires_at) = (self.now, envelope_expiry(self.now, expires_in, WEEK));
        let good = self.tokens.get_mut(&token).filter(|token| token.expires_at.is_none_or(|at| now < at));
        let it = good.ok_or(NoSuchToken)?;
        if it.owner != to || aim != Aim::Right {
            return Err(DeviceListChanged);
        }
        let knock = it.kind == TokenKind::Knock;
        if knock && size != 4_096 {
            return Err(BadSize);
        }
        if it.kind == TokenKind::Once && it.used_by.is_some_and(|used_by| used_by != id) {
            return Err(NoSuchToken);
        }
        let devices = &mut self.people[to].devices;
        let repeated = devices.iter().any(|device| device.knows(token, id, now));
        if knock && !repeated && it.uses_left == Some(0) {
            return Err(NoSuchToken);
        }
        let mut full = Vec::new();
        for device in devices.iter_mut() {
            if device.knows(token, id, now) {
                continue;
            }
            if !device.has_room(token, size, knock, it.envelopes_max) {
                full.push(device.name);
                continue;
            }
            device.given += 1;
            device.held.push(Held { place: device.given, token, id, size, expires_at, knock, share: true });
        }
        if full.len() == devices.len() {
            return Err(MailboxFull);
        }
        if knock && !repeated {
            it.uses_left = it.uses_left.map(|left| left - 1);
        }
        if it.kind == TokenKind::Once {
            it.used_by = Some(id);
        }
        Ok(Said::Sent { expires_at, full })
    }

    fn acknowledge(&mut self, of: usize, device: u8, what: &Acked) -> Result<Said, ErrorCode> {
        let now = self.now;
        let own = self.device_mut(of, device);
        let (named, through) = match what {
            Acked::Nothing => return Err(BadRequest),
            Acked::TooMany => return Err(TooMany),
            Acked::Beyond => return Err(SeqNotGiven),
            // Whatever numbers another's mailbox has, none of this one's own is among them.
            Acked::Anothers(_) => return Ok(Said::Number(0)),
            what => own.places(what, now),
        };
        let (removed, kept) =
            std::mem::take(&mut own.held).into_iter().partition(|held| named.contains(&held.place) || held.place <= through);
        own.held = kept;
        own.forget(&removed, now);
        let highest = named.iter().copied().max().unwrap_or(0).max(through);
        own.gap = own.gap.filter(|(_, last)| highest < *last);
        Ok(Said::Number(removed.len() as u64))
    }

    fn change(&mut self, of: usize, how: Changed) -> Result<Said, ErrorCode> {
        let fresh = self.names;
        let person = &mut self.people[of];
        match how {
            Changed::Not => {}
            Changed::Behind => return Err(DeviceListConflict),
            Changed::WithAnothers => return Err(DeviceTaken),
            Changed::Add if person.devices.len() < DEVICES_MAX => {
                person.devices.push(Device::new(fresh));
                person.version += 1;
                self.names += 1;
            }
            Changed::Add | Changed::Drop(_) if person.devices.len() == 1 => {}
            // In the place of an addition, too, when there are enough.
            Changed::Add => {
                self.removed.push(person.devices.remove(0).name);
                person.version += 1;
            }
            Changed::Drop(which) => {
                let which = usize::from(which) % person.devices.len();
                self.removed.push(person.devices.remove(which).name);
                person.version += 1;
            }
        }
        Ok(Said::Done)
    }

    fn advance(&mut self, secs: u64) {
        self.now += secs;
        let now = self.now;
        for device in self.people.iter_mut().flat_map(|person| &mut person.devices) {
            device.sessions.retain(|(_, until)| now < *until);
        }
    }

    fn purge(&mut self) {
        let now = self.now;
        for device in self.people.iter_mut().flat_map(|person| &mut person.devices) {
            let (gone, kept): (Vec<Held>, _) =
                std::mem::take(&mut device.held).into_iter().partition(|held| held.expires_at <= now);
            device.held = kept;
            if let Some(last) = gone.iter().map(|held| held.place).max() {
                let (count, through) = device.gap.unwrap_or_default();
                device.gap = Some((count + gone.len() as u64, through.max(last)));
            }
        }
        self.tokens.retain(|_, token| token.expires_at.is_none_or(|at| now < at));
    }

    fn log_in(&mut self, of: usize, device: u8) {
        let (name, until) = (self.names, self.now + SESSION_SECS);
        self.names += 1;
        let sessions = &mut self.device_mut(of, device).sessions;
        sessions.push((name, until));
        if sessions.len() > SESSIONS_DEVICE_MAX {
            sessions.remove(0);
        }
    }

    /// Whoever has no session gets one: without it nothing could be looked at.
    fn log_in_everybody(&mut self) {
        for of in 0..self.people.len() {
            for device in 0..self.people[of].devices.len() as u8 {
                if self.device(of, device).sessions.is_empty() {
                    self.log_in(of, device);
                }
            }
        }
    }
}

const SESSION_SECS: u64 = 1_800;
const SESSIONS_DEVICE_MAX: usize = 4;
const DEVICES_MAX: usize = 3;
