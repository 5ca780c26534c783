//! Opening: directory, file, connections, schema.
//!
//! What is there already is looked at by `refusal` before SQLite touches it. A new database is made whole under another name and then renamed: `restante.db` is never half made.

use std::cell::Cell;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::refusal::{OpenError, OpenErrorKind, inspect, newer, refused};
use super::residue::{self, Residue};
use super::values::uint;
use super::{Pool, Settings, pages};

type Result<T> = std::result::Result<T, OpenError>;

/// The database of a data directory.
pub(super) fn file(dir: &Path) -> PathBuf {
    dir.join("restante.db")
}

/// Its log.
pub(super) fn log_file(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}

/// The writing connection with what is to be cleared, and the readers' pool.
pub(super) fn open(settings: &Settings) -> Result<(Connection, Residue, Pool)> {
    let (connection, residue) = open_writer(settings)?;
    Ok((connection, residue, readers(&file(&settings.dir), settings.readers)?))
}

/// The writing connection alone.
pub(super) fn open_writer(settings: &Settings) -> Result<(Connection, Residue)> {
    assert!(rusqlite::version_number() >= SQLITE_VERSION_MIN, "this build's SQLite has the WAL-reset fault");
    const { assert!(option_env!("LIBSQLITE3_FLAGS").is_some(), "build where .cargo/config.toml says how SQLite is compiled") };
    make_dir(&settings.dir)?;
    let file = file(&settings.dir);
    if !inspect(&file)? {
        // SQLite would play a log left from elsewhere into the new database.
        if fs::metadata(log_file(&file)).is_ok_and(|log| log.len() > 0) {
            return Err(OpenError::at(OpenErrorKind::Damaged, &file, "the database is missing, and its log is there"));
        }
        create(&settings.dir, &file)?;
    }
    may_write(&settings.dir, &file)?;
    let refuse = |error: rusqlite::Error| refused(&file, &error);
    let mut connection = connect_writer(&file).map_err(refuse)?;
    upgrade(&mut connection, &file)?;
    let mode: String = connection.query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0)).map_err(refuse)?;
    if mode != "wal" {
        return Err(OpenError::at(OpenErrorKind::NotPermitted, &file, "the file system does not allow a write-ahead log"));
    }
    let pages_max = settings.disk_bytes_max / PAGE_BYTES;
    let writer_only = format!("PRAGMA max_page_count={pages_max}; PRAGMA cache_size=-{WRITER_CACHE_KIB};");
    connection.execute_batch(&writer_only).map_err(refuse)?;
    keep_log(&connection, true).map_err(refuse)?;
    // What a crash left in the log, deleted content among it.
    let good = connection.query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| uint(row, 1)).map_err(refuse)?;
    let from = connection.query_row("SELECT uncleared_from FROM relay", [], |row| row.get(0)).map_err(refuse)?;
    let mut residue = Residue::new(&log_file(&file), good, from)
        .map_err(|error| OpenError::io(&file, OpenErrorKind::Damaged, "the database's log cannot be read", &error))?;
    residue::clear_left(&connection, &mut residue).map_err(refuse)?;
    if !residue.any() {
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(refuse)?;
    }
    // The log has its name now, and that must outlive a power cut as what is in it does: SQLite syncs the directory with its
    // first commit, and passes over a failure.
    let named = File::open(&settings.dir).and_then(|dir| dir.sync_all());
    named.map_err(|error| {
        OpenError::io(&file, OpenErrorKind::CannotCreate, "the log's name could not be put on disk", &error)
    })?;
    connection.busy_timeout(CHECKPOINT_WAIT).map_err(refuse)?;
    connection.wal_hook(Some(|_, pages| {
        LOG_PAGES.set(u64::try_from(pages).unwrap_or(0));
        Ok(())
    }));
    Ok((connection, residue))
}

/// Whether closing leaves the log as it is, by which is known what is to be cleared, or removes it.
pub(super) fn keep_log(connection: &Connection, keep: bool) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep).map(drop)
}

