//! Everything at once, as it comes in life: each connection sends to one mailbox, then looks into one and acknowledges what it
//! found there, and so on; which mailbox is chosen by Zipf, so that a few are busy and most are not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::crowd::together;
use super::device::{Addressee, Online, log_in, register};
use super::figures::{Section, Times};
use super::http::{Address, Connection};
use super::load::{Lane, PAGE, Page, Recipients, Sent, drain};
use super::relay::{Plan, Relay};
use super::zipf::{Random, Zipf};
use crate::cli::output;
use crate::protocol::envelopes::{AckReply, AckRequest};

pub(super) async fn run(plan: &Plan) -> anyhow::Result<Section> {
    let mut section = Section::new("mixed");
    let relay = Relay::start(plan, plan.connections).await?;
    let count = plan.devices.unwrap_or(DEVICES);
    let devices = register(&relay.at, count).await?;
    let online = log_in(&relay.at, &devices).await?;
    let addressees: Arc<[Addressee]> = online.iter().map(|online| online.device.addressee()).collect();
    let recipients = Recipients::zipf(&relay.at, addressees);
    let mailboxes: Arc<[Mailbox]> =
        online.iter().map(|online| Mailbox { online: online.clone(), polled: AtomicBool::new(false) }).collect();
    let zipf = Arc::new(Zipf::new(count));
    section.count("devices", count);
    for round in 1..=plan.rounds {
        output::say(&format!("mixed: {count} mailboxes, round {round} of {}", plan.rounds));
        let began = Instant::now();
        let length = Duration::from_secs(plan.seconds);
        let lanes = together(plan.connections, |number| {
            let person = Person {
                at: relay.at.clone(),
                connection: Connection::new(&relay.at),
                lane: recipients.lane(number),
                recipients: recipients.clone(),
                mailboxes: Arc::clone(&mailboxes),
                zipf: Arc::clone(&zipf),
                random: Random::new((round * plan.connections + number) as u64),
                did: Did::default(),
            };
            person.live(began, length)
        });
        let mut all = Did::all(lanes.await?);
        let seconds = began.elapsed().as_secs_f64();
        let operations = all.sent.times.count() + all.polls.count() + all.acks.count();
        section.round("operations", "/s", operations as f64 / seconds);
        section.round("sends", "/s", all.sent.times.count() as f64 / seconds);
        section.round("received_and_acknowledged", "/s", all.received as f64 / seconds);
        let Did { sent, polls, acks, .. } = &mut all;
        for (names, times) in [
            (["send_p50", "send_p99"], &mut sent.times),
            (["poll_p50", "poll_p99"], polls),
            (["acknowledgement_p50", "acknowledgement_p99"], acks),
        ] {
            section.round(names[0], "ms", times.percentile(50));
            section.round(names[1], "ms", times.percentile(99));
        }
        // What was left, so that all that was sent is known to be there.
        let left = drain(plan, &relay.at, &online).await?;
        recipients.all_emptied();
        let (sent, received) = (all.sent.accepted, all.received + left.envelopes);
        section.count("sent", sent);
        section.count("received", received);
        section.must_not(all.sent.fault());
        section.must(sent == received, || format!("{sent} sent, {received} received"));
    }
    Ok(section)
}

struct Mailbox {
    online: Online,
    /// A device reads its mailbox once at a time: a newer poll would end the older.
    polled: AtomicBool,
}

/// What one connection did.
#[derive(Default)]
struct Did {
    sent: Sent,
    polls: Times,
    acks: Times,
    received: usize,
}

impl Did {
    fn all(lanes: Vec<Self>) -> Self {
        let mut all = Self::default();
        let mut sent = Vec::new();
        for lane in lanes {
            sent.push(lane.sent);
            all.polls.join(lane.polls);
            all.acks.join(lane.acks);
            all.received += lane.received;
        }
        all.sent = Sent::all(sent);
        all
    }
}

/// What a connection works with.
struct Person {
    at: Address,
    connection: Connection,
    lane: Lane,
    recipients: Recipients,
    mailboxes: Arc<[Mailbox]>,
    zipf: Arc<Zipf>,
    random: Random,
    did: Did,
}

impl Person {
    async fn live(mut self, began: Instant, length: Duration) -> anyhow::Result<Did> {
        while began.elapsed() < length {
            let since = Instant::now();
            let reply = self.connection.ask(self.lane.next()).await;
            self.did.sent.note(reply, Some(since));
            self.look().await?;
        }
        Ok(self.did)
    }

    /// Looks into a mailbox and acknowledges what it finds.
    async fn look(&mut self) -> anyhow::Result<()> {
        let mailboxes = Arc::clone(&self.mailboxes);
        let rank = self.zipf.at(self.random.uniform());
        let mailbox = &mailboxes[rank];
        if mailbox.polled.swap(true, Ordering::Acquire) {
            return Ok(());
        }
        let session = Some(&mailbox.online.session);
        let since = Instant::now();
        let page: Page = self.connection.expect(200, &self.at.get(&format!("/v1/envelopes?limit={PAGE}"), session)).await?;
        self.did.polls.add(since.elapsed());
        if let Some(last) = page.envelopes.last() {
            let request = self.at.post("/v1/envelopes/ack", session, &AckRequest { seqs: None, through: Some(last.seq) });
            let since = Instant::now();
            let reply: AckReply = self.connection.expect(200, &request).await?;
            self.did.acks.add(since.elapsed());
            self.did.received += reply.removed as usize;
            if page.drained {
                self.recipients.emptied(rank);
            }
        }
        mailbox.polled.store(false, Ordering::Release);
        Ok(())
    }
}

const DEVICES: usize = 1_000;
