//! The own handle: set, show, release.

use clap::{Args, Subcommand};
use serde_json::json;

use super::super::output;
use super::code::CodeArgs;
use crate::client::Client;

/// `restante client handle`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "A handle has 3 to 32 characters: a to z, 0 to 9, _ and . The relay does not learn it. Who knows it, or guesses it, can \
knock; nobody can write to you before you accept.\n\nExamples:\n  restante client handle set alice\n  restante client handle             which one you have\n  \
restante client handle release"
)]
pub(super) struct HandleArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    command: Option<HandleCommand>,
}

#[derive(Debug, Subcommand)]
enum HandleCommand {
    /// Take a handle; the one before is kept for you for a week. Contacts notice nothing.
    Set {
        /// The handle.
        name: String,
        #[command(flatten)]
        code: CodeArgs,
    },
    /// Show the handle, as `handle` alone does.
    Show {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Give the handle up; for a week nobody else can have it.
    Release {
        #[command(flatten)]
        code: CodeArgs,
    },
}

pub(super) async fn handle(mut client: Client, args: HandleArgs) -> anyhow::Result<u8> {
    match args.command.unwrap_or(HandleCommand::Show { json: args.json }) {
        HandleCommand::Set { name, code } => {
            let before = client.handle().map(str::to_string);
            code.elevated(&mut client, async |client| client.set_handle(&name).await).await?;
            output::say(&format!("you can be found as {name}; others type: restante client knock {name} TEXT"));
            if let Some(before) = before.filter(|before| *before != name) {
                output::say(&format!("{before} is kept for you for a week, and leads nowhere"));
            }
        }
        HandleCommand::Show { json: true } => output::print_json(&json!({ "handle": client.handle() }))?,
        HandleCommand::Show { json: false } => match client.handle() {
            Some(handle) => output::print(handle)?,
            None => output::say("none: `restante client handle set NAME` takes one"),
        },
        HandleCommand::Release { code } => {
            match code.elevated(&mut client, async |client| client.release_handle().await).await? {
                true => output::say("given up; for a week nobody else can have it, and you can take it back"),
                false => output::say("there was none"),
            }
        }
    }
    Ok(0)
}
