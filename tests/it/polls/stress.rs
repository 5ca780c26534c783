//! Many senders at once and one receiver that waits, takes, acknowledges and now and then doesn't: whatever was accepted
//! arrives, in each sender's order, and once when repeats are left out.

use std::collections::HashMap;

use restante::protocol::DeliveryToken;
use restante::protocol::envelopes::Envelope;
use serde_json::{Value, json};

use crate::support::person::Person;
use crate::support::raw::{Ask, Reply, Socket, ask};
use crate::support::relay::TestRelay;
use crate::wraps::open;

const SENDERS: u128 = 8;
const SENDS: u128 = 200;

async fn answer(socket: &mut Socket, ask: Ask) -> Reply {
    socket.send(&ask.bytes()).await;
    socket.reply().await.expect("a reply")
}

/// One sender's envelopes, one after another over one connection; every seventh is sent twice, as after a lost reply.
async fn sender(mut socket: Socket, bo: Person, token: DeliveryToken, sender: u128) {
    for send in 0..SENDS {
        let send_it = ask("POST /v1/envelopes").json(&bo.parcel(&token, sender * SENDS + send, 1_024));
        let first = answer(&mut socket, send_it.clone()).await;
        first.ok(202);
        if send % 7 == 0 {
            assert_eq!(answer(&mut socket, send_it).await, first);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_many_senders_sent_at_once_arrives_once_and_in_each_senders_order() {
    let relay = TestRelay::start().await;
    let bo = Person::new();
    let session = bo.settle(&relay).await;
    let mut senders = Vec::new();
    for number in 0..SENDERS {
        let token = bo.token(&relay, &session).await;
        senders.push(tokio::spawn(sender(relay.socket().await, bo.clone(), token, number)));
    }

    let mut socket = relay.socket().await;
    // By seq, the id; by sender, how many came.
    let (mut ids, mut next) = (HashMap::new(), vec![0; SENDERS as usize]);
    let (mut last, mut polls) = (0, 0);
    while next.iter().sum::<u128>() < SENDERS * SENDS {
        let page: Value = answer(&mut socket, ask("GET /v1/envelopes?wait=60").by(&session)).await.ok(200);
        assert!(page.get("gap").is_none());
        let envelopes: Vec<Envelope> = serde_json::from_value(page["envelopes"].clone()).expect("envelopes");
        for envelope in &envelopes {
            let id = u128::from_be_bytes(open(&bo.devices[0], envelope)[33..49].try_into().expect("16 bytes"));
            let seq = envelope.seq.0;
            if let Some(before) = ids.insert(seq, id) {
                assert_eq!(before, id, "a seq is given to one envelope");
                continue;
            }
            assert!(seq > last, "{seq} came after {last}");
            last = seq;
            let of_sender = &mut next[(id / SENDS) as usize];
            assert_eq!(id % SENDS, *of_sender, "in the sender's order, none left out and none twice");
            *of_sender += 1;
        }
        polls += 1;
        if polls % 5 != 0 {
            let through = envelopes.last().map_or(0, |envelope| envelope.seq.0);
            let ack = ask("POST /v1/envelopes/ack").by(&session).json(&json!({"through": through}));
            let removed = answer(&mut socket, ack).await.ok(200)["removed"].as_u64();
            assert_eq!(removed, Some(envelopes.len() as u64), "what came was still there until now");
        }
    }
    for sender in senders {
        sender.await.expect("no panic");
    }
    let rest = json!({"through": last});
    answer(&mut socket, ask("POST /v1/envelopes/ack").by(&session).json(&rest)).await.ok(200);
    let nothing = answer(&mut socket, ask("GET /v1/envelopes").by(&session)).await.ok(200);
    assert_eq!(nothing, json!({"envelopes": [], "drained": true}));
    assert_eq!(ids.len() as u128, SENDERS * SENDS);
}
