//! The at-rest layer: what the relay puts around an envelope before it is stored, and how the device takes it off.
//!
//! One export-only HPKE context (RFC 9180 base mode, X25519, HKDF-SHA256) gives one AES-256-GCM key for a device and an
//! hour; each envelope has a random 12-byte nonce. With a random nonce a key should serve at most 2³² envelopes, which a
//! mailbox of an hour never reaches.
//!
//! ```
//! use restante_base::crypto::{exchange::KeyPair, wrap};
//! let device = KeyPair::generate();
//! let key = wrap::WrapKey::new(&device.public(), b"info", b"context").expect("a good sealing key");
//! let nonce = [7; 12];
//! let wrapped = key.wrap(&nonce, b"aad", b"a sealed body");
//! let opened = wrap::unwrap(&device.secret(), &key.enc, b"info", b"context", &nonce, b"aad", &wrapped);
//! assert_eq!(opened.as_deref(), Ok(&b"a sealed body"[..]));
//! ```

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use hpke::aead::ExportOnlyAead;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use zeroize::Zeroizing;

pub use super::seal::NotOpened;

/// The relay's half: a key for one device and one hour.
pub struct WrapKey {
    /// The encapsulated key, stored with each envelope.
    pub enc: [u8; 32],
    /// Set up anew for each envelope: that takes a thousand bytes and little time, and a relay keeps many keys.
    key: Zeroizing<[u8; 32]>,
}

impl WrapKey {
    /// Agrees on a fresh key with a device's sealing key; fails on a key of small order.
    pub fn new(sealing_key: &[u8; 32], info: &[u8], context: &[u8]) -> Result<Self, NotOpened> {
        let key = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(sealing_key).map_err(|_| NotOpened)?;
        let (enc, sender) = hpke::setup_sender::<ExportOnlyAead, HkdfSha256, X25519HkdfSha256>(&OpModeS::Base, &key, info)
            .map_err(|_| NotOpened)?;
        let mut exported = Zeroizing::new([0; 32]);
        sender.export(context, exported.as_mut()).map_err(|_| NotOpened)?;
        let enc = enc.to_bytes().as_slice().try_into().map_err(|_| NotOpened)?;
        Ok(Self { enc, key: exported })
    }

    /// Ciphertext and tag: 16 bytes longer than the plaintext. The nonce is random and used once.
    pub fn wrap(&self, nonce: &[u8; 12], aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let cipher = Aes256Gcm::new((&*self.key).into());
        cipher.encrypt(&Nonce::from(*nonce), Payload { msg: plaintext, aad }).expect("AES-GCM encrypts a few KiB")
    }
}

/// The device's half: opens one wrapped envelope with the sealing key's secret.
pub fn unwrap(
    secret: &[u8; 32],
    enc: &[u8; 32],
    info: &[u8],
    context: &[u8],
    nonce: &[u8; 12],
    aad: &[u8],
    wrapped: &[u8],
) -> Result<Vec<u8>, NotOpened> {
    let key = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(secret).map_err(|_| NotOpened)?;
    let enc = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(enc).map_err(|_| NotOpened)?;
    let receiver = hpke::setup_receiver::<ExportOnlyAead, HkdfSha256, X25519HkdfSha256>(&OpModeR::Base, &key, &enc, info)
        .map_err(|_| NotOpened)?;
    let mut exported = Zeroizing::new([0; 32]);
    receiver.export(context, exported.as_mut()).map_err(|_| NotOpened)?;
    Aes256Gcm::new((&*exported).into()).decrypt(&Nonce::from(*nonce), Payload { msg: wrapped, aad }).map_err(|_| NotOpened)
}
