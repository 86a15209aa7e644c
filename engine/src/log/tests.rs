//! The log as a whole, on real directories: append and read against a model, recovery after every kind of cut.

mod interrupted;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::config::CleanupPolicy;
use crate::io::{Disk, File, Sim, SimOperation};
use crate::record::{BatchBuilder, Batches, PreparedBatch};
use crate::types::{ProducerEpoch, Sequence};

pub(super) const EPOCH: LeaderEpoch = LeaderEpoch(0);

/// A log in a directory of its own, with everything that a shard and a maintenance thread do for it.
pub(super) struct Fixture {
    pub(super) dir: TempDir,
    pub(super) disk: Disk,
    pub(super) config: Arc<TopicConfig>,
}

/// A batch as the model keeps it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stored {
    pub(super) base_offset: i64,
    pub(super) last_offset: i64,
    pub(super) bytes: Bytes,
}

pub(super) fn config(segment_bytes: u32) -> TopicConfig {
    TopicConfig {
        segment_bytes,
        index_interval_bytes: 200,
        ..TopicConfig::default()
    }
}

impl Fixture {
    pub(super) fn new(config: TopicConfig) -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            disk: Disk::real(),
            config: Arc::new(config),
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.dir.path().join("t-0")
    }

    pub(super) fn options(&self, clean: bool, recovery_point: i64) -> OpenOptions {
        OpenOptions {
            directory: self.path(),
            clean,
            recovery_point: Offset(recovery_point),
            log_start_offset: Offset::ZERO,
            cleaned_to: Offset::NONE,
            config: self.config.clone(),
            now: Timestamp(1_000),
        }
    }

    pub(super) fn open(&self, clean: bool, recovery_point: i64) -> (Log, RecoveryReport) {
        open(&self.disk, self.options(clean, recovery_point)).unwrap()
    }

    pub(super) fn fresh(&self) -> Log {
        self.open(false, 0).0
    }

    /// Appends one batch, rolling when it has to.
    pub(super) fn append(&self, log: &mut Log, batch: &PreparedBatch) -> Stored {
        let staged = loop {
            match log.stage(batch.clone(), EPOCH, Timestamp(1_000)) {
                Ok(staged) => break staged,
                Err(refused) => match refused.error {
                    AppendError::RollNeeded(_) => self.roll(log),
                    error => panic!("{error}"),
                },
            }
        };
        let Staged::Assigned {
            base_offset,
            last_offset,
        } = staged
        else {
            panic!("{staged:?}");
        };
        self.write(log);
        let (header, payload) = batch.clone().stamp(base_offset, EPOCH);
        Stored {
            base_offset: base_offset.0,
            last_offset: last_offset.0,
            bytes: [header.bytes(), &payload].concat().into(),
        }
    }

    pub(super) fn write(&self, log: &mut Log) {
        let plan = log.take_plan().unwrap();
        let written = plan.file.write_buffers_at(plan.position, &plan.buffers);
        assert_eq!(written.unwrap(), plan.length);
        log.appended(&plan);
        if let Some(space) = log.preallocation_due() {
            space.run(&self.disk).unwrap();
        }
    }

    pub(super) fn roll(&self, log: &mut Log) {
        let job = log.begin_roll(Timestamp(1_000)).unwrap();
        let rolled = job.run(&self.disk).unwrap();
        log.finish_roll(rolled);
    }

    /// Takes every step that a read asks for.
    pub(super) fn read(
        &self,
        log: &mut Log,
        offset: i64,
        max: u64,
        bound: i64,
    ) -> Result<Bytes, ReadError> {
        let mut plan = log.read(Offset(offset), max, Offset(bound))?;
        for _ in 0..100_000 {
            plan = match plan {
                ReadPlan::Empty => return Ok(Bytes::new()),
                ReadPlan::Ready(found) => {
                    let extent = found.extent;
                    let mut bytes = vec![0; usize::try_from(extent.length).unwrap()];
                    extent
                        .file
                        .read_exact_at(extent.position, &mut bytes)
                        .unwrap();
                    return Ok(bytes.into());
                }
                ReadPlan::Scan(lookup) => {
                    let (file, position, length) = lookup.action();
                    let mut bytes = vec![0; length as usize];
                    let found = file.read_full_at(position, &mut bytes).unwrap();
                    bytes.truncate(found);
                    lookup.resume(&bytes.into())?
                }
                ReadPlan::LoadIndex(job) => {
                    let loaded = job.run(&self.disk).unwrap();
                    log.install_index(loaded);
                    log.read(Offset(offset), max, Offset(bound))?
                }
                ReadPlan::Again { offset } => log.read(offset, max, Offset(bound))?,
            };
        }
        panic!("a read of {offset} up to {bound} goes on for ever");
    }

    /// Searches by time, part by part.
    pub(super) fn search(&self, log: &Log, mut search: TimeSearch) -> Option<TimestampedOffset> {
        loop {
            match log.time_lookup(search).run(&self.disk).unwrap() {
                Searched::Ended(found) => return found,
                Searched::Unreadable => panic!("a batch cannot be opened"),
                Searched::GoOn(further) => search = further,
            }
        }
    }

    pub(super) fn close(&self, log: Log) -> Closed {
        log.close().run(&self.disk).unwrap()
    }

    pub(super) fn names(&self) -> Vec<String> {
        let entries = self.disk.list(&self.path()).unwrap();
        entries.into_iter().map(|entry| entry.name).collect()
    }
}

fn batch(records: i32, value_bytes: usize, timestamp: i64) -> PreparedBatch {
    prepared(BatchBuilder::new(), records, value_bytes, timestamp)
}

fn prepared(
    mut builder: BatchBuilder,
    records: i32,
    value_bytes: usize,
    timestamp: i64,
) -> PreparedBatch {
    let value = vec![b'x'; value_bytes];
    for _ in 0..records {
        builder.push(Timestamp(timestamp), None, Some(&value), &[]);
    }
    PreparedBatch::from_builder(&builder.build()).unwrap()
}

pub(super) fn of_producer(id: i64, sequence: i32, records: i32) -> PreparedBatch {
    let builder =
        BatchBuilder::new().producer(ProducerId(id), ProducerEpoch(0), Sequence(sequence));
    prepared(builder, records, 10, 5)
}

/// What a read must answer.
fn expected(model: &[Stored], offset: i64, max: u64, bound: i64) -> (Bytes, Bytes) {
    let whole: Vec<&Stored> = model
        .iter()
        .filter(|batch| batch.last_offset >= offset && batch.last_offset < bound)
        .collect();
    let first = whole.first().map_or(Bytes::new(), |b| b.bytes.clone());
    let all: Vec<u8> = whole.iter().flat_map(|b| b.bytes.to_vec()).collect();
    let length = all.len().min((max as usize).max(first.len()));
    (first, Bytes::from(all).slice(..length))
}

