//! Each single field of each transcript matters: with any one of them changed a signature does not verify, a hash is another and
//! nothing opens. Which fields there are, `docs/protocol.md` says: a transcript or a field that it has and this does not fails.

use std::collections::BTreeMap;

use restante::crypto::seal::{self, Psk, Sealer};
use restante::crypto::{exchange, sign, wrap};
use restante::protocol::accounts::pass_hash;
use restante::protocol::auth::{Proof, challenge_transcript};
use restante::protocol::envelopes::{
    key_id, seal_aad, seal_info, seal_signature_transcript, wrap_aad, wrap_info, wrap_key_context,
};
use restante::protocol::factor::recovery_code_hash;
use restante::protocol::handles::{handle_salt, record_aad};
use restante::protocol::info::notice_transcript;
use restante::protocol::keys::prekey_transcript;
use restante::protocol::linking::{digits, link_info, own_token_info, sync_key_info};
use restante::protocol::slots::{slot_aad, slot_id_info, slot_key_info};
use restante::protocol::{
    AccountId, DeliveryToken, DeviceEntry, DeviceId, DeviceList, EnvelopeId, HandleHash, Hash, ListKey, ListKeyCertificate,
    RelayKey, SealingKey, Signature, SlotId,
};

const PROTOCOL: &str = include_str!("../../docs/protocol.md");

/// A transcript, or what is hashed from it, and the same with one field changed, by the names of the fields.
struct Made {
    purpose: &'static str,
    bytes: Vec<u8>,
    changed: Vec<(&'static str, Vec<u8>)>,
}

/// Made by `make` of numbers that stand for the fields; a field that is changed gets another.
fn made<const N: usize>(purpose: &'static str, fields: [&'static str; N], make: impl Fn([u8; N]) -> Vec<u8>) -> Made {
    let plain: [u8; N] = std::array::from_fn(|at| at as u8 + 1);
    let other = |at: usize| {
        let mut other = plain;
        other[at] = 0x21;
        make(other)
    };
    let changed = fields.into_iter().enumerate().map(|(at, field)| (field, other(at))).collect();
    Made { purpose, bytes: make(plain), changed }
}

fn account(n: u8) -> AccountId {
    AccountId([n; 32])
}

fn device(n: u8) -> DeviceId {
    DeviceId([n; 32])
}

fn key(n: u8) -> SealingKey {
    SealingKey([n; 32])
}

/// A text that another is not the beginning of.
fn text(n: u8) -> String {
    "x".repeat(n.into())
}

/// The proofs over a challenge, which begin alike.
fn proof<const N: usize>(purpose: &'static str, more: [&'static str; N], finish: fn(&Proof<'_>, [u8; N]) -> Vec<u8>) -> Made {
    let names: Vec<&str> = ["origin", "relay_key", "device", "challenge", "expires_at"].into_iter().chain(more).collect();
    let make = |numbers: &[u8]| {
        let (origin, challenge) = (text(numbers[0]), vec![7; numbers[3].into()]);
        let (relay_key, device) = (RelayKey([numbers[1]; 32]), device(numbers[2]));
        let expires_at = u64::from(numbers[4]);
        let proof = Proof { origin: &origin, relay_key: &relay_key, device: &device, challenge: &challenge, expires_at };
        finish(&proof, std::array::from_fn(|at| numbers[5 + at]))
    };
    let plain: Vec<u8> = (1..=names.len() as u8).collect();
    let other = |at: usize| {
        let mut other = plain.clone();
        other[at] = 0x21;
        make(&other)
    };
    Made { purpose, bytes: make(&plain), changed: names.into_iter().enumerate().map(|(at, name)| (name, other(at))).collect() }
}

fn list([account, epoch, version, previous, device, rest]: [u8; 6]) -> DeviceList {
    let entry = |device: u8| DeviceEntry {
        device: DeviceId([device; 32]),
        sealing_key: key(rest),
        suites: 1,
        signature: Signature([rest; 64]),
    };
    DeviceList {
        account: AccountId([account; 32]),
        epoch: epoch.into(),
        version: version.into(),
        previous: Hash([previous; 32]),
        entries: vec![entry(device), entry(0x30)],
    }
}

