//! Sends and receiving, as fast as they go. In every round: sends to the relay and the same requests to the baseline, one
//! after the other and in turns the other way round; then everything is fetched and acknowledged.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::Barrier;

use super::crowd::{Numbers, pause, together};
use super::device::{Device, Online, fresh_id, log_in, register};
use super::figures::{Section, Times};
use super::http::{Address, Connection};
use super::process::Process;
use super::relay::{Baseline, Plan, Relay};
use crate::cli::output;
use crate::protocol::Seq;
use crate::protocol::envelopes::{AckReply, AckRequest};

/// `send` and `receive`; without the baseline where only the latter is asked for.
pub(super) async fn run(plan: &Plan, with_baseline: bool) -> anyhow::Result<[Section; 2]> {
    let (mut send, mut receive) = (Section::new("send"), Section::new("receive"));
    let relay = Relay::start(plan, plan.connections).await?;
    let baseline = if with_baseline { Some(Baseline::start(&plan.parent).await?) } else { None };
    let mailboxes = plan.devices.unwrap_or(usize::MAX).min(plan.connections);
    let devices = register(&relay.at, mailboxes).await?;
    let online = log_in(&relay.at, &devices).await?;
    for round in 1..=plan.rounds {
        output::say(&format!("send and receive: round {round} of {}", plan.rounds));
        let bare = async |turn: bool| match &baseline {
            Some(baseline) if turn => drive(plan, &baseline.at, &devices).await.map(Some),
            _ => anyhow::Ok(None),
        };
        let before = bare(round % 2 == 1).await?;
        let processor = relay.process().ok().zip(Process::own());
        let begun = spent(processor.as_ref());
        let mut sent = drive(plan, &relay.at, &devices).await?;
        let ended = spent(processor.as_ref());
        let after = bare(round % 2 == 0).await?;
        send.round("durable_sends", "/s", sent.rate());
        send.round("p50", "ms", sent.times.percentile(50));
        send.round("p99", "ms", sent.times.percentile(99));
        if let Some(mut bare) = before.or(after) {
            send.round("baseline", "/s", bare.rate());
            send.round("baseline_p50", "ms", bare.times.percentile(50));
            send.round("baseline_p99", "ms", bare.times.percentile(99));
            send.round("ratio_to_baseline", "×", sent.rate() / bare.rate());
            send.must(bare.refused + bare.failed == 0, || "the baseline did not answer everything".into());
        }
        let cost = begun.zip(ended).map(|(begun, ended)| (ended.1 - begun.1) / (ended.0 - begun.0));
        send.round("bench_processor_per_relay_processor", "×", cost);
        send.count("sent", sent.accepted);
        send.count("refused", sent.refused);
        send.count("failed", sent.failed);
        send.must(sent.refused + sent.failed == 0, || format!("{} refused, {} failed", sent.refused, sent.failed));

        let received = drain(plan, &relay.at, &online).await?;
        receive.round("received_and_acknowledged", "/s", received.rate());
        receive.round("ratio_to_sends", "×", received.rate() / sent.rate());
        receive.count("sent", sent.accepted);
        receive.count("received", received.envelopes);
        receive.count("acknowledged", received.removed);
        receive.count("pages", received.pages);
        receive.must(received.envelopes == sent.accepted && received.removed == sent.accepted, || {
            format!("{} sent, {} received, {} acknowledged", sent.accepted, received.envelopes, received.removed)
        });
    }
    Ok([send, receive])
}

/// Seconds of processor time that two processes have had.
fn spent(processes: Option<&(Process, Process)>) -> Option<(f64, f64)> {
    let (one, other) = processes?;
    one.processor().ok().zip(other.processor().ok())
}

/// What came of sends.
struct Sent {
    times: Times,
    /// Answered 202, with those before the clock ran.
    accepted: usize,
    refused: usize,
    failed: usize,
    length: Duration,
}

impl Sent {
    fn rate(&self) -> f64 {
        self.times.count() as f64 / self.length.as_secs_f64()
    }
}

