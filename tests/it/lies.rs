//! A relay that lies about device lists: every lie is caught, told, and nothing is sealed to whoever it was told for.

use restante::client::{Client, Error, Event, LinkCode, What};
use restante::crypto::{exchange, sign};
use restante::protocol::{
    Bytes, DeviceEntry, DeviceId, DeviceList, ListKey, ListKeyCertificate, SealingKey, Signature, SignedList,
};
use serde_json::{Value, json};

use crate::support::household::{DELAY, Household, all, meet, texts};
use crate::support::liar::Liar;
use crate::support::person::{Device, Person};
use crate::support::raw::{Socket, ask};

/// Alice and Bob, met, at a relay that may lie; and what somebody with Alice's list key could sign.
struct Scene {
    liar: Liar,
    house: Household,
    alice: Client,
    bob: Client,
}

impl Scene {
    async fn new() -> Self {
        let (liar, relay, origin) = Liar::before_a_relay().await;
        let house = Household::at(relay, origin);
        let (mut alice, mut bob) = (house.person("alice").await.0, house.person("bob").await.0);
        meet(&mut alice, "alice", &mut bob, "bob").await;
        // Alice's second version, which Bob knows.
        let mut laptop = house.another(&mut alice, "laptop").await;
        house.advance(DELAY);
        all(&mut alice).await;
        all(&mut laptop).await;
        all(&mut bob).await;
        Self { liar, house, alice, bob }
    }

    fn list(&self) -> SignedList {
        serde_json::from_value(self.house.state("alice")["device_list"].clone()).expect("a list")
    }

    /// Alice's list with changes, signed with her list key.
    fn signed(&self, change: impl FnOnce(&mut DeviceList)) -> SignedList {
        let (signed, secret) = (self.list(), self.house.state("alice")["list_key"].clone());
        let seed: SealingKey = serde_json::from_value(secret).expect("32 bytes");
        let (_, mut list) = signed.parse().expect("a list");
        change(&mut list);
        list.entries.sort_by_key(|entry| entry.device);
        let bytes = list.bytes();
        SignedList {
            list_key_certificate: signed.list_key_certificate,
            signature: Signature(sign::KeyPair::from_seed(&seed.0).sign(&bytes)),
            list: Bytes(bytes),
        }
    }

    /// Bob's reply keys are gone: he has to ask the relay.
    async fn bob_asks(&mut self) {
        let forget = |state: &mut Value| {
            for device in state["contacts"][0]["devices"].as_object_mut().expect("devices").values_mut() {
                device["reply_key"] = Value::Null;
            }
        };
        self.bob = self.house.tampered("bob", forget).await;
        self.liar.sends();
    }

    /// Nothing that was sent since names a device that is none of Alice's.
    fn nothing_for_strangers(&self) {
        let (_, list) = self.list().parse().expect("a list");
        for send in self.liar.sends() {
            for sealed in send["sealed"].as_array().expect("copies") {
                let device: DeviceId = serde_json::from_value(sealed["device"].clone()).expect("an id");
                assert!(list.entry(&device).is_some(), "sealed for a stranger");
            }
        }
    }
}

/// Shows a list in the place of a contact's, wherever one stands in a reply to an anonymous request. With it come prekeys of the
/// stranger's, well signed.
fn shown_to_senders(
    list: &SignedList,
    stranger: &Device,
    account: restante::protocol::AccountId,
) -> impl Fn(&str, &mut Value) + use<> {
    let (list, prekey) = (json!(list), prekey(stranger, account));
    move |asked, reply| {
        if ["POST /v1/keys", "POST /v1/envelopes"].contains(&asked) && reply.get("device_list").is_some() {
            reply["device_list"] = list.clone();
            if let Some(prekeys) = reply["prekeys"].as_array_mut() {
                prekeys.push(prekey.clone());
            }
        }
    }
}

fn prekey(device: &Device, account: restante::protocol::AccountId) -> Value {
    let (key, expires_at) = (SealingKey(exchange::KeyPair::generate().public()), 4_000_000_000);
    let transcript = restante::protocol::keys::prekey_transcript(&account, &device.id(), &key, expires_at);
    json!({"device": device.id(), "prekey": key, "expires_at": expires_at, "signature": Signature(device.key.sign(&transcript))})
}

fn told(events: &[Event], is: impl Fn(&What) -> bool) -> usize {
    events.iter().filter(|event| is(&event.what)).count()
}

fn is_untrue(error: &Error) -> bool {
    match error {
        Error::Untrue(_) => true,
        Error::Queued { cause, .. } => is_untrue(cause),
        _ => false,
    }
}

