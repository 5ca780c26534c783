//! `crates/relay/src/api/openapi.yaml` against what it describes: the table of routes, the error codes, the limits and the
//! sizes, both ways, so that none of them changes without it. A live relay is held against it by `tests/openapi/run.sh`.

use std::collections::{BTreeMap, BTreeSet};

use restante::api::ROUTES;
use restante::api::routes::{Auth, Body, OPENAPI};
use restante::protocol::envelopes::{BODY_SIZES, SEQ_END, WRAP_LENGTH};
use restante::protocol::handles::RECORD_BYTES;
use restante::protocol::info::NOTICE_BYTES_MAX;
use restante::protocol::slots::SLOT_SIZES;
use restante::protocol::tokens::{TOKENS_PAGE_MAX, USES_MAX};
use restante::protocol::{ErrorCode, Limits};
use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Value, json};

use crate::support::raw::ask;
use crate::support::relay::TestRelay;

/// The description, as JSON.
fn description() -> Value {
    let mut documents = Yaml::load_from_str(OPENAPI).expect("it is YAML");
    assert_eq!(documents.len(), 1);
    value(&documents.remove(0))
}

fn value(yaml: &Yaml<'_>) -> Value {
    match yaml {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(word)) => json!(word),
        Yaml::Value(Scalar::Integer(number)) => json!(number),
        Yaml::Value(Scalar::String(text)) => json!(text),
        Yaml::Sequence(items) => items.iter().map(value).collect(),
        Yaml::Mapping(fields) => {
            let name = |key: &Yaml<'_>| key.as_str().expect("a key is text").to_string();
            fields.iter().map(|(key, field)| (name(key), value(field))).collect::<serde_json::Map<_, _>>().into()
        }
        other => panic!("no such thing belongs here: {other:?}"),
    }
}

