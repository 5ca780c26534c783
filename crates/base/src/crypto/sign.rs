//! Ed25519 (RFC 8032), verified strictly.
//!
//! `verify_strict` refuses small-order keys and non-canonical encodings: with plain `verify` a key of order 1 signs
//! anything. [`check_key`] is asked once, when a key is first accepted, because two encodings of one point would
//! otherwise be two names.

use std::fmt;

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

/// A public key is not canonical, not on the curve, or of small order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the public key is weak or not canonical")]
pub struct WeakKey;

/// A signature does not verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct BadSignature;

/// An Ed25519 key pair. Wiped when dropped; never printed.
#[derive(Clone)]
pub struct KeyPair(SigningKey);

impl KeyPair {
    /// A fresh one.
    pub fn generate() -> Self {
        Self::from_seed(&Zeroizing::new(super::random::bytes()))
    }

    /// The one that belongs to a seed of RFC 8032.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// Its seed, to be kept.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// Its public half.
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// Signs.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPair(ed25519)")
    }
}

/// Refuses a public key that is not canonical, not on the curve, or of small order.
pub fn check_key(key: &[u8; 32]) -> Result<(), WeakKey> {
    let parsed = VerifyingKey::from_bytes(key).map_err(|_| WeakKey)?;
    if parsed.is_weak() || parsed.to_edwards().compress().to_bytes() != *key {
        return Err(WeakKey);
    }
    Ok(())
}

/// Verifies strictly: `S < L`, canonical `A` and `R` of full order, cofactorless.
pub fn verify(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> Result<(), BadSignature> {
    let key = VerifyingKey::from_bytes(key).map_err(|_| BadSignature)?;
    #[cfg(feature = "sabotage")]
    if crate::sabotage::on("verify_not_strict") {
        #[expect(clippy::disallowed_methods, reason = "broken on purpose")]
        let lax = ed25519_dalek::Verifier::verify(&key, message, &ed25519_dalek::Signature::from_bytes(signature));
        return lax.map_err(|_| BadSignature);
    }
    key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature)).map_err(|_| BadSignature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_verifies_for_its_key_and_message_only() {
        let pair = KeyPair::generate();
        let signature = pair.sign(b"a");
        assert_eq!(verify(&pair.public(), b"a", &signature), Ok(()));
        assert_eq!(verify(&pair.public(), b"b", &signature), Err(BadSignature));
        assert_eq!(verify(&KeyPair::generate().public(), b"a", &signature), Err(BadSignature));
    }

    #[test]
    fn the_identity_signs_nothing() {
        // The point of order 1 with an all-zero S satisfies the plain equation for every message.
        let mut identity = [0; 32];
        identity[0] = 1;
        let mut signature = [0; 64];
        signature[0] = 1;
        assert_eq!(verify(&identity, b"anything", &signature), Err(BadSignature));
        assert_eq!(check_key(&identity), Err(WeakKey));
    }
}
