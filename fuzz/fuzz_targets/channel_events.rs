//! Any bytes as a document with event ids.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| xspgate::broadworks::channel::fuzz::events(data));
