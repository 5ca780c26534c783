//! `restante bench`: what a relay bears on this machine, measured from another process. Each scenario has a file; the relay
//! is the shipped one, started as a child with its defaults, and the load comes over real sockets from real accounts.
//!
//! It measures and counts. What must be true of any relay (all that was accepted arrives, once, nothing fails) makes the
//! command fail; a figure that misses its aim is only printed so.

mod baseline;
mod crowd;
mod device;
mod disk;
mod figures;
mod fill;
mod filled;
mod footprint;
mod half;
mod http;
mod idle;
mod latency;
mod load;
mod machine;
mod mixed;
mod pace;
mod post;
mod process;
mod reconnect;
mod relay;
mod socket;
mod throughput;
mod zipf;

use std::path::PathBuf;

use clap::{Args, ValueEnum, value_parser};
use serde_json::{Map, json};
use tokio::signal::unix::{SignalKind, signal};

use super::child::Place;
use super::failure::Failure;
use super::{output, units};
use figures::{HEADS, Section};
use machine::Machine;
use relay::Plan;

/// `restante bench`.
#[derive(Debug, Args)]
#[command(
    after_help = "Starts a relay of its own as a child process with its data in a temporary directory, and leaves nothing behind. \
Figures are medians of the rounds. The exit code is 1 when anything was lost, came twice or failed, and 0 when a figure only misses \
its aim.\n\nExamples:\n  restante bench                          everything, some minutes\n  restante bench send receive --seconds 5\n  \
restante bench idle --devices 2000 --json\n  restante bench filled --fill 10000000 --directory /var/tmp   12 GB, some minutes"
)]
pub(super) struct BenchArgs {
    /// What to measure; everything when nothing is named.
    #[arg(value_enum)]
    scenarios: Vec<Scenario>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Load this relay (http://HOST:PORT) instead; its memory and restarts are then not measured.
    #[arg(long)]
    url: Option<String>,
    /// Devices: 10000 for idle and reconnect, 1000 for latency and mixed unless given.
    #[arg(long, value_parser = value_parser!(u32).range(1..=1_000_000))]
    devices: Option<u32>,
    /// Connections that send and receive, one request in flight on each.
    #[arg(long, default_value_t = 64, value_parser = value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// How long each measurement takes.
    #[arg(long, default_value_t = 10, value_parser = value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Measurements of each kind.
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Sends a second for latency; reconnect has a tenth of it.
    #[arg(long, default_value_t = 1_000, value_parser = value_parser!(u64).range(1..=100_000))]
    rate: u64,
    /// Envelopes that wait in a relay before it is loaded, for the scenario `filled`; about 1.2 KB of disk each.
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..=1_000_000_000))]
    fill: Option<u64>,
    /// In how many mailboxes they wait; a tenth of their number unless given.
    #[arg(long, requires = "fill", value_parser = value_parser!(u32).range(1..=100_000_000))]
    mailboxes: Option<u32>,
    /// Put the relay's data below this directory instead of the system's temporary one.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Set any key of the relay's configuration; may be given several times.
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

/// What there is to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// Durable sends, beside the HTTP framework doing nothing.
    Send,
    /// Fetching and acknowledging in pages of 100.
    Receive,
    /// Memory of idle streams and waiting long polls.
    Idle,
    /// Sends at half of the peak rate, whether they are answered in time or not.
    Half,
    /// Sends, polls and acknowledgements of mailboxes chosen by Zipf.
    Mixed,
    /// From the send to its delivery, by stream and by long poll.
    Latency,
    /// The binary's size, and a relay's memory before anybody comes.
    Footprint,
    /// A relay in which much waits already (`--fill`), beside an empty one.
    Filled,
    /// Everybody coming back after a restart.
    Reconnect,
    /// Serve what sends are measured against.
    #[value(hide = true)]
    Baseline,
}

impl Scenario {
    /// Those that look at the process, or at its data, want a relay of their own.
    fn can_be_elsewhere(self) -> bool {
        matches!(self, Self::Send | Self::Receive | Self::Half | Self::Mixed | Self::Latency)
    }
}

pub(super) fn run(args: BenchArgs) -> anyhow::Result<u8> {
    if args.scenarios.contains(&Scenario::Filled) && args.fill.is_none() {
        return Err(Failure::new("the scenario `filled` wants to know how much: give --fill N").into());
    }
    let serving = args.scenarios == [Scenario::Baseline];
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // The load leaves half of the machine to the relay; what it is compared with has all of it, as the relay does.
    let threads = if serving { cores } else { cores.div_ceil(2) };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    let result = runtime.block_on(async {
        if serving {
            return baseline::run().await;
        }
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        // Whichever way this ends, dropping the measurement kills the relay and removes its data.
        tokio::select! {
            result = measure(args) => result,
            _ = terminate.recv() => Err(Failure::new("terminated; nothing was measured to its end").into()),
            _ = interrupt.recv() => Err(Failure::new("interrupted; nothing was measured to its end").into()),
        }
    });
    runtime.shutdown_background();
    result
}

