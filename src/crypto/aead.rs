//! AES-256-GCM under a key that one holds oneself: what is written somewhere untrusted and read back.
//!
//! The nonce is random and stands in front; a key should lock at most 2³² times.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use zeroize::Zeroizing;

pub use super::seal::NotOpened;

/// `nonce(12) ‖ ciphertext ‖ tag(16)`.
pub fn lock(key: &[u8; 32], aad: &[u8], plain: &[u8]) -> Vec<u8> {
    let nonce: [u8; 12] = super::random::bytes();
    let mut locked = nonce.to_vec();
    let ciphertext = Aes256Gcm::new(key.into()).encrypt(&Nonce::from(nonce), Payload { msg: plain, aad });
    locked.extend_from_slice(&ciphertext.expect("AES-GCM encrypts what fits into memory"));
    locked
}

/// The inverse of [`lock`], for the same `aad` alone.
pub fn unlock(key: &[u8; 32], aad: &[u8], locked: &[u8]) -> Result<Zeroizing<Vec<u8>>, NotOpened> {
    let (nonce, ciphertext) = locked.split_first_chunk::<12>().ok_or(NotOpened)?;
    let opened = Aes256Gcm::new(key.into()).decrypt(&Nonce::from(*nonce), Payload { msg: ciphertext, aad });
    opened.map(Zeroizing::new).map_err(|_| NotOpened)
}

/// How much longer than what it holds a lock is.
pub const LOCK_OVERHEAD: usize = 28;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_with_its_key_and_aad_and_unaltered() {
        let locked = lock(&[1; 32], b"aad", b"plain");
        assert_eq!(locked.len(), 5 + LOCK_OVERHEAD);
        assert_eq!(unlock(&[1; 32], b"aad", &locked).expect("it opens").as_slice(), b"plain");
        assert_ne!(lock(&[1; 32], b"aad", b"plain"), locked, "another nonce");
        assert!(unlock(&[2; 32], b"aad", &locked).is_err());
        assert!(unlock(&[1; 32], b"aae", &locked).is_err());
        for at in [0, 12, 20, locked.len() - 1] {
            let mut altered = locked.clone();
            altered[at] ^= 1;
            assert!(unlock(&[1; 32], b"aad", &altered).is_err(), "{at}");
        }
        assert!(unlock(&[1; 32], b"aad", &locked[..11]).is_err());
    }
}
