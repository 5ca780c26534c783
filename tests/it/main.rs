//! Everything that is tested from outside, in one binary that links once: a file a topic.

mod accounts;
mod admin;
mod auth;
mod bad_input;
mod cli;
mod config;
mod connections;
mod envelopes;
mod floors;
mod process;
mod store_contract;
mod support;
