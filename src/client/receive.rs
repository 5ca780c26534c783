//! Receiving: fetch a page, take each envelope in, put everything on disk, and only then tell the relay to forget.
//!
//! The order, and what a crash leaves:
//!
//! 1. a page is fetched; 2. its envelopes are opened, and events, counters and keys are written in one step; 3. the caller
//!    is given the events and shows them; 4. [`Client::shown`] writes down that they were; 5. the relay is told.
//!
//! A crash before 2 changes nothing: the envelopes come again. Between 2 and 4 the events are on disk and are given again,
//! without the relay. After 4 they are never given again: an envelope that comes once more is known by its seq and its
//! counter. So a message is lost in no case, and shown a second time only if the crash falls between the showing itself and
//! the note of it, which no program can close.

use std::time::Duration;

use reqwest::Method;

use super::Client;
use super::envelope::Taken;
use super::error::Result;
use super::event::{Event, What};
use super::http::NOTHING;
use crate::protocol::envelopes::{AckReply, AckRequest, Gap, ReceiveReply};
use crate::protocol::time::HOUR;
use crate::protocol::{ErrorCode, Seq};

impl Client {
    /// What is new. Events that were given before and not [`shown`](Client::shown) are given again, without asking the
    /// relay. Else the relay is asked; where nothing waits, it holds the request for up to `wait_secs`.
    ///
    /// An empty answer means that nothing waits.
    pub async fn receive(&mut self, wait_secs: u64) -> Result<Vec<Event>> {
        let waiting = self.unshown().await?;
        if !waiting.is_empty() {
            return Ok(waiting);
        }
        self.tend().await?;
        let mut wait = Duration::from_secs(wait_secs);
        loop {
            let acked = self.state.acked_through;
            // What is acknowledged is gone there. Asking from the start all the same shows a relay that went back.
            let after = if self.state.stored_through > acked { self.state.stored_through } else { 0 };
            // The lock is not held while the relay holds the request: others may use the profile meanwhile.
            let path = format!("/v1/envelopes?wait={}&after={after}", wait.as_secs());
            let page: ReceiveReply = self.authed_for(Method::GET, &path, NOTHING, wait).await?;
            let _lock = self.enter().await?;
            let drained = self.take_page(page, acked).await?;
            self.flush(None).await?;
            if !self.state.inbox.is_empty() {
                return Ok(self.state.inbox.clone());
            }
            if drained {
                self.tell_relay().await?;
                return Ok(Vec::new());
            }
            wait = Duration::ZERO;
        }
    }

    /// Events that were given before and not shown.
    pub(super) async fn unshown(&mut self) -> Result<Vec<Event>> {
        let _lock = self.enter().await?;
        Ok(self.state.inbox.clone())
    }

    /// What is due before receiving: acknowledgements, a fresh prekey, tokens, what is queued.
    pub(super) async fn tend(&mut self) -> Result<()> {
        let _lock = self.enter().await?;
        self.tell_relay().await?;
        // What fails of this can wait for the next time, or fails what is asked next as well.
        self.renew_prekey().await.ok();
        self.tend_tokens().await.ok();
        self.keep().await;
        self.flush(None).await.ok();
        Ok(())
    }

    /// Takes in what a stream said, and sends what that calls for. False when some of it has to come again.
    pub(super) async fn take_heard(&mut self, page: ReceiveReply) -> Result<bool> {
        let _lock = self.enter().await?;
        let (acked, last) = (self.state.acked_through, page.envelopes.last().map(|envelope| envelope.seq.0));
        self.take_page(page, acked).await?;
        self.flush(None).await.ok();
        Ok(last.is_none_or(|last| last <= self.state.stored_through))
    }

    /// The relay has forgotten everything up to this seq.
    pub(super) async fn acknowledged(&mut self, through: Option<u64>) -> Result<()> {
        let _lock = self.enter().await?;
        self.state.acked_through = self.state.acked_through.max(through.unwrap_or(0));
        self.state.gap = self.state.gap.filter(|gap| gap.through.0 > self.state.acked_through);
        self.save()
    }

    /// The relay never gave a seq that it is known to have given.
    pub(super) async fn went_back(&mut self) -> Result<()> {
        let _lock = self.enter().await?;
        self.begin_anew(self.clock.now());
        self.save()
    }

    /// The event was shown; it is not given again.
    pub async fn shown(&mut self, event: &Event) -> Result<()> {
        let _lock = self.enter().await?;
        self.state.note_shown(event.number, self.clock.now());
        self.save()
    }

