//! Reading requests: head, query, login and body, each strictly. A refusal names the place and what was expected there, and
//! never a value.

use std::pin::pin;
use std::time::Duration;

use bytes::Buf;
use futures_util::{Stream, StreamExt};
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
use warp::http::{HeaderMap, Method, Uri, Version, header};

use super::error::ApiError;
use super::routes::{Auth, Route};
use super::strict::Strict;
use crate::protocol::envelopes::ReceiveQuery;
use crate::protocol::slots::{SLOT_ID, version_of};
use crate::protocol::stream::ClientFrame;
use crate::protocol::{ErrorCode, SessionToken, SlotId};
use crate::service::rates::Prefix;
use crate::service::{Relay, Session};

/// Who sends a request, as far as the relay wants to know: the prefix that its rates are counted by.
#[derive(Debug, Clone, Copy, Default)]
pub struct Caller(pub Option<Prefix>);

/// What must be right before a route is even looked for. `hosts` are the public ones; none means that any will do.
pub fn check_head(version: Version, uri: &Uri, headers: &HeaderMap, hosts: &[String]) -> Result<(), ApiError> {
    let bad = |detail| ApiError::new(ErrorCode::BadRequest, detail).close();
    let length = uri.path_and_query().map_or(0, |path| path.as_str().len());
    if length > URI_BYTES_MAX {
        return Err(ApiError::new(ErrorCode::UriTooLong, "a path and query have at most 1024 bytes").close());
    }
    let mut named = headers.get_all(header::HOST).iter();
    let host = named.next();
    if named.next().is_some() {
        return Err(bad("a request has one Host"));
    }
    if host.is_none() && version >= Version::HTTP_11 {
        return Err(bad("a request of HTTP/1.1 has a Host"));
    }
    let absolute = uri.authority().map(|authority| authority.as_str().to_ascii_lowercase());
    if !hosts.is_empty() {
        let host = host.and_then(|host| host.to_str().ok()).map(str::to_ascii_lowercase);
        let known = |name: &Option<String>| name.as_ref().is_some_and(|name| hosts.iter().any(|host| host == name));
        if !known(&host) || (absolute.is_some() && !known(&absolute)) {
            return Err(ApiError::new(ErrorCode::WrongHost, "this relay serves other hosts; see its `server.origins`"));
        }
    }
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(ApiError::new(ErrorCode::LengthRequired, "send a Content-Length, and no Transfer-Encoding").close());
    }
    Ok(())
}

/// The login that a route needs, or must not have.
pub fn session(relay: &Relay, route: &Route, headers: &HeaderMap) -> Result<Option<Session>, ApiError> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let first = given.next();
    match route.auth {
        Auth::Public => Ok(None),
        Auth::Anonymous if first.is_some() => {
            Err(ApiError::new(ErrorCode::AnonymousOnly, "send this without Authorization: it would say who you are"))
        }
        Auth::Anonymous => Ok(None),
        Auth::Session => {
            let single = first.filter(|_| given.next().is_none()).and_then(|value| value.to_str().ok());
            let token = single.and_then(|text| text.strip_prefix("Bearer ")).and_then(|text| text.parse::<SessionToken>().ok());
            // A bearer of no session at all stands for one that is malformed: the same work, the same answer.
            let session = relay.authenticate(&token.unwrap_or(SessionToken([0; 32])))?;
            relay.rate_device(&session)?;
            Ok(Some(session))
        }
    }
}

/// The whole body of a request, in time and within its bound.
pub async fn body<B: Buf, E>(
    relay: &Relay,
    route: &Route,
    headers: &HeaderMap,
    stream: impl Stream<Item = Result<B, E>>,
) -> Result<Vec<u8>, ApiError> {
    let limits = relay.limits();
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if route.method == Method::GET {
        return match length {
            None | Some(0) => Ok(Vec::new()),
            Some(_) => Err(ApiError::new(ErrorCode::BadRequest, "this path takes no request body").close()),
        };
    }
    let length = length.ok_or_else(|| ApiError::new(ErrorCode::LengthRequired, "send a Content-Length").close())?;
    let bytes_max = route.body.bytes_max(limits);
    if length > bytes_max {
        let detail = format!("a request body has at most {bytes_max} bytes here");
        return Err(ApiError::new(ErrorCode::TooLarge, detail).close());
    }
    let plain = headers.get(header::CONTENT_TYPE).is_some_and(|value| value.to_str().is_ok_and(is_json));
    if !plain || headers.contains_key(header::CONTENT_ENCODING) {
        let detail = "send `Content-Type: application/json`, and no Content-Encoding";
        return Err(ApiError::new(ErrorCode::UnsupportedMediaType, detail).close());
    }
    let clock = relay.clock();
    let began = clock.elapsed();
    let too_slow = || ApiError::new(ErrorCode::TooSlow, "a request body comes whole in time, at 1 KiB/s at least").close();
    let mut bytes = Vec::with_capacity(length as usize);
    let mut stream = pin!(stream);
    let mut deadline = pin!(clock.sleep_until(began + Duration::from_secs(limits.body_secs)));
    loop {
        let chunk = tokio::select! {
            // What is there already sets no alarm.
            biased;
            chunk = stream.next() => chunk,
            () = &mut deadline => return Err(too_slow()),
        };
        let Some(chunk) = chunk else { return Ok(bytes) };
        let mut chunk = chunk.map_err(|_| ApiError::new(ErrorCode::BadRequest, "the request body broke off").close())?;
        while chunk.has_remaining() {
            let part = chunk.chunk();
            bytes.extend_from_slice(part);
            let read = part.len();
            chunk.advance(read);
        }
        let due = clock.elapsed().saturating_sub(began).as_secs().saturating_sub(1) * BODY_BYTES_PER_SEC_MIN;
        if (bytes.len() as u64) < due.min(length) {
            return Err(too_slow());
        }
    }
}

