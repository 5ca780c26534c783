//! What only SQLite has to prove: which files it refuses, and what it does when disk or file fail.

mod disk;
mod erasure;
mod expiry;
mod filling;
mod opening;
mod writer;
