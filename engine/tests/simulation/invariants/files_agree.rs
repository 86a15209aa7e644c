//! INV-FILES-1: of the files that a stop in order leaves none is at fault: indexes, epochs and checkpoints agree with
//! their logs.

use std::path::PathBuf;

use millrace_engine::io::Disk;
use millrace_engine::log::verify::{Finding, Sort};
use millrace_engine::verify::Report;

use super::{Verdict, Violation};

pub(crate) fn check(disk: &Disk, report: &Report) -> Verdict {
    let wrong = report.findings.iter().find(|finding| {
        // Whoever misses a file makes it anew.
        let excused = finding.found == "no file"
            || is_snapshot_of_nobody(disk, finding)
            || is_of_an_unfinished_directory(disk, finding);
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

/// On a full disk a directory may have been begun, and hold no segment yet, when its topic went. It is nobody's and
/// stays until the next start, which sweeps it away; a topic made since by that name may have fewer partitions, and the
/// lines of the topic before are still there.
fn is_of_an_unfinished_directory(disk: &Disk, finding: &Finding) -> bool {
    let named = || {
        let (_, rest) = finding.expected.split_once(" of ")?;
        rest.split_once(" up to 0, ").map(|(name, _)| name)
    };
    let directory = match finding.sort {
        Sort::PartitionMetadata => finding.path.parent().map(PathBuf::from),
        Sort::Checkpoint => named().map(|name| finding.path.with_file_name(name)),
        _ => None,
    };
    let entries = directory.and_then(|directory| disk.list(&directory).ok());
    entries.is_some_and(|entries| !entries.iter().any(|entry| entry.name.ends_with(".log")))
}

/// A version, a checksum and the count of producers.
const OF_NOBODY_BYTES: u64 = 10;
