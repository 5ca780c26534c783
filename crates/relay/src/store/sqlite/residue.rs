//! What SQLite leaves of a row that it moved, and how that is cleared.
//!
//! `secure_delete` overwrites a row where it stands. Where SQLite spreads rows anew over neighbouring pages, it leaves in a page
//! what no longer belongs to it, in the unallocated region between the cell pointers and the cells; a row that moved so is
//! overwritten in its new place alone once it is deleted. So after each commit the writer looks at the pages in the log, and
//! with the next one it writes those with such residue again, without it; no log is truncated before. Only where that next
//! commit is the first of a log that started over, and the process is killed in the middle of it, may a page be forgotten: then the
//! next start goes over all of them, beside its work. How far it came stands in the database (`relay.uncleared_from`).
//!
//! The log's format is that of <https://sqlite.org/fileformat2.html>, section 4; what a page's is, and how one is cleared, is in
//! `pages`.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rusqlite::{Connection, Result as SqlResult};

use super::fate::Fault;
use super::open::PAGE_BYTES;
use super::pages::{clear_page, residue_of};

/// The pages with residue that were seen in the log and are still to be cleared.
pub(super) struct Residue {
    log: File,
    /// Of the log's header: others whenever it starts over.
    salts: [u8; 8],
    /// Frames looked at since then.
    seen: u64,
    /// Of one commit's pages at most all.
    pages: BTreeSet<u32>,
    /// Pages to go over, a few with each commit.
    unknown: Range<u32>,
    /// That there are such pages is known by the log alone.
    unnoted: bool,
    /// The last transaction was undone: they wait until one is not.
    waits: bool,
    frames: Vec<u8>,
}

impl Residue {
    /// Of a log that is there, with all that somebody who was killed left in it; SQLite found so many frames of it good.
    /// `from` is the first page still to be gone over since an earlier kill.
    pub(super) fn new(log: &Path, good: u64, from: Option<u32>) -> io::Result<Self> {
        let log = File::open(log)?;
        let frames = log.metadata()?.len().saturating_sub(HEADER_BYTES) / FRAME_BYTES;
        let mut residue = Self {
            log,
            salts: [0; 8],
            seen: 0,
            pages: BTreeSet::new(),
            unknown: from.map_or(0..0, |from| from..u32::MAX),
            unnoted: false,
            waits: false,
            frames: Vec::new(),
        };
        if frames > 0 {
            residue.salts = residue.header()?;
            residue.look_through(0..frames)?;
            if good == 0 && residue.is_started_over(frames)? {
                (residue.unknown, residue.unnoted) = (1..u32::MAX, true);
            }
        }
        Ok(residue)
    }

    /// Looks at what a commit added to the log, which holds so many frames now.
    pub(super) fn look(&mut self, frames: u64) -> io::Result<()> {
        if frames == 0 {
            return Ok(());
        }
        let salts = self.header()?;
        // Where it started over for a commit that there was no room for, the number is still an earlier one's.
        let last = self.frame(frames - 1)?;
        if last.salts != salts || !last.commits {
            return Ok(());
        }
        if self.salts != salts {
            (self.salts, self.seen) = (salts, 0);
        }
        self.look_through(self.seen..frames)?;
        self.seen = frames;
        Ok(())
    }

    fn look_through(&mut self, frames: Range<u64>) -> io::Result<()> {
        let mut begin = frames.start;
        while begin < frames.end {
            let count = (frames.end - begin).min(FRAMES_AT_ONCE);
            self.frames.resize((count * FRAME_BYTES) as usize, 0);
            self.log.read_exact_at(&mut self.frames, HEADER_BYTES + begin * FRAME_BYTES)?;
            for frame in self.frames.chunks_exact(FRAME_BYTES as usize) {
                let (header, page) = frame.split_at(FRAME_HEADER_BYTES as usize);
                if residue_of(page).is_some() {
                    self.pages.insert(u32::from_be_bytes([header[0], header[1], header[2], header[3]]));
                }
            }
            begin += count;
        }
        Ok(())
    }

    /// Both salts.
    fn header(&self) -> io::Result<[u8; 8]> {
        let mut salts = [0; 8];
        self.log.read_exact_at(&mut salts, 16)?;
        Ok(salts)
    }

