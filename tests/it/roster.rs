//! What the operator does to an account, as its devices and its contacts see it; and what time does to an idle one.

use std::io::Write;
use std::process::Stdio;

use restante::protocol::time::WEEK;
use serde_json::{Value, json};

use crate::admin::both_ways;
use crate::process::{finish, restante};
use crate::support::person::{Device, Person, login, login_request, receive, send, seqs};
use crate::support::raw::{Ask, Reply, ask};
use crate::support::relay::TestRelay;
use crate::support::ws::{Ws, types};

fn login_ask(request: &Value) -> Ask {
    ask("POST /v1/auth/login").json(request)
}

async fn account(relay: &TestRelay, session: &str) -> Reply {
    relay.answer(ask("GET /v1/account").by(session)).await
}

#[tokio::test]
async fn a_suspended_account_is_kept_out_and_nothing_of_it_is_lost() {
    let (relay, clock) = TestRelay::by_hand(|_| {}).await;
    let (bo, cy) = (Person::of(vec![Device::new(), Device::new()]), Person::new());
    let (one, other) = (bo.settle(&relay).await, login(&relay, &bo.devices[1]).await);
    let (others, token) = (cy.settle(&relay).await, bo.token(&relay, &one).await);
    send(&relay, &bo.parcel(&token, 1, 1_024)).await.ok(202);
    let keys = ask("POST /v1/keys").json(&json!({"token": token}));
    let keys_before = relay.answer(keys.clone()).await;

    let stream = Ws::by(&relay, &one).await;
    receive(&relay, &other, "").await;
    relay.answer(ask("POST /v1/envelopes/ack").by(&other).json(&json!({"through": 1}))).await.ok(200);
    let mut poll = relay.poll(&other).await;
    let id = bo.id().encode();
    let item = relay.relay.suspend_account(&id[..8], true).await.expect("suspended");
    assert_eq!((item.account, item.devices, item.envelopes, item.suspended), (bo.id(), 2, 1, true));

    let (frames, code) = stream.end().await;
    assert_eq!((types(&frames).last().copied(), code), (Some("error"), 4401));
    poll.reply().await.expect("a reply").refused(401, "no_session");
    account(&relay, &one).await.refused(401, "no_session");
    for device in &bo.devices {
        relay.answer(login_ask(&login_request(&relay, device).await)).await.refused(403, "suspended");
    }
    // Who cannot prove to be a device of it is told what strangers are told.
    let stranger = relay.answer(login_ask(&login_request(&relay, &Device::new()).await)).await;
    let mut forged = login_request(&relay, &bo.devices[0]).await;
    forged["signature"] = json!(restante::protocol::Signature([1; 64]));
    assert_eq!(relay.answer(login_ask(&forged)).await, stranger);
    let refused = send(&relay, &bo.parcel(&token, 2, 1_024)).await;
    refused.refused(429, "mailbox_full");
    assert_eq!(refused.header("retry-after"), Some("3600"));
    assert_eq!(send(&relay, &bo.parcel(&token, 1, 1_024)).await, refused, "a repeat is answered as a new one");
    let mut live = bo.parcel(&token, 3, 1_024);
    live["live"] = json!(true);
    send(&relay, &live).await.ok(202);
    assert_eq!(relay.answer(keys).await, keys_before);
    account(&relay, &others).await.ok(200);

    // Over a restart, and until it is let in again; what expires meanwhile expires.
    let relay = relay.restart().await;
    relay.answer(login_ask(&login_request(&relay, &bo.devices[0]).await)).await.refused(403, "suspended");
    assert!(!relay.relay.suspend_account(&id, false).await.expect("resumed").suspended);
    let one = bo.login(&relay).await;
    assert_eq!(seqs(&receive(&relay, &one, "").await), [1]);
    send(&relay, &bo.parcel(&token, 2, 1_024)).await.ok(202);
    relay.relay.suspend_account(&id, true).await.expect("suspended");
    clock.advance(8 * 86_400);
    relay.relay.purge(Default::default(), |_| {}).await.expect("purged");
    relay.relay.suspend_account(&id, false).await.expect("resumed");
    let page = receive(&relay, &bo.login(&relay).await, "").await;
    assert_eq!((seqs(&page), &page["gap"]["count"]), (vec![], &json!(2)));
}

#[tokio::test]
async fn an_account_is_named_by_the_beginning_of_its_id_and_deleted_for_good() {
    let relay = TestRelay::start().await;
    let mut people = Vec::new();
    // Of 65 ids two begin with the same letter.
    for _ in 0..65 {
        let person = Person::new();
        person.register(&relay).await;
        people.push(person.id().encode());
    }
    let named = async |beginning: &str| relay.relay.account_named(beginning).await.map(|item| item.account.encode());
    for id in &people {
        assert_eq!(named(id).await.expect("there"), *id);
        let alone = (1..=43).find(|length| people.iter().filter(|other| other.starts_with(&id[..*length])).count() == 1);
        let alone = alone.expect("ids differ");
        assert_eq!(named(&id[..alone]).await.expect("there"), *id);
        if alone > 1 {
            let error = named(&id[..alone - 1]).await.expect_err("several");
            assert!(error.to_string().contains("several accounts"), "{error}");
        }
    }
    for bad in ["", "ä", "a b", &"A".repeat(44), "!"] {
        assert_eq!(named(bad).await.expect_err(bad).code().as_str(), "bad_request");
    }
    let nobody = Person::new().id().encode();
    assert_eq!(named(&nobody).await.expect_err("nobody").code().as_str(), "no_such_account");

    let bo = Person::new();
    let session = bo.settle(&relay).await;
    let token = bo.token(&relay, &session).await;
    send(&relay, &bo.parcel(&token, 1, 1_024)).await.ok(202);
    assert_eq!(relay.relay.remove_account(&bo.id().encode()).await.expect("deleted").envelopes, 1);
    account(&relay, &session).await.refused(401, "no_session");
    send(&relay, &bo.parcel(&token, 2, 1_024)).await.refused(404, "no_such_token");
    relay.answer(login_ask(&login_request(&relay, &bo.devices[0]).await)).await.refused(401, "login_refused");
    let totals = relay.relay.stats().await.expect("stats").totals;
    assert_eq!((totals.accounts, totals.envelopes), (65, 0));
}

