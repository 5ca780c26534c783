//! What is refused is left as it was, with a sentence and a hint.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use restante::store::sqlite::{OpenErrorKind, Settings, SqliteStore, check};

use crate::support::bench::{Bench, Kind, NOW, queued};
use crate::support::files::{contents, raw, tamper};

/// The file of a store that has been in use, and is closed.
async fn used() -> Bench {
    let bench = Bench::new(Kind::Sqlite);
    let alice = bench.account(1, 1).await;
    for id in 0..50 {
        assert_eq!(bench.send(alice.send(id)).await, queued());
    }
    bench.store.close().await;
    bench
}

fn opened(dir: &Path) -> Result<SqliteStore, (OpenErrorKind, String)> {
    SqliteStore::open(Settings::new(dir)).map_err(|error| {
        assert!(error.hint().len() > 20);
        (error.kind(), error.to_string())
    })
}

#[tokio::test]
async fn a_file_that_is_not_ours_is_refused_and_left_as_it_was() {
    use OpenErrorKind::{Damaged, Foreign, Newer, NotAFile};
    let bench = used().await;
    let whole = fs::read(bench.dir().join("restante.db")).expect("the database");
    let other = bench.beside().join("other.db");
    raw(&other).execute_batch("PRAGMA application_id=77; CREATE TABLE notes (text TEXT);").expect("another program's");
    let newer = {
        tamper(bench.dir(), "PRAGMA user_version=99;");
        fs::read(bench.dir().join("restante.db")).expect("the database")
    };
    let mut unversioned = whole.clone();
    unversioned[60..64].fill(0);
    let cases = [
        (
            "text",
            b"Dear diary, today I wrote a text file of more than one hundred bytes. It was not at all easy, but I did it."
                .to_vec(),
            Foreign,
        ),
        ("short text", b"Dear diary".to_vec(), Foreign),
        ("another program's database", fs::read(&other).expect("there"), Foreign),
        ("a newer schema", newer, Newer),
        ("nothing", Vec::new(), Damaged),
        ("part of the header", whole[..60].to_vec(), Damaged),
        ("half of it", whole[..whole.len() / 2].to_vec(), Damaged),
        ("all but a byte", whole[..whole.len() - 1].to_vec(), Damaged),
        ("no version", unversioned, Damaged),
    ];
    for (what, bytes, kind) in cases {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::write(dir.path().join("restante.db"), bytes).expect("written");
        let before = contents(dir.path());
        let (found, sentence) = opened(dir.path()).map(|_| ()).expect_err(what);
        assert_eq!(found, kind, "{what}: {sentence}");
        assert!(sentence.contains("restante.db: "), "{sentence}");
        assert_eq!(check(dir.path()).expect_err(what).kind(), kind);
        assert_eq!(contents(dir.path()), before, "{what}");
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::create_dir(dir.path().join("restante.db")).expect("a directory in its place");
    assert_eq!(opened(dir.path()).map(|_| ()).expect_err("a directory").0, NotAFile);
    assert_eq!(contents(dir.path()).len(), 1);
}

#[test]
fn a_place_that_cannot_hold_data_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("file");
    fs::write(&file, "x").expect("written");
    assert_eq!(opened(&file).map(|_| ()).expect_err("a file").0, OpenErrorKind::NotAFile);
    assert_eq!(opened(&file.join("data")).map(|_| ()).expect_err("below a file").0, OpenErrorKind::CannotCreate);
    assert_eq!(fs::read(&file).expect("there"), b"x");
}

#[tokio::test]
async fn a_place_that_may_not_be_written_is_refused() {
    let bench = used().await;
    fs::set_permissions(bench.dir().join("restante.db"), fs::Permissions::from_mode(0o400)).expect("set");
    if fs::OpenOptions::new().append(true).open(bench.dir().join("restante.db")).is_ok() {
        println!("skipped: this user may write everywhere");
        return;
    }
    let before = contents(bench.dir());
    assert_eq!(opened(bench.dir()).map(|_| ()).expect_err("read-only").0, OpenErrorKind::NotPermitted);
    fs::set_permissions(bench.dir().join("restante.db"), fs::Permissions::from_mode(0o600)).expect("set");
    fs::set_permissions(bench.dir(), fs::Permissions::from_mode(0o500)).expect("set");
    assert_eq!(opened(bench.dir()).map(|_| ()).expect_err("read-only").0, OpenErrorKind::NotPermitted);
    assert_eq!(contents(bench.dir()), before);
    fs::set_permissions(bench.dir(), fs::Permissions::from_mode(0o700)).expect("set");
}

