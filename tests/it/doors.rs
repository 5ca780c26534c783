//! Handles, knocks and links for several people, as the shipped clients see them at a real relay.

mod commands;
mod links;
mod recorder;
mod records;

use restante::client::{Client, Clock, Door, Error, Event, InviteOptions, Options, Origin, What};
use restante::protocol::{Bytes, ErrorCode};
use serde_json::json;
use tempfile::TempDir;

use crate::support::person::send;
use crate::support::relay::TestRelay;
use recorder::Recorder;

/// A relay, and people with a profile each.
struct Street {
    relay: TestRelay,
    origin: String,
    directory: TempDir,
}

impl Street {
    async fn new() -> Self {
        let relay = TestRelay::start().await;
        let (origin, directory) = (relay.origin(), TempDir::new().expect("a directory"));
        Self { relay, origin, directory }
    }

    async fn person(&self, name: &str) -> Client {
        let origin = Origin::parse(&self.origin).expect("an origin");
        let options = Options { name: Some(name.into()), ..Options::new(origin) };
        Client::init(&self.directory.path().join(name), options).await.expect("an account").0
    }

    /// The same profile, some days later.
    async fn later(&self, name: &str, days: u64) -> Client {
        let system = Clock::system();
        let clock = Clock::from_fn(move || system.now() + days * 86_400);
        Client::open_with(&self.directory.path().join(name), clock).await.expect("the profile")
    }
}

/// Everything that waits, shown and acknowledged.
async fn all(client: &mut Client) -> Vec<Event> {
    let mut seen = Vec::new();
    loop {
        let events = client.receive(0).await.expect("received");
        if events.is_empty() {
            return seen;
        }
        for event in events {
            client.shown(&event).await.expect("noted");
            seen.push(event);
        }
    }
}

/// The events in a few words each.
fn said(events: &[Event]) -> Vec<String> {
    let words = |event: &Event| match &event.what {
        What::Text { from, text, .. } => format!("{from}: {text}"),
        What::Knock { knock: number, name, handle, known_as, text, .. } => {
            let told = [name, handle, known_as].map(|told| told.as_deref().unwrap_or("-"));
            format!("knock {number} {}: {text}", told.join(" "))
        }
        What::ContactAdded { from, .. } => format!("added {from}"),
        What::ContactReady { from } => format!("ready {from}"),
        What::Unopened { count } => format!("unopened {count}"),
        other => format!("{other:?}"),
    };
    events.iter().map(words).collect()
}

/// That they can write to each other, both ways.
async fn write_both_ways((one, of_one): (&mut Client, &str), (other, of_other): (&mut Client, &str)) {
    one.send(of_other, "there").await.expect("sent");
    assert_eq!(said(&all(other).await), [format!("{of_one}: there")]);
    other.send(of_one, "and back").await.expect("sent");
    assert_eq!(said(&all(one).await), [format!("{of_other}: and back")]);
}

#[tokio::test]
async fn who_knows_a_handle_knocks_and_is_let_in() {
    let street = Street::new().await;
    let (mut alice, mut bob) = (street.person("alice").await, street.person("bob").await);
    alice.set_handle("alice.a").await.expect("set");
    assert_eq!(alice.handle(), Some("alice.a"));
    bob.set_handle("bob_").await.expect("set");

    assert_eq!(bob.knock("alice.a", "hello, it's bob", Some("al")).await.expect("knocked"), "al");
    let pending = &bob.contacts()[0];
    assert_eq!((pending.name.as_str(), pending.ready, pending.knocked), ("al", false, true));
    let refused = bob.send("al", "already?").await.expect_err("nobody has answered");
    assert!(refused.to_string().contains("has not answered"), "{refused}");
    assert!(bob.sent().is_empty(), "and nothing waits to be sent");
    let again = bob.knock("alice.a", "well?", Some("again")).await.expect_err("once is enough");
    assert!(again.to_string().contains("knocked at already"), "{again}");

    assert_eq!(said(&all(&mut alice).await), ["knock 1 bob bob_ -: hello, it's bob"]);
    assert!(alice.contacts().is_empty() && all(&mut bob).await.is_empty(), "nobody was let in by that");
    let knocks = alice.knocks();
    assert_eq!((knocks.len(), knocks[0].number, knocks[0].account), (1, 1, bob.account_id()));
    assert!(alice.accept("2", None).await.is_err() && alice.accept("carol", None).await.is_err(), "none of that name");
    assert_eq!(alice.accept("bob", None).await.expect("accepted"), "bob");
    assert!(alice.knocks().is_empty() && alice.contacts()[0].ready);

    assert_eq!(said(&all(&mut bob).await), ["ready al"]);
    assert!(bob.contacts()[0].ready && !bob.contacts()[0].knocked);
    write_both_ways((&mut alice, "al"), (&mut bob, "bob")).await;
    let known = bob.knock("alice.a", "hello?", Some("other")).await.expect_err("known");
    assert!(known.to_string().contains("a contact already"), "{known}");
    assert!(bob.knock("bob_", "me", None).await.is_err(), "one's own door");
}

