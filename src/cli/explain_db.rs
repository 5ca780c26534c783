//! `restante explain-db`: the leak ledger, each table and column with what it reveals and for how long, and the relay's own
//! rows as they lie on disk. Whoever takes the disk sees this and no more.

use clap::Args;

use super::config::ConfigArgs;
use super::output;
use super::target::{Missing, on_target};
use crate::admin::TableRows;

/// `restante explain-db`.
#[derive(Debug, Args)]
#[command(
    after_help = "Under each table: its columns, what each reveals to somebody who takes the disk, and for how long; then rows. Text and \
numbers are shown as they are, bytes as their length and the first of them in hexadecimal. The comments of schema.sql say what \
each column is for; docs/threat-model.md says what else lies in the data directory.

Examples:
  restante explain-db --rows 0    the ledger alone
  restante explain-db --json      tables with `reveals`, `ledger` (column, reveals, kept), `columns`, `count` and `rows`"
)]
pub(super) struct ExplainArgs {
    /// How many rows of each table to show, at most.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=100))]
    rows: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) async fn run(args: ExplainArgs) -> anyhow::Result<u8> {
    let tables = on_target(args.config, Missing::Refuse, async |target| target.rows(args.rows).await).await?;
    if args.json {
        output::print_json(&tables)?;
        return Ok(0);
    }
    for (at, table) in tables.iter().enumerate() {
        if at > 0 {
            output::print("")?;
        }
        show(table)?;
    }
    Ok(0)
}

fn show(table: &TableRows) -> anyhow::Result<()> {
    let more = table.count.saturating_sub(table.rows.len() as u64);
    let rows = super::units::count(table.count, "row");
    output::print(&format!("{} ({rows}): {}", output::bold(&table.table), table.reveals))?;
    let entries = table.ledger.iter().map(|entry| vec![entry.column.clone(), entry.reveals.clone(), entry.kept.clone()]);
    output::print_table(&["column", "reveals", "for how long"], &entries.collect::<Vec<_>>())?;
    if !table.rows.is_empty() {
        output::print("")?;
        let heads: Vec<&str> = table.columns.iter().map(String::as_str).collect();
        output::print_table(&heads, &table.rows)?;
        if more > 0 {
            output::print(&format!("… and {more} more"))?;
        }
    }
    Ok(())
}
