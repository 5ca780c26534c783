//! Contacts: invite, add, list, revoke.

use clap::Args;
use serde_json::json;

use super::super::output;
use crate::client::{Client, Link};

/// `restante client invite`.
#[derive(Debug, Args)]
#[command(
    after_help = "The link is for one person and good for seven days. Whoever has it can write to you, so give it by a way \
you trust.\n\nExamples:\n  restante client invite\n  restante client invite bob        who comes by it is called bob here"
)]
pub(super) struct InviteArgs {
    /// What to call the person who comes by it.
    name: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// `restante client add`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  restante client add alice 'restante:1?origin=…'\n\nQuote the link: a shell takes & for itself."
)]
pub(super) struct AddArgs {
    /// What to call them.
    name: String,
    /// The link that they gave you.
    link: String,
}

/// `restante client contacts`.
#[derive(Debug, Args)]
pub(super) struct ContactsArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// `restante client revoke`.
#[derive(Debug, Args)]
#[command(after_help = "Their messages are refused from now on, and what of them still waits is not shown. They are not told.")]
pub(super) struct RevokeArgs {
    /// Whom.
    name: String,
}

pub(super) async fn invite(mut client: Client, args: InviteArgs) -> anyhow::Result<u8> {
    let link = client.invite(args.name.as_deref()).await?.to_string();
    if args.json {
        output::print_json(&json!({ "link": link }))?;
        return Ok(0);
    }
    output::print(&link)?;
    output::say("for one person, within seven days; they type: restante client add NAME 'LINK'");
    Ok(0)
}

pub(super) async fn add(mut client: Client, args: AddArgs) -> anyhow::Result<u8> {
    let link: Link = args.link.parse()?;
    client.add(&args.name, &link).await?;
    output::say(&format!("{0} is a contact; write with: restante client send {0} TEXT", args.name));
    Ok(0)
}

pub(super) fn list(client: &Client, args: &ContactsArgs) -> anyhow::Result<u8> {
    let contacts = client.contacts();
    if args.json {
        output::print_json(&contacts)?;
    } else if contacts.is_empty() {
        output::say("nobody yet: `restante client invite`, or `restante client add NAME LINK`");
    } else {
        let state = |ready| if ready { "ready" } else { "has not answered yet" };
        let rows: Vec<Vec<String>> = contacts
            .iter()
            .map(|one| vec![one.name.clone(), one.devices.to_string(), state(one.ready).into(), one.account.to_string()])
            .collect();
        output::print_table(&["name", "devices", "state", "account"], &rows)?;
    }
    Ok(0)
}

pub(super) async fn revoke(mut client: Client, args: RevokeArgs) -> anyhow::Result<u8> {
    match client.revoke(&args.name).await {
        Err(error) if error.passes() => {
            output::say(&format!("{} is forgotten here, but the relay could not be told yet: {error}", args.name));
            output::say("it is told with the next `restante client receive`; until then it still takes their messages");
            Ok(1)
        }
        done => {
            done?;
            output::say(&format!("{} is forgotten, and cannot write to you any more", args.name));
            Ok(0)
        }
    }
}
