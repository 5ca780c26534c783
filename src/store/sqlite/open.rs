//! Opening: what is there is looked at with plain file reads first, so that a file which is not ours, newer or cut short is
//! left as it was, without so much as a log beside it.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::{Settings, log_of};

/// Why a database was not opened. Whatever it is, it was left as it was.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another application's, or no database at all.
    #[error("{} is not a restante database", .0.display())]
    Foreign(PathBuf),
    /// A newer version's.
    #[error("{} has schema version {found}, and this program knows up to {known}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// Cut short or otherwise not whole.
    #[error("{} is damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// How one sees it.
        why: String,
    },
    /// A directory or a device where the file should be.
    #[error("{} is not a file", .0.display())]
    NotAFile(PathBuf),
    /// Not to be read or written by this user.
    #[error("{} cannot be written: {why}", path.display())]
    Denied {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// It cannot be made.
    #[error("{} cannot be made: {why}", path.display())]
    CannotCreate {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// The SQLite that is linked has a bug that damages databases.
    #[error("the linked SQLite {0} is too old: 3.51.3 at least")]
    OldSqlite(String),
}

impl OpenError {
    /// The next step.
    pub fn hint(&self) -> String {
        match self {
            Self::Foreign(_) => "name another directory with `--data`; nothing was changed".into(),
            Self::Newer { .. } => {
                "run the newer program again, or go back to a backup made before it; nothing was changed".into()
            }
            Self::Damaged { .. } => {
                "`restante check` looks closer; go back to a backup, or move the file aside; never delete the -wal file alone"
                    .into()
            }
            Self::NotAFile(_) => "move it away, or name another directory with `--data`".into(),
            Self::Denied { path, .. } => format!("give this user the right to write {} and what is in it", path.display()),
            Self::CannotCreate { .. } => "name a directory that can be made with `--data`".into(),
            Self::OldSqlite(_) => "build with the bundled SQLite".into(),
        }
    }

    /// The process's exit code for it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Foreign(_) | Self::Newer { .. } | Self::Damaged { .. } | Self::NotAFile(_) => 65,
            Self::CannotCreate { .. } => 73,
            Self::Denied { .. } => 77,
            Self::OldSqlite(_) => 1,
        }
    }

    pub(super) fn of_sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        let path = path.to_path_buf();
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::ReadOnly | rusqlite::ErrorCode::PermissionDenied) => {
                Self::Denied { path, why: error.to_string() }
            }
            Some(rusqlite::ErrorCode::CannotOpen) => Self::CannotCreate { path, why: error.to_string() },
            _ => Self::Damaged { path, why: error.to_string() },
        }
    }
}

/// The writing connection: the database made, or looked at and upgraded.
pub(super) fn writer(settings: &Settings, database: &Path) -> Result<Connection, OpenError> {
    if rusqlite::version_number() < SQLITE_VERSION_MIN {
        return Err(OpenError::OldSqlite(rusqlite::version().into()));
    }
    make_directory(&settings.dir)?;
    let known = inspect(database)?;
    if known == Found::Nothing {
        create_file(database)?;
    }
    let failed = |error: rusqlite::Error| OpenError::of_sqlite(database, &error);
    #[expect(clippy::disallowed_methods, reason = "the one place that opens the database to write")]
    let mut connection = Connection::open_with_flags(
        database,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW,
    )
    .map_err(failed)?;
    settle(&connection, known, settings.disk_bytes_max).map_err(failed)?;
    upgrade(&mut connection).map_err(failed)?;
    // From here on the file itself says whose it is, whatever becomes of the log.
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(failed)?;
    Ok(connection)
}

/// What stands at the database's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// No file, or an empty one.
    Nothing,
    /// Ours, of a version that we know.
    Ours,
}

