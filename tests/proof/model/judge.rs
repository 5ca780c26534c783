//! What comes back, held against the reference: an answer, the sessions that are over, and every mailbox.

use anyhow::{Context, bail, ensure};
use restante::protocol::envelopes::{Envelope, ReceiveReply, SendReply};
use restante::protocol::{DeviceId, ErrorCode, Problem, Seq};
use serde_json::Value;

use super::host::Host;
use super::real::{Real, id_of};
use super::reference::{Model, Name, Said};
use crate::http::Reply;

impl Real {
    /// Holds an answer against the reference's.
    pub(super) fn compare(&self, model: &Model, reply: &Reply) -> anyhow::Result<()> {
        let text = || String::from_utf8_lossy(&reply.body[..reply.body.len().min(300)]).into_owned();
        let said = match &model.said {
            Err(code) => {
                let problem: Problem = reply.expect(code.status()).with_context(|| format!("{} was due", code.as_str()))?;
                ensure!(problem.code == *code, "{} where {} was due", problem.code.as_str(), code.as_str());
                return Ok(());
            }
            Ok(said) => said,
        };
        ensure!((200..300).contains(&reply.status), "{} {} where {said:?} was due", reply.status, text());
        match said {
            Said::Done => {}
            Said::Number(number) => {
                let value: Value = serde_json::from_slice(&reply.body)?;
                let told = value["removed"].as_u64().or(value["revoked"].as_u64());
                ensure!(told == Some(*number), "{} where {number} was due", text());
            }
            Said::Sent { expires_at, full } => {
                let told: SendReply = reply.expect(202)?;
                ensure!(
                    told.expires_at == self.base + expires_at,
                    "{} where {expires_at} was due",
                    told.expires_at - self.base
                );
                let mut due: Vec<DeviceId> = full.iter().map(|name| self.devices[name].id).collect();
                let mut full = told.full;
                due.sort_unstable();
                full.sort_unstable();
                ensure!(full == due, "{} mailboxes are said to be full where {} are", full.len(), due.len());
            }
        }
        Ok(())
    }

    /// Whatever session ended is good for nothing.
    pub(super) fn over(&mut self, host: &mut Host, model: &Model) -> anyhow::Result<()> {
        let live: Vec<Name> = sessions(model).map(|(name, _)| name).collect();
        let over: Vec<Name> = self.sessions.keys().copied().filter(|name| !live.contains(name)).collect();
        for name in over {
            let session = self.sessions.remove(&name).context("a session")?;
            let reply = host.line().get("/v1/envelopes", Some(&session))?;
            let problem: Problem = reply.expect(401).context("a session that is over was taken")?;
            ensure!(problem.code == ErrorCode::NoSession, "a session that is over gets {}", problem.code.as_str());
        }
        Ok(())
    }

    pub(super) fn log_in_missing(&mut self, host: &mut Host, model: &Model) -> anyhow::Result<()> {
        for (name, device) in sessions(model) {
            if !self.sessions.contains_key(&name) {
                let (at, line) = host.at_line();
                self.sessions.insert(name, self.devices[&device].login(at, line)?);
            }
        }
        Ok(())
    }

    /// Every mailbox holds what the reference's holds, and nothing else.
    pub(super) fn look(&mut self, host: &mut Host, model: &Model) -> anyhow::Result<()> {
        for own in model.people.iter().flat_map(|person| &person.devices) {
            let session = &self.sessions[&own.sessions.last().context("everybody has a session")?.0];
            let page: ReceiveReply = host.line().get("/v1/envelopes", Some(session))?.expect(200)?;
            let seqs = self.seqs.entry(own.name).or_default();
            let mut there = page.envelopes.iter();
            for held in own.visible(model.now) {
                let Some(envelope) = there.next() else {
                    bail!("device {} lost the envelope at place {}", own.name, held.place)
                };
                let Envelope { seq: Seq(seq), expires_at, .. } = envelope;
                let place = held.place as usize;
                if place == seqs.len() + 1 {
                    ensure!(*seq > seqs.last().copied().unwrap_or(0), "a new envelope has seq {seq}, after {:?}", seqs.last());
                    seqs.push(*seq);
                }
                ensure!(seqs.get(place - 1) == Some(seq), "seq {seq} stands where {:?} was due", seqs.get(place - 1));
                ensure!(*expires_at == self.base + held.expires_at, "seq {seq} has another expiry");
                let id = self.devices[&own.name].open(envelope)?;
                ensure!(id == id_of(&self.ids, held.id), "seq {seq} holds another envelope");
                ensure!(envelope.body.as_slice().len() == held.size + OVERHEAD, "seq {seq} has another size");
            }
            ensure!(there.next().is_none(), "device {} was given what it should not have", own.name);
            ensure!(seqs.len() as u64 == own.given, "device {} was given {} and {} came", own.name, own.given, seqs.len());
            ensure!(page.drained, "a mailbox of {} is not drained", own.held.len());
            let gap = page.gap.map(|gap| (gap.count, gap.through.0));
            let due = own.gap.map(|(count, last)| (count, seqs[last as usize - 1]));
            ensure!(gap == due, "a gap of {gap:?} where {due:?} was due");
        }
        Ok(())
    }
}

/// Every session that is good, and whose it is.
fn sessions(model: &Model) -> impl Iterator<Item = (Name, Name)> {
    let devices = model.people.iter().flat_map(|person| &person.devices);
    devices.flat_map(|device| device.sessions.iter().map(|(name, _)| (*name, device.name)))
}

const OVERHEAD: usize = restante::protocol::envelopes::WRAP_OVERHEAD;
