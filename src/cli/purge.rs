//! `restante purge`: removes what has expired, now, or says what would go.

use clap::Args;

use super::config::ConfigArgs;
use super::target::{Missing, on_target};
use super::{output, units};
use crate::admin::{PurgeReport, PurgeRequest};

/// `restante purge`.
#[derive(Debug, Args)]
#[command(
    after_help = "Expired envelopes are never delivered, purged or not: a purge is for the disk, and the relay does one by itself \
(retention.purge_schedule).\n\nExamples:\n  restante purge --dry-run\n  restante purge --older-than 3d      what was sent more than \
three days ago goes, too"
)]
pub(super) struct PurgeArgs {
    /// Only say what would go.
    #[arg(long)]
    dry_run: bool,
    /// Also remove what has waited for longer than this, read or not: 3d, 12h, 90m, 45s. Reckoned from the expiry, as if it
    /// had been sent for the whole retention.
    #[arg(long, value_name = "SPAN", value_parser = units::parse_span, allow_hyphen_values = true)]
    older_than: Option<u64>,
    /// Believe the wall clock, though it jumped.
    #[arg(long)]
    trust_clock: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) async fn run(args: PurgeArgs) -> anyhow::Result<u8> {
    let request = PurgeRequest { dry_run: args.dry_run, older_than_secs: args.older_than, trust_clock: args.trust_clock };
    let report = on_target(args.config, Missing::Refuse, async |target| target.purge(request).await).await?;
    if args.json {
        output::print_json(&report)?;
    } else {
        output::print_pairs(&table(&report))?;
    }
    Ok(0)
}

fn table(report: &PurgeReport) -> Vec<(&'static str, String)> {
    let removed = format!("{}, {} of bodies", units::count(report.envelopes, "envelope"), units::bytes(report.envelope_bytes),);
    let length = |bytes: u64| format!("{bytes} bytes ({})", units::bytes(bytes));
    let waiting = units::count(report.waiting, "envelope");
    if report.dry_run {
        let database = length(report.database_bytes_before);
        return vec![("would remove", removed), ("would still wait", waiting), ("database", database)];
    }
    vec![
        ("removed", removed),
        ("tokens, passes and accounts removed", report.others.to_string()),
        ("still waiting", waiting),
        ("database before", length(report.database_bytes_before)),
        ("database after", length(report.database_bytes_after)),
    ]
}