/// A JSON body as a request type.
pub fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = T::deserialize(Strict(&mut deserializer)).or_else(|_| {
        // To know the place costs more than to read the rest: only who is refused waits for it.
        deserializer = serde_json::Deserializer::from_slice(body);
        let parsed = serde_path_to_error::deserialize(Strict(&mut deserializer));
        parsed.map_err(|error| ApiError::new(ErrorCode::BadRequest, explained(&error)))
    })?;
    deserializer.end().map_err(|_| ApiError::new(ErrorCode::BadRequest, "the body is one JSON value and nothing after it"))?;
    Ok(value)
}

/// A client's frame on a stream.
pub fn frame(text: &[u8]) -> Result<ClientFrame, ApiError> {
    // serde would take an array for a tagged object.
    if text.trim_ascii_start().first() != Some(&b'{') {
        return Err(ApiError::new(ErrorCode::BadRequest, "a frame is one JSON object"));
    }
    json(text)
}

/// The slot that a request is about.
pub fn slot_id(headers: &HeaderMap) -> Result<SlotId, ApiError> {
    let detail = "the header `Slot-Id` stands once: 32 bytes as base64url without padding";
    let slot = single(headers, SLOT_ID).and_then(|text| text.parse().ok());
    slot.ok_or_else(|| ApiError::new(ErrorCode::BadRequest, detail))
}

/// What a slot must be for its change: of a version, or not there yet.
pub fn slot_condition(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let bad = |detail| ApiError::new(ErrorCode::BadRequest, detail);
    match (headers.contains_key(header::IF_MATCH), headers.contains_key(header::IF_NONE_MATCH)) {
        (true, false) => {
            let version = single(headers, header::IF_MATCH.as_str()).and_then(version_of);
            version.map(Some).ok_or_else(|| bad("`If-Match` stands once: a version as `ETag` gave it, in double quotes"))
        }
        (false, true) => match single(headers, header::IF_NONE_MATCH.as_str()) {
            Some("*") => Ok(None),
            _ => Err(bad("`If-None-Match` stands once, and is `*`")),
        },
        _ => {
            let detail = "a slot is changed with one of `If-Match: \"version\"` and `If-None-Match: *`";
            Err(ApiError::new(ErrorCode::ConditionNeeded, detail))
        }
    }
}

/// The value of a header that stands exactly once and is text.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut given = headers.get_all(name).iter();
    let first = given.next()?;
    if given.next().is_none() { first.to_str().ok() } else { None }
}

/// The query of a receive: `wait`, `limit`, `after`, each once at most, decimal digits.
pub fn receive_query(query: &str) -> Result<ReceiveQuery, ApiError> {
    let bad = |detail: &str| ApiError::new(ErrorCode::BadRequest, detail);
    let (mut wait, mut limit, mut after) = (None, None, None);
    for pair in (!query.is_empty()).then(|| query.split('&')).into_iter().flatten() {
        let (name, value) = pair.split_once('=').ok_or_else(|| bad("a query is name=value, joined by &"))?;
        let slot = match name {
            "wait" => &mut wait,
            "limit" => &mut limit,
            "after" => &mut after,
            _ => return Err(bad("the query takes `wait`, `limit` and `after`")),
        };
        let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        let canonical = digits && (value == "0" || !value.starts_with('0'));
        let number = canonical.then(|| value.parse().ok()).flatten();
        let number: u64 = number.ok_or_else(|| bad("a query's values are whole numbers in decimal digits"))?;
        if slot.replace(number).is_some() {
            return Err(bad("a query's parameter stands once"));
        }
    }
    Ok(ReceiveQuery { wait: wait.unwrap_or(0), limit, after: after.unwrap_or(0) })
}

/// No query at all.
pub fn no_query(query: &str) -> Result<(), ApiError> {
    if query.is_empty() { Ok(()) } else { Err(ApiError::new(ErrorCode::BadRequest, "this path takes no query")) }
}

fn is_json(value: &str) -> bool {
    let (kind, parameter) = value.split_once(';').unwrap_or((value, ""));
    let parameter = parameter.trim();
    kind.trim().eq_ignore_ascii_case("application/json")
        && (parameter.is_empty() || parameter.eq_ignore_ascii_case("charset=utf-8"))
}

