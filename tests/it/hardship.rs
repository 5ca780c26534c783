//! A relay in trouble, over real sockets: more to write than it can, and a disk that rots.

use std::future::{Future, poll_fn};
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Wake, Waker};

use futures_util::stream::{FuturesUnordered, StreamExt};
use restante::protocol::Seq;
use restante::protocol::envelopes::AckRequest;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::support::files::raw;
use crate::support::person::{Person, acknowledge, receive, send, seqs};
use crate::support::raw::{Reply, text};
use crate::support::relay::TestRelay;

/// Told of an answer by the writer's thread, it keeps the thread until it is let go.
struct Standstill {
    inner: Waker,
    hold: Arc<Hold>,
}

/// What tells that the writer stands, and what lets it go; nothing once it stood.
type Hold = Mutex<Option<(oneshot::Sender<()>, mpsc::Receiver<()>)>>;

impl Wake for Standstill {
    fn wake(self: Arc<Self>) {
        if std::thread::current().name() == Some("restante-writer") {
            let hold = self.hold.lock().expect("no panic").take();
            if let Some((standing, went)) = hold {
                let _ = standing.send(());
                let _ = went.recv();
            }
        }
        self.inner.wake_by_ref();
    }
}

/// Makes the writer stand still, between two batches, until what this gives is used or dropped.
async fn hold(relay: &TestRelay, session: &str) -> mpsc::Sender<()> {
    let (standing, stands) = oneshot::channel();
    let (go, went) = mpsc::channel();
    let hold: Arc<Hold> = Arc::new(Mutex::new(Some((standing, went))));
    let relay = relay.relay.clone();
    let token = serde_json::from_value(json!(session)).expect("a session");
    let session = relay.authenticate(&token).expect("a session");
    tokio::spawn(async move {
        // An answer that is there before it is waited for wakes nobody: once more then.
        while hold.lock().expect("no panic").is_some() {
            let nothing = AckRequest { through: Some(Seq(0)), ..AckRequest::default() };
            let mut ack = pin!(relay.ack(&session, nothing));
            let answer = poll_fn(|context| {
                let standstill = Standstill { inner: context.waker().clone(), hold: Arc::clone(&hold) };
                ack.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::new(standstill))))
            });
            answer.await.expect("an acknowledgement of nothing");
        }
    });
    stands.await.expect("the writer stands");
    go
}

#[track_caller]
fn is_busy(reply: &Reply) {
    reply.refused(503, "busy");
    assert_eq!((reply.header("retry-after"), &reply.json()["retry_after"]), (Some("1"), &json!(1)));
}

/// Row 65.
#[tokio::test]
async fn a_full_queue_is_busy_while_what_frees_passes_and_nothing_is_lost() {
    let seldom = |config: &mut restante::config::Config| config.retention.purge_schedule = "0 0 29 2 *".into();
    let relay = TestRelay::with_store(seldom, |store| store.queue_max = QUEUE_MAX).await;
    let bo = Person::new();
    let session = bo.settle(&relay).await;
    let token = bo.token(&relay, &session).await;
    send(&relay, &bo.parcel(&token, 1, 1_024)).await.ok(202);
    // The purge of the start began before the first request was answered; none writes from here on.
    relay.relay.purge(Default::default(), |_| {}).await.expect("purged");

    let go = hold(&relay, &session).await;
    let parcels: Vec<Value> = (2..=9).map(|id| bo.parcel(&token, id, 1_024)).collect();
    let mut sends: FuturesUnordered<_> = parcels.iter().map(async |parcel| (parcel, send(&relay, parcel).await)).collect();
    let mut refused = Vec::new();
    while sends.len() > QUEUE_MAX {
        let (parcel, reply) = sends.next().await.expect("a send");
        is_busy(&reply);
        refused.push(parcel);
    }
    // No send fits in any more. The acknowledgements' own line is as long: one too many shows that the others are in it.
    let through = json!({"through": 1});
    let mut acks: FuturesUnordered<_> = (0..=QUEUE_MAX).map(|_| acknowledge(&relay, &session, &through)).collect();
    is_busy(&acks.next().await.expect("an acknowledgement"));

    go.send(()).expect("the writer stands");
    let mut removed = 0;
    while let Some(reply) = acks.next().await {
        removed += reply.ok(200)["removed"].as_u64().expect("a number");
    }
    assert_eq!(removed, 1);
    while let Some((_, reply)) = sends.next().await {
        reply.ok(202);
    }
    assert_eq!(seqs(&receive(&relay, &session, "").await), [2, 3], "what was in line, and what was busy was not done");
    for parcel in refused {
        send(&relay, parcel).await.ok(202);
    }
    for parcel in &parcels {
        send(&relay, parcel).await.ok(202);
    }
    assert_eq!(seqs(&receive(&relay, &session, "").await), (2..=9).collect::<Vec<_>>(), "each once");
}

