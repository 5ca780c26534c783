//! Prekeys, passes, purge, totals, the clock's mark, the listener, closing.

use std::sync::{Arc, Mutex};

use restante::protocol::keys::Prekey;
use restante::protocol::tokens::TokenKind;
use restante::protocol::{DeviceId, Hash, SealingKey, Seq, Signature};
use restante::store::{KeptNotice, PassItem, StoreError, Successor};

use super::on_every_store;
use crate::support::bench::{Bench, DAY, Kind, NOW, queued, token};

on_every_store! {
    a_prekey_is_replaced_and_expires
    passes_are_shown_while_they_are_good
    one_notice_stands_until_it_is_taken_back
    a_purge_removes_exactly_what_has_expired
    a_purge_goes_in_slices
    a_purge_removes_accounts_that_nobody_visits
    the_latest_time_is_kept
    the_listener_hears_of_everything_that_appears
    a_closed_store_answers_that_it_is_closing
    a_purge_that_ended_is_noted
    sixty_four_senders_at_once_fill_a_mailbox_exactly
}

async fn a_prekey_is_replaced_and_expires(kind: Kind) {
    let mut bench = Bench::new(kind);
    let alice = bench.account(1, 3).await;
    let key = |device: usize, byte, expires_at| Prekey {
        device: alice.devices[device],
        prekey: SealingKey([byte; 32]),
        expires_at,
        signature: Signature([byte; 64]),
    };
    assert_eq!(bench.store.put_prekey(key(1, 1, NOW + 1)).await, Ok(true));
    assert_eq!(bench.store.put_prekey(key(1, 2, NOW + DAY)).await, Ok(true));
    assert_eq!(bench.store.put_prekey(key(0, 3, NOW + 10)).await, Ok(true));
    let nobody = Prekey { device: DeviceId([9; 32]), ..key(0, 4, NOW + DAY) };
    assert_eq!(bench.store.put_prekey(nobody).await, Ok(false));
    bench.reopen().await;
    let list = alice.list().signed;
    let both = Some((list.clone(), vec![key(0, 3, NOW + 10), key(1, 2, NOW + DAY)]));
    assert_eq!(bench.store.prekeys(alice.account, NOW + 9).await, Ok(both));
    let one = Some((list, vec![key(1, 2, NOW + DAY)]));
    assert_eq!(bench.store.prekeys(alice.account, NOW + 10).await, Ok(one));
    let held = bench.store.account(alice.account, NOW + 10).await.expect("answered").expect("there");
    let expiries: Vec<_> = held.devices.iter().map(|device| device.prekey_expires_at).collect();
    assert_eq!(expiries, [None, Some(NOW + DAY), None]);
    let next = alice.next(&alice.devices[..1]);
    bench.store.replace_list(next.list(), Successor::Next, NOW).await.expect("answered");
    let keys = bench.store.prekeys(alice.account, NOW).await.expect("answered").expect("there").1;
    assert_eq!(keys, [key(0, 3, NOW + 10)]);
}

async fn passes_are_shown_while_they_are_good(kind: Kind) {
    let bench = Bench::new(kind);
    let pass = |byte, uses_left, expires_at| PassItem { hash: Hash([byte; 32]), uses_left, expires_at };
    for item in [pass(1, 1, NOW + DAY), pass(2, 3, NOW + 2 * DAY), pass(3, 0, NOW + DAY)] {
        bench.store.add_pass(item).await.expect("added");
    }
    bench.store.add_pass(pass(1, 9, NOW + 9 * DAY)).await.expect("changes nothing");
    let both = vec![pass(1, 1, NOW + DAY), pass(2, 3, NOW + 2 * DAY)];
    assert_eq!(bench.store.passes(NOW + DAY - 1).await, Ok(both));
    assert_eq!(bench.store.passes(NOW + DAY).await, Ok(vec![pass(2, 3, NOW + 2 * DAY)]));
    assert_eq!(bench.store.revoke_pass(Hash([2; 32])).await, Ok(true));
    assert_eq!(bench.store.revoke_pass(Hash([2; 32])).await, Ok(false));
    assert_eq!(bench.store.passes(NOW + DAY).await, Ok(vec![]));
}

