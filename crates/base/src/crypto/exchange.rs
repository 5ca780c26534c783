//! X25519 (RFC 7748) key pairs: sealing keys, prekeys and reply keys.

use std::fmt;

use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

pub use super::sign::WeakKey;

/// An X25519 key pair. Wiped when dropped; never printed.
#[derive(Clone)]
pub struct KeyPair(StaticSecret);

impl KeyPair {
    /// A fresh one.
    pub fn generate() -> Self {
        Self::from_secret(&Zeroizing::new(super::random::bytes()))
    }

    /// The one that belongs to a secret of 32 bytes.
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        Self(StaticSecret::from(*secret))
    }

    /// Its secret, to be kept.
    pub fn secret(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// Its public half.
    pub fn public(&self) -> [u8; 32] {
        PublicKey::from(&self.0).to_bytes()
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPair(x25519)")
    }
}

/// Refuses a public key that is not canonical or of small order: an exchange with it would give all zeros.
pub fn check_key(key: &[u8; 32]) -> Result<(), WeakKey> {
    // Canonical: the integer, little endian, is below 2^255 - 19.
    let top = key[31];
    let above_p = top == 0x7f && key[1..31].iter().all(|byte| *byte == 0xff) && key[0] >= 0xed;
    if top > 0x7f || above_p {
        return Err(WeakKey);
    }
    // Any clamped scalar is a multiple of the cofactor, so one exchange shows a small order.
    let probe = StaticSecret::from([0x55; 32]);
    if !probe.diffie_hellman(&PublicKey::from(*key)).was_contributory() {
        return Err(WeakKey);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_keys_pass_and_weak_ones_do_not() {
        assert_eq!(check_key(&KeyPair::generate().public()), Ok(()));
        let mut one = [0; 32];
        one[0] = 1;
        let mut p_plus_nine = [0xff; 32];
        p_plus_nine[0] = 0xf6;
        p_plus_nine[31] = 0x7f;
        let mut high_bit = KeyPair::generate().public();
        high_bit[31] |= 0x80;
        for weak in [[0; 32], one, p_plus_nine, high_bit] {
            assert_eq!(check_key(&weak), Err(WeakKey));
        }
    }
}
