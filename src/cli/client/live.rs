//! Typing and presence: turned on for one contact at a time, and said.

use clap::{Args, ValueEnum};

use super::super::output;
use crate::client::{Client, LiveSettings};

/// `restante client live`.
#[derive(Debug, Args)]
#[command(
    after_help = "Without on or off it shows what is set. Both are off at first: whatever is sent while you are there tells a \
relay that watches its own traffic that you two are there at one time.\n\nExamples:\n  restante client live bob\n  restante \
client live bob on\n  restante client live bob off --presence"
)]
pub(super) struct LiveArgs {
    /// Whom.
    name: String,
    /// Whether they may see it.
    switch: Option<Switch>,
    /// Only that you are writing to them.
    #[arg(long, requires = "switch")]
    typing: bool,
    /// Only that you are here.
    #[arg(long, requires = "switch")]
    presence: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

/// `restante client typing`.
#[derive(Debug, Args)]
#[command(
    after_help = "Reaches them only while they are there, and only where `restante client live NAME on` allows it. They \
forget it after ten seconds; say it again while you write."
)]
pub(super) struct TypingArgs {
    /// To whom.
    name: String,
    /// That you write no longer.
    #[arg(long)]
    stop: bool,
}

pub(super) async fn live(mut client: Client, args: LiveArgs) -> anyhow::Result<u8> {
    let mut settings = client.live(&args.name)?;
    if let Some(switch) = args.switch {
        let both = args.typing == args.presence;
        if args.typing || both {
            settings.typing = switch == Switch::On;
        }
        if args.presence || both {
            settings.presence = switch == Switch::On;
        }
        client.set_live(&args.name, settings).await?;
    }
    if args.json {
        output::print_json(&settings)?;
    } else {
        output::print_pairs(&words(settings))?;
    }
    Ok(0)
}

pub(super) async fn typing(mut client: Client, args: TypingArgs) -> anyhow::Result<u8> {
    client.typing(&args.name, !args.stop).await?;
    Ok(0)
}

fn words(settings: LiveSettings) -> [(&'static str, String); 2] {
    let word = |on| if on { "on" } else { "off" }.to_string();
    [("typing", word(settings.typing)), ("presence", word(settings.presence))]
}
