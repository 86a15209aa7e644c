//! Compaction beside everything else, step by step: its rate, its seats, and what overtakes it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use millrace_engine::io::SimOperation;
use millrace_engine::partition::Isolation;
use millrace_engine::record::{BatchBuilder, Batches, records};
use millrace_engine::shard::CleanerSettings;
use millrace_engine::shard::command::{Command, Fetch, FetchPartition};
use millrace_engine::types::{LeaderEpoch, Offset, TopicId, TopicIdPartition, Uuid};
use millrace_engine::{io::Random, partition::Acks};
use tokio::sync::oneshot;

use crate::clients::produce;
use crate::driver::Machine;
use crate::invariants::acknowledged_survives::Grade;
use crate::invariants::compacted::Compacted;
use crate::invariants::{Reading, SeenBatch};

const SETTINGS: [(&str, &str); 4] = [
    ("cleanup.policy", "compact"),
    ("min.cleanable.dirty.ratio", "0.01"),
    ("segment.ms", "10"),
    ("file.delete.delay.ms", "0"),
];

struct Stage {
    machine: Machine,
    random: Random,
}

impl Stage {
    fn new(cleaner: CleanerSettings) -> Self {
        let mut machine = Machine::new(1, 1);
        machine.set_cleaner(CleanerSettings {
            backoff: Duration::from_millis(50),
            slice_bytes: 200,
            ..cleaner
        });
        machine.create_topic("t", 1, &SETTINGS, 1);
        machine.start();
        let random = Random::seeded(1);
        let mut stage = Self { machine, random };
        stage.settle(20);
        stage
    }

    fn settle(&mut self, rounds: usize) {
        for _ in 0..rounds {
            self.machine.pump(&mut self.random);
        }
    }

    fn id(&self) -> TopicIdPartition {
        self.machine.partition("t", 0).unwrap()
    }

    /// Stores a value for a key; time passes, so that the next one finds the segment too old.
    fn store(&mut self, key: &str, value: &str) -> Offset {
        let mut builder = BatchBuilder::new();
        let now = self.machine.now().wall;
        builder.push(now, Some(key.as_bytes()), Some(value.as_bytes()), &[]);
        let timeout = Duration::from_secs(60);
        let (command, mut answer) = produce(self.id(), builder.build(), Acks::All, timeout);
        self.machine.send(self.id(), command);
        let stored = (0..200).find_map(|_| {
            self.settle(1);
            answer.try_recv().ok()
        });
        self.machine.pass(Duration::from_millis(12));
        let stored = stored.expect("an append waits for no compaction");
        stored.into_iter().next().unwrap().unwrap().base_offset
    }

    fn fill(&mut self) {
        for round in 0..12 {
            self.store("a", &format!("{round:0100}"));
            self.store("b", &format!("{round:0100}"));
        }
    }

    /// Keys and values by offset.
    fn read(&mut self) -> BTreeMap<i64, (Bytes, Bytes)> {
        let mut found = BTreeMap::new();
        let mut position = Offset::ZERO;
        loop {
            let (reply, mut answer) = oneshot::channel();
            let partition = FetchPartition {
                partition: self.id(),
                offset: position,
                bytes_max: 1 << 20,
                current_leader_epoch: LeaderEpoch::NONE,
                last_fetched_epoch: LeaderEpoch::NONE,
                isolation: Isolation::ReadUncommitted,
            };
            let fetch = Fetch {
                id: self.machine.next_fetch_id(),
                partitions: vec![partition],
                bytes_max: 1 << 20,
                bytes_min: 0,
                deadline: self.machine.now().monotonic,
                reply,
            };
            self.machine.send(self.id(), Command::Fetch(fetch));
            let results = (0..200).find_map(|_| {
                self.settle(1);
                answer.try_recv().ok()
            });
            let fetched = results.unwrap().remove(0).unwrap();
            let Some(extent) = fetched.extent else {
                return found;
            };
            let mut bytes = vec![0; usize::try_from(extent.length).unwrap()];
            extent
                .file
                .read_exact_at(extent.position, &mut bytes)
                .unwrap();
            for batch in Batches::new(bytes.into()) {
                let batch = batch.unwrap();
                position = batch.header.next_offset();
                for record in records(&batch.bytes, 1 << 20).unwrap() {
                    let record = record.unwrap();
                    let pair = (record.key.unwrap(), record.value.unwrap());
                    found.insert(record.offset.0, pair);
                }
            }
        }
    }

