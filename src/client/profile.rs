//! The profile: a private directory with one state file, written atomically, and a lock against other processes.
//!
//! Every write is: a new file beside the old one, synced; renamed over it; the directory synced. So a crash leaves the old
//! state or the new one. The lock is held for one operation, not for the life of a process, so that a `receive --follow`
//! and a `send` of the same profile can live side by side; whoever takes it reads the state again.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use zeroize::Zeroizing;

use super::error::{Error, Result};
use super::state::State;

/// A directory that holds an account's device.
#[derive(Debug, Clone)]
pub(crate) struct Profile {
    directory: PathBuf,
    file: &'static str,
}

/// Held while the state is read and written; freed when dropped.
#[derive(Debug)]
pub(crate) struct Lock(#[allow(dead_code, reason = "dropping it unlocks")] File);

impl Profile {
    /// Makes the directory, private, where there is none.
    pub(crate) fn create(directory: &Path) -> Result<Self> {
        let profile = Self { directory: directory.to_path_buf(), file: STATE };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|error| profile.io("cannot be made", &error))?;
        profile.checked()
    }

    /// The directory as it stands.
    pub(crate) fn existing(directory: &Path) -> Result<Self> {
        let profile = Self { directory: directory.to_path_buf(), file: STATE };
        if !profile.has_state() {
            return Err(profile.bad("there is no account in it", "make one with `restante client init --relay URL`"));
        }
        profile.checked()
    }

    /// The same directory while its device waits to be linked: a state that is no account's yet, in a file of its own.
    pub(crate) fn while_linking(&self) -> Self {
        Self { file: LINKING, ..self.clone() }
    }

    /// Where it is.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether an account lives here.
    pub(crate) fn has_state(&self) -> bool {
        self.directory.join(self.file).exists()
    }

    /// Takes the lock, waiting for another process's operation to end.
    pub(crate) async fn lock(&self) -> Result<Lock> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(self.directory.join(LOCK))
            .map_err(|error| self.io("cannot be locked", &error))?;
        for _ in 0..LOCK_TRIES_MAX {
            match file.try_lock() {
                Ok(()) => return Ok(Lock(file)),
                #[allow(clippy::disallowed_methods, reason = "a pause between two tries; file locks wake nobody")]
                Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_PAUSE).await,
                Err(TryLockError::Error(error)) => return Err(self.io("cannot be locked", &error)),
            }
        }
        Err(self.bad("another process is using it", "wait for it to finish, or give a profile of its own with --profile"))
    }

    /// Reads the state. Call it with the lock held.
    pub(crate) fn load(&self) -> Result<State> {
        let mut bytes = Zeroizing::new(Vec::new());
        File::open(self.directory.join(self.file))
            .and_then(|mut file| file.read_to_end(&mut bytes))
            .map_err(|error| self.io("cannot be read", &error))?;
        let state: State = serde_json::from_slice(&bytes).map_err(|error| {
            self.bad(&format!("its state file is damaged ({error})"), "restore it with `import` from an export")
        })?;
        if state.version != State::VERSION {
            return Err(self.bad("a newer version of restante wrote it", "use that version"));
        }
        Ok(state)
    }

    /// Writes the state and waits until it is on disk. Call it with the lock held.
    pub(crate) fn save(&self, state: &State) -> Result<()> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(STATE_BYTES_USUAL));
        serde_json::to_writer(&mut *bytes, state).expect("a state has string keys only and serializes");
        write_private(&self.directory.join(self.file), &bytes).map_err(|error| self.io("cannot be written", &error))
    }

    /// Deletes the state; the directory and its lock stay.
    pub(crate) fn forget(&self) -> Result<()> {
        fs::remove_file(self.directory.join(self.file)).map_err(|error| self.io("cannot be deleted", &error))?;
        sync_directory(&self.directory).map_err(|error| self.io("cannot be synced", &error))
    }

    pub(crate) fn bad(&self, why: &str, hint: &'static str) -> Error {
        Error::Profile { path: self.directory.clone(), why: why.to_string(), hint }
    }

    fn checked(self) -> Result<Self> {
        let mode = fs::metadata(&self.directory).map_err(|error| self.io("cannot be read", &error))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(self.bad("other users may look into it", "make it private: chmod 700 on the directory"));
        }
        Ok(self)
    }

    fn io(&self, what: &str, error: &std::io::Error) -> Error {
        let hint = match error.kind() {
            ErrorKind::PermissionDenied => "it belongs to another user; give a directory of your own with --profile",
            ErrorKind::StorageFull => "the disk is full",
            _ => "",
        };
        self.bad(&format!("{what}: {error}"), hint)
    }
}

/// Puts a file in the place of another in one step that survives a crash; only its owner may read it.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    let fresh = parent.join(name);
    // A crash may have left one behind, perhaps with other permissions.
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    sync_directory(parent)
}

fn sync_directory(path: &Path) -> std::io::Result<()> {
    File::open(path)?.sync_all()
}

const STATE: &str = "state.json";
const LINKING: &str = "linking.json";
const LOCK: &str = "lock";
/// Room for a few contacts, so that the buffer of secrets is rarely moved.
const STATE_BYTES_USUAL: usize = 64 << 10;
const LOCK_PAUSE: Duration = Duration::from_millis(50);
/// Ten seconds: an operation holds the lock for a request or two; a long poll does not hold it.
const LOCK_TRIES_MAX: u32 = 200;
