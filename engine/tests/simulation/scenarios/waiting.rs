//! Requests that wait, step by step: for bytes, for the disk, for a topic's name, for a coordinator.

use std::path::Path;
use std::time::Duration;

use millrace_engine::group::{
    CommitOffsets, FetchOffsets, GroupCommand, GroupError, GroupId, GroupReply, MemberId,
    NamedTopic, OffsetToCommit, OffsetsWanted,
};
use millrace_engine::io::{Random, SimOperation};
use millrace_engine::log::EpochEnd;
use millrace_engine::partition::{Acks, AppendError, Isolation, OffsetLookupError, ReadError};
use millrace_engine::record::BatchBuilder;
use millrace_engine::shard::command::{
    Command, Fetch, FetchPartition, Fetched, GroupRequest, LookupEpochEnds, Produced,
};
use millrace_engine::types::{GenerationId, LeaderEpoch, Offset, TopicIdPartition, TopicPartition};
use tokio::sync::oneshot;

use crate::clients::{Answer, produce};
use crate::driver::Machine;

/// A broker of one shard, and what is asked of it.
pub(super) struct Stage {
    pub(super) machine: Machine,
    pub(super) random: Random,
}

pub(super) type Outcome = Answer<Produced>;
pub(super) type Read = Answer<Vec<Result<Fetched, ReadError>>>;

impl Stage {
    fn new(topics: &[(&str, &[(&str, &str)])]) -> Self {
        Self::seeded(1, topics)
    }

    pub(super) fn seeded(seed: u64, topics: &[(&str, &[(&str, &str)])]) -> Self {
        let mut machine = Machine::new(seed, 1);
        for (place, (name, settings)) in topics.iter().enumerate() {
            machine.create_topic(name, 1, settings, 1 + place as u128);
        }
        machine.start();
        let mut stage = Self {
            machine,
            random: Random::seeded(seed),
        };
        stage.settle();
        stage
    }

    pub(super) fn settle(&mut self) {
        for _ in 0..100 {
            self.machine.pump(&mut self.random);
        }
    }

    pub(super) fn id(&self, topic: &str) -> TopicIdPartition {
        self.machine.partition(topic, 0).unwrap()
    }

    pub(super) fn produce(
        &mut self,
        id: TopicIdPartition,
        bytes: usize,
        timeout: Duration,
    ) -> Outcome {
        let mut builder = BatchBuilder::new();
        let value = vec![0; bytes];
        builder.push(self.machine.now().wall, None, Some(&value), &[]);
        let (command, answer) = produce(id, builder.build(), Acks::All, timeout);
        self.machine.send(id, command);
        answer
    }

    pub(super) fn store(&mut self, id: TopicIdPartition, bytes: usize) -> Offset {
        let mut answer = self.produce(id, bytes, Duration::from_secs(60));
        self.settle();
        answer
            .try_recv()
            .unwrap()
            .results
            .remove(0)
            .unwrap()
            .base_offset
    }

    pub(super) fn fetch(
        &mut self,
        wanted: &[(TopicIdPartition, i64)],
        bytes_max: u64,
        bytes_min: u64,
    ) -> Read {
        let partitions = wanted.iter().map(|(partition, offset)| FetchPartition {
            partition: *partition,
            offset: Offset(*offset),
            bytes_max,
            current_leader_epoch: LeaderEpoch::NONE,
            last_fetched_epoch: LeaderEpoch::NONE,
            isolation: Isolation::ReadUncommitted,
        });
        let (reply, answer) = oneshot::channel();
        let fetch = Fetch {
            id: self.machine.next_fetch_id(),
            partitions: partitions.collect(),
            bytes_max,
            bytes_min,
            deadline: self.machine.now().monotonic.after(WAIT),
            reply,
        };
        self.machine.send(wanted[0].0, Command::Fetch(fetch));
        answer
    }

    fn epoch_end(
        &mut self,
        id: TopicIdPartition,
    ) -> Answer<Vec<Result<Option<EpochEnd>, OffsetLookupError>>> {
        let (reply, answer) = oneshot::channel();
        let lookups = vec![(id, LeaderEpoch::NONE, LeaderEpoch::NONE)];
        let question = Command::LookupEpochEnds(LookupEpochEnds { lookups, reply });
        self.machine.send(id, question);
        answer
    }

    fn group(&mut self, command: GroupCommand) -> Answer<Result<GroupReply, GroupError>> {
        let id = self.id(OFFSETS);
        let (reply, answer) = oneshot::channel();
        let request = GroupRequest {
            partition: id,
            command,
            reply,
        };
        self.machine.send(id, Command::Group(Box::new(request)));
        answer
    }
}

