//! Storing, reading, acknowledging; what is full and what is a repeat.

use restante::protocol::envelopes::Gap;
use restante::protocol::tokens::TokenKind;
use restante::protocol::{DeviceId, Seq};
use restante::store::{Acked, Enqueued, Successor};

use super::on_every_store;
use crate::support::bench::{Bench, DAY, Kind, NOW, body, device_id, queued, token};

on_every_store! {
    what_was_sent_waits_in_order_until_it_is_acknowledged
    an_acknowledgement_names_seqs_and_a_through
    a_seq_above_the_highest_given_is_refused_and_nothing_goes
    a_long_acknowledgement_hides_everything_at_once
    pages_go_by_count_bytes_and_after
    a_repeat_is_stored_once_while_it_waits_across_a_restart_too
    a_repeat_after_the_acknowledgement_is_known_for_its_time
    a_newcomers_mailbox_knows_nothing_of_a_removed_devices
    the_oldest_repeats_go_first_when_there_are_too_many
    a_token_holds_at_most_what_is_still_free
    a_tokens_bytes_are_at_most_the_free_bytes
    a_tokens_own_bound_is_kept
    a_mailbox_is_never_more_than_full
    one_full_device_does_not_stop_the_others
    a_once_token_takes_one_id_until_it_expires
    a_once_token_whose_send_was_refused_is_not_used
    a_send_for_another_list_stores_nothing
    a_send_by_a_token_that_is_not_good_stores_nothing
    nothing_past_its_expiry_is_returned
    what_expired_unread_stands_in_the_gap_until_that_is_acknowledged
    a_seq_is_never_given_twice
    an_unknown_device_has_nothing
}

async fn what_was_sent_waits_in_order_until_it_is_acknowledged(kind: Kind) {
    let mut bench = Bench::new(kind);
    let alice = bench.account(1, 2).await;
    for id in 1..=3 {
        assert_eq!(bench.send(alice.send(id)).await, queued());
    }
    for device in &alice.devices {
        let page = bench.waiting(*device, NOW).await;
        assert!(page.drained);
        assert_eq!(page.gap, None);
        let bodies: Vec<_> = page.envelopes.iter().map(|envelope| envelope.body.0.clone()).collect();
        assert_eq!(bodies, [body(1, 100), body(2, 100), body(3, 100)]);
        assert!(page.envelopes.is_sorted_by_key(|envelope| envelope.seq));
        assert_eq!((page.envelopes[0].wrap.0.as_slice(), page.envelopes[0].expires_at), ([7; 44].as_slice(), NOW + DAY));
    }
    bench.reopen().await;
    assert_eq!(bench.seqs(alice.devices[0], NOW).await, [1, 2, 3]);
    let acked = bench.store.ack(alice.devices[0], vec![], Some(Seq(3)), NOW).await;
    assert_eq!(acked, Ok(Acked::Removed(3)));
    assert_eq!(bench.seqs(alice.devices[0], NOW).await, Vec::<u64>::new());
    assert_eq!(bench.seqs(alice.devices[1], NOW).await, [1, 2, 3]);
    let again = bench.store.ack(alice.devices[0], vec![], Some(Seq(3)), NOW).await;
    assert_eq!(again, Ok(Acked::Removed(0)));
    bench.reopen().await;
    assert_eq!(bench.seqs(alice.devices[0], NOW).await, Vec::<u64>::new());
}

async fn an_acknowledgement_names_seqs_and_a_through(kind: Kind) {
    let bench = Bench::new(kind);
    let alice = bench.account(1, 1).await;
    for id in 1..=6 {
        bench.send(alice.send(id)).await;
    }
    let acked = bench.store.ack(alice.devices[0], vec![Seq(5), Seq(1), Seq(5)], Some(Seq(2)), NOW).await;
    assert_eq!(acked, Ok(Acked::Removed(3)));
    assert_eq!(bench.seqs(alice.devices[0], NOW).await, [3, 4, 6]);
    let totals = bench.store.totals().await.expect("totals");
    assert_eq!((totals.envelopes, totals.envelope_bytes), (3, 300));
}

async fn a_seq_above_the_highest_given_is_refused_and_nothing_goes(kind: Kind) {
    let bench = Bench::new(kind);
    let alice = bench.account(1, 1).await;
    bench.send(alice.send(1)).await;
    for (seqs, through) in [(vec![Seq(1), Seq(2)], None), (vec![Seq(1)], Some(Seq(2))), (vec![], Some(Seq(1 << 52)))] {
        assert_eq!(bench.store.ack(alice.devices[0], seqs, through, NOW).await, Ok(Acked::SeqNotGiven));
    }
    assert_eq!(bench.seqs(alice.devices[0], NOW).await, [1]);
    assert_eq!(bench.store.ack(alice.devices[0], vec![], Some(Seq(0)), NOW).await, Ok(Acked::Removed(0)));
}

