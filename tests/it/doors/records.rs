//! Records that are not true, at a relay or by an owner that lies.

use restante::client::Error;
use restante::protocol::handles::{handle_salt, record_aad};
use restante::protocol::{AccountId, Bytes, DeliveryToken, ErrorCode, HandleHash, RelayKey};
use serde_json::json;

use super::Street;
use crate::support::person::Person;
use crate::support::raw::ask;

/// A handle's hash and record, worked out here.
fn record(name: &str, relay: &RelayKey, plain: &[u8]) -> (HandleHash, Bytes) {
    use aes_gcm::aead::{Aead, KeyInit, Payload};
    let mut bytes = [0; 64];
    let params = argon2::Params::new(65_536, 3, 1, Some(64)).expect("good");
    argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params)
        .hash_password_into(name.as_bytes(), &handle_salt(relay), &mut bytes)
        .expect("derived");
    let (hash, key): ([u8; 32], [u8; 32]) = (bytes[..32].try_into().expect("32"), bytes[32..].try_into().expect("32"));
    let aad = record_aad(&HandleHash(hash));
    let mut padded = plain.to_vec();
    padded.resize(996, 0);
    let sealed =
        aes_gcm::Aes256Gcm::new(&key.into()).encrypt(&[7; 12].into(), Payload { msg: &padded, aad: &aad }).expect("sealed");
    (HandleHash(hash), Bytes([&[7; 12][..], &sealed].concat()))
}

#[tokio::test]
async fn a_record_that_is_not_true_leads_nowhere() {
    let street = Street::new().await;
    let mut alice = street.person("alice").await;
    let liar = Person::new();
    let session = liar.settle(&street.relay).await;
    let relay = alice.relay_key();
    let put = async |(hash, record): (HandleHash, Bytes)| {
        let body = json!({"hash": hash, "record": record});
        street.relay.answer(ask("PUT /v1/handle").by(&session).json(&body)).await.ok(200);
    };
    let token = liar.token(&street.relay, &session).await;
    let plain = |account: AccountId, token: &DeliveryToken, relay: &RelayKey, origin: &str| {
        let length = (origin.len() as u32).to_be_bytes();
        [account.as_ref(), token.as_ref(), relay.as_ref(), &length, origin.as_bytes()].concat()
    };
    let origin = street.origin.as_str();
    let good = plain(liar.id(), &token, &relay, origin);

    let (hash, _) = record("liar", &relay, &good);
    put((hash, record("other", &relay, &good).1)).await;
    let error = alice.knock("liar", "x", None).await.expect_err("of another name");
    assert!(matches!(error, Error::Untrue(_)) && error.hint().is_some(), "{error}");

    put(record("liar", &relay, &plain(liar.id(), &token, &RelayKey([9; 32]), "https://elsewhere.example:443"))).await;
    let error = alice.knock("liar", "x", None).await.expect_err("of another relay");
    let (what, hint) = (error.to_string(), error.hint().unwrap_or_default().to_string());
    assert!(what.contains("another relay, https://elsewhere.example:443") && hint.contains("init"), "{what}; {hint}");

    put(record("liar", &relay, &plain(AccountId([9; 32]), &token, &relay, origin))).await;
    let error = alice.knock("liar", "x", None).await.expect_err("of another account");
    assert!(matches!(error, Error::Untrue(_)), "{error}");

    put(record("liar", &relay, &plain(liar.id(), &DeliveryToken([9; 32]), &relay, origin))).await;
    let error = alice.knock("liar", "x", None).await.expect_err("a token of nobody's");
    assert_eq!(error.code(), Some(ErrorCode::NoSuchToken));
    assert!(alice.contacts().is_empty());

    for bad in ["Liar", "li", "a b c"] {
        assert!(alice.knock(bad, "x", None).await.is_err() && alice.set_handle(bad).await.is_err(), "{bad}");
    }
    let long = "ä".repeat(251);
    let error = alice.knock("liar", &long, None).await.expect_err("too long");
    assert!(error.to_string().contains("at most 500 bytes"), "{error}");
}
