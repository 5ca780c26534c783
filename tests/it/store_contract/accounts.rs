//! Accounts, lists, devices: which lists are taken, and what goes with a device or an account.

use restante::protocol::{AccountId, DeviceId, Hash, SealingKey};
use restante::store::{Acked, DeviceRecord, Enqueued, PassItem, Registered, Replaced, RouteDevice, Successor, TokenAdded};

use super::on_every_store;
use crate::support::bench::{Bench, DAY, Kind, NOW, Person, device_id, queued};

on_every_store! {
    a_registration_is_repeated_with_the_same_list_only
    a_device_belongs_to_one_account
    a_pass_is_needed_and_used_up
    a_pass_is_not_used_by_a_refusal_or_a_repeat
    the_next_list_follows_the_current_one
    a_higher_epoch_replaces_any_list
    a_removed_device_takes_everything_along_and_never_comes_back
    a_new_device_starts_with_an_empty_mailbox
    a_visit_is_noted_by_the_week
    an_account_is_told_all_that_is_held_on_it
    a_deleted_account_is_gone_at_once_and_for_good
    a_deleted_accounts_tokens_are_free_again
}

const WEEK: u64 = NOW / 604_800;

async fn a_registration_is_repeated_with_the_same_list_only(kind: Kind) {
    let mut bench = Bench::new(kind);
    let alice = bench.account(1, 2).await;
    bench.reopen().await;
    assert_eq!(bench.store.register(alice.list(), None, false, NOW).await, Ok(Registered::Repeated));
    assert_eq!(bench.store.register(alice.list(), None, true, NOW).await, Ok(Registered::Repeated));
    let other = alice.next(&[device_id(1, 9)]);
    assert_eq!(bench.store.register(other.list(), None, false, NOW).await, Ok(Registered::AccountExists));
    let record = DeviceRecord { account: alice.account, sealing_key: SealingKey(alice.devices[1].0), suspended: false };
    assert_eq!(bench.store.device(alice.devices[1]).await, Ok(Some(record)));
    assert_eq!(bench.store.device(device_id(1, 9)).await, Ok(None));
}

async fn a_device_belongs_to_one_account(kind: Kind) {
    let bench = Bench::new(kind);
    let alice = bench.account(1, 1).await;
    let mut bob = Person::new(2, 1);
    bob.devices.push(alice.devices[0]);
    assert_eq!(bench.store.register(bob.list(), None, false, NOW).await, Ok(Registered::DeviceTaken));
    assert_eq!(bench.store.device(bob.devices[0]).await, Ok(None), "nothing of it was done");
    let bob = bench.account(2, 1).await;
    let thief = bob.next(&[bob.devices[0], alice.devices[0]]);
    assert_eq!(bench.store.replace_list(thief.list(), Successor::Next, NOW).await, Ok(Replaced::DeviceTaken));
    let current = bench.store.prekeys(bob.account, NOW).await.expect("answered").expect("there").0;
    assert_eq!(current, bob.list().signed);
}

async fn a_pass_is_needed_and_used_up(kind: Kind) {
    let mut bench = Bench::new(kind);
    let pass = PassItem { hash: Hash([5; 32]), uses_left: 2, expires_at: NOW + DAY };
    bench.store.add_pass(pass.clone()).await.expect("added");
    for (name, hash, now, expected) in [
        (1, None, NOW, Registered::PassRefused),
        (1, Some(Hash([6; 32])), NOW, Registered::PassRefused),
        (1, Some(pass.hash), NOW + DAY, Registered::PassRefused),
        (1, Some(pass.hash), NOW + DAY - 1, Registered::Created),
        (2, Some(pass.hash), NOW, Registered::Created),
        (3, Some(pass.hash), NOW, Registered::PassRefused),
    ] {
        let outcome = bench.store.register(Person::new(name, 1).list(), hash, true, now).await;
        assert_eq!(outcome, Ok(expected), "{name} at {now}");
    }
    // The same pass added again changes nothing, after a restart either.
    bench.reopen().await;
    bench.store.add_pass(pass.clone()).await.expect("answered");
    assert_eq!(bench.store.register(Person::new(3, 1).list(), Some(pass.hash), true, NOW).await, Ok(Registered::PassRefused));
}

async fn a_pass_is_not_used_by_a_refusal_or_a_repeat(kind: Kind) {
    let bench = Bench::new(kind);
    let alice = bench.account(1, 1).await;
    let pass = PassItem { hash: Hash([5; 32]), uses_left: 1, expires_at: NOW + DAY };
    bench.store.add_pass(pass.clone()).await.expect("added");
    let mut taken = Person::new(2, 1);
    taken.devices.push(alice.devices[0]);
    let left = |passes: Vec<PassItem>| passes.first().map_or(0, |pass| pass.uses_left);
    for person in [taken, alice.next(&alice.devices), alice] {
        bench.store.register(person.list(), Some(pass.hash), true, NOW).await.expect("answered");
        assert_eq!(left(bench.store.passes(NOW).await.expect("passes")), 1);
    }
    let bob = Person::new(2, 1);
    assert_eq!(bench.store.register(bob.list(), Some(pass.hash), true, NOW).await, Ok(Registered::Created));
    assert_eq!(bench.store.passes(NOW).await, Ok(vec![]));
}