async fn a_long_acknowledgement_hides_everything_at_once(kind: Kind) {
    let mut bench = Bench::new(kind);
    let alice = bench.account(1, 1).await;
    for id in 1..=500 {
        bench.send(alice.send(id)).await;
    }
    let device = alice.devices[0];
    assert_eq!(bench.store.ack(device, vec![Seq(499)], Some(Seq(498)), NOW).await, Ok(Acked::Removed(499)));
    assert_eq!(bench.seqs(device, NOW).await, [500]);
    let account = bench.store.account(alice.account, NOW).await.expect("answered").expect("there");
    assert_eq!((account.devices[0].envelopes, account.devices[0].bytes), (1, 100));
    assert_eq!(bench.store.totals().await.expect("totals").envelopes, 1);
    assert_eq!(bench.send(alice.send(7)).await, queued());
    assert_eq!(bench.seqs(device, NOW).await, [500], "a repeat of what is gone");
    bench.reopen().await;
    assert_eq!(bench.seqs(device, NOW).await, [500]);
    assert_eq!(bench.purge(NOW, 0, NOW).await, 0, "what was acknowledged is no gap");
    assert_eq!(bench.waiting(device, NOW).await.gap, None);
}

async fn pages_go_by_count_bytes_and_after(kind: Kind) {
    let bench = Bench::new(kind);
    let alice = bench.account(1, 1).await;
    for id in 1..=5 {
        bench.send(alice.send(id)).await;
    }
    let cases = [
        (0, 5, 1_000, vec![1, 2, 3, 4, 5], true),
        (0, 4, 1_000, vec![1, 2, 3, 4], false),
        (0, 5, 499, vec![1, 2, 3, 4], false),
        (0, 5, 500, vec![1, 2, 3, 4, 5], true),
        (0, 5, 1, vec![1], false),
        (3, 5, 1_000, vec![4, 5], true),
        (5, 5, 1_000, vec![], true),
        (99, 5, 1_000, vec![], true),
    ];
    for (after, limit, bytes_max, expected, drained) in cases {
        let page = bench.store.waiting(alice.devices[0], Seq(after), limit, bytes_max, NOW).await.expect("a page");
        let seqs: Vec<u64> = page.envelopes.iter().map(|envelope| envelope.seq.0).collect();
        assert_eq!((seqs, page.drained), (expected, drained), "after {after}, limit {limit}, bytes {bytes_max}");
    }
}

async fn a_repeat_is_stored_once_while_it_waits_across_a_restart_too(kind: Kind) {
    let mut bench = Bench::new(kind);
    let alice = bench.account(1, 2).await;
    assert_eq!(bench.send(alice.send(1)).await, queued());
    assert_eq!(bench.send(alice.send(1)).await, queued());
    bench.reopen().await;
    assert_eq!(bench.send(alice.send(1)).await, queued());
    assert_eq!(bench.seqs(alice.devices[0], NOW).await.len(), 1);
    // One device has it safe, the other still waits: neither gets it again.
    let seq = bench.seqs(alice.devices[0], NOW).await[0];
    bench.store.ack(alice.devices[0], vec![Seq(seq)], None, NOW).await.expect("acknowledged");
    assert_eq!(bench.send(alice.send(1)).await, queued());
    assert_eq!(bench.seqs(alice.devices[0], NOW).await, Vec::<u64>::new());
    assert_eq!(bench.seqs(alice.devices[1], NOW).await.len(), 1);
}

async fn a_repeat_after_the_acknowledgement_is_known_for_its_time(kind: Kind) {
    let bench = Bench::with(kind, |settings| settings.repeats_secs = 600);
    let alice = bench.account(1, 1).await;
    bench.send(alice.send(1)).await;
    bench.store.ack(alice.devices[0], vec![Seq(1)], None, NOW).await.expect("acknowledged");
    let mut again = alice.send(1);
    again.now = NOW + 599;
    assert_eq!(bench.send(again.clone()).await, queued());
    assert_eq!(bench.seqs(alice.devices[0], NOW).await, Vec::<u64>::new());
    again.now = NOW + 600;
    assert_eq!(bench.send(again).await, queued());
    assert_eq!(bench.seqs(alice.devices[0], NOW).await.len(), 1);
}