#[tokio::test]
async fn a_knock_makes_the_client_ask_nothing_and_open_no_connection() {
    let recorder = Recorder::new();
    let origin = recorder.origin();
    let relay = TestRelay::with(|config| {
        config.server.origins = vec![origin.clone()];
        config.server.plain_http = true;
    });
    let relay = relay.await;
    recorder.forward_to(&relay.address.to_string());
    let street = Street { relay, origin, directory: TempDir::new().expect("a directory") };
    let (mut alice, mut bob) = (street.person("alice").await, street.person("bob").await);
    alice.set_handle("alice").await.expect("set");
    // As a receive is where nothing waits: what that asks, and no more, is asked where a knock does.
    all(&mut alice).await;
    recorder.take();
    all(&mut alice).await;
    let usual = recorder.take();
    assert!(!usual.requests.is_empty());
    bob.knock("alice", "hello", None).await.expect("knocked");
    recorder.take();

    let events = alice.receive(0).await.expect("received");
    assert_eq!(said(&events), ["knock 1 bob - -: hello"]);
    let seen = recorder.take();
    assert_eq!(seen.requests, usual.requests, "the page that it came in");
    assert_eq!(seen.connections, 0);
    alice.shown(&events[0]).await.expect("noted");
    alice.acknowledge().await.expect("acknowledged");
    let ack = ["POST /v1/envelopes/ack HTTP/1.1"];
    assert_eq!(recorder.take().requests, ack);

    assert_eq!(alice.knocks().len(), 1);
    alice.decline("1").await.expect("declined");
    assert!(recorder.take().requests.is_empty(), "a decline is silence");
    bob.revoke("alice").await.expect("revoked");
    bob.knock("alice", "please", None).await.expect("knocked");
    all(&mut alice).await;
    recorder.take();
    alice.accept("bob", None).await.expect("accepted");
    let asked = recorder.take();
    // The answer, sealed by what the knock brought, so no key is looked up; and nothing with a session beside it.
    assert_eq!(asked.requests, ["POST /v1/envelopes HTTP/1.1"]);
}

#[tokio::test]
async fn a_declined_knock_is_forgotten_and_may_come_again() {
    let street = Street::new().await;
    let (mut alice, mut bob) = (street.person("alice").await, street.person("bob").await);
    alice.set_handle("alice").await.expect("set");
    bob.knock("alice", "one", None).await.expect("knocked");
    all(&mut alice).await;
    assert_eq!(alice.decline("bob").await.expect("declined"), "bob");
    assert!(alice.knocks().is_empty() && alice.decline("1").await.is_err() && all(&mut bob).await.is_empty());
    bob.revoke("alice").await.expect("revoked");
    for text in ["two", "three", "three"] {
        bob.knock("alice", text, None).await.expect("knocked");
        bob.revoke("alice").await.expect("revoked");
    }
    bob.knock("alice", "four", None).await.expect("knocked");
    let events = ["knock 2 bob - -: two", "knock 2 bob - -: three", "knock 2 bob - -: four"];
    assert_eq!(said(&all(&mut alice).await), events, "the newest of an account counts, and the same words are not told again");
    assert_eq!(alice.knocks().len(), 1);
    alice.accept("2", Some("robert")).await.expect("accepted");
    assert_eq!(said(&all(&mut bob).await), ["ready alice"], "by the token of the last");
    write_both_ways((&mut alice, "alice"), (&mut bob, "robert")).await;
}

