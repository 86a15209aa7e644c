//! Any bytes as the files a partition's directory holds after a crash.

#![no_main]
#![forbid(unsafe_code)]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millrace_engine::log::recover_hostile(data));
