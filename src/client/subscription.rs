//! Receiving for as long as a program runs: by a stream; where streams do not pass, by long polls; where those are cut short,
//! by polls. It reconnects with a jittered back-off, and outlives a relay's restart, a machine's sleep and a session's end.
//! What is received, and when the relay may forget it, is `receive`'s.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::Client;
use super::error::{Error, Result};
use super::event::{Event, Live};
use super::socket::{Said, Socket};
use crate::crypto::random;
use crate::protocol::envelopes::{AckRequest, Envelope, Gap, ReceiveReply};
use crate::protocol::stream::{Auth, ClientFrame, CloseCode, RelayFrame};
use crate::protocol::{ErrorCode, Problem, Seq};

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

/// A stream that is ready.
struct Open {
    socket: Socket,
    /// When to log in again.
    renew_at: Instant,
    heard_at: Instant,
    /// By the wall clock, to notice that the machine slept.
    ticked_at: u64,
    /// What was acknowledged and not yet confirmed, in order.
    acking: VecDeque<u64>,
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

    async fn connect(&mut self, client: &mut Client) -> Result<Outcome> {
        let session = client.session().await?;
        let Some(io) = client.upgrade().await? else { return Ok(self.fall_back(Way::LongPoll)) };
        let mut socket = Socket::new(io).await;
        socket.say(&ClientFrame::Auth(Auth { session })).await;
        let deadline = Instant::now() + READY_MAX;
        let said = tokio::time::timeout_at(deadline, socket.hear()).await.unwrap_or(Said::Closed(0));
        match said {
            Said::Frame(frame) => match *frame {
                RelayFrame::Ready { expires_at } => {
                    let renew_at = renew_at(client, expires_at);
                    let now = Instant::now();
                    let ticked_at = client.clock.now();
                    self.open = Some(Open { socket, renew_at, heard_at: now, ticked_at, acking: VecDeque::new() });
                    self.page.clear();
                    self.cut_short = 0;
                    Ok(self.reached())
                }
                RelayFrame::Error { code: ErrorCode::NoSession, .. } => {
                    client.forget_session();
                    self.failed();
                    Ok(Outcome::On)
                }
                RelayFrame::Error { code, detail } => Err(Error::Refused(Box::new(Problem::new(code, detail)))),
                _ => Err(client.lost("it speaks another language on its stream")),
            },
            Said::Closed(code) if code == CloseCode::NoSession as u16 => {
                client.forget_session();
                self.failed();
                Ok(Outcome::On)
            }
            Said::Closed(0) => {
                self.cut_short += 1;
                if self.cut_short >= CUT_SHORT_MAX {
                    return Ok(self.fall_back(Way::LongPoll));
                }
                Err(client.lost("the stream broke off before it began"))
            }
            Said::Ping | Said::Closed(_) => Err(client.lost("the stream was closed before it began")),
        }
    }

    /// One thing that the relay says, or a moment in which it says nothing.
    async fn listen(&mut self, client: &mut Client) -> Result<Outcome> {
        let Some(open) = &mut self.open else { return Ok(Outcome::On) };
        let tick = client.receipts_due_in().map_or(TICK, |due| due.clamp(TICK_MIN, TICK));
        let said = tokio::time::timeout(tick, open.socket.hear()).await;
        let slept = client.clock.now().saturating_sub(open.ticked_at) > SLEPT_SECS;
        open.ticked_at = client.clock.now();
        let Ok(said) = said else {
            if slept || open.heard_at.elapsed() > SILENCE_MAX {
                return Err(client.lost("nothing was heard of it for too long"));
            }
            return self.renew(client).await;
        };
        open.heard_at = Instant::now();
        let frame = match said {
            Said::Frame(frame) => *frame,
            Said::Ping => return self.renew(client).await,
            Said::Closed(code) => return Err(closed(client, code)),
        };
        match frame {
            RelayFrame::Envelope(envelope) => {
                self.page.push(envelope);
                self.gather(client).await
            }
            RelayFrame::Gap(gap) => self.take(client, Some(gap), true).await,
            RelayFrame::Drained => self.take(client, None, true).await,
            RelayFrame::Acked(_) => {
                let through = self.open.as_mut().and_then(|open| open.acking.pop_front());
                client.acknowledged(through).await?;
                Ok(Outcome::On)
            }
            RelayFrame::Ready { expires_at } => {
                let renew_at = renew_at(client, expires_at);
                if let Some(open) = &mut self.open {
                    open.renew_at = renew_at;
                }
                Ok(Outcome::On)
            }
            RelayFrame::Error { code: ErrorCode::SeqNotGiven, .. } => {
                if let Some(open) = &mut self.open {
                    open.acking.pop_front();
                }
                client.went_back().await?;
                Ok(Outcome::On)
            }
            RelayFrame::Superseded => Err(superseded()),
            RelayFrame::Error { code: ErrorCode::NoSession, .. } => {
                client.forget_session();
                Err(client.lost("the session ended"))
            }
            RelayFrame::Error { code, detail } => Err(Error::Refused(Box::new(Problem::new(code, detail)))),
            RelayFrame::Live(envelope) => {
                Ok(client.take_live(&envelope).map_or(Outcome::On, |live| Outcome::Heard(Heard::Live(live))))
            }
            RelayFrame::Notice { .. } | RelayFrame::Unknown => Ok(Outcome::On),
        }
    }

