//! Web pages over a real socket: who may read what from a browser, and that nothing changes where no page was configured.

use restante::api::ROUTES;
use restante::api::web::may_stream;
use serde_json::json;
use warp::http::{HeaderMap, header};

use crate::support::raw::{Ask, Reply, ask};
use crate::support::relay::TestRelay;
use crate::support::ws::upgrade;

const PAGE: &str = "https://app.example";
const STRANGERS: [&str; 6] =
    ["null", "https://evil.example", "http://app.example", "https://app.example:444", "https://app.example/", "*"];

async fn relay() -> TestRelay {
    TestRelay::with(|config| {
        config.server.web_origins = vec!["https://app.example:443".into(), "http://localhost:5173".into()];
    })
    .await
}

fn preflight(path: &str) -> Ask {
    ask(&format!("OPTIONS {path}"))
        .header("Access-Control-Request-Method", "POST")
        .header("Access-Control-Request-Headers", "authorization,content-type")
}

/// The headers of a reply that concern pages, sorted.
fn of_pages(reply: &Reply) -> Vec<String> {
    let of_pages = |name: &str| name == "vary" || name.starts_with("access-control-");
    let mut found: Vec<String> =
        reply.headers.iter().filter(|(name, _)| of_pages(name)).map(|(name, value)| format!("{name}: {value}")).collect();
    found.sort();
    found
}

/// What every reply to a known page has.
fn readable_by(page: &str) -> Vec<String> {
    let origin = format!("access-control-allow-origin: {page}");
    vec![origin, "access-control-expose-headers: ETag, Retry-After".into(), "vary: Origin".into()]
}

#[tokio::test]
async fn a_known_pages_preflight_is_answered_on_every_path() {
    let relay = relay().await;
    for route in ROUTES {
        let mut socket = relay.socket().await;
        socket.send(&preflight(route.template).header("Origin", PAGE).bytes()).await;
        let reply = socket.reply().await.expect("a reply");
        assert_eq!((reply.status, reply.body.len(), reply.header("content-type")), (204, 0, None));
        let methods = reply.header("access-control-allow-methods").expect("methods").to_string();
        assert!(methods.split(", ").any(|method| route.method == method), "{}: {methods}", route.template);
        assert!(!methods.contains("OPTIONS"), "{methods}");
        let mut expected = vec![
            "access-control-allow-headers: authorization, content-type, if-match, if-none-match, slot-id".into(),
            format!("access-control-allow-methods: {methods}"),
            "access-control-max-age: 86400".into(),
        ];
        expected.extend(readable_by(PAGE));
        expected.sort();
        assert_eq!(of_pages(&reply), expected);
        socket.send(&ask("GET /healthz").bytes()).await;
        assert_eq!(socket.reply().await.expect("the connection lives on").status, 200);
    }
    let reply = relay.answer(preflight("/v1/envelopes").header("Origin", PAGE)).await;
    let mut methods: Vec<&str> = reply.header("access-control-allow-methods").expect("methods").split(", ").collect();
    methods.sort_unstable();
    assert_eq!(methods, ["GET", "HEAD", "POST"]);
    let reply = relay.answer(preflight("/v1/nothing").header("Origin", PAGE)).await;
    reply.refused(404, "not_found");
    assert_eq!(of_pages(&reply), readable_by(PAGE));
}

#[tokio::test]
async fn any_other_pages_preflight_is_refused() {
    let relay = relay().await;
    for stranger in STRANGERS {
        let reply = relay.answer(preflight("/v1/envelopes").header("Origin", stranger)).await;
        reply.refused(403, "origin_refused");
        assert!(reply.json()["detail"].as_str().expect("a detail").contains("`server.web_origins`"), "{reply:?}");
        assert_eq!(of_pages(&reply), ["vary: Origin"], "{stranger}");
    }
    let twice = preflight("/v1/info").header("Origin", PAGE).header("Origin", PAGE);
    relay.answer(twice).await.refused(403, "origin_refused");
    // No preflight: nobody asks for a page, or for no method.
    let reply = relay.answer(preflight("/v1/info")).await;
    reply.refused(405, "method_not_allowed");
    assert_eq!(of_pages(&reply), ["vary: Origin"]);
    let reply = relay.answer(ask("OPTIONS /v1/info").header("Origin", PAGE)).await;
    reply.refused(405, "method_not_allowed");
    assert_eq!(of_pages(&reply), readable_by(PAGE));
}

#[tokio::test]
async fn a_known_page_reads_what_everybody_gets() {
    let relay = relay().await;
    let plain = relay.answer(ask("GET /healthz")).await;
    assert_eq!(of_pages(&plain), ["vary: Origin"]);
    for page in [PAGE, "https://app.example:443", "http://localhost:5173"] {
        let reply = relay.answer(ask("GET /healthz").header("Origin", page)).await;
        assert_eq!((reply.status, &reply.body, of_pages(&reply)), (200, &plain.body, readable_by(page)));
    }
    for stranger in STRANGERS {
        assert_eq!(relay.answer(ask("GET /healthz").header("Origin", stranger)).await, plain, "{stranger}");
    }
}

