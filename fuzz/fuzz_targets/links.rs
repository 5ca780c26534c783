//! Text as invites, account lines, link codes, origins and words.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../tests/it/fuzz/links.rs"]
mod links;

fuzz_target!(|bytes: &[u8]| {
    links::judge(bytes);
});