#[tokio::test]
async fn directory_and_files_are_private() {
    let bench = Bench::new(Kind::Sqlite);
    bench.account(1, 1).await;
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(bench.dir()), 0o700);
    for name in ["restante.db", "restante.db-wal", "restante.db-shm"] {
        assert_eq!(mode(&bench.dir().join(name)), 0o600, "{name}");
    }
    assert_eq!(contents(bench.dir()).len(), 3, "and nothing else");
}

#[tokio::test]
async fn a_half_made_database_is_made_anew() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::write(dir.path().join("restante.db.new"), "half").expect("written");
    let store = opened(dir.path()).expect("it opens");
    restante::store::Store::close(&store).await;
    assert!(!contents(dir.path()).contains_key("restante.db.new"));
    assert!(check(dir.path()).expect("it can be checked").good());
}

#[tokio::test]
async fn a_log_without_its_database_is_not_played_into_a_new_one() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::write(dir.path().join("restante.db-wal"), "some log").expect("written");
    assert_eq!(opened(dir.path()).map(|_| ()).expect_err("a log alone").0, OpenErrorKind::Damaged);
    assert_eq!(contents(dir.path()).into_keys().collect::<Vec<_>>(), ["restante.db-wal"]);
}

#[tokio::test]
async fn a_check_reads_everything_and_changes_nothing() {
    let bench = used().await;
    let before = contents(bench.dir());
    let report = check(bench.dir()).expect("it can be checked");
    assert!(report.good(), "{report:?}");
    assert_eq!(report.envelopes, 50);
    assert_eq!(contents(bench.dir())["restante.db"], before["restante.db"]);
    tamper(
        bench.dir(),
        "UPDATE envelopes SET wrap = zeroblob(44) WHERE seq = 7;
         INSERT INTO expiring (expires_at, block, envelopes, bytes) VALUES (3600, 1, 1, 100);
         PRAGMA foreign_keys = OFF;
         INSERT INTO tokens (hash, account, kind) VALUES (zeroblob(32), 99, 1);",
    );
    let report = check(bench.dir()).expect("it can be checked");
    assert_eq!((report.damaged, report.dangling, report.miscounted.len()), (1, 1, 1));
    assert!(!report.good());
    // One that a relay has still to bring up to date has nothing wrong with it.
    tamper(bench.dir(), "PRAGMA user_version=1;");
    let older = check(bench.dir()).expect_err("an older schema");
    assert_eq!(older.kind(), OpenErrorKind::Older);
    assert!(older.to_string().contains("version 1, older"), "{older}");
    let empty = tempfile::tempdir().expect("a temporary directory");
    assert!(check(empty.path()).is_err());
    assert!(contents(empty.path()).is_empty());
}

#[tokio::test]
async fn what_was_answered_is_in_the_files_before_they_are_closed() {
    let bench = Bench::new(Kind::Sqlite);
    let alice = bench.account(1, 1).await;
    for id in 1..=20 {
        assert_eq!(bench.send(alice.send(id)).await, queued());
    }
    // As a crash would leave them.
    let dir = tempfile::tempdir().expect("a temporary directory");
    for name in ["restante.db", "restante.db-wal"] {
        fs::copy(bench.dir().join(name), dir.path().join(name)).expect("copied");
    }
    let crashed = opened(dir.path()).expect("it opens");
    let page = restante::store::Envelopes::waiting(&crashed, alice.devices[0], restante::protocol::Seq(0), 100, 1 << 20, NOW);
    assert_eq!(page.await.expect("a page").envelopes.len(), 20);
    restante::store::Store::close(&crashed).await;
    assert!(check(dir.path()).expect("it can be checked").good());
}
