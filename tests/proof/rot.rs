//! Bit rot: a copy of a relay's files with one bit flipped, opened by the real store and read to the end. No wrong byte may be
//! delivered. A flip is one of the count.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use restante::protocol::envelopes::Envelope;
use restante::protocol::{DeviceId, Seq};
use restante::store::sqlite::{Settings, SqliteStore};
use restante::store::{Envelopes, Store};

use crate::http::Line;
use crate::people::id_by;
use crate::random::Random;
use crate::relay::Place;
use crate::world::World;
use crate::{Outcome, Plan, in_memory};

pub(crate) fn run(plan: &Plan) -> anyhow::Result<Outcome> {
    let mut random = Random::new(plan.seed);
    let place = Place::new(&plan.dir);
    let relay = place.start()?;
    let world = World::settle(&relay, BOXES, 2)?;
    let mut line = Line::new(relay.address);
    for number in 0..ENVELOPES {
        let size = [1_024, 1_024, 4_096, 16_384][random.index(4)];
        let status = world.boxes[random.index(BOXES)].send(&mut line, number % 2, &id_by(&mut random), size)?;
        ensure!(status == 202, "a send was answered {status}");
    }
    relay.stop()?;
    let good: Vec<(&str, Vec<u8>)> = ["restante.db", "relay.key"]
        .into_iter()
        .map(|name| Ok((name, fs::read(place.data().join(name))?)))
        .collect::<anyhow::Result<_>>()?;
    let dir = in_memory(plan, "rotten");
    let devices: Vec<DeviceId> = world.boxes.iter().map(|mailbox| mailbox.device.id).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let lay = |flipped: Option<(usize, u32)>| -> anyhow::Result<()> {
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir)?;
        for (name, bytes) in &good {
            let mut bytes = bytes.clone();
            if let Some((at, bit)) = flipped.filter(|_| *name == "restante.db") {
                bytes[at] ^= 1 << bit;
            }
            fs::write(dir.join(name), bytes)?;
        }
        Ok(())
    };
    lay(None)?;
    let Found::Read { envelopes: truth, .. } = runtime.block_on(read(&dir, &devices)) else {
        anyhow::bail!("the files are not whole before anything is flipped");
    };
    ensure!(truth.len() == ENVELOPES, "{} of {ENVELOPES} can be read before anything is flipped", truth.len());
    let mut fates: HashMap<&str, u64> = HashMap::new();
    let length = good[0].1.len();
    for flip in 0..plan.count {
        let (at, bit) = (random.index(length), random.below(8) as u32);
        lay(Some((at, bit)))?;
        let fate = match runtime.block_on(read(&dir, &devices)) {
            Found::Refused => "refused at the start",
            Found::Failed => "ended by the relay",
            Found::Read { envelopes, counted } => {
                for (place, envelope) in &envelopes {
                    let due =
                        truth.get(place).with_context(|| format!("flip {flip}, bit {bit} of byte {at}: a row from nowhere"))?;
                    ensure!(envelope == due, "flip {flip}, bit {bit} of byte {at}: a wrong byte was delivered");
                }
                match (envelopes.len() == truth.len(), counted) {
                    (true, _) => "without harm",
                    (false, true) => "skipped and counted",
                    (false, false) => "hidden without a word",
                }
            }
        };
        *fates.entry(fate).or_default() += 1;
    }
    let mut said: Vec<String> = fates.iter().map(|(fate, count)| format!("{count} {fate}")).collect();
    said.sort();
    Ok(Outcome::Held(plan.count as u64, format!("0 wrong bytes delivered: {}", said.join(", "))))
}

/// What a reader finds.
enum Found {
    Refused,
    Failed,
    Read { envelopes: HashMap<(DeviceId, u64), Envelope>, counted: bool },
}

async fn read(dir: &Path, devices: &[DeviceId]) -> Found {
    let Ok(store) = SqliteStore::open(Settings { readers: 1, ..Settings::new(dir) }) else { return Found::Refused };
    let (mut envelopes, mut counted, mut failed) = (HashMap::new(), false, false);
    for device in devices {
        match store.waiting(*device, Seq(0), u64::MAX, u64::MAX, 0).await {
            Ok(page) => {
                counted |= page.gap.is_some();
                envelopes.extend(page.envelopes.into_iter().map(|envelope| ((*device, envelope.seq.0), envelope)));
            }
            Err(_) => failed = true,
        }
    }
    store.close().await;
    // What was delivered before the relay ended itself counts as well; it is held against the truth by whoever reads on.
    if failed && envelopes.is_empty() { Found::Failed } else { Found::Read { envelopes, counted: counted || failed } }
}

const BOXES: usize = 4;
const ENVELOPES: usize = 150;
