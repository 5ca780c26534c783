//! No wake-up is lost, whatever the schedule: the relay's own `crates/relay/src/service/wakeups.rs`, with the locks of
//! `shuttle` in the place of the standard library's, under thousands of schedules drawn at random. A lost wake-up is a waiter that nobody
//! wakes any more, which `shuttle` reports as a deadlock, with the schedule that led to it.
//!
//! Its own `main`, so that the unit tests in that file, which know nothing of `shuttle`, stay out. `RESTANTE_SHUTTLE_ITERATIONS`
//! says how many schedules each scenario is run under; an argument runs only the scenarios with that in their name.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use restante::protocol;
use shuttle::scheduler::RandomScheduler;
use shuttle::{Config, FailurePersistence, Runner};

mod scenarios;
/// What `wakeups.rs` takes for `super::sync`.
mod sync {
    pub(crate) use shuttle::sync::{Arc, Mutex, MutexGuard};
}
#[expect(dead_code, reason = "its unit tests are not run here, and what only they use is left over")]
#[path = "../../crates/relay/src/service/wakeups.rs"]
mod wakeups;

/// A scenario, and whether some schedule must break it.
type Case = (&'static str, fn(), bool);

const CASES: &[Case] = &[
    ("a_waiter_sees_all_that_senders_push", scenarios::a_waiter_sees_all_that_senders_push, false),
    ("a_newer_waiter_supersedes_and_sees_all", scenarios::a_newer_waiter_supersedes_and_sees_all, false),
    ("polls_that_come_and_go_see_all", scenarios::polls_that_come_and_go_see_all, false),
    ("a_wait_that_was_dropped_costs_nothing", scenarios::a_wait_that_was_dropped_costs_nothing, false),
    ("a_waiter_that_registers_after_it_reads_is_caught", scenarios::a_waiter_that_registers_after_it_reads, true),
];

fn main() -> ExitCode {
    let given = std::env::var("RESTANTE_SHUTTLE_ITERATIONS").ok();
    let schedules = given.map_or(SCHEDULES, |given| given.parse().expect("RESTANTE_SHUTTLE_ITERATIONS is a number"));
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let (mut passed, mut failed) = (0, 0);
    for (name, scenario, broken) in CASES {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| name.contains(wanted.as_str())) {
            continue;
        }
        let outcome = if *broken { caught(*scenario, schedules) } else { held(*scenario, schedules) };
        let verdict = if outcome.is_ok() { "ok" } else { "FAILED" };
        let said = outcome.unwrap_or_else(|said| said);
        println!("test {name} ... {verdict} ({said})");
        *(if verdict == "ok" { &mut passed } else { &mut failed }) += 1;
    }
    println!("\n{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs a scenario under so many schedules of either kind, none of which may break it.
fn held(scenario: fn(), schedules: usize) -> Result<String, String> {
    let run = || {
        shuttle::check_random(scenario, schedules);
        shuttle::check_pct(scenario, schedules, PREEMPTIONS);
    };
    catch_unwind(AssertUnwindSafe(run)).map_err(|_| "the schedule stands above".to_string())?;
    Ok(format!("{schedules} random schedules and {schedules} by priorities"))
}

/// The same for one that must break: a test that cannot fail proves nothing.
fn caught(scenario: fn(), schedules: usize) -> Result<String, String> {
    let mut quiet = Config::new();
    quiet.failure_persistence = FailurePersistence::None;
    println!("one that is broken on purpose; a deadlock is due:");
    let run = || Runner::new(RandomScheduler::new(schedules), quiet).run(scenario);
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let outcome = catch_unwind(AssertUnwindSafe(run));
    std::panic::set_hook(report);
    match outcome {
        Err(_) => Ok("broken, as it must be".into()),
        Ok(_) => Err(format!("{schedules} schedules did not find what is broken in it")),
    }
}

/// Of each kind and for each scenario, where nothing else is said.
const SCHEDULES: usize = 2_000;
/// The most changes of priority in a schedule: faults of this kind need two or three.
const PREEMPTIONS: usize = 3;
