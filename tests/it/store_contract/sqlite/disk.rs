//! A full database, a damaged row, a broken file.

use std::io::{Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex};

use restante::protocol::envelopes::Gap;
use restante::protocol::tokens::{TokenItem, TokenKind};
use restante::protocol::{HandleHash, Seq, SlotId};
use restante::store::sqlite::check;
use restante::store::{Acked, HandlePut, SlotCondition, StoreError, TokenAdded};

use crate::support::bench::{Bench, DAY, Kind, NOW, Person, body, queued, token};
use crate::support::files::{raw, tamper};

#[tokio::test]
async fn a_full_database_refuses_sends_and_nothing_else() {
    let bench = Bench::with(Kind::Sqlite, |settings| settings.disk_bytes_max = 100 * 8_192);
    let alice = bench.account(1, 1).await;
    let device = alice.devices[0];
    let mut stored = 0;
    let refusal = loop {
        match bench.store.enqueue(alice.send_by(alice.token, stored, 4_000)).await {
            Ok(outcome) => assert_eq!(outcome, queued()),
            Err(refusal) => break refusal,
        }
        stored += 1;
    };
    assert_eq!(refusal, StoreError::Full);
    assert!(stored > 50, "{stored}");
    // Whatever frees room, and whatever needs none, passes beside sends that do not.
    let sends = (0..32).map(|id| bench.store.enqueue(alice.send_by(alice.token, 1_000 + id, 4_000)));
    let sends = futures_join(sends.collect());
    let acks = futures_join((1..=8).map(|seq| bench.store.ack(device, vec![Seq(seq)], None, NOW)).collect());
    let (sent, acked, probed) = tokio::join!(sends, acks, bench.store.probe());
    assert_eq!(acked, vec![Ok(Acked::Removed(1)); 8]);
    assert_eq!(probed, Ok(()));
    let passed = sent.iter().filter(|outcome| **outcome == Ok(queued())).count() as u64;
    assert!(sent.iter().all(|outcome| matches!(outcome, Ok(_) | Err(StoreError::Full))), "{sent:?}");
    assert!(passed <= 8, "{passed}");
    // What was answered is what is there: once, and under a seq of its own.
    let page = bench.store.waiting(device, Seq(0), 10_000, u64::MAX, NOW).await.expect("a page");
    assert_eq!(page.envelopes.len() as u64, stored - 8 + passed);
    assert!(page.envelopes.is_sorted_by(|one, other| one.seq < other.seq));
    for (id, outcome) in sent.iter().enumerate() {
        let there = page.envelopes.iter().filter(|envelope| envelope.body.0 == body(1_000 + id as u64, 4_000)).count();
        assert_eq!(there, usize::from(*outcome == Ok(queued())));
    }
    let highest = page.envelopes.last().expect("some").seq;
    bench.store.ack(device, vec![], Some(highest), NOW).await.expect("acknowledged");
    assert_eq!(bench.send(alice.send_by(alice.token, 5_000, 4_000)).await, queued());
    bench.store.close().await;
    assert!(check(bench.dir()).expect("it can be checked").good());
}

