//! The own account's device list: what a relay shows of it, judged; changed by this device; and passed on to contacts.

use reqwest::Method;

use super::Client;
use super::content::Content;
use super::error::{Error, Result};
use super::event::What;
use super::http::NOTHING;
use super::lists::{self, Succession};
use super::state::State;
use crate::protocol::accounts::{AccountReply, ListReply, PutListRequest};
use crate::protocol::{DeviceEntry, ErrorCode, SignedList};

impl Client {
    /// What the relay holds on the account, its list taken in.
    pub(super) async fn refresh_own(&mut self) -> Result<AccountReply> {
        let reply: AccountReply = self.authed(Method::GET, "/v1/account", NOTHING).await?;
        let shown = lists::verify(&reply.device_list)?;
        self.learn_own(&reply.device_list)?;
        if (shown.epoch, shown.version) < self.state.own_list().head().order() {
            self.tell_own_behind();
        }
        Ok(reply)
    }

    /// Takes a list of the own account in, if it is a newer one; true when it was. What changed is told.
    pub(super) fn learn_own(&mut self, signed: &SignedList) -> Result<bool> {
        let now = self.clock.now();
        let seen = lists::verify(signed)?;
        if seen.account != self.state.account {
            return Err(Error::Untrue("another account's device list stands in the place of the own one"));
        }
        match lists::succeed(&self.state.own_list(), &seen) {
            Succession::Same | Succession::Older => Ok(false),
            Succession::Fork => {
                self.tell_own_fork();
                Err(Error::Untrue("two device lists of one version are signed for the own account"))
            }
            Succession::Newer { added, removed } => {
                let remains = seen.entry(&self.state.device_id()).is_some();
                self.state.set_own_list(signed.clone(), &seen);
                if !remains {
                    self.state.tell(now, What::Removed);
                } else if added + removed > 0 {
                    self.state.tell(now, What::OwnDevicesChanged { added, removed });
                }
                Ok(true)
            }
        }
    }

    /// Tells of a fork of the own list, once.
    pub(super) fn tell_own_fork(&mut self) {
        if !std::mem::replace(&mut self.state.fork_told, true) {
            self.state.tell(self.clock.now(), What::OwnFork);
        }
    }

    /// Tells that the relay shows an older list than there is; once for each list that is known here.
    pub(super) fn tell_own_behind(&mut self) {
        let known = self.state.own_list().head().order();
        if self.state.behind_told.replace(known) != Some(known) {
            self.state.tell(self.clock.now(), What::OwnListBehind);
        }
    }

    /// Changes the devices of the list, at the relay and here. Where another device was faster, its list is taken in and the
    /// change made to that one. Contacts hear of it. Nothing happens where `change` changes nothing.
    pub(super) async fn change_list(&mut self, change: impl Fn(&mut Vec<DeviceEntry>) -> Result<()>) -> Result<()> {
        self.replace_list(|state| {
            let mut entries = state.own_list().entries;
            change(&mut entries)?;
            if entries == state.own_list().entries {
                return Ok(None);
            }
            if !state.holds_list_key() {
                return Err(no_list_key());
            }
            lists::successor(&state.device_list, &state.list_key.signing(), entries).map(Some)
        })
        .await
    }

    /// Puts what `next` makes of the current list in its place.
    pub(super) async fn replace_list(&mut self, next: impl Fn(&State) -> Result<Option<SignedList>>) -> Result<()> {
        for _ in 0..LIST_CHANGES_MAX {
            let Some(signed) = next(&self.state)? else { return Ok(()) };
            let request = PutListRequest { device_list: signed };
            let answer: Result<ListReply> = self.authed(Method::PUT, "/v1/account/device-list", Some(&request)).await;
            match answer {
                Ok(_) => {
                    let list = lists::verify(&request.device_list)?;
                    self.state.set_own_list(request.device_list, &list);
                    let now = self.clock.now();
                    self.state.tell_contacts(now);
                    return self.save();
                }
                Err(Error::Refused(problem)) if problem.code == ErrorCode::DeviceListConflict => {
                    let shown = problem.device_list.ok_or(NO_NEWER_LIST)?;
                    let learned = self.learn_own(&shown);
                    self.save()?;
                    if !learned? {
                        self.tell_own_behind();
                        self.save()?;
                        return Err(NO_NEWER_LIST);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::asked("the account's device list changes while it is being changed", "try again"))
    }
}

impl State {
    /// Queues the own list for every contact, each for a time of its own: so that a relay that watches its own traffic does not see
    /// at once who all of them are.
    pub(crate) fn tell_contacts(&mut self, now: u64) {
        // One that has no counters has not been tried, and is of no use any more.
        self.outbox.retain(|outgoing| {
            !(matches!(outgoing.content, Content::List { .. }) && outgoing.counters.is_empty() && outgoing.grant.is_none())
        });
        let order = self.own_list().head().order();
        let accounts: Vec<_> = self.contacts.iter().map(|contact| contact.account).collect();
        for account in accounts {
            let due_at = now + self.drawn_delay();
            self.queue_for_later(account, Content::List { device_list: self.device_list.clone() }, due_at);
            if let Some(contact) = self.contact(&account) {
                contact.list_told = Some(order);
            }
        }
    }
}

/// This device was not given the keys of the list that stands.
pub(super) fn no_list_key() -> Error {
    Error::asked(
        "this device does not have the keys of the account's present list: another device changed them",
        "`restante client receive` fetches them; where they do not come, remove this device and link it anew",
    )
}

const NO_NEWER_LIST: Error = Error::Untrue("the relay says that the own device list changed, and shows no newer one");
/// How often another device may be faster.
const LIST_CHANGES_MAX: u32 = 3;
