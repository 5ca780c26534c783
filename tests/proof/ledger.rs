//! What a sender or a reader writes down on its own disk: intents, synced before they are acted on, and outcomes after. The
//! books are kept in memory and do the judging; a ledger is what is left to look at when one of them has judged.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// One worker's.
pub(crate) struct Ledger(File);

impl Ledger {
    pub(crate) fn new(path: &Path) -> io::Result<Self> {
        File::create_new(path).map(Self)
    }

    /// Notes an outcome; on disk with the next intent.
    pub(crate) fn note(&mut self, line: &str) -> io::Result<()> {
        self.0.write_all(line.as_bytes())
    }

    /// Notes an intent, and gives back once it is on disk.
    pub(crate) fn intend(&mut self, lines: &str) -> io::Result<()> {
        self.0.write_all(lines.as_bytes())?;
        self.0.sync_data()
    }
}
