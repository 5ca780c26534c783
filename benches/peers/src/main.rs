//! Restante beside the systems that people would use instead: one client model for all, in one run, in turns. `run.sh` gets
//! the systems, builds this and the relay, and runs it; see README.md.
//!
//! In every round each system is started on nothing, loaded with each number of connections, and ended, so that nothing else
//! runs meanwhile and no round finds what another left.

mod child;
mod figures;
mod load;
mod machine;
mod systems;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Parser, value_parser};
use serde_json::json;
use tokio::runtime::Runtime;

use child::Place;
use figures::{Row, SLOWED};
use load::Outcome;
use machine::Machine;
use systems::{BODY_BYTES, MAILBOXES, Peer, Running, Share};

/// Sends a second of restante and of others, by one client model.
#[derive(Debug, Parser)]
#[command(after_help = "benches/peers/run.sh gets the systems and runs this.")]
struct Args {
    /// A release binary of restante.
    #[arg(long)]
    restante: PathBuf,
    /// The program of nostr-rs-relay.
    #[arg(long)]
    nostr: Option<PathBuf>,
    /// The library that makes every fsync take longer.
    #[arg(long)]
    shim: Option<PathBuf>,
    /// Where the systems' directories are made; on the disk that is measured.
    #[arg(long)]
    dir: PathBuf,
    /// Measurements of each kind.
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How long each measurement takes.
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u64).range(1..=60))]
    secs: u64,
    /// Connections, one request in flight on each.
    #[arg(long, value_delimiter = ',', default_value = "64,256", value_parser = value_parser!(u16).range(1..=256))]
    connections: Vec<u16>,
    /// Only the systems with one of these in their name.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Give these the slow fsync too, which shows who waits for the disk.
    #[arg(long, value_delimiter = ',')]
    slow: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// One system as it is measured here.
struct Subject {
    peer: Box<dyn Peer>,
    /// Its name, with what was done to it.
    name: String,
    shim: Option<PathBuf>,
    connections: Vec<usize>,
    version: String,
    /// Why it is not measured any more.
    failed: Option<String>,
}

