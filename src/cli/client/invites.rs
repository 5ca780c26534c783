//! Invite links: made, listed, taken back.

use clap::{Args, Subcommand};
use serde_json::json;

use super::super::{Failure, output, qr, units};
use crate::client::{Client, InviteInfo, InviteOptions};

/// `restante client invite`.
#[derive(Debug, Args)]
#[command(
    after_help = "Whoever has the link can write to you, so give it by a way you trust. By a link for one person they can write at \
once; by one for several they knock, and are let in with your next `receive`, or with --ask once you `accept`.\n\nExamples:\n  \
restante client invite\n  restante client invite bob                 who comes by it is called bob here\n  restante client invite \
--uses 5 --expires 2d"
)]
pub(super) struct InviteArgs {
    /// What to call the person who comes by it.
    name: Option<String>,
    /// How many people may use it.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    uses: u64,
    /// How long it is good: 7d, 12h, 90m.
    #[arg(long, value_name = "SPAN", default_value = "7d", value_parser = units::parse_span)]
    expires: u64,
    /// Be asked about each who comes.
    #[arg(long)]
    ask: bool,
    /// Print a QR code, too; on a terminal it is printed anyway.
    #[arg(long, conflicts_with = "json")]
    qr: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// `restante client invites`.
#[derive(Debug, Args)]
pub(super) struct InvitesArgs {
    #[command(subcommand)]
    command: Option<InvitesCommand>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum InvitesCommand {
    /// Take a link back; who has come by it stays a contact.
    Revoke {
        /// Its id, as `invites` shows it.
        #[arg(required_unless_present = "all", allow_hyphen_values = true)]
        id: Option<String>,
        /// All of them.
        #[arg(long, conflicts_with = "id")]
        all: bool,
    },
}

pub(super) async fn invite(mut client: Client, args: InviteArgs) -> anyhow::Result<u8> {
    if args.name.is_some() && args.uses > 1 {
        let failure = Failure::new("a link for several people has one name for none of them");
        return Err(failure.hint("leave the name out; they are called what they call themselves").code(2).into());
    }
    let options = InviteOptions { name: args.name, uses: args.uses, secs: args.expires, ask: args.ask };
    let link = client.invite_with(options).await?.to_string();
    if args.json {
        output::print_json(&json!({ "link": link }))?;
        return Ok(0);
    }
    output::print(&link)?;
    qr::print(&link, args.qr)?;
    let people = if args.uses == 1 { "one person".to_string() } else { format!("{} people", args.uses) };
    let within = units::span(args.expires);
    output::say(&format!("for {people}, within {within}; they type: restante client add NAME 'LINK'"));
    Ok(0)
}

pub(super) async fn invites(mut client: Client, args: InvitesArgs) -> anyhow::Result<u8> {
    if let Some(InvitesCommand::Revoke { id, .. }) = args.command {
        let revoked = match client.revoke_invites(id.as_deref()).await {
            Err(error) if error.passes() => {
                output::say(&format!("forgotten here, but the relay could not be told yet: {error}"));
                return Ok(1);
            }
            done => done?,
        };
        output::say(&format!("{} taken back", units::count(revoked as u64, "link")));
        return Ok(0);
    }
    let invites = client.invites();
    if args.json {
        output::print_json(&invites)?;
    } else if invites.is_empty() {
        output::say("none is open: `restante client invite` makes one");
    } else {
        let came = |one: &InviteInfo| format!("{} of {}{}", one.came, one.uses, if one.ask { ", asks" } else { "" });
        let name = |one: &InviteInfo| one.name.clone().unwrap_or_else(|| "-".into());
        let row = |one: &InviteInfo| vec![one.id.clone(), name(one), came(one), units::time(one.expires_at)];
        output::print_table(&["id", "for", "came", "good until"], &invites.iter().map(row).collect::<Vec<_>>())?;
    }
    Ok(0)
}
