//! Everything that is tested from outside, in one binary that links once: a file a topic.

mod config;
mod floors;
mod schema;
mod store_contract;
mod support;
