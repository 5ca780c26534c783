//! The relay against a reference: steps in any order, over HTTP against a process whose clock is set by hand, each answer and
//! after each step every mailbox compared with what plain maps say. What fails is made as short as it gets, and printed. The
//! count is how many cases; a case has up to 50 steps, and 100 from a thousand cases on.

mod accounts;
mod host;
mod judge;
mod mailbox;
mod real;
mod reference;
mod steps;
mod tokens;

use std::panic;
use std::sync::Mutex;

use anyhow::{anyhow, ensure};
use proptest::strategy::{BoxedStrategy, Just, Strategy};
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};
use restante::protocol::ErrorCode;

use crate::random::Random;
use crate::relay::Place;
use crate::{Outcome, Plan};
use host::Host;
use real::Real;
use reference::Model;
use steps::Step;

pub(crate) fn run(plan: &Plan) -> anyhow::Result<Outcome> {
    let place = Place::new(&plan.dir);
    *HOST.lock().map_err(|_| anyhow!("a run before failed"))? = Some(Host::new(place.data()));
    let mut seed = [0; 32];
    Random::new(plan.seed).fill(&mut seed);
    let config = Config { cases: plan.count as u32, failure_persistence: None, max_shrink_iters: SHRINKS, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config.clone(), TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    let length = if plan.count < 1_000 { 50 } else { 100 };
    // Each try that still fails would print a panic.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let outcome = runner.run(&Maps::sequential_strategy(length), |(model, steps, seen)| {
        Relay::test_sequential(config.clone(), model, steps, seen);
        Ok(())
    });
    panic::set_hook(hook);
    let mut host = HOST.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take().expect("it was put there above");
    outcome.map_err(|error| match error {
        TestError::Fail(why, (_, steps, _)) => anyhow!("{why}, after these steps: {steps:#?}"),
        TestError::Abort(why) => anyhow!("no cases: {why}"),
    })?;
    host.end()?;
    place.check()?;
    let tally = host.tally;
    let listed = |counts: &std::collections::BTreeMap<&str, u64>| {
        counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
    };
    let all: u64 = tally.steps.values().sum();
    println!("model: steps: {}", listed(&tally.steps));
    println!("model: refusals: {}", listed(&tally.codes));
    println!("model: codes that it does not come to: {}", ELSEWHERE.map(|(code, _)| code.as_str()).join(", "));
    let missed: Vec<&str> = Step::NAMES.iter().copied().filter(|name| !tally.steps.contains_key(name)).collect();
    ensure!(missed.is_empty(), "never done: {}", missed.join(", "));
    let elsewhere = |code: &ErrorCode| ELSEWHERE.iter().any(|(other, _)| other == code);
    let unheard: Vec<&str> = ErrorCode::ALL
        .iter()
        .filter(|code| !elsewhere(code) && !tally.codes.contains_key(code.as_str()))
        .map(|code| code.as_str())
        .collect();
    ensure!(unheard.is_empty(), "never answered: {}", unheard.join(", "));
    let refusals: u64 = tally.codes.values().sum();
    Ok(Outcome::Held(
        refusals + tally.kills,
        format!(
            "{all} steps in {} cases, {refusals} of them refused by {} codes, {} kills: 0 divergences",
            tally.cases,
            tally.codes.len(),
            tally.kills
        ),
    ))
}

/// The reference's side.
struct Maps;

impl ReferenceStateMachine for Maps {
    type State = Model;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Model> {
        Just(Model::new()).boxed()
    }

    fn transitions(model: &Model) -> BoxedStrategy<Step> {
        steps::steps(model)
    }

    fn apply(model: Model, step: &Step) -> Model {
        model.step(step)
    }
}

/// The relay's side. A divergence is a panic, as the runner wants it.
struct Relay;

impl StateMachineTest for Relay {
    type SystemUnderTest = Real;
    type Reference = Maps;

    fn init_test(model: &Model) -> Real {
        with_host(|host| Real::begin(host, model))
    }

    fn apply(mut real: Real, model: &Model, step: Step) -> Real {
        with_host(|host| real.step(host, model, &step));
        real
    }
}

fn with_host<T>(act: impl FnOnce(&mut Host) -> anyhow::Result<T>) -> T {
    let mut guard = HOST.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let host = guard.as_mut().expect("a run put it there");
    let outcome = act(host);
    if outcome.is_err() {
        host.give_up();
    }
    drop(guard);
    outcome.unwrap_or_else(|error| panic!("{error:#}"))
}

/// The runner's functions have no place for it.
static HOST: Mutex<Option<Host>> = Mutex::new(None);

/// Tries to make a failure shorter.
const SHRINKS: u32 = 300;

/// Codes for what the steps leave out, and what tests them.
const ELSEWHERE: [(ErrorCode, &str); 22] = [
    (ErrorCode::RegistrationClosed, "another configuration"),
    (ErrorCode::PassRefused, "another configuration"),
    (ErrorCode::OriginRefused, "another configuration"),
    (ErrorCode::WrongHost, "another configuration"),
    (ErrorCode::ElevationNeeded, "the second factor"),
    (ErrorCode::CodeRefused, "the second factor"),
    (ErrorCode::Suspended, "the operator"),
    (ErrorCode::NoSuchAccount, "recovery"),
    (ErrorCode::HandleTaken, "handles"),
    (ErrorCode::TooManySlots, "slots"),
    (ErrorCode::SlotChanged, "slots"),
    (ErrorCode::ConditionNeeded, "slots"),
    (ErrorCode::BadSignature, "prekeys"),
    (ErrorCode::WeakKey, "keys"),
    (ErrorCode::TooSlow, "the rung `hostile`"),
    (ErrorCode::UriTooLong, "the rung `hostile`"),
    (ErrorCode::RateLimited, "rates"),
    (ErrorCode::Superseded, "two polls at once"),
    (ErrorCode::Busy, "a full queue"),
    (ErrorCode::Stopping, "the drain"),
    (ErrorCode::RelayFull, "the rung `disk`"),
    (ErrorCode::Internal, "the rung `fault`"),
];
