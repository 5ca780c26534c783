//! Prekeys: published by their device alone, found by whoever holds a token.

use restante::crypto::exchange;
use restante::protocol::keys::prekey_transcript;
use restante::protocol::{SealingKey, Signature};
use serde_json::{Value, json};

use crate::support::person::{Device, Person};
use crate::support::raw::ask;
use crate::support::relay::TestRelay;

const DAY: u64 = 86_400;

/// A prekey of a device of `person`, signed by `by`.
fn prekey(person: &Person, device: &Device, by: &Device, expires_at: u64) -> Value {
    let prekey = SealingKey(exchange::KeyPair::generate().public());
    let signature = Signature(by.key.sign(&prekey_transcript(&person.id(), &device.id(), &prekey, expires_at)));
    json!({"prekey": prekey, "expires_at": expires_at, "signature": signature})
}

#[tokio::test]
async fn a_prekey_is_signed_by_its_device_replaced_by_the_next_and_found_until_it_expires() {
    let (relay, clock) = TestRelay::by_hand(|_| {}).await;
    let bo = Person::of(vec![Device::new(), Device::new()]);
    let session = bo.settle(&relay).await;
    let token = bo.token(&relay, &session).await;
    let now = relay.relay.now();
    let (own, other) = (&bo.devices[0], &bo.devices[1]);
    let put = |body: Value| relay.answer(ask("PUT /v1/keys").by(&session).json(&body));
    let found = || relay.answer(ask("POST /v1/keys").json(&json!({"token": token})));
    assert_eq!(found().await.ok(200), json!({"device_list": bo.list, "prekeys": []}));

    put(prekey(&bo, own, other, now + DAY)).await.refused(422, "bad_signature");
    put(prekey(&bo, other, other, now + DAY)).await.refused(422, "bad_signature");
    put(prekey(&Person::new(), own, own, now + DAY)).await.refused(422, "bad_signature");
    let mut later = prekey(&bo, own, own, now + DAY);
    later["expires_at"] = json!(now + 2 * DAY);
    put(later).await.refused(422, "bad_signature");
    for expires_at in [0, now, now + 30 * DAY + 1] {
        put(prekey(&bo, own, own, expires_at)).await.refused(422, "bad_expiry");
    }
    let mut unreduced = [0xff; 32];
    unreduced[31] = 0x7f;
    for weak in [[0; 32], [0xff; 32], unreduced] {
        let prekey = SealingKey(weak);
        let signature = Signature(own.key.sign(&prekey_transcript(&bo.id(), &own.id(), &prekey, now + DAY)));
        put(json!({"prekey": prekey, "expires_at": now + DAY, "signature": signature})).await.refused(422, "weak_key");
    }
    assert_eq!(found().await.ok(200)["prekeys"], json!([]), "none of these is handed out");

    put(prekey(&bo, own, own, now + DAY)).await.ok(200);
    let next = prekey(&bo, own, own, now + 30 * DAY);
    put(next.clone()).await.ok(200);
    let mut expected = next;
    expected["device"] = json!(own.id());
    let first = found().await;
    assert_eq!(first.ok(200), json!({"device_list": bo.list, "prekeys": [expected]}));
    assert_eq!(found().await, first, "looking consumes nothing");

    clock.advance(30 * DAY);
    assert_eq!(found().await.ok(200)["prekeys"], json!([]), "an expired one is missing");
}
