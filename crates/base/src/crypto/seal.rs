//! The end-to-end layer: HPKE (RFC 9180), X25519, HKDF-SHA256, AES-256-GCM. Base mode between people; PSK mode for what a
//! device is given when it is linked.
//!
//! Only clients name this file: a test fails when any of the relay's floors does.

use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, PskBundle, Serializable};

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
        Self::set_up(&OpModeS::Base, recipient, info)
    }

    /// The same in PSK mode: only who has the secret, too, opens it, and only who has it can have made it.
    pub fn with_psk(recipient: &[u8; 32], info: &[u8], psk: &Psk<'_>) -> Result<Self, NotOpened> {
        Self::set_up(&OpModeS::Psk(psk.bundle()?), recipient, info)
    }

    fn set_up(mode: &OpModeS<'_, X25519HkdfSha256>, recipient: &[u8; 32], info: &[u8]) -> Result<Self, NotOpened> {
        let key = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(recipient).map_err(|_| NotOpened)?;
        let (enc, context) =
            hpke::setup_sender::<AesGcm256, HkdfSha256, X25519HkdfSha256>(mode, &key, info).map_err(|_| NotOpened)?;
        let enc = enc.to_bytes().as_slice().try_into().map_err(|_| NotOpened)?;
        Ok(Self { enc, context })
    }

    /// Ciphertext and tag: 16 bytes longer than the plaintext.
    pub fn seal(mut self, plaintext: &[u8], aad: &[u8]) -> Vec<u8> {
        self.context.seal(plaintext, aad).expect("the first message of a context has a nonce")
    }
}

/// A secret of 32 bytes that both sides have already, and its name.
pub struct Psk<'a> {
    /// The secret.
    pub secret: &'a [u8; 32],
    /// What both sides call it.
    pub id: &'a [u8],
}

impl Psk<'_> {
    fn bundle(&self) -> Result<PskBundle<'_>, NotOpened> {
        PskBundle::new(self.secret, self.id).map_err(|_| NotOpened)
    }
}

/// Opens with an X25519 secret what a [`Sealer`] of the same `info` and `aad` made.
pub fn open(secret: &[u8; 32], enc: &[u8; 32], info: &[u8], aad: &[u8], ciphertext: &[u8]) -> Result<Vec<u8>, NotOpened> {
    open_in(&OpModeR::Base, secret, enc, info, aad, ciphertext)
}

/// The same for a seal of PSK mode.
pub fn open_with_psk(
    psk: &Psk<'_>,
    secret: &[u8; 32],
    enc: &[u8; 32],
    info: &[u8],
    aad: &[u8],
    ciphertext: &[u8],
) -> Result<Vec<u8>, NotOpened> {
    open_in(&OpModeR::Psk(psk.bundle()?), secret, enc, info, aad, ciphertext)
}

fn open_in(
    mode: &OpModeR<'_, X25519HkdfSha256>,
    secret: &[u8; 32],
    enc: &[u8; 32],
    info: &[u8],
    aad: &[u8],
    ciphertext: &[u8],
) -> Result<Vec<u8>, NotOpened> {
    let key = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(secret).map_err(|_| NotOpened)?;
    let enc = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(enc).map_err(|_| NotOpened)?;
    let mut context =
        hpke::setup_receiver::<AesGcm256, HkdfSha256, X25519HkdfSha256>(mode, &key, &enc, info).map_err(|_| NotOpened)?;
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
    fn with_a_psk_it_opens_for_who_has_that_too() {
        let pair = KeyPair::generate();
        let psk = Psk { secret: &[7; 32], id: b"name" };
        let sealer = Sealer::with_psk(&pair.public(), b"info", &psk).expect("a good key");
        let enc = sealer.enc;
        let sealed = sealer.seal(b"hello", b"aad");
        let opened = |psk: &Psk<'_>| open_with_psk(psk, &pair.secret(), &enc, b"info", b"aad", &sealed);
        assert_eq!(opened(&psk).as_deref(), Ok(&b"hello"[..]));
        assert_eq!(opened(&Psk { secret: &[8; 32], ..psk }), Err(NotOpened));
        assert_eq!(opened(&Psk { id: b"another", ..psk }), Err(NotOpened));
        assert_eq!(open(&pair.secret(), &enc, b"info", b"aad", &sealed), Err(NotOpened), "base mode");
    }

    #[test]
    fn a_key_of_small_order_is_refused() {
        assert!(Sealer::new(&[0; 32], b"info").is_err());
    }
}
