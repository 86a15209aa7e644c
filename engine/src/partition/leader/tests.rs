//! A leader over a log on a simulated disk; its work for the disk is done by hand, so that every moment can be met.

use std::path::PathBuf;

use super::*;
use crate::config::{Overrides, TopicDefaults};
use crate::io::{Disk, Sim, SimOperation};
use crate::log::{OpenOptions, open};
use crate::record::{BatchBuilder, Compression};
use crate::types::{ProducerEpoch, ProducerId, Sequence, TopicId, Uuid};

struct Bench {
    sim: Sim,
    disk: Disk,
    leader: Leader,
    now: Now,
    told: Told,
    /// How many batches were offered; the waiters carry the number.
    offered: usize,
}

fn config(settings: &[(&str, &str)]) -> Arc<TopicConfig> {
    let overrides: Overrides = settings
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Arc::new(TopicConfig::resolve(&overrides, &TopicDefaults::default()))
}

fn bench(settings: &[(&str, &str)]) -> Bench {
    let sim = Sim::new(1);
    let disk = sim.disk();
    disk.create_dir_all(&PathBuf::from("/data")).unwrap();
    let now = Now {
        wall: Timestamp(1_000_000),
        monotonic: Monotonic(0),
    };
    let options = OpenOptions {
        directory: PathBuf::from("/data/t-0"),
        clean: false,
        recovery_point: Offset::ZERO,
        log_start_offset: Offset::ZERO,
        cleaned_to: Offset::NONE,
        config: config(&[]),
        now: now.wall,
    };
    let (log, _) = open(&disk, options).unwrap();
    let id = TopicIdPartition {
        topic_id: TopicId(Uuid(1)),
        partition: 0,
    };
    let name = TopicPartition {
        topic: "t".parse().unwrap(),
        partition: 0,
    };
    let leader = Leader::new(id, name, log, LeaderEpoch(0), config(settings));
    let mut bench = Bench {
        sim,
        disk,
        leader,
        now,
        told: Told::new(),
        offered: 0,
    };
    // The epochs of the new leader are written first.
    assert!(bench.work().is_none());
    bench
}

impl Bench {
    fn offer(&mut self, acks: Acks, builder: BatchBuilder) -> usize {
        let mut builder = builder;
        let index = self.offered;
        self.offered += 1;
        let value = format!("value {index}");
        builder.push(self.now.wall, None, Some(value.as_bytes()), &[]);
        let offered = Offered {
            records: builder.build(),
            zstd_allowed: true,
            acks,
            waiter: Waiter::Produce { work: 0, index },
        };
        let mut allowance = Allowance::default();
        self.leader
            .append(offered, self.now, &mut allowance, &mut self.told);
        index
    }

    fn plain(&mut self, acks: Acks) -> usize {
        self.offer(acks, BatchBuilder::new())
    }

    /// The next write, roll or cut; chores are done on the way.
    fn work(&mut self) -> Option<Work> {
        loop {
            match self.leader.next_work(self.now)? {
                Work::Preallocate(job) => {
                    let _ = job.run(&self.disk);
                    self.leader.preallocated();
                }
                Work::Epochs(job) => {
                    let written = job.run(&self.disk);
                    self.leader.epochs_written(written).unwrap();
                }
                work => return Some(work),
            }
        }
    }

    fn do_write(&mut self) {
        let work = self.work();
        self.end_write(work);
    }

    fn end_write(&mut self, work: Option<Work>) {
        let Some(Work::Write {
            file,
            position,
            buffers,
        }) = work
        else {
            panic!("nothing is to be written");
        };
        let result = file.write_buffers_at(position, &buffers).map(|_| ());
        self.leader
            .written(result, self.now, &mut self.told)
            .unwrap();
    }

    fn do_roll(&mut self) {
        let Some(Work::Roll(roll)) = self.work() else {
            panic!("the segment is not to be rolled");
        };
        let rolled = roll.run(&self.disk);
        self.leader
            .rolled(rolled, self.now, &mut self.told)
            .unwrap();
    }

