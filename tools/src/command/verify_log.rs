//! `millrace verify-log DIR`: reads a whole log directory offline and says everything that is wrong with it.
//!
//! What is wrong, and what can be repaired, is the engine's to know; here it is printed. Kafka has no such tool.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use millrace_engine::io::{Clock, Disk};
use millrace_engine::log::verify::{Cure, Finding};
use millrace_engine::verify::{Report, VerifyOptions, verify};

use super::Failure;
use crate::print::{self, Unit};
use crate::properties;

/// Checks a log directory of a stopped broker, file by file
///
/// Exit code 1: something is broken. Leftovers of interrupted work and files of others are only mentioned.
#[derive(Args, Debug)]
pub(crate) struct Flags {
    /// One of the broker's log.dirs
    directory: PathBuf,
    /// Where the cluster metadata lies, if not in this directory: the first of log.dirs, or metadata.log.dir
    #[arg(long, value_name = "DIR")]
    metadata_dir: Option<PathBuf>,
    /// The broker's server.properties, for its write.caching: where that holds, a log may end before its start after a power
    /// cut. What was set at run time goes before it. Neither KAFKA_ variables nor --override of the server are known
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Make anew what the records can make anew (indexes, producer snapshots, leader epochs), and remove leftovers. Records
    /// are never changed
    #[arg(long)]
    repair: bool,
}

/// Runs the command.
pub(crate) fn run(flags: &Flags, out: &mut dyn Write) -> Result<(), Failure> {
    let write_caching = match &flags.config {
        Some(path) => write_caching(path)?,
        None => None,
    };
    let options = VerifyOptions {
        directory: flags.directory.clone(),
        metadata_directory: flags.metadata_dir.clone(),
        write_caching,
        repair: flags.repair,
        now: Clock::real().now().wall,
    };
    let bar = print::progress_always(0, "reading", Unit::Bytes);
    let verified = verify(&Disk::real(), &options, &mut |progress| {
        bar.set_length(progress.total_bytes);
        bar.inc(progress.read_bytes);
    });
    bar.finish_and_clear();
    let report = verified.map_err(|error| Failure::Text(error.to_string()))?;
    for line in lines(&report, flags.repair) {
        writeln!(out, "{line}")?;
    }
    if let Some(error) = &report.failed {
        return Err(Failure::Text(error.to_string()));
    }
    // What was repaired is whole again; whether all of it is, the next run says.
    match report
        .findings
        .iter()
        .any(|finding| stays(finding, flags.repair))
    {
        true => Err(Failure::Reported),
        false => Ok(()),
    }
}

/// What a broker's properties file says of `write.caching`.
fn write_caching(path: &Path) -> Result<Option<String>, Failure> {
    let mut properties = properties::load(path)?;
    Ok(properties.remove("write.caching"))
}

/// Whether something is still broken after the run.
fn stays(finding: &Finding, repair: bool) -> bool {
    finding.is_fault() && !(repair && finding.cure == Cure::Rebuild)
}

fn lines(report: &Report, repair: bool) -> Vec<String> {
    let mut lines = Vec::new();
    for finding in &report.findings {
        let word = if finding.is_fault() { "FAULT" } else { "NOTE" };
        let cure = match finding.cure {
            Cure::Restore => "not to be repaired from this directory",
            Cure::Rebuild if repair => "see below",
            Cure::Remove if repair && report.failed.is_some() => "see below",
            Cure::Rebuild => "--repair, or the next start, makes it anew",
            Cure::Remove if repair => "removed",
            Cure::Remove => "--repair, or the next start, removes it",
            Cure::AtStart => "the next start deals with it",
            Cure::LeaveAlone => "left alone",
        };
        lines.push(format!("{word} {finding} ({cure})"));
    }
    lines.extend(report.done.iter().map(|done| format!("DONE {done}")));
    lines.extend(report.left.iter().map(|left| format!("NOTE {left}")));
    let faults = report
        .findings
        .iter()
        .filter(|finding| finding.is_fault())
        .count();
    let stop = if report.clean {
        "in order"
    } else {
        "not left in order"
    };
    lines.push(format!(
        "{faults} faults in {} partitions, {} segments, {} batches, {} bytes of records (directory {stop})",
        report.partitions, report.segments, report.batches, report.bytes
    ));
    lines
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use millrace_engine::log::verify::{Place, Sort};

    use super::*;

    #[test]
    fn every_finding_is_a_line_and_the_last_one_counts() {
        let finding = |cure| Finding {
            path: Path::new("/d/t-0/00000000000000000000.index").into(),
            sort: Sort::OffsetIndex,
            place: Place::Byte(8),
            expected: "a".to_owned(),
            found: "b".to_owned(),
            cure,
        };
        let findings = vec![finding(Cure::Rebuild), Finding::foreign("/d/x".into())];
        let report = Report {
            findings,
            partitions: 1,
            ..Default::default()
        };
        assert_eq!(
            lines(&report, false),
            [
                "FAULT /d/t-0/00000000000000000000.index at byte 8: offset index: expected a, found b (--repair, or the next start, makes it anew)",
                "NOTE /d/x: a file of somebody else (left alone)",
                "1 faults in 1 partitions, 0 segments, 0 batches, 0 bytes of records (directory not left in order)",
            ]
        );
        assert!(stays(&finding(Cure::Rebuild), false) && !stays(&finding(Cure::Rebuild), true));
        assert!(stays(&finding(Cure::Restore), true));
    }
}