#[tokio::test]
async fn who_is_blocked_is_not_heard() {
    let street = Street::new().await;
    let (mut alice, mut bob) = (street.person("alice").await, street.person("bob").await);
    alice.set_handle("alice").await.expect("set");
    bob.knock("alice", "one", None).await.expect("knocked");
    all(&mut alice).await;
    assert_eq!(alice.block("1").await.expect("blocked"), "bob");
    assert_eq!((alice.knocks().len(), alice.blocked()[0].account), (0, bob.account_id()));
    bob.revoke("alice").await.expect("revoked");
    bob.knock("alice", "two", None).await.expect("it looks to him as ever");
    assert!(all(&mut alice).await.is_empty() && alice.knocks().is_empty());
    let link = alice.invite(None).await.expect("a link");
    bob.revoke("alice").await.expect("revoked");
    bob.add("alice", &link).await.expect("it looks to him as ever");
    assert!(all(&mut alice).await.is_empty() && alice.contacts().is_empty(), "nor by a link that he got hold of");

    assert!(alice.unblock("carol").await.is_err());
    alice.unblock("bob").await.expect("unblocked");
    bob.revoke("alice").await.expect("revoked");
    bob.knock("alice", "three", None).await.expect("knocked");
    assert_eq!(said(&all(&mut alice).await), ["knock 2 bob - -: three"]);
    alice.accept("bob", None).await.expect("accepted");
    all(&mut bob).await;
    bob.send("alice", "hi").await.expect("sent");
    all(&mut alice).await;

    assert_eq!(alice.block("bob").await.expect("blocked"), "bob", "a contact, too");
    assert!(alice.contacts().is_empty());
    let refused = bob.send("alice", "still there?").await.expect_err("the token ended");
    assert_eq!(refused.code(), Some(ErrorCode::NoSuchToken));
    assert!(alice.knock("nobody", "x", None).await.is_err());
    alice.unblock(&bob.account_id().to_string()).await.expect("by the account");
    assert!(alice.blocked().is_empty());
}

#[tokio::test]
async fn a_change_of_handle_touches_no_contact_and_keeps_the_one_before() {
    let street = Street::new().await;
    let (mut alice, mut bob) = (street.person("alice").await, street.person("bob").await);
    let mut carol = street.person("carol").await;
    alice.set_handle("alice").await.expect("set");
    bob.knock("alice", "hello", None).await.expect("knocked");
    all(&mut alice).await;
    alice.accept("bob", None).await.expect("accepted");
    all(&mut bob).await;
    alice.set_handle("alice.2").await.expect("changed");
    write_both_ways((&mut alice, "alice"), (&mut bob, "bob")).await;

    let nobody = carol.knock("alice", "hello", None).await.expect_err("given up");
    assert!(nobody.to_string().contains("nobody at"), "{nobody}");
    let taken = carol.set_handle("alice").await.expect_err("held");
    assert_eq!(taken.code(), Some(ErrorCode::HandleTaken));
    assert_eq!(carol.handle(), None);
    assert_eq!(carol.account().await.expect("an account").tokens, 4, "the token of what was refused is gone again");
    carol.knock("alice.2", "hello", None).await.expect("knocked");
    assert_eq!(said(&all(&mut alice).await), ["knock 2 carol - -: hello"]);
    assert!(alice.release_handle().await.expect("released"));
    assert!(!alice.release_handle().await.expect("there was none") && alice.handle().is_none());
    let held = alice.account().await.expect("an account").handles;
    assert!(held.len() == 2 && held.iter().all(|handle| handle.held_until.is_some()), "{held:?}");
    alice.accept("carol", None).await.expect("accepted: the knock was there before");
    assert_eq!(said(&all(&mut carol).await), ["ready alice.2"]);
    alice.set_handle("alice").await.expect("it was hers");
}