fn main() -> ExitCode {
    match measure(&Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("peers: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &Args) -> anyhow::Result<ExitCode> {
    let machine = Machine::look(&args.dir)?;
    eprintln!("{}", machine.line());
    // The load leaves half of the machine to the system.
    let threads = machine.cores.div_ceil(2);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let mut subjects = subjects(args)?;
    let mut rows: Vec<Row> = subjects
        .iter()
        .flat_map(|subject| {
            let on_disk = subject.peer.acknowledged().on_disk;
            let row = |&connections: &usize| Row { name: subject.name.clone(), connections, on_disk, rounds: Vec::new() };
            subject.connections.iter().map(row).collect::<Vec<_>>()
        })
        .collect();
    for round in 0..args.rounds as usize {
        for turn in 0..subjects.len() {
            // Nobody is always the one after another.
            let number = (turn + round) % subjects.len();
            let subject = &mut subjects[number];
            let mut outcomes = Vec::new();
            if subject.failed.is_none() {
                eprintln!("round {} of {}: {}", round + 1, args.rounds, subject.name);
                let done = one(args, &runtime, subject, &mut outcomes);
                if let Err(error) = done {
                    eprintln!("{}: {error:#}", subject.name);
                    subject.failed = Some(format!("{error:#}"));
                }
            }
            let mut outcomes = outcomes.into_iter();
            for row in rows.iter_mut().filter(|row| row.name == subject.name) {
                row.rounds.push(outcomes.next());
            }
        }
    }
    report(args, &machine, threads, &subjects, &rows);
    let ours = subjects.iter().any(|subject| subject.failed.is_some() && subject.name.starts_with("restante"));
    Ok(if ours { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Those asked for; of the ones that cannot be had, with the reason.
fn subjects(args: &Args) -> anyhow::Result<Vec<Subject>> {
    let named = |peer: &dyn Peer, names: &[String]| {
        let name = peer.name().to_lowercase();
        names.iter().any(|wanted| name.contains(&wanted.to_lowercase()))
    };
    let connections: Vec<usize> = args.connections.iter().map(|&connections| usize::from(connections)).collect();
    let mut subjects = Vec::new();
    for shim in [None, args.shim.as_ref()] {
        for peer in systems::all(&args.restante, args.nostr.as_deref()) {
            let slowed = shim.is_some();
            let wanted = args.only.is_empty() || named(&*peer, &args.only);
            if !wanted || (slowed && peer.name() != "restante" && !named(&*peer, &args.slow)) {
                continue;
            }
            let (version, failed) = match peer.version() {
                Ok(version) => (version, None),
                Err(error) => (String::new(), Some(format!("{error:#}"))),
            };
            let name = match peer.name() {
                "restante" if slowed => SLOWED.to_string(),
                name if slowed => format!("{name}, fsync + 5 ms"),
                name => name.to_string(),
            };
            let most = connections.iter().copied().max().into_iter().collect();
            let connections = if slowed { most } else { connections.clone() };
            subjects.push(Subject { peer, name, shim: shim.cloned(), connections, version, failed });
        }
        if args.shim.is_none() {
            break;
        }
    }
    ensure!(!subjects.is_empty(), "no system has such a name");
    Ok(subjects)
}

/// Starts it, loads it with each number of connections, ends it.
fn one(args: &Args, runtime: &Runtime, subject: &Subject, outcomes: &mut Vec<Outcome>) -> anyhow::Result<()> {
    // What the last one left to write is not this one's.
    rustix::fs::sync();
    let place = Place::new(&args.dir, "system", subject.peer.not_root(), subject.shim.as_deref())?;
    let mut running = subject.peer.start(&place).context("it does not start")?;
    let length = Duration::from_secs(args.secs);
    for &lanes in &subject.connections {
        let outcome = match &mut running {
            Running::Loop(run) => run(lanes, length)?,
            Running::Server { children, connect } => {
                let opened = (0..lanes).map(|lane| connect(Share { lane, lanes })).collect::<anyhow::Result<Vec<_>>>();
                load::drive(runtime, opened?, length, || children[0].processor())?
            }
        };
        eprintln!("  {lanes} connections: {:.0}/s, p50 {:.2} ms, p99 {:.2} ms", outcome.rate, outcome.p50, outcome.p99);
        outcomes.push(outcome);
    }
    Ok(())
}

fn report(args: &Args, machine: &Machine, threads: usize, subjects: &[Subject], rows: &[Row]) {
    let model = format!(
        "bodies of {BODY_BYTES} bytes to {MAILBOXES} mailboxes; one request in flight on each connection; {} round(s) of {} s, \
         started on nothing for each; medians; the load has {threads} thread(s) on the same machine; loopback, no TLS",
        args.rounds, args.secs
    );
    let skipped = subjects.iter().filter_map(|subject| Some((&subject.name, subject.failed.as_ref()?)));
    let skipped = skipped.map(|(name, reason)| format!("{name}: {reason}"));
    let not_measured: Vec<String> = skipped.chain(NOT_MEASURED.map(str::to_owned)).collect();
    let plain = subjects.iter().filter(|subject| subject.shim.is_none() && !subject.version.is_empty());
    if args.json {
        let systems: Vec<_> = plain
            .map(|subject| {
                let acknowledged = subject.peer.acknowledged();
                json!({
                    "system": subject.name, "version": subject.version, "settings": subject.peer.settings(),
                    "acknowledged": acknowledged.means, "on_disk_when_acknowledged": acknowledged.on_disk,
                })
            })
            .collect();
        let all = json!({
            "machine": machine.json(), "model": model, "rounds": args.rounds, "secs": args.secs, "load_threads": threads,
            "settings": systems, "results": figures::json(rows), "not_measured": not_measured,
        });
        println!("{all:#}");
        return;
    }
    println!("machine   {}\nload      {model}\n\n{}", machine.line(), figures::tables(rows));
    for subject in plain {
        let acknowledged = subject.peer.acknowledged();
        let (name, disk) = (&subject.name, if acknowledged.on_disk { "on disk" } else { "not on disk" });
        println!("{name}: {}\n  settings: {}", subject.version, subject.peer.settings());
        println!("  acknowledged: {} ({disk})", acknowledged.means);
    }
    println!("\nNot measured:\n  {}", not_measured.join("\n  "));
}

const NOT_MEASURED: [&str; 4] = [
    "receiving by many at once from one mailbox; pages of more than one",
    "replication, clusters, several nodes",
    "TLS, a network, other machines",
    "other sizes of bodies, more than one request in flight on a connection",
];
