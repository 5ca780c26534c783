//! What the threat model names is there: tests by their names, settings with their values, files. So it cannot rot unseen.

use std::collections::BTreeMap;
use std::path::Path;

use super::rust_files;

/// Breaches of a document, in words.
struct House {
    /// All sources, tests too.
    sources: String,
    /// `limits.slots_max` and its value, as relay.toml writes it.
    settings: BTreeMap<String, String>,
}

impl House {
    fn new(root: &Path) -> Self {
        let files = ["src", "crates", "tests"].into_iter().flat_map(|directory| rust_files(&root.join(directory)));
        let sources = files.map(|path| std::fs::read_to_string(path).expect("a readable source")).collect();
        let (mut section, mut settings) = (String::new(), BTreeMap::new());
        for line in std::fs::read_to_string(root.join("relay.toml")).expect("relay.toml").lines() {
            if let Some(name) = line.strip_prefix('[') {
                section = name.trim_end_matches(']').to_string();
            } else if let Some((key, value)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
                settings.insert(format!("{section}.{key}"), value.to_string());
            }
        }
        Self { sources, settings }
    }

    /// What is wrong with a name in backticks; none where it is right, or nothing that is looked for.
    fn breach(&self, root: &Path, named: &str) -> Option<String> {
        let (name, value) = named.split_once(" = ").map_or((named, None), |(name, value)| (name, Some(value)));
        let lower = |name: &str| name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_');
        let wrong = |what: &str| Some(format!("`{named}`: {what}"));
        if let Some((section, key)) = name.split_once('.').filter(|(section, key)| lower(section) && lower(key)) {
            let known = self.settings.get(name);
            let is_setting = self.settings.keys().any(|key| key.starts_with(&format!("{section}."))) && !key.is_empty();
            return match known {
                None if is_setting => wrong("no such setting in relay.toml"),
                Some(known) if value.is_some_and(|value| value != known) => wrong(&format!("it is {known}")),
                _ => None,
            };
        }
        if name.contains('/') && name.ends_with(".rs") {
            return if root.join(name).exists() { None } else { wrong("no such file") };
        }
        if let Some(value) = value {
            let stands = |line: &str| line.contains(&format!("const {name}: ")) && line.ends_with(&format!(" = {value};"));
            return if self.sources.lines().any(stands) { None } else { wrong("no constant of that value") };
        }
        let is_test = lower(name) && name.matches('_').count() >= 3;
        if is_test && !self.sources.contains(&format!("fn {name}(")) { wrong("no such test") } else { None }
    }
}

/// What stands in backticks.
fn named(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn the_threat_model_names_what_there_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let house = House::new(root);
    let text = std::fs::read_to_string(root.join("docs/threat-model.md")).expect("the threat model");
    let breaches: Vec<String> = named(&text).filter_map(|name| house.breach(root, name)).collect();
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
    let table = text.split("## By what").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a table");
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 25, "{}", rows.len());
    for row in rows {
        let shown_by = row.trim_end_matches(" |").rsplit(" | ").next().expect("a cell");
        assert!(named(shown_by).count() > 0, "nothing shows it: {row}");
    }
}

#[test]
fn a_name_of_nothing_is_seen() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let house = House::new(root);
    for good in
        ["limits.slots_max = 4", "server.registration = \"auto\"", "KEPT_MAX = 65_536", "a_name_of_nothing_is_seen", "202"]
    {
        assert_eq!(house.breach(root, good), None);
    }
    let absent = ["this_test", "was_never_written"].join("_");
    for bad in ["limits.slots_max = 5", "limits.slots", "KEPT_MAX = 1", "tests/it/absent.rs", &absent] {
        assert!(house.breach(root, bad).is_some(), "{bad}");
    }
}

#[test]
fn reports_go_to_where_the_project_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("SECURITY.md")).expect("SECURITY.md");
    assert!(text.contains(&format!("<{}/security/advisories/new>", env!("CARGO_PKG_REPOSITORY"))));
}
