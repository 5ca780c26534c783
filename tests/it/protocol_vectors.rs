//! The shipped types and primitives held to `vectors/*.json`, which a second implementation wrote from `docs/protocol.md`
//! alone (`tests/python/`): equal to the byte, and refused where they must be. What only the client may do is held in
//! `src/client/vectors.rs`.

mod file;
mod wycheproof;

use file::{Case, Vectors};
use restante::crypto::{derive, exchange, seal, sign, wrap};
use restante::protocol::accounts::pass_hash;
use restante::protocol::auth::{Proof, challenge_transcript};
use restante::protocol::envelopes::{
    key_id, seal_aad, seal_info, seal_signature_transcript, wrap_aad, wrap_info, wrap_key_context, wrap_plaintext,
};
use restante::protocol::factor::{Code, recovery_code_hash};
use restante::protocol::info::notice_transcript;
use restante::protocol::keys::prekey_transcript;
use restante::protocol::linking;
use restante::protocol::time::{ceil_hour, envelope_expiry, floor_hour};
use restante::protocol::tokens::TokenKind;
use restante::protocol::{
    AccountId, Bytes, DeliveryToken, DeviceEntry, DeviceId, EnvelopeId, ErrorCode, Hash, ListKey, ListKeyCertificate, RelayKey,
    SealingKey, Signature, SignedList, TokenHash, bytes,
};

const PROTOCOL: &str = include_str!("../../docs/protocol.md");

#[test]
fn transcripts_are_equal_to_the_byte() {
    let vectors = Vectors::read("transcripts");
    let mut signed: Vec<Vec<u8>> = Vec::new();
    for case in vectors.cases("transcripts") {
        let built = transcript(&case);
        assert_eq!(built, case.hex("bytes"), "{}", case.text("purpose"));
        let (pair, key) = (sign::KeyPair::from_seed(&case.array("seed")), case.array("key"));
        assert_eq!(pair.public(), key);
        assert_eq!(pair.sign(&built), case.array("signature"), "{}", case.text("purpose"));
        assert_eq!(sign::verify(&key, &built, &case.array("signature")), Ok(()));
        for other in &signed {
            assert!(sign::verify(&key, other, &case.array("signature")).is_err(), "a signature for two purposes");
        }
        signed.push(built);
    }
    assert_eq!(signed.len(), 14);
}

fn transcript(case: &Case) -> Vec<u8> {
    let account = || AccountId(case.array("account"));
    let device = || DeviceId(case.array("device"));
    let proof = |finish: fn(&Proof<'_>, &Case) -> Vec<u8>| {
        let (relay_key, device, challenge) = (RelayKey(case.array("relay_key")), device(), case.hex("challenge"));
        let expires_at = case.number("expires_at");
        finish(
            &Proof { origin: case.text("origin"), relay_key: &relay_key, device: &device, challenge: &challenge, expires_at },
            case,
        )
    };
    match case.text("purpose") {
        "/login" => proof(|proof, _| proof.login()),
        "/register" => proof(|proof, case| proof.register(&Hash(case.array("list_hash")))),
        "/recover" => proof(|proof, case| proof.recover(&AccountId(case.array("account")), &Hash(case.array("list_hash")))),
        "/delete-account" => proof(|proof, case| proof.delete_account(&AccountId(case.array("account")))),
        "/challenge" => challenge_transcript(&device(), &case.hex("challenge"), case.number("expires_at")),
        "/notice" => notice_transcript(case.number("set_at"), case.text("text")),
        "/device" => {
            DeviceEntry::transcript(&account(), &device(), &SealingKey(case.array("sealing_key")), case.number("suites") as u8)
        }
        "/list-key" => {
            let certificate = ListKeyCertificate {
                account: account(),
                epoch: case.number("epoch") as u32,
                list_key: ListKey(case.array("list_key")),
                signature: Signature(case.array("signature")),
            };
            assert_eq!(ListKeyCertificate::parse(&certificate.bytes()), Ok(certificate.clone()));
            certificate.transcript()
        }
        "/prekey" => prekey_transcript(&account(), &device(), &SealingKey(case.array("prekey")), case.number("expires_at")),
        "/envelope-signature" => seal_signature_transcript(
            (&account(), &device()),
            &EnvelopeId(case.array("id")),
            &case.array("enc"),
            (&AccountId(case.array("sender_account")), &DeviceId(case.array("sender_device"))),
        ),
        other => panic!("the vectors have a purpose that this test does not know: {other}"),
    }
}

