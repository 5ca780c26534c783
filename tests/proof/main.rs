//! Nothing accepted is ever lost, nothing forgotten is ever found: a harness that tries to break the relay, as a process of
//! its own, the way machines break it. `docs/reliability.md` explains the rungs.
//!
//! `cargo test --test proof` runs every rung with its short count; `cargo test --test proof -- kill --cycles 2000 --seed 7`
//! one of them with another. Each says which seed it had and how many faults it injected; one that injected none has failed.
//! With the feature `sabotage`, `cargo test --features sabotage --test proof -- sabotage` runs every rung against relays that
//! are broken on purpose, and fails where a rung does not.

mod book;
mod by_hand;
#[path = "../it/support/clock.rs"]
mod clock;
mod disk;
mod erasure;
mod fault;
mod forge;
mod hostile;
mod http;
mod kill;
mod ledger;
mod model;
mod people;
mod power;
mod races;
mod random;
mod relay;
mod rot;
mod sabotage;
mod shadow;
mod shapes;
mod soak;
mod strace;
mod time;
mod trace;
mod upgrade;
mod usage;
mod world;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;

/// What a rung is to do.
struct Plan {
    /// How much of it; each rung says of what.
    count: usize,
    seed: u64,
    /// A directory of its own.
    dir: PathBuf,
}

/// What came of a rung that did not fail.
enum Outcome {
    /// So many faults were injected and did no harm.
    Held(u64, String),
    /// It can't run here.
    Skipped(String),
}

/// One way to break a relay.
struct Rung {
    name: &'static str,
    run: fn(&Plan) -> anyhow::Result<Outcome>,
    /// In the gate; 0 is for a rung that runs only when it is named.
    count: usize,
    /// The broken builds that it must catch.
    sabotages: &'static [&'static str],
}

#[rustfmt::skip]
const RUNGS: &[Rung] = &[
    Rung { name: "model", run: model::run, count: 200, sabotages: &["seq_reused", "foreign_ack"] },
    Rung { name: "kill", run: kill::run, count: 50, sabotages: &["answer_before_commit", "seq_reused", "foreign_ack"] },
    Rung { name: "fault", run: fault::run, count: 6, sabotages: &["answer_before_commit"] },
    Rung { name: "power", run: power::run, count: 2_000, sabotages: &["synchronous_normal"] },
    Rung { name: "disk", run: disk::run, count: 1, sabotages: &["answer_before_commit"] },
    Rung { name: "erasure", run: erasure::run, count: 600, sabotages: &["no_secure_delete", "residue_left"] },
    Rung { name: "races", run: races::run, count: 3, sabotages: &["foreign_ack"] },
    Rung { name: "rot", run: rot::run, count: 1_000, sabotages: &["checksum_unchecked"] },
    Rung { name: "upgrade", run: upgrade::run, count: 10, sabotages: &["upgrade_in_pieces"] },
    Rung { name: "time", run: time::run, count: 2, sabotages: &["jump_believed"] },
    Rung { name: "hostile", run: hostile::run, count: 500, sabotages: &["deadlines_ignored"] },
    Rung { name: "forge", run: forge::run, count: 20, sabotages: &["verify_not_strict"] },
    Rung { name: "soak", run: soak::run, count: 0, sabotages: &[] },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == by_hand::NAME) {
        return by_hand::run(&arguments[1..]).map_or_else(
            |error| {
                eprintln!("{error:#}");
                ExitCode::FAILURE
            },
            |()| ExitCode::SUCCESS,
        );
    }
    match asked() {
        Ok((rungs, cycles, seed)) if rungs == ["sabotage"] => sabotage::run(cycles, seed),
        Ok((rungs, cycles, seed)) => climb(&rungs, cycles, seed),
        Err(error) => {
            let names: Vec<&str> = RUNGS.iter().map(|rung| rung.name).collect();
            eprintln!(
                "{error:#}\nproof [RUNG…] [--cycles N] [--seed N], where a rung is one of {} or sabotage",
                names.join(", ")
            );
            ExitCode::from(2)
        }
    }
}

/// The rungs named, the count and the seed.
fn asked() -> anyhow::Result<(Vec<String>, Option<usize>, Option<u64>)> {
    let (mut rungs, mut cycles, mut seed) = (Vec::new(), None, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|text| text.parse::<u64>().ok()).context("a number is missing");
        match argument.as_str() {
            "--cycles" => cycles = Some(number()? as usize),
            "--seed" => seed = Some(number()?),
            // Cargo's own, meant for other harnesses.
            flag if flag.starts_with('-') => {}
            name => {
                anyhow::ensure!(name == "sabotage" || RUNGS.iter().any(|rung| rung.name == name), "there is no rung `{name}`");
                rungs.push(argument);
            }
        }
    }
    Ok((rungs, cycles, seed))
}

/// Runs the rungs named, or all; fails when one does.
fn climb(names: &[String], cycles: Option<usize>, seed: Option<u64>) -> ExitCode {
    let seed = seed.unwrap_or_else(|| u64::from(u32::from_ne_bytes(restante::crypto::random::bytes())));
    let mut fallen = 0;
    let named = |rung: &Rung| names.iter().any(|name| name == rung.name);
    for rung in RUNGS.iter().filter(|rung| if names.is_empty() { rung.count > 0 } else { named(rung) }) {
        let (begun, count) = (Instant::now(), cycles.unwrap_or(if rung.count > 0 { rung.count } else { BY_HAND }));
        println!("{}: --cycles {count} --seed {seed}", rung.name);
        let outcome = tempfile::Builder::new().prefix("restante-proof-").tempdir().context("a directory").and_then(|own| {
            let plan = Plan { count, seed, dir: own.path().to_path_buf() };
            let outcome = (rung.run)(&plan);
            let memory = in_memory(&plan, "");
            if memory != plan.dir {
                let _ = std::fs::remove_dir_all(memory);
            }
            outcome.map_err(|error| error.context(format!("what it left is in {}", own.keep().display())))
        });
        let secs = begun.elapsed().as_secs_f64();
        match outcome {
            Ok(Outcome::Held(0, said)) => {
                fallen += 1;
                println!("{}: FAILED in {secs:.1} s: no fault was injected; {said}", rung.name);
            }
            Ok(Outcome::Held(faults, said)) => println!("{}: held in {secs:.1} s: {faults} faults injected; {said}", rung.name),
            Ok(Outcome::Skipped(why)) => println!("{}: skipped: {why}", rung.name),
            Err(error) => {
                fallen += 1;
                println!("{}: FAILED in {secs:.1} s: {error:#}", rung.name);
            }
        }
    }
    if fallen == 0 { ExitCode::SUCCESS } else { ExitCode::from(FELL) }
}

/// A directory in memory, where the machine has such: for files that live for moments, and whose disk is not what is tested.
fn in_memory(plan: &Plan, name: &str) -> PathBuf {
    let memory = Path::new("/dev/shm");
    let own = plan.dir.file_name().filter(|_| memory.is_dir());
    own.map_or_else(|| plan.dir.clone(), |own| memory.join(own)).join(name)
}

/// The count of a rung that runs only by hand, where none is given.
const BY_HAND: usize = 120;
/// The exit code that says a rung found something, and not that it could not run.
const FELL: u8 = 3;
