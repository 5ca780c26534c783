//! What an account's devices keep together beside contacts: the handle, links for several people, who is blocked, which knocks
//! were answered. And how much of it there is room for.

use restante::client::{Client, Health, InviteOptions, What};
use restante::protocol::{AccountId, DeliveryToken, Hash, TokenHash};
use serde_json::{Value, json};

use crate::sync::{DELAY, HOUR, Place, all, count, meet, names, texts};

fn knocks(client: &Client) -> Vec<String> {
    client.knocks().into_iter().map(|knock| knock.text).collect()
}

/// Each hears what the other has written by now.
async fn catch_up(place: &Place, devices: [&mut Client; 2]) {
    let [one, other] = devices;
    for _ in 0..2 {
        place.advance(2 * HOUR);
        all(one).await;
        all(other).await;
    }
}

#[tokio::test]
async fn a_handle_is_every_devices_to_change_and_to_release() {
    let place = Place::new().await;
    let (mut alice, mut bob) = (place.person("alice").await, place.person("bob").await);
    alice.set_handle("alice").await.expect("set");
    let mut second = place.linked(&mut alice, "second").await;
    assert_eq!(second.handle(), Some("alice"));
    second.set_handle("alice.a").await.expect("changed");
    let tokens = second.account().await.expect("an account").tokens;
    catch_up(&place, [&mut alice, &mut second]).await;
    assert_eq!(alice.handle(), Some("alice.a"));
    alice.set_handle("alice.b").await.expect("changed");
    assert_eq!(alice.account().await.expect("an account").tokens, tokens, "the token of the one before is revoked");
    bob.knock("alice.b", "hello", None).await.expect("knocked");
    assert!(bob.knock("alice.a", "hello", None).await.is_err());
    catch_up(&place, [&mut alice, &mut second]).await;
    assert!(second.release_handle().await.expect("released"));
    assert_eq!(second.account().await.expect("an account").tokens, tokens - 1, "and the last one's");
    catch_up(&place, [&mut alice, &mut second]).await;
    assert_eq!((alice.handle(), knocks(&alice)), (None, vec!["hello".to_string()]));
}

#[tokio::test]
async fn the_doctor_compares_the_handle() {
    let place = Place::new().await;
    let mut alice = place.person("alice").await;
    let of_handle = async |client: &mut Client| {
        let checks = client.doctor().await.expect("looked");
        checks.into_iter().find(|check| check.name == "handle").map(|check| check.health)
    };
    assert_eq!(of_handle(&mut alice).await, None);
    alice.set_handle("alice").await.expect("set");
    assert_eq!(of_handle(&mut alice).await, Some(Health::Ok));
    let file = place.path("alice").join("state.json");
    let state = std::fs::read_to_string(&file).expect("a state");
    std::fs::write(&file, state.replace("\"name\":\"alice\",\"token\"", "\"name\":\"alicia\",\"token\"")).expect("written");
    assert_eq!(of_handle(&mut alice).await, Some(Health::Warn));
}

#[tokio::test]
async fn a_recovered_account_can_be_knocked_at_as_before() {
    let place = Place::new().await;
    let (mut alice, words) = place.account("alice").await;
    alice.set_handle("alice").await.expect("set");
    let link = alice.invite_with(InviteOptions { uses: 3, ..InviteOptions::default() }).await.expect("a link");
    let mut anew = Client::recover(&place.path("anew"), place.options(), &words).await.expect("recovered");
    assert_eq!((anew.handle(), anew.invites().len()), (Some("alice"), 1));
    let (mut bob, mut carol) = (place.person("bob").await, place.person("carol").await);
    bob.knock("alice", "by the handle", None).await.expect("its token is not revoked");
    carol.add("alice", &link).await.expect("nor the link's");
    all(&mut anew).await;
    assert_eq!((knocks(&anew), names(&anew)), (vec!["by the handle".to_string()], vec!["carol".to_string()]));
}

