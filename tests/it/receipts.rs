//! Receipts, typing and presence between shipped clients: what the other side comes to know, when, and what is never sent.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use restante::client::{
    Client, Clock, Delivery, Event, Live, LiveSettings, Options, Origin, ReceiptSettings, Receipts, Sent, What,
};
use restante::crypto::{exchange, sign};
use restante::protocol::DeviceId;
use restante::protocol::stream::RelayFrame;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::{run, serve};
use crate::support::person::{Device, login};
use crate::support::raw::text;
use crate::support::relay::TestRelay;
use crate::support::ws::Ws;

/// Longer than any batch is held back.
const DELAY: u64 = 121;
const DAY: u64 = 86_400;

/// People at one relay, and a clock of theirs that stands still until it is advanced.
struct People {
    relay: TestRelay,
    directory: TempDir,
    now: Arc<AtomicU64>,
}

impl People {
    async fn new() -> Self {
        let now = Arc::new(AtomicU64::new(Clock::system().now()));
        Self { relay: TestRelay::start().await, directory: TempDir::new().expect("a directory"), now }
    }

    async fn person(&self, name: &str) -> Client {
        let origin = Origin::parse(&self.relay.origin()).expect("an origin");
        let options = Options { name: Some(name.into()), clock: self.clock(), ..Options::new(origin) };
        Client::init(&self.path(name), options).await.expect("an account").0
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn clock(&self) -> Clock {
        let now = Arc::clone(&self.now);
        Clock::from_fn(move || now.load(Ordering::SeqCst))
    }

    fn advance(&self, secs: u64) {
        self.now.fetch_add(secs, Ordering::SeqCst);
    }

    fn state(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.path(name).join("state.json")).expect("a state")).expect("JSON")
    }

    /// An open stream of a profile's device, for which nothing waits.
    async fn stream(&self, name: &str) -> Ws {
        let state = self.state(name);
        let secret = |key: &str| text(&state[key]).parse::<DeviceId>().expect("32 bytes").0;
        let key = sign::KeyPair::from_seed(&secret("device"));
        let device = Device { key, sealing: exchange::KeyPair::from_secret(&secret("sealing")) };
        Ws::idle(&self.relay, &login(&self.relay, &device).await).await
    }

    /// Changes a profile's state file, and gives the client that finds it so.
    async fn tampered(&self, name: &str, change: impl FnOnce(&mut Value)) -> Client {
        let mut state = self.state(name);
        change(&mut state);
        std::fs::write(self.path(name).join("state.json"), state.to_string()).expect("written");
        Client::open_with(&self.path(name), self.clock()).await.expect("a profile")
    }
}

/// Alice and Bob, met.
async fn two(people: &People) -> (Client, Client) {
    let (mut alice, mut bob) = (people.person("alice").await, people.person("bob").await);
    meet(&mut alice, "alice", &mut bob, "bob").await;
    (alice, bob)
}

