//! Three devices of one account and two contacts, on one relay, through the command line alone: linked, knocked at, accepted,
//! written to both ways, a device removed, the handle changed, the second factor on, and all of it back from the words.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;

use crate::client::factor::code;
use crate::process::{Done, Serving, restante, run, serve};

/// A relay, and profiles beside it.
struct Town {
    relay: Serving,
    directory: TempDir,
}

impl Town {
    fn origin(&self) -> String {
        format!("http://{}", self.relay.address())
    }

    fn try_to(&self, profile: &str, args: &[&str]) -> Done {
        run(self.directory.path(), &[&["client", "--profile", profile], args].concat())
    }

    /// Runs what must succeed.
    #[track_caller]
    fn done(&self, profile: &str, args: &[&str]) -> Done {
        let done = self.try_to(profile, args);
        assert_eq!(done.code, 0, "{profile} {args:?}: {done:?}");
        done
    }

    /// The same with something to read from stdin.
    #[track_caller]
    fn told(&self, profile: &str, args: &[&str], typed: &str) {
        let args = [&["client", "--profile", profile], args].concat();
        let mut child = restante(self.directory.path(), &args).stdin(Stdio::piped()).spawn().expect("the binary runs");
        child.stdin.take().expect("a pipe").write_all(typed.as_bytes()).expect("typed");
        assert!(child.wait().expect("its end").success(), "{profile} {args:?}");
    }

    /// Somebody new, who tells contacts nothing and has their own devices told at once; gives the words.
    fn settle(&self, name: &str) -> String {
        let words = self.done(name, &["init", "--relay", &self.origin(), "--name", name]).stdout;
        self.hasty(name);
        words
    }

    fn hasty(&self, profile: &str) {
        self.done(profile, &["receipts", "off", "--delay", "0..0"]);
    }

    /// Lets a new device into the account of another.
    fn link(&self, old: &str, new: &str, approve: &[&str]) {
        let line = self.done(old, &["link", "invite"]).stdout;
        let args = ["client", "--profile", new, "link", "--json", "--account", line.trim()];
        let mut child = restante(self.directory.path(), &args).stdout(Stdio::piped()).spawn().expect("the binary runs");
        let mut reader = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut shown = String::new();
        reader.read_line(&mut shown).expect("a line");
        let shown: Value = serde_json::from_str(&shown).expect("JSON");
        let code = shown["code"].as_str().expect("a code");
        let approved = self.done(old, &[&["link", "approve", "--yes", "--json"], approve, &[code]].concat()).json();
        assert_eq!(approved["digits"], shown["digits"], "both screens show the same");
        assert!(child.wait().expect("its end").success());
        self.hasty(new);
    }

    /// What a profile was shown by one receive, messages and all.
    fn received(&self, profile: &str) -> String {
        let done = self.done(profile, &["receive"]);
        done.stdout + &done.stderr
    }

    /// Receives until it was shown something that says so.
    #[track_caller]
    fn sees(&self, profile: &str, what: &str) {
        let mut all = String::new();
        for _ in 0..ROUNDS {
            all += &self.received(profile);
            if all.contains(what) {
                return;
            }
        }
        panic!("{profile} was not shown {what:?}: {all}");
    }

    fn devices(&self, profile: &str) -> Vec<Value> {
        let listed = self.done(profile, &["devices", "--json"]).json();
        listed["devices"].as_array().expect("a list").clone()
    }
}

#[test]
fn three_devices_and_two_contacts_live_by_the_command_line_alone() {
    let town = Town { relay: serve(&[]), directory: TempDir::new().expect("a directory") };
    let words = town.settle("phone");
    town.settle("bob");
    town.settle("carol");
    town.link("phone", "laptop", &[]);
    town.link("laptop", "tablet", &[]);

    // Bob is found by his handle, Carol has a link.
    town.done("bob", &["handle", "set", "bob.b"]);
    town.done("phone", &["knock", "bob.b", "hello, it's alice", "--name", "bob"]);
    town.sees("bob", "hello, it's alice");
    town.done("bob", &["accept", "1", "--name", "alice"]);
    let link = town.done("carol", &["invite", "alice"]).stdout;
    town.sees("phone", "bob has answered");
    town.done("laptop", &["add", "carol", link.trim()]);
    town.sees("carol", "alice");

    // What one writes, and what another device of hers does, each device is shown.
    town.done("bob", &["send", "alice", "to all of you"]);
    for device in ["phone", "laptop", "tablet"] {
        town.sees(device, "bob: to all of you");
    }
    town.done("tablet", &["send", "bob", "from the tablet"]);
    town.sees("bob", "alice: from the tablet");
    town.sees("phone", "you (other device) → bob: from the tablet");
    town.done("carol", &["send", "alice", "hello alice"]);
    for device in ["phone", "laptop", "tablet"] {
        town.sees(device, "carol: hello alice");
    }

    // A device goes, a contact is found by another name.
    let own = |profile: &str| town.done(profile, &["whoami", "--json"]).json()["device"].as_str().expect("an id").to_string();
    town.done("phone", &["devices", "remove", &own("tablet")]);
    let gone = town.try_to("tablet", &["receive"]);
    assert!(gone.code == 1 && gone.stderr.contains("removed from its account"), "{gone:?}");
    assert_eq!(town.devices("laptop").len(), 2);
    town.done("bob", &["handle", "set", "robert"]);
    let nobody = town.try_to("carol", &["knock", "bob.b", "hello"]);
    assert!(nobody.code == 1 && nobody.stderr.contains("nobody at http"), "{nobody:?}");
    town.done("laptop", &["send", "bob", "still you?"]);
    town.sees("bob", "alice: still you?");

    // The second factor: a thief of the phone adds no device.
    let secret = town.done("phone", &["totp", "on", "--json"]).json()["secret"].as_str().expect("a secret").to_string();
    let on = town.done("phone", &["totp", "on", "--code", &code(&secret, 0), "--json"]).json();
    let recovery = on["recovery_codes"][0].as_str().expect("a code").to_string();
    let refused = town.try_to("laptop", &["handle", "set", "alice.a"]);
    assert!(refused.code == 1 && refused.stderr.contains("second factor"), "{refused:?}");
    town.done("laptop", &["handle", "set", "alice.a", "--code", &recovery]);
    town.link("laptop", "desk", &["--code", &code(&secret, 1)]);
    assert_eq!(town.devices("desk").len(), 3);

    // All devices are lost, and the words are not.
    town.told("anew", &["recover", "--relay", &town.origin()], &words);
    let contacts = town.done("anew", &["contacts"]).stdout;
    assert!(contacts.contains("bob") && contacts.contains("carol"), "{contacts}");
    assert_eq!(town.devices("anew").len(), 1);
    assert!(town.try_to("laptop", &["receive"]).stderr.contains("removed from its account"));
    town.done("anew", &["send", "bob", "it's me again"]);
    town.sees("bob", "alice: it's me again");
    town.done("bob", &["send", "alice", "welcome back"]);
    town.sees("anew", "bob: welcome back");
    assert_eq!(town.done("anew", &["totp", "status"]).stdout, "off\n", "the words are more than it");
}

/// Some things come by the second receive: what was held back until the slot was read, a list that was asked for.
const ROUNDS: usize = 4;
