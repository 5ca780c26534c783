//! `restante demo`: the whole of it in three seconds. A relay of its own, two people, three messages that wait, a relay
//! that is killed, and nothing left at the end.
//!
//! It is the shipped server in a process of its own and the shipped client over HTTP; what the relay holds is asked for over
//! the admin socket, as `explain-db` does. There is no short cut in here.

use std::time::Instant;

use anyhow::{Context, ensure};
use clap::Args;

use super::child::{Listening, Place};
use super::output;
use crate::admin::{PurgeRequest, TableRows, Target};
use crate::client::{Client, Options, Origin, What};

/// `restante demo`.
#[derive(Debug, Args)]
#[command(after_help = "Needs nothing and leaves nothing: the data lies in a fresh temporary directory that goes at the end.")]
pub(super) struct DemoArgs {
    /// Keep the temporary directory, to look around in it.
    #[arg(long)]
    keep: bool,
}

pub(super) async fn run(args: DemoArgs) -> anyhow::Result<u8> {
    let began = Instant::now();
    let place = Place::new(&std::env::temp_dir(), "demo", args.keep)?;
    output::print(&output::bold("A sealed message waits, arrives and vanishes"))?;

    let mut relay = Listening::relay(&place, "127.0.0.1:0", &[])?;
    step(1, "A relay starts.")?;
    note(&format!("{} · data in {} · key {}", relay.listening(), place.path().display(), relay.fingerprint()))?;

    let (mut bob, _words) = Client::init(&place.path().join("bob"), options("bob", &relay)?).await?;
    let link = bob.invite(Some("alice")).await?;
    drop(bob);
    step(2, "Bob makes an account and an invite, and goes offline.")?;
    note(&format!("{}…", link.to_string().chars().take(72).collect::<String>()))?;

    let (mut alice, _words) = Client::init(&place.path().join("alice"), options("alice", &relay)?).await?;
    alice.add("bob", &link).await?;
    for text in MESSAGES {
        alice.send("bob", text).await?;
    }
    step(3, "Alice adds Bob by the link, and sends three messages. The relay says 202: they are on disk.")?;

    let target = Target::Running(place.data().join(crate::admin::SOCKET));
    let waiting = envelopes(&target.rows(ROWS).await?)?;
    step(4, "What the relay holds for Bob now (as `restante explain-db` shows it):")?;
    show(&waiting)?;
    let samples: Vec<Vec<u8>> = waiting.samples();
    note(&format!(
        "Ciphertext only. Alice's hello waits with her messages: {} rows, {} of {} found in the files.",
        waiting.count,
        found(&place, &samples)?,
        samples.len()
    ))?;
    note("It can tell: how much waits for which device, and until which hour. It cannot tell: what it says, how long the")?;
    note("text is, who sent it, by which contact it came, when it came, or that Alice and Bob know each other.")?;
    for text in MESSAGES {
        ensure!(found(&place, &[text.as_bytes().to_vec()])? == 0, "a message lies in the relay's files as it was written");
    }

    relay.kill()?;
    relay = Listening::relay(&place, relay.address(), &[])?;
    step(5, "The relay is killed (SIGKILL) and started again. Nothing that it said 202 to is lost.")?;

    let mut bob = Client::open(&place.path().join("bob")).await?;
    step(6, "Bob comes back by long poll, opens, checks, keeps, and only then acknowledges.")?;
    let read = show_texts(&mut bob).await?;
    ensure!(read == MESSAGES.len(), "{read} of {} messages arrived", MESSAGES.len());
    // Bob's answer to the hello waits for Alice.
    show_texts(&mut alice).await?;

    let report = target.purge(PurgeRequest::default()).await?;
    let left = envelopes(&target.rows(ROWS).await?)?;
    let gone = found(&place, &samples)?;
    step(7, "Acknowledged: the relay has forgotten.")?;
    note(&format!("{} rows wait, {gone} of {} found in the database and its log.", left.count, samples.len()))?;
    ensure!(left.count == 0 && gone == 0, "something of an acknowledged message is left");

    let stats = target.stats().await?;
    step(8, "Purge and stats, as an operator sees them.")?;
    note(&format!(
        "purge: {} expired, database {} → {} bytes",
        report.envelopes, report.database_bytes_before, report.database_bytes_after
    ))?;
    note(&format!(
        "stats: {} accounts, {} devices, {} envelopes waiting, {} damaged rows",
        stats.totals.accounts, stats.totals.devices, stats.totals.envelopes, stats.totals.damaged
    ))?;

    drop(relay);
    output::print(&format!(
        "\nDone in {:.1} s. Next, a relay of your own; it prints the first command for a client:\n\n  restante serve\n",
        began.elapsed().as_secs_f32()
    ))?;
    Ok(0)
}

