//! What must hold of every string of bytes that is read as a request's body, judged by a second reading of the forms in
//! `docs/protocol.md` §4–§11. The fuzz targets `login`, `send`, `ack` and `requests` compile this very file.

use restante::api::extract;
use restante::protocol::ErrorCode;
use restante::protocol::accounts::{DeleteAccountRequest, PutListRequest, RecoverRequest, RegisterRequest};
use restante::protocol::auth::{ChallengeRequest, LoginRequest, RevokeSessionsRequest};
use restante::protocol::bytes::decode;
use restante::protocol::envelopes::{AckRequest, SendRequest};
use restante::protocol::factor::CodeRequest;
use restante::protocol::handles::{LookupRequest, PutHandleRequest};
use restante::protocol::keys::{KeysRequest, PutKeyRequest};
use restante::protocol::slots::PutSlotRequest;
use restante::protocol::tokens::{AddTokenRequest, ListTokensRequest, RevokeTokensRequest};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use Form::{Bool, Bytes, Fixed, List, Object, Text, U32, U64, Word};

/// What a value may be.
#[derive(Clone, Copy)]
enum Form {
    /// So many bytes as base64url.
    Fixed(usize),
    /// Any bytes as base64url.
    Bytes,
    U32,
    U64,
    Bool,
    Text,
    Word(&'static [&'static str]),
    List(&'static Form),
    /// Fields by name; those that need not be there may be `null`.
    Object(&'static [(&'static str, Form, bool)]),
}

const SIGNED_LIST: Form =
    Object(&[("list_key_certificate", Bytes, true), ("list", Bytes, true), ("signature", Fixed(64), true)]);
const SEALED: Form = Object(&[("device", Fixed(32), true), ("body", Bytes, true)]);
const LIST_NAME: Form = Object(&[("epoch", U32, true), ("version", U64, true)]);

/// What is asked and said to log in.
pub(crate) fn login(bytes: &[u8]) -> bool {
    let challenge = judge::<ChallengeRequest>(bytes, Object(&[("device", Fixed(32), true)]));
    let fields = &[("device", Fixed(32), true), ("challenge", Bytes, true), ("signature", Fixed(64), true)];
    challenge | judge::<LoginRequest>(bytes, Object(fields))
}

/// A send.
pub(crate) fn send(bytes: &[u8]) -> bool {
    judge::<SendRequest>(
        bytes,
        Object(&[
            ("token", Fixed(32), true),
            ("id", Fixed(16), true),
            ("list", LIST_NAME, true),
            ("sealed", List(&SEALED), true),
            ("expires_in", U64, false),
            ("live", Bool, false),
        ]),
    )
}

/// An acknowledgement, and the query of a receive.
pub(crate) fn ack(bytes: &[u8]) -> bool {
    let query = std::str::from_utf8(bytes).is_ok_and(query);
    query | judge::<AckRequest>(bytes, Object(&[("seqs", List(&U64), false), ("through", U64, false)]))
}

/// Every other body.
pub(crate) fn others(bytes: &[u8]) -> bool {
    let register = Object(&[
        ("device", Fixed(32), true),
        ("challenge", Bytes, true),
        ("device_list", SIGNED_LIST, true),
        ("signature", Fixed(64), true),
        ("pass", Text, false),
    ]);
    let recover = Object(&[
        ("device", Fixed(32), true),
        ("challenge", Bytes, true),
        ("device_list", SIGNED_LIST, true),
        ("account_signature", Fixed(64), true),
    ]);
    let token = Object(&[
        ("hash", Fixed(32), true),
        ("kind", Word(&["contact", "once", "knock"]), true),
        ("expires_at", U64, false),
        ("envelopes_max", U64, false),
        ("uses", U64, false),
    ]);
    let prekey = Object(&[("prekey", Fixed(32), true), ("expires_at", U64, true), ("signature", Fixed(64), true)]);
    judge::<RegisterRequest>(bytes, register)
        | judge::<RecoverRequest>(bytes, recover)
        | judge::<AddTokenRequest>(bytes, token)
        | judge::<PutKeyRequest>(bytes, prekey)
        | judge::<PutListRequest>(bytes, Object(&[("device_list", SIGNED_LIST, true)]))
        | judge::<DeleteAccountRequest>(bytes, Object(&[("challenge", Bytes, true), ("signature", Fixed(64), true)]))
        | judge::<RevokeSessionsRequest>(bytes, Object(&[("all_others", Bool, false), ("device", Fixed(32), false)]))
        | judge::<ListTokensRequest>(bytes, Object(&[("after", Fixed(32), false), ("limit", U64, false)]))
        | judge::<RevokeTokensRequest>(bytes, Object(&[("hashes", List(&Fixed(32)), true)]))
        | judge::<KeysRequest>(bytes, Object(&[("token", Fixed(32), true)]))
        | judge::<PutHandleRequest>(bytes, Object(&[("hash", Fixed(32), true), ("record", Bytes, true)]))
        | judge::<LookupRequest>(bytes, Object(&[("hash", Fixed(32), true)]))
        | judge::<PutSlotRequest>(bytes, Object(&[("content", Bytes, true)]))
        | judge::<CodeRequest>(bytes, Object(&[("code", Text, true)]))
}

