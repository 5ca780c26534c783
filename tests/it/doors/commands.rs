//! The same on the command line: what is printed, and with which exit code.

use std::path::Path;

use tempfile::TempDir;

use crate::process::{Done, Serving, run, serve};

/// A relay, and profiles beside it.
struct Desk {
    relay: Serving,
    directory: TempDir,
}

impl Desk {
    fn new(people: &[&str]) -> Self {
        let desk = Self { relay: serve(&[]), directory: TempDir::new().expect("a directory") };
        let relay = format!("http://{}", desk.relay.address());
        for name in people {
            desk.done(name, &["init", "--relay", &relay, "--name", name]);
        }
        desk
    }

    fn run(&self, profile: &str, args: &[&str]) -> Done {
        client(self.directory.path(), profile, args)
    }

    /// Runs what must succeed.
    #[track_caller]
    fn done(&self, profile: &str, args: &[&str]) -> Done {
        let done = self.run(profile, args);
        assert_eq!(done.code, 0, "{args:?}: {done:?}");
        done
    }
}

fn client(directory: &Path, profile: &str, args: &[&str]) -> Done {
    run(directory, &[&["client", "--profile", profile], args].concat())
}

#[test]
fn a_handle_is_set_knocked_at_and_answered() {
    let desk = Desk::new(&["alice", "bob"]);
    assert!(desk.done("alice", &["handle", "show"]).stderr.contains("none: "));
    desk.done("alice", &["handle", "set", "alice.a"]);
    assert_eq!(desk.done("alice", &["handle", "show"]).stdout, "alice.a\n");
    assert_eq!(desk.done("alice", &["handle", "show", "--json"]).json()["handle"], "alice.a");
    assert_eq!(desk.done("alice", &["handle", "--json"]).json()["handle"], "alice.a");
    let bad = desk.run("bob", &["knock", "Alice", "hello"]);
    assert!(bad.code == 1 && bad.stderr.contains("cannot be a handle") && bad.stderr.contains("hint: "), "{bad:?}");
    let nobody = desk.run("bob", &["knock", "alicia", "hello"]);
    assert!(nobody.code == 1 && nobody.stderr.contains("nobody at http"), "{nobody:?}");

    desk.done("bob", &["knock", "alice.a", "hello,\nit's \u{1b}[31mbob", "--name", "al"]);
    assert!(desk.done("bob", &["contacts"]).stdout.contains("knocked, no answer yet"));
    assert_eq!(desk.run("bob", &["send", "al", "x"]).code, 1);
    assert!(desk.done("alice", &["knocks"]).stderr.contains("nobody waits"));
    let received = desk.done("alice", &["receive"]);
    let told =
        "somebody who calls themselves bob knocks, and says:\n  hello,\n  it's \\u{1b}[31mbob\n  `restante client accept 1`";
    assert!(received.stdout.is_empty() && received.stderr.contains(told), "{received:?}");
    let knocks = desk.done("alice", &["knocks"]);
    assert!(knocks.stdout.starts_with("1  ") && knocks.stdout.contains("\\u{1b}[31mbob"), "{knocks:?}");
    let listed = desk.done("alice", &["knocks", "--json"]).json();
    assert_eq!((&listed[0]["number"], &listed[0]["name"]), (&1.into(), &"bob".into()));
    desk.done("alice", &["accept", "1", "--name", "robert"]);
    assert!(desk.done("bob", &["receive"]).stderr.contains("al has answered"));
    desk.done("bob", &["send", "al", "thanks"]);
    assert!(desk.done("alice", &["receive"]).stdout.ends_with("robert: thanks\n"));

    assert!(desk.done("alice", &["block"]).stderr.contains("nobody is blocked"));
    desk.done("alice", &["block", "robert"]);
    assert!(desk.done("alice", &["block"]).stdout.contains("robert"));
    assert_eq!(desk.run("bob", &["send", "al", "x"]).code, 1);
    desk.done("alice", &["unblock", "robert"]);
    let released = desk.done("alice", &["handle", "release"]);
    assert!(released.stderr.contains("given up"), "{released:?}");
    assert!(desk.done("alice", &["handle", "release"]).stderr.contains("there was none"));
}

#[test]
fn links_for_several_are_made_listed_shown_as_codes_and_taken_back() {
    let desk = Desk::new(&["alice", "bob"]);
    let invited = desk.done("alice", &["invite", "--uses", "5", "--expires", "2d", "--qr"]);
    let (link, code) = invited.stdout.split_once('\n').expect("a link and a code");
    assert!(link.starts_with("restante:1?origin=") && link.contains("&knock="), "{link}");
    assert!(code.lines().count() > 20 && code.contains('▀'), "{code}");
    assert!(invited.stderr.contains("for 5 people, within 2 days"), "{invited:?}");
    let plain = desk.done("alice", &["invite", "bob"]).stdout;
    assert!(plain.lines().count() == 1 && plain.contains("&once="), "no code where stdout is no terminal: {plain}");
    let knocked = desk.done("bob", &["add", "alice", link, "hello"]);
    assert!(knocked.stderr.starts_with("knocked; "), "{knocked:?}");
    assert!(desk.done("alice", &["receive"]).stderr.contains("bob came by your link"));

    let listed = desk.done("alice", &["invites"]).stdout;
    assert!(listed.contains("1 of 5") && listed.contains("0 of 1") && listed.contains("bob"), "{listed}");
    let listed = desk.done("alice", &["invites", "--json"]).json();
    let open = listed.as_array().expect("a list").iter().find(|invite| invite["uses"] == 5).expect("the open one");
    let taken = desk.done("alice", &["invites", "revoke", open["id"].as_str().expect("an id")]);
    assert!(taken.stderr.contains("1 link taken back"), "{taken:?}");
    assert_eq!(desk.run("alice", &["invites", "revoke", "00000000"]).code, 1);
    assert_eq!(desk.run("alice", &["invites", "revoke"]).code, 2, "which?");
    desk.done("alice", &["invites", "revoke", "--all"]);
    assert!(desk.done("alice", &["invites"]).stderr.contains("none is open"));
    for args in [["--uses", "0"], ["--uses", "1001"], ["--expires", "soon"], ["--expires", "0d"]] {
        assert_eq!(desk.run("alice", &["invite", args[0], args[1]]).code, 2, "{args:?}");
    }
    assert_eq!(desk.run("alice", &["invite", "bob", "--uses", "2"]).code, 2);
    let words = desk.run("bob", &["add", "again", plain.trim(), "hello"]);
    assert_eq!(words.code, 2, "a link for one person carries no words: {words:?}");
}
