//! A relay behind a proxy that nobody named says so, and one that is not does not.

use restante::protocol::auth::LoginRequest;
use serde_json::json;

use crate::support::person::{Device, Person, login_request};
use crate::support::raw::ask;
use crate::support::relay::TestRelay;

/// Fifty devices, and one more.
async fn crowd(relay: &TestRelay) -> Vec<Device> {
    let mut devices = Vec::new();
    for _ in 0..6 {
        let person = Person::of((0..10).map(|_| Device::new()).collect());
        person.register(relay).await;
        devices.extend(person.devices);
    }
    devices.truncate(51);
    devices
}

async fn login_from(relay: &TestRelay, device: &Device, address: &str) {
    let request: LoginRequest = serde_json::from_value(login_request(relay, device).await).expect("a request");
    let prefix = relay.relay.prefix(address.parse().expect("an address"));
    relay.relay.login(&request, prefix).await.expect("a session");
}

async fn suspected(relay: &TestRelay) -> bool {
    relay.relay.stats().await.expect("stats").proxy_suspected
}

#[tokio::test]
async fn fifty_devices_from_one_address_and_nobody_elsewhere_are_a_proxy() {
    let relay = TestRelay::start().await;
    let devices = crowd(&relay).await;
    for device in &devices[..49] {
        login_from(&relay, device, "172.17.0.1").await;
        login_from(&relay, device, "127.0.0.1").await;
    }
    // The same again is none more.
    login_from(&relay, &devices[0], "172.17.0.9").await;
    assert!(!suspected(&relay).await);
    login_from(&relay, &devices[49], "172.17.0.1").await;
    assert!(suspected(&relay).await);
}

#[tokio::test]
async fn two_addresses_are_none_and_neither_is_a_proxy_that_was_named() {
    let relay = TestRelay::start().await;
    let devices = crowd(&relay).await;
    login_from(&relay, &devices[50], "198.51.100.1").await;
    for device in &devices[..50] {
        login_from(&relay, device, "172.17.0.1").await;
    }
    assert!(!suspected(&relay).await);

    let relay = TestRelay::with(|config| config.server.trusted_proxies = vec!["127.0.0.1/32".into()]).await;
    for device in crowd(&relay).await {
        login_from(&relay, &device, "172.17.0.1").await;
    }
    relay.answer(ask("GET /v1/info").from("203.0.113.1")).await.ok(200);
    assert!(!suspected(&relay).await);
}

#[tokio::test]
async fn a_proxy_on_this_machine_gives_itself_away() {
    let relay = TestRelay::start().await;
    relay.answer(ask("GET /v1/info")).await.ok(200);
    assert!(!suspected(&relay).await);
    relay.answer(ask("GET /v1/info").from("203.0.113.1")).await.ok(200);
    assert!(suspected(&relay).await);
    assert_eq!(json!(relay.relay.stats().await.expect("stats"))["proxy_suspected"], true);
}