/// What is signed.
fn signed() -> Vec<Made> {
    let fewer = DeviceList { entries: vec![list([1, 2, 3, 4, 5, 6]).entries.remove(0)], ..list([1, 2, 3, 4, 5, 6]) };
    let mut lists = made("/list", ["account", "epoch", "version", "previous", "entry", "entry"], |n| list(n).bytes());
    lists.changed.push(("n", fewer.bytes()));
    vec![
        lists,
        made("/notice", ["set_at", "text"], |[at, words]| notice_transcript(at.into(), &text(words))),
        made("/challenge", ["device", "challenge", "expires_at"], |[of, challenge, at]| {
            challenge_transcript(&device(of), &vec![7; challenge.into()], at.into())
        }),
        proof("/login", [], |proof, []| proof.login()),
        proof("/register", ["SHA-256"], |proof, [list]| proof.register(&Hash([list; 32]))),
        proof("/recover", ["account", "SHA-256"], |proof, [of, list]| proof.recover(&account(of), &Hash([list; 32]))),
        proof("/delete-account", ["account"], |proof, [of]| proof.delete_account(&account(of))),
        made("/device", ["account", "device", "sealing_key", "suites"], |[of, id, sealing, suites]| {
            DeviceEntry::transcript(&account(of), &device(id), &key(sealing), suites)
        }),
        made("/list-key", ["account", "epoch", "list_key"], |[of, epoch, list_key]| {
            let (list_key, signature) = (ListKey([list_key; 32]), Signature([0; 64]));
            ListKeyCertificate { account: account(of), epoch: epoch.into(), list_key, signature }.transcript()
        }),
        made("/prekey", ["account", "device", "prekey", "expires_at"], |[of, id, prekey, at]| {
            prekey_transcript(&account(of), &device(id), &key(prekey), at.into())
        }),
        made(
            "/envelope-signature",
            ["recipient account", "recipient device", "envelope id", "enc", "sender account", "sender device"],
            |[to, to_device, id, enc, from, from_device]| {
                let (recipient, sender) = ((account(to), device(to_device)), (account(from), device(from_device)));
                let (recipient, sender) = ((&recipient.0, &recipient.1), (&sender.0, &sender.1));
                seal_signature_transcript(recipient, &EnvelopeId([id; 16]), &[enc; 32], sender)
            },
        ),
    ]
}

/// What is hashed, or names what something was derived or encrypted for.
fn named() -> Vec<Made> {
    // The first slot's part is not written; that of a further one is.
    let mut slot_id = made("/slot-id", ["account"], |[of]| slot_id_info(&account(of), 0));
    slot_id.changed.push(("part", slot_id_info(&account(1), 1)));
    let mut slot_key = made("/slot-key", [], |[]| slot_key_info(&account(1), 0));
    slot_key.changed.push(("part", slot_key_info(&account(1), 1)));
    vec![
        made("/fingerprint", ["key"], |[n]| RelayKey([n; 32]).fingerprint().into_bytes()),
        made("/recovery-code", ["account", "code"], |[of, code]| recovery_code_hash(&account(of), &text(code)).0.to_vec()),
        made("/pass", ["code"], |[code]| pass_hash(&text(code)).0.to_vec()),
        made("/token", ["token"], |[n]| DeliveryToken([n; 32]).hash().0.to_vec()),
        made("/wrap", ["device"], |[of]| wrap_info(&device(of))),
        made("/handle-salt", ["relay_key"], |[n]| handle_salt(&RelayKey([n; 32])).to_vec()),
        made("/handle-record", ["lookup hash"], |[n]| record_aad(&HandleHash([n; 32]))),
        slot_id,
        slot_key,
        made("/slot", ["slot id", "version"], |[slot, version]| slot_aad(&SlotId([slot; 32]), version.into())),
        made("/key-id", ["public key"], |[n]| key_id(&key(n)).to_vec()),
        made("/envelope", ["recipient account", "recipient device"], |[of, id]| seal_info(&account(of), &device(id))),
        made("/sync-key", ["account", "epoch"], |[of, epoch]| sync_key_info(&account(of), epoch.into())),
        made("/own-token", ["account"], |[of]| own_token_info(&account(of))),
        made("/digits", ["account"], |[of]| digits(&account(of)).into_bytes()),
        made("/link", ["account", "device"], |[of, id]| link_info(&account(of), &device(id))),
    ]
}

