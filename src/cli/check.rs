//! `restante check`: verifies a stopped relay's database, every row. The relay itself verifies each row as it reads it.

use clap::Args;

use super::config::ConfigArgs;
use super::failure::{DAMAGED, Failure};
use super::output;
use super::target::must_exist;
use crate::server;

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
        output::print(&report.to_string())?;
    }
    if report.good() {
        return Ok(0);
    }
    Err(Failure::new("the database is damaged").code(DAMAGED).into())
}
