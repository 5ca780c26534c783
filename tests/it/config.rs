//! The configuration: what overrides what, what is refused, and that file, types and protocol say the same.

use std::collections::BTreeMap;
use std::path::PathBuf;

use restante::config::{Config, ConfigError, DEFAULT_TEXT, Flag, Loaded, Sources, load};
use restante::protocol::Limits;
use tempfile::TempDir;

fn sources(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> (TempDir, Sources) {
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join("relay.toml");
    std::fs::write(&path, file).expect("a file");
    let environment = environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let flags = flags.iter().map(|(key, value)| Flag { flag: "--set", key: key.to_string(), value: value.to_string() });
    let sources = Sources { file: Some(path), environment, flags: flags.collect() };
    (dir, sources)
}

fn good(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Loaded {
    let (_dir, sources) = sources(file, environment, flags);
    load(sources).expect("a good configuration")
}

fn bad(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> ConfigError {
    let (_dir, sources) = sources(file, environment, flags);
    load(sources).expect_err("a bad configuration")
}

/// The one problem of a configuration, as it is shown, with its hint.
fn problem(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> String {
    let ConfigError { problems } = bad(file, environment, flags);
    assert_eq!(problems.len(), 1, "{problems:?}");
    format!("{} / {}", problems[0], problems[0].hint.as_deref().unwrap_or(""))
}

fn origin(loaded: &Loaded, key: &str) -> String {
    loaded.settings.iter().find(|setting| setting.key == key).expect(key).source.to_string()
}

#[test]
fn an_empty_file_is_the_defaults() {
    let loaded = good("", &[], &[]);
    assert_eq!(loaded.config, Config::default());
    assert!(loaded.settings.iter().all(|setting| setting.source.to_string() == "the default"));
    assert_eq!(good("[server]\n[limits]\n", &[], &[]).config, Config::default());
    assert_eq!(good(DEFAULT_TEXT, &[], &[]).config, Config::default());
}

#[test]
fn a_flag_overrides_the_environment_overrides_the_file() {
    let file = "[server]\nlisten = \"127.0.0.1:1\"\ndata = \"a\"\n[log]\nlevel = \"warn\"\n";
    let environment = [("RESTANTE_SERVER__LISTEN", "127.0.0.1:2"), ("RESTANTE_SERVER__DATA", "b"), ("PATH", "/bin")];
    let loaded = good(file, &environment, &[("server.listen", "127.0.0.1:3")]);
    assert_eq!(loaded.config.server.listen, "127.0.0.1:3");
    assert_eq!(loaded.config.server.data, PathBuf::from("b"));
    assert_eq!(loaded.config.log.level, "warn");
    assert_eq!(origin(&loaded, "server.listen"), "--set");
    assert_eq!(origin(&loaded, "server.data"), "environment RESTANTE_SERVER__DATA");
    assert!(origin(&loaded, "log.level").ends_with("relay.toml, line 5"), "{}", origin(&loaded, "log.level"));
    assert_eq!(origin(&loaded, "log.format"), "the default");
}

#[test]
fn the_environment_gives_every_kind_of_value() {
    let environment = [
        ("RESTANTE_SERVER__ORIGINS", "https://a.example:443, http://127.0.0.1:8484"),
        ("RESTANTE_SERVER__PLAIN_HTTP", "true"),
        ("RESTANTE_SERVER__REGISTRATION", "pass"),
        ("RESTANTE_SERVER__TRUSTED_PROXIES", ""),
        ("RESTANTE_LIMITS__DEVICES_MAX", "3"),
    ];
    let config = good("", &environment, &[]).config;
    assert_eq!(config.server.origins, ["https://a.example:443", "http://127.0.0.1:8484"]);
    assert!(config.server.plain_http && config.server.trusted_proxies.is_empty());
    assert_eq!(config.limits.devices_max, 3);
}

#[test]
fn a_mistyped_name_is_refused_with_the_nearest_wherever_it_stands() {
    let shown = problem("[server]\n\nlistn = \"x\"\n", &[], &[]);
    assert!(shown.contains("relay.toml, line 3, column 1: unknown key `server.listn`"), "{shown}");
    assert!(shown.contains("3 | listn = \"x\"\n  | ^^^^^"), "{shown}");
    assert!(shown.ends_with("did you mean `server.listen`?"), "{shown}");

    let shown = problem("", &[("RESTANTE_SERVER__LISTN", "x")], &[]);
    assert_eq!(shown, "environment RESTANTE_SERVER__LISTN: no key has this name / did you mean RESTANTE_SERVER__LISTEN?");
    assert!(problem("", &[("RESTANTE_CONFG", "x")], &[]).ends_with("did you mean RESTANTE_CONFIG?"));
    assert!(problem("", &[], &[("log.levl", "x")]).ends_with("did you mean `log.level`?"));
}

#[test]
fn a_name_in_the_wrong_section_or_none_is_sent_to_its_own() {
    assert!(problem("[server]\npurge_schedule = \"x\"\n", &[], &[]).ends_with("did you mean `retention.purge_schedule`?"));
    assert!(problem("listen = \"x\"\n", &[], &[]).ends_with("did you mean `server.listen`?"));
    assert!(problem("[sever]\n", &[], &[]).contains("unknown key `sever`"));
    assert!(problem("[limits]\nrequest_bytes_max = 1\n", &[], &[]).contains("follows from devices_max"));
}

#[test]
fn names_that_are_not_the_relays_pass() {
    let environment = [("RESTANTE_CONFIG", "x"), ("RESTANTE_LOG", "debug"), ("RESTANTE_CLIENT_PROFILE", "x"), ("HOME", "/")];
    assert_eq!(good("", &environment, &[]).config, Config::default());
}

#[test]
fn a_value_of_the_wrong_kind_is_shown_where_it_stands() {
    let shown = problem("[retention]\nsecs = \"7d\"\n", &[], &[]);
    assert!(shown.contains("line 2, column 8: invalid type: string \"7d\", expected u64"), "{shown}");
    assert!(shown.contains("2 | secs = \"7d\"\n  |        ^^^^"), "{shown}");
    assert!(problem("[server\n", &[], &[]).contains("line 1, column 8"));
    assert!(problem("[log]\nlevel = \"info\"\nlevel = \"warn\"\n", &[], &[]).contains("duplicate key"));
    let shown = problem("", &[("RESTANTE_LIMITS__DEVICES_MAX", "ten")], &[]);
    assert!(shown.contains("RESTANTE_LIMITS__DEVICES_MAX: limits.devices_max: `ten` is not a whole number"), "{shown}");
    assert!(problem("", &[("RESTANTE_LIMITS__DEVICES_MAX", "-1")], &[]).contains("limits.devices_max"));
    assert!(problem("", &[("RESTANTE_SERVER__REGISTRATION", "maybe")], &[]).contains("RESTANTE_SERVER__REGISTRATION"));
}

#[test]
fn everything_wrong_is_said_at_once() {
    let error = bad("[server]\nlistn = 1\n[log]\nfromat = 1\n", &[("RESTANTE_X__Y", "1")], &[("a.b", "1")]);
    assert_eq!(error.problems.len(), 4);
    let error = bad("[retention]\nsecs = 1\n[limits]\ndevices_max = 0\n", &[], &[]);
    assert_eq!(error.problems.len(), 2);
}

#[test]
fn both_sides_of_every_border() {
    let refused = [
        ("server.listen", "localhost:8484"),
        ("server.listen", "127.0.0.1"),
        ("server.listen", "unix:"),
        ("server.listen", "127.0.0.1:65536"),
        ("server.data", ""),
        ("server.origins", "relay.example:443"),
        ("server.origins", "https://relay.example"),
        ("server.origins", "https://Relay.example:443"),
        ("server.origins", "https://relay.example:443/"),
        ("server.origins", "https://relay.example:0443"),
        ("server.origins", "http://relay.example:80"),
        ("server.origins", "http://192.168.1.2:80"),
        ("server.origins", "https://a:1,https://a:1"),
        (
            "server.origins",
            "https://a:1,https://a:2,https://a:3,https://a:4,https://a:5,https://a:6,https://a:7,https://a:8,https://a:9",
        ),
        ("server.web_origins", "https://app.example"),
        ("server.web_origins", "https://app.example:443/page"),
        ("server.web_origins", "https://App.example:443"),
        ("server.web_origins", "null"),
        ("server.web_origins", "*"),
        ("server.web_origins", "http://app.example:80"),
        ("server.web_origins", "https://a:1,https://a:1"),
        (
            "server.web_origins",
            "https://a:1,https://a:2,https://a:3,https://a:4,https://a:5,https://a:6,https://a:7,https://a:8,https://a:9",
        ),
        ("server.trusted_proxies", "10.0.0.1"),
        ("server.trusted_proxies", "10.0.0.1/8"),
        ("server.disk_bytes_max", "16777215"),
        ("retention.secs", "604801"),
        ("retention.secs", "3599"),
        ("retention.purge_schedule", "* * * *"),
        ("retention.purge_schedule", "61 * * * *"),
        ("retention.purge_schedule", "0 0 0 1 1 * 2030"),
        ("retention.purge_schedule", "@daily"),
        ("retention.purge_schedule", "0 0 30 2 *"),
        ("log.level", "loud"),
        ("limits.devices_max", "0"),
        ("limits.devices_max", "11"),
        ("limits.mailbox_envelopes_max", "1"),
        ("limits.page_envelopes_max", "101"),
        ("limits.page_bytes_max", "1048577"),
        ("limits.long_poll_secs_max", "61"),
        ("limits.drain_secs", "0"),
        ("limits.prefix_connections_max", "8193"),
        ("limits.device_unseen_days", "366"),
    ];
    for (key, value) in refused {
        let error = bad("", &[], &[(key, value)]);
        let named = error.problems.iter().all(|problem| problem.key.as_deref() == Some(key) && problem.origin == "--set");
        assert!(named, "{key} = {value}: {error}");
    }
    let taken = [
        ("server.listen", "[::1]:0"),
        ("server.listen", "unix:/run/relay.sock"),
        ("server.origins", "https://relay.example:443"),
        ("server.origins", "http://[::1]:8484,http://localhost:8484,http://127.0.0.1:8484"),
        ("server.origins", "http://abcdef.onion:80"),
        ("server.origins", "https://a:1,https://a:2,https://a:3,https://a:4,https://a:5,https://a:6,https://a:7,https://a:8"),
        ("server.web_origins", "https://app.example:443,http://localhost:5173,http://abcdef.onion:80"),
        (
            "server.web_origins",
            "https://a:1,https://a:2,https://a:3,https://a:4,https://a:5,https://a:6,https://a:7,https://a:8",
        ),
        ("server.trusted_proxies", "10.0.0.0/8,fd00::/8,127.0.0.1/32"),
        ("server.disk_bytes_max", "16777216"),
        ("retention.secs", "604800"),
        ("retention.secs", "3600"),
        ("retention.purge_schedule", "30 */5 * * * *"),
        ("retention.purge_schedule", "0 0 29 2 *"),
        ("limits.devices_max", "1"),
        ("limits.mailbox_envelopes_max", "2"),
        ("limits.page_envelopes_max", "1"),
        ("limits.prefix_connections_max", "8192"),
        ("limits.device_unseen_days", "365"),
    ];
    for (key, value) in taken {
        let (_dir, sources) = sources("", &[], &[(key, value)]);
        assert!(load(sources).is_ok(), "{key} = {value}");
    }
}

#[test]
fn what_depends_on_another_key_is_refused_together_with_it() {
    assert!(problem("", &[], &[("server.listen", "0.0.0.0:80")]).contains("server.origins: must be set, because `0.0.0.0:80`"));
    let origins = ("server.origins", "https://relay.example:443");
    good("", &[], &[("server.listen", "0.0.0.0:80"), origins]);
    good("", &[], &[("server.origins", "http://relay.lan:80"), ("server.plain_http", "true")]);
    good("", &[], &[("server.web_origins", "http://app.lan:80"), ("server.plain_http", "true")]);
    let shown = problem("", &[], &[("server.web_origins", "https://app.example")]);
    assert!(shown.ends_with("with its port / write \"https://app.example:443\""), "{shown}");
    let shown = problem("", &[], &[("server.web_origins", "http://app.lan:80")]);
    assert!(shown.contains("put their own page in its place / serve the page over https://, or set server.plain"), "{shown}");
    let shown = problem("", &[], &[("limits.expires_in_secs_min", "7200"), ("retention.secs", "7199")]);
    assert!(shown.contains("retention.secs"), "{shown}");
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let sources = Sources { file: Some("/nowhere/relay.toml".into()), ..Sources::default() };
    let error = load(sources).expect_err("there is no such file");
    assert!(error.to_string().contains("/nowhere/relay.toml: cannot read it"), "{error}");
}

#[test]
fn every_key_in_the_file_has_its_reason_and_its_name_in_the_environment() {
    let mut section = String::new();
    let mut comment = Vec::new();
    let mut keys = 0;
    for line in DEFAULT_TEXT.lines() {
        if let Some(text) = line.strip_prefix("# ") {
            comment.push(text);
        } else if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_string();
            comment.clear();
        } else if let Some((key, _)) = line.split_once(" = ") {
            let name = format!("RESTANTE_{}__{}", section.to_uppercase(), key.to_uppercase());
            assert!(comment.len() >= 2, "{section}.{key} has no reason");
            let names_it = comment.iter().any(|line| line.split(' ').next() == Some(&name));
            assert!(names_it, "the comment of {section}.{key} does not give {name}");
            keys += 1;
            comment.clear();
        } else {
            comment.clear();
        }
    }
    assert_eq!(keys, 13 + Limits::NAMES.len(), "a key was added: document it, and count it here");
}

#[test]
fn the_limits_of_file_types_and_protocol_are_one_table() {
    let protocol = include_str!("../../docs/protocol.md");
    let section = protocol.split("\n## 13. ").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("section 13");
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let name = cells.next()?.trim_end_matches('`').to_string();
        Some((name, cells.next()?.parse::<u64>().ok()?))
    };
    let documented: BTreeMap<String, u64> = section.lines().filter_map(row).collect();
    assert_eq!(documented, Limits::default().table());

    let file: toml::Table = toml::from_str(DEFAULT_TEXT).expect("relay.toml");
    let limits = file["limits"].as_table().expect("[limits]");
    let configured = limits.iter().map(|(name, value)| (name.clone(), value.as_integer().expect("a number") as u64));
    let mut configured: BTreeMap<String, u64> = configured.collect();
    configured.insert("request_bytes_max".into(), Limits::default().request_bytes_max());
    assert_eq!(documented, configured);
}
