//! Any bytes as a chunked body, split by what the first one says.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| xspgate::http1::fuzz::chunked(data));
