//! INV-FILES-1: of the files that a stop in order leaves none is at fault: indexes, epochs and checkpoints agree with
//! their logs.

use millrace_engine::log::verify::Sort;
use millrace_engine::verify::Report;

use super::{Verdict, Violation};

pub(crate) fn check(report: &Report) -> Verdict {
    let wrong = report.findings.iter().find(|finding| {
        // Whoever misses a file makes it anew; and a snapshot of no producers is not synced, for nothing is lost with it.
        let excused = finding.found == "no file" || finding.sort == Sort::Snapshot;
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
