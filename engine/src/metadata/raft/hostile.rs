//! The room's door for fuzzing: any bytes as the files of the metadata log.
//!
//! It mends marks, versions and checksums, which no fuzzer guesses, so that what lies behind them is reached.

use std::path::Path;

use super::journal::{self, Journal};
use super::vote::Vote;
use super::{Metadata, MetadataOptions, OpenError, check, snapshot};
use crate::io::{Disk, Sim};
use crate::metadata::{Command, MetadataImage, RegisterBroker};
use crate::types::{BrokerId, DirectoryId, Uuid};

const DIRECTORY: &str = "/data/__cluster_metadata-0";
const CLUSTER: &str = "cluster";
const NODE: BrokerId = BrokerId(1);

/// Opens what `data` says was left behind: the first byte says which of the files are mended (bit 0 the vote, bit 1 the
/// snapshot, bit 2 the journal), vote and snapshot follow with their lengths in two bytes each, and all the rest is the
/// journal. A file without bytes is not there. Never panics on the bytes.
///
/// # Panics
/// When a start refuses what the offline check finds nothing wrong with, when metadata that was opened cannot be changed,
/// closed and opened again, or says something else then: those are the findings.
pub fn open_hostile(data: &[u8]) {
    let Some((&flags, rest)) = data.split_first() else {
        return;
    };
    let disk = Sim::new(0).disk();
    let directory = Path::new(DIRECTORY);
    disk.create_dir_all(directory)
        .expect("an empty disk takes a directory");
    lay_out(&disk, directory, flags, rest);
    let checked = check(&disk, directory).expect("a directory can be listed");
    let mut metadata = match open(&disk) {
        Ok(metadata) => metadata,
        Err(OpenError::ForeignCluster { .. }) => return,
        Err(error) => {
            assert!(
                !checked.faults.is_empty() || !checked.passed_over.is_empty(),
                "a start says {error}, the check nothing"
            );
            return;
        }
    };
    let register = Command::RegisterBroker(RegisterBroker {
        id: NODE,
        incarnation: Uuid(7),
        endpoints: Vec::new(),
        rack: None,
        log_directories: vec![DirectoryId(Uuid(1))],
    });
    // It may have been registered by a later broker epoch, or a number may have no next one.
    let _ = metadata.propose(&register);
    let _ = metadata.write_snapshot();
    let before = described(metadata.image());
    metadata.close().expect("a disk without faults");
    let checked = check(&disk, directory).expect("a directory can be listed");
    assert!(checked.faults.is_empty(), "after a stop: {checked:?}");
    let again = open(&disk).expect("metadata that was opened opens again");
    assert_eq!(described(again.image()), before, "metadata reads back");
}

fn open(disk: &Disk) -> Result<Metadata, OpenError> {
    let options = MetadataOptions::default();
    Metadata::open(disk, Path::new(DIRECTORY), NODE, CLUSTER, options)
}

/// The image without what every start changes.
fn described(image: &MetadataImage) -> Vec<String> {
    let records = image.to_records();
    let lines = records.iter().map(|record| format!("{record:?}"));
    lines
        .filter(|line| !line.starts_with("LeaderChanged"))
        .collect()
}

fn lay_out(disk: &Disk, directory: &Path, flags: u8, data: &[u8]) {
    let mut rest = data;
    let mut vote = take(&mut rest);
    if flags & 1 != 0 {
        Vote::mend(&mut vote);
    }
    put(disk, &Vote::path(directory), &vote);
    let mut newest = take(&mut rest);
    let mended = (flags & 2 != 0).then(|| snapshot::mend(&mut newest));
    let position = mended.flatten().unwrap_or_default();
    put(disk, &snapshot::path_of(directory, position), &newest);
    let mut entries = rest.to_vec();
    if flags & 4 != 0 {
        journal::mend(&mut entries);
    }
    put(disk, &Journal::path(directory), &entries);
}

fn take(rest: &mut &[u8]) -> Vec<u8> {
    let Some((length, after)) = rest.split_first_chunk() else {
        return Vec::new();
    };
    let length = usize::from(u16::from_be_bytes(*length)).min(after.len());
    let (content, after) = after.split_at(length);
    *rest = after;
    content.to_vec()
}

fn put(disk: &Disk, path: &Path, content: &[u8]) {
    if !content.is_empty() {
        let written = disk.write_atomic(path, content);
        written.expect("an empty disk has room");
    }
}
