//! Everything that is tested from outside, in one binary that links once: a file a topic.

mod admin;
mod bad_input;
mod cli;
mod client;
mod config;
mod connections;
mod envelopes;
mod erasure;
mod floors;
mod logs;
mod process;
mod protocol_vectors;
mod schema;
mod smoke;
mod store_contract;
mod support;
