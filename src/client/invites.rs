//! Invite links, as they are made, listed and taken back: for one person, who can be written to at once, or for several, who
//! knock.

use super::Client;
use super::doors::OpenInvite;
use super::error::{Error, Result};
use super::link::{Door, Link};
use super::state::Invite;
use crate::protocol::TokenHash;
use crate::protocol::time::{WEEK, ceil_hour};
use crate::protocol::tokens::{ONCE_SECS_MAX, TokenKind, USES_MAX};

/// What an invite is to be.
#[derive(Debug, Clone)]
pub struct InviteOptions {
    /// What to call who comes by it.
    pub name: Option<String>,
    /// How many people may use it.
    pub uses: u64,
    /// How long it is good, in seconds.
    pub secs: u64,
    /// Whether to be asked about each who comes.
    pub ask: bool,
}

impl Default for InviteOptions {
    /// For one person, for seven days.
    fn default() -> Self {
        Self { name: None, uses: 1, secs: WEEK, ask: false }
    }
}

/// An invite that is still open, to be shown.
#[derive(Debug, Clone, serde::Serialize)]
pub struct InviteInfo {
    /// By which it is named: the first eight hexadecimal digits of its token's hash.
    pub id: String,
    /// What who comes by it will be called.
    pub name: Option<String>,
    /// How many people may use it.
    pub uses: u64,
    /// How many were seen to.
    pub came: u64,
    /// Whether they have to be accepted.
    pub ask: bool,
    /// Until when it is good.
    pub expires_at: u64,
}

impl Client {
    /// A link for one person, good for seven days. `name` is what that person will be called here.
    pub async fn invite(&mut self, name: Option<&str>) -> Result<Link> {
        self.invite_with(InviteOptions { name: name.map(str::to_string), ..InviteOptions::default() }).await
    }

    /// A link. Who comes by one for several people, or by one that asks, knocks.
    pub async fn invite_with(&mut self, options: InviteOptions) -> Result<Link> {
        let InviteOptions { name, uses, secs, ask } = options;
        if !(1..=USES_MAX).contains(&uses) {
            return Err(Error::asked(format!("a link is for 1 to {USES_MAX} people"), "give your handle to more"));
        }
        if secs > ONCE_SECS_MAX {
            return Err(Error::asked("a link is good for 30 days at most", "give your handle to whom you meet later"));
        }
        let _lock = self.enter().await?;
        if let Some(name) = name.as_deref().filter(|_| uses == 1) {
            self.refuse_taken(name)?;
        }
        if self.state.invites.len() + self.state.doors.invites.len() >= INVITES_MAX {
            return Err(Error::asked(format!("{INVITES_MAX} links are open already"), "`invites revoke` some of them first"));
        }
        let expires_at = ceil_hour(self.clock.now() + secs);
        let door = if uses == 1 && !ask {
            let once = self.mint(TokenKind::Once, Some(expires_at), None).await?;
            let contact = self.mint(TokenKind::Contact, Some(expires_at), None).await?;
            self.state.invites.push(Invite { name, once: once.hash(), contact: contact.hash(), expires_at });
            Door::Once { once, contact }
        } else {
            let token = self.mint(TokenKind::Knock, Some(expires_at), Some(uses)).await?;
            self.state.doors.invites.push(OpenInvite { token: token.hash(), name, uses, came: 0, ask, expires_at });
            Door::Knock(token)
        };
        self.save()?;
        self.keep().await;
        let origin = self.http.origin().to_string();
        Ok(Link { origin, relay: self.state.relay.key, account: self.state.account, door })
    }

    /// The invites that are still open, the next to expire first. Asks nobody: somebody may have come whom it has not seen yet.
    pub fn invites(&self) -> Vec<InviteInfo> {
        let single = self.state.invites.iter().map(|invite| InviteInfo {
            id: id_of(&invite.once),
            name: invite.name.clone(),
            uses: 1,
            came: 0,
            ask: false,
            expires_at: invite.expires_at,
        });
        let open = self.state.doors.invites.iter().map(|invite| InviteInfo {
            id: id_of(&invite.token),
            name: invite.name.clone(),
            uses: invite.uses,
            came: invite.came,
            ask: invite.ask,
            expires_at: invite.expires_at,
        });
        let now = self.clock.now();
        let mut all: Vec<InviteInfo> = single.chain(open).filter(|invite| invite.expires_at > now).collect();
        all.sort_by(|one, other| (one.expires_at, &one.id).cmp(&(other.expires_at, &other.id)));
        all
    }

    /// Takes an invite back, or all of them; how many those were. Who has come by it stays a contact.
    pub async fn revoke_invites(&mut self, id: Option<&str>) -> Result<usize> {
        let _lock = self.enter().await?;
        let is_meant = |hash: &TokenHash| id.is_none_or(|id| id_of(hash) == id);
        let state = &mut self.state;
        let single = state.invites.extract_if(.., |invite| is_meant(&invite.once));
        let mut hashes: Vec<Vec<TokenHash>> = single.map(|invite| vec![invite.once, invite.contact]).collect();
        let open = state.doors.invites.extract_if(.., |invite| is_meant(&invite.token));
        hashes.extend(open.map(|invite| vec![invite.token]));
        if let (Some(id), true) = (id, hashes.is_empty()) {
            return Err(Error::asked(format!("no open invite is called {id}"), "`restante client invites` lists them"));
        }
        let count = hashes.len();
        state.revoking.extend(hashes.concat());
        self.save()?;
        self.keep().await;
        self.send_revocations().await?;
        Ok(count)
    }
}

fn id_of(hash: &TokenHash) -> String {
    hash.as_bytes().iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// Open invites of one profile.
const INVITES_MAX: usize = 1_000;
