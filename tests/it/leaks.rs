//! The leak test: people live at a real relay that logs all it can, and then its files, its log and what it tells the operator
//! are searched for everything that they said and hold; and the database for what would tie one of them to another.
//!
//! What may stand on the disk says the leak ledger (`restante explain-db`); what stands there is read here row by row, so that
//! a table or a column that is added later is looked at, too.

mod needles;
mod rows;
mod wire;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::client::factor::code;
use crate::process::{Done, Serving, finish, restante, started};
use crate::support::files::{contents, raw};
use needles::Needles;
use rows::{
    no_table_joins_tokens_and_envelopes, rows, rows_that_speak_of_two_accounts, what_leads_from_an_envelope_to_something,
};
use wire::{Spoken, Wire};

/// Where the clients come from, as the proxy says: long enough to be searched for in binary, too.
const ADDRESS: &str = "2001:db8:5ca1:ab1e:dead:beef:1234:5678";
const HANDLE: &str = "quixotic_handle_77";
const FORMER_HANDLE: &str = "yesterdays.handle.41";
const TEXTS: [&str; 5] = [
    "the first canary sings of the weather",
    "the second canary sings of the harvest",
    "the third canary waits for somebody offline",
    "the fourth canary finds the door",
    "the seventh canary goes by a stream",
];
const KNOCKS: [&str; 2] = ["may I come in, says the fifth canary", "anybody home, says the sixth canary"];
/// Names that people give themselves and each other.
const NAMES: [&str; 5] =
    ["alice-of-the-canaries", "bob-of-the-canaries", "carol-of-the-canaries", "my-dear-bob-zz", "my-dear-carol-zz"];

/// A relay and its people, and all that must not be found.
struct Town {
    relay: Serving,
    directory: TempDir,
    wire: Wire,
    /// What must stand neither on the disk nor in the log.
    secrets: Needles,
    /// What may stand on the disk, and must not in the log: ids, public keys, hashes, ciphertext.
    names: Needles,
    told: Vec<u8>,
    /// What was found, in words.
    leaks: Vec<String>,
}

impl Town {
    fn new(format: &str) -> Self {
        let directory = TempDir::new().expect("a directory");
        let wire = Wire::new(ADDRESS);
        let mut command = restante(directory.path(), &["serve", "--json", "--listen", "127.0.0.1:0"]);
        command
            .env("RESTANTE_LOG", "trace")
            .env("RESTANTE_LOG__FORMAT", format)
            .env("RESTANTE_SERVER__ORIGINS", wire.origin())
            .env("RESTANTE_SERVER__TRUSTED_PROXIES", "127.0.0.1/32")
            .env("RESTANTE_SERVER__REGISTRATION", "pass")
            .env("RESTANTE_LIMITS__PREFIX_CHALLENGES_PER_MIN", "0")
            .env("RESTANTE_LIMITS__PREFIX_KNOCKS_PER_HOUR", "100");
        let log = File::create(directory.path().join("log")).expect("a file");
        let relay = started(directory.path(), command.stderr(log));
        wire.forward_to(relay.address());
        Self {
            relay,
            directory,
            wire,
            secrets: Needles::default(),
            names: Needles::default(),
            told: Vec::new(),
            leaks: Vec::new(),
        }
    }

    fn try_to(&mut self, profile: &str, args: &[&str], typed: Option<&str>) -> Done {
        let args = [&["client", "--profile", profile], args].concat();
        let mut command = restante(self.directory.path(), &args);
        let done = match typed {
            None => finish(&mut command),
            Some(typed) => {
                let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("the binary runs");
                child.stdin.take().expect("a pipe").write_all(typed.as_bytes()).expect("typed");
                let code = child.wait().expect("its end").code().expect("an exit code");
                Done { code, stdout: String::new(), stderr: String::new() }
            }
        };
        self.learn(profile);
        done
    }

    /// Runs what must succeed.
    #[track_caller]
    fn done(&mut self, profile: &str, args: &[&str]) -> Done {
        let done = self.try_to(profile, args, None);
        assert_eq!(done.code, 0, "{profile} {args:?}: {done:?}");
        done
    }

    /// Somebody new, by a pass; gives the words.
    fn settle(&mut self, profile: &str, name: &str) -> String {
        let pass = self.operator(&["pass", "create", "--uses", "2"]).stdout.trim().to_string();
        self.secrets.add("a pass", pass.as_bytes());
        self.secrets.add("a pass", pass.replace('-', "").as_bytes());
        let origin = self.wire.origin().to_string();
        let words = self.done(profile, &["init", "--relay", &origin, "--name", name, "--pass", &pass]).stdout;
        self.hasty(profile);
        words
    }

