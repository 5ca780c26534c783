//! What is kept somewhere else than its key: AES-256-GCM.
//!
//! The nonce is random; a key locks some thousands of times in its life, far below the 2³² that a random nonce allows.
//!
//! ```
//! use restante_base::crypto::{locker::Locker, random};
//! let locker = Locker::new(&[7; 32]);
//! let locked = locker.lock(random::bytes(), b"whose", b"a secret");
//! assert_eq!(locker.unlock(b"whose", &locked).as_deref().map(Vec::as_slice), Some(&b"a secret"[..]));
//! assert_eq!(locker.unlock(b"another's", &locked), None);
//! ```

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use zeroize::Zeroizing;

/// Locks and unlocks.
pub struct Locker(Aes256Gcm);

impl Locker {
    /// By a key of 32 random bytes.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(Aes256Gcm::new(key.into()))
    }

    /// `nonce ‖ ciphertext ‖ tag`, [`OVERHEAD`] bytes longer than the secret. The nonce is random and used once.
    pub fn lock(&self, nonce: [u8; 12], aad: &[u8], secret: &[u8]) -> Vec<u8> {
        let locked =
            self.0.encrypt(&Nonce::from(nonce), Payload { msg: secret, aad }).expect("AES-GCM encrypts what fits into memory");
        [&nonce[..], &locked].concat()
    }

    /// None when another key locked it, for another `aad`, or somebody changed it since.
    pub fn unlock(&self, aad: &[u8], locked: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, locked) = locked.split_first_chunk::<12>()?;
        self.0.decrypt(&Nonce::from(*nonce), Payload { msg: locked, aad }).ok().map(Zeroizing::new)
    }
}

/// Nonce and tag.
pub const OVERHEAD: usize = 12 + 16;
