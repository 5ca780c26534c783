//! Text as relay.toml, by way of a file in TMPDIR.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/it/fuzz/config.rs"]
mod config;

static FILE: LazyLock<tempfile::NamedTempFile> = LazyLock::new(|| tempfile::NamedTempFile::new().expect("a file"));

fuzz_target!(|bytes: &[u8]| {
    config::judge(FILE.path(), bytes);
});
