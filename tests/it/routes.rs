//! Every route of the table, asked by everybody who should not: a route that is new is asked too.

use restante::api::ROUTES;
use restante::api::routes::Auth;
use serde_json::json;

use crate::support::person::Person;
use crate::support::raw::{Ask, Reply, ask};
use crate::support::relay::TestRelay;

/// A request to each route that gets as far as its login.
fn asks() -> impl Iterator<Item = (String, Auth, Ask)> {
    ROUTES.iter().map(|route| {
        let line = format!("{} {}", route.method, route.template);
        let request = if route.method == "GET" { ask(&line) } else { ask(&line).json(&json!({})) };
        (line, route.auth, request)
    })
}

#[tokio::test]
async fn whoever_has_no_session_gets_one_and_the_same_refusal() {
    let (relay, clock) = TestRelay::by_hand(|_| {}).await;
    let bo = Person::new();
    let expired = bo.settle(&relay).await;
    clock.advance(1_801);
    let revoked = bo.login(&relay).await;
    let session = bo.login(&relay).await;
    let others = ask("POST /v1/sessions/revoke").by(&session).json(&json!({"all_others": true}));
    assert_eq!(relay.answer(others).await.ok(200)["revoked"], 1);

    let one_bit = format!("{}{}", if session.starts_with('A') { 'B' } else { 'A' }, &session[1..]);
    let bearer = |token: &str| format!("Bearer {token}");
    let headers = [
        vec![],
        vec![String::new()],
        vec!["Bearer".into()],
        vec![bearer("")],
        vec![bearer("garbage")],
        vec![bearer(&one_bit)],
        vec![bearer(&session[1..])],
        vec![format!("bearer {session}")],
        vec![format!("Bearer  {session}")],
        vec![bearer(&format!("{session}="))],
        vec![bearer(&"a".repeat(4_096))],
        vec![format!("Basic {session}")],
        vec![bearer(&session), bearer(&session)],
        vec![bearer(&expired)],
        vec![bearer(&revoked)],
    ];
    let mut refusal: Option<Reply> = None;
    let mut routes = 0;
    for (line, _, request) in asks().filter(|(_, auth, _)| *auth == Auth::Session) {
        routes += 1;
        for given in &headers {
            let with = given.iter().fold(request.clone(), |request, value| request.header("Authorization", value));
            let mut reply = relay.answer(with).await;
            reply.refused(401, "no_session");
            // Whether the connection goes on depends on whether the body had come; nothing else may differ.
            reply.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("connection"));
            let first = refusal.get_or_insert_with(|| reply.clone());
            assert_eq!(&reply, first, "{line} with {given:?}");
        }
        let reply = relay.answer(request.by(&session)).await;
        assert_ne!(reply.status, 401, "{line} with a session");
    }
    assert!(routes > 8);
}

#[tokio::test]
async fn an_anonymous_route_refuses_whoever_says_who_they_are() {
    let relay = TestRelay::start().await;
    let bo = Person::new();
    let session = bo.settle(&relay).await;
    let token = bo.token(&relay, &session).await;
    for (line, _, _) in asks().filter(|(_, auth, _)| *auth == Auth::Anonymous) {
        for value in [format!("Bearer {session}"), "Bearer garbage".into(), "Basic eDp5".into(), String::new()] {
            let good = match line.rsplit('/').next() {
                Some("keys") => json!({"token": token}),
                Some("lookup") => json!({"hash": token.hash()}),
                _ => bo.parcel(&token, 1, 1_024),
            };
            let reply = relay.answer(ask(&line).json(&good).header("Authorization", &value)).await;
            reply.refused(400, "anonymous_only");
        }
    }
    let waiting = relay.answer(ask("GET /v1/envelopes").by(&session)).await.ok(200);
    assert_eq!(waiting["envelopes"], json!([]), "nothing was stored");
}

#[tokio::test]
async fn every_path_refuses_other_methods_queries_and_bodies() {
    let relay = TestRelay::start().await;
    for route in ROUTES {
        let reply = relay.answer(ask(&format!("DELETE {}", route.template))).await;
        reply.refused(405, "method_not_allowed");
        let allowed = reply.header("allow").expect("an Allow").to_string();
        assert!(allowed.split(", ").any(|method| route.method == method), "{}: {allowed}", route.template);
        relay.answer(ask(&format!("{} {}/", route.method, route.template))).await.refused(404, "not_found");
        if route.auth == Auth::Session {
            continue;
        }
        let line = format!("{} {}?x=1", route.method, route.template);
        let request = if route.method == "GET" { ask(&line) } else { ask(&line).json(&json!({})) };
        relay.answer(request).await.refused(400, "bad_request");
        let line = format!("{} {}", route.method, route.template);
        if route.method == "GET" {
            relay.answer(ask(&line).json(&json!({}))).await.refused(400, "bad_request");
        } else {
            let bound = route.body.bytes_max(&relay.config.limits);
            let body = |bytes: u64| vec![b' '; usize::try_from(bytes).expect("a length")];
            relay.answer(ask(&line).body(body(bound))).await.refused(400, "bad_request");
            relay.answer(ask(&line).body(body(bound + 1))).await.refused(413, "too_large");
        }
    }
}

#[tokio::test]
async fn every_reply_has_the_same_headers_and_none_that_tells_the_time() {
    let relay = TestRelay::start().await;
    for (line, _, request) in asks() {
        let reply = relay.answer(request).await;
        let mut names: Vec<&str> = reply.headers.iter().map(|(name, _)| name.as_str()).collect();
        // A plain request for a stream is told what to ask for.
        names.retain(|name| *name != "connection" && !(*name == "upgrade" && reply.status == 426));
        names.sort_unstable();
        assert_eq!(names, ["cache-control", "content-length", "content-type", "x-content-type-options"], "{line}");
        assert_eq!(reply.header("cache-control"), Some("no-store"));
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(relay.answer(ask(&format!("GET {path}"))).await.status, 200);
        let bytes = ask(&format!("HEAD {path}")).header("Connection", "close").bytes();
        let mut socket = relay.socket().await;
        socket.send(&bytes).await;
        let said = String::from_utf8(socket.rest().await).expect("UTF-8");
        assert!(said.starts_with("HTTP/1.1 200 ") && said.ends_with("\r\n\r\n"), "{said}");
    }
}
