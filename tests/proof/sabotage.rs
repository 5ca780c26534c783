//! The proof of the proof: every rung against the relays that it must catch. Each runs in a process of its own, whose
//! environment says how the relays that it starts, and the store that it opens itself, are broken.

use std::process::{Command, ExitCode};

use crate::{FELL, RUNGS};

pub(crate) fn run(cycles: Option<usize>, seed: Option<u64>) -> ExitCode {
    if !cfg!(feature = "sabotage") {
        eprintln!("nothing is broken in this build: cargo test --features sabotage --test proof -- sabotage");
        return ExitCode::from(2);
    }
    let mut unseen = 0;
    for (rung, kind) in RUNGS.iter().flat_map(|rung| rung.sabotages.iter().map(move |kind| (rung, kind))) {
        let count = cycles.unwrap_or(rung.count).to_string();
        let seed = seed.unwrap_or(1).to_string();
        let program = std::env::current_exe().expect("this program has a name");
        let output = Command::new(program)
            .args([rung.name, "--cycles", &count, "--seed", &seed])
            .env("RESTANTE_SABOTAGE", kind)
            .output()
            .expect("this program runs");
        let said = String::from_utf8_lossy(&output.stdout);
        // What follows it tells more.
        let of_rung = |line: &&str| line.starts_with(&format!("{}: ", rung.name));
        let last = said.lines().rev().find(of_rung).unwrap_or_default();
        let verdict = match output.status.code() {
            Some(code) if code == i32::from(FELL) => "caught",
            Some(0) if last.contains(": skipped: ") => "skipped",
            _ => {
                unseen += 1;
                "NOT CAUGHT"
            }
        };
        println!("{kind}, {verdict} by {last}");
    }
    if unseen == 0 { ExitCode::SUCCESS } else { ExitCode::from(FELL) }
}
