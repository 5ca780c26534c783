//! The second factor and what somebody can do for themselves, on the command line: `totp`, `sessions`, `account`, `delete`.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{Mode, OFlags};
use rustix::pty::OpenptFlags;
use tempfile::TempDir;
use totp_rs::{Builder, Secret};

use crate::process::{Done, Serving, finish, restante, run, serve_in};

/// A relay, and `alice`'s profile at it.
fn alice() -> (Serving, TempDir) {
    let directory = TempDir::new().expect("a directory");
    let relay = serve_in(directory.path(), &[]);
    let origin = relay.banner["listening"].as_str().expect("an origin").to_string();
    client(directory.path(), &["init", "--relay", &origin, "--name", "alice@home"]);
    (relay, directory)
}

fn tried(directory: &Path, args: &[&str]) -> Done {
    run(directory, &[&["client", "--profile", "alice"], args].concat())
}

fn client(directory: &Path, args: &[&str]) -> Done {
    let done = tried(directory, args);
    assert_eq!(done.code, 0, "{args:?}: {done:?}");
    done
}

#[track_caller]
fn refused(done: &Done, words: &str, hint: &str) {
    assert_eq!((done.code, done.stdout.as_str()), (1, ""), "{done:?}");
    assert!(done.stderr.contains(words) && done.stderr.contains(&format!("hint: {hint}")), "{done:?}");
}

/// The code of so many steps from now; the binary goes by the machine's clock.
#[expect(clippy::disallowed_methods, reason = "another process goes by the machine's clock")]
pub(crate) fn code(secret: &str, steps: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    authenticator(secret).generate(now + 30 * steps).to_string()
}

fn authenticator(secret: &str) -> totp_rs::Totp {
    Builder::new().with_secret(unbase32(secret)).build().expect("20 bytes")
}

fn unbase32(text: &str) -> Secret {
    let mut bits = text.bytes().flat_map(|c| {
        let digit = if c.is_ascii_uppercase() { c - b'A' } else { c - b'2' + 26 };
        (0..5).rev().map(move |at| digit >> at & 1)
    });
    let mut bytes = [0; 20];
    for byte in &mut bytes {
        *byte = bits.by_ref().take(8).fold(0, |byte, bit| byte << 1 | bit);
    }
    Secret::from(bytes)
}

/// Turns it on in two steps, and gives the secret and the recovery codes.
fn turned_on(at: &Path) -> (String, Vec<String>) {
    let setup = client(at, &["totp", "on", "--json"]).json();
    let secret = setup["secret"].as_str().expect("a secret").to_string();
    let confirmed = client(at, &["totp", "on", "--code", &code(&secret, 0), "--json"]).json();
    (secret, serde_json::from_value(confirmed["recovery_codes"].clone()).expect("texts"))
}

#[test]
fn a_second_factor_is_turned_on_asked_for_and_turned_off() {
    let (_relay, directory) = alice();
    let at = directory.path();
    assert_eq!(client(at, &["totp", "status"]).stdout, "off\n");
    refused(&tried(at, &["totp", "on", "--code", "123456"]), "no secret waits", "`restante client totp status`");
    let shown = client(at, &["totp", "on"]);
    let secret = shown.stdout.lines().find_map(|line| line.strip_prefix("secret  ")).expect("a secret").to_string();
    let uri = format!(
        "uri     otpauth://totp/restante:alice%40home%20at%20127.0.0.1?secret={secret}&issuer=restante&algorithm=SHA1\
         &digits=6&period=30"
    );
    assert_eq!(shown.stdout.lines().nth(1), Some(uri.as_str()));
    assert!(shown.stderr.contains("nothing is on yet: `restante client totp on --code CODE`"), "{shown:?}");
    assert_eq!(client(at, &["totp", "status", "--json"]).json()["totp"], false);

    let (secret, codes) = turned_on(at);
    assert_eq!(codes.len(), 10);
    assert_eq!(client(at, &["totp", "status"]).stdout, "on; 10 recovery codes left\n");
    let needed = "give a code of your authenticator, or a recovery code, with --code CODE or in RESTANTE_CODE";
    for args in [&["totp", "off"][..], &["totp", "on"], &["delete", "--yes"]] {
        refused(&tried(at, args), "the second factor is on", needed);
    }
    refused(&tried(at, &["totp", "off", "--code", "AAAA-AAAA-AAAA-AAAA"]), "the code is not good", "each code counts once");
    // What it does not guard needs no code, and one in the environment hurts nobody, a relay neither.
    client(at, &["sessions", "revoke", "--all-others"]);
    client(at, &["invite", "bob"]);
    let with = |args: &[&str], code: &str| finish(restante(at, args).env("RESTANTE_CODE", code));
    assert_eq!(with(&["config", "check"], "1").code, 0);
    let off = ["client", "--profile", "alice", "totp", "off"];
    let done = with(&off, &codes[0].to_lowercase());
    assert!(done.code == 0 && done.stderr.contains("the second factor is off"), "{done:?}");
    assert!(with(&off, &codes[1]).stderr.contains("the second factor was off"));

    let (another, _) = turned_on(at);
    assert_ne!(secret, another);
    refused(&tried(at, &["delete", "--yes", "--code", &codes[2]]), "the code is not good", "");
    client(at, &["delete", "--yes", "--code", &code(&another, 1)]);
    assert_eq!(tried(at, &["whoami"]).code, 1, "the profile is gone, too");
}

