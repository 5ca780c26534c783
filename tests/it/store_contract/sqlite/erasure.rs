//! What is gone is gone from the files.

use restante::protocol::{Seq, SlotId};
use restante::store::sqlite::check;
use restante::store::{SlotCondition, SlotPut};

use crate::support::bench::{Bench, DAY, Kind, NOW, Person, body, queued, token};
use crate::support::files::{contents, found, holds, raw, tamper};

/// The part of a body that is nobody else's, with the marks around it.
fn mark(id: u64) -> Vec<u8> {
    body(id, 15)
}

#[tokio::test]
async fn no_byte_of_what_was_acknowledged_stays() {
    let bench = Bench::new(Kind::Sqlite);
    let alice = bench.account(1, 2).await;
    // Small ones share pages, large ones overflow them.
    for id in 0..300 {
        assert_eq!(bench.send(alice.send_by(alice.token, id, if id % 7 == 0 { 16_449 } else { 1_089 })).await, queued());
    }
    assert!(holds(bench.dir(), &mark(0)) && holds(bench.dir(), &mark(299)));
    // All of one device's, and two of three of the other's: what stays stands between what goes.
    bench.store.ack(alice.devices[0], vec![], Some(Seq(300)), NOW).await.expect("acknowledged");
    let gone = |id: &u64| !id.is_multiple_of(3);
    for id in (0..300).filter(gone) {
        bench.store.ack(alice.devices[1], vec![Seq(id + 1)], None, NOW).await.expect("acknowledged");
    }
    bench.purge(0, 0, NOW).await;
    bench.store.purged(NOW).await.expect("truncated");
    assert_eq!(contents(bench.dir())["restante.db-wal"].len(), 0);
    let mut marks = found(bench.dir(), b"<body 0", 15);
    // Where a row or a page ends in mid-mark.
    marks.retain(|mark| mark.ends_with(b">") && mark[6..14].iter().all(u8::is_ascii_digit));
    assert_eq!(marks, (0..300).filter(|id| !gone(id)).map(mark).collect());
    bench.store.close().await;
    let report = check(bench.dir()).expect("it can be checked");
    assert!(report.good() && report.residue == 0, "{report:?}");
}

/// The test above fell about once in sixty runs: a row that SQLite had moved to another page, where it was then deleted and
/// overwritten, still stood in its former one.
#[tokio::test]
async fn a_row_that_was_moved_leaves_nothing_where_it_was() {
    let (bench, alice) = filled().await;
    for begin in (0..1_500).step_by(100) {
        let gone = (begin..begin + 100).filter(|id| id % 7 > 1).map(|id| Seq(id + 1));
        bench.store.ack(alice.devices[0], gone.collect(), None, NOW).await.expect("acknowledged");
    }
    bench.store.purged(NOW).await.expect("truncated");
    assert_eq!(residue(&bench), 0);
    bench.store.close().await;
    assert_eq!(residue(&bench), 0);
}

#[tokio::test]
async fn what_a_killed_or_an_older_relay_left_of_moved_rows_is_cleared_at_the_start() {
    for older in [false, true] {
        let (mut bench, _) = filled().await;
        bench.store.close().await;
        let left = raw(&bench.dir().join("restante.db"));
        left.execute_batch("PRAGMA secure_delete=ON; PRAGMA wal_autocheckpoint=0; DELETE FROM envelopes WHERE id % 7 > 1;")
            .expect("the SQL runs");
        assert!(residue(&bench) > 0, "there is something to clear");
        if older {
            let columns = ["uncleared_from", "filing_through"];
            let back = columns.map(|column| format!("ALTER TABLE relay DROP COLUMN {column};")).concat();
            let back = format!(
                "{back}
                 ALTER TABLE relay ADD COLUMN envelopes INTEGER NOT NULL DEFAULT 0;
                 ALTER TABLE relay ADD COLUMN envelope_bytes INTEGER NOT NULL DEFAULT 0;
                 DROP TABLE expiring;
                 CREATE INDEX envelopes_expires_at ON envelopes (expires_at);"
            );
            left.execute_batch(&format!("{back} PRAGMA user_version=8; PRAGMA wal_checkpoint(TRUNCATE);"))
                .expect("the SQL runs");
        }
        bench.open_again();
        bench.store.close().await;
        assert_eq!(residue(&bench), 0, "older: {older}");
        drop(left);
    }
}

/// 1,500 envelopes of many lengths: of one length SQLite seldom leaves anything.
async fn filled() -> (Bench, Person) {
    let bench = Bench::with(Kind::Sqlite, |settings| settings.queue_max = 1_500);
    let alice = bench.account(1, 1).await;
    let sends = (0..1_500)
        .map(|id| bench.send(alice.send_by(alice.token, id, if id % 50 == 0 { 16_449 } else { 900 + id as usize % 300 })));
    for sent in futures_util::future::join_all(sends).await {
        assert_eq!(sent, queued());
    }
    (bench, alice)
}

/// Pages with bytes of rows that were moved from them.
fn residue(bench: &Bench) -> u64 {
    check(bench.dir()).expect("it can be checked").residue
}

#[tokio::test]
async fn no_byte_of_a_deleted_account_stays() {
    let bench = Bench::new(Kind::Sqlite);
    let alice = bench.account(0xa1, 2).await;
    bench.account(0xb2, 1).await;
    for id in 0..50 {
        bench.send(alice.send_by(alice.token, id, 1_089)).await;
    }
    for number in 1..200 {
        bench.token(&alice, token(0xa1, number), restante::protocol::tokens::TokenKind::Contact, None, None).await;
    }
    assert!(holds(bench.dir(), &[0xa1; 30]) && holds(bench.dir(), &[0xb2; 30]));
    bench.store.delete_account(alice.account).await.expect("deleted");
    bench.purge(0, 0, NOW).await;
    bench.store.purged(NOW).await.expect("truncated");
    assert!(!holds(bench.dir(), &[0xa1; 30]), "no id, key, list or token of the account");
    assert!(!holds(bench.dir(), b"<body "));
    assert!(holds(bench.dir(), &[0xb2; 30]));
}

