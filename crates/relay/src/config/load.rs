//! Gathers a configuration from `relay.toml`, the environment and flags, and remembers where each value came from.
//!
//! The compiled-in `relay.toml` is the list of all keys, their defaults and their kinds. It reads the one file it is told or
//! finds; the environment comes from the caller.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde::Deserialize;
use toml::Value;
use toml::de::DeTable;

use super::names::{PREFIX, hint_for, is_section, mark, nearest, variable};
use super::{Config, ConfigError, Problem, check};

/// `relay.toml` as it was compiled in: every key with its default.
pub const DEFAULT_TEXT: &str = include_str!("../../relay.toml");

/// Where a configuration is gathered from.
#[derive(Debug, Default)]
pub struct Sources {
    /// The file to read; without it `./relay.toml`, then `/etc/restante/relay.toml`, or none.
    pub file: Option<PathBuf>,
    /// The environment; what does not begin with `RESTANTE_` is passed over.
    pub environment: Vec<(String, String)>,
    /// What flags say.
    pub flags: Vec<Flag>,
}

/// A value given by a flag.
#[derive(Debug)]
pub struct Flag {
    /// The flag, `--listen`.
    pub flag: &'static str,
    /// The key that it sets, `server.listen`.
    pub key: String,
    /// The value as typed.
    pub value: String,
}

/// Where a value comes from; a later one overrides an earlier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Compiled in.
    Default,
    /// A file, and the place of the value in it.
    File(String),
    /// The environment, by this name.
    Environment(String),
    /// A flag.
    Flag(&'static str),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("the default"),
            Self::File(place) => f.write_str(place),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// One key's value and origin.
#[derive(Debug, Clone)]
pub struct Setting {
    /// `server.listen`.
    pub key: String,
    /// Its value.
    pub value: Value,
    /// Where the value comes from.
    pub source: Source,
}

/// A configuration that passed every check.
#[derive(Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// Every key, in the order of `relay.toml`.
    pub settings: Vec<Setting>,
}

/// Gathers and checks. Reports every unknown key and every check that failed, not the first alone.
pub fn load(sources: Sources) -> Result<Loaded, ConfigError> {
    let mut settings = DEFAULTS.clone();
    let mut problems = Vec::new();
    let file = sources.file.or_else(|| PLACES.iter().map(PathBuf::from).find(|path| path.exists()));
    if let Some(path) = &file {
        overlay_file(&mut settings, path, &mut problems);
    }
    for (name, value) in sources.environment {
        if let Err(problem) = overlay_variable(&mut settings, &name, &value) {
            problems.push(problem);
        }
    }
    for Flag { flag, key, value } in sources.flags {
        if let Err(problem) = overlay_flag(&mut settings, flag, &key, &value) {
            problems.push(problem);
        }
    }
    if !problems.is_empty() {
        return Err(ConfigError { problems });
    }
    let config = assemble(&settings)?;
    let problems = check(&config, |key| settings.iter().find(|s| s.key == key).map_or(Source::Default, |s| s.source.clone()));
    if !problems.is_empty() {
        return Err(ConfigError { problems });
    }
    Ok(Loaded { config, file, settings })
}

/// Every key with its default, in the order of `relay.toml`.
static DEFAULTS: LazyLock<Vec<Setting>> = LazyLock::new(|| {
    entries(DEFAULT_TEXT)
        .expect("the compiled-in relay.toml is TOML, as a test shows")
        .into_iter()
        .map(|(key, value, _)| Setting { key, value, source: Source::Default })
        .collect()
});

/// Keys, values and places of a TOML text, in its order. A key outside a section has no dot.
fn entries(text: &str) -> Result<Vec<(String, Value, Range<usize>)>, toml::de::Error> {
    let values: toml::Table = toml::from_str(text)?;
    let mut entries = Vec::new();
    for (section, content) in DeTable::parse(text)?.get_ref().iter() {
        match (content.get_ref().as_table(), values.get(section.get_ref().as_ref())) {
            (Some(keys), Some(Value::Table(table))) if !keys.is_empty() => {
                for key in keys.keys() {
                    let value = table[key.get_ref().as_ref()].clone();
                    entries.push((format!("{}.{}", section.get_ref(), key.get_ref()), value, key.span()));
                }
            }
            (_, Some(value)) => entries.push((section.get_ref().to_string(), value.clone(), section.span())),
            (_, None) => {}
        }
    }
    entries.sort_by_key(|(_, _, place)| place.start);
    Ok(entries)
}

fn overlay_file(settings: &mut [Setting], path: &Path, problems: &mut Vec<Problem>) {
    let name = path.display();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            return problems.push(Problem {
                key: None,
                origin: name.to_string(),
                message: format!("cannot read it: {error}"),
                excerpt: None,
                hint: Some("`restante config default` prints a file to start from".into()),
            });
        }
    };
    let faulty = |error: toml::de::Error| {
        let span = error.span().unwrap_or(0..0);
        let (line, column, excerpt) = mark(&text, span);
        let origin = format!("{name}, line {line}, column {column}");
        Problem { key: None, origin, message: error.message().to_string(), excerpt: Some(excerpt), hint: None }
    };
    let found = match entries(&text) {
        Ok(found) => found,
        Err(error) => return problems.push(faulty(error)),
    };
    let before = problems.len();
    for (key, value, span) in found {
        let (line, column, excerpt) = mark(&text, span);
        match settings.iter().position(|setting| setting.key == key) {
            Some(at) => {
                settings[at].value = value;
                settings[at].source = Source::File(format!("{name}, line {line}"));
            }
            // A section with nothing in it says nothing.
            None if matches!(&value, Value::Table(table) if table.is_empty()) && is_section(settings, &key) => {}
            None => problems.push(Problem {
                key: None,
                origin: format!("{name}, line {line}, column {column}"),
                message: format!("unknown key `{key}`"),
                excerpt: Some(excerpt),
                hint: Some(hint_for(&key, settings)),
            }),
        }
    }
    // The kinds of the values, with the place of the first that is of another; known keys only, so that it is about values.
    if problems.len() == before
        && let Err(error) = toml::from_str::<Config>(&text)
    {
        problems.push(faulty(error));
    }
}

