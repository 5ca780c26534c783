//! A wall clock that jumps: an hour, a day and eight days, both ways, while the relay runs and while it is stopped. Nothing is
//! deleted before its time, and nothing delivered after it. The relay runs in this process, by a clock that is advanced by
//! hand; purges come between. The count is how many rounds.

use std::sync::Arc;

use anyhow::{Context, ensure};
use restante::config::Config;
use restante::protocol::EnvelopeId;
use restante::protocol::envelopes::SendReply;
use restante::server::{self, Listener};
use restante::service::clock::TimeSource;
use restante::service::{Clock, Relay};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::clock::ManualClock;
use crate::http::Line;
use crate::people::{Device, id_by};
use crate::random::Random;
use crate::relay::At;
use crate::world::page;
use crate::{Outcome, Plan};

pub(crate) fn run(plan: &Plan) -> anyhow::Result<Outcome> {
    let mut random = Random::new(plan.seed);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (mut jumps, mut sent) = (0, 0);
    for round in 0..plan.count {
        let mut config = Config::default();
        config.server.data = plan.dir.join(format!("round-{round}"));
        config.server.disk_free_bytes_min = 0;
        // The clock stands still while a thousand are sent.
        (config.limits.token_sends_per_min, config.limits.device_requests_per_min) = (0, 0);
        config.retention.purge_schedule = "0 0 29 2 *".into();
        let clock = Arc::new(ManualClock::new());
        let mut running = Running::start(&runtime, &config, &clock)?;
        let mut device = Device::generate();
        device.settle(&running.at, 1)?;
        let mut letters = Letters { sent: Vec::new(), device };
        // How far the wall clock has run away, in seconds.
        let mut astray = 0;
        let now = |astray: i64| clock.wall().saturating_add_signed(-astray);
        for _ in 0..STEPS {
            match random.index(4) {
                0 | 1 => letters.send(&running.at, &mut random)?,
                2 => {
                    let jump = JUMPS[random.index(JUMPS.len())];
                    clock.set_wall_by(jump);
                    astray += jump;
                    jumps += 1;
                }
                _ => clock.advance(random.below(2 * 3_600)),
            }
            running.purge(&runtime)?;
            letters.audit(&running.at, now(astray)).with_context(|| format!("round {round}, {astray} s off"))?;
        }
        // Enough for the guard, which lets few be deleted rather than stand in the way.
        clock.set_wall_by(-astray);
        while letters.due(now(0)).len() < GUARDED {
            letters.send(&running.at, &mut random)?;
        }
        running.purge(&runtime)?;
        letters.audit(&running.at, now(0))?;
        for jump in [-3_600, -86_400, 8 * 86_400] {
            running.stop(&runtime)?;
            clock.set_wall_by(jump);
            running = Running::start(&runtime, &config, &clock)?;
            running.purge(&runtime)?;
            letters.audit(&running.at, now(jump)).with_context(|| format!("started {jump} s off"))?;
            clock.set_wall_by(-jump);
            jumps += 1;
        }
        running.stop(&runtime)?;
        sent += letters.sent.len();
    }
    Ok(Outcome::Held(jumps, format!("{sent} envelopes: 0 deleted before their time, 0 delivered after it")))
}

/// A relay in this process.
struct Running {
    at: At,
    relay: Relay,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), server::ServerError>>,
}

impl Running {
    fn start(runtime: &Runtime, config: &Config, clock: &Arc<ManualClock>) -> anyhow::Result<Self> {
        let source: Arc<dyn TimeSource> = Arc::clone(clock) as _;
        runtime.block_on(async {
            let listener = server::bind("127.0.0.1:0").await?;
            let Listener::Tcp(tcp) = &listener else { anyhow::bail!("it was bound to a port") };
            let address = tcp.local_addr()?;
            let at = At { address, origin: format!("http://{address}") };
            let opened = server::open_with(config, Some(&listener), Clock::new(source), |_| {}).await?;
            let (relay, config) = (opened.relay.clone(), config.clone());
            let (stop, stopped) = oneshot::channel::<()>();
            let stopped = async {
                let _ = stopped.await;
            };
            let serving = async move { server::serve(opened, &config, listener, stopped, std::future::pending()).await };
            Ok(Self { at, relay, stop, served: tokio::spawn(serving) })
        })
    }

    fn purge(&self, runtime: &Runtime) -> anyhow::Result<()> {
        runtime.block_on(self.relay.purge(Default::default(), |_| {}))?;
        Ok(())
    }

    fn stop(self, runtime: &Runtime) -> anyhow::Result<()> {
        drop(self.stop);
        runtime.block_on(self.served)??;
        Ok(())
    }
}

/// What was sent to one device, and until when it waits.
struct Letters {
    sent: Vec<(EnvelopeId, u64)>,
    device: Device,
}

impl Letters {
    fn send(&mut self, at: &At, random: &mut Random) -> anyhow::Result<()> {
        let (id, expires_in) = (id_by(random), 3_600 + random.below(7 * 86_400 - 3_600));
        let reply: SendReply =
            self.device.send_for(&mut Line::new(at.address), 0, &id, 1_024, Some(expires_in))?.expect(202)?;
        self.sent.push((id, reply.expires_at));
        Ok(())
    }

    /// What has not expired.
    fn due(&self, now: u64) -> Vec<EnvelopeId> {
        self.sent.iter().filter(|(_, until)| *until > now).map(|(id, _)| *id).collect()
    }

    /// Exactly that is delivered.
    fn audit(&self, at: &At, now: u64) -> anyhow::Result<()> {
        let mut line = Line::new(at.address);
        let session = self.device.login(at, &mut line)?;
        let (mut ids, mut after) = (Vec::new(), 0);
        loop {
            let page = page(&mut line, &session, 0, after)?;
            for envelope in &page.envelopes {
                ids.push(self.device.open(envelope)?);
                after = envelope.seq.0;
            }
            if page.drained {
                break;
            }
        }
        let due = self.due(now);
        ensure!(ids == due, "{} are delivered where {} have not expired", ids.len(), due.len());
        Ok(())
    }
}

const JUMPS: [i64; 6] = [3_600, -3_600, 86_400, -86_400, 8 * 86_400, -8 * 86_400];
const STEPS: usize = 40;
/// Beyond what `service::purge` calls few.
const GUARDED: usize = 1_050;