#[tokio::test]
async fn no_byte_of_what_a_slot_held_stays() {
    let bench = Bench::new(Kind::Sqlite);
    let (alice, bob) = (bench.account(1, 1).await, bench.account(2, 1).await);
    let put = async |of: &Person, slot: u8, condition, name: &str, bytes: usize| {
        let content = name.bytes().cycle().take(bytes).collect();
        let done = bench.store.put_slot(of.account, SlotId([slot; 32]), condition, content, 4).await;
        assert!(matches!(done, Ok(SlotPut::Done(_))), "{done:?}");
    };
    for (slot, bytes) in [(0, 1_024), (1, 4_096), (2, 16_384), (3, 65_536)] {
        put(&alice, slot, SlotCondition::New, "<written over>", bytes).await;
        put(&alice, slot, SlotCondition::Version(1), "<deleted slot>", bytes).await;
        put(&bob, slot, SlotCondition::New, "<of an account>", bytes).await;
    }
    for slot in 0..3 {
        assert_eq!(bench.store.delete_slot(alice.account, SlotId([slot; 32])).await, Ok(true));
    }
    put(&alice, 3, SlotCondition::Version(2), "<what is there>", 1_024).await;
    bench.store.delete_account(bob.account).await.expect("deleted");
    bench.purge(0, 0, NOW).await;
    bench.store.purged(NOW).await.expect("truncated");
    for gone in ["<written over>", "<deleted slot>", "<of an account>"] {
        assert!(!holds(bench.dir(), gone.as_bytes()), "{gone}");
    }
    assert!(holds(bench.dir(), b"<what is there>"));
    bench.store.close().await;
    assert!(check(bench.dir()).expect("it can be checked").good());
}

#[tokio::test]
async fn a_closed_store_leaves_nothing_in_the_log() {
    let bench = Bench::new(Kind::Sqlite);
    let alice = bench.account(1, 1).await;
    bench.send(alice.send(1)).await;
    bench.store.ack(alice.devices[0], vec![Seq(1)], None, NOW).await.expect("acknowledged");
    bench.store.close().await;
    assert!(contents(bench.dir()).get("restante.db-wal").is_none_or(Vec::is_empty));
    assert!(!holds(bench.dir(), &mark(1)));
}

#[tokio::test]
async fn what_a_crash_left_behind_is_invisible_and_then_gone() {
    let mut bench = Bench::new(Kind::Sqlite);
    let (alice, bob) = (bench.account(1, 1).await, bench.account(2, 1).await);
    for id in 1..=300 {
        bench.send(alice.send(id)).await;
    }
    bench.send(bob.send(900)).await;
    bench.store.close().await;
    // As after the first transaction of a long acknowledgement and of an account's deletion, and a crash.
    tamper(
        bench.dir(),
        "UPDATE mailboxes SET gone_through = 299 WHERE id = 1;
         DELETE FROM devices WHERE mailbox = 2;
         UPDATE mailboxes SET gone_through = 9007199254740992 WHERE id = 2;
         UPDATE accounts SET account = NULL WHERE id = 2;",
    );
    bench.open_again();
    assert_eq!(bench.seqs(alice.devices[0], NOW).await, [300]);
    assert_eq!(bench.store.totals().await.expect("totals").envelopes, 1);
    assert_eq!(bench.store.route(bob.token, NOW).await, Ok(None));
    bench.purge(0, 0, NOW).await;
    bench.store.close().await;
    let connection = raw(&bench.dir().join("restante.db"));
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).expect("a count");
    assert_eq!(count("SELECT count(*) FROM envelopes"), 1);
    assert_eq!(count("SELECT count(*) FROM mailboxes"), 1);
    assert_eq!(count("SELECT count(*) FROM mailboxes WHERE gone_through IS NOT NULL"), 0);
    assert_eq!(count("SELECT count(*) FROM accounts"), 1);
    assert_eq!(count("SELECT count(*) FROM tokens"), 1);
    drop(connection);
    assert!(check(bench.dir()).expect("it can be checked").good());
}

#[tokio::test]
async fn a_purge_gives_room_back_and_lengths_are_those_of_the_files() {
    let bench = Bench::new(Kind::Sqlite);
    let alice = bench.account(1, 1).await;
    for id in 0..500 {
        bench.send(alice.send_by(alice.token, id, 16_449)).await;
    }
    let lengths = || {
        let length = |name: &str| std::fs::metadata(bench.dir().join(name)).expect("there").len();
        (length("restante.db"), length("restante.db-wal"))
    };
    let before = bench.store.totals().await.expect("totals");
    assert_eq!((before.database_bytes, before.log_bytes), lengths());
    assert_eq!(before.envelope_bytes, 500 * 16_449);
    bench.purge(NOW + DAY, 0, NOW + DAY).await;
    bench.store.purged(NOW + DAY).await.expect("truncated");
    let after = bench.store.totals().await.expect("totals");
    assert_eq!((after.database_bytes, after.log_bytes), lengths());
    assert_eq!((after.envelopes, after.envelope_bytes, after.log_bytes), (0, 0, 0));
    assert!(after.database_bytes < 3 << 20, "{after:?}");
    assert!(after.free_bytes <= 1 << 20, "{after:?}");
}