/// Receives, shows, acknowledges; gives how many texts there were.
async fn show_texts(client: &mut Client) -> anyhow::Result<usize> {
    let mut texts = 0;
    for event in client.receive(POLL_SECS).await? {
        if let What::Text { from, text, .. } = &event.what {
            note(&format!("{from}: {text}"))?;
            texts += 1;
        }
        client.shown(&event).await?;
    }
    client.acknowledge().await?;
    Ok(texts)
}

fn options(name: &str, relay: &Listening) -> anyhow::Result<Options> {
    let origin = Origin::parse(relay.origin())?;
    Ok(Options { relay_key: Some(relay.fingerprint().to_string()), name: Some(name.into()), ..Options::new(origin) })
}

fn step(number: u8, text: &str) -> anyhow::Result<()> {
    output::print(&format!("\n{} {text}", output::bold(&format!("{number}."))))
}

fn note(text: &str) -> anyhow::Result<()> {
    output::print(&format!("   {text}"))
}

fn envelopes(tables: &[TableRows]) -> anyhow::Result<Waiting> {
    let table = tables.iter().find(|table| table.table == "envelopes").context("the relay shows no table `envelopes`")?;
    Ok(Waiting { columns: table.columns.clone(), count: table.count, rows: table.rows.clone() })
}

/// The table of envelopes.
struct Waiting {
    columns: Vec<String>,
    count: u64,
    rows: Vec<Vec<String>>,
}

impl Waiting {
    /// The first bytes of each row's body, to look for in the files.
    fn samples(&self) -> Vec<Vec<u8>> {
        let Some(body) = self.columns.iter().position(|column| column == "body") else { return Vec::new() };
        let cells = self.rows.iter().filter_map(|row| row.get(body));
        cells.filter_map(|cell| unhex(cell.split(':').nth(1)?)).collect()
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<char> = text.chars().filter(char::is_ascii_hexdigit).collect();
    digits.chunks_exact(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).ok()).collect()
}

fn show(waiting: &Waiting) -> anyhow::Result<()> {
    let kept: Vec<usize> = (0..waiting.columns.len()).filter(|at| COLUMNS.contains(&waiting.columns[*at].as_str())).collect();
    let pick = |cells: &[String]| kept.iter().filter_map(|at| cells.get(*at).cloned()).collect::<Vec<_>>();
    let heads = pick(&waiting.columns);
    let rows: Vec<Vec<String>> = waiting.rows.iter().map(|row| pick(row)).collect();
    output::print_table(&heads.iter().map(String::as_str).collect::<Vec<_>>(), &rows)
}

/// How many of the samples stand in any file of the relay's data directory.
fn found(place: &Place, samples: &[Vec<u8>]) -> anyhow::Result<usize> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(place.data())? {
        let path = entry?.path();
        if path.is_file() {
            files.push(std::fs::read(path)?);
        }
    }
    let stands =
        |sample: &&Vec<u8>| files.iter().any(|file| file.windows(sample.len()).any(|window| window == sample.as_slice()));
    Ok(samples.iter().filter(stands).count())
}

const MESSAGES: [&str; 3] = ["hello bob, are you there?", "the keys are under the mat", "see you on sunday"];
/// Rows asked for: more than the demo makes.
const ROWS: u64 = 20;
/// The columns worth a reader's glance.
const COLUMNS: [&str; 5] = ["mailbox", "seq", "expires_at", "wrap", "body"];
const POLL_SECS: u64 = 10;