/// Looks at the file's first 100 bytes and its length, and changes nothing.
pub(super) fn inspect(database: &Path) -> Result<Found, OpenError> {
    let path = || database.to_path_buf();
    let metadata = match fs::symlink_metadata(database) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(OpenError::Denied { path: path(), why: error.to_string() }),
    };
    if !metadata.is_file() {
        return Err(OpenError::NotAFile(path()));
    }
    let denied = |error: std::io::Error| OpenError::Denied { path: path(), why: error.to_string() };
    let mut file = OpenOptions::new().read(true).write(true).open(database).map_err(denied)?;
    if metadata.len() == 0 {
        return Ok(Found::Nothing);
    }
    let mut header = [0; 100];
    if file.read_exact(&mut header).is_err() || !header.starts_with(b"SQLite format 3\0") {
        return Err(OpenError::Foreign(path()));
    }
    let u32_at = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (user_version, application_id) = (u32_at(60), u32_at(68));
    if application_id != APPLICATION_ID {
        return Err(OpenError::Foreign(path()));
    }
    if user_version > VERSION {
        return Err(OpenError::Newer { path: path(), found: user_version, known: VERSION });
    }
    let page = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        size => u64::from(size),
    };
    let pages = u64::from(u32_at(28));
    // Beside a log the file may be behind, or in the middle of being brought up to date: SQLite knows what to make of it.
    let alone = fs::metadata(log_of(database)).map_or(true, |log| log.len() == 0);
    if page < 512 || (alone && (metadata.len() % page != 0 || metadata.len() < page * pages)) {
        let why = format!("it has {} bytes where its header says {}", metadata.len(), page * pages);
        return Err(OpenError::Damaged { path: path(), why });
    }
    Ok(Found::Ours)
}

fn make_directory(dir: &Path) -> Result<(), OpenError> {
    match fs::metadata(dir) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(OpenError::CannotCreate { path: dir.into(), why: "something else has its name".into() }),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| cannot_create(dir, &error))
        }
        Err(error) => Err(cannot_create(dir, &error)),
    }
}

fn create_file(database: &Path) -> Result<File, OpenError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    options.open(database).map_err(|error| cannot_create(database, &error))
}

fn cannot_create(path: &Path, error: &std::io::Error) -> OpenError {
    let (path, why) = (path.to_path_buf(), error.to_string());
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => OpenError::Denied { path, why },
        _ => OpenError::CannotCreate { path, why },
    }
}

/// Everything that is set on the writing connection. Page size and vacuum mode stand before the first table, or not at all.
fn settle(connection: &Connection, found: Found, disk_bytes_max: u64) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    if found == Found::Nothing {
        connection.execute_batch("PRAGMA page_size = 8192; PRAGMA auto_vacuum = INCREMENTAL;")?;
    }
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(rusqlite::Error::InvalidQuery);
    }
    connection.execute_batch(
        "PRAGMA synchronous = FULL;
         PRAGMA secure_delete = ON;
         PRAGMA foreign_keys = ON;
         PRAGMA trusted_schema = OFF;
         PRAGMA temp_store = MEMORY;
         PRAGMA mmap_size = 0;
         PRAGMA cell_size_check = ON;
         PRAGMA wal_autocheckpoint = 0;
         PRAGMA journal_size_limit = 67108864;
         PRAGMA cache_size = -65536;",
    )?;
    let pages = (disk_bytes_max / PAGE_BYTES).max(1);
    connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
    harden(connection)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    Ok(())
}

/// Also for the readers: what a damaged or hostile schema could use is off.
pub(super) fn harden(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, false)?;
    Ok(())
}

/// Brings the schema to our version, in one transaction.
fn upgrade(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: u32 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    for upgrade in UPGRADES.iter().skip(version as usize) {
        transaction.execute_batch(upgrade)?;
    }
    if version < VERSION {
        transaction.execute_batch(&format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};"))?;
    }
    transaction.execute("INSERT OR IGNORE INTO relay (id, clock_mark, damaged) VALUES (1, 0, 0)", [])?;
    transaction.commit()
}

/// The schema's versions, each what leads to it from the one before.
const UPGRADES: &[&str] = &[include_str!("upgrades/001.sql")];
/// The current version.
const VERSION: u32 = UPGRADES.len() as u32;
/// "REST".
const APPLICATION_ID: u32 = 0x5245_5354;
/// 8 KiB: 1.2 KiB a waiting 1 KiB envelope, where 4 KiB pages take 1.4. It cannot change later.
const PAGE_BYTES: u64 = 8_192;
/// Before 3.51.3 a checkpoint beside a write could damage the file.
const SQLITE_VERSION_MIN: i32 = 3_051_003;
/// How long to wait for a lock; only ever held by a reader's start.
pub(super) const BUSY: Duration = Duration::from_millis(250);
const STATEMENTS_CACHED: usize = 128;