#[tokio::test]
async fn who_is_blocked_on_one_device_is_blocked_on_all() {
    let place = Place::new().await;
    let (mut alice, mut bob) = (place.person("alice").await, place.person("bob").await);
    meet(&mut alice, &mut bob, "bob", "alice").await;
    let mut second = place.linked(&mut alice, "second").await;
    second.block("bob").await.expect("blocked");
    catch_up(&place, [&mut alice, &mut second]).await;
    let blocked = alice.blocked();
    assert_eq!((blocked.len(), blocked[0].name.as_str(), names(&alice).len()), (1, "bob", 0));
    alice.set_handle("alice").await.expect("set");
    bob.revoke("alice").await.expect("revoked");
    bob.knock("alice", "hear me", None).await.expect("knocked");
    all(&mut alice).await;
    assert!(knocks(&alice).is_empty());
    alice.unblock("bob").await.expect("unblocked");
    catch_up(&place, [&mut alice, &mut second]).await;
    assert!(second.blocked().is_empty());
}

#[tokio::test]
async fn a_knock_that_one_device_answered_is_no_question_on_another() {
    for accept in [true, false] {
        let place = Place::new().await;
        let (mut alice, mut bob) = (place.person("alice").await, place.person("bob").await);
        let (mut carol, mut second) = (place.person("carol").await, place.linked(&mut alice, "second").await);
        alice.set_handle("alice").await.expect("set");
        catch_up(&place, [&mut alice, &mut second]).await;
        bob.knock("alice", "hello", None).await.expect("knocked");
        carol.knock("alice", "me too", None).await.expect("knocked");
        all(&mut alice).await;
        // This one has seen both, the other none so far.
        let mut third = place.linked(&mut alice, "third").await;
        assert_eq!(knocks(&alice).len(), 2);
        match accept {
            true => drop(alice.accept("bob", None).await.expect("accepted")),
            false => drop(alice.decline("bob").await.expect("declined")),
        }
        place.advance(DELAY);
        all(&mut alice).await;
        place.advance(2 * HOUR);
        let events = all(&mut second).await;
        let told: Vec<_> = events.iter().filter(|event| matches!(event.what, What::Knock { .. })).collect();
        assert_eq!((told.len(), knocks(&second)), (1, vec!["me too".to_string()]), "{events:?}");
        assert_eq!(names(&second).len(), usize::from(accept));
        // What it has seen, and was answered elsewhere afterwards, is asked about no longer.
        match accept {
            true => drop(second.accept("carol", None).await.expect("accepted")),
            false => drop(second.decline("carol").await.expect("declined")),
        }
        catch_up(&place, [&mut second, &mut alice]).await;
        assert!(knocks(&alice).is_empty(), "accept: {accept}");
        all(&mut third).await;
        assert_eq!(names(&third), names(&alice));
        // Who was declined may knock again.
        if !accept {
            bob.revoke("alice").await.expect("revoked");
            bob.knock("alice", "please", None).await.expect("knocked");
            all(&mut second).await;
            assert_eq!(knocks(&second), ["please"]);
        }
    }
}

#[tokio::test]
async fn a_knock_at_another_devices_door_is_asked_about_once_that_door_is_known() {
    let place = Place::new().await;
    let (mut alice, mut bob) = (place.person("alice").await, place.person("bob").await);
    let mut carol = place.person("carol").await;
    let mut second = place.linked(&mut alice, "second").await;
    all(&mut second).await;
    let link = alice.invite_with(InviteOptions { uses: 3, ..InviteOptions::default() }).await.expect("a link");
    alice.set_handle("alice").await.expect("set");
    bob.add("alice", &link).await.expect("knocked");
    carol.knock("alice", "hello", None).await.expect("knocked");
    // It knows neither door, and asks nobody because of a knock.
    let events = all(&mut second).await;
    assert!(knocks(&second).is_empty() && events.is_empty(), "{events:?}");
    let events = all(&mut alice).await;
    assert_eq!(count(&events, |what| matches!(what, What::ContactAdded { from, .. } if from == "bob")), 1, "{events:?}");
    place.advance(2 * HOUR);
    all(&mut alice).await;
    let events = all(&mut second).await;
    assert_eq!((knocks(&second), names(&second)), (vec!["hello".to_string()], vec!["bob".to_string()]), "{events:?}");
    assert_eq!(count(&events, |what| matches!(what, What::Unopened { .. })), 0, "{events:?}");
    assert_eq!(second.invites()[0].came, 1);
    all(&mut bob).await;
    bob.send("alice", "to all of you").await.expect("sent");
    assert_eq!(texts(&all(&mut second).await), ["to all of you"]);
}

