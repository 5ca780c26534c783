//! `restante config`: show, check or print the relay's configuration; and the flags by which every relay command finds it.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Map, json};

use super::{output, units};
use crate::config::{ConfigError, DEFAULT_TEXT, Flag, Loaded, Problem, Source, Sources};

/// The flags that name a configuration and change it.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Configuration")]
pub(super) struct ConfigArgs {
    /// Read this file instead of ./relay.toml or /etc/restante/relay.toml.
    #[arg(long, value_name = "FILE", env = "RESTANTE_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    /// The data directory (server.data).
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Set any key of the configuration; may be given several times.
    #[arg(long, value_name = "SECTION.KEY=VALUE", value_parser = parse_setting)]
    set: Vec<(String, String)>,
}

impl ConfigArgs {
    /// Gathers the configuration from file, environment and flags.
    pub(super) fn load(self) -> Result<Loaded, ConfigError> {
        self.load_with(None)
    }

    /// The same, with the flag of one command more.
    pub(super) fn load_with(self, more: Option<Flag>) -> Result<Loaded, ConfigError> {
        let set = self.set.into_iter().map(|(key, value)| Flag { flag: "--set", key, value });
        let data = self.data.map(|value| Flag { flag: "--data", key: "server.data".into(), value });
        crate::config::load(Sources {
            file: self.config.filter(|path| !path.as_os_str().is_empty()),
            environment: environment()?,
            flags: set.chain(data).chain(more).collect(),
        })
    }
}

fn parse_setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected SECTION.KEY=VALUE, such as log.format=json")?;
    Ok((key.trim().to_string(), value.trim().to_string()))
}

fn environment() -> Result<Vec<(String, String)>, ConfigError> {
    let ours = std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"RESTANTE_"));
    ours.map(|(name, value)| {
        let name = name.to_string_lossy().into_owned();
        match value.into_string() {
            Ok(value) => Ok((name, value)),
            Err(_) => Err(ConfigError::from(Problem {
                key: None,
                origin: format!("environment {name}"),
                message: "the value is not UTF-8".into(),
                excerpt: None,
                hint: None,
            })),
        }
    })
    .collect()
}

/// `restante config`.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Say what is wrong with a configuration, all at once; exit code 78 if anything is.
    #[command(after_help = "Example:\n  restante config check /etc/restante/relay.toml")]
    Check {
        /// The file to check; otherwise the one that `serve` would read.
        file: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Show every value and where it comes from: default, file, environment or flag.
    Show {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Print a relay.toml with every key, its default and the reason for it.
    #[command(after_help = "Example:\n  restante config default > relay.toml")]
    Default,
}

pub(super) fn run(command: ConfigCommand) -> anyhow::Result<u8> {
    match command {
        ConfigCommand::Check { file, json, mut config } => {
            config.config = file.or(config.config);
            check(config.load(), json)
        }
        ConfigCommand::Show { json, config } => show(&config.load()?, json),
        ConfigCommand::Default => {
            output::print(DEFAULT_TEXT.trim_end())?;
            Ok(0)
        }
    }
}

fn check(loaded: Result<Loaded, ConfigError>, as_json: bool) -> anyhow::Result<u8> {
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(error) if as_json => {
            output::print_json(&json!({"good": false, "problems": error.problems}))?;
            return Ok(super::failure::CONFIGURATION);
        }
        Err(error) => return Err(error.into()),
    };
    let schedule = &loaded.config.retention.purge_schedule;
    let next = crate::server::next_run(schedule, wall_clock());
    if as_json {
        output::print_json(&json!({"good": true, "problems": [], "file": loaded.file, "next_purge": next}))?;
        return Ok(0);
    }
    let file = loaded.file.as_ref().map_or_else(|| "the defaults".to_string(), |file| file.display().to_string());
    let next = next.map_or_else(|| "no purge ever".to_string(), |at| format!("next purge at {}", units::time(at)));
    output::print(&format!("{file}: good; {next} ({schedule})"))?;
    Ok(0)
}

#[allow(clippy::disallowed_methods, reason = "no relay is open here whose clock could be asked")]
fn wall_clock() -> u64 {
    jiff::Timestamp::now().as_second().unsigned_abs()
}

fn show(loaded: &Loaded, as_json: bool) -> anyhow::Result<u8> {
    if as_json {
        let mut all = Map::new();
        for setting in &loaded.settings {
            all.insert(setting.key.clone(), json!({"value": setting.value, "origin": setting.source.to_string()}));
        }
        output::print_json(&all)?;
        return Ok(0);
    }
    let rows: Vec<Vec<String>> = loaded
        .settings
        .iter()
        .map(|setting| vec![setting.key.clone(), setting.value.to_string(), origin(&setting.source)])
        .collect();
    output::print_table(&["key", "value", "from"], &rows)?;
    Ok(0)
}

fn origin(source: &Source) -> String {
    match source {
        Source::Default => "default".into(),
        other => other.to_string(),
    }
}