/// A terminal: what is typed into the first is read from the second.
fn terminal() -> (File, OwnedFd) {
    let controller = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    rustix::pty::grantpt(&controller).expect("a terminal");
    rustix::pty::unlockpt(&controller).expect("a terminal");
    let name = rustix::pty::ptsname(&controller, Vec::new()).expect("its name");
    let user = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("its other end");
    (File::from(controller), user)
}

#[test]
fn on_a_terminal_codes_are_asked_for() {
    let (_relay, directory) = alice();
    let at = directory.path();
    let (mut keys, user) = terminal();
    let mut command = restante(at, &["client", "--profile", "alice", "totp", "on"]);
    let mut child = command.stdin(user).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a line");
    let secret = line.trim().strip_prefix("secret  ").expect("a secret").to_string();
    // A slip of the finger is forgiven.
    keys.write_all(format!("12345\n{}\n", code(&secret, 0)).as_bytes()).expect("typed");
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).expect("text");
    let mut said = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
    assert!(child.wait().expect("its end").success(), "{said}");
    assert!(said.contains("code that it shows: ") && said.contains("the code is not good"), "{said}");
    let codes: Vec<&str> = rest.lines().skip(1).collect();
    assert_eq!(codes.len(), 10, "{rest}");

    let (mut keys, user) = terminal();
    let mut command = restante(at, &["client", "--profile", "alice", "totp", "off"]);
    let child = command.stdin(user).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    keys.write_all(format!("{}\n", code(&secret, 1)).as_bytes()).expect("typed");
    let done = child.wait_with_output().expect("its end");
    let said = String::from_utf8(done.stderr).expect("text");
    assert!(done.status.success() && said.contains("or a recovery code: ") && said.contains("factor is off"), "{said}");
}

#[test]
fn somebody_sees_what_the_relay_holds_and_where_they_are_logged_in() {
    let (_relay, directory) = alice();
    let at = directory.path();
    let who = client(at, &["whoami", "--json"]).json();
    let device = who["device"].as_str().expect("an id");
    let held = client(at, &["account", "--json"]).json();
    assert_eq!((&held["account"], &held["totp"], &held["recovery_codes"]), (&who["account"], &false.into(), &0.into()));
    assert_eq!(held["devices"][0]["device"], device);
    assert!(held["device_list"]["list"].is_string() && held["tokens"].as_u64() > Some(0));
    turned_on(at);
    let shown = client(at, &["account"]).stdout;
    for words in [device, "epoch 1, version 1", "on; 10 recovery codes left", "0 envelopes, 0 B", "this one"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }

    let sessions = client(at, &["sessions", "--json"]).json();
    let sessions = sessions.as_array().expect("sessions");
    assert_eq!((&sessions[0]["current"], sessions[0]["device"].as_str()), (&true.into(), Some(device)));
    assert!(sessions.len() > 1, "each command logged in by itself");
    assert!(sessions.iter().all(|session| session["last_used"].as_u64().is_some_and(|at| at % 3_600 == 0)));
    let shown = client(at, &["sessions"]).stdout;
    assert!(shown.contains("this session") && shown.contains("this device") && shown.contains(":00:00 UTC"), "{shown}");
    let ended = client(at, &["sessions", "revoke", "--all-others"]).stderr;
    assert!(ended.ends_with(" sessions ended\n"), "{ended}");
    assert_eq!(client(at, &["sessions", "revoke", "--", &device[..6]]).stderr, "2 sessions ended\n");
    refused(&tried(at, &["sessions", "revoke", "-nobody"]), "no device", "`restante client sessions`");
    assert_eq!(tried(at, &["sessions", "revoke"]).code, 2);
    assert_eq!(tried(at, &["sessions", "revoke", "--all-others", device]).code, 2);
}
