//! The account: made, shown, recovered, moved, logged out, deleted.

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use zeroize::Zeroizing;

use super::super::{Failure, output};
use super::code::CodeArgs;
use crate::client::{Client, Dial, Options, Origin, Words};

/// How a relay is reached, and known.
#[derive(Debug, Args)]
struct RelayArgs {
    /// The relay: https://relay.example, http://127.0.0.1:8484 or unix:/path/to/socket
    #[arg(long, value_name = "URL")]
    relay: Option<String>,
    /// The relay key's fingerprint, or the whole key; without it the first answer is trusted.
    #[arg(long, value_name = "FINGERPRINT")]
    relay_key: Option<String>,
    /// A code that lets you register, where registration is not open.
    #[arg(long, value_name = "CODE")]
    pass: Option<String>,
    /// How you call yourself to those whose links you add.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Trust the certificates in this file (PEM) in the place of the built-in ones.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Allow plain http beyond this machine.
    #[arg(long)]
    plain: bool,
}

/// `restante client init`.
#[derive(Debug, Args)]
#[command(after_help = "The words are the account. Write them down: who has them can take the account over, and nobody can \
give them to you again.\n\nExamples:\n  restante client init --relay http://127.0.0.1:8484\n  restante client init --relay \
https://relay.example --relay-key 3f2a-… --pass CODE")]
pub(super) struct InitArgs {
    #[command(flatten)]
    relay: RelayArgs,
    /// Print JSON, the words included.
    #[arg(long)]
    json: bool,
}