async fn one_notice_stands_until_it_is_taken_back(kind: Kind) {
    let mut bench = Bench::new(kind);
    let notice = |text: &str, set_at| Some(KeptNotice { text: text.into(), set_at });
    assert_eq!(bench.store.notice().await, Ok(None));
    assert_eq!(bench.store.put_notice(None).await, Ok(false));
    assert_eq!(bench.store.put_notice(notice("one", NOW)).await, Ok(false));
    assert_eq!(bench.store.put_notice(notice("two\nlines, grüße", NOW + 1)).await, Ok(true));
    bench.reopen().await;
    assert_eq!(bench.store.notice().await, Ok(notice("two\nlines, grüße", NOW + 1)));
    assert_eq!(bench.store.put_notice(None).await, Ok(true));
    assert_eq!(bench.store.notice().await, Ok(None));
    bench.reopen().await;
    assert_eq!(bench.store.notice().await, Ok(None));
}

async fn a_purge_removes_exactly_what_has_expired(kind: Kind) {
    let mut bench = Bench::new(kind);
    let alice = bench.account(1, 1).await;
    for (id, hours) in [(1, 1), (2, 2), (3, 3)] {
        let mut send = alice.send(id);
        send.envelopes[0].expires_at = NOW + hours * 3_600;
        bench.send(send).await;
    }
    bench.token(&alice, token(1, 1), TokenKind::Once, Some(NOW + 7_200), None).await;
    bench.store.add_pass(PassItem { hash: Hash([1; 32]), uses_left: 1, expires_at: NOW + 7_200 }).await.expect("added");
    for (cutoff, envelopes, mostly) in [(0, 0, false), (NOW + 7_199, 1, false), (NOW + 7_200, 2, true)] {
        let preview = bench.store.purge_preview(cutoff).await.expect("a preview");
        assert_eq!((preview.envelopes, preview.bytes, preview.waiting), (envelopes, envelopes * 100, 3));
        assert_eq!(bench.store.mostly_expired(cutoff, 2).await, Ok(mostly));
        assert_eq!(bench.store.mostly_expired(cutoff, 3).await, Ok(false), "no more than 3 wait");
    }
    assert_eq!(bench.store.totals().await.expect("totals").first_expires_at, Some(NOW + 3_600));
    let slice = bench.store.purge_slice(NOW + 7_199, 0, NOW + 7_199).await.expect("a slice");
    assert_eq!((slice.envelopes, slice.bytes, slice.others), (1, 100, 0));
    let slice = bench.store.purge_slice(NOW + 7_200, 0, NOW + 7_200).await.expect("a slice");
    assert_eq!((slice.envelopes, slice.bytes), (1, 100));
    bench.purge(NOW + 7_200, 0, NOW + 7_200).await;
    let totals = bench.store.totals().await.expect("totals");
    assert_eq!((totals.envelopes, totals.envelope_bytes, totals.tokens), (1, 100, 1));
    assert_eq!(totals.first_expires_at, Some(NOW + 10_800));
    assert_eq!(bench.store.passes(0).await, Ok(vec![]));
    // Nobody saw what was purged: it is no repeat, or its sender would be told that it waits when nothing does.
    let mut again = alice.send(2);
    again.now = NOW + 7_200;
    assert_eq!(bench.send(again).await, queued());
    assert_eq!(bench.seqs(alice.devices[0], NOW).await, [3, 4]);
    bench.reopen().await;
    assert_eq!(bench.store.totals().await.expect("totals").envelopes, 2);
}

async fn a_purge_goes_in_slices(kind: Kind) {
    let bench = Bench::new(kind);
    let alice = bench.account(1, 2).await;
    for id in 0..200 {
        bench.send(alice.send(id)).await;
    }
    let (mut removed, mut slices) = (0, 0);
    loop {
        let slice = bench.store.purge_slice(NOW + DAY, 0, NOW + DAY).await.expect("a slice");
        assert!(slice.envelopes <= 128);
        removed += slice.envelopes;
        slices += 1;
        if slice.done {
            break;
        }
    }
    assert_eq!(removed, 400);
    assert!(slices >= 4);
    for device in alice.devices {
        let gap = bench.waiting(device, NOW).await.gap.expect("a gap");
        assert_eq!((gap.count, gap.through), (200, Seq(200)));
    }
}

