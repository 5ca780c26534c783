//! A database that was filled in bulk is the one that registering and sending would have left.

use restante::protocol::Seq;
use restante::protocol::tokens::{TokenItem, TokenKind};
use restante::store::TableRows;
use restante::store::sqlite::{Fill, OpenErrorKind, Settings, SqliteStore, check};
use restante::store::{Accounts, Acked, Enqueued, Envelopes, Store, Upkeep};

use crate::support::bench::{Bench, Kind, NOW, Person, queued};

/// A database of these people, with so many sends to each.
fn filled(dir: &std::path::Path, people: &[Person], sends: u64) {
    let mut fill = Fill::begin(dir).expect("a new database");
    for person in people {
        let (hash, kind) = (person.token, TokenKind::Contact);
        let token = TokenItem { hash, kind, expires_at: None, envelopes_max: None, used: false, uses_left: None };
        let mailbox = fill.account(&person.list(), &token, NOW).expect("an account");
        for id in 0..sends {
            let send = person.send(id);
            fill.envelope(mailbox, id + 1, &send.repeat_tag, &send.envelopes[0]).expect("an envelope");
        }
    }
    fill.finish().expect("on the disk");
}

async fn rows(store: &dyn Store) -> Vec<TableRows> {
    let mut tables = store.rows(1_000).await.expect("rows");
    // What was filled in bulk is all filed.
    tables.retain(|table| !["filed", "fresh", "expiring"].contains(&table.table.as_str()));
    tables
}

#[tokio::test]
async fn its_rows_are_those_that_sends_would_have_left() {
    let bench = Bench::new(Kind::Sqlite);
    let people = [bench.account(1, 1).await, bench.account(2, 1).await];
    for person in &people {
        for id in 0..3 {
            assert_eq!(bench.send(person.send(id)).await, queued());
        }
    }
    let dir = bench.beside().join("filled");
    filled(&dir, &people, 3);
    assert!(check(&dir).expect("it can be checked").good());

    let store = SqliteStore::open(Settings::new(&dir)).expect("it opens");
    assert_eq!(rows(&store).await, rows(&*bench.store).await);
    // It goes on from there: a repeat is known, and the next has the next seq.
    for id in [0, 3] {
        assert!(matches!(store.enqueue(people[0].send(id)).await, Ok(Enqueued::Queued { .. })));
    }
    let waiting = store.waiting(people[0].devices[0], Seq(0), 100, 1 << 20, NOW).await.expect("a page");
    let seqs: Vec<u64> = waiting.envelopes.iter().map(|envelope| envelope.seq.0).collect();
    assert_eq!(seqs, [1, 2, 3, 4]);
    assert_eq!(store.totals().await.expect("totals").envelopes, 7);
    store.close().await;
    assert!(check(&dir).expect("it can be checked").good());
}

/// What lies there by then is counted by hours of expiry and neighbours: whichever way it goes, nothing of the count is left.
#[tokio::test]
async fn what_is_counted_goes_with_what_it_counts() {
    let bench = Bench::new(Kind::Sqlite);
    let people = [bench.account(1, 1).await, bench.account(2, 1).await, bench.account(3, 1).await];
    let dir = bench.beside().join("filled");
    filled(&dir, &people, 100);
    let store = SqliteStore::open(Settings::new(&dir)).expect("it opens");
    let counted = async |store: &SqliteStore| {
        let tables = store.rows(1_000).await.expect("rows");
        let rows = tables.into_iter().find(|table| table.table == "expiring").expect("the table").rows;
        rows.iter().map(|row| row[2].parse::<u64>().expect("a count")).collect::<Vec<_>>()
    };
    assert_eq!(counted(&store).await, [63, 64, 64, 64, 45]);
    let [alice, bob, carol] = &people;
    // One by one, and a long tail that is removed in slices.
    let seqs = (1..=10).map(Seq).collect();
    assert_eq!(store.ack(alice.devices[0], seqs, None, NOW).await, Ok(Acked::Removed(10)));
    store.delete_account(carol.account).await.expect("deleted");
    store.purged(NOW).await.expect("behind what the account left");
    assert_eq!(store.totals().await.expect("totals").envelopes, 190);
    store.close().await;
    assert!(check(&dir).expect("it can be checked").good());

    let store = SqliteStore::open(Settings::new(&dir)).expect("it opens");
    assert_eq!(counted(&store).await.iter().sum::<u64>(), 190);
    assert_eq!(store.ack(bob.devices[0], Vec::new(), Some(Seq(30)), NOW).await, Ok(Acked::Removed(30)));
    let expires_at = bob.send(0).envelopes[0].expires_at;
    let preview = store.purge_preview(expires_at).await.expect("a preview");
    assert_eq!((preview.envelopes, preview.bytes, preview.waiting), (160, 16_000, 160));
    assert!(store.mostly_expired(expires_at, 100).await.expect("asked"));
    assert!(!store.mostly_expired(expires_at - 1, 100).await.expect("asked"));
    while !store.purge_slice(expires_at, 0, expires_at).await.expect("a slice").done {}
    assert_eq!(counted(&store).await, [0; 0]);
    assert_eq!(store.totals().await.expect("totals").first_expires_at, None);
    store.close().await;
    let report = check(&dir).expect("it can be checked");
    assert!(report.good() && report.envelopes == 0, "{report:?}");
}

#[tokio::test]
async fn what_is_there_already_is_left_alone() {
    let bench = Bench::new(Kind::Sqlite);
    bench.store.close().await;
    assert_eq!(Fill::begin(bench.dir()).err().map(|error| error.kind()), Some(OpenErrorKind::CannotCreate));
}
