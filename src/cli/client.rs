//! `restante client`: a placeholder until the client lands.

use clap::Args;

/// `restante client`.
#[derive(Debug, Args)]
pub struct ClientArgs {}

/// Nothing yet.
pub async fn run(_args: ClientArgs) -> anyhow::Result<u8> {
    Err(super::Failure::new("the client is not in this build").into())
}
