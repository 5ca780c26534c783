//! Forged logins: signatures that a lax verifier takes, and proofs that were made for something else. None logs in, and the
//! device that is right does, before and after. The count is how many rounds.

use anyhow::{Context, ensure};
use curve25519_dalek::Scalar;
use restante::crypto::sign::KeyPair;
use sha2::{Digest, Sha512};

use crate::http::Line;
use crate::people::Device;
use crate::random::Random;
use crate::relay::{At, Place};
use crate::{Outcome, Plan};

/// How a signature over a transcript is made wrong.
type Forgery = fn(&KeyPair, &[u8], &mut Random) -> [u8; 64];

const FORGERIES: &[(&str, Forgery)] = &[
    ("an R of order 1 that fits", |key, transcript, _| identity(key, transcript)),
    ("an R of small order that does not", |key, transcript, random| {
        let mut signature = key.sign(transcript);
        signature[..32].copy_from_slice(&SMALL[random.index(SMALL.len())]);
        signature
    }),
    ("S + L", |key, transcript, _| larger(key.sign(transcript))),
    ("another's key", |_, transcript, _| KeyPair::generate().sign(transcript)),
    ("zeros", |_, _, _| [0; 64]),
    ("the identity and zeros", |_, _, _| {
        let mut signature = [0; 64];
        signature[0] = 1;
        signature
    }),
    ("a flipped bit", |key, transcript, random| {
        let mut signature = key.sign(transcript);
        signature[random.index(64)] ^= 1 << random.below(8);
        signature
    }),
    ("a transcript with a flipped bit", |key, transcript, random| {
        let mut transcript = transcript.to_vec();
        let at = random.index(transcript.len());
        transcript[at] ^= 1 << random.below(8);
        key.sign(&transcript)
    }),
    ("a transcript with more behind it", |key, transcript, _| key.sign(&[transcript, b"x"].concat())),
];

pub(crate) fn run(plan: &Plan) -> anyhow::Result<Outcome> {
    let mut random = Random::new(plan.seed);
    let place = Place::new(&plan.dir).set("LIMITS__PREFIX_BAD_LOGINS_PER_MIN", 1_000_000);
    let relay = place.start()?;
    let mut device = Device::generate();
    device.settle(&relay, 0)?;
    let mut forged = 0;
    for _ in 0..plan.count {
        for (name, forgery) in FORGERIES {
            attempt(&relay, &device, |key, transcript| forgery(key, transcript, &mut random)).context(*name)?;
            forged += 1;
        }
        // Used once, a good proof is a bad one.
        let mut line = Line::new(relay.address);
        let good = device.login_by(&relay, &mut line, |key, transcript| key.sign(transcript))?;
        ensure!(line.post("/v1/auth/login", None, &good)?.status == 200, "a good login is refused");
        ensure!(line.post("/v1/auth/login", None, &good)?.status == 401, "a proof was taken twice");
        forged += 1;
    }
    relay.stop()?;
    Ok(Outcome::Held(forged, "0 forged logins were taken".into()))
}

fn attempt(relay: &At, device: &Device, sign: impl FnOnce(&KeyPair, &[u8]) -> [u8; 64]) -> anyhow::Result<()> {
    let mut line = Line::new(relay.address);
    let login = device.login_by(relay, &mut line, sign)?;
    let status = line.post("/v1/auth/login", None, &login)?.status;
    ensure!(status == 401, "a forged login was answered {status}");
    Ok(())
}

/// `R` the identity and `S = k·a`: the plain equation holds, for whoever has the key; a strict verifier refuses the `R`. With it
/// a key's owner makes signatures that some verifiers take and others don't.
fn identity(key: &KeyPair, transcript: &[u8]) -> [u8; 64] {
    let hash: [u8; 64] = Sha512::digest(*key.seed()).into();
    let mut secret = [0; 32];
    secret.copy_from_slice(&hash[..32]);
    secret[0] &= 248;
    secret[31] = secret[31] & 63 | 64;
    let mut r = [0; 32];
    r[0] = 1;
    let k: [u8; 64] = Sha512::new().chain_update(r).chain_update(key.public()).chain_update(transcript).finalize().into();
    let s = Scalar::from_bytes_mod_order_wide(&k) * Scalar::from_bytes_mod_order(secret);
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&r);
    signature[32..].copy_from_slice(s.as_bytes());
    signature
}

/// The same `S` modulo the group's order, which only one of the two writings may have.
fn larger(mut signature: [u8; 64]) -> [u8; 64] {
    let mut carry = 0;
    for (byte, order) in signature[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    signature
}

/// 2²⁵² + 27742317777372353535851937790883648493, little endian.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0x10,
];
/// The points of order 1, 2 and 4, in their canonical encodings: y = 1, −1 and 0.
const SMALL: [[u8; 32]; 3] = [
    {
        let mut one = [0; 32];
        one[0] = 1;
        one
    },
    {
        let mut minus_one = [0xff; 32];
        minus_one[0] = 0xec;
        minus_one[31] = 0x7f;
        minus_one
    },
    [0; 32],
];
