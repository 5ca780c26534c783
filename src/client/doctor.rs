//! The doctor: what a client can find out about its profile, the way to the relay and what stands there, in one go.

use std::collections::HashSet;

use reqwest::Method;
use serde::Serialize;

use super::Client;
use super::error::{Error, Result};
use super::event::What;
use super::handle::HandleKeys;
use super::http::NOTHING;
use super::kept::Trouble;
use super::lists::{self, Succession};
use super::session::info;
use crate::protocol::TokenHash;
use crate::protocol::accounts::AccountReply;
use crate::protocol::info::Info;
use crate::protocol::time::DAY;
use crate::protocol::tokens::{ListTokensReply, ListTokensRequest, TOKENS_PAGE_MAX};

/// How well something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Nothing to do.
    Ok,
    /// It works, and should be looked at.
    Warn,
    /// It does not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// How it is.
    pub health: Health,
    /// What was seen.
    pub found: String,
    /// What to do, where there is something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Client {
    /// Looks at everything: reach, clock, key, login, list, prekey, mailbox, tokens, book, handle, queue. Stops where the rest cannot be
    /// looked at. Changes nothing, but that a notice of the operator waits to be shown.
    pub async fn doctor(&mut self) -> Result<Vec<Check>> {
        let _lock = self.enter().await?;
        let mut checks = Vec::new();
        let now = self.clock.now();
        let info = match info(&self.http).await {
            Ok(info) => info,
            Err(error) => return Ok(vec![failed("reach", &error)]),
        };
        checks.push(ok("reach", format!("{} answers ({})", self.http.origin(), info.software)));
        if info.relay_key != self.state.relay.key {
            let found = format!("another key than the pinned one: {}", info.relay_key.fingerprint());
            let fix = "ask the relay's operator before anything else; nothing was signed for this key";
            checks.push(Check { name: "key", health: Health::Fail, found, fix: Some(fix.into()) });
            return Ok(checks);
        }
        checks.push(ok("key", format!("{}, as pinned", info.relay_key.fingerprint())));
        checks.push(clock_check(now, info.now));
        checks.extend(self.notice_check(&info)?);
        let account: AccountReply = match self.authed(Method::GET, "/v1/account", NOTHING).await {
            Ok(account) => account,
            Err(error) => {
                checks.push(failed("login", &error));
                return Ok(checks);
            }
        };
        checks.push(ok("login", "the relay knows this device".into()));
        checks.push(self.list_check(&account));
        checks.extend(self.device_checks(&account, now));
        checks.push(self.token_check().await?);
        checks.push(self.slot_check());
        checks.extend(self.handle_check(&account).await);
        checks.push(match self.state.outbox.len() {
            0 => ok("queue", "nothing waits to be sent".into()),
            n => warn("queue", format!("messages that wait to be sent: {n}"), "`restante client receive` tries again"),
        });
        Ok(checks)
    }

    /// Takes the operator's notice in; nothing where there is none.
    fn notice_check(&mut self, info: &Info) -> Result<Option<Check>> {
        if info.notice.is_none() {
            return Ok(None);
        }
        if !self.take_notice_of(info)? {
            let found = "the relay gives one that is not signed with its key; it is not shown";
            return Ok(Some(warn("notice", found.into(), "ask the relay's operator by another way")));
        }
        let waits = self.state.inbox.iter().any(|event| matches!(event.what, What::Notice { .. }));
        Ok(Some(match waits {
            true => warn("notice", "the operator has something to say".into(), "`restante client receive` shows it"),
            false => ok("notice", "the operator's was shown".into()),
        }))
    }

    fn list_check(&self, account: &AccountReply) -> Check {
        let own = self.state.own_list();
        let fix = "if it was not you, `restante client recover` with the 24 words puts a new device in place of all";
        match lists::verify(&account.device_list) {
            Err(error) => failed("list", &error),
            Ok(list) if list.account != own.account => failed("list", &Error::Untrue("it is another account's")),
            Ok(list) => match lists::succeed(&own, &list) {
                Succession::Same => {
                    ok("list", format!("epoch {}, version {}; devices: {}", own.epoch, own.version, own.entries.len()))
                }
                Succession::Newer { .. } => {
                    warn("list", format!("the relay has a newer one: epoch {}, version {}", list.epoch, list.version), fix)
                }
                Succession::Older => {
                    warn("list", "the relay has an older one: it lost data".into(), "`restante client recover` puts it right")
                }
                Succession::Fork => Check {
                    name: "list",
                    health: Health::Fail,
                    found: "the relay has another of the same version".into(),
                    fix: Some(fix.into()),
                },
            },
        }
    }

    /// Whether the relay has the handle that the own devices know of; nothing where neither has one.
    async fn handle_check(&self, account: &AccountReply) -> Option<Check> {
        let there = account.handles.iter().find(|handle| handle.held_until.is_none()).map(|handle| handle.hash);
        let Some(name) = self.handle() else {
            let found = "the relay has one that this device does not know".into();
            return there
                .map(|_| warn("handle", found, "`restante client handle set NAME` takes one anew, `release` gives it up"));
        };
        let own = HandleKeys::derive(name, &self.state.relay.key).await.ok()?.hash;
        Some(match there {
            Some(there) if there == own => ok("handle", format!("{name} leads to you")),
            _ => {
                let found =
                    format!("{name} does not lead to you at the relay: it lost data, or two devices changed it at once");
                warn("handle", found, "`restante client handle set NAME` takes it again")
            }
        })
    }

    /// What the last look at the slots found.
    fn slot_check(&self) -> Check {
        match self.state.kept.trouble() {
            None if !self.state.has_slot(self.clock.now()) => warn(
                "book",
                "nothing is kept together with your other devices".into(),
                "the relay or this profile is of before there was such a thing",
            ),
            None => ok("book", "your devices keep contacts and settings together".into()),
            Some(Trouble::RolledBack) => {
                let found = "the relay shows an older copy of contacts and settings, which is refused".into();
                let fix = "ask its operator; if it was restored from a backup: `restante client doctor --accept-rollback`";
                Check { name: "book", health: Health::Fail, found, fix: Some(fix.into()) }
            }
            Some(Trouble::Unreadable) => {
                let found = "what the relay shows as contacts and settings of your devices does not open".into();
                let fix = "a newer version may have written it; else ask the relay's operator";
                Check { name: "book", health: Health::Fail, found, fix: Some(fix.into()) }
            }
            Some(Trouble::TooLarge) => warn(
                "book",
                "you have more contacts than the relay keeps for your devices; new ones are on this one alone".into(),
                "`revoke` some, and it goes on by itself; `export` takes all to another machine",
            ),
        }
    }

    fn device_checks(&self, account: &AccountReply, now: u64) -> Vec<Check> {
        let own = self.state.device_id();
        let Some(device) = account.devices.iter().find(|device| device.device == own) else {
            return vec![warn("prekey", "the relay says nothing of this device".into(), "try again later")];
        };
        let prekey = match device.prekey_expires_at {
            None => warn("prekey", "none is published".into(), "`restante client receive` publishes one"),
            Some(at) if at < now + 2 * DAY => warn("prekey", "it ends soon".into(), "`restante client receive` renews it"),
            Some(at) => ok("prekey", format!("good for {} days", (at - now) / DAY)),
        };
        vec![prekey, ok("mailbox", format!("{} envelopes wait, {} bytes", device.envelopes, device.bytes))]
    }

    /// Compares the relay's tokens with what the profile knows of.
    async fn token_check(&mut self) -> Result<Check> {
        let mut held: HashSet<TokenHash> = HashSet::new();
        let mut after = None;
        loop {
            let request = ListTokensRequest { after, limit: Some(TOKENS_PAGE_MAX) };
            let page: ListTokensReply = self.authed(Method::POST, "/v1/tokens/list", Some(&request)).await?;
            held.extend(page.tokens.iter().map(|token| token.hash));
            after = page.tokens.last().map(|token| token.hash);
            if !page.more || after.is_none() {
                break;
            }
        }
        let state = &self.state;
        let contacts = state.contacts.iter().flat_map(|contact| &contact.mine);
        let needed: HashSet<TokenHash> = contacts
            .filter(|mine| !mine.invite)
            .map(|mine| mine.hash)
            .chain(state.pool.iter().map(|token| token.hash()))
            .chain(state.myself.iter().filter(|_| state.own_token_registered).map(|myself| myself.token.hash()))
            .collect();
        let missing = needed.difference(&held).count();
        if missing > 0 {
            let found = format!("{missing} of {} are gone at the relay: it lost data, or somebody revoked them", needed.len());
            return Ok(warn("tokens", found, "`revoke` the contacts that cannot write, and invite them anew"));
        }
        Ok(ok("tokens", format!("{} registered, {} of them unused", held.len(), state.pool.len())))
    }
}

fn clock_check(here: u64, there: u64) -> Check {
    let apart = here.abs_diff(there);
    let found = format!("{apart} s from the relay's");
    match apart {
        0..=CLOCK_WARN_SECS => ok("clock", found),
        _ => warn("clock", found, "set this machine's clock: keys and expiries go by it"),
    }
}

fn ok(name: &'static str, found: String) -> Check {
    Check { name, health: Health::Ok, found, fix: None }
}

fn warn(name: &'static str, found: String, fix: &str) -> Check {
    Check { name, health: Health::Warn, found, fix: Some(fix.to_string()) }
}

fn failed(name: &'static str, error: &Error) -> Check {
    Check { name, health: Health::Fail, found: error.to_string(), fix: error.hint().map(str::to_string) }
}

/// Two minutes: beyond it a clock is wrong rather than slow.
const CLOCK_WARN_SECS: u64 = 120;
