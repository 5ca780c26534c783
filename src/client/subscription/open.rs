//! A subscription's stream: how it begins, what the relay says on it, and what is said back.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::super::Client;
use super::super::error::{Error, Result};
use super::super::socket::{Said, Socket};
use super::{CUT_SHORT_MAX, Heard, Outcome, Subscription, Way, jittered};
use crate::protocol::envelopes::{AckRequest, Gap, ReceiveReply};
use crate::protocol::stream::{Auth, ClientFrame, CloseCode, RelayFrame};
use crate::protocol::{ErrorCode, Problem, Seq};

/// A stream that is ready.
pub(super) struct Open {
    pub(super) socket: Socket,
    /// When to log in again.
    renew_at: Instant,
    heard_at: Instant,
    /// By the wall clock, to notice that the machine slept.
    ticked_at: u64,
    /// What was acknowledged and not yet confirmed, in order.
    acking: VecDeque<u64>,
    /// A frame that came after envelopes that are being taken in.
    held: Option<RelayFrame>,
}

impl Subscription {
    pub(super) async fn connect(&mut self, client: &mut Client) -> Result<Outcome> {
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
                    self.open = Some(Open { socket, renew_at, heard_at: now, ticked_at, acking: VecDeque::new(), held: None });
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

    /// Whether the machine slept since this was asked last: then the stream is dead, and no byte says so.
    pub(super) fn slept(&mut self, client: &Client) -> bool {
        let Some(open) = &mut self.open else { return false };
        let now = client.clock.now();
        now.saturating_sub(std::mem::replace(&mut open.ticked_at, now)) > SLEPT_SECS
    }

    /// One thing that the relay says, or a moment in which it says nothing.
    pub(super) async fn listen(&mut self, client: &mut Client) -> Result<Outcome> {
        let Some(open) = &mut self.open else { return Ok(Outcome::On) };
        if let Some(frame) = open.held.take() {
            return self.act(client, frame).await;
        }
        let tick = client.receipts_due_in().map_or(TICK, |due| due.clamp(TICK_MIN, TICK));
        let said = tokio::time::timeout(tick, open.socket.hear()).await;
        let Ok(said) = said else {
            if open.heard_at.elapsed() > SILENCE_MAX {
                client.redial()?;
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
        self.act(client, frame).await
    }

    async fn act(&mut self, client: &mut Client, frame: RelayFrame) -> Result<Outcome> {
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
            RelayFrame::Notice { notice: Some(notice) } => {
                client.take_notice_heard(&notice).await?;
                Ok(Outcome::On)
            }
            RelayFrame::Notice { notice: None } | RelayFrame::Unknown => Ok(Outcome::On),
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
                    other => {
                        open.held = Some(other);
                        break;
                    }
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
    pub(super) async fn acknowledge(&mut self, client: &Client) {
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

/// From the upgrade to `ready`.
const READY_MAX: Duration = Duration::from_secs(10);
/// How often there is a look around while nothing is heard.
const TICK: Duration = Duration::from_secs(15);
/// And where a receipt is due before that.
const TICK_MIN: Duration = Duration::from_secs(1);
/// The relay pings after 30 s.
const SILENCE_MAX: Duration = Duration::from_secs(90);
/// A tick that took so much longer: the machine slept, and its connections are not to be trusted.
const SLEPT_SECS: u64 = 60;
/// Envelopes taken in at once: a page.
const PAGE_MAX: usize = 100;
