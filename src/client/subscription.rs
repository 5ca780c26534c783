//! Receiving for as long as a program runs: by a stream; where streams do not pass, by long polls; where those are cut short,
//! by polls. It reconnects with a jittered back-off, and outlives a relay's restart, a machine's sleep and a session's end.
//! What is received, and when the relay may forget it, is `receive`'s.

mod open;

use std::time::Duration;

use open::Open;
use tokio::time::Instant;

use super::Client;
use super::error::{Error, Result};
use super::event::{Event, Live};
use crate::crypto::random;
use crate::protocol::envelopes::Envelope;

/// An ear at the relay. Give it the client at every call: in between, the client is free for anything else.
pub struct Subscription {
    way: Way,
    open: Option<Open>,
    /// Envelopes that were heard and not yet taken in.
    page: Vec<Envelope>,
    /// Failures in a row, and until when the next try waits.
    failures: u32,
    pause: Option<Duration>,
    /// How often a stream broke off in a row before it was ready; long polls, before they were answered.
    cut_short: u32,
    stream_again_at: Option<Instant>,
    /// That the way was changed was said.
    told: bool,
    tend_at: Option<Instant>,
    presence_at: Option<Instant>,
}

/// How a [`Subscription`] receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A WebSocket.
    Stream,
    /// Requests that the relay holds.
    LongPoll,
    /// Requests every half minute or so.
    Poll,
}

/// What a [`Subscription`] heard.
#[derive(Debug)]
#[non_exhaustive]
pub enum Heard {
    /// Events to show, at least one. They are given again until they are [`shown`](Client::shown).
    Events(Vec<Event>),
    /// What a contact does right now. It is given once, and is kept nowhere.
    Live(Live),
    /// From now on it goes by another way than streams. Said once.
    FellBack(Way),
    /// The relay cannot be reached. Said once each time; it is tried again until it can.
    Trouble(Error),
    /// It can be reached again.
    Back,
}

/// What came of listening for a moment.
enum Outcome {
    /// Something to give to the caller.
    Heard(Heard),
    /// Go on.
    On,
}

impl Default for Subscription {
    fn default() -> Self {
        Self::new()
    }
}

impl Subscription {
    /// Asks nobody yet.
    pub fn new() -> Self {
        Self {
            way: Way::Stream,
            open: None,
            page: Vec::new(),
            failures: 0,
            pause: None,
            cut_short: 0,
            stream_again_at: None,
            told: false,
            tend_at: None,
            presence_at: None,
        }
    }

    /// How it receives at present.
    pub fn way(&self) -> Way {
        self.way
    }

    /// What is heard next; waits for it. An error is final: another receiver of this device took over, the device was
    /// removed, the relay is not the one that was pinned. Cancel-safe: what was not returned is returned by a later call.
    pub async fn next(&mut self, client: &mut Client) -> Result<Heard> {
        loop {
            if let Some(pause) = self.pause {
                #[allow(clippy::disallowed_methods, reason = "a back-off between two tries")]
                tokio::time::sleep(pause).await;
                self.pause = None;
            }
            let outcome = match self.step(client).await {
                Ok(outcome) => outcome,
                Err(error) if error.passes() => {
                    self.hang_up();
                    match self.failed() {
                        true => Outcome::Heard(Heard::Trouble(error)),
                        false => Outcome::On,
                    }
                }
                Err(error) => {
                    self.hang_up();
                    return Err(error);
                }
            };
            if let Outcome::Heard(heard) = outcome {
                return Ok(heard);
            }
        }
    }

    /// Says goodbye to the relay.
    pub async fn close(mut self) {
        if let Some(open) = self.open.take() {
            open.socket.close().await;
        }
    }

