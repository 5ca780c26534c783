//! `restante account`: accounts by their opaque ids: how much each has, and whether it may come in. Nothing here says who
//! somebody is, who writes to them, or what.

use std::io::{BufRead, stdin};

use clap::{Args, Subcommand};
use serde::Serialize;

use super::config::ConfigArgs;
use super::failure::Failure;
use super::target::{Missing, on_target};
use super::{output, units};
use crate::admin::{AccountItem, Target};

/// `restante account`.
#[derive(Debug, Subcommand)]
#[command(after_help = "An id may be cut short as long as only one account's begins so.")]
pub(super) enum AccountCommand {
    /// List all accounts: devices, what waits, tokens, and the week in which one of its devices last came.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Keep an account out: its sessions end, its devices cannot log in, senders find its mailboxes full. Deletes nothing.
    Suspend(NameArgs),
    /// Let a suspended account in again.
    Resume(NameArgs),
    /// Delete an account and everything that waits for it. Its devices never come back; its owner may register anew.
    Delete {
        #[command(flatten)]
        name: NameArgs,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

/// Which account.
#[derive(Debug, Args)]
pub(super) struct NameArgs {
    /// The account's id, or the beginning of it.
    #[arg(value_name = "ID", allow_hyphen_values = true)]
    id: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// What `list --json` prints of each.
#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    item: AccountItem,
    /// The day on which `seen_week` began.
    seen_in_week_of: String,
}

pub(super) async fn run(command: AccountCommand) -> anyhow::Result<u8> {
    match command {
        AccountCommand::List { json, config } => list(json, config).await,
        AccountCommand::Suspend(name) => suspend(name, true).await,
        AccountCommand::Resume(name) => suspend(name, false).await,
        AccountCommand::Delete { name, yes } => delete(name, yes).await,
    }
}

async fn list(json: bool, config: ConfigArgs) -> anyhow::Result<u8> {
    let accounts = on_target(config, Missing::Refuse, async |target| all(target).await).await?;
    if json {
        let listed = accounts.into_iter().map(|item| Listed { seen_in_week_of: units::week(item.seen_week), item });
        output::print_json(&listed.collect::<Vec<_>>())?;
    } else if accounts.is_empty() {
        output::say("no account is registered");
    } else {
        let heads = ["account", "devices", "waiting", "bytes", "tokens", "seen in week of", ""];
        output::print_table(&heads, &accounts.iter().map(row).collect::<Vec<_>>())?;
    }
    Ok(0)
}

async fn all(target: &Target) -> crate::admin::Result<Vec<AccountItem>> {
    let mut page = target.accounts(None).await?;
    let mut accounts = page.accounts;
    while let Some(next) = page.next {
        page = target.accounts(Some(next)).await?;
        accounts.append(&mut page.accounts);
    }
    Ok(accounts)
}

fn row(item: &AccountItem) -> Vec<String> {
    vec![
        item.account.to_string(),
        item.devices.to_string(),
        item.envelopes.to_string(),
        units::bytes(item.bytes),
        item.tokens.to_string(),
        units::week(item.seen_week),
        if item.suspended { "suspended".into() } else { String::new() },
    ]
}

async fn suspend(name: NameArgs, suspended: bool) -> anyhow::Result<u8> {
    let call = async |target: &Target| target.suspend_account(&name.id, suspended).await;
    let item = on_target(name.config, Missing::Refuse, call).await?;
    if name.json {
        output::print_json(&Listed { seen_in_week_of: units::week(item.seen_week), item })?;
        return Ok(0);
    }
    let done = if suspended { "suspended; `restante account resume` lets it in again" } else { "no longer suspended" };
    output::say(&format!("{} is {done}", item.account));
    Ok(0)
}

async fn delete(name: NameArgs, yes: bool) -> anyhow::Result<u8> {
    let config = name.config.clone();
    let item = on_target(config, Missing::Refuse, async |target| target.account(&name.id).await).await?;
    if !yes && !confirmed(&item)? {
        let failure = Failure::new("nothing was deleted");
        return Err(failure.hint("type `yes` when asked, or say --yes").into());
    }
    let id = item.account.to_string();
    on_target(name.config, Missing::Refuse, async |target| target.delete_account(&id).await).await?;
    if name.json {
        output::print_json(&serde_json::json!({ "account": id, "deleted": true }))?;
    } else {
        output::say(&format!("{id} is deleted"));
    }
    Ok(0)
}

fn confirmed(item: &AccountItem) -> anyhow::Result<bool> {
    let (devices, envelopes) = (units::count(item.devices, "device"), units::count(item.envelopes, "envelope"));
    output::say(&format!("This deletes {} for good: {devices}, {envelopes} waiting. Type `yes` to go on:", item.account));
    let mut line = String::new();
    stdin().lock().read_line(&mut line)?;
    Ok(line.trim() == "yes")
}
