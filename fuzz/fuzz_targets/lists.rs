//! Bytes as device lists and their certificates.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../tests/it/fuzz/lists.rs"]
mod lists;

fuzz_target!(|bytes: &[u8]| {
    lists::judge(bytes);
});
