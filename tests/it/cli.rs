//! The command line, run as people run it: exit codes, what goes to stdout and what to stderr, starting and stopping.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Stdio;

use restante::client::{Client, Event, Options, Origin};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::process::{Done, Serving, finish, restante, run, serve, serve_in};

#[track_caller]
fn fails(done: &Done, code: i32, message: &str) {
    assert_eq!(done.code, code, "{done:?}");
    assert_eq!(done.stdout, "", "an error is no data: {done:?}");
    assert!(done.stderr.starts_with("restante: error: ") && done.stderr.contains(message), "{done:?}");
}

#[test]
fn the_banner_says_what_an_operator_and_a_newcomer_need() {
    let directory = TempDir::new().expect("a directory");
    let mut child = restante(directory.path(), &["serve", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary runs");
    let mut stdout = child.stdout.take().expect("a pipe");
    let mut text = String::new();
    while !text.contains("Ctrl-C stops it.") {
        let mut chunk = [0; 1_024];
        let read = stdout.read(&mut chunk).expect("a banner");
        assert!(read > 0, "{text}");
        text.push_str(std::str::from_utf8(&chunk[..read]).expect("UTF-8"));
    }
    child.kill().expect("it runs");
    child.wait().expect("its end");
    let field = |name: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(name)).expect(name);
        line.trim_start()[name.len()..].trim().to_string()
    };
    let fingerprint = field("relay key");
    assert_eq!(fingerprint.len(), 39, "{fingerprint}");
    assert_eq!(field("retention"), "7 days");
    assert!(field("next purge").contains(" UTC, in "), "{text}");
    assert!(field("data").ends_with("/restante-data"), "{text}");
    assert!(field("registration").starts_with("open"), "{text}");
    let command = text.lines().find(|line| line.contains("client init")).expect("the command to try");
    assert!(command.contains("restante client init --relay http://127.0.0.1:"), "{command}");
    assert!(command.ends_with(&format!("--relay-key {fingerprint}")), "{command}");
    assert!(!text.contains('\x1b'), "colour on a pipe");
}

#[test]
fn the_banner_for_scripts_is_one_line() {
    let mut relay = serve(&[]);
    let banner = &relay.banner;
    assert_eq!(banner["origins"][0], banner["listening"]);
    assert_eq!(banner["retention_secs"], 604_800);
    assert_eq!(banner["registration"], "open");
    assert_eq!(banner["relay_key"].as_str().map(str::len), Some(43));
    assert!(banner["next_purge"].is_u64() && banner["config"].is_null(), "{banner}");
    let data = relay.directory.join("restante-data");
    assert_eq!(banner["data"], data.canonicalize().expect("it is there").to_str().expect("UTF-8"));
    assert_eq!(data.metadata().expect("it is there").mode() & 0o777, 0o700);
    for entry in data.read_dir().expect("a directory") {
        let entry = entry.expect("an entry");
        assert_eq!(entry.metadata().expect("metadata").permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
    }
    relay.signal(Signal::TERM);
    let (status, rest) = relay.ended();
    assert_eq!((status.code(), rest.as_str()), (Some(0), ""));
}

#[test]
fn strangers_register_only_where_the_relay_is_this_machines_own() {
    let registration = |args: &[&str]| serve(args).banner["registration"].clone();
    assert_eq!(registration(&["--set", "server.origins=http://127.0.0.1:8484"]), "open");
    // A proxy makes everybody come from loopback.
    assert_eq!(registration(&["--set", "server.origins=https://relay.example:443"]), "pass");
    let public = ["--set", "server.origins=https://relay.example:443", "--set", "server.registration=open"];
    assert_eq!(registration(&public), "open");
    assert_eq!(registration(&["--set", "server.registration=closed"]), "closed");
    let anywhere = ["--listen", "0.0.0.0:0", "--set", "server.origins=http://127.0.0.1:8484"];
    assert_eq!(registration(&anywhere), "pass");
}

#[test]
fn the_key_of_a_relay_outlives_it() {
    let directory = TempDir::new().expect("a directory");
    let key = |relay: &Serving| relay.banner["relay_key"].clone();
    let mut first = serve_in(directory.path(), &[]);
    let before = key(&first);
    // Killed, so that its socket stays behind and is in nobody's way.
    first.signal(Signal::KILL);
    first.ended();
    assert_eq!(key(&serve_in(directory.path(), &[])), before);
}

#[test]
fn a_second_server_on_the_same_data_is_refused() {
    let relay = serve(&[]);
    let done = relay.operator(&["serve", "--listen", "127.0.0.1:0"]);
    fails(&done, 75, "");
    assert!(done.stderr.contains("\nhint: "), "{done:?}");
    assert_eq!(relay.operator(&["stats", "--json"]).code, 0, "the first goes on");
}

#[test]
fn each_way_not_to_start_has_its_exit_code() {
    let directory = TempDir::new().expect("a directory");
    let at = directory.path();
    std::fs::create_dir(at.join("foreign")).expect("a directory");
    std::fs::write(at.join("foreign/restante.db"), [b'x'; 8_192]).expect("a file");
    std::fs::write(at.join("file"), "").expect("a file");
    std::fs::write(at.join("bad.toml"), "[server]\nlistn = 1\n").expect("a file");

    fails(&run(at, &["serve", "--listen", "127.0.0.1:0", "--data", "foreign"]), 65, "");
    assert_eq!(std::fs::read(at.join("foreign/restante.db")).expect("untouched"), [b'x'; 8_192]);
    fails(&run(at, &["serve", "--listen", "127.0.0.1:0", "--data", "file/data"]), 73, "");
    fails(&run(at, &["serve", "--config", "bad.toml"]), 78, "did you mean `server.listen`?");
    fails(&run(at, &["serve", "--listen", "nowhere"]), 78, "--listen: server.listen");
    fails(&run(at, &["serve", "--lisen", "x"]), 2, "--lisen");
    let mut command = restante(at, &["serve"]);
    fails(&finish(command.env("RESTANTE_SERVER__LISTN", "x")), 78, "RESTANTE_SERVER__LISTEN");
    fails(&finish(restante(at, &["serve"]).env("RESTANTE_LOG", "a=b=c")), 78, "RESTANTE_LOG");
    let relay = serve(&[]);
    fails(&run(at, &["serve", "--listen", relay.address()]), 1, relay.address());
    assert!(!at.join("restante-data").exists(), "nothing is made before it is known that all is well");
}

#[test]
fn a_directory_that_cannot_be_written_is_not_permitted() {
    let directory = TempDir::new().expect("a directory");
    let data = directory.path().join("restante-data");
    std::fs::create_dir(&data).expect("a directory");
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o500)).expect("its owner");
    if std::fs::write(data.join("probe"), "").is_ok() {
        eprintln!("skipped: this user can write anywhere");
        return;
    }
    fails(&run(directory.path(), &["serve", "--listen", "127.0.0.1:0"]), 77, "");
}

