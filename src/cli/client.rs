//! `restante client …`: an account's device on the command line, over the client library and nothing else.

mod account;
mod code;
mod contacts;
mod devices;
mod doctor;
mod doors;
mod handle;
mod held;
mod invites;
mod link;
mod live;
mod receipts;
mod receive;
mod send;
mod sessions;
mod totp;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Failure;
use crate::client::Client;

/// `restante client`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP, arg_required_else_help = true)]
pub struct ClientArgs {
    /// The directory that holds the account's device [default: ~/.local/share/restante]
    #[arg(long, global = true, env = "RESTANTE_CLIENT_PROFILE", value_name = "DIR", hide_env = true)]
    profile: Option<PathBuf>,
    #[command(subcommand)]
    command: ClientCommand,
}

#[derive(Debug, Subcommand)]
enum ClientCommand {
    /// Make an account at a relay; shows its 24 words, once.
    Init(account::InitArgs),
    /// Say who this is, and at which relay.
    Whoami(account::WhoamiArgs),
    /// Make a link that lets one person, or several, write to you.
    Invite(invites::InviteArgs),
    /// List the links that are still open, or take them back.
    Invites(invites::InvitesArgs),
    /// Add the person who gave you a link.
    Add(contacts::AddArgs),
    /// Take a name under which you can be found, show it, or give it up.
    Handle(handle::HandleArgs),
    /// Ask somebody with a handle to let you write to them.
    Knock(doors::KnockArgs),
    /// List who knocks at your door and waits for a word.
    Knocks(doors::KnocksArgs),
    /// Let somebody in who knocks.
    Accept(doors::AcceptArgs),
    /// Forget a knock; who knocked is not told.
    Decline(doors::DeclineArgs),
    /// Stop hearing somebody, or list who is not heard.
    Block(doors::BlockArgs),
    /// Hear somebody again.
    Unblock(doors::UnblockArgs),
    /// List the people you write to.
    Contacts(contacts::ContactsArgs),
    /// Send a message; it waits up to seven days.
    Send(send::SendArgs),
    /// Fetch what waits, show it, and let the relay forget it.
    Receive(receive::ReceiveArgs),
    /// List what was sent, and how far it came.
    Sent(send::SentArgs),
    /// Say, or show, what contacts are told of their messages.
    Receipts(receipts::ReceiptsArgs),
    /// Say, or show, whether a contact may see that you type and are here.
    Live(live::LiveArgs),
    /// Tell a contact who is there that you are writing.
    Typing(live::TypingArgs),
    /// Make this a device of an account that you have on another one.
    Link(link::LinkArgs),
    /// List the account's devices, or remove one.
    Devices(devices::DevicesArgs),
    /// Show an account's digits: compare them with what its owner sees.
    Digits(devices::DigitsArgs),
    /// Forget a contact; from then on they cannot write to you.
    Revoke(contacts::RevokeArgs),
    /// Take the account back with its 24 words, on a new device.
    Recover(account::RecoverArgs),
    /// Write the whole profile into one encrypted file.
    Export(account::ExportArgs),
    /// Make a profile of an exported file.
    Import(account::ImportArgs),
    /// Show everything that the relay holds on the account.
    Account(held::AccountArgs),
    /// List where the account is logged in, and end sessions.
    Sessions(sessions::SessionsArgs),
    /// A second factor, for what a stolen phone could destroy.
    #[command(subcommand)]
    Totp(totp::TotpCommand),
    /// Look for what is wrong: reach, clock, key, list, tokens.
    Doctor(doctor::DoctorArgs),
    /// End this device's sessions at the relay.
    Logout,
    /// Delete the account, with everything that waits for it.
    Delete(account::DeleteArgs),
}

