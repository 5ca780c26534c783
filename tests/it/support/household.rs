//! People with several devices, at one relay of the test's process, and a clock of theirs that stands still until it is advanced.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use restante::client::{AccountLine, Client, Clock, Event, LinkCode, Linking, Options, Origin, What, Words};
use serde_json::Value;
use tempfile::TempDir;

use super::relay::TestRelay;

/// Longer than anything is held back.
pub(crate) const DELAY: u64 = 121;
pub(crate) const DAY: u64 = 86_400;

/// A relay and its people.
pub(crate) struct Household {
    _relay: TestRelay,
    /// Where it is dialled.
    origin: String,
    directory: TempDir,
    now: Arc<AtomicU64>,
}

impl Household {
    pub(crate) async fn new() -> Self {
        let relay = TestRelay::start().await;
        let origin = relay.origin();
        Self::at(relay, origin)
    }

    /// With a relay that is dialled through something else.
    pub(crate) fn at(relay: TestRelay, origin: String) -> Self {
        let now = Arc::new(AtomicU64::new(Clock::system().now()));
        Self { _relay: relay, origin, directory: TempDir::new().expect("a directory"), now }
    }

    pub(crate) fn options(&self) -> Options {
        let origin = Origin::parse(&self.origin).expect("an origin");
        Options { clock: self.clock(), ..Options::new(origin) }
    }

    pub(crate) async fn person(&self, name: &str) -> (Client, Words) {
        let options = Options { name: Some(name.into()), ..self.options() };
        Client::init(&self.path(name), options).await.expect("an account")
    }

    /// A device that waits to be linked.
    pub(crate) async fn joining(&self, name: &str, line: &AccountLine) -> Linking {
        Linking::begin(&self.path(name), self.options(), line).await.expect("keys")
    }

    /// Another device of an account, let in by `old`. It knows the contacts that `old` has: how it comes to know them is no
    /// business of these tests.
    pub(crate) async fn another(&self, old: &mut Client, name: &str) -> Client {
        let linking = self.joining(name, &old.account_line()).await;
        let code: LinkCode = linking.code().to_string().parse().expect("its own text");
        old.approve(&code).await.expect("let in");
        let client = linking.wait().await.expect("linked");
        drop(client);
        let known = self.state_at(old.directory().to_path_buf())["contacts"].clone();
        self.tampered(name, |state| {
            state["contacts"] = known;
            for contact in state["contacts"].as_array_mut().expect("contacts") {
                contact["devices"] = serde_json::json!({});
            }
        })
        .await
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn clock(&self) -> Clock {
        let now = Arc::clone(&self.now);
        Clock::from_fn(move || now.load(Ordering::SeqCst))
    }

    pub(crate) fn advance(&self, secs: u64) {
        self.now.fetch_add(secs, Ordering::SeqCst);
    }

    pub(crate) fn state(&self, name: &str) -> Value {
        self.state_at(self.path(name))
    }

    fn state_at(&self, profile: PathBuf) -> Value {
        serde_json::from_slice(&std::fs::read(profile.join("state.json")).expect("a state")).expect("JSON")
    }

    /// Changes a profile's state file, and gives the client that finds it so.
    pub(crate) async fn tampered(&self, name: &str, change: impl FnOnce(&mut Value)) -> Client {
        let mut state = self.state(name);
        change(&mut state);
        std::fs::write(self.path(name).join("state.json"), state.to_string()).expect("written");
        Client::open_with(&self.path(name), self.clock()).await.expect("a profile")
    }
}

/// Makes two people contacts.
pub(crate) async fn meet(one: &mut Client, one_name: &str, other: &mut Client, other_name: &str) {
    let link = one.invite(Some(other_name)).await.expect("a link");
    other.add(one_name, &link).await.expect("added");
    all(one).await;
    all(other).await;
}

/// Everything that waits, shown and acknowledged.
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

/// The texts among events.
pub(crate) fn texts(events: &[Event]) -> Vec<&str> {
    fn text(event: &Event) -> Option<&str> {
        match &event.what {
            What::Text { text, .. } => Some(text.as_str()),
            _ => None,
        }
    }
    events.iter().filter_map(text).collect()
}

/// What other devices of the account sent, among events: to whom, and what.
pub(crate) fn copies(events: &[Event]) -> Vec<(&str, &str)> {
    fn copy(event: &Event) -> Option<(&str, &str)> {
        match &event.what {
            What::SentElsewhere { to, text, .. } => Some((to.as_str(), text.as_str())),
            _ => None,
        }
    }
    events.iter().filter_map(copy).collect()
}
