//! `restante bench` in small: that its scenarios run, that its counts are those of a relay that loses nothing, and that it
//! leaves nothing behind. What it measures is not looked at here.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Done, finish, restante, serve};

/// So small that it takes seconds.
const SMALL: [&str; 9] = ["--devices", "20", "--connections", "8", "--seconds", "1", "--rate", "200", "--rounds"];

fn bench(scratch: &Path, args: &[&str]) -> Done {
    let args = [&["bench", "--json"], &SMALL[..], args].concat();
    finish(restante(scratch, &args).env("TMPDIR", scratch))
}

#[track_caller]
fn is_empty(directory: &Path) {
    let left: Vec<PathBuf> = directory.read_dir().expect("a directory").map(|entry| entry.expect("an entry").path()).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[track_caller]
fn count(scenario: &Value, name: &str) -> u64 {
    scenario["counts"][name].as_u64().unwrap_or_else(|| panic!("no count of {name}: {scenario}"))
}

/// These figures are there, of one round.
#[track_caller]
fn figures(scenario: &Value, names: &[&str]) {
    for name in names {
        let figure = &scenario["figures"][name];
        assert!(figure["median"].is_f64() && figure["unit"].is_string(), "{name}: {scenario}");
        assert_eq!(figure["rounds"].as_array().map(Vec::len), Some(1), "{name}: {figure}");
        let bounds = ["at_most", "at_least"].iter().filter(|bound| figure[**bound].is_f64()).count();
        assert_eq!(bounds, usize::from(figure["met"].is_boolean()), "{name}: {figure}");
    }
}

#[test]
fn everything_that_is_accepted_arrives_and_is_counted() {
    let scratch = TempDir::new().expect("a directory");
    let done = bench(scratch.path(), &["1", "--fill", "400", "--mailboxes", "40"]);
    let said = done.json();
    is_empty(scratch.path());
    let (machine, settings) = (&said["machine"], &said["settings"]);
    assert!(machine["cores"].is_u64() && machine["cpu"].is_string() && machine["fdatasync_ms"].is_f64(), "{machine}");
    assert_eq!((&settings["synchronous"], &settings["body_bytes"]), (&"FULL".into(), &1_024.into()), "{settings}");
    assert!(said["not_measured"].as_array().is_some_and(|list| list.len() == 4), "{said}");

    let of = |name: &str| &said["scenarios"][name];
    for name in ["send", "receive", "half", "mixed", "idle", "latency", "reconnect", "footprint", "filled"] {
        assert_eq!(of(name)["faults"], Value::Array(Vec::new()), "{name}");
    }
    figures(of("send"), &["durable_sends", "p50", "p99", "baseline", "baseline_p50", "baseline_p99", "ratio_to_baseline"]);
    let sent = count(of("send"), "sent");
    assert!(sent >= 8, "each of 8 connections sends at least once: {sent}");
    assert_eq!((count(of("send"), "refused"), count(of("send"), "failed")), (0, 0));

    figures(of("receive"), &["received_and_acknowledged", "ratio_to_sends"]);
    assert_eq!((count(of("receive"), "received"), count(of("receive"), "acknowledged")), (sent, sent));

    figures(of("half"), &["peak", "sends", "p50", "p99", "p99_ratio_to_p50", "sent_late_p99"]);
    assert_eq!(count(of("half"), "sent"), count(of("half"), "received"));

    figures(of("mixed"), &["operations", "sends", "received_and_acknowledged", "send_p99", "poll_p99", "acknowledgement_p99"]);
    assert_eq!(count(of("mixed"), "sent"), count(of("mixed"), "received"));

    figures(of("footprint"), &["binary", "resident_idle"]);

    figures(of("filled"), &["filled_in", "disk_per_envelope", "ready", "resident_at_rest", "resident_after_load"]);
    figures(of("filled"), &["empty_sends", "sends", "send_ratio", "empty_received", "received", "receive_ratio"]);
    figures(
        of("filled"),
        &["received_from_quiet_mailboxes", "received_beside_purge", "p99_without_purge", "p99_beside_purge", "purge_p99_ratio"],
    );
    figures(of("filled"), &["database_before_purge", "database_after_purge", "free_after_purge"]);
    assert_eq!((count(of("filled"), "waiting"), count(of("filled"), "mailboxes")), (400, 40));
    // Of ten in each mailbox one expires first; the 8 busiest and 3 others have had theirs.
    assert_eq!(count(of("filled"), "purged"), 29);

    figures(of("idle"), &["memory_per_stream", "memory_per_poll", "second_wave_of_streams", "second_wave_of_polls"]);
    figures(of("idle"), &["descriptors_left_by_streams", "descriptors_left_by_polls"]);
    // Two waves of 20.
    assert_eq!((count(of("idle"), "streams_held"), count(of("idle"), "polls_held")), (40, 40));

    figures(of("latency"), &["stream_delivery_p50", "stream_delivery_p99", "stream_202_p50", "stream_p50_ratio_to_202"]);
    figures(of("latency"), &["poll_delivery_p50", "poll_delivery_p99", "poll_202_p50", "poll_p50_ratio_to_202"]);
    // By stream and by poll: once to each of 20, then 200 in a second.
    assert_eq!(count(of("latency"), "sent"), 2 * 220);
    assert_eq!((count(of("latency"), "delivered"), count(of("latency"), "delivered_again")), (2 * 220, 0));

    figures(of("reconnect"), &["outage", "all_back_after_restart"]);
    assert_eq!((count(of("reconnect"), "came_back"), count(of("reconnect"), "sends_failed_for_good")), (20, 0));
    assert_eq!(count(of("reconnect"), "sent"), count(of("reconnect"), "delivered"));
}

#[test]
fn somebodys_own_relay_is_loaded_and_not_killed() {
    let scratch = TempDir::new().expect("a directory");
    let relay = serve(&["--set", "log.level=warn"]);
    let url = relay.banner["listening"].as_str().expect("an address");
    let said = bench(scratch.path(), &["1", "receive", "idle", "reconnect", "--url", url]).json();
    is_empty(scratch.path());
    assert_eq!(
        said["scenarios"].as_object().map(|scenarios| scenarios.keys().cloned().collect()),
        Some(vec!["receive".to_string()])
    );
    assert_eq!(said["not_measured"].as_array().map(Vec::len), Some(6));
    assert_eq!(relay.operator(&["stats", "--json"]).json()["accounts"], 8, "one for each connection");
}

#[test]
fn an_interrupt_ends_the_relay_and_removes_its_data() {
    let scratch = TempDir::new().expect("a directory");
    let mut bench = restante(scratch.path(), &["bench", "latency", "--seconds", "600", "--devices", "4"])
        .env("TMPDIR", scratch.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut words = BufReader::new(bench.stderr.take().expect("a pipe")).lines();
    let running = words.find(|line| line.as_ref().is_ok_and(|line| line.contains("over streams")));
    running.expect("it comes so far").expect("UTF-8");
    let relays = children(&bench);
    assert_eq!(relays.len(), 1, "a relay runs");
    kill_process(Pid::from_child(&bench), Signal::INT).expect("the process is there");
    assert_eq!(bench.wait().expect("its end").code(), Some(1));
    assert!(words.any(|line| line.is_ok_and(|line| line.contains("interrupted"))));
    is_empty(scratch.path());
    assert!(!relays[0].exists(), "the relay has ended");
}

/// The processes that a process has started, as directories of `/proc`.
fn children(parent: &Child) -> Vec<PathBuf> {
    let parent = parent.id().to_string();
    let processes = Path::new("/proc").read_dir().expect("a /proc").filter_map(|entry| Some(entry.ok()?.path()));
    let is_child = |process: &PathBuf| {
        let stat = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
        // Behind the name: the state, then the parent.
        stat.rsplit_once(')').and_then(|(_, fields)| fields.split_whitespace().nth(1)).is_some_and(|id| id == parent)
    };
    processes.filter(is_child).collect()
}
