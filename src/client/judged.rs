//! What must hold of bytes that come to a client from outside: envelopes in their wrap and seal, grants, slots, and what is
//! written in them. For the fuzz target `sealed` and the replay of its corpus below; nothing else calls this.

use super::book::Book;
use super::content::Content;
use super::message::{self, GRANT_BYTES, Unwrapped};
use super::secret::Secret;
use super::slot::Slot;
use crate::crypto::seal::{Psk, Sealer};
use crate::crypto::{exchange, sign, wrap};
use crate::protocol::envelopes::{
    BODY_SIZES, Envelope, key_id, seal_aad, seal_info, seal_signature_transcript, wrap_aad, wrap_info, wrap_key_context,
};
use crate::protocol::linking::link_info;
use crate::protocol::slots::slot_aad;
use crate::protocol::{AccountId, Bytes, DeviceId, EnvelopeId, SealingKey, Seq};

/// Reads bytes in the way that the first of them names. Panics where something is taken that should not be, or the other way
/// round. Gives whether anything was taken.
pub fn judge(bytes: &[u8]) -> bool {
    let Some((way, bytes)) = bytes.split_first() else { return false };
    match way {
        b'0' => raw(bytes),
        b'1' => sealed(bytes, false),
        b'2' => sealed(bytes, true),
        b'3' => granted(bytes),
        b'4' => wrapped(bytes),
        b'5' => slot(bytes),
        b'6' => content(bytes),
        b'7' => book(bytes),
        _ => false,
    }
}

const ACCOUNT: AccountId = AccountId([1; 32]);
const DEVICE: DeviceId = DeviceId([2; 32]);
const ID: EnvelopeId = EnvelopeId([3; 16]);
const SECRET: [u8; 32] = [4; 32];
const EXPIRES_AT: u64 = 1_800_003_600;

fn recipient() -> exchange::KeyPair {
    exchange::KeyPair::from_secret(&[5; 32])
}

/// As bytes come that nobody sealed: none of it opens.
fn raw(bytes: &[u8]) -> bool {
    let pair = recipient();
    let wrap = Bytes(bytes.iter().copied().take(44).collect());
    let body = Bytes(bytes.iter().copied().skip(44).collect());
    let envelope = Envelope { seq: Seq(1), expires_at: EXPIRES_AT, wrap, body };
    assert!(message::unwrap(&envelope, &DEVICE, &pair).is_err());
    assert!(message::open(bytes, &ID, (&ACCOUNT, &DEVICE), &pair).is_err());
    assert!(message::open_grant(bytes, &ID, (&ACCOUNT, &DEVICE), &pair, &SECRET).is_err());
    assert!(Slot::of(&Secret::of(&SECRET), &ACCOUNT, 0).opened(1, bytes).is_none());
    false
}

/// As the plaintext of a seal that is good; `signed` puts a signature of the device that it names where one belongs.
fn sealed(bytes: &[u8], signed: bool) -> bool {
    const DEVICE_AT: usize = 32;
    const SIGNATURE_AT: usize = 32 + 32 + 44 + 44 + 8 + 8 + 32;
    let (pair, sender) = (recipient(), sign::KeyPair::from_seed(&[6; 32]));
    let key = SealingKey(pair.public());
    let sealer = Sealer::new(&key.0, &seal_info(&ACCOUNT, &DEVICE)).expect("a good key");
    let enc = sealer.enc;
    let mut plain = bytes.to_vec();
    if signed && let Some(head) = plain.get_mut(..SIGNATURE_AT + 64) {
        head[DEVICE_AT..DEVICE_AT + 32].copy_from_slice(&sender.public());
        let mut account = AccountId([0; 32]);
        account.0.copy_from_slice(&head[..32]);
        let device = DeviceId(sender.public());
        let transcript = seal_signature_transcript((&ACCOUNT, &DEVICE), &ID, &enc, (&account, &device));
        head[SIGNATURE_AT..].copy_from_slice(&sender.sign(&transcript));
    }
    let body = framed(&enc, sealer.seal(&plain, &seal_aad(1, key_id(&key), &ID)));
    let opened = message::open(&body, &ID, (&ACCOUNT, &DEVICE), &pair);
    // Nobody else's signature can be among random bytes.
    assert_eq!(opened.is_ok(), signed && plain.get(SIGNATURE_AT + 64..).is_some_and(|rest| content_of(rest).is_some()));
    if let Ok(opened) = &opened {
        assert_eq!(Some(opened.content.as_slice()), content_of(&plain[SIGNATURE_AT + 64..]));
        assert_eq!([opened.account.as_ref(), opened.device.as_ref()].concat(), plain[..64]);
        assert_eq!([opened.head.bytes(), opened.recipient_head.bytes()].concat(), plain[64..152]);
        assert_eq!([opened.counter.to_be_bytes(), opened.sent_at.to_be_bytes()].concat(), plain[152..168]);
        assert_eq!(opened.reply_key.0, plain[168..200]);
    }
    opened.is_ok()
}

