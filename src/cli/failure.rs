//! How a command fails: a sentence, a hint and an exit code.

use std::fmt;

use super::output::{self, StdoutClosed};
#[cfg(feature = "server")]
use crate::{admin::AdminError, config::ConfigError, server::ServerError};

/// Refused or failed.
pub(super) const FAILED: u8 = 1;
/// Wrong usage.
pub(super) const USAGE: u8 = 2;
/// The database is damaged.
#[cfg(feature = "server")]
pub(super) const DAMAGED: u8 = 65;
/// The configuration is wrong.
#[cfg(feature = "server")]
pub(super) const CONFIGURATION: u8 = 78;

/// An error that a command makes itself.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub code: u8,
    /// What failed, a lowercase sentence.
    pub message: String,
    /// The next step.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure with exit code 1.
    pub fn new(message: impl Into<String>) -> Self {
        Self { code: FAILED, message: message.into(), hint: None }
    }

    /// With a next step.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With another exit code.
    pub fn code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Prints an error with its hint on stderr and gives the exit code that goes with it.
pub fn report(error: &anyhow::Error) -> u8 {
    if error.chain().any(|cause| cause.is::<StdoutClosed>()) {
        // `restante stats | head -1` got what it wanted.
        return 0;
    }
    #[cfg(feature = "server")]
    if let Some(ConfigError { problems }) = error.downcast_ref() {
        for problem in problems {
            output::error(&problem.to_string(), problem.hint.as_deref());
        }
        return CONFIGURATION;
    }
    let (code, hint) = classify(error);
    output::error(&format!("{error:#}"), hint.as_deref());
    code
}

fn classify(error: &anyhow::Error) -> (u8, Option<String>) {
    for cause in error.chain() {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return (failure.code, failure.hint.clone());
        }
        #[cfg(feature = "client")]
        if let Some(error) = cause.downcast_ref::<crate::client::Error>() {
            return (FAILED, error.hint().map(Into::into));
        }
        #[cfg(feature = "server")]
        if let Some(error) = cause.downcast_ref::<ServerError>() {
            return (error.exit_code(), error.hint());
        }
        #[cfg(feature = "server")]
        if let Some(error) = cause.downcast_ref::<AdminError>() {
            return (error.exit_code(), error.hint());
        }
    }
    (FAILED, None)
}
