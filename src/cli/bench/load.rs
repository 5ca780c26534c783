//! What loads have in common: who is sent to, sending as fast as it goes, and emptying mailboxes.

use std::io::Result as IoResult;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::Barrier;

use super::crowd::{Numbers, pause, together};
use super::device::{Addressee, Device, Online, Parcel, fresh_id};
use super::figures::Times;
use super::http::{Address, Connection, Reply};
use super::relay::Plan;
use super::zipf::{Random, Zipf};
use crate::protocol::Seq;
use crate::protocol::envelopes::{AckReply, AckRequest};

/// Who is sent to, by many at once.
#[derive(Clone)]
pub(super) struct Recipients {
    parcel: Parcel,
    addressees: Arc<[Addressee]>,
    /// What each got since it was last emptied.
    taken: Arc<[AtomicU32]>,
    choice: Choice,
}

#[derive(Clone)]
enum Choice {
    /// Of so many connections each has its own, and goes on to its next when one has had enough.
    Fixed(usize),
    Zipf(Arc<Zipf>),
}

impl Recipients {
    /// How many [`Recipients::fixed`] takes for a round: room for 2,000 sends a second on each connection.
    pub(super) fn needed(plan: &Plan) -> usize {
        plan.devices.unwrap_or(usize::MAX).min(plan.connections * plan.seconds.div_ceil(2) as usize)
    }

    /// Each connection sends to one of them, and when that has had enough to another of its own.
    pub(super) fn fixed(at: &Address, devices: &[Arc<Device>], connections: usize) -> Self {
        let addressees = devices.iter().map(|device| device.addressee()).collect();
        Self::of(at, addressees, Choice::Fixed(connections))
    }

    /// Every send has another, the first most often.
    pub(super) fn zipf(at: &Address, addressees: Arc<[Addressee]>) -> Self {
        let zipf = Arc::new(Zipf::new(addressees.len()));
        Self::of(at, addressees, Choice::Zipf(zipf))
    }

    fn of(at: &Address, addressees: Arc<[Addressee]>, choice: Choice) -> Self {
        let taken = addressees.iter().map(|_| AtomicU32::new(0)).collect();
        Self { parcel: Parcel::new(at, &addressees[0]), addressees, taken, choice }
    }

    /// One connection's sends.
    pub(super) fn lane(&self, number: usize) -> Lane {
        let fixed = number % self.addressees.len();
        Lane { parcel: self.parcel.clone(), recipients: self.clone(), fixed, random: Random::new(number as u64) }
    }

    /// A mailbox was emptied, and takes as much again.
    pub(super) fn emptied(&self, number: usize) {
        self.taken[number].store(0, Ordering::Relaxed);
    }

    /// All were.
    pub(super) fn all_emptied(&self) {
        (0..self.taken.len()).for_each(|number| self.emptied(number));
    }

    /// Whether a mailbox takes one more, which then counts.
    fn takes(&self, number: usize) -> bool {
        self.taken[number].fetch_add(1, Ordering::Relaxed) < MAILBOX_SENDS_MAX
    }
}

/// Requests one after the other.
pub(super) struct Lane {
    parcel: Parcel,
    recipients: Recipients,
    fixed: usize,
    random: Random,
}

impl Lane {
    /// The next request, whole, under an id of its own.
    pub(super) fn next(&mut self) -> &[u8] {
        let number = self.choose();
        self.parcel.to(&self.recipients.addressees[number], &fresh_id())
    }

    fn choose(&mut self) -> usize {
        let recipients = &self.recipients;
        match &recipients.choice {
            Choice::Fixed(connections) => {
                // The last of its own takes what the relay lets it take.
                while !recipients.takes(self.fixed) && self.fixed + connections < recipients.addressees.len() {
                    self.fixed += connections;
                }
                self.fixed
            }
            Choice::Zipf(zipf) => loop {
                let number = zipf.at(self.random.uniform());
                if recipients.takes(number) {
                    return number;
                }
            },
        }
    }
}