#[tokio::test]
async fn a_list_that_is_not_the_accounts_is_an_error_and_nothing_is_sealed_for_it() {
    let mut scene = Scene::new().await;
    let (stranger, account) = (Device::new(), scene.alice.account_id());
    let next = |list: &mut DeviceList| {
        list.version += 1;
        list.entries.push(stranger.entry(account));
    };
    // Signed by a list key that the account key never named, under the true certificate and under one of the relay's own.
    let mut forged = scene.signed(next);
    let own = sign::KeyPair::generate();
    forged.signature = Signature(own.sign(forged.list.as_slice()));
    let mut certified = forged.clone();
    let mut certificate = ListKeyCertificate::parse(certified.list_key_certificate.as_slice()).expect("a certificate");
    certificate.list_key = ListKey(own.public());
    certificate.signature = Signature(own.sign(&certificate.transcript()));
    certified.list_key_certificate = Bytes(certificate.bytes());
    // A device that never agreed, in a list that is signed as it should be.
    let unsigned = scene.signed(|list| {
        list.version += 1;
        let entry = stranger.entry(account);
        list.entries.push(DeviceEntry { signature: Signature(own.sign(b"anything")), ..entry });
    });
    let of_another = Person::of(vec![stranger.clone()]);
    for (what, lie) in
        [("forged", forged), ("certified", certified), ("unsigned", unsigned), ("another account's", of_another.list.clone())]
    {
        scene.liar.lie(shown_to_senders(&lie, &stranger, account));
        scene.bob_asks().await;
        let error = scene.bob.send("alice", what).await.expect_err(what);
        assert!(is_untrue(&error), "{what}: {error}");
        assert!(scene.liar.sends().is_empty(), "{what}: not even asked");
        scene.liar.tell_the_truth();
        scene.bob.send("alice", "well").await.expect("sent");
        scene.nothing_for_strangers();
        all(&mut scene.alice).await;
    }
    // The same in the place of the answer that a list has changed.
    let mut tablet = scene.house.another(&mut scene.alice, "tablet").await;
    scene.liar.lie(shown_to_senders(&of_another.list, &stranger, account));
    scene.liar.sends();
    let error = scene.bob.send("alice", "to the old list").await.expect_err("another account's");
    assert!(is_untrue(&error), "{error}");
    scene.nothing_for_strangers();
    scene.liar.tell_the_truth();
    scene.bob.send("alice", "to the new one").await.expect("sent");
    assert_eq!(texts(&all(&mut tablet).await), ["to the new one"]);
}

#[tokio::test]
async fn a_prekey_that_its_device_did_not_sign_is_not_sealed_to() {
    let mut scene = Scene::new().await;
    let (stranger, account) = (Device::new(), scene.alice.account_id());
    let theirs = prekey(&stranger, account);
    scene.liar.lie(move |asked, reply| {
        if asked == "POST /v1/keys" {
            for prekey in reply["prekeys"].as_array_mut().expect("prekeys") {
                prekey["prekey"] = theirs["prekey"].clone();
            }
        }
    });
    scene.bob_asks().await;
    let error = scene.bob.send("alice", "x").await.expect_err("not signed");
    assert!(is_untrue(&error), "{error}");
    assert!(scene.liar.sends().is_empty());
}

#[tokio::test]
async fn an_older_list_changes_nothing_and_is_told_once() {
    let mut scene = Scene::new().await;
    let (stranger, account) = (Device::new(), scene.alice.account_id());
    let older = scene.signed(|list| {
        list.version -= 1;
        list.entries.truncate(1);
    });
    scene.liar.lie(shown_to_senders(&older, &stranger, account));
    let behind = |what: &What| matches!(what, What::ListBehind { from } if from == "alice");
    let mut events = Vec::new();
    for _ in 0..2 {
        scene.bob_asks().await;
        scene.bob.send("alice", "to both").await.expect("sent by what is known");
        assert_eq!(scene.liar.sends()[0]["sealed"].as_array().map(Vec::len), Some(2));
        events.extend(all(&mut scene.bob).await);
    }
    assert_eq!(told(&events, behind), 1, "{events:?}");
}

#[tokio::test]
async fn two_lists_of_one_version_are_a_fork_that_is_told_and_not_taken() {
    let mut scene = Scene::new().await;
    let (stranger, account) = (Device::new(), scene.alice.account_id());
    let fork = scene.signed(|list| list.entries[0] = stranger.entry(account));
    scene.liar.lie(shown_to_senders(&fork, &stranger, account));
    let mut events = Vec::new();
    for _ in 0..2 {
        scene.bob_asks().await;
        let error = scene.bob.send("alice", "x").await.expect_err("a fork");
        assert!(is_untrue(&error), "{error}");
        events.extend(all(&mut scene.bob).await);
        scene.nothing_for_strangers();
    }
    assert_eq!(told(&events, |what| matches!(what, What::Fork { from } if from == "alice")), 1, "{events:?}");
}

