//! Everything that is tested from outside, in one binary that links once: a file a topic.

mod accounts;
mod admin;
mod auth;
mod bad_input;
mod cli;
mod client;
mod config;
mod connections;
mod envelopes;
mod erasure;
mod floors;
mod jobs;
mod keys;
mod lists;
mod logs;
mod polls;
mod process;
mod protocol_vectors;
mod receipts;
mod routes;
mod schema;
mod store_contract;
mod support;
mod tokens;
mod wraps;