    fn begin_sync(&mut self) -> Vec<File> {
        self.leader
            .begin_sync(self.now, &mut self.told)
            .expect("a sync is due")
            .files
    }

    fn end_sync(&mut self, files: Vec<File>) {
        for file in files {
            let result = file.sync_data();
            self.leader.synced(result, &mut self.told).unwrap();
        }
    }

    /// Whoever was told since the last time: number, and offset or failure.
    fn heard(&mut self) -> Vec<(usize, Option<i64>)> {
        let told = std::mem::take(&mut self.told).into_iter();
        told.map(|(waiter, result)| match waiter {
            Waiter::Produce { index, .. } => (index, result.ok().map(|done| done.base_offset.0)),
            Waiter::Coordinator { .. } => panic!("there is none"),
        })
        .collect()
    }
}

#[test]
fn what_arrives_during_a_sync_is_written_at_once_and_joins_the_next_sync() {
    let mut bench = bench(&[]);
    let first = bench.plain(Acks::All);
    bench.do_write();
    let files = bench.begin_sync();
    let second = bench.plain(Acks::All);
    let third = bench.plain(Acks::Leader);
    bench.do_write();
    assert_eq!(
        bench.heard(),
        [(third, Some(2))],
        "acks=1 waits for the write only"
    );
    assert!(
        bench.work().is_none() && !bench.leader.sync_due(bench.now),
        "one sync at a time"
    );
    bench.end_sync(files);
    assert_eq!(bench.heard(), [(first, Some(0))]);
    assert_eq!(bench.leader.high_watermark(), Offset(1));
    let files = bench.begin_sync();
    bench.end_sync(files);
    assert_eq!(bench.heard(), [(second, Some(1))]);
    assert_eq!(bench.leader.high_watermark(), Offset(3));
}

#[test]
fn a_duplicate_is_answered_with_the_first_offset_and_not_before_that_is_durable() {
    let mut bench = bench(&[]);
    let batch = |sequence| {
        BatchBuilder::new().producer(ProducerId(7), ProducerEpoch(0), Sequence(sequence))
    };
    let first = bench.offer(Acks::All, batch(0));
    let again = bench.offer(Acks::All, batch(0));
    bench.do_write();
    assert_eq!(bench.heard(), []);
    let files = bench.begin_sync();
    bench.end_sync(files);
    assert_eq!(bench.heard(), [(first, Some(0)), (again, Some(0))]);
    let later = bench.offer(Acks::All, batch(0));
    assert_eq!(bench.heard(), [(later, Some(0))], "durable already");
    let skipping = bench.offer(Acks::All, batch(5));
    assert_eq!(bench.heard(), [(skipping, None)]);
}

#[test]
fn a_duplicate_of_what_was_cached_is_answered_once_it_is_durable_where_the_topic_caches_no_more() {
    let mut bench = bench(&[("write.caching", "true")]);
    let batch = || BatchBuilder::new().producer(ProducerId(7), ProducerEpoch(0), Sequence(0));
    let cached = bench.offer(Acks::All, batch());
    bench.do_write();
    assert_eq!(bench.heard(), [(cached, Some(0))]);
    bench
        .leader
        .reconfigure(config(&[]), LeaderEpoch(0), &mut bench.told);
    let again = bench.offer(Acks::All, batch());
    assert_eq!(bench.heard(), [], "a power cut may take it yet");
    let files = bench.begin_sync();
    bench.end_sync(files);
    assert_eq!(bench.heard(), [(again, Some(0))]);
}

#[test]
fn a_full_disk_fails_what_it_did_not_take_and_nothing_else() {
    let mut bench = bench(&[]);
    let safe = bench.plain(Acks::All);
    bench.do_write();
    // The cut waits for the sync, and what comes meanwhile waits for the cut.
    let files = bench.begin_sync();
    let lost = bench.plain(Acks::All);
    let behind = bench.plain(Acks::Leader);
    bench.sim.set_capacity_bytes(1);
    bench.do_write();
    assert_eq!(bench.heard(), [(behind, None), (lost, None)]);
    let waiting = bench.plain(Acks::All);
    assert!(bench.work().is_none());
    bench.end_sync(files);
    assert_eq!(bench.heard(), [(safe, Some(0))]);
    let Some(Work::CutBack(cut)) = bench.work() else {
        panic!("the failed write is cut off");
    };
    bench.sim.set_capacity_bytes(1 << 40);
    let result = cut.run(&bench.disk);
    bench
        .leader
        .cut_back(result, bench.now, &mut bench.told)
        .unwrap();
    bench.do_write();
    let files = bench.begin_sync();
    bench.end_sync(files);
    assert_eq!(
        bench.heard(),
        [(waiting, Some(1))],
        "its offset is given again"
    );
}

