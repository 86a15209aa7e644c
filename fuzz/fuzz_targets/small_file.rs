//! Any bytes as one of the small files: checkpoints, indexes, producer snapshots, whose directory it is.

#![no_main]
#![forbid(unsafe_code)]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millrace_engine::log::read_small_hostile(data));
