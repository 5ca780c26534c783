//! The doctor's findings, a line each.

use clap::Args;

use super::super::{Failure, output};
use crate::client::{Client, Health};

/// `restante client doctor`.
#[derive(Debug, Args)]
#[command(
    after_help = "Changes nothing, but that a notice of the relay's operator is kept for `receive`. Exit code 1 when something does not work.\n\n\
A relay that was restored from a backup shows an older copy of what your devices keep together there (contacts, settings). This device \
refuses it. Once its operator has said that it is so, --accept-rollback writes what this device has over it; nothing that stands there is lost."
)]
pub(super) struct DoctorArgs {
    /// Take a relay's older copy of your own data for what it has now, and write this device's over it.
    #[arg(long)]
    accept_rollback: bool,
    /// Do not ask before that.
    #[arg(long, requires = "accept_rollback")]
    yes: bool,
    /// Print JSON, one line a finding.
    #[arg(long)]
    json: bool,
}

pub(super) async fn doctor(mut client: Client, args: DoctorArgs) -> anyhow::Result<u8> {
    if args.accept_rollback {
        accept_rollback(&mut client, &args).await?;
    }
    let checks = client.doctor().await?;
    for check in &checks {
        if args.json {
            output::print_json(check)?;
            continue;
        }
        let health = match check.health {
            Health::Ok => "ok  ",
            Health::Warn => "warn",
            Health::Fail => "fail",
        };
        let fix = check.fix.as_ref().map(|fix| format!("\n               {fix}")).unwrap_or_default();
        output::print(&format!("{health}  {:7}  {}{fix}", check.name, check.found))?;
    }
    Ok(u8::from(checks.iter().any(|check| check.health == Health::Fail)))
}

async fn accept_rollback(client: &mut Client, args: &DoctorArgs) -> anyhow::Result<()> {
    if !args.yes {
        output::say(
            "Go on only when the relay's operator says that it was restored from a backup: a relay that does it unasked hides something.",
        );
        let failure = match output::confirmed("write this device's contacts and settings over the relay's older copy? [y/N] ")?
        {
            Some(true) => None,
            Some(false) => Some(Failure::new("nothing was changed")),
            None => Some(Failure::new("this asks first, and can only do so on a terminal").hint("say --yes").code(2)),
        };
        if let Some(failure) = failure {
            return Err(failure.into());
        }
    }
    match client.accept_rollback().await? {
        true => output::say("written; your other devices find it there"),
        false => output::say("the relay shows no older copy; nothing was changed"),
    }
    Ok(())
}
