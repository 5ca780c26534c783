//! Why a client could not do what it was asked; each with a hint where something can be done about it.

use std::path::PathBuf;

use crate::protocol::{ErrorCode, Problem};

/// What went wrong. Never carries a key, a token or a message.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The relay answered with a problem.
    #[error("the relay refused: {}", words(.0))]
    Refused(Box<Problem>),
    /// No answer came, or one that is no relay's.
    #[error("no relay answers at {origin}: {why}")]
    Unreachable {
        /// Where it was looked for.
        origin: String,
        /// What the transport said.
        why: String,
    },
    /// The relay is not the one that was pinned.
    #[error("the relay at {origin} has another key than the one pinned (expected {expected}, found {found})")]
    RelayKeyChanged {
        /// Where.
        origin: String,
        /// The fingerprint, or the prefix of a key, that was expected.
        expected: String,
        /// The fingerprint that was found.
        found: String,
    },
    /// Something that the relay or a peer sent is not true.
    #[error("{0}")]
    Untrue(&'static str),
    /// The profile cannot be used.
    #[error("profile {}: {why}", path.display())]
    Profile {
        /// Its directory.
        path: PathBuf,
        /// What is the matter.
        why: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// What was asked cannot be done as it was asked.
    #[error("{what}")]
    Asked {
        /// What is wrong with it.
        what: String,
        /// What to do instead.
        hint: &'static str,
    },
    /// No device of the recipient has a key that could be sealed to.
    #[error("{to} has no good key at the relay: their devices have been away for too long")]
    NoKey {
        /// The contact.
        to: String,
    },
    /// The message was kept and goes out later.
    #[error("the message to {to} is queued, not sent: {cause}")]
    Queued {
        /// The contact.
        to: String,
        /// Why it did not go out.
        cause: Box<Error>,
    },
}

/// `Ok`, or an [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// What the user can do, where there is something.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Refused(problem) => refused_hint(problem.code),
            Self::Unreachable { why, .. } if why.contains("certificate") => {
                Some("if the relay's certificate is from an authority of your own, name that with --ca FILE")
            }
            Self::Unreachable { .. } => Some("check the address, and that the relay runs; nothing else is tried in its place"),
            Self::RelayKeyChanged { .. } => {
                Some("somebody may be between you and the relay; ask its operator for the fingerprint before anything else")
            }
            Self::Untrue(_) => {
                Some("the relay or somebody on the way altered what was sent; `restante client doctor` looks closer")
            }
            Self::Profile { hint, .. } | Self::Asked { hint, .. } => (!hint.is_empty()).then_some(*hint),
            Self::NoKey { .. } => Some("they can be written to again once one of the devices has come back"),
            Self::Queued { .. } => Some("it goes out with the next `send` or `receive`; `restante client sent` shows it"),
        }
    }

    /// The relay's code, where it refused.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused(problem) => Some(problem.code),
            Self::Queued { cause, .. } => cause.code(),
            _ => None,
        }
    }

    /// Whether the same request may succeed later.
    pub(crate) fn passes(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::NoKey { .. } => true,
            Self::Refused(problem) => matches!(
                problem.code,
                ErrorCode::Busy
                    | ErrorCode::Stopping
                    | ErrorCode::RateLimited
                    | ErrorCode::TooSlow
                    | ErrorCode::MailboxFull
                    | ErrorCode::RelayFull
                    | ErrorCode::Internal
                    | ErrorCode::Unknown
            ),
            _ => false,
        }
    }

    pub(crate) fn asked(what: impl Into<String>, hint: &'static str) -> Self {
        Self::Asked { what: what.into(), hint }
    }
}

fn words(problem: &Problem) -> &str {
    if problem.detail.is_empty() { &problem.title } else { &problem.detail }
}

fn refused_hint(code: ErrorCode) -> Option<&'static str> {
    Some(match code {
        ErrorCode::RegistrationClosed => "ask the relay's operator to open it, or use another relay",
        ErrorCode::PassRefused => "give the code with `--pass CODE`; the operator makes one with `restante pass create`",
        ErrorCode::NoSuchToken => "the contact revoked the token or it expired; ask for a fresh link and `add` it",
        ErrorCode::LoginRefused => {
            "if it was removed, another device of the account can link it anew in a fresh profile; else `recover` with the 24 words"
        }
        ErrorCode::Suspended => "ask the relay's operator",
        ErrorCode::AccountExists => "the account is here already; `restante client recover` takes it over with the 24 words",
        ErrorCode::HandleTaken => "one that was given up is kept for who had it, for a week",
        ErrorCode::MailboxFull => "the recipient's mailbox is full; try again after it was emptied",
        ErrorCode::RateLimited | ErrorCode::Busy | ErrorCode::Stopping => "try again in a moment",
        ErrorCode::RelayFull => "the relay is out of room; tell its operator",
        ErrorCode::Superseded => "another `receive` of this profile took over",
        ErrorCode::ElevationNeeded => {
            "give a code of your authenticator, or a recovery code, with --code CODE or in RESTANTE_CODE"
        }
        ErrorCode::CodeRefused => {
            "each code counts once and for half a minute; if the next one fails too, look at the clock of your authenticator"
        }
        ErrorCode::NoTotp => "`restante client totp status` says whether it is on, `restante client totp on` begins anew",
        ErrorCode::WrongHost => "dial the relay under the name that its operator configured",
        _ => return None,
    })
}
