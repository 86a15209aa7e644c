//! Any bytes as `server.properties`.

#![no_main]
#![forbid(unsafe_code)]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millrace_server::config::load_hostile(data));