#[test]
fn a_write_that_fails_is_told_to_those_too_who_asked_for_no_answer() {
    let mut bench = bench(&[]);
    let written = bench.plain(Acks::None);
    assert_eq!(bench.heard(), []);
    bench.do_write();
    assert_eq!(bench.heard(), [(written, Some(0))]);
    let lost = bench.plain(Acks::None);
    bench.sim.set_capacity_bytes(1);
    bench.do_write();
    assert_eq!(bench.heard(), [(lost, None)]);
}

#[test]
fn a_repeated_batch_does_not_wait_for_ever_behind_one_that_the_disk_did_not_take() {
    let mut bench = bench(&[]);
    let batch = || BatchBuilder::new().producer(ProducerId(7), ProducerEpoch(0), Sequence(0));
    let first = bench.offer(Acks::All, batch());
    bench.do_write();
    let files = bench.begin_sync();
    let lost = bench.plain(Acks::All);
    let again = bench.offer(Acks::All, batch());
    assert!(matches!(bench.work(), Some(Work::Write { .. })));
    bench.end_sync(files);
    assert_eq!(bench.heard(), [(first, Some(0))]);
    let full = std::io::Error::from_raw_os_error(28);
    let full = IoError::new("write", &PathBuf::from("/data/t-0/0.log"), full);
    let (now, told) = (bench.now, &mut bench.told);
    bench.leader.written(Err(full), now, told).unwrap();
    assert_eq!(bench.heard(), [(lost, None), (again, Some(0))]);
}

#[test]
fn a_cached_topic_shows_what_is_written_and_syncs_when_its_time_has_come() {
    let mut bench = bench(&[("write.caching", "true"), ("flush.ms", "50")]);
    let first = bench.plain(Acks::All);
    bench.do_write();
    assert_eq!(bench.heard(), [(first, Some(0))]);
    assert_eq!(bench.leader.high_watermark(), Offset(1));
    assert!(!bench.leader.sync_due(bench.now), "flush.ms has not passed");
    let due = bench.leader.flush_deadline().unwrap();
    assert_eq!(due, Monotonic(50_000));
    bench.now.monotonic = due;
    let files = bench.begin_sync();
    bench.end_sync(files);
    assert_eq!(bench.leader.log().durable_end_offset(), Offset(1));
}

#[test]
fn the_append_that_reaches_flush_messages_is_answered_after_the_sync_that_covers_it() {
    for caching in ["true", "false"] {
        let mut bench = bench(&[("write.caching", caching), ("flush.messages", "3")]);
        let first = bench.plain(Acks::Leader);
        let second = bench.plain(Acks::Leader);
        let third = bench.plain(Acks::Leader);
        bench.do_write();
        assert_eq!(
            bench.heard(),
            [(first, Some(0)), (second, Some(1))],
            "write.caching={caching}"
        );
        let files = bench.begin_sync();
        // What comes meanwhile would be a fourth that no sync has covered.
        let fourth = bench.plain(Acks::Leader);
        bench.do_write();
        assert_eq!(bench.heard(), []);
        bench.end_sync(files);
        assert_eq!(bench.heard(), [(third, Some(2)), (fourth, Some(3))]);
    }
}

