//! The mailboxes of a run with their books, and every request that a book has to know of.

use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::{Context, ensure};
use restante::protocol::envelopes::{AckRequest, Envelope, ReceiveReply};
use restante::protocol::{EnvelopeId, Seq};
use serde_json::Value;

use crate::book::Book;
use crate::http::{Line, Told};
use crate::people::Device;
use crate::relay::At;

/// Everybody who receives.
pub(crate) struct World {
    pub(crate) boxes: Vec<Mailbox>,
}

/// One device, its tokens and its book.
pub(crate) struct Mailbox {
    pub(crate) device: Arc<Device>,
    book: Mutex<Book>,
}

impl World {
    /// So many accounts with so many tokens each, at a relay.
    pub(crate) fn settle(relay: &At, accounts: usize, tokens: usize) -> anyhow::Result<Self> {
        let boxes = (0..accounts).map(|_| {
            let mut device = Device::generate();
            device.settle(relay, tokens)?;
            Ok(Mailbox { device: Arc::new(device), book: Mutex::default() })
        });
        Ok(Self { boxes: boxes.collect::<anyhow::Result<_>>()? })
    }

    /// The same devices, in whose mailboxes nothing is owed: for a copy of the data from before anything was sent.
    pub(crate) fn again(&self) -> Self {
        let fresh = |mailbox: &Mailbox| Mailbox { device: Arc::clone(&mailbox.device), book: Mutex::default() };
        Self { boxes: self.boxes.iter().map(fresh).collect() }
    }

    /// A session for each.
    pub(crate) fn log_in(&self, relay: &At) -> anyhow::Result<Vec<String>> {
        let mut line = Line::new(relay.address);
        self.boxes.iter().map(|mailbox| Ok(mailbox.device.login(relay, &mut line)?)).collect()
    }

    /// Reads every mailbox to its end and holds it against its book; with nobody else at work.
    pub(crate) fn audit(&self, relay: &At) -> anyhow::Result<()> {
        let mut line = Line::new(relay.address);
        for (at, session) in self.log_in(relay)?.iter().enumerate() {
            let waiting = self.boxes[at].whole(&mut line, session)?;
            let outcome = self.boxes[at].book().audit(&self.boxes[at].device, &waiting);
            outcome.with_context(|| format!("mailbox {at}"))?;
        }
        Ok(())
    }

    /// Acknowledges all that waits.
    pub(crate) fn drain(&self, relay: &At) -> anyhow::Result<()> {
        let mut line = Line::new(relay.address);
        for (at, session) in self.log_in(relay)?.iter().enumerate() {
            let waiting = self.boxes[at].whole(&mut line, session)?;
            if let Some(last) = waiting.last() {
                self.boxes[at].acknowledge(&mut line, session, &[], Some(last.seq.0))?;
            }
            ensure!(self.boxes[at].book().owed() == 0, "mailbox {at} owes after it was drained");
        }
        Ok(())
    }

    /// A sum over the books.
    pub(crate) fn sum(&self, count: impl Fn(&Book) -> u64) -> u64 {
        self.boxes.iter().map(|mailbox| count(&mailbox.book())).sum()
    }
}

impl Mailbox {
    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Sends, and gives the status; only a `202` is owed.
    pub(crate) fn send(&self, line: &mut Line, token: usize, id: &EnvelopeId, size: usize) -> Told<u16> {
        self.book().intend(*id);
        let reply = self.device.send(line, token, id, size)?;
        if reply.status == 202 {
            let full: Value = reply.expect(202)?;
            if full["full"].as_array().is_some_and(Vec::is_empty) {
                self.book().accept(*id);
            }
        }
        Ok(reply.status)
    }

    /// A page, held against the book.
    pub(crate) fn receive(&self, line: &mut Line, session: &str, wait: u64, after: u64) -> Told<ReceiveReply> {
        let page = page(line, session, wait, after)?;
        let mut book = self.book();
        for envelope in &page.envelopes {
            book.see(&self.device, envelope)?;
        }
        Ok(page)
    }

    /// Everything that waits; the book does not hear of it.
    pub(crate) fn whole(&self, line: &mut Line, session: &str) -> Told<Vec<Envelope>> {
        let mut whole: Vec<Envelope> = Vec::new();
        loop {
            let after = whole.last().map_or(0, |last| last.seq.0);
            let page = page(line, session, 0, after)?;
            if let Some(gap) = page.gap {
                return Err(anyhow::anyhow!("a gap of {} where nothing expired", gap.count).into());
            }
            whole.extend(page.envelopes);
            if page.drained {
                return Ok(whole);
            }
        }
    }

    /// Acknowledges some, where the relay may refuse it for want of room; then it is owed as before.
    pub(crate) fn try_acknowledge(&self, line: &mut Line, session: &str, seqs: &[u64]) -> Told<bool> {
        self.book().ask(seqs);
        let request = AckRequest { seqs: Some(seqs.iter().copied().map(Seq).collect()), through: None };
        let reply = line.post("/v1/envelopes/ack", Some(session), &request)?;
        if matches!(reply.status, 503 | 507) {
            self.book().refused(seqs);
            return Ok(false);
        }
        let _: Value = reply.expect(200)?;
        self.book().acknowledge(seqs);
        Ok(true)
    }

    /// Acknowledges some, or everything through one; gives how many the relay says went.
    pub(crate) fn acknowledge(&self, line: &mut Line, session: &str, seqs: &[u64], through: Option<u64>) -> Told<u64> {
        let mut all = seqs.to_vec();
        all.extend(through.map_or(Vec::new(), |through| self.book().through(through)));
        self.book().ask(&all);
        let request =
            AckRequest { seqs: (!seqs.is_empty()).then(|| seqs.iter().copied().map(Seq).collect()), through: through.map(Seq) };
        let reply: Value = line.post("/v1/envelopes/ack", Some(session), &request)?.expect(200)?;
        self.book().acknowledge(&all);
        Ok(reply["removed"].as_u64().context("a number of removed ones")?)
    }
}

/// A page of what waits above a seq.
pub(crate) fn page(line: &mut Line, session: &str, wait: u64, after: u64) -> Told<ReceiveReply> {
    Ok(line.get(&format!("/v1/envelopes?wait={wait}&after={after}"), Some(session))?.expect(200)?)
}