async fn the_oldest_repeats_go_first_when_there_are_too_many(kind: Kind) {
    let bench = Bench::with(kind, |settings| settings.repeats_max = 2);
    let alice = bench.account(1, 1).await;
    for id in 1..=3 {
        bench.send(alice.send(id)).await;
        bench.store.ack(alice.devices[0], vec![Seq(id)], None, NOW).await.expect("acknowledged");
    }
    bench.send(alice.send(3)).await;
    bench.send(alice.send(2)).await;
    assert_eq!(bench.seqs(alice.devices[0], NOW).await, Vec::<u64>::new());
    bench.send(alice.send(1)).await;
    assert_eq!(bench.seqs(alice.devices[0], NOW).await.len(), 1);
}

async fn a_token_holds_at_most_what_is_still_free(kind: Kind) {
    let mut bench = Bench::with(kind, |settings| settings.mailbox_envelopes_max = 9);
    let alice = bench.account(1, 1).await;
    let (greedy, other) = (alice.token, token(1, 1));
    bench.token(&alice, other, TokenKind::Contact, None, None).await;
    // 4 of 9 leave 5 free, a fifth would leave 4.
    for id in 1..=4 {
        assert_eq!(bench.send(alice.send_by(greedy, id, 10)).await, queued());
    }
    assert_eq!(bench.send(alice.send_by(greedy, 5, 10)).await, Enqueued::AllFull);
    assert_eq!(bench.send(alice.send_by(greedy, 4, 10)).await, queued(), "a repeat needs no room");
    // Another token: 2 held, 3 free; a third would leave 2.
    assert_eq!(bench.send(alice.send_by(other, 1, 10)).await, queued());
    assert_eq!(bench.send(alice.send_by(other, 2, 10)).await, queued());
    assert_eq!(bench.send(alice.send_by(other, 3, 10)).await, Enqueued::AllFull);
    // What is acknowledged is given back to the token it came by.
    bench.store.ack(alice.devices[0], vec![Seq(1), Seq(2)], None, NOW).await.expect("acknowledged");
    assert_eq!(bench.send(alice.send_by(greedy, 5, 10)).await, queued());
    // Which token it was is forgotten with the process.
    bench.reopen().await;
    assert_eq!(bench.send(alice.send_by(greedy, 6, 10)).await, queued());
}

async fn a_tokens_bytes_are_at_most_the_free_bytes(kind: Kind) {
    let bench = Bench::with(kind, |settings| settings.mailbox_bytes_max = 1_000);
    let alice = bench.account(1, 1).await;
    assert_eq!(bench.send(alice.send_by(alice.token, 1, 501)).await, Enqueued::AllFull);
    assert_eq!(bench.send(alice.send_by(alice.token, 1, 500)).await, queued());
    assert_eq!(bench.send(alice.send_by(alice.token, 2, 1)).await, Enqueued::AllFull);
}

async fn a_tokens_own_bound_is_kept(kind: Kind) {
    let bench = Bench::new(kind);
    let alice = bench.account(1, 1).await;
    let lean = token(1, 1);
    bench.token(&alice, lean, TokenKind::Contact, None, Some(2)).await;
    assert_eq!(bench.send(alice.send_by(lean, 1, 10)).await, queued());
    assert_eq!(bench.send(alice.send_by(lean, 2, 10)).await, queued());
    assert_eq!(bench.send(alice.send_by(lean, 3, 10)).await, Enqueued::AllFull);
    assert_eq!(bench.send(alice.send(3)).await, queued());
    bench.store.ack(alice.devices[0], vec![Seq(2)], None, NOW).await.expect("acknowledged");
    assert_eq!(bench.send(alice.send_by(lean, 3, 10)).await, queued());
}

async fn a_mailbox_is_never_more_than_full(kind: Kind) {
    let bench = Bench::with(kind, |settings| settings.mailbox_envelopes_max = 20);
    let alice = bench.account(1, 1).await;
    let mut stored = 0;
    for number in 1..=40 {
        bench.token(&alice, token(1, number), TokenKind::Contact, None, None).await;
        for id in 0..20 {
            stored += u64::from(bench.send(alice.send_by(token(1, number), id, 10)).await == queued());
        }
    }
    // Each token leaves free at least as much as it holds, so the last place is never taken.
    assert_eq!(stored, 19);
    assert_eq!(bench.seqs(alice.devices[0], NOW).await.len(), 19);
}

