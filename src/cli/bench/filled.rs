//! A relay in which much waits already, beside an empty one in the same run: how soon it is ready, what it takes of memory and
//! disk, what it still sends and receives, and what its senders notice of a purge.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::crowd::pause;
use super::device::{Addressee, Device, Online, log_in, register};
use super::figures::{Bound, Section};
use super::fill::{Filled, SOON_SECS, fill};
use super::http::Connection;
use super::load::{Received, Recipients, Sent, drain, drive, keep_empty};
use super::pace::pace;
use super::relay::{Plan, Relay};
use crate::admin::{self, PurgeRequest, Target};
use crate::cli::child::Place;
use crate::cli::output;
use crate::protocol::time::WEEK;

/// The filled relay, and who is sent to there.
struct Full {
    relay: Relay,
    recipients: Recipients,
    /// The busiest devices, by rank.
    busiest: Arc<[Online]>,
    connections: usize,
    /// Some of those that hardly anybody sends to.
    quiet: Vec<Online>,
    filled: Filled,
    /// Sends that were accepted, less what was received.
    change: i64,
}

pub(super) async fn run(plan: &Plan, envelopes: u64, mailboxes: usize) -> anyhow::Result<Section> {
    let mut section = Section::new("filled");
    let mut full = start(plan, envelopes, mailboxes, &mut section).await?;
    full.beside_an_empty_one(plan, &mut section).await?;
    section.round("resident_after_load", "MiB", full.relay.process()?.resident()? as f64 / MIB);
    full.purged(plan, &mut section).await?;
    section.aim("disk_per_envelope", Bound::AtMost { floor: 1.3, aim: 1.2 });
    section.aim("ready", Bound::at_most(1.0));
    section.aim("resident_after_load", Bound::at_most(256.0));
    section.aim("send_ratio", Bound::AtLeast { floor: 0.4, aim: 0.7 });
    section.aim("receive_ratio", Bound::AtLeast { floor: 0.3, aim: 0.6 });
    section.aim("purge_p99_ratio", Bound::at_most(2.0));
    Ok(section)
}

/// Fills a place and starts a relay there.
async fn start(plan: &Plan, envelopes: u64, mailboxes: usize, section: &mut Section) -> anyhow::Result<Full> {
    let place = Place::new(&plan.parent, "bench", false)?;
    let (data, began) = (place.data(), Instant::now());
    let filled = tokio::task::spawn_blocking(move || fill(&data, envelopes, mailboxes)).await??;
    section.round("filled_in", "s", began.elapsed().as_secs_f64());
    section.count("mailboxes", mailboxes);
    section.count("waiting", filled.envelopes as usize);
    let file = place.data().join("restante.db");
    let length = std::fs::metadata(&file)?.len();
    section.round("database", "MiB", length as f64 / MIB);
    section.round("disk_per_envelope", "KiB", length as f64 / 1_024.0 / filled.envelopes as f64);
    forget_cached(&file)?;

    let spawned = Instant::now();
    let relay = Relay::start_in(place, plan, plan.connections).await?;
    let (mut connection, ready) = (Connection::new(&relay.at), relay.at.get("/readyz", None));
    while connection.ask(&ready).await?.status != 200 {
        pause(LOOK).await;
    }
    section.round("ready", "s", spawned.elapsed().as_secs_f64());
    let process = relay.process()?;
    process.quiet().await?;
    section.round("resident_at_rest", "MiB", process.resident()? as f64 / MIB);

    // Neighbours in rank are none in the file.
    let number = |rank: usize| (rank as u64 * SCATTER % mailboxes as u64) as usize;
    let ranked: Arc<[Addressee]> = (0..mailboxes).map(|rank| filled.addressees[number(rank)].clone()).collect();
    let connections = plan.connections.min(mailboxes);
    let busy = BUSIEST.min(mailboxes / 10).max(connections);
    let devices = |ranks: std::ops::Range<usize>| -> Vec<Arc<Device>> {
        ranks.map(|rank| Arc::new(filled.device(number(rank)))).collect()
    };
    let busiest = log_in(&relay.at, &devices(0..busy)).await?.into();
    let quiet = log_in(&relay.at, &devices(mailboxes - QUIET.min((mailboxes - busy) / 10)..mailboxes)).await?;
    let recipients = Recipients::zipf(&relay.at, ranked);
    Ok(Full { relay, recipients, busiest, connections, quiet, filled, change: 0 })
}

impl Full {
    /// Rounds of sends and receiving, here and at an empty relay, in turns the other way round.
    async fn beside_an_empty_one(&mut self, plan: &Plan, section: &mut Section) -> anyhow::Result<()> {
        let empty = Relay::start(plan, plan.connections).await?;
        let devices = register(&empty.at, Recipients::needed(plan)).await?;
        let online = log_in(&empty.at, &devices).await?;
        let recipients = Recipients::fixed(&empty.at, &devices, plan.connections);
        let busiest = &self.busiest[..self.connections];
        for round in 1..=plan.rounds {
            output::say(&format!("filled: round {round} of {}", plan.rounds));
            let (mut rates, mut received) = ([0.0; 2], [0.0; 2]);
            for turn in 0..2 {
                let at = (round + turn) % 2;
                let (relay, to, mailboxes) = [(&empty, &recipients, &online[..]), (&self.relay, &self.recipients, busiest)][at];
                let sent = drive(plan, &relay.at, to).await?;
                let got = drain(plan, &relay.at, mailboxes).await?;
                section.must_not(sent.fault());
                section.must(got.removed == got.envelopes, || format!("{} of {} removed", got.removed, got.envelopes));
                (rates[at], received[at]) = (sent.rate(), got.rate());
                if at == 1 {
                    self.change += sent.accepted as i64 - got.removed as i64;
                    (0..busiest.len()).for_each(|rank| self.recipients.emptied(rank));
                } else {
                    recipients.all_emptied();
                }
            }
            section.round("empty_sends", "/s", rates[0]);
            section.round("sends", "/s", rates[1]);
            section.round("send_ratio", "×", rates[1] / rates[0]);
            section.round("empty_received", "/s", received[0]);
            section.round("received", "/s", received[1]);
            section.round("receive_ratio", "×", received[1] / received[0]);
        }
        let got = drain(plan, &self.relay.at, &self.quiet).await?;
        self.change -= got.removed as i64;
        section.round("received_from_quiet_mailboxes", "/s", got.rate());
        Ok(())
    }

