//! Any bytes as records of the metadata log.

#![no_main]
#![forbid(unsafe_code)]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millrace_engine::metadata::decode_hostile(data));
