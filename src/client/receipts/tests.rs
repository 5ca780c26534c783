//! When batches go out and what they say, by a clock that is a number.

use super::*;
use crate::client::message::CONTENT_BYTES_MAX;
use crate::client::sent::Sent;
use crate::client::state::tests::{contact, state};
use crate::protocol::DeviceId;

const BOB: AccountId = AccountId([2; 32]);
const CAROL: AccountId = AccountId([3; 32]);

/// A state that holds receipts back for exactly ten seconds.
fn with_contacts() -> State {
    let mut state = state();
    state.receipts.delay_secs = (10, 10);
    state.contacts = vec![contact("bob", BOB), contact("carol", CAROL)];
    state
}

fn id(number: u8) -> EnvelopeId {
    EnvelopeId([number; 16])
}

/// A text of Bob's comes in; the number of its event.
fn text(state: &mut State, number: u8, now: u64) -> u64 {
    state.note_delivered(&BOB, id(number), now);
    let device = DeviceId([9; 32]);
    state.tell(now, What::Text { from: "bob".into(), account: BOB, device, id: Some(id(number)), sent_at: 0, text: "".into() });
    state.events
}

/// The receipts in the outbox, which is emptied.
fn sent_out(state: &mut State) -> Vec<(AccountId, Vec<EnvelopeId>, Vec<EnvelopeId>)> {
    let receipt = |outgoing: crate::client::state::Outgoing| match outgoing.content {
        Content::Receipt { delivered, read } => (outgoing.to, delivered, read),
        _ => panic!("another content"),
    };
    std::mem::take(&mut state.outbox).into_iter().map(receipt).collect()
}

#[test]
fn a_batch_goes_out_as_one_when_the_first_of_it_is_due() {
    let mut state = with_contacts();
    assert_eq!(state.receipts_due_at(), None);
    text(&mut state, 1, 100);
    text(&mut state, 2, 105);
    assert_eq!(state.receipts_due_at(), Some(110), "the second changes nothing");
    assert!(!state.queue_due_receipts(None, 109) && state.outbox.is_empty());
    assert!(!state.queue_due_receipts(Some(CAROL), 110), "somebody else's");
    assert!(state.queue_due_receipts(Some(BOB), 110));
    assert_eq!(sent_out(&mut state), [(BOB, vec![id(1), id(2)], vec![])]);
    assert_eq!(state.receipts_due_at(), None);
    assert!(!state.queue_due_receipts(None, 10_000), "once");
    text(&mut state, 3, 200);
    assert_eq!(state.receipts_due_at(), Some(210), "the next batch draws anew");
}

#[test]
fn what_was_read_before_it_went_out_is_told_as_read_only() {
    let mut state = with_contacts();
    let first = text(&mut state, 1, 100);
    text(&mut state, 2, 100);
    state.note_shown(first, 101);
    state.note_shown(first, 101);
    assert_eq!(state.inbox.len(), 1);
    state.queue_due_receipts(None, 110);
    assert_eq!(sent_out(&mut state), [(BOB, vec![id(2)], vec![id(1)])], "and shown once however often it is said");
    state.note_shown(state.events, 120);
    assert_eq!(state.receipts_due_at(), Some(130), "read after it was told as delivered");
    state.queue_due_receipts(None, 130);
    assert_eq!(sent_out(&mut state), [(BOB, vec![], vec![id(2)])]);
}

#[test]
fn delays_are_drawn_within_their_bounds() {
    for _ in 0..100 {
        assert!((5..=7).contains(&drawn((5, 7))));
    }
    assert_eq!(drawn((4, 4)), 4);
    let draws: std::collections::HashSet<u64> = (0..100).map(|_| drawn((5, 120))).collect();
    assert!(draws.len() > 1, "not the same each time");
    assert_eq!(ReceiptSettings::default().delay_secs, (5, 120));
}

#[test]
fn no_second_receipt_waits_beside_one_that_cannot_go_out() {
    let mut state = with_contacts();
    text(&mut state, 1, 100);
    state.queue_due_receipts(None, 110);
    text(&mut state, 2, 120);
    assert!(state.queue_due_receipts(None, 130));
    assert_eq!(state.outbox.len(), 1);
    assert_eq!(state.receipts_due_at(), Some(130 + AGAIN_SECS), "it is looked for again");
    assert_eq!(sent_out(&mut state), [(BOB, vec![id(1)], vec![])]);
    state.queue_due_receipts(None, 130 + AGAIN_SECS);
    assert_eq!(sent_out(&mut state), [(BOB, vec![id(2)], vec![])]);
}

