//! Byte strings: their one text form, the fixed-length ids, and `Transcript`, which builds what is signed or hashed.
//!
//! Every id is a newtype, so that a device cannot stand where an account belongs. `Debug` prints a length and never the
//! bytes; `Display` prints base64url, for the places that mean to show it. Whether a key is a good key is `crypto`'s
//! question, not asked here.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};
use zeroize::Zeroize;

/// Builds `T(purpose, fields…)`: `u16 length ‖ purpose ‖ fields`, integers big endian (`docs/protocol.md` §3).
#[derive(Clone)]
pub struct Transcript(Vec<u8>);

impl Transcript {
    /// Begins with a purpose, written without its `restante/v1` prefix: `"/login"`.
    pub fn new(purpose: &str) -> Self {
        let length = (PREFIX.len() + purpose.len()) as u16;
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(PREFIX.as_bytes());
        bytes.extend_from_slice(purpose.as_bytes());
        Self(bytes)
    }

    /// A field of fixed length.
    pub fn fixed(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.0.extend_from_slice(bytes.as_ref());
        self
    }

    /// A field of variable length, preceded by it as `u32`.
    pub fn var(mut self, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        self.0.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
        self.0.extend_from_slice(bytes);
        self
    }

    /// One byte.
    pub fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    /// Four bytes, big endian.
    pub fn u32(self, value: u32) -> Self {
        self.fixed(value.to_be_bytes())
    }

    /// Eight bytes, big endian.
    pub fn u64(self, value: u64) -> Self {
        self.fixed(value.to_be_bytes())
    }

    /// The finished bytes.
    pub fn bytes(self) -> Vec<u8> {
        self.0
    }

    /// SHA-256 of the finished bytes.
    pub fn sha256(self) -> Hash {
        Hash::of(&self.0)
    }
}

/// Bytes of any length, base64url in JSON.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Bytes(pub Vec<u8>);

impl Bytes {
    /// The bytes themselves.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({} bytes)", self.0.len())
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode(&self.0))
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Bytes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("base64url without padding")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Bytes, E> {
                decode(text).map(Bytes).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

/// The text is not the one base64url form of as many bytes as were expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}")]
pub struct NotBytes {
    pub(crate) expected: String,
}

/// base64url without padding.
pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The inverse of [`encode`]; refuses padding, other alphabets, white space and non-zero tail bits.
pub fn decode(text: &str) -> Result<Vec<u8>, NotBytes> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| NotBytes { expected: "base64url without padding".into() })
}

/// Declares a newtype over `[u8; N]` with its text form; `secret` ones zeroize when dropped, compare in constant time
/// and have no `Display`.
macro_rules! fixed_bytes {
    (@common $(#[$doc:meta])* $name:ident, $length:expr) => {
        impl $name {
            /// How many bytes it has.
            pub const LENGTH: usize = $length;

            /// Its bytes.
            pub fn as_bytes(&self) -> &[u8; $length] {
                &self.0
            }

            /// From a slice of exactly the right length.
            pub fn from_slice(bytes: &[u8]) -> Result<Self, NotBytes> {
                bytes.try_into().map(Self).map_err(|_| NotBytes { expected: format!("{} bytes", $length) })
            }

            /// Its base64url text.
            pub fn encode(&self) -> String {
                encode(&self.0)
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({} bytes)", stringify!($name), $length)
            }
        }

        impl FromStr for $name {
            type Err = NotBytes;
            fn from_str(text: &str) -> Result<Self, NotBytes> {
                let expected = || NotBytes { expected: format!("{} bytes as base64url without padding", $length) };
                let bytes = decode(text).map_err(|_| expected())?;
                bytes.as_slice().try_into().map(Self).map_err(|_| expected())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.encode())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl de::Visitor<'_> for Visitor {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        write!(f, "{} bytes as base64url without padding", $length)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Visitor)
            }
        }
    };
    (public $(#[$doc:meta])* $name:ident, $length:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub [u8; $length]);

        fixed_bytes!(@common $name, $length);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.encode())
            }
        }
    };
    (secret $(#[$doc:meta])* $name:ident, $length:expr) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(pub [u8; $length]);

        fixed_bytes!(@common $name, $length);

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                subtle::ConstantTimeEq::ct_eq(&self.0[..], &other.0[..]).into()
            }
        }

        impl Eq for $name {}

        impl Drop for $name {
            fn drop(&mut self) {
                self.0.zeroize();
            }
        }
    };
}
pub(crate) use fixed_bytes;

fixed_bytes!(public
    /// An account's name for ever: the public half of its Ed25519 account key.
    AccountId, 32);
fixed_bytes!(public
    /// A device's name: the public half of its Ed25519 device key.
    DeviceId, 32);
fixed_bytes!(public
    /// An X25519 public key: a device's sealing key, a prekey or a reply key.
    SealingKey, 32);
fixed_bytes!(public
    /// The public half of an account's Ed25519 list key.
    ListKey, 32);
fixed_bytes!(public
    /// The relay's name: the public half of its Ed25519 relay key.
    RelayKey, 32);
fixed_bytes!(public
    /// An Ed25519 signature.
    Signature, 64);
fixed_bytes!(public
    /// SHA-256 of something.
    Hash, 32);
fixed_bytes!(public
    /// What the relay knows of a delivery token before it is used: `SHA-256(T(/token, token))`.
    TokenHash, 32);
fixed_bytes!(public
    /// What a relay knows of a handle: the first half of its Argon2id.
    HandleHash, 32);
fixed_bytes!(public
    /// 16 random bytes, fresh for each recipient of a message.
    EnvelopeId, 16);
fixed_bytes!(secret
    /// The bearer of a session, 32 random bytes.
    SessionToken, 32);

impl Hash {
    /// SHA-256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Thirty-two zero bytes: the hash before the first device list.
    pub const ZERO: Self = Self([0; 32]);
}

impl RelayKey {
    /// The fingerprint that people compare: 32 hexadecimal digits in groups of four (`docs/protocol.md` §3).
    pub fn fingerprint(&self) -> String {
        let hash = Transcript::new("/fingerprint").fixed(self).sha256();
        let groups: Vec<String> = hash.0[..16].chunks(2).map(|pair| format!("{:02x}{:02x}", pair[0], pair[1])).collect();
        groups.join("-")
    }
}

const PREFIX: &str = "restante/v1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_form_only() {
        let id: DeviceId = DeviceId([7; 32]);
        let text = id.encode();
        assert_eq!(text.parse::<DeviceId>().expect("its own text"), id);
        for bad in [
            format!("{text}="),
            format!(" {text}"),
            text[..42].to_string(),
            format!("{}d", &text[..42]),
            text.replace('B', "+"),
        ] {
            assert!(bad.parse::<DeviceId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn debug_prints_no_bytes() {
        assert_eq!(format!("{:?}", SessionToken([1; 32])), "SessionToken(32 bytes)");
        assert_eq!(format!("{:?}", Bytes(vec![1, 2, 3])), "Bytes(3 bytes)");
    }

    #[test]
    fn a_transcript_is_length_purpose_fields() {
        let bytes = Transcript::new("/x").u8(1).u32(2).u64(3).var("ab").fixed([9]).bytes();
        assert_eq!(bytes, b"\x00\x0drestante/v1/x\x01\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x02ab\x09");
    }
}