/// Panics where the parser and the form differ. Gives whether the body was taken.
fn judge<T: DeserializeOwned + Serialize>(bytes: &[u8], form: Form) -> bool {
    let value: Option<Value> = serde_json::from_slice(bytes).ok();
    match extract::json::<T>(bytes) {
        Ok(request) => {
            let value = value.expect("what was taken is JSON");
            assert!(fits(&value, form), "taken against the form: {value}");
            let again = serde_json::to_value(&request).expect("a request serializes");
            assert_eq!(again, without_nulls(value), "something in it was read otherwise than it stands there");
            true
        }
        Err(refusal) => {
            let (code, detail) = refusal.parts();
            assert_eq!(code, ErrorCode::BadRequest);
            assert!(is_ours(&detail), "a sentence that nobody wrote: {detail}");
            // Written anew, nothing is wrong with it but what it says: no key twice, nothing around it.
            if let Some(value) = value.filter(|value| fits(value, form)) {
                let anew = value.to_string();
                assert!(extract::json::<T>(anew.as_bytes()).is_ok(), "refused against the form: {anew}");
            }
            false
        }
    }
}

fn fits(value: &Value, form: Form) -> bool {
    match (form, value) {
        (Fixed(length), Value::String(text)) => decode(text).is_ok_and(|bytes| bytes.len() == length),
        (Bytes, Value::String(text)) => decode(text).is_ok(),
        (U32, value) => value.as_u64().is_some_and(|number| u32::try_from(number).is_ok()),
        (U64, value) => value.is_u64(),
        (Bool, value) => value.is_boolean(),
        (Text, value) => value.is_string(),
        (Word(words), Value::String(text)) => words.contains(&text.as_str()),
        (List(of), Value::Array(items)) => items.iter().all(|item| fits(item, *of)),
        (Object(known), Value::Object(fields)) => {
            let named = fields.keys().all(|name| known.iter().any(|(field, ..)| field == name));
            let right = |(name, form, needed): &(&str, Form, bool)| match fields.get(*name) {
                None => !needed,
                Some(Value::Null) => !needed,
                Some(field) => fits(field, *form),
            };
            named && known.iter().all(right)
        }
        _ => false,
    }
}

/// `null` in an optional request field is the field's absence; they all stand at the top.
fn without_nulls(mut value: Value) -> Value {
    if let Value::Object(fields) = &mut value {
        fields.retain(|_, field| !field.is_null());
    }
    value
}

/// Whether a query is taken, which is so where each part is of the one form.
fn query(text: &str) -> bool {
    let read = extract::receive_query(text);
    let mut seen = Vec::new();
    let right = |pair: &str| {
        let Some((name, value)) = pair.split_once('=') else { return false };
        let fresh = ["wait", "limit", "after"].contains(&name) && !seen.contains(&name.to_string());
        seen.push(name.to_string());
        fresh && value.parse::<u64>().is_ok_and(|number| number.to_string() == value)
    };
    let good = text.is_empty() || text.split('&').all(right);
    assert_eq!(read.is_ok(), good, "a query: {text:?}");
    good
}

/// Whether a sentence is put together of names that the protocol knows and of words that are ours, so that it says nothing of
/// what was sent.
fn is_ours(detail: &str) -> bool {
    let mut sentence = String::new();
    for part in detail.split('`').enumerate() {
        match part {
            // Within ticks stands a name, or a word.
            (at, name) if at % 2 == 1 => {
                if !NAMES.contains(&name) {
                    return false;
                }
                sentence.push('_');
            }
            (_, words) => sentence.push_str(words),
        }
    }
    while let Some(at) = sentence.find("_, _") {
        sentence.replace_range(at..at + 4, "_");
    }
    let (path, rest) = match sentence.strip_prefix('$') {
        Some(rest) => rest.split_at(rest.find([':', ' ']).unwrap_or(rest.len())),
        None => ("", sentence.as_str()),
    };
    let steps = path.split(['.', '[', ']']).filter(|step| !step.is_empty());
    let known = |step: &str| NAMES.contains(&step) || step.bytes().all(|byte| byte.is_ascii_digit());
    let mut plain = String::new();
    for letter in rest.chars() {
        match (letter.is_ascii_digit(), plain.ends_with('0')) {
            (true, true) => {}
            (true, false) => plain.push('0'),
            (false, _) => plain.push(letter),
        }
    }
    steps.into_iter().all(known) && SENTENCES.contains(&plain.as_str())
}

const NAMES: &[&str] = &[
    "account_signature",
    "after",
    "all_others",
    "body",
    "challenge",
    "code",
    "contact",
    "content",
    "device",
    "device_list",
    "envelopes_max",
    "epoch",
    "expires_at",
    "expires_in",
    "hash",
    "hashes",
    "id",
    "kind",
    "knock",
    "limit",
    "list",
    "list_key_certificate",
    "live",
    "once",
    "pass",
    "prekey",
    "record",
    "sealed",
    "seqs",
    "signature",
    "through",
    "token",
    "uses",
    "version",
];

/// After the path, with `_` for every name and 0 for every number.
const SENTENCES: &[&str] = &[
    "the body is not JSON (line 0, column 0)",
    "the body is one JSON value and nothing after it",
    " has an unknown field; expected _",
    " has an unknown field; expected _ or _",
    " has an unknown field; expected one of _",
    ": missing field _",
    ": duplicate field _",
    ": expected 0 bytes as base0url without padding",
    ": expected base0url without padding",
    ": expected a whole number",
    ": expected a boolean",
    ": expected a string",
    ": expected an array",
    ": expected an object",
    ": expected one of _",
];