/// Runs a client command to its end.
pub async fn run(args: ClientArgs) -> anyhow::Result<u8> {
    let profile = match args.profile {
        Some(profile) => profile,
        None => usual_profile()?,
    };
    match args.command {
        ClientCommand::Init(args) => account::init(&profile, args).await,
        ClientCommand::Whoami(args) => account::whoami(&Client::open(&profile).await?, &args),
        ClientCommand::Invite(args) => invites::invite(Client::open(&profile).await?, args).await,
        ClientCommand::Invites(args) => invites::invites(Client::open(&profile).await?, args).await,
        ClientCommand::Handle(args) => handle::handle(Client::open(&profile).await?, args).await,
        ClientCommand::Knock(args) => doors::knock(Client::open(&profile).await?, args).await,
        ClientCommand::Knocks(args) => doors::knocks(&Client::open(&profile).await?, &args),
        ClientCommand::Accept(args) => doors::accept(Client::open(&profile).await?, args).await,
        ClientCommand::Decline(args) => doors::decline(Client::open(&profile).await?, args).await,
        ClientCommand::Block(args) => doors::block(Client::open(&profile).await?, args).await,
        ClientCommand::Unblock(args) => doors::unblock(Client::open(&profile).await?, args).await,
        ClientCommand::Add(args) => contacts::add(Client::open(&profile).await?, args).await,
        ClientCommand::Contacts(args) => contacts::list(&Client::open(&profile).await?, &args),
        ClientCommand::Send(args) => send::send(Client::open(&profile).await?, args).await,
        ClientCommand::Receive(args) => receive::receive(Client::open(&profile).await?, args).await,
        ClientCommand::Sent(args) => send::sent(&Client::open(&profile).await?, &args),
        ClientCommand::Receipts(args) => receipts::receipts(Client::open(&profile).await?, args).await,
        ClientCommand::Live(args) => live::live(Client::open(&profile).await?, args).await,
        ClientCommand::Typing(args) => live::typing(Client::open(&profile).await?, args).await,
        ClientCommand::Link(args) => link::link(&profile, args).await,
        ClientCommand::Devices(args) => devices::devices(Client::open(&profile).await?, args).await,
        ClientCommand::Digits(args) => devices::digits(&Client::open(&profile).await?, &args),
        ClientCommand::Revoke(args) => contacts::revoke(Client::open(&profile).await?, args).await,
        ClientCommand::Recover(args) => account::recover(&profile, args).await,
        ClientCommand::Export(args) => account::export(Client::open(&profile).await?, args).await,
        ClientCommand::Import(args) => account::import(&profile, args).await,
        ClientCommand::Account(args) => held::account(Client::open(&profile).await?, &args).await,
        ClientCommand::Sessions(args) => sessions::sessions(Client::open(&profile).await?, args).await,
        ClientCommand::Totp(command) => totp::totp(Client::open(&profile).await?, command).await,
        ClientCommand::Doctor(args) => doctor::doctor(Client::open(&profile).await?, args).await,
        ClientCommand::Logout => account::logout(Client::open(&profile).await?).await,
        ClientCommand::Delete(args) => account::delete(Client::open(&profile).await?, &args).await,
    }
}

fn usual_profile() -> anyhow::Result<PathBuf> {
    let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::var_os("HOME").filter(|home| !home.is_empty()).map(|home| PathBuf::from(home).join(".local/share"));
    let data =
        data.or_else(home).ok_or_else(|| Failure::new("there is no home directory").hint("say where with --profile DIR"))?;
    Ok(data.join("restante"))
}

/// Text of somebody else, made harmless for a terminal: no control character but the line's end gets through.
fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => shown.push_str("\n  "),
            '\t' => shown.push('\t'),
            c if c.is_control() || DIRECTION.contains(&c) => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    shown
}

/// Characters that turn the direction of the text after them.
const DIRECTION: [char; 9] =
    ['\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}', '\u{2066}', '\u{2067}', '\u{2068}', '\u{2069}'];

const AFTER_HELP: &str = "\
Examples:
  restante client init --relay http://127.0.0.1:8484
  restante client invite                       prints a link; give it to one person
  restante client handle set alice             now others can find you: `knock alice TEXT`
  restante client add bob 'restante:1?…'       the link that Bob gave you
  restante client send bob \"see you at eight\"
  git log -1 | restante client send bob -
  restante client receive --wait 25
  restante client receive --follow --exec 'notify-send \"$RESTANTE_FROM\"'

Two people on one machine: give each a profile, with --profile or RESTANTE_CLIENT_PROFILE.";

#[cfg(test)]
mod tests {
    use super::harmless;

    #[test]
    fn a_message_cannot_speak_to_the_terminal() {
        assert_eq!(harmless("grüße 👋\tx"), "grüße 👋\tx");
        assert_eq!(harmless("a\u{1b}[2Jb\r\u{7}"), "a\\u{1b}[2Jb\\u{d}\\u{7}");
        assert_eq!(harmless("one\ntwo\nalice: forged"), "one\n  two\n  alice: forged");
        assert_eq!(harmless("\u{202e}x"), "\\u{202e}x");
    }
}