#[test]
fn a_cached_topic_that_counts_to_one_shows_and_acknowledges_only_what_is_synced() {
    let mut bench = bench(&[("write.caching", "true"), ("flush.messages", "1")]);
    let batch = || BatchBuilder::new().producer(ProducerId(7), ProducerEpoch(0), Sequence(0));
    let all = bench.offer(Acks::All, batch());
    let one = bench.plain(Acks::Leader);
    let again = bench.offer(Acks::All, batch());
    bench.do_write();
    assert_eq!(bench.heard(), []);
    assert_eq!(bench.leader.high_watermark(), Offset::ZERO);
    let files = bench.begin_sync();
    bench.end_sync(files);
    assert_eq!(
        bench.heard(),
        [(one, Some(1)), (all, Some(0)), (again, Some(0))]
    );
    assert_eq!(bench.leader.high_watermark(), Offset(2));
}

#[test]
fn a_flush_leaves_syncing_to_the_group_commit_so_that_a_failure_reaches_those_who_wait() {
    let mut bench = bench(&[("write.caching", "true")]);
    bench.plain(Acks::All);
    bench.do_write();
    assert!(!bench.leader.sync_due(bench.now), "nobody asks for a sync");
    assert!(bench.leader.flush_work().is_none(), "nothing is durable");
    let files = bench.begin_sync();
    bench.end_sync(files);
    let flush = bench.leader.flush_work().expect("the recovery point moves");
    // The only sync of records that may fail is the group commit's own.
    bench.sim.fail_next(SimOperation::Sync, ".log", 5);
    let flushed = flush.run(&bench.disk);
    bench.leader.flushed(flushed, &mut bench.told).unwrap();
    assert_eq!(bench.leader.log().recovery_point(), Offset(1));
}

#[test]
fn loosening_the_promise_lets_go_of_those_who_wait_for_the_stricter_one() {
    let mut bench = bench(&[]);
    let waiting = bench.plain(Acks::All);
    bench.do_write();
    assert_eq!(bench.heard(), []);
    let caching = config(&[("write.caching", "true")]);
    bench
        .leader
        .reconfigure(caching, LeaderEpoch(0), &mut bench.told);
    assert_eq!(bench.heard(), [(waiting, Some(0))]);
}

#[test]
fn batches_that_arrive_during_a_roll_go_into_the_next_segment_in_order() {
    let mut bench = bench(&[("segment.ms", "10")]);
    let first = bench.plain(Acks::All);
    bench.do_write();
    let files = bench.begin_sync();
    bench.now.wall = Timestamp(1_000_100);
    let second = bench.plain(Acks::All);
    assert!(
        bench.work().is_none(),
        "no roll while the old segment is synced"
    );
    bench.end_sync(files);
    let Some(Work::Roll(roll)) = bench.work() else {
        panic!("the segment is too old");
    };
    let third = bench.plain(Acks::All);
    assert!(bench.work().is_none() && !bench.leader.is_quiet());
    let rolled = roll.run(&bench.disk);
    bench
        .leader
        .rolled(rolled, bench.now, &mut bench.told)
        .unwrap();
    assert_eq!(bench.leader.log().active_base_offset(), Offset(1));
    bench.do_write();
    let files = bench.begin_sync();
    bench.end_sync(files);
    assert_eq!(
        bench.heard(),
        [(first, Some(0)), (second, Some(1)), (third, Some(2))]
    );
}

#[test]
fn a_staged_batch_keeps_the_partition_from_being_closed() {
    let mut bench = bench(&[]);
    assert!(bench.leader.is_quiet() && bench.leader.is_settled());
    bench.plain(Acks::Leader);
    assert!(!bench.leader.is_quiet() && !bench.leader.is_settled());
}

#[test]
fn a_failed_sync_of_records_is_a_fault_even_when_it_says_the_disk_is_full() {
    let full = |operation, path| {
        let errno = std::io::Error::from_raw_os_error(28);
        IoError::new(operation, &PathBuf::from(path), errno)
    };
    let mut bench = bench(&[]);
    let told = &mut bench.told;
    assert!(
        bench
            .leader
            .flushed(Err(full("fdatasync", "/data/t-0/0.log")), told)
            .is_err()
    );
    assert!(
        bench
            .leader
            .flushed(Err(full("write", "/data/t-0/0.index")), told)
            .is_ok()
    );
}