/// As the plaintext of a grant that is good.
fn granted(bytes: &[u8]) -> bool {
    let (pair, info) = (recipient(), link_info(&ACCOUNT, &DEVICE));
    let key = SealingKey(pair.public());
    let sealer = Sealer::with_psk(&key.0, &info, &Psk { secret: &SECRET, id: &info }).expect("a good key");
    let enc = sealer.enc;
    let body = framed(&enc, sealer.seal(bytes, &seal_aad(1, key_id(&key), &ID)));
    let opened = message::open_grant(&body, &ID, (&ACCOUNT, &DEVICE), &pair, &SECRET).ok();
    let expected = content_of(bytes).filter(|_| body.len() == GRANT_BYTES);
    assert_eq!(opened.as_ref().map(|content| content.as_slice()), expected);
    opened.is_some()
}

/// As the plaintext of a wrap that is good.
fn wrapped(bytes: &[u8]) -> bool {
    let pair = recipient();
    let key = wrap::WrapKey::new(&pair.public(), &wrap_info(&DEVICE), &wrap_key_context()).expect("a good key");
    let (nonce, aad) = ([7; 12], wrap_aad(&DEVICE, EXPIRES_AT));
    let wrap = Bytes([&key.enc[..], &nonce].concat());
    let envelope = Envelope { seq: Seq(1), expires_at: EXPIRES_AT, wrap, body: Bytes(key.wrap(&nonce, &aad, bytes)) };
    let opened = message::unwrap(&envelope, &DEVICE, &pair);
    assert_eq!(opened.is_ok(), bytes.len() > 49 && BODY_SIZES.contains(&(bytes.len() - 49)));
    if let Ok(Unwrapped { kind, token, id, body }) = &opened {
        assert_eq!([&[*kind], token.as_ref(), id.as_ref(), body].concat(), bytes);
    }
    opened.is_ok()
}

/// As the plaintext of a slot.
fn slot(bytes: &[u8]) -> bool {
    let slot = Slot::of(&Secret::of(&SECRET), &ACCOUNT, 0);
    let content = slot.locker().lock([8; 12], &slot_aad(&slot.id, 1), bytes);
    let opened = slot.opened(1, &content);
    assert_eq!(opened.as_ref().map(|json| json.as_slice()), content_of(bytes));
    opened.is_some()
}

/// As what a message says.
fn content(bytes: &[u8]) -> bool {
    let Ok(content) = serde_json::from_slice::<Content>(bytes) else { return false };
    let written = serde_json::to_vec(&content).expect("a content serializes");
    let again: Content = serde_json::from_slice(&written).expect("a content is read as it was written");
    assert_eq!(serde_json::to_vec(&again).expect("a content serializes"), written);
    true
}

/// As two books, which become one whichever comes first.
fn book(bytes: &[u8]) -> bool {
    let at = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (one, other) = bytes.split_at(at);
    let (Some(one), other) = (Book::parse(one), Book::parse(other).unwrap_or_default()) else { return false };
    let same = |one: &Book, other: &Book| one.json() == other.json();
    assert!(same(&Book::parse(&one.json()).expect("a book is read as it was written"), &one));
    let joined = one.clone().joined(other.clone());
    assert!(same(&joined, &other.clone().joined(one.clone())), "whichever comes first");
    assert!(same(&joined, &joined.clone().joined(one)), "what is in it already changes nothing");
    assert!(same(&joined, &joined.clone().joined(other)), "what is in it already changes nothing");
    true
}

/// Suite, key id, `enc` and ciphertext.
fn framed(enc: &[u8; 32], ciphertext: Vec<u8>) -> Vec<u8> {
    [&[1], &key_id(&SealingKey(recipient().public()))[..], enc, &ciphertext].concat()
}

/// `var content ‖ zeros`, once more and in other words.
fn content_of(bytes: &[u8]) -> Option<&[u8]> {
    let length = bytes.get(..4)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    let content = bytes.get(4..4 + length)?;
    bytes[4 + length..].iter().all(|byte| *byte == 0).then_some(content)
}

#[cfg(test)]
mod tests {
    use super::judge;

    #[test]
    fn every_input_of_the_corpus_is_read_by_the_rules() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/fuzz/corpus/sealed");
        let corpus = std::fs::read_to_string(file).expect("a corpus");
        let mut taken = 0;
        for (at, line) in corpus.lines().enumerate() {
            let judged = std::panic::catch_unwind(|| judge(&unescaped(line)));
            taken += usize::from(judged.unwrap_or_else(|_| panic!("{file}, line {}", at + 1)));
        }
        assert!(taken >= 20 && corpus.lines().count() - taken >= 20, "{taken} are good");
    }

    /// As `tests/it/fuzz/corpus.rs` says, but that no backslash stands for itself.
    fn unescaped(line: &str) -> Vec<u8> {
        let mut parts = line.split('\\');
        let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
        for part in parts {
            let rest = match part.split_at(1) {
                ("n", rest) => {
                    bytes.push(b'\n');
                    rest
                }
                ("x", rest) => {
                    bytes.push(u8::from_str_radix(&rest[..2], 16).expect("two digits"));
                    &rest[2..]
                }
                ("*", rest) => {
                    let (count, rest) = rest.split_once(';').expect("a count ends");
                    let last = *bytes.last().expect("a byte before");
                    bytes.resize(bytes.len() + count.parse::<usize>().expect("a count"), last);
                    rest
                }
                _ => panic!("not an escape: {line}"),
            };
            bytes.extend_from_slice(rest.as_bytes());
        }
        bytes
    }
}
