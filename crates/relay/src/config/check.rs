//! Which values do not go together, or pass a border that code stands on: each with its key, origin and the next step.
//!
//! It looks at nothing outside: whether an address is free or a directory can be written is found out by starting.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use super::{Config, Problem, Source};
use crate::protocol::Limits;
use crate::protocol::time::WEEK;

/// Every problem of a configuration; `source` says where a key's value comes from.
pub fn check(config: &Config, source: impl Fn(&str) -> Source) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut report = |key: &str, message: String, hint: Option<String>| {
        let origin = source(key).to_string();
        problems.push(Problem { key: Some(key.to_string()), origin, message, excerpt: None, hint });
    };
    if let Err((message, hint)) = listen(&config.server.listen) {
        report("server.listen", message, Some(hint));
    } else if needs_origins(&config.server.listen) && config.server.origins.is_empty() {
        let message = format!("must be set, because `{}` is not a loopback address", config.server.listen);
        let hint = "give what clients dial, such as \"https://relay.example:443\": logins are signed for it";
        report("server.origins", message, Some(hint.into()));
    }
    if let Err((message, hint)) = data(&config.server.data) {
        report("server.data", message, Some(hint));
    }
    for (key, list, of) in
        [("server.origins", &config.server.origins, &DIALLED), ("server.web_origins", &config.server.web_origins, &PAGES)]
    {
        for (message, hint) in origins(list, config.server.plain_http, of) {
            report(key, message, Some(hint));
        }
    }
    for network in &config.server.trusted_proxies {
        if let Err((message, hint)) = network_of(network) {
            report("server.trusted_proxies", message, Some(hint));
        }
    }
    if config.server.disk_bytes_max < DISK_BYTES_MAX_MIN {
        report("server.disk_bytes_max", format!("must be at least {DISK_BYTES_MAX_MIN} (16 MiB)"), None);
    }
    if !(config.limits.expires_in_secs_min..=WEEK).contains(&config.retention.secs) {
        let least = config.limits.expires_in_secs_min;
        let message = format!("{} is not between {least} (limits.expires_in_secs_min) and {WEEK}", config.retention.secs);
        report("retention.secs", message, Some("seven days, 604800, is the most that there is".into()));
    }
    if let Err(message) = schedule(&config.retention.purge_schedule) {
        let hint = "five fields, or six with seconds first: \"*/5 * * * *\" is every five minutes";
        report("retention.purge_schedule", message, Some(hint.into()));
    }
    if !LEVELS.contains(&config.log.level.as_str()) {
        report("log.level", format!("`{}` is none of {}", config.log.level, LEVELS.join(", ")), None);
    }
    for (name, value) in config.limits.table() {
        let border = BORDERS.iter().find(|(known, _, _)| *known == name);
        if let Some((_, least, most)) = border.filter(|(_, least, most)| !(least..=most).contains(&&value)) {
            report(&format!("limits.{name}"), format!("{value} is not between {least} and {most}"), None);
        }
    }
    for (lower, upper) in ORDERED {
        let table = config.limits.table();
        if table[lower] > table[upper] {
            let message = format!("{} is above limits.{upper}, which is {}", table[lower], table[upper]);
            report(&format!("limits.{lower}"), message, None);
        }
    }
    problems
}

/// A sentence and its hint.
type Wrong = (String, String);

fn listen(listen: &str) -> Result<(), Wrong> {
    let hint = "such as 127.0.0.1:8484, [::1]:8484 or unix:/run/restante/relay.sock";
    match listen.strip_prefix("unix:") {
        Some("") => Err(("the socket's path is missing".into(), hint.into())),
        Some(path) if path.len() > SOCKET_PATH_BYTES_MAX => {
            Err((format!("the socket's path is longer than {SOCKET_PATH_BYTES_MAX} bytes"), "choose a shorter one".into()))
        }
        Some(_) => Ok(()),
        None if listen.parse::<SocketAddr>().is_ok() => Ok(()),
        None => Err((format!("`{listen}` is not a numeric address with a port, nor unix:PATH"), hint.into())),
    }
}

/// Whether the address tells nothing about what clients dial.
fn needs_origins(listen: &str) -> bool {
    listen.parse::<SocketAddr>().is_ok_and(|address| !address.ip().is_loopback())
}

fn data(data: &Path) -> Result<(), Wrong> {
    if data.as_os_str().is_empty() {
        return Err(("the path is empty".into(), "`.` is the working directory".into()));
    }
    let socket = std::path::absolute(data).unwrap_or_else(|_| data.to_path_buf()).join("admin.sock");
    if socket.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
        let message = format!("admin.sock in it would have a path longer than {SOCKET_PATH_BYTES_MAX} bytes");
        return Err((message, "choose a directory with a shorter path".into()));
    }
    Ok(())
}

