//! Receiving: one state machine for polls and streams. `Subscription::next_batch` reads what waits, else waits for a wake-up,
//! the deadline, or an end: a poll is one call of it, a [`Stream`] a loop of it with a window of what is not acknowledged yet.

use std::collections::BTreeSet;
use std::time::Duration;

use super::auth::{Session, no_session};
use super::live::Seat;
use super::wakeups::{Ticket, Wakeup};
use super::{Error, Relay, Result};
use crate::protocol::envelopes::{AckReply, AckRequest, Envelope, Gap, ReceiveQuery, ReceiveReply, SEQ_END};
use crate::protocol::stream::LiveEnvelope;
use crate::protocol::{ErrorCode, Seq};

/// One device's place at the counter; a newer one of the same device ends it.
pub struct Subscription {
    relay: Relay,
    session: Session,
    ticket: Ticket,
    /// Something may be there that was not given yet.
    look: bool,
    gap_told: Option<Gap>,
    drained_told: bool,
    live: Option<Seat>,
}

/// A poll that found nothing yet. It has its place at the counter, and loses it when it is dropped.
pub struct Poll {
    subscription: Subscription,
    after: Seq,
    limit: u64,
    deadline: Duration,
}

/// What a poll found at once.
pub enum Received {
    /// A page, which may be empty where nothing was to be waited for.
    Page(ReceiveReply),
    /// Nothing yet.
    Nothing(Box<Poll>),
}

/// What there is to give; nothing at all only at a deadline.
#[derive(Debug, Default)]
pub struct Batch {
    /// Oldest first.
    pub envelopes: Vec<Envelope>,
    /// Nothing waits beyond them, where that was not told before.
    pub drained: bool,
    /// What was lost unread, where that was not told before.
    pub gap: Option<Gap>,
    /// What is nowhere written down.
    pub live: Vec<LiveEnvelope>,
}

/// A device's stream: a subscription, and which of its envelopes are in flight.
pub struct Stream {
    subscription: Subscription,
    sent: Seq,
    in_flight: BTreeSet<Seq>,
    /// What is in flight may have been acknowledged by another way.
    recount: bool,
}

impl Relay {
    /// Takes the device's place at the counter from whoever held it.
    pub fn subscribe(&self, session: &Session) -> Subscription {
        let ticket = self.inner.wakeups.register(session.device);
        Subscription {
            relay: self.clone(),
            session: session.clone(),
            ticket,
            look: true,
            gap_told: None,
            drained_told: false,
            live: None,
        }
    }

    /// The same for a stream, which also gets what is live.
    pub fn stream(&self, session: &Session) -> Stream {
        let mut subscription = self.subscribe(session);
        subscription.live = Some(self.inner.live.register(session.device));
        Stream { subscription, sent: Seq(0), in_flight: BTreeSet::new(), recount: false }
    }

    /// `GET /v1/envelopes`: one page, or the wait for one.
    pub async fn receive(&self, session: &Session, query: ReceiveQuery) -> Result<Received> {
        let limits = self.limits();
        let bad = |detail: String| Error::refused(ErrorCode::BadRequest, detail);
        let limit = query.limit.unwrap_or(limits.page_envelopes_max);
        if limit == 0 || limit > limits.page_envelopes_max {
            return Err(bad(format!("limit is from 1 to {}", limits.page_envelopes_max)));
        }
        if query.wait > limits.long_poll_secs_max {
            return Err(bad(format!("wait is from 0 to {} seconds", limits.long_poll_secs_max)));
        }
        if query.after >= SEQ_END {
            return Err(bad("after is below 2^53".into()));
        }
        let deadline = self.inner.clock.elapsed() + Duration::from_secs(query.wait);
        let mut poll = Poll { subscription: self.subscribe(session), after: Seq(query.after), limit, deadline };
        let batch = poll.subscription.look(poll.after, limit, deadline).await?;
        Ok(batch.map_or_else(|| Received::Nothing(Box::new(poll)), |batch| Received::Page(batch.into())))
    }
}

impl Poll {
    /// The page that came, or an empty one at the deadline.
    pub async fn page(mut self: Box<Self>) -> Result<ReceiveReply> {
        Ok(self.subscription.next_batch(self.after, self.limit, self.deadline).await?.into())
    }
}

impl From<Batch> for ReceiveReply {
    fn from(batch: Batch) -> Self {
        Self { envelopes: batch.envelopes, drained: batch.drained, gap: batch.gap }
    }
}

impl Subscription {
    /// The next envelopes above `after`, `limit` at most, or none at `deadline` (by the clock's `elapsed`). A gap counts as
    /// something to give, and so does what is live. Cancel-safe: nothing is taken out before the last wait is over.
    pub async fn next_batch(&mut self, after: Seq, limit: u64, deadline: Duration) -> Result<Batch> {
        loop {
            if let Some(batch) = self.look(after, limit, deadline).await? {
                return Ok(batch);
            }
            self.wait(deadline).await?;
        }
    }

