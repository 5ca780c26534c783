//! The store's files as somebody finds them who does not go through the store.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rusqlite::Connection;

/// A connection of nobody's, for reading a stopped store's file or doing it harm.
#[expect(clippy::disallowed_methods, reason = "the tests look at the file from outside")]
pub(crate) fn raw(file: &Path) -> Connection {
    Connection::open(file).expect("the file opens")
}

/// Runs SQL on the database of a stopped store, and leaves no log behind.
pub(crate) fn tamper(dir: &Path, sql: &str) {
    let connection = raw(&dir.join("restante.db"));
    connection.execute_batch(sql).expect("the SQL runs");
    connection.close().expect("it closes");
}

/// Every file of a directory by its name, with its bytes; directories are empty.
pub(crate) fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(dir).expect("a directory");
    let entries = entries.map(|entry| {
        let entry = entry.expect("an entry");
        (entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path()).unwrap_or_default())
    });
    entries.collect()
}

/// Everything of that length in a directory's files that begins so.
pub(crate) fn found(dir: &Path, begin: &[u8], length: usize) -> BTreeSet<Vec<u8>> {
    let mut found = BTreeSet::new();
    for bytes in contents(dir).values() {
        let windows = bytes.windows(length).filter(|window| window[0] == begin[0] && window.starts_with(begin));
        found.extend(windows.map(<[u8]>::to_vec));
    }
    found
}

/// Whether any file of a directory holds these bytes.
pub(crate) fn holds(dir: &Path, needle: &[u8]) -> bool {
    contents(dir).values().any(|bytes| bytes.windows(needle.len()).any(|window| window == needle))
}
