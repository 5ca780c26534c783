//! What one mailbox must hold, by what its senders and its reader were told. Intents are noted before a request and outcomes
//! after its reply, so that what a crash left open is allowed either way, and nothing else is.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use anyhow::{bail, ensure};
use restante::protocol::envelopes::Envelope;
use restante::protocol::{EnvelopeId, Hash};

use crate::people::Device;

/// One mailbox's.
#[derive(Default)]
pub(crate) struct Book {
    intended: HashSet<EnvelopeId>,
    /// Accepted, and not yet seen by the reader.
    due: HashSet<EnvelopeId>,
    /// Seen, and not known to be gone.
    here: BTreeMap<u64, Seen>,
    gone: BTreeSet<u64>,
    /// The latest seq of each id.
    seqs: HashMap<EnvelopeId, u64>,
    highest: u64,
    pub(crate) accepted: u64,
    pub(crate) acknowledged: u64,
    /// Came a second time after an acknowledgement and a restart, which the protocol allows and clients sort out.
    pub(crate) again: u64,
}

struct Seen {
    bytes: Hash,
    /// An acknowledgement is under way.
    asked: bool,
}

impl Book {
    /// A send is about to be made.
    pub(crate) fn intend(&mut self, id: EnvelopeId) {
        self.intended.insert(id);
    }

    /// It was answered by a `202`.
    pub(crate) fn accept(&mut self, id: EnvelopeId) {
        self.accepted += 1;
        if !self.seqs.contains_key(&id) {
            self.due.insert(id);
        }
    }

    /// The reader was given this.
    pub(crate) fn see(&mut self, device: &Device, envelope: &Envelope) -> anyhow::Result<()> {
        let seq = envelope.seq.0;
        ensure!(!self.gone.contains(&seq), "seq {seq} was acknowledged and came back");
        let bytes = digest(envelope);
        if let Some(seen) = self.here.get(&seq) {
            ensure!(seen.bytes == bytes, "seq {seq} came again with other bytes");
            return Ok(());
        }
        ensure!(seq > self.highest, "seq {seq} came first after seq {} had come", self.highest);
        let id = device.open(envelope)?;
        ensure!(self.intended.contains(&id), "seq {seq} holds what nobody sent");
        if let Some(earlier) = self.seqs.get(&id) {
            ensure!(self.here.get(earlier).is_none_or(|seen| seen.asked), "one id stands at seq {earlier} and at seq {seq}");
            self.again += 1;
        }
        self.highest = seq;
        self.due.remove(&id);
        self.seqs.insert(id, seq);
        self.here.insert(seq, Seen { bytes, asked: false });
        Ok(())
    }

    /// An acknowledgement of these is about to be made.
    pub(crate) fn ask(&mut self, seqs: &[u64]) {
        for seq in seqs {
            if let Some(seen) = self.here.get_mut(seq) {
                seen.asked = true;
            }
        }
    }

    /// It was refused.
    pub(crate) fn refused(&mut self, seqs: &[u64]) {
        for seq in seqs {
            if let Some(seen) = self.here.get_mut(seq) {
                seen.asked = false;
            }
        }
    }

    /// It was answered by a `200`.
    pub(crate) fn acknowledge(&mut self, seqs: &[u64]) {
        for seq in seqs {
            self.acknowledged += u64::from(self.here.remove(seq).is_some());
            self.gone.insert(*seq);
        }
    }

    /// What was seen and not acknowledged, up to and including a seq.
    pub(crate) fn through(&self, seq: u64) -> Vec<u64> {
        self.here.range(..=seq).map(|(seq, _)| *seq).collect()
    }

    /// The sends that were accepted and not acknowledged; whoever sees only these lost nothing.
    pub(crate) fn owed(&self) -> usize {
        self.due.len() + self.here.values().filter(|seen| !seen.asked).count()
    }

    /// Everything that waits, after a restart and with nobody sending: nothing is missing, and nothing came back.
    pub(crate) fn audit(&mut self, device: &Device, waiting: &[Envelope]) -> anyhow::Result<()> {
        let before = self.owed();
        for envelope in waiting {
            self.see(device, envelope)?;
        }
        let there: BTreeSet<u64> = waiting.iter().map(|envelope| envelope.seq.0).collect();
        let missing = self.here.iter().filter(|(seq, seen)| !seen.asked && !there.contains(seq)).count();
        let lost = missing + self.due.len();
        if lost > 0 {
            bail!("{lost} of {before} that were accepted and not acknowledged are lost ({} never came)", self.due.len());
        }
        // What a crash left open is decided now.
        let gone: Vec<u64> = self.here.keys().copied().filter(|seq| !there.contains(seq)).collect();
        self.acknowledge(&gone);
        self.here.values_mut().for_each(|seen| seen.asked = false);
        Ok(())
    }
}

fn digest(envelope: &Envelope) -> Hash {
    let bytes = [&envelope.expires_at.to_be_bytes()[..], envelope.wrap.as_slice(), envelope.body.as_slice()].concat();
    Hash::of(&bytes)
}