/// What came of sends.
#[derive(Default)]
pub(super) struct Sent {
    pub(super) times: Times,
    /// Answered 202, with those that were not timed.
    pub(super) accepted: usize,
    pub(super) refused: usize,
    /// What the first of these was told.
    refusal: Option<String>,
    pub(super) failed: usize,
    pub(super) length: Duration,
}

impl Sent {
    /// Timed ones a second.
    pub(super) fn rate(&self) -> f64 {
        self.times.count() as f64 / self.length.as_secs_f64()
    }

    /// Counts a reply; with the time from `since`, if that is to be known. True where it was accepted.
    pub(super) fn note(&mut self, reply: IoResult<Reply<'_>>, since: Option<Instant>) -> bool {
        match reply {
            Ok(reply) if reply.status == 202 => {
                self.accepted += 1;
                since.into_iter().for_each(|since| self.times.add(since.elapsed()));
                return true;
            }
            Ok(reply) => {
                self.refused += 1;
                let told = || format!("{} {}", reply.status, String::from_utf8_lossy(reply.body));
                self.refusal.get_or_insert_with(told);
            }
            Err(_) => self.failed += 1,
        }
        false
    }

    /// Those of every connection.
    pub(super) fn all(lanes: Vec<Self>) -> Self {
        let mut all = Self::default();
        for lane in lanes {
            all.times.join(lane.times);
            all.accepted += lane.accepted;
            all.refused += lane.refused;
            all.refusal = all.refusal.or(lane.refusal);
            all.failed += lane.failed;
            all.length = all.length.max(lane.length);
        }
        all
    }

    /// What is wrong, if anything is.
    pub(super) fn fault(&self) -> Option<String> {
        let Self { refused, failed, refusal, .. } = self;
        let told = refusal.as_ref().map_or(String::new(), |told| format!(" ({told})"));
        (refused + failed > 0).then(|| format!("{refused} sends refused{told}, {failed} failed"))
    }
}

/// Sends over every connection, one request in flight on each, for the plan's seconds. Each begins with one send that is
/// not timed: it opens the connection, and the relay agrees on its key with the mailbox.
pub(super) async fn drive(plan: &Plan, at: &Address, recipients: &Recipients) -> anyhow::Result<Sent> {
    let barrier = Arc::new(Barrier::new(plan.connections));
    let length = Duration::from_secs(plan.seconds);
    let lanes = together(plan.connections, |number| {
        let (at, barrier, mut lane) = (at.clone(), Arc::clone(&barrier), recipients.lane(number));
        async move {
            let mut connection = Connection::new(&at);
            let mut sent = Sent::default();
            let mut began = None;
            loop {
                let request = lane.next();
                let since = began.map(|_| Instant::now());
                if !sent.note(connection.ask(request).await, since) {
                    pause(AFTER_REFUSAL).await;
                }
                match began {
                    None => {
                        barrier.wait().await;
                        began = Some(Instant::now());
                    }
                    Some(began) if began.elapsed() >= length => {
                        sent.length = began.elapsed();
                        return Ok(sent);
                    }
                    Some(_) => {}
                }
            }
        }
    });
    Ok(Sent::all(lanes.await?))
}

/// What was fetched.
#[derive(Default)]
pub(super) struct Received {
    pub(super) envelopes: usize,
    pub(super) removed: usize,
    pub(super) pages: usize,
    pub(super) length: Duration,
}

impl Received {
    /// Envelopes a second.
    pub(super) fn rate(&self) -> f64 {
        self.envelopes as f64 / self.length.as_secs_f64()
    }

    /// All but the time.
    fn add(&mut self, other: Self) {
        self.envelopes += other.envelopes;
        self.removed += other.removed;
        self.pages += other.pages;
    }
}

/// Of a page, what is needed to go on; parsing the rest is what a client does after the relay's work.
#[derive(Deserialize)]
pub(super) struct Page {
    pub(super) envelopes: Vec<Item>,
    pub(super) drained: bool,
}