/// Puts contacts into a profile, as many as are asked for.
fn crowd(place: &Place, name: &str, many: u32) {
    let file = place.path(name).join("state.json");
    let mut state: Value = serde_json::from_slice(&std::fs::read(&file).expect("a state")).expect("JSON");
    let bytes = |number: u32, kind: u32| *Hash::of(&[number.to_be_bytes(), kind.to_be_bytes()].concat()).as_bytes();
    let none = json!({"list_key_certificate": "", "list": "", "signature": "A".repeat(86)});
    let contact = |number: u32| {
        let mine = |kind| json!({"hash": TokenHash(bytes(number, kind)), "invite": kind == 3});
        json!({
            "name": format!("contact-{number}"), "account": AccountId(bytes(number, 0)), "list": none,
            "newest": {"epoch": 1, "version": 3, "hash": Hash(bytes(number, 1)), "devices": 2},
            "token": DeliveryToken(bytes(number, 2)), "ready": true, "mine": [mine(3), mine(4)], "devices": {},
            "fork_told": false,
        })
    };
    state["contacts"] = (0..many).map(contact).collect();
    std::fs::write(&file, state.to_string()).expect("written");
}

#[tokio::test]
async fn a_hundred_and_fifty_contacts_fit_into_one_slot_and_more_into_three() {
    let place = Place::new().await;
    let mut alice = place.person("alice").await;
    all(&mut alice).await;
    crowd(&place, "alice", 150);
    all(&mut alice).await;
    let sizes = || place.slots().into_iter().map(|(.., content)| content.len()).collect::<Vec<_>>();
    assert_eq!(sizes(), [65_536]);
    crowd(&place, "alice", 330);
    all(&mut alice).await;
    assert_eq!(sizes(), [65_536; 3]);
    let mut second = place.linked(&mut alice, "second").await;
    assert_eq!(names(&second), names(&alice));
    // One of them is changed by each device: only its slot is written.
    let before = place.slots();
    let named = |client: &Client, other: usize| client.contacts()[other].name.clone();
    let (one, other) = (named(&alice, 7), named(&second, 250));
    alice.revoke(&one).await.expect("revoked");
    assert_eq!(place.slots().iter().zip(&before).filter(|(now, before)| now != before).count(), 1);
    second.revoke(&other).await.expect("revoked");
    catch_up(&place, [&mut alice, &mut second]).await;
    assert_eq!((names(&alice).len(), names(&alice)), (328, names(&second)));
}

#[tokio::test]
async fn where_there_is_no_more_room_nothing_is_lost_and_it_is_said() {
    let place = Place::new().await;
    let (mut alice, mut bob) = (place.person("alice").await, place.person("bob").await);
    all(&mut alice).await;
    crowd(&place, "alice", 1_000);
    let events = all(&mut alice).await;
    assert_eq!(count(&events, |what| matches!(what, What::SlotTooLarge)), 1, "{events:?}");
    assert_eq!(names(&alice).len(), 1_000);
    meet(&mut alice, &mut bob, "bob", "alice").await;
    let checks = alice.doctor().await.expect("looked");
    let book = checks.iter().find(|check| check.name == "book").expect("a check");
    assert!(book.health == Health::Warn && book.fix.as_ref().is_some_and(|fix| fix.contains("`revoke`")), "{book:?}");
    alice.send("bob", "as ever").await.expect("sent");
    assert_eq!(texts(&all(&mut bob).await), ["as ever"]);
    // With fewer it goes on by itself.
    crowd(&place, "alice", 100);
    all(&mut alice).await;
    let second = place.linked(&mut alice, "second").await;
    assert_eq!(names(&second), names(&alice));
}