pub(super) fn lengths(results: &[Result<Fetched, ReadError>]) -> Vec<u64> {
    let extents = results
        .iter()
        .map(|result| result.as_ref().unwrap().extent.as_ref());
    extents
        .map(|extent| extent.map_or(0, |extent| extent.length))
        .collect()
}

#[test]
fn a_fetch_waits_for_its_fewest_bytes_or_its_time() {
    let mut stage = Stage::new(&[("t", &[])]);
    let id = stage.id("t");
    let mut patient = stage.fetch(&[(id, 0)], 1 << 20, 400);
    stage.store(id, 100);
    assert!(patient.try_recv().is_err(), "100 bytes are too few");
    stage.store(id, 300);
    assert!(lengths(&patient.try_recv().unwrap())[0] >= 400);
    let mut late = stage.fetch(&[(id, 2)], 1 << 20, 1);
    stage.settle();
    assert!(late.try_recv().is_err());
    stage.machine.pass(WAIT);
    assert_eq!(lengths(&late.try_recv().unwrap()), [0]);
}

#[test]
fn the_first_batch_comes_whole_and_the_limit_holds_for_the_rest() {
    let mut stage = Stage::new(&[("one", &[]), ("two", &[])]);
    let (one, two) = (stage.id("one"), stage.id("two"));
    stage.store(one, 500);
    stage.store(one, 500);
    stage.store(two, 500);
    let mut answer = stage.fetch(&[(one, 0), (two, 0)], 10, 1);
    stage.settle();
    let found = lengths(&answer.try_recv().unwrap());
    assert!(
        found[0] > 500 && found[0] < 700,
        "one whole batch: {found:?}"
    );
    assert_eq!(found[1], 0, "a later partition keeps the limit");
}

#[test]
fn the_end_of_a_closed_segment_is_not_waited_at() {
    let mut stage = Stage::new(&[("t", &[("segment.ms", "10")])]);
    let id = stage.id("t");
    stage.store(id, 10);
    stage.machine.pass(Duration::from_millis(100));
    stage.store(id, 10_000);
    let mut answer = stage.fetch(&[(id, 0)], 1 << 20, 5_000);
    stage.settle();
    let found = lengths(&answer.try_recv().unwrap());
    assert!(found[0] > 0 && found[0] < 200, "{found:?}");
}

#[test]
fn a_produce_that_is_not_durable_in_time_hears_so_and_may_still_come_about() {
    let mut stage = Stage::new(&[("t", &[])]);
    let id = stage.id("t");
    let mut answer = stage.produce(id, 10, Duration::from_millis(5));
    stage.machine.pass(Duration::from_millis(6));
    let result = answer.try_recv().unwrap().results.remove(0);
    assert!(matches!(result, Err(AppendError::TimedOut)), "{result:?}");
    assert_eq!(stage.store(id, 10), Offset(1));
}

#[test]
fn a_topic_made_again_does_not_share_files_with_the_one_before() {
    let mut stage = Stage::new(&[("t", &[])]);
    let before = stage.id("t");
    stage.store(before, 10);
    let mut pending = stage.produce(before, 10, WAIT);
    stage.machine.delete_topic("t");
    stage.machine.create_topic("t", 1, &[], 99);
    let after = stage.id("t");
    assert_eq!(stage.store(after, 10), Offset(0));
    let result = pending.try_recv().unwrap().results.remove(0);
    assert!(
        matches!(result, Err(AppendError::Unavailable(_))),
        "{result:?}"
    );
}

#[test]
fn a_topic_made_again_amid_a_crash_does_not_look_as_if_it_had_lost_the_records_of_the_one_before() {
    for seed in 0..160 {
        let mut stage = Stage::seeded(seed, &[("t", &[])]);
        let before = stage.id("t");
        stage.store(before, 10);
        // The recovery point comes up, and then stands in the checkpoint.
        for _ in 0..3 {
            stage.machine.pass(Duration::from_secs(1));
            stage.settle();
        }
        if seed % 2 == 1 {
            stage.machine.sim.set_capacity_bytes(0);
        }
        stage.machine.delete_topic("t");
        stage.machine.create_topic("t", 1, &[], 99);
        stage.machine.sim.stand_still_after(seed / 4);
        stage.settle();
        if seed % 4 < 2 {
            stage.machine.cut_power();
        } else {
            stage.machine.kill(&mut stage.random);
        }
        stage.machine.sim.set_capacity_bytes(1 << 40);
        stage.machine.start();
        stage.settle();
        let after = stage.id("t");
        assert_eq!(stage.store(after, 10), Offset(0), "seed {seed}");
    }
}