    /// Paced sends, beside a purge of what expires first, and by themselves before and after it; the busiest receive all the while.
    async fn purged(&mut self, plan: &Plan, section: &mut Section) -> anyhow::Result<()> {
        output::say(&format!("filled: purging {} beside sends", self.filled.soon));
        let peak = self.beside_reading(drive(plan, &self.relay.at, &self.recipients)).await?;
        let half = peak.0.rate() / 2.0;
        let calm = self.paced(half, lasting(Duration::from_secs(plan.seconds))).await?;

        let done = Arc::new(AtomicBool::new(false));
        let (seen, socket) = (Arc::clone(&done), self.relay.data()?.join(admin::SOCKET));
        let target = Target::Running(socket);
        let purge = async {
            let began = Instant::now();
            // As if retention were that much shorter: what goes is what goes when it expires, and the clock stays right.
            let request = PurgeRequest { older_than_secs: Some(WEEK - SOON_SECS), ..PurgeRequest::default() };
            let report = target.purge(request).await;
            done.store(true, Ordering::Relaxed);
            (report, began.elapsed())
        };
        let sends = self.paced(half, move |passed| !seen.load(Ordering::Relaxed) || passed < LOOK);
        let ((report, took), beside) = tokio::join!(purge, sends);
        let (report, (mut beside, received)) = (report?, beside?);
        let free = target.stats().await?.totals.free_bytes;
        output::say("filled: the same sends without a purge, for as long");
        let later = self.paced(half, lasting(took.saturating_sub(Duration::from_secs(plan.seconds)))).await?;
        for (sent, received) in [(&peak.0, &peak.1), (&calm.0, &calm.1), (&beside, &received), (&later.0, &later.1)] {
            section.must_not(sent.fault());
            self.change += sent.accepted as i64 - received.removed as i64;
        }
        // Of what came before and after: a disk's slow moments are seldom, and a purge is long enough to meet them.
        let mut calm = Sent::all(vec![calm.0, later.0]);
        let (calm_p99, p99) = (calm.times.percentile(99), beside.times.percentile(99));
        section.round("half_of_the_peak", "/s", half);
        section.round("received_beside_purge", "/s", received.rate());
        section.round("p99_without_purge", "ms", calm_p99);
        section.round("p99_beside_purge", "ms", p99);
        section.round("purge_p99_ratio", "×", p99.zip(calm_p99).map(|(with, without)| with / without));
        section.count("purged", report.envelopes as usize);
        section.round("purge_took", "s", took.as_secs_f64());
        section.round("database_before_purge", "MiB", report.database_bytes_before as f64 / MIB);
        section.round("database_after_purge", "MiB", report.database_bytes_after as f64 / MIB);
        section.round("free_after_purge", "MiB", free as f64 / MIB);

        let waiting = target.stats().await?.totals.envelopes as i64;
        let expected = self.filled.envelopes as i64 + self.change - report.envelopes as i64;
        section.must(waiting == expected, || format!("{waiting} envelopes wait, and {expected} should"));
        Ok(())
    }

    /// Sends at a rate, as long as `more` wants; and what was received meanwhile.
    async fn paced(&self, rate: f64, more: impl Fn(Duration) -> bool + Send + 'static) -> anyhow::Result<(Sent, Received)> {
        let paced = async {
            let paced = pace(&self.relay.at, &self.recipients, self.connections, rate, more);
            Ok(paced.await?.sent)
        };
        self.beside_reading(paced).await
    }

    /// Sends while the busiest receive. If nobody did, mailboxes would become ever fuller, and one measurement would not be like the
    /// one before.
    async fn beside_reading(&self, sends: impl Future<Output = anyhow::Result<Sent>>) -> anyhow::Result<(Sent, Received)> {
        let enough = Arc::new(AtomicBool::new(false));
        let (at, busiest) = (self.relay.at.clone(), Arc::clone(&self.busiest));
        let receive = keep_empty(at, busiest, self.recipients.clone(), Arc::clone(&enough));
        let sends = async {
            let sent = sends.await;
            enough.store(true, Ordering::Relaxed);
            sent
        };
        tokio::try_join!(sends, receive)
    }
}

/// For so long.
fn lasting(length: Duration) -> impl Fn(Duration) -> bool + Send {
    move |passed| passed < length
}

/// Asks the system to keep none of a file in memory, as after a restart of the machine. It need not heed that.
fn forget_cached(file: &Path) -> anyhow::Result<()> {
    let file = std::fs::File::open(file)?;
    file.sync_all()?;
    Ok(rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?)
}

const MIB: f64 = 1_048_576.0;
const LOOK: Duration = Duration::from_millis(5);
/// A prime above any number of mailboxes: its multiples, modulo their number, are all of them in another order.
const SCATTER: u64 = 2_654_435_761;
/// Mailboxes that most is sent to, by Zipf more than half of it, and from which their devices receive beside a purge.
const BUSIEST: usize = 1_000;
/// Mailboxes that hardly anybody sends to, from which everything is fetched once.
const QUIET: usize = 1_000;
