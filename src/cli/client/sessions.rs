//! `restante client sessions`: which devices are logged in, and ending what should not be.

use clap::{Args, Subcommand};

use super::super::{Failure, output, units};
use crate::client::Client;
use crate::protocol::DeviceId;

/// `restante client sessions`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "A session lasts half an hour, and a client makes the next by itself: to shut a device out, remove it.\n\n\
Examples:\n  restante client sessions\n  restante client sessions revoke --all-others"
)]
pub(super) struct SessionsArgs {
    #[command(subcommand)]
    command: Option<SessionsCommand>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum SessionsCommand {
    /// End sessions, and whatever waits in them.
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
struct RevokeArgs {
    /// Of this device: its id, or enough of its beginning
    #[arg(required_unless_present = "all_others", conflicts_with = "all_others", allow_hyphen_values = true)]
    device: Option<String>,
    /// All but the one that asks
    #[arg(long)]
    all_others: bool,
}

pub(super) async fn sessions(mut client: Client, args: SessionsArgs) -> anyhow::Result<u8> {
    match args.command {
        Some(SessionsCommand::Revoke(args)) => revoke(&mut client, &args).await,
        None => list(&mut client, args.json).await,
    }
}

async fn list(client: &mut Client, json: bool) -> anyhow::Result<u8> {
    let mut sessions = client.sessions().await?;
    sessions.sort_by_key(|session| (!session.current, std::cmp::Reverse(session.last_used), session.device));
    if json {
        output::print_json(&sessions)?;
        return Ok(0);
    }
    let own = client.device_id();
    let rows = sessions.iter().map(|session| {
        let whose = match (session.current, session.device == own) {
            (true, _) => "this session",
            (false, true) => "this device",
            (false, false) => "",
        };
        // The relay itself knows no more than the hour.
        vec![session.device.to_string(), units::time(session.last_used), whose.to_string()]
    });
    output::print_table(&["device", "last used after", ""], &rows.collect::<Vec<_>>())?;
    Ok(0)
}

async fn revoke(client: &mut Client, args: &RevokeArgs) -> anyhow::Result<u8> {
    let revoked = match &args.device {
        Some(text) => {
            let device = device(client, text).await?;
            client.revoke_sessions(Some(device)).await?
        }
        None => client.revoke_sessions(None).await?,
    };
    output::say(&format!("{} ended", units::count(revoked, "session")));
    Ok(0)
}

/// The device of a session whose id is this, or alone begins so.
async fn device(client: &mut Client, text: &str) -> anyhow::Result<DeviceId> {
    if let Ok(device) = text.parse() {
        return Ok(device);
    }
    let mut devices: Vec<DeviceId> = client.sessions().await?.iter().map(|session| session.device).collect();
    devices.retain(|device| !text.is_empty() && device.encode().starts_with(text));
    devices.sort_unstable();
    devices.dedup();
    match devices.as_slice() {
        [device] => Ok(*device),
        [] => Err(Failure::new("no device that is logged in has an id like that")
            .hint("`restante client sessions` lists them")
            .into()),
        _ => Err(Failure::new("several devices have ids that begin so").hint("say more of it").into()),
    }
}
