//! Where an operator's command goes: over the admin socket when a relay runs on the data directory, else straight on the
//! database, opened here under its lock.

use super::config::ConfigArgs;
use super::failure::Failure;
use crate::admin::{self, Target};
use crate::config::Config;
use crate::server;

/// Whether a command may begin a data directory, as the first `serve` would.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// Say that there is none.
    Refuse,
    /// Make it.
    Make,
}

/// Runs a call on whichever target there is, and closes the relay again if it was opened here.
pub(super) async fn on_target<T>(
    config: ConfigArgs,
    missing: Missing,
    call: impl AsyncFnOnce(&Target) -> admin::Result<T>,
) -> anyhow::Result<T> {
    let config = config.load()?.config;
    let data = &config.server.data;
    if let Some(socket) = admin::running(data).await? {
        return Ok(call(&Target::Running(socket)).await?);
    }
    if missing == Missing::Refuse {
        must_exist(&config)?;
    }
    let opened = server::open(&config, None).await?;
    let result = call(&Target::Stopped(opened.relay.clone())).await;
    opened.relay.close().await;
    Ok(result?)
}

/// Says that there is no database, rather than making one.
pub(super) fn must_exist(config: &Config) -> Result<(), Failure> {
    if server::database(config).exists() {
        return Ok(());
    }
    let failure = Failure::new(format!("there is no relay's database in {}", config.server.data.display()));
    Err(failure.hint("name its directory by --data, or start one: restante serve"))
}