    fn hasty(&mut self, profile: &str) {
        self.done(profile, &["receipts", "read", "--delay", "0..0"]);
    }

    fn link(&mut self, old: &str, new: &str) {
        let line = self.done(old, &["link", "invite"]).stdout;
        let args = ["client", "--profile", new, "link", "--json", "--account", line.trim()];
        let mut child = restante(self.directory.path(), &args).stdout(Stdio::piped()).spawn().expect("the binary runs");
        let mut shown = String::new();
        BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut shown).expect("a line");
        let shown: Value = serde_json::from_str(&shown).expect("JSON");
        self.learn(new);
        self.done(old, &["link", "approve", "--yes", shown["code"].as_str().expect("a code")]);
        assert!(child.wait().expect("its end").success());
        self.hasty(new);
    }

    /// Receives until it was shown that.
    #[track_caller]
    fn sees(&mut self, profile: &str, what: &str) {
        let mut all = String::new();
        for _ in 0..4 {
            let done = self.done(profile, &["receive"]);
            all += &(done.stdout + &done.stderr);
            if all.contains(what) {
                return;
            }
        }
        panic!("{profile} was not shown {what:?}: {all}");
    }

    /// Receives until nothing more comes.
    fn drain(&mut self, profile: &str) {
        for _ in 0..3 {
            self.done(profile, &["receive"]);
        }
    }

    /// An operator's command; what it prints is searched at the end as the log is, but for ids.
    fn operator(&mut self, args: &[&str]) -> Done {
        let done = self.relay.operator(args);
        assert_eq!(done.code, 0, "{args:?}: {done:?}");
        done
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("restante-data")
    }

    /// Takes in what a profile holds.
    fn learn(&mut self, profile: &str) {
        let Ok(bytes) = std::fs::read(self.directory.path().join(profile).join("state.json")) else { return };
        let state: Value = serde_json::from_slice(&bytes).expect("JSON");
        for key in ["device", "sealing", "list_key", "sync_key"] {
            if let Some(secret) = state[key].as_str() {
                self.secrets.add_encoded("a device's key", secret);
            }
        }
        for token in state["pool"].as_array().into_iter().flatten() {
            self.secrets.add_encoded("a token", token.as_str().expect("text"));
        }
        self.learn_within(&state, "");
    }

    fn learn_within(&mut self, value: &Value, path: &str) {
        match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    // A link for several is kept by its token's hash, and a slot by its id.
                    if path.ends_with("/doors/invites") || path.ends_with("/kept/parts") && key == "id" {
                        continue;
                    }
                    match (key.as_str(), value) {
                        ("secret", Value::String(secret)) => self.secrets.add_encoded("a device's key", secret),
                        ("token", Value::String(token)) => self.secrets.add_encoded("a token", token),
                        ("id", Value::String(id)) => self.secrets.add_encoded("an envelope's id", id),
                        ("account" | "device", Value::String(id)) if !path.is_empty() => self.names.add_encoded("an id", id),
                        _ => self.learn_within(value, &format!("{path}/{key}")),
                    }
                }
            }
            Value::Array(values) => values.iter().for_each(|value| self.learn_within(value, path)),
            _ => {}
        }
    }

    /// Takes in what went over the wire.
    fn learn_from_the_wire(&mut self) -> usize {
        let spoken = self.wire.spoken();
        for Spoken { asked, answered } in &spoken {
            let (asked, answered) = (String::from_utf8_lossy(asked), String::from_utf8_lossy(answered));
            for bearer in asked.split("Bearer ").skip(1).chain(asked.split("bearer ").skip(1)) {
                self.secrets.add_encoded("a session", bearer.split("\r\n").next().expect("a line"));
            }
            for (key, text) in fields(&asked) {
                match key {
                    "token" => self.secrets.add_encoded("a token", text),
                    "id" => self.secrets.add_encoded("an envelope's id", text),
                    // As the sender wrote it; what lies on the disk is wrapped once more.
                    "body" => self.secrets.add_encoded("a body on the wire", text),
                    "code" | "pass" if text.len() >= 16 => {
                        self.secrets.add(&format!("a {key}"), text.as_bytes());
                        self.secrets.add(&format!("a {key}"), text.replace('-', "").as_bytes());
                    }
                    "challenge" => self.secrets.add_encoded("a challenge", text),
                    _ => {}
                }
                self.names.add_encoded(key, text);
            }
            for (key, text) in fields(&answered) {
                match key {
                    "session" => self.secrets.add_encoded("a session", text),
                    "challenge" => self.secrets.add_encoded("a challenge", text),
                    "secret" => {
                        self.secrets.add_encoded("a TOTP secret", text);
                        let secret = restante::protocol::bytes::decode(text).expect("base64url");
                        self.secrets.add("a TOTP secret", base32(&secret).as_bytes());
                    }
                    "relay_key" | "handle_salt" | "fingerprint" => continue,
                    _ => {}
                }
                self.names.add_encoded(key, text);
            }
            for codes in answered.split("\"recovery_codes\":[").skip(1) {
                for code in codes.split(']').next().expect("a list").split(',') {
                    let code = code.trim_matches('"');
                    self.secrets.add("a recovery code", code.as_bytes());
                    self.secrets.add("a recovery code", code.replace('-', "").as_bytes());
                }
            }
        }
        spoken.len()
    }

    /// Looks for secrets in the data directory's files as they are now.
    fn search_the_disk(&mut self, when: &str) {
        let files = contents(&self.data());
        assert!(files.contains_key("restante.db"), "{:?}", files.keys());
        for (name, bytes) in files {
            let found = self.secrets.found_in(&bytes);
            self.leaks.extend(found.iter().map(|found| format!("{when}, {name} holds {found}")));
        }
    }
}

