//! The data directory: the lock that makes a relay the only one on it, the relay's key and that
//! of the second factors, the room on its disk.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::error::ServerError;
use crate::crypto::{random, sign};
use crate::protocol::bytes::{decode, encode};

pub(super) fn make_directory(path: &Path) -> Result<(), ServerError> {
    if path.is_dir() {
        return Ok(());
    }
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| ServerError::File { path: path.into(), error })
}

/// Says so when others than the relay's own user may look in: what somebody made is theirs to mend.
pub(super) fn look_at_permissions(data: &Path) {
    if fs::metadata(data).is_ok_and(|found| found.permissions().mode() & 0o077 != 0) {
        tracing::warn!("others may look into the data directory; `chmod 700` it");
    }
}

pub(super) fn lock(data: &Path) -> Result<File, ServerError> {
    let path = data.join(LOCK);
    let failed = |error| ServerError::File { path: path.clone(), error };
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(ServerError::Running(data.into())),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// The relay's key: read, or made once and put on disk before it is used. Not made beside a database: that belongs to a
/// relay which has one, and another key would be another relay.
pub(super) fn relay_key(data: &Path) -> Result<sign::KeyPair, ServerError> {
    let path = data.join(RELAY_KEY);
    let seed = match read_key(&path, ServerError::RelayKey)? {
        Some(seed) => seed,
        None if database(data).exists() => return Err(ServerError::RelayKey(path)),
        None => make_key(data, RELAY_KEY)?,
    };
    Ok(sign::KeyPair::from_seed(&seed))
}

/// The key that second factors are locked under: read, or made. Not made where the database holds some: they would open
/// under no other than the one that is missing.
pub(super) fn totp_key(data: &Path, needed: bool) -> Result<Zeroizing<[u8; 32]>, ServerError> {
    let path = data.join(TOTP_KEY);
    match read_key(&path, ServerError::TotpKey)? {
        Some(key) => Ok(key),
        None if needed => Err(ServerError::TotpKey(path)),
        None => make_key(data, TOTP_KEY),
    }
}

/// A key's file: 32 bytes as base64url and a line's end. None where there is no file; `broken` where it holds something else.
fn read_key(path: &Path, broken: fn(PathBuf) -> ServerError) -> Result<Option<Zeroizing<[u8; 32]>>, ServerError> {
    let text = match fs::read_to_string(path).map(Zeroizing::new) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == ErrorKind::InvalidData => return Err(broken(path.into())),
        Err(error) => return Err(ServerError::File { path: path.into(), error }),
    };
    let bytes = decode(text.trim()).ok().map(Zeroizing::new);
    let key = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok());
    key.map(|key| Some(Zeroizing::new(key))).ok_or_else(|| broken(path.into()))
}

/// A fresh key, whole and on disk before anybody uses it.
fn make_key(data: &Path, name: &str) -> Result<Zeroizing<[u8; 32]>, ServerError> {
    let (path, temporary) = (data.join(name), data.join(format!("{name}.new")));
    let failed = |error| ServerError::File { path: path.clone(), error };
    let key = Zeroizing::new(random::bytes::<32>());
    let text = Zeroizing::new(format!("{}\n", encode(&*key)));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&temporary, &path).map_err(failed)?;
    File::open(data).and_then(|directory| directory.sync_all()).map_err(failed)?;
    Ok(key)
}

/// The database's path in a data directory.
pub(super) fn database(data: &Path) -> PathBuf {
    data.join(DATABASE)
}

/// Whether the disk has more than the least that must stay free. A disk that cannot be asked is not held to be full.
pub(super) fn room(data: PathBuf, free_bytes_min: u64) -> Arc<dyn Fn() -> bool + Send + Sync> {
    Arc::new(move || {
        rustix::fs::statvfs(&data).map_or(true, |disk| disk.f_bavail.saturating_mul(disk.f_frsize) >= free_bytes_min)
    })
}

const DATABASE: &str = "restante.db";
const LOCK: &str = "restante.lock";
const RELAY_KEY: &str = "relay.key";
pub(super) const TOTP_KEY: &str = "totp.key";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_never_beside_a_database() {
        let dir = tempfile::tempdir().expect("a directory");
        let key = relay_key(dir.path()).expect("a fresh key").public();
        fs::write(database(dir.path()), "").expect("a database");
        assert_eq!(relay_key(dir.path()).expect("the same key").public(), key);
        fs::remove_file(dir.path().join(RELAY_KEY)).expect("removed");
        assert!(matches!(relay_key(dir.path()), Err(ServerError::RelayKey(_))));
        assert!(!dir.path().join(RELAY_KEY).exists(), "another key would be another relay");
    }

    #[test]
    fn the_key_of_the_second_factors_is_made_unless_it_is_needed() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(matches!(totp_key(dir.path(), true), Err(ServerError::TotpKey(_))));
        assert!(!dir.path().join(TOTP_KEY).exists(), "another key would open nothing");
        let key = totp_key(dir.path(), false).expect("a fresh key");
        assert_eq!(totp_key(dir.path(), true).expect("the same key"), key);
        let mode = fs::metadata(dir.path().join(TOTP_KEY)).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        for broken in [&b"short\n"[..], b"", &[0xff; 32]] {
            fs::write(dir.path().join(TOTP_KEY), broken).expect("written");
            assert!(matches!(totp_key(dir.path(), false), Err(ServerError::TotpKey(_))), "{broken:?}");
        }
    }

    #[test]
    fn the_lock_is_one_process_s() {
        let dir = tempfile::tempdir().expect("a directory");
        let held = lock(dir.path()).expect("the lock");
        assert!(matches!(lock(dir.path()), Err(ServerError::Running(_))));
        drop(held);
        assert!(lock(dir.path()).is_ok());
    }
}
