//! The relay under load: a child of the bench's own with its data in a fresh directory, or one that runs somewhere.

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::http::Address;
use super::process::Process;
use crate::cli::child::{Listening, Place};

/// What every scenario is told.
pub(super) struct Plan {
    /// Where the data lies, in a directory of its own.
    pub(super) parent: PathBuf,
    /// Somebody's relay, in the place of our own.
    pub(super) url: Option<String>,
    /// Of our own relay, beside the defaults.
    pub(super) settings: Vec<String>,
    pub(super) devices: Option<usize>,
    pub(super) connections: usize,
    pub(super) seconds: u64,
    pub(super) rounds: usize,
    pub(super) rate: u64,
    /// Envelopes that wait in a relay before it is loaded, and in how many mailboxes.
    pub(super) fill: Option<(u64, usize)>,
}

/// A relay to load.
pub(super) struct Relay {
    pub(super) at: Address,
    own: Option<Own>,
}

struct Own {
    // Before its place: what is killed first writes nothing into what is removed.
    child: Listening,
    place: Place,
    settings: Vec<String>,
}

impl Relay {
    /// The plan's: our own, freshly started on no data, unless a URL names another.
    pub(super) async fn start(plan: &Plan, connections: usize) -> anyhow::Result<Self> {
        if let Some(url) = &plan.url {
            return Ok(Self { at: Address::of(url).await?, own: None });
        }
        Self::start_in(Place::new(&plan.parent, "bench", false)?, plan, connections).await
    }

    /// Our own, on the data of a place.
    pub(super) async fn start_in(place: Place, plan: &Plan, connections: usize) -> anyhow::Result<Self> {
        let mut settings = vec![format!("limits.connections_max={}", connections + CONNECTIONS_MORE)];
        // What is measured is what the relay bears, not what it allows one client.
        settings.extend(["limits.device_requests_per_min=0", "limits.token_sends_per_min=0"].map(String::from));
        settings.extend(plan.settings.iter().cloned());
        let child = Listening::relay(&place, "127.0.0.1:0", &settings)?;
        Ok(Self { at: Address::of(child.origin()).await?, own: Some(Own { child, place, settings }) })
    }

    /// Ends it at once, as a power cut would end the process.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        self.own()?.child.kill()
    }

    /// A new process on the same data and port, once the old one was killed.
    pub(super) fn start_again(&mut self) -> anyhow::Result<()> {
        let own = self.own()?;
        own.child = Listening::relay(&own.place, own.child.address(), &own.settings)?;
        Ok(())
    }

    /// The process, where it is ours and can be looked at.
    pub(super) fn process(&self) -> anyhow::Result<Process> {
        let own = self.own.as_ref().context("it is not the bench's own relay")?;
        Process::of(own.child.id()).context("there is no /proc here")
    }

    /// Its data directory, where it is ours.
    pub(super) fn data(&self) -> anyhow::Result<PathBuf> {
        Ok(self.own.as_ref().context("it is not the bench's own relay")?.place.data())
    }

    fn own(&mut self) -> anyhow::Result<&mut Own> {
        self.own.as_mut().context("it is not the bench's own relay")
    }
}

/// The framework alone, in a process of its own.
pub(super) struct Baseline {
    pub(super) at: Address,
    _child: Listening,
    _place: Place,
}

impl Baseline {
    pub(super) async fn start(parent: &Path) -> anyhow::Result<Self> {
        let place = Place::new(parent, "bench", false)?;
        let child = Listening::start(&place, &["bench", "baseline"])?;
        Ok(Self { at: Address::of(child.origin()).await?, _child: child, _place: place })
    }
}

/// Logins, sends and what is still closing.
const CONNECTIONS_MORE: usize = 256;