#[test]
fn what_is_off_is_not_told_and_what_is_turned_off_is_dropped() {
    let mut state = with_contacts();
    let settings = |receipts| ReceiptSettings { receipts, delay_secs: (10, 10) };
    state.set_receipts(settings(Receipts::Off));
    let event = text(&mut state, 1, 100);
    state.note_shown(event, 100);
    assert_eq!((state.receipts_due_at(), state.inbox.len()), (None, 0));

    state.set_receipts(settings(Receipts::Delivered));
    let event = text(&mut state, 2, 100);
    state.note_shown(event, 100);
    state.queue_due_receipts(None, 110);
    assert_eq!(sent_out(&mut state), [(BOB, vec![id(2)], vec![])]);

    text(&mut state, 3, 100);
    state.queue_due_receipts(None, 110);
    text(&mut state, 4, 120);
    state.set_receipts(settings(Receipts::Off));
    assert!(state.outbox.is_empty() && state.receipts_due_at().is_none(), "neither queued nor gathered");

    state.set_receipts(settings(Receipts::Read));
    let event = text(&mut state, 6, 100);
    state.note_shown(event, 100);
    state.set_receipts(settings(Receipts::Delivered));
    state.queue_due_receipts(None, 110);
    assert_eq!(sent_out(&mut state), [(BOB, vec![id(6)], vec![])]);
}

#[test]
fn a_tried_receipt_stays_when_they_are_turned_off() {
    let mut state = with_contacts();
    text(&mut state, 1, 100);
    state.queue_due_receipts(None, 110);
    state.outbox[0].counters.insert(DeviceId([9; 32]), 1);
    state.set_receipts(ReceiptSettings { receipts: Receipts::Off, delay_secs: (0, 0) });
    assert_eq!(state.outbox.len(), 1, "its counter is used: without it the contact would miss a message for ever");
}

#[test]
fn a_batch_fits_into_one_message_and_the_oldest_give_way() {
    let mut state = with_contacts();
    for number in 0..=u32::try_from(IDS_MAX).expect("small") {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        state.note_delivered(&BOB, EnvelopeId(id), 100);
    }
    state.queue_due_receipts(None, 110);
    assert!(state.outbox[0].content.bytes().len() <= CONTENT_BYTES_MAX);
    let (_, delivered, _) = sent_out(&mut state).remove(0);
    assert_eq!(delivered.len(), IDS_MAX);
    assert_ne!(delivered[0], EnvelopeId([0; 16]), "the first of all");
}

#[test]
fn a_receipt_counts_for_what_was_sent_to_its_sender_and_never_goes_back() {
    let mut state = with_contacts();
    let sent = |number, account, state| Sent { id: id(number), to: "x".into(), account, at: 0, state };
    let accepted = Delivery::Accepted { expires_at: 100, full: 0 };
    state.sent = vec![
        sent(1, Some(BOB), accepted.clone()),
        sent(2, Some(BOB), Delivery::Queued),
        sent(3, Some(CAROL), accepted.clone()),
        sent(4, None, accepted.clone()),
    ];
    let states = |state: &State| state.sent.iter().map(|sent| sent.state.clone()).collect::<Vec<_>>();
    state.take_receipt(&BOB, &[id(1), id(3), id(4), id(9)], &[id(2), id(3)], 50);
    let (delivered, read) = (Delivery::Delivered { at: 50 }, Delivery::Read { at: 50 });
    assert_eq!(states(&state), [delivered, read.clone(), accepted.clone(), accepted.clone()]);
    state.take_receipt(&BOB, &[id(2), id(1)], &[id(1)], 60);
    assert_eq!(states(&state), [Delivery::Read { at: 60 }, read, accepted.clone(), accepted]);
    state.take_receipt(&BOB, &[id(1)], &[id(1)], 70);
    assert_eq!(state.sent[0].state, Delivery::Read { at: 60 }, "the first word counts");
}

#[test]
fn a_state_from_before_there_were_receipts_reads_with_the_defaults() {
    let mut json = serde_json::to_value(with_contacts()).expect("written");
    json.as_object_mut().expect("an object").remove("receipts");
    json["contacts"][0].as_object_mut().expect("an object").remove("receipts");
    json["inbox"] = serde_json::json!([{
        "number": 1, "at": 2, "event": "text", "from": "bob", "account": BOB, "device": DeviceId([1; 32]), "sent_at": 3,
        "text": "old",
    }]);
    json["sent"] = serde_json::json!([{ "id": id(1), "to": "bob", "at": 1, "state": "accepted", "expires_at": 2, "full": 0 }]);
    let mut state: State = serde_json::from_value(json).expect("read");
    assert_eq!(state.receipts, ReceiptSettings::default());
    state.note_shown(1, 10);
    assert!(state.inbox.is_empty() && state.receipts_due_at().is_none());
}