#[test]
fn no_more_replicas_are_asked_for_than_there_are() {
    let mut bench = bench(&[("min.insync.replicas", "2")]);
    let batch = bench.plain(Acks::All);
    bench.do_write();
    let files = bench.begin_sync();
    bench.end_sync(files);
    assert_eq!(bench.heard(), [(batch, Some(0))]);
}

#[test]
fn retention_takes_old_segments_at_each_look_and_rolls_the_newest() {
    let mut bench = bench(&[("retention.ms", "1000"), ("write.caching", "true")]);
    for look in 0..3 {
        bench.plain(Acks::All);
        bench.do_write();
        bench.now.wall.0 += 10_000;
        let work = bench.leader.retain(bench.now);
        assert_eq!(work.delete.is_some(), look > 0);
        let rolled = work.roll.unwrap().run(&bench.disk);
        bench
            .leader
            .rolled(rolled, bench.now, &mut bench.told)
            .unwrap();
    }
    assert_eq!(bench.leader.log().log_start_offset(), Offset(2));
}

/// Nothing of it was synced, and what is gone cannot be.
#[test]
fn what_retention_took_needs_no_sync() {
    let mut bench = bench(&[("retention.ms", "1000"), ("write.caching", "true")]);
    bench.plain(Acks::All);
    bench.do_write();
    bench.now.wall.0 += 10_000;
    let work = bench.leader.retain(bench.now);
    let rolled = work.roll.unwrap().run(&bench.disk);
    bench
        .leader
        .rolled(rolled, bench.now, &mut bench.told)
        .unwrap();
    assert!(bench.leader.retain(bench.now).delete.is_some());
    let _ = bench.leader.flush_work();
    assert!(!bench.leader.sync_due(bench.now));
    assert!(bench.leader.is_quiet());
}

/// The roll has synced all but what retention then took, before the commit had its turn.
#[test]
fn who_waits_for_a_sync_that_is_not_needed_any_more_is_told() {
    let durable = [("retention.ms", "1000"), ("segment.ms", "10")];
    let mut bench = bench(&[&durable[..], &[("write.caching", "true")]].concat());
    bench.plain(Acks::All);
    bench.do_write();
    bench.now.wall.0 += 100;
    let waiting = bench.plain(Acks::All);
    bench.do_roll();
    let told = &mut bench.told;
    bench
        .leader
        .reconfigure(config(&durable), LeaderEpoch(0), told);
    bench.do_write();
    bench.now.wall.0 += 100;
    bench.plain(Acks::All);
    bench.do_roll();
    bench.now.wall.0 += 10_000;
    let mut delete = bench.leader.retain(bench.now).delete.unwrap();
    let _doomed = delete.run(&bench.disk).unwrap();
    assert_eq!(bench.heard(), [(0, Some(0))]);
    let told = &mut bench.told;
    assert!(bench.leader.begin_sync(bench.now, told).is_none());
    assert_eq!(bench.heard(), [(waiting, Some(1))]);
    assert_eq!(bench.leader.high_watermark(), Offset(2));
}

/// A batch that is small as it is sent and large when it is opened.
fn folded(zeros: usize) -> BatchBuilder {
    let mut builder = BatchBuilder::new().compression(Compression::Zstd);
    builder.push(
        Timestamp(1_000_000),
        Some(b"key"),
        Some(&vec![0; zeros]),
        &[],
    );
    builder
}

fn unpack(bench: &mut Bench) {
    let Some(Work::Unpack(packed)) = bench.work() else {
        panic!("nothing is to be opened");
    };
    bench
        .leader
        .unpacked(packed.unpack(), bench.now, &mut bench.told);
}

