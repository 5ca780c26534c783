//! A purge in two passes: places in the order of mailboxes, rows in that of arrival.

use restante::protocol::Seq;
use restante::protocol::envelopes::Gap;
use restante::store::Acked;
use restante::store::sqlite::check;

use crate::support::bench::{Bench, DAY, Kind, NOW, queued};
use crate::support::files::tamper;

/// A process may end when the places are gone and the rows are not.
#[tokio::test]
async fn a_purge_that_did_not_end_leaves_no_damage_and_the_next_ends_it() {
    let mut bench = Bench::new(Kind::Sqlite);
    let alice = bench.account(1, 10).await;
    for id in 0..100 {
        assert_eq!(bench.send(alice.send(id)).await, queued());
    }
    let mut unseen = 0;
    while unseen < 990 {
        let slice = bench.store.purge_slice(NOW + DAY, 0, NOW + DAY).await.expect("a slice");
        assert!(!slice.done);
        unseen += slice.envelopes;
    }
    assert_eq!(bench.seqs(alice.devices[0], NOW).await, [0; 0], "the first mailbox is empty before any row is gone");
    bench.store.close().await;
    let report = check(bench.dir()).expect("it can be checked");
    assert!(report.good(), "{report:?}");
    // The slice of 128 that removed the last places had 11 of them at the least; the rest of it may have been rows.
    assert!(report.envelopes >= 1_000 - (128 - 11), "{report:?}");

    bench.open_again();
    let gap = |through| Some(Gap { count: 100, through: Seq(through) });
    assert_eq!(bench.waiting(alice.devices[0], NOW).await.gap, gap(100));
    let left = bench.purge(NOW + DAY, 0, NOW + DAY).await;
    assert_eq!(unseen + left, 1_000, "each is told of once");
    for device in &alice.devices {
        assert_eq!(bench.waiting(*device, NOW).await.gap, gap(100));
    }
    assert_eq!(bench.store.totals().await.expect("totals").envelopes, 0);
    bench.store.close().await;
    let report = check(bench.dir()).expect("it can be checked");
    assert!(report.good() && report.envelopes == 0, "{report:?}");
    // Without a purge under way the same would be damage.
    tamper(
        bench.dir(),
        "INSERT INTO envelopes (id, mailbox, seq, expires_at, checksum, wrap, body)
         VALUES (70, 1, 500, 1, zeroblob(8), zeroblob(44), x'');
         INSERT INTO expiring (expires_at, block, envelopes, bytes) VALUES (1, 1, 1, 0);",
    );
    assert!(!check(bench.dir()).expect("it can be checked").good());
}

/// Between two slices a device may come for what is listed already.
#[tokio::test]
async fn what_is_acknowledged_while_a_purge_goes_on_is_no_gap() {
    let bench = Bench::new(Kind::Sqlite);
    let alice = bench.account(1, 2).await;
    for id in 0..400 {
        assert_eq!(bench.send(alice.send(id)).await, queued());
    }
    let first = bench.store.purge_slice(NOW + DAY, 0, NOW + DAY).await.expect("a slice");
    assert!(!first.done && first.envelopes <= 128);
    // The second mailbox's turn has not come.
    let device = alice.devices[1];
    assert_eq!(bench.store.ack(device, (301..=400).map(Seq).collect(), None, NOW).await, Ok(Acked::Removed(100)));
    // And what comes now lies where that lay.
    let mut late = alice.send(1_000);
    late.envelopes.iter_mut().for_each(|envelope| envelope.expires_at = NOW + 2 * DAY);
    assert_eq!(bench.send(late).await, queued());

    assert_eq!(first.envelopes + bench.purge(NOW + DAY, 0, NOW + DAY).await, 700);
    let page = bench.waiting(device, NOW).await;
    assert_eq!(page.gap, Some(Gap { count: 300, through: Seq(300) }));
    assert_eq!(page.envelopes.iter().map(|envelope| envelope.seq.0).collect::<Vec<_>>(), [401]);
    assert_eq!(bench.store.totals().await.expect("totals").envelopes, 2);
}
