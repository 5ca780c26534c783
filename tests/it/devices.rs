//! Several devices of one account: linked, written to, removed, and what contacts see of it.

use restante::client::{Client, Delivery, LinkCode, Linking, Options, What};
use restante::protocol::ErrorCode;

use crate::support::household::{DAY, DELAY, Household, all, copies, meet, texts};

fn added(events: &[restante::client::Event]) -> Vec<(usize, usize)> {
    let change = |event: &restante::client::Event| match &event.what {
        What::DevicesChanged { added, removed, .. } | What::OwnDevicesChanged { added, removed } => Some((*added, *removed)),
        _ => None,
    };
    events.iter().filter_map(change).collect()
}

async fn version(client: &mut Client) -> (u32, u64) {
    let (_, list) = client.account().await.expect("an account").device_list.parse().expect("a list");
    (list.epoch, list.version)
}

#[tokio::test]
async fn three_devices_get_every_message_and_each_can_write() {
    let house = Household::new().await;
    let (mut phone, _) = house.person("alice").await;
    let (mut bob, _) = house.person("bob").await;
    meet(&mut phone, "alice", &mut bob, "bob").await;
    let mut laptop = house.another(&mut phone, "laptop").await;
    let mut tablet = house.another(&mut laptop, "tablet").await;
    assert_eq!(laptop.account_id(), phone.account_id());
    assert_eq!(laptop.name(), Some("alice"));
    assert_eq!(added(&all(&mut phone).await), [(1, 0)], "the tablet, which the laptop let in");

    bob.send("alice", "to all of you").await.expect("sent");
    for device in [&mut phone, &mut laptop, &mut tablet] {
        assert_eq!(texts(&all(device).await), ["to all of you"]);
    }
    assert_eq!(added(&all(&mut bob).await), [(2, 0)], "learned when he sent");
    for (device, text) in [(&mut phone, "one"), (&mut laptop, "two"), (&mut tablet, "three")] {
        device.send("bob", text).await.expect("sent");
        let events = all(&mut bob).await;
        assert_eq!(texts(&events), [text]);
        assert!(added(&events).is_empty());
    }
    let devices = tablet.devices().await.expect("devices");
    assert_eq!(devices.len(), 3);
    assert_eq!(
        devices.iter().filter(|device| device.this).map(|device| device.device).collect::<Vec<_>>(),
        [tablet.device_id()]
    );
    assert!(devices.iter().all(|device| device.seen_week.is_some() && device.prekey_expires_at.is_some()));
}

#[tokio::test]
async fn what_one_device_sends_shows_on_the_others_later_and_once() {
    let house = Household::new().await;
    let (mut phone, _) = house.person("alice").await;
    let (mut bob, _) = house.person("bob").await;
    meet(&mut phone, "alice", &mut bob, "bob").await;
    let mut laptop = house.another(&mut phone, "laptop").await;
    phone.send("bob", "from the phone").await.expect("sent");
    all(&mut phone).await;
    assert!(copies(&all(&mut laptop).await).is_empty(), "not at once");
    assert!(phone.receipts_due_in().is_some());
    house.advance(DELAY);
    phone.send_due_receipts().await.expect("sent");
    assert_eq!(copies(&all(&mut laptop).await), [("bob", "from the phone")]);
    assert!(all(&mut phone).await.is_empty(), "its own copy is nothing to it");
    house.advance(DELAY);
    all(&mut phone).await;
    assert!(all(&mut laptop).await.is_empty());

    // And the other way, with a reply key now; a text that was sent elsewhere is known to have been, and read.
    laptop.send("bob", "from the laptop").await.expect("sent");
    house.advance(DELAY);
    all(&mut laptop).await;
    assert_eq!(copies(&all(&mut phone).await), [("bob", "from the laptop")]);
    assert_eq!(texts(&all(&mut bob).await), ["from the phone", "from the laptop"]);
    house.advance(DELAY);
    all(&mut bob).await;
    for device in [&mut phone, &mut laptop] {
        assert!(texts(&all(device).await).is_empty());
        let states: Vec<_> = device.sent().into_iter().map(|sent| sent.state).collect();
        assert!(matches!(states[..], [Delivery::Read { .. }, Delivery::Read { .. }]), "{states:?}");
    }
}