#[tokio::test]
async fn a_list_that_the_relay_freezes_is_betrayed_by_the_contacts_own_message() {
    let mut scene = Scene::new().await;
    let (stranger, account, old) = (Device::new(), scene.alice.account_id(), scene.list());
    // Alice removes her laptop. To Bob the relay goes on as if she had not.
    let (_, list) = old.parse().expect("a list");
    let laptop = list.entries.iter().map(|entry| entry.device).find(|device| *device != scene.alice.device_id());
    scene.alice.remove_device(&laptop.expect("a laptop").to_string()).await.expect("removed");
    scene.liar.lie(shown_to_senders(&old, &stranger, account));
    scene.alice.send("bob", "only one of me").await.expect("sent");
    let events = all(&mut scene.bob).await;
    assert_eq!(texts(&events), ["only one of me"]);
    assert_eq!(told(&events, |what| matches!(what, What::ListBehind { from } if from == "alice")), 1, "{events:?}");
    // For a list that was removed in truth the relay has to say so, and shows no newer one.
    let error = scene.bob.send("alice", "to the laptop").await.expect_err("changed, and not shown");
    assert!(is_untrue(&error), "{error}");
    // What Alice sends in band cannot be rewritten.
    scene.house.advance(DELAY);
    all(&mut scene.alice).await;
    let events = all(&mut scene.bob).await;
    assert_eq!(told(&events, |what| matches!(what, What::DevicesChanged { added: 0, removed: 1, .. })), 1, "{events:?}");
    scene.liar.sends();
    scene.bob.send("alice", "to you").await.expect("sent");
    assert_eq!(scene.liar.sends()[0]["sealed"].as_array().map(Vec::len), Some(1));
}

/// Shows a list in the place of the own one.
fn shown_to_owner(list: &SignedList) -> impl Fn(&str, &mut Value) + use<> {
    let list = json!(list);
    move |asked, reply| {
        let asks = asked == "GET /v1/account" || asked == "PUT /v1/account/device-list";
        if asks && reply.get("device_list").is_some() {
            reply["device_list"] = list.clone();
        }
    }
}

#[tokio::test]
async fn a_lie_about_the_own_list_is_caught_before_anything_is_signed() {
    let mut scene = Scene::new().await;
    let (stranger, account) = (Device::new(), scene.alice.account_id());
    let mut forged = scene.signed(|list| {
        list.version += 1;
        list.entries.push(stranger.entry(account));
    });
    forged.signature = Signature(sign::KeyPair::generate().sign(forged.list.as_slice()));
    let unsigned = scene.signed(|list| {
        list.version += 1;
        let signature = Signature(stranger.key.sign(b"anything"));
        list.entries.push(DeviceEntry { signature, ..stranger.entry(account) });
    });
    let fork = scene.signed(|list| list.entries[0] = stranger.entry(account));
    let of_another = Person::new().list;
    let linking = scene.house.joining("tablet", &scene.alice.account_line()).await;
    let code: LinkCode = linking.code().to_string().parse().expect("its own text");
    let before = scene.list();
    for (what, lie) in [("forged", forged), ("unsigned", unsigned), ("a fork", fork), ("another account's", of_another)] {
        scene.liar.lie(shown_to_owner(&lie));
        for error in [scene.alice.approve(&code).await.expect_err(what), scene.alice.devices().await.expect_err(what)] {
            assert!(is_untrue(&error), "{what}: {error}");
        }
        assert_eq!(scene.list(), before);
        scene.liar.tell_the_truth();
        let events = all(&mut scene.alice).await;
        assert_eq!(told(&events, |what| matches!(what, What::OwnFork)), usize::from(what == "a fork"), "{what}: {events:?}");
    }
    // With the truth the same code is good still.
    scene.alice.approve(&code).await.expect("let in");
    linking.wait().await.expect("linked");
}