/// `restante client whoami`.
#[derive(Debug, Args)]
pub(super) struct WhoamiArgs {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// `restante client recover`.
#[derive(Debug, Args)]
#[command(after_help = "Reads the 24 words from stdin. All other devices of the account are removed. In a profile that holds \
the account, contacts stay; in an empty one everybody has to be invited anew.\n\nExamples:\n  restante client recover --relay \
https://relay.example\n  restante client recover < words.txt          the relay of this profile")]
pub(super) struct RecoverArgs {
    #[command(flatten)]
    relay: RelayArgs,
}

/// `restante client export`.
#[derive(Debug, Args)]
#[command(after_help = "The passphrase is asked for, or taken from RESTANTE_CLIENT_PASSPHRASE. An export moves a device: use \
the copy or the original from then on, never both, or contacts drop messages as repeats.")]
pub(super) struct ExportArgs {
    /// Where to write it; must not exist.
    file: PathBuf,
}

/// `restante client import`.
#[derive(Debug, Args)]
#[command(after_help = "The passphrase is asked for, or taken from RESTANTE_CLIENT_PASSPHRASE.")]
pub(super) struct ImportArgs {
    /// What `export` wrote.
    file: PathBuf,
}

/// `restante client delete`.
#[derive(Debug, Args)]
pub(super) struct DeleteArgs {
    /// Yes, delete it: at the relay and here, for good.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    code: CodeArgs,
}

pub(super) async fn init(profile: &Path, args: InitArgs) -> anyhow::Result<u8> {
    let trusted = args.relay.relay_key.is_none();
    let options = args.relay.options(None)?;
    let (client, words) = Client::init(profile, options).await?;
    let fingerprint = client.relay_key().fingerprint();
    if args.json {
        let words: Vec<&str> = words.iter().collect();
        output::print_json(&json!({
            "account": client.account_id(), "device": client.device_id(), "origin": client.origin().as_str(),
            "relay_key": client.relay_key(), "fingerprint": fingerprint, "profile": profile, "words": words,
        }))?;
        return Ok(0);
    }
    output::say(&format!("made an account at {}, in {}", client.origin(), profile.display()));
    match trusted {
        true => output::say(&format!(
            "trusted the relay's key at first sight: {fingerprint}\n  compare it with what its operator says"
        )),
        false => output::say(&format!("the relay's key is the one you named: {fingerprint}")),
    }
    output::say("\nThese 24 words are the account. Write them down now; they are shown once and kept nowhere:\n");
    output::print(&rows(&words))?;
    output::say("\nNext: `restante client invite`, or `restante client add NAME LINK`");
    Ok(0)
}

pub(super) fn whoami(client: &Client, args: &WhoamiArgs) -> anyhow::Result<u8> {
    let fingerprint = client.relay_key().fingerprint();
    if args.json {
        output::print_json(&json!({
            "account": client.account_id(), "digits": client.digits(), "device": client.device_id(), "name": client.name(),
            "origin": client.origin().as_str(), "relay_key": client.relay_key(), "fingerprint": fingerprint,
            "profile": client.directory(),
        }))?;
        return Ok(0);
    }
    output::print_pairs(&[
        ("account", client.account_id().to_string()),
        ("digits", client.digits()),
        ("device", client.device_id().to_string()),
        ("name", client.name().unwrap_or("none").to_string()),
        ("relay", client.origin().to_string()),
        ("relay key", fingerprint),
        ("profile", client.directory().display().to_string()),
    ])?;
    Ok(0)
}

pub(super) async fn recover(profile: &Path, args: RecoverArgs) -> anyhow::Result<u8> {
    let known = Client::open(profile).await.ok();
    let options = args.relay.options(known.as_ref())?;
    let client = Client::recover(profile, options, &typed_words()?).await?;
    output::say(&format!("the account is yours again, at {}; every other device of it was removed", client.origin()));
    if client.contacts().is_empty() {
        output::say("nobody can write to it now: make new links with `restante client invite`");
    }
    output::print(&client.account_id().to_string())?;
    Ok(0)
}

/// The 24 words, from stdin.
pub(super) fn typed_words() -> anyhow::Result<Words> {
    if std::io::stdin().is_terminal() {
        output::say("type the 24 words, then Enter and Ctrl-D:");
    }
    let mut typed = Zeroizing::new(String::new());
    std::io::stdin().take(WORDS_BYTES_MAX).read_to_string(&mut typed)?;
    Ok(Words::parse(&typed)?)
}

pub(super) async fn export(mut client: Client, args: ExportArgs) -> anyhow::Result<u8> {
    if args.file.exists() {
        let failure = Failure::new(format!("{} is there already", args.file.display()));
        return Err(failure.hint("name a file that does not exist").into());
    }
    client.export(&args.file, &passphrase(true)?).await?;
    output::say(&format!("written to {}; use this profile or that copy from now on, never both", args.file.display()));
    Ok(0)
}

pub(super) async fn import(profile: &Path, args: ImportArgs) -> anyhow::Result<u8> {
    let client = Client::import(profile, &args.file, &passphrase(false)?).await?;
    output::say(&format!("{} lives in {} now", client.account_id(), profile.display()));
    Ok(0)
}

pub(super) async fn logout(mut client: Client) -> anyhow::Result<u8> {
    client.logout().await?;
    output::say("logged out; the next command that needs a login makes one");
    Ok(0)
}

pub(super) async fn delete(mut client: Client, args: &DeleteArgs) -> anyhow::Result<u8> {
    if !args.yes {
        let failure = Failure::new("deleting an account cannot be undone, and needs --yes");
        return Err(failure.hint("what waits for it is lost, and its contacts cannot write to it any more").code(2).into());
    }
    args.code.elevated(&mut client, async |client| client.delete().await).await?;
    output::say("the account is deleted, at the relay and here");
    Ok(0)
}

impl RelayArgs {
    /// What was said, completed by what a profile knows.
    fn options(self, known: Option<&Client>) -> anyhow::Result<Options> {
        let mut options = match (&self.relay, known) {
            (Some(relay), _) => Options::new(Origin::parse(relay)?),
            (None, Some(known)) => {
                let key = Some(known.relay_key().encode());
                Options { dial: known.dial()?, relay_key: key, ..Options::new(known.origin().clone()) }
            }
            (None, None) => {
                let failure = Failure::new("which relay? none was named");
                return Err(failure.hint("say --relay URL, for example --relay http://127.0.0.1:8484").code(2).into());
            }
        };
        if let Some(file) = &self.ca {
            let pem = std::fs::read_to_string(file)
                .map_err(|error| Failure::new(format!("{} cannot be read: {error}", file.display())))?;
            options.dial = Dial { ca: Some(pem), ..options.dial };
        }
        options.dial.plain |= self.plain;
        options.relay_key = self.relay_key.or(options.relay_key);
        options.pass = self.pass;
        options.name = self.name;
        Ok(options)
    }
}

/// Four rows of six: short enough for any terminal, and typed back as they stand.
fn rows(words: &Words) -> String {
    let words: Vec<&str> = words.iter().collect();
    words.chunks(6).map(|row| row.join(" ")).collect::<Vec<_>>().join("\n")
}

fn passphrase(twice: bool) -> anyhow::Result<Zeroizing<String>> {
    if let Ok(passphrase) = std::env::var("RESTANTE_CLIENT_PASSPHRASE") {
        return Ok(Zeroizing::new(passphrase));
    }
    let ask = |prompt: &str| {
        rpassword::prompt_password(prompt).map(Zeroizing::new).map_err(|_| {
            Failure::new("there is no terminal to ask for the passphrase on").hint("set RESTANTE_CLIENT_PASSPHRASE")
        })
    };
    let first = ask("passphrase: ")?;
    if twice && *first != *ask("once more: ")? {
        return Err(Failure::new("the two passphrases differ").into());
    }
    Ok(first)
}

/// Twenty-four words of eight letters are 216 bytes; room for any white space.
const WORDS_BYTES_MAX: u64 = 4_096;
