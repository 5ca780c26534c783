//! A secret of 32 bytes, as the profile keeps it: wiped when dropped, never printed, never compared.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zeroize::Zeroizing;

use crate::crypto::{exchange, random, sign};
use crate::protocol::bytes::{decode, encode};

/// The seed of an Ed25519 key, the secret of an X25519 one, or what two devices share.
#[derive(Clone)]
pub(crate) struct Secret(Zeroizing<[u8; 32]>);

impl Secret {
    /// A fresh one.
    pub(crate) fn generate() -> Self {
        Self(Zeroizing::new(random::bytes()))
    }

    /// The one of these bytes.
    pub(crate) fn of(bytes: &[u8; 32]) -> Self {
        Self(Zeroizing::new(*bytes))
    }

    /// Its bytes.
    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// As an Ed25519 pair.
    pub(crate) fn signing(&self) -> sign::KeyPair {
        sign::KeyPair::from_seed(&self.0)
    }

    /// As an X25519 pair.
    pub(crate) fn exchange(&self) -> exchange::KeyPair {
        exchange::KeyPair::from_secret(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(32 bytes)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(encode(&*self.0)))
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        let bytes = Zeroizing::new(decode(&text).map_err(de::Error::custom)?);
        let secret = bytes.as_slice().try_into().map_err(|_| de::Error::custom("expected 32 bytes"))?;
        Ok(Self(Zeroizing::new(secret)))
    }
}
