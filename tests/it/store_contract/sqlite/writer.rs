//! The one writer: what waits, what passes, what is told when.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use restante::protocol::Seq;
use restante::store::sqlite::check;
use restante::store::{Acked, StoreError};
use tokio::sync::oneshot;

use crate::support::bench::{Bench, DAY, Kind, NOW, queued};

/// A listener that stands still in its first call until it is let go; gives what tells that it does, and what lets it go.
fn hold(bench: &Bench) -> (oneshot::Receiver<()>, mpsc::Sender<()>) {
    let (standing, stands) = oneshot::channel();
    let (go, went) = mpsc::channel();
    let once = Mutex::new(Some((standing, went)));
    bench.store.on_commit(Arc::new(move |_| {
        if let Some((standing, went)) = once.lock().expect("no panic").take() {
            let _ = standing.send(());
            let _ = went.recv();
        }
    }));
    (stands, go)
}

#[tokio::test]
async fn a_full_queue_is_busy_at_once_and_the_listener_comes_before_the_answer() {
    let bench = Bench::with(Kind::Sqlite, |settings| settings.queue_max = 2);
    let alice = bench.account(1, 1).await;
    let (stands, go) = hold(&bench);
    let send = |id| {
        let (store, send) = (Arc::clone(&bench.store), alice.send(id));
        tokio::spawn(async move { store.enqueue(send).await })
    };
    let first = send(1);
    stands.await.expect("the listener was called");
    assert!(!first.is_finished(), "no answer before the listener");
    assert_eq!(bench.seqs(alice.devices[0], NOW).await, [1], "and the commit before both");
    let mut waiting = [Box::pin(bench.store.enqueue(alice.send(2))), Box::pin(bench.store.enqueue(alice.send(3)))];
    for waiting in &mut waiting {
        assert!(poll_once(waiting.as_mut()).await.is_none());
    }
    assert_eq!(bench.store.enqueue(alice.send(4)).await, Err(StoreError::Busy));
    // Acknowledgements have a queue of their own.
    let mut ack = Box::pin(bench.store.ack(alice.devices[0], vec![Seq(1)], None, NOW));
    assert!(poll_once(ack.as_mut()).await.is_none());
    go.send(()).expect("the writer goes on");
    assert_eq!(first.await.expect("no panic"), Ok(queued()));
    assert_eq!(ack.await, Ok(Acked::Removed(1)));
    for waiting in waiting {
        assert_eq!(waiting.await, Ok(queued()));
    }
    assert_eq!(bench.seqs(alice.devices[0], NOW).await, [2, 3]);
    assert_eq!(bench.send(alice.send(4)).await, queued(), "what was busy was not done");
    assert_eq!(bench.seqs(alice.devices[0], NOW).await, [2, 3, 4]);
}

#[tokio::test]
async fn a_write_whose_caller_is_gone_happens_all_the_same() {
    let bench = Bench::new(Kind::Sqlite);
    let alice = bench.account(1, 1).await;
    let (stands, go) = hold(&bench);
    let store = Arc::clone(&bench.store);
    let first = alice.send(1);
    let first = tokio::spawn(async move { store.enqueue(first).await });
    stands.await.expect("the listener was called");
    let mut second = Box::pin(bench.store.enqueue(alice.send(2)));
    assert!(poll_once(second.as_mut()).await.is_none());
    drop(second);
    first.abort();
    go.send(()).expect("the writer goes on");
    bench.store.probe().await.expect("what was in line is done");
    assert_eq!(bench.seqs(alice.devices[0], NOW).await, [1, 2]);
}

#[tokio::test]
async fn closing_answers_what_was_accepted() {
    let bench = Bench::new(Kind::Sqlite);
    let alice = bench.account(1, 1).await;
    let (stands, go) = hold(&bench);
    let store = Arc::clone(&bench.store);
    let first = alice.send(1);
    let first = tokio::spawn(async move { store.enqueue(first).await });
    stands.await.expect("the listener was called");
    let mut second = Box::pin(bench.store.enqueue(alice.send(2)));
    assert!(poll_once(second.as_mut()).await.is_none());
    let mut close = Box::pin(bench.store.close());
    assert!(poll_once(close.as_mut()).await.is_none());
    assert_eq!(bench.store.enqueue(alice.send(3)).await, Err(StoreError::Closing));
    go.send(()).expect("the writer goes on");
    close.await;
    assert_eq!(first.await.expect("no panic"), Ok(queued()));
    assert_eq!(second.await, Ok(queued()));
}