#[test]
fn the_operator_lists_suspends_resumes_and_deletes() {
    both_ways(|operator, _| {
        assert_eq!(operator(&["account", "list", "--json"]).json(), json!([]));
        assert!(operator(&["account", "list"]).stderr.contains("no account"));
        for verb in ["suspend", "resume"] {
            let done = operator(&["account", verb, "-abc"]);
            assert!(done.code == 1 && done.stderr.contains("no account's id begins so"), "{done:?}");
        }
        let done = operator(&["account", "delete", "--yes", "a!"]);
        assert!(done.code == 1 && done.stderr.contains("letters, digits"), "{done:?}");
        assert_eq!(operator(&["account", "delete"]).code, 2);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_deleted_only_when_that_is_confirmed() {
    let relay = TestRelay::start().await;
    let bo = Person::new();
    let session = bo.settle(&relay).await;
    let token = bo.token(&relay, &session).await;
    send(&relay, &bo.parcel(&token, 1, 1_024)).await.ok(202);
    let week = relay.relay.now() / WEEK;
    let (config, dir, _) = relay.stop().await;
    let data = config.server.data.to_str().expect("UTF-8").to_string();
    let said = |args: &[&str], answer: &str| {
        let mut command = restante(dir.path(), &[&["account"], args, &["--data", &data]].concat());
        // Where nothing is asked nothing is read.
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(answer.as_bytes()).expect("written");
        std::io::Seek::rewind(&mut file).expect("rewound");
        finish(command.stdin(Stdio::from(file)))
    };
    let id = bo.id().encode();
    let list = said(&["list", "--json"], "").json();
    let expected = json!({"account": bo.id(), "devices": 1, "envelopes": 1, "bytes": list[0]["bytes"], "tokens": 1,
        "seen_week": week, "suspended": false, "seen_in_week_of": list[0]["seen_in_week_of"]});
    assert_eq!(list, json!([expected]));
    assert_eq!(list[0]["seen_in_week_of"].as_str().map(str::len), Some(10));
    let done = said(&["suspend", &id[..10]], "");
    assert!(done.code == 0 && done.stderr.contains(&format!("{id} is suspended")), "{done:?}");
    let table = said(&["list"], "").stdout;
    assert!(table.contains(&id) && table.lines().nth(1).is_some_and(|line| line.ends_with("suspended")), "{table}");
    assert_eq!(said(&["resume", &id[..10]], "").code, 0);
    for answer in ["", "no\n", "y\n"] {
        let done = said(&["delete", &id], answer);
        assert!(done.code == 1 && done.stderr.contains("1 device, 1 envelope waiting"), "{done:?}");
        assert!(done.stderr.contains("nothing was deleted"), "{done:?}");
    }
    assert_eq!(said(&["delete", &id], "yes\n").code, 0);
    assert_eq!(said(&["list", "--json"], "").json(), json!([]));
}

#[tokio::test]
async fn a_device_that_was_absent_too_long_is_full_until_it_comes() {
    let (relay, clock) = TestRelay::by_hand(|_| {}).await;
    let bo = Person::of(vec![Device::new(), Device::new()]);
    let session = bo.settle(&relay).await;
    let token = bo.token(&relay, &session).await;
    let limits = relay.answer(ask("GET /v1/info")).await.ok(200)["limits"].clone();
    assert_eq!((&limits["device_unseen_days"], &limits["account_unseen_days"]), (&json!(30), &json!(365)));
    let full = async |id| send(&relay, &bo.parcel(&token, id, 1_024)).await;
    // Visits are kept to the week: thirty days are over at the latest with the sixth.
    clock.advance(30 * 86_400);
    assert_eq!(full(1).await.ok(202)["full"], json!([]));
    clock.advance(2 * WEEK);
    full(2).await.refused(429, "mailbox_full");
    let session = bo.login(&relay).await;
    assert_eq!(full(3).await.ok(202)["full"], json!([bo.devices[1].id()]));
    assert_eq!(seqs(&receive(&relay, &session, "").await).len(), 1);
    login(&relay, &bo.devices[1]).await;
    assert_eq!(full(4).await.ok(202)["full"], json!([]));
}

#[tokio::test]
async fn an_account_that_nobody_visits_for_a_year_is_deleted() {
    let (relay, clock) = TestRelay::by_hand(|_| {}).await;
    let (bo, cy) = (Person::of(vec![Device::new(), Device::new()]), Person::new());
    bo.settle(&relay).await;
    cy.settle(&relay).await;
    let purged = async || {
        relay.relay.purge(Default::default(), |_| {}).await.expect("purged");
        relay.relay.stats().await.expect("stats").totals.accounts
    };
    clock.advance(364 * 86_400);
    assert_eq!(purged().await, 2);
    login(&relay, &bo.devices[1]).await;
    relay.relay.suspend_account(&cy.id().encode(), true).await.expect("suspended");
    clock.advance(3 * WEEK);
    assert_eq!(purged().await, 1, "one device that comes keeps an account; that it is suspended keeps none");
    login(&relay, &bo.devices[0]).await;
    relay.answer(login_ask(&login_request(&relay, &cy.devices[0]).await)).await.refused(401, "login_refused");
}
