//! Project Wycheproof's vectors: signatures and exchanges at the edges of what is good.

use restante::crypto::{exchange, seal, sign};
use serde_json::json;

use super::file::Vectors;

/// Accepted is what Wycheproof calls valid, and nothing else: none of its valid signatures is an edge case that strictness
/// refuses.
#[test]
fn wycheproofs_signatures_are_judged_as_it_does() {
    for case in Vectors::read("wycheproof").cases("ed25519") {
        let (key, message) = (case.array("key"), case.hex("message"));
        let signature: Option<[u8; 64]> = case.hex("signature").try_into().ok();
        let verifies = signature.is_some_and(|signature| sign::verify(&key, &message, &signature).is_ok());
        assert_eq!(json!(verifies), case.0["good"], "{}", case.name());
        assert_eq!(sign::check_key(&key), Ok(()), "{}", case.name());
    }
}

/// Every exchange gives what Wycheproof says. A key is refused before it comes to one where it is of small order, or where its
/// integer is not below the prime, and never else: not because it lies on the twist.
#[test]
fn wycheproofs_exchanges_agree_and_its_weak_keys_are_refused() {
    use x25519_dalek::{PublicKey, StaticSecret};
    let mut refused = 0;
    for case in Vectors::read("wycheproof").cases("x25519") {
        let (public, secret): ([u8; 32], [u8; 32]) = (case.array("public"), case.array("secret"));
        let shared = StaticSecret::from(secret).diffie_hellman(&PublicKey::from(public));
        assert_eq!(shared.to_bytes(), case.array("shared"), "{}", case.name());
        let of_small_order = case.0["low_order"] == json!(true);
        assert_eq!(shared.was_contributory(), !of_small_order, "{}", case.name());
        let good = exchange::check_key(&public).is_ok();
        assert_eq!(good, !of_small_order && is_below_the_prime(&public), "{}", case.name());
        // What refuses it is no formality: HPKE would not seal to one of small order either.
        assert!(!of_small_order || seal::Sealer::new(&public, b"").is_err(), "{}", case.name());
        refused += usize::from(!good);
    }
    assert!(refused > 40, "{refused}");
}

/// Whether 32 bytes, little endian, are less than 2²⁵⁵ − 19.
fn is_below_the_prime(bytes: &[u8; 32]) -> bool {
    let mut prime = [0xff; 32];
    (prime[0], prime[31]) = (0xed, 0x7f);
    bytes.iter().rev().lt(prime.iter().rev())
}