fn read_all(fixture: &Fixture, log: &mut Log) -> Vec<u8> {
    let end = log.log_end_offset();
    let mut offset = log.log_start_offset();
    let mut all = Vec::new();
    while offset < end {
        let bytes = fixture.read(log, offset.0, u64::MAX, end.0).unwrap();
        assert!(!bytes.is_empty());
        for batch in Batches::new(bytes.clone()) {
            offset = batch.unwrap().header.next_offset();
        }
        all.extend_from_slice(&bytes);
    }
    all
}

#[test]
fn a_new_log_is_empty_and_knows_its_bounds() {
    let fixture = Fixture::new(config(10_000));
    let mut log = fixture.fresh();
    assert_eq!(log.log_start_offset(), Offset(0));
    assert_eq!(log.log_end_offset(), Offset(0));
    assert!(fixture.read(&mut log, 0, 100, 100).unwrap().is_empty());
    assert_eq!(
        fixture.read(&mut log, 1, 100, 100),
        Err(ReadError::OutOfRange {
            offset: Offset(1),
            log_start_offset: Offset(0),
            log_end_offset: Offset(0)
        })
    );
}

#[test]
fn the_first_batch_comes_whole_and_the_rest_is_cut_at_the_limit() {
    let fixture = Fixture::new(config(100_000));
    let mut log = fixture.fresh();
    let stored: Vec<Stored> = (0..3)
        .map(|_| fixture.append(&mut log, &batch(5, 100, 1)))
        .collect();
    let length = stored[0].bytes.len();
    for max in [0, 1, length as u64] {
        assert_eq!(fixture.read(&mut log, 0, max, 15).unwrap(), stored[0].bytes);
    }
    let more = fixture.read(&mut log, 7, length as u64 + 10, 15).unwrap();
    assert_eq!(more.len(), length + 10, "from the batch that holds 7");
    assert_eq!(more[..length], stored[1].bytes);
    assert!(fixture.read(&mut log, 15, 10, 15).unwrap().is_empty());
    let below = fixture.read(&mut log, 0, u64::MAX, 10).unwrap();
    assert_eq!(below.len(), 2 * length, "the bound is exact");
}