fn object(value: &Value) -> &serde_json::Map<String, Value> {
    value.as_object().unwrap_or_else(|| panic!("an object: {value}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("a text: {value}"))
}

/// Every operation, by `METHOD path`.
fn operations(description: &Value) -> BTreeMap<String, &Value> {
    let paths = object(&description["paths"]).iter();
    let of = |(path, item)| object(item).iter().map(move |(method, one)| (format!("{} {path}", method.to_uppercase()), one));
    paths.flat_map(of).collect()
}

/// The refusals of an operation, by status: the codes that the name of each lists.
fn refusals(operation: &Value) -> BTreeMap<u16, Vec<&str>> {
    let named = object(&operation["responses"]).iter().filter_map(|(status, response)| {
        let name = response["$ref"].as_str()?.strip_prefix("#/components/responses/").expect("a response");
        Some((status.parse().expect("a status"), name.split('.').collect()))
    });
    named.collect()
}

fn code(name: &str) -> ErrorCode {
    let known = ErrorCode::ALL.iter().find(|code| code.as_str() == name);
    *known.unwrap_or_else(|| panic!("no such code: {name}"))
}

#[tokio::test]
async fn a_relay_serves_its_description() {
    let relay = TestRelay::start().await;
    let reply = relay.answer(ask("GET /v1/openapi.yaml")).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/yaml")));
    assert_eq!(reply.body, OPENAPI.as_bytes());
}

#[test]
fn the_description_has_the_routes_of_the_table_and_no_others() {
    let description = description();
    let operations = operations(&description);
    let described: BTreeSet<String> = operations.keys().cloned().collect();
    let routes = ROUTES.iter().map(|route| (format!("{} {}", route.method, route.template), route));
    let routes: BTreeMap<String, _> = routes.collect();
    assert_eq!(described, routes.keys().cloned().collect(), "openapi.yaml and ROUTES of routes.rs, in crates/relay/src/api");
    for (line, route) in routes {
        let operation = operations[&line];
        let auth = match (operation.get("security"), refusals(operation)[&400].contains(&"anonymous_only")) {
            (None, false) => Auth::Public,
            (None, true) => Auth::Anonymous,
            (Some(security), false) if *security == json!([{"session": []}]) => Auth::Session,
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(auth, route.auth, "the login of {line}");
        let body = operation.get("requestBody").map(|body| body["x-request-bytes-max"].as_u64());
        let bytes_max = (route.body != Body::None).then(|| Some(route.body.bytes_max(&Limits::default())));
        assert_eq!(body, bytes_max, "the body of {line}");
    }
    let ids: BTreeSet<&str> = operations.values().map(|operation| text(&operation["operationId"])).collect();
    assert_eq!(ids.len(), operations.len(), "each operation has an id of its own");
}

#[test]
fn each_operation_has_the_refusals_that_its_kind_has() {
    let description = description();
    let any = ["bad_request", "length_required", "uri_too_long", "wrong_host", "rate_limited", "internal"];
    for (line, operation) in operations(&description) {
        let refusals = refusals(operation);
        for (status, codes) in &refusals {
            assert!(codes.iter().all(|name| code(name).status() == *status), "{line}: {status} is not the status of {codes:?}");
        }
        let refusals: BTreeSet<&str> = refusals.into_values().flatten().collect();
        let has = |names: &[&str]| names.iter().all(|name| refusals.contains(name));
        assert!(has(&any), "{line}: {refusals:?}");
        let with_a_body = operation.get("requestBody").is_some();
        assert_eq!(has(&["too_slow", "too_large", "unsupported_media_type"]), with_a_body, "{line}");
        assert_eq!(has(&["no_session"]), operation.get("security").is_some(), "{line}");
    }
}

#[test]
fn the_description_has_the_error_codes_that_there_are() {
    let description = description();
    let codes: Vec<&str> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(description["components"]["schemas"]["ErrorCode"]["enum"], json!(codes));

    let mut described = BTreeSet::new();
    for (name, response) in object(&description["components"]["responses"]) {
        let codes: Vec<&str> = name.split('.').collect();
        let says = &response["content"]["application/problem+json"]["schema"]["allOf"][1]["properties"];
        let one = if codes.len() == 1 { json!({"const": codes[0]}) } else { json!({"enum": codes}) };
        assert_eq!(says["code"], one, "{name} is named by its codes");
        for known in codes.iter().map(|name| code(name)) {
            assert_eq!(says["status"], json!({"const": known.status()}), "{name}");
            described.insert(known.as_str());
        }
        let waiting_helps = response["headers"].get("Retry-After").is_some();
        assert_eq!(waiting_helps, [429, 503, 507].contains(&code(codes[0]).status()), "{name}");
    }
    assert_eq!(described, codes.into_iter().collect(), "every code is in a response");

    let operations = operations(&description);
    let mut refused: BTreeSet<&str> = operations.values().flat_map(|one| refusals(one).into_values().flatten()).collect();
    // No operation answers these: there is none.
    refused.extend(["not_found", "method_not_allowed"]);
    assert_eq!(described, refused, "every code is some operation's");
}

#[test]
fn the_description_has_the_limits_and_sizes_that_there_are() {
    let description = description();
    let schemas = &description["components"]["schemas"];
    let limits = &schemas["Limits"];
    let defaults = Limits::default().table();
    let described = object(&limits["properties"]).iter().map(|(name, limit)| (name.clone(), limit["default"].as_u64()));
    assert_eq!(described.collect::<BTreeMap<_, _>>(), defaults.iter().map(|(name, of)| (name.clone(), Some(*of))).collect());
    assert_eq!(limits["required"], json!(defaults.keys().collect::<Vec<_>>()));

    let length = |bytes: usize| (bytes * 8).div_ceil(6);
    let exactly = |bytes: usize| json!({"minLength": length(bytes), "maxLength": length(bytes)});
    assert_eq!(schemas["Body"]["oneOf"], json!(BODY_SIZES.map(exactly)));
    assert_eq!(schemas["SlotContent"]["oneOf"], json!(SLOT_SIZES.map(exactly)));
    for (name, bytes) in [("Bytes16", 16), ("Bytes20", 20), ("Bytes32", 32), ("Bytes44", WRAP_LENGTH), ("Bytes64", 64)] {
        assert_eq!(schemas[name]["maxLength"], json!(length(bytes)), "{name}");
        assert_eq!(schemas[name]["minLength"], json!(length(bytes)), "{name}");
    }
    let at = |path: &str| schemas.pointer(path).unwrap_or_else(|| panic!("nothing at {path}")).as_u64().expect("a number");
    let receive = |at: usize| description["paths"]["/v1/envelopes"]["get"]["parameters"][at]["schema"]["maximum"].as_u64();
    assert_eq!(receive(0), Some(defaults["long_poll_secs_max"]));
    assert_eq!(receive(1), Some(defaults["page_envelopes_max"]));
    for (path, bound) in [
        ("/PutHandleRequest/properties/record/maxLength", length(RECORD_BYTES) as u64),
        ("/HandleRecord/properties/record/maxLength", length(RECORD_BYTES) as u64),
        ("/RevokeTokensRequest/properties/hashes/maxItems", TOKENS_PAGE_MAX),
        ("/ListTokensRequest/properties/limit/maximum", TOKENS_PAGE_MAX),
        ("/Tokens/properties/tokens/maxItems", TOKENS_PAGE_MAX),
        ("/AddTokenRequest/oneOf/2/properties/uses/maximum", USES_MAX),
        ("/EnvelopesMax/maximum", defaults["mailbox_envelopes_max"]),
        ("/AckRequest/properties/seqs/maxItems", defaults["ack_seqs_max"]),
        ("/SendRequest/properties/sealed/maxItems", defaults["devices_max"]),
        ("/SendRequest/properties/expires_in/minimum", defaults["expires_in_secs_min"]),
        ("/Notice/properties/text/maxLength", NOTICE_BYTES_MAX as u64),
        ("/Seq/maximum", SEQ_END - 1),
        ("/Time/maximum", SEQ_END - 1),
    ] {
        assert_eq!(at(path), bound, "{path}");
    }
}

#[test]
fn every_part_of_the_description_is_referred_to_and_there() {
    let description = description();
    let mut named = BTreeSet::new();
    references(&description, &mut named);
    let mut parts = BTreeSet::new();
    for kind in ["headers", "parameters", "responses", "schemas"] {
        parts.extend(object(&description["components"][kind]).keys().map(|name| format!("#/components/{kind}/{name}")));
    }
    // The frames of a stream, and the answers to what is no operation: only the text can name them.
    for by_text in ["schemas/ClientFrame", "schemas/RelayFrame", "responses/not_found", "responses/method_not_allowed"] {
        assert!(named.insert(format!("#/components/{by_text}")), "{by_text}");
    }
    assert_eq!(named, parts);
}

fn references(value: &Value, named: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            named.extend(fields.get("$ref").map(|reference| text(reference).to_string()));
            fields.values().for_each(|field| references(field, named));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, named)),
        _ => {}
    }
}
