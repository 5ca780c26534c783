//! The account's devices: listed, removed; and the digits by which an account is compared.

use clap::{Args, Subcommand};
use serde_json::json;

use super::super::{output, units};
use super::account::typed_words;
use crate::client::{Client, DeviceInfo};

/// `restante client devices`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct DevicesArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    command: Option<DevicesCommand>,
}

#[derive(Debug, Subcommand)]
enum DevicesCommand {
    /// Remove another device: what waits for it, its key and its sessions are gone at once.
    Remove(RemoveArgs),
}

/// `restante client devices remove`.
#[derive(Debug, Args)]
#[command(
    after_help = "A device that you removed has still seen the keys that the account's devices share. Where it is lost or \
stolen say --stolen: with the 24 words, read from stdin, the other devices get new ones.\n\nExamples:\n  restante client devices \
remove 3fA9\n  restante client devices remove 3fA9 --stolen < words.txt"
)]
struct RemoveArgs {
    /// The device's id, or its beginning.
    #[arg(allow_hyphen_values = true)]
    id: String,
    /// It is lost or stolen: renew the keys of all others, with the 24 words.
    #[arg(long)]
    stolen: bool,
}

/// `restante client digits`.
#[derive(Debug, Args)]
pub(super) struct DigitsArgs {
    /// A contact; the own account, where nobody is named.
    name: Option<String>,
}

pub(super) async fn devices(mut client: Client, args: DevicesArgs) -> anyhow::Result<u8> {
    if let Some(DevicesCommand::Remove(args)) = args.command {
        return remove(client, args).await;
    }
    let devices = client.devices().await?;
    if args.json {
        output::print_json(&json!({ "account": client.account_id(), "digits": client.digits(), "devices": devices }))?;
        return Ok(0);
    }
    let rows: Vec<Vec<String>> = devices.iter().map(row).collect();
    output::print_table(&["device", "", "last seen"], &rows)?;
    output::say(&format!("the account's digits: {}", client.digits()));
    Ok(0)
}

async fn remove(mut client: Client, args: RemoveArgs) -> anyhow::Result<u8> {
    if !args.stolen {
        let device = client.remove_device(&args.id).await?;
        output::say(&format!("removed {device}; if it is lost or stolen, say so with --stolen and the 24 words"));
        return Ok(0);
    }
    match client.remove_stolen(&args.id, &typed_words()?).await? {
        Some(device) => output::say(&format!("removed {device}; every other device gets new keys")),
        None => output::say("that device was gone already; every other one gets new keys"),
    }
    Ok(0)
}

pub(super) fn digits(client: &Client, args: &DigitsArgs) -> anyhow::Result<u8> {
    let digits = match &args.name {
        Some(name) => client.digits_of(name)?,
        None => client.digits(),
    };
    output::print(&digits)?;
    Ok(0)
}

fn row(info: &DeviceInfo) -> Vec<String> {
    let seen = info.seen_week.map_or("unknown to the relay".into(), |week| format!("week of {}", units::day(week * WEEK)));
    vec![info.device.to_string(), if info.this { "this one".into() } else { String::new() }, seen]
}

const WEEK: u64 = 604_800;

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::RemoveArgs;

    #[derive(Parser)]
    struct Remove {
        #[command(flatten)]
        args: RemoveArgs,
    }

    /// One id in 64 does, and was taken for a flag.
    #[test]
    fn an_id_may_begin_with_a_hyphen() {
        for (line, stolen) in [
            (&["remove", "-2tawF44lw9", "--stolen"][..], true),
            (&["remove", "--stolen", "-2tawF44lw9"], true),
            (&["remove", "--", "-2tawF44lw9"], false),
            (&["remove", "-2tawF44lw9"], false),
        ] {
            let Remove { args } = Remove::try_parse_from(line).expect("it parses");
            assert_eq!((args.id.as_str(), args.stolen), ("-2tawF44lw9", stolen), "{line:?}");
        }
    }
}