/// Keys and texts of what looks like JSON: `"key":"text"`.
fn fields(text: &str) -> Vec<(&str, &str)> {
    let pieces: Vec<&str> = text.split('"').collect();
    let pairs = pieces.windows(3).filter(|three| three[1] == ":");
    pairs.map(|three| (three[0], three[2])).collect()
}

fn base32(bytes: &[u8]) -> String {
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)).collect();
    let digits = bits.chunks(5).map(|five| five.iter().fold(0, |digit, bit| digit << 1 | bit));
    digits.map(|digit| char::from(if digit < 26 { b'A' + digit } else { b'2' + digit - 26 })).collect()
}

/// Everything that people do. Some of it is left waiting at the end.
fn live(town: &mut Town) {
    let words = town.settle("phone", NAMES[0]);
    town.settle("bob", NAMES[1]);
    town.settle("carol", NAMES[2]);
    for line in words.lines().filter(|line| line.len() >= 30) {
        town.secrets.add("the words", line.as_bytes());
    }
    town.link("phone", "laptop");
    town.link("laptop", "tablet");

    // A handle, one given up before it, and a knock by it; a link for one, another for several.
    town.done("bob", &["handle", "set", FORMER_HANDLE]);
    town.done("bob", &["handle", "set", HANDLE]);
    town.done("phone", &["knock", HANDLE, KNOCKS[0], "--name", NAMES[3]]);
    town.sees("bob", KNOCKS[0]);
    town.done("bob", &["accept", "1", "--name", "alice"]);
    let link = town.done("carol", &["invite", "alice"]).stdout;
    town.sees("phone", "has answered");
    town.done("laptop", &["add", NAMES[4], link.trim()]);
    town.sees("carol", "alice");
    town.done("carol", &["invite", "--uses", "7"]);

    // Traffic both ways, receipts for it, copies to the other devices.
    town.done("bob", &["send", "alice", TEXTS[0]]);
    for profile in ["phone", "laptop", "tablet"] {
        town.sees(profile, TEXTS[0]);
    }
    town.done("tablet", &["send", NAMES[3], TEXTS[1]]);
    town.sees("bob", TEXTS[1]);
    for profile in ["phone", "laptop", "carol", "bob", "tablet"] {
        town.drain(profile);
    }
    let devices = town.done("phone", &["devices", "--json"]).json();
    let tablet = town.done("tablet", &["whoami", "--json"]).json()["device"].clone();
    assert_eq!(devices["devices"].as_array().map(Vec::len), Some(3));
    town.done("phone", &["devices", "remove", tablet.as_str().expect("an id")]);
    follow(town);

    // The second factor, used once by a code of each kind.
    let secret = town.done("phone", &["totp", "on", "--json"]).json()["secret"].as_str().expect("a secret").to_string();
    let on = town.done("phone", &["totp", "on", "--code", &code(&secret, 0), "--json"]).json();
    let recovery = on["recovery_codes"][0].as_str().expect("a code").to_string();
    town.done("laptop", &["handle", "set", "another.canary.handle", "--code", &recovery]);

    // What waits when the disk is taken: texts, a hello by a once token, a knock, copies.
    town.done("laptop", &["send", NAMES[3], TEXTS[2]]);
    town.done("bob", &["send", "alice", TEXTS[2]]);
    let link = town.done("phone", &["invite", "dave"]).stdout;
    town.settle("dave", "dave-of-the-canaries");
    town.done("dave", &["add", "alice-by-a-link", link.trim()]);
    town.done("dave", &["knock", HANDLE, KNOCKS[1], "--name", "bob-by-a-handle"]);
    town.operator(&["notice", "set", "closed on sunday"]);
}