#[tokio::test]
async fn the_longest_text_is_as_long_as_its_copy_allows() {
    let house = Household::new().await;
    let (mut phone, _) = house.person("alice").await;
    let (mut bob, _) = house.person("bob").await;
    meet(&mut phone, "alice", &mut bob, "bob").await;
    let mut laptop = house.another(&mut phone, "laptop").await;
    let most = 16_063 - r#"{"type":"text","text":""}"#.len();
    let refused = phone.send("bob", &"x".repeat(most)).await.expect_err("its copy would be too long");
    let over = refused.to_string().split(' ').rev().nth(1).and_then(|n| n.parse::<usize>().ok()).expect("how much");
    let text = "x".repeat(most - over);
    phone.send("bob", &text).await.expect("sent");
    house.advance(DELAY);
    all(&mut phone).await;
    assert_eq!(copies(&all(&mut laptop).await), [("bob", text.as_str())]);
}

#[tokio::test]
async fn both_screens_show_the_same_and_a_code_is_good_once_in_time_and_for_its_account() {
    let house = Household::new().await;
    let (mut alice, _) = house.person("alice").await;
    let (mut carol, _) = house.person("carol").await;
    let linking = house.joining("laptop", &alice.account_line()).await;
    assert_eq!(linking.digits(), alice.digits());
    assert_ne!(carol.digits(), alice.digits());
    let code = linking.code().to_string();
    let parsed = |code: &str| code.parse::<LinkCode>();

    let refuses = async |client: &mut Client, code: &str, word: &str| {
        let before = version(client).await;
        let refused = client.approve(&parsed(code).expect("a code")).await.expect_err(word);
        assert!(refused.to_string().contains(word) && refused.hint().is_some(), "{refused}");
        assert_eq!(version(client).await, before);
    };
    refuses(&mut carol, &code, "another account").await;
    let field = |name: &str| code.split(['?', '&']).find_map(|field| field.strip_prefix(name)).expect(name).to_string();
    // The device's id with another's sealing key, and a secret of somebody else's relay.
    let sealing = field("sealing=");
    let other = field("device=");
    refuses(&mut alice, &code.replace(&sealing, &other), "damaged").await;
    refuses(&mut alice, &code.replace(&field("relay="), &other), "another relay").await;
    assert!(parsed(&code[..code.len() - 20]).is_err() && parsed(&code.replace("secret=", "secret=A")).is_err());
    let ahead = format!("expires={}", field("expires=").parse::<u64>().expect("a time") + 600);
    refuses(&mut alice, &code.replace(&format!("expires={}", field("expires=")), &ahead), "far ahead").await;
    house.advance(600);
    refuses(&mut alice, &code, "expired").await;
    drop(linking);

    let linking = house.joining("laptop", &alice.account_line()).await;
    let code = linking.code();
    assert_eq!(alice.approve(&code).await.expect("let in"), linking.device_id());
    refuses(&mut alice, &code.to_string(), "used already").await;
    linking.wait().await.expect("linked");
}

#[tokio::test]
async fn a_device_that_was_stopped_while_it_waited_joins_with_another_code_and_the_same_keys() {
    let house = Household::new().await;
    let (mut alice, _) = house.person("alice").await;
    let first = house.joining("laptop", &alice.account_line()).await;
    let (device, code) = (first.device_id(), first.code());
    drop(first);
    let again = house.joining("laptop", &alice.account_line()).await;
    assert_eq!(again.code().to_string(), code.to_string(), "still good");
    drop(again);
    alice.approve(&code).await.expect("let in");
    let listed = version(&mut alice).await;
    house.advance(601);
    let again = house.joining("laptop", &alice.account_line()).await;
    assert_eq!(again.device_id(), device);
    assert_ne!(again.code().to_string(), code.to_string());
    alice.approve(&again.code()).await.expect("given its keys once more");
    assert_eq!(version(&mut alice).await, listed);
    let mut laptop = again.wait().await.expect("linked");
    assert!(all(&mut laptop).await.is_empty());
    assert!(!house.path("laptop").join("linking.json").exists());
    let refused = Linking::begin(&house.path("laptop"), house.options(), &alice.account_line()).await.expect_err("a profile");
    assert!(refused.to_string().contains("already"));
}