async fn a_purge_removes_accounts_that_nobody_visits(kind: Kind) {
    let bench = Bench::new(kind);
    let (alice, bob) = (bench.account(1, 2).await, bench.account(2, 1).await);
    let week = NOW / 604_800;
    bench.store.visited(alice.devices[1], week + 1).await.expect("noted");
    bench.send(bob.send(1)).await;
    bench.purge(0, week, NOW).await;
    assert_eq!(bench.store.totals().await.expect("totals").accounts, 2);
    bench.purge(0, week + 1, NOW).await;
    assert!(bench.store.account(alice.account, NOW).await.expect("answered").is_some(), "one of its devices came");
    assert!(bench.store.account(bob.account, NOW).await.expect("answered").is_none());
    assert_eq!(bench.store.route(bob.token, NOW).await, Ok(None));
    let totals = bench.store.totals().await.expect("totals");
    assert_eq!((totals.accounts, totals.devices, totals.tokens, totals.envelopes), (1, 2, 1, 0));
}

async fn the_latest_time_is_kept(kind: Kind) {
    let mut bench = Bench::new(kind);
    assert_eq!(bench.store.clock_mark(0).await, Ok(0));
    assert_eq!(bench.store.clock_mark(NOW).await, Ok(NOW));
    assert_eq!(bench.store.clock_mark(NOW - 1).await, Ok(NOW));
    bench.reopen().await;
    assert_eq!(bench.store.clock_mark(0).await, Ok(NOW));
}

async fn the_listener_hears_of_everything_that_appears(kind: Kind) {
    let bench = Bench::new(kind);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&heard);
    bench.store.on_commit(Arc::new(move |devices| listener.lock().expect("no panic").extend_from_slice(devices)));
    let take = || std::mem::take(&mut *heard.lock().expect("no panic"));
    let alice = bench.account(1, 2).await;
    assert_eq!(take(), []);
    bench.send(alice.send(1)).await;
    assert_eq!(take(), alice.devices);
    bench.send(alice.send(1)).await;
    assert_eq!(take(), [], "a repeat brings nothing");
    bench.purge(NOW + DAY, 0, NOW).await;
    assert_eq!(take(), alice.devices, "a gap is something to tell");
}

async fn a_closed_store_answers_that_it_is_closing(kind: Kind) {
    let bench = Bench::new(kind);
    let alice = bench.account(1, 1).await;
    assert!(bench.store.route(alice.token, NOW).await.expect("it is open").is_some());
    bench.store.close().await;
    assert_eq!(bench.store.probe().await, Err(StoreError::Closing));
    assert_eq!(bench.store.enqueue(alice.send(1)).await, Err(StoreError::Closing));
    assert_eq!(bench.store.waiting(alice.devices[0], Seq(0), 1, 1, NOW).await, Err(StoreError::Closing));
    assert_eq!(bench.store.route(alice.token, NOW).await, Err(StoreError::Closing));
    bench.store.close().await;
}

async fn a_purge_that_ended_is_noted(kind: Kind) {
    let mut bench = Bench::new(kind);
    assert_eq!(bench.store.totals().await.expect("totals").purged_at, None);
    bench.store.purged(NOW).await.expect("noted");
    bench.reopen().await;
    assert_eq!(bench.store.totals().await.expect("totals").purged_at, Some(NOW));
}

async fn sixty_four_senders_at_once_fill_a_mailbox_exactly(kind: Kind) {
    let bench = Bench::with(kind, |settings| settings.mailbox_envelopes_max = 100);
    let alice = bench.account(1, 1).await;
    // A share of one each: what is left over is decided by the mailbox's limit alone.
    for number in 1..=128 {
        bench.token(&alice, token(1, number), TokenKind::Contact, None, Some(1)).await;
    }
    let senders: Vec<_> = (0..64)
        .map(|sender| {
            let (store, alice) = (Arc::clone(&bench.store), alice.clone());
            tokio::spawn(async move {
                let mut stored = 0;
                for number in [2 * sender + 1, 2 * sender + 2] {
                    let outcome = store.enqueue(alice.send_by(token(1, number), 1, 10)).await;
                    stored += u64::from(outcome.expect("answered") == queued());
                }
                stored
            })
        })
        .collect();
    let mut stored = 0;
    for sender in senders {
        stored += sender.await.expect("no sender panics");
    }
    // The hundredth would leave its token with one and nobody with any: 99 it is.
    assert_eq!(stored, 99);
    let page = bench.store.waiting(alice.devices[0], Seq(0), 200, 1 << 20, NOW).await.expect("a page");
    assert_eq!(page.envelopes.iter().map(|envelope| envelope.seq.0).collect::<Vec<_>>(), (1..=99).collect::<Vec<_>>());
    assert_eq!(bench.store.totals().await.expect("totals").envelopes, 99);
}