#[test]
fn a_partition_without_room_to_open_is_opened_when_there_is_some() {
    let mut stage = Stage::new(&[]);
    stage.machine.sim.set_capacity_bytes(0);
    stage.machine.create_topic("t", 1, &[], 1);
    let id = stage.id("t");
    let mut refused = stage.produce(id, 10, Duration::from_secs(60));
    let mut asked = stage.epoch_end(id);
    stage.settle();
    let result = asked.try_recv().unwrap().remove(0);
    assert!(result.is_err(), "nobody is kept waiting: {result:?}");
    let result = refused.try_recv().unwrap().results.remove(0);
    assert!(matches!(result, Err(AppendError::Storage)), "{result:?}");
    stage.machine.sim.set_capacity_bytes(1 << 40);
    stage.machine.pass(Duration::from_secs(2));
    stage.settle();
    assert_eq!(stage.store(id, 10), Offset(0));
}

/// With four segments of a record each, which retention is soon to let go of.
fn before_retention() -> (Stage, TopicIdPartition) {
    let settings = [
        ("segment.ms", "10"),
        ("retention.ms", "5000"),
        ("file.delete.delay.ms", "0"),
    ];
    let mut stage = Stage::new(&[("t", &settings)]);
    let id = stage.id("t");
    for _ in 0..4 {
        stage.store(id, 100);
        stage.machine.pass(Duration::from_millis(100));
    }
    // Recovery points and checkpoints come to rest before it is time.
    for _ in 0..3 {
        stage.machine.pass(Duration::from_secs(1));
        stage.settle();
    }
    (stage, id)
}

/// EMFILE and ENOSPC.
#[test]
fn retention_that_finds_no_descriptor_or_no_room_is_done_later_and_takes_nothing_offline() {
    for (operation, path_end, errno) in [
        (SimOperation::SyncDir, "t-0", 24),
        (SimOperation::Name, ".log", 28),
    ] {
        let (mut stage, id) = before_retention();
        stage.machine.sim.fail_next(operation, path_end, errno);
        for _ in 0..8 {
            stage.machine.pass(Duration::from_secs(1));
            stage.settle();
            let mut asked = stage.epoch_end(id);
            let result = asked.try_recv().unwrap().remove(0);
            assert!(result.is_ok(), "{path_end}: {result:?}");
        }
        let entries = stage.machine.sim.disk().list("/data/t-0".as_ref()).unwrap();
        let names: Vec<String> = entries.into_iter().map(|entry| entry.name).collect();
        let logs = names.iter().filter(|name| name.contains(".log"));
        assert_eq!(logs.count(), 1, "{path_end}: {names:?}");
        assert_eq!(stage.store(id, 100), Offset(4));
    }
}

/// They waited for as long as there was none, and so did the memory of their requests.
#[test]
fn appends_that_need_a_new_segment_are_refused_while_retention_finds_no_descriptor() {
    let (mut stage, id) = before_retention();
    // EMFILE, as often as it is tried.
    for _ in 0..50 {
        let sim = &stage.machine.sim;
        sim.fail_next(SimOperation::SyncDir, "t-0", 24);
    }
    for _ in 0..6 {
        stage.machine.pass(Duration::from_secs(1));
        stage.settle();
    }
    for _ in 0..3 {
        let mut refused = stage.produce(id, 100, Duration::from_secs(60));
        stage.settle();
        let result = refused.try_recv().unwrap().results.remove(0);
        assert!(matches!(result, Err(AppendError::Storage)), "{result:?}");
        stage.machine.pass(Duration::from_secs(1));
        stage.settle();
    }
    stage.machine.sim.forget_plans();
    stage.machine.pass(Duration::from_secs(2));
    stage.settle();
    assert_eq!(stage.store(id, 100), Offset(4));
}

#[test]
fn a_topic_deleted_on_a_full_disk_makes_room_and_is_gone_when_there_is_some() {
    let mut stage = Stage::new(&[("t", &[])]);
    let id = stage.id("t");
    stage.store(id, 100_000);
    stage.machine.pass(Duration::from_secs(2));
    stage.settle();
    let before = stage.machine.used_bytes();
    stage.machine.sim.set_capacity_bytes(0);
    stage.machine.delete_topic("t");
    stage.settle();
    let after = stage.machine.used_bytes();
    assert!(after + 100_000 <= before, "{before} before, {after} after");
    stage.machine.pass(Duration::from_secs(2));
    stage.settle();
    let disk = stage.machine.sim.disk();
    let entries = disk.list("/data".as_ref()).unwrap();
    let left = entries.iter().find(|entry| entry.name.starts_with("t-0"));
    assert_eq!(left, None);
    stage.machine.create_topic("t", 1, &[], 2);
    let id = stage.id("t");
    assert_eq!(stage.store(id, 10), Offset(0));
}

