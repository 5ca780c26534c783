//! Everything that is tested from outside, in one binary: a file a topic.

mod admin;
mod cli;
mod config;
mod process;