    fn names(&self) -> Vec<String> {
        let entries = self.machine.sim.disk().list("/data/t-0".as_ref()).unwrap();
        entries.into_iter().map(|entry| entry.name).collect()
    }

    fn is_compacting(&self) -> bool {
        self.names().iter().any(|name| name.ends_with(".cleaned"))
    }

    fn wait_until_compacting(&mut self) {
        for _ in 0..1_000 {
            if self.is_compacting() {
                return;
            }
            self.machine.pass(Duration::from_millis(5));
            self.settle(1);
        }
        panic!("no compaction begins: {:?}", self.names());
    }

    /// Whether that comes about within some time.
    fn comes_to(&mut self, happened: impl Fn(&Self) -> bool) -> bool {
        (0..1_000).any(|_| {
            self.machine.pass(Duration::from_millis(20));
            self.settle(1);
            happened(self)
        })
    }
}

fn rate(bytes_per_second: f64) -> CleanerSettings {
    CleanerSettings {
        bytes_per_second_max: Some(bytes_per_second),
        ..CleanerSettings::default()
    }
}

#[test]
fn a_slow_compaction_holds_up_nobody_and_comes_to_its_end() {
    let mut stage = Stage::new(rate(2_000.0));
    stage.fill();
    stage.wait_until_compacting();
    for round in 0..10 {
        stage.store("c", &format!("{round}"));
        assert!(stage.is_compacting(), "some seconds at that rate");
        assert!(stage.read().len() > 24, "nothing is gone yet");
    }
    stage.machine.pass(Duration::from_secs(1));
    let expected = stage.read();
    for _ in 0..400 {
        stage.machine.pass(Duration::from_millis(100));
        stage.settle(5);
    }
    let left = stage.read();
    assert!(left.len() < 8, "{left:?}");
    for (offset, pair) in &left {
        assert_eq!(expected.get(offset), Some(pair), "at {offset}");
    }
    for key in ["a", "b", "c"] {
        let newest = expected.iter().rfind(|(_, (of, _))| of == key).unwrap();
        assert_eq!(
            left.get(newest.0),
            Some(newest.1),
            "the last value of {key}"
        );
    }
}

#[test]
fn without_threads_or_when_switched_off_nothing_is_compacted() {
    let none = CleanerSettings {
        threads: 0,
        ..CleanerSettings::default()
    };
    let off = CleanerSettings {
        enabled: false,
        ..CleanerSettings::default()
    };
    for settings in [none, off] {
        let mut stage = Stage::new(settings);
        stage.fill();
        stage.settle(500);
        assert_eq!(stage.read().len(), 24);
    }
}

#[test]
fn a_topic_deleted_while_it_is_compacted_leaves_nothing_to_the_next_of_its_name() {
    let mut stage = Stage::new(rate(5_000.0));
    stage.fill();
    stage.wait_until_compacting();
    stage.machine.delete_topic("t");
    stage.machine.create_topic("t", 1, &SETTINGS, 2);
    stage.settle(100);
    assert_eq!(stage.store("a", "new"), Offset(0));
    for _ in 0..100 {
        stage.machine.pass(Duration::from_millis(100));
        stage.settle(3);
    }
    assert!(!stage.is_compacting(), "{:?}", stage.names());
    assert_eq!(stage.read().len(), 1);
    // The seat came back.
    stage.fill();
    for _ in 0..400 {
        stage.machine.pass(Duration::from_millis(100));
        stage.settle(5);
    }
    assert!(stage.read().len() < 8);
}

#[test]
fn a_stop_in_the_middle_of_a_compaction_is_in_order_and_leaves_no_files_of_it() {
    let mut stage = Stage::new(rate(2_000.0));
    stage.fill();
    stage.wait_until_compacting();
    let before = stage.read();
    assert!(stage.machine.stop(&mut stage.random));
    assert!(!stage.is_compacting(), "{:?}", stage.names());
    stage.machine.start();
    stage.settle(50);
    assert_eq!(stage.read(), before);
}