/// What is said of origins of one kind.
struct Words {
    example: &'static str,
    too_many: &'static str,
    form: &'static str,
    danger: &'static str,
    safer: &'static str,
}

const DIALLED: Words = Words {
    example: "https://relay.example:443",
    too_many: "keep those that clients dial",
    form: "the one form that is signed",
    danger: "others can take over sessions",
    safer: "put a proxy with TLS in front and write https://",
};

const PAGES: Words = Words {
    example: "https://app.example:443",
    too_many: "keep those whose pages may use the relay",
    form: "the one form that is compared, with its port",
    danger: "others can put their own page in its place",
    safer: "serve the page over https://",
};

fn origins(origins: &[String], plain_http: bool, of: &Words) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    if origins.len() > ORIGINS_MAX {
        wrong.push((format!("{} origins, and {ORIGINS_MAX} is the most", origins.len()), of.too_many.into()));
    }
    for (at, origin) in origins.iter().enumerate() {
        if origins[..at].contains(origin) {
            wrong.push((format!("`{origin}` stands there twice"), "remove one".into()));
        } else if let Err(problem) = check_origin(origin, plain_http, of) {
            wrong.push(problem);
        }
    }
    wrong
}

fn check_origin(origin: &str, plain_http: bool, of: &Words) -> Result<(), Wrong> {
    let example = format!("such as \"{}\": scheme, host and port, nothing after", of.example);
    let Some((scheme, host, port)) = canonical(origin) else {
        return Err((format!("`{origin}` is not an origin"), example));
    };
    let written = format!("{scheme}://{host}:{port}");
    if written != origin {
        return Err((format!("`{origin}` is not in {}", of.form), format!("write \"{written}\"")));
    }
    if scheme == "http" && !is_loopback(origin) && !host.ends_with(".onion") && !plain_http {
        let message = format!("`{origin}` is plain HTTP over a network, where {}", of.danger);
        return Err((message, format!("{}, or set server.plain_http = true", of.safer)));
    }
    Ok(())
}

/// Whether an origin's host is this machine.
fn is_loopback(origin: &str) -> bool {
    let Some((_, host, _)) = canonical(origin) else { return false };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Scheme, host and port of what is meant by an origin, in their canonical form.
fn canonical(origin: &str) -> Option<(String, String, u16)> {
    let lower = origin.to_ascii_lowercase();
    let (scheme, rest) = lower.split_once("://")?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let default_port = match scheme {
        "https" => 443,
        "http" => 80,
        _ => return None,
    };
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => {
            (host, port.bytes().all(|byte| byte.is_ascii_digit()).then(|| port.parse().ok()).flatten()?)
        }
        _ => (rest, default_port),
    };
    let host = match host.strip_prefix('[') {
        Some(inner) => format!("[{}]", inner.strip_suffix(']')?.parse::<std::net::Ipv6Addr>().ok()?),
        None => host.to_string(),
    };
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte);
    let named = !host.is_empty() && host.bytes().all(good) && (host.starts_with('[') || !host.contains([':', '[', ']']));
    (named && port != 0).then(|| (scheme.to_string(), host, port))
}

fn network_of(network: &str) -> Result<(), Wrong> {
    let hint = "such as 10.0.0.0/8 or fd00::/8".to_string();
    let wrong = || (format!("`{network}` is not a network"), hint.clone());
    let Some((address, bits)) = network.split_once('/') else {
        return Err(match network.parse::<IpAddr>() {
            Ok(address) => {
                let bits = if address.is_ipv4() { 32 } else { 128 };
                (format!("`{network}` is an address, not a network"), format!("write \"{address}/{bits}\""))
            }
            Err(_) => wrong(),
        });
    };
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let bits: u32 = bits.parse().map_err(|_| wrong())?;
    // The address as the top bits of 128, so that both families are masked alike.
    let (value, width) = match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    };
    if bits > width {
        return Err(wrong());
    }
    let masked = value & u128::MAX.checked_shl(128 - bits).unwrap_or(0);
    if masked != value {
        let first = match address {
            IpAddr::V4(_) => IpAddr::V4(((masked >> 96) as u32).into()),
            IpAddr::V6(_) => IpAddr::V6(masked.into()),
        };
        return Err((format!("`{network}` has bits set beyond its {bits}"), format!("write \"{first}/{bits}\"")));
    }
    Ok(())
}

