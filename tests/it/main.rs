//! The tests that see the whole: one binary, so that they link once.

mod admin;
mod cli;
mod config;
mod floors;
mod process;