#[test]
fn a_compaction_that_finds_no_descriptor_in_its_last_steps_is_finished_later() {
    // ENOSPC, EMFILE.
    for (operation, path_end, errno) in [
        (SimOperation::Name, ".log.swap", 28),
        (SimOperation::Open, "00000000000000000000.log", 24),
    ] {
        let mut stage = Stage::new(rate(20_000.0));
        stage.fill();
        stage.wait_until_compacting();
        stage.machine.sim.fail_next(operation, path_end, errno);
        for _ in 0..400 {
            stage.machine.pass(Duration::from_millis(100));
            stage.settle(5);
        }
        let left = stage.read();
        assert!(left.len() < 8, "{path_end}: {left:?}");
        let names = stage.names();
        let unfinished = |name: &String| name.ends_with(".swap") || name.ends_with(".deleted");
        assert!(!names.iter().any(unfinished), "{path_end}: {names:?}");
        assert_eq!(stage.store("a", "new"), Offset(24));
    }
}

/// Nobody may go on with what was begun, and nobody waits for the room that it wants.
#[test]
fn a_stop_waits_for_no_compaction_that_is_put_off_in_its_last_steps() {
    let mut stage = Stage::new(rate(20_000.0));
    stage.fill();
    stage.wait_until_compacting();
    let before = stage.read();
    // As often as it is tried.
    for _ in 0..50 {
        stage
            .machine
            .sim
            .fail_next(SimOperation::Name, ".log.swap", 28);
    }
    let begun = stage.comes_to(|stage| stage.names().iter().any(|name| name.ends_with(".swap")));
    assert!(begun, "{:?}", stage.names());
    stage.settle(50);
    stage.machine.stop(&mut stage.random);
    stage.machine.sim.forget_plans();
    stage.machine.start();
    stage.settle(50);
    let after = stage.read();
    for (offset, pair) in &after {
        assert_eq!(before.get(offset), Some(pair), "at {offset}");
    }
    assert_eq!(stage.store("a", "new"), Offset(24));
}

#[test]
fn a_full_disk_puts_a_compaction_off() {
    let mut stage = Stage::new(rate(2_000.0));
    stage.fill();
    stage.wait_until_compacting();
    let before = stage.read();
    stage.machine.sim.set_capacity_bytes(0);
    let given_up = stage.comes_to(|stage| !stage.is_compacting());
    assert!(given_up, "its file takes no room that is not there");
    assert_eq!(stage.read(), before, "reads go on");
    stage.machine.sim.set_capacity_bytes(1 << 40);
    for _ in 0..400 {
        stage.machine.pass(Duration::from_millis(100));
        stage.settle(5);
    }
    let left = stage.read();
    assert!(left.len() < 8, "{left:?}");
}

/// What comes of a reading that shows these messages, by offset, after a value and the marker that deletes it.
fn judged(shown: &[(i64, u64)], loses_markers: bool, at_rest: bool) -> Result<(), &'static str> {
    let id = TopicIdPartition {
        topic_id: TopicId(Uuid(1)),
        partition: 0,
    };
    let batches = shown.iter().map(|(offset, number)| SeenBatch {
        base: Offset(*offset),
        next: Offset(*offset + 1),
        digest: *number,
        ids: vec![*number],
        offsets: vec![Offset(*offset)],
    });
    let reading = Reading {
        log_start: Offset(0),
        high_watermark: Offset(2),
        batches: batches.collect(),
        compacted: true,
        loses_markers,
        at_rest,
    };
    let mut compacted = Compacted::default();
    let sent = [VALUE.1, MARKER.1];
    compacted.sent(id, &sent);
    compacted
        .acknowledged(id, Offset(0), Grade::Power, &sent)
        .unwrap();
    let audited = compacted.audit(id, &reading);
    audited.map_err(|found| found.invariant)
}

const VALUE: (i64, u64) = (0, 1);
const MARKER: (i64, u64) = (1, 40);

#[test]
fn a_deleted_value_that_is_there_without_its_marker_is_found_out() {
    let lost = Err("INV-COMPACT-1");
    for at_rest in [false, true] {
        for loses_markers in [false, true] {
            for shown in [&[VALUE, MARKER][..], &[MARKER]] {
                assert_eq!(judged(shown, loses_markers, at_rest), Ok(()));
            }
        }
        assert_eq!(judged(&[], true, at_rest), Ok(()));
        assert_eq!(judged(&[], false, at_rest), lost, "markers stay");
        assert_eq!(judged(&[VALUE], false, at_rest), lost);
    }
    assert_eq!(judged(&[VALUE], true, true), lost);
    // Its reader may have come to the one before it went, and to the place of the other after that.
    assert_eq!(judged(&[VALUE], true, false), Ok(()));
}