#[test]
fn batches_behind_one_that_is_being_opened_keep_their_order() {
    let mut bench = bench(&[("compression.type", "lz4"), ("write.caching", "true")]);
    bench.offer(Acks::All, folded(1 << 20));
    bench.plain(Acks::All);
    bench.offer(Acks::All, folded(1 << 20));
    bench.plain(Acks::All);
    let Some(Work::Unpack(first)) = bench.work() else {
        panic!("nothing is to be opened");
    };
    assert!(bench.work().is_none(), "one at a time");
    assert!(!bench.leader.is_quiet() && !bench.leader.is_settled());
    bench
        .leader
        .unpacked(first.unpack(), bench.now, &mut bench.told);
    assert_eq!(bench.leader.log().next_offset(), Offset(3));
    unpack(&mut bench);
    assert_eq!(bench.leader.log().next_offset(), Offset(6));
    while !bench.leader.is_settled() {
        bench.do_write();
    }
    let offsets: Vec<(usize, Offset)> = bench
        .told
        .drain(..)
        .map(|(waiter, result)| match waiter {
            Waiter::Produce { index, .. } => (index, result.unwrap().base_offset),
            Waiter::Coordinator { .. } => panic!("nobody else offered anything"),
        })
        .collect();
    let expected = [(0, 0), (1, 2), (2, 3), (3, 5)];
    assert_eq!(offsets, expected.map(|(index, at)| (index, Offset(at))));
}

const UNPACKED: [(&str, &str); 2] = [
    ("compression.type", "uncompressed"),
    ("write.caching", "true"),
];

#[test]
fn no_more_is_opened_while_much_waits_to_be_written() {
    let mut bench = bench(&UNPACKED);
    for _ in 0..8 {
        bench.offer(Acks::All, folded(1_000_000));
    }
    for _ in 0..5 {
        unpack(&mut bench);
    }
    let write = bench.work();
    assert!(matches!(write, Some(Work::Write { .. })));
    assert!(bench.work().is_none(), "the others wait for the write");
    bench.end_write(write);
    for _ in 0..3 {
        unpack(&mut bench);
    }
    bench.do_write();
    let expected: Vec<_> = (0..8).zip((0..).step_by(2).map(Some)).collect();
    assert_eq!(bench.heard(), expected);
}

#[test]
fn no_more_is_opened_while_batches_wait_for_a_roll() {
    let mut bench = bench(&[&UNPACKED[..], &[("segment.bytes", "1048576")]].concat());
    for _ in 0..3 {
        bench.offer(Acks::All, folded(1_000_000));
    }
    unpack(&mut bench);
    unpack(&mut bench);
    bench.do_write();
    bench.do_roll();
    unpack(&mut bench);
    bench.do_write();
    bench.do_roll();
    bench.do_write();
    assert_eq!(bench.heard(), [(0, Some(0)), (1, Some(2)), (2, Some(4))]);
}

#[test]
fn nothing_is_packed_anew_at_once_while_much_waits_to_be_written() {
    let mut bench = bench(&UNPACKED);
    bench.offer(Acks::All, folded(10_000));
    assert_eq!(bench.leader.log().next_offset(), Offset(2));
    for _ in 0..5 {
        bench.offer(Acks::All, folded(1_000_000));
        unpack(&mut bench);
    }
    bench.offer(Acks::All, folded(10_000));
    assert_eq!(bench.leader.log().next_offset(), Offset(12));
    bench.do_write();
    unpack(&mut bench);
    assert_eq!(bench.leader.log().next_offset(), Offset(14));
}

#[test]
fn only_so_many_bytes_packed_anew_wait_behind_one_that_is_being_opened() {
    let mut bench = bench(&UNPACKED);
    bench.offer(Acks::All, folded(1_000_000));
    let Some(Work::Unpack(first)) = bench.work() else {
        panic!("nothing is to be opened");
    };
    for _ in 0..100 {
        bench.offer(Acks::All, folded(60_000));
    }
    bench
        .leader
        .unpacked(first.unpack(), bench.now, &mut bench.told);
    let unwritten = bench.leader.log().unwritten_bytes();
    assert!(unwritten < 6 << 20, "{unwritten} bytes are unwritten");
    while !bench.leader.is_settled() {
        match bench.work() {
            Some(Work::Unpack(packed)) => {
                let (now, told) = (bench.now, &mut bench.told);
                bench.leader.unpacked(packed.unpack(), now, told);
            }
            write => bench.end_write(write),
        }
    }
    let expected: Vec<_> = (0..101).zip((0..).step_by(2).map(Some)).collect();
    assert_eq!(bench.heard(), expected);
}