#[test]
fn a_relay_listens_on_a_unix_socket() {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("relay.sock");
    let listen = format!("unix:{}", path.display());
    let relay = serve_in(directory.path(), &["--listen", &listen]);
    assert_eq!(relay.banner["listening"], listen);
    relay.ready();
    let done = relay.operator(&["healthcheck", "--set", &format!("server.listen={listen}")]);
    assert_eq!(done.code, 0, "{done:?}");
}

#[test]
fn healthcheck_asks_and_starts_nothing() {
    let relay = serve(&[]);
    relay.ready();
    let url = format!("http://{}", relay.address());
    assert_eq!(relay.operator(&["healthcheck", "--url", &url]).json()["ready"], true);
    let directory = TempDir::new().expect("a directory");
    // Port 1 is nobody's.
    fails(&run(directory.path(), &["healthcheck", "--url", "http://127.0.0.1:1"]), 1, "cannot ask 127.0.0.1:1");
    fails(&run(directory.path(), &["healthcheck", "--url", "https://127.0.0.1"]), 2, "cannot ask");
    assert_eq!(directory.path().read_dir().expect("a directory").count(), 0);
}

/// A long poll that the relay is holding. Of two polls of one device the later ends the earlier, so the one that is left
/// has arrived.
async fn held_poll(relay: &Serving) -> JoinSet<restante::client::Result<Vec<Event>>> {
    let profile = relay.directory.join("profile");
    let origin = Origin::parse(relay.banner["listening"].as_str().expect("an address")).expect("an origin");
    drop(Client::init(&profile, Options::new(origin)).await.expect("registered"));
    let mut polls = JoinSet::new();
    for _ in 0..2 {
        let mut client = Client::open(&profile).await.expect("a profile");
        polls.spawn(async move { client.receive(60).await });
    }
    let ended = polls.join_next().await.expect("two polls").expect("no panic");
    let error = ended.expect_err("the other poll took over");
    assert!(error.to_string().contains("took over"), "{error}");
    polls
}

