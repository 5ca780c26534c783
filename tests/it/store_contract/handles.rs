//! Handles: one an account, held when they are given up, and one of two who want the same.

use restante::protocol::HandleHash;
use restante::protocol::handles::{HELD_MAX, HandleItem};
use restante::store::{HandlePut, HandleReleased, Result};

use super::on_every_store;
use crate::support::bench::{Bench, DAY, Kind, NOW, Person};

on_every_store! {
    a_handle_is_found_until_it_is_given_up
    another_takes_its_place_and_the_one_before_is_held
    a_held_one_is_its_owners_alone_and_anybodys_afterwards
    no_more_than_three_are_held
    of_two_accounts_that_want_one_one_gets_it
    a_deleted_accounts_handles_are_free_at_once
    handles_outlive_a_restart_and_the_purge_takes_what_was_held
}

const WEEK: u64 = 7 * DAY;

fn hash(number: u8) -> HandleHash {
    HandleHash([number; 32])
}

fn record(number: u8) -> Vec<u8> {
    vec![number; 1_024]
}

async fn put(bench: &Bench, who: &Person, number: u8, now: u64) -> Result<HandlePut> {
    bench.store.put_handle(who.account, hash(number), record(number), now + WEEK, now).await
}

async fn found(bench: &Bench, number: u8) -> Option<Vec<u8>> {
    bench.store.handle(hash(number)).await.expect("answered")
}

async fn listed(bench: &Bench, who: &Person, now: u64) -> Vec<(u8, Option<u64>)> {
    let account = bench.store.account(who.account, now).await.expect("answered").expect("there");
    account.handles.iter().map(|HandleItem { hash, held_until }| (hash.0[0], *held_until)).collect()
}

async fn a_handle_is_found_until_it_is_given_up(kind: Kind) {
    let bench = Bench::new(kind);
    let alice = bench.account(1, 1).await;
    assert_eq!(found(&bench, 1).await, None);
    assert_eq!(put(&bench, &alice, 1, NOW).await, Ok(HandlePut::Done));
    assert_eq!(put(&bench, &alice, 1, NOW).await, Ok(HandlePut::Done), "the same again");
    assert_eq!(found(&bench, 1).await, Some(record(1)));
    let other = bench.store.put_handle(alice.account, hash(1), record(9), NOW + WEEK, NOW).await;
    assert_eq!((other, found(&bench, 1).await), (Ok(HandlePut::Done), Some(record(9))), "with another record");
    assert_eq!(listed(&bench, &alice, NOW).await, [(1, None)]);
    let release = async || bench.store.release_handle(alice.account, NOW + WEEK, NOW).await;
    assert_eq!(release().await, Ok(HandleReleased::Released));
    assert_eq!(release().await, Ok(HandleReleased::None));
    assert_eq!(found(&bench, 1).await, None);
    assert_eq!(listed(&bench, &alice, NOW).await, [(1, Some(NOW + WEEK))]);
}

async fn another_takes_its_place_and_the_one_before_is_held(kind: Kind) {
    let bench = Bench::new(kind);
    let alice = bench.account(1, 1).await;
    for number in [1, 2] {
        assert_eq!(put(&bench, &alice, number, NOW).await, Ok(HandlePut::Done));
    }
    assert_eq!((found(&bench, 1).await, found(&bench, 2).await), (None, Some(record(2))));
    assert_eq!(listed(&bench, &alice, NOW).await, [(1, Some(NOW + WEEK)), (2, None)]);
    assert_eq!(put(&bench, &alice, 1, NOW).await, Ok(HandlePut::Done), "back again");
    assert_eq!((found(&bench, 1).await, found(&bench, 2).await), (Some(record(1)), None));
    assert_eq!(listed(&bench, &alice, NOW).await, [(1, None), (2, Some(NOW + WEEK))]);
}