#[tokio::test]
async fn two_who_knock_at_each_others_doors_are_let_in_by_that() {
    let street = Street::new().await;
    let (mut alice, mut bob) = (street.person("alice").await, street.person("bob").await);
    alice.set_handle("alice").await.expect("set");
    bob.set_handle("bob").await.expect("set");
    alice.knock("bob", "me", None).await.expect("knocked");
    bob.knock("alice", "me too", None).await.expect("knocked");
    assert_eq!(said(&all(&mut alice).await), ["ready bob"]);
    // His own knock was answered by hers, and her welcome comes on top.
    assert_eq!(said(&all(&mut bob).await), ["ready alice"]);
    assert!(alice.knocks().is_empty() && bob.knocks().is_empty());
    all(&mut alice).await;
    write_both_ways((&mut alice, "alice"), (&mut bob, "bob")).await;
}

#[tokio::test]
async fn who_knocks_is_told_that_they_are_waited_for_themselves() {
    let street = Street::new().await;
    let (mut alice, mut bob) = (street.person("alice").await, street.person("bob").await);
    alice.set_handle("alice").await.expect("set");
    bob.set_handle("bob").await.expect("set");
    alice.knock("bob", "me", None).await.expect("knocked");
    all(&mut bob).await;
    let waited_for = bob.knock("alice", "me too", None).await.expect_err("she waits already");
    assert!(waited_for.to_string().contains("knock 1"), "{waited_for}");
    assert!(bob.contacts().is_empty());
}

#[tokio::test]
async fn a_flood_at_the_door_takes_no_contacts_place() {
    let street = Street::new().await;
    let (mut alice, mut bob) = (street.person("alice").await, street.person("bob").await);
    let link = alice.invite(None).await.expect("a link");
    bob.add("alice", &link).await.expect("added");
    all(&mut alice).await;
    all(&mut bob).await;
    let open = alice.invite_with(InviteOptions { uses: 1_000, ..InviteOptions::default() }).await.expect("a link");
    let Door::Knock(token) = open.door else { panic!("a link for many") };
    let device = alice.device_id();
    let mut taken = 0;
    for id in 0..40_u128 {
        let sealed = json!([{"device": device, "body": Bytes(vec![1; 4_096])}]);
        let id = Bytes(id.to_be_bytes().to_vec());
        let parcel = json!({"token": token, "id": id, "list": {"epoch": 1, "version": 1}, "sealed": sealed});
        match send(&street.relay, &parcel).await {
            reply if reply.status == 202 => taken += 1,
            reply => reply.refused(429, "mailbox_full"),
        }
    }
    assert_eq!(taken, 32);
    bob.send("alice", "through all that").await.expect("sent");
    assert_eq!(said(&all(&mut alice).await), ["bob: through all that", "unopened 32"]);
    assert!(alice.knocks().is_empty());
}

#[tokio::test]
async fn knocks_that_nobody_tends_to_are_forgotten_after_a_month() {
    let street = Street::new().await;
    let (mut alice, mut bob) = (street.person("alice").await, street.person("bob").await);
    alice.set_handle("alice").await.expect("set");
    bob.knock("alice", "hello", None).await.expect("knocked");
    all(&mut alice).await;
    assert_eq!(street.later("alice", 29).await.knocks().len(), 1);
    assert!(street.later("alice", 30).await.knocks().is_empty());
    // After ten days the reply key inside is stale; the prekey inside is not.
    street.later("alice", 10).await.accept("bob", None).await.expect("accepted");
    assert_eq!(said(&all(&mut street.later("bob", 10).await).await), ["ready alice"]);
}

#[tokio::test]
async fn who_is_let_in_while_no_key_of_theirs_is_good_hears_of_it_later() {
    let street = Street::new().await;
    let (mut alice, mut bob) = (street.person("alice").await, street.person("bob").await);
    alice.set_handle("alice").await.expect("set");
    bob.knock("alice", "hello", None).await.expect("knocked");
    all(&mut alice).await;
    let mut late = street.later("alice", 20).await;
    let queued = late.accept("bob", None).await.expect_err("the keys inside are stale, and there is no other");
    assert!(matches!(queued, Error::Queued { .. }), "{queued}");
    assert!(late.contacts()[0].ready && late.knocks().is_empty());
    assert!(all(&mut bob).await.is_empty());
    // Back in time, where his key is good.
    all(&mut alice).await;
    assert_eq!(said(&all(&mut bob).await), ["ready alice"]);
}
