//! The relay's configuration: `relay.toml` < `RESTANTE_<SECTION>__<KEY>` in the environment < flags.
//!
//! Here are the plain values: `server` makes each floor's `Settings` of them. [`load`] gathers them and knows where each one
//! comes from; `check` says which do not go together. It names nothing of ours but the limits, whose names are the
//! protocol's.

mod check;
mod error;
mod load;
mod names;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::protocol::Limits;

pub use check::check;
pub use error::{ConfigError, Problem};
pub use load::{DEFAULT_TEXT, Flag, Loaded, Setting, Source, Sources, load};

/// Everything that an operator may set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the relay listens and keeps its data.
    pub server: Server,
    /// How long envelopes wait, and when what has expired is purged.
    pub retention: Retention,
    /// Log lines on stderr.
    pub log: Log,
    /// The bounds of `docs/protocol.md` §13.
    pub limits: Limits,
}

/// `[server]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// `ADDRESS:PORT` or `unix:PATH`; port 0 lets the system choose.
    pub listen: String,
    /// The data directory.
    pub data: PathBuf,
    /// The public origins (`https://relay.example:443`); none: the loopback or socket address itself.
    pub origins: Vec<String>,
    /// The origins of web pages that may use the relay from a browser (`https://app.example:443`).
    pub web_origins: Vec<String>,
    /// Whether `http://` origins may be other than loopback and `.onion`: sessions then travel in the clear.
    pub plain_http: bool,
    /// Who may register: `auto` (open on loopback and unix sockets, else by pass), `open`, `pass`, `closed`.
    pub registration: Registration,
    /// Networks (`10.0.0.0/8`) of proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<String>,
    /// The database grows no larger, in bytes.
    pub disk_bytes_max: u64,
    /// Below so many free bytes on the disk, sends and registrations are refused.
    pub disk_free_bytes_min: u64,
}

/// Who may register.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Registration {
    /// Open where only this machine comes in: on loopback and unix sockets, with no origin that is neither; else by pass.
    #[default]
    Auto,
    /// Anybody.
    Open,
    /// Who brings a pass.
    Pass,
    /// Nobody.
    Closed,
}

/// `[retention]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// The longest an envelope waits, in seconds; at most 604,800.
    pub secs: u64,
    /// When to purge: a cron expression of five fields, or six with seconds first, in UTC.
    pub purge_schedule: String,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `text` or `json`.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines, a JSON object a line.
    Json,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8484".into(),
            data: "restante-data".into(),
            origins: Vec::new(),
            web_origins: Vec::new(),
            plain_http: false,
            registration: Registration::Auto,
            trusted_proxies: Vec::new(),
            disk_bytes_max: 16 << 30,
            disk_free_bytes_min: 64 << 20,
        }
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self { secs: 604_800, purge_schedule: "*/5 * * * *".into() }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".into() }
    }
}