#[tokio::test]
async fn an_own_list_that_the_relay_freezes_is_told_by_a_contact_and_by_a_change_that_does_not_follow() {
    let mut scene = Scene::new().await;
    // Bob has seen a version that Alice has not: her laptop let a tablet in, and the relay keeps it from her.
    let frozen = scene.list();
    let mut laptop = Client::open_with(&scene.house.path("laptop"), scene.house.clock()).await.expect("a profile");
    let linking = scene.house.joining("tablet", &laptop.account_line()).await;
    laptop.approve(&linking.code()).await.expect("let in");
    let tablet = linking.wait().await.expect("linked").device_id();
    scene.bob.send("alice", "all three").await.expect("sent");
    // The laptop's word of it is lost on the way: the phone's counters see that, but only in time.
    scene.liar.lie(shown_to_owner(&frozen));
    let mut phone = scene
        .house
        .tampered("alice", |state| {
            // As if the envelope with the laptop's `list` had been taken from the mailbox: no key of it is left.
            state["myself"]["mine"] = json!([]);
        })
        .await;
    let events = all(&mut phone).await;
    assert_eq!(texts(&events), ["all three"]);
    assert_eq!(told(&events, |what| matches!(what, What::OwnListBehind)), 1, "{events:?}");
    // And a change that she makes conflicts with a list that she is not shown.
    let other = laptop.device_id().to_string();
    let error = phone.remove_device(&other).await.expect_err("a conflict, and nothing newer");
    assert!(is_untrue(&error), "{error}");
    scene.liar.tell_the_truth();
    let devices = phone.devices().await.expect("devices");
    assert!(devices.iter().any(|device| device.device == tablet));
}

/// Not a lie, but what it takes to see this: the phone is shown its list a moment before the laptop changes it.
#[tokio::test]
async fn where_another_device_was_faster_the_change_is_made_to_its_list() {
    let mut scene = Scene::new().await;
    let before = json!(scene.list());
    let mut laptop = Client::open_with(&scene.house.path("laptop"), scene.house.clock()).await.expect("a profile");
    let first = scene.house.joining("first", &laptop.account_line()).await;
    laptop.approve(&first.code()).await.expect("let in");
    let second = scene.house.joining("second", &laptop.account_line()).await;
    scene.liar.lie(move |asked, reply| {
        if asked == "GET /v1/account" {
            reply["device_list"] = before.clone();
        }
    });
    scene.alice.approve(&second.code()).await.expect("let in, too");
    scene.liar.tell_the_truth();
    let (first, second) = (first.wait().await.expect("linked"), second.wait().await.expect("linked"));
    let devices: Vec<DeviceId> = scene.alice.devices().await.expect("devices").iter().map(|info| info.device).collect();
    assert!(devices.len() == 4 && devices.contains(&first.device_id()) && devices.contains(&second.device_id()));
}

#[tokio::test]
async fn a_device_that_the_own_list_lacks_was_removed_and_says_so() {
    let mut scene = Scene::new().await;
    let this = scene.alice.device_id();
    let without = scene.signed(|list| {
        list.version += 1;
        list.entries.retain(|entry| entry.device != this);
    });
    scene.liar.lie(shown_to_owner(&without));
    scene.alice.devices().await.expect("looked");
    let linking = scene.house.joining("tablet", &scene.alice.account_line()).await;
    let error = scene.alice.approve(&linking.code()).await.expect_err("removed");
    assert!(error.to_string().contains("removed from its account"), "{error}");
    let events = all(&mut scene.alice).await;
    assert_eq!(told(&events, |what| matches!(what, What::Removed)), 1, "{events:?}");
}

/// Somebody kept the hello by which Bob came and holds another link of Alice's. Taken for news, it would begin the counts of what
/// Bob sent anew, and old texts would be shown again.
#[tokio::test]
async fn a_hello_that_is_said_again_through_another_link_is_not_heard() {
    let (liar, relay, origin) = Liar::before_a_relay().await;
    let address = relay.address;
    let house = Household::at(relay, origin.clone());
    let (mut alice, mut bob) = (house.person("alice").await.0, house.person("bob").await.0);
    liar.sends();
    meet(&mut alice, "alice", &mut bob, "bob").await;
    let mut hello = liar.sends().remove(0);
    let known = house.state("alice")["contacts"].clone();

    let link = alice.invite(Some("carol")).await.expect("a link").to_string();
    let once = link.split_once("&once=").and_then(|(_, rest)| rest.split_once('&')).expect("a token").0;
    hello["token"] = json!(once);
    let said = String::from_utf8(ask("POST /v1/envelopes").json(&hello).bytes()).expect("text");
    let host = origin.strip_prefix("http://").expect("an origin");
    let mut socket = Socket::open(address).await;
    socket.send(said.replacen("Host: 127.0.0.1", &format!("Host: {host}"), 1).as_bytes()).await;
    socket.reply().await.expect("a reply").ok(202);

    let events = all(&mut alice).await;
    assert_eq!(told(&events, |what| matches!(what, What::ContactAdded { .. })), 0, "{events:?}");
    assert_eq!(house.state("alice")["contacts"], known);
    assert_eq!(alice.invites().len(), 1, "the link is there for whom it was made for");
}
