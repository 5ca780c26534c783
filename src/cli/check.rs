//! `restante check`: verifies a stopped relay's database, every row. The relay itself verifies each row as it reads it.

use clap::Args;

use super::config::ConfigArgs;
use super::failure::{DAMAGED, Failure};
use super::output;
use super::target::must_exist;
use crate::server::{self, CheckReport};

/// `restante check`.
#[derive(Debug, Args)]
#[command(after_help = "Refuses while a relay runs on the data. Exit code 65 when anything is damaged.")]
pub(super) struct CheckArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(args: CheckArgs) -> anyhow::Result<u8> {
    let config = args.config.load()?.config;
    must_exist(&config)?;
    let report = server::check(&config)?;
    if args.json {
        output::print_json(&report)?;
    } else {
        output::print_pairs(&table(&report))?;
    }
    if report.good() {
        return Ok(0);
    }
    let failure = Failure::new("the database is damaged").code(DAMAGED);
    Err(failure.hint("keep a copy of the directory before anything else; the relay delivers what is sound in it").into())
}

fn table(report: &CheckReport) -> Vec<(&'static str, String)> {
    let list = |words: &[String]| if words.is_empty() { "none".to_string() } else { words.join("; ") };
    vec![
        ("envelopes read", report.envelopes.to_string()),
        ("damaged", report.damaged.to_string()),
        ("broken structure", list(&report.broken)),
        ("rows that point at nothing", report.dangling.to_string()),
        ("counters that are wrong", list(&report.miscounted)),
        ("pages with bytes of moved rows", report.residue.to_string()),
    ]
}
