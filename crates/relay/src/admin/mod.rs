//! Floor 3: what only the operator may do: stats, purge, passes, accounts, the notice and a look at the relay's own rows.
//!
//! Two processes never write one database. Where a relay runs, an operator's command asks it over `admin.sock` in the data
//! directory, which only the relay's own user can open; where none runs, the command opens the relay itself, under the
//! lock. [`Target`] is either of the two. Accounts are opaque ids with counts; there is no way to read an envelope.

mod caller;
mod routes;
mod socket;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use caller::{Answer, ask};
pub use socket::{bind, serve};

pub use crate::service::passes::{NewPass, PassItem};
pub use crate::service::purge::{PurgeReport, PurgeRequest};
pub use crate::service::roster::{AccountItem, AccountPage};
pub use crate::service::stats::{Stats, TableRows};

use crate::protocol::info::{Info, Notice};
use crate::protocol::{AccountId, ErrorCode};
use crate::service::Relay;

/// The socket's name in the data directory.
pub const SOCKET: &str = "admin.sock";

/// Why an operator's command came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The socket is there, but it is another user's.
    #[error("the relay's admin socket {0} is not open to this user")]
    NotAllowed(PathBuf),
    /// The relay went away in between, or it is not a relay that listens there.
    #[error("the relay does not answer on {socket}: {cause}")]
    Unreachable {
        /// Where it should listen.
        socket: PathBuf,
        /// What happened.
        cause: String,
    },
    /// The running relay said no.
    #[error("{1}")]
    Refused(ErrorCode, String),
    /// The relay opened here said no.
    #[error(transparent)]
    Service(#[from] crate::service::Error),
}

impl AdminError {
    /// The next step.
    pub fn hint(&self) -> Option<String> {
        let code = match self {
            Self::NotAllowed(_) => return Some("run this as the user that the relay runs as".into()),
            Self::Unreachable { .. } => return Some("see whether it is starting or stopping, and try again".into()),
            Self::Refused(code, _) => *code,
            Self::Service(error) => error.code(),
        };
        match code {
            ErrorCode::Busy => Some("try again in a moment".into()),
            ErrorCode::NoSuchAccount => Some("`restante account list` shows their ids".into()),
            _ => None,
        }
    }

    /// The exit code of a command that fails so.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotAllowed(_) => 77,
            _ => 1,
        }
    }
}

/// What an admin call gives.
pub type Result<T> = std::result::Result<T, AdminError>;

/// Where an operator's command goes.
pub enum Target {
    /// To the relay that runs, over this socket.
    Running(PathBuf),
    /// To the relay opened here, under the lock, because none runs.
    Stopped(Relay),
}

/// What makes a pass.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PassRequest {
    /// Registrations it is good for.
    pub uses: u64,
    /// For how long, in seconds.
    pub expires_in_secs: u64,
}

/// Names a pass to end.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PassName {
    pass: String,
}

/// Whether a pass was there to end.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct PassRevoked {
    revoked: bool,
}

/// Names an account by its id or the beginning of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountName {
    account: String,
}

/// What the operator has to say to everybody.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoticeText {
    text: String,
}

/// Whether a notice was there to take back.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct NoticeCleared {
    cleared: bool,
}

/// The socket of the relay that runs on a data directory; none when nobody listens.
pub async fn running(data: &Path) -> Result<Option<PathBuf>> {
    let socket = data.join(SOCKET);
    match tokio::net::UnixStream::connect(&socket).await {
        Ok(_) => Ok(Some(socket)),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Err(AdminError::NotAllowed(socket)),
        Err(_) => Ok(None),
    }
}

impl AccountName {
    fn of(beginning: &str) -> Self {
        Self { account: beginning.to_string() }
    }
}

impl Target {
    /// Totals.
    pub async fn stats(&self) -> Result<Stats> {
        match self {
            Self::Running(socket) => caller::get(socket, "/stats").await,
            Self::Stopped(relay) => Ok(relay.stats().await?),
        }
    }

