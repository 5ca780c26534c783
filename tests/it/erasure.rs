//! What lies on the relay's disk: while a message waits, after its acknowledgement, and after the disk failed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use restante::client::{Client, Door, Options, Origin, What};
use rustix::process::Signal;

use crate::process::{Serving, serve, serve_in};

const TEXT: &str = "a canary that nobody else ever sang";
const NAME: &str = "bob-with-an-unlikely-name";

async fn person(relay: &Serving, name: &str) -> Client {
    let origin = relay.banner["listening"].as_str().expect("an origin").parse::<String>().expect("text");
    let options = Options { name: Some(name.into()), ..Options::new(Origin::parse(&origin).expect("an origin")) };
    Client::init(&relay.directory.join(name), options).await.expect("an account").0
}

async fn texts(client: &mut Client) -> Vec<String> {
    let mut texts = Vec::new();
    for event in client.receive(5).await.expect("events") {
        if let What::Text { text, .. } = &event.what {
            texts.push(text.clone());
        }
        client.shown(&event).await.expect("kept");
    }
    client.acknowledge().await.expect("acknowledged");
    texts
}

/// How often bytes stand in the files of the relay's data directory.
fn count(data: &Path, needle: &[u8]) -> usize {
    let files = data.read_dir().expect("the data directory").map(|entry| entry.expect("an entry").path());
    let stands = |path: std::path::PathBuf| {
        let bytes = std::fs::read(&path).expect("a readable file");
        bytes.windows(needle.len()).filter(|window| *window == needle).count()
    };
    files.filter(|path| path.is_file()).map(stands).sum()
}

/// The first eight bytes of every waiting body, as `explain-db` shows them.
fn bodies(relay: &Serving) -> Vec<Vec<u8>> {
    let tables = relay.operator(&["explain-db", "--json"]).json();
    let tables = tables.as_array().expect("tables");
    let table = tables.iter().find(|table| table["table"] == "envelopes").expect("a table of envelopes");
    let names = table["columns"].as_array().expect("columns");
    let body = names.iter().position(|name| name == "body").expect("a body");
    let rows = table["rows"].as_array().expect("rows").iter();
    rows.map(|row| unhex(row[body].as_str().expect("text").split(':').nth(1).expect("length: bytes"))).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let pairs = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("digits"));
    pairs.map(|pair| u8::from_str_radix(pair, 16).expect("two digits")).collect()
}

#[tokio::test]
async fn what_waits_is_ciphertext_and_what_was_acknowledged_is_gone() {
    let relay = serve(&[]);
    let data = relay.directory.join("restante-data");
    let (mut bob, mut alice) = (person(&relay, "bob").await, person(&relay, "alice").await);
    let link = bob.invite(None).await.expect("a link");
    alice.add(NAME, &link).await.expect("added");
    alice.send(NAME, TEXT).await.expect("sent");

    let samples = bodies(&relay);
    assert_eq!(samples.len(), 2, "a hello and a text wait");
    assert!(samples.iter().all(|sample| count(&data, sample) > 0), "what waits is in the files");
    let Door::Once { contact, .. } = &link.door else { panic!("a link for one person") };
    let hash = contact.hash();
    for (what, needle) in [("the text", TEXT.as_bytes()), ("a contact's name", NAME.as_bytes()), ("a token", contact.as_ref())]
    {
        assert_eq!(count(&data, needle), 0, "{what} is not");
    }
    // A token's hash stands where its owner registered it, and beside no envelope: sending added no place where it stands.
    let before = count(&data, hash.as_ref());
    alice.send(NAME, TEXT).await.expect("sent");
    assert_eq!(count(&data, hash.as_ref()), before);

    assert_eq!(texts(&mut bob).await, [TEXT, TEXT]);
    texts(&mut alice).await;
    assert_eq!(relay.operator(&["purge"]).code, 0, "a purge truncates the log now, not within its 45 s");
    assert_eq!(bodies(&relay).len(), 0);
    for sample in &samples {
        assert_eq!(count(&data, sample), 0, "nothing of an acknowledged body is left");
    }
}

#[tokio::test]
async fn the_relay_stops_at_the_first_fsync_that_fails_and_nothing_is_lost_or_said_twice() {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("skipped: there is no strace to make an fsync fail");
        return;
    }
    let mut relay = serve(&[]);
    let (mut bob, mut alice) = (person(&relay, "bob").await, person(&relay, "alice").await);
    alice.add("bob", &bob.invite(None).await.expect("a link")).await.expect("added");

    let pid = relay.banner["pid"].to_string();
    let mut strace = Command::new("strace")
        .args(["-f", "-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO", "-p", &pid])
        .stderr(Stdio::piped())
        .spawn()
        .expect("strace runs");
    let mut said = BufReader::new(strace.stderr.take().expect("a pipe")).lines();
    let attached = said.by_ref().map_while(Result::ok).find(|line| line.contains("attached") || line.contains("ptrace"));
    if attached.as_ref().is_none_or(|line| line.contains("ptrace")) {
        println!("skipped: strace may not attach here: {attached:?}");
        let _ = strace.wait();
        return;
    }
    assert!(alice.send("bob", TEXT).await.is_err(), "no 202 for what is not on disk");
    let (status, _) = relay.ended();
    assert_eq!(status.code(), Some(70), "fail-stop");
    let injected = said.map_while(Result::ok).filter(|line| line.contains("INJECTED")).count();
    println!("fsyncs that were made to fail: {injected}");
    assert!(injected > 0);
    strace.wait().expect("strace ends with the relay");

    // The same port, so that the clients find it; what could not be sent goes out with the next send, under its id.
    let address = relay.address().to_string();
    let relay = serve_in(&relay.directory.clone(), &["--listen", &address]);
    alice.send("bob", "another").await.expect("sent");
    assert_eq!(texts(&mut bob).await, [TEXT, "another"]);
    relay.signal(Signal::TERM);
}
