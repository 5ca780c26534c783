//! What a relay takes before anybody comes: its file, and its memory once it listens and rests.

use super::figures::{Bound, Section};
use super::relay::{Plan, Relay};
use crate::cli::output;

pub(super) async fn run(plan: &Plan) -> anyhow::Result<Section> {
    let mut section = Section::new("footprint");
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    section.round("binary", "MiB", mib(std::fs::metadata(std::env::current_exe()?)?.len()));
    for round in 1..=plan.rounds {
        output::say(&format!("footprint: round {round} of {}", plan.rounds));
        let relay = Relay::start(plan, 0).await?;
        let process = relay.process()?;
        process.quiet().await?;
        section.round("resident_idle", "MiB", mib(process.resident()?));
    }
    section.aim("binary", Bound::AtMost { floor: 12.0, aim: 9.0 });
    section.aim("resident_idle", Bound::AtMost { floor: 16.0, aim: 12.0 });
    Ok(section)
}
