//! Sends and receiving, as fast as they go. In every round: sends to the relay and the same requests to the baseline, one
//! after the other and in turns the other way round; then everything is fetched and acknowledged.

use super::device::{log_in, register};
use super::figures::{Bound, Section};
use super::load::{Recipients, drain, drive};
use super::process::Process;
use super::relay::{Baseline, Plan, Relay};
use crate::cli::output;

/// `send` and `receive`; without the baseline where only the latter is asked for.
pub(super) async fn run(plan: &Plan, with_baseline: bool) -> anyhow::Result<[Section; 2]> {
    let (mut send, mut receive) = (Section::new("send"), Section::new("receive"));
    let relay = Relay::start(plan, plan.connections).await?;
    let baseline = if with_baseline { Some(Baseline::start(&plan.parent).await?) } else { None };
    let devices = register(&relay.at, Recipients::needed(plan)).await?;
    let online = log_in(&relay.at, &devices).await?;
    let recipients = Recipients::fixed(&relay.at, &devices, plan.connections);
    // Apart, since there nobody's mailbox becomes full.
    let bare_recipients = Recipients::fixed(&relay.at, &devices, plan.connections);
    for round in 1..=plan.rounds {
        output::say(&format!("send and receive: round {round} of {}", plan.rounds));
        let bare = async |turn: bool| match &baseline {
            Some(baseline) if turn => drive(plan, &baseline.at, &bare_recipients).await.map(Some),
            _ => anyhow::Ok(None),
        };
        let before = bare(round % 2 == 1).await?;
        let processor = relay.process().ok().zip(Process::own());
        let begun = spent(processor.as_ref());
        let mut sent = drive(plan, &relay.at, &recipients).await?;
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
        send.must_not(sent.fault());

        let received = drain(plan, &relay.at, &online).await?;
        recipients.all_emptied();
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
    send.aim("ratio_to_baseline", Bound::AtLeast { floor: 0.25, aim: 0.35 });
    receive.aim("ratio_to_sends", Bound::AtLeast { floor: 1.0, aim: 2.0 });
    Ok([send, receive])
}

/// Seconds of processor time that two processes have had.
fn spent(processes: Option<&(Process, Process)>) -> Option<(f64, f64)> {
    let (one, other) = processes?;
    one.processor().ok().zip(other.processor().ok())
}
