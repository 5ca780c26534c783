//! The second factor: requests and replies of `docs/protocol.md` §4.4, and the two forms that a code has.
//!
//! Nothing here computes a code: authenticators do, and the relay's `service` to compare.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use zeroize::Zeroize;

use super::bytes::{AccountId, Hash, NotBytes, Transcript, decode, encode, fixed_bytes};

fixed_bytes!(secret
    /// What an authenticator makes its codes of.
    TotpSecret, 20);

impl TotpSecret {
    /// As people type it into an authenticator, and as the URI has it.
    pub fn base32(&self) -> String {
        base32(&self.0)
    }
}

/// `POST /v1/totp/generate` and `POST /v1/totp/remove`: nothing.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TotpRequest {}

/// A fresh secret; nothing is on yet.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TotpSecretReply {
    /// Shown this once.
    pub secret: TotpSecret,
    /// Until when it can be confirmed.
    pub expires_at: u64,
}

/// `POST /v1/totp/confirm`, which takes TOTP codes only, and `POST /v1/session/elevate`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodeRequest {
    /// As it was typed; [`Code::parse`] reads it.
    pub code: String,
}

impl fmt::Debug for CodeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CodeRequest({} bytes)", self.code.len())
    }
}

/// The second factor is on.
#[derive(Clone, Serialize, Deserialize)]
pub struct ConfirmReply {
    /// [`RECOVERY_CODES`] of them, shown this once.
    pub recovery_codes: Vec<String>,
}

impl fmt::Debug for ConfirmReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConfirmReply({} codes)", self.recovery_codes.len())
    }
}

/// The second factor is off.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RemoveReply {
    /// Whether it was on before.
    pub removed: bool,
}

/// The session is elevated.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ElevateReply {
    /// Until when.
    pub until: u64,
}

/// A code, by its form.
#[derive(Clone, PartialEq, Eq)]
pub enum Code {
    /// Six digits.
    Totp(String),
    /// Sixteen characters of base32, in upper case and without `-`.
    Recovery(String),
}

impl Code {
    /// Tells the two forms apart; none is anything else.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() == TOTP_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Some(Self::Totp(text.into()));
        }
        let plain = text.replace('-', "").to_ascii_uppercase();
        let good = plain.len() == RECOVERY_CODE_LENGTH && plain.bytes().all(|byte| BASE32.contains(&byte));
        good.then_some(Self::Recovery(plain))
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Totp(_) => "Totp(6 digits)",
            Self::Recovery(_) => "Recovery(16 characters)",
        })
    }
}

/// Random bytes as people are shown a recovery code: `ABCD-EFGH-IJKL-MNOP`.
pub fn recovery_code(random: &[u8; RECOVERY_CODE_BYTES]) -> String {
    let plain = base32(random);
    let groups: Vec<&str> = (0..RECOVERY_CODE_LENGTH).step_by(4).map(|at| &plain[at..at + 4]).collect();
    groups.join("-")
}

/// What the relay keeps of a recovery code, given in upper case and without `-`: `SHA-256(T(/recovery-code, account, var code))`.
pub fn recovery_code_hash(account: &AccountId, code: &str) -> Hash {
    Transcript::new("/recovery-code").fixed(account).var(code).sha256()
}

/// RFC 4648's base32 of a whole number of fives of bytes, which needs no padding.
fn base32(bytes: &[u8]) -> String {
    let five = |chunk: &[u8]| chunk.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    let digits = |bits: u64| (0..8).rev().map(move |at| char::from(BASE32[(bits >> (5 * at) & 31) as usize]));
    bytes.chunks_exact(5).flat_map(|chunk| digits(five(chunk))).collect()
}

/// Recovery codes that come with a second factor.
pub const RECOVERY_CODES: usize = 10;
/// Random bytes of a recovery code: 80 bits need no slow hash.
pub const RECOVERY_CODE_BYTES: usize = 10;
/// How long a code's step is, in seconds.
pub const TOTP_STEP_SECS: u64 = 30;
const TOTP_DIGITS: usize = 6;
const RECOVERY_CODE_LENGTH: usize = 16;
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base32_is_rfc_4648_s() {
        assert_eq!(base32(b"fooba"), "MZXW6YTB");
        assert_eq!(TotpSecret(*b"12345678901234567890").base32(), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        assert_eq!(base32(&[0xff; 5]), "77777777");
    }

    #[test]
    fn a_code_has_one_of_two_forms() {
        assert_eq!(Code::parse("012345"), Some(Code::Totp("012345".into())));
        let recovery = recovery_code(b"0123456789");
        assert_eq!(recovery, "GAYT-EMZU-GU3D-OOBZ");
        let plain = Some(Code::Recovery("GAYTEMZUGU3DOOBZ".into()));
        for text in [recovery.as_str(), "gayt-emzu-gu3d-oobz", "GAYTEMZUGU3DOOBZ", "gaytemzugu3doobz"] {
            assert_eq!(Code::parse(text), plain, "{text}");
        }
        for bad in [
            "",
            "12345",
            "1234567",
            " 123456",
            "12345٣",
            "+12345",
            "GAYT-EMZU-GU3D-OOB",
            "GAYT-EMZU-GU3D-OOB1",
            "éAYT-EMZU-GU3D-OO",
        ] {
            assert_eq!(Code::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn nothing_prints_a_code() {
        let printed = format!("{:?} {:?}", CodeRequest { code: "012345".into() }, Code::parse("012345"));
        assert!(!printed.contains("0123"), "{printed}");
    }
}
