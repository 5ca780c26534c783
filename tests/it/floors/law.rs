//! The import law: which floor may name which, and how a file breaks it. `floors` feeds it the sources and the fixtures.

use super::scan::{Named, paths};

/// A floor, and what it may name outside itself. `config` and `protocol` are words: nothing runs there.
const FLOORS: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    (
        "lib",
        &["api", "jobs", "admin", "cli", "client", "config", "crypto", "protocol", "sabotage", "server", "service", "store"],
    ),
    ("examples", &["client", "protocol"]),
    ("cli", &["server", "client", "admin", "config", "protocol"]),
    // The server reads the relay key and hands it down with the randomness.
    (
        "server",
        &["api", "jobs", "admin", "service", "store", "config", "protocol", "crypto::sign", "crypto::random", "sabotage"],
    ),
    ("api", &["service", "protocol"]),
    ("jobs", &["service", "protocol"]),
    ("admin", &["service", "protocol"]),
    (
        "service",
        &[
            "store",
            "protocol",
            "crypto::sign",
            "crypto::exchange",
            "crypto::wrap",
            "crypto::locker",
            "crypto::random",
            "sabotage",
        ],
    ),
    ("store", &["protocol", "sabotage"]),
    ("client", &["protocol", "crypto"]),
    ("config", &["protocol"]),
    ("crypto", &["sabotage"]),
    // What builds that are broken on purpose ask; not compiled into any other.
    ("sabotage", &[]),
    ("protocol", &[]),
];

/// Where a file is a topic of the protocol: topics there do not import each other; what two of them share has a file of its
/// own, beside them.
const TOPICS: &[&str] = &[
    "info",
    "auth",
    "accounts",
    "factor",
    "tokens",
    "envelopes",
    "stream",
    "keys",
    "handles",
    "slots",
    "blobs",
    "limits",
    "notices",
    "passes",
    "purge",
    "roster",
    "stats",
];
const FLOORS_OF_TOPICS: &[&str] = &["api", "service", "store::sqlite"];
/// `auth` makes the `Session` that the others take.
const TOPICS_BELOW: &[&str] = &["service::auth"];
/// The table of contents, which is there to name topics.
const CONTENTS: &[&str] = &["api", "routes"];

/// The floors that run at the relay: what is sealed end to end is none of their business, in tests neither.
const RELAY: &[&str] = &["service", "store", "api", "admin", "jobs", "server"];
/// The one thing of `seal` that may have a second name.
const SEAL_SHARES: &str = "NotOpened";

/// Crates that live on certain floors only.
const HOMES: &[(&str, &[&str])] = &[
    ("anyhow", &["cli", "main"]),
    ("clap", &["cli", "main"]),
    ("ed25519_dalek", &["crypto"]),
    ("hpke", &["crypto"]),
    ("r2d2", &["store"]),
    ("r2d2_sqlite", &["store"]),
    ("reqwest", &["client"]),
    ("rusqlite", &["store"]),
    ("tokio_cron_scheduler", &["jobs"]),
    ("totp_rs", &["service"]),
    ("warp", &["api", "admin", "server"]),
    ("x25519_dalek", &["crypto"]),
];

/// Files with leave to name more than their floor may: what, and which crates. `docs/design.md` gives the reasons.
const LEAVES: &[(&str, &[&str], &[&str])] = &[
    // Ten thousand client profiles would be ten thousand directories: the load signs for its devices itself.
    ("src/cli/bench/device.rs", &["crypto::sign", "crypto::exchange", "crypto::wrap", "crypto::random"], &[]),
    // What the relay is measured against is the framework without the relay.
    ("src/cli/bench/baseline.rs", &[], &["warp"]),
];

/// A file as the law sees it.
pub(crate) struct File<'a> {
    /// From the root of the repository: `crates/relay/src/service/auth.rs`.
    pub(crate) path: &'a str,
    pub(crate) source: &'a str,
}

/// Every breach, as `path:line: sentence`.
pub(crate) fn breaches(files: &[File]) -> Vec<String> {
    let exports: Vec<(String, Vec<String>)> = files
        .iter()
        .filter(|file| file.path == "src/lib.rs")
        .flat_map(|file| {
            paths(file.source)
                .into_iter()
                .filter_map(|named| Some((named.exported_as.clone()?, absolute(file.path, &named, &[])?)))
        })
        .collect();
    let mut found = Vec::new();
    for file in files {
        let mut say = |line: usize, sentence: String| found.push(format!("{}:{line}: {sentence}", file.path));
        if !opens_with_its_purpose(file.source) {
            say(1, "a file opens with `//!`: what it is, who calls it, what it does not do".into());
        }
        let Some((floor, allowed)) = FLOORS.iter().find(|(name, _)| *name == floor_of(file.path)) else {
            say(1, "no floor of the house has this name".into());
            continue;
        };
        for word in ["#[path", "include!("] {
            if let Some(line) = file.source.lines().position(|line| line.trim_start().starts_with(word)) {
                say(line + 1, format!("`{word}` puts a file where its path does not say"));
            }
        }
        for named in paths(file.source) {
            if let Some(sentence) = breach(file.path, floor, allowed, &named, &exports) {
                say(named.line, sentence);
            }
        }
    }
    found
}

