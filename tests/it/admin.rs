//! What the operator does, on a relay that runs (over its socket) and on one that doesn't (on the file, under the lock).

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::{Done, Serving, run, serve, serve_in};

/// A stopped relay's directory.
fn stopped() -> TempDir {
    let directory = TempDir::new().expect("a directory");
    stop(serve_in(directory.path(), &[]));
    directory
}

fn stop(mut relay: Serving) {
    relay.signal(Signal::TERM);
    assert_eq!(relay.ended().0.code(), Some(0));
}

fn database_bytes(directory: &Path) -> u64 {
    std::fs::metadata(directory.join("restante-data/restante.db")).expect("a database").len()
}

/// Calls it on a running relay, and on the same relay stopped.
pub(crate) fn both_ways(check: impl Fn(&dyn Fn(&[&str]) -> Done, &Path)) {
    let directory = TempDir::new().expect("a directory");
    let relay = serve_in(directory.path(), &[]);
    relay.ready();
    check(&|args| relay.operator(args), directory.path());
    stop(relay);
    check(&|args| run(directory.path(), args), directory.path());
}

#[test]
fn stats_are_totals_and_the_length_of_the_file() {
    both_ways(|operator, directory| {
        // The purge at the start runs beside the first requests.
        let purged = |stats: &Value| stats["purged_at"].is_u64();
        let stats = (0..100).map(|_| operator(&["stats", "--json"]).json()).find(purged).expect("a relay purges at its start");
        assert_eq!((&stats["accounts"], &stats["envelopes"], &stats["damaged"]), (&json!(0), &json!(0), &json!(0)));
        assert_eq!(stats["oldest_wait_hours"], Value::Null);
        assert_eq!(stats["database_bytes"], database_bytes(directory));
        let table = operator(&["stats"]).stdout;
        for line in ["waiting       0 envelopes, 0 B", "oldest wait   nothing waits", "damaged rows  0", "last purge    2"] {
            assert!(table.lines().any(|shown| shown.starts_with(line)), "{line}: {table}");
        }
    });
}

#[test]
fn purge_reports_rows_and_the_length_of_the_file() {
    both_ways(|operator, directory| {
        let before = database_bytes(directory);
        let report = operator(&["purge", "--dry-run", "--json"]).json();
        assert_eq!((&report["dry_run"], &report["database_bytes_before"]), (&json!(true), &json!(before)));
        let report = operator(&["purge", "--json", "--older-than", "3d"]).json();
        assert_eq!((&report["envelopes"], &report["waiting"]), (&json!(0), &json!(0)));
        assert_eq!(report["database_bytes_before"], before);
        assert_eq!(report["database_bytes_after"], database_bytes(directory));
        assert!(operator(&["purge"]).stdout.starts_with("removed "));
    });
}

#[test]
fn a_purge_that_is_asked_for_wrongly_does_nothing() {
    let directory = TempDir::new().expect("a directory");
    for span in ["-1", "0", "abc", "3", "1w", ""] {
        let done = run(directory.path(), &["purge", "--older-than", span]);
        assert!(done.code == 2 && done.stdout.is_empty() && done.stderr.contains("3d, 12h, 90m or 45s"), "{span}: {done:?}");
    }
    assert_eq!(directory.path().read_dir().expect("a directory").count(), 0);
    both_ways(|operator, _| {
        let done = operator(&["purge", "--older-than", "8d"]);
        assert!(done.code == 1 && done.stderr.contains("retention of 604800 s"), "{done:?}");
    });
}

#[test]
fn a_pass_is_made_listed_and_ended() {
    both_ways(|operator, directory| {
        let created = operator(&["pass", "create", "--uses", "3", "--expires", "2d"]);
        let code = created.stdout.trim_end();
        assert!(created.code == 0 && code.len() == 23 && created.stdout.lines().count() == 1, "{created:?}");
        assert!(created.stderr.contains("good for 3 registrations until "), "{created:?}");

        let listed = operator(&["pass", "list", "--json"]);
        assert!(!listed.stdout.contains(code), "the code is shown once");
        let list = listed.json();
        assert_eq!((list.as_array().map(Vec::len), &list[0]["uses_left"]), (Some(1), &json!(3)));
        for file in directory.join("restante-data").read_dir().expect("a directory") {
            let path = file.expect("an entry").path();
            let bytes = std::fs::read(&path).unwrap_or_default();
            assert!(!bytes.windows(code.len()).any(|window| window == code.as_bytes()), "{} has the code", path.display());
        }

        assert_eq!(operator(&["pass", "revoke", code]).code, 0);
        let again = operator(&["pass", "revoke", code]);
        assert!(again.code == 1 && again.stderr.contains("there is no such pass"), "{again:?}");

        operator(&["pass", "create", "--json"]).json();
        let list = operator(&["pass", "list", "--json"]).json();
        let hash = list[0]["hash"].as_str().expect("a hash");
        assert_eq!(operator(&["pass", "revoke", hash, "--json"]).json(), json!({"revoked": true}));
        assert_eq!(operator(&["pass", "list", "--json"]).json(), json!([]));
    });
    let directory = TempDir::new().expect("a directory");
    for args in [["--uses", "0"], ["--expires", "0"], ["--expires", "soon"]] {
        assert_eq!(run(directory.path(), &[&["pass", "create"], &args[..]].concat()).code, 2, "{args:?}");
    }
}

