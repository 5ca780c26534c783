//! Linking a device: the account line, the code, the approval.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::super::{Failure, output, qr};
use super::code::CodeArgs;
use crate::client::{AccountLine, Client, Dial, LinkCode, Linking, Options, Origin};

/// `restante client link`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "On a device that you have:     restante client link invite\nOn the new one:                restante client link \
--account 'restante:account1?…'\nAnd with the code it shows:    restante client link approve 'restante:link1?…'\n\nBoth screens show \
the account's digits and the new device's id: they must be the same. A code is good for ten minutes, and once."
)]
pub(super) struct LinkArgs {
    /// What `link invite` printed on a device of the account.
    #[arg(long, value_name = "LINE", required = true)]
    account: Option<String>,
    /// Dial the relay by another address than that one does.
    #[arg(long, value_name = "URL")]
    relay: Option<String>,
    /// Trust the certificates in this file (PEM) in the place of the built-in ones.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Allow plain http beyond this machine.
    #[arg(long)]
    plain: bool,
    /// Show a QR code even where stdout is no terminal.
    #[arg(long)]
    qr: bool,
    /// Print JSON: the code at first, the account at the end.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    command: Option<LinkCommand>,
}

#[derive(Debug, Subcommand)]
enum LinkCommand {
    /// Print the line that a new device is given; no secret.
    Invite(InviteArgs),
    /// Let in the device whose code this is.
    Approve(ApproveArgs),
}

/// `restante client link invite`.
#[derive(Debug, Args)]
struct InviteArgs {
    /// Show a QR code even where stdout is no terminal.
    #[arg(long)]
    qr: bool,
}

/// `restante client link approve`.
#[derive(Debug, Args)]
#[command(
    after_help = "Shows the account's digits and the new device's id, and asks whether the new device shows the same: whoever could put \
another code in the place of yours would get into the account. A script that has compared them says --yes.\n\nWhere the second factor \
is on it asks for a code of that, too (--code)."
)]
struct ApproveArgs {
    /// What `client link` shows on the new device.
    #[arg(value_name = "CODE")]
    shown: String,
    /// Do not ask whether the digits are the same; for scripts that have compared them.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    second: CodeArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) async fn link(profile: &Path, args: LinkArgs) -> anyhow::Result<u8> {
    match args.command {
        Some(LinkCommand::Invite(args)) => invite(&Client::open(profile).await?, &args),
        Some(LinkCommand::Approve(args)) => approve(Client::open(profile).await?, args).await,
        None => join(profile, args).await,
    }
}

fn invite(client: &Client, args: &InviteArgs) -> anyhow::Result<u8> {
    output::say("on the new device: restante client link --account LINE");
    output::say(&format!("it must show these digits: {}", client.digits()));
    qr::show(&client.account_line().to_string(), args.qr)?;
    Ok(0)
}

async fn approve(mut client: Client, args: ApproveArgs) -> anyhow::Result<u8> {
    let code: LinkCode = args.shown.parse()?;
    client.check_code(&code)?;
    if !args.yes {
        output::say(&format!("device  {}\ndigits  {}", code.device(), client.digits()));
        let asked = output::confirmed("\ndoes the new device show the same two? [y/N] ")?;
        let failure = match asked {
            Some(true) => None,
            Some(false) => Some(Failure::new("the device was not let in").hint("nothing was changed; its code ends by itself")),
            None => {
                Some(Failure::new("whether the digits are the same can only be asked on a terminal").hint(COMPARED).code(2))
            }
        };
        if let Some(failure) = failure {
            return Err(failure.into());
        }
    }
    let device = args.second.elevated(&mut client, async |client| client.approve(&code).await).await?;
    if args.json {
        output::print_json(&json!({ "device": device, "digits": client.digits() }))?;
        return Ok(0);
    }
    output::print_pairs(&[("let in", device.to_string()), ("digits", client.digits())])?;
    output::say("it has your contacts in a moment; `restante client devices` lists what belongs to the account");
    Ok(0)
}

const COMPARED: &str = "compare what both devices show, and say so with --yes";

async fn join(profile: &Path, args: LinkArgs) -> anyhow::Result<u8> {
    let line: AccountLine = args.account.as_deref().unwrap_or_default().parse()?;
    let origin = args.relay.as_deref().map(Origin::parse).transpose()?.unwrap_or_else(|| line.origin.clone());
    let read = |file: &PathBuf| {
        std::fs::read_to_string(file).map_err(|error| Failure::new(format!("{} cannot be read: {error}", file.display())))
    };
    let ca = args.ca.as_ref().map(read).transpose()?;
    let options = Options { dial: Dial { origin: origin.clone(), ca, plain: args.plain }, ..Options::new(origin) };
    let linking = Linking::begin(profile, options, &line).await?;
    let code = linking.code();
    if args.json {
        let (device, digits, expires_at) = (linking.device_id(), linking.digits(), code.expires_at);
        output::print_json(&json!({ "code": code.to_string(), "device": device, "digits": digits, "expires_at": expires_at }))?;
    } else {
        qr::show(&code.to_string(), args.qr)?;
        output::say(&format!("\ndevice  {}\ndigits  {}", linking.device_id(), linking.digits()));
        output::say("\non a device of the account: restante client link approve CODE; waiting for ten minutes");
    }
    let client = linking.wait().await?;
    if args.json {
        output::print_json(&json!({ "account": client.account_id(), "device": client.device_id(), "profile": profile }))?;
    } else {
        output::say(&format!("done: this is a device of {} now, in {}", client.account_id(), profile.display()));
    }
    Ok(0)
}
