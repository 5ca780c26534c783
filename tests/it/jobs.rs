//! The schedule: a purge at the start, and a watchdog where the schedule's own does not come.

use serde_json::json;

use crate::support::person::{Person, receive, send};
use crate::support::raw::{ask, patiently};
use crate::support::relay::TestRelay;

/// A schedule that does not come while a test runs, and for which the watchdog waits years.
fn seldom(config: &mut restante::config::Config) {
    config.retention.purge_schedule = "0 0 29 2 *".into();
}

/// How many envelopes lie in the database, expired or not.
async fn rows(relay: &TestRelay) -> u64 {
    relay.relay.stats().await.expect("stats").totals.envelopes
}

#[tokio::test]
async fn the_watchdog_purges_when_the_schedule_does_not() {
    // Each five minutes on the morning at which the clock by hand stands; the scheduler goes by the machine's and stays quiet.
    let (relay, clock) = TestRelay::by_hand(|config| config.retention.purge_schedule = "*/5 8-9 15 1 *".into()).await;
    let bo = Person::new();
    let session = bo.settle(&relay).await;
    let token = bo.token(&relay, &session).await;
    let mut parcel = bo.parcel(&token, 1, 1_024);
    parcel["expires_in"] = json!(3_600);
    send(&relay, &parcel).await.ok(202);
    assert_eq!(rows(&relay).await, 1);
    clock.advance(2 * 3_600);
    // The jobs are started beside the test: whatever they look at first, some quarter of an hour is the third without a purge.
    patiently(async {
        while rows(&relay).await > 0 {
            clock.advance(15 * 60);
            for _ in 0..50 {
                tokio::task::yield_now().await;
                rows(&relay).await;
            }
        }
    })
    .await;
    let session = bo.login(&relay).await;
    assert_eq!(receive(&relay, &session, "").await["gap"], json!({"count": 1, "through": 1}));
    // The rows go before the purge has ended.
    patiently(async { while relay.answer(ask("GET /readyz")).await.json()["purge"] != true {} }).await;
}

#[tokio::test]
async fn a_start_purges() {
    let (relay, clock) = TestRelay::by_hand(seldom).await;
    let bo = Person::new();
    let session = bo.settle(&relay).await;
    let token = bo.token(&relay, &session).await;
    let mut parcel = bo.parcel(&token, 1, 1_024);
    parcel["expires_in"] = json!(3_600);
    send(&relay, &parcel).await.ok(202);
    clock.advance(2 * 3_600);
    assert_eq!(rows(&relay).await, 1, "nothing else purges");
    let relay = relay.restart().await;
    patiently(async { while rows(&relay).await > 0 {} }).await;
}

#[tokio::test]
async fn a_session_that_is_over_is_not_shown() {
    let (relay, clock) = TestRelay::by_hand(seldom).await;
    let bo = Person::new();
    bo.settle(&relay).await;
    clock.advance(1_700);
    let session = bo.login(&relay).await;
    let shown = || async { relay.answer(ask("GET /v1/sessions").by(&session)).await.ok(200)["sessions"].clone() };
    assert_eq!(shown().await.as_array().map(Vec::len), Some(2));
    clock.advance(200);
    let shown = shown().await;
    assert_eq!(shown.as_array().map(Vec::len), Some(1));
    assert_eq!(shown[0]["current"], true);
    assert_eq!(shown[0]["last_used"].as_u64().map(|at| at % 3_600), Some(0));
}
