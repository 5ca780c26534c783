//! The pages of the file, where rows have left something: found, counted and cleared.
//!
//! The formats are those of <https://sqlite.org/fileformat2.html>, sections 1.6 and 1.8. That nothing in an unallocated region
//! means anything to SQLite is what makes this safe: a page that was cleared and one that was not are the same page.

use std::ops::Range;

use rusqlite::{Connection, OptionalExtension, Result as SqlResult};

use super::open::PAGE_BYTES;

/// Clears all pages of a database that a version wrote which left them so.
pub(super) fn clear_all(connection: &Connection) -> SqlResult<()> {
    let pages: u32 = connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
    for begin in (1..=pages).step_by(PAGES_AT_ONCE) {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let end = begin.saturating_add(PAGES_AT_ONCE as u32 - 1).min(pages);
        (begin..=end).try_for_each(|page| clear_page(connection, page).map(drop))?;
        connection.execute_batch("COMMIT")?;
        connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
    }
    Ok(())
}

/// How many pages of a database have residue.
pub(super) fn count(connection: &Connection) -> SqlResult<u64> {
    let mut pages = connection.prepare("SELECT pgno, data FROM sqlite_dbpage")?;
    let mut pages = pages.query([])?;
    let mut count = 0;
    while let Some(row) = pages.next()? {
        let dirty = residue_of(row.get_ref(1)?.as_blob()?).is_some();
        count += u64::from(dirty && is_tree(connection, row.get(0)?)?);
    }
    Ok(count)
}

/// False where there is no such page.
pub(super) fn clear_page(connection: &Connection, number: u32) -> SqlResult<bool> {
    let mut read = connection.prepare_cached(
        "SELECT data
         FROM sqlite_dbpage
         WHERE pgno = ?1",
    )?;
    let Some(mut page) = read.query_row([number], |row| row.get::<_, Vec<u8>>(0)).optional()? else { return Ok(false) };
    let Some(region) = residue_of(&page) else { return Ok(true) };
    if !is_tree(connection, number)? {
        return Ok(true);
    }
    page[region].fill(0);
    let mut write = connection.prepare_cached(
        "UPDATE sqlite_dbpage
         SET data = ?2
         WHERE pgno = ?1",
    )?;
    write.execute((number, page))?;
    Ok(true)
}

/// By the pointer map, which names what each page is: the bytes of an overflow page may look like anything.
fn is_tree(connection: &Connection, number: u32) -> SqlResult<bool> {
    // The first page has no entry; nothing that is ever deleted stands in the schema.
    let Some(map) = map_of(number).filter(|map| *map != number) else { return Ok(false) };
    let mut read = connection.prepare_cached(
        "SELECT substr(data, ?2, 1)
         FROM sqlite_dbpage
         WHERE pgno = ?1",
    )?;
    let entry = (number - map - 1) * MAP_ENTRY_BYTES;
    let kind = read.query_row((map, entry + 1), |row| row.get::<_, Vec<u8>>(0)).optional()?;
    Ok(kind.is_some_and(|kind| matches!(kind[..], [MAP_ROOT | MAP_TREE])))
}

/// The page of the pointer map that a page's entry stands in, or that it is itself.
fn map_of(number: u32) -> Option<u32> {
    let entries = PAGE_BYTES as u32 / MAP_ENTRY_BYTES + 1;
    let map = number.checked_sub(2)? / entries * entries + 2;
    Some(if map == LOCK_PAGE { map + 1 } else { map })
}

/// The unallocated region of what looks like a page of a tree, where something is left in it. A deletion moves the pointers
/// up and leaves the last of them behind; what could be such pointers, there, is taken for them.
pub(super) fn residue_of(page: &[u8]) -> Option<Range<usize>> {
    let (_, region) = bounds(page)?;
    let is_pointer = |word: &&[u8]| (region.start..page.len()).contains(&usize::from(u16::from_be_bytes([word[0], word[1]])));
    let pointers = page[region.clone()].chunks_exact(2).take_while(is_pointer).count();
    if is_zero(&page[region.start + 2 * pointers..region.end]) { None } else { unallocated(page) }
}

/// Between the cell pointers and the cells of what looks like a page of a tree; none where it does not hold together.
fn unallocated(page: &[u8]) -> Option<Range<usize>> {
    let (pointers, region) = bounds(page)?;
    let within = |at: usize| at >= region.end && at < page.len();
    let free = word(page, 1)?;
    let sound = (free == 0 || within(free)) && (pointers..region.start).step_by(2).all(|at| word(page, at).is_some_and(within));
    sound.then_some(region)
}

