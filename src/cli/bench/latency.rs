//! How soon an envelope is there: from the send to the delivery, over streams and over long polls, beside the sender's own
//! `202` in the same run. Sends come at a fixed rate, to everybody in turn, whether the relay keeps up or not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::crowd::together;
use super::device::{Online, log_in, register};
use super::figures::{Bound, Section, Times};
use super::http::{Address, Connection};
use super::machine::fit;
use super::post::Post;
use super::relay::{Plan, Relay};
use super::socket::Socket;
use crate::cli::output;
use crate::protocol::Seq;
use crate::protocol::envelopes::{AckReply, AckRequest, ReceiveReply};
use crate::protocol::stream::RelayFrame;

pub(super) async fn run(plan: &Plan) -> anyhow::Result<Section> {
    let mut section = Section::new("latency");
    let count = fit(plan.devices.unwrap_or(DEVICES), "latency");
    let relay = Relay::start(plan, count).await?;
    let devices = register(&relay.at, count).await?;
    let online = log_in(&relay.at, &devices).await?;
    section.count("devices", count);
    for round in 1..=plan.rounds {
        for names in [&STREAM, &POLL] {
            output::say(&format!("latency: over {}, round {round} of {}", names.words, plan.rounds));
            let post = Post::new(&relay.at, &devices);
            let mut receivers = JoinSet::new();
            if names.words == STREAM.words {
                for socket in together(online.len(), |number| open(relay.at.clone(), online[number].clone())).await? {
                    receivers.spawn(by_stream(socket, Arc::clone(&post)));
                }
            } else {
                online
                    .iter()
                    .for_each(|online| drop(receivers.spawn(by_poll(relay.at.clone(), online.clone(), Arc::clone(&post)))));
            }
            // Once to everybody before the clock runs: the relay agrees on its key with each mailbox.
            post.pace(plan.rate, Duration::ZERO, |sent| sent < count).await?;
            post.settle().await?;
            let began = Instant::now();
            let sends = plan.rate * plan.seconds;
            post.pace(plan.rate, Duration::ZERO, |sent| (sent as u64) < sends).await?;
            let length = began.elapsed();
            post.settle().await?;
            while let Some(ended) = receivers.try_join_next() {
                ended??;
            }
            receivers.shutdown().await;
            together(online.len(), |number| empty(relay.at.clone(), online[number].clone())).await?;
            report(&post, count, length, names, &mut section);
        }
    }
    for names in [&STREAM, &POLL] {
        section.aim(names.ratio, Bound::at_most(RATIO_AIM));
    }
    Ok(section)
}

fn report(post: &Post, warm_up: usize, length: Duration, names: &Names, section: &mut Section) {
    let letters = post.letters();
    let (mut accepted, mut delivered) = (Times::default(), Times::default());
    for letter in letters.iter().skip(warm_up) {
        letter.accepted.into_iter().for_each(|time| accepted.add(time));
        letter.delivered.into_iter().for_each(|time| delivered.add(time));
    }
    section.round(names.rate, "/s", accepted.count() as f64 / length.as_secs_f64());
    section.round(names.accepted[0], "ms", accepted.percentile(50));
    section.round(names.accepted[1], "ms", accepted.percentile(99));
    section.round(names.delivered[0], "ms", delivered.percentile(50));
    section.round(names.delivered[1], "ms", delivered.percentile(99));
    let p50s = delivered.percentile(50).zip(accepted.percentile(50));
    section.round(names.ratio, "×", p50s.map(|(delivered, accepted)| delivered / accepted));

    let sent = letters.len();
    let accepted = letters.iter().filter(|letter| letter.accepted.is_some()).count();
    let delivered = letters.iter().filter(|letter| letter.delivered.is_some()).count();
    let again: usize = letters.iter().map(|letter| letter.again).sum();
    section.count("sent", sent);
    section.count("delivered", delivered);
    section.count("delivered_again", again);
    section.must(accepted == sent && delivered == sent && again == 0, || {
        format!("over {}: {sent} sent, {accepted} accepted, {delivered} delivered, {again} of them again", names.words)
    });
}

async fn open(at: Address, online: Online) -> anyhow::Result<(Socket, Online)> {
    Ok((Socket::open(&at, &online.session).await?, online))
}

/// Takes what comes over a stream; acknowledges when nothing more waits.
pub(super) async fn by_stream((mut socket, online): (Socket, Online), post: Arc<Post>) -> anyhow::Result<()> {
    let mut last: Option<Seq> = None;
    loop {
        match socket.hear().await? {
            (RelayFrame::Envelope(envelope), came) => {
                last = Some(envelope.seq);
                post.arrived(&online.device, envelope, came);
            }
            (RelayFrame::Drained, _) => {
                if let Some(through) = last.take() {
                    socket.acknowledge(through).await?;
                }
            }
            _ => {}
        }
    }
}

/// Polls, and acknowledges each page before the next poll.
async fn by_poll(at: Address, online: Online, post: Arc<Post>) -> anyhow::Result<()> {
    let mut connection = Connection::new(&at);
    let session = Some(&online.session);
    let poll = at.get(&format!("/v1/envelopes?wait={WAIT_SECS}"), session);
    loop {
        let page: ReceiveReply = connection.expect(200, &poll).await?;
        let came = Instant::now();
        let Some(last) = page.envelopes.last() else { continue };
        let request = at.post("/v1/envelopes/ack", session, &AckRequest { seqs: None, through: Some(last.seq) });
        for envelope in page.envelopes {
            post.arrived(&online.device, envelope, came);
        }
        let _: AckReply = connection.expect(200, &request).await?;
    }
}

/// Takes what was delivered and not acknowledged any more when its receiver was stopped: the next round would not know it.
async fn empty(at: Address, online: Online) -> anyhow::Result<()> {
    let mut connection = Connection::new(&at);
    let session = Some(&online.session);
    loop {
        let page: ReceiveReply = connection.expect(200, &at.get("/v1/envelopes", session)).await?;
        let Some(last) = page.envelopes.last() else { return Ok(()) };
        let request = at.post("/v1/envelopes/ack", session, &AckRequest { seqs: None, through: Some(last.seq) });
        let _: AckReply = connection.expect(200, &request).await?;
    }
}

/// What the figures of one way are called.
struct Names {
    words: &'static str,
    rate: &'static str,
    accepted: [&'static str; 2],
    delivered: [&'static str; 2],
    ratio: &'static str,
}

const STREAM: Names = Names {
    words: "streams",
    rate: "stream_sends",
    accepted: ["stream_202_p50", "stream_202_p99"],
    delivered: ["stream_delivery_p50", "stream_delivery_p99"],
    ratio: "stream_p50_ratio_to_202",
};
const POLL: Names = Names {
    words: "long polls",
    rate: "poll_sends",
    accepted: ["poll_202_p50", "poll_202_p99"],
    delivered: ["poll_delivery_p50", "poll_delivery_p99"],
    ratio: "poll_p50_ratio_to_202",
};
const DEVICES: usize = 1_000;
const RATIO_AIM: f64 = 1.5;
/// As clients do.
const WAIT_SECS: u64 = 25;