#[test]
fn a_signature_is_for_each_field_as_it_was() {
    let pair = sign::KeyPair::generate();
    for Made { purpose, bytes, changed } in signed() {
        let signature = pair.sign(&bytes);
        assert_eq!(sign::verify(&pair.public(), &bytes, &signature), Ok(()), "{purpose}");
        for (field, other) in changed {
            assert!(sign::verify(&pair.public(), &other, &signature).is_err(), "{purpose}: {field}");
        }
    }
}

#[test]
fn a_hash_or_name_is_another_with_any_field_changed() {
    for Made { purpose, bytes, changed } in named() {
        for (field, other) in changed {
            assert_ne!(other, bytes, "{purpose}: {field}");
        }
    }
}

#[test]
fn every_transcript_of_the_protocol_is_here_with_every_field() {
    let here = signed().into_iter().chain(named()).map(|made| {
        let mut fields: Vec<&str> = made.changed.into_iter().map(|(field, _)| field).collect();
        fields.dedup();
        fields.sort_unstable();
        (made.purpose, fields)
    });
    let mut documented = documented();
    // The relay's own, which nobody else sees: held in `service`, and by `auth` from outside.
    assert!(documented.remove("/challenge-mac").is_some());
    // A name alone.
    assert_eq!(documented.remove("/wrap-key"), Some(vec![]));
    // "The same with" another purpose; the second and third slot's number follows.
    documented.insert("/slot-key", vec!["part"]);
    documented.entry("/slot-id").or_default().push("part");
    assert_eq!(here.collect::<BTreeMap<_, _>>(), documented);
}

/// The names of the fields of each `T(purpose, …)`, sorted.
fn documented() -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut found = BTreeMap::new();
    for (at, _) in PROTOCOL.match_indices("T(/") {
        let inside = &PROTOCOL[at + 2..];
        let mut depth = 0_i32;
        let end = inside.find(|letter| {
            depth += i32::from(letter == '(') - i32::from(letter == ')');
            depth < 0
        });
        let mut parts = inside[..end.expect("it ends")].split(',').map(str::trim);
        let purpose = parts.next().expect("a purpose");
        let mut fields: Vec<&str> = parts.map(name).collect();
        fields.sort_unstable();
        let known = found.entry(purpose).or_insert_with(|| fields.clone());
        assert_eq!(*known, fields, "{purpose} stands there twice, and differs");
    }
    found
}