fn overlay_variable(settings: &mut [Setting], name: &str, text: &str) -> Result<(), Problem> {
    if !name.starts_with(PREFIX) || EXEMPT.contains(&name) || name.starts_with(CLIENT_PREFIX) {
        return Ok(());
    }
    match settings.iter_mut().find(|setting| variable(&setting.key) == name) {
        Some(setting) => set(setting, text, Source::Environment(name.to_string())),
        None => {
            let names = settings.iter().map(|setting| variable(&setting.key)).chain(EXEMPT.map(String::from));
            Err(Problem {
                key: None,
                origin: format!("environment {name}"),
                message: "no key has this name".into(),
                excerpt: None,
                hint: Some(format!("did you mean {}?", nearest(name, names))),
            })
        }
    }
}

fn overlay_flag(settings: &mut [Setting], flag: &'static str, key: &str, text: &str) -> Result<(), Problem> {
    match settings.iter_mut().find(|setting| setting.key == key) {
        Some(setting) => set(setting, text, Source::Flag(flag)),
        None => Err(Problem {
            key: None,
            origin: flag.to_string(),
            message: format!("unknown key `{key}`"),
            excerpt: None,
            hint: Some(hint_for(key, settings)),
        }),
    }
}

/// Reads a text as the kind of value that the key's default is.
fn set(setting: &mut Setting, text: &str, source: Source) -> Result<(), Problem> {
    let value = match &setting.value {
        Value::Integer(_) => text.trim().replace('_', "").parse().map(Value::Integer).map_err(|_| "a whole number"),
        Value::Boolean(_) => text.trim().parse().map(Value::Boolean).map_err(|_| "`true` or `false`"),
        Value::Array(_) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Ok(Value::Array(items.map(|item| Value::String(item.into())).collect()))
        }
        _ => Ok(Value::String(text.to_string())),
    };
    match value {
        Ok(value) => {
            setting.value = value;
            setting.source = source;
            Ok(())
        }
        Err(expected) => Err(Problem {
            key: Some(setting.key.clone()),
            origin: source.to_string(),
            message: format!("`{text}` is not {expected}"),
            excerpt: None,
            hint: None,
        }),
    }
}

fn assemble(settings: &[Setting]) -> Result<Config, ConfigError> {
    let mut sections: BTreeMap<&str, toml::Table> = BTreeMap::new();
    for Setting { key, value, .. } in settings {
        let (section, name) = key.split_once('.').expect("every known key stands in a section, as a test shows");
        sections.entry(section).or_default().insert(name.to_string(), value.clone());
    }
    // Key by key, so that a value out of range names its own origin.
    for setting in settings {
        let (section, name) = setting.key.split_once('.').expect("every known key stands in a section, as a test shows");
        let alone = toml::Table::from_iter([(name.to_string(), setting.value.clone())]);
        let whole = toml::Table::from_iter([(section.to_string(), Value::Table(alone))]);
        if let Err(error) = Config::deserialize(whole) {
            return Err(ConfigError::from(Problem {
                key: Some(setting.key.clone()),
                origin: setting.source.to_string(),
                message: error.message().trim().to_string(),
                excerpt: None,
                hint: None,
            }));
        }
    }
    let whole: toml::Table = sections.into_iter().map(|(name, table)| (name.to_string(), Value::Table(table))).collect();
    Ok(Config::deserialize(whole).expect("each of the values was good by itself"))
}

/// Where a file is looked for when none is named, in this order.
const PLACES: [&str; 2] = ["relay.toml", "/etc/restante/relay.toml"];
/// The client's environment never stops a server.
const CLIENT_PREFIX: &str = "RESTANTE_CLIENT_";
/// Names that are not a key's; the client's own is among them.
#[cfg(not(feature = "sabotage"))]
const EXEMPT: [&str; 3] = ["RESTANTE_CONFIG", "RESTANTE_LOG", "RESTANTE_CODE"];
#[cfg(feature = "sabotage")]
const EXEMPT: [&str; 4] = ["RESTANTE_CONFIG", "RESTANTE_LOG", "RESTANTE_CODE", "RESTANTE_SABOTAGE"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiled_in_file_says_what_the_types_default_to() {
        assert_eq!(toml::from_str::<Config>(DEFAULT_TEXT), Ok(Config::default()));
        assert_eq!(assemble(&DEFAULTS), Ok(Config::default()));
        let all: toml::Table = toml::from_str(&toml::to_string(&Config::default()).expect("a table")).expect("its text");
        let keys = all.values().filter_map(Value::as_table).map(toml::Table::len).sum::<usize>();
        assert_eq!(DEFAULTS.len(), keys, "relay.toml lacks a key, or has one too many");
    }
}
