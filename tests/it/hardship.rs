//! A relay in trouble, over real sockets: more to write than it can, and a disk that rots.

use std::future::{Future, poll_fn};
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Wake, Waker};

use futures_util::stream::{FuturesUnordered, StreamExt};
use restante::protocol::envelopes::ReceiveQuery;
use restante::service::stream::Received;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::support::files::raw;
use crate::support::person::{Person, acknowledge, receive, send, seqs};
use crate::support::raw::{Reply, text};
use crate::support::relay::TestRelay;

/// Told by the writer's thread that something was stored, it keeps the thread until it is let go.
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

/// Makes the writer stand still, after a commit and before its answers, until what this gives is used or dropped. It does so
/// at the waker of somebody who waits for mail, which it calls itself.
async fn hold(relay: &TestRelay) -> mpsc::Sender<()> {
    let (standing, stands) = oneshot::channel();
    let (go, went) = mpsc::channel();
    let hold: Arc<Hold> = Arc::new(Mutex::new(Some((standing, went))));
    let al = Person::new();
    let session = al.settle(relay).await;
    let token = al.token(relay, &session).await;
    let session = serde_json::from_value(json!(session)).expect("a session");
    let session = relay.relay.authenticate(&session).expect("a session");
    let (reader, held) = (relay.relay.clone(), Arc::clone(&hold));
    tokio::spawn(async move {
        let mut after = 0;
        while held.lock().expect("no panic").is_some() {
            let query = ReceiveQuery { wait: 60, after, ..ReceiveQuery::default() };
            let page = match reader.receive(&session, query).await.expect("a poll") {
                Received::Page(page) => page,
                Received::Nothing(poll) => {
                    let mut page = pin!(poll.page());
                    let page = poll_fn(|context| {
                        let standstill = Standstill { inner: context.waker().clone(), hold: Arc::clone(&held) };
                        page.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::new(standstill))))
                    });
                    page.await.expect("a page")
                }
            };
            after = page.envelopes.last().map_or(after, |envelope| envelope.seq.0);
        }
    });
    // One that is stored before anybody waits for it wakes nobody: once more then.
    let writer = relay.relay.clone();
    tokio::spawn(async move {
        for id in 1.. {
            if hold.lock().expect("no panic").is_none() {
                break;
            }
            let parcel = serde_json::from_value(al.parcel(&token, id, 1_024)).expect("a send");
            writer.send(parcel, None).await.expect("stored");
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

    let go = hold(&relay).await;
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