    async fn step(&mut self, client: &mut Client) -> Result<Outcome> {
        let waiting = client.unshown().await?;
        if !waiting.is_empty() {
            return Ok(Outcome::Heard(Heard::Events(waiting)));
        }
        if self.stream_again_at.is_some_and(|at| Instant::now() >= at) {
            (self.way, self.stream_again_at, self.cut_short) = (Way::Stream, None, 0);
        }
        if self.way != Way::Stream {
            return self.poll(client).await;
        }
        if self.tend_at.is_none_or(|at| Instant::now() >= at) {
            client.tend().await?;
            self.tend_at = Some(Instant::now() + TEND_EVERY);
        }
        if self.open.is_none() {
            return self.connect(client).await;
        }
        if self.slept(client) {
            client.redial()?;
            return Err(client.lost("this machine slept"));
        }
        if client.receipts_due_in() == Some(Duration::ZERO) {
            // What cannot go out now stays queued, and is due again later.
            client.send_due_receipts().await.ok();
        }
        if self.presence_at.is_none_or(|at| Instant::now() >= at) {
            client.tell_presence().await;
            self.presence_at = Some(Instant::now() + jittered(PRESENCE_EVERY));
        }
        self.acknowledge(client).await;
        self.listen(client).await
    }

    async fn poll(&mut self, client: &mut Client) -> Result<Outcome> {
        let wait = if self.way == Way::LongPoll { LONG_POLL_SECS } else { 0 };
        let events = match client.receive(wait).await {
            Ok(events) => events,
            Err(Error::Unreachable { .. }) if wait > 0 && client.receive(0).await.is_ok() => {
                self.cut_short += 1;
                if self.cut_short >= CUT_SHORT_MAX {
                    return Ok(self.fall_back(Way::Poll));
                }
                return Ok(Outcome::On);
            }
            Err(error) => return Err(error),
        };
        if let Outcome::Heard(back) = self.reached() {
            return Ok(Outcome::Heard(back));
        }
        if !events.is_empty() {
            return Ok(Outcome::Heard(Heard::Events(events)));
        }
        if wait == 0 {
            self.pause = Some(jittered(POLL_EVERY));
        }
        Ok(Outcome::On)
    }

    fn fall_back(&mut self, way: Way) -> Outcome {
        self.hang_up();
        (self.way, self.cut_short) = (way, 0);
        self.stream_again_at.get_or_insert(Instant::now() + STREAM_AGAIN);
        if std::mem::replace(&mut self.told, true) { Outcome::On } else { Outcome::Heard(Heard::FellBack(way)) }
    }

    fn hang_up(&mut self) {
        self.open = None;
        self.page.clear();
    }

    /// Puts the next try off. True for the first failure in a row.
    fn failed(&mut self) -> bool {
        self.pause = Some(jittered(BACKOFF * 2_u32.pow(self.failures.min(BACKOFF_DOUBLINGS_MAX))));
        self.failures += 1;
        self.failures == 1
    }

    fn reached(&mut self) -> Outcome {
        if std::mem::take(&mut self.failures) > 0 { Outcome::Heard(Heard::Back) } else { Outcome::On }
    }
}

/// Between three quarters and five quarters of it.
fn jittered(span: Duration) -> Duration {
    let random = u64::from_be_bytes(random::bytes()) % 1_024;
    span * 3 / 4 + span * (random as u32) / 2_048
}

/// The middle of how often contacts are told of our presence, where they may be: 67 to 112 s.
const PRESENCE_EVERY: Duration = Duration::from_secs(90);
/// Prekeys, tokens, what is queued.
const TEND_EVERY: Duration = Duration::from_secs(600);
/// How long a poll is held: what the protocol asks of clients.
const LONG_POLL_SECS: u64 = 25;
const POLL_EVERY: Duration = Duration::from_secs(30);
/// So many streams or long polls that break off in a row do not pass.
const CUT_SHORT_MAX: u32 = 2;
/// Where streams did not pass, they are tried again after so long.
const STREAM_AGAIN: Duration = Duration::from_secs(1_800);
/// The first back-off's middle; doubled with each failure, up to a minute.
const BACKOFF: Duration = Duration::from_secs(1);
const BACKOFF_DOUBLINGS_MAX: u32 = 6;
