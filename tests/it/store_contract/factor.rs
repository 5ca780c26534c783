//! Second factors: one for an account, each step and each recovery code once, also when many come at the same moment.

use std::sync::Arc;

use restante::protocol::{AccountId, Hash};
use restante::store::{KeptFactor, LOCKED_SECRET_LENGTH, Replaced, Successor};
use tokio::task::JoinSet;

use super::on_every_store;
use crate::support::bench::{Bench, DAY, Kind, NOW, Person};

on_every_store! {
    a_factor_stands_until_it_is_replaced_or_removed
    what_was_asked_of_another_factor_changes_nothing
    a_step_is_used_once_and_never_a_lower_one
    a_recovery_code_is_used_once
    of_sixty_four_uses_at_once_one_wins
    a_recovery_turns_it_off_and_a_change_of_the_list_does_not
    a_deleted_account_leaves_none
}

fn factor(byte: u8, step: u64) -> KeptFactor {
    KeptFactor { secret: [byte; LOCKED_SECRET_LENGTH], step }
}

fn codes(bytes: &[u8]) -> Vec<Hash> {
    bytes.iter().map(|byte| Hash([*byte; 32])).collect()
}

/// Whether it is on, and how many recovery codes are left, as the account's owner is told.
async fn shown(bench: &Bench, of: &Person) -> (bool, u64) {
    let held = bench.store.account(of.account, NOW).await.expect("answered").expect("there");
    (held.totp, held.recovery_codes)
}

async fn a_factor_stands_until_it_is_replaced_or_removed(kind: Kind) {
    let mut bench = Bench::new(kind);
    let (alice, bob) = (bench.account(1, 1).await, bench.account(2, 1).await);
    assert_eq!((bench.store.factor(alice.account).await, shown(&bench, &alice).await), (Ok(None), (false, 0)));
    assert_eq!(bench.store.any_factor().await, Ok(None));
    assert_eq!(bench.store.put_factor(alice.account, None, factor(1, 100), codes(&[1, 2, 3])).await, Ok(true));
    assert_eq!(bench.store.put_factor(AccountId([9; 32]), None, factor(1, 100), codes(&[1])).await, Ok(false));
    bench.reopen().await;
    assert_eq!(bench.store.factor(alice.account).await, Ok(Some(factor(1, 100))));
    assert_eq!(bench.store.any_factor().await, Ok(Some((alice.account, factor(1, 0).secret))));
    assert_eq!((shown(&bench, &alice).await, shown(&bench, &bob).await), ((true, 3), (false, 0)));
    assert_eq!(bench.store.put_factor(alice.account, Some(factor(1, 0).secret), factor(2, 50), codes(&[4, 5])).await, Ok(true));
    assert_eq!(bench.store.factor(alice.account).await, Ok(Some(factor(2, 50))));
    assert_eq!(bench.store.use_recovery_code(alice.account, Hash([1; 32])).await, Ok(false), "they went with the old one");
    assert_eq!(shown(&bench, &alice).await, (true, 2));
    assert_eq!(bench.store.remove_factor(bob.account, factor(2, 0).secret).await, Ok(false));
    assert_eq!(bench.store.remove_factor(alice.account, factor(2, 0).secret).await, Ok(true));
    assert_eq!(bench.store.remove_factor(alice.account, factor(2, 0).secret).await, Ok(false));
    assert_eq!(bench.store.use_recovery_code(alice.account, Hash([4; 32])).await, Ok(false));
    bench.reopen().await;
    assert_eq!((bench.store.factor(alice.account).await, shown(&bench, &alice).await), (Ok(None), (false, 0)));
}

/// Somebody with a session, but no code, asks while it is off to turn it off or to put one of their own in its place, and is let
/// through; meanwhile the owner turns it on.
async fn what_was_asked_of_another_factor_changes_nothing(kind: Kind) {
    let bench = Bench::new(kind);
    let alice = bench.account(1, 1).await;
    let [owners, thiefs] = [factor(1, 100), factor(2, 100)];
    assert_eq!(bench.store.put_factor(alice.account, Some(thiefs.secret), thiefs.clone(), codes(&[9])).await, Ok(false), "off");
    assert_eq!(bench.store.put_factor(alice.account, None, owners.clone(), codes(&[1])).await, Ok(true));
    for before in [None, Some(thiefs.secret)] {
        assert_eq!(bench.store.put_factor(alice.account, before, thiefs.clone(), codes(&[9])).await, Ok(false));
    }
    assert_eq!(bench.store.remove_factor(alice.account, thiefs.secret).await, Ok(false));
    assert_eq!((bench.store.factor(alice.account).await, shown(&bench, &alice).await), (Ok(Some(owners)), (true, 1)));
    assert_eq!(bench.store.use_recovery_code(alice.account, Hash([9; 32])).await, Ok(false));
}

