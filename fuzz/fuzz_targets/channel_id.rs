//! Any bytes as the beginning of the answer to a channel request, split by what the first one says.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| xspgate::broadworks::channel::fuzz::channel_id(data));