/// Place and expectation, out of serde's sentence, which may hold a value or an unknown name.
fn explained(error: &serde_path_to_error::Error<serde_json::Error>) -> String {
    let inner = error.inner();
    if inner.is_syntax() || inner.is_eof() {
        return format!("the body is not JSON (line {}, column {})", inner.line(), inner.column());
    }
    let sentence = inner.to_string();
    let place = format!(" at line {} column {}", inner.line(), inner.column());
    let sentence = sentence.strip_suffix(&place).unwrap_or(&sentence);
    let expected = sentence.rsplit_once("expected ").map(|(_, expected)| expected);
    let mut segments: Vec<&Segment> = error.path().iter().collect();
    let unknown = sentence.starts_with("unknown field");
    if unknown {
        // The last one is the name that the client made up.
        segments.pop();
    }
    let mut path = String::from("$");
    for segment in segments {
        match segment {
            Segment::Seq { index } => path.push_str(&format!("[{index}]")),
            Segment::Map { key } => path.push_str(&format!(".{key}")),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    if unknown {
        return format!("{path} has an unknown field; expected {}", expected.unwrap_or("no fields"));
    }
    if sentence.starts_with("missing field") || sentence.starts_with("duplicate field") {
        return format!("{path}: {sentence}");
    }
    let expected = match expected.unwrap_or("another value") {
        "u32" | "u64" => "a whole number",
        "a sequence" => "an array",
        "variant identifier" => "a string",
        name if name.starts_with("struct ") => "an object",
        other => other,
    };
    format!("{path}: expected {expected}")
}

/// The longest path and query.
const URI_BYTES_MAX: usize = 1_024;
/// After a first second of grace.
const BODY_BYTES_PER_SEC_MIN: u64 = 1_024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::envelopes::SendRequest;

    fn detail(body: &str) -> String {
        let error = json::<SendRequest>(body.as_bytes()).expect_err("it is refused");
        format!("{error:?}")
    }

    #[test]
    fn a_refusal_names_the_place_and_never_the_value() {
        for (body, expected) in [
            (r#"{"token": "SECRET"}"#, "$.token: expected 32 bytes as base64url without padding"),
            (r#"{"SECRET": 1}"#, "$ has an unknown field; expected one of"),
            (r#"{"sealed": [{"device": 5}]}"#, "$.sealed[0].device: expected 32 bytes"),
            (r#"{"expires_in": "SECRET"}"#, "$.expires_in: expected a whole number"),
            (r#"{"expires_in": -1}"#, "$.expires_in: expected a whole number"),
            (r#"{"expires_in": 1.0}"#, "$.expires_in: expected a whole number"),
            (r#"{"list": {"a.SECRET.b": 2}}"#, "$.list has an unknown field; expected `epoch` or `version`"),
            (r#"{"list": {"expected SECRET at line 1": 2}}"#, "$.list has an unknown field; expected `epoch` or `version`"),
            (r#"{"list": {"expected SECRET": 2}}"#, "$.list has an unknown field; expected `epoch` or `version`"),
            (r#"{"sealed": {"SECRET": 1}}"#, "$.sealed: expected an array"),
            (r#"["SECRET"]"#, "$: expected an object"),
            (r#"{"list": [1, 2]}"#, "$.list: expected an object"),
            (r#"{"sealed": [["SECRET"]]}"#, "$.sealed[0]: expected an object"),
            (r#"{"list": {"epoch": 1, "SECRET": 2}}"#, "$.list has an unknown field"),
            ("{", "the body is not JSON"),
        ] {
            let said = detail(body);
            assert!(said.contains(expected), "{body}: {said}");
            assert!(!said.contains("SECRET"), "{body}: {said}");
        }
    }

    #[test]
    fn a_word_is_a_string() {
        for (kind, good) in [(r#""once""#, true), (r#"{"once": null}"#, false), (r#"["once"]"#, false), (r#""SECRET""#, false)]
        {
            let hash = crate::protocol::TokenHash([1; 32]).encode();
            let body = format!(r#"{{"hash": "{hash}", "kind": {kind}}}"#);
            let parsed = json::<crate::protocol::tokens::AddTokenRequest>(body.as_bytes());
            assert_eq!(parsed.is_ok(), good, "{kind}");
            assert!(!format!("{parsed:?}").contains("SECRET"), "{parsed:?}");
        }
    }

    #[test]
    fn a_query_is_strict() {
        assert_eq!(receive_query("wait=25&limit=100&after=7").expect("good").after, 7);
        assert_eq!(receive_query("").expect("good"), ReceiveQuery::default());
        for bad in [
            "wait=+5",
            "wait=007",
            "wait=-0",
            "wait=",
            "wait",
            "wait=1&wait=2",
            "from=1",
            "wait=1&",
            "&wait=1",
            "wait=1&&after=2",
            "after=18446744073709551616",
            "wait=1e3",
        ] {
            assert!(receive_query(bad).is_err(), "{bad}");
        }
    }
}
