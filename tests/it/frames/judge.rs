//! What must hold of every string of bytes that is read as a client's frame, judged by a second reading of the rules in
//! `docs/protocol.md` §9. The fuzz target `frames` compiles this very file.

use restante::api::error::ApiError;
use restante::api::extract;
use restante::protocol::{ErrorCode, SessionToken};
use serde_json::Value;

/// Panics where the parser and the rules differ. Gives whether the frame was taken.
pub(crate) fn judge(bytes: &[u8]) -> bool {
    let value: Option<Value> = serde_json::from_slice(bytes).ok();
    let parsed = extract::frame(bytes);
    match &parsed {
        Ok(frame) => {
            let value = value.as_ref().expect("what was taken is JSON");
            assert!(is_a_frame(value), "taken against the rules: {value}");
            let again = serde_json::to_value(frame).expect("a frame serializes");
            assert_eq!(again, without_nulls(value), "something in it was read otherwise than it stands there");
        }
        Err(_) => {
            // Written anew, nothing is wrong with it but what it says: no key twice, nothing around it.
            if let Some(value) = value.filter(is_a_frame) {
                let anew = value.to_string();
                assert!(extract::frame(anew.as_bytes()).is_ok(), "refused against the rules: {anew}");
            }
        }
    }
    parsed.map_err(refusal).is_ok()
}

/// The rules, once more and in other words.
fn is_a_frame(value: &Value) -> bool {
    let Value::Object(fields) = value else { return false };
    let only = |names: &[&str]| fields.keys().all(|name| name == "type" || names.contains(&name.as_str()));
    match fields.get("type").and_then(Value::as_str) {
        Some("auth") => {
            let session = fields.get("session").and_then(Value::as_str);
            only(&["session"]) && session.is_some_and(|session| session.parse::<SessionToken>().is_ok())
        }
        Some("ack") => {
            let seqs = fields.get("seqs").unwrap_or(&Value::Null);
            let whole = |seqs: &Vec<Value>| seqs.iter().all(Value::is_u64);
            let through = fields.get("through").unwrap_or(&Value::Null);
            only(&["seqs", "through"])
                && (seqs.is_null() || seqs.as_array().is_some_and(whole))
                && (through.is_null() || through.is_u64())
        }
        _ => false,
    }
}

/// `null` in an optional field is the field's absence.
fn without_nulls(value: &Value) -> Value {
    let mut value = value.clone();
    if let Value::Object(fields) = &mut value {
        fields.retain(|_, field| !field.is_null());
    }
    value
}

/// A refusal says one of these, and so nothing of what was sent.
fn refusal(refusal: ApiError) {
    let (code, detail) = refusal.parts();
    assert_eq!(code, ErrorCode::BadRequest);
    let mut sentence = String::new();
    for part in detail.chars() {
        match (part.is_ascii_digit(), sentence.ends_with('0')) {
            (true, true) => {}
            (true, false) => sentence.push('0'),
            (false, _) => sentence.push(part),
        }
    }
    assert!(SENTENCES.contains(&sentence.as_str()), "a sentence that nobody wrote: {detail}");
}

/// With 0 in the place of every number.
const SENTENCES: &[&str] = &[
    "a frame is one JSON object",
    "the body is not JSON (line 0, column 0)",
    "the body is one JSON value and nothing after it",
    "$ has an unknown field; expected `seqs` or `through`",
    "$ has an unknown field; expected `session`",
    "$: duplicate field `seqs`",
    "$: duplicate field `session`",
    "$: duplicate field `through`",
    "$: duplicate field `type`",
    "$: expected 0 bytes as base0url without padding",
    "$: expected a whole number",
    "$: expected an array",
    "$: missing field `session`",
    "$: missing field `type`",
    "$.type: expected `auth` or `ack`",
    "$.type: expected a string",
];
