//! The committed seeds and findings of the fuzzer, replayed on the stable compiler.
//!
//! They carry a hyphen in their names; files without one are a fuzzer's own and stay where they were found.

#![forbid(unsafe_code)]

use std::fs;
use std::path::Path;

use bytes::Bytes;
use millrace_wire::frame::check_request;

#[test]
fn requests_of_the_corpus_are_survived() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/request");
    let (mut seeds, mut findings) = (0, 0);
    for file in fs::read_dir(directory).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if !name.contains('-') {
            continue;
        }
        let checked = check_request(Bytes::from(fs::read(&path).unwrap()), 1 << 20);
        if name.starts_with("seed-") {
            assert!(checked.is_ok(), "{name}: {checked:?}");
            seeds += 1;
        } else {
            findings += 1;
        }
    }
    println!("{seeds} seeds, {findings} findings");
    assert!(seeds > 0, "there are no seeds");
}