#[tokio::test(flavor = "multi_thread")]
async fn stops_on_sigterm_whatever_clients_do() {
    let mut relay = serve(&["--set", "limits.drain_secs=4"]);
    let connect = || TcpStream::connect(relay.address()).expect("it listens");
    let idle = connect();
    let mut half_header = connect();
    half_header.write_all(b"POST /v1/auth/challenge HTTP/1.1\r\nHost: a\r\nContent-").expect("it reads");
    let mut half_body = connect();
    let request =
        "POST /v1/auth/challenge HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n{";
    half_body.write_all(request.as_bytes()).expect("it reads");
    let poll = held_poll(&relay).await;
    // When a later connection is answered, the ones before it were accepted.
    relay.ready();
    relay.signal(Signal::TERM);
    assert_eq!(relay.ended().0.code(), Some(0));
    drop((idle, half_header, half_body, poll));
    let log = std::fs::metadata(relay.directory.join("restante-data/restante.db-wal"));
    assert!(log.map_or(0, |log| log.len()) == 0, "the log was truncated");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut relay = serve(&["--set", "limits.drain_secs=60", "--set", "limits.body_secs=300"]);
    let mut held = TcpStream::connect(relay.address()).expect("it listens");
    let request = "POST /v1/auth/challenge HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\
                   Expect: 100-continue\r\n\r\n";
    held.write_all(request.as_bytes()).expect("it reads");
    let mut interim = [0; 25];
    held.read_exact(&mut interim).expect("100 Continue: the handler waits for the body");
    held.write_all(b"{").expect("it reads");
    relay.signal(Signal::INT);
    // It has heard the signal when it takes no more connections.
    while TcpStream::connect(relay.address()).is_ok() {}
    relay.signal(Signal::INT);
    assert_eq!(relay.ended().0.code(), Some(1));
}

#[test]
fn help_version_and_completions_read_no_configuration() {
    let directory = TempDir::new().expect("a directory");
    std::fs::write(directory.path().join("relay.toml"), "nonsense").expect("a file");
    for args in [["version", ""], ["--version", ""], ["help", ""], ["--help", ""], ["completions", "bash"], ["help", "serve"]] {
        let args: Vec<&str> = args.into_iter().filter(|arg| !arg.is_empty()).collect();
        let done = finish(restante(directory.path(), &args).env("RESTANTE_X", "1").env("RESTANTE_CONFIG", "/nowhere"));
        assert!(done.code == 0 && done.stderr.is_empty() && !done.stdout.is_empty(), "{args:?}: {done:?}");
    }
    let help = run(directory.path(), &["--help"]).stdout;
    for code in ["0  done", "1  refused", "2  wrong usage", "65  ", "70  ", "73  ", "75  ", "77  ", "78  "] {
        assert!(help.contains(code), "{code} is not in --help");
    }
}

#[test]
fn every_command_explains_itself_in_the_width_of_a_terminal() {
    let directory = TempDir::new().expect("a directory");
    let help = run(directory.path(), &["--help"]).stdout;
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names: Vec<&str> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    for name in ["serve", "client", "config", "pass", "purge", "stats", "check", "explain-db", "healthcheck", "completions"] {
        assert!(names.contains(&name), "{name} is not in --help");
        let done = run(directory.path(), &[name, "--help"]);
        assert_eq!(done.code, 0, "{done:?}");
        let long = done.stdout.lines().find(|line| line.chars().count() > 100);
        assert_eq!(long, None, "{name} --help");
    }
}

#[test]
fn a_closed_stdout_is_no_failure() {
    let directory = TempDir::new().expect("a directory");
    for args in [["config", "default"], ["completions", "zsh"], ["config", "show"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = restante(directory.path(), &args).stdout(writer).stderr(Stdio::piped()).output().expect("it runs");
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(output.stderr.is_empty(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn config_check_and_show_speak_to_people_and_to_scripts() {
    let directory = TempDir::new().expect("a directory");
    let at = directory.path();
    std::fs::write(at.join("relay.toml"), "[retention]\nsecs = 86400\n").expect("a file");
    let done = run(at, &["config", "check"]);
    assert!(done.code == 0 && done.stdout.starts_with("relay.toml: good; next purge at 2"), "{done:?}");
    assert_eq!(run(at, &["config", "check", "--json"]).json()["good"], true);

    let shown = finish(restante(at, &["config", "show", "--json"]).env("RESTANTE_LOG__LEVEL", "warn")).json();
    assert_eq!(shown["retention.secs"], serde_json::json!({"value": 86_400, "origin": "relay.toml, line 2"}));
    assert_eq!(shown["log.level"]["origin"], "environment RESTANTE_LOG__LEVEL");
    assert_eq!(shown["server.listen"], serde_json::json!({"value": "127.0.0.1:8484", "origin": "the default"}));

    std::fs::write(at.join("bad.toml"), "[retention]\nsecs = 604801\n").expect("a file");
    fails(&run(at, &["config", "check", "bad.toml"]), 78, "bad.toml, line 2: retention.secs: 604801");
    let done = run(at, &["config", "check", "--json", "bad.toml"]);
    assert_eq!(done.code, 78);
    let json: serde_json::Value = serde_json::from_str(&done.stdout).expect("JSON all the same");
    assert_eq!(json["problems"][0]["key"], "retention.secs");

    let default = run(at, &["config", "default"]);
    std::fs::write(at.join("relay.toml"), &default.stdout).expect("a file");
    assert_eq!(run(at, &["config", "check"]).code, 0);
}
