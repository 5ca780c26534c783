//! Bytes as a stream hands them to the parser of clients' frames.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/it/frames/judge.rs"]
mod judge;

fuzz_target!(|bytes: &[u8]| {
    judge::judge(bytes);
});
