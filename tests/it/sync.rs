//! What an account's devices keep together: contacts made on one are there on the other, nothing that two change at once is
//! lost, an older copy is refused, and the words bring it all back.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use restante::client::{Check, Client, Clock, Event, Health, Linking, Options, Origin, What, Words};
use restante::protocol::ErrorCode;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::files::raw;
use crate::support::relay::TestRelay;

pub(crate) const HOUR: u64 = 3_600;
/// Longer than anything is held back.
pub(crate) const DELAY: u64 = 121;

/// A relay, profiles beside it, and a clock that only clients go by.
pub(crate) struct Place {
    pub(crate) relay: TestRelay,
    directory: TempDir,
    ahead: Arc<AtomicU64>,
}

impl Place {
    pub(crate) async fn new() -> Self {
        let directory = TempDir::new().expect("a directory");
        Self { relay: TestRelay::start().await, directory, ahead: Arc::default() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn options(&self) -> Options {
        let (ahead, system) = (Arc::clone(&self.ahead), Clock::system());
        let clock = Clock::from_fn(move || system.now() + ahead.load(Ordering::SeqCst));
        Options { clock, ..Options::new(Origin::parse(&self.relay.origin()).expect("an origin")) }
    }

    pub(crate) async fn account(&self, name: &str) -> (Client, Words) {
        let options = Options { name: Some(name.into()), ..self.options() };
        Client::init(&self.path(name), options).await.expect("an account")
    }

    pub(crate) async fn person(&self, name: &str) -> Client {
        self.account(name).await.0
    }

    pub(crate) async fn again(&self, name: &str) -> Client {
        Client::open_with(&self.path(name), self.options().clock).await.expect("the profile")
    }

    /// A second device of the account.
    pub(crate) async fn linked(&self, first: &mut Client, name: &str) -> Client {
        let linking = Linking::begin(&self.path(name), self.options(), &first.account_line()).await.expect("a code");
        first.approve(&linking.code()).await.expect("let in");
        linking.wait().await.expect("linked")
    }

    pub(crate) fn advance(&self, secs: u64) {
        self.ahead.fetch_add(secs, Ordering::SeqCst);
    }

    /// Every slot's version and content, as the relay's disk has it.
    pub(crate) fn slots(&self) -> Vec<(Vec<u8>, i64, Vec<u8>)> {
        let database = raw(&self.relay.config.server.data.join("restante.db"));
        let mut select = database.prepare("SELECT slot, version, content FROM slots ORDER BY id").expect("a query");
        let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).expect("rows");
        rows.map(|row| row.expect("a row")).collect()
    }

    /// A relay that lies.
    pub(crate) fn put_slots(&self, slots: &[(Vec<u8>, i64, Vec<u8>)]) {
        let database = raw(&self.relay.config.server.data.join("restante.db"));
        for (slot, version, content) in slots {
            let update = "UPDATE slots SET version = ?2, content = ?3 WHERE slot = ?1";
            assert_eq!(database.execute(update, (slot, version, content)).expect("it runs"), 1);
        }
    }
}

pub(crate) async fn all(client: &mut Client) -> Vec<Event> {
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

pub(crate) fn texts(events: &[Event]) -> Vec<&str> {
    let text = |event: &'_ Event| matches!(event.what, What::Text { .. });
    let texts = events.iter().filter(|event| text(event));
    texts.map(|event| if let What::Text { text, .. } = &event.what { text.as_str() } else { "" }).collect()
}

pub(crate) fn names(client: &Client) -> Vec<String> {
    client.contacts().into_iter().map(|contact| contact.name).collect()
}

pub(crate) fn count(events: &[Event], is: impl Fn(&What) -> bool) -> usize {
    events.iter().filter(|event| is(&event.what)).count()
}

/// They know each other, and have said so.
pub(crate) async fn meet(one: &mut Client, other: &mut Client, name: &str, back: &str) {
    let link = one.invite(Some(name)).await.expect("a link");
    other.add(back, &link).await.expect("added");
    all(one).await;
    all(other).await;
}

#[tokio::test]
async fn a_linked_device_has_the_contacts_and_writes_to_them() {
    let place = Place::new().await;
    let (mut alice, mut bob) = (place.person("alice").await, place.person("bob").await);
    meet(&mut alice, &mut bob, "bob", "alice").await;
    let mut second = place.linked(&mut alice, "second").await;
    assert_eq!((names(&second), second.name()), (vec!["bob".to_string()], Some("alice")));
    assert!(second.contacts()[0].ready);
    second.send("bob", "from my other device").await.expect("sent");
    assert_eq!(texts(&all(&mut bob).await), ["from my other device"]);
    bob.send("alice", "to all of you").await.expect("sent");
    for device in [&mut alice, &mut second] {
        let events = all(device).await;
        assert_eq!(texts(&events), ["to all of you"]);
        assert_eq!(count(&events, |what| matches!(what, What::Unopened { .. })), 0, "{events:?}");
    }
    assert!(!place.slots().is_empty());
}

#[tokio::test]
async fn nothing_is_written_where_nothing_changed() {
    let place = Place::new().await;
    let (mut alice, mut bob) = (place.person("alice").await, place.person("bob").await);
    meet(&mut alice, &mut bob, "bob", "alice").await;
    let mut second = place.linked(&mut alice, "second").await;
    for _ in 0..2 {
        bob.send("alice", "hello").await.expect("sent");
        alice.send("bob", "hello").await.expect("sent");
        second.send("bob", "hello").await.expect("sent");
        for device in [&mut alice, &mut second, &mut bob] {
            all(device).await;
        }
    }
    let before = place.slots();
    for _ in 0..3 {
        place.advance(2 * HOUR);
        bob.send("alice", "hello").await.expect("sent");
        second.send("bob", "hello").await.expect("sent");
        for device in [&mut alice, &mut second, &mut bob] {
            all(device).await;
        }
    }
    assert!(place.slots() == before, "to the byte");
}

#[tokio::test]
async fn whoever_of_the_devices_receives_a_hello_first_answers_it_and_the_other_does_not() {
    for both_at_once in [false, true] {
        let place = Place::new().await;
        let (mut alice, mut bob) = (place.person("alice").await, place.person("bob").await);
        let mut second = place.linked(&mut alice, "second").await;
        // Made on one; the other has heard of it.
        let link = alice.invite(Some("bob")).await.expect("a link");
        place.advance(2 * HOUR);
        all(&mut second).await;
        bob.add("alice", &link).await.expect("added");
        bob.send("alice", "one").await.expect("sent");
        let (one, other) = match both_at_once {
            true => tokio::join!(all(&mut second), all(&mut alice)),
            false => (all(&mut second).await, all(&mut alice).await),
        };
        for events in [&one, &other] {
            assert_eq!(count(events, |what| matches!(what, What::ContactAdded { from, .. } if from == "bob")), 1, "{events:?}");
            assert_eq!(count(events, |what| matches!(what, What::Unopened { .. })), 0, "{events:?}");
            assert_eq!(texts(events), ["one"]);
        }
        let waiting = bob.account().await.expect("an account").devices[0].envelopes;
        assert_eq!(waiting, 1, "one welcome");
        let events = all(&mut bob).await;
        assert_eq!(count(&events, |what| matches!(what, What::ContactReady { .. })), 1);
        bob.send("alice", "two").await.expect("sent");
        for device in [&mut second, &mut alice] {
            assert_eq!(texts(&all(device).await), ["two"]);
            device.send("bob", "three").await.expect("sent");
        }
        assert_eq!(texts(&all(&mut bob).await), ["three", "three"]);
        assert_eq!((names(&alice), names(&second)), (vec!["bob".to_string()], vec!["bob".to_string()]));
    }
}

#[tokio::test]
async fn what_comes_from_a_contact_that_another_device_made_is_held_until_that_is_known() {
    let place = Place::new().await;
    let (mut alice, mut carol) = (place.person("alice").await, place.person("carol").await);
    let mut second = place.linked(&mut alice, "second").await;
    all(&mut second).await;
    // The other device adds her; she answers, and writes, and this one has heard of none of it.
    let link = carol.invite(Some("alice")).await.expect("a link");
    alice.add("carol", &link).await.expect("added");
    all(&mut carol).await;
    carol.send("alice", "you both?").await.expect("sent");
    let events = all(&mut second).await;
    assert!(texts(&events).is_empty(), "the other says it later");
    assert_eq!(count(&events, |what| matches!(what, What::Unopened { .. })), 0, "it waits: {events:?}");
    place.advance(DELAY);
    assert_eq!(texts(&all(&mut alice).await), ["you both?"]);
    let before = place.slots();
    let spoilt: Vec<_> = before.iter().map(|(slot, version, _)| (slot.clone(), *version, vec![7; 1_024])).collect();
    place.put_slots(&spoilt);
    let events = all(&mut second).await;
    assert!(texts(&events).is_empty());
    assert_eq!(count(&events, |what| matches!(what, What::SlotUnreadable)), 1, "{events:?}");
    assert_eq!(count(&events, |what| matches!(what, What::Unopened { .. })), 0, "it waits");
    let own = second.device_id();
    let held = second.account().await.expect("an account").devices;
    assert!(held.iter().any(|device| device.device == own && device.envelopes == 0), "it is safe here");
    let mut second = place.again("second").await;
    assert!(all(&mut second).await.is_empty(), "told once");

    place.put_slots(&before);
    assert_eq!(texts(&all(&mut second).await), ["you both?"]);
    assert_eq!(names(&second), ["carol"]);
    assert!(second.contacts()[0].ready, "her answer was among it");
    second.send("carol", "both").await.expect("sent");
    assert_eq!(texts(&all(&mut carol).await), ["both"]);
}

#[tokio::test]
async fn what_goes_with_an_anonymous_send_is_written_later_and_outlives_the_process() {
    let place = Place::new().await;
    let (mut alice, mut bob) = (place.person("alice").await, place.person("bob").await);
    alice.invite(Some("somebody")).await.expect("a link");
    let before = place.slots();
    assert!(!before.is_empty(), "an invite is made with a session anyway");
    let link = bob.invite(Some("alice")).await.expect("a link");
    let bobs = place.slots().len() - before.len();
    alice.add("bob", &link).await.expect("added");
    let is_unchanged = |place: &Place| place.slots()[..before.len()] == before[..];
    assert!(is_unchanged(&place), "not with the hello");
    assert!(alice.receipts_due_in().is_some_and(|due| (5..=120).contains(&due.as_secs())));
    drop(alice);
    let mut alice = place.again("alice").await;
    all(&mut alice).await;
    assert!(is_unchanged(&place), "nor with whatever comes next");
    place.advance(DELAY);
    all(&mut alice).await;
    assert!(!is_unchanged(&place) && alice.receipts_due_in().is_none());
    let second = place.linked(&mut alice, "second").await;
    assert_eq!(names(&second), ["bob"]);

    // The very first thing that an account does.
    let mut carol = place.person("carol").await;
    let (slots, link) = (place.slots().len(), bob.invite(Some("carol")).await.expect("a link"));
    carol.add("bob", &link).await.expect("added");
    assert_eq!(place.slots().len(), slots);
    place.advance(DELAY);
    carol.send_due_receipts().await.expect("what is due, as a stream does it");
    assert_eq!((place.slots().len(), bobs), (slots + 1, 1));
}

#[tokio::test]
async fn what_nobody_knows_waits_no_longer_than_the_slot_takes_to_be_read_and_no_longer_than_a_week() {
    let place = Place::new().await;
    let (mut alice, mut bob) = (place.person("alice").await, place.person("bob").await);
    meet(&mut alice, &mut bob, "bob", "alice").await;
    bob.send("alice", "unread").await.expect("sent");
    alice.revoke("bob").await.expect("revoked");
    let events = all(&mut alice).await;
    assert_eq!(count(&events, |what| matches!(what, What::Unopened { count: 1 })), 1, "{events:?}");

    bob.revoke("alice").await.expect("revoked");
    meet(&mut alice, &mut bob, "bob", "alice").await;
    bob.send("alice", "unread").await.expect("sent");
    alice.revoke("bob").await.expect("revoked");
    let lies: Vec<_> = place.slots().into_iter().map(|(slot, version, _)| (slot, version + 1, vec![7; 1_024])).collect();
    place.put_slots(&lies);
    let events = all(&mut alice).await;
    assert_eq!(count(&events, |what| matches!(what, What::Unopened { .. })), 0, "{events:?}");
    place.advance(7 * 24 * HOUR);
    let events = all(&mut alice).await;
    assert_eq!(count(&events, |what| matches!(what, What::Unopened { count: 1 })), 1, "{events:?}");
}

#[tokio::test]
async fn two_devices_that_change_at_once_lose_nothing() {
    let place = Place::new().await;
    let mut alice = place.person("alice").await;
    let mut people = Vec::new();
    for name in ["bob", "carol", "dave", "erin"] {
        people.push(place.person(name).await);
    }
    meet(&mut alice, &mut people[0], "bob", "alice").await;
    meet(&mut alice, &mut people[1], "carol", "alice").await;
    let mut second = place.linked(&mut alice, "second").await;
    let links =
        [people[2].invite(Some("alice")).await.expect("a link"), people[3].invite(Some("alice")).await.expect("a link")];
    let on_one = async {
        alice.add("friend", &links[0]).await.expect("added");
        alice.revoke("bob").await.expect("revoked");
        alice.invite(Some("frank")).await.expect("a link")
    };
    let on_the_other = async {
        second.add("friend", &links[1]).await.expect("added");
        let mut live = second.live("carol").expect("a contact");
        live.presence = true;
        second.set_live("carol", live).await.expect("set");
        second.invite(Some("grace")).await.expect("a link")
    };
    let (frank, grace) = tokio::join!(on_one, on_the_other);
    for person in &mut people {
        all(person).await;
    }
    for _ in 0..2 {
        place.advance(2 * HOUR);
        all(&mut alice).await;
        all(&mut second).await;
    }
    let known = |client: &Client| client.contacts().into_iter().map(|contact| contact.account).collect::<BTreeSet<_>>();
    let expected: BTreeSet<_> = people[1..].iter().map(Client::account_id).collect();
    assert_eq!((known(&alice), known(&second)), (expected.clone(), expected));
    assert_eq!(names(&alice), names(&second));
    assert_eq!(names(&alice)[1..], ["friend", "friend-2"], "two of one name are told apart, on both alike");
    assert!(alice.live("carol").expect("a contact").presence);
    // Either invite is taken by whichever device.
    let (mut one, mut other) = (place.person("frank").await, place.person("grace").await);
    one.add("alice", &frank).await.expect("added");
    other.add("alice", &grace).await.expect("added");
    all(&mut second).await;
    all(&mut alice).await;
    assert!(names(&second).contains(&"frank".to_string()) && names(&alice).contains(&"grace".to_string()));
}

#[tokio::test]
async fn who_is_revoked_on_one_device_is_gone_on_the_other() {
    let place = Place::new().await;
    let (mut alice, mut bob) = (place.person("alice").await, place.person("bob").await);
    meet(&mut alice, &mut bob, "bob", "alice").await;
    let mut second = place.linked(&mut alice, "second").await;
    second.revoke("bob").await.expect("revoked");
    assert_eq!(bob.send("alice", "x").await.expect_err("revoked").code(), Some(ErrorCode::NoSuchToken));
    place.advance(2 * HOUR);
    all(&mut alice).await;
    assert!(names(&alice).is_empty());
    // And made anew on one, there again on the other.
    bob.revoke("alice").await.expect("revoked");
    meet(&mut alice, &mut bob, "robert", "alice").await;
    place.advance(2 * HOUR);
    all(&mut second).await;
    assert_eq!(names(&second), ["robert"]);
}

#[tokio::test]
async fn an_older_copy_is_refused_and_told_once() {
    let place = Place::new().await;
    let (mut alice, mut bob) = (place.person("alice").await, place.person("bob").await);
    let older = {
        alice.invite(None).await.expect("a link");
        place.slots()
    };
    meet(&mut alice, &mut bob, "bob", "alice").await;
    let newer: Vec<_> = place.slots().into_iter().filter(|(slot, ..)| *slot == older[0].0).collect();
    assert!(newer[0].1 > older[0].1);
    place.put_slots(&older);
    place.advance(2 * HOUR);
    let events = all(&mut alice).await;
    assert_eq!(count(&events, |what| matches!(what, What::SlotRolledBack)), 1, "{events:?}");
    assert_eq!(names(&alice), ["bob"]);
    place.advance(2 * HOUR);
    alice.invite(Some("carol")).await.expect("a link");
    assert!(all(&mut alice).await.is_empty(), "told once");
    assert!(place.slots().contains(&older[0]), "and nothing is built upon it");
    bob.send("alice", "does it matter?").await.expect("sent");
    assert_eq!(texts(&all(&mut alice).await), ["does it matter?"]);

    let book = |checks: Vec<Check>| checks.into_iter().find(|check| check.name == "book").expect("a check");
    let refused = book(alice.doctor().await.expect("looked"));
    assert!(refused.fix.is_some_and(|fix| fix.contains("--accept-rollback")), "it is said what to do");

    place.put_slots(&newer);
    place.advance(2 * HOUR);
    assert!(all(&mut alice).await.is_empty());
    let now: Vec<_> = place.slots().into_iter().filter(|(slot, ..)| *slot == older[0].0).collect();
    assert_eq!(now[0].1, newer[0].1 + 1, "what was changed meanwhile is written");
    place.put_slots(&older);
    place.advance(2 * HOUR);
    assert_eq!(count(&all(&mut alice).await, |what| matches!(what, What::SlotRolledBack)), 1, "another time is told again");
}

#[tokio::test]
async fn an_older_copy_is_written_over_once_the_user_says_so() {
    let place = Place::new().await;
    let (mut alice, mut bob) = (place.person("alice").await, place.person("bob").await);
    let mut second = place.linked(&mut alice, "second").await;
    alice.invite(None).await.expect("a link");
    let older = place.slots();
    assert!(
        !alice.accept_rollback().await.expect("looked") && place.slots() == older,
        "where nothing is amiss nothing is done"
    );
    meet(&mut alice, &mut bob, "bob", "alice").await;
    for name in ["one", "two", "three"] {
        alice.invite(Some(name)).await.expect("a link");
    }
    place.advance(2 * HOUR);
    all(&mut second).await;
    second.invite(Some("four")).await.expect("a link");
    let seen = place.slots()[0].1;
    place.put_slots(&older);
    place.advance(2 * HOUR);
    for device in [&mut alice, &mut second] {
        let events = all(device).await;
        assert_eq!(count(&events, |what| matches!(what, What::SlotRolledBack)), 1, "{events:?}");
    }
    assert!(second.accept_rollback().await.expect("written"));
    assert!(place.slots()[0].1 > seen, "beyond what anybody has seen");
    // The other goes on by itself, and nothing was lost.
    place.advance(2 * HOUR);
    all(&mut alice).await;
    for device in [&mut alice, &mut second] {
        assert_eq!((names(device), device.invites().len()), (vec!["bob".to_string()], 5));
        let checks = device.doctor().await.expect("looked");
        assert!(checks.iter().any(|check| check.name == "book" && check.health == Health::Ok), "{checks:?}");
    }
    // Where the relay has none at all any more.
    let database = raw(&place.relay.config.server.data.join("restante.db"));
    database.execute("DELETE FROM slots", ()).expect("gone");
    place.advance(2 * HOUR);
    assert_eq!(count(&all(&mut alice).await, |what| matches!(what, What::SlotRolledBack)), 1);
    assert!(alice.accept_rollback().await.expect("written"));
    place.advance(2 * HOUR);
    assert!(all(&mut second).await.is_empty());
}

#[tokio::test]
async fn the_words_bring_the_contacts_back_and_both_sides_write() {
    let place = Place::new().await;
    let (mut alice, words) = place.account("alice").await;
    let (mut bob, mut carol) = (place.person("bob").await, place.person("carol").await);
    meet(&mut alice, &mut bob, "bob", "alice").await;
    let link = alice.invite(Some("carol")).await.expect("a link");
    bob.send("alice", "lost with the device").await.expect("sent");
    let before = alice.account().await.expect("an account");
    drop(alice);

    let mut anew = Client::recover(&place.path("anew"), place.options(), &words).await.expect("recovered");
    assert_eq!((names(&anew), anew.name()), (vec!["bob".to_string()], Some("alice")));
    let after = anew.account().await.expect("an account");
    assert_eq!((after.slots.len(), before.slots.len()), (1, 1), "the old one is gone");
    assert_ne!(after.slots[0].slot, before.slots[0].slot);
    assert_eq!(after.tokens, 4 + 2 + 2, "the pool, Bob's two, the open invite's; the lost device's pool is revoked");

    anew.send("bob", "I am back").await.expect("sent");
    let events = all(&mut bob).await;
    assert_eq!(texts(&events), ["I am back"]);
    let changed = |what: &What| matches!(what, What::DevicesChanged { added: 1, removed: 1, .. });
    assert_eq!(count(&events, changed), 1, "{events:?}");
    bob.send("alice", "good").await.expect("sent");
    assert_eq!(texts(&all(&mut anew).await), ["good"]);
    carol.add("alice", &link).await.expect("the invite is still open");
    let events = all(&mut anew).await;
    assert_eq!(count(&events, |what| matches!(what, What::ContactAdded { from, .. } if from == "carol")), 1, "{events:?}");
    // A second time, from a profile that was itself recovered.
    let again = Client::recover(&place.path("again"), place.options(), &words).await.expect("recovered");
    assert_eq!(names(&again), ["bob", "carol"]);
}

#[tokio::test]
async fn where_no_slot_opens_a_recovered_account_begins_without_contacts() {
    let place = Place::new().await;
    let (mut alice, words) = place.account("alice").await;
    let mut bob = place.person("bob").await;
    meet(&mut alice, &mut bob, "bob", "alice").await;
    place.put_slots(&place.slots().into_iter().map(|(slot, version, _)| (slot, version, vec![7; 1_024])).collect::<Vec<_>>());
    let mut anew = Client::recover(&place.path("anew"), place.options(), &words).await.expect("recovered");
    assert!(names(&anew).is_empty());
    assert_eq!(bob.send("alice", "x").await.expect_err("revoked").code(), Some(ErrorCode::NoSuchToken));
    meet(&mut anew, &mut place.person("carol").await, "carol", "alice").await;
    assert_eq!(names(&anew), ["carol"]);
}

#[tokio::test]
async fn what_is_too_large_stays_here_and_is_told() {
    let place = Place::new().await;
    let (mut alice, mut bob) = (place.person("alice").await, place.person("bob").await);
    meet(&mut alice, &mut bob, "bob", "alice").await;
    let file = place.path("alice").join("state.json");
    let mut state: Value = serde_json::from_slice(&std::fs::read(&file).expect("a state")).expect("JSON");
    let hash = |number: u16, kind: u8| {
        let mut bytes = [kind; 32];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        restante::protocol::TokenHash(bytes)
    };
    let ends = u64::from(u32::MAX);
    let many = (0..400)
        .map(|number| json!({"name": "x".repeat(60), "once": hash(number, 1), "contact": hash(number, 2), "expires_at": ends}));
    state["invites"] = many.collect();
    std::fs::write(&file, state.to_string()).expect("written");
    let events = all(&mut alice).await;
    assert_eq!(count(&events, |what| matches!(what, What::SlotTooLarge)), 1, "{events:?}");
    assert!(all(&mut alice).await.is_empty(), "told once");
    bob.send("alice", "fine").await.expect("sent");
    assert_eq!(texts(&all(&mut alice).await), ["fine"]);
    // Nobody is kept waiting for an answer because of it.
    let mut carol = place.person("carol").await;
    meet(&mut alice, &mut carol, "carol", "alice").await;
    assert!(carol.contacts()[0].ready);
}

#[tokio::test]
async fn a_profile_without_a_sync_key_goes_on_as_before() {
    let place = Place::new().await;
    let (mut alice, words) = place.account("alice").await;
    let file = place.path("alice").join("state.json");
    let mut state: Value = serde_json::from_slice(&std::fs::read(&file).expect("a state")).expect("JSON");
    for later in ["sync_key", "myself", "kept"] {
        state.as_object_mut().expect("an object").remove(later);
    }
    std::fs::write(&file, state.to_string()).expect("written");
    let (mut bob, mut carol) = (place.person("bob").await, place.person("carol").await);
    meet(&mut alice, &mut bob, "bob", "alice").await;
    bob.send("alice", "hello").await.expect("sent");
    assert_eq!(texts(&all(&mut alice).await), ["hello"]);
    assert!(alice.account().await.expect("an account").slots.is_empty());
    // With the words it gets one, and keeps its contacts.
    let mut alice = Client::recover(&place.path("alice"), place.options(), &words).await.expect("recovered");
    assert_eq!(names(&alice), ["bob"]);
    meet(&mut alice, &mut carol, "carol", "alice").await;
    assert_eq!(alice.account().await.expect("an account").slots.len(), 1);
}