    /// Takes in what came together, as a page.
    async fn gather(&mut self, client: &mut Client) -> Result<Outcome> {
        let Some(open) = &mut self.open else { return Ok(Outcome::On) };
        while self.page.len() < PAGE_MAX {
            match open.socket.hear_now() {
                Some(Said::Frame(frame)) => match *frame {
                    RelayFrame::Envelope(envelope) => self.page.push(envelope),
                    RelayFrame::Drained => return self.take(client, None, true).await,
                    RelayFrame::Gap(gap) => return self.take(client, Some(gap), true).await,
                    RelayFrame::Acked(_) => {
                        let through = open.acking.pop_front();
                        client.acknowledged(through).await?;
                    }
                    // What else there is changes little; the next connection says it again.
                    _ => break,
                },
                Some(Said::Ping) => {}
                Some(Said::Closed(code)) => {
                    // What came before the end is as good as ever.
                    self.take(client, None, false).await?;
                    return Err(closed(client, code));
                }
                None => break,
            }
        }
        self.take(client, None, false).await
    }

    async fn take(&mut self, client: &mut Client, gap: Option<Gap>, drained: bool) -> Result<Outcome> {
        let page = ReceiveReply { envelopes: self.page.clone(), drained, gap };
        if !client.take_heard(page).await? {
            // The rest comes again by the next connection.
            self.hang_up();
            self.failed();
        }
        self.page.clear();
        Ok(Outcome::On)
    }

    /// Tells the relay what it may forget: everything that is on this disk, once it was shown.
    async fn acknowledge(&mut self, client: &Client) {
        let Some(open) = &mut self.open else { return };
        let (stored, acked) = (client.state.stored_through, client.state.acked_through);
        let told = open.acking.back().copied().unwrap_or(acked);
        if stored > told && open.socket.say(&ClientFrame::Ack(AckRequest { seqs: None, through: Some(Seq(stored)) })).await {
            open.acking.push_back(stored);
        }
    }

    /// Logs in again before the session ends.
    async fn renew(&mut self, client: &mut Client) -> Result<Outcome> {
        let Some(open) = &mut self.open else { return Ok(Outcome::On) };
        if Instant::now() >= open.renew_at {
            client.forget_session();
            let session = client.session().await?;
            open.renew_at = Instant::now() + TICK;
            open.socket.say(&ClientFrame::Auth(Auth { session })).await;
        }
        Ok(Outcome::On)
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

fn renew_at(client: &Client, expires_at: u64) -> Instant {
    let left = expires_at.saturating_sub(client.clock.now());
    // Some time before, at another moment for each client.
    Instant::now() + jittered(Duration::from_secs(left) / 2)
}

fn closed(client: &mut Client, code: u16) -> Error {
    if code == CloseCode::Superseded as u16 {
        return superseded();
    }
    if code == CloseCode::NoSession as u16 {
        client.forget_session();
    }
    client.lost("the stream ended")
}

fn superseded() -> Error {
    Error::Refused(Box::new(Problem::new(ErrorCode::Superseded, "another receiver of this device took over")))
}

/// Between three quarters and five quarters of it.
fn jittered(span: Duration) -> Duration {
    let random = u64::from_be_bytes(random::bytes()) % 1_024;
    span * 3 / 4 + span * (random as u32) / 2_048
}

/// From the upgrade to `ready`.
const READY_MAX: Duration = Duration::from_secs(10);
/// How often there is a look around while nothing is heard.
const TICK: Duration = Duration::from_secs(15);
/// And where a receipt is due before that.
const TICK_MIN: Duration = Duration::from_secs(1);
/// The middle of how often contacts are told of our presence, where they may be: 67 to 112 s.
const PRESENCE_EVERY: Duration = Duration::from_secs(90);
/// The relay pings after 30 s.
const SILENCE_MAX: Duration = Duration::from_secs(90);
/// A tick that took so much longer: the machine slept, and its connections are not to be trusted.
const SLEPT_SECS: u64 = 60;
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
/// Envelopes taken in at once: a page.
const PAGE_MAX: usize = 100;
