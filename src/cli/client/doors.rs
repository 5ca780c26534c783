//! Knocking, and who knocks: knock, knocks, accept, decline, block, unblock.

use clap::Args;

use super::super::{output, units};
use super::harmless;
use crate::client::{Client, KnockInfo};

/// `restante client knock`.
#[derive(Debug, Args)]
#[command(
    after_help = "They see your first word, how you call yourself and your handle, and may let you in; you can write to them from then \
on. `restante client receive` says so. Compare accounts with them by another way before you trust the name.\n\nExample:\n  restante \
client knock alice \"hello, it's bob\""
)]
pub(super) struct KnockArgs {
    /// Their handle.
    handle: String,
    /// What to say, at most 500 bytes.
    text: String,
    /// What to call them here [default: the handle]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

/// `restante client knocks`.
#[derive(Debug, Args)]
pub(super) struct KnocksArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// `restante client accept`.
#[derive(Debug, Args)]
pub(super) struct AcceptArgs {
    /// The knock: its number, or the name or handle that it gives.
    who: String,
    /// What to call them here [default: as they call themselves]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
}

/// `restante client decline`.
#[derive(Debug, Args)]
pub(super) struct DeclineArgs {
    /// The knock: its number, or the name or handle that it gives.
    who: String,
}

/// `restante client block`.
#[derive(Debug, Args)]
#[command(after_help = "A contact's tokens end as with `revoke`; knocks of a blocked account go unseen. They are not told.")]
pub(super) struct BlockArgs {
    /// A contact, or a knock by number or name; without it, list who is blocked.
    who: Option<String>,
    /// Print JSON.
    #[arg(long, conflicts_with = "who")]
    json: bool,
}

/// `restante client unblock`.
#[derive(Debug, Args)]
pub(super) struct UnblockArgs {
    /// Their name, as `block` shows it, or their account.
    #[arg(allow_hyphen_values = true)]
    who: String,
}

pub(super) async fn knock(mut client: Client, args: KnockArgs) -> anyhow::Result<u8> {
    let name = client.knock(&args.handle, &args.text, args.name.as_deref()).await?;
    output::say(&format!("knocked; once {name} lets you in, `restante client receive` says so"));
    Ok(0)
}

pub(super) fn knocks(client: &Client, args: &KnocksArgs) -> anyhow::Result<u8> {
    let knocks = client.knocks();
    if args.json {
        output::print_json(&knocks)?;
    } else if knocks.is_empty() {
        output::say("nobody waits at the door; `restante client receive` fetches who has come since");
    } else {
        output::print(&knocks.iter().map(shown).collect::<Vec<_>>().join("\n"))?;
        output::say("`restante client accept N` lets one in; `decline N` forgets it; `block N` hears no more of them");
    }
    Ok(0)
}

pub(super) async fn accept(mut client: Client, args: AcceptArgs) -> anyhow::Result<u8> {
    let name = client.accept(&args.who, args.name.as_deref()).await?;
    output::say(&format!("{name} is a contact; write with: restante client send {name} TEXT"));
    Ok(0)
}

pub(super) async fn decline(mut client: Client, args: DeclineArgs) -> anyhow::Result<u8> {
    let name = client.decline(&args.who).await?;
    output::say(&format!("the knock of {name} is forgotten; they are not told, and may knock again"));
    Ok(0)
}

pub(super) async fn block(mut client: Client, args: BlockArgs) -> anyhow::Result<u8> {
    let Some(who) = args.who else { return blocked(&client, args.json) };
    let name = match client.block(&who).await {
        Err(error) if error.passes() => {
            output::say(&format!("{who} is not heard any more, but the relay could not be told yet: {error}"));
            return Ok(1);
        }
        done => done?,
    };
    output::say(&format!("{name} is not heard any more; `restante client unblock {name}` takes that back"));
    Ok(0)
}

fn blocked(client: &Client, json: bool) -> anyhow::Result<u8> {
    let blocked = client.blocked();
    if json {
        output::print_json(&blocked)?;
    } else if blocked.is_empty() {
        output::say("nobody is blocked");
    } else {
        let rows: Vec<Vec<String>> = blocked.iter().map(|one| vec![one.name.clone(), one.account.to_string()]).collect();
        output::print_table(&["name", "account"], &rows)?;
    }
    Ok(0)
}

pub(super) async fn unblock(mut client: Client, args: UnblockArgs) -> anyhow::Result<u8> {
    client.unblock(&args.who).await?;
    output::say(&format!("{} may knock again", args.who));
    Ok(0)
}

/// How somebody who knocks is spoken of: nothing of it is proved but that they are a contact.
pub(super) fn who(name: Option<&str>, handle: Option<&str>, known_as: Option<&str>) -> String {
    let said = match (name, handle) {
        (Some(name), Some(handle)) => format!("somebody who calls themselves {name} (handle {handle}, they say)"),
        (Some(name), None) => format!("somebody who calls themselves {name}"),
        (None, Some(handle)) => format!("somebody with the handle {handle}, they say,"),
        (None, None) => "somebody".to_string(),
    };
    known_as.map_or(said, |known| format!("{known}, who is a contact already and begins anew,"))
}

fn shown(knock: &KnockInfo) -> String {
    let who = who(knock.name.as_deref(), knock.handle.as_deref(), knock.known_as.as_deref());
    let (when, account) = (units::time(knock.at), knock.account);
    format!("{}  {when}  {who}\n  account {account}\n  {}", output::bold(&knock.number.to_string()), harmless(&knock.text))
}
