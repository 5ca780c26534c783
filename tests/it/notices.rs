//! The operator's notice: set and cleared on a relay that runs and on one that doesn't, signed, kept, and told once.

use restante::admin::{AdminError, SOCKET, Target};
use restante::client::{Client, Event, Options, Origin, What};
use restante::crypto::sign;
use restante::protocol::ErrorCode;
use restante::protocol::info::{Info, Notice, notice_transcript};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::admin::both_ways;
use crate::process::{finish, restante, serve};
use crate::support::raw::{ask, patiently};
use crate::support::relay::TestRelay;

async fn info(relay: &TestRelay) -> Info {
    let reply = relay.answer(ask("GET /v1/info")).await.ok(200);
    serde_json::from_value(reply).expect("the relay's own words")
}

#[track_caller]
fn assert_genuine(info: &Info) -> &Notice {
    let notice = info.notice.as_ref().expect("a notice");
    let transcript = notice_transcript(notice.set_at, &notice.text);
    assert_eq!(sign::verify(&info.relay_key.0, &transcript, &notice.signature.0), Ok(()));
    notice
}

#[tokio::test]
async fn a_notice_is_signed_and_survives_a_restart_until_it_is_cleared() {
    let (relay, clock) = TestRelay::by_hand(|_| {}).await;
    assert!(!relay.answer(ask("GET /v1/info")).await.json().as_object().expect("an object").contains_key("notice"));
    let set = relay.relay.set_notice("down on Sunday").await.expect("set");
    assert_eq!(set.set_at, relay.relay.now());
    assert_eq!(assert_genuine(&info(&relay).await), &set);

    clock.advance(3_600);
    let relay = relay.restart().await;
    assert_eq!(assert_genuine(&info(&relay).await), &set);
    let next = relay.relay.set_notice("up\nagain, grüße").await.expect("set");
    assert_eq!((next.text.as_str(), next.set_at), ("up\nagain, grüße", set.set_at + 3_600));
    assert_eq!(assert_genuine(&info(&relay).await), &next);

    assert!(relay.relay.clear_notice().await.expect("cleared"));
    assert!(!relay.relay.clear_notice().await.expect("cleared"));
    assert_eq!(info(&relay).await.notice, None);
    assert_eq!(info(&relay.restart().await).await.notice, None);
}

#[tokio::test]
async fn whoever_watches_sees_every_change() {
    let relay = TestRelay::start().await;
    let mut watched = relay.relay.notice();
    assert!(watched.borrow_and_update().is_none());
    for text in ["one", "two"] {
        relay.relay.set_notice(text).await.expect("set");
        patiently(watched.changed()).await.expect("the relay is there");
        assert_eq!(watched.borrow_and_update().as_ref().map(|notice| notice.text.clone()).as_deref(), Some(text));
    }
    relay.relay.clear_notice().await.expect("cleared");
    patiently(watched.changed()).await.expect("the relay is there");
    assert!(watched.borrow_and_update().is_none());
    assert!(relay.restart().await.relay.notice().borrow().is_none());
}

#[test]
fn the_operator_sets_shows_and_clears() {
    both_ways(|operator, _| {
        assert_eq!(operator(&["notice", "show", "--json"]).json(), Value::Null);
        let done = operator(&["notice", "show"]);
        assert!(done.code == 0 && done.stdout.is_empty() && done.stderr.contains("there is no notice"), "{done:?}");

        let done = operator(&["notice", "set", "down on\nSunday"]);
        assert!(done.code == 0 && done.stdout.is_empty() && done.stderr.starts_with("set at 2"), "{done:?}");
        let done = operator(&["notice", "show"]);
        assert!(done.code == 0 && done.stdout == "down on\nSunday\n" && done.stderr.starts_with("set at 2"), "{done:?}");
        let set = operator(&["notice", "set", "up again", "--json"]).json();
        assert_eq!((&set["text"], operator(&["notice", "show", "--json"]).json()), (&json!("up again"), set.clone()));

        assert_eq!(operator(&["notice", "clear"]).stderr, "cleared\n");
        assert_eq!(operator(&["notice", "clear", "--json"]).json(), json!({"cleared": false}));
        assert_eq!(operator(&["notice", "show", "--json"]).json(), Value::Null);

        for (text, why, hint) in [
            ("", "at least one character", "hint: `restante notice clear`"),
            (&*"ü".repeat(501), "at most 1000 bytes of UTF-8, and this is 1002", "hint: shorten it"),
            ("a\tb", "this has U+0009", "hint: leave out tabs"),
            ("a\r\nb", "this has U+000D", "tr -d '\\r'"),
        ] {
            let done = operator(&["notice", "set", text]);
            let said = done.stderr.contains(why) && done.stderr.contains(hint);
            assert!(done.code == 1 && done.stdout.is_empty() && said, "{text:?}: {done:?}");
        }
        assert_eq!(operator(&["notice", "show", "--json"]).json(), Value::Null);
        assert_eq!(operator(&["notice", "set", &"ü".repeat(500)]).code, 0);
        assert_eq!(operator(&["notice", "clear"]).code, 0);
    });
}