async fn a_held_one_is_its_owners_alone_and_anybodys_afterwards(kind: Kind) {
    let bench = Bench::new(kind);
    let (alice, bob) = (bench.account(1, 1).await, bench.account(2, 1).await);
    put(&bench, &alice, 1, NOW).await.expect("answered");
    assert_eq!(put(&bench, &bob, 1, NOW).await, Ok(HandlePut::Taken));
    bench.store.release_handle(alice.account, NOW + WEEK, NOW).await.expect("answered");
    assert_eq!(put(&bench, &bob, 1, NOW + WEEK - 1).await, Ok(HandlePut::Taken));
    assert_eq!(put(&bench, &bob, 1, NOW + WEEK).await, Ok(HandlePut::Done), "before any purge");
    assert_eq!(put(&bench, &alice, 1, NOW + WEEK).await, Ok(HandlePut::Taken));
    assert_eq!((found(&bench, 1).await, listed(&bench, &alice, NOW).await), (Some(record(1)), vec![]));
}

async fn no_more_than_three_are_held(kind: Kind) {
    let bench = Bench::new(kind);
    let alice = bench.account(1, 1).await;
    for number in 0..=HELD_MAX as u8 {
        assert_eq!(put(&bench, &alice, number, NOW + u64::from(number)).await, Ok(HandlePut::Done));
    }
    // The first of them was given up for the second, a second after it was taken.
    let until = NOW + 1 + WEEK;
    assert_eq!(put(&bench, &alice, 9, NOW + 9).await, Ok(HandlePut::TooMany { until }));
    let release = async |now| bench.store.release_handle(alice.account, now + WEEK, now).await;
    assert_eq!(release(NOW + 9).await, Ok(HandleReleased::TooMany { until }));
    assert_eq!((found(&bench, 9).await, found(&bench, 3).await), (None, Some(record(3))), "nothing changed");
    assert_eq!(put(&bench, &alice, 0, NOW + 9).await, Ok(HandlePut::Done), "back to a held one: as many as before");
    assert_eq!(put(&bench, &alice, 3, NOW + 9).await, Ok(HandlePut::Done));
    assert_eq!(put(&bench, &alice, 9, NOW + 2 + WEEK).await, Ok(HandlePut::Done), "once one is free again");
}

async fn of_two_accounts_that_want_one_one_gets_it(kind: Kind) {
    let bench = Bench::new(kind);
    let (alice, bob) = (bench.account(1, 1).await, bench.account(2, 1).await);
    for number in 0..20 {
        let (one, other) = tokio::join!(put(&bench, &alice, 100, NOW), put(&bench, &bob, 100, NOW));
        let mut both = [one.expect("answered"), other.expect("answered")];
        both.sort_by_key(|put| *put == HandlePut::Taken);
        assert_eq!(both, [HandlePut::Done, HandlePut::Taken]);
        let winner = if listed(&bench, &alice, NOW).await.is_empty() { &bob } else { &alice };
        bench.store.delete_account(winner.account).await.expect("deleted");
        let mut again = Person { devices: vec![crate::support::bench::device_id(9, number)], ..winner.clone() };
        again.version = 1;
        bench.store.register(again.list(), None, false, NOW).await.expect("registered");
    }
}

async fn a_deleted_accounts_handles_are_free_at_once(kind: Kind) {
    let bench = Bench::new(kind);
    let (alice, bob) = (bench.account(1, 1).await, bench.account(2, 1).await);
    for number in [1, 2] {
        put(&bench, &alice, number, NOW).await.expect("answered");
    }
    bench.store.delete_account(alice.account).await.expect("deleted");
    assert_eq!(found(&bench, 2).await, None);
    assert_eq!(put(&bench, &alice, 3, NOW).await, Ok(HandlePut::Taken), "an account that is gone has none");
    for number in [1, 2] {
        assert_eq!(put(&bench, &bob, number, NOW).await, Ok(HandlePut::Done));
    }
}

async fn handles_outlive_a_restart_and_the_purge_takes_what_was_held(kind: Kind) {
    let mut bench = Bench::new(kind);
    let alice = bench.account(1, 1).await;
    for number in [1, 2] {
        put(&bench, &alice, number, NOW).await.expect("answered");
    }
    bench.reopen().await;
    assert_eq!(found(&bench, 2).await, Some(record(2)));
    let purge = async |now| bench.store.purge_slice(0, 0, now).await.expect("a slice").others;
    assert_eq!((purge(NOW + WEEK - 1).await, purge(NOW + WEEK).await, purge(NOW + WEEK).await), (0, 1, 0));
    assert_eq!(found(&bench, 2).await, Some(record(2)));
}
