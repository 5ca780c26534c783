//! How long a send takes when there is room: at half of the peak rate, which is found first, in the same run. Sends come when
//! they are due, answered before or not.

use std::time::Duration;

use super::device::{log_in, register};
use super::disk;
use super::figures::{Bound, Section};
use super::load::{Recipients, drain, drive};
use super::pace::pace;
use super::relay::{Plan, Relay};
use crate::cli::output;

pub(super) async fn run(plan: &Plan) -> anyhow::Result<Section> {
    let mut section = Section::new("half");
    let relay = Relay::start(plan, plan.connections).await?;
    let devices = register(&relay.at, Recipients::needed(plan)).await?;
    let online = log_in(&relay.at, &devices).await?;
    let recipients = Recipients::fixed(&relay.at, &devices, plan.connections);
    let length = Duration::from_secs(plan.seconds);
    for round in 1..=plan.rounds {
        output::say(&format!("half of the peak rate: round {round} of {}", plan.rounds));
        let peak = drive(plan, &relay.at, &recipients).await?;
        let half = peak.rate() / 2.0;
        let mut paced = pace(&relay.at, &recipients, plan.connections, half, move |passed| passed < length).await?;
        let (p50, p99) = (paced.sent.times.percentile(50), paced.sent.times.percentile(99));
        section.round("peak", "/s", peak.rate());
        section.round("sends", "/s", paced.sent.rate());
        section.round("p50", "ms", p50);
        section.round("p99", "ms", p99);
        section.round("p99_ratio_to_p50", "×", p99.zip(p50).map(|(p99, p50)| p99 / p50));
        section.round("sent_late_p99", "ms", paced.late.percentile(99));
        if let Ok(data) = relay.data() {
            let mut waits = tokio::task::spawn_blocking(move || disk::waits(&data, DISK_TIME)).await??;
            section.round("disk_alone_p50", "ms", waits.percentile(50));
            section.round("disk_alone_p99", "ms", waits.percentile(99));
        }
        let received = drain(plan, &relay.at, &online).await?;
        recipients.all_emptied();
        let accepted = peak.accepted + paced.sent.accepted;
        section.count("sent", accepted);
        section.count("received", received.envelopes);
        section.must_not(peak.fault());
        section.must_not(paced.sent.fault());
        section.must(received.envelopes == accepted && received.removed == accepted, || {
            format!("{accepted} sent, {} received, {} acknowledged", received.envelopes, received.removed)
        });
    }
    section.aim("p99_ratio_to_p50", Bound::AtMost { floor: 5.0, aim: 3.0 });
    Ok(section)
}

/// Of the disk alone, each round.
const DISK_TIME: Duration = Duration::from_secs(2);
