//! An existing device lets another one in: it lists it, and sends it what the account's devices share.
//!
//! Everything is checked before anything is changed. A crash after the list was changed leaves a device that is listed and was
//! given nothing: another code of it is approved like the first, and only the grant is sent.

use zeroize::Zeroizing;

use super::Client;
use super::content::Content;
use super::error::{Error, Result};
use super::link_code::{AccountLine, LinkCode};
use super::message::{To, seal_grant};
use super::own_list::no_list_key;
use super::sent::problem_of;
use super::state::{Grant, State};
use super::sync::no_sync_key;
use crate::protocol::envelopes::Sealed;
use crate::protocol::linking::digits;
use crate::protocol::{Bytes, DeviceEntry, DeviceId, DeviceList, EnvelopeId};

impl Client {
    /// What a new device is told, so that it knows which account it is to join.
    pub fn account_line(&self) -> AccountLine {
        AccountLine { origin: self.origin().clone(), relay: self.relay_key(), account: self.account_id() }
    }

    /// The account's digits, to be compared.
    pub fn digits(&self) -> String {
        digits(&self.state.account)
    }

    /// A contact's account's digits.
    pub fn digits_of(&self, name: &str) -> Result<String> {
        Ok(digits(&self.named(name)?.account))
    }

    /// Lets the device in whose code this is, and gives its id. Contacts are told. `Err(Queued)` means that it is listed, and gets
    /// what it waits for with the next `send` or `receive`.
    pub async fn approve(&mut self, code: &LinkCode) -> Result<DeviceId> {
        let _lock = self.enter().await?;
        self.check_code(code)?;
        let Some(_) = &self.state.sync_key else { return Err(no_sync_key()) };
        self.refresh_own().await?;
        self.save()?;
        if !self.state.is_listed() {
            return Err(removed());
        }
        if !self.state.holds_list_key() {
            return Err(no_list_key());
        }
        self.keep_now().await;
        let entry = code.entry.clone();
        self.change_list(|entries| add(entries, &entry)).await?;
        let own = self.state.account;
        let content = Content::List { device_list: self.state.device_list.clone() };
        let id = self.state.queue(own, content, None);
        if let Some(outgoing) = self.state.outbox.last_mut() {
            outgoing.grant = Some(Grant { device: entry.device, secret: code.secret.clone() });
        }
        self.state.take_code(code);
        self.save()?;
        let problems = self.flush(Some(own)).await?;
        if self.state.outgoing(&id).is_some() || problems.iter().any(|(of, _)| *of == id) {
            return Err(problem_of(id, "the new device", problems, self.state.outgoing(&id).is_some()));
        }
        Ok(entry.device)
    }

    /// Refuses a code that [`approve`](Client::approve) would refuse, as far as this device can tell alone.
    pub fn check_code(&self, code: &LinkCode) -> Result<()> {
        if code.relay != self.state.relay.key {
            let hint = "give `client link` on the new device the line that `link invite` prints on this one";
            return Err(Error::asked(format!("the code is for another relay ({})", code.relay.fingerprint()), hint));
        }
        if !code.is_signed_for(&self.state.account) {
            let hint = "compare the digits on both screens, and paste the whole code";
            return Err(Error::asked("the code is damaged, or is for another account than this device's", hint));
        }
        let now = self.clock.now();
        if code.expires_at <= now || code.expires_at > now + CODE_SECS + CLOCKS_APART_SECS {
            let what = if code.expires_at <= now { "the code has expired" } else { "the code's time is far ahead" };
            return Err(Error::asked(
                what,
                "run `restante client link` on the new device again, for a fresh code; and compare both clocks",
            ));
        }
        if self.state.links_taken.contains(&code.hash()) {
            return Err(Error::asked("the code was used already", "a code is good once; `client link` shows a fresh one"));
        }
        Ok(())
    }
}

/// Adds a device to a list, unless it is there.
fn add(entries: &mut Vec<DeviceEntry>, entry: &DeviceEntry) -> Result<()> {
    match entries.iter().find(|listed| listed.device == entry.device) {
        Some(listed) if listed.sealing_key == entry.sealing_key => return Ok(()),
        Some(_) => return Err(Error::asked("a device of that id is listed with another key", "make a fresh profile for it")),
        None => {}
    }
    if entries.len() >= DeviceList::DEVICES_MAX {
        let what = format!("the account has {} devices already", DeviceList::DEVICES_MAX);
        return Err(Error::asked(what, "`restante client devices remove` takes one away"));
    }
    entries.push(entry.clone());
    Ok(())
}

impl State {
    fn take_code(&mut self, code: &LinkCode) {
        self.links_taken.push(code.hash());
        let surplus = self.links_taken.len().saturating_sub(CODES_TAKEN_MAX);
        self.links_taken.drain(..surplus);
    }

    /// What a device that is being linked gets in the place of what all others get.
    pub(super) fn granted(&self, grant: &Grant, entry: &DeviceEntry, id: &EnvelopeId) -> Result<Sealed> {
        let sync_key = self.sync_key.clone().ok_or_else(no_sync_key)?;
        let (account, name) = (self.account, self.name.clone());
        let (device_list, list_key) = (self.device_list.clone(), self.list_key.clone());
        let content = Zeroizing::new(Content::Grant { account, device_list, list_key, sync_key, name }.bytes());
        let to = To { account: &account, device: &entry.device, key: &entry.sealing_key };
        let body = seal_grant(&content, &to, grant.secret.bytes(), id);
        let body = body.ok_or(Error::Untrue("the new device's sealing key cannot be used"))?;
        Ok(Sealed { device: entry.device, body: Bytes(body) })
    }
}

pub(super) fn removed() -> Error {
    Error::asked(
        "this device was removed from its account",
        "`restante client link` in a fresh profile lets it in again; or `recover` with the 24 words",
    )
}

/// How long a code is good.
pub(super) const CODE_SECS: u64 = 600;
/// How far apart the clocks of the two devices may be.
const CLOCKS_APART_SECS: u64 = 120;
/// Codes that are known again: more than anybody takes in the twelve minutes in which one could come twice.
const CODES_TAKEN_MAX: usize = 64;
