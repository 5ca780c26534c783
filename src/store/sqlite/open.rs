//! Opening: what stands in the data directory is looked at by its header before SQLite touches it, so that what is refused
//! stays as it was, with no log beside it.
//!
//! A new database is made whole under another name and then renamed: `restante.db` is never half made.

use std::cell::Cell;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{Pool, Settings};

/// Why a database could not be opened, and what may help.
#[derive(Debug)]
pub struct OpenError {
    kind: OpenErrorKind,
    path: PathBuf,
    detail: String,
}

/// What kind of refusal it is; whoever ends the process has an exit code for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenErrorKind {
    /// Another program's file.
    Foreign,
    /// Made by a newer version of this program.
    Newer,
    /// Shorter than it says, or its structure is broken.
    Damaged,
    /// A directory, or another thing that is no file, stands in its place.
    NotAFile,
    /// Files or directory may not be read or written.
    NotPermitted,
    /// The directory or the file could not be made.
    CannotCreate,
    /// Another process has it open.
    InUse,
}

impl OpenError {
    pub(super) fn new(kind: OpenErrorKind, what: &str, cause: impl fmt::Display) -> Self {
        Self { kind, path: PathBuf::new(), detail: format!("{what}: {cause}") }
    }

    fn at(kind: OpenErrorKind, path: &Path, detail: impl Into<String>) -> Self {
        Self { kind, path: path.to_path_buf(), detail: detail.into() }
    }

    fn io(path: &Path, otherwise: OpenErrorKind, what: &str, error: &io::Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => OpenErrorKind::NotPermitted,
            _ => otherwise,
        };
        Self::at(kind, path, format!("{what}: {error}"))
    }

    /// What kind of refusal it is.
    pub fn kind(&self) -> OpenErrorKind {
        self.kind
    }

    /// What may help.
    pub fn hint(&self) -> &'static str {
        match self.kind {
            OpenErrorKind::Foreign => "give the relay a data directory of its own (`--data DIR`); this file was left as it is",
            OpenErrorKind::Newer => "run the newer version of restante again, or restore a backup from before it was used",
            OpenErrorKind::Damaged => "restore a backup; keep the file and its -wal beside it, they were left as they are",
            OpenErrorKind::NotAFile => "move it away, or give the relay another data directory (`--data DIR`)",
            OpenErrorKind::NotPermitted => {
                "the data directory and its files must be writable and owned by the user who runs the relay"
            }
            OpenErrorKind::CannotCreate => "make the directory yourself, or give another one (`--data DIR`)",
            OpenErrorKind::InUse => "stop whatever else has the database open; a running relay's is never opened a second time",
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.as_os_str().is_empty() {
            f.write_str(&self.detail)
        } else {
            write!(f, "{}: {}", self.path.display(), self.detail)
        }
    }
}

impl std::error::Error for OpenError {}

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

/// The writing connection and the readers' pool.
pub(super) fn open(settings: &Settings) -> Result<(Connection, Pool)> {
    assert!(rusqlite::version_number() >= SQLITE_VERSION_MIN, "this build's SQLite has the WAL-reset fault");
    make_dir(&settings.dir)?;
    let file = file(&settings.dir);
    if !inspect(&file)? {
        create(&settings.dir, &file)?;
    }
    may_write(&settings.dir, &file)?;
    let refuse = |error: rusqlite::Error| refused(&file, &error);
    let mut connection = connect(&file, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(refuse)?;
    upgrade(&mut connection, &file)?;
    let mode: String = connection.query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0)).map_err(refuse)?;
    if mode != "wal" {
        return Err(OpenError::at(OpenErrorKind::NotPermitted, &file, "the file system does not allow a write-ahead log"));
    }
    let pages_max = settings.disk_bytes_max / PAGE_BYTES;
    let writer_only = format!("PRAGMA wal_autocheckpoint=0; PRAGMA max_page_count={pages_max}; PRAGMA cache_size=-65536;");
    connection.execute_batch(&writer_only).map_err(refuse)?;
    // What a crash left in the log, deleted content among it.
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(refuse)?;
    connection.busy_timeout(CHECKPOINT_WAIT).map_err(refuse)?;
    connection.wal_hook(Some(|_, pages| {
        LOG_PAGES.set(u64::try_from(pages).unwrap_or(0));
        Ok(())
    }));
    Ok((connection, readers(&file, settings.readers)?))
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
    connection.execute_batch(
        "PRAGMA synchronous=FULL;
         PRAGMA secure_delete=ON;
         PRAGMA foreign_keys=ON;
         PRAGMA trusted_schema=OFF;
         PRAGMA temp_store=MEMORY;
         PRAGMA mmap_size=0;
         PRAGMA cell_size_check=ON;",
    )
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
        .connection_timeout(CONNECTION_WAIT)
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

