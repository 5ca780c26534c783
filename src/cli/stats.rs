//! `restante stats`: totals, from a running relay or a stopped one's file.

use clap::Args;

use super::config::ConfigArgs;
use super::target::{Missing, on_target};
use super::{output, units};
use crate::admin::Stats;

/// `restante stats`.
#[derive(Debug, Args)]
#[command(after_help = "Works while the relay runs and when it doesn't. Counts are totals; nothing here is about one account.")]
pub(super) struct StatsArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) async fn run(args: StatsArgs) -> anyhow::Result<u8> {
    let stats = on_target(args.config, Missing::Refuse, async |target| target.stats().await).await?;
    if args.json {
        output::print_json(&stats)?;
    } else {
        output::print_pairs(&table(&stats))?;
    }
    Ok(0)
}

fn table(stats: &Stats) -> Vec<(&'static str, String)> {
    let totals = &stats.totals;
    let oldest = stats.oldest_wait_hours.map_or_else(|| "nothing waits".into(), |hours| units::count(hours, "hour"));
    let purged = totals.purged_at.map_or_else(
        || "never".into(),
        |at| format!("{}, {} ago", units::time(at), units::about(stats.now.saturating_sub(at))),
    );
    let clock = if stats.clock_doubted {
        "the wall clock jumped and is not believed: see `restante purge --trust-clock`"
    } else {
        "in step with the wall clock"
    };
    let proxy = if stats.proxy_suspected {
        "all clients seem to come through one that is not named: set server.trusted_proxies"
    } else {
        "none that should be named and is not"
    };
    vec![
        ("waiting", format!("{}, {}", units::count(totals.envelopes, "envelope"), units::bytes(totals.envelope_bytes))),
        ("oldest wait", oldest),
        ("accounts", totals.accounts.to_string()),
        ("devices", totals.devices.to_string()),
        ("tokens", totals.tokens.to_string()),
        ("database", format!("{}, of which {} free", units::bytes(totals.database_bytes), units::bytes(totals.free_bytes))),
        ("log", units::bytes(totals.log_bytes)),
        ("damaged rows", totals.damaged.to_string()),
        ("last purge", purged),
        ("clock", clock.into()),
        ("proxy", proxy.into()),
    ]
}