    /// Tells the relay to forget whatever is safe here. [`receive`](Client::receive) begins with it; call it after the last.
    pub async fn acknowledge(&mut self) -> Result<()> {
        let _lock = self.enter().await?;
        self.tell_relay().await
    }

    /// Takes a page in and writes everything that it brought in one step. True when nothing waits beyond it. `acked` is what
    /// had been acknowledged when it was asked for.
    async fn take_page(&mut self, page: ReceiveReply, acked: u64) -> Result<bool> {
        let now = self.clock.now();
        let (mut unopened, mut stopped) = (0, None);
        if page.envelopes.iter().any(|envelope| envelope.seq.0 <= acked) {
            self.begin_anew(now);
        }
        for envelope in &page.envelopes {
            if envelope.seq.0 <= self.state.stored_through {
                continue;
            }
            match self.take_in(envelope, false).await {
                Ok(Taken::In) => {}
                Ok(Taken::Unopened) => unopened += 1,
                Ok(Taken::ByUnknown) => {
                    // Another device may have made a contact that this one has not heard of.
                    let held = self.state.has_slot(now) && self.state.hold_back(envelope, false, now);
                    unopened += u64::from(!held);
                }
                Ok(Taken::AtUnknownDoor) => {
                    // Another device may have answered it.
                    let held = self.state.hold_back(envelope, true, now);
                    let shown = held || self.take_in(envelope, true).await.is_ok_and(|taken| taken == Taken::In);
                    unopened += u64::from(!shown);
                }
                // The sender's devices could not be looked up now: this one and the rest come again.
                Err(error) => {
                    stopped = Some(error);
                    break;
                }
            }
            self.state.stored_through = envelope.seq.0;
        }
        unopened += self.decide().await;
        if unopened > 0 {
            self.state.tell(now, What::Unopened { count: unopened });
        }
        let drained = page.drained && stopped.is_none();
        if let Some(gap) = page.gap.filter(|_| drained) {
            self.take_gap(gap, now);
        }
        if drained {
            self.report_missing(now);
            self.state.drop_old_keys(now);
        }
        self.save()?;
        self.keep().await;
        match stopped {
            Some(error) if self.state.inbox.is_empty() => Err(error),
            _ => Ok(drained),
        }
    }

    /// Every envelope up to the gap's end is either here or gone, since the page was the last.
    fn take_gap(&mut self, gap: Gap, now: u64) {
        let told = self.state.gap.map_or(0, |told| told.count);
        if self.state.gap.is_none_or(|told| told.through < gap.through) && gap.count > told {
            self.state.tell(now, What::Gap { count: gap.count - told });
        }
        self.state.gap = Some(gap);
        self.state.stored_through = self.state.stored_through.max(gap.through.0);
    }

    fn report_missing(&mut self, now: u64) {
        let since = now.saturating_sub(self.state.relay.retention_secs + HOUR);
        let mut reports = Vec::new();
        for contact in self.state.myself.iter_mut().chain(&mut self.state.contacts) {
            let count: u64 = contact.devices.values_mut().map(|peer| peer.counters.never_arrived(since)).sum();
            if count > 0 {
                reports.push(What::NeverArrived { from: contact.name.clone(), count });
            }
        }
        for report in reports {
            self.state.tell(now, report);
        }
    }

    /// The relay is an older copy of itself: its seqs begin again somewhere below. Counters drop what comes a second time.
    fn begin_anew(&mut self, now: u64) {
        self.state.stored_through = 0;
        self.state.acked_through = 0;
        self.state.gap = None;
        self.state.tell(now, What::RelayWentBack);
    }

    async fn tell_relay(&mut self) -> Result<()> {
        if self.state.acked_through >= self.state.stored_through {
            return Ok(());
        }
        let through = self.state.stored_through;
        let request = AckRequest { seqs: None, through: Some(Seq(through)) };
        let answer: Result<AckReply> = self.authed(Method::POST, "/v1/envelopes/ack", Some(&request)).await;
        match answer {
            Ok(_) => self.state.acked_through = through,
            // The relay never gave that seq.
            Err(error) if error.code() == Some(ErrorCode::SeqNotGiven) => self.begin_anew(self.clock.now()),
            Err(error) => return Err(error),
        }
        self.state.gap = self.state.gap.filter(|gap| gap.through.0 > self.state.acked_through);
        self.save()
    }
}
