//! The relay's floors of restante's house, from the store to the server. `restante` re-exports them; depend on that.

pub mod admin;
pub mod api;
pub mod config;
pub mod jobs;
pub mod server;
pub mod service;
pub mod store;

#[cfg(feature = "sabotage")]
use restante_base::sabotage;
use restante_base::{crypto, protocol};