async fn one_full_device_does_not_stop_the_others(kind: Kind) {
    let bench = Bench::with(kind, |settings| settings.mailbox_envelopes_max = 3);
    let alice = bench.account(1, 2).await;
    let mut first = alice.send(1);
    first.envelopes.truncate(1);
    assert_eq!(bench.send(first).await, queued());
    assert_eq!(bench.send(alice.send(2)).await, Enqueued::Queued { full: vec![alice.devices[0]] });
    assert_eq!(bench.send(alice.send(2)).await, Enqueued::Queued { full: vec![alice.devices[0]] }, "and again");
    assert_eq!(bench.seqs(alice.devices[1], NOW).await.len(), 1);
    assert_eq!(bench.send(alice.send(3)).await, Enqueued::AllFull);
    // The retry of a send that one device refused reaches that one once it has room, and the other not twice.
    bench.store.ack(alice.devices[0], vec![Seq(1)], None, NOW).await.expect("acknowledged");
    assert_eq!(bench.send(alice.send(2)).await, queued());
    assert_eq!(bench.seqs(alice.devices[0], NOW).await, [2]);
    assert_eq!(bench.seqs(alice.devices[1], NOW).await, [1]);
}

async fn a_once_token_takes_one_id_until_it_expires(kind: Kind) {
    let mut bench = Bench::new(kind);
    let alice = bench.account(1, 1).await;
    let once = token(1, 1);
    bench.token(&alice, once, TokenKind::Once, Some(NOW + DAY), None).await;
    assert_eq!(bench.send(alice.send_by(once, 1, 10)).await, queued());
    assert_eq!(bench.send(alice.send_by(once, 2, 10)).await, Enqueued::NoSuchToken);
    assert_eq!(bench.send(alice.send_by(once, 1, 10)).await, queued());
    assert!(bench.store.route(once, NOW).await.expect("answered").is_some(), "its prekeys can still be asked for");
    let page = bench.store.tokens(alice.account, None, 10, NOW).await.expect("a page");
    assert!(page.tokens.iter().any(|token| token.hash == once && token.used));
    bench.store.ack(alice.devices[0], vec![Seq(1)], None, NOW).await.expect("acknowledged");
    bench.reopen().await;
    assert_eq!(bench.send(alice.send_by(once, 2, 10)).await, Enqueued::NoSuchToken);
    let mut late = alice.send_by(once, 1, 10);
    late.now = NOW + DAY;
    assert_eq!(bench.send(late).await, Enqueued::NoSuchToken);
    assert_eq!(bench.store.route(once, NOW + DAY).await, Ok(None));
}

async fn a_once_token_whose_send_was_refused_is_not_used(kind: Kind) {
    let bench = Bench::with(kind, |settings| settings.mailbox_envelopes_max = 3);
    let alice = bench.account(1, 1).await;
    let once = token(1, 1);
    bench.token(&alice, once, TokenKind::Once, Some(NOW + DAY), None).await;
    bench.send(alice.send(1)).await;
    bench.token(&alice, token(1, 2), TokenKind::Contact, None, None).await;
    assert_eq!(bench.send(alice.send_by(token(1, 2), 2, 10)).await, queued());
    assert_eq!(bench.send(alice.send_by(once, 1, 10)).await, Enqueued::AllFull);
    bench.store.ack(alice.devices[0], vec![Seq(1)], None, NOW).await.expect("acknowledged");
    assert_eq!(bench.send(alice.send_by(once, 2, 10)).await, queued());
}

async fn a_send_for_another_list_stores_nothing(kind: Kind) {
    let bench = Bench::new(kind);
    let alice = bench.account(1, 1).await;
    for (epoch, version) in [(1, 2), (2, 1), (0, 1), (1, 0)] {
        let mut send = alice.send(1);
        (send.list.epoch, send.list.version) = (epoch, version);
        assert_eq!(bench.send(send).await, Enqueued::ListChanged);
    }
    assert_eq!(bench.seqs(alice.devices[0], NOW).await, Vec::<u64>::new());
}

async fn a_send_by_a_token_that_is_not_good_stores_nothing(kind: Kind) {
    let bench = Bench::new(kind);
    let alice = bench.account(1, 1).await;
    assert_eq!(bench.send(alice.send_by(token(1, 9), 1, 10)).await, Enqueued::NoSuchToken);
    bench.token(&alice, token(1, 2), TokenKind::Contact, Some(NOW + DAY), None).await;
    let mut send = alice.send_by(token(1, 2), 1, 10);
    send.now = NOW + DAY - 1;
    assert_eq!(bench.send(send.clone()).await, queued());
    send.now = NOW + DAY;
    assert_eq!(bench.send(send).await, Enqueued::NoSuchToken);
    assert_eq!(bench.store.revoke_tokens(alice.account, vec![alice.token]).await, Ok(1));
    assert_eq!(bench.send(alice.send(3)).await, Enqueued::NoSuchToken);
    assert_eq!(bench.seqs(alice.devices[0], NOW).await.len(), 1);
}