#[test]
fn valid_lists_say_what_the_vectors_say() {
    for case in Vectors::read("lists").cases("valid") {
        let name = case.name();
        let signed = signed_list(&case);
        assert_eq!(serde_json::to_value(&signed).expect("JSON"), case.0["json"], "{name}");
        let (certificate, list) = signed.parse().expect(name);
        assert_eq!(list.bytes(), case.hex("list"), "{name}");
        assert_eq!(certificate.bytes(), case.hex("list_key_certificate"));
        assert_eq!((list.account.0, certificate.list_key.0), (case.array("account"), case.array("list_key")));
        assert_eq!((u64::from(list.epoch), list.version), (case.number("epoch"), case.number("version")));
        assert_eq!((list.previous.0, signed.hash().0), (case.array("previous"), case.array("hash")));
        assert_eq!(list.head().bytes(), case.array("head"));
        let devices: Vec<Case> = case.nested("devices");
        assert_eq!(list.entries.len(), devices.len());
        for (entry, device) in list.entries.iter().zip(&devices) {
            assert_eq!((entry.device.0, entry.sealing_key.0), (device.array("device"), device.array("sealing_key")));
            assert_eq!((u64::from(entry.suites), entry.signature.0), (device.number("suites"), device.array("signature")));
        }
        for claim in signed.claims(&certificate, &list) {
            assert_eq!(sign::verify(&claim.key, &claim.message, &claim.signature.0), Ok(()), "{name}");
        }
    }
}

#[test]
fn invalid_lists_fail_where_the_vectors_say() {
    for case in Vectors::read("lists").cases("invalid") {
        let (name, signed) = (case.name(), signed_list(&case));
        let Ok((certificate, list)) = signed.parse() else {
            assert_eq!(case.text("fails"), "form", "{name}");
            continue;
        };
        let good_keys = sign::check_key(&certificate.account.0).is_ok()
            && sign::check_key(&certificate.list_key.0).is_ok()
            && list
                .entries
                .iter()
                .all(|entry| sign::check_key(&entry.device.0).is_ok() && exchange::check_key(&entry.sealing_key.0).is_ok());
        let verifies = signed
            .claims(&certificate, &list)
            .iter()
            .all(|claim| sign::verify(&claim.key, &claim.message, &claim.signature.0).is_ok());
        match case.text("fails") {
            "key" => assert!(!good_keys, "{name}"),
            "signature" => assert!(good_keys && !verifies, "{name}"),
            other => panic!("{name} parses, though it should fail by {other}"),
        }
    }
}

fn signed_list(case: &Case) -> SignedList {
    SignedList {
        list_key_certificate: Bytes(case.hex("list_key_certificate")),
        list: Bytes(case.hex("list")),
        signature: Signature(case.array("signature")),
    }
}

#[test]
fn sync_keys_and_digits_are_equal() {
    let vectors = Vectors::read("linking");
    for case in vectors.cases("derived") {
        let account = AccountId(case.array("account"));
        let info = linking::sync_key_info(&account, case.number("epoch") as u32);
        assert_eq!(*derive::derive(&case.array("seed"), &info), case.array("sync_key"));
        let token = derive::derive(&case.array("sync_key"), &linking::own_token_info(&account));
        assert_eq!(*token, case.array("own_token"));
    }
    for case in vectors.cases("digits") {
        assert_eq!(linking::digits(&AccountId(case.array("account"))), case.text("digits"));
    }
}

