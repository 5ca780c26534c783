//! The shipped client against real relays: what two people see, and what is left after a crash at the worst moment.

mod commands;
pub(crate) mod factor;
mod swallow;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use restante::client::{Client, Clock, Delivery, Error, Event, Options, Origin, What};
use restante::protocol::ErrorCode;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::{Serving, serve, serve_in};

const DAY: u64 = 86_400;

/// Two people at one relay, and a clock that only theirs go by.
struct Two {
    alice: Client,
    bob: Client,
    ahead: Arc<AtomicU64>,
    directory: TempDir,
    relay: Serving,
}

impl Two {
    async fn new() -> Self {
        let relay = serve(&[]);
        let directory = TempDir::new().expect("a directory");
        let ahead = Arc::new(AtomicU64::new(0));
        let alice = person(&relay, directory.path(), "alice", &ahead).await;
        let bob = person(&relay, directory.path(), "bob", &ahead).await;
        Self { alice, bob, ahead, directory, relay }
    }

    /// After Alice invited Bob, and he added her.
    async fn met() -> Self {
        let mut two = Self::new().await;
        let link = two.alice.invite(Some("bob")).await.expect("a link");
        two.bob.add("alice", &link).await.expect("added");
        all(&mut two.alice).await;
        all(&mut two.bob).await;
        two
    }

    fn advance(&self, secs: u64) {
        self.ahead.fetch_add(secs, Ordering::SeqCst);
    }
}

fn clock(ahead: &Arc<AtomicU64>) -> Clock {
    let (ahead, system) = (Arc::clone(ahead), Clock::system());
    Clock::from_fn(move || system.now() + ahead.load(Ordering::SeqCst))
}

fn options(relay: &Serving) -> Options {
    Options::new(Origin::parse(&format!("http://{}", relay.address())).expect("an origin"))
}

