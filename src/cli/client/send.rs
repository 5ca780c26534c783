//! Sending, and the list of what was sent.

use std::io::Read;

use clap::Args;

use super::super::{Failure, output, units};
use crate::client::{Client, Delivery, Sent};

/// `restante client send`.
#[derive(Debug, Args)]
#[command(
    after_help = "Done (exit 0) means that it is on the relay's disk, for seven days or until it is fetched. What could \
not be sent is kept, and goes out with the next `send` or `receive`.\n\nExamples:\n  restante client send bob \"see you at \
eight\"\n  git log -1 | restante client send bob -"
)]
pub(super) struct SendArgs {
    /// To whom.
    name: String,
    /// What; `-` reads it from stdin.
    text: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// `restante client sent`.
#[derive(Debug, Args)]
#[command(after_help = "The relay does not say whether anybody fetched a message. A contact's device may, by a receipt: \
`delivered` when a device of theirs has it, `read` when it was shown. Receipts come late on purpose. `expired unread` means \
that none came while the message waited; a contact who sends no receipts looks the same. Texts are not kept.")]
pub(super) struct SentArgs {
    /// Print JSON, one line a message.
    #[arg(long)]
    json: bool,
}

pub(super) async fn send(mut client: Client, args: SendArgs) -> anyhow::Result<u8> {
    let text = if args.text == "-" { from_stdin()? } else { args.text };
    let sent = client.send(&args.name, &text).await?;
    if args.json {
        output::print_json(&sent)?;
    } else {
        output::say(&format!("to {}: {}", sent.to, state(&sent)));
    }
    Ok(0)
}

pub(super) fn sent(client: &Client, args: &SentArgs) -> anyhow::Result<u8> {
    let sent = client.sent();
    if args.json {
        for sent in &sent {
            output::print_json(sent)?;
        }
    } else if sent.is_empty() {
        output::say("nothing yet");
    } else {
        let rows: Vec<Vec<String>> = sent.iter().map(|sent| vec![units::time(sent.at), sent.to.clone(), state(sent)]).collect();
        output::print_table(&["when", "to", "state"], &rows)?;
    }
    Ok(0)
}

fn state(sent: &Sent) -> String {
    match &sent.state {
        Delivery::Queued => "queued here".into(),
        Delivery::Accepted { expires_at, full: 0 } => format!("accepted; waits until {}", units::time(*expires_at)),
        Delivery::Accepted { expires_at, full } => {
            format!("accepted; waits until {}; full mailboxes: {full}", units::time(*expires_at))
        }
        Delivery::Delivered { at } => format!("delivered; they said so {}", units::time(*at)),
        Delivery::Read { at } => format!("read; they said so {}", units::time(*at)),
        Delivery::ExpiredUnread { expires_at } => format!("expired unread {}", units::time(*expires_at)),
        Delivery::Failed { why } => format!("failed: {why}"),
    }
}

fn from_stdin() -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    std::io::stdin().take(STDIN_BYTES_MAX).read_to_end(&mut bytes)?;
    let mut text = String::from_utf8(bytes)
        .map_err(|_| Failure::new("what came on stdin is not UTF-8 text").hint("send a file as base64, or a link to it"))?;
    if text.ends_with('\n') {
        text.pop();
    }
    Ok(text)
}

/// Beyond every message; the library says by how much a text is too long.
const STDIN_BYTES_MAX: u64 = 1 << 20;
