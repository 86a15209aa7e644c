//! INV-FILES-1: what a stop in order leaves has no fault: each index, checkpoint and snapshot agrees with its log.

use millrace_engine::log::verify::Sort;
use millrace_engine::verify::Report;

use super::{Verdict, Violation};

pub(crate) fn check(report: &Report) -> Verdict {
    let findings = report.findings.iter().filter(|finding| finding.is_fault());
    // Nobody writes the properties here. A snapshot of no producers is not synced: nothing is lost with it.
    let excused = [Sort::MetaProperties, Sort::Snapshot];
    let wrong = findings
        .into_iter()
        .find(|finding| !excused.contains(&finding.sort));
    match wrong {
        None => Ok(()),
        Some(wrong) => Err(Violation {
            invariant: "INV-FILES-1",
            text: wrong.to_string(),
        }),
    }
}