async fn meet(one: &mut Client, one_name: &str, other: &mut Client, other_name: &str) {
    let link = one.invite(Some(other_name)).await.expect("a link");
    other.add(one_name, &link).await.expect("added");
    all(one).await;
    all(other).await;
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

/// What a client makes of the next frame, which is live.
async fn heard(stream: &mut Ws, client: &Client) -> Option<Live> {
    let RelayFrame::Live(envelope) = serde_json::from_value(stream.hear().await).expect("a frame") else {
        panic!("not a live one")
    };
    client.take_live(&envelope)
}

fn last(client: &Client) -> Sent {
    client.sent().pop().expect("something was sent")
}

fn json(sent: &Sent) -> Value {
    // By its text, in which a field that stood there twice would be seen.
    let text = serde_json::to_string(sent).expect("JSON");
    assert_eq!(text.matches("\"at\":").count(), 1, "{text}");
    serde_json::from_str(&text).expect("JSON")
}

#[tokio::test]
async fn a_sender_learns_late_that_a_message_is_safe_and_then_that_it_was_read() {
    let people = People::new().await;
    let (mut alice, mut bob) = two(&people).await;
    let sent = bob.send("alice", "did it come?").await.expect("sent");
    let events = alice.receive(0).await.expect("received");
    assert!(matches!(&events[0].what, What::Text { id: Some(id), .. } if *id == sent.id), "{events:?}");
    let due = alice.receipts_due_in().expect("a receipt gathers");
    assert!((5..=120).contains(&due.as_secs()), "{due:?}");
    alice.send_due_receipts().await.expect("nothing is due");
    assert!(all(&mut bob).await.is_empty());
    assert!(matches!(last(&bob).state, Delivery::Accepted { .. }));

    people.advance(due.as_secs());
    assert_eq!(alice.receipts_due_in(), Some(Duration::ZERO));
    alice.send_due_receipts().await.expect("sent");
    assert_eq!(alice.receipts_due_in(), None);
    let told_at = people.now.load(Ordering::SeqCst);
    people.advance(30);
    assert!(all(&mut bob).await.is_empty(), "nobody is shown a receipt");
    assert_eq!(last(&bob).state, Delivery::Delivered { at: told_at });
    let shown = json(&last(&bob));
    assert_eq!((&shown["state"], &shown["delivered_at"]), (&json!("delivered"), &json!(told_at)));

    alice.shown(&events[0]).await.expect("noted");
    people.advance(DELAY);
    assert!(all(&mut alice).await.is_empty());
    all(&mut bob).await;
    let read_at = people.now.load(Ordering::SeqCst);
    assert_eq!(last(&bob).state, Delivery::Read { at: read_at });
    assert_eq!(json(&last(&bob))["read_at"], json!(read_at));

    // Receipts cause no receipts, stand in no list, and leave nothing behind.
    assert_eq!((alice.receipts_due_in(), bob.receipts_due_in()), (None, None));
    assert_eq!((alice.sent().len(), bob.sent().len()), (0, 1));
    people.advance(9 * DAY);
    assert!(all(&mut alice).await.is_empty() && all(&mut bob).await.is_empty(), "none is missed either");
    assert!(matches!(last(&bob).state, Delivery::Read { .. }));
}

#[tokio::test]
async fn everything_gathered_for_a_contact_goes_out_as_one_message() {
    let people = People::new().await;
    let (mut alice, mut bob) = two(&people).await;
    for number in 0..5 {
        bob.send("alice", &number.to_string()).await.expect("sent");
    }
    all(&mut alice).await;
    people.advance(DELAY);
    // A send takes along what is due for its contact.
    alice.send("bob", "all read").await.expect("sent");
    assert_eq!(bob.account().await.expect("an account").devices[0].envelopes, 2, "the text and one receipt");
    assert_eq!(all(&mut bob).await.len(), 1);
    assert!(bob.sent().iter().all(|sent| matches!(sent.state, Delivery::Read { .. })));
}

#[tokio::test]
async fn what_is_off_is_never_sent_and_a_message_without_receipt_expires_unread() {
    let people = People::new().await;
    let (mut alice, mut bob) = two(&people).await;
    alice.set_receipts(ReceiptSettings { receipts: Receipts::Off, delay_secs: (0, 0) }).await.expect("set");
    bob.send("alice", "psst").await.expect("sent");
    assert_eq!(all(&mut alice).await.len(), 1);
    assert_eq!(alice.receipts_due_in(), None);
    people.advance(DAY);
    all(&mut alice).await;
    assert_eq!(bob.account().await.expect("an account").devices[0].envelopes, 0);
    let Delivery::Accepted { expires_at, .. } = last(&bob).state else { panic!("{:?}", last(&bob)) };
    people.now.store(expires_at - 1, Ordering::SeqCst);
    assert!(matches!(last(&bob).state, Delivery::Accepted { .. }));
    people.now.store(expires_at, Ordering::SeqCst);
    assert_eq!(last(&bob).state, Delivery::ExpiredUnread { expires_at });
    let shown = json(&last(&bob));
    assert_eq!((&shown["state"], &shown["expires_at"]), (&json!("expired_unread"), &json!(expires_at)));
}

#[tokio::test]
async fn a_receipt_that_comes_after_the_time_counts_all_the_same() {
    let people = People::new().await;
    let (mut alice, mut bob) = two(&people).await;
    bob.send("alice", "late").await.expect("sent");
    all(&mut alice).await;
    people.advance(6 * DAY);
    all(&mut alice).await;
    people.advance(2 * DAY);
    assert!(matches!(last(&bob).state, Delivery::ExpiredUnread { .. }));
    all(&mut bob).await;
    assert!(matches!(last(&bob).state, Delivery::Read { .. }));
}

#[tokio::test]
async fn a_receipt_for_what_another_contact_was_sent_changes_nothing() {
    let people = People::new().await;
    let (mut alice, mut bob) = two(&people).await;
    let mut carol = people.person("carol").await;
    meet(&mut carol, "carol", &mut bob, "bob").await;
    let to_alice = bob.send("alice", "for you").await.expect("sent");
    let to_carol = bob.send("carol", "for you too").await.expect("sent");
    all(&mut alice).await;
    let mut carol = people
        .tampered("carol", |state| {
            state["contacts"][0]["receipts"] = json!({ "delivered": [], "read": [to_alice.id, to_carol.id], "due_at": 0 });
        })
        .await;
    carol.send_due_receipts().await.expect("sent");
    all(&mut bob).await;
    let state = |id| bob.sent().into_iter().find(|sent| sent.id == id).expect("it was sent").state;
    assert!(matches!(state(to_carol.id), Delivery::Read { .. }), "the receipt came");
    assert!(matches!(state(to_alice.id), Delivery::Accepted { .. }));
}

#[tokio::test]
async fn a_delay_is_a_span_of_an_hour_at_most() {
    let people = People::new().await;
    let mut alice = people.person("alice").await;
    let usual = ReceiptSettings::default();
    for delay_secs in [(6, 5), (0, 3_601), (4_000, 4_000)] {
        assert!(alice.set_receipts(ReceiptSettings { delay_secs, ..usual }).await.is_err(), "{delay_secs:?}");
    }
    assert_eq!(alice.receipts(), usual);
    let settings = ReceiptSettings { receipts: Receipts::Delivered, delay_secs: (3_600, 3_600) };
    alice.set_receipts(settings).await.expect("set");
    assert_eq!(Client::open(&people.path("alice")).await.expect("a profile").receipts(), settings);
}

#[tokio::test]
async fn typing_reaches_an_open_stream_and_is_written_down_nowhere() {
    let people = People::new().await;
    let (mut alice, mut bob) = two(&people).await;
    assert!(alice.typing("bob", true).await.expect_err("it is off").to_string().contains("off for bob"));
    alice.set_live("bob", LiveSettings { typing: true, presence: true }).await.expect("set");
    let file = people.path("alice").join("state.json");
    let before = std::fs::read(&file).expect("a state");
    alice.typing("bob", false).await.expect("the relay takes it, though nobody is there");
    let mut stream = people.stream("bob").await;
    people.advance(5);
    alice.typing("bob", true).await.expect("sent");
    assert_eq!(heard(&mut stream, &bob).await, Some(Live::Typing { from: "alice".into(), active: true }));
    alice.presence("bob", false).await.expect("sent");
    assert_eq!(heard(&mut stream, &bob).await, Some(Live::Presence { from: "alice".into(), online: false }));
    assert_eq!(std::fs::read(&file).expect("a state"), before);
    assert_eq!(bob.account().await.expect("an account").devices[0].envelopes, 0);
    assert!(all(&mut bob).await.is_empty());
}

#[test]
fn people_set_receipts_and_live_on_the_command_line() {
    let relay = serve(&[]);
    let at = relay.directory.as_path();
    let address = format!("http://{}", relay.address());
    let client = |name: &str, args: &[&str]| run(at, &[&["client", "--profile", name], args].concat());
    for name in ["alice", "bob"] {
        assert_eq!(client(name, &["init", "--relay", &address]).code, 0);
    }
    let link = client("alice", &["invite", "bob"]).stdout;
    assert_eq!(client("bob", &["add", "alice", link.trim()]).code, 0);
    assert_eq!(client("alice", &["receive"]).code, 0);

    assert!(client("alice", &["receipts"]).stdout.starts_with("read: "));
    let settings = client("alice", &["receipts", "delivered", "--delay", "0..0", "--json"]).json();
    assert_eq!(settings, json!({ "receipts": "delivered", "delay_secs": [0, 0] }));
    assert_eq!(client("alice", &["receipts", "--delay", "9..5"]).code, 1);
    assert_eq!(client("alice", &["receipts", "--delay", "9"]).code, 2);
    assert_eq!(client("bob", &["send", "alice", "hello"]).code, 0);
    // Held back for no time at all, it goes out before the command ends.
    assert!(client("alice", &["receive"]).stdout.ends_with("bob: hello\n"));
    assert_eq!(client("bob", &["receive"]).stdout, "");
    assert_eq!(client("bob", &["sent", "--json"]).json()["state"], "delivered");
    assert!(client("bob", &["sent"]).stdout.contains("delivered; they said so "));

    let live = |args: &[&str]| client("alice", &[&["live", "bob"], args, &["--json"]].concat()).json();
    assert_eq!(live(&[]), json!({ "typing": false, "presence": false }));
    assert_eq!(client("alice", &["typing", "bob"]).code, 1);
    assert_eq!(live(&["on", "--typing"]), json!({ "typing": true, "presence": false }));
    let typing = client("alice", &["typing", "bob", "--stop"]);
    assert_eq!((typing.code, typing.stdout.as_str()), (0, ""), "{typing:?}");
    assert_eq!(live(&["on"]), json!({ "typing": true, "presence": true }));
    assert_eq!(live(&["off", "--presence"]), json!({ "typing": true, "presence": false }));
    assert_eq!(client("alice", &["live", "nobody"]).code, 1);
    assert_eq!(client("alice", &["live", "bob", "--typing"]).code, 2, "on or off?");
}
