//! Any bytes as a record of `__consumer_offsets`.

#![no_main]
#![forbid(unsafe_code)]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millrace_engine::group::record::decode_hostile(data));
