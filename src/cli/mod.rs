//! The roof: `restante`'s commands, a file each. Data goes to stdout, words go to stderr, and `--json` is everywhere where
//! there is data.
//!
//! Errors are `anyhow` here and nowhere below. A command returns its exit code, or an error that [`report`] prints with its
//! hint and turns into one.

#[cfg(feature = "server")]
mod account;
#[cfg(feature = "server")]
mod bench;
#[cfg(feature = "server")]
mod check;
#[cfg(feature = "server")]
#[cfg_attr(not(feature = "client"), allow(dead_code, reason = "the demo, which needs both, shows more of a relay"))]
mod child;
#[cfg(feature = "client")]
pub mod client;
mod completions;
#[cfg(feature = "server")]
mod config;
#[cfg(all(feature = "server", feature = "client"))]
mod demo;
#[cfg(feature = "server")]
mod explain_db;
mod failure;
#[cfg(feature = "server")]
mod healthcheck;
#[cfg(feature = "server")]
mod notice;
#[cfg_attr(not(feature = "server"), allow(dead_code, reason = "the client alone prints less than the relay's commands"))]
mod output;
#[cfg(feature = "server")]
mod pass;
#[cfg(feature = "server")]
mod purge;
#[cfg(feature = "client")]
mod qr;
#[cfg(feature = "server")]
mod serve;
#[cfg(feature = "server")]
mod stats;
#[cfg(feature = "server")]
mod target;
#[cfg_attr(not(feature = "server"), allow(dead_code, reason = "the client alone prints less than the relay's commands"))]
mod units;

use std::ffi::OsString;

use clap::{CommandFactory, Parser, Subcommand};

pub use failure::{Failure, report};

/// `restante`.
#[derive(Debug, Parser)]
#[command(
    name = "restante",
    version,
    about = "A zero-knowledge relay: sealed envelopes wait at the counter until they are called for.",
    after_help = AFTER_HELP,
    max_term_width = 100,
    disable_help_subcommand = false,
    arg_required_else_help = true
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a relay; needs no configuration.
    #[cfg(feature = "server")]
    Serve(serve::ServeArgs),
    /// Send and receive: the client.
    #[cfg(feature = "client")]
    Client(client::ClientArgs),
    /// Show, check or print the relay's configuration.
    #[cfg(feature = "server")]
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Make, list and revoke passes: codes with which people register.
    #[cfg(feature = "server")]
    #[command(subcommand)]
    Pass(pass::PassCommand),
    /// List, suspend, resume and delete accounts, by their opaque ids.
    #[cfg(feature = "server")]
    #[command(subcommand)]
    Account(account::AccountCommand),
    /// Say something to everybody who uses the relay.
    #[cfg(feature = "server")]
    #[command(subcommand)]
    Notice(notice::NoticeCommand),
    /// Remove what has expired, now.
    #[cfg(feature = "server")]
    Purge(purge::PurgeArgs),
    /// Show totals; never anything about one account.
    #[cfg(feature = "server")]
    Stats(stats::StatsArgs),
    /// Verify every row of a stopped relay's database.
    #[cfg(feature = "server")]
    Check(check::CheckArgs),
    /// Show the relay's own rows: what somebody who takes the disk would see.
    #[cfg(feature = "server")]
    ExplainDb(explain_db::ExplainArgs),
    /// Ask a relay whether it can do its job: for containers and monitoring.
    #[cfg(feature = "server")]
    Healthcheck(healthcheck::HealthcheckArgs),
    /// See the whole of it in three seconds: a relay, two people, a message that waits and vanishes.
    #[cfg(all(feature = "server", feature = "client"))]
    Demo(demo::DemoArgs),
    /// Measure a relay on this machine: sends, receiving, idle memory, latency, reconnects.
    #[cfg(feature = "server")]
    Bench(bench::BenchArgs),
    /// Print a completion script for a shell.
    Completions(completions::CompletionsArgs),
    /// Print the version and what this program was built with.
    Version,
}

/// Reads the command line. Help and version are printed here (code 0), and so is what is wrong with it (code 2).
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, u8> {
    Cli::try_parse_from(args).map_err(|error| output::usage(&error))
}

/// Runs a command to its end and gives its exit code.
pub fn run(cli: Cli) -> anyhow::Result<u8> {
    match cli.command {
        #[cfg(feature = "server")]
        Command::Serve(args) => serve::run(args),
        #[cfg(feature = "client")]
        Command::Client(args) => block_on(client::run(args)),
        #[cfg(feature = "server")]
        Command::Config(command) => config::run(command),
        #[cfg(feature = "server")]
        Command::Pass(command) => block_on(pass::run(command)),
        #[cfg(feature = "server")]
        Command::Account(command) => block_on(account::run(command)),
        #[cfg(feature = "server")]
        Command::Notice(command) => block_on(notice::run(command)),
        #[cfg(feature = "server")]
        Command::Purge(args) => block_on(purge::run(args)),
        #[cfg(feature = "server")]
        Command::Stats(args) => block_on(stats::run(args)),
        #[cfg(feature = "server")]
        Command::Check(args) => check::run(args),
        #[cfg(feature = "server")]
        Command::ExplainDb(args) => block_on(explain_db::run(args)),
        #[cfg(feature = "server")]
        Command::Healthcheck(args) => block_on(healthcheck::run(args)),
        #[cfg(all(feature = "server", feature = "client"))]
        Command::Demo(args) => block_on(demo::run(args)),
        #[cfg(feature = "server")]
        Command::Bench(args) => bench::run(args),
        Command::Completions(args) => completions::run(args, &mut Cli::command()),
        Command::Version => {
            output::print(&format!("restante {} ({})", env!("CARGO_PKG_VERSION"), BUILT_WITH.join(", ")))?;
            Ok(0)
        }
    }
}

/// Runs a command that needs no more than one thread.
#[cfg(any(feature = "server", feature = "client"))]
fn block_on(command: impl Future<Output = anyhow::Result<u8>>) -> anyhow::Result<u8> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(command)
}

const BUILT_WITH: &[&str] = &[
    #[cfg(feature = "server")]
    "server",
    #[cfg(feature = "client")]
    "client",
];

const AFTER_HELP: &str = "\
Examples:
  restante demo                                see all of it, in three seconds
  restante serve                               a relay on 127.0.0.1:8484, data in ./restante-data
  restante client init --relay http://127.0.0.1:8484
  restante stats --json                        totals, whether the relay runs or not
  restante purge --older-than 3d --dry-run     what a purge would remove
  restante pass create --uses 5 --expires 2d   a code for five registrations
  restante account suspend 8sK2                keeps the account whose id begins so out
  restante notice set 'down on Sunday'         what clients show, as the operator's words
  restante bench send idle --json              what a relay bears on this machine

Exit codes:
   0  done                          70  the disk failed, and the relay stopped itself
   1  refused or failed             73  a file or directory cannot be made
   2  wrong usage                   75  a relay runs on this data already
  65  the database is not ours,     77  not permitted
      is newer, or is damaged       78  wrong configuration

Variables: RESTANTE_CONFIG names the configuration, RESTANTE_<SECTION>__<KEY> overrides a key of it,
RESTANTE_LOG says how much is logged, NO_COLOR takes the colours away.";
