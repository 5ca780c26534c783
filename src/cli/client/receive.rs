//! Receiving: show each event, note that it was shown, and tell the relay to forget.
//!
//! The order is the library's (`client::receive`): what is printed here is on disk already; it is noted as shown once
//! stdout took it, or the command given with `--exec` succeeded; only then is the relay told.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;

use super::super::{Failure, output, units};
use super::harmless;
use crate::client::{Client, Event, Heard, Live, Subscription, What};

/// `restante client receive`.
#[derive(Debug, Args)]
#[command(
    after_help = "Messages go to stdout, everything else to stderr. A message is shown once; the relay forgets it after \
that, and this profile too.\n\nWith --exec, CMD is run by sh for each message: the text on stdin, and in the environment \
RESTANTE_FROM, RESTANTE_ACCOUNT, RESTANTE_DEVICE, RESTANTE_SENT_AT, RESTANTE_NUMBER. When CMD fails, the message stays and is \
given to it again next time.\n\nExamples:\n  restante client receive\n  restante client receive --wait 25\n  restante client \
receive --follow --json | jq .\n  restante client receive --follow --exec 'cat >> inbox.txt'"
)]
pub(super) struct ReceiveArgs {
    /// Where nothing waits, wait so many seconds for something.
    #[arg(long, value_name = "SECS", default_value_t = 0, conflicts_with = "follow")]
    wait: u64,
    /// Go on until stopped.
    #[arg(long)]
    follow: bool,
    /// Print every event as a line of JSON.
    #[arg(long)]
    json: bool,
    /// Give each message to a command in the place of printing it.
    #[arg(long, value_name = "CMD", conflicts_with = "json")]
    exec: Option<String>,
}

pub(super) async fn receive(mut client: Client, args: ReceiveArgs) -> anyhow::Result<u8> {
    if args.follow {
        return follow(client, &args).await;
    }
    let deadline = Instant::now().checked_add(Duration::from_secs(args.wait));
    let mut shown_any = false;
    loop {
        let wait = if shown_any { 0 } else { seconds_until(deadline).min(POLL_SECS) };
        let events = client.receive(wait).await?;
        if events.is_empty() && (shown_any || seconds_until(deadline) == 0) {
            return Ok(0);
        }
        for event in &events {
            show(event, &args)?;
            client.shown(event).await?;
            shown_any = true;
        }
    }
}

/// Until somebody stops it.
async fn follow(mut client: Client, args: &ReceiveArgs) -> anyhow::Result<u8> {
    let mut subscription = Subscription::new();
    loop {
        match subscription.next(&mut client).await? {
            Heard::Events(events) => {
                for event in &events {
                    show(event, args)?;
                    client.shown(event).await?;
                }
            }
            Heard::Live(live) if args.json => output::print_json(&live)?,
            Heard::Live(live) => output::say(&format!("restante: {}", live_words(&live))),
            Heard::FellBack(_) => {
                output::say("restante: streams do not pass between here and the relay; polling in their place");
            }
            Heard::Trouble(error) => output::say(&format!("restante: {error}; trying again until it answers")),
            Heard::Back => output::say("restante: the relay answers again"),
        }
    }
}

fn show(event: &Event, args: &ReceiveArgs) -> anyhow::Result<()> {
    if args.json {
        return output::print_json(event);
    }
    if let What::SentElsewhere { to, sent_at, text, .. } = &event.what
        && args.exec.is_none()
    {
        return output::print(&format!("{}  you (other device) → {to}: {}", units::time(*sent_at), harmless(text)));
    }
    let What::Text { from, sent_at, text, .. } = &event.what else {
        output::say(&format!("restante: {}", words(&event.what)));
        return Ok(());
    };
    match &args.exec {
        Some(command) => execute(command, event),
        None => output::print(&format!("{}  {from}: {}", units::time(*sent_at), harmless(text))),
    }
}

fn execute(command: &str, event: &Event) -> anyhow::Result<()> {
    let What::Text { from, account, device, sent_at, text, .. } = &event.what else { return Ok(()) };
    let cannot = |error: std::io::Error| Failure::new(format!("the command cannot be run: {error}"));
    let mut child = Command::new("sh")
        .args(["-c", command])
        .env("RESTANTE_FROM", from)
        .env("RESTANTE_ACCOUNT", account.to_string())
        .env("RESTANTE_DEVICE", device.to_string())
        .env("RESTANTE_SENT_AT", sent_at.to_string())
        .env("RESTANTE_NUMBER", event.number.to_string())
        .stdin(Stdio::piped())
        .spawn()
        .map_err(cannot)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that does not read its stdin may do so.
        stdin.write_all(text.as_bytes()).ok();
    }
    let status = child.wait().map_err(cannot)?;
    if !status.success() {
        let failure = Failure::new(format!("the command failed ({status})"));
        return Err(failure.hint("the message stays here, and is given to it again by the next `receive`").into());
    }
    Ok(())
}