#[test]
fn hashes_are_equal() {
    let vectors = Vectors::read("hashes");
    for case in vectors.cases("token_hash") {
        assert_eq!(DeliveryToken(case.array("token")).hash().0, case.array("hash"));
    }
    for case in vectors.cases("pass_hash") {
        assert_eq!(pass_hash(case.text("code")).0, case.array("hash"));
    }
    for case in vectors.cases("recovery_code_hash") {
        let Some(Code::Recovery(code)) = Code::parse(case.text("code")) else { panic!("not the form of a recovery code") };
        assert_eq!(recovery_code_hash(&AccountId(case.array("account")), &code).0, case.array("hash"));
    }
    for case in vectors.cases("key_id") {
        assert_eq!(key_id(&SealingKey(case.array("key"))), case.array("id"));
    }
    for case in vectors.cases("fingerprint") {
        assert_eq!(RelayKey(case.array("key")).fingerprint(), case.text("fingerprint"));
    }
}

#[test]
fn wraps_open_and_altered_ones_do_not() {
    let vectors = Vectors::read("wraps");
    let open = |case: &Case| {
        let (device, whole) = (DeviceId(case.array("device")), case.array::<44>("wrap"));
        let (enc, nonce) = whole.split_at(32);
        let (enc, nonce) = (enc.try_into().expect("32 bytes"), nonce.try_into().expect("12 bytes"));
        let aad = wrap_aad(&device, case.number("expires_at"));
        let secret = case.array("sealing_secret");
        wrap::unwrap(&secret, &enc, &wrap_info(&device), &wrap_key_context(), &nonce, &aad, &case.hex("body"))
    };
    for case in vectors.cases("wraps") {
        let kind = if case.text("kind") == "once" { TokenKind::Once } else { TokenKind::Contact };
        let token = TokenHash(case.array("token_hash"));
        let plaintext = wrap_plaintext(kind, &token, &EnvelopeId(case.array("id")), &case.hex("sealed"));
        assert_eq!(open(&case), Ok(plaintext));
    }
    for case in vectors.cases("refused") {
        assert!(open(&case).is_err(), "{}", case.name());
    }
}

#[test]
fn seals_open() {
    for case in Vectors::read("seals").cases("seals") {
        let (body, id) = (case.hex("body"), EnvelopeId(case.array("id")));
        assert_eq!(body[1..5], key_id(&SealingKey(case.array("key"))));
        let info = seal_info(&AccountId(case.array("account")), &DeviceId(case.array("device")));
        let aad = seal_aad(body[0], body[1..5].try_into().expect("4 bytes"), &id);
        let enc = body[5..37].try_into().expect("32 bytes");
        let plain = seal::open(&case.array("secret"), &enc, &info, &aad, &body[37..]).expect("it opens");
        let content = case.hex("content");
        assert_eq!((plain.len(), &plain[268..268 + content.len()]), (body.len() - 53, &content[..]));
    }
}

#[test]
fn values_have_one_form() {
    let vectors = Vectors::read("values");
    for case in vectors.cases("base64url") {
        let raw = case.hex("bytes");
        assert_eq!(bytes::encode(&raw), case.text("text"));
        assert_eq!(bytes::decode(case.text("text")), Ok(raw));
    }
    for case in vectors.cases("not_base64url") {
        assert!(bytes::decode(case.text("text")).is_err(), "{}", case.name());
        assert!(serde_json::from_value::<Bytes>(case.0["text"].clone()).is_err(), "{}", case.name());
    }
    for case in vectors.cases("not_32_bytes") {
        assert!(serde_json::from_value::<DeviceId>(case.0["text"].clone()).is_err(), "{}", case.name());
        assert!(serde_json::from_value::<DeliveryToken>(case.0["text"].clone()).is_err(), "{}", case.name());
    }
    for case in vectors.cases("hours") {
        let t = case.number("t");
        assert_eq!((ceil_hour(t), floor_hour(t)), (case.number("ceil"), case.number("floor")), "{t}");
    }
    for case in vectors.cases("expiry") {
        let expiry = envelope_expiry(case.number("now"), case.number("expires_in"), case.number("retention"));
        assert_eq!(expiry, case.number("expires_at"));
    }
}

