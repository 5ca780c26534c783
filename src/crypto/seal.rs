//! The end-to-end layer: HPKE (RFC 9180), base mode, X25519, HKDF-SHA256, AES-256-GCM.
//!
//! Only clients name this file: a test fails when any of the relay's floors does.

use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};

/// The bytes cannot be opened with this key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sealed bytes do not open")]
pub struct NotOpened;

/// A seal that has its `enc` and awaits its content, so that the `enc` can be signed within the content.
pub struct Sealer {
    /// The encapsulated key.
    pub enc: [u8; 32],
    context: hpke::aead::AeadCtxS<AesGcm256, HkdfSha256, X25519HkdfSha256>,
}

impl Sealer {
    /// Sets up a seal to an X25519 public key; fails on a key of small order.
    pub fn new(recipient: &[u8; 32], info: &[u8]) -> Result<Self, NotOpened> {
        let key = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(recipient).map_err(|_| NotOpened)?;
        let (enc, context) =
            hpke::setup_sender::<AesGcm256, HkdfSha256, X25519HkdfSha256>(&OpModeS::Base, &key, info).map_err(|_| NotOpened)?;
        let enc = enc.to_bytes().as_slice().try_into().map_err(|_| NotOpened)?;
        Ok(Self { enc, context })
    }

    /// Ciphertext and tag: 16 bytes longer than the plaintext.
    pub fn seal(mut self, plaintext: &[u8], aad: &[u8]) -> Vec<u8> {
        self.context.seal(plaintext, aad).expect("the first message of a context has a nonce")
    }
}

/// Opens with an X25519 secret what a [`Sealer`] of the same `info` and `aad` made.
pub fn open(secret: &[u8; 32], enc: &[u8; 32], info: &[u8], aad: &[u8], ciphertext: &[u8]) -> Result<Vec<u8>, NotOpened> {
    let key = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(secret).map_err(|_| NotOpened)?;
    let enc = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(enc).map_err(|_| NotOpened)?;
    let mut context = hpke::setup_receiver::<AesGcm256, HkdfSha256, X25519HkdfSha256>(&OpModeR::Base, &key, &enc, info)
        .map_err(|_| NotOpened)?;
    context.open(ciphertext, aad).map_err(|_| NotOpened)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::exchange::KeyPair;

    #[test]
    fn opens_with_the_right_key_info_and_aad_only() {
        let pair = KeyPair::generate();
        let sealer = Sealer::new(&pair.public(), b"info").expect("a good key");
        let enc = sealer.enc;
        let sealed = sealer.seal(b"hello", b"aad");
        assert_eq!(open(&pair.secret(), &enc, b"info", b"aad", &sealed).as_deref(), Ok(&b"hello"[..]));
        assert_eq!(open(&pair.secret(), &enc, b"other", b"aad", &sealed), Err(NotOpened));
        assert_eq!(open(&pair.secret(), &enc, b"info", b"other", &sealed), Err(NotOpened));
        assert_eq!(open(&KeyPair::generate().secret(), &enc, b"info", b"aad", &sealed), Err(NotOpened));
    }

    #[test]
    fn a_key_of_small_order_is_refused() {
        assert!(Sealer::new(&[0; 32], b"info").is_err());
    }
}