#[tokio::test]
async fn a_device_that_nobody_lets_in_gives_up_when_its_code_ends() {
    let house = Household::new().await;
    let (alice, _) = house.person("alice").await;
    let linking = house.joining("laptop", &alice.account_line()).await;
    house.advance(600);
    let error = linking.wait().await.expect_err("nobody did");
    assert!(error.to_string().contains("nobody has let"), "{error}");
}

#[tokio::test]
async fn a_removed_device_is_out_at_once_and_says_so() {
    let house = Household::new().await;
    let (mut phone, _) = house.person("alice").await;
    let (mut bob, _) = house.person("bob").await;
    meet(&mut phone, "alice", &mut bob, "bob").await;
    let mut laptop = house.another(&mut phone, "laptop").await;
    let mut tablet = house.another(&mut phone, "tablet").await;
    all(&mut laptop).await;
    for (id, word) in
        [(phone.device_id().to_string(), "this device"), ("zzzz".into(), "no device"), (String::new(), "more than one")]
    {
        let refused = phone.remove_device(&id).await.expect_err(word);
        assert!(refused.to_string().contains(word), "{refused}");
    }
    bob.send("alice", "unread there").await.expect("sent");
    let id = laptop.device_id().to_string();
    phone.remove_device(&id[..20]).await.expect("removed");
    let out = laptop.receive(0).await.expect_err("removed");
    assert_eq!(out.code(), Some(ErrorCode::LoginRefused));
    assert!(out.to_string().contains("removed from its account"), "{out}");
    assert_eq!(phone.account().await.expect("an account").devices.len(), 2);
    assert_eq!(added(&all(&mut tablet).await), [(0, 1)]);
    let refused = tablet.remove_device(&id).await.expect_err("gone");
    assert!(refused.to_string().contains("no device"));

    // Bob is told in band, without asking anybody.
    all(&mut bob).await;
    house.advance(DELAY);
    all(&mut phone).await;
    assert_eq!(added(&all(&mut bob).await), [(0, 1)]);
    bob.send("alice", "the two of you").await.expect("sent");
    for device in [&mut phone, &mut tablet] {
        assert!(texts(&all(device).await).contains(&"the two of you"));
    }
}

#[tokio::test]
async fn contacts_are_told_in_band_of_a_device_that_has_not_written_yet() {
    let house = Household::new().await;
    let (mut phone, _) = house.person("alice").await;
    let (mut bob, _) = house.person("bob").await;
    meet(&mut phone, "alice", &mut bob, "bob").await;
    house.another(&mut phone, "laptop").await;
    all(&mut phone).await;
    assert!(all(&mut bob).await.is_empty(), "not at once");
    house.advance(DELAY);
    all(&mut phone).await;
    assert_eq!(added(&all(&mut bob).await), [(1, 0)]);
}

#[tokio::test]
async fn a_stolen_device_takes_no_key_with_it_and_the_others_go_on() {
    let house = Household::new().await;
    let (mut phone, words) = house.person("alice").await;
    let (mut bob, bobs_words) = house.person("bob").await;
    meet(&mut phone, "alice", &mut bob, "bob").await;
    let mut laptop = house.another(&mut phone, "laptop").await;
    let mut lost = house.another(&mut phone, "lost").await;
    all(&mut laptop).await;
    all(&mut lost).await;
    let before = house.state("lost");
    let id = lost.device_id().to_string();
    assert!(phone.remove_stolen(&id, &bobs_words).await.is_err(), "another account's words");
    assert_eq!(phone.remove_stolen(&id, &words).await.expect("removed"), Some(lost.device_id()));
    assert_eq!(version(&mut phone).await, (2, 1));
    assert_eq!(added(&all(&mut laptop).await), [(0, 1)]);
    let after = house.state("laptop");
    for secret in ["sync_key", "list_key"] {
        assert_eq!(after[secret], house.state("alice")[secret]);
        assert_ne!(after[secret], before[secret]);
    }
    assert_ne!(after["myself"]["token"], before["myself"]["token"]);
    assert_eq!(lost.receive(0).await.expect_err("out").code(), Some(ErrorCode::LoginRefused));

    // The other one signs lists and lets devices in, copies go both ways, and what the lost one writes reaches nobody.
    let mut new = house.another(&mut laptop, "new").await;
    laptop.send("bob", "still here").await.expect("sent");
    house.advance(DELAY);
    all(&mut laptop).await;
    for device in [&mut phone, &mut new] {
        assert_eq!(copies(&all(device).await), [("bob", "still here")]);
    }
    lost.send("bob", "it was me").await.ok();
    assert_eq!(texts(&all(&mut bob).await), ["still here"]);
    // Again, with the id in full: it is gone, and the keys are renewed once more.
    assert_eq!(phone.remove_stolen(&id, &words).await.expect("renewed"), None);
    assert!(phone.remove_stolen(&id[..9], &words).await.is_err());
}

