//! Keys from keys: HKDF-SHA256 (RFC 5869) with an empty salt, 32 bytes.

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

/// The 32 bytes that a key gives under `info`.
pub fn derive(key: &[u8; 32], info: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut derived = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(None, key).expand(info, derived.as_mut()).expect("32 bytes are less than 255 hashes");
    derived
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_salt_is_an_empty_one() {
        let mut expected = [0; 32];
        Hkdf::<Sha256>::new(Some(b""), &[1; 32]).expand(b"info", &mut expected).expect("32 bytes");
        assert_eq!(*derive(&[1; 32], b"info"), expected);
        assert_ne!(*derive(&[1; 32], b"other"), expected);
    }
}
