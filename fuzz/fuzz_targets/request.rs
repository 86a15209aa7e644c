//! Any bytes as a request frame of any API in any version, without its length prefix.

#![no_main]
#![forbid(unsafe_code)]

libfuzzer_sys::fuzz_target!(|data: &[u8]| drop(millrace_wire::frame::check_request(
    bytes::Bytes::copy_from_slice(data),
    1 << 20,
)));