#[test]
fn a_batch_that_is_found_wanting_when_opened_holds_nobody_up() {
    let settings = [
        ("compression.type", "lz4"),
        ("max.message.bytes", "100000"),
        ("write.caching", "true"),
    ];
    let mut bench = bench(&settings);
    bench.offer(Acks::All, folded(100 << 20));
    bench.plain(Acks::All);
    unpack(&mut bench);
    let refused = bench.told.pop().expect("the first is told at once");
    assert_eq!(refused.0, Waiter::Produce { work: 0, index: 0 });
    assert!(matches!(
        refused.1,
        Err(AppendError::Record(RecordError::BodyTooLarge { .. }))
    ));
    bench.do_write();
    let taken = bench.told.pop().expect("the second is written");
    assert_eq!(taken.1.unwrap().base_offset, Offset(0));
}

#[test]
fn who_waits_for_a_batch_to_be_opened_is_told_when_the_partition_goes() {
    let mut bench = bench(&[("cleanup.policy", "compact")]);
    bench.offer(Acks::All, folded(1 << 20));
    bench.offer(Acks::All, folded(1 << 20));
    assert!(matches!(bench.work(), Some(Work::Unpack(_))));
    let mut told = Told::new();
    let _log = bench.leader.into_log(&mut told);
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|(_, result)| result.is_err()));
}

#[test]
fn a_coordinators_own_batch_is_not_packed() {
    let mut bench = bench(&[("compression.type", "zstd"), ("cleanup.policy", "compact")]);
    let mut builder = BatchBuilder::new();
    builder.push(bench.now.wall, Some(b"key"), Some(&[0; 1_000]), &[]);
    let batch = builder.build();
    let waiter = Waiter::Coordinator { sequence: 0 };
    let (now, told) = (bench.now, &mut bench.told);
    bench.leader.append_own(batch.clone(), waiter, now, told);
    let Some(Work::Write { buffers, .. }) = bench.work() else {
        panic!("nothing is to be written");
    };
    assert_eq!(buffers.concat()[61..], batch[61..]);
}

/// The place of a batch of a producer that no log knows.
fn turn(sequence: i32) -> ProducerTurn {
    ProducerTurn {
        producer_id: ProducerId(7),
        epoch: ProducerEpoch(0),
        base_sequence: Sequence(sequence),
    }
}

/// A batch that has it.
fn at(turn: ProducerTurn, builder: BatchBuilder) -> BatchBuilder {
    builder.producer(turn.producer_id, turn.epoch, turn.base_sequence)
}

fn no_room() -> IoError {
    let full = std::io::Error::from_raw_os_error(28);
    IoError::new("write", &PathBuf::from("/data/t-0/0.index"), full)
}

#[test]
fn what_is_being_opened_does_not_overtake_what_a_full_disk_took_back() {
    let mut bench = bench(&UNPACKED);
    let first = bench.offer(Acks::All, at(turn(0), BatchBuilder::new()));
    let write = bench.work();
    assert!(matches!(write, Some(Work::Write { .. })));
    let staged = bench.offer(Acks::All, at(turn(1), BatchBuilder::new()));
    // Of two records.
    let packed = bench.offer(Acks::All, at(turn(2), folded(1 << 20)));
    let behind = bench.offer(Acks::All, at(turn(4), BatchBuilder::new()));
    let other = bench.plain(Acks::All);
    let Some(Work::Unpack(out)) = bench.work() else {
        panic!("nothing is to be opened");
    };
    let (now, told) = (bench.now, &mut bench.told);
    bench.leader.written(Err(no_room()), now, told).unwrap();
    assert_eq!(
        bench.heard(),
        [(first, None), (staged, None), (behind, None), (other, None)]
    );
    let refused: Vec<ProducerTurn> = bench.leader.take_refused().into_iter().collect();
    assert_eq!(refused, [turn(0)]);
    let (now, told) = (bench.now, &mut bench.told);
    drop(out);
    // It is refused, and not told what is wrong with it: it comes again, and what is behind it waits for that.
    let broken = Err(RecordError::TooLarge {
        length_bytes: 2,
        max_bytes: 1,
    });
    bench.leader.unpacked(broken, now, told);
    assert!(matches!(told[..], [(_, Err(AppendError::Storage))]));
    assert_eq!(bench.heard(), [(packed, None)]);
    let Some(Work::CutBack(cut)) = bench.work() else {
        panic!("the failed write is cut off");
    };
    let result = cut.run(&bench.disk);
    let (now, told) = (bench.now, &mut bench.told);
    bench.leader.cut_back(result, now, told).unwrap();
    let again = bench.offer(Acks::All, at(turn(0), BatchBuilder::new()));
    bench.do_write();
    assert_eq!(bench.heard(), [(again, Some(0))]);
}