/// Turns one bit of a waiting envelope's body over, in the file of a stopped relay.
fn rot(dir: &Path, seq: u64) {
    let connection = raw(&dir.join("restante.db"));
    let find = "SELECT id, body FROM envelopes WHERE seq = ?1";
    let (id, mut body): (i64, Vec<u8>) =
        connection.query_row(find, [seq as i64], |row| Ok((row.get(0)?, row.get(1)?))).expect("a row");
    let middle = body.len() / 2;
    body[middle] ^= 1;
    let changed = connection.execute("UPDATE envelopes SET body = ?2 WHERE id = ?1", (id, body)).expect("the SQL runs");
    assert_eq!(changed, 1);
    connection.close().expect("it closes");
}

/// Row 76.
#[tokio::test]
async fn a_damaged_row_is_skipped_and_counted_and_the_rest_is_delivered() {
    let relay = TestRelay::start().await;
    let bo = Person::new();
    let session = bo.settle(&relay).await;
    let token = bo.token(&relay, &session).await;
    for id in 1..=3 {
        send(&relay, &bo.parcel(&token, id, 1_024)).await.ok(202);
    }
    let whole = receive(&relay, &session, "").await;
    let (config, dir, clock) = relay.stop().await;
    rot(&config.server.data, 2);
    let relay = TestRelay::run(config, dir, clock).await;
    let stats = async || serde_json::to_value(relay.relay.stats().await.expect("stats")).expect("JSON");
    let damaged = async || stats().await["damaged"].clone();
    assert_eq!(damaged().await, 0, "nobody has read it yet");

    let session = bo.login(&relay).await;
    let gap = json!({"count": 1, "through": 2});
    for query in ["", "?wait=60", "?after=1&wait=60"] {
        let page = receive(&relay, &session, query).await;
        let rest: Vec<&Value> = [0, 2].iter().map(|at| &whole["envelopes"][*at]).collect();
        let due = if query.contains("after") { json!(rest[1..]) } else { json!(rest) };
        assert_eq!((&page["envelopes"], &page["gap"], &page["drained"]), (&due, &gap, &json!(true)), "{query}");
        assert_eq!(damaged().await, 1, "counted once");
    }
    assert_eq!(stats().await["envelopes"], 2);
    acknowledge(&relay, &session, &json!({"through": 3})).await.ok(200);
    let page = receive(&relay, &session, "").await;
    assert_eq!((seqs(&page), page.get("gap")), (vec![], None), "acknowledged, the gap is over");
    // Sent again, it comes as a new one.
    send(&relay, &bo.parcel(&token, 2, 1_024)).await.ok(202);
    let page = receive(&relay, &session, "").await;
    assert!(seqs(&page).len() == 1 && text(&page["envelopes"][0]["body"]).len() > 1_024);
}

/// Writes that wait in each of the writer's two lines.
const QUEUE_MAX: usize = 2;
