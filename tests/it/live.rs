//! Live envelopes: to open streams and nowhere else, and the sender cannot tell.

use restante::crypto::wrap;
use restante::protocol::envelopes::{WRAP_LENGTH, wrap_aad, wrap_info, wrap_key_context, wrap_plaintext};
use restante::protocol::stream::LiveEnvelope;
use restante::protocol::tokens::TokenKind;
use restante::protocol::{DeliveryToken, EnvelopeId};
use serde_json::{Value, json};

use crate::support::person::{Device, Person, login, receive, send, seqs};
use crate::support::raw::{Reply, ask};
use crate::support::relay::TestRelay;
use crate::support::ws::Ws;

fn live(bo: &Person, token: &DeliveryToken, id: u128) -> Value {
    let mut parcel = bo.parcel(token, id, 1_024);
    parcel["live"] = json!(true);
    parcel
}

#[tokio::test]
async fn it_reaches_open_streams_in_its_wrap_and_is_kept_nowhere() {
    let relay = TestRelay::start().await;
    let bo = Person::of(vec![Device::new(), Device::new()]);
    let session = bo.settle(&relay).await;
    let other = login(&relay, &bo.devices[1]).await;
    let token = bo.token(&relay, &session).await;
    let mut ws = Ws::idle(&relay, &session).await;
    let reply = send(&relay, &live(&bo, &token, 7)).await.ok(202);
    assert_eq!(reply["full"], json!([]));
    let frame = ws.hear().await;
    assert_eq!(frame["type"], "live");
    assert!(frame.get("seq").is_none());
    let envelope: LiveEnvelope = serde_json::from_value(frame).expect("a live envelope");
    assert_eq!(json!(envelope.expires_at), reply["expires_at"]);
    let whole: &[u8; WRAP_LENGTH] = envelope.wrap.as_slice().try_into().expect("a wrap");
    let (enc, nonce) = whole.split_first_chunk::<32>().expect("enc");
    let device = &bo.devices[0];
    let opened = wrap::unwrap(
        &device.sealing.secret(),
        enc,
        &wrap_info(&device.id()),
        &wrap_key_context(),
        nonce.try_into().expect("a nonce"),
        &wrap_aad(&device.id(), envelope.expires_at),
        envelope.body.as_slice(),
    );
    let body: Vec<u8> = (0..1_024).map(|at| at as u8).collect();
    let expected = wrap_plaintext(TokenKind::Contact, &token.hash(), &EnvelopeId(7_u128.to_be_bytes()), &body);
    assert!(opened.expect("it opens") == expected);

    // Not for who polls, not for who comes later, not on disk; and it takes no seq.
    assert!(seqs(&receive(&relay, &other, "").await).is_empty());
    assert!(seqs(&receive(&relay, &session, "").await).is_empty());
    assert_eq!(relay.relay.stats().await.expect("stats").totals.envelopes, 0);
    let mut ws = Ws::idle(&relay, &session).await;
    send(&relay, &bo.parcel(&token, 8, 1_024)).await.ok(202);
    assert_eq!(ws.hear().await["seq"], 1);
}

#[tokio::test]
async fn it_comes_through_a_window_that_is_full() {
    let relay = TestRelay::with(|config| config.limits.stream_unacked_max = 1).await;
    let bo = Person::new();
    let session = bo.settle(&relay).await;
    let token = bo.token(&relay, &session).await;
    for id in 1..=2 {
        send(&relay, &bo.parcel(&token, id, 1_024)).await.ok(202);
    }
    let mut ws = Ws::by(&relay, &session).await;
    assert_eq!(ws.hear().await["seq"], 1);
    send(&relay, &live(&bo, &token, 3)).await.ok(202);
    assert_eq!(ws.hear().await["type"], "live");
    ws.say(&json!({"type": "ack", "through": 1})).await;
    assert_eq!(ws.hear().await["type"], "acked");
    assert_eq!(ws.hear().await["seq"], 2);
}

#[tokio::test]
async fn the_answer_is_the_same_whoever_listens() {
    let (relay, _) = TestRelay::by_hand(|_| {}).await;
    let bo = Person::new();
    let session = bo.settle(&relay).await;
    let token = bo.token(&relay, &session).await;
    let once = DeliveryToken(restante::crypto::random::bytes());
    let body = json!({"hash": once.hash(), "kind": "once", "expires_at": relay.relay.now() + 3_600});
    relay.answer(ask("POST /v1/tokens").by(&session).json(&body)).await.ok(200);
    let deaf = send(&relay, &live(&bo, &token, 1)).await;
    deaf.ok(202);
    let mut ws = Ws::idle(&relay, &session).await;
    let answers: Vec<Reply> = vec![
        send(&relay, &live(&bo, &once, 2)).await,
        send(&relay, &live(&bo, &token, 3)).await,
        send(&relay, &live(&bo, &token, 3)).await,
    ];
    assert!(answers.iter().all(|answer| *answer == deaf), "{answers:?}");
    // Not by a once token; a repeat is live twice, and its recipient minds that.
    assert_eq!([ws.hear().await["type"].clone(), ws.hear().await["type"].clone()], ["live", "live"]);
    send(&relay, &bo.parcel(&once, 4, 1_024)).await.ok(202);
    assert_eq!(ws.hear().await["type"], "envelope", "the once token is not used up");
    // What is refused otherwise is refused live too.
    let mut stale = live(&bo, &token, 5);
    stale["list"]["version"] = json!(2);
    send(&relay, &stale).await.refused(409, "device_list_changed");
    send(&relay, &live(&bo, &DeliveryToken([9; 32]), 6)).await.refused(404, "no_such_token");
}
