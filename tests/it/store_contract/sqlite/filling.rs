//! A database that was filled in bulk is the one that registering and sending would have left.

use restante::protocol::Seq;
use restante::protocol::tokens::{TokenItem, TokenKind};
use restante::store::TableRows;
use restante::store::sqlite::{Fill, OpenErrorKind, Settings, SqliteStore, check};
use restante::store::{Enqueued, Envelopes, Store, Upkeep};

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
    tables.retain(|table| !["filed", "fresh"].contains(&table.table.as_str()));
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

#[tokio::test]
async fn what_is_there_already_is_left_alone() {
    let bench = Bench::new(Kind::Sqlite);
    bench.store.close().await;
    assert_eq!(Fill::begin(bench.dir()).err().map(|error| error.kind()), Some(OpenErrorKind::CannotCreate));
}
