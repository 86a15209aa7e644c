//! INV-FILES-1: of the files that a stop in order leaves none is at fault: indexes, epochs and checkpoints agree with
//! their logs.

use std::path::Path;

use millrace_engine::io::Disk;
use millrace_engine::log::names::partition_of_directory;
use millrace_engine::log::verify::{Finding, Sort};
use millrace_engine::metadata::MetadataImage;
use millrace_engine::verify::Report;

use super::{Verdict, Violation};

pub(crate) fn check(disk: &Disk, report: &Report, image: &MetadataImage) -> Verdict {
    let wrong = report.findings.iter().find(|finding| {
        // Whoever misses a file makes it anew.
        let excused = finding.found == "no file"
            || is_snapshot_of_nobody(disk, finding)
            || is_of_no_partition(image, finding);
        finding.is_fault() && !excused
    });
    match wrong {
        None => Ok(()),
        Some(wrong) => Err(Violation {
            invariant: "INV-FILES-1",
            text: wrong.to_string(),
        }),
    }
}

/// It is not synced, for nothing is lost with it.
fn is_snapshot_of_nobody(disk: &Disk, finding: &Finding) -> bool {
    let file = disk.open_read_only(&finding.path);
    let length = file.and_then(|file| file.length());
    finding.sort == Sort::Snapshot && length.is_ok_and(|length| length <= OF_NOBODY_BYTES)
}

/// A full disk may have kept its directory from being set aside when its topic went, and by a start since. It is in
/// nobody's way, though a topic made by that name may have other partitions, and the next start with room sweeps it
/// away.
fn is_of_no_partition(image: &MetadataImage, finding: &Finding) -> bool {
    let directory = finding.path.parent().and_then(Path::file_name);
    let named = match finding.sort {
        // A line of a checkpoint.
        Sort::Checkpoint => {
            let line = finding.expected.split_once(" of ");
            line.and_then(|(_, rest)| rest.split_once(" up to "))
                .map(|(name, _)| name)
        }
        Sort::PartitionMetadata => directory.and_then(|name| name.to_str()),
        _ => None,
    };
    let partition = named.and_then(partition_of_directory);
    partition.is_some_and(|partition| image.topic_of(&partition).is_none())
}

/// A version, a checksum and the count of producers.
const OF_NOBODY_BYTES: u64 = 10;