    fn frame(&self, at: u64) -> io::Result<Frame> {
        let mut header = [0; FRAME_HEADER_BYTES as usize];
        self.log.read_exact_at(&mut header, HEADER_BYTES + at * FRAME_BYTES)?;
        let [_, _, _, _, a, b, c, d, salts @ .., _, _, _, _, _, _, _, _] = header;
        Ok(Frame { commits: [a, b, c, d] != [0; 4], salts })
    }

    /// Something was written since the log started over. Where nothing of it is good, whoever did it was killed before that commit:
    /// which pages stood where it wrote, and had residue that the commit was to clear, nobody knows.
    fn is_started_over(&self, frames: u64) -> io::Result<bool> {
        for at in 0..frames {
            if self.frame(at)?.salts == self.salts {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Something is to be cleared before the log may be truncated.
    pub(super) fn any(&self) -> bool {
        !self.pages.is_empty() || self.unnoted
    }

    /// There are pages to go over now.
    pub(super) fn is_going_over(&self) -> bool {
        !self.unknown.is_empty() && !self.waits
    }

    /// Clears what is known, in the transaction that is open.
    pub(super) fn clear(&mut self, connection: &Connection) -> SqlResult<()> {
        #[cfg(feature = "sabotage")]
        if crate::sabotage::on("residue_left") {
            return Ok(());
        }
        self.pages.iter().try_for_each(|page| clear_page(connection, *page).map(drop))?;
        if self.unknown.is_empty() {
            return Ok(());
        }
        for page in self.next() {
            if !clear_page(connection, page)? {
                self.unknown.end = page;
                break;
            }
        }
        let from = self.next().end;
        let mut note = connection.prepare_cached(
            "UPDATE relay
             SET uncleared_from = ?1",
        )?;
        note.execute([(from < self.unknown.end).then_some(from)])?;
        Ok(())
    }

    /// That transaction was undone.
    pub(super) fn undo(&mut self) {
        self.waits = true;
    }

    /// It was committed.
    pub(super) fn settle(&mut self) {
        self.pages.clear();
        self.unknown.start = self.next().end;
        (self.unnoted, self.waits) = (false, false);
    }

    /// The pages to go over with this commit: none after one that was undone, so that what frees room needs little itself.
    fn next(&self) -> Range<u32> {
        let Range { start, end } = self.unknown;
        start..if self.waits { start } else { start.saturating_add(PAGES_A_COMMIT).min(end) }
    }
}

struct Frame {
    /// It is the last of a commit.
    commits: bool,
    salts: [u8; 8],
}

/// Clears what a process that was killed left, before its log is truncated. Without room the rest is the writer's.
pub(super) fn clear_left(connection: &Connection, residue: &mut Residue) -> SqlResult<()> {
    for _ in 0..2 {
        if !residue.any() {
            break;
        }
        connection.execute_batch("BEGIN IMMEDIATE")?;
        match residue.clear(connection).and_then(|()| connection.execute_batch("COMMIT")) {
            Ok(()) => residue.settle(),
            Err(error) if Fault::of(&error) == Fault::Full => {
                if !connection.is_autocommit() {
                    connection.execute_batch("ROLLBACK")?;
                }
                // Once all of the log was moved, it starts over in the room that it has.
                connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Of the log.
const HEADER_BYTES: u64 = 32;
const FRAME_HEADER_BYTES: u64 = 24;
const FRAME_BYTES: u64 = FRAME_HEADER_BYTES + PAGE_BYTES;
/// As much as stays close to the processor.
const FRAMES_AT_ONCE: u64 = 8;
/// Pages gone over with one commit: 0.2 ms.
const PAGES_A_COMMIT: u32 = 64;

#[cfg(test)]
mod tests {
    use super::super::pages::count;
    use super::*;
    use crate::store::sqlite::{Settings, open};

    #[test]
    fn what_a_commit_left_is_seen_in_the_log_however_often_it_starts_over() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (connection, mut residue) = open::open_writer(&Settings::new(dir.path())).expect("it opens");
        connection
            .execute_batch(
                "CREATE TABLE rows (id INTEGER PRIMARY KEY, content BLOB);
                 WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 2000)
                 INSERT INTO rows SELECT n, randomblob(400 + n * 7919 % 3000) FROM numbers;",
            )
            .expect("rows");
        residue.look(open::log_pages()).expect("a log");
        let mut seen = 0;
        for begin in 0..20 {
            // Holes first, and then so many that what stays is put together: in one commit, the first after the log started over.
            connection.execute_batch("BEGIN").expect("begun");
            for rest in [0, 3, 1, 4] {
                let delete = "DELETE FROM rows WHERE id > ?1 AND id <= ?1 + 100 AND id % 5 = ?2";
                connection.execute(delete, [begin as i64 * 100, rest]).expect("deleted");
            }
            connection.execute_batch("COMMIT").expect("committed");
            residue.look(open::log_pages()).expect("a log");
            seen += residue.pages.len();
            connection.execute_batch("BEGIN").expect("begun");
            residue.clear(&connection).expect("cleared");
            connection.execute_batch("COMMIT").expect("committed");
            residue.settle();
            residue.look(open::log_pages()).expect("a log");
            assert!(!residue.any());
            assert_eq!(count(&connection).expect("pages"), 0);
            let how = ["PASSIVE", "NOOP", "TRUNCATE"][begin % 3];
            connection.query_row(&format!("PRAGMA wal_checkpoint({how})"), [], |_| Ok(())).expect("a checkpoint");
            if how == "TRUNCATE" {
                open::log_truncated();
            }
        }
        assert!(seen > 5, "{seen} pages");
    }

    #[test]
    fn closing_without_clearing_leaves_the_log_by_which_the_next_start_clears() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (connection, _) = open::open_writer(&Settings::new(dir.path())).expect("it opens");
        connection.execute_batch(MOVED_ROWS).expect("rows");
        assert!(count(&connection).expect("pages") > 0);
        drop(connection);
        let (connection, residue) = open::open_writer(&Settings::new(dir.path())).expect("it opens");
        assert!(!residue.any() && !residue.is_going_over());
        assert_eq!(count(&connection).expect("pages"), 0);
        open::keep_log(&connection, false).expect("set");
        drop(connection);
        assert!(!open::log_file(&open::file(dir.path())).exists());
    }

    /// As a process leaves it that is killed in the first commit after the log started over.
    #[test]
    fn where_a_kill_may_have_cost_pages_all_are_gone_over() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (connection, _) = open::open_writer(&Settings::new(dir.path())).expect("it opens");
        connection.execute_batch(MOVED_ROWS).expect("rows");
        connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).expect("moved");
        let path = open::log_file(&open::file(dir.path()));
        let left = |good| Residue::new(&path, good, None).expect("a log");
        assert!(left(1).any() && !left(1).is_going_over(), "commits are there");
        let log = std::fs::OpenOptions::new().write(true).open(&path).expect("a log");
        let write = |bytes: &[u8], at: u64| log.write_all_at(bytes, at).expect("written");
        write(b"newsalts", 16);
        assert!(!left(0).is_going_over(), "what was there is there");
        // The first frame of the new round.
        write(b"newsalts", HEADER_BYTES + 8);
        let mut residue = left(0);
        assert!(residue.is_going_over() && residue.any(), "the log is not to be truncated");
        (residue.pages, residue.seen) = (BTreeSet::new(), 0);
        residue.clear(&connection).expect("cleared");
        residue.settle();
        assert!(!residue.any(), "it may be truncated");
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).expect("truncated");
        drop(connection);
        let (connection, mut residue) = open::open_writer(&Settings::new(dir.path())).expect("it opens");
        assert_eq!(residue.unknown.start, 1 + PAGES_A_COMMIT);
        assert!(count(&connection).expect("pages") > 0, "that first commit was not enough");
        let mut commits = 1;
        while residue.is_going_over() {
            residue.clear(&connection).expect("cleared");
            residue.settle();
            commits += 1;
        }
        assert_eq!(count(&connection).expect("pages"), 0);
        let pages: u32 = connection.query_row("PRAGMA page_count", [], |row| row.get(0)).expect("a number");
        assert_eq!(commits, pages / PAGES_A_COMMIT + 1);
        drop(connection);
        let (_, residue) = open::open_writer(&Settings::new(dir.path())).expect("it opens");
        assert!(!residue.is_going_over());
    }

    /// Rows, most of them deleted: what stays of them is put together.
    const MOVED_ROWS: &str = "
        CREATE TABLE rows (id INTEGER PRIMARY KEY, content BLOB);
        WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 2000)
        INSERT INTO rows SELECT n, randomblob(900 + n % 300) FROM numbers;
        DELETE FROM rows WHERE id % 7 > 1;";
}