#[test]
fn weak_keys_are_refused() {
    let vectors = Vectors::read("keys");
    for case in vectors.cases("ed25519_weak") {
        assert!(sign::check_key(&case.array("key")).is_err(), "{}", case.name());
    }
    for case in vectors.cases("x25519_weak") {
        assert!(exchange::check_key(&case.array("key")).is_err(), "{}", case.name());
    }
    for key in vectors.keys("ed25519_good") {
        assert_eq!(sign::check_key(&key), Ok(()));
    }
    for key in vectors.keys("x25519_good") {
        assert_eq!(exchange::check_key(&key), Ok(()));
    }
}

#[test]
fn signatures_are_verified_strictly() {
    let vectors = Vectors::read("signatures");
    let verify = |case: &Case| sign::verify(&case.array("key"), &case.hex("message"), &case.array("signature"));
    for case in vectors.cases("accepted") {
        assert_eq!(verify(&case), Ok(()), "{}", case.name());
    }
    for case in vectors.cases("refused") {
        assert!(verify(&case).is_err(), "{}", case.name());
    }
}

#[test]
fn the_published_vectors_of_ed25519_pass() {
    for case in Vectors::read("rfc8032").cases("vectors") {
        let (pair, message) = (sign::KeyPair::from_seed(&case.array("seed")), case.hex("message"));
        assert_eq!(pair.public(), case.array("key"), "{}", case.name());
        assert_eq!(pair.sign(&message), case.array("signature"), "{}", case.name());
        assert_eq!(sign::verify(&pair.public(), &message, &case.array("signature")), Ok(()));
    }
}

/// The first message of the AES-256-GCM context opens, and the keys that the export-only context exports are those by
/// which a wrap of ours opens.
#[test]
fn the_published_vectors_of_hpke_pass() {
    use aes_gcm::aead::{Aead, KeyInit};
    let vectors = Vectors::read("rfc9180");
    let [sealing, exporting] = vectors.cases("vectors").try_into().unwrap_or_else(|_| panic!("two suites"));
    assert_eq!((sealing.number("aead_id"), exporting.number("aead_id")), (0x0002, 0xFFFF));
    let (secret, enc, info) = (sealing.array("skRm"), sealing.array("enc"), sealing.hex("info"));
    assert_eq!(exchange::KeyPair::from_secret(&secret).public(), sealing.array("pkRm"));
    let first = &sealing.nested("encryptions")[0];
    assert_eq!(seal::open(&secret, &enc, &info, &first.hex("aad"), &first.hex("ct")), Ok(first.hex("pt")));

    let (secret, enc, info) = (exporting.array("skRm"), exporting.array("enc"), exporting.hex("info"));
    for export in exporting.nested("exports") {
        let cipher = aes_gcm::Aes256Gcm::new(&export.array::<32>("exported_value").into());
        let wrapped = cipher.encrypt(&[7; 12].into(), &b"an envelope"[..]).expect("it encrypts");
        let context = export.hex("exporter_context");
        assert_eq!(wrap::unwrap(&secret, &enc, &info, &context, &[7; 12], b"", &wrapped).as_deref(), Ok(&b"an envelope"[..]));
    }
}

#[test]
fn error_codes_are_those_of_the_protocol_and_the_vectors() {
    let shipped: Vec<(String, u64)> =
        ErrorCode::ALL.iter().map(|code| (code.as_str().to_string(), code.status().into())).collect();
    let (_, section) = PROTOCOL.split_once("## 14. Error codes").expect("the section");
    let documented: Vec<(String, u64)> = section
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split('|');
            let code = cells.next()?.trim().trim_end_matches('`').to_string();
            Some((code, cells.next()?.trim().parse().expect("a status")))
        })
        .collect();
    assert_eq!(documented, shipped, "the table of docs/protocol.md §14 and ErrorCode::ALL");
    let vectors = Vectors::read("errors");
    let codes = vectors.0["codes"].as_object().expect("a table");
    let mut listed: Vec<(String, u64)> =
        codes.iter().map(|(code, status)| (code.clone(), status.as_u64().expect("a status"))).collect();
    let mut sorted = shipped;
    listed.sort();
    sorted.sort();
    assert_eq!(listed, sorted, "vectors/errors.json and ErrorCode::ALL");
}
