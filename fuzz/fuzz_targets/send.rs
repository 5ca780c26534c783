//! Bytes as a send.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../tests/it/fuzz/requests.rs"]
mod requests;

fuzz_target!(|bytes: &[u8]| {
    requests::send(bytes);
});
