//! Contacts: added, looked up again, revoked. A contact *is* a token each way; no relay has a table of them.

use reqwest::Method;

use super::Client;
use super::content::Content;
use super::error::{Error, Result};
use super::event::What;
use super::handle::Entrance;
use super::http::{Lane, NOTHING};
use super::link::{Door, Link};
use super::lists::{self, Succession};
use super::sent::problem_of;
use super::state::{Contact, Mine};
use crate::protocol::accounts::AccountReply;
use crate::protocol::keys::{KeysReply, KeysRequest};
use crate::protocol::linking::digits;
use crate::protocol::{AccountId, RelayKey, SignedList};

/// A contact, to be shown.
#[derive(Debug, Clone, serde::Serialize)]
pub struct ContactInfo {
    /// Its name here.
    pub name: String,
    /// Its account.
    pub account: AccountId,
    /// The account's digits, to be compared with what its owner sees.
    pub digits: String,
    /// How many devices it has.
    pub devices: usize,
    /// Whether it has answered our hello; until then we send by the invite's token.
    pub ready: bool,
    /// Whether we knocked and wait for an answer; until then nothing can be sent.
    pub knocked: bool,
}

impl Client {
    /// Adds the person who made the link. By a link for one person they are said hello to, and can be written to at once; by
    /// one for several, this knocks.
    pub async fn add(&mut self, name: &str, link: &Link) -> Result<()> {
        self.add_saying(name, link, "").await
    }

    /// The same, with something to say where the link leads to a door to knock at.
    pub async fn add_saying(&mut self, name: &str, link: &Link, text: &str) -> Result<()> {
        let _lock = self.enter().await?;
        self.refuse_taken(name)?;
        self.refuse_elsewhere("the link", &link.origin, &link.relay)?;
        if link.account == self.state.account {
            return Err(Error::asked("the link is your own", "give it to the person who is to write to you"));
        }
        let (once, contact) = match &link.door {
            Door::Once { once, contact } => (once, contact),
            Door::Knock(token) => {
                let (token, origin) = (token.clone(), link.origin.clone());
                let entrance = Entrance { account: link.account, token, relay: link.relay, origin };
                return self.knock_at(&entrance, name, text).await;
            }
        };
        if let Some(known) = self.state.contact(&link.account) {
            let what = format!("the link is from {}, who is a contact already", known.name);
            return Err(Error::asked(what, "`revoke` that contact first if the two of you begin anew"));
        }
        let keys: KeysReply = self.http.post(Lane::Anonymous, "/v1/keys", &KeysRequest { token: once.clone() }).await?;
        if lists::verify(&keys.device_list)?.account != link.account {
            return Err(Error::Untrue("the relay shows another account's devices in the place of the link's"));
        }
        let token = self.take_token().await?;
        let mine = vec![Mine { hash: token.hash(), invite: false }];
        let added = Contact::new(name.to_string(), link.account, keys.device_list, contact.clone());
        self.state.contacts.push(Contact { mine, ..added });
        let hello = Content::Hello {
            name: self.state.name.clone(),
            token,
            device_list: self.state.device_list.clone(),
            origin: self.http.origin().to_string(),
            relay_key: self.state.relay.key,
        };
        let id = self.state.queue(link.account, hello, Some(once.clone()));
        self.save()?;
        let problems = self.flush(Some(link.account)).await?;
        let queued = self.state.outgoing(&id).is_some();
        if !problems.is_empty() && !queued {
            self.forget_contact(&link.account);
            self.save()?;
        }
        self.keep_later().await;
        if problems.is_empty() {
            return Ok(());
        }
        Err(problem_of(id, name, problems, queued))
    }

    /// The contacts, by name.
    pub fn contacts(&self) -> Vec<ContactInfo> {
        let mut contacts: Vec<ContactInfo> = self
            .state
            .contacts
            .iter()
            .map(|contact| ContactInfo {
                name: contact.name.clone(),
                account: contact.account,
                digits: digits(&contact.account),
                devices: contact.outline().devices,
                ready: contact.ready,
                knocked: contact.knocked,
            })
            .collect();
        contacts.sort_by(|one, other| one.name.cmp(&other.name));
        contacts
    }

    /// Forgets a contact and revokes every token that it holds. It is forgotten here even where the relay cannot be
    /// reached; the relay then hears of it with the next `receive`.
    pub async fn revoke(&mut self, name: &str) -> Result<()> {
        let _lock = self.enter().await?;
        let account = self.named(name)?.account;
        self.forget_contact(&account);
        self.save()?;
        self.keep().await;
        self.send_revocations().await
    }

    /// Everything that the relay holds on the own account, but its tokens.
    pub async fn account(&mut self) -> Result<AccountReply> {
        let _lock = self.enter().await?;
        self.authed(Method::GET, "/v1/account", NOTHING).await
    }