async fn the_next_list_follows_the_current_one(kind: Kind) {
    let mut bench = Bench::new(kind);
    let alice = bench.account(1, 1).await;
    let next = alice.next(&[alice.devices[0], device_id(1, 7)]);
    let conflict = Ok(Replaced::Conflict(alice.list().signed));
    for wrong in [
        Person { previous: Hash([1; 32]), ..next.clone() },
        Person { version: 1, ..next.clone() },
        Person { version: 3, ..next.clone() },
        Person { epoch: 0, ..next.clone() },
    ] {
        assert_eq!(bench.store.replace_list(wrong.list(), Successor::Next, NOW).await, conflict);
    }
    assert_eq!(bench.store.replace_list(next.list(), Successor::HigherEpoch, NOW).await, conflict);
    let done = Ok(Replaced::Done { removed: vec![] });
    assert_eq!(bench.store.replace_list(alice.list(), Successor::Next, NOW).await, done, "the current one again");
    assert_eq!(bench.store.replace_list(next.list(), Successor::Next, NOW).await, done);
    bench.reopen().await;
    assert_eq!(bench.store.replace_list(next.list(), Successor::Next, NOW).await, done, "repeated");
    let route = bench.store.route(alice.token, NOW).await.expect("answered").expect("there");
    assert_eq!(route.list, next.list_name());
    assert_eq!(route.devices.iter().map(|device| device.device).collect::<Vec<_>>(), [alice.devices[0], device_id(1, 7)]);
    let nobody = Person::new(9, 1);
    assert_eq!(bench.store.replace_list(nobody.list(), Successor::Next, NOW).await, Ok(Replaced::NoSuchAccount));
}

async fn a_higher_epoch_replaces_any_list(kind: Kind) {
    let bench = Bench::new(kind);
    let alice = bench.account(1, 2).await;
    let fresh = device_id(1, 7);
    let recovered = Person { epoch: 2, version: 40, devices: vec![fresh], ..alice.clone() };
    let done = Ok(Replaced::Done { removed: alice.devices.clone() });
    assert_eq!(bench.store.replace_list(recovered.list(), Successor::HigherEpoch, NOW).await, done);
    let back = Person { epoch: 1, version: 41, devices: vec![fresh], ..alice.clone() };
    let conflict = Ok(Replaced::Conflict(recovered.list().signed));
    assert_eq!(bench.store.replace_list(back.list(), Successor::Next, NOW).await, conflict);
    assert_eq!(bench.store.replace_list(back.list(), Successor::HigherEpoch, NOW).await, conflict);
    let higher = Person { epoch: 9, version: 1, devices: vec![fresh], ..alice };
    let done = Ok(Replaced::Done { removed: vec![] });
    assert_eq!(bench.store.replace_list(higher.list(), Successor::Next, NOW).await, done);
}

async fn a_removed_device_takes_everything_along_and_never_comes_back(kind: Kind) {
    let mut bench = Bench::new(kind);
    let alice = bench.account(1, 2).await;
    let (kept, lost) = (alice.devices[0], alice.devices[1]);
    for id in 1..=3 {
        bench.send(alice.send(id)).await;
    }
    let next = alice.next(&[kept]);
    let done = Ok(Replaced::Done { removed: vec![lost] });
    assert_eq!(bench.store.replace_list(next.list(), Successor::Next, NOW).await, done);
    assert_eq!(bench.store.device(lost).await, Ok(None));
    assert_eq!(bench.seqs(lost, NOW).await, Vec::<u64>::new());
    assert_eq!(bench.seqs(kept, NOW).await, [1, 2, 3]);
    assert_eq!(bench.store.totals().await.expect("totals").envelopes, 3);
    assert_eq!(bench.send(alice.send(4)).await, Enqueued::ListChanged);
    for _ in 0..2 {
        let back = next.next(&[kept, lost]);
        assert_eq!(bench.store.replace_list(back.list(), Successor::Next, NOW).await, Ok(Replaced::DeviceTaken));
        let elsewhere = Person { devices: vec![lost], ..Person::new(2, 1) };
        assert_eq!(bench.store.register(elsewhere.list(), None, false, NOW).await, Ok(Registered::DeviceTaken));
        bench.reopen().await;
    }
}

async fn a_new_device_starts_with_an_empty_mailbox(kind: Kind) {
    let bench = Bench::new(kind);
    let alice = bench.account(1, 1).await;
    bench.send(alice.send(1)).await;
    let next = alice.next(&[alice.devices[0], device_id(1, 7)]);
    bench.store.replace_list(next.list(), Successor::Next, NOW).await.expect("answered");
    assert_eq!(bench.seqs(device_id(1, 7), NOW).await, Vec::<u64>::new());
    // A retry under the new list reaches the new device, and the old one not again.
    assert_eq!(bench.send(next.send(1)).await, queued());
    assert_eq!(bench.seqs(device_id(1, 7), NOW).await, [1]);
    assert_eq!(bench.seqs(alice.devices[0], NOW).await, [1]);
}