#[test]
fn what_stands_behind_a_batch_that_found_no_new_segment_is_refused_with_it() {
    let mut bench = bench(&[&UNPACKED[..], &[("segment.ms", "10")]].concat());
    let stored = bench.plain(Acks::All);
    bench.do_write();
    assert_eq!(bench.heard(), [(stored, Some(0))]);
    bench.now.wall.0 += 100;
    let first = bench.offer(Acks::All, at(turn(0), BatchBuilder::new()));
    let packed = bench.offer(Acks::All, at(turn(1), folded(1 << 20)));
    let other = bench.plain(Acks::All);
    assert!(matches!(bench.work(), Some(Work::Roll(_))));
    let (now, told) = (bench.now, &mut bench.told);
    bench.leader.rolled(Err(no_room()), now, told).unwrap();
    let all = [(first, None), (packed, None), (other, None)];
    assert_eq!(bench.heard(), all);
    let refused: Vec<ProducerTurn> = bench.leader.take_refused().into_iter().collect();
    assert_eq!(refused, [turn(0)]);
    let again = bench.offer(Acks::All, at(turn(0), BatchBuilder::new()));
    bench.do_roll();
    bench.do_write();
    assert_eq!(bench.heard(), [(again, Some(1))]);
}

/// Retention wanted it, and the old segment goes on.
#[test]
fn nobody_is_refused_for_a_roll_without_room_that_no_batch_needs() {
    let aged = [("retention.ms", "1000"), ("write.caching", "true")];
    let mut bench = bench(&[&UNPACKED[..], &aged].concat());
    let stored = bench.plain(Acks::All);
    bench.do_write();
    assert_eq!(bench.heard(), [(stored, Some(0))]);
    bench.now.wall.0 += 10_000;
    assert!(bench.leader.retain(bench.now).roll.is_some());
    // Of two records.
    let packed = bench.offer(Acks::All, folded(1_000_000));
    let behind = bench.plain(Acks::All);
    let Some(Work::Unpack(out)) = bench.work() else {
        panic!("nothing is to be opened");
    };
    let (now, told) = (bench.now, &mut bench.told);
    bench.leader.rolled(Err(no_room()), now, told).unwrap();
    assert_eq!(bench.heard(), []);
    let (now, told) = (bench.now, &mut bench.told);
    bench.leader.unpacked(out.unpack(), now, told);
    bench.do_write();
    assert_eq!(bench.heard(), [(packed, Some(1)), (behind, Some(3))]);
}

#[test]
fn nothing_has_to_be_remembered_of_a_producer_that_the_log_knows() {
    let mut bench = bench(&[("segment.ms", "10"), ("write.caching", "true")]);
    let stored = bench.offer(Acks::All, at(turn(0), BatchBuilder::new()));
    bench.do_write();
    bench.now.wall.0 += 100;
    let refused = bench.offer(Acks::All, at(turn(1), BatchBuilder::new()));
    assert!(matches!(bench.work(), Some(Work::Roll(_))));
    let (now, told) = (bench.now, &mut bench.told);
    bench.leader.rolled(Err(no_room()), now, told).unwrap();
    assert!(bench.leader.take_refused().is_empty());
    let next = bench.offer(Acks::All, at(turn(2), BatchBuilder::new()));
    assert_eq!(
        bench.heard(),
        [(stored, Some(0)), (refused, None), (next, None)]
    );
}
