//! Bad input and the answer due, row by row over a real socket. After each row the relay still serves, and an envelope that
//! waited still waits.

use serde_json::{Value, json};

use crate::support::person::{Person, receive, send, seqs};
use crate::support::raw::{Ask, ask, text};
use crate::support::relay::TestRelay;

/// What becomes of a row.
#[derive(Clone, Copy)]
enum Due {
    /// A problem with this status and code, after which the connection lives on.
    Refused(u16, &'static str),
    /// A problem, after which the connection ends.
    RefusedAndClosed(u16, &'static str),
    /// A status without a body, after which the connection ends.
    Closed(u16),
    /// An answer that is as good as any.
    Good(u16),
    /// The end of the connection and no reply.
    HungUp,
}

use Due::{Closed, Good, HungUp, Refused, RefusedAndClosed};

/// A relay with an envelope waiting, and what is needed to ask it.
struct Scene {
    relay: TestRelay,
    session: String,
    parcel: Value,
}

impl Scene {
    async fn new() -> Self {
        let relay = TestRelay::start().await;
        let bo = Person::new();
        let session = bo.settle(&relay).await;
        let token = bo.token(&relay, &session).await;
        send(&relay, &bo.parcel(&token, 1, 1_024)).await.ok(202);
        let parcel = bo.parcel(&token, 2, 1_024);
        Self { relay, session, parcel }
    }

    /// Sends each row's bytes on a connection of their own; says of all rows at once what was not due.
    async fn rows(&self, rows: &[(impl AsRef<str>, Vec<u8>, Due)]) {
        let mut wrong = Vec::new();
        for (name, bytes, due) in rows {
            if let Err(difference) = self.row(bytes, *due).await {
                wrong.push(format!("{}: {difference}", name.as_ref()));
            }
            let page = receive(&self.relay, &self.session, "").await;
            assert_eq!(seqs(&page), [1], "{}: what waited still waits, and nothing came", name.as_ref());
        }
        assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
    }

    async fn row(&self, bytes: &[u8], due: Due) -> Result<(), String> {
        let mut socket = self.relay.socket().await;
        socket.send(bytes).await;
        let Some(reply) = socket.reply().await else {
            return if let HungUp = due { Ok(()) } else { Err("no reply".into()) };
        };
        let said = (reply.status, reply.code());
        let problem = reply.header("content-type") == Some("application/problem+json");
        let as_due = match due {
            HungUp => false,
            Good(status) => said == (status, String::new()),
            Closed(status) => said.0 == status && reply.body.is_empty(),
            Refused(status, code) | RefusedAndClosed(status, code) => problem && said == (status, code.to_string()),
        };
        if !as_due || (reply.status == 405 && reply.header("allow").is_none()) {
            return Err(format!("{reply:?} {}", String::from_utf8_lossy(&reply.body)));
        }
        if matches!(due, RefusedAndClosed(..) | Closed(_)) && !socket.rest().await.is_empty() {
            return Err("more than one reply".into());
        }
        if let Refused(..) = due {
            socket.send(&ask("GET /healthz").bytes()).await;
            if socket.reply().await.is_none_or(|reply| reply.status != 200) {
                return Err("the connection did not live on".into());
            }
        }
        Ok(())
    }

    fn ack(&self) -> Ask {
        ask("POST /v1/envelopes/ack").by(&self.session)
    }
}

/// A request by its lines, of which the last stands before an empty one.
fn lines(lines: &[&str]) -> Vec<u8> {
    format!("{}\r\n\r\n", lines.join("\r\n")).into_bytes()
}

#[tokio::test]
#[rustfmt::skip]
async fn heads() {
    let scene = Scene::new().await;
    let post = "POST /v1/auth/challenge HTTP/1.1";
    let (host, kind) = ("Host: x", "Content-Type: application/json");
    let long = format!("X: {}", "a".repeat(17_000));
    let many: Vec<String> = (0..70).map(|n| format!("X-{n}: 1")).collect();
    let many: Vec<&str> = ["GET /healthz HTTP/1.1", host].into_iter().chain(many.iter().map(String::as_str)).collect();
    let path = format!("GET /{} HTTP/1.1", "a".repeat(1_024));
    let query = format!("GET /v1/info?{} HTTP/1.1", "a".repeat(1_024));
    scene.rows(&[
        ("3 a header above 16 KiB", lines(&["GET /healthz HTTP/1.1", host, &long]), Closed(431)),
        ("4 more than 64 lines", lines(&many), Closed(431)),
        ("5 no Host", lines(&["GET /healthz HTTP/1.1"]), RefusedAndClosed(400, "bad_request")),
        ("5 two Hosts", lines(&["GET /healthz HTTP/1.1", host, host]), RefusedAndClosed(400, "bad_request")),
        ("6 any Host where no origin is set", lines(&["GET /healthz HTTP/1.1", "Host: evil.example"]), Good(200)),
        ("7 two Content-Lengths", lines(&[post, host, kind, "Content-Length: 2", "Content-Length: 3"]), Closed(400)),
        ("8 Content-Length and Transfer-Encoding",
            lines(&[post, host, kind, "Content-Length: 2", "Transfer-Encoding: chunked"]), RefusedAndClosed(411, "length_required")),
        ("8 the other way round",
            lines(&[post, host, kind, "Transfer-Encoding: chunked", "Content-Length: 2"]), RefusedAndClosed(411, "length_required")),
        ("9 Content-Length -1", lines(&[post, host, kind, "Content-Length: -1"]), Closed(400)),
        ("9 Content-Length +5", lines(&[post, host, kind, "Content-Length: +5"]), Closed(400)),
        ("9 Content-Length 1e3", lines(&[post, host, kind, "Content-Length: 1e3"]), Closed(400)),
        ("9 Content-Length 2^64", lines(&[post, host, kind, "Content-Length: 18446744073709551616"]), Closed(400)),
        ("10 Transfer-Encoding xchunked", lines(&[post, host, kind, "Transfer-Encoding: xchunked"]), Closed(400)),
        ("11 chunked", lines(&[post, host, kind, "Transfer-Encoding: chunked"]), RefusedAndClosed(411, "length_required")),
        ("11 chunked with GET", lines(&["GET /healthz HTTP/1.1", host, "Transfer-Encoding: chunked"]),
            RefusedAndClosed(411, "length_required")),
        ("12 a chunk size that overflows",
            [lines(&[post, host, kind, "Transfer-Encoding: chunked"]), b"fffffffffffffffff\r\n".to_vec()].concat(),
            RefusedAndClosed(411, "length_required")),
        ("11 no length at all", lines(&[post, host, kind]), RefusedAndClosed(411, "length_required")),
        ("15 a body above the limit", lines(&[post, host, kind, "Content-Length: 224097"]), RefusedAndClosed(413, "too_large")),
        ("15 a body far above it", lines(&[post, host, kind, "Content-Length: 9223372036854775807"]),
            RefusedAndClosed(413, "too_large")),
        ("26 a body above the limit that asks first",
            lines(&[post, host, kind, "Content-Length: 224097", "Expect: 100-continue"]), RefusedAndClosed(413, "too_large")),
        ("17 HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), HungUp),
        ("18 TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), Closed(400)),
        ("18 noise", b"\x00\x01\x02\x03\r\n\r\n".to_vec(), Closed(400)),
        ("19 obs-fold", lines(&["GET /healthz HTTP/1.1", host, "X: a", " b"]), Closed(400)),
        ("19 space before the colon", lines(&["GET /healthz HTTP/1.1", host, "X : a"]), Closed(400)),
        ("19 NUL in a header", lines(&["GET /healthz HTTP/1.1", host, "X: a\0b"]), Closed(400)),
        ("20 bare line feeds", b"GET /healthz HTTP/1.1\nHost: x\n\n".to_vec(), Good(200)),
        ("22 OPTIONS *", lines(&["OPTIONS * HTTP/1.1", host]), Refused(404, "not_found")),
        ("23 another method", lines(&["BREW /v1/info HTTP/1.1", host]), Refused(405, "method_not_allowed")),
        ("23 DELETE", lines(&["DELETE /v1/envelopes HTTP/1.1", host]), Refused(405, "method_not_allowed")),
        ("24 HTTP/1.0", lines(&["GET /healthz HTTP/1.0"]), Good(200)),
        ("27 a path too long", lines(&[&path, host]), RefusedAndClosed(414, "uri_too_long")),
        ("27 a query too long", lines(&[&query, host]), RefusedAndClosed(414, "uri_too_long")),
        ("28 %00", lines(&["GET /v1/info%00 HTTP/1.1", host]), Refused(404, "not_found")),
        ("28 ..", lines(&["GET /v1/../v1/info HTTP/1.1", host]), Refused(404, "not_found")),
        ("28 %2e%2e", lines(&["GET /v1/%2e%2e/v1/info HTTP/1.1", host]), Refused(404, "not_found")),
        ("28 //", lines(&["GET //v1/info HTTP/1.1", host]), Refused(404, "not_found")),
        ("28 a slash at the end", lines(&["GET /v1/info/ HTTP/1.1", host]), Refused(404, "not_found")),
        ("29 gzip", lines(&[post, host, kind, "Content-Encoding: gzip", "Content-Length: 0"]),
            RefusedAndClosed(415, "unsupported_media_type")),
        ("30 text", lines(&[post, host, "Content-Type: text/plain", "Content-Length: 0"]),
            RefusedAndClosed(415, "unsupported_media_type")),
        ("30 no type", lines(&[post, host, "Content-Length: 0"]), RefusedAndClosed(415, "unsupported_media_type")),
        ("16 Content-Length 0", lines(&[post, host, kind, "Content-Length: 0"]), Refused(400, "bad_request")),
    ]).await;
}

#[tokio::test]
async fn hosts_where_an_origin_is_configured() {
    let origins = |config: &mut restante::config::Config| {
        config.server.origins = vec!["https://relay.example:443".into(), "http://[::1]:8484".into()];
        config.server.registration = restante::config::Registration::Open;
    };
    let relay = TestRelay::with(origins).await;
    let info = |line: &str, host: &str| lines(&[&format!("GET {line} HTTP/1.1"), &format!("Host: {host}")]);
    for (line, host, status) in [
        ("/v1/info", "relay.example", 200),
        ("/v1/info", "relay.example:443", 200),
        ("/v1/info", "RELAY.example", 200),
        ("/v1/info", "[::1]:8484", 200),
        ("/v1/info", "relay.example:8484", 421),
        ("/v1/info", "evil.example", 421),
        ("/v1/info", "", 421),
        ("http://relay.example/v1/info", "relay.example", 200),
        ("http://evil.example/v1/info", "relay.example", 421),
        ("http://relay.example/v1/info", "evil.example", 421),
    ] {
        let reply = relay.raw(&info(line, host)).await.expect("a reply");
        assert_eq!(reply.status, status, "6 and 21 {line} {host}");
        assert_eq!(reply.code(), if status == 421 { "wrong_host" } else { "" }, "{line} {host}");
    }
}

#[tokio::test]
async fn bodies() {
    let scene = Scene::new().await;
    let parcel = scene.parcel.to_string();
    let send = |body: String| ask("POST /v1/envelopes").body(body).bytes();
    let spoilt = |from: &str, to: &str| {
        assert!(parcel.contains(from), "{from}");
        send(parcel.replacen(from, to, 1))
    };
    let id = text(&scene.parcel["id"]);
    let device = text(&scene.parcel["sealed"][0]["device"]);
    let ack = |body: &str| scene.ack().body(body).bytes();
    let mut rows: Vec<(String, Vec<u8>, Due)> = vec![];
    let mut bad = |name: &str, bytes: Vec<u8>| rows.push((name.into(), bytes, Refused(400, "bad_request")));
    for body in ["", " ", "null", "[]", "\"x\"", "1", "{}", "{", "}"] {
        bad(&format!("31 {body:?}"), send(body.into()));
    }
    bad("32 an unknown field", spoilt("{", "{\"extra\":1,"));
    bad("32 an unknown field inside", spoilt("\"epoch\"", "\"extra\":1,\"epoch\""));
    bad("33 a duplicate key", spoilt("{", &format!("{{\"id\":\"{id}\",")));
    bad("33 a duplicate key inside", spoilt("\"epoch\"", "\"epoch\":1,\"epoch\""));
    bad("34 nesting", send("[".repeat(10_000)));
    bad("34 nesting in a field", spoilt("\"epoch\":1", &format!("\"epoch\":{}{}", "[".repeat(10_000), "]".repeat(10_000))));
    bad("35 bad UTF-8", ask("POST /v1/envelopes").body(b"{\"token\":\"\xff\"}".to_vec()).bytes());
    bad("35 a lone surrogate", spoilt(&id, "\\ud800"));
    bad("35 a byte order mark", send(format!("\u{feff}{parcel}")));
    for number in ["\"1\"", "1.0", "1e3", "1e400", "-0", "-1", "01", "+1", "null", "true", "4294967296"] {
        bad(&format!("36 {number}"), spoilt("\"epoch\":1", &format!("\"epoch\":{number}")));
        bad(
            &format!("36 {number} as a seq"),
            ack(&format!("{{\"through\":{}}}", number.replace("4294967296", "18446744073709551616"))),
        );
    }
    let tail = |text: &str| {
        let (head, _) = text.split_at(text.len() - 1);
        format!("{head}_")
    };
    for wrong in [
        format!("{id}=="),
        format!("{id}="),
        format!(" {id}"),
        format!("{id}\\n"),
        tail(&id),
        id[1..].to_string(),
        format!("{id}A"),
    ] {
        bad(&format!("37 {wrong}"), spoilt(&id, &wrong));
    }
    bad("37 the other alphabet", spoilt(&device, &format!("+/{}", &device[2..])));
    bad("37 loose tail bits of 32 bytes", spoilt(&device, &tail(&device)));
    bad("38 15 bytes", spoilt(&id, &id[..20]));
    bad("38 17 bytes", spoilt(&id, &"A".repeat(23)));
    bad("38 hexadecimal", spoilt(&id, "000102030405060708090A0B0C0D0E0F"));
    bad("39 something after", send(format!("{parcel}x")));
    bad("39 another value after", send(format!("{parcel}{parcel}")));
    bad("30 a query where none is due", ask("POST /v1/envelopes?x=1").json(&scene.parcel).bytes());
    let seqs = |count: usize| format!("{{\"seqs\":{:?}}}", vec![7; count]);
    rows.push(("40 101 seqs".into(), ack(&seqs(101)), Refused(400, "too_many")));
    rows.push(("40 100 seqs, none given".into(), ack(&seqs(100)), Refused(400, "seq_not_given")));
    rows.push(("40 no seqs and no through".into(), ack("{\"seqs\":[]}"), Refused(400, "bad_request")));
    rows.push(("67 2^53".into(), ack("{\"through\":9007199254740992}"), Refused(400, "seq_not_given")));
    rows.push(("66 ack of nothing".into(), ack("{\"through\":0}"), Good(200)));
    scene.rows(&rows).await;
}

#[tokio::test]
async fn queries() {
    let scene = Scene::new().await;
    let get = |query: &str| ask(&format!("GET /v1/envelopes{query}")).by(&scene.session).bytes();
    let mut rows: Vec<(String, Vec<u8>, Due)> = vec![];
    for bad in [
        "after=+5",
        "after=007",
        "after=-0",
        "after=-1",
        "after=18446744073709551616",
        "after=9007199254740992",
        "after=",
        "after",
        "limit=0",
        "limit=101",
        "limit=-1",
        "wait=61",
        "wait=1e1",
        "wait=%31",
        "from=1",
        "after=1&after=1",
        "a=b=c",
    ] {
        rows.push((format!("68 to 71 {bad}"), get(&format!("?{bad}")), Refused(400, "bad_request")));
    }
    for good in ["", "?", "?after=5", "?wait=0", "?limit=1", "?limit=100&wait=60&after=0", "?after=9007199254740991"] {
        rows.push((format!("69 {good}"), get(good), Good(200)));
    }
    rows.push((
        "54 a session in the query".into(),
        lines(&[&format!("GET /v1/envelopes?token={} HTTP/1.1", scene.session), "Host: x"]),
        Refused(401, "no_session"),
    ));
    scene.rows(&rows).await;
}

#[tokio::test]
async fn sends() {
    let scene = Scene::new().await;
    let device = &scene.parcel["sealed"][0]["device"];
    let stranger = Person::new();
    let send = |change: &dyn Fn(&mut Value)| {
        let mut parcel = scene.parcel.clone();
        change(&mut parcel);
        ask("POST /v1/envelopes").json(&parcel).bytes()
    };
    let body = |size: usize| json!(restante::protocol::Bytes(vec![0; size]));
    let mut rows: Vec<(String, Vec<u8>, Due)> = vec![];
    for size in [0, 1, 1_023, 1_025, 4_095, 16_383, 16_385, 65_537] {
        let bytes = send(&|parcel| parcel["sealed"][0]["body"] = body(size));
        rows.push((format!("58 {size} bytes"), bytes, Refused(422, "bad_size")));
    }
    let other = json!({"device": stranger.devices[0].id(), "body": body(4_096)});
    let unlike = send(&|parcel| parcel["sealed"].as_array_mut().expect("an array").push(other.clone()));
    rows.push(("58 bodies unlike each other".into(), unlike, Refused(422, "bad_size")));
    for secs in [0, 3_599, 604_801, 1_u64 << 62] {
        let bytes = send(&|parcel| parcel["expires_in"] = json!(secs));
        rows.push((format!("62 {secs} s"), bytes, Refused(422, "bad_expiry")));
    }
    let token = json!(restante::protocol::DeliveryToken([1; 32]));
    rows.push(("57 an unknown token".into(), send(&|parcel| parcel["token"] = token.clone()), Refused(404, "no_such_token")));
    let entries = |count: usize| json!(vec![json!({"device": device, "body": body(1_024)}); count]);
    for (name, due, sealed) in [
        ("no body", Refused(400, "bad_request"), json!([])),
        ("a device twice", Refused(409, "device_list_changed"), entries(2)),
        (
            "another's device",
            Refused(409, "device_list_changed"),
            json!([{"device": stranger.devices[0].id(), "body": body(1_024)}]),
        ),
        ("eleven devices", Refused(400, "too_many"), entries(11)),
    ] {
        rows.push((name.into(), send(&|parcel| parcel["sealed"] = sealed.clone()), due));
    }
    rows.push((
        "another list".into(),
        send(&|parcel| parcel["list"]["version"] = json!(2)),
        Refused(409, "device_list_changed"),
    ));
    rows.push((
        "another epoch".into(),
        send(&|parcel| parcel["list"]["epoch"] = json!(0)),
        Refused(409, "device_list_changed"),
    ));
    rows.push(("live: nobody is there, and nothing is stored".into(), send(&|parcel| parcel["live"] = json!(true)), Good(202)));
    for (name, login) in [("a login sent along", "Bearer x"), ("an empty one", "")] {
        let bytes = ask("POST /v1/envelopes").header("Authorization", login).json(&scene.parcel).bytes();
        rows.push((name.into(), bytes, Refused(400, "anonymous_only")));
    }
    let keys = ask("POST /v1/keys").by(&scene.session).json(&json!({"token": scene.parcel["token"]})).bytes();
    rows.push(("a login at the keys".into(), keys, Refused(400, "anonymous_only")));
    scene.rows(&rows).await;
    crate::support::person::send(&scene.relay, &scene.parcel).await.ok(202);
    let page = receive(&scene.relay, &scene.session, "").await;
    assert_eq!(seqs(&page), [1, 2], "none of the rows had used up the id");
}
