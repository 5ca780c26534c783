//! Accounts as the operator deals with them: the pages of the list, and what a suspended one takes.

use restante::protocol::AccountId;
use restante::store::{AccountItem, AccountPage, Enqueued};

use super::on_every_store;
use crate::support::bench::{Bench, DAY, Kind, NOW, queued};

on_every_store! {
    accounts_are_listed_in_pages_with_how_much_they_have
    a_suspended_account_takes_nothing_and_loses_nothing
}

const WEEK: u64 = NOW / 604_800;
const FIRST: AccountId = AccountId([0; 32]);

async fn accounts_are_listed_in_pages_with_how_much_they_have(kind: Kind) {
    let bench = Bench::new(kind);
    assert_eq!(bench.store.accounts(FIRST, 10, NOW).await, Ok(AccountPage { accounts: vec![], next: None }));
    let mut people = Vec::new();
    for name in 1..=3 {
        people.push(bench.account(name, name).await);
    }
    people.sort_by_key(|person| person.account);
    for id in 1..=2 {
        assert_eq!(bench.send(people[0].send(id)).await, queued());
    }
    bench.store.ack(people[0].devices[0], vec![], Some(restante::protocol::Seq(1)), NOW).await.expect("acknowledged");
    bench.store.visited(people[0].devices[0], WEEK + 3).await.expect("noted");
    let devices = people[0].devices.len() as u64;
    let page = bench.store.accounts(FIRST, 2, NOW).await.expect("a page");
    let item = AccountItem {
        account: people[0].account,
        devices,
        envelopes: 2 * devices - 1,
        bytes: page.accounts[0].bytes,
        tokens: 1,
        seen_week: WEEK + 3,
        suspended: false,
    };
    assert_eq!(page.accounts[0], item);
    assert_eq!(page.accounts[0].bytes % item.envelopes, 0);
    assert_eq!((page.accounts.len(), page.accounts[1].account, page.next), (2, people[1].account, Some(people[2].account)));
    let rest = bench.store.accounts(people[2].account, 2, NOW).await.expect("a page");
    assert_eq!((rest.accounts.len(), rest.accounts[0].account, rest.next), (1, people[2].account, None));
    // What has expired is nobody's any more, purged or not.
    let later = bench.store.accounts(FIRST, 1, NOW + 8 * DAY).await.expect("a page");
    assert_eq!((later.accounts[0].envelopes, later.accounts[0].bytes), (0, 0));
    bench.store.delete_account(people[0].account).await.expect("deleted");
    let left = bench.store.accounts(FIRST, 10, NOW).await.expect("a page");
    assert_eq!(left.accounts.len(), 2);
}

async fn a_suspended_account_takes_nothing_and_loses_nothing(kind: Kind) {
    let mut bench = Bench::new(kind);
    let (alice, bob) = (bench.account(1, 2).await, bench.account(2, 1).await);
    assert_eq!(bench.send(alice.send(1)).await, queued());
    assert_eq!(bench.store.suspend(AccountId([9; 32]), true).await, Ok(None));
    for _ in 0..2 {
        assert_eq!(bench.store.suspend(alice.account, true).await, Ok(Some(alice.devices.clone())));
        assert!(bench.store.device(alice.devices[0]).await.expect("answered").expect("known").suspended);
        assert!(!bench.store.device(bob.devices[0]).await.expect("answered").expect("known").suspended);
        // A repeat of what waits already is answered as a new one would be.
        assert_eq!([bench.send(alice.send(1)).await, bench.send(alice.send(2)).await], [Enqueued::AllFull, Enqueued::AllFull]);
        assert_eq!(bench.send(bob.send(1)).await, queued());
        assert_eq!(bench.seqs(alice.devices[0], NOW).await, [1]);
        assert!(bench.store.route(alice.token, NOW).await.expect("answered").is_some());
        let listed = bench.store.accounts(alice.account, 1, NOW).await.expect("a page");
        assert!(listed.accounts[0].suspended);
        bench.reopen().await;
    }
    for _ in 0..2 {
        assert_eq!(bench.store.suspend(alice.account, false).await, Ok(Some(alice.devices.clone())));
        assert!(!bench.store.device(alice.devices[0]).await.expect("answered").expect("known").suspended);
    }
    assert_eq!(bench.send(alice.send(2)).await, queued());
    assert_eq!(bench.seqs(alice.devices[0], NOW).await.len(), 2);
    // Suspended, and deleted: an account that comes back is not suspended.
    bench.store.suspend(bob.account, true).await.expect("suspended");
    bench.store.delete_account(bob.account).await.expect("deleted");
    assert_eq!(bench.store.suspend(bob.account, false).await, Ok(None));
}