/// The connection beside the writer's that moves its log. It reads once, so that what is in the way is found at the start.
pub(super) fn open_mover(file: &Path) -> rusqlite::Result<Connection> {
    let connection = connect(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.query_row("PRAGMA user_version", [], |_| Ok(()))?;
    Ok(connection)
}

/// The connection that `pages` are cleared by, which SQLite's defensive mode forbids; it moves no log unasked.
fn connect_writer(file: &Path) -> rusqlite::Result<Connection> {
    let connection = connect(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false)?;
    connection.execute_batch("PRAGMA wal_autocheckpoint=0")?;
    Ok(connection)
}

/// A connection with every pragma that all of them share.
pub(super) fn connect(file: &Path, access: OpenFlags) -> rusqlite::Result<Connection> {
    #[expect(clippy::disallowed_methods, reason = "the one place that opens the database")]
    let connection = Connection::open_with_flags(file, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    prepare(&connection)?;
    Ok(connection)
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_secs(2))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    // Else SQLite looks at what is bound to a LIMIT, and compiles the statement anew for each.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.execute_batch(
        "PRAGMA synchronous=FULL;
         PRAGMA secure_delete=ON;
         PRAGMA foreign_keys=ON;
         PRAGMA trusted_schema=OFF;
         PRAGMA temp_store=MEMORY;
         PRAGMA mmap_size=0;
         PRAGMA cell_size_check=ON;",
    )?;
    #[cfg(feature = "sabotage")]
    for (kind, pragma) in [("synchronous_normal", "synchronous=NORMAL"), ("no_secure_delete", "secure_delete=OFF")] {
        if crate::sabotage::on(kind) {
            connection.execute_batch(&format!("PRAGMA {pragma}"))?;
        }
    }
    Ok(())
}

fn readers(file: &Path, count: u32) -> Result<Pool> {
    let manager = SqliteConnectionManager::file(file)
        .with_flags(OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .with_init(|connection| {
            prepare(connection)?;
            connection.execute_batch("PRAGMA query_only=ON; PRAGMA cache_size=-8192;")
        });
    r2d2::Pool::builder()
        .max_size(count.max(1))
        .idle_timeout(None)
        .max_lifetime(None)
        .test_on_check_out(false)
        // For all of them, at the start; a reader waits less.
        .connection_timeout(START_WAIT)
        .build(manager)
        .map_err(|error| OpenError::at(OpenErrorKind::NotPermitted, file, format!("the readers could not open it: {error}")))
}

fn make_dir(dir: &Path) -> Result<()> {
    match fs::metadata(dir) {
        Ok(there) if there.is_dir() => Ok(()),
        Ok(_) => Err(OpenError::at(OpenErrorKind::NotAFile, dir, "the data directory is not a directory")),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| {
                OpenError::io(dir, OpenErrorKind::CannotCreate, "the data directory could not be made", &error)
            })
        }
        Err(error) => Err(OpenError::io(dir, OpenErrorKind::CannotCreate, "the data directory could not be reached", &error)),
    }
}

/// Makes a database under another name, whole, and puts it in place.
fn create(dir: &Path, file: &Path) -> Result<()> {
    let cannot = |error: io::Error| OpenError::io(file, OpenErrorKind::CannotCreate, "the database could not be made", &error);
    let unfinished = dir.join("restante.db.new");
    for left in [log_file(&unfinished), unfinished.clone()] {
        match fs::remove_file(&left) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(cannot(error)),
            _ => {}
        }
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished).map_err(cannot)?;
    make_schema(&unfinished).map_err(|error| {
        let detail = format!("the database could not be made: {}", super::fate::sentence(&error));
        OpenError::at(OpenErrorKind::CannotCreate, file, detail)
    })?;
    // What is put in place must be what the next start takes.
    inspect(&unfinished)?;
    let made = File::open(&unfinished).and_then(|made| made.sync_all());
    made.and_then(|()| fs::rename(&unfinished, file)).map_err(cannot)?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(cannot)
}

fn make_schema(file: &Path) -> rusqlite::Result<()> {
    let connection = connect_writer(file)?;
    // Neither can change once there is a table.
    connection.execute_batch(&format!("PRAGMA page_size={PAGE_BYTES}; PRAGMA auto_vacuum=INCREMENTAL;"))?;
    connection.query_row("PRAGMA journal_mode=WAL", [], |_| Ok(()))?;
    connection.execute_batch(&format!(
        "BEGIN IMMEDIATE;
         {SCHEMA}
         PRAGMA application_id={APPLICATION_ID};
         PRAGMA user_version={};
         COMMIT;",
        version()
    ))?;
    pages::clear_all(&connection)?;
    // Into the file, and the log away: asked for, because closing does the same and says nothing of a failure. A file whose
    // schema was left in a log of another name would be filled, and refused at the next start.
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    connection.close().map_err(|(_, error)| error)
}

