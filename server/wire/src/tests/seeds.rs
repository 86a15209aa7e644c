//! Seeds for the fuzzer: a made-up request of every API, in its lowest and its highest version.
//!
//! `cargo test -p millrace-wire -- --ignored write_seeds` writes them anew when messages change; `tests/corpus.rs`
//! replays them.

use std::fs;
use std::path::Path;

use crate::Request;
use crate::frame::request_frame;
use crate::message::{self, for_each_api};
use crate::sample::{SampleMessage, Source};

/// Lengths of one to three, small numbers, true and false: every field is there, nothing is long.
const CHOICES: [u8; 8] = [1, 2, 3, 1, 97, 1, 9, 98];

fn write_seeds_of<R: Request + SampleMessage>() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/request");
    fs::create_dir_all(&directory).unwrap();
    let choices: Vec<u8> = CHOICES.into_iter().cycle().take(1000).collect();
    for version in [*R::VERSIONS.start(), *R::VERSIONS.end()] {
        let request = R::sample_message(&mut Source::new(&choices), version).unwrap();
        let frame = request_frame(1, Some(&"c".into()), &request, version).unwrap();
        let name = format!("seed-{}-{version}", R::NAME);
        fs::write(directory.join(name), &frame[4..]).unwrap();
    }
}

macro_rules! write_all {
    ($($api:ident $request:ident $response:ident,)*) => {
        #[test]
        #[ignore = "writes fuzz/corpus/request"]
        fn write_seeds_of_request() {
            $(write_seeds_of::<message::$request>();)*
        }
    };
}

for_each_api!(write_all);
