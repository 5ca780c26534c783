//! Receipts: what contacts are told of the messages that came from them.

use clap::{Args, ValueEnum};

use super::super::output;
use crate::client::{Client, ReceiptSettings, Receipts};

/// `restante client receipts`.
#[derive(Debug, Args)]
#[command(
    after_help = "Without arguments it shows what is set. Receipts are held back for a random time and sent together: an \
instant answer to every message would tell a relay that watches its own traffic who talks with whom. They go out in time \
while `receive --follow` runs, and else with the next `receive` or `send`.\n\nExamples:\n  restante client receipts\n  \
restante client receipts delivered\n  restante client receipts read --delay 60..1800"
)]
pub(super) struct ReceiptsArgs {
    /// What contacts are told: nothing, that a message is safe here, or also that it was shown.
    told: Option<Told>,
    /// Hold them back for so many seconds, drawn anew for each batch; at most 3600.
    #[arg(long, value_name = "MIN..MAX", value_parser = span)]
    delay: Option<(u64, u64)>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Told {
    Off,
    Delivered,
    Read,
}

pub(super) async fn receipts(mut client: Client, args: ReceiptsArgs) -> anyhow::Result<u8> {
    let mut settings = client.receipts();
    if args.told.is_some() || args.delay.is_some() {
        settings.receipts = args.told.map_or(settings.receipts, Receipts::from);
        settings.delay_secs = args.delay.unwrap_or(settings.delay_secs);
        client.set_receipts(settings).await?;
    }
    if args.json {
        output::print_json(&settings)?;
    } else {
        output::print(&words(&settings))?;
    }
    Ok(0)
}

fn words(ReceiptSettings { receipts, delay_secs: (shortest, longest) }: &ReceiptSettings) -> String {
    let told = match receipts {
        Receipts::Off => return "off: contacts are told nothing".into(),
        Receipts::Delivered => "delivered: contacts are told when a message is safe here",
        Receipts::Read => "read: contacts are told when a message is safe here, and when it was shown",
    };
    format!("{told}; {shortest} to {longest} seconds later")
}

impl From<Told> for Receipts {
    fn from(told: Told) -> Self {
        match told {
            Told::Off => Self::Off,
            Told::Delivered => Self::Delivered,
            Told::Read => Self::Read,
        }
    }
}

/// Reads `5..120`; whether that is a span the library says.
fn span(text: &str) -> Result<(u64, u64), String> {
    let bounds = text.split_once("..").and_then(|(shortest, longest)| Some((digits(shortest)?, digits(longest)?)));
    bounds.ok_or_else(|| "expected two numbers of seconds: 5..120".to_string())
}

fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::span;

    #[test]
    fn a_span_is_two_numbers() {
        assert_eq!(span("5..120"), Ok((5, 120)));
        assert_eq!(span("0..0"), Ok((0, 0)));
        for bad in ["", "5", "..", "5..", "..5", "5...9", "-5..9", "5..+9", "5 .. 9", "5..9s", "5..99999999999999999999"] {
            assert!(span(bad).is_err(), "{bad}");
        }
    }
}
