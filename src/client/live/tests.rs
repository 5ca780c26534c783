//! Live messages from seal to seal, between two clients that have met and no relay: what one makes, the other is given in a
//! relay's wrap.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;

use super::*;
use crate::client::envelope::Taken;
use crate::client::event::What;
use crate::client::lists::Maker;
use crate::client::profile::Profile;
use crate::client::state::tests::{contact, state};
use crate::client::state::{Invite, Mine, PeerKey};
use crate::client::{Clock, Dial, Http, Origin};
use crate::crypto::{sign, wrap};
use crate::protocol::envelopes::{Envelope, wrap_aad, wrap_info, wrap_key_context, wrap_plaintext};
use crate::protocol::{Bytes, DeliveryToken, Hash, Seq, TokenHash};

const NOW: u64 = 1_800_000_000;

struct Two {
    alice: Client,
    bob: Client,
    now: Arc<AtomicU64>,
    _directory: TempDir,
}

impl Two {
    /// Bob gave Alice a token and, in a message, a reply key.
    fn met() -> Self {
        let directory = TempDir::new().expect("a directory");
        let now = Arc::new(AtomicU64::new(NOW));
        let (mut alice, mut bob) = (person(&directory.path().join("a"), &now), person(&directory.path().join("b"), &now));
        let token = DeliveryToken([7; 32]);
        let reply_key = bob.state.new_reply_key(alice.device_id(), 1, NOW);
        let mut to_bob = contact("bob", bob.account_id());
        to_bob.list = bob.state.device_list.clone();
        to_bob.devices.entry(bob.device_id()).or_default().reply_key =
            Some(PeerKey { key: reply_key, good_until: NOW + 1_000, counter: 1 });
        alice.state.contacts.push(to_bob);
        let mut to_alice = contact("alice", alice.account_id());
        to_alice.list = alice.state.device_list.clone();
        to_alice.mine.push(Mine { hash: token.hash(), invite: false });
        bob.state.contacts.push(to_alice);
        for client in [&alice, &bob] {
            client.save().expect("saved");
        }
        Self { alice, bob, now, _directory: directory }
    }

    async fn live(&mut self, content: &Content) -> SendRequest {
        self.alice.sealed_live(&self.bob.account_id(), content).await.expect("sealed")
    }

    /// What a message from Alice's device is that says so, and is otherwise as good as any.
    async fn sealed(&mut self, counter: u64, content: &Content) -> SendRequest {
        let (to, sent_at) = (self.bob.account_id(), self.alice.clock.now());
        let mut request = self.live(content).await;
        let token = request.token.clone();
        let keys = self.alice.keys_for(&to, &token).await.expect("a reply key");
        let list = self.alice.state.contact(&to).expect("a contact").devices_listed();
        let letter = Letter { id: &request.id, to: &to, list: &list, keys: &keys, content: content.bytes(), sent_at };
        let device = self.bob.device_id();
        request.sealed = vec![self.alice.state.sealed(&letter, &device, counter, NO_REPLY_KEY).expect("sealed")];
        request
    }

    /// As the relay hands it to Bob's device.
    fn wrapped(&self, request: &SendRequest, kind: TokenKind, token: &TokenHash) -> LiveEnvelope {
        let device = self.bob.device_id();
        let sealing = self.bob.state.sealing.exchange().public();
        let key = wrap::WrapKey::new(&sealing, &wrap_info(&device), &wrap_key_context()).expect("a good key");
        let plaintext = wrap_plaintext(kind, token, &request.id, request.sealed[0].body.as_slice());
        let body = key.wrap(&[1; 12], &wrap_aad(&device, 3_600), &plaintext);
        let wrap = [key.enc.as_slice(), &[1; 12]].concat();
        LiveEnvelope { expires_at: 3_600, wrap: Bytes(wrap), body: Bytes(body) }
    }

    fn taken(&self, request: &SendRequest) -> Option<Live> {
        self.bob.take_live(&self.wrapped(request, TokenKind::Contact, &request.token.hash()))
    }

    fn stored(&self, request: &SendRequest, kind: TokenKind) -> Envelope {
        let LiveEnvelope { expires_at, wrap, body } = self.wrapped(request, kind, &request.token.hash());
        Envelope { seq: Seq(1), expires_at, wrap, body }
    }
}