    /// What there is to give now; none where it is to be waited for.
    async fn look(&mut self, after: Seq, limit: u64, deadline: Duration) -> Result<Option<Batch>> {
        self.refuse_if_over()?;
        let mut batch = Batch::default();
        if self.look {
            let inner = &self.relay.inner;
            let bytes_max = inner.settings.limits.page_bytes_max;
            let page = inner.store.waiting(self.session.device, after, limit, bytes_max, self.relay.now()).await?;
            self.look = !page.drained;
            batch.gap = page.gap.filter(|gap| self.gap_told != Some(*gap));
            self.gap_told = page.gap;
            batch.envelopes = page.envelopes;
        }
        batch.live = self.live.as_ref().map(Seat::take).unwrap_or_default();
        let more = !batch.envelopes.is_empty() || batch.gap.is_some();
        batch.drained = !self.look && (more || !self.drained_told);
        // A poll waits on; a stream is told where the mailbox stands.
        let something = more || !batch.live.is_empty() || (batch.drained && self.live.is_some());
        if !something && self.relay.inner.clock.elapsed() < deadline {
            return Ok(None);
        }
        self.drained_told = batch.drained || (self.drained_told && !more);
        Ok(Some(batch))
    }

    /// Ends at a wake-up or the deadline. Cancel-safe: that there is something to look for is remembered.
    async fn wait(&mut self, deadline: Duration) -> Result<()> {
        let inner = &self.relay.inner;
        tokio::select! {
            wakeup = self.ticket.wait() => match wakeup {
                Wakeup::Superseded => return Err(superseded()),
                Wakeup::Look => self.look = true,
            },
            () = inner.clock.sleep_until(deadline.min(self.session.ends)) => {}
            () = self.session.revoked.cancelled() => return Err(no_session()),
            () = inner.stopping.cancelled() => return Err(stopping()),
        }
        Ok(())
    }

    fn refuse_if_over(&self) -> Result<()> {
        if self.ticket.superseded() {
            return Err(superseded());
        }
        if self.session.revoked.is_cancelled() || self.relay.inner.clock.elapsed() >= self.session.ends {
            return Err(no_session());
        }
        Ok(())
    }
}

impl Stream {
    /// The next that there is to send: at first, and whenever something came. Waits for it, and for room in the window.
    /// Cancel-safe, as `next_batch` is.
    pub async fn next(&mut self) -> Result<Batch> {
        let limits = self.subscription.relay.limits();
        let (window, page_max) = (limits.stream_unacked_max, limits.page_envelopes_max);
        loop {
            if self.subscription.relay.inner.stopping.is_cancelled() {
                return Err(stopping());
            }
            let room = window.saturating_sub(self.in_flight.len() as u64);
            if room > 0 {
                let limit = room.min(page_max);
                let batch = self.subscription.next_batch(self.sent, limit, Duration::MAX).await?;
                self.recount = true;
                self.in_flight.extend(batch.envelopes.iter().map(|envelope| envelope.seq));
                self.sent = batch.envelopes.last().map_or(self.sent, |last| last.seq);
                return Ok(batch);
            }
            self.subscription.refuse_if_over()?;
            let live = self.subscription.live.as_ref().map(Seat::take).unwrap_or_default();
            if !live.is_empty() {
                return Ok(Batch { live, ..Batch::default() });
            }
            if self.recount {
                let first = self.first_waiting().await?;
                self.in_flight.retain(|seq| first.is_some_and(|first| *seq >= first));
                self.recount = false;
            } else {
                self.subscription.wait(Duration::MAX).await?;
                self.recount = true;
            }
        }
    }

    /// Forgets what the device has safe. The window opens as far.
    pub async fn ack(&mut self, request: AckRequest) -> Result<AckReply> {
        let subscription = &self.subscription;
        let (seqs, through) = (request.seqs.clone().unwrap_or_default(), request.through);
        let reply = subscription.relay.ack(&subscription.session, request).await?;
        self.in_flight.retain(|seq| !seqs.contains(seq) && through.is_none_or(|through| *seq > through));
        Ok(reply)
    }

    /// Ends when the stream may not go on, with the reason. For use beside a slow write.
    pub async fn over(&mut self) -> Error {
        loop {
            let waited = match self.subscription.refuse_if_over() {
                Ok(()) => self.subscription.wait(Duration::MAX).await,
                refused => refused,
            };
            if let Err(error) = waited {
                return error;
            }
        }
    }

    /// Goes on by a newer session of the same device.
    pub fn prolong(&mut self, session: Session) -> Result<()> {
        if session.device != self.subscription.session.device {
            return Err(no_session());
        }
        self.subscription.session = session;
        Ok(())
    }

    async fn first_waiting(&self) -> Result<Option<Seq>> {
        let Subscription { relay, session, .. } = &self.subscription;
        let page = relay.inner.store.waiting(session.device, Seq(0), 1, 1, relay.now()).await?;
        Ok(page.envelopes.first().map(|envelope| envelope.seq))
    }
}

fn superseded() -> Error {
    Error::refused(ErrorCode::Superseded, "a newer poll or stream of this device took over; do not come back by itself")
}

fn stopping() -> Error {
    Error::refused(ErrorCode::Stopping, "the relay is stopping; come back")
}