#[test]
fn a_notice_comes_from_stdin_without_its_last_line_end() {
    let relay = serve(&[]);
    std::fs::write(relay.directory.join("notice.txt"), "one\ntwo\n").expect("written");
    let file = std::fs::File::open(relay.directory.join("notice.txt")).expect("a file");
    let done = finish(restante(&relay.directory, &["notice", "set", "-"]).stdin(file));
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(relay.operator(&["notice", "show", "--json"]).json()["text"], "one\ntwo");
}

/// The command looks first, so that it can say what to do; the relay looks all the same.
#[tokio::test]
async fn the_admin_socket_takes_nothing_that_is_not_a_notice() {
    let relay = serve(&[]);
    let target = Target::Running(relay.directory.join("restante-data").join(SOCKET));
    for bad in ["", &"x".repeat(1_001), "a\u{1b}[2J"] {
        let refused = target.set_notice(bad).await.expect_err("not a notice");
        assert!(matches!(refused, AdminError::Refused(ErrorCode::BadRequest, _)), "{refused}");
    }
    let set = target.set_notice(&"\"".repeat(1_000)).await.expect("as large as can be, and twice that as JSON");
    assert_eq!(target.info().await.expect("answered").notice, Some(set));
}

#[tokio::test]
async fn a_client_tells_a_notice_once() {
    let relay = serve(&[]);
    let directory = TempDir::new().expect("a directory");
    relay.operator(&["notice", "set", "welcome"]);
    let options = Options::new(Origin::parse(&format!("http://{}", relay.address())).expect("an origin"));
    let (mut alice, _) = Client::init(&directory.path().join("alice"), options).await.expect("an account");
    assert_eq!(told(&all(&mut alice).await), ["welcome"]);
    alice.doctor().await.expect("looked at");
    assert!(all(&mut alice).await.is_empty());

    relay.operator(&["notice", "set", "down on\nSunday"]);
    let checks = alice.doctor().await.expect("looked at");
    let check = checks.iter().find(|check| check.name == "notice").expect("a notice");
    assert_eq!(check.found, "the operator has something to say");
    let receive = ["client", "--profile", "alice", "receive"];
    let done = finish(&mut restante(directory.path(), &receive));
    assert!(done.code == 0 && done.stdout.is_empty(), "{done:?}");
    assert!(done.stderr.starts_with("restante: the relay's operator says to everybody (2"), "{done:?}");
    assert!(done.stderr.ends_with(" UTC):\n  down on\n  Sunday\n"), "{done:?}");
    let mut alice = Client::open(&directory.path().join("alice")).await.expect("the same");
    alice.doctor().await.expect("looked at");
    assert!(all(&mut alice).await.is_empty());
    relay.operator(&["notice", "clear"]);
    assert!(alice.doctor().await.expect("looked at").iter().all(|check| check.name != "notice"));
}

async fn all(client: &mut Client) -> Vec<Event> {
    let events = client.receive(0).await.expect("received");
    for event in &events {
        client.shown(event).await.expect("noted");
    }
    events
}

fn told(events: &[Event]) -> Vec<&str> {
    let of = events.iter().map(|event| &event.what);
    of.filter_map(|what| if let What::Notice { text, .. } = what { Some(text.as_str()) } else { None }).collect()
}