    /// Removes what has expired, or only says what would go; returns when it is done.
    pub async fn purge(&self, request: PurgeRequest) -> Result<PurgeReport> {
        match self {
            Self::Running(socket) => caller::post(socket, "/purge", &request).await,
            Self::Stopped(relay) => Ok(relay.purge(request, |_| {}).await?),
        }
    }

    /// Makes a pass.
    pub async fn create_pass(&self, request: PassRequest) -> Result<NewPass> {
        match self {
            Self::Running(socket) => caller::post(socket, "/passes", &request).await,
            Self::Stopped(relay) => Ok(relay.create_pass(request.uses, request.expires_in_secs).await?),
        }
    }

    /// The passes that are still good.
    pub async fn passes(&self) -> Result<Vec<PassItem>> {
        match self {
            Self::Running(socket) => caller::get(socket, "/passes").await,
            Self::Stopped(relay) => Ok(relay.passes().await?),
        }
    }

    /// Ends a pass, named by code or hash; false when there is none.
    pub async fn revoke_pass(&self, code_or_hash: &str) -> Result<bool> {
        match self {
            Self::Running(socket) => {
                let name = PassName { pass: code_or_hash.to_string() };
                let reply: PassRevoked = caller::post(socket, "/passes/revoke", &name).await?;
                Ok(reply.revoked)
            }
            Self::Stopped(relay) => Ok(relay.revoke_pass(code_or_hash).await?),
        }
    }

    /// A page of accounts from `from` on.
    pub async fn accounts(&self, from: Option<AccountId>) -> Result<AccountPage> {
        match (self, from) {
            (Self::Running(socket), None) => caller::get(socket, "/accounts").await,
            (Self::Running(socket), Some(from)) => caller::get(socket, &format!("/accounts?from={from}")).await,
            (Self::Stopped(relay), from) => Ok(relay.accounts(from).await?),
        }
    }

    /// The one account whose id begins so.
    pub async fn account(&self, beginning: &str) -> Result<AccountItem> {
        match self {
            Self::Running(socket) => caller::post(socket, "/accounts/find", &AccountName::of(beginning)).await,
            Self::Stopped(relay) => Ok(relay.account_named(beginning).await?),
        }
    }

    /// Keeps an account out, or lets it in again.
    pub async fn suspend_account(&self, beginning: &str, suspended: bool) -> Result<AccountItem> {
        let path = if suspended { "/accounts/suspend" } else { "/accounts/resume" };
        match self {
            Self::Running(socket) => caller::post(socket, path, &AccountName::of(beginning)).await,
            Self::Stopped(relay) => Ok(relay.suspend_account(beginning, suspended).await?),
        }
    }

    /// Deletes an account and all that is its.
    pub async fn delete_account(&self, beginning: &str) -> Result<AccountItem> {
        match self {
            Self::Running(socket) => caller::post(socket, "/accounts/delete", &AccountName::of(beginning)).await,
            Self::Stopped(relay) => Ok(relay.remove_account(beginning).await?),
        }
    }

    /// Puts a notice in the place of the one before.
    pub async fn set_notice(&self, text: &str) -> Result<Notice> {
        match self {
            Self::Running(socket) => caller::post(socket, "/notice", &NoticeText { text: text.to_string() }).await,
            Self::Stopped(relay) => Ok(relay.set_notice(text).await?),
        }
    }

    /// Takes the notice back; false when there is none.
    pub async fn clear_notice(&self) -> Result<bool> {
        match self {
            Self::Running(socket) => {
                let reply: NoticeCleared = caller::post(socket, "/notice/clear", &()).await?;
                Ok(reply.cleared)
            }
            Self::Stopped(relay) => Ok(relay.clear_notice().await?),
        }
    }

    /// The first rows of every table, as they lie on disk.
    pub async fn rows(&self, limit: u64) -> Result<Vec<TableRows>> {
        match self {
            Self::Running(socket) => caller::get(socket, &format!("/rows?limit={limit}")).await,
            Self::Stopped(relay) => Ok(relay.explain(limit).await?),
        }
    }

    /// What the relay says of itself.
    pub async fn info(&self) -> Result<Info> {
        match self {
            Self::Running(socket) => caller::get(socket, "/info").await,
            Self::Stopped(relay) => Ok(relay.info()),
        }
    }
}
