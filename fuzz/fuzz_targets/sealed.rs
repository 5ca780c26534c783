//! Bytes as what comes to a client from outside, sealed and opened.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    restante::client::judged::judge(bytes);
});
