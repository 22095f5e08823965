//! Any bytes as a response head.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| xspgate::http1::fuzz::response_head(data));
