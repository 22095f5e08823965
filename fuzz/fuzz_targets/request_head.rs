//! Any bytes as a request head.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| xspgate::http1::fuzz::request_head(data));
