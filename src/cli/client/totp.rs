//! `restante client totp`: the second factor on, off, and whether it is.

use clap::{Args, Subcommand};
use serde_json::json;

use super::super::{Failure, output, qr, units};
use super::code::{self, CodeArgs};
use crate::client::{Client, TotpSetup};

/// `restante client totp`.
#[derive(Debug, Subcommand)]
pub(super) enum TotpCommand {
    /// Turn it on: shows a secret for your authenticator, and asks for a code of it.
    On(OnArgs),
    /// Turn it off.
    Off(OffArgs),
    /// Say whether it is on, and how many recovery codes are left.
    Status(StatusArgs),
}

/// `restante client totp on`.
#[derive(Debug, Args)]
#[command(after_help = "From then on a code is asked for before a device is added, the handle is changed, the account is \
deleted or the second factor is changed: what somebody with your phone could do to you. Never to log in, to send, to receive or to \
remove a device. Without a terminal it takes two steps:\n\n  restante client totp on --json          the secret; good for ten \
minutes\n  restante client totp on --code 123456   prints the recovery codes")]
pub(super) struct OnArgs {
    /// A code of the secret that was shown before: turns it on
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
    /// Print JSON, and ask nothing
    #[arg(long)]
    json: bool,
}

/// `restante client totp off`.
#[derive(Debug, Args)]
pub(super) struct OffArgs {
    #[command(flatten)]
    code: CodeArgs,
}

/// `restante client totp status`.
#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn totp(mut client: Client, command: TotpCommand) -> anyhow::Result<u8> {
    match command {
        TotpCommand::On(args) => on(&mut client, &args).await?,
        TotpCommand::Off(args) => {
            let was_on = args.code.elevated(&mut client, async |client| client.remove_totp().await).await?;
            output::say(if was_on { "the second factor is off" } else { "the second factor was off" });
        }
        TotpCommand::Status(args) => status(&mut client, &args).await?,
    }
    Ok(0)
}

async fn on(client: &mut Client, args: &OnArgs) -> anyhow::Result<()> {
    // Where one is on already, its code comes by the environment or the terminal: `--code` is of the new one.
    let current = CodeArgs::from_environment();
    if let Some(code) = &args.code {
        let codes = current.elevated(client, async |client| client.confirm_totp(code.trim()).await).await?;
        return show_codes(&codes, args.json);
    }
    let setup = current.elevated(client, async |client| client.generate_totp().await).await?;
    show_setup(&setup, args.json)?;
    let confirmed = match args.json {
        true => None,
        false => code::ask(client, "code that it shows: ", async |client, code| client.confirm_totp(code).await).await?,
    };
    match confirmed {
        Some(codes) => show_codes(&codes, false),
        None => {
            let until = units::time(setup.expires_at);
            output::say(&format!("nothing is on yet: `restante client totp on --code CODE` turns it on, until {until}"));
            Ok(())
        }
    }
}

fn show_setup(setup: &TotpSetup, json: bool) -> anyhow::Result<()> {
    if json {
        let (secret, uri) = (setup.secret(), setup.uri());
        return output::print_json(&json!({"secret": secret, "uri": uri, "expires_at": setup.expires_at}));
    }
    output::say("scan this with an authenticator, or type the secret into it:");
    qr::print(&setup.uri(), false)?;
    output::print_pairs(&[("secret", setup.secret()), ("uri", setup.uri())])
}

fn show_codes(codes: &[String], json: bool) -> anyhow::Result<()> {
    if json {
        return output::print_json(&json!({"recovery_codes": codes}));
    }
    output::say("the second factor is on. If you lose your authenticator, each of these codes takes its place once.");
    output::say("Write them down now, and not beside it; they are shown once:\n");
    output::print(&codes.join("\n"))
}

async fn status(client: &mut Client, args: &StatusArgs) -> anyhow::Result<()> {
    let offered = client.info().await?.features.iter().any(|feature| feature == "totp");
    if !offered {
        return Err(Failure::new("this relay has no second factor").into());
    }
    let account = client.account().await?;
    if args.json {
        return output::print_json(&json!({"totp": account.totp, "recovery_codes": account.recovery_codes}));
    }
    output::print(&match account.totp {
        true => format!("on; {} left", units::count(account.recovery_codes, "recovery code")),
        false => "off".into(),
    })
}
