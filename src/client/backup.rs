//! A profile as one encrypted file, to be moved to another machine: Argon2id, then AES-256-GCM.
//!
//! It *moves* a device. Two copies that are both used give out the same counters, and peers then drop what they take for
//! repeats. The 24 words are not in it.

use std::path::Path;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Client;
use super::clock::Clock;
use super::error::{Error, Result};
use super::http::Http;
use super::profile::{Profile, write_private};
use super::state::State;
use crate::crypto::random;
use crate::protocol::{Bytes, Transcript};

#[derive(Serialize, Deserialize)]
struct Export {
    restante_export: u32,
    kdf: String,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    salt: Bytes,
    nonce: Bytes,
    sealed: Bytes,
}

impl Client {
    /// Writes everything in the profile into `file`, encrypted under `passphrase`.
    pub async fn export(&mut self, file: &Path, passphrase: &str) -> Result<()> {
        let _lock = self.enter().await?;
        let mut plain = Zeroizing::new(Vec::new());
        serde_json::to_writer(&mut *plain, &self.state).expect("a state has string keys only and serializes");
        let bytes = seal(&plain, passphrase, MEMORY_KIB)?;
        write_private(file, &bytes).map_err(|error| self.profile.bad(&format!("it cannot be exported: {error}"), ""))
    }

    /// Makes a profile of an exported file. The directory must hold none.
    pub async fn import(directory: &Path, file: &Path, passphrase: &str) -> Result<Self> {
        let profile = Profile::create(directory)?;
        let _lock = profile.lock().await?;
        if profile.has_state() {
            return Err(profile.bad("there is an account in it already", "use another directory: --profile DIR"));
        }
        let bytes = std::fs::read(file).map_err(|error| {
            Error::asked(format!("{} cannot be read: {error}", file.display()), "give a file that `export` wrote")
        })?;
        let state: State = serde_json::from_slice(&open(&bytes, passphrase)?).map_err(|_| not_an_export())?;
        let http = Http::new(&super::dial(&state)?)?;
        profile.save(&state)?;
        Ok(Self::of(profile, state, http, Clock::system()))
    }
}

fn seal(plain: &[u8], passphrase: &str, memory_kib: u32) -> Result<Vec<u8>> {
    if passphrase.is_empty() {
        return Err(Error::asked("the passphrase is empty", "choose one that nobody guesses: a few random words"));
    }
    let (salt, nonce): ([u8; 16], [u8; 12]) = (random::bytes(), random::bytes());
    let key = key(passphrase, &salt, memory_kib, PASSES, LANES)?;
    let aad = aad(memory_kib, PASSES, LANES, &salt);
    let sealed = Aes256Gcm::new((&*key).into())
        .encrypt(&Nonce::from(nonce), Payload { msg: plain, aad: &aad })
        .expect("AES-GCM encrypts a file that fits into memory");
    let export = Export {
        restante_export: 1,
        kdf: KDF.into(),
        memory_kib,
        passes: PASSES,
        lanes: LANES,
        salt: Bytes(salt.to_vec()),
        nonce: Bytes(nonce.to_vec()),
        sealed: Bytes(sealed),
    };
    Ok(serde_json::to_vec(&export).expect("an export has string keys only and serializes"))
}

fn open(bytes: &[u8], passphrase: &str) -> Result<Zeroizing<Vec<u8>>> {
    let export: Export = serde_json::from_slice(bytes).map_err(|_| not_an_export())?;
    let bounded = export.memory_kib <= MEMORY_KIB_MAX && export.passes <= PASSES_MAX && export.lanes <= LANES_MAX;
    let nonce: [u8; 12] = export.nonce.as_slice().try_into().map_err(|_| not_an_export())?;
    if export.restante_export != 1 || export.kdf != KDF || !bounded {
        return Err(not_an_export());
    }
    let salt = export.salt.as_slice();
    let key = key(passphrase, salt, export.memory_kib, export.passes, export.lanes)?;
    let aad = aad(export.memory_kib, export.passes, export.lanes, salt);
    Aes256Gcm::new((&*key).into())
        .decrypt(&Nonce::from(nonce), Payload { msg: export.sealed.as_slice(), aad: &aad })
        .map(Zeroizing::new)
        .map_err(|_| Error::asked("the file does not open", "the passphrase is another one, or the file is damaged"))
}

fn key(passphrase: &str, salt: &[u8], memory_kib: u32, passes: u32, lanes: u32) -> Result<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    let params = Params::new(memory_kib, passes, lanes, Some(key.len())).map_err(|_| not_an_export())?;
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), salt, key.as_mut())
        .map_err(|_| not_an_export())?;
    Ok(key)
}

fn aad(memory_kib: u32, passes: u32, lanes: u32, salt: &[u8]) -> Vec<u8> {
    Transcript::new("/export").u32(memory_kib).u32(passes).u32(lanes).var(salt).bytes()
}

fn not_an_export() -> Error {
    Error::asked("this is not an exported profile", "give a file that `restante client export` wrote")
}

const KDF: &str = "argon2id";
/// 64 MiB, three passes, four lanes: RFC 9106's second recommended choice.
const MEMORY_KIB: u32 = 64 << 10;
const PASSES: u32 = 3;
const LANES: u32 = 4;
/// What a file may ask of us at most.
const MEMORY_KIB_MAX: u32 = 1 << 20;
const PASSES_MAX: u32 = 16;
const LANES_MAX: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_opens_with_its_passphrase_only_and_unaltered() {
        let bytes = seal(b"a profile", "correct horse", 64).expect("sealed");
        assert_eq!(open(&bytes, "correct horse").expect("opened").as_slice(), b"a profile");
        assert!(open(&bytes, "correct hors").is_err());
        assert!(seal(b"a profile", "", 64).is_err());
        let text = String::from_utf8(bytes).expect("JSON");
        for (from, to) in
            [("\"passes\":3", "\"passes\":4"), ("argon2id", "argon2i"), ("\"memory_kib\":64", "\"memory_kib\":99999999")]
        {
            assert!(text.contains(from) && open(text.replace(from, to).as_bytes(), "correct horse").is_err(), "{to}");
        }
        assert!(!text.contains("profile"));
    }
}