/// Sends over every connection, one request in flight on each, for the plan's seconds. Each begins with one send that is
/// not timed: it opens the connection, and the relay agrees on its key with the mailbox.
async fn drive(plan: &Plan, at: &Address, devices: &[Arc<Device>]) -> anyhow::Result<Sent> {
    let barrier = Arc::new(Barrier::new(plan.connections));
    let length = Duration::from_secs(plan.seconds);
    let lanes = together(plan.connections, |number| {
        let (at, barrier) = (at.clone(), Arc::clone(&barrier));
        let mut parcel = devices[number % devices.len()].parcel(&at);
        async move {
            let mut connection = Connection::new(&at);
            let (mut times, mut accepted, mut refused, mut failed) = (Times::default(), 0, 0, 0);
            let mut began = None;
            loop {
                let sent = Instant::now();
                match connection.ask(parcel.with(&fresh_id())).await {
                    Ok(reply) if reply.status == 202 => {
                        accepted += 1;
                        if began.is_some() {
                            times.add(sent.elapsed());
                        }
                    }
                    Ok(_) => {
                        refused += 1;
                        pause(AFTER_REFUSAL).await;
                    }
                    Err(_) => {
                        failed += 1;
                        pause(AFTER_REFUSAL).await;
                    }
                }
                match began {
                    None => {
                        barrier.wait().await;
                        began = Some(Instant::now());
                    }
                    Some(began) if began.elapsed() >= length => {
                        return Ok(Sent { times, accepted, refused, failed, length: began.elapsed() });
                    }
                    Some(_) => {}
                }
            }
        }
    });
    let mut all = Sent { times: Times::default(), accepted: 0, refused: 0, failed: 0, length };
    for lane in lanes.await? {
        all.times.join(lane.times);
        all.accepted += lane.accepted;
        all.refused += lane.refused;
        all.failed += lane.failed;
        all.length = all.length.max(lane.length);
    }
    Ok(all)
}

/// What was fetched.
#[derive(Default)]
struct Received {
    envelopes: usize,
    removed: usize,
    pages: usize,
    length: Duration,
}

impl Received {
    fn rate(&self) -> f64 {
        self.envelopes as f64 / self.length.as_secs_f64()
    }
}

/// Of a page, what is needed to go on; parsing the rest is what a client does after the relay's work.
#[derive(Deserialize)]
struct Page {
    envelopes: Vec<Item>,
    drained: bool,
}

#[derive(Deserialize)]
struct Item {
    seq: Seq,
}

/// Empties every mailbox, page by page, as many at once as there are connections.
async fn drain(plan: &Plan, at: &Address, online: &[Online]) -> anyhow::Result<Received> {
    let began = Instant::now();
    let numbers = Numbers::up_to(online.len());
    let online: Arc<[Online]> = online.into();
    let emptied = together(plan.connections.min(online.len()), |_| {
        let (at, numbers, online) = (at.clone(), numbers.clone(), Arc::clone(&online));
        async move {
            let mut connection = Connection::new(&at);
            let mut all = Received::default();
            for number in numbers {
                let session = Some(&online[number].session);
                let page = at.get(&format!("/v1/envelopes?limit={PAGE}"), session);
                loop {
                    let got: Page = connection.expect(200, &page).await?;
                    let Some(last) = got.envelopes.last() else { break };
                    let request = at.post("/v1/envelopes/ack", session, &AckRequest { seqs: None, through: Some(last.seq) });
                    let reply: AckReply = connection.expect(200, &request).await?;
                    all.envelopes += got.envelopes.len();
                    all.removed += reply.removed as usize;
                    all.pages += 1;
                    if got.drained {
                        break;
                    }
                }
            }
            Ok(all)
        }
    });
    let mut all = Received::default();
    for one in emptied.await? {
        all.envelopes += one.envelopes;
        all.removed += one.removed;
        all.pages += one.pages;
    }
    all.length = began.elapsed();
    Ok(all)
}

/// Envelopes a page.
const PAGE: usize = 100;
/// So that a relay that refuses is not hammered.
const AFTER_REFUSAL: Duration = Duration::from_millis(20);