/// The directory is there when the broker comes back, but not on the device: what is acknowledged in it must not go with it.
#[test]
fn a_directory_that_a_killed_broker_just_made_outlives_a_power_cut_once_its_log_is_open() {
    let directory = Path::new("/data/t-0");
    for seed in 0..20 {
        let sim = Sim::new(seed);
        let disk = sim.disk();
        disk.create_dir_all(Path::new("/data")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        disk.create_dir_all(directory).unwrap();
        let options = OpenOptions {
            directory: directory.to_owned(),
            clean: false,
            recovery_point: Offset::ZERO,
            log_start_offset: Offset::ZERO,
            cleaned_to: Offset::NONE,
            config: Arc::new(TopicConfig::default()),
            now: Timestamp(1_000),
        };
        open(&disk, options).unwrap();
        sim.crash();
        assert!(disk.exists(directory).unwrap(), "seed {seed}");
    }
}

#[test]
fn a_failed_write_leaves_no_trace_and_takes_what_is_staged_behind_it_along() {
    let fixture = Fixture::new(config(100_000));
    let mut log = fixture.fresh();
    fixture.append(&mut log, &of_producer(1, 0, 2));
    let producers = log.producers.clone();
    log.stage(of_producer(1, 2, 2), LeaderEpoch(3), Timestamp(0))
        .unwrap();
    let plan = log.take_plan().unwrap();
    log.stage(of_producer(1, 4, 2), LeaderEpoch(3), Timestamp(0))
        .unwrap();
    assert!(log.take_plan().is_none(), "one write at a time");
    let again = of_producer(1, 2, 2);
    assert!(matches!(
        log.check_producer(again.header()),
        Ok(SequenceCheck::Duplicate {
            base_offset: Offset(2),
            ..
        })
    ));
    plan.file.write_all_at(plan.position, b"torn").unwrap();
    let undone = log.append_failed(&plan);
    assert_eq!(
        (undone.from_offset, undone.to_offset),
        (Offset(2), Offset(6))
    );
    assert_eq!(log.next_offset(), Offset(2));
    assert_eq!(log.latest_epoch(), EPOCH);
    assert_eq!(log.producers, producers);
    let refused = log.stage(again.clone(), EPOCH, Timestamp(0)).unwrap_err();
    assert_eq!(refused.error, AppendError::CutPending);
    undone.cut.run(&fixture.disk).unwrap();
    log.cut_back();
    assert_eq!(fixture.append(&mut log, &again).base_offset, 2);
    drop(log);
    let (log, report) = fixture.open(false, 0);
    assert_eq!(report.cuts, []);
    assert_eq!(log.log_end_offset(), Offset(4));
}

#[test]
fn a_failed_write_takes_back_nothing_of_those_before_it() {
    let fixture = Fixture::new(config(100_000));
    let mut log = fixture.fresh();
    let stage = |log: &mut Log, batch| {
        log.stage(batch, EPOCH, Timestamp(0)).unwrap();
    };
    stage(&mut log, of_producer(1, 0, 2));
    stage(&mut log, batch(1, 10, 5));
    let first = log.take_plan().unwrap();
    let before = log.producers.clone();
    stage(&mut log, batch(1, 10, 5));
    stage(&mut log, of_producer(1, 2, 2));
    stage(&mut log, of_producer(2, 0, 1));
    stage(&mut log, of_producer(2, 1, 1));
    first
        .file
        .write_buffers_at(first.position, &first.buffers)
        .unwrap();
    log.appended(&first);
    let second = log.take_plan().unwrap();
    let undone = log.append_failed(&second);
    assert_eq!(undone.from_offset, Offset(3));
    assert_eq!(log.producers, before);
    // It would take the second batch of a producer that it does not know for the first.
    let of_unknown: Vec<_> = undone.of_unknown.into_iter().collect();
    let first_of_two = ProducerTurn::of(of_producer(2, 0, 1).header());
    assert_eq!(of_unknown, [first_of_two.unwrap()]);
}

#[test]
fn small_batches_leave_in_one_piece_and_the_payload_of_a_large_one_is_not_copied() {
    let fixture = Fixture::new(config(100_000));
    let mut log = fixture.fresh();
    let batches = [10, 20, 5_000, 30, 6_000].map(|bytes| batch(1, bytes, 5));
    for _ in 0..3 {
        let mut expected = Vec::new();
        for batch in &batches {
            let staged = log.stage(batch.clone(), EPOCH, Timestamp(0)).unwrap();
            let Staged::Assigned { base_offset, .. } = staged else {
                panic!("{staged:?}");
            };
            let (header, payload) = batch.clone().stamp(base_offset, EPOCH);
            expected.extend_from_slice(header.bytes());
            expected.extend_from_slice(&payload);
        }
        let plan = log.take_plan().unwrap();
        assert_eq!(plan.buffers.concat(), expected);
        assert_eq!(plan.length, expected.len() as u64);
        let large = [&batches[2], &batches[4]].map(|batch| batch.payload().as_ptr());
        let pieces: Vec<_> = plan.buffers.iter().map(|piece| piece.as_ptr()).collect();
        assert_eq!((pieces.len(), [pieces[1], pieces[3]]), (4, large));
        log.appended(&plan);
    }
}

/// Found by fuzzing: the next leader began at an older epoch than its batches have, and the start after that cut what it wrote.
#[test]
fn a_checkpoint_that_puts_batches_into_an_older_epoch_is_corrected() {
    let fixture = Fixture::new(config(10_000));
    let mut log = fixture.fresh();
    log.stage(batch(1, 10, 1_000), LeaderEpoch(1), Timestamp(1_000))
        .unwrap();
    fixture.write(&mut log);
    drop(log);
    let checkpoint = fixture.path().join(names::LEADER_EPOCH_CHECKPOINT);
    std::fs::write(checkpoint, "0\n2\n0 0\n1 1\n").unwrap();
    let (log, _) = fixture.open(false, 0);
    assert_eq!(log.latest_epoch(), LeaderEpoch(1));
}

#[test]
fn an_older_leader_and_a_batch_beyond_a_segment_are_refused() {
    let fixture = Fixture::new(config(1_000));
    let mut log = fixture.fresh();
    assert!(log.start_leader_epoch(LeaderEpoch(4)));
    let written = log.epochs_job().unwrap().run(&fixture.disk).unwrap();
    log.epochs_written(written);
    assert!(log.epochs_job().is_none());
    let refused = log.stage(batch(1, 1, 1), LeaderEpoch(3), Timestamp(0));
    assert_eq!(
        refused.unwrap_err().error,
        AppendError::FencedLeaderEpoch {
            requested: LeaderEpoch(3),
            current: LeaderEpoch(4)
        }
    );
    let refused = log.stage(batch(1, 1_000, 1), LeaderEpoch(4), Timestamp(0));
    assert!(matches!(
        refused.unwrap_err().error,
        AppendError::BatchTooLarge { .. }
    ));
}

#[test]
fn a_segment_rolls_when_it_is_full_or_its_records_are_old() {
    let mut settings = config(1_000);
    settings.segment_ms = 50;
    let fixture = Fixture::new(settings);
    let mut log = fixture.fresh();
    fixture.append(&mut log, &batch(1, 400, 100));
    let now = Timestamp(1_000);
    let reason = |log: &Log, length, time| log.roll_needed(length, Timestamp(time), 0, now);
    assert_eq!(reason(&log, 100, 150), None);
    assert_eq!(reason(&log, 100, 151), Some(RollReason::Age));
    assert_eq!(reason(&log, 600, 100), Some(RollReason::Size));
    let far = log.roll_needed(100, Timestamp(100), i32::MAX, now);
    assert_eq!(far, Some(RollReason::OffsetRange));
    fixture.roll(&mut log);
    assert_eq!(log.segment_count(), 2);
    assert_eq!(log.recovery_point(), Offset(1));
    assert_eq!(
        reason(&log, 1_000, 10_000),
        None,
        "an empty segment takes all"
    );
    let names = fixture.names();
    for name in [
        "00000000000000000000.index",
        "00000000000000000000.log",
        "00000000000000000000.timeindex",
        "00000000000000000001.log",
        "00000000000000000001.snapshot",
        "leader-epoch-checkpoint",
    ] {
        assert!(names.iter().any(|found| found == name), "{name}: {names:?}");
    }
}

#[test]
fn a_sync_counts_for_what_was_written_before_it() {
    let fixture = Fixture::new(config(100_000));
    let mut log = fixture.fresh();
    assert!(log.plan_sync().is_none());
    fixture.append(&mut log, &batch(1, 10, 1));
    let plan = log.plan_sync().unwrap();
    fixture.append(&mut log, &batch(1, 10, 1));
    log.synced(&plan);
    assert_eq!(log.durable_end_offset(), Offset(1));
    assert_eq!(log.recovery_point(), Offset(0));
    let flushed = log.flush_job().run(&fixture.disk).unwrap();
    log.flushed(flushed);
    assert_eq!(
        (log.durable_end_offset(), log.recovery_point()),
        (Offset(1), Offset(1)),
        "a flush syncs nothing itself"
    );
    let plan = log.plan_sync().unwrap();
    log.synced(&plan);
    let flushed = log.flush_job().run(&fixture.disk).unwrap();
    log.flushed(flushed);
    assert_eq!(log.recovery_point(), Offset(2));
}

#[test]
fn a_clean_stop_is_opened_without_a_scan() {
    let fixture = Fixture::new(config(2_000));
    let mut log = fixture.fresh();
    let mut sequence = 0;
    for _ in 0..40 {
        fixture.append(&mut log, &of_producer(9, sequence, 3));
        sequence += 3;
    }
    let bytes = read_all(&fixture, &mut log);
    let producers = log.producers.clone();
    let epochs = log.epochs.clone();
    let closed = fixture.close(log);
    assert_eq!(closed.recovery_point, Offset(120));
    let (mut log, report) = fixture.open(true, 120);
    assert!(report.scanned_bytes < 1_000, "{report:?}");
    assert_eq!(report.replayed_from, Offset(120));
    assert_eq!(report.notes, Vec::<String>::new());
    assert_eq!(log.producers, producers);
    assert_eq!(log.epochs, epochs);
    assert_eq!(read_all(&fixture, &mut log), bytes);
    log.drop_indexes();
    assert_eq!(read_all(&fixture, &mut log), bytes);
}

#[test]
fn indexes_of_recovered_segments_are_in_memory_only_where_there_was_no_room_for_their_files() {
    let sim = Sim::new(1);
    let mut fixture = Fixture::new(config(2_000));
    fixture.disk = sim.disk();
    let mut log = fixture.fresh();
    while log.segment_count() < 50 {
        fixture.append(&mut log, &batch(1, 200, 1));
    }
    let all = read_all(&fixture, &mut log);
    drop(log);
    sim.fail_next(SimOperation::Write, "0.timeindex.tmp", 28);
    let (mut log, _) = fixture.open(false, 0);
    let loaded: Vec<Offset> = log.loaded_indexes().map(|(base, _)| base).collect();
    assert_eq!(loaded, [Offset(0)]);
    log.drop_index(Offset(0));
    assert_eq!(log.loaded_indexes().count(), 0);
    assert_eq!(read_all(&fixture, &mut log), all);
}

#[test]
fn the_segment_that_goes_on_after_a_cut_has_its_index_in_memory() {
    let fixture = Fixture::new(config(2_000));
    let mut log = fixture.fresh();
    while log.segment_count() < 3 {
        fixture.append(&mut log, &batch(1, 200, 1));
    }
    let middle = log.segments.closed()[1].base_offset;
    drop(log);
    let path = names::segment_file(&fixture.path(), middle, names::LOG);
    fixture.disk.remove_file(&path).unwrap();
    let (mut log, report) = fixture.open(false, 0);
    assert_eq!((log.segment_count(), report.cuts.len()), (1, 1));
    fixture.roll(&mut log);
}

/// The line is from before the compaction, which was killed: all records behind the gap were cut off.
#[test]
fn a_gap_above_the_cleaners_line_is_no_torn_tail_where_the_topic_is_not_compacted_any_more() {
    let fixture = Fixture::new(config(100_000));
    let mut log = fixture.fresh();
    let mut stored = Vec::new();
    for n in 0..5 {
        if n > 0 && n % 2 == 0 {
            fixture.roll(&mut log);
        }
        stored.push(fixture.append(&mut log, &batch(1, 50, 1)));
    }
    drop(log);
    let path = names::segment_file(&fixture.path(), Offset(0), names::LOG);
    let first = fixture.disk.open(&path).unwrap();
    first.truncate(stored[0].bytes.len() as u64).unwrap();
    stored.remove(1);
    let opened = |cleaned_to| {
        let options = OpenOptions {
            cleaned_to,
            ..fixture.options(false, 0)
        };
        open(&fixture.disk, options).unwrap()
    };
    let (mut log, report) = opened(Offset(0));
    assert_eq!((report.cuts, report.damage), (vec![], None));
    let all: Vec<u8> = stored.iter().flat_map(|b| b.bytes.to_vec()).collect();
    assert_eq!(read_all(&fixture, &mut log), all);
    drop(log);
    let (log, report) = opened(Offset::NONE);
    let end = log.log_end_offset();
    assert_eq!((end, report.cuts.len()), (Offset(1), 1), "no line, no gap");
}

#[test]
fn without_our_windows_the_log_itself_widens_kafkas_snapshot() {
    let fixture = Fixture::new(config(100_000));
    let mut log = fixture.fresh();
    for n in 0..7 {
        fixture.append(&mut log, &of_producer(9, n * 2, 2));
    }
    let producers = log.producers.clone();
    fixture.close(log);
    let windows = names::segment_file(&fixture.path(), Offset(14), names::WINDOWS);
    fixture.disk.remove_file(&windows).unwrap();
    assert_eq!(fixture.open(true, 14).0.producers, producers);
}

/// A producer that repeated such a batch waited for ever, and everybody behind it.
#[test]
fn a_snapshot_that_tells_of_offsets_beyond_its_own_is_not_used() {
    let far = AppendedBatch {
        last_sequence: Sequence(100),
        last_offset: Offset(1_000_000_000_000_000_000),
        offset_delta: 1,
        timestamp: Timestamp(5),
    };
    type Lie = fn(&mut Producer, AppendedBatch);
    let lies: [(Lie, usize); 3] = [
        (|producer, far| producer.window.push(far), 1),
        (
            |producer, _| producer.transaction_start = Some(Offset(4)),
            1,
        ),
        // Only the companion has it; the log itself widens the snapshot then.
        (
            |producer, far| {
                let sound = producer.window;
                producer.window = Window::default();
                producer.window.push(far);
                for batch in sound.batches() {
                    producer.window.push(*batch);
                }
            },
            0,
        ),
    ];
    for (lie, notes) in lies {
        let fixture = Fixture::new(config(100_000));
        let mut log = fixture.fresh();
        for sequence in [0, 2] {
            fixture.append(&mut log, &of_producer(9, sequence, 2));
        }
        let producers = log.producers.clone();
        fixture.close(log);
        let mut lying = producers.clone();
        let mut producer = *lying.find(ProducerId(9)).unwrap();
        lie(&mut producer, far);
        lying.restore(ProducerId(9), Some(producer));
        let (snapshot, windows) = producer_snapshot::encode(&lying);
        for (ending, bytes) in [(names::SNAPSHOT, snapshot), (names::WINDOWS, windows)] {
            let path = names::segment_file(&fixture.path(), Offset(4), ending);
            std::fs::write(path, bytes).unwrap();
        }
        let (log, report) = fixture.open(true, 4);
        assert_eq!(log.producers, producers);
        assert_eq!(report.notes.len(), notes, "{:?}", report.notes);
    }
}

#[test]
fn a_snapshot_that_lost_its_windows_forgets_no_batch_that_a_producer_may_repeat() {
    let fixture = Fixture::new(config(100_000));
    let mut log = fixture.fresh();
    // Each segment has two batches: five reach back over three of them.
    for n in 0..7 {
        if n > 0 && n % 2 == 0 {
            fixture.roll(&mut log);
        }
        fixture.append(&mut log, &of_producer(9, n * 2, 2));
    }
    let producers = log.producers.clone();
    drop(log);
    let windows = names::segment_file(&fixture.path(), Offset(12), names::WINDOWS);
    fixture.disk.remove_file(&windows).unwrap();
    assert_eq!(fixture.open(false, 0).0.producers, producers);
}

#[test]
fn clean_restarts_pile_up_no_snapshots() {
    let fixture = Fixture::new(config(400));
    let mut log = fixture.fresh();
    for n in 0..20 {
        fixture.append(&mut log, &of_producer(9, n * 2, 2));
        let producers = log.producers.clone();
        let closed = fixture.close(log);
        let (reopened, report) = fixture.open(true, closed.recovery_point.0);
        log = reopened;
        assert_eq!(report.notes, Vec::<String>::new());
        assert_eq!(report.replayed_from, closed.log_end_offset);
        assert_eq!(log.producers, producers);
        let names = fixture.names();
        let count = |ending: &str| names.iter().filter(|name| name.ends_with(ending)).count();
        // One for each segment but the first, and that of the last stop.
        let (segments, snapshots) = (log.segment_count(), count(names::SNAPSHOT));
        assert!((segments - 1..=segments).contains(&snapshots), "{names:?}");
        assert_eq!(count(names::WINDOWS), snapshots, "{names:?}");
    }
    assert!(log.segment_count() > 2);
}

#[test]
fn snapshots_before_the_first_segment_go_and_those_that_cannot_keep_no_log_from_opening() {
    let sim = Sim::new(1);
    let mut fixture = Fixture::new(config(100_000));
    fixture.disk = sim.disk();
    let disk = &fixture.disk;
    let mut log = fixture.fresh();
    for n in 0..3 {
        fixture.append(&mut log, &of_producer(9, n * 2, 2));
        // As clean stops of an earlier version left them.
        let end = log.log_end_offset();
        roll::write_snapshot(disk, &fixture.path(), end, &log.producers).unwrap();
    }
    fixture.roll(&mut log);
    fixture.append(&mut log, &of_producer(9, 6, 2));
    log.delete_segments(1).run(disk).unwrap().run(disk).unwrap();
    let closed = fixture.close(log);
    let snapshots = || {
        let names = fixture.names().into_iter();
        let snapshots = names.filter(|name| name.ends_with(names::SNAPSHOT));
        snapshots.map(|name| name.trim_start_matches('0').replace(names::SNAPSHOT, ""))
    };
    assert_eq!(snapshots().collect::<Vec<_>>(), ["2", "4", "6", "8"]);
    sim.fail_next(SimOperation::Name, "2.snapshot", 5);
    let (log, report) = fixture.open(true, closed.recovery_point.0);
    assert_eq!(report.notes.len(), 1, "{:?}", report.notes);
    assert_eq!(log.log_end_offset(), Offset(8));
    drop(log);
    let (_, report) = fixture.open(true, closed.recovery_point.0);
    assert_eq!(report.notes, Vec::<String>::new());
    assert_eq!(snapshots().collect::<Vec<_>>(), ["6", "8"]);
}

/// A log of four batches of two records that was killed, and the file of its one segment, in which the third is damaged.
fn with_a_damaged_third() -> (Fixture, Vec<Stored>, File) {
    let fixture = Fixture::new(config(100_000));
    let mut log = fixture.fresh();
    let stored: Vec<Stored> = (0..4)
        .map(|_| fixture.append(&mut log, &batch(2, 50, 1)))
        .collect();
    drop(log);
    let path = names::segment_file(&fixture.path(), Offset(0), names::LOG);
    let file = fixture.disk.open(&path).unwrap();
    let third = (stored[0].bytes.len() * 2) as u64;
    file.write_all_at(third + 16, &[9]).unwrap();
    (fixture, stored, file)
}

#[test]
fn damage_below_the_recovery_point_is_left_alone_and_refused() {
    let (fixture, stored, file) = with_a_damaged_third();
    let length = file.length().unwrap();
    let (mut log, report) = fixture.open(false, 8);
    assert_eq!(report.cuts, []);
    assert_eq!(report.damage.as_ref(), log.damage());
    assert_eq!(log.damage().map(|damage| damage.offset), Some(Offset(4)));
    assert_eq!(fixture.read(&mut log, 0, 1, 4).unwrap(), stored[0].bytes);
    let refused = fixture.read(&mut log, 4, 1, 8);
    assert!(matches!(refused, Err(ReadError::Damaged(_))));
    let refused = log.stage(batch(1, 1, 1), EPOCH, Timestamp(0)).unwrap_err();
    assert!(matches!(refused.error, AppendError::Damaged(_)));
    assert_eq!(fixture.close(log).recovery_point, Offset(8));
    assert_eq!(file.length().unwrap(), length, "nothing was cut");
    let (log, _) = fixture.open(false, 12);
    assert!(log.damage().is_some());
}

/// Found by fuzzing: such a batch was taken for one that is not to be read yet, and its reader waited for ever; or for one that
/// was read already, and its reader passed over it.
#[test]
fn a_batch_that_claims_offsets_of_others_is_refused() {
    let fixture = Fixture::new(config(100_000));
    let mut log = fixture.fresh();
    for _ in 0..8 {
        fixture.append(&mut log, &batch(2, 50, 1));
    }
    fixture.close(log);
    let path = names::segment_file(&fixture.path(), Offset(0), names::LOG);
    let file = fixture.disk.open(&path).unwrap();
    let second = file.length().unwrap() / 8;
    let (base_offset, last_offset_delta) = (0, 23);
    for (asked, position, damaged, sound) in [
        (0, last_offset_delta, [0, 0, 1, 0], [0, 0, 0, 1]),
        (0, base_offset, [0x76, 0, 0, 0], [0, 0, 0, 0]),
        (0, base_offset, [0xde, 0, 0, 0], [0, 0, 0, 0]),
        (2, second + base_offset + 4, [0, 0, 0, 0], [0, 0, 0, 2]),
    ] {
        file.write_all_at(position, &damaged).unwrap();
        let (mut log, _) = fixture.open(true, 16);
        let refused = fixture.read(&mut log, asked, 1, 16);
        assert!(matches!(refused, Err(ReadError::Corrupt(_))), "{refused:?}");
        file.write_all_at(position, &sound).unwrap();
    }
}

#[test]
fn a_log_that_lost_stable_records_says_so() {
    let fixture = Fixture::new(config(100_000));
    let mut log = fixture.fresh();
    fixture.append(&mut log, &batch(2, 50, 1));
    drop(log);
    let (log, report) = fixture.open(false, 5);
    assert!(matches!(
        report.damage.unwrap().fault.reason,
        FaultReason::Missing { .. }
    ));
    assert_eq!(log.log_end_offset(), Offset(2));
}

/// It was said to have been on stable storage, and its tail was cut off before it was refused.
#[test]
fn a_log_that_ends_before_its_start_is_left_as_it_is_unless_its_topic_caches_writes() {
    let (mut fixture, _, file) = with_a_damaged_third();
    let length = file.length().unwrap();
    let options = |fixture: &Fixture, clean| OpenOptions {
        log_start_offset: Offset(6),
        ..fixture.options(clean, 0)
    };
    for clean in [false, true] {
        let refused = open(&fixture.disk, options(&fixture, clean));
        let Err(OpenError::Corrupt(fault)) = refused else {
            panic!("{refused:?}");
        };
        let reason = FaultReason::BeforeStart {
            end: Offset(4),
            log_start_offset: Offset(6),
        };
        assert_eq!(fault.reason, reason);
        assert_eq!(file.length().unwrap(), length);
    }
    fixture.config = Arc::new(TopicConfig {
        write_caching: true,
        ..config(100_000)
    });
    let (log, report) = open(&fixture.disk, options(&fixture, false)).unwrap();
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    assert_eq!((start, end), (Offset(6), Offset(6)));
    assert_eq!(report.cuts.len(), 1);
}

#[test]
fn what_was_found_once_is_read_again_as_if_it_were_looked_for() {
    let fixture = Fixture::new(config(100_000));
    let mut log = fixture.fresh();
    for _ in 0..10 {
        fixture.append(&mut log, &batch(2, 10, 1));
    }
    let find = |log: &Log, offset| match log.read(Offset(offset), u64::MAX, Offset(offset + 2)) {
        Ok(ReadPlan::Ready(found)) => found,
        plan => panic!("{plan:?}"),
    };
    let same = |log: &Log, offset, found: &ReadExtent| {
        let ready = |plan: Result<ReadPlan, ReadError>| match plan {
            Ok(ReadPlan::Ready(found)) => Ok(Some(found)),
            Ok(ReadPlan::Empty) => Ok(None),
            Ok(plan) => panic!("{plan:?}"),
            Err(error) => Err(error),
        };
        for bound in (0..=40).step_by(2) {
            for max in [1, 200, u64::MAX] {
                let again = log.read_again(Offset(offset), max, Offset(bound), found);
                let anew = log.read(Offset(offset), max, Offset(bound));
                assert_eq!(ready(again), ready(anew), "{max} bytes below {bound}");
            }
        }
    };
    let found = find(&log, 7);
    same(&log, 7, &found);
    fixture.append(&mut log, &batch(2, 10, 1));
    same(&log, 7, &found);
    fixture.roll(&mut log);
    same(&log, 7, &found);
    for _ in 0..8 {
        fixture.append(&mut log, &batch(2, 10, 1));
    }
    same(&log, 7, &found);
    let found = find(&log, 25);
    assert!(log.move_log_start(Offset(26)));
    same(&log, 25, &found);
}

#[test]
fn time_finds_the_first_record_at_or_after_it() {
    let fixture = Fixture::new(config(600));
    let mut log = fixture.fresh();
    let mut model = Vec::new();
    for (n, time) in [10, 30, 20, 30, 50, 40, 60, 5].into_iter().enumerate() {
        let stored = fixture.append(&mut log, &batch(3, 30, time));
        assert_eq!(stored.base_offset, n as i64 * 3);
        model.push((time, stored.base_offset));
    }
    assert!(log.segment_count() > 1);
    for pass in 0..2 {
        for time in 0..70 {
            for bound in [24, 21, 9, 0] {
                let search = TimeSearch::at_or_after(Timestamp(time), Offset(bound));
                let found = fixture.search(&log, search).map(|found| found.offset.0);
                let mut visible = model.iter().filter(|(_, offset)| *offset < bound);
                let first = visible.find(|(at, _)| *at >= time).map(|entry| entry.1);
                assert_eq!(found, first, "time {time} bound {bound} pass {pass}");
            }
        }
        for (bound, offset) in [(24, Some(18)), (18, Some(12)), (12, Some(3)), (0, None)] {
            let search = TimeSearch::greatest(Offset(bound));
            let found = fixture.search(&log, search).map(|found| found.offset.0);
            assert_eq!(found, offset, "bound {bound} pass {pass}");
        }
        log.drop_indexes();
    }
    assert!(log.move_log_start(Offset(13)));
    let search = TimeSearch::at_or_after(Timestamp(50), Offset(24));
    let found = fixture.search(&log, search).unwrap();
    assert_eq!((found.offset, found.timestamp), (Offset(13), Timestamp(50)));
}

#[test]
fn the_greatest_time_is_not_that_of_a_record_below_the_log_start() {
    for times in [[5, 6, 7], [-1, -1, -1]] {
        let fixture = Fixture::new(config(100_000));
        let mut log = fixture.fresh();
        let mut builder = BatchBuilder::new();
        for time in [1_000, times[0], times[1], times[2]] {
            builder.push(Timestamp(time), None, Some(b"v"), &[]);
        }
        let cut = PreparedBatch::from_builder(&builder.build()).unwrap();
        fixture.append(&mut log, &cut);
        let find = |log: &Log| {
            let search = TimeSearch::greatest(log.log_end_offset());
            let found = fixture.search(log, search);
            found.map(|found| (found.offset.0, found.timestamp.0))
        };
        assert_eq!(find(&log), Some((0, 1_000)));
        assert!(log.move_log_start(Offset(1)));
        assert_eq!(find(&log), Some((3, 7)).filter(|_| times[2] == 7));
        fixture.append(&mut log, &batch(2, 10, 6));
        let expected = if times[2] == 7 { (3, 7) } else { (4, 6) };
        assert_eq!(find(&log), Some(expected));
        fixture.append(&mut log, &batch(2, 10, 500));
        assert_eq!(find(&log), Some((6, 500)));
    }
}

#[test]
fn a_header_is_taken_at_its_word_where_too_many_before_it_promised_in_vain() {
    let fixture = Fixture::new(config(100_000));
    let mut log = fixture.fresh();
    let mut builder = BatchBuilder::new();
    builder.push(Timestamp(10), None, Some(b"early"), &[]);
    builder.push(Timestamp(10), None, Some(b"early"), &[]);
    let mut bytes = builder.build().to_vec();
    bytes[35..43].copy_from_slice(&100_i64.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    let promising = PreparedBatch::from_builder(&bytes.into()).unwrap();
    for _ in 0..4 {
        fixture.append(&mut log, &promising);
    }
    let found = |in_vain_bytes| {
        let search = TimeSearch::at_or_after(Timestamp(50), Offset(8));
        fixture.search(&log, search.within(in_vain_bytes))
    };
    assert_eq!(found(usize::MAX), None);
    let records_bytes = promising.payload().len();
    for (in_vain_bytes, offset) in [(1, 2), (records_bytes, 2), (records_bytes + 1, 4)] {
        let found = found(in_vain_bytes).unwrap();
        assert_eq!(
            (found.offset, found.timestamp),
            (Offset(offset), Timestamp(100))
        );
    }
}

#[test]
fn retention_takes_whole_old_segments_and_never_the_active_one() {
    let mut settings = config(400);
    settings.retention_ms = Some(100);
    let fixture = Fixture::new(settings);
    let mut log = fixture.fresh();
    for time in [10, 20, 30, 200] {
        fixture.append(&mut log, &batch(1, 200, time));
    }
    let plan = log.retention(Timestamp(125), Offset(4));
    assert_eq!((plan.delete, plan.roll_first), (2, false));
    let bounded = log.retention(Timestamp(125), Offset(1));
    assert_eq!(bounded.delete, 1, "nothing above the high watermark goes");
    let all = log.retention(Timestamp(1_000), Offset(4));
    assert_eq!((all.delete, all.roll_first), (3, true));

    let doomed = log.delete_segments(2).run(&fixture.disk).unwrap();
    assert_eq!(log.log_start_offset(), Offset(2));
    assert!(
        fixture
            .names()
            .iter()
            .any(|name| name.ends_with(".log.deleted"))
    );
    doomed.run(&fixture.disk).unwrap();
    assert!(
        !fixture
            .names()
            .iter()
            .any(|name| name.ends_with(".deleted"))
    );
    assert!(matches!(
        fixture.read(&mut log, 1, 1, 4),
        Err(ReadError::OutOfRange { .. })
    ));

    let mut by_size = (*fixture.config).clone();
    by_size.retention_ms = None;
    by_size.retention_bytes = Some(300);
    log.set_config(Arc::new(by_size.clone()));
    assert_eq!(log.retention(Timestamp(0), Offset(4)).delete, 0);
    by_size.retention_bytes = Some(270);
    log.set_config(Arc::new(by_size.clone()));
    assert_eq!(log.retention(Timestamp(0), Offset(4)).delete, 1);
    by_size.cleanup_policy = CleanupPolicy {
        delete: false,
        compact: true,
    };
    log.set_config(Arc::new(by_size));
    assert_eq!(log.retention(Timestamp(0), Offset(4)).delete, 0);
    assert!(log.move_log_start(Offset(3)));
    assert_eq!(log.retention(Timestamp(0), Offset(4)).delete, 1);
}

/// Its bytes were counted again among those behind it, and segments within every limit went with it.
#[test]
fn a_segment_that_goes_for_its_time_or_the_log_start_takes_none_along_for_its_size() {
    let fixture = Fixture::new(config(100_000));
    let mut log = fixture.fresh();
    for times in [&[10, 10, 10][..], &[200], &[200], &[200]] {
        if log.log_end_offset() > Offset::ZERO {
            fixture.roll(&mut log);
        }
        for &time in times {
            fixture.append(&mut log, &batch(1, 200, time));
        }
    }
    assert_eq!((log.segment_count(), log.size_bytes()), (4, 6 * 270));
    let limits = |retention_ms| {
        Arc::new(TopicConfig {
            retention_ms,
            retention_bytes: Some(1_000),
            ..config(100_000)
        })
    };
    let deleted = |log: &Log| log.retention(Timestamp(125), Offset(6)).delete;
    log.set_config(limits(None));
    assert_eq!(deleted(&log), 0, "too large by less than the first has");
    log.set_config(limits(Some(100)));
    assert_eq!(deleted(&log), 1, "for its time");
    log.set_config(limits(None));
    assert!(log.move_log_start(Offset(3)));
    assert_eq!(deleted(&log), 1, "below the log's start");
}

/// A segment of such is not one without records.
#[test]
fn records_without_timestamps_are_as_old_as_their_opening() {
    let mut settings = config(400);
    settings.retention_ms = Some(100);
    let fixture = Fixture::new(settings);
    let mut log = fixture.fresh();
    for time in [-1, 20, 30] {
        fixture.append(&mut log, &batch(1, 200, time));
    }
    let closed = fixture.close(log);
    for clean in [true, false] {
        let (log, _) = fixture.open(clean, closed.recovery_point.0);
        let deleted = [1_100, 1_101].map(|now| log.retention(Timestamp(now), Offset(3)).delete);
        assert_eq!(deleted, [0, 2]);
    }
}

#[test]
fn segments_go_though_there_is_no_descriptor_for_a_while_and_no_room_for_longer_names() {
    for (operation, path_end, errno, runs) in [
        (SimOperation::SyncDir, "t-0", 24, 2),
        (SimOperation::Name, ".log", 28, 1),
    ] {
        let sim = Sim::new(1);
        let mut fixture = Fixture::new(config(400));
        fixture.disk = sim.disk();
        let mut log = fixture.fresh();
        for time in [10, 20, 30, 200] {
            fixture.append(&mut log, &batch(1, 200, time));
        }
        let mut job = log.delete_segments(3);
        sim.fail_next(operation, path_end, errno);
        let doomed = (1..=2).find_map(|run| Some((run, job.run(&fixture.disk).ok()?)));
        let (run, doomed) = doomed.unwrap();
        assert_eq!(run, runs, "{path_end}");
        doomed.run(&fixture.disk).unwrap();
        let names = fixture.names();
        let logs = names.iter().filter(|name| name.contains(".log"));
        assert_eq!(logs.count(), 1, "{names:?}");
    }
}

#[test]
fn leftovers_go_and_foreign_files_stay() {
    let fixture = Fixture::new(config(100_000));
    let mut log = fixture.fresh();
    fixture.append(&mut log, &batch(2, 50, 1));
    drop(log);
    let put = |name: &str| std::fs::write(fixture.path().join(name), b"x").unwrap();
    for name in [
        "00000000000000000000.log.deleted",
        "00000000000000000000.log.cleaned",
        "00000000000000000005.index.swap",
        "00000000000000000007.index",
        "leader-epoch-checkpoint.tmp",
        "00000000000000000009.snapshot",
        "notes.txt",
    ] {
        put(name);
    }
    let (log, report) = fixture.open(false, 0);
    assert_eq!(log.log_end_offset(), Offset(2));
    assert_eq!(
        fixture.names(),
        [
            "00000000000000000000.log",
            "leader-epoch-checkpoint",
            "notes.txt"
        ]
    );
    assert_eq!(report.notes.len(), 7, "{:?}", report.notes);
}

#[test]
fn a_finished_compaction_takes_the_place_of_its_segments() {
    let fixture = Fixture::new(config(400));
    let mut log = fixture.fresh();
    let stored: Vec<Stored> = (0..4)
        .map(|_| fixture.append(&mut log, &batch(1, 200, 1)))
        .collect();
    fixture.close(log);
    let swap = fixture.path().join("00000000000000000000.log.swap");
    let merged = [&stored[0].bytes[..], &stored[2].bytes[..]].concat();
    std::fs::write(swap, &merged).unwrap();
    let (mut log, _) = fixture.open(false, 3);
    let expected = [&merged[..], &stored[3].bytes[..]].concat();
    assert_eq!(read_all(&fixture, &mut log), expected);
    assert_eq!(
        fixture.read(&mut log, 1, 1, 4).unwrap(),
        stored[2].bytes,
        "an offset that compaction removed answers the next batch"
    );
}

/// A log of thirty batches, opened with a position in its first index that is not that of a batch.
fn with_an_index_that_lies(segment_bytes: u32) -> (Fixture, Log, Vec<Stored>) {
    let fixture = Fixture::new(config(segment_bytes));
    let mut log = fixture.fresh();
    let stored: Vec<Stored> = (0..30)
        .map(|_| fixture.append(&mut log, &batch(2, 80, 1)))
        .collect();
    fixture.close(log);
    let path = names::segment_file(&fixture.path(), Offset(0), names::OFFSET_INDEX);
    let mut bytes = std::fs::read(&path).unwrap();
    assert!(bytes.len() >= 16);
    bytes[7] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let (log, _) = fixture.open(true, 60);
    (fixture, log, stored)
}

#[test]
fn an_index_that_lies_is_built_anew() {
    let (fixture, mut log, stored) = with_an_index_that_lies(3_000);
    for batch in &stored {
        let found = fixture.read(&mut log, batch.base_offset, 1, 60).unwrap();
        assert_eq!(found, batch.bytes);
    }
}

/// Little of it is left, and each batch is found as fast.
#[test]
fn a_lookup_takes_one_step_in_the_index_of_a_closed_segment_and_one_more_at_most() {
    let fixture = Fixture::new(config(200_000));
    let mut log = fixture.fresh();
    while log.segment_count() < 2 {
        fixture.append(&mut log, &batch(1, 200, 1));
    }
    let end = log.active_base_offset();
    log.recent = Recent::default();
    let [(_, bytes)] = *log.loaded_indexes().collect::<Vec<_>>() else {
        panic!("there is one closed segment");
    };
    assert!(bytes < 400, "{bytes} bytes");
    for loaded_anew in [false, true] {
        if loaded_anew {
            log.drop_indexes();
            drop(fixture.read(&mut log, 0, 1, end.0).unwrap());
        }
        for offset in (0..end.0).map(Offset) {
            let mut plan = log.read(offset, 1, end).unwrap();
            let mut steps = 0;
            while let ReadPlan::Scan(lookup) = plan {
                let (file, position, length) = lookup.action();
                let mut bytes = vec![0; length as usize];
                file.read_exact_at(position, &mut bytes).unwrap();
                plan = lookup.resume(&bytes.into()).unwrap();
                steps += 1;
            }
            let ReadPlan::Ready(found) = plan else {
                panic!("{plan:?}");
            };
            assert_eq!(found.base_offset, offset);
            assert!((1..=2).contains(&steps), "{steps} steps to {offset}");
        }
    }
}

/// Whoever reads there asks for it again and again, and each time the segment was walked up to the damage.
#[test]
fn an_index_that_damage_keeps_from_being_built_is_not_tried_again() {
    let fixture = Fixture::new(config(3_000));
    let mut log = fixture.fresh();
    for _ in 0..30 {
        fixture.append(&mut log, &batch(2, 80, 1));
    }
    log.recent = Recent::default();
    log.drop_indexes();
    let file_of = |ending| names::segment_file(&fixture.path(), Offset(0), ending);
    for ending in [names::OFFSET_INDEX, names::TIME_INDEX] {
        fixture.disk.remove_file(&file_of(ending)).unwrap();
    }
    let load = |log: &mut Log| {
        let plan = log.read(Offset(0), 1, Offset(60)).unwrap();
        let ReadPlan::LoadIndex(job) = plan else {
            panic!("{plan:?}");
        };
        job.run(&fixture.disk)
    };
    let file = fixture.disk.open(&file_of(names::LOG)).unwrap();
    file.write_all_at(16, &[9]).unwrap();
    let Err(WalkError::Fault(fault)) = load(&mut log) else {
        panic!("it is built over the damage");
    };
    log.index_failed(Offset(0), fault);
    // Whether it still is there is not looked for.
    file.write_all_at(16, &[2]).unwrap();
    assert!(matches!(load(&mut log), Err(WalkError::Fault(_))));
}

/// It is only in memory, and grows with what is appended: a read does without it.
#[test]
fn an_index_of_the_active_segment_that_lies_ends_no_read_and_delays_none_for_ever() {
    let (fixture, mut log, stored) = with_an_index_that_lies(1_000_000);
    assert_eq!(log.active_base_offset(), Offset(0));
    let index = names::segment_file(&fixture.path(), Offset(0), names::OFFSET_INDEX);
    assert!(std::fs::metadata(index).unwrap().len() >= 32);
    log.recent = Recent::default();
    for batch in &stored {
        for bound in [60, batch.base_offset + 2] {
            let found = fixture.read(&mut log, batch.base_offset, 1, bound).unwrap();
            assert_eq!(found, batch.bytes);
        }
    }
}

/// Its last entry is sound, and the one that a recovery begins at is not: the log was taken for damaged.
#[test]
fn an_index_that_lies_in_its_middle_is_not_where_a_recovery_begins() {
    for segment_bytes in [3_000, 1_000_000] {
        let (fixture, log, stored) = with_an_index_that_lies(segment_bytes);
        drop(log);
        for point in [4, 5] {
            let (mut log, report) = fixture.open(false, point);
            assert_eq!((report.damage, report.cuts), (None, vec![]));
            let all: Vec<u8> = stored.iter().flat_map(|b| b.bytes.to_vec()).collect();
            assert_eq!(read_all(&fixture, &mut log), all);
        }
    }
}

fn truncated_copy(from: &Path, to: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(from).unwrap();
    change(&mut bytes);
    std::fs::write(to, bytes).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn reads_answer_what_was_appended(
        batches in prop::collection::vec((1_i32..6, 0_usize..300), 1..60),
        reads in prop::collection::vec((0_i64..200, 0_u64..2_000, 0_usize..61), 1..40),
        forget in any::<bool>(),
    ) {
        let fixture = Fixture::new(config(2_500));
        let mut log = fixture.fresh();
        let mut model = Vec::new();
        for (n, (records, bytes)) in batches.into_iter().enumerate() {
            model.push(fixture.append(&mut log, &batch(records, bytes, n as i64)));
        }
        let end = log.log_end_offset().0;
        if forget {
            log.recent = Recent::default();
            log.drop_indexes();
        }
        for (offset, max, edge) in reads {
            let bound = model.get(edge).map_or(end, |batch| batch.base_offset);
            let found = fixture.read(&mut log, offset, max, bound);
            if offset > end {
                prop_assert!(found.is_err());
                continue;
            }
            let found = found.unwrap();
            let (first, all) = expected(&model, offset, max, bound);
            // One segment at a time: the answer is a prefix, and never less than the first batch.
            prop_assert!(found.len() >= first.len(), "{} < {}", found.len(), first.len());
            prop_assert!(all.starts_with(&found));
        }
    }

    #[test]
    fn recovery_after_a_cut_or_a_flipped_bit_answers_a_prefix(
        batches in prop::collection::vec((1_i32..6, 0_usize..300), 1..25),
        flushed in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(),
        flip in prop::option::of(0_u8..8),
    ) {
        let fixture = Fixture::new(config(100_000));
        let mut log = fixture.fresh();
        let mut model = Vec::new();
        let flush_at = flushed.index(batches.len());
        let mut point = 0;
        for (n, (records, bytes)) in batches.into_iter().enumerate() {
            let sequence = model.last().map_or(0, |last: &Stored| last.last_offset as i32 + 1);
            let builder = BatchBuilder::new()
                .producer(ProducerId(1), ProducerEpoch(0), Sequence(sequence));
            model.push(fixture.append(&mut log, &prepared(builder, records, bytes, n as i64)));
            if n == flush_at {
                let plan = log.plan_sync().unwrap();
                log.synced(&plan);
                let done = log.flush_job().run(&fixture.disk).unwrap();
                log.flushed(done);
                point = model.iter().map(|b| b.bytes.len()).sum();
            }
        }
        let recovery_point = log.recovery_point();
        drop(log);
        let path = names::segment_file(&fixture.path(), Offset(0), names::LOG);
        let mut changed = 0;
        truncated_copy(&path, &path, |bytes| {
            if bytes.len() == point {
                return;
            }
            changed = point + place.index(bytes.len() - point);
            match flip {
                Some(bit) => bytes[changed] ^= 1 << bit,
                None => bytes.truncate(changed),
            }
        });
        let (mut log, report) = fixture.open(false, recovery_point.0);
        prop_assert!(log.damage().is_none(), "{:?}", report);
        prop_assert!(log.log_end_offset() >= recovery_point);
        let found = read_all(&fixture, &mut log);
        let all: Vec<u8> = model.iter().flat_map(|b| b.bytes.to_vec()).collect();
        // The leader epoch lies outside the checksum: a flip in it may only raise it.
        let kept = model.iter().take_while(|b| b.last_offset < log.log_end_offset().0).count();
        prop_assert_eq!(found.len(), model[..kept].iter().map(|b| b.bytes.len()).sum::<usize>());
        let in_epoch = flip.is_some() && log.latest_epoch() != EPOCH;
        prop_assert!(in_epoch || all.starts_with(&found));

        let mut replayed = ProducerStates::default();
        for stored in &model[..kept] {
            let header = crate::record::BatchHeader::parse(&stored.bytes).unwrap();
            let batch = producer_state::ProducerBatch::of(&header).unwrap();
            replayed.apply(&batch, Timestamp(1_000));
        }
        prop_assert_eq!(&log.producers, &replayed);

        let (end, producers) = (log.log_end_offset(), log.producers.clone());
        drop(log);
        let before = std::fs::read(&path).unwrap();
        let (log, report) = fixture.open(false, recovery_point.0);
        prop_assert_eq!(report.cuts, vec![], "a second recovery changes nothing");
        prop_assert_eq!(log.log_end_offset(), end);
        prop_assert_eq!(&log.producers, &producers);
        prop_assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}
