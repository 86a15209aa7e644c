//! Any bytes as a log directory that `millrace verify-log` reads and repairs.

#![no_main]
#![forbid(unsafe_code)]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millrace_engine::verify::verify_hostile(data));
