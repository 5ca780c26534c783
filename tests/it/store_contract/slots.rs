//! Slots: compare-and-swap, whose they are, and what takes them away.

use std::sync::Arc;

use restante::protocol::SlotId;
use restante::protocol::slots::SlotItem;
use restante::store::{SlotCondition, SlotPut, Successor};

use super::on_every_store;
use crate::support::bench::{Bench, Kind, NOW, Person};

on_every_store! {
    a_slot_changes_only_as_it_was_expected
    an_account_has_so_many_slots_and_no_more
    two_accounts_may_have_slots_of_one_id
    of_many_writers_at_once_one_wins_each_version
    a_slot_outlives_a_device_and_goes_with_the_account
}

const ID: SlotId = SlotId([7; 32]);

async fn put(bench: &Bench, of: &Person, slot: SlotId, condition: SlotCondition, byte: u8) -> SlotPut {
    bench.store.put_slot(of.account, slot, condition, vec![byte; 1_024], 4).await.expect("a write is answered")
}

async fn a_slot_changes_only_as_it_was_expected(kind: Kind) {
    let mut bench = Bench::new(kind);
    let alice = bench.account(1, 1).await;
    let version = SlotCondition::Version;
    assert_eq!(bench.store.slot(alice.account, ID).await, Ok(None));
    assert_eq!(put(&bench, &alice, ID, version(1), 1).await, SlotPut::Changed, "there is none");
    assert_eq!(put(&bench, &alice, ID, version(0), 1).await, SlotPut::Changed);
    assert_eq!(put(&bench, &alice, ID, SlotCondition::New, 1).await, SlotPut::Done(1));
    assert_eq!(put(&bench, &alice, ID, SlotCondition::New, 2).await, SlotPut::Changed, "there is one");
    assert_eq!(put(&bench, &alice, ID, version(1), 2).await, SlotPut::Done(2));
    for stale in [0, 1, 3, u64::MAX] {
        assert_eq!(put(&bench, &alice, ID, version(stale), 3).await, SlotPut::Changed, "{stale}");
    }
    bench.reopen().await;
    assert_eq!(bench.store.slot(alice.account, ID).await, Ok(Some((2, vec![2; 1_024]))));
    let larger = bench.store.put_slot(alice.account, ID, version(2), vec![4; 65_536], 4).await;
    assert_eq!(larger, Ok(SlotPut::Done(3)));
    assert_eq!(bench.store.slot(alice.account, ID).await, Ok(Some((3, vec![4; 65_536]))));
    assert_eq!(bench.store.delete_slot(alice.account, ID).await, Ok(true));
    assert_eq!(bench.store.delete_slot(alice.account, ID).await, Ok(false));
    assert_eq!(bench.store.slot(alice.account, ID).await, Ok(None));
    assert_eq!(put(&bench, &alice, ID, SlotCondition::New, 5).await, SlotPut::Done(1), "it begins anew");
}

async fn an_account_has_so_many_slots_and_no_more(kind: Kind) {
    let bench = Bench::new(kind);
    let (alice, bob) = (bench.account(1, 1).await, bench.account(2, 1).await);
    for number in 0..4 {
        assert_eq!(put(&bench, &alice, SlotId([number; 32]), SlotCondition::New, number).await, SlotPut::Done(1));
    }
    assert_eq!(put(&bench, &alice, SlotId([4; 32]), SlotCondition::New, 1).await, SlotPut::TooMany);
    assert_eq!(put(&bench, &alice, SlotId([3; 32]), SlotCondition::New, 1).await, SlotPut::Changed, "it is there, full or not");
    assert_eq!(put(&bench, &alice, SlotId([3; 32]), SlotCondition::Version(1), 1).await, SlotPut::Done(2));
    assert_eq!(put(&bench, &bob, SlotId([4; 32]), SlotCondition::New, 1).await, SlotPut::Done(1), "another's do not count");
    let held = bench.store.account(alice.account, NOW).await.expect("answered").expect("there");
    let expected =
        (0..4).map(|number| SlotItem { slot: SlotId([number; 32]), version: if number == 3 { 2 } else { 1 }, bytes: 1_024 });
    assert_eq!(held.slots, expected.collect::<Vec<_>>());
    assert_eq!(bench.store.delete_slot(alice.account, SlotId([0; 32])).await, Ok(true));
    assert_eq!(put(&bench, &alice, SlotId([4; 32]), SlotCondition::New, 1).await, SlotPut::Done(1));
}