    /// Takes a list of a contact's in, if it is a newer one; true when it was. What changed is told.
    pub(super) fn learn(&mut self, account: &AccountId, signed: &SignedList) -> Result<bool> {
        let now = self.clock.now();
        let seen = lists::verify(signed)?;
        if seen.account != *account {
            return Err(Error::Untrue("another account's device list stands in the place of a contact's"));
        }
        if *account == self.state.account {
            return self.learn_own(signed);
        }
        let Some(contact) = self.state.contact(account) else { return Ok(false) };
        let from = contact.name.clone();
        match contact.judge(&seen) {
            Succession::Same | Succession::Older => Ok(false),
            Succession::Fork => {
                self.tell_fork(account);
                Err(Error::Untrue("two device lists of one version are signed for the contact"))
            }
            Succession::Newer { added, removed } => {
                contact.list = signed.clone();
                contact.devices.retain(|device, _| seen.entry(device).is_some());
                if added + removed > 0 {
                    self.state.tell(now, What::DevicesChanged { from, added, removed });
                }
                Ok(true)
            }
        }
    }

    /// The same for what a relay shows now: that it is older than what is known is told.
    pub(super) fn learn_shown(&mut self, account: &AccountId, signed: &SignedList) -> Result<bool> {
        let learned = self.learn(account, signed)?;
        let shown = lists::verify(signed)?.head().order();
        let Some(contact) = self.state.contact(account) else { return Ok(learned) };
        let known = contact.outline().order();
        if shown < known {
            self.tell_behind(account);
        }
        Ok(learned)
    }

    /// Tells that the relay shows an older list of a contact's than there is; once for each list that is known here.
    pub(super) fn tell_behind(&mut self, account: &AccountId) {
        if *account == self.state.account {
            return self.tell_own_behind();
        }
        let now = self.clock.now();
        let Some(contact) = self.state.contact(account) else { return };
        let known = contact.outline().order();
        if contact.behind_told.replace(known) == Some(known) {
            return;
        }
        let from = contact.name.clone();
        self.state.tell(now, What::ListBehind { from });
    }

    /// Tells of a fork, once a contact.
    pub(super) fn tell_fork(&mut self, account: &AccountId) {
        if *account == self.state.account {
            return self.tell_own_fork();
        }
        let now = self.clock.now();
        let Some(contact) = self.state.contact(account).filter(|contact| !contact.fork_told) else { return };
        contact.fork_told = true;
        let from = contact.name.clone();
        self.state.tell(now, What::Fork { from });
    }

    pub(super) fn named(&self, name: &str) -> Result<&Contact> {
        self.state.contacts.iter().find(|contact| contact.name == name).ok_or_else(|| {
            Error::asked(
                format!("there is no contact called {name}"),
                "`restante client contacts` lists them; `add NAME LINK` makes one",
            )
        })
    }

    /// A name that nobody has: `wish` as far as it will do, with a number where it is taken.
    pub(super) fn free_name(&self, wish: Option<&str>) -> String {
        let kept: String = wish.unwrap_or_default().chars().filter(|c| is_in_names(*c)).take(NAME_CHARS_MAX - 8).collect();
        let base = if checked_name(&kept).is_ok() { kept } else { "contact".to_string() };
        let taken = |name: &str| self.state.contacts.iter().any(|contact| contact.name == name);
        let numbered = (2..).map(|number| format!("{base}-{number}"));
        std::iter::once(base.clone()).chain(numbered).find(|name| !taken(name)).unwrap_or(base)
    }

    /// Refuses what leads to another relay than this profile's.
    pub(super) fn refuse_elsewhere(&self, what: &str, origin: &str, relay: &RelayKey) -> Result<()> {
        if *relay == self.state.relay.key {
            return Ok(());
        }
        let what = format!("{what} leads to another relay, {origin} ({})", relay.fingerprint());
        Err(Error::asked(what, "make a profile there (`init --relay URL --profile DIR`), and use it by that one"))
    }

    pub(super) fn refuse_taken(&self, name: &str) -> Result<()> {
        checked_name(name)?;
        if self.named(name).is_ok() {
            return Err(Error::asked(format!("there is a contact called {name} already"), "choose another name"));
        }
        Ok(())
    }

    pub(super) fn forget_contact(&mut self, account: &AccountId) {
        if let Some(contact) = self.state.contact(account) {
            let hashes: Vec<_> = contact.mine.iter().map(|mine| mine.hash).collect();
            self.state.revoking.extend(hashes);
        }
        self.state.contacts.retain(|contact| contact.account != *account);
        self.state.outbox.retain(|outgoing| outgoing.to != *account);
    }
}

/// A name as it may stand on a command line and in a terminal.
pub(super) fn checked_name(name: &str) -> Result<()> {
    let fits = !name.is_empty() && name.chars().count() <= NAME_CHARS_MAX && !name.starts_with('-');
    if fits && name.chars().all(is_in_names) {
        return Ok(());
    }
    Err(Error::asked(format!("`{}` cannot be a name", name.escape_debug()), "use up to 64 letters, digits and . _ - @"))
}

fn is_in_names(c: char) -> bool {
    c.is_alphanumeric() || "._-@".contains(c)
}

const NAME_CHARS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for good in ["bob", "Ünal", "bob@work", "a.b-c_1"] {
            assert!(checked_name(good).is_ok(), "{good}");
        }
        for bad in ["", "-x", "a b", "a\u{1b}[31m", "a\n", &"x".repeat(65)] {
            assert!(checked_name(bad).is_err(), "{bad:?}");
        }
    }
}
