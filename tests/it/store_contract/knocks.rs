//! Knocks: a room of their own beside the mailbox, and tokens that are used up.

use restante::protocol::Seq;
use restante::protocol::tokens::{TokenItem, TokenKind};
use restante::store::{Acked, Enqueued, TokenAdded};

use super::on_every_store;
use crate::support::bench::{Bench, DAY, Kind, NOW, Person, queued, token};

on_every_store! {
    knocks_take_no_contacts_place
    so_many_of_one_token_and_so_many_in_all
    the_room_for_knocks_is_as_full_after_a_restart
    a_knock_token_takes_as_many_ids_as_it_has_uses
    a_use_is_taken_once_where_only_some_devices_had_room
    uses_belong_to_what_a_token_is
    what_was_knocked_with_counts_for_no_contact
}

fn knock(number: u16, uses: Option<u64>) -> TokenItem {
    let (hash, kind) = (token(1, number), TokenKind::Knock);
    TokenItem { hash, kind, expires_at: None, envelopes_max: None, used: false, uses_left: uses }
}

async fn add(bench: &Bench, who: &Person, item: TokenItem) {
    assert_eq!(bench.store.add_token(who.account, item, 10_000, NOW).await, Ok(TokenAdded::Added));
}

async fn uses_left(bench: &Bench, who: &Person, number: u16) -> Option<u64> {
    let page = bench.store.tokens(who.account, None, 100, NOW).await.expect("a page");
    page.tokens.iter().find(|item| item.hash == token(1, number)).expect("the token").uses_left
}

async fn knocks_take_no_contacts_place(kind: Kind) {
    let bench = Bench::with(kind, |settings| {
        settings.mailbox_envelopes_max = 4;
        settings.mailbox_bytes_max = 1_000;
        settings.knocks_max = 10;
    });
    let alice = bench.account(1, 1).await;
    add(&bench, &alice, knock(1, None)).await;
    for id in 0..10 {
        assert_eq!(bench.send(alice.send_by(token(1, 1), id, 400)).await, queued(), "knock {id}");
    }
    assert_eq!(bench.send(alice.send_by(token(1, 1), 10, 400)).await, Enqueued::AllFull);
    // Two of four, as in an empty mailbox: a token may hold no more than is free.
    for id in 0..2 {
        assert_eq!(bench.send(alice.send(id)).await, queued(), "envelope {id}");
    }
    assert_eq!(bench.send(alice.send(2)).await, Enqueued::AllFull);
    assert_eq!(bench.seqs(alice.devices[0], NOW).await, (1..=12).collect::<Vec<u64>>(), "all in one order");
    assert_eq!(bench.store.ack(alice.devices[0], vec![], Some(Seq(3)), NOW).await, Ok(Acked::Removed(3)));
    assert_eq!(bench.send(alice.send(2)).await, Enqueued::AllFull, "room for knocks is no room for others");
    for id in 11..14 {
        assert_eq!(bench.send(alice.send_by(token(1, 1), id, 400)).await, queued());
    }
    assert_eq!(bench.send(alice.send_by(token(1, 1), 14, 400)).await, Enqueued::AllFull);
}

async fn so_many_of_one_token_and_so_many_in_all(kind: Kind) {
    let bench = Bench::with(kind, |settings| {
        settings.knocks_token_max = 3;
        settings.knocks_max = 5;
    });
    let alice = bench.account(1, 1).await;
    for number in 1..=3 {
        add(&bench, &alice, knock(number, None)).await;
    }
    add(&bench, &alice, TokenItem { envelopes_max: Some(1), ..knock(4, None) }).await;
    let send = async |number: u16, id: u64| bench.send(alice.send_by(token(1, number), id, 100)).await;
    for id in 0..3 {
        assert_eq!(send(1, id).await, queued());
    }
    assert_eq!(send(1, 3).await, Enqueued::AllFull, "of one token");
    assert_eq!(send(1, 2).await, queued(), "a repeat");
    assert_eq!((send(4, 1).await, send(4, 2).await), (queued(), Enqueued::AllFull), "of one that was lowered");
    assert_eq!((send(2, 1).await, send(3, 1).await), (queued(), Enqueued::AllFull), "of all");
    bench.store.ack(alice.devices[0], vec![Seq(1)], None, NOW).await.expect("answered");
    assert_eq!((send(1, 4).await, send(2, 2).await), (queued(), Enqueued::AllFull));
}

