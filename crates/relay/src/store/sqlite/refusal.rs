//! Refusing: what stands in the data directory is looked at by its header before SQLite touches it, so that what is not ours
//! stays as it was, with no log beside it.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;
use rusqlite::ffi::SQLITE_IOERR_SHMSIZE;

use super::open::{APPLICATION_ID, PAGE_BYTES, log_file, version};

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
    /// Made by an older version, where only a relay of this one may bring it up to date.
    Older,
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
    /// The disk is full, and what has to be written before the start found no room.
    Full,
}

impl OpenError {
    pub(super) fn new(kind: OpenErrorKind, what: &str, cause: impl fmt::Display) -> Self {
        Self { kind, path: PathBuf::new(), detail: format!("{what}: {cause}") }
    }

    pub(super) fn at(kind: OpenErrorKind, path: &Path, detail: impl Into<String>) -> Self {
        Self { kind, path: path.to_path_buf(), detail: detail.into() }
    }

    pub(super) fn io(path: &Path, otherwise: OpenErrorKind, what: &str, error: &io::Error) -> Self {
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
            OpenErrorKind::Older => {
                "start the relay once, or run `restante stats`: that brings it up to date; a backup from before is wise"
            }
            OpenErrorKind::Damaged => "restore a backup; keep the file and its -wal beside it, they were left as they are",
            OpenErrorKind::NotAFile => "move it away, or give the relay another data directory (`--data DIR`)",
            OpenErrorKind::NotPermitted => {
                "the data directory and its files must be writable and owned by the user who runs the relay"
            }
            OpenErrorKind::CannotCreate => "make the directory yourself, or give another one (`--data DIR`)",
            OpenErrorKind::InUse => "stop whatever else has the database open; a running relay's is never opened a second time",
            OpenErrorKind::Full => "make room on the disk; nothing is lost",
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

pub(super) fn newer(file: &Path, found: u32) -> OpenError {
    let detail = format!("the database's schema is version {found}, newer than this program's {}", version());
    OpenError::at(OpenErrorKind::Newer, file, detail)
}

pub(super) fn older(file: &Path, found: u32) -> OpenError {
    let detail = format!("the database's schema is version {found}, older than this program's {}", version());
    OpenError::at(OpenErrorKind::Older, file, detail)
}

pub(super) fn refused(file: &Path, error: &rusqlite::Error) -> OpenError {
    let kind = match error.sqlite_error_code() {
        // What the connections share in memory is a file, too. While the relay runs this is fatal: the log holds a commit then.
        _ if error.sqlite_extended_error_code() == Some(SQLITE_IOERR_SHMSIZE) => OpenErrorKind::Full,
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt | ErrorCode::SystemIoFailure) => OpenErrorKind::Damaged,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenErrorKind::InUse,
        Some(ErrorCode::DiskFull) => OpenErrorKind::Full,
        Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => OpenErrorKind::NotPermitted,
        _ => OpenErrorKind::Damaged,
    };
    let sentence = super::fate::sentence(error);
    OpenError::at(kind, file, if kind == OpenErrorKind::Full { format!("the disk is full ({sentence})") } else { sentence })
}

const MAGIC: &[u8] = b"SQLite format 3\0";
const HEADER_BYTES: usize = 100;
