//! The one relay that all cases of a run share, its clock, and the count of what was done.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use restante::protocol::ErrorCode;

use super::reference::{Model, Said};
use super::steps::Step;
use crate::by_hand::ByHand;
use crate::http::Line;
use crate::relay::At;

pub(super) struct Host {
    data: PathBuf,
    /// None after a failure, until the next case.
    relay: Option<ByHand>,
    line: Option<Line>,
    elapsed: u64,
    astray: i64,
    pub(super) tally: Tally,
}

/// What was done, and how it was answered.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) steps: BTreeMap<&'static str, u64>,
    pub(super) codes: BTreeMap<&'static str, u64>,
    pub(super) cases: u64,
    pub(super) kills: u64,
}

impl Host {
    pub(super) fn new(data: &Path) -> Self {
        Self { data: data.to_path_buf(), relay: None, line: None, elapsed: 0, astray: 0, tally: Tally::default() }
    }

    /// For a new case: a relay that runs, its clocks right and ten minutes past an hour. Gives that hour.
    pub(super) fn begin(&mut self) -> anyhow::Result<u64> {
        self.tally.cases += 1;
        let to_the_hour = self.elapsed.next_multiple_of(3_600) - self.elapsed;
        if self.relay.is_none() {
            self.elapsed += to_the_hour;
            self.start()?;
        } else {
            self.jump(-self.astray)?;
            self.advance(to_the_hour)?;
        }
        Ok(FIRST_HOUR + self.elapsed)
    }

    /// A case went wrong: the next one has a fresh process.
    pub(super) fn give_up(&mut self) {
        (self.relay, self.line) = (None, None);
    }

    pub(super) fn line(&mut self) -> &mut Line {
        self.at_line().1
    }

    pub(super) fn at_line(&mut self) -> (&At, &mut Line) {
        let at = self.relay.as_ref().expect("a case began, so there is a relay").at();
        (at, self.line.get_or_insert_with(|| Line::new(at.address)))
    }

    pub(super) fn advance(&mut self, secs: u64) -> anyhow::Result<()> {
        self.elapsed += secs;
        self.order(format!("advance {secs}"))?;
        // Its time on the relay's clock is over.
        self.line = None;
        Ok(())
    }

    pub(super) fn jump(&mut self, secs: i64) -> anyhow::Result<()> {
        self.astray += secs;
        self.order(format!("wall {secs}"))
    }

    pub(super) fn purge(&mut self) -> anyhow::Result<()> {
        self.order("purge now".into())
    }

    /// Stops the relay or kills it, and starts it again, its wall clock right.
    pub(super) fn restart(&mut self, crash: bool) -> anyhow::Result<()> {
        self.line = None;
        let relay = self.relay.take().context("a relay")?;
        self.tally.kills += u64::from(crash);
        if crash {
            relay.kill()?
        } else {
            relay.stop()?
        }
        self.start()
    }

    /// Stops the relay for good.
    pub(super) fn end(&mut self) -> anyhow::Result<()> {
        self.line = None;
        self.relay.take().map_or(Ok(()), ByHand::stop)
    }

    fn start(&mut self) -> anyhow::Result<()> {
        self.astray = 0;
        self.relay = Some(ByHand::start(&self.data, self.elapsed)?);
        Ok(())
    }

    fn order(&mut self, order: String) -> anyhow::Result<()> {
        self.relay.as_mut().context("a relay")?.order(&order)
    }
}

impl Tally {
    /// A step, and what the reference came to before and after.
    pub(super) fn step(&mut self, step: &Step, before: &Model, after: &Model) {
        let stored = after.said.is_err() || after.given() > before.given();
        *self.steps.entry(step.name(stored)).or_default() += 1;
    }

    pub(super) fn answer(&mut self, said: &Result<Said, ErrorCode>) {
        if let Err(code) = said {
            *self.codes.entry(code.as_str()).or_default() += 1;
        }
    }
}

/// The hour in which a clock by hand starts.
const FIRST_HOUR: u64 = 1_800_000_000;
