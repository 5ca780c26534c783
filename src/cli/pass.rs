//! `restante pass`: codes with which people register where registration is not open. The relay keeps a hash of each.

use clap::{Args, Subcommand};

use super::config::ConfigArgs;
use super::failure::Failure;
use super::target::{Missing, on_target};
use super::{output, units};
use crate::admin::PassRequest;

/// `restante pass`.
#[derive(Debug, Subcommand)]
pub(super) enum PassCommand {
    /// Make a pass and print its code; it is shown this once.
    Create(CreateArgs),
    /// List the passes that are still good, by their hashes.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// End a pass, named by its code or by the hash in the list.
    Revoke {
        /// The code, or the hash.
        #[arg(value_name = "CODE|HASH", allow_hyphen_values = true)]
        pass: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        config: ConfigArgs,
    },
}

/// `restante pass create`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  restante pass create --uses 5 --expires 2d\n  restante client init --relay … --pass CODE    what the newcomer types"
)]
pub(super) struct CreateArgs {
    /// How many registrations it is good for.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    uses: u64,
    /// For how long: 3d, 12h, 90m, 45s.
    #[arg(long, value_name = "SPAN", default_value = "7d", value_parser = units::parse_span, allow_hyphen_values = true)]
    expires: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) async fn run(command: PassCommand) -> anyhow::Result<u8> {
    match command {
        PassCommand::Create(args) => create(args).await,
        PassCommand::List { json, config } => list(json, config).await,
        PassCommand::Revoke { pass, json, config } => revoke(&pass, json, config).await,
    }
}

async fn create(args: CreateArgs) -> anyhow::Result<u8> {
    let request = PassRequest { uses: args.uses, expires_in_secs: args.expires };
    let pass = on_target(args.config, Missing::Make, async |target| target.create_pass(request).await).await?;
    if args.json {
        output::print_json(&pass)?;
        return Ok(0);
    }
    output::print(&pass.code)?;
    let uses = units::count(pass.uses, "registration");
    output::say(&format!("good for {uses} until {}; the code is shown this once", units::time(pass.expires_at)));
    Ok(0)
}

async fn list(json: bool, config: ConfigArgs) -> anyhow::Result<u8> {
    let passes = on_target(config, Missing::Refuse, async |target| target.passes().await).await?;
    if json {
        output::print_json(&passes)?;
    } else if passes.is_empty() {
        output::say("no pass is good at present; `restante pass create` makes one");
    } else {
        let row = |pass: &crate::admin::PassItem| {
            vec![pass.hash.to_string(), pass.uses_left.to_string(), units::time(pass.expires_at)]
        };
        let rows: Vec<Vec<String>> = passes.iter().map(row).collect();
        output::print_table(&["hash", "uses left", "good until"], &rows)?;
    }
    Ok(0)
}

async fn revoke(pass: &str, json: bool, config: ConfigArgs) -> anyhow::Result<u8> {
    if !on_target(config, Missing::Refuse, async |target| target.revoke_pass(pass).await).await? {
        let failure = Failure::new("there is no such pass");
        return Err(failure.hint("`restante pass list` shows the hashes of those that are good").into());
    }
    if json {
        output::print_json(&serde_json::json!({ "revoked": true }))?;
    } else {
        output::say("revoked");
    }
    Ok(0)
}