#[test]
fn a_pass_may_be_made_before_the_first_start() {
    let directory = TempDir::new().expect("a directory");
    assert_eq!(run(directory.path(), &["pass", "create"]).code, 0);
    let relay = serve_in(directory.path(), &[]);
    assert_eq!(relay.operator(&["pass", "list", "--json"]).json().as_array().map(Vec::len), Some(1));
}

#[test]
fn explain_db_shows_the_relays_own_rows_and_what_each_column_reveals() {
    both_ways(|operator, _| {
        let tables = operator(&["explain-db", "--json"]).json();
        let names: Vec<&str> = tables.as_array().expect("tables").iter().filter_map(|table| table["table"].as_str()).collect();
        assert!(names.contains(&"envelopes"), "{names:?}");
        let text = operator(&["explain-db"]).stdout;
        assert!(text.contains("envelopes (0 rows): how much waits"), "{text}");
        assert!(!text.contains("not in the ledger"), "{text}");
        for table in tables.as_array().expect("tables") {
            assert!(table["reveals"].as_str().is_some_and(|said| text.contains(said)), "{table}");
            let (columns, ledger) =
                (table["columns"].as_array().expect("columns"), table["ledger"].as_array().expect("a ledger"));
            assert_eq!(columns.len(), ledger.len());
            for (column, entry) in columns.iter().zip(ledger) {
                assert_eq!(column, &entry["column"]);
                for said in ["reveals", "kept"] {
                    assert!(entry[said].as_str().is_some_and(|said| !said.is_empty() && text.contains(said)), "{entry}");
                }
            }
        }
    });
}

#[test]
fn check_verifies_a_stopped_database_and_only_that() {
    let relay = serve(&[]);
    let done = relay.operator(&["check"]);
    assert!(done.code == 75 && done.stdout.is_empty(), "{done:?}");

    let directory = stopped();
    let done = run(directory.path(), &["check"]);
    assert_eq!(done.code, 0, "{done:?}");
    let file = directory.path().join("restante-data/restante.db");
    let mut bytes = std::fs::read(&file).expect("a database");
    let middle = bytes.len() / 2;
    bytes[middle..].fill(0xff);
    std::fs::write(&file, bytes).expect("a file");
    let done = run(directory.path(), &["check"]);
    assert!(done.code == 65 && done.stderr.contains("restante: error: "), "{done:?}");
}

#[test]
fn where_no_relay_was_nothing_is_made() {
    let directory = TempDir::new().expect("a directory");
    for args in [&["stats"][..], &["purge"], &["pass", "list"], &["explain-db"], &["check"]] {
        let done = run(directory.path(), args);
        assert!(done.code == 1 && done.stderr.contains("no relay's database"), "{args:?}: {done:?}");
    }
    assert_eq!(directory.path().read_dir().expect("a directory").count(), 0);
}

#[test]
fn the_socket_is_the_operators_alone_and_goes_with_the_relay() {
    let relay = serve(&[]);
    let socket = relay.directory.join("restante-data/admin.sock");
    assert_eq!(socket.metadata().expect("a socket").permissions().mode() & 0o777, 0o600);
    let kept = TempDir::new().expect("a directory");
    let data = kept.path().join("data");
    std::fs::create_dir(&data).expect("a directory");
    // What a dead relay left behind is in nobody's way.
    drop(std::os::unix::net::UnixListener::bind(data.join("admin.sock")).expect("a socket"));
    let relay = serve_in(kept.path(), &["--data", "data"]);
    assert_eq!(relay.operator(&["stats", "--json", "--data", "data"]).code, 0);
    stop(relay);
    assert!(!data.join("admin.sock").exists());
}