/// Looks at a file's header and length, and touches nothing. False when there is none.
pub(super) fn inspect(file: &Path) -> Result<bool> {
    let there = match fs::metadata(file) {
        Ok(there) => there,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(OpenError::io(file, OpenErrorKind::NotPermitted, "the database cannot be reached", &error)),
    };
    if !there.is_file() {
        return Err(OpenError::at(OpenErrorKind::NotAFile, file, "not a file, where the database belongs"));
    }
    let unreadable = |error| OpenError::io(file, OpenErrorKind::Damaged, "the database cannot be read", &error);
    let mut header = Vec::with_capacity(HEADER_BYTES);
    let opened = File::open(file).map_err(unreadable)?;
    opened.take(HEADER_BYTES as u64).read_to_end(&mut header).map_err(unreadable)?;
    let damaged = |detail: &str| Err(OpenError::at(OpenErrorKind::Damaged, file, detail));
    if MAGIC.starts_with(&header[..header.len().min(MAGIC.len())]) && header.len() < HEADER_BYTES {
        return damaged("the database is cut off");
    }
    if !header.starts_with(MAGIC) {
        return Err(OpenError::at(OpenErrorKind::Foreign, file, "not a database of restante"));
    }
    let number = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if number(68) != APPLICATION_ID {
        return Err(OpenError::at(OpenErrorKind::Foreign, file, "the database of another program"));
    }
    if number(60) > version() {
        return Err(newer(file, number(60)));
    }
    if number(60) == 0 || u64::from(u16::from_be_bytes([header[16], header[17]])) != PAGE_BYTES {
        return damaged("the database's header is damaged");
    }
    // With a log, file and header may rightly disagree: a crash in mid-checkpoint is mended from it.
    let log = fs::metadata(log_file(file)).map_or(0, |log| log.len());
    if log == 0 && there.len() < u64::from(number(28)) * PAGE_BYTES {
        return damaged("the database is cut off: shorter than its header says");
    }
    Ok(true)
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
    let made = File::open(&unfinished).and_then(|made| made.sync_all());
    made.and_then(|()| fs::rename(&unfinished, file)).map_err(cannot)?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(cannot)
}

fn make_schema(file: &Path) -> rusqlite::Result<()> {
    let connection = connect(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
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
    // Into the file, and the log away.
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
    let steps = missing.join("\n");
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

fn newer(file: &Path, found: u32) -> OpenError {
    let detail = format!("the database's schema is version {found}, newer than this program's {}", version());
    OpenError::at(OpenErrorKind::Newer, file, detail)
}

pub(super) fn refused(file: &Path, error: &rusqlite::Error) -> OpenError {
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt | ErrorCode::SystemIoFailure) => OpenErrorKind::Damaged,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenErrorKind::InUse,
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => OpenErrorKind::NotPermitted,
        _ => OpenErrorKind::Damaged,
    };
    OpenError::at(kind, file, super::fate::sentence(error))
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
/// "rst1": this program's databases.
const APPLICATION_ID: u32 = 0x7273_7431;
const SCHEMA: &str = include_str!("../../../schema.sql");
/// The file at index n brings version n to n + 1.
const UPGRADES: &[&str] = &[include_str!("upgrades/001.sql")];
const MAGIC: &[u8] = b"SQLite format 3\0";
const HEADER_BYTES: usize = 100;
/// Before 3.51.3 a checkpoint beside a write could corrupt the file.
const SQLITE_VERSION_MIN: i32 = 3_051_003;
/// How long a checkpoint waits for a reader, and so the writer stands still at most.
const CHECKPOINT_WAIT: Duration = Duration::from_millis(250);
/// How long a reader waits for its connection; there are as many as may read at once.
const CONNECTION_WAIT: Duration = Duration::from_millis(500);
/// Statements kept compiled; more than there are.
const STATEMENTS_MAX: usize = 96;
