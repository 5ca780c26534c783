//! A code of the second factor, for the commands that the relay asks one of: given on the command line or in the
//! environment, or asked for on the terminal.

use std::io::{self, IsTerminal};

use clap::Args;

use super::super::{Failure, output};
use crate::client::{self, Client};
use crate::protocol::ErrorCode;

/// The arguments of every command that may need one.
#[derive(Debug, Args)]
pub(super) struct CodeArgs {
    /// A code of your authenticator, or a recovery code, where the second factor is on
    #[arg(long, value_name = "CODE", env = VARIABLE, hide_env_values = true)]
    code: Option<String>,
}

impl CodeArgs {
    /// For a command whose own `--code` means something else.
    pub(super) fn from_environment() -> Self {
        Self { code: std::env::var(VARIABLE).ok().filter(|code| !code.is_empty()) }
    }

    /// Does something; when the relay answers that the session must be elevated, elevates it and does it again.
    pub(super) async fn elevated<T>(
        &self,
        client: &mut Client,
        mut act: impl AsyncFnMut(&mut Client) -> client::Result<T>,
    ) -> anyhow::Result<T> {
        let needed = match act(client).await {
            Err(error) if error.code() == Some(ErrorCode::ElevationNeeded) => error,
            done => return Ok(done?),
        };
        match &self.code {
            Some(code) => drop(client.elevate(code.trim()).await?),
            None => {
                let asked = ask(client, "code of your authenticator, or a recovery code: ", async |client, code| {
                    client.elevate(code).await
                });
                asked.await?.ok_or(needed)?;
            }
        }
        Ok(act(client).await?)
    }
}

/// Asks for a code on the terminal until one is good, [`TRIES_MAX`] times at most. None where there is no terminal.
pub(super) async fn ask<T>(
    client: &mut Client,
    prompt: &str,
    mut give: impl AsyncFnMut(&mut Client, &str) -> client::Result<T>,
) -> anyhow::Result<Option<T>> {
    if !io::stdin().is_terminal() {
        return Ok(None);
    }
    for left in (0..TRIES_MAX).rev() {
        output::ask(prompt);
        let mut typed = String::new();
        if io::stdin().read_line(&mut typed)? == 0 {
            return Err(Failure::new("no code was given").into());
        }
        match give(client, typed.trim()).await {
            Err(error) if error.code() == Some(ErrorCode::CodeRefused) && left > 0 => output::say(&error.to_string()),
            given => return Ok(Some(given?)),
        }
    }
    unreachable!("the last try returns")
}

/// Where a code is looked for when none is given.
const VARIABLE: &str = "RESTANTE_CODE";
/// Two slips of the fingers; the relay's own patience is five.
const TRIES_MAX: u32 = 3;
