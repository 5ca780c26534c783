//! Why a relay cannot be opened or run, with the next step and the process's exit code.

use std::io::{self, ErrorKind};
use std::path::PathBuf;

use crate::service::Error;
use crate::store::StoreError;
use crate::store::sqlite::{OpenError, OpenErrorKind};

/// Why a relay cannot be opened or run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The data directory is another process's.
    #[error("a relay is running on {} already", .0.display())]
    Running(PathBuf),
    /// The database was not opened.
    #[error(transparent)]
    Database(#[from] OpenError),
    /// A file or directory of the relay's.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The relay key's file does not hold one, or is missing beside a database that belongs to one.
    #[error("{} does not hold the relay's key", .0.display())]
    RelayKey(PathBuf),
    /// The file of the second factors' key does not hold the one that the database's were locked under.
    #[error("{} does not hold the key of the second factors in the database", .0.display())]
    TotpKey(PathBuf),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// As it was configured.
        address: String,
        /// What the system said.
        error: io::Error,
    },
    /// A value of the configuration is not what it should be.
    #[error("{0}")]
    Configuration(String),
    /// The relay itself.
    #[error("the relay cannot start")]
    Relay(#[from] Error),
    /// Something of the system's.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl ServerError {
    /// The next step, where there is one.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Running(_) => "stop it first, or name another directory with `--data`".into(),
            Self::Database(error) => error.hint().into(),
            Self::File { path, .. } => format!("see that this user may read and write {}", path.display()),
            Self::RelayKey(_) => "put the relay's key back from a backup; a new key would be a new relay".into(),
            Self::TotpKey(_) => {
                "put totp.key back from the backup that the database is of; without it nobody who has a second factor could use it"
                    .into()
            }
            Self::Listen { error, .. } if error.kind() == ErrorKind::AddrInUse => {
                "something listens there already; choose another port with `--listen`".into()
            }
            Self::Listen { .. } => "choose another address with `--listen ADDRESS:PORT` or `--listen unix:PATH`".into(),
            Self::Configuration(_) => "`restante config check` says more".into(),
            Self::Relay(Error::Store(StoreError::Full)) => "make room on the disk; nothing is lost".into(),
            Self::Relay(_) | Self::Io(_) => return None,
        })
    }

    /// The process's exit code for it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Running(_) | Self::Relay(Error::Store(StoreError::Full | StoreError::Busy)) => 75,
            Self::Database(error) => match error.kind() {
                OpenErrorKind::Foreign
                | OpenErrorKind::Newer
                | OpenErrorKind::Older
                | OpenErrorKind::Damaged
                | OpenErrorKind::NotAFile => 65,
                OpenErrorKind::CannotCreate => 73,
                OpenErrorKind::InUse | OpenErrorKind::Full => 75,
                OpenErrorKind::NotPermitted => 77,
            },
            Self::RelayKey(_) | Self::TotpKey(_) => 65,
            Self::File { error, .. } | Self::Io(error) | Self::Listen { error, .. }
                if error.kind() == ErrorKind::PermissionDenied =>
            {
                77
            }
            Self::File { .. } => 73,
            Self::Configuration(_) => 78,
            Self::Listen { .. } | Self::Relay(_) | Self::Io(_) => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The database may open, by room that its log gives free, and the first thing that is written find none.
    #[test]
    fn a_start_without_room_passes_like_any_other() {
        let error = ServerError::from(Error::from(StoreError::Full));
        assert_eq!(error.exit_code(), 75);
        assert!(error.hint().is_some_and(|hint| hint.contains("make room")));
        assert_eq!(ServerError::from(Error::from(StoreError::Closing)).exit_code(), 1);
    }
}