#[tokio::test]
async fn a_device_that_was_away_too_long_holds_nobody_up_and_finds_out() {
    let house = Household::new().await;
    let (mut phone, _) = house.person("alice").await;
    let (mut bob, _) = house.person("bob").await;
    meet(&mut phone, "alice", &mut bob, "bob").await;
    let mut laptop = house.another(&mut phone, "laptop").await;
    all(&mut laptop).await;
    house.advance(15 * DAY);
    all(&mut phone).await;
    bob.send("alice", "while it was away").await.expect("sent to the phone");
    assert_eq!(texts(&all(&mut phone).await), ["while it was away"]);
    let events = all(&mut laptop).await;
    assert!(texts(&events).is_empty());
    assert!(events.iter().any(|event| matches!(event.what, What::Unopened { count: 1 })), "{events:?}");
    // Back, it has a key again.
    bob.send("alice", "now").await.expect("sent");
    assert_eq!(texts(&all(&mut laptop).await), ["now"]);
}

#[tokio::test]
async fn the_words_bring_the_sync_key_back_and_older_profiles_are_told() {
    let house = Household::new().await;
    let (_, words) = house.person("alice").await;
    let mut alice = house
        .tampered("alice", |state| {
            for field in ["sync_key", "myself", "own_token_registered", "links_taken", "linking", "fork_told", "behind_told"] {
                state.as_object_mut().expect("a state").remove(field);
            }
        })
        .await;
    let linking = house.joining("laptop", &alice.account_line()).await;
    let refused = alice.approve(&linking.code()).await.expect_err("no sync key");
    assert!(refused.hint().is_some_and(|hint| hint.contains("recover")), "{refused}");
    let options = Options { clock: house.clock(), ..house.options() };
    let mut alice = Client::recover(&house.path("alice"), options, &words).await.expect("recovered");
    alice.approve(&linking.code()).await.expect("let in");
    linking.wait().await.expect("linked");
}

#[tokio::test]
async fn copies_for_devices_that_are_away_or_gone_hold_nothing_up() {
    let house = Household::new().await;
    let (mut phone, _) = house.person("alice").await;
    let (mut bob, _) = house.person("bob").await;
    meet(&mut phone, "alice", &mut bob, "bob").await;
    let laptop = house.another(&mut phone, "laptop").await;
    all(&mut phone).await;
    let waiting = |house: &Household| house.state("alice")["outbox"].as_array().expect("an outbox").len();
    // The laptop's prekey has run out, and it never wrote: there is nobody to seal a copy to.
    house.advance(15 * DAY);
    all(&mut bob).await;
    phone.send("bob", "one").await.expect("sent");
    house.advance(DELAY);
    all(&mut phone).await;
    assert_eq!(waiting(&house), 0);
    phone.send("bob", "two").await.expect("sent");
    assert_eq!(waiting(&house), 1);
    phone.remove_device(&laptop.device_id().to_string()).await.expect("removed");
    assert_eq!(waiting(&house), 1, "the list, for Bob");
    house.advance(DELAY);
    all(&mut phone).await;
    assert_eq!(waiting(&house), 0);
}
