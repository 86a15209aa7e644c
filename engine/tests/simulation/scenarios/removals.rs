//! Many partitions that are removed together, while others of their names are made, and the broker ends amid that.

use std::path::Path;
use std::time::Duration;

use millrace_engine::log::checkpoint::{
    LOG_START_CHECKPOINT, RECOVERY_POINT_CHECKPOINT, REPLICATION_CHECKPOINT, read_offset_checkpoint,
};
use millrace_engine::partition::AppendError;
use millrace_engine::types::Offset;

use super::waiting::{Outcome, Stage};

/// Lets the machine do what it was given, and what comes of that.
fn rest(stage: &mut Stage) {
    let mut idle = 0;
    for _ in 0..ROUNDS_MAX {
        stage.machine.pump(&mut stage.random);
        idle = if stage.machine.is_idle() { idle + 1 } else { 0 };
        if idle == IDLE_ROUNDS {
            return;
        }
    }
}

fn produce(stage: &mut Stage, number: i32) -> Outcome {
    let id = stage.machine.partition("t", number).unwrap();
    stage.produce(id, 10, Duration::from_secs(60))
}

fn stored(stage: &mut Stage, mut answer: Outcome) -> Result<Offset, AppendError> {
    for _ in 0..ROUNDS_MAX {
        if let Ok(mut produced) = answer.try_recv() {
            return produced
                .results
                .remove(0)
                .map(|appended| appended.base_offset);
        }
        stage.machine.pump(&mut stage.random);
    }
    panic!("nobody answers");
}

/// Recovery points come up, and then stand in the checkpoints.
fn write_checkpoints(stage: &mut Stage) {
    for _ in 0..3 {
        stage.machine.pass(Duration::from_secs(1));
        rest(stage);
    }
}

/// The partitions of which a checkpoint says anything but that they are at their beginning.
fn partitions_in(stage: &Stage, checkpoint: &str) -> Vec<i32> {
    let path = Path::new("/data").join(checkpoint);
    let lines = read_offset_checkpoint(&stage.machine.sim.disk(), &path).unwrap();
    let lines = lines
        .into_iter()
        .filter(|(partition, offset)| partition.topic.as_str() == "t" && *offset != Offset::ZERO);
    lines.map(|(partition, _)| partition.partition).collect()
}

fn make_anew_amid_a_blow(changes: u64, power_cut: bool) {
    let mut stage = Stage::seeded(changes, &[]);
    stage.machine.create_topic("t", PARTITIONS, &[], 1);
    rest(&mut stage);
    for number in WRITTEN {
        let answer = produce(&mut stage, number);
        assert_eq!(stored(&mut stage, answer).unwrap(), Offset(0));
    }
    write_checkpoints(&mut stage);
    assert_eq!(partitions_in(&stage, RECOVERY_POINT_CHECKPOINT), WRITTEN);
    stage.machine.delete_topic("t");
    stage.machine.create_topic("t", PARTITIONS, &[], 99);
    stage.machine.sim.stand_still_after(changes);
    rest(&mut stage);
    if power_cut {
        stage.machine.cut_power();
    } else {
        stage.machine.kill(&mut stage.random);
    }
    stage.machine.start();
    rest(&mut stage);
    write_checkpoints(&mut stage);
    let blow = format!("after {changes} changes, by a power cut: {power_cut}");
    for checkpoint in [
        RECOVERY_POINT_CHECKPOINT,
        LOG_START_CHECKPOINT,
        REPLICATION_CHECKPOINT,
    ] {
        let found = partitions_in(&stage, checkpoint);
        assert!(found.is_empty(), "{blow}: {checkpoint} has {found:?}");
    }
    let all = 0..PARTITIONS;
    let answers: Vec<Outcome> = all.map(|number| produce(&mut stage, number)).collect();
    for (number, answer) in answers.into_iter().enumerate() {
        let offset = stored(&mut stage, answer).unwrap();
        assert_eq!(offset, Offset(0), "{blow}: partition {number}");
    }
}

#[test]
fn partitions_that_are_removed_together_leave_nothing_to_those_of_their_names() {
    for changes in 0..60 {
        make_anew_amid_a_blow(changes, changes % 2 == 0);
    }
}

const PARTITIONS: i32 = 40;
/// The only ones that have records.
const WRITTEN: [i32; 3] = [0, 17, 39];
const ROUNDS_MAX: usize = 5_000;
/// In which nothing was left to do but what the ring has.
const IDLE_ROUNDS: usize = 10;
