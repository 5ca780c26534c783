//! Receiving: `Subscription::next_batch` reads what waits, else waits for a wake-up, the deadline, or an end. A poll is one
//! call of it.

use std::time::Duration;

use super::auth::{Session, no_session};
use super::wakeups::{Ticket, Wakeup};
use super::{Error, Relay, Result};
use crate::protocol::envelopes::{ReceiveQuery, ReceiveReply, SEQ_END};
use crate::protocol::{ErrorCode, Seq};

/// One device's place at the counter; a newer one of the same device ends it.
pub struct Subscription {
    relay: Relay,
    session: Session,
    ticket: Ticket,
}

impl Relay {
    /// Takes the device's place at the counter from whoever held it.
    pub fn subscribe(&self, session: &Session) -> Subscription {
        Subscription { relay: self.clone(), session: session.clone(), ticket: self.inner.wakeups.register(session.device) }
    }

    /// `GET /v1/envelopes`: one page, waited for if need be.
    pub async fn receive(&self, session: &Session, query: ReceiveQuery) -> Result<ReceiveReply> {
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
        self.subscribe(session).next_batch(Seq(query.after), limit, deadline).await
    }
}

impl Subscription {
    /// The next envelopes above `after`, or an empty page at `deadline` (by the clock's `elapsed`). A gap counts as
    /// something to tell. Cancel-safe: it only reads.
    pub async fn next_batch(&mut self, after: Seq, limit: u64, deadline: Duration) -> Result<ReceiveReply> {
        let inner = &self.relay.inner;
        loop {
            if self.ticket.superseded() {
                return Err(superseded());
            }
            if self.session.revoked.is_cancelled() {
                return Err(no_session());
            }
            let now = self.relay.now();
            let page =
                inner.store.waiting(self.session.device, after, limit, inner.settings.limits.page_bytes_max, now).await?;
            let due = inner.clock.elapsed() >= deadline;
            if !page.envelopes.is_empty() || page.gap.is_some() || due {
                return Ok(ReceiveReply { envelopes: page.envelopes, drained: page.drained, gap: page.gap });
            }
            tokio::select! {
                wakeup = self.ticket.wait() => if wakeup == Wakeup::Superseded { return Err(superseded()) },
                () = inner.clock.sleep_until(deadline) => {}
                () = self.session.revoked.cancelled() => return Err(no_session()),
                () = inner.stopping.cancelled() => {
                    return Err(Error::refused(ErrorCode::Stopping, "the relay is stopping; poll again"));
                }
            }
        }
    }
}

fn superseded() -> Error {
    Error::refused(ErrorCode::Superseded, "a newer poll of this device took over; do not come back by itself")
}