async fn two_accounts_may_have_slots_of_one_id(kind: Kind) {
    let bench = Bench::new(kind);
    let (alice, bob) = (bench.account(1, 1).await, bench.account(2, 1).await);
    assert_eq!(put(&bench, &alice, ID, SlotCondition::New, 1).await, SlotPut::Done(1));
    assert_eq!(bench.store.slot(bob.account, ID).await, Ok(None));
    assert_eq!(bench.store.delete_slot(bob.account, ID).await, Ok(false));
    assert_eq!(put(&bench, &bob, ID, SlotCondition::Version(1), 2).await, SlotPut::Changed);
    assert_eq!(put(&bench, &bob, ID, SlotCondition::New, 2).await, SlotPut::Done(1));
    assert_eq!(put(&bench, &alice, ID, SlotCondition::Version(1), 3).await, SlotPut::Done(2));
    assert_eq!(bench.store.slot(bob.account, ID).await, Ok(Some((1, vec![2; 1_024]))));
    assert_eq!(bench.store.delete_slot(bob.account, ID).await, Ok(true));
    assert_eq!(bench.store.slot(alice.account, ID).await, Ok(Some((2, vec![3; 1_024]))));
    let nobody = Person::new(9, 1);
    assert_eq!(put(&bench, &nobody, ID, SlotCondition::New, 1).await, SlotPut::Changed, "of no account");
}

async fn of_many_writers_at_once_one_wins_each_version(kind: Kind) {
    let bench = Bench::new(kind);
    let alice = bench.account(1, 1).await;
    let writers: Vec<_> = (0..16_u8)
        .map(|writer| {
            let (store, account) = (Arc::clone(&bench.store), alice.account);
            tokio::spawn(async move {
                let (mut won, mut condition) = (Vec::new(), SlotCondition::New);
                while won.len() < 5 {
                    match store.put_slot(account, ID, condition, vec![writer; 1_024], 4).await {
                        Ok(SlotPut::Done(version)) => {
                            won.push((version, writer));
                            condition = SlotCondition::Version(version);
                        }
                        Ok(SlotPut::Changed) => {
                            let (version, _) = store.slot(account, ID).await.expect("answered").expect("one is there");
                            condition = SlotCondition::Version(version);
                        }
                        other => panic!("{other:?}"),
                    }
                }
                won
            })
        })
        .collect();
    let mut won = Vec::new();
    for writer in writers {
        won.extend(writer.await.expect("no writer panics"));
    }
    won.sort_unstable();
    assert_eq!(won.iter().map(|(version, _)| *version).collect::<Vec<_>>(), (1..=80).collect::<Vec<_>>(), "each once");
    let last = won.last().map(|(_, writer)| vec![*writer; 1_024]).expect("there is one");
    assert_eq!(bench.store.slot(alice.account, ID).await, Ok(Some((80, last))));
}

async fn a_slot_outlives_a_device_and_goes_with_the_account(kind: Kind) {
    let mut bench = Bench::new(kind);
    let alice = bench.account(1, 2).await;
    assert_eq!(put(&bench, &alice, ID, SlotCondition::New, 1).await, SlotPut::Done(1));
    let next = alice.next(&alice.devices[..1]);
    bench.store.replace_list(next.list(), Successor::Next, NOW).await.expect("replaced");
    bench.purge(0, 0, NOW).await;
    assert_eq!(bench.store.slot(alice.account, ID).await, Ok(Some((1, vec![1; 1_024]))));
    bench.store.delete_account(alice.account).await.expect("deleted");
    assert_eq!(bench.store.slot(alice.account, ID).await, Ok(None), "from the return on");
    assert_eq!(put(&bench, &alice, ID, SlotCondition::Version(1), 1).await, SlotPut::Changed);
    bench.purge(0, 0, NOW).await;
    bench.reopen().await;
    assert_eq!(bench.store.slot(alice.account, ID).await, Ok(None));
    // The same account, come back with other devices, finds nothing of what it had.
    let again = Person { devices: vec![crate::support::bench::device_id(1, 9)], ..alice.clone() };
    bench.store.register(again.list(), None, false, NOW).await.expect("registered");
    assert_eq!(bench.store.slot(alice.account, ID).await, Ok(None));
    // An account that nobody visits goes with its slots too.
    assert_eq!(put(&bench, &alice, ID, SlotCondition::New, 1).await, SlotPut::Done(1));
    bench.purge(0, u64::MAX >> 1, NOW).await;
    bench
        .store
        .register(again.next(&[crate::support::bench::device_id(1, 8)]).list(), None, false, NOW)
        .await
        .expect("registered");
    assert_eq!(bench.store.slot(alice.account, ID).await, Ok(None));
}
