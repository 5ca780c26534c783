//! Several devices by the command line alone.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Done, restante, run, serve};

fn client(directory: &Path, profile: &str, args: &[&str]) -> Done {
    run(directory, &[&["client", "--profile", profile], args].concat())
}

fn ok(directory: &Path, profile: &str, args: &[&str]) -> String {
    let done = client(directory, profile, args);
    assert_eq!(done.code, 0, "{args:?}: {done:?}");
    done.stdout
}

fn line(reader: &mut BufReader<ChildStdout>) -> Value {
    let mut line = String::new();
    reader.read_line(&mut line).expect("a line");
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

/// A new device that waits, and what it showed.
fn joining(directory: &Path, profile: &str, account: &str) -> (Child, BufReader<ChildStdout>, Value) {
    let mut command = restante(directory, &["client", "--profile", profile, "link", "--json", "--account", account]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary runs");
    let mut reader = BufReader::new(child.stdout.take().expect("a pipe"));
    let shown = line(&mut reader);
    (child, reader, shown)
}

#[test]
fn a_device_is_linked_listed_and_removed_with_the_words() {
    let relay = serve(&[]);
    let directory = TempDir::new().expect("a directory");
    let directory = directory.path();
    let words = ok(directory, "phone", &["init", "--relay", &format!("http://{}", relay.address())]);
    let invited = client(directory, "phone", &["link", "invite", "--qr"]);
    assert!(invited.stdout.starts_with("restante:account1?") && invited.stderr.contains('\u{2580}'), "{invited:?}");
    let (mut child, mut reader, shown) = joining(directory, "laptop", invited.stdout.trim());
    let code = shown["code"].as_str().expect("a code");

    let cut = client(directory, "phone", &["link", "approve", &code[..100]]);
    assert!(cut.code == 1 && cut.stderr.contains("hint: "), "{cut:?}");
    let unasked = client(directory, "phone", &["link", "approve", code]);
    assert!(unasked.code == 2 && unasked.stderr.contains("hint: ") && unasked.stderr.contains("--yes"), "{unasked:?}");
    let approved = ok(directory, "phone", &["link", "approve", "--yes", "--json", code]);
    let approved: Value = serde_json::from_str(&approved).expect("JSON");
    assert_eq!((&approved["device"], &approved["digits"]), (&shown["device"], &shown["digits"]));
    assert_eq!(line(&mut reader)["device"], shown["device"]);
    assert!(child.wait().expect("its end").success());
    let again = client(directory, "phone", &["link", "approve", code]);
    assert!(again.code == 1 && again.stderr.contains("used already"), "{again:?}");

    let digits = shown["digits"].as_str().expect("digits");
    for profile in ["phone", "laptop"] {
        assert_eq!(ok(directory, profile, &["digits"]).trim(), digits);
        let listed: Value = serde_json::from_str(&ok(directory, profile, &["devices", "--json"])).expect("JSON");
        assert_eq!(listed["devices"].as_array().map(Vec::len), Some(2), "{listed}");
        assert!(client(directory, profile, &["devices"]).stderr.contains(digits));
    }
    let device = shown["device"].as_str().expect("a device");
    let mut removing = restante(directory, &["client", "--profile", "phone", "devices", "remove", device, "--stolen"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    removing.stdin.take().expect("a pipe").write_all(words.as_bytes()).expect("typed");
    assert!(removing.wait().expect("its end").success());
    let out = client(directory, "laptop", &["receive"]);
    assert!(out.code == 1 && out.stderr.contains("removed from its account") && out.stderr.contains("hint: "), "{out:?}");
    assert_eq!(client(directory, "x", &["link"]).code, 2, "usage");
}