/// Without its type and size.
fn name(field: &'static str) -> &'static str {
    let field = ["var ", "u64 ", "u32 ", "u8 ", "n × "].iter().find_map(|kind| field.strip_prefix(kind)).unwrap_or(field);
    field.split_once('(').map_or(field, |(name, _)| name)
}

#[test]
fn what_is_sealed_opens_with_everything_as_it_was() {
    let pair = exchange::KeyPair::generate();
    let id = |n: u8| EnvelopeId([n; 16]);
    let info = seal_info(&account(1), &device(2));
    let aad = |suite, key: u8, envelope| seal_aad(suite, [key; 4], &id(envelope));
    let sealer = Sealer::new(&pair.public(), &info).expect("a good key");
    let enc = sealer.enc;
    let body = sealer.seal(b"hello", &aad(1, 2, 3));
    let open = |info: &[u8], aad: &[u8]| seal::open(&pair.secret(), &enc, info, aad, &body).ok();
    assert_eq!(open(&info, &aad(1, 2, 3)).as_deref(), Some(&b"hello"[..]));
    for (field, info, aad) in [
        ("account", seal_info(&account(9), &device(2)), aad(1, 2, 3)),
        ("device", seal_info(&account(1), &device(9)), aad(1, 2, 3)),
        ("suite", info.clone(), aad(2, 2, 3)),
        ("key id", info.clone(), aad(1, 9, 3)),
        ("envelope id", info.clone(), aad(1, 2, 9)),
    ] {
        assert_eq!(open(&info, &aad), None, "{field}");
    }
    let each_byte = |bytes: &[u8], opens: &dyn Fn(&[u8]) -> bool| {
        assert!(opens(bytes));
        for at in 0..bytes.len() {
            let mut other = bytes.to_vec();
            other[at] ^= 1;
            assert!(!opens(&other), "byte {at} of {}", bytes.len());
        }
    };
    each_byte(&body, &|body| seal::open(&pair.secret(), &enc, &info, &aad(1, 2, 3), body).is_ok());
    each_byte(&enc, &|enc| {
        let enc = enc.try_into().expect("32 bytes");
        seal::open(&pair.secret(), &enc, &info, &aad(1, 2, 3), &body).is_ok()
    });
}

#[test]
fn a_grant_opens_for_its_device_by_its_secret_with_everything_as_it_was() {
    let pair = exchange::KeyPair::generate();
    let (info, aad) = (link_info(&account(1), &device(2)), seal_aad(1, [3; 4], &EnvelopeId([4; 16])));
    let sealer = Sealer::with_psk(&pair.public(), &info, &Psk { secret: &[5; 32], id: &info }).expect("a good key");
    let enc = sealer.enc;
    let body = sealer.seal(b"hello", &aad);
    let open = |secret: &[u8; 32], id: &[u8], info: &[u8], aad: &[u8]| {
        seal::open_with_psk(&Psk { secret, id }, &pair.secret(), &enc, info, aad, &body).is_ok()
    };
    assert!(open(&[5; 32], &info, &info, &aad));
    assert!(!open(&[6; 32], &info, &info, &aad), "link secret");
    for (field, other) in [("account", link_info(&account(9), &device(2))), ("device", link_info(&account(1), &device(9)))] {
        assert!(!open(&[5; 32], &other, &other, &aad), "{field}");
        assert!(!open(&[5; 32], &info, &other, &aad), "{field} of info");
        assert!(!open(&[5; 32], &other, &info, &aad), "{field} of psk_id");
    }
    for other in [
        seal_aad(2, [3; 4], &EnvelopeId([4; 16])),
        seal_aad(1, [9; 4], &EnvelopeId([4; 16])),
        seal_aad(1, [3; 4], &EnvelopeId([9; 16])),
    ] {
        assert!(!open(&[5; 32], &info, &info, &other));
    }
}

#[test]
fn a_wrap_comes_off_with_everything_as_it_was() {
    let pair = exchange::KeyPair::generate();
    let (info, context, nonce) = (wrap_info(&device(1)), wrap_key_context(), [2; 12]);
    let key = wrap::WrapKey::new(&pair.public(), &info, &context).expect("a good key");
    let body = key.wrap(&nonce, &wrap_aad(&device(1), 3), b"hello");
    let open = |info: &[u8], context: &[u8], nonce: &[u8; 12], aad: &[u8]| {
        wrap::unwrap(&pair.secret(), &key.enc, info, context, nonce, aad, &body).is_ok()
    };
    assert!(open(&info, &context, &nonce, &wrap_aad(&device(1), 3)));
    assert!(!open(&wrap_info(&device(9)), &context, &nonce, &wrap_aad(&device(1), 3)), "device of info");
    assert!(!open(&info, &info, &nonce, &wrap_aad(&device(1), 3)), "context");
    assert!(!open(&info, &context, &[9; 12], &wrap_aad(&device(1), 3)), "nonce");
    assert!(!open(&info, &context, &nonce, &wrap_aad(&device(9), 3)), "device of aad");
    assert!(!open(&info, &context, &nonce, &wrap_aad(&device(1), 9)), "expires_at");
}
