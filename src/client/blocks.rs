//! Who is not heard: blocked here, by account, because a handle's token is everybody's and cannot be taken from one alone.

use super::Client;
use super::doors::Blocked;
use super::error::{Error, Result};
use super::state::State;
use crate::protocol::AccountId;

/// Somebody who is not heard, to be shown.
#[derive(Debug, Clone, serde::Serialize)]
pub struct BlockedInfo {
    /// What they were called here, or called themselves.
    pub name: String,
    /// Their account.
    pub account: AccountId,
}

impl State {
    pub(crate) fn is_blocked(&self, account: &AccountId) -> bool {
        self.doors.blocked.iter().any(|blocked| blocked.account == *account)
    }
}

impl Client {
    /// Stops hearing somebody: a contact, whose tokens end; or one who knocks, by number or name. Their knocks go unseen from
    /// then on. They are not told. Gives the name that they are remembered by.
    ///
    /// It holds here even where the relay cannot be reached; the relay then hears of it with the next `receive`.
    pub async fn block(&mut self, whom: &str) -> Result<String> {
        let _lock = self.enter().await?;
        let (account, name) = match self.named(whom) {
            Ok(contact) => (contact.account, contact.name.clone()),
            Err(unknown) => match self.which_knock(whom) {
                Ok(at) => {
                    let knock = &self.state.doors.knocks[at];
                    let name = knock.name.clone().or(knock.handle.clone());
                    (knock.from.account, name.unwrap_or_else(|| knock.from.account.to_string()))
                }
                Err(_) if self.state.doors.knocks.is_empty() => return Err(unknown),
                Err(nobody) => return Err(nobody),
            },
        };
        if self.state.is_blocked(&account) {
            return Ok(name);
        }
        if self.state.doors.blocked.len() >= BLOCKED_MAX {
            return Err(Error::asked(format!("{BLOCKED_MAX} are blocked already"), "`unblock` some of them first"));
        }
        self.state.doors.blocked.push(Blocked { account, name: name.clone() });
        self.state.doors.knocks.retain(|knock| knock.from.account != account);
        self.forget_contact(&account);
        self.save()?;
        self.keep().await;
        self.send_revocations().await?;
        Ok(name)
    }

    /// Hears somebody again, who may knock. `whom` is the name or the account.
    pub async fn unblock(&mut self, whom: &str) -> Result<()> {
        let _lock = self.enter().await?;
        let account = whom.parse::<AccountId>().ok();
        let is_meant = |blocked: &Blocked| blocked.name == whom || Some(blocked.account) == account;
        match self.state.doors.blocked.iter().filter(|blocked| is_meant(blocked)).count() {
            1 => {}
            0 => {
                let what = format!("nobody called {whom} is blocked");
                return Err(Error::asked(what, "`restante client block` alone lists who is"));
            }
            several => {
                return Err(Error::asked(format!("{several} of the blocked are called {whom}"), "say which by its account"));
            }
        }
        self.state.doors.blocked.retain(|blocked| !is_meant(blocked));
        self.save()?;
        self.keep().await;
        Ok(())
    }

    /// Who is blocked. Asks nobody.
    pub fn blocked(&self) -> Vec<BlockedInfo> {
        let shown = |blocked: &Blocked| BlockedInfo { name: blocked.name.clone(), account: blocked.account };
        self.state.doors.blocked.iter().map(shown).collect()
    }
}

/// Accounts that are remembered as blocked.
const BLOCKED_MAX: usize = 500;