/// Brings an older database up to date, in one transaction.
fn upgrade(connection: &mut Connection, file: &Path) -> Result<()> {
    let refuse = |error: rusqlite::Error| refused(file, &error);
    let found: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(refuse)?;
    if found > version() {
        return Err(newer(file, found));
    }
    let missing = UPGRADES.iter().skip(found as usize).copied().collect::<Vec<_>>();
    if missing.is_empty() {
        return Ok(());
    }
    if found < VERSION_WITHOUT_RESIDUE {
        pages::clear_all(connection).map_err(refuse)?;
    }
    let steps = missing.join("\n");
    #[cfg(feature = "sabotage")]
    if crate::sabotage::on("upgrade_in_pieces") {
        let pieces = format!("{steps} PRAGMA user_version={};", version());
        return connection.execute_batch(&pieces).map_err(refuse);
    }
    connection.execute_batch(&format!("BEGIN IMMEDIATE; {steps} PRAGMA user_version={}; COMMIT;", version())).map_err(refuse)
}

/// That writing is allowed is asked before SQLite opens anything: it would fall back to reading.
fn may_write(dir: &Path, file: &Path) -> Result<()> {
    let refuse = |path: &Path, error: io::Error| {
        Err(OpenError::io(path, OpenErrorKind::NotPermitted, "the relay may not write here", &error))
    };
    if let Err(error) = OpenOptions::new().append(true).open(file) {
        return refuse(file, error);
    }
    let access = rustix::fs::Access::READ_OK | rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    rustix::fs::access(dir, access).or_else(|error| refuse(dir, error.into()))
}

/// Pages that sends, newcomers, tokens, handles and slots may fill. To remove is to write, too: an acknowledgement notes in its
/// mailbox's row where numbers go on, the row grows, and its page may have to be split. All mailboxes' pages are less than a 64th
/// of what their accounts take.
pub(super) fn pages_to_fill(disk_bytes_max: u64) -> u64 {
    let pages = disk_bytes_max / PAGE_BYTES;
    pages - (pages / 64 + 1).min(pages)
}

/// Pages of the file that hold something.
pub(super) fn pages_in_use(connection: &Connection) -> rusqlite::Result<u64> {
    let pages = |pragma: &str| connection.prepare_cached(pragma)?.query_row([], |row| uint(row, 0));
    Ok(pages("PRAGMA page_count")? - pages("PRAGMA freelist_count")?)
}

/// The schema's version that this program writes.
pub(super) fn version() -> u32 {
    UPGRADES.len() as u32
}

thread_local! {
    // SQLite's hook takes a plain function; the writer's thread has one connection.
    static LOG_PAGES: Cell<u64> = const { Cell::new(0) };
}

/// Pages in the log after the last commit of this thread.
pub(super) fn log_pages() -> u64 {
    LOG_PAGES.get()
}

/// The log of this thread's connection is empty.
pub(super) fn log_truncated() {
    LOG_PAGES.set(0);
}

/// The page size; it can't change later. With 8 KiB a waiting 1 KiB envelope takes 1.2 KiB of file.
pub(super) const PAGE_BYTES: u64 = 8_192;
/// Of the writer. In a commit that spread rows anew over pages, SQLite looks at each page that it holds (it swaps two by way of a
/// number behind all others, and then cuts its cache off there): 0.3 ms with 64 MiB.
const WRITER_CACHE_KIB: u64 = 8_192;
/// "rst1": this program's databases.
pub(super) const APPLICATION_ID: u32 = 0x7273_7431;
const SCHEMA: &str = include_str!("../../../schema.sql");
/// The file at index n brings version n to n + 1.
const UPGRADES: &[&str] = &[
    include_str!("upgrades/001.sql"),
    include_str!("upgrades/002.sql"),
    include_str!("upgrades/003.sql"),
    include_str!("upgrades/004.sql"),
    include_str!("upgrades/005.sql"),
    include_str!("upgrades/006.sql"),
    include_str!("upgrades/007.sql"),
    include_str!("upgrades/008.sql"),
    include_str!("upgrades/009.sql"),
    include_str!("upgrades/010.sql"),
    include_str!("upgrades/011.sql"),
    include_str!("upgrades/012.sql"),
];
/// Earlier ones left rows that SQLite had moved in their former pages; version 9 only where it was killed and stopped once more.
const VERSION_WITHOUT_RESIDUE: u32 = 10;
/// Before 3.51.3 a checkpoint beside a write could corrupt the file.
const SQLITE_VERSION_MIN: i32 = 3_051_003;
/// How long a checkpoint waits for a reader, and so the writer stands still at most.
const CHECKPOINT_WAIT: Duration = Duration::from_millis(250);
/// How long a reader waits for its connection; there are as many as may read at once.
pub(super) const CONNECTION_WAIT: Duration = Duration::from_millis(500);
/// How long the start waits for the readers' connections: half a second was not enough once in 20,000 starts on a busy machine.
const START_WAIT: Duration = Duration::from_secs(5);
/// Statements kept compiled; more than there are.
const STATEMENTS_MAX: usize = 96;