/// A mailbox's row is a page of its own for nearly every send, so it is written only where something goes.
#[tokio::test]
async fn sends_leave_the_row_of_a_mailbox_alone_and_no_seq_is_given_twice() {
    let mut bench = Bench::new(Kind::Sqlite);
    let alice = bench.account(1, 1).await;
    let device = alice.devices[0];
    for id in 1..=3 {
        bench.send(alice.send(id)).await;
    }
    let mailboxes = bench.store.rows(1).await.expect("rows").into_iter().find(|table| table.table == "mailboxes");
    let mailboxes = mailboxes.expect("the table is there");
    assert_eq!((mailboxes.columns[1].as_str(), mailboxes.rows[0][1].as_str()), ("next_seq", "1"));
    bench.reopen().await;
    bench.send(alice.send(4)).await;
    assert_eq!(bench.seqs(device, NOW).await, [1, 2, 3, 4], "what waits tells where to go on");
    // However the highest goes, the next is a higher one after a restart.
    let mut highest = 4;
    for id in 5..8 {
        match id {
            5 => drop(bench.store.ack(device, vec![Seq(highest)], None, NOW).await.expect("acknowledged")),
            6 => drop(bench.store.ack(device, vec![], Some(Seq(highest)), NOW).await.expect("acknowledged")),
            _ => assert_eq!(bench.purge(NOW + DAY, 0, NOW + DAY).await, 1),
        }
        bench.reopen().await;
        bench.send(alice.send(id)).await;
        let next = *bench.seqs(device, NOW).await.last().expect("it waits");
        assert!(next > highest, "{next} after {highest}");
        highest = next;
    }
}

/// The relay once stood still for as long as a purge took: one transaction for all that had expired.
#[tokio::test]
async fn a_send_commits_before_a_long_purge_ends() {
    let bench = Bench::new(Kind::Sqlite);
    let alice = bench.account(1, 10).await;
    let bob = bench.account(2, 1).await;
    for id in 0..1_000 {
        assert_eq!(bench.send(alice.send(id)).await, queued());
    }
    let slice = || bench.store.purge_slice(NOW + DAY, 0, NOW + DAY);
    assert!(!slice().await.expect("a slice").done);
    let ended = AtomicBool::new(false);
    let purge = async {
        let mut slices = 0;
        while !slice().await.expect("a slice").done {
            slices += 1;
        }
        ended.store(true, Ordering::SeqCst);
        slices
    };
    let send = async {
        let mut late = bob.send(1);
        late.envelopes[0].expires_at = NOW + 2 * DAY;
        assert_eq!(bench.send(late).await, queued());
        assert!(!ended.load(Ordering::SeqCst), "the purge was over first");
    };
    let (slices, ()) = tokio::join!(purge, send);
    assert!(slices > 70, "{slices}");
    assert_eq!(bench.seqs(bob.devices[0], NOW + DAY).await, [1]);
    assert_eq!(bench.store.totals().await.expect("totals").envelopes, 1);
}

