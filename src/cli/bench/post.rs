//! Paced sends whose deliveries are watched for. Every send has a number in its id, so that each delivery is known to be of
//! that send and no other, and counted once.
//!
//! While the clock runs an arrival is only noted with its time. Envelopes are opened afterwards: that is the recipient's own
//! work, and must not be in the relay's way on the same machine.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::crowd::pause;
use super::device::{Device, Parcel, fresh_id};
use super::http::{Address, Connection};
use crate::protocol::EnvelopeId;
use crate::protocol::envelopes::Envelope;

/// Sends to a set of devices, in turns, and what came of them.
pub(super) struct Post {
    parcels: Vec<Parcel>,
    at: Address,
    /// The first half of every id.
    run: [u8; 8],
    free: Mutex<Vec<Connection>>,
    permits: Semaphore,
    letters: Mutex<Vec<Letter>>,
    arrivals: Mutex<Vec<Arrival>>,
}

/// One send.
#[derive(Clone, Copy)]
pub(super) struct Letter {
    pub(super) begun: Instant,
    /// When the 202 came.
    pub(super) accepted: Option<Duration>,
    /// When it first came out at the other end.
    pub(super) delivered: Option<Duration>,
    /// Deliveries beyond the first.
    pub(super) again: usize,
    /// Tries beyond the first.
    pub(super) retries: usize,
}

struct Arrival {
    device: Arc<Device>,
    envelope: Envelope,
    came: Instant,
}

impl Post {
    pub(super) fn new(at: &Address, devices: &[Arc<Device>]) -> Arc<Self> {
        let id = fresh_id();
        let (run, _) = id.0.split_first_chunk::<8>().expect("8 are fewer than an id's 16");
        Arc::new(Self {
            parcels: devices.iter().map(|device| device.parcel(at)).collect(),
            at: at.clone(),
            run: *run,
            free: Mutex::default(),
            permits: Semaphore::new(CONNECTIONS_MAX),
            letters: Mutex::default(),
            arrivals: Mutex::default(),
        })
    }

    /// Sends at a rate, whether the relay keeps up or not, as long as `more` wants; ends when every send was answered, or
    /// was tried for so long in vain. A retry keeps its id.
    pub(super) async fn pace(
        self: &Arc<Self>,
        rate: u64,
        patience: Duration,
        more: impl Fn(usize) -> bool,
    ) -> anyhow::Result<()> {
        let (first, began) = (locked(&self.letters).len(), Instant::now());
        let mut tasks = JoinSet::new();
        for sent in 0.. {
            let due = began + Duration::from_nanos(sent as u64 * 1_000_000_000 / rate);
            tokio::time::sleep_until(due.into()).await;
            if !more(sent) {
                break;
            }
            // From here, and not from when it was due: the pace has a grain of a millisecond, which is not the relay's.
            let begun = Instant::now();
            locked(&self.letters).push(Letter { begun, accepted: None, delivered: None, again: 0, retries: 0 });
            let (post, number) = (Arc::clone(self), first + sent);
            tasks.spawn(async move { post.send(number, begun, patience).await });
            while let Some(ended) = tasks.try_join_next() {
                ended?;
            }
        }
        while let Some(ended) = tasks.join_next().await {
            ended?;
        }
        Ok(())
    }

    async fn send(&self, number: usize, begun: Instant, patience: Duration) {
        let mut parcel = self.parcels[number % self.parcels.len()].clone();
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.run);
        id[8..].copy_from_slice(&(number as u64).to_be_bytes());
        let request = parcel.with(&EnvelopeId(id));
        loop {
            let accepted = self.attempt(request).await;
            {
                let mut letters = locked(&self.letters);
                let letter = &mut letters[number];
                if accepted {
                    letter.accepted = Some(begun.elapsed());
                    return;
                }
                if begun.elapsed() >= patience {
                    return;
                }
                letter.retries += 1;
            }
            pause(RETRY_PAUSE).await;
        }
    }

    async fn attempt(&self, request: &[u8]) -> bool {
        let Ok(_permit) = self.permits.acquire().await else { return false };
        let free = locked(&self.free).pop();
        let mut connection = free.unwrap_or_else(|| Connection::new(&self.at));
        let accepted = connection.ask(request).await.is_ok_and(|reply| reply.status == 202);
        locked(&self.free).push(connection);
        accepted
    }

    /// Notes that something came.
    pub(super) fn arrived(&self, device: &Arc<Device>, envelope: Envelope, came: Instant) {
        locked(&self.arrivals).push(Arrival { device: Arc::clone(device), envelope, came });
    }

    /// Opens what arrived, and goes on until every send that was accepted is among it, or for as long as that may take. An
    /// error is an envelope that nobody here sent.
    pub(super) async fn settle(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let arrivals = std::mem::take(&mut *locked(&self.arrivals));
            for arrival in arrivals {
                self.settle_one(&arrival)?;
            }
            let waiting = |letter: &Letter| letter.accepted.is_some() && letter.delivered.is_none();
            if !locked(&self.letters).iter().any(waiting) || began.elapsed() > DELIVERY_PATIENCE {
                return Ok(());
            }
            pause(RETRY_PAUSE).await;
        }
    }

    fn settle_one(&self, arrival: &Arrival) -> anyhow::Result<()> {
        let Envelope { expires_at, wrap, body, .. } = &arrival.envelope;
        let id = arrival.device.opened(*expires_at, wrap, body)?;
        let number = id.0.strip_prefix(&self.run).and_then(|number| Some(u64::from_be_bytes(number.try_into().ok()?)));
        let mut letters = locked(&self.letters);
        let letter = number.and_then(|number| letters.get_mut(usize::try_from(number).ok()?));
        let letter = letter.ok_or_else(|| anyhow::anyhow!("an envelope arrived that was not sent"))?;
        match letter.delivered {
            None => letter.delivered = Some(arrival.came.saturating_duration_since(letter.begun)),
            Some(_) => letter.again += 1,
        }
        Ok(())
    }

    /// Every send so far.
    pub(super) fn letters(&self) -> Vec<Letter> {
        locked(&self.letters).clone()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Sends in flight; beyond them the next ones wait, and their waiting counts.
const CONNECTIONS_MAX: usize = 128;
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// After the last send.
const DELIVERY_PATIENCE: Duration = Duration::from_secs(60);