#[tokio::test]
async fn refusals_are_readable_too_whoever_makes_them() {
    let relay = TestRelay::with(|config| {
        config.server.origins = vec!["https://relay.example:443".into()];
        config.server.web_origins = vec!["https://app.example:443".into()];
    })
    .await;
    let ask = |line: &str| ask(line).header("Origin", PAGE);
    let here = |line: &str| {
        let bytes = String::from_utf8(ask(line).bytes()).expect("UTF-8").replace("Host: 127.0.0.1", "Host: relay.example");
        bytes.into_bytes()
    };
    let with = |line: &str, more: &str| {
        let bytes = String::from_utf8(here(line)).expect("UTF-8");
        bytes.replace("\r\n\r\n", &format!("\r\n{more}\r\n\r\n")).into_bytes()
    };
    let rows = [
        (ask("GET /healthz").bytes(), 421, "wrong_host"),
        (here("GET /v1/nothing"), 404, "not_found"),
        (here("DELETE /v1/info"), 405, "method_not_allowed"),
        (here("GET /v1/account"), 401, "no_session"),
        (here("GET /v1/info?x=1"), 400, "bad_request"),
        (here("POST /v1/keys"), 411, "length_required"),
        (with("GET /healthz", "Transfer-Encoding: chunked"), 411, "length_required"),
        (with("POST /v1/keys", "Authorization: Bearer x"), 400, "anonymous_only"),
        (here(&format!("GET /v1/info?{}", "x".repeat(1_024))), 414, "uri_too_long"),
        (here("GET /v1/stream"), 426, "upgrade_required"),
    ];
    for (bytes, status, code) in rows {
        let reply = relay.raw(&bytes).await.expect("a reply");
        reply.refused(status, code);
        assert_eq!(of_pages(&reply), readable_by(PAGE), "{code}");
    }
    // The head is looked at first: a preflight to another host is that host's matter.
    relay.answer(preflight("/v1/info").header("Origin", PAGE)).await.refused(421, "wrong_host");
}

#[tokio::test]
async fn where_no_page_is_configured_nothing_changes() {
    let relay = TestRelay::start().await;
    let challenge = json!({"device": restante::protocol::DeviceId([1; 32])});
    for request in [
        ask("GET /healthz"),
        ask("GET /v1/nothing"),
        ask("GET /v1/account"),
        ask("DELETE /v1/info"),
        ask("POST /v1/keys").json(&json!({})),
        ask("POST /v1/auth/login").json(&challenge),
        ask("OPTIONS /v1/info"),
        preflight("/v1/info"),
        preflight("/v1/nothing"),
    ] {
        let request = request.header("Connection", "close");
        let plain = bytes(&relay, &request).await;
        for origin in [PAGE, "null", &relay.origin()] {
            let asked = bytes(&relay, &request.clone().header("Origin", origin)).await;
            assert_eq!(String::from_utf8_lossy(&asked), String::from_utf8_lossy(&plain), "{origin}");
        }
    }
    let healthz = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncache-control: no-store\r\n\
                   x-content-type-options: nosniff\r\nconnection: close\r\ncontent-length: 14\r\n\r\n{\"alive\":true}";
    let said = bytes(&relay, &ask("GET /healthz").header("Connection", "close").header("Origin", PAGE)).await;
    assert_eq!(String::from_utf8_lossy(&said), healthz);
    relay.answer(preflight("/v1/info").header("Origin", PAGE)).await.refused(405, "method_not_allowed");
}

/// Everything that a relay says to one request.
async fn bytes(relay: &TestRelay, request: &Ask) -> Vec<u8> {
    let mut socket = relay.socket().await;
    socket.send(&request.bytes()).await;
    socket.rest().await
}

#[tokio::test]
async fn a_stream_is_for_the_relays_own_pages_and_the_known_ones() {
    let may = |relay: &TestRelay, origins: &[&str]| {
        let mut headers = HeaderMap::new();
        for origin in origins {
            headers.append(header::ORIGIN, origin.parse().expect("a header's value"));
        }
        may_stream(&relay.relay, &headers).map_err(|refusal| refusal.reply().status().as_u16())
    };
    let relay = relay().await;
    let own = relay.origin();
    let localhost = format!("http://localhost:{}", relay.address.port());
    assert_eq!(may(&relay, &[]), Ok(()));
    for good in [&*own, &*localhost, PAGE, "https://app.example:443", "http://localhost:5173"] {
        assert_eq!(may(&relay, &[good]), Ok(()), "{good}");
    }
    for stranger in STRANGERS {
        assert_eq!(may(&relay, &[stranger]), Err(403), "{stranger}");
    }
    assert_eq!(may(&relay, &[PAGE, PAGE]), Err(403));
    for (origin, status) in [(&*own, 101), (PAGE, 101), (STRANGERS[1], 403)] {
        assert_eq!(relay.answer(upgrade().header("Origin", origin)).await.status, status, "{origin}");
    }

    let relay = TestRelay::start().await;
    let own = relay.origin();
    assert_eq!((may(&relay, &[]), may(&relay, &[&own]), may(&relay, &[PAGE])), (Ok(()), Ok(()), Err(403)));
}
