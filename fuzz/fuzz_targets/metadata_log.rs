//! Any bytes as the files of the metadata log: vote, snapshot and journal.

#![no_main]
#![forbid(unsafe_code)]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millrace_engine::metadata::open_hostile(data));