fn schedule(expression: &str) -> Result<(), String> {
    let fields = expression.split_whitespace().count();
    if !(5..=6).contains(&fields) {
        return Err(format!("`{expression}` has {fields} fields"));
    }
    let parser = croner::parser::CronParser::builder().year(croner::parser::Year::Disallowed).build();
    let cron = parser.parse(expression).map_err(|error| format!("`{expression}` is not a cron expression: {error}"))?;
    let ever = cron.find_next_occurrence(&chrono::DateTime::UNIX_EPOCH, false);
    ever.map(drop).map_err(|_| format!("`{expression}` never comes"))
}

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
/// As many as the relay tries at a login; each costs it a signature check.
const ORIGINS_MAX: usize = 8;
/// What `sun_path` holds, less its end.
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Below this SQLite's own pages crowd out the envelopes.
const DISK_BYTES_MAX_MIN: u64 = 16 << 20;

/// The least and the most of every limit. Where the protocol has a number, that is the most.
const BORDERS: [(&str, u64, u64); Limits::NAMES.len()] = [
    ("devices_max", 1, 10),
    ("tokens_max", 1, 1_000_000),
    // A token gets at most what is still free: with room for one, nobody could send anything.
    ("mailbox_envelopes_max", 2, 1_000_000),
    ("mailbox_bytes_max", 65_536, 1 << 40),
    ("page_envelopes_max", 1, 100),
    ("page_bytes_max", 16_384, 1_048_576),
    ("ack_seqs_max", 1, 100),
    ("long_poll_secs_max", 1, 60),
    ("session_secs", 60, 86_400),
    ("sessions_device_max", 1, 64),
    ("challenge_secs", 5, 300),
    ("expires_in_secs_min", 3_600, WEEK),
    ("repeats_secs", 60, 86_400),
    ("repeats_max", 1_000, 100_000_000),
    ("head_secs", 1, 60),
    ("body_secs", 1, 300),
    ("idle_secs", 1, 3_600),
    ("stream_unacked_max", 1, 1_000),
    ("drain_secs", 1, 60),
    ("connections_max", 16, 1_000_000),
    ("prefix_connections_max", 1, 1_000_000),
    // 0 counts nothing.
    ("prefix_challenges_per_min", 0, 1_000_000),
    ("prefix_bad_logins_per_min", 0, 1_000_000),
    ("prefix_requests_per_min", 0, 1_000_000),
    ("device_requests_per_min", 0, 1_000_000),
    ("token_sends_per_min", 0, 1_000_000),
    ("prefix_knocks_per_hour", 0, 1_000_000),
    ("prefix_lookups_per_min", 0, 1_000_000),
    ("knocks_token_max", 1, 10_000),
    ("knocks_max", 1, 100_000),
    // An account that recovers has the slot of its last epoch beside the new one.
    ("slots_max", 2, 4),
    // A visit is kept to the week: with less than two of them a device seen yesterday could count as absent.
    ("device_unseen_days", 14, 3_650),
    ("account_unseen_days", 14, 36_500),
];

/// Pairs of limits of which the first may not be above the second.
const ORDERED: [(&str, &str); 3] = [
    ("prefix_connections_max", "connections_max"),
    ("device_unseen_days", "account_unseen_days"),
    ("knocks_token_max", "knocks_max"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_has_its_borders_and_its_default_lies_within() {
        let table = Limits::default().table();
        for name in Limits::NAMES {
            let (_, least, most) = BORDERS.iter().find(|(known, _, _)| known == name).expect(name);
            assert!((least..=most).contains(&&table[*name]), "{name}");
        }
    }

    #[test]
    fn an_origin_is_brought_into_its_one_form() {
        let written = |origin| canonical(origin).map(|(scheme, host, port)| format!("{scheme}://{host}:{port}"));
        assert_eq!(written("HTTPS://Relay.Example/").as_deref(), Some("https://relay.example:443"));
        assert_eq!(written("http://[0:0::1]:080").as_deref(), Some("http://[::1]:80"));
        for bad in
            ["", "relay.example:443", "ftp://a:1", "https://", "https://a:0", "https://u@a:1", "https://a:1/b", "http://::1:80"]
        {
            assert_eq!(written(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_network_has_no_bits_beyond_its_own() {
        for good in ["10.0.0.0/8", "0.0.0.0/0", "127.0.0.1/32", "fd00::/8", "::/0", "::1/128"] {
            assert_eq!(network_of(good), Ok(()), "{good}");
        }
        for bad in ["10.0.0.1/8", "10.0.0.0/33", "10.0.0.0", "fd00::1/8", "a/8", "10.0.0.0/", "10.0.0.0/-1"] {
            assert!(network_of(bad).is_err(), "{bad}");
        }
    }
}