async fn a_step_is_used_once_and_never_a_lower_one(kind: Kind) {
    let mut bench = Bench::new(kind);
    let alice = bench.account(1, 1).await;
    let secret = factor(1, 0).secret;
    assert_eq!(bench.store.use_step(alice.account, secret, 7).await, Ok(false), "it is off");
    bench.store.put_factor(alice.account, None, factor(1, 100), codes(&[])).await.expect("put");
    assert_eq!(bench.store.use_step(alice.account, secret, 100).await, Ok(false));
    assert_eq!(bench.store.use_step(alice.account, secret, 102).await, Ok(true));
    bench.reopen().await;
    assert_eq!(bench.store.use_step(alice.account, secret, 102).await, Ok(false));
    assert_eq!(bench.store.use_step(alice.account, secret, 101).await, Ok(false));
    assert_eq!(bench.store.use_step(alice.account, factor(2, 0).secret, 103).await, Ok(false), "of a secret since replaced");
    assert_eq!(bench.store.use_step(alice.account, secret, 103).await, Ok(true));
    assert_eq!(bench.store.factor(alice.account).await, Ok(Some(factor(1, 103))));
}

async fn a_recovery_code_is_used_once(kind: Kind) {
    let mut bench = Bench::new(kind);
    let (alice, bob) = (bench.account(1, 1).await, bench.account(2, 1).await);
    for person in [&alice, &bob] {
        bench.store.put_factor(person.account, None, factor(1, 1), codes(&[1, 2])).await.expect("put");
    }
    assert_eq!(bench.store.use_recovery_code(alice.account, Hash([3; 32])).await, Ok(false));
    assert_eq!(bench.store.use_recovery_code(alice.account, Hash([2; 32])).await, Ok(true));
    bench.reopen().await;
    assert_eq!(bench.store.use_recovery_code(alice.account, Hash([2; 32])).await, Ok(false));
    assert_eq!((shown(&bench, &alice).await, shown(&bench, &bob).await), ((true, 1), (true, 2)));
}

async fn of_sixty_four_uses_at_once_one_wins(kind: Kind) {
    let bench = Bench::new(kind);
    let alice = bench.account(1, 1).await;
    bench.store.put_factor(alice.account, None, factor(1, 100), codes(&[1])).await.expect("put");
    let (mut steps, mut recoveries) = (JoinSet::new(), JoinSet::new());
    for _ in 0..64 {
        let (store, account) = (Arc::clone(&bench.store), alice.account);
        steps.spawn(async move { store.use_step(account, factor(1, 0).secret, 101).await });
        let store = Arc::clone(&bench.store);
        recoveries.spawn(async move { store.use_recovery_code(account, Hash([1; 32])).await });
    }
    for outcomes in [steps.join_all().await, recoveries.join_all().await] {
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == Ok(true)).count(), 1);
        assert_eq!(outcomes.iter().filter(|outcome| **outcome == Ok(false)).count(), 63);
    }
}

async fn a_recovery_turns_it_off_and_a_change_of_the_list_does_not(kind: Kind) {
    let bench = Bench::new(kind);
    let alice = bench.account(1, 2).await;
    let put = async || bench.store.put_factor(alice.account, None, factor(1, 100), codes(&[1])).await.expect("put");
    let replace = async |list: &Person, rule| bench.store.replace_list(list.list(), rule, NOW).await.expect("answered");
    put().await;
    let second = alice.next(&alice.devices[..1]);
    replace(&second, Successor::Next).await;
    let third = Person { epoch: 2, version: 1, ..second.clone() };
    replace(&third, Successor::Next).await;
    assert_eq!(shown(&bench, &alice).await, (true, 1));
    assert!(matches!(replace(&second, Successor::HigherEpoch).await, Replaced::Conflict(_)));
    assert_eq!(shown(&bench, &alice).await, (true, 1));
    // The words were given, whichever list stands already.
    replace(&third, Successor::HigherEpoch).await;
    assert_eq!(shown(&bench, &alice).await, (false, 0));
    put().await;
    replace(&Person { epoch: 3, ..third }, Successor::HigherEpoch).await;
    assert_eq!(shown(&bench, &alice).await, (false, 0));
}

async fn a_deleted_account_leaves_none(kind: Kind) {
    let bench = Bench::new(kind);
    let (alice, bob) = (bench.account(1, 1).await, bench.account(2, 1).await);
    for person in [&alice, &bob] {
        bench.store.put_factor(person.account, None, factor(1, 1), codes(&[1])).await.expect("put");
    }
    bench.store.delete_account(alice.account).await.expect("deleted");
    assert_eq!(bench.store.factor(alice.account).await, Ok(None));
    assert_eq!(bench.store.use_step(alice.account, factor(1, 0).secret, 9).await, Ok(false));
    assert_eq!(bench.store.put_factor(alice.account, None, factor(1, 1), codes(&[1])).await, Ok(false));
    bench.purge(0, 0, NOW).await;
    assert_eq!(bench.store.any_factor().await, Ok(Some((bob.account, factor(1, 0).secret))));
    // Nobody came for a year.
    bench.purge(0, u64::MAX >> 1, NOW + 400 * DAY).await;
    assert_eq!(bench.store.any_factor().await, Ok(None));
}