async fn person(relay: &Serving, directory: &Path, name: &str, ahead: &Arc<AtomicU64>) -> Client {
    let options = Options { name: Some(name.into()), clock: clock(ahead), ..options(relay) };
    Client::init(&directory.join(name), options).await.expect("an account").0
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

fn texts(events: &[Event]) -> Vec<&str> {
    events
        .iter()
        .filter_map(|event| match &event.what {
            What::Text { text, .. } => Some(text.as_str()),
            _ => None,
        })
        .collect()
}

async fn waiting(client: &mut Client) -> u64 {
    client.account().await.expect("an account").devices[0].envelopes
}

#[tokio::test]
async fn a_link_makes_two_people_able_to_write_to_each_other() {
    let mut two = Two::new().await;
    let link = two.alice.invite(Some("robert")).await.expect("a link");
    two.bob.add("alice", &link).await.expect("added");
    // Nobody has answered yet; what follows the hello goes by the link's own token.
    two.bob.send("alice", "one").await.expect("sent");
    assert!(!two.bob.contacts()[0].ready);

    let events = all(&mut two.alice).await;
    assert!(matches!(&events[0].what, What::ContactAdded { from, .. } if from == "robert"), "{events:?}");
    assert_eq!(texts(&events), ["one"]);
    assert_eq!(two.alice.account().await.expect("an account").tokens, 6, "three in the pool, the link's two, and Bob's");

    two.alice.send("robert", "two").await.expect("sent");
    let events = all(&mut two.bob).await;
    assert!(matches!(&events[0].what, What::ContactReady { from } if from == "alice"), "{events:?}");
    assert_eq!(texts(&events), ["two"]);

    // The first message by the fresh token ends the one that stood in the link.
    two.bob.send("alice", "three").await.expect("sent");
    assert_eq!(texts(&all(&mut two.alice).await), ["three"]);
    all(&mut two.alice).await;
    assert_eq!(two.alice.account().await.expect("an account").tokens, 5);
    assert_eq!(waiting(&mut two.alice).await, 0);
}

#[tokio::test]
async fn a_link_serves_one_person() {
    let mut two = Two::new().await;
    let mut carol = person(&two.relay, two.directory.path(), "carol", &two.ahead).await;
    let link = two.alice.invite(None).await.expect("a link");
    two.bob.add("alice", &link).await.expect("added");
    let refused = carol.add("alice", &link).await.expect_err("used up");
    assert_eq!(refused.code(), Some(ErrorCode::NoSuchToken));
    assert!(carol.contacts().is_empty());
    assert!(two.alice.add("me", &link).await.is_err(), "one's own");
    assert!(two.bob.add("again", &link).await.is_err(), "known already");
}

#[tokio::test]
async fn a_poll_that_waits_gets_what_is_sent_meanwhile_and_the_profile_stays_usable() {
    let mut two = Two::met().await;
    let path = two.directory.path().join("alice");
    let mut beside = Client::open(&path).await.expect("the same profile");
    let sending = async {
        // While the poll is held, the same profile sends, and the peer answers that.
        beside.send("bob", "are you there?").await.expect("sent");
        let asked = loop {
            let events = two.bob.receive(25).await.expect("received");
            if !events.is_empty() {
                break events;
            }
        };
        assert_eq!(texts(&asked), ["are you there?"]);
        two.bob.send("alice", "yes").await.expect("sent");
    };
    let (events, ()) = tokio::join!(two.alice.receive(25), sending);
    assert_eq!(texts(&events.expect("received")), ["yes"]);
}

#[tokio::test]
async fn events_are_given_until_they_are_shown_and_the_relay_forgets_after_that() {
    let mut two = Two::met().await;
    two.bob.send("alice", "hello").await.expect("sent");
    for _ in 0..2 {
        assert_eq!(texts(&two.alice.receive(0).await.expect("received")), ["hello"]);
    }
    // Another process, the relay not asked: it is on our own disk.
    let mut again = Client::open(&two.directory.path().join("alice")).await.expect("the profile");
    let events = again.receive(0).await.expect("received");
    assert_eq!(texts(&events), ["hello"]);
    assert_eq!(waiting(&mut two.alice).await, 1);
    again.shown(&events[0]).await.expect("noted");
    again.acknowledge().await.expect("acknowledged");
    assert_eq!(waiting(&mut two.alice).await, 0);
    assert!(all(&mut two.alice).await.is_empty());
}

#[tokio::test]
async fn what_could_not_be_sent_is_sent_later_once_and_in_order() {
    let mut two = Two::met().await;
    let address = two.relay.address().to_string();
    two.relay.signal(Signal::KILL);
    two.relay.ended();
    let queued = two.bob.send("alice", "first").await.expect_err("nobody answers");
    assert!(matches!(queued, Error::Queued { .. }), "{queued}");
    assert_eq!(two.bob.sent().last().map(|sent| &sent.state), Some(&Delivery::Queued));
    let home = two.relay.directory.clone();
    let _again = serve_in(&home, &["--listen", &address]);
    two.bob.send("alice", "second").await.expect("sent");
    assert!(two.bob.sent().iter().all(|sent| matches!(sent.state, Delivery::Accepted { .. })));
    assert_eq!(texts(&all(&mut two.alice).await), ["first", "second"]);
}

#[tokio::test]
async fn prekeys_are_renewed_weekly_and_old_ones_still_open_what_was_sealed_to_them() {
    let mut two = Two::new().await;
    let link = two.alice.invite(None).await.expect("a link");
    // Sealed to Alice's first prekey, opened a week later, after she has published the second.
    two.bob.add("alice", &link).await.expect("added");
    let before = two.alice.account().await.expect("an account").devices[0].prekey_expires_at;
    two.advance(7 * DAY);
    let events = all(&mut two.alice).await;
    assert!(matches!(events[0].what, What::ContactAdded { .. }), "{events:?}");
    let after = two.alice.account().await.expect("an account").devices[0].prekey_expires_at;
    assert!(after > before, "{after:?} {before:?}");
    assert!([before, after].iter().flatten().all(|expires_at| expires_at % DAY == 0), "it does not tell when she was there");
}

#[tokio::test]
async fn keys_that_are_past_their_time_are_gone() {
    let mut two = Two::met().await;
    two.bob.send("alice", "late").await.expect("sent");
    let state = two.directory.path().join("alice/state.json");
    let count = |name: &str| {
        let state: serde_json::Value = serde_json::from_slice(&std::fs::read(&state).expect("a state")).expect("JSON");
        state[name].as_array().expect("a list").len()
    };
    assert_eq!((count("prekeys"), count("reply_keys")), (1, 1), "one prekey, and the key in the welcome");
    two.advance(16 * DAY);
    // The message is opened by the key that it names, and only then do keys go.
    assert_eq!(texts(&all(&mut two.alice).await), ["late"]);
    assert_eq!((count("prekeys"), count("reply_keys")), (2, 0));
    two.advance(6 * DAY);
    all(&mut two.alice).await;
    assert_eq!(count("prekeys"), 1, "the first went 22 days after it was made");
}

#[tokio::test]
async fn the_pool_is_refilled_later_and_not_when_it_is_used() {
    let mut two = Two::met().await;
    assert_eq!(two.bob.account().await.expect("an account").tokens, 4);
    all(&mut two.bob).await;
    assert_eq!(two.bob.account().await.expect("an account").tokens, 4);
    two.advance(DAY);
    all(&mut two.bob).await;
    assert_eq!(two.bob.account().await.expect("an account").tokens, 5);
}

#[tokio::test]
async fn a_recovered_account_has_a_new_device_and_keeps_its_contacts() {
    let relay = serve(&[]);
    let directory = TempDir::new().expect("a directory");
    let ahead = Arc::default();
    let (mut alice, words) = Client::init(&directory.path().join("alice"), options(&relay)).await.expect("an account");
    let mut bob = person(&relay, directory.path(), "bob", &ahead).await;
    let link = alice.invite(Some("bob")).await.expect("a link");
    bob.add("alice", &link).await.expect("added");
    all(&mut alice).await;
    all(&mut bob).await;
    let old = alice.device_id();

    let mut alice = Client::recover(&directory.path().join("alice"), options(&relay), &words).await.expect("recovered");
    assert_ne!(alice.device_id(), old);
    // Bob seals for the device that is gone, is shown the new list, verifies it, and seals again with the same id.
    bob.send("alice", "still there?").await.expect("sent");
    assert_eq!(texts(&all(&mut alice).await), ["still there?"]);
    alice.send("bob", "yes").await.expect("sent");
    let events = all(&mut bob).await;
    assert!(events.iter().any(|event| matches!(event.what, What::DevicesChanged { added: 1, removed: 1, .. })), "{events:?}");
    assert_eq!(texts(&events), ["yes"]);

    // On an empty machine too: what the devices kept together at the relay comes back with the words.
    let elsewhere = directory.path().join("elsewhere");
    let mut anew = Client::recover(&elsewhere, options(&relay), &words).await.expect("recovered");
    assert_eq!(anew.account_id(), alice.account_id());
    assert_eq!(alice.receive(0).await.expect_err("the old device is gone").code(), Some(ErrorCode::LoginRefused));
    bob.send("alice", "and now?").await.expect("sent");
    assert_eq!(texts(&all(&mut anew).await), ["and now?"]);
}

#[tokio::test]
async fn a_revoked_contact_cannot_write_and_what_waits_of_theirs_is_not_shown() {
    let mut two = Two::met().await;
    two.bob.send("alice", "in time, unread").await.expect("sent");
    two.alice.revoke("bob").await.expect("revoked");
    let events = all(&mut two.alice).await;
    assert!(texts(&events).is_empty());
    assert!(matches!(events[0].what, What::Unopened { count: 1 }), "{events:?}");
    assert_eq!(waiting(&mut two.alice).await, 0, "it is acknowledged all the same");
    let refused = two.bob.send("alice", "too late").await.expect_err("revoked");
    assert_eq!(refused.code(), Some(ErrorCode::NoSuchToken));
}

#[tokio::test]
async fn a_relay_with_another_key_is_signed_nothing() {
    let mut two = Two::met().await;
    let address = two.relay.address().to_string();
    two.relay.signal(Signal::KILL);
    two.relay.ended();
    let _impostor = serve(&["--listen", &address]);
    for refused in [two.alice.receive(0).await.map(drop), two.alice.logout().await.map(drop)] {
        let error = refused.expect_err("another relay");
        assert!(matches!(error, Error::RelayKeyChanged { .. }), "{error}");
    }
    let checks = two.alice.doctor().await.expect("looked at");
    assert!(checks.iter().any(|check| check.name == "key" && check.health == restante::client::Health::Fail), "{checks:?}");
}

#[tokio::test]
async fn the_relay_key_that_was_named_must_be_the_one_that_answers() {
    let relay = serve(&[]);
    let directory = TempDir::new().expect("a directory");
    let other = Options { relay_key: Some("0000-".repeat(7) + "0000"), ..options(&relay) };
    let error = Client::init(&directory.path().join("no"), other).await.expect_err("another key");
    assert!(matches!(error, Error::RelayKeyChanged { .. }), "{error}");
    let fingerprint = relay.banner["fingerprint"].as_str().map(str::to_string);
    let named = Options { relay_key: fingerprint, ..options(&relay) };
    Client::init(&directory.path().join("yes"), named).await.expect("the key that was named");
}

#[tokio::test]
async fn a_text_of_any_length_that_fits_arrives_and_a_longer_one_is_refused_with_a_sentence() {
    let mut two = Two::met().await;
    let most = 16_063 - r#"{"type":"text","text":""}"#.len();
    for length in [0, 1, 700, 3_900, most] {
        let text = "x".repeat(length);
        two.bob.send("alice", &text).await.expect("sent");
        assert_eq!(texts(&all(&mut two.alice).await), [text.as_str()]);
    }
    let refused = two.bob.send("alice", &"x".repeat(most + 1)).await.expect_err("too long");
    assert!(refused.to_string().contains("1 over"), "{refused}");
    assert!(two.bob.send("nobody", "x").await.is_err());
}

#[tokio::test]
async fn a_profile_is_private_and_shows_no_secret() {
    use std::os::unix::fs::PermissionsExt;
    let two = Two::met().await;
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    let alice = two.directory.path().join("alice");
    assert_eq!(mode(&alice), 0o700);
    for file in std::fs::read_dir(&alice).expect("a directory") {
        let path = file.expect("an entry").path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    let state: serde_json::Value =
        serde_json::from_slice(&std::fs::read(alice.join("state.json")).expect("a state")).expect("JSON");
    let debug = format!("{:?}", two.alice);
    for secret in ["device", "sealing", "list_key"] {
        assert!(!debug.contains(state[secret].as_str().expect("a secret")));
    }
    std::fs::set_permissions(&alice, PermissionsExt::from_mode(0o755)).expect("changed");
    assert!(Client::open(&alice).await.is_err(), "open to others");
}

#[tokio::test]
async fn a_deleted_account_is_gone_at_both_ends() {
    let mut two = Two::met().await;
    two.alice.delete().await.expect("deleted");
    assert!(Client::open(&two.directory.path().join("alice")).await.is_err());
    assert_eq!(two.bob.send("alice", "x").await.expect_err("gone").code(), Some(ErrorCode::NoSuchToken));
}
