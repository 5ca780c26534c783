//! `restante client` as a process: killed at the worst moment, run many at a time, moved to another place.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;

use super::swallow::Swallow;
use crate::process::{Done, Serving, finish, restante, run, serve_in};

/// Two profiles of the command line, `alice` and `bob`, met, at a relay that is reached through a proxy.
fn commands_met(proxy: &Swallow) -> (Serving, TempDir) {
    let directory = TempDir::new().expect("a directory");
    let config = format!("[server]\norigins = [\"{}\"]\nregistration = \"open\"\n", proxy.origin());
    std::fs::write(directory.path().join("relay.toml"), config).expect("written");
    let relay = serve_in(directory.path(), &[]);
    proxy.forward_to(relay.address());
    for name in ["alice", "bob"] {
        let done = client(directory.path(), name, &["init", "--relay", &proxy.origin()]);
        assert_eq!(done.stdout.split_whitespace().count(), 24, "{done:?}");
    }
    let link = client(directory.path(), "alice", &["invite", "bob"]).stdout;
    client(directory.path(), "bob", &["add", "alice", link.trim()]);
    client(directory.path(), "alice", &["receive"]);
    client(directory.path(), "bob", &["receive"]);
    (relay, directory)
}

fn client(directory: &Path, profile: &str, args: &[&str]) -> Done {
    let done = run(directory, &[&["client", "--profile", profile], args].concat());
    assert_eq!(done.code, 0, "{args:?}: {done:?}");
    done
}

/// The message is printed, its acknowledgement never reaches the relay, and the client is killed. The relay gives it again;
/// nobody is shown it again, and the one sent meanwhile is not lost.
#[test]
fn a_client_killed_between_print_and_acknowledgement_shows_once_and_loses_nothing() {
    let proxy = Swallow::new("POST /v1/envelopes/ack");
    let (_relay, directory) = commands_met(&proxy);
    client(directory.path(), "bob", &["send", "alice", "only once"]);

    proxy.swallow(true);
    let mut command = restante(directory.path(), &["client", "--profile", "alice", "receive"]);
    let mut receiving = command.stdout(Stdio::piped()).spawn().expect("the binary runs");
    let mut line = String::new();
    BufReader::new(receiving.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
    assert!(line.ends_with("bob: only once\n"), "{line:?}");
    proxy.swallowed();
    receiving.kill().expect("killed");
    receiving.wait().expect("its end");
    proxy.swallow(false);

    client(directory.path(), "bob", &["send", "alice", "and another"]);
    let done = client(directory.path(), "alice", &["receive"]);
    assert!(!done.stdout.contains("only once") && done.stdout.ends_with("bob: and another\n"), "{done:?}");
    assert_eq!(client(directory.path(), "alice", &["receive"]).stdout, "");
    let doctor = client(directory.path(), "alice", &["doctor"]).stdout;
    assert!(doctor.contains("0 envelopes wait"), "{doctor}");
}

/// Killed while the message is being shown, before that was noted: it is shown by the next run, though the relay need not
/// be asked.
#[test]
fn a_client_killed_while_it_shows_a_message_shows_it_next_time() {
    let proxy = Swallow::new("POST /v1/envelopes/ack");
    let (relay, directory) = commands_met(&proxy);
    client(directory.path(), "bob", &["send", "alice", "precious"]);
    let killed = restante(directory.path(), &["client", "--profile", "alice", "receive", "--exec", "kill -KILL $PPID"])
        .status()
        .expect("the binary runs");
    assert_eq!(killed.code(), None, "a signal ended it");
    let mut failing = restante(directory.path(), &["client", "--profile", "alice", "receive", "--exec", "exit 3"]);
    let failed = finish(&mut failing);
    assert_eq!(failed.code, 1);
    assert!(failed.stderr.contains("hint: the message stays here"), "{failed:?}");
    drop(relay);
    let mut offline =
        restante(directory.path(), &["client", "--profile", "alice", "receive", "--exec", "echo $RESTANTE_FROM: $(cat)"]);
    let shown = finish(&mut offline);
    assert_eq!(shown.stdout, "bob: precious\n", "{shown:?}");
    assert_eq!(shown.code, 1, "the relay could not be told");
}

#[test]
fn two_processes_of_one_profile_take_turns() {
    let proxy = Swallow::new("POST /v1/envelopes/ack");
    let (_relay, directory) = commands_met(&proxy);
    let senders: Vec<_> = (0..6)
        .map(|n| {
            let text = format!("number {n}");
            restante(directory.path(), &["client", "--profile", "bob", "send", "alice", &text]).spawn().expect("runs")
        })
        .collect();
    for mut sender in senders {
        assert!(sender.wait().expect("its end").success());
    }
    let received = client(directory.path(), "alice", &["receive", "--json"]).stdout;
    let mut texts: Vec<String> = received
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .map(|event| event["text"].as_str().expect("a text").to_string())
        .collect();
    texts.sort();
    assert_eq!(texts, (0..6).map(|n| format!("number {n}")).collect::<Vec<_>>());
}

#[test]
fn an_export_opens_in_another_place_with_its_passphrase() {
    let proxy = Swallow::new("POST /v1/envelopes/ack");
    let (_relay, directory) = commands_met(&proxy);
    let with = |passphrase: &str, args: &[&str]| {
        finish(
            restante(directory.path(), &[&["client", "--profile"], args].concat())
                .env("RESTANTE_CLIENT_PASSPHRASE", passphrase),
        )
    };
    assert_eq!(with("open sesame", &["bob", "export", "bob.export"]).code, 0);
    assert_eq!(with("open sesame", &["bob", "export", "bob.export"]).code, 1, "never over another file");
    assert_eq!(with("sesame", &["moved", "import", "bob.export"]).code, 1);
    assert_eq!(with("open sesame", &["moved", "import", "bob.export"]).code, 0);
    client(directory.path(), "moved", &["send", "alice", "from elsewhere"]);
    let received = client(directory.path(), "alice", &["receive"]).stdout;
    assert!(received.ends_with("bob: from elsewhere\n"), "{received}");
}