#[test]
fn a_start_on_a_full_disk_serves_reads_and_takes_appends_again_when_there_is_room() {
    let mut stage = Stage::new(&[("t", &[("segment.ms", "10")])]);
    let id = stage.id("t");
    for _ in 0..4 {
        stage.store(id, 3_000);
        stage.machine.pass(Duration::from_millis(100));
    }
    assert!(stage.machine.stop(&mut stage.random));
    stage.machine.sim.set_capacity_bytes(0);
    // The index of a closed segment has to be built anew, and cannot be kept.
    for ending in ["index", "timeindex"] {
        let path = format!("/data/t-0/00000000000000000000.{ending}");
        let disk = stage.machine.sim.disk();
        disk.remove_file(Path::new(&path)).unwrap();
    }
    for start in ["after a stop in order", "after a power cut", "after a kill"] {
        match start {
            "after a power cut" => stage.machine.cut_power(),
            "after a kill" => stage.machine.kill(&mut stage.random),
            _ => {}
        }
        stage.machine.start();
        stage.settle();
        for offset in 0..4 {
            let mut answer = stage.fetch(&[(id, offset)], 1 << 20, 1);
            stage.settle();
            assert!(
                lengths(&answer.try_recv().unwrap())[0] > 3_000,
                "offset {offset} {start}"
            );
        }
        let mut refused = stage.produce(id, 100_000, Duration::from_secs(60));
        stage.settle();
        let result = refused.try_recv().unwrap().results.remove(0);
        assert!(matches!(result, Err(AppendError::Storage)), "{result:?}");
    }
    stage.machine.sim.set_capacity_bytes(1 << 40);
    assert_eq!(stage.store(id, 100_000), Offset(4));
}

#[test]
fn a_stop_after_a_fault_is_not_a_stop_in_order() {
    let mut stage = Stage::new(&[("t", &[])]);
    let id = stage.id("t");
    stage.store(id, 10);
    stage.machine.sim.fail_next(SimOperation::Sync, "0.log", 5);
    let mut answer = stage.produce(id, 10, Duration::from_secs(60));
    stage.settle();
    assert!(answer.try_recv().unwrap().results.remove(0).is_err());
    assert!(!stage.machine.stop(&mut stage.random));
}

#[test]
fn a_coordinator_whose_append_failed_is_read_again_and_knows_what_was_committed() {
    let mut stage = Stage::new(&[(OFFSETS, &[("cleanup.policy", "compact")])]);
    let commit = |offset| {
        GroupCommand::CommitOffsets(CommitOffsets {
            group: GroupId::from("g"),
            member_id: MemberId::from(""),
            instance_id: None,
            generation: GenerationId(-1),
            retention_ms: None,
            offsets: vec![OffsetToCommit {
                partition: place(),
                topic: NamedTopic::ByName,
                offset: Offset(offset),
                leader_epoch: LeaderEpoch::NONE,
                metadata: "".into(),
            }],
        })
    };
    let mut first = stage.group(commit(5));
    stage.settle();
    assert!(first.try_recv().unwrap().is_ok());
    // Space may be gone although some was reserved ahead: copy-on-write, thin volumes.
    stage.machine.sim.fail_next(
        SimOperation::Write,
        "__consumer_offsets-0/00000000000000000000.log",
        28,
    );
    let mut failed = stage.group(commit(6));
    stage.settle();
    assert!(failed.try_recv().unwrap().is_err());
    let mut fetched = stage.group(GroupCommand::FetchOffsets(FetchOffsets {
        group: GroupId::from("g"),
        wanted: OffsetsWanted::Of(vec![place()]),
        require_stable: false,
    }));
    stage.settle();
    let Ok(GroupReply::OffsetsFetched(offsets)) = fetched.try_recv().unwrap() else {
        panic!("the coordinator does not serve");
    };
    assert_eq!(offsets[0].offset, Offset(5));
    let mut again = stage.group(commit(7));
    stage.settle();
    assert!(again.try_recv().unwrap().is_ok());
}

fn place() -> TopicPartition {
    TopicPartition {
        topic: OFFSETS.parse().unwrap(),
        partition: 0,
    }
}

const OFFSETS: &str = "__consumer_offsets";
const WAIT: Duration = Duration::from_secs(5);
