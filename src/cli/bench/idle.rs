//! What waiting costs: the relay's resident memory for each idle stream and each waiting poll, what a second wave of them
//! adds, and whether the descriptors come back.
//!
//! Each kind has a fresh process with everybody logged in before the first reading: what registering left on the heap must
//! not be counted, nor be there to be filled. A session's memory is no part of the figure.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::ensure;
use tokio::task::JoinSet;

use super::crowd::{Numbers, together};
use super::device::{Online, WORKERS, log_in, register};
use super::figures::{Bound, Section};
use super::http::{Address, Connection};
use super::machine::fit;
use super::relay::{Plan, Relay};
use super::socket::Socket;
use crate::cli::output;
use crate::protocol::envelopes::ReceiveReply;
use crate::protocol::stream::RelayFrame;

#[derive(Clone, Copy)]
enum Kind {
    Stream,
    Poll,
}

pub(super) async fn run(plan: &Plan) -> anyhow::Result<Section> {
    let mut section = Section::new("idle");
    let count = fit(plan.devices.unwrap_or(DEVICES), "idle");
    let mut relay = Relay::start(plan, count).await?;
    let devices = register(&relay.at, count).await?;
    for round in 1..=plan.rounds {
        for kind in [Kind::Stream, Kind::Poll] {
            output::say(&format!("idle: {count} {}, round {round} of {}", kind.words(), plan.rounds));
            relay.kill()?;
            relay.start_again()?;
            let online = log_in(&relay.at, &devices).await?;
            measure(&relay, &online, kind, &mut section).await?;
        }
    }
    section.count("devices", count);
    for kind in [Kind::Stream, Kind::Poll] {
        let [each, growth, _] = kind.figures();
        section.aim(each, Bound::at_most(kind.kib_aim()));
        section.aim(growth, Bound::at_most(GROWTH_AIM));
    }
    Ok(section)
}

async fn measure(relay: &Relay, online: &[Online], kind: Kind, section: &mut Section) -> anyhow::Result<()> {
    let process = relay.process()?;
    let [each, growth, left] = kind.figures();
    let [resident_before, resident_with, resident_after] = kind.readings();
    process.quiet().await?;
    let (before, descriptors) = (process.resident()?, process.descriptors()?);

    let mut full = Vec::new();
    let mut after = descriptors;
    for _ in 0..2 {
        let wave = Wave::open(&relay.at, online, kind).await?;
        process.quiet().await?;
        let (resident, open) = (process.resident()?, process.descriptors()?);
        let gone = wave.ended();
        section.count(kind.counted(), online.len() - gone);
        section.must(gone == 0 && open == descriptors + online.len(), || {
            format!("{} {} were opened, {gone} ended, {} are open at the relay", online.len(), kind.words(), open - descriptors)
        });
        full.push(resident as f64);
        drop(wave);
        after = process.descriptors_down_to(descriptors).await?;
        process.quiet().await?;
    }
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    section.round(resident_before, "MiB", mib(before as f64));
    section.round(resident_with, "MiB", mib(full[0]));
    section.round(resident_after, "MiB", mib(process.resident()? as f64));
    section.round(each, "KiB", (full[0] - before as f64) / 1_024.0 / online.len() as f64);
    section.round(growth, "%", (full[1] - full[0]) / full[0] * 100.0);
    section.round(left, "", after as f64 - descriptors as f64);
    section.must(after <= descriptors, || format!("{descriptors} descriptors before, {after} after all {}", kind.words()));
    Ok(())
}

