//! The client's own floor held to `tests/it/vectors/*.json`, which a second implementation wrote from `docs/protocol.md`
//! alone: lists, wraps, seals, links, and what links a device. What others may name too is held in `tests/it/protocol_vectors.rs`.

use serde_json::Value;

use super::handle::{Entrance, HandleKeys, checked_handle};
use super::lists;
use super::message::{open, open_grant, sealed_to, unwrap};
use super::secret::Secret;
use super::sync::own_token;
use super::{AccountLine, Door, Link, LinkCode, Origin};
use crate::crypto::exchange;
use crate::protocol::envelopes::{BODY_SIZES, Envelope};
use crate::protocol::{AccountId, Bytes, DeliveryToken, DeviceId, EnvelopeId, RelayKey, Seq, Signature, SignedList};

#[test]
fn lists_verify_or_are_untrue() {
    for case in cases("lists", "valid") {
        let name = text(&case, "name");
        let list = lists::verify(&signed_list(&case)).expect(name);
        assert_eq!(list.head().bytes(), array(&case, "head"), "{name}");
    }
    for case in cases("lists", "invalid") {
        assert!(lists::verify(&signed_list(&case)).is_err(), "{}", text(&case, "name"));
    }
}

#[test]
fn wraps_come_off_or_stay() {
    let opened = |case: &Value| {
        let envelope = Envelope {
            seq: Seq(1),
            expires_at: number(case, "expires_at"),
            wrap: Bytes(hex(case, "wrap")),
            body: Bytes(hex(case, "body")),
        };
        let sealing = exchange::KeyPair::from_secret(&array(case, "sealing_secret"));
        unwrap(&envelope, &DeviceId(array(case, "device")), &sealing)
    };
    for case in cases("wraps", "wraps") {
        let unwrapped = opened(&case).expect("it opens");
        assert_eq!(unwrapped.kind, if text(&case, "kind") == "once" { 2 } else { 1 });
        assert_eq!((unwrapped.token.0, unwrapped.id.0), (array(&case, "token_hash"), array(&case, "id")));
        assert_eq!(unwrapped.body, hex(&case, "sealed"));
    }
    for case in cases("wraps", "refused") {
        assert!(opened(&case).is_err(), "{}", text(&case, "name"));
    }
}

#[test]
fn seals_say_what_the_vectors_say_or_are_refused() {
    let opened = |case: &Value| {
        let to = (&AccountId(array(case, "account")), &DeviceId(array(case, "device")));
        let secret = exchange::KeyPair::from_secret(&array(case, "secret"));
        open(&hex(case, "body"), &EnvelopeId(array(case, "id")), to, &secret)
    };
    for case in cases("seals", "seals") {
        let plain = opened(&case).expect("it opens");
        assert!(BODY_SIZES.contains(&hex(&case, "body").len()));
        assert_eq!((plain.account.0, plain.device.0), (array(&case, "sender_account"), array(&case, "sender_device")));
        assert_eq!((plain.head.bytes(), plain.recipient_head.bytes()), (array(&case, "head"), array(&case, "recipient_head")));
        assert_eq!((plain.counter, plain.sent_at), (number(&case, "counter"), number(&case, "sent_at")));
        assert_eq!((plain.reply_key.0, plain.content), (array(&case, "reply_key"), hex(&case, "content")));
    }
    for case in cases("seals", "refused") {
        assert!(sealed_to(&hex(&case, "body")).is_none() || opened(&case).is_err(), "{}", text(&case, "name"));
    }
}

#[test]
fn links_are_read_and_written_as_the_vectors_are() {
    for (name, canonical) in [("good", true), ("other_order", false)] {
        for case in cases("links", name) {
            let link: Link = text(&case, "link").parse().expect("a good link");
            assert_eq!(link.origin, text(&case, "origin"));
            assert_eq!((link.relay.0, link.account.0), (array(&case, "relay"), array(&case, "account")));
            match &link.door {
                Door::Once { once, contact } => {
                    assert_eq!((once.0, contact.0), (array(&case, "once"), array(&case, "contact")));
                }
                Door::Knock(token) => assert_eq!(token.0, array(&case, "knock")),
            }
            assert_eq!(link.to_string() == text(&case, "link"), canonical);
            assert_eq!(Origin::parse(&link.origin).expect("an origin").as_str(), link.origin);
        }
    }
    for case in cases("links", "bad") {
        assert!(text(&case, "link").parse::<Link>().is_err(), "{}", text(&case, "name"));
    }
}

