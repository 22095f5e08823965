//! Any bytes as the beginning of a connection that may have a PROXY header.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| xspgate::proxy_protocol::fuzz::header(data));