impl Kind {
    fn words(self) -> &'static str {
        match self {
            Self::Stream => "streams",
            Self::Poll => "long polls",
        }
    }

    fn counted(self) -> &'static str {
        match self {
            Self::Stream => "streams_held",
            Self::Poll => "polls_held",
        }
    }

    /// Memory of one, growth by a second wave, descriptors not given back.
    fn figures(self) -> [&'static str; 3] {
        match self {
            Self::Stream => ["memory_per_stream", "second_wave_of_streams", "descriptors_left_by_streams"],
            Self::Poll => ["memory_per_poll", "second_wave_of_polls", "descriptors_left_by_polls"],
        }
    }

    /// Resident in all: before the first wave, with it, and after the second was closed.
    fn readings(self) -> [&'static str; 3] {
        match self {
            Self::Stream => ["resident_before_streams", "resident_with_streams", "resident_after_streams"],
            Self::Poll => ["resident_before_polls", "resident_with_polls", "resident_after_polls"],
        }
    }

    fn kib_aim(self) -> f64 {
        match self {
            Self::Stream => 10.0,
            Self::Poll => 16.0,
        }
    }
}

/// One of each device, held open until it is dropped.
struct Wave {
    _tasks: JoinSet<()>,
    ended: Arc<AtomicUsize>,
}

impl Wave {
    async fn open(at: &Address, online: &[Online], kind: Kind) -> anyhow::Result<Self> {
        let ended = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        match kind {
            Kind::Stream => {
                for mut socket in opened(at, online, open_stream).await? {
                    let ended = Arc::clone(&ended);
                    tasks.spawn(async move {
                        while socket.hear().await.is_ok() {}
                        ended.fetch_add(1, Ordering::Relaxed);
                    });
                }
            }
            Kind::Poll => {
                for (mut connection, request) in opened(at, online, open_poll).await? {
                    let ended = Arc::clone(&ended);
                    tasks.spawn(async move {
                        loop {
                            let empty = connection.hear().await.is_ok_and(|reply| reply.status == 200);
                            // Its time was up: as a client does, it asks again.
                            if !empty || connection.say(&request).await.is_err() {
                                break;
                            }
                        }
                        ended.fetch_add(1, Ordering::Relaxed);
                    });
                }
            }
        }
        Ok(Self { _tasks: tasks, ended })
    }

    fn ended(&self) -> usize {
        self.ended.load(Ordering::Relaxed)
    }
}

/// Opens one of each device, [`WORKERS`] at a time.
async fn opened<T, F>(
    at: &Address,
    online: &[Online],
    open: impl Fn(Address, Online) -> F + Copy + Send + 'static,
) -> anyhow::Result<Vec<T>>
where
    T: Send + 'static,
    F: Future<Output = anyhow::Result<T>> + Send,
{
    let numbers = Numbers::up_to(online.len());
    let online: Arc<[Online]> = online.into();
    let opened = together(WORKERS.min(online.len()), |_| {
        let (at, numbers, online) = (at.clone(), numbers.clone(), Arc::clone(&online));
        async move {
            let mut opened = Vec::new();
            for number in numbers {
                opened.push(open(at.clone(), online[number].clone()).await?);
            }
            Ok(opened)
        }
    });
    Ok(opened.await?.into_iter().flatten().collect())
}

/// A stream that was told that nothing waits.
async fn open_stream(at: Address, online: Online) -> anyhow::Result<Socket> {
    let mut socket = Socket::open(&at, &online.session).await?;
    let (frame, _) = socket.hear().await?;
    ensure!(matches!(frame, RelayFrame::Drained), "something waits on an idle stream");
    Ok(socket)
}

/// A poll that is on its way. That nothing waits was asked before.
async fn open_poll(at: Address, online: Online) -> anyhow::Result<(Connection, Vec<u8>)> {
    let mut connection = Connection::new(&at);
    let page: ReceiveReply = connection.expect(200, &at.get("/v1/envelopes", Some(&online.session))).await?;
    ensure!(page.drained && page.envelopes.is_empty(), "something waits for an idle poll");
    let request = at.get(&format!("/v1/envelopes?wait={WAIT_SECS}"), Some(&online.session));
    connection.say(&request).await?;
    Ok((connection, request))
}

const DEVICES: usize = 10_000;
/// Growth by the second wave, in percent of the first's memory.
const GROWTH_AIM: f64 = 5.0;
/// The longest that a relay grants by default.
const WAIT_SECS: u64 = 60;