fn breach(path: &str, floor: &str, allowed: &[&str], named: &Named, exports: &[(String, Vec<String>)]) -> Option<String> {
    let written = named.segments.join("::");
    let leave = LEAVES.iter().find(|(file, ..)| *file == path);
    let Some(target) = absolute(path, named, exports) else {
        let (name, homes) = HOMES.iter().find(|(name, _)| named.segments[0] == *name)?;
        let at_home = homes.contains(&floor) || leave.is_some_and(|(_, _, crates)| crates.contains(name));
        return (!named.in_tests && !at_home).then(|| format!("the crate {name} is at home in {homes:?} only"));
    };
    let Some(to) = target.first().filter(|to| *to != "*") else {
        return Some(format!("`{written}` names the whole crate: name what you use"));
    };
    if floor == "lib" && named.exported_as.is_some() && target.last().is_some_and(|last| last == "*") {
        return Some(format!("`{written}`: the crate's root re-exports by name"));
    }
    let seals = leads_to(&target, "crypto::seal");
    if seals && RELAY.contains(&floor) {
        return Some(format!("`{written}`: the relay has no business with what is sealed end to end"));
    }
    if seals && named.exported_as.is_some() && target.last().is_none_or(|last| last != SEAL_SHARES) {
        return Some(format!("`{written}`: what seals has one name only"));
    }
    if named.in_tests {
        return None;
    }
    if to == floor {
        return topic_breach(path, &target)
            .map(|topic| format!("`{written}`: topics of one floor do not import each other ({topic})"));
    }
    let known = FLOORS.iter().any(|(name, _)| name == to);
    if !known {
        return Some(format!("`{written}` is neither a floor nor re-exported by name in lib.rs"));
    }
    let mut allowed = allowed.iter().chain(leave.map_or(&[][..], |(_, floors, _)| floors));
    (!allowed.any(|prefix| leads_to(&target, prefix))).then(|| format!("`{written}`: {floor} may not name {to}"))
}

/// Where a path leads, from the crate's root; nothing for a path into another crate or to a neighbour.
fn absolute(path: &str, named: &Named, exports: &[(String, Vec<String>)]) -> Option<Vec<String>> {
    let mut here = module_of(path);
    here.extend(named.inside.iter().cloned());
    let mut rest = named.segments.as_slice();
    let ours = inside(path).is_some_and(|inner| inner != "main.rs");
    match rest[0].as_str() {
        "crate" if ours => {
            here.clear();
            rest = &rest[1..];
        }
        "restante" | "restante_base" | "restante_relay" => {
            here.clear();
            rest = &rest[1..];
        }
        "self" | "super" if ours => {
            while let Some(first) = rest.first().filter(|first| ["self", "super"].contains(&first.as_str())) {
                if first == "super" {
                    here.pop();
                }
                rest = &rest[1..];
            }
        }
        name if inside(path) == Some("lib.rs") && FLOORS.iter().any(|(floor, _)| *floor == name) => {}
        _ => return None,
    }
    here.extend(rest.iter().cloned());
    let export = here.first().and_then(|first| exports.iter().find(|(name, _)| name == first && !is_floor(name)));
    if let Some((_, target)) = export {
        here.splice(..1, target.iter().cloned());
    }
    Some(here)
}

/// The sibling topic that a topic's file names, if it does.
fn topic_breach(path: &str, target: &[String]) -> Option<String> {
    if path.ends_with("/mod.rs") {
        return None;
    }
    let here = module_of(path);
    if here == CONTENTS {
        return None;
    }
    let group = FLOORS_OF_TOPICS.iter().find(|group| leads_to(&here, group) && leads_to(target, group))?;
    let depth = group.split("::").count();
    let (from, to) = (here.get(depth)?, target.get(depth)?);
    let below = TOPICS_BELOW.contains(&format!("{group}::{to}").as_str());
    (from != to && TOPICS.contains(&to.as_str()) && !below).then(|| format!("{from} → {to}"))
}

fn is_floor(name: &str) -> bool {
    FLOORS.iter().any(|(floor, _)| *floor == name)
}

fn leads_to(target: &[String], prefix: &str) -> bool {
    prefix.split("::").enumerate().all(|(at, segment)| target.get(at).is_some_and(|name| name == segment))
}

/// The rest of a path below the sources of one of the house's crates.
fn inside(path: &str) -> Option<&str> {
    let below = path.strip_prefix("crates/").and_then(|rest| rest.split_once('/')).map_or(path, |(_, rest)| rest);
    below.strip_prefix("src/")
}

fn module_of(path: &str) -> Vec<String> {
    let inner = inside(path).unwrap_or_default();
    let inner = inner.strip_suffix(".rs").unwrap_or(inner);
    let mut module: Vec<String> = inner.split('/').map(str::to_owned).collect();
    if module.last().is_some_and(|last| last == "mod") || inner == "lib" || inner == "main" {
        module.pop();
    }
    module
}

fn floor_of(path: &str) -> &str {
    match inside(path) {
        Some(inner) => inner.split('/').next().map_or("", |first| first.strip_suffix(".rs").unwrap_or(first)),
        None => path.split('/').next().unwrap_or_default(),
    }
}

/// `//!` on the first line, or behind inner attributes.
fn opens_with_its_purpose(source: &str) -> bool {
    source.lines().find(|line| !line.starts_with("#!") && !line.trim().is_empty()).is_some_and(|line| line.starts_with("//!"))
}
