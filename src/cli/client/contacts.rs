//! Contacts: add, list, revoke.

use clap::Args;

use super::super::{Failure, output};
use crate::client::{Client, ContactInfo, Door, Link};

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
    /// What to say to them; only a link for several people carries it.
    text: Option<String>,
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

pub(super) async fn add(mut client: Client, args: AddArgs) -> anyhow::Result<u8> {
    let link: Link = args.link.parse()?;
    if let Door::Knock(_) = link.door {
        client.add_saying(&args.name, &link, args.text.as_deref().unwrap_or_default()).await?;
        output::say(&format!(
            "knocked; once {0} has seen it, `restante client receive` says that you can write to {0}",
            args.name
        ));
        return Ok(0);
    }
    if args.text.is_some() {
        let failure = Failure::new("this link lets you write at once, and carries no first word");
        return Err(failure.hint("`add` without a text, then `send`").code(2).into());
    }
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
        let state = |one: &ContactInfo| match (one.ready, one.knocked) {
            (true, _) => "ready",
            (false, true) => "knocked, no answer yet",
            (false, false) => "has not answered yet",
        };
        let rows: Vec<Vec<String>> = contacts
            .iter()
            .map(|one| vec![one.name.clone(), one.devices.to_string(), state(one).into(), one.account.to_string()])
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