async fn futures_join<T>(futures: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut futures: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut done: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, done) in futures.iter_mut().zip(&mut done).filter(|(_, done)| done.is_none()) {
            if let std::task::Poll::Ready(outcome) = future.as_mut().poll(context) {
                *done = Some(outcome);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}

/// To remove is to write, too: where a mailbox's row grew by an acknowledgement its page had to be split, and a database that sends
/// had filled to its last page had none for that. It takes three full pages of mailboxes, since neighbours give each other room.
#[tokio::test]
async fn what_acknowledging_needs_is_left_however_many_mailboxes_there_are() {
    let bench = Bench::with(Kind::Sqlite, |settings| settings.disk_bytes_max = 12 << 20);
    let mut people = Vec::new();
    for name in 0..250 {
        people.push(bench.account(name, 10).await);
    }
    let mut sent = 0;
    while bench.store.enqueue(people[(sent % 250) as usize].send(sent)).await == Ok(queued()) {
        sent += 1;
    }
    assert!(sent > 250, "{sent}: each mailbox has something");
    assert_eq!(bench.store.enqueue(people[0].send(sent)).await, Err(StoreError::Full));
    // Nobody else takes it either.
    let newcomer = Person::new(251, 10);
    assert_eq!(bench.store.register(newcomer.list(), None, false, NOW).await, Err(StoreError::Full));
    let account = people[0].account;
    let added = bench.store.put_slot(account, SlotId([1; 32]), SlotCondition::New, vec![1; 65_536], 1).await;
    assert_eq!(added, Err(StoreError::Full));
    let handle = async |name: u8| {
        let account = people[usize::from(name)].account;
        bench.store.put_handle(account, HandleHash([name; 32]), vec![name; 1_024], NOW + DAY, NOW).await
    };
    let mut name = 0;
    let refused = loop {
        match handle(name).await {
            Ok(put) => assert_eq!(put, HandlePut::Done),
            Err(refused) => break refused,
        }
        name += 1;
    };
    assert_eq!(refused, StoreError::Full);
    let token = async |number: u16| {
        let (hash, kind) = (token(255, number), TokenKind::Contact);
        let item = TokenItem { hash, kind, expires_at: None, envelopes_max: None, used: false, uses_left: None };
        bench.store.add_token(account, item, u64::MAX, NOW).await
    };
    let mut number = 0;
    while token(number).await == Ok(TokenAdded::Added) {
        number += 1;
    }
    assert_eq!(token(number).await, Err(StoreError::Full));
    for device in people.iter().flat_map(|person| &person.devices) {
        assert_eq!(bench.store.ack(*device, vec![Seq(1)], None, NOW).await, Ok(Acked::Removed(1)));
    }
    assert_eq!(bench.send(people[0].send(sent)).await, queued(), "and there is room again");
}

#[tokio::test]
async fn a_damaged_row_is_never_delivered_and_holds_nobody_up() {
    for harm in [
        "UPDATE envelopes SET body = CAST(substr(body, 1, 50) || x'00' || substr(body, 52) AS BLOB) WHERE seq = 2",
        "UPDATE envelopes SET body = substr(body, 1, 99) WHERE seq = 2",
        "UPDATE envelopes SET wrap = zeroblob(44) WHERE seq = 2",
        "UPDATE fresh SET repeat_tag = zeroblob(16) WHERE seq = 2",
        "UPDATE envelopes SET checksum = zeroblob(8) WHERE seq = 2",
        "UPDATE envelopes SET expires_at = expires_at + 3600 WHERE seq = 2",
        "UPDATE envelopes SET seq = seq + 1000 WHERE seq = 2",
        "UPDATE envelopes SET mailbox = 2 WHERE seq = 2 AND mailbox = 1;
         UPDATE envelopes SET mailbox = 1 WHERE seq = 12 AND mailbox = 2",
    ] {
        let mut bench = Bench::new(Kind::Sqlite);
        let (alice, bob) = (bench.account(1, 1).await, bench.account(2, 1).await);
        let device = alice.devices[0];
        for id in 1..=3 {
            bench.send(alice.send(id)).await;
        }
        if harm.contains("mailbox = 2") {
            // A row that is sound, but in another's mailbox.
            for id in 1..=12 {
                bench.send(bob.send(id)).await;
            }
            let first_ten: Vec<Seq> = (1..=11).map(Seq).collect();
            bench.store.ack(bob.devices[0], first_ten, None, NOW).await.expect("acknowledged");
        }
        bench.store.close().await;
        tamper(bench.dir(), harm);
        assert_eq!(check(bench.dir()).expect("it can be checked").damaged, if harm.contains("mailbox = 2") { 2 } else { 1 });
        bench.open_again();
        let page = bench.waiting(device, NOW).await;
        let bodies: Vec<_> = page.envelopes.iter().map(|envelope| envelope.body.0.clone()).collect();
        assert_eq!(bodies, [body(1, 100), body(3, 100)], "{harm}");
        assert!(page.drained);
        let gap = page.gap.expect("a gap");
        assert_eq!(gap.count, 1, "{harm}");
        assert_eq!(bench.store.totals().await.expect("totals").damaged, 1);
        // Sending it again brings it back; acknowledging the gap ends it.
        assert_eq!(bench.send(alice.send(2)).await, queued());
        bench.store.ack(device, vec![gap.through], None, NOW).await.expect("acknowledged");
        let page = bench.waiting(device, NOW).await;
        assert_eq!(page.gap, None::<Gap>);
        assert!(page.envelopes.iter().any(|envelope| envelope.body.0 == body(2, 100)), "{harm}");
    }
}

#[tokio::test]
async fn a_whole_page_of_damage_is_cleared_away() {
    let mut bench = Bench::new(Kind::Sqlite);
    let alice = bench.account(1, 1).await;
    for id in 1..=400 {
        bench.send(alice.send(id)).await;
    }
    bench.store.close().await;
    tamper(bench.dir(), "UPDATE envelopes SET wrap = zeroblob(44) WHERE seq < 400");
    bench.open_again();
    let page = bench.waiting(alice.devices[0], NOW).await;
    assert_eq!(page.envelopes.iter().map(|envelope| envelope.seq.0).collect::<Vec<_>>(), [400]);
    assert_eq!(page.gap, Some(Gap { count: 399, through: Seq(399) }));
    assert_eq!(bench.store.totals().await.expect("totals").damaged, 399);
}

#[tokio::test]
async fn a_broken_file_ends_the_store_for_good() {
    for by_reading in [true, false] {
        let told = Arc::new(Mutex::new(Vec::new()));
        let hear = Arc::clone(&told);
        let mut bench = Bench::with(Kind::Sqlite, |settings| {
            settings.on_failure = Arc::new(move |message| hear.lock().expect("no panic").push(message.to_string()));
        });
        let alice = bench.account(1, 1).await;
        for id in 1..=100 {
            bench.send(alice.send(id)).await;
        }
        bench.store.close().await;
        let file = bench.dir().join("restante.db");
        let root: u64 = raw(&file)
            .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'mailboxes'", [], |row| {
                row.get(0).map(i64::unsigned_abs)
            })
            .expect("there is such a table");
        let mut bytes = std::fs::OpenOptions::new().write(true).open(&file).expect("opens");
        bytes.seek(SeekFrom::Start((root - 1) * 8_192)).expect("seeks");
        bytes.write_all(&[0xff; 8_192]).expect("writes");
        drop(bytes);
        assert!(!check(bench.dir()).is_ok_and(|report| report.good()));
        bench.open_again();
        let failed = |outcome: Result<(), StoreError>| matches!(outcome, Err(StoreError::Failed(_)));
        if by_reading {
            assert!(failed(bench.store.waiting(alice.devices[0], Seq(0), 1, 1, NOW).await.map(|_| ())));
        } else {
            assert!(failed(bench.store.enqueue(alice.send(200)).await.map(|_| ())));
        }
        let after = std::fs::read(&file).expect("there");
        assert!(failed(bench.store.probe().await));
        assert!(failed(bench.store.enqueue(alice.send(201)).await.map(|_| ())));
        assert!(failed(bench.store.route(alice.token, NOW).await.map(|_| ())));
        assert!(failed(bench.store.totals().await.map(|_| ())));
        bench.store.close().await;
        assert_eq!(std::fs::read(&file).expect("there"), after, "nothing was written any more");
        let told = told.lock().expect("no panic");
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("SQLite: "), "{told:?}");
    }
}
