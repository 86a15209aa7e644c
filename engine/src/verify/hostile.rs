//! The room's door for fuzzing: any bytes as the files of a log directory with one partition.

use std::path::Path;

use super::{VerifyOptions, verify};
use crate::io::{Disk, Sim};
use crate::log::checkpoint::{
    LOG_START_CHECKPOINT, MetaProperties, RECOVERY_POINT_CHECKPOINT, write_offset_checkpoint,
};
use crate::log::lay_out;
use crate::log::verify::{Cure, Finding};
use crate::types::{BrokerId, DirectoryId, Offset, Timestamp, TopicPartition, Uuid};

const DIRECTORY: &str = "/data";

/// Verifies what `data` says was left behind: as [`recover_hostile`](crate::log::recover_hostile), but that bit 1 of the
/// first byte puts the recovery point into the log start's checkpoint too. Then repairs it and verifies it again. Never
/// panics on the bytes.
///
/// # Panics
/// When a repair fails, leaves undone what it promised, or a second one finds more to do: those are the findings.
pub fn verify_hostile(data: &[u8]) {
    let Some((&[flags, recovery_point], _)) = data.split_first_chunk() else {
        return;
    };
    let disk = Sim::new(0).disk();
    let directory = Path::new(DIRECTORY);
    let recovery_point = Offset(recovery_point.into());
    lay_out(&disk, &directory.join("t-0"), data);
    let properties = MetaProperties {
        cluster_id: "cluster".to_owned(),
        node_id: BrokerId(1),
        directory_id: Some(DirectoryId(Uuid(1))),
    };
    properties
        .write(&disk, directory)
        .expect("a disk without faults");
    let line = |path: &str| {
        let partition = TopicPartition {
            topic: "t".parse().expect("a name"),
            partition: 0,
        };
        let offsets = [(partition, recovery_point)].into();
        write_offset_checkpoint(&disk, &directory.join(path), &offsets)
            .expect("a disk without faults");
    };
    line(RECOVERY_POINT_CHECKPOINT);
    if flags & 2 != 0 {
        line(LOG_START_CHECKPOINT);
    }
    let found = run(&disk, false);
    assert_eq!(run(&disk, false), found, "looking changes nothing");
    run(&disk, true);
    let left = run(&disk, true);
    // Where the records are not sound nothing that stands on them is touched.
    let sound = found.iter().all(|finding| finding.cure != Cure::Restore);
    let undone: Vec<&Finding> = left
        .iter()
        .filter(|finding| matches!(finding.cure, Cure::Rebuild | Cure::Remove))
        .collect();
    assert!(
        !sound || undone.is_empty(),
        "found {found:?}, left after a repair: {undone:?}"
    );
}

fn run(disk: &Disk, repair: bool) -> Vec<Finding> {
    let options = VerifyOptions {
        directory: DIRECTORY.into(),
        metadata_directory: None,
        write_caching: None,
        repair,
        now: Timestamp(1_000),
    };
    let report = verify(disk, &options, &mut |_| {}).expect("a disk without faults");
    assert!(report.failed.is_none(), "{:?}", report.failed);
    report.findings
}
