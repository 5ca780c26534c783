//! `restante client account`: everything that the relay holds on the account, as it says itself.

use clap::Args;

use super::super::{output, units};
use crate::client::Client;
use crate::protocol::handles::HandleItem;
use crate::protocol::slots::SlotItem;

/// `restante client account`.
#[derive(Debug, Args)]
#[command(
    after_help = "Everything but the tokens' hashes. Nobody's name, no contact, no message and no time of day is among it: \
the relay has none. With --json it is as the relay sends it."
)]
pub(super) struct AccountArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn account(mut client: Client, args: &AccountArgs) -> anyhow::Result<u8> {
    let held = client.account().await?;
    if args.json {
        output::print_json(&held)?;
        return Ok(0);
    }
    let list = held.device_list.parse().map(|(_, list)| format!("epoch {}, version {}", list.epoch, list.version));
    let totp = match held.totp {
        true => format!("on; {} left", units::count(held.recovery_codes, "recovery code")),
        false => "off".into(),
    };
    let handle = |held: &HandleItem| match held.held_until {
        Some(until) => format!("one held until {}", units::day(until)),
        None => "one, as a hash".into(),
    };
    let handles = either_none(held.handles.iter().map(handle).collect());
    let slot = |slot: &SlotItem| format!("version {}, {}", slot.version, units::bytes(slot.bytes));
    let slots = either_none(held.slots.iter().map(slot).collect());
    output::print_pairs(&[
        ("account", held.account.to_string()),
        ("device list", list.unwrap_or_else(|error| error.to_string())),
        ("second factor", totp),
        ("handles", handles),
        ("slots", slots),
        ("tokens", format!("{}: contacts, invites and spare ones alike, as hashes", held.tokens)),
    ])?;
    output::print("")?;
    let own = client.device_id();
    let rows = held.devices.iter().map(|device| {
        vec![
            device.device.to_string(),
            units::week(device.seen_week),
            format!("{}, {}", units::count(device.envelopes, "envelope"), units::bytes(device.bytes)),
            device.prekey_expires_at.map_or("none".into(), |at| format!("until {}", units::day(at))),
            if device.device == own { "this one".into() } else { String::new() },
        ]
    });
    output::print_table(&["device", "seen in the week of", "waiting", "prekey", ""], &rows.collect::<Vec<_>>())?;
    Ok(0)
}

fn either_none(items: Vec<String>) -> String {
    if items.is_empty() { "none".into() } else { items.join("; ") }
}
