//! Sending, receiving and acknowledging, over real sockets.

use serde_json::json;

use crate::support::person::{Person, acknowledge, receive, send, seqs};
use crate::support::relay::TestRelay;

#[tokio::test]
async fn a_repeat_is_answered_byte_for_byte_while_it_waits_after_the_ack_and_after_a_restart() {
    let relay = TestRelay::start().await;
    let bo = Person::new();
    let session = bo.settle(&relay).await;
    let token = bo.token(&relay, &session).await;
    let parcel = bo.parcel(&token, 1, 1_024);
    let first = send(&relay, &parcel).await;
    first.ok(202);
    assert_eq!(send(&relay, &parcel).await.body, first.body);
    let page = receive(&relay, &session, "").await;
    assert_eq!(seqs(&page), [1]);
    assert_eq!(page["drained"], true);

    let relay = relay.restart().await;
    let session = bo.login(&relay).await;
    assert_eq!(send(&relay, &parcel).await.body, first.body);
    assert_eq!(receive(&relay, &session, "").await["envelopes"], page["envelopes"], "the very row, not a new one");
    let ack = json!({"through": 1});
    assert_eq!(acknowledge(&relay, &session, &ack).await.ok(200)["removed"], 1);
    assert_eq!(acknowledge(&relay, &session, &ack).await.ok(200)["removed"], 0);
    assert_eq!(send(&relay, &parcel).await.body, first.body);
    assert_eq!(seqs(&receive(&relay, &session, "").await), [0; 0]);
}
