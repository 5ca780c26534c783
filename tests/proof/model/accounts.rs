//! Steps that are about accounts: logins that are refused, registrations and changes of the list.

use restante::crypto::sign;
use restante::protocol::accounts::PutListRequest;
use restante::protocol::{Hash, Signature};

use super::host::Host;
use super::real::Real;
use super::reference::Model;
use super::steps::{BadLogin, Changed, Registered};
use crate::http::Reply;
use crate::people::{Device, list_of};

impl Real {
    pub(super) fn log_in_badly(
        &mut self,
        host: &mut Host,
        model: &Model,
        (of, device): (usize, u8),
        how: BadLogin,
    ) -> anyhow::Result<Reply> {
        let own = &self.devices[&self.name(of, device)];
        let right = |key: &sign::KeyPair, transcript: &[u8]| key.sign(transcript);
        let (at, line) = host.at_line();
        let login = match how {
            BadLogin::Twice | BadLogin::Late => own.login_by(at, line, right)?,
            BadLogin::AnothersKey => own.login_by(at, line, |_, transcript| sign::KeyPair::generate().sign(transcript))?,
            BadLogin::AnothersChallenge => {
                let other = self.devices[&self.name(1 - of, 0)].login_by(at, line, right)?;
                let mut login = own.login_by(at, line, right)?;
                login.challenge = other.challenge;
                login
            }
            BadLogin::Removed => {
                let stranger = Device::unlisted(sign::KeyPair::generate());
                let removed = self.before.removed.last().map_or(&stranger, |name| &self.devices[name]);
                removed.login_by(at, line, right)?
            }
        };
        match how {
            BadLogin::Twice => {
                let reply = line.post("/v1/auth/login", None, &login)?;
                self.logged_in(model, of, device, &reply)?;
            }
            BadLogin::Late => host.advance(60)?,
            _ => {}
        }
        Ok(host.line().post("/v1/auth/login", None, &login)?)
    }

    pub(super) fn register_again(&mut self, host: &mut Host, of: usize, how: Registered) -> anyhow::Result<Reply> {
        let (at, line) = host.at_line();
        let own = self.own_devices(of);
        let party = &self.parties[of];
        let mut request = match how {
            Registered::Again | Registered::BadProof | Registered::BadList => {
                own[0].registration_with(at, line, party.list.clone())?
            }
            Registered::AnotherList => {
                let list = list_of(&party.account, &party.list_key, self.before.people[of].version + 5, Hash::ZERO, &own);
                own[0].registration_with(at, line, list)?
            }
            Registered::DeviceOfAnother => {
                let other = self.taken(1 - of);
                let list = list_of(&sign::KeyPair::generate(), &sign::KeyPair::generate(), 1, Hash::ZERO, &[other]);
                other.registration_with(at, line, list)?
            }
        };
        match how {
            Registered::BadProof => request.signature.0[40] ^= 1,
            Registered::BadList => {
                let mut list = party.list.clone();
                list.signature = Signature(sign::KeyPair::generate().sign(list.list.as_slice()));
                request = own[0].registration_with(at, line, list)?;
            }
            _ => {}
        }
        Ok(line.post("/v1/accounts", None, &request)?)
    }

    pub(super) fn change(&mut self, host: &mut Host, model: &Model, of: usize, how: Changed) -> anyhow::Result<Reply> {
        let session = self.session(of, 0)?.to_string();
        for device in &model.people[of].devices {
            self.devices.entry(device.name).or_insert_with(|| Device::unlisted(sign::KeyPair::generate()));
        }
        let (before, after) = (self.before.people[of].version, model.people[of].version);
        let devices: Vec<&Device> = model.people[of].devices.iter().map(|device| &self.devices[&device.name]).collect();
        let party = &self.parties[of];
        let follow =
            |version, devices: &[&Device]| list_of(&party.account, &party.list_key, version, party.list.hash(), devices);
        let list = match how {
            Changed::Behind => follow(before, &devices),
            Changed::WithAnothers => follow(before + 1, &[devices[0], self.taken(1 - of)]),
            _ if before == after => party.list.clone(),
            _ => follow(after, &devices),
        };
        let reply =
            host.line().put("/v1/account/device-list", Some(&session), &PutListRequest { device_list: list.clone() })?;
        if model.said.is_ok() {
            self.parties[of].list = list;
        }
        Ok(reply)
    }

    /// A device that is another's, or was removed.
    fn taken(&self, other: usize) -> &Device {
        let removed = self.before.removed.last().filter(|_| self.before.now.is_multiple_of(120));
        removed.map_or_else(|| self.own_devices(other)[0], |name| &self.devices[name])
    }
}