async fn measure(args: BenchArgs) -> anyhow::Result<u8> {
    let wanted = |scenario| (args.scenarios.is_empty() && scenario != Scenario::Baseline) || args.scenarios.contains(&scenario);
    let parent = args.directory.clone().unwrap_or_else(std::env::temp_dir);
    let machine = Machine::look(Place::new(&parent, "bench", false)?.path())?;
    // Before any child is started: it inherits the limit.
    let connections = machine::connections_max();
    output::say(&machine.line());
    let plan = Plan {
        parent,
        url: args.url.clone(),
        settings: args.set.clone(),
        devices: args.devices.map(|devices| devices as usize),
        connections: machine::fit(args.connections as usize, "send and receive"),
        seconds: args.seconds,
        rounds: args.rounds as usize,
        rate: args.rate,
        fill: args.fill.map(|fill| (fill, args.mailboxes.map_or(fill.div_ceil(10), u64::from) as usize)),
    };
    let mut sections: Vec<Section> = Vec::new();
    let mut not_measured = vec![
        "bodies of 4 and 16 KiB, accounts of several devices".to_string(),
        "TLS and a proxy: connections are plain and of this machine".into(),
        "a network: everything goes over loopback, unless --url names another machine".into(),
        "clients: they seal, open and keep in another process, and here hardly at all".into(),
    ];
    if wanted(Scenario::Send) || wanted(Scenario::Receive) {
        let [send, receive] = throughput::run(&plan, wanted(Scenario::Send)).await?;
        let both = [(Scenario::Send, send), (Scenario::Receive, receive)];
        sections.extend(both.into_iter().filter(|(scenario, _)| wanted(*scenario)).map(|(_, section)| section));
    }
    for (scenario, name) in MORE {
        if !wanted(scenario) {
            continue;
        }
        if plan.url.is_some() && !scenario.can_be_elsewhere() {
            not_measured.push(format!("{name}: the relay at --url is not the bench's own"));
            continue;
        }
        sections.push(match scenario {
            Scenario::Half => half::run(&plan).await?,
            Scenario::Mixed => mixed::run(&plan).await?,
            Scenario::Latency => latency::run(&plan).await?,
            Scenario::Idle => idle::run(&plan).await?,
            Scenario::Reconnect => reconnect::run(&plan).await?,
            Scenario::Footprint => footprint::run(&plan).await?,
            Scenario::Filled => match plan.fill {
                Some((envelopes, mailboxes)) => filled::run(&plan, envelopes, mailboxes).await?,
                None => {
                    not_measured.push("a relay in which much waits already: --fill N".into());
                    continue;
                }
            },
            Scenario::Send | Scenario::Receive | Scenario::Baseline => continue,
        });
    }
    let settings = json!({
        "relay": args.url.as_deref().unwrap_or("a child of its own, on loopback"),
        "software": concat!("restante/", env!("CARGO_PKG_VERSION")),
        "optimized": !cfg!(debug_assertions),
        "synchronous": "FULL",
        "set": args.set,
        "body_bytes": device::BODY_BYTES,
        "connections": plan.connections,
        "descriptors_allow_connections": connections,
        "seconds": plan.seconds,
        "rounds": plan.rounds,
        "rate": plan.rate,
        "fill": plan.fill,
    });
    if args.json {
        let results: Map<_, _> = sections.iter().map(|section| (section.name.to_string(), section.json())).collect();
        output::print_json(&json!({
            "machine": machine, "settings": settings, "scenarios": results, "not_measured": not_measured,
        }))?;
    } else {
        print(&machine, &plan, &sections, &not_measured)?;
    }
    let faults: Vec<String> = sections.iter().flat_map(Section::faults).collect();
    if faults.is_empty() {
        return Ok(0);
    }
    Err(Failure::new(format!("the relay, or the bench, is at fault: {}", faults.join("; "))).into())
}

fn print(machine: &Machine, plan: &Plan, sections: &[Section], not_measured: &[String]) -> anyhow::Result<()> {
    let build = if cfg!(debug_assertions) { "a build without optimizations: these figures say nothing" } else { "optimized" };
    let changed = if plan.settings.is_empty() { String::new() } else { format!(", {}", plan.settings.join(", ")) };
    output::print(&format!(
        "machine   {}\nrelay     restante {}, {build}; {}; synchronous=FULL; \
         defaults but for limits.connections_max{changed}\nload      bodies of {}, {} and {} each; \
         a process of its own\n",
        machine.line(),
        env!("CARGO_PKG_VERSION"),
        plan.url.as_deref().unwrap_or("a child on loopback"),
        units::bytes(device::BODY_BYTES as u64),
        units::count(plan.rounds as u64, "round"),
        units::span(plan.seconds),
    ))?;
    let rows: Vec<Vec<String>> = sections.iter().flat_map(Section::rows).collect();
    output::print_table(&HEADS, &rows)?;
    output::print(&format!("\nNot measured:\n  {}", not_measured.join("\n  ")))
}

/// The scenarios that stand alone, in this order.
const MORE: [(Scenario, &str); 7] = [
    (Scenario::Half, "half"),
    (Scenario::Mixed, "mixed"),
    (Scenario::Latency, "latency"),
    (Scenario::Idle, "idle"),
    (Scenario::Reconnect, "reconnect"),
    (Scenario::Footprint, "footprint"),
    (Scenario::Filled, "filled"),
];