/// Where the header says that the cell pointers begin, and what lies between them and the cells.
fn bounds(page: &[u8]) -> Option<(usize, Range<usize>)> {
    let pointers = match page.first()? {
        2 | 5 => LEAF_HEADER_BYTES + 4,
        10 | 13 => LEAF_HEADER_BYTES,
        _ => return None,
    };
    let region = pointers + 2 * word(page, 3)?..word(page, 5)?;
    (region.start <= region.end && region.end <= page.len()).then_some((pointers, region))
}

fn word(page: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(u16::from_be_bytes([*page.get(at)?, *page.get(at + 1)?])))
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(256).all(|chunk| chunk.iter().fold(0, |or, byte| or | byte) == 0)
}

/// Of a page without children.
const LEAF_HEADER_BYTES: usize = 8;
/// Of the pointer map: a byte of kind and a page number.
const MAP_ENTRY_BYTES: u32 = 5;
const MAP_ROOT: u8 = 1;
const MAP_TREE: u8 = 5;
/// SQLite's locks lie on it, and nothing else.
const LOCK_PAGE: u32 = ((1 << 30) / PAGE_BYTES + 1) as u32;
/// Pages that are gone over in one transaction: 32 MiB of log at the most.
const PAGES_AT_ONCE: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::{Settings, open};

    #[test]
    fn a_page_that_does_not_hold_together_has_nothing_to_clear() {
        let mut page = vec![0; PAGE_BYTES as usize];
        assert_eq!(unallocated(&page), None, "of an overflow chain, or free");
        // A leaf of a table with two cells, the last bytes of the page.
        page[..12].copy_from_slice(&[13, 0, 0, 0, 2, 0x1f, 0xf0, 0, 0x1f, 0xf0, 0x1f, 0xf8]);
        assert_eq!(unallocated(&page), Some(12..8_176));
        for (at, byte, why) in [
            (0, 1, "no kind of page"),
            (3, 0xff, "its pointers end behind its cells"),
            (5, 0x2f, "its cells begin behind its end"),
            (6, 0xf8, "a pointer leads before its cells"),
            (10, 0x2f, "a pointer leads behind its end"),
            (1, 1, "a free block lies before its cells"),
        ] {
            let before = std::mem::replace(&mut page[at], byte);
            assert_eq!(unallocated(&page), None, "{why}");
            page[at] = before;
        }
        assert_eq!(unallocated(&page[..11]), None);
        assert_eq!(unallocated(&[]), None);
    }

    #[test]
    fn the_pointer_map_is_found() {
        // A page of the map speaks of the 1,638 behind it.
        let maps = [1, 2, 3, 1_640, 1_641, 1_642, 3_279, 3_280].map(map_of);
        assert_eq!(maps, [None, Some(2), Some(2), Some(2), Some(1_641), Some(1_641), Some(1_641), Some(3_280)]);
    }

    #[test]
    fn clearing_changes_nothing_but_residue() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (connection, _) = open::open_writer(&Settings::new(dir.path())).expect("it opens");
        connection
            .execute_batch(
                "CREATE TABLE rows (id INTEGER PRIMARY KEY, content BLOB);
                 CREATE INDEX rows_end ON rows (substr(content, 1, 40));
                 CREATE TABLE others (hash BLOB PRIMARY KEY) WITHOUT ROWID;
                 WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 4000)
                 INSERT INTO rows SELECT n, randomblob(CASE WHEN n % 50 = 0 THEN 20000 ELSE 900 + n % 300 END) FROM numbers;
                 INSERT INTO others SELECT substr(content, 1, 32) FROM rows;
                 DELETE FROM rows WHERE id % 7 > 1;
                 DELETE FROM others WHERE hash > x'40' AND hash < x'a0';",
            )
            .expect("rows");
        let said = || {
            let text = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, String>(0)).expect("one row");
            let rows = text("SELECT group_concat(hex(content)) FROM (SELECT content FROM rows ORDER BY id)");
            (rows, text("SELECT group_concat(hex(hash)) FROM others"), text("PRAGMA integrity_check"))
        };
        let (before, dirty) = (said(), count(&connection).expect("pages"));
        assert!(dirty > 10, "{dirty} pages");
        clear_all(&connection).expect("cleared");
        assert_eq!(count(&connection).expect("pages"), 0);
        assert!(said() == before && before.2 == "ok");
    }
}
