//! Any bytes as record batches: as sent by a client, and as read back from a disk.

#![no_main]
#![forbid(unsafe_code)]

libfuzzer_sys::fuzz_target!(|data: &[u8]| millrace_engine::record::decode_hostile(data));
