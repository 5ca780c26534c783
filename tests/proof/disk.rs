//! A disk that is full: by the relay's own cap, by the room that it leaves free, and for real. Sends are refused by `507` at
//! once, acknowledgements and purges go on, sends work again without a restart, and nothing accepted is lost. The count is
//! how often each.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::http::Line;
use crate::people::id_by;
use crate::random::Random;
use crate::relay::{Place, Relay};
use crate::world::World;
use crate::{Outcome, Plan, in_memory};

pub(crate) fn run(plan: &Plan) -> anyhow::Result<Outcome> {
    let mut random = Random::new(plan.seed);
    let (mut refused, mut said) = (0, Vec::new());
    for round in 0..plan.count {
        let dir = plan.dir.join(format!("cap-{round}"));
        fs::create_dir(&dir)?;
        let place = Place::new(&dir).on(&in_memory(plan, "cap")).set("SERVER__DISK_BYTES_MAX", 16 << 20);
        refused += full(&place, None, &mut random).context("by disk_bytes_max")?;
        said.push("by disk_bytes_max");
        // A disk that was asked every five seconds was full before it was asked again, and acknowledgements were refused, too.
        for (what, free) in [("by disk_free_bytes_min", 8 << 20), ("for real", 0)] {
            let dir = plan.dir.join(format!("tmpfs-{round}-{free}"));
            fs::create_dir(&dir)?;
            let disk = dir.join("disk");
            fs::create_dir(&disk)?;
            let Some(mount) = Mount::new(&disk) else {
                said.push("not on a tmpfs, which takes root to mount");
                continue;
            };
            let filler = (free == 0).then(|| disk.join("filler"));
            if filler.is_none() {
                // Half of the way, so that the sends have less to fill.
                fs::write(disk.join("ballast"), vec![0; 12 << 20])?;
            }
            // A relay logged every request into a file on its own disk, and panicked at every one once that was full.
            let place = Place::new(if filler.is_some() { &disk } else { &dir }).on(&disk);
            let place = place.set("SERVER__DISK_FREE_BYTES_MIN", free);
            refused += full(&place, filler.as_deref(), &mut random).context(what)?;
            drop(mount);
            said.push(what);
        }
    }
    said.dedup();
    Ok(Outcome::Held(refused, format!("sends refused {}; nothing lost, and room again without a restart", said.join(", "))))
}

/// Fills a relay up and makes room again; gives how many sends were refused. A filler takes what room there is and gives it
/// back; without one, room is made by acknowledging.
fn full(place: &Place, filler: Option<&Path>, random: &mut Random) -> anyhow::Result<u64> {
    let relay = place.start()?;
    let world = World::settle(&relay, BOXES, 2)?;
    let mut line = Line::new(relay.address);
    let mut send = |line: &mut Line| world.boxes[random.index(BOXES)].send(line, random.index(2), &id_by(random), 16_384);
    for _ in 0..20 {
        ensure!(send(&mut line)? == 202, "there is room, and a send is refused");
    }
    filler.map_or(Ok(()), fill)?;
    let mut refused = 0;
    for count in 0.. {
        ensure!(count < SENDS_MAX, "a disk that never gets full");
        match send(&mut line)? {
            202 => {}
            507 => refused += 1,
            status => anyhow::bail!("a send was answered {status}"),
        }
        if refused == REFUSED {
            break;
        }
    }
    make_room(&world, place, &relay, filler)?;
    // Whether there is room is not asked for every send.
    let begun = Instant::now();
    loop {
        match send(&mut line)? {
            202 => break,
            507 => refused += 1,
            status => anyhow::bail!("a send was answered {status}"),
        }
        ensure!(begun.elapsed() < PATIENCE, "there is room again, and sends are still refused");
    }
    world.audit(&relay).context("while it runs")?;
    relay.kill()?;
    let relay = place.start()?;
    world.audit(&relay).context("after a restart")?;
    relay.kill()?;
    if let Some(filler) = filler {
        full_at_the_start(place, filler, &[0, 75]).context("after a kill")?;
    }
    let relay = place.start()?;
    world.drain(&relay)?;
    relay.stop()?;
    if let Some(filler) = filler {
        // Not even the memory that SQLite's connections share finds room: a start said of that to restore a backup. Whoever closes
        // last removes its file, but for one who only reads.
        let _ = fs::remove_file(place.data().join("restante.db-shm"));
        full_at_the_start(place, filler, &[75]).context("after a stop")?;
        place.start()?.stop()?;
    }
    place.check()?;
    Ok(refused)
}

/// Starts on a disk with no room at all; a relay that can't says so, by 75 like all that passes.
fn full_at_the_start(place: &Place, filler: &Path, may_end: &[i32]) -> anyhow::Result<()> {
    fill(filler)?;
    let code = match place.try_start()? {
        Ok(relay) => relay.stop().map(|()| 0)?,
        Err(status) => status.code().context("it was killed")?,
    };
    ensure!(may_end.contains(&code), "a start without room ended with {code}");
    fs::remove_file(filler).context("the filler")
}

fn make_room(world: &World, place: &Place, relay: &Relay, filler: Option<&Path>) -> anyhow::Result<()> {
    if let Some(filler) = filler {
        return fs::remove_file(filler).context("the filler");
    }
    let mut line = Line::new(relay.address);
    for (mailbox, session) in world.boxes.iter().zip(world.log_in(relay)?) {
        let page = mailbox.receive(&mut line, &session, 0, 0)?;
        let seqs: Vec<u64> = page.envelopes.iter().map(|envelope| envelope.seq.0).collect();
        let removed = mailbox.acknowledge(&mut line, &session, &seqs, None)?;
        ensure!(removed == seqs.len() as u64, "of {} acknowledged, {removed} went", seqs.len());
    }
    let code = place.operator(&["purge"])?;
    ensure!(code == 0, "a purge on a full disk ended with {code}");
    Ok(())
}

/// Takes whatever room there is.
fn fill(path: &Path) -> anyhow::Result<()> {
    let mut filler = File::create(path)?;
    for size in [1 << 20, 1 << 12] {
        while filler.write_all(&vec![0; size]).is_ok() {}
    }
    Ok(())
}

/// A tmpfs of 32 MiB; unmounted when dropped.
struct Mount(PathBuf);

impl Mount {
    fn new(dir: &Path) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=32m", "restante-proof"]).arg(dir).stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then(|| Self(dir.to_path_buf()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

const BOXES: usize = 4;
/// Before the disk counts as full.
const REFUSED: u64 = 30;
/// More than fit.
const SENDS_MAX: usize = 2_500;
const PATIENCE: Duration = Duration::from_secs(30);