#[tokio::test]
async fn handles_and_their_records_are_equal() {
    let handles = cases("handles", "handles");
    let derive =
        async |case: &Value| HandleKeys::derive(text(case, "handle"), &RelayKey(array(case, "relay"))).await.expect("derived");
    for case in &handles {
        let keys = derive(case).await;
        assert_eq!(keys.hash.0, array(case, "hash"), "{}", text(case, "handle"));
        let entrance = Entrance {
            account: AccountId(array(case, "account")),
            token: DeliveryToken(array(case, "token")),
            relay: RelayKey(array(case, "relay")),
            origin: text(case, "origin").into(),
        };
        assert_eq!(keys.open(&hex(case, "record")).as_ref(), Some(&entrance));
        assert_eq!(keys.seal(&entrance, array(case, "nonce")), Some(hex(case, "record")));
    }
    let keys = derive(&handles[0]).await;
    for case in cases("handles", "refused") {
        assert_eq!(keys.open(&hex(&case, "record")), None, "{}", text(&case, "name"));
    }
    for case in cases("handles", "not_handles") {
        assert!(checked_handle(text(&case, "text")).is_err(), "{}", text(&case, "name"));
    }
}

#[test]
fn own_tokens_and_the_lines_that_link_a_device_are_the_vectors() {
    for case in cases("linking", "derived") {
        let token = own_token(&Secret::of(&array(&case, "sync_key")), &AccountId(array(&case, "account")));
        assert_eq!(token.0, array(&case, "own_token"));
    }
    for case in cases("linking", "lines") {
        let line: AccountLine = text(&case, "line").parse().expect("a good line");
        assert_eq!((line.origin.as_str(), line.relay.0), (text(&case, "origin"), array(&case, "relay")));
        assert_eq!((line.account.0, line.to_string().as_str()), (array(&case, "account"), text(&case, "line")));
    }
    for case in cases("linking", "codes") {
        let code: LinkCode = text(&case, "code").parse().expect("a good code");
        assert_eq!((code.relay.0, code.device().0), (array(&case, "relay"), array(&case, "device")));
        assert_eq!((code.expires_at, code.to_string().as_str()), (number(&case, "expires_at"), text(&case, "code")));
        assert!(code.is_signed_for(&AccountId(array(&case, "account"))));
        assert!(!code.is_signed_for(&AccountId(array(&case, "other"))));
    }
    for case in cases("linking", "bad_lines") {
        assert!(text(&case, "line").parse::<AccountLine>().is_err(), "{}", text(&case, "name"));
    }
    for case in cases("linking", "bad_codes") {
        assert!(text(&case, "code").parse::<LinkCode>().is_err(), "{}", text(&case, "name"));
    }
}

#[test]
fn grants_open_for_their_device_and_secret_only() {
    let opened = |case: &Value| {
        let to = (&AccountId(array(case, "account")), &DeviceId(array(case, "device")));
        let sealing = exchange::KeyPair::from_secret(&array(case, "sealing_secret"));
        open_grant(&hex(case, "body"), &EnvelopeId(array(case, "id")), to, &sealing, &array(case, "secret"))
    };
    for case in cases("linking", "grants") {
        assert_eq!(*opened(&case).expect("it opens"), hex(&case, "content"));
    }
    for case in cases("linking", "refused") {
        assert!(opened(&case).is_err(), "{}", text(&case, "name"));
    }
}

fn signed_list(case: &Value) -> SignedList {
    SignedList {
        list_key_certificate: Bytes(hex(case, "list_key_certificate")),
        list: Bytes(hex(case, "list")),
        signature: Signature(array(case, "signature")),
    }
}

/// The cases of a file under a name; none would prove nothing.
fn cases(file: &str, name: &str) -> Vec<Value> {
    let path = format!("{}/tests/it/vectors/{file}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect(&path);
    let mut document: Value = serde_json::from_str(&text).expect(&path);
    let Value::Array(cases) = document[name].take() else { panic!("no {name} in {path}") };
    assert!(!cases.is_empty(), "no {name} in {path}");
    cases
}

fn text<'a>(case: &'a Value, name: &str) -> &'a str {
    case[name].as_str().expect(name)
}

fn number(case: &Value, name: &str) -> u64 {
    case[name].as_u64().expect(name)
}

fn hex(case: &Value, name: &str) -> Vec<u8> {
    let digits = text(case, name);
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal")).collect()
}

fn array<const N: usize>(case: &Value, name: &str) -> [u8; N] {
    hex(case, name).try_into().unwrap_or_else(|_| panic!("{name} is not {N} bytes"))
}