async fn nothing_past_its_expiry_is_returned(kind: Kind) {
    let bench = Bench::new(kind);
    let alice = bench.account(1, 1).await;
    let mut short = alice.send(1);
    short.envelopes[0].expires_at = NOW + 3_600;
    bench.send(short).await;
    bench.send(alice.send(2)).await;
    assert_eq!(bench.seqs(alice.devices[0], NOW + 3_599).await, [1, 2]);
    assert_eq!(bench.seqs(alice.devices[0], NOW + 3_600).await, [2]);
    let account = bench.store.account(alice.account, NOW + 3_600).await.expect("answered").expect("there");
    assert_eq!(account.devices[0].envelopes, 1);
}

async fn what_expired_unread_stands_in_the_gap_until_that_is_acknowledged(kind: Kind) {
    let mut bench = Bench::new(kind);
    let alice = bench.account(1, 1).await;
    let device = alice.devices[0];
    for id in 1..=4 {
        let mut send = alice.send(id);
        if id != 2 {
            send.envelopes[0].expires_at = NOW + 3_600;
        }
        bench.send(send).await;
    }
    assert_eq!(bench.purge(NOW + 3_599, 0, NOW).await, 0);
    assert_eq!(bench.purge(NOW + 3_600, 0, NOW + 3_600).await, 3);
    let gap = Some(Gap { count: 3, through: Seq(4) });
    assert_eq!(bench.waiting(device, NOW).await.gap, gap);
    bench.store.ack(device, vec![Seq(2)], Some(Seq(3)), NOW).await.expect("acknowledged");
    assert_eq!(bench.waiting(device, NOW).await.gap, gap, "below its through");
    bench.reopen().await;
    assert_eq!(bench.store.waiting(device, Seq(9), 1, 1, NOW).await.expect("a page").gap, gap, "whatever `after`");
    assert_eq!(bench.store.ack(device, vec![Seq(4)], None, NOW).await, Ok(Acked::Removed(0)));
    assert_eq!(bench.waiting(device, NOW).await.gap, None);
    bench.reopen().await;
    assert_eq!(bench.waiting(device, NOW).await.gap, None);
}

async fn a_seq_is_never_given_twice(kind: Kind) {
    let mut bench = Bench::new(kind);
    let alice = bench.account(1, 1).await;
    let mut highest = 0;
    for id in 1..=200 {
        bench.send(alice.send(id)).await;
        let seqs = bench.seqs(alice.devices[0], NOW).await;
        assert!(seqs.len() == 1 && seqs[0] > highest, "{seqs:?} after {highest}");
        highest = seqs[0];
        bench.store.ack(alice.devices[0], seqs.into_iter().map(Seq).collect(), None, NOW).await.expect("acknowledged");
        if id % 70 == 0 {
            bench.reopen().await;
        }
    }
}

async fn an_unknown_device_has_nothing(kind: Kind) {
    let bench = Bench::new(kind);
    let nobody = DeviceId([9; 32]);
    let page = bench.waiting(nobody, NOW).await;
    assert!(page.envelopes.is_empty() && page.drained && page.gap.is_none());
    assert_eq!(bench.store.ack(nobody, vec![Seq(1)], None, NOW).await, Ok(Acked::Removed(0)));
}

/// The newest mailbox's number was given again once it was removed, and what had been acknowledged there counted as a repeat
/// here: accepted, and stored nowhere.
async fn a_newcomers_mailbox_knows_nothing_of_a_removed_devices(kind: Kind) {
    let mut bench = Bench::new(kind);
    let alice = bench.account(1, 2).await;
    // Nor of one that was there before the relay started.
    bench.reopen().await;
    assert_eq!(bench.send(alice.send(1)).await, queued());
    assert_eq!(bench.store.ack(alice.devices[1], vec![Seq(1)], None, NOW).await, Ok(Acked::Removed(1)));
    let fewer = alice.next(&alice.devices[..1]);
    bench.store.replace_list(fewer.list(), Successor::Next, NOW).await.expect("replaced");
    // The removed device's rows are gone, its mailbox's among them.
    bench.purge(NOW, 0, NOW).await;
    let newcomer = device_id(1, 9);
    let more = fewer.next(&[alice.devices[0], newcomer]);
    bench.store.replace_list(more.list(), Successor::Next, NOW).await.expect("replaced");
    assert_eq!(bench.send(more.send(1)).await, queued());
    assert_eq!(bench.seqs(newcomer, NOW).await.len(), 1);
    assert_eq!(bench.seqs(alice.devices[0], NOW).await.len(), 1, "a repeat there");
}
