//! Any bytes as requests of all APIs and versions, one after the other, to a broker with a memory and a simulated disk.

#![no_main]
#![forbid(unsafe_code)]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millrace_server::fuzzing::converse(data));