fn live_words(live: &Live) -> String {
    match live {
        Live::Typing { from, active: true } => format!("{from} is writing"),
        Live::Typing { from, active: false } => format!("{from} writes no longer"),
        Live::Presence { from, online: true } => format!("{from} is here"),
        Live::Presence { from, online: false } => format!("{from} is leaving"),
    }
}

fn words(what: &What) -> String {
    match what {
        What::Text { from, .. } => format!("{from} wrote"),
        What::Knock { knock: number, name, handle, known_as, text, .. } => {
            let who = super::doors::who(name.as_deref(), handle.as_deref(), known_as.as_deref());
            let said = if text.is_empty() { "without a word".to_string() } else { format!("and says:\n  {}", harmless(text)) };
            format!("{who} knocks, {said}\n  `restante client accept {number}` lets them in; or `decline`, or `block`")
        }
        What::ContactAdded { from, .. } => format!("{from} came by your link, and is a contact now"),
        What::ContactReady { from } => format!("{from} has answered"),
        What::SentElsewhere { to, .. } => format!("another device of yours wrote to {to}"),
        What::DevicesChanged { from, added, removed: 0 } => {
            format!("{from} added {}; ask them if that surprises you", devices(*added))
        }
        What::DevicesChanged { from, added: 0, removed } => format!("{from} removed {}", devices(*removed)),
        What::DevicesChanged { from, added, removed } => {
            format!("{from}'s devices changed: {added} new, {removed} gone; ask them if that surprises you")
        }
        What::Fork { from } => format!(
            "two device lists of {from} bear the same version: the relay or {from} shows different people different truths; \
             compare with them by another way"
        ),
        What::ListBehind { from } => format!(
            "the relay shows an older list of {from}'s devices than there is: it lost data, or holds a change back; ask {from} which \
             devices they have"
        ),
        What::OwnDevicesChanged { added, removed: 0 } => {
            format!("your account has {} more; if it was not you, remove it: `restante client devices`", devices(*added))
        }
        What::OwnDevicesChanged { added: 0, removed } => format!("{} of your account's went", devices(*removed)),
        What::OwnDevicesChanged { added, removed } => {
            format!("your account's devices changed: {added} new, {removed} gone; `restante client devices` lists them")
        }
        What::Removed => "this device was removed from its account; nothing reaches it any more".to_string(),
        What::OwnFork => "two device lists of your account bear the same version: somebody has its keys, or the relay shows \
                          different people different truths; `devices remove --stolen` with the 24 words begins anew"
            .to_string(),
        What::OwnListBehind => {
            "the relay shows an older list of your devices than there is: it lost data, or holds a change back; \
                                its operator should know"
                .to_string()
        }
        What::Unknown { from } => format!("{from} sent something that this version does not know"),
        What::NeverArrived { from, count } => format!("{} from {from} never arrived", units::count(*count, "message")),
        What::Gap { count } => {
            format!("{} expired at the relay before being fetched, or took damage there", units::count(*count, "envelope"))
        }
        What::Unopened { count } => {
            format!("{} could not be opened or came from somebody unexpected, and went", units::count(*count, "envelope"))
        }
        What::RelayWentBack => {
            "the relay is an older copy of itself: messages may be missing; its operator should know".to_string()
        }
        What::SlotRolledBack => {
            "the relay shows an older copy of your own data; contacts and settings stay as this device has \
                                 them, and are no longer brought to your other devices. Ask the relay's operator; if it was restored \
                                 from a backup: `restante client doctor --accept-rollback`"
                .to_string()
        }
        What::SlotUnreadable => "what the relay shows as your own data does not open; contacts and settings stay as this \
                                 device has them, and are no longer brought to your other devices"
            .to_string(),
        What::SlotTooLarge => "you have more contacts than the relay keeps for your other devices; this device has them all, \
                               and new ones are no longer brought to the others; `revoke` some, and it goes on by itself"
            .to_string(),
        What::Notice { text, set_at } => {
            format!("the relay's operator says to everybody ({}):\n  {}", units::time(*set_at), harmless(text))
        }
    }
}

/// `a device`, `2 devices`.
fn devices(count: usize) -> String {
    if count == 1 { "a device".into() } else { units::count(count as u64, "device") }
}

fn seconds_until(deadline: Option<Instant>) -> u64 {
    // Rounded up, so that the last poll is not one of zero seconds.
    deadline.map_or(POLL_SECS, |deadline| deadline.saturating_duration_since(Instant::now()).as_millis().div_ceil(1_000) as u64)
}

/// How long one poll is held: what the protocol asks of clients.
const POLL_SECS: u64 = 25;