async fn the_room_for_knocks_is_as_full_after_a_restart(kind: Kind) {
    let mut bench = Bench::with(kind, |settings| {
        settings.knocks_token_max = 2;
        settings.knocks_max = 3;
        settings.mailbox_envelopes_max = 3;
    });
    let alice = bench.account(1, 1).await;
    add(&bench, &alice, knock(1, None)).await;
    for id in 0..2 {
        assert_eq!(bench.send(alice.send_by(token(1, 1), id, 100)).await, queued());
    }
    bench.reopen().await;
    assert_eq!(bench.send(alice.send_by(token(1, 1), 2, 100)).await, queued(), "which were its own is forgotten");
    assert_eq!(bench.send(alice.send_by(token(1, 1), 3, 100)).await, Enqueued::AllFull, "how many there are is not");
    assert_eq!(bench.send(alice.send(1)).await, queued(), "and they are still in nobody's way");
    assert_eq!(bench.purge(NOW + DAY, 0, NOW + DAY).await, 4);
    let mut later = alice.send_by(token(1, 1), 4, 100);
    later.now = NOW + DAY;
    assert_eq!(bench.send(later).await, queued());
}

async fn a_knock_token_takes_as_many_ids_as_it_has_uses(kind: Kind) {
    let mut bench = Bench::new(kind);
    let alice = bench.account(1, 2).await;
    add(&bench, &alice, knock(1, Some(2))).await;
    let by = |id| alice.send_by(token(1, 1), id, 100);
    assert_eq!((bench.send(by(1)).await, bench.send(by(1)).await), (queued(), queued()));
    assert_eq!(uses_left(&bench, &alice, 1).await, Some(1), "one id, one use");
    assert_eq!(bench.send(by(2)).await, queued());
    assert_eq!((bench.send(by(3)).await, uses_left(&bench, &alice, 1).await), (Enqueued::NoSuchToken, Some(0)));
    bench.reopen().await;
    assert_eq!((bench.send(by(3)).await, bench.send(by(2)).await), (Enqueued::NoSuchToken, queued()), "a retry is answered");
    for device in &alice.devices {
        assert_eq!(bench.seqs(*device, NOW).await.len(), 2);
        bench
            .store
            .ack(*device, bench.seqs(*device, NOW).await.into_iter().map(Seq).collect(), None, NOW)
            .await
            .expect("acked");
    }
    assert_eq!((bench.send(by(2)).await, bench.send(by(4)).await), (queued(), Enqueued::NoSuchToken));
    bench.reopen().await;
    assert_eq!(bench.send(by(2)).await, Enqueued::NoSuchToken, "nobody knows it any more");
    assert!(bench.store.route(token(1, 1), NOW).await.expect("answered").is_some(), "and it leads where it led");
}

async fn a_use_is_taken_once_where_only_some_devices_had_room(kind: Kind) {
    let bench = Bench::with(kind, |settings| settings.knocks_max = 1);
    let alice = bench.account(1, 2).await;
    add(&bench, &alice, knock(1, Some(2))).await;
    add(&bench, &alice, knock(2, None)).await;
    let mut other = alice.send_by(token(1, 2), 1, 100);
    other.envelopes.truncate(1);
    assert_eq!(bench.send(other).await, queued());
    let by = |id| alice.send_by(token(1, 1), id, 100);
    assert_eq!(bench.send(by(1)).await, Enqueued::Queued { full: vec![alice.devices[0]] });
    assert_eq!(bench.send(by(2)).await, Enqueued::AllFull);
    assert_eq!(uses_left(&bench, &alice, 1).await, Some(1), "what is stored nowhere takes no use");
    bench.store.ack(alice.devices[0], vec![Seq(1)], None, NOW).await.expect("acked");
    assert_eq!(bench.send(by(1)).await, queued(), "the retry reaches the other device");
    assert_eq!(uses_left(&bench, &alice, 1).await, Some(1));
}

async fn uses_belong_to_what_a_token_is(kind: Kind) {
    let bench = Bench::new(kind);
    let alice = bench.account(1, 1).await;
    add(&bench, &alice, knock(1, Some(3))).await;
    assert_eq!(bench.send(alice.send_by(token(1, 1), 1, 100)).await, queued());
    add(&bench, &alice, knock(1, Some(3))).await;
    assert_eq!(uses_left(&bench, &alice, 1).await, Some(2), "registered again it is as it was");
    for other in [knock(1, Some(2)), knock(1, None), TokenItem { kind: TokenKind::Contact, ..knock(1, Some(3)) }] {
        assert_eq!(bench.store.add_token(alice.account, other, 10, NOW).await, Ok(TokenAdded::Taken));
    }
}

/// A hash that expired came back as a contact's token, and its knocks that still waited took that one's places.
async fn what_was_knocked_with_counts_for_no_contact(kind: Kind) {
    let bench = Bench::new(kind);
    let alice = bench.account(1, 1).await;
    add(&bench, &alice, knock(1, None)).await;
    assert_eq!(bench.send(alice.send_by(token(1, 1), 1, 100)).await, queued());
    assert_eq!(bench.store.revoke_tokens(alice.account, vec![token(1, 1)]).await, Ok(1));
    bench.token(&alice, token(1, 1), TokenKind::Contact, None, Some(1)).await;
    assert_eq!(bench.send(alice.send_by(token(1, 1), 2, 100)).await, queued());
    assert_eq!(bench.send(alice.send_by(token(1, 1), 3, 100)).await, Enqueued::AllFull, "one of its own");
}