/// A client whose relay nobody has ever reached.
fn person(directory: &Path, now: &Arc<AtomicU64>) -> Client {
    let account_key = sign::KeyPair::generate();
    let mut state = state();
    state.account = AccountId(account_key.public());
    let (list_key, device_key) = (state.list_key.signing(), state.device_key());
    let sealing_key = SealingKey(state.sealing.exchange().public());
    state.device_list =
        Maker { account_key: &account_key, list_key: &list_key, device_key: &device_key, sealing_key }.list(1, 1, Hash::ZERO);
    let profile = Profile::create(directory).expect("a profile");
    let dial = Dial { origin: Origin::parse("http://127.0.0.1:1").expect("an origin"), ca: None, plain: false };
    let now = Arc::clone(now);
    Client::of(profile, state, Http::new(&dial).expect("a client"), Clock::from_fn(move || now.load(Ordering::SeqCst)))
}

fn text(text: &str) -> Content {
    Content::Text { text: text.into() }
}

#[tokio::test]
async fn what_one_does_the_other_is_told_and_neither_writes_it_down() {
    let mut two = Two::met();
    let before = [&two.alice, &two.bob].map(|client| serde_json::to_string(&client.state).expect("written"));
    let typing = two.live(&Content::Typing { active: true }).await;
    assert_eq!((typing.live, typing.expires_in, typing.sealed.len()), (Some(true), None, 1));
    assert_eq!(typing.sealed[0].body.as_slice().len(), 1_024);
    assert_eq!(two.taken(&typing), Some(Live::Typing { from: "alice".into(), active: true }));
    let leaving = two.live(&Content::Presence { online: false }).await;
    assert_eq!(two.taken(&leaving), Some(Live::Presence { from: "alice".into(), online: false }));
    assert_ne!(typing.id, leaving.id);
    let after = [&two.alice, &two.bob].map(|client| serde_json::to_string(&client.state).expect("written"));
    assert_eq!(before, after);

    let wrapped = two.wrapped(&typing, TokenKind::Contact, &typing.token.hash());
    let unwrapped = unwrap(&wrapped, &two.bob.device_id(), &two.bob.state.sealing.exchange()).expect("Bob's");
    let plain = two.bob.opened(&unwrapped).expect("Bob's").plain;
    assert_eq!((plain.counter, plain.reply_key), (0, SealingKey([0; 32])));
    let json = serde_json::to_string(&Live::Typing { from: "alice".into(), active: true }).expect("JSON");
    assert_eq!(json, r#"{"event":"typing","from":"alice","active":true}"#);
}

#[tokio::test]
async fn a_live_message_is_taken_within_a_minute_either_way() {
    let mut two = Two::met();
    let typing = two.live(&Content::Typing { active: true }).await;
    for (now, is_taken) in [(NOW - 61, false), (NOW - 60, true), (NOW + 60, true), (NOW + 61, false)] {
        two.now.store(now, Ordering::SeqCst);
        assert_eq!(two.taken(&typing).is_some(), is_taken, "{now}");
    }
}

#[tokio::test]
async fn everything_else_that_comes_live_counts_for_nothing() {
    let mut two = Two::met();
    let typing = two.live(&Content::Typing { active: true }).await;
    let token = typing.token.hash();
    assert!(two.taken(&typing).is_some());
    let live = |two: &Two, kind, token: &TokenHash| two.bob.take_live(&two.wrapped(&typing, kind, token));
    assert_eq!(live(&two, TokenKind::Once, &token), None, "a once token carries none");
    assert_eq!(live(&two, TokenKind::Contact, &TokenHash([5; 32])), None, "nobody's token");
    let mut later = two.wrapped(&typing, TokenKind::Contact, &token);
    later.expires_at += 1;
    assert_eq!(two.bob.take_live(&later), None, "another wrap");

    let counted = two.sealed(1, &Content::Typing { active: true }).await;
    assert_eq!(two.taken(&counted), None, "it has a counter");
    let uncounted = two.sealed(0, &Content::Typing { active: true }).await;
    assert!(two.taken(&uncounted).is_some());
    let read = two.live(&text("read me")).await;
    assert_eq!(two.taken(&read), None, "a text is stored or nothing");

    let stranger = person(&two._directory.path().join("c"), &two.now);
    let known = std::mem::replace(&mut two.bob.state.contacts[0].list, stranger.state.device_list.clone());
    assert_eq!(two.taken(&typing), None, "a device that is not known is not looked up");
    two.bob.state.contacts[0].list = known;
    two.bob.state.contacts[0].account = stranger.account_id();
    assert_eq!(two.taken(&typing), None, "somebody else's token");
}

#[tokio::test]
async fn what_is_live_counts_for_nothing_where_it_was_stored() {
    let mut two = Two::met();
    let uncounted = two.sealed(0, &text("zero")).await;
    let envelope = two.stored(&uncounted, TokenKind::Contact);
    assert_eq!(two.bob.take_in(&envelope, false).await.expect("taken in"), Taken::In);
    for (counter, content) in [(1, Content::Typing { active: true }), (2, Content::Presence { online: true })] {
        let counted = two.sealed(counter, &content).await;
        let envelope = two.stored(&counted, TokenKind::Contact);
        assert_eq!(two.bob.take_in(&envelope, false).await.expect("taken in"), Taken::In);
    }
    assert!(two.bob.state.inbox.is_empty() && two.bob.receipts_due_in().is_none());
    let three = two.sealed(3, &text("three")).await;
    let envelope = two.stored(&three, TokenKind::Contact);
    assert_eq!(two.bob.take_in(&envelope, false).await.expect("taken in"), Taken::In);
    assert!(
        matches!(&two.bob.state.inbox[0].what, What::Text { text, id: Some(id), .. } if text == "three" && *id == three.id)
    );
    assert!(two.bob.receipts_due_in().is_some());
}

#[tokio::test]
async fn a_hello_without_a_counter_makes_no_contact() {
    let mut two = Two::met();
    two.bob.state.contacts.clear();
    two.bob.state.pool.push(DeliveryToken([8; 32]));
    let hello = Content::Hello {
        name: None,
        token: DeliveryToken([9; 32]),
        device_list: two.alice.state.device_list.clone(),
        origin: "http://127.0.0.1:1".into(),
        relay_key: two.bob.state.relay.key,
    };
    for (counter, contacts) in [(0, 0), (1, 1)] {
        let said = two.sealed(counter, &hello).await;
        let (once, contact) = (said.token.hash(), TokenHash([5; 32]));
        two.bob.state.invites = vec![Invite { name: None, once, contact, expires_at: NOW + 1 }];
        let envelope = two.stored(&said, TokenKind::Once);
        assert_eq!(two.bob.take_in(&envelope, false).await.expect("taken in"), Taken::In);
        assert_eq!(two.bob.state.contacts.len(), contacts, "{counter}");
    }
}

#[tokio::test]
async fn nothing_is_sent_until_it_is_turned_on_for_that_contact() {
    let mut two = Two::met();
    let refusal = |done: Result<()>| done.expect_err("nobody is there").to_string();
    assert_eq!(two.alice.live("bob").expect("a contact"), LiveSettings::default());
    assert_eq!(refusal(two.alice.typing("bob", true).await), "typing is off for bob");
    assert_eq!(refusal(two.alice.presence("bob", true).await), "presence is off for bob");
    two.alice.set_live("bob", LiveSettings { typing: true, presence: false }).await.expect("set");
    // No relay is there: it was tried.
    assert!(refusal(two.alice.typing("bob", true).await).starts_with("no relay answers"));
    assert_eq!(refusal(two.alice.presence("bob", true).await), "presence is off for bob");
    two.alice.set_live("bob", LiveSettings { typing: false, presence: true }).await.expect("set");
    assert_eq!(refusal(two.alice.typing("bob", true).await), "typing is off for bob");
    assert!(refusal(two.alice.presence("bob", true).await).starts_with("no relay answers"));
    assert!(two.alice.set_live("carol", LiveSettings::default()).await.is_err());
}

#[tokio::test]
async fn a_contact_is_told_of_typing_every_four_seconds_at_most() {
    let mut two = Two::met();
    two.alice.set_live("bob", LiveSettings { typing: true, presence: false }).await.expect("set");
    for (after, is_tried) in [(0, true), (1, false), (4, false), (5, true), (9, false), (10, true)] {
        two.now.store(NOW + after, Ordering::SeqCst);
        assert_eq!(two.alice.typing("bob", after % 2 == 0).await.is_err(), is_tried, "{after}");
    }
}
