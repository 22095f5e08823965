//! Any bytes as a channel's stream, split by what the first one says.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| xspgate::broadworks::channel::fuzz::documents(data));