/// Of an envelope.
#[derive(Deserialize)]
pub(super) struct Item {
    pub(super) seq: Seq,
}

/// Empties every mailbox, page by page, as many at once as there are connections.
pub(super) async fn drain(plan: &Plan, at: &Address, online: &[Online]) -> anyhow::Result<Received> {
    let began = Instant::now();
    let numbers = Numbers::up_to(online.len());
    let online: Arc<[Online]> = online.into();
    let emptied = together(plan.connections.min(online.len()), |_| {
        let (at, numbers, online) = (at.clone(), numbers.clone(), Arc::clone(&online));
        async move {
            let mut connection = Connection::new(&at);
            let mut all = Received::default();
            for number in numbers {
                all.add(empty(&mut connection, &at, &online[number]).await?);
            }
            Ok(all)
        }
    });
    let mut all = Received::default();
    emptied.await?.into_iter().for_each(|one| all.add(one));
    all.length = began.elapsed();
    Ok(all)
}

/// Empties the mailboxes of the first recipients in turn over one connection, again and again, until told that it is enough.
pub(super) async fn keep_empty(
    at: Address,
    online: Arc<[Online]>,
    recipients: Recipients,
    enough: Arc<AtomicBool>,
) -> anyhow::Result<Received> {
    let (mut connection, mut all) = (Connection::new(&at), Received::default());
    let began = Instant::now();
    for (number, device) in online.iter().enumerate().cycle() {
        if enough.load(Ordering::Relaxed) {
            break;
        }
        all.add(empty(&mut connection, &at, device).await?);
        recipients.emptied(number);
    }
    all.length = began.elapsed();
    Ok(all)
}

/// Empties one mailbox, page by page.
async fn empty(connection: &mut Connection, at: &Address, online: &Online) -> anyhow::Result<Received> {
    let mut all = Received::default();
    let session = Some(&online.session);
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
    Ok(all)
}

/// Envelopes a page.
pub(super) const PAGE: usize = 100;
/// So that a relay that refuses is not hammered.
const AFTER_REFUSAL: Duration = Duration::from_millis(20);
/// What is sent to a mailbox before it is emptied: by default a token may fill half of what is free,
/// and with ten thousand places that is somewhat less than five thousand. Beyond, another is chosen.
const MAILBOX_SENDS_MAX: u32 = 4_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_goes_on_to_its_next_mailbox_when_one_has_had_enough() {
        let at = Address::of("http://127.0.0.1:1").await.expect("an address");
        let devices: Vec<_> = (0..4).map(|number| Arc::new(Device::of(&[7; 32], number))).collect();
        let recipients = Recipients::fixed(&at, &devices, 2);
        let (mut lane, mut counts) = (recipients.lane(1), [0; 4]);
        (0..MAILBOX_SENDS_MAX + 7).for_each(|_| counts[lane.choose()] += 1);
        assert_eq!(counts, [0, MAILBOX_SENDS_MAX, 0, 7]);
        // Who comes later finds them as they are, and the last takes whatever comes.
        let (mut lane, mut counts) = (recipients.lane(1), [0; 4]);
        (0..MAILBOX_SENDS_MAX).for_each(|_| counts[lane.choose()] += 1);
        assert_eq!(counts, [0, 0, 0, MAILBOX_SENDS_MAX]);
        recipients.all_emptied();
        assert_eq!((recipients.lane(1).choose(), recipients.lane(0).choose()), (1, 0));
    }

    #[tokio::test]
    async fn who_has_had_enough_is_not_chosen_by_rank() {
        let at = Address::of("http://127.0.0.1:1").await.expect("an address");
        let addressees = (0..3).map(|number| Device::of(&[7; 32], number).addressee()).collect();
        let recipients = Recipients::zipf(&at, addressees);
        let (mut lane, mut counts) = (recipients.lane(0), [0; 3]);
        (0..3 * MAILBOX_SENDS_MAX).for_each(|_| counts[lane.choose()] += 1);
        assert_eq!(counts, [MAILBOX_SENDS_MAX; 3]);
    }
}