async fn a_visit_is_noted_by_the_week(kind: Kind) {
    let bench = Bench::new(kind);
    let alice = bench.account(1, 2).await;
    let weeks = async || {
        let route = bench.store.route(alice.token, NOW).await.expect("answered").expect("there");
        route.devices.into_iter().map(|RouteDevice { seen_week, .. }| seen_week).collect::<Vec<_>>()
    };
    assert_eq!(weeks().await, [WEEK, WEEK]);
    bench.store.visited(alice.devices[1], WEEK + 2).await.expect("noted");
    assert_eq!(weeks().await, [WEEK, WEEK + 2]);
    bench.store.visited(alice.devices[1], WEEK + 1).await.expect("nothing to note");
    assert_eq!(weeks().await, [WEEK, WEEK + 2]);
    bench.store.visited(DeviceId([9; 32]), WEEK).await.expect("nobody");
}

async fn an_account_is_told_all_that_is_held_on_it(kind: Kind) {
    let bench = Bench::new(kind);
    let alice = bench.account(1, 2).await;
    bench.send(alice.send(1)).await;
    bench.store.ack(alice.devices[0], vec![restante::protocol::Seq(1)], None, NOW).await.expect("acknowledged");
    let held = bench.store.account(alice.account, NOW).await.expect("answered").expect("there");
    assert_eq!((held.account, held.device_list, held.tokens), (alice.account, alice.list().signed, 1));
    let devices: Vec<_> = held.devices.iter().map(|item| (item.device, item.seen_week, item.envelopes, item.bytes)).collect();
    assert_eq!(devices, [(alice.devices[0], WEEK, 0, 0), (alice.devices[1], WEEK, 1, 100)]);
    assert!(bench.store.account(AccountId([9; 32]), NOW).await.expect("answered").is_none());
}

async fn a_deleted_account_is_gone_at_once_and_for_good(kind: Kind) {
    let mut bench = Bench::new(kind);
    let alice = bench.account(1, 2).await;
    let bob = bench.account(2, 1).await;
    for id in 1..=200 {
        bench.send(alice.send(id)).await;
    }
    bench.send(bob.send(1)).await;
    assert_eq!(bench.store.delete_account(alice.account).await, Ok(alice.devices.clone()));
    for _ in 0..2 {
        assert!(bench.store.account(alice.account, NOW).await.expect("answered").is_none());
        assert!(bench.store.prekeys(alice.account, NOW).await.expect("answered").is_none());
        assert_eq!(bench.store.route(alice.token, NOW).await, Ok(None));
        assert_eq!(bench.send(alice.send(1)).await, Enqueued::NoSuchToken);
        let tokens = bench.store.tokens(alice.account, None, 10, NOW).await.expect("a page");
        assert!(tokens.tokens.is_empty());
        for device in &alice.devices {
            assert_eq!(bench.store.device(*device).await, Ok(None));
            assert_eq!(bench.seqs(*device, NOW).await, Vec::<u64>::new());
            assert_eq!(bench.store.ack(*device, vec![], None, NOW).await, Ok(Acked::Removed(0)));
        }
        let totals = bench.store.totals().await.expect("totals");
        assert_eq!((totals.accounts, totals.devices, totals.tokens, totals.envelopes), (1, 1, 1, 1));
        assert_eq!(bench.store.delete_account(alice.account).await, Ok(vec![]));
        assert_eq!(bench.store.register(alice.list(), None, false, NOW).await, Ok(Registered::DeviceTaken));
        bench.reopen().await;
    }
    assert_eq!(bench.purge(NOW, 0, NOW).await, 0, "nobody is told of a gap");
    // With fresh devices the account may come back.
    let back = Person { devices: vec![device_id(1, 7)], ..alice };
    assert_eq!(bench.store.register(back.list(), None, false, NOW).await, Ok(Registered::Created));
    assert_eq!(bench.seqs(bob.devices[0], NOW).await, [1]);
}

async fn a_deleted_accounts_tokens_are_free_again(kind: Kind) {
    let bench = Bench::new(kind);
    let alice = bench.account(1, 1).await;
    let bob = bench.account(2, 1).await;
    bench.store.delete_account(alice.account).await.expect("deleted");
    let item = restante::protocol::tokens::TokenItem {
        hash: alice.token,
        kind: restante::protocol::tokens::TokenKind::Contact,
        expires_at: None,
        envelopes_max: None,
        used: false,
        uses_left: None,
    };
    assert_eq!(bench.store.add_token(bob.account, item, 10, NOW).await, Ok(TokenAdded::Added));
    assert_eq!(bench.send(bob.send_by(alice.token, 1, 10)).await, queued());
}
