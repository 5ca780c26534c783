//! The doctor's findings, a line each.

use clap::Args;

use super::super::output;
use crate::client::{Client, Health};

/// `restante client doctor`.
#[derive(Debug, Args)]
#[command(
    after_help = "Changes nothing, but that a notice of the relay's operator is kept for `receive`. Exit code 1 when something does not work."
)]
pub(super) struct DoctorArgs {
    /// Print JSON, one line a finding.
    #[arg(long)]
    json: bool,
}

pub(super) async fn doctor(mut client: Client, args: DoctorArgs) -> anyhow::Result<u8> {
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
