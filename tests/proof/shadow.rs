//! A disk as a power cut leaves it: everything that was synced, and of what was not any part, torn at any sector.

use std::collections::{BTreeMap, HashMap};

use crate::random::Random;
use crate::trace::Event;

/// The files of a database.
#[derive(Default)]
pub(crate) struct Disk(BTreeMap<String, File>);

#[derive(Default)]
struct File {
    synced: Vec<u8>,
    pending: Vec<Change>,
    /// Changes that a sync has covered.
    covered: usize,
    /// How many changes there had been when a thread began the sync that it is in.
    syncing: HashMap<u32, usize>,
}

/// What was done since the last sync.
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate(usize),
}

impl Disk {
    /// A file that was on disk all along.
    pub(crate) fn put(&mut self, name: &str, bytes: Vec<u8>) {
        self.0.insert(name.into(), File { synced: bytes, ..File::default() });
    }

    /// Follows an event.
    pub(crate) fn follow(&mut self, event: &Event) {
        match event {
            Event::Write { file, offset, bytes, .. } => {
                self.file(file).pending.push(Change::Write { offset: *offset, bytes: bytes.clone() });
            }
            Event::Truncate { file, length } => self.file(file).pending.push(Change::Truncate(*length)),
            Event::Syncing { file, thread } => {
                let file = self.file(file);
                file.syncing.insert(*thread, file.covered + file.pending.len());
            }
            Event::Sync { file, thread } => self.file(file).sync(*thread),
            Event::Asked { .. } | Event::Answered { .. } => {}
        }
    }

    /// The files as the process sees them.
    pub(crate) fn cached(&self) -> BTreeMap<String, Vec<u8>> {
        self.image(|_| Some(None))
    }

    /// The files as they may be found after the power is back.
    pub(crate) fn crash(&self, random: &mut Random) -> BTreeMap<String, Vec<u8>> {
        // Of what is unsynced: nothing, all, a part, a part of which some is torn.
        let kept = [0, 100, 50, 90, 10][random.index(5)];
        let torn = [0, 0, 30][random.index(3)];
        self.image(|_| random.percent(kept).then(|| random.percent(torn).then(|| random.fork())))
    }

    /// Changes that no sync has covered yet.
    pub(crate) fn unsynced(&self) -> usize {
        self.0.values().map(|file| file.pending.len()).sum()
    }

    /// Each change whole, torn by chance, or not at all.
    fn image(&self, mut fate: impl FnMut(&Change) -> Option<Option<Random>>) -> BTreeMap<String, Vec<u8>> {
        let mut images = BTreeMap::new();
        for (name, file) in &self.0 {
            let mut bytes = file.synced.clone();
            for change in &file.pending {
                match fate(change) {
                    None => {}
                    Some(None) => change.apply(&mut bytes),
                    Some(Some(random)) => change.tear(&mut bytes, random),
                }
            }
            images.insert(name.clone(), bytes);
        }
        images
    }

    fn file(&mut self, name: &str) -> &mut File {
        self.0.entry(name.into()).or_default()
    }
}

impl File {
    /// What was written since the sync began may be on the disk, or not.
    fn sync(&mut self, thread: u32) {
        let due = self.syncing.remove(&thread).map_or(self.pending.len(), |through| through.saturating_sub(self.covered));
        self.covered += due;
        for change in self.pending.drain(..due) {
            change.apply(&mut self.synced);
        }
    }
}

impl Change {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Self::Truncate(length) => file.resize(*length, 0),
            Self::Write { offset, bytes } => put(file, *offset, bytes),
        }
    }

    /// Some of its sectors.
    fn tear(&self, file: &mut Vec<u8>, mut random: Random) {
        let Self::Write { offset, bytes } = self else { return self.apply(file) };
        let mut at = 0;
        while at < bytes.len() {
            let end = bytes.len().min(at + SECTOR - (offset + at) % SECTOR);
            if random.percent(50) {
                put(file, offset + at, &bytes[at..end]);
            }
            at = end;
        }
    }
}

fn put(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[offset..end].copy_from_slice(bytes);
}

/// What a disk writes whole.
const SECTOR: usize = 512;
