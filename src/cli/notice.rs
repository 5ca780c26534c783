//! `restante notice`: what the operator has to say to everybody who uses the relay, signed with its key.

use std::io::Read;

use clap::{Args, Subcommand};

use super::config::ConfigArgs;
use super::failure::Failure;
use super::target::{Missing, on_target};
use super::{output, units};
use crate::protocol::info::{BadNotice, check_notice};

/// `restante notice`.
#[derive(Debug, Subcommand)]
pub(super) enum NoticeCommand {
    /// Say something to everybody: clients show it once, as the operator's words.
    Set(SetArgs),
    /// Take the notice back; who was shown it keeps it.
    Clear {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Show the notice that stands.
    Show {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        config: ConfigArgs,
    },
}

/// `restante notice set`.
#[derive(Debug, Args)]
#[command(
    after_help = "At most 1,000 bytes, in the place of the notice before. Anybody can read it, with or without an account. \
Works while the relay runs and when it doesn't.\n\nExamples:\n  restante notice set \"down for an hour on Sunday, from 8:00 \
UTC\"\n  restante notice set - < notice.txt"
)]
pub(super) struct SetArgs {
    /// What; `-` reads it from stdin.
    #[arg(value_name = "TEXT")]
    text: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) async fn run(command: NoticeCommand) -> anyhow::Result<u8> {
    match command {
        NoticeCommand::Set(args) => set(args).await,
        NoticeCommand::Clear { json, config } => clear(json, config).await,
        NoticeCommand::Show { json, config } => show(json, config).await,
    }
}

async fn set(args: SetArgs) -> anyhow::Result<u8> {
    let text = if args.text == "-" { from_stdin()? } else { args.text };
    check_notice(&text).map_err(refused)?;
    let notice = on_target(args.config, Missing::Refuse, async |target| target.set_notice(&text).await).await?;
    if args.json {
        output::print_json(&notice)?;
    } else {
        output::say(&format!("set at {}; clients show it once", units::time(notice.set_at)));
    }
    Ok(0)
}

async fn clear(json: bool, config: ConfigArgs) -> anyhow::Result<u8> {
    let cleared = on_target(config, Missing::Refuse, async |target| target.clear_notice().await).await?;
    if json {
        output::print_json(&serde_json::json!({"cleared": cleared}))?;
    } else {
        output::say(if cleared { "cleared" } else { "there was no notice" });
    }
    Ok(0)
}

async fn show(json: bool, config: ConfigArgs) -> anyhow::Result<u8> {
    let notice = on_target(config, Missing::Refuse, async |target| target.info().await).await?.notice;
    match notice {
        _ if json => output::print_json(&notice)?,
        Some(notice) => {
            output::print(&notice.text)?;
            output::say(&format!("set at {}", units::time(notice.set_at)));
        }
        None => output::say("there is no notice; `restante notice set TEXT` makes one"),
    }
    Ok(0)
}

fn from_stdin() -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    std::io::stdin().take(STDIN_BYTES_MAX).read_to_end(&mut bytes)?;
    let mut text = String::from_utf8(bytes).map_err(|_| Failure::new("what came from stdin is not UTF-8"))?;
    text.truncate(text.trim_end_matches('\n').len());
    Ok(text)
}

fn refused(error: BadNotice) -> Failure {
    let hint = match error {
        BadNotice::Empty => "`restante notice clear` takes the notice back",
        BadNotice::TooLong(_) => "shorten it, and give the address of a page that says more",
        BadNotice::Control('\r') => "write its lines with \\n alone: `tr -d '\\r' < notice.txt | restante notice set -`",
        BadNotice::Control(_) => "leave out tabs, colours and the like: clients show plain text",
    };
    Failure::new(error.to_string()).hint(hint)
}

/// Beyond every notice; how much too long a text is should still be said.
const STDIN_BYTES_MAX: u64 = 1 << 20;