/// Places are filed in passes, and a pass takes tens of thousands of sends. A restart may come at any time of it.
#[tokio::test]
async fn a_restart_in_the_middle_of_a_pass_of_filing_loses_nothing_and_brings_nothing_back() {
    let mut bench = Bench::with(Kind::Sqlite, |settings| settings.queue_max = 200);
    let alice = bench.account(1, 8).await;
    let (mut sent, mut acked) = (0_u64, 0);
    // The first pass takes 32,768 places: it has not begun, files them, and removes from the one table what stands in the other.
    for (upto, filed, twice) in
        [(4_000, 0..1, 0..1), (4_400, 1_000..10_000, 1_000..10_000), (5_800, 32_000..34_000, 10_000..30_000)]
    {
        while sent < upto {
            let sends = futures_util::future::join_all((sent..sent + 100).map(|id| bench.send(alice.send(id))));
            // Who reads meanwhile, places being filed, sees all that was answered before, and nothing without what came before it.
            let read = async {
                for _ in 0..5 {
                    let after = sent.saturating_sub(200).max(acked);
                    let page = bench.store.waiting(alice.devices[0], Seq(after), 1_000, 1 << 20, NOW).await.expect("a page");
                    let last = after + page.envelopes.len() as u64;
                    assert!(last >= sent, "{last} of {sent}");
                    assert!(page.envelopes.iter().map(|envelope| envelope.seq.0).eq(after + 1..=last));
                }
            };
            let (outcomes, ()) = tokio::join!(sends, read);
            assert!(outcomes.iter().all(|outcome| *outcome == queued()));
            sent += 100;
        }
        bench.store.close().await;
        assert!(check(bench.dir()).expect("it can be checked").good());
        bench.open_again();
        let tables = bench.store.rows(0).await.expect("rows");
        let count = |name: &str| tables.iter().find(|table| table.table == name).map_or(0, |table| table.count);
        assert!(filed.contains(&count("filed")), "{upto}: {} are filed", count("filed"));
        let both = count("fresh") + count("filed") - (8 * sent - 2 * acked);
        assert!(twice.contains(&both), "{upto}: {both} are both");
        for device in &alice.devices[..2] {
            let (mut seqs, mut after) = (Vec::new(), Seq(0));
            loop {
                let page = bench.store.waiting(*device, after, 1_000, 1 << 20, NOW).await.expect("a page");
                seqs.extend(page.envelopes.iter().map(|envelope| envelope.seq.0));
                after = Seq(*seqs.last().expect("something waits"));
                if page.drained {
                    break;
                }
            }
            assert_eq!(seqs, (acked + 1..=sent).collect::<Vec<_>>());
        }
        // One by one, and so many that they are removed in slices.
        let seqs: Vec<Seq> = (acked + 1..=acked + 150).map(Seq).collect();
        assert_eq!(bench.store.ack(alice.devices[0], seqs, None, NOW).await, Ok(Acked::Removed(150)));
        assert_eq!(bench.store.ack(alice.devices[1], Vec::new(), Some(Seq(acked + 150)), NOW).await, Ok(Acked::Removed(150)));
        acked += 150;
        assert_eq!(bench.store.totals().await.expect("totals").envelopes, 8 * sent - 2 * acked);
    }
    assert!(bench.waiting(alice.devices[0], NOW).await.gap.is_none(), "nothing was found damaged");
}

#[tokio::test]
async fn rows_are_shown_as_they_lie_there() {
    let bench = Bench::new(Kind::Sqlite);
    let alice = bench.account(1, 1).await;
    bench.send(alice.send(1)).await;
    bench.send(alice.send(2)).await;
    let tables = bench.store.rows(1).await.expect("rows");
    let names: Vec<&str> = tables.iter().map(|table| table.table.as_str()).collect();
    let expected = [
        "accounts",
        "devices",
        "envelopes",
        "expiring",
        "factors",
        "filed",
        "fresh",
        "handles",
        "mailboxes",
        "notice",
        "passes",
        "recovery_codes",
        "relay",
        "removed_devices",
        "slots",
        "tokens",
    ];
    assert_eq!(names, expected);
    let envelopes = &tables[2];
    assert_eq!(envelopes.columns, ["id", "mailbox", "seq", "expires_at", "checksum", "wrap", "body"]);
    assert_eq!((envelopes.count, envelopes.rows.len()), (2, 1));
    assert_eq!(envelopes.rows[0][2], "1");
    assert_eq!(envelopes.rows[0][5], "44: 0707070707070707…");
    assert_eq!(envelopes.rows[0][6], "100: 3c626f6479203030…");
    assert!(!tables[2].rows.concat().concat().contains(&hex(&alice.token.0[..8])), "no token beside an envelope");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Polls once, and gives the outcome if there is one already.
async fn poll_once<F: Future + ?Sized>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        std::task::Poll::Ready(outcome) => std::task::Poll::Ready(Some(outcome)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}

/// The log is moved beside the writer, and can start over only when nothing of it is left: it must not grow all the same.
#[tokio::test]
async fn the_log_stays_short_under_sends_without_a_gap() {
    let bench = Bench::new(Kind::Sqlite);
    let alice = bench.account(1, 1).await;
    for id in 0..600 {
        assert_eq!(bench.send(alice.send_by(alice.token, id, 16_449)).await, queued());
    }
    let log = std::fs::metadata(bench.dir().join("restante.db-wal")).expect("there").len();
    // It starts over at 16 MiB.
    assert!(log < 20 << 20, "{log} bytes of log for some 40 MiB of changes");
}