/// Bob follows a stream, with typing and presence on, and is written to.
fn follow(town: &mut Town) {
    town.done("phone", &["live", NAMES[3], "on"]);
    town.done("bob", &["live", "alice", "on"]);
    let args = ["client", "--profile", "bob", "receive", "--follow", "--json"];
    let mut command = restante(town.directory.path(), &args);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary runs");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    // The first may come just before the stream is open, the second comes by it.
    for text in &TEXTS[3..] {
        town.done("phone", &["send", NAMES[3], text]);
        assert!(lines.any(|line| line.contains(text)), "it comes");
    }
    town.done("phone", &["typing", NAMES[3]]);
    assert!(lines.any(|line| line.contains("typing")), "the stream brings a live envelope");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, Signal::TERM).expect("it runs");
    child.wait().expect("its end");
    town.learn("bob");
}

fn nobody_is_found(format: &str) {
    let mut town = Town::new(format);
    live(&mut town);
    for profile in ["phone", "laptop", "bob", "carol", "dave"] {
        town.learn(profile);
    }
    let connections = town.learn_from_the_wire();
    for text in TEXTS.iter().chain(&KNOCKS) {
        town.secrets.add("a text", text.as_bytes());
    }
    for name in NAMES.iter().chain(&["dave-of-the-canaries", "alice-by-a-link", "bob-by-a-handle"]) {
        town.secrets.add("a name", name.as_bytes());
    }
    for handle in [HANDLE, FORMER_HANDLE, "another.canary.handle"] {
        town.secrets.add("a handle", handle.as_bytes());
    }
    let address: std::net::Ipv6Addr = ADDRESS.parse().expect("an address");
    for said in [ADDRESS, "2001:db8:5ca1", "127.0.0.1"] {
        town.secrets.add("an address", said.as_bytes());
    }
    town.secrets.add("an address", &address.octets());
    let kinds = town.secrets.kinds();
    println!("{connections} connections, {kinds:?}");
    for kind in [
        "a text",
        "a name",
        "a handle",
        "an address",
        "a token",
        "a session",
        "a challenge",
        "an envelope's id",
        "a device's key",
        "a body on the wire",
        "a TOTP secret",
        "a recovery code",
        "a pass",
        "the words",
        "a code",
    ] {
        assert!(kinds.contains_key(kind), "nothing was learnt of: {kind}");
    }
    assert!(kinds["a token"] > 20 && kinds["a session"] > 20, "{kinds:?}");

    town.search_the_disk("while it runs");
    for args in [
        &["stats", "--json"][..],
        &["stats"],
        &["explain-db", "--rows", "100"],
        &["explain-db", "--rows", "100", "--json"],
        &["account", "list", "--json"],
        &["pass", "list", "--json"],
        &["notice", "show"],
    ] {
        let done = town.operator(args);
        town.told.extend(done.stdout.bytes().chain(done.stderr.bytes()));
    }
    let told = town.secrets.found_in(&town.told);
    town.leaks.extend(told.iter().map(|found| format!("the operator was told {found}")));

    town.relay.signal(Signal::TERM);
    let (status, said) = town.relay.ended();
    assert_eq!((status.code(), said.as_str()), (Some(0), ""));
    town.search_the_disk("when it has stopped");
    let database = raw(&town.data().join("restante.db"));
    let rows = rows(&database);
    town.leaks.extend(what_leads_from_an_envelope_to_something(&rows));
    town.leaks.extend(rows_that_speak_of_two_accounts(&rows, &database));
    no_table_joins_tokens_and_envelopes(&database);

    let log = log(town.directory.path());
    let logged = town.secrets.found_in(&log).into_iter().chain(town.names.found_in(&log));
    town.leaks.extend(logged.map(|found| format!("the log holds {found}")));
    assert!(town.leaks.is_empty(), "{:#?}", town.leaks);
    // The search finds what is there.
    let whole = &contents(&town.data())["restante.db"];
    assert!(town.names.found_in(whole).iter().any(|found| found == "device (raw)"), "{:?}", town.names.found_in(whole));
}

fn log(directory: &Path) -> Vec<u8> {
    let log = std::fs::read(directory.join("log")).expect("the log");
    let text = String::from_utf8_lossy(&log);
    assert!(text.lines().count() > 200 && text.contains("/v1/handles/lookup") && text.contains("/v1/stream"));
    log
}

#[test]
fn what_people_say_and_hold_stands_neither_on_the_disk_nor_in_the_log() {
    nobody_is_found("text");
}

#[test]
fn nor_in_a_log_for_machines() {
    nobody_is_found("json");
}
