//! INV-FILES-1: of the files that a stop in order leaves none is at fault: indexes, epochs and checkpoints agree with
//! their logs.

use millrace_engine::io::Disk;
use millrace_engine::log::verify::{Finding, Sort};
use millrace_engine::verify::Report;

use super::{Verdict, Violation};

pub(crate) fn check(disk: &Disk, report: &Report) -> Verdict {
    let wrong = report.findings.iter().find(|finding| {
        // Whoever misses a file makes it anew.
        let excused = finding.found == "no file" || is_snapshot_of_nobody(disk, finding);
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

/// A version, a checksum and the count of producers.
const OF_NOBODY_BYTES: u64 = 10;
