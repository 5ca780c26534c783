//! A stand-in for the signatures of the server floor, dropped when that lands.
#![allow(missing_docs, unused_variables)]
use crate::config::Config;
use crate::service::Relay;
use std::future::Future;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ServerError(String);
impl From<std::io::Error> for ServerError {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}
impl ServerError {
    pub fn hint(&self) -> Option<String> {
        None
    }
    pub fn exit_code(&self) -> u8 {
        1
    }
}
pub struct Listener;
impl Listener {
    pub fn origin(&self) -> String {
        String::new()
    }
}
pub struct Opened {
    pub relay: Relay,
}
#[derive(serde::Serialize)]
pub struct CheckReport {
    pub envelopes: u64,
    pub damaged: u64,
    pub broken: Vec<String>,
    pub dangling: u64,
    pub miscounted: Vec<String>,
}
impl CheckReport {
    pub fn good(&self) -> bool {
        true
    }
}
pub fn check(config: &Config) -> Result<CheckReport, ServerError> {
    Err(ServerError("not in this build".into()))
}
pub fn database(config: &Config) -> PathBuf {
    config.server.data.join("restante.db")
}
pub async fn bind(listen: &str) -> Result<Listener, ServerError> {
    Err(ServerError("not in this build".into()))
}
pub async fn open(config: &Config, listener: Option<&Listener>) -> Result<Opened, ServerError> {
    Err(ServerError("not in this build".into()))
}
pub async fn serve(
    opened: Opened,
    config: &Config,
    listener: Listener,
    shutdown: impl Future<Output = ()>,
    force: impl Future<Output = ()>,
) -> Result<(), ServerError> {
    Ok(())
}
pub fn next_run(schedule: &str, now: u64) -> Option<u64> {
    None
}
