//! A shard on a simulated disk whose ring is worked by hand: what is handed out, and when.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};

use super::*;
use crate::config::{CompressionType, TopicConfig};
use crate::group::{
    CommitOffsets, FetchOffsets, GroupCommand, GroupError, GroupReply, Heartbeat, Join, ListGroups,
    MemberId, NamedTopic, OffsetToCommit, OffsetsWanted, Protocol,
};
use crate::io::{Disk, File, IoError, Outcome, Sim, SimOperation};
use crate::log::names::{deleted_directory, is_deleted_directory};
use crate::maintenance::{Checkpoints, NotYet, REPLAY_SLICE_BYTES, sweep};
use crate::metadata::{
    self, ConfigResource, CreateTopics, DeleteTopics, Metadata, MetadataOptions, MetadataRecord,
    NewTopic, RegisterBroker, TopicReference,
};
use crate::partition::{
    Acks, AppendError, Appended, Fault, Isolation, OffsetLookupError, OffsetSpec, Unavailable,
};
use crate::record::{BatchBuilder, Compression};
use crate::shard::cleaning::{CleanerSeats, CleanerSettings, CleanerShare, CleanerSource};
use crate::shard::command::{
    DeleteRecords, DescribeProducers, GroupRequest, LookupEpochEnds, LookupOffsets, OffsetLookup,
    Produce, ProducePartition, Produced, ProducerRange, Producers,
};
use crate::types::{
    GenerationId, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicId,
    TopicPartition, Uuid,
};

pub(in crate::shard) type Answer = oneshot::Receiver<Produced>;

pub(in crate::shard) struct Bench {
    disk: Disk,
    checkpoints: Checkpoints,
    pub(in crate::shard) shard: Shard,
    pub(in crate::shard) partitions: Vec<TopicIdPartition>,
    /// Syncs that were handed out and have not ended, oldest first.
    pub(in crate::shard) syncs: VecDeque<(Ticket, Action)>,
    now: Now,
}

pub(in crate::shard) const NOW: Now = Now {
    wall: Timestamp(1_000_000),
    monotonic: Monotonic(0),
};
const BROKER: BrokerId = BrokerId(1);
const DIRECTORY: DirectoryId = DirectoryId(Uuid(7));
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// A partition of a topic that is the same for all numbers.
pub(in crate::shard) fn partition(number: i32) -> TopicIdPartition {
    TopicIdPartition {
        topic_id: TopicId(Uuid(1)),
        partition: number,
    }
}

fn register() -> metadata::Command {
    metadata::Command::RegisterBroker(RegisterBroker {
        id: BROKER,
        incarnation: Uuid(1),
        endpoints: Vec::new(),
        rack: None,
        log_directories: vec![DIRECTORY],
    })
}

/// The metadata of a broker that knows nothing but itself.
pub(in crate::shard) fn registered(sim: &Sim) -> Metadata {
    let (disk, options) = (sim.disk(), MetadataOptions::default());
    let metadata = Metadata::open(&disk, Path::new("/metadata"), BROKER, "cluster", options);
    let mut metadata = metadata.unwrap();
    metadata.propose(&register()).unwrap();
    metadata
}

pub(in crate::shard) fn image(topic: &str, partitions: i32) -> MetadataImage {
    let registered = after(&MetadataImage::empty(), &register());
    after(&registered, &create(topic, partitions, 5))
}

pub(in crate::shard) fn after(image: &MetadataImage, command: &metadata::Command) -> MetadataImage {
    let decision = metadata::decide(image, command).unwrap();
    image.apply(&decision.records).unwrap()
}

fn create(topic: &str, partitions: i32, random: u128) -> metadata::Command {
    let topic = NewTopic {
        name: topic.to_owned(),
        partitions,
        replication_factor: 1,
        assignments: Vec::new(),
        settings: Vec::new(),
        random,
    };
    metadata::Command::CreateTopics(CreateTopics {
        topics: vec![topic],
        partitions_default: 1,
        replication_factor_default: 1,
        partitions_max: 1_000,
        topic_defaults: Arc::new(TopicDefaults::default()),
        validate_only: false,
    })
}

/// The metadata with a topic `t`, without it, and with another of that name.
fn made_anew(image: &MetadataImage) -> [Arc<MetadataImage>; 3] {
    let delete = metadata::Command::DeleteTopics(DeleteTopics {
        topics: vec![TopicReference::Name("t".to_owned())],
    });
    let old = after(image, &create("t", 2, 6));
    let gone = after(&old, &delete);
    let new = after(&gone, &create("t", 2, 7));
    [old, gone, new].map(Arc::new)
}

/// The only shard of a broker with one log directory.
pub(in crate::shard) fn settings(syncs_in_flight_max: usize) -> ShardSettings {
    let defaults = Arc::new(TopicDefaults::default());
    ShardSettings {
        broker: BROKER,
        shard: ShardIndex(0),
        shards: 1,
        log_directories: vec![LogDirectory {
            id: DIRECTORY,
            place: 0,
            path: PathBuf::from("/data"),
            clean: false,
        }],
        topic_defaults: TopicDefaultsSource(Arc::new(move |_, _| Arc::clone(&defaults))),
        groups: GroupConfig::default(),
        replay_slice_bytes: REPLAY_SLICE_BYTES,
        producer_id_expiration_ms: Arc::new(1_000.into()),
        retention_check_interval: Duration::from_secs(60),
        checkpoint_interval: Duration::from_secs(60),
        syncs_in_flight_max,
        cleaner: CleanerShare {
            settings: CleanerSource::fixed(CleanerSettings::default()),
            seats: CleanerSeats::default(),
            seed: 1,
        },
    }
}

pub(in crate::shard) fn bench(partitions: i32, syncs_in_flight_max: usize) -> Bench {
    bench_of("t", partitions, syncs_in_flight_max)
}

fn bench_of(topic: &str, partitions: i32, syncs_in_flight_max: usize) -> Bench {
    bench_on(&Sim::new(1), topic, partitions, syncs_in_flight_max)
}

pub(in crate::shard) fn bench_on(
    sim: &Sim,
    topic: &str,
    partitions: i32,
    syncs_in_flight_max: usize,
) -> Bench {
    let image = image(topic, partitions);
    let topic = image.topics().next().unwrap().id;
    let of_topic = |partition| TopicIdPartition {
        topic_id: topic,
        partition,
    };
    let mut bench = Bench {
        partitions: (0..partitions).map(of_topic).collect(),
        ..bench_of_nothing(sim, syncs_in_flight_max)
    };
    bench.take_in(Input::Image(Arc::new(image)));
    bench
}

pub(in crate::shard) fn bench_of_nothing(sim: &Sim, syncs_in_flight_max: usize) -> Bench {
    let disk = sim.disk();
    disk.create_dir_all(Path::new("/data")).unwrap();
    Bench {
        disk,
        checkpoints: Checkpoints::default(),
        shard: Shard::new(settings(syncs_in_flight_max), NOW),
        partitions: Vec::new(),
        syncs: VecDeque::new(),
        now: NOW,
    }
}

/// A shard with one coordinator, whose partition is opened once the effects are carried out.
fn bench_of_unopened_coordinator() -> (Bench, Effects) {
    bench_of_unopened("__consumer_offsets", 1)
}

/// A shard whose partitions are opened once the effects are carried out.
fn bench_of_unopened(topic: &str, partitions: i32) -> (Bench, Effects) {
    let mut bench = bench_of_nothing(&Sim::new(1), 1);
    let image = Input::Image(Arc::new(image(topic, partitions)));
    let mut effects = Effects::default();
    bench.shard.step(NOW, image, &mut effects);
    bench.partitions = bench.shard.slots.keys().copied().collect();
    (bench, effects)
}

/// A question for all that a group has committed.
fn all_offsets() -> GroupCommand {
    GroupCommand::FetchOffsets(FetchOffsets {
        group: "g".into(),
        wanted: OffsetsWanted::ALL,
        require_stable: false,
    })
}

/// A commit of a group without members.
fn commit(partitions: impl IntoIterator<Item = TopicPartition>, metadata: &str) -> GroupCommand {
    let offset = |partition| OffsetToCommit {
        partition,
        topic: NamedTopic::ByName,
        offset: Offset(1),
        leader_epoch: LeaderEpoch::NONE,
        metadata: metadata.into(),
    };
    GroupCommand::CommitOffsets(CommitOffsets {
        group: "g".into(),
        member_id: "".into(),
        instance_id: None,
        generation: GenerationId::NONE,
        retention_ms: None,
        offsets: partitions.into_iter().map(offset).collect(),
    })
}

fn place(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition {
        topic: topic.parse().unwrap(),
        partition,
    }
}

impl Bench {
    /// Takes something in and does all that follows, but for syncs: those are kept.
    pub(in crate::shard) fn take_in(&mut self, input: Input) {
        let mut effects = Effects::default();
        self.shard.step(self.now, input, &mut effects);
        self.carry_out(effects);
    }

    /// Does all that follows, but for syncs.
    pub(in crate::shard) fn carry_out(&mut self, mut effects: Effects) {
        let mut inputs = VecDeque::new();
        loop {
            if inputs.is_empty() {
                self.shard.flush(self.now, &mut effects);
            }
            for (id, job) in effects.jobs.drain(..) {
                let done = job.run(&self.disk, &self.checkpoints);
                inputs.push_back(Input::Done(id, done));
            }
            for (ticket, action) in effects.actions.drain(..) {
                let result = match &action {
                    Action::Write {
                        file,
                        position,
                        buffers,
                    } => {
                        let written = file.write_buffers_at(*position, buffers);
                        written.map(|length| Outcome::Written { length })
                    }
                    Action::Read {
                        file,
                        position,
                        length,
                    } => {
                        let mut bytes = vec![0; usize::try_from(*length).unwrap()];
                        file.read_at(*position, &mut bytes).map(|count| {
                            bytes.truncate(count);
                            Outcome::Read(bytes.into())
                        })
                    }
                    Action::Sync { .. } | Action::ReadAhead { .. } => {
                        self.syncs.push_back((ticket, action));
                        continue;
                    }
                };
                inputs.push_back(Input::Completed(Completion { ticket, result }));
            }
            let Some(input) = inputs.pop_front() else {
                break;
            };
            self.shard.step(self.now, input, &mut effects);
        }
    }

    /// Changes the settings of a partition.
    pub(in crate::shard) fn configure(
        &mut self,
        place: usize,
        change: impl FnOnce(&mut TopicConfig),
    ) {
        let mut effects = Effects::default();
        self.shard
            .advance(self.partitions[place], NOW, &mut effects, |leader, told| {
                let mut config = leader.config().clone();
                change(&mut config);
                leader.reconfigure(Arc::new(config), leader.epoch(), told);
                Ok(())
            });
        self.carry_out(effects);
    }

    /// Asks the coordinator that lives with the first partition, and ends all syncs.
    fn ask(&mut self, command: GroupCommand) -> oneshot::Receiver<Result<GroupReply, GroupError>> {
        let answer = self.begin_to_ask(command);
        self.end_syncs();
        answer
    }

    fn begin_to_ask(
        &mut self,
        command: GroupCommand,
    ) -> oneshot::Receiver<Result<GroupReply, GroupError>> {
        let (reply, answer) = oneshot::channel();
        let request = GroupRequest {
            partition: self.partitions[0],
            command,
            reply,
        };
        self.take_in(Input::Command(Command::Group(Box::new(request))));
        answer
    }

    /// Lets time pass.
    pub(in crate::shard) fn pass(&mut self, milliseconds: u64) {
        let time = Duration::from_millis(milliseconds);
        self.now.monotonic = self.now.monotonic.after(time);
        self.take_in(Input::Tick);
    }

    /// How many timers of `flush.ms` there are. Takes all timers out.
    fn flush_timers(&mut self) -> usize {
        let timers = std::iter::from_fn(|| self.shard.timers.pop_due(Monotonic(u64::MAX)));
        timers
            .filter(|timer| matches!(timer, Timer::Flush(_)))
            .count()
    }

    fn end_syncs(&mut self) {
        while !self.syncs.is_empty() {
            self.end_sync();
        }
    }

    /// Has the coordinator that lives with the first partition read again.
    fn read_again(&mut self) {
        let mut effects = Effects::default();
        self.shard.unload_coordinator(self.partitions[0]);
        self.shard
            .load_coordinator(self.partitions[0], &mut effects);
        self.carry_out(effects);
    }

    /// The partitions of which the group has offsets.
    fn committed(&mut self) -> Vec<TopicPartition> {
        let mut fetched = self.ask(all_offsets());
        match fetched.try_recv().unwrap() {
            Ok(GroupReply::OffsetsFetched(offsets)) => {
                offsets.into_iter().map(|one| one.partition).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    /// The offset that the next batch of a partition will have.
    fn next_offset(&mut self, place: usize) -> Offset {
        let leader = self.shard.leading(self.partitions[place]).unwrap();
        leader.log().next_offset()
    }

    /// Runs a job that was taken out of what was to be done.
    pub(in crate::shard) fn run(&self, job: Job) -> Done {
        job.run(&self.disk, &self.checkpoints)
    }

    pub(in crate::shard) fn produce(&mut self, place: usize) -> Answer {
        self.produce_with(place, BatchBuilder::new())
    }

    /// A batch of one record that `builder` begins.
    pub(in crate::shard) fn produce_with(
        &mut self,
        place: usize,
        mut builder: BatchBuilder,
    ) -> Answer {
        builder.push(NOW.wall, None, Some(b"value"), &[]);
        let (reply, answer) = oneshot::channel();
        let entry = ProducePartition {
            partition: self.partitions[place],
            records: builder.build(),
            zstd_allowed: true,
        };
        self.take_in(Input::Command(Command::Produce(Produce {
            partitions: [entry].into(),
            acks: Acks::All,
            timeout: Duration::from_secs(60),
            reply,
        })));
        answer
    }

    /// Ends the oldest sync; says of which partition it was.
    pub(in crate::shard) fn end_sync(&mut self) -> usize {
        let (ticket, action) = self.syncs.pop_front().unwrap();
        let Action::Sync { file } = action else {
            panic!("{action:?} is no sync");
        };
        let result = file.sync_data().map(|()| Outcome::Synced);
        let directory = file.path().parent().unwrap().to_str().unwrap();
        let (_, number) = directory.rsplit_once('-').unwrap();
        let number = number.parse().unwrap();
        self.take_in(Input::Completed(Completion { ticket, result }));
        number
    }
}

/// Counts lines of level ERROR.
#[derive(Clone, Default)]
pub(in crate::shard) struct Errors(Arc<AtomicUsize>);

impl Errors {
    /// How many there were.
    pub(in crate::shard) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Subscriber for Errors {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn no_more_group_commits_run_than_are_allowed_and_those_that_wait_go_on_gathering() {
    let mut bench = bench(12, 3);
    let mut answers: Vec<Answer> = (0..12).map(|place| bench.produce(place)).collect();
    assert_eq!(bench.syncs.len(), 3);
    // The seventh gathers a second batch while it waits, and keeps its place.
    let mut second = bench.produce(7);
    let mut order = Vec::new();
    while !bench.syncs.is_empty() {
        assert!(bench.syncs.len() <= 3);
        let place = bench.end_sync();
        assert!(answers[place].try_recv().unwrap().results[0].is_ok());
        if place == 7 {
            assert!(
                second.try_recv().unwrap().results[0].is_ok(),
                "one sync for both"
            );
        }
        order.push(place);
    }
    assert_eq!(
        order,
        (0..12).collect::<Vec<_>>(),
        "first come, first served"
    );
}

#[test]
fn producers_are_counted_and_described_range_by_range() {
    let mut bench = bench(2, 2);
    for id in [5, 3, 9] {
        let builder = BatchBuilder::new();
        bench.produce_with(
            1,
            builder.producer(ProducerId(id), ProducerEpoch(0), Sequence(0)),
        );
    }
    let range = |place: usize, after: Option<i64>, count_max| ProducerRange {
        partition: bench.partitions[place],
        after: after.map(ProducerId),
        count_max,
    };
    let ranges = vec![
        range(0, None, 9),
        range(1, None, 0),
        range(1, None, 2),
        range(1, Some(5), 2),
        range(1, Some(9), 2),
        range(1, Some(i64::MAX), 2),
    ];
    let (reply, mut answer) = oneshot::channel();
    let describe = Command::DescribeProducers(DescribeProducers { ranges, reply });
    bench.take_in(Input::Command(describe));
    let found = answer.try_recv().unwrap().into_iter();
    let found = found.map(|producers| {
        let Producers { count, described } = producers.unwrap();
        let ids = described.into_iter().map(|(id, _)| id.0);
        (count, ids.collect::<Vec<_>>())
    });
    let found: Vec<_> = found.collect();
    let expected = [
        (0, vec![]),
        (3, vec![]),
        (3, vec![3, 5]),
        (3, vec![9]),
        (3, vec![]),
        (3, vec![]),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_partition_that_was_deleted_while_it_waited_gives_its_turn_to_the_next() {
    let mut bench = bench(3, 1);
    let mut answers: Vec<Answer> = (0..3).map(|place| bench.produce(place)).collect();
    let taken = bench.shard.slots.remove(&bench.partitions[1]);
    assert!(taken.is_some());
    assert_eq!((bench.end_sync(), bench.end_sync()), (0, 2));
    assert!(answers[2].try_recv().unwrap().results[0].is_ok());
    assert!(bench.syncs.is_empty());
}

#[test]
fn a_stopping_shard_closes_no_log_whose_group_commit_waits_for_its_turn() {
    let mut bench = bench(2, 1);
    let mut answers: Vec<Answer> = (0..2).map(|place| bench.produce(place)).collect();
    bench.take_in(Input::Stop);
    assert_eq!((bench.end_sync(), bench.end_sync()), (0, 1));
    assert!(
        answers
            .iter_mut()
            .all(|answer| answer.try_recv().unwrap().results[0].is_ok())
    );
    assert_eq!(bench.shard.stopped(), Some(true));
}

/// Settings of a topic whose writes are cached.
fn cached(flush_ms: i64, flush_messages: Option<u64>) -> impl FnOnce(&mut TopicConfig) {
    move |config: &mut TopicConfig| {
        config.write_caching = true;
        config.flush_ms = Some(flush_ms);
        config.flush_messages = flush_messages;
    }
}

const DAY_MS: i64 = 86_400_000;

#[test]
fn a_partition_has_one_flush_timer_however_often_it_is_synced() {
    let mut bench = bench(1, 1);
    bench.configure(0, cached(DAY_MS, Some(1)));
    drop(bench.produce(0));
    for _ in 0..100 {
        bench.pass(1);
        // It is written while what came before is synced, and has its own time.
        drop(bench.produce(0));
        assert_eq!(bench.end_sync(), 0);
    }
    assert_eq!(bench.flush_timers(), 1);
}

#[test]
fn a_partition_that_goes_takes_its_flush_timer_along() {
    let mut bench = bench(2, 1);
    for place in [0, 1] {
        bench.configure(place, cached(i64::MAX, None));
        drop(bench.produce(place));
    }
    let (id, fault) = (bench.partitions[0], Fault("a test".to_owned()));
    let mut effects = Effects::default();
    bench.shard.take_offline(id, &fault, NOW, &mut effects);
    bench.carry_out(effects);
    assert_eq!(bench.shard.flush_timers.len(), 1);
    let delete = metadata::Command::DeleteTopics(DeleteTopics {
        topics: vec![TopicReference::Name("t".to_owned())],
    });
    let gone = after(bench.shard.image(), &delete);
    bench.take_in(Input::Image(Arc::new(gone)));
    assert_eq!(bench.flush_timers(), 0);
}

#[test]
fn what_is_cached_is_synced_whenever_its_time_is_over_also_one_that_was_made_shorter() {
    let mut bench = bench(1, 1);
    bench.configure(0, cached(DAY_MS, None));
    drop(bench.produce(0));
    bench.configure(0, cached(50, None));
    for _ in 0..3 {
        bench.pass(49);
        assert!(bench.syncs.is_empty());
        bench.pass(1);
        assert_eq!(bench.end_sync(), 0);
        drop(bench.produce(0));
    }
    assert_eq!(bench.flush_timers(), 1);
}

#[test]
fn a_flush_timer_that_rings_for_what_is_synced_already_is_set_again_for_the_rest() {
    let mut bench = bench(1, 1);
    bench.configure(0, cached(50, Some(2)));
    drop(bench.produce(0));
    bench.pass(10);
    drop(bench.produce(0));
    assert_eq!(bench.end_sync(), 0);
    bench.pass(10);
    drop(bench.produce(0));
    bench.pass(49);
    assert!(bench.syncs.is_empty());
    bench.pass(1);
    assert_eq!(bench.end_sync(), 0);
}

/// A segment that is full waits for the flush of its partition, which then waits for no others.
#[test]
fn recovery_points_of_very_many_partitions_come_up_a_few_at_a_time() {
    let mut bench = bench(200, 200);
    let answers: Vec<Answer> = (0..200).map(|place| bench.produce(place)).collect();
    while !bench.syncs.is_empty() {
        bench.end_sync();
    }
    drop(answers);
    let mut effects = Effects::default();
    bench.shard.checkpoint(NOW, &mut effects);
    let (mut out, mut flushed) = (VecDeque::new(), 0);
    loop {
        let jobs = effects.jobs.drain(..);
        out.extend(jobs.filter(|(_, job)| matches!(job, Job::Flush(_))));
        assert!(out.len() <= 4, "{} flushes are out", out.len());
        let Some((id, job)) = out.pop_front() else {
            break;
        };
        let done = bench.run(job);
        bench.shard.step(NOW, Input::Done(id, done), &mut effects);
        flushed += 1;
    }
    assert_eq!(flushed, 200);
    assert!(bench.shard.flushes.waiting.is_empty());
}

/// Four of them kept all others from moving their recovery points for as long as a disk was full.
#[test]
fn a_flush_behind_what_finds_no_room_leaves_its_place_to_others() {
    let mut bench = bench(5, 5);
    for place in 0..5 {
        drop(bench.produce(place));
    }
    bench.end_syncs();
    let mut effects = Effects::default();
    for &id in &bench.partitions[..4] {
        let job = Job::Measure(Vec::new());
        bench.shard.order(Errand::Delete(id), job, &mut effects);
    }
    let deletions = std::mem::take(&mut effects.jobs);
    bench.shard.checkpoint(NOW, &mut effects);
    let is_flush = |(_, job): &(JobId, Job)| matches!(job, Job::Flush(_));
    assert!(!effects.jobs.iter().any(is_flush), "they wait");
    for (id, job) in deletions {
        let full = IoError::new("write", Path::new("/data"), io::ErrorKind::StorageFull);
        let done = Done::PutOff(Box::new(job), full);
        bench.shard.step(NOW, Input::Done(id, done), &mut effects);
    }
    let place = effects.jobs.iter().position(is_flush);
    let (id, flush) = effects.jobs.remove(place.expect("the fifth is flushed"));
    let done = bench.run(flush);
    bench.shard.step(NOW, Input::Done(id, done), &mut effects);
    // Nor do they take places before the others are tried again.
    bench.shard.checkpoint(NOW, &mut effects);
    assert_eq!(bench.shard.flushes.out, 0);
}

/// The next start would trust pages that are not on the device.
#[test]
fn a_partition_whose_sync_failed_is_marked_before_what_else_the_shard_has_to_do() {
    let mut bench = bench(1, 1);
    drop(bench.produce(0));
    let mut effects = Effects::default();
    for _ in 0..100 {
        let job = Job::Measure(Vec::new());
        bench.shard.order(Errand::Checkpoint, job, &mut effects);
    }
    effects.jobs.clear();
    let (ticket, _) = bench.syncs.pop_front().unwrap();
    let failed = io::Error::from_raw_os_error(EIO);
    let result = Err(IoError::new("fdatasync", Path::new("/data/t-0"), failed));
    let input = Input::Completed(Completion { ticket, result });
    bench.shard.step(NOW, input, &mut effects);
    assert!(matches!(*effects.jobs, [(_, Job::Mark(_))]));
}

/// What the next start looks for before it trusts the page cache.
const MARK: &str = "/data/t-0/flush-failed";

/// A shard whose only partition is offline for a failed sync. Its mark finds no room so often.
fn bench_of_unmarked(sim: &Sim, times: usize) -> Bench {
    let mut bench = bench_on(sim, "t", 1, 1);
    drop(bench.produce(0));
    let (ticket, _) = bench.syncs.pop_front().unwrap();
    for _ in 0..times {
        sim.fail_next(SimOperation::Open, MARK, ENOSPC);
    }
    let failed = io::Error::from_raw_os_error(EIO);
    let result = Err(IoError::new("fdatasync", Path::new("/data/t-0"), failed));
    bench.take_in(Input::Completed(Completion { ticket, result }));
    assert!(!bench.disk.exists(Path::new(MARK)).unwrap());
    bench
}

/// It was only said, and the next start trusted pages that are not on the device, however much room there was by then.
#[test]
fn the_mark_of_a_failed_sync_that_found_no_room_is_made_when_there_is_some() {
    let mut bench = bench_of_unmarked(&Sim::new(1), 3);
    for _ in 0..2 {
        bench.pass(1_000);
        assert!(!bench.disk.exists(Path::new(MARK)).unwrap());
    }
    bench.pass(1_000);
    assert!(bench.disk.exists(Path::new(MARK)).unwrap());
    assert!(!bench.shard.has_jobs());
}

#[test]
fn a_stop_tries_a_mark_that_found_no_room_once_more() {
    let mut bench = bench_of_unmarked(&Sim::new(1), 1);
    bench.take_in(Input::Stop);
    assert!(bench.disk.exists(Path::new(MARK)).unwrap());
    assert!(bench.shard.stopped().is_some());
}

#[test]
fn a_mark_that_finds_no_room_keeps_neither_a_stop_nor_the_deletion_of_its_topic_waiting() {
    let mut bench = bench_of_unmarked(&Sim::new(1), 100);
    bench.take_in(Input::Stop);
    assert_eq!(bench.shard.stopped(), Some(false));

    let mut bench = bench_of_unmarked(&Sim::new(1), 100);
    let delete = metadata::Command::DeleteTopics(DeleteTopics {
        topics: vec![TopicReference::Name("t".to_owned())],
    });
    let gone = after(bench.shard.image(), &delete);
    bench.take_in(Input::Image(Arc::new(gone)));
    bench.pass(1_000);
    assert!(!bench.disk.exists(Path::new("/data/t-0")).unwrap());
    assert!(!bench.shard.has_jobs());
}

/// The job that opens it marks it, and found no room. Also where it is the sync that found none: opened again without the mark, it
/// would believe the page cache.
#[test]
fn a_partition_that_could_not_be_opened_for_a_failed_sync_is_marked_when_there_is_room() {
    for error in [EIO, ENOSPC] {
        let sim = Sim::new(1);
        sim.fail_next(SimOperation::Sync, "partition.metadata.tmp", error);
        for _ in 0..2 {
            sim.fail_next(SimOperation::Open, MARK, ENOSPC);
        }
        let mut bench = bench_on(&sim, "t", 1, 1);
        assert!(bench.shard.is_offline(bench.partitions[0]), "{error}");
        assert!(!bench.disk.exists(Path::new(MARK)).unwrap());
        bench.pass(1_000);
        assert!(bench.disk.exists(Path::new(MARK)).unwrap());
    }
}

#[test]
fn bombs_beyond_what_a_turn_may_open_are_opened_aside_and_answered_in_order() {
    let mut bench = bench(1, 1);
    bench.configure(0, |config| config.cleanup_policy.compact = true);
    let mut builder = BatchBuilder::new().compression(Compression::Gzip);
    builder.push(NOW.wall, Some(b"key"), Some(&[0; 262_000]), &[]);
    let (partition, bomb) = (bench.partitions[0], builder.build());
    let entry = |_| ProducePartition {
        partition,
        records: bomb.clone(),
        zstd_allowed: true,
    };
    let (reply, mut answer) = oneshot::channel();
    let produce = Produce {
        partitions: (0..10).map(entry).collect(),
        acks: Acks::All,
        timeout: Duration::from_secs(60),
        reply,
    };
    let mut effects = Effects::default();
    let command = Input::Command(Command::Produce(produce));
    bench.shard.step(NOW, command, &mut effects);
    assert_eq!(
        bench.next_offset(0),
        Offset(3),
        "the others are left packed"
    );
    bench.carry_out(effects);
    while !bench.syncs.is_empty() {
        bench.end_sync();
    }
    let results = answer.try_recv().unwrap().into_iter();
    let offsets: Vec<i64> = results
        .map(|appended| appended.unwrap().base_offset.0)
        .collect();
    assert_eq!(offsets, (0..10).collect::<Vec<_>>());
}

/// Each refusal uncovered the next batch that needs the roll: so deep was the stack, and clients say how many there are.
#[test]
fn very_many_batches_behind_a_roll_that_waits_are_refused_in_one_go() {
    let mut bench = bench(1, 1);
    let partition = bench.partitions[0];
    bench.configure(0, |config| {
        config.segment_bytes = 100;
        config.compression_type = CompressionType::Lz4;
    });
    let mut effects = Effects::default();
    let job = Job::Measure(Vec::new());
    bench
        .shard
        .order(Errand::Delete(partition), job, &mut effects);
    let (id, job) = effects.jobs.pop().unwrap();
    let full = IoError::new("write", Path::new("/data"), io::ErrorKind::StorageFull);
    let done = Done::PutOff(Box::new(job), full);
    bench.shard.step(NOW, Input::Done(id, done), &mut effects);
    drop(bench.produce(0));
    bench.end_syncs();
    let batch = |producer, sequence, codec| {
        let builder = BatchBuilder::new().compression(codec);
        let mut builder = builder.producer(ProducerId(producer), ProducerEpoch(0), sequence);
        builder.push(NOW.wall, None, Some(&[0; 100]), &[]);
        let records = builder.build();
        ProducePartition {
            partition,
            records,
            zstd_allowed: true,
        }
    };
    // Those of the other codec have to be opened first.
    let two = |producer| {
        [
            batch(producer, Sequence(0), Compression::Lz4),
            batch(producer, Sequence(1), Compression::None),
        ]
    };
    let (reply, mut answer) = oneshot::channel();
    bench.take_in(Input::Command(Command::Produce(Produce {
        partitions: (0..2_000).flat_map(two).collect(),
        acks: Acks::All,
        timeout: Duration::from_secs(60),
        reply,
    })));
    bench.end_syncs();
    let results: Vec<_> = answer.try_recv().unwrap().into_iter().collect();
    let is_refused = |result: &Result<_, AppendError>| matches!(result, Err(AppendError::Storage));
    assert!(results.len() == 4_000 && results.iter().all(is_refused));
}

/// Whoever hears that the time is up sends the batch again.
#[test]
fn a_batch_whose_time_is_up_before_the_log_is_open_is_not_appended() {
    let mut bench = bench_of_nothing(&Sim::new(1), 1);
    let image = image("t", 1);
    let mut effects = Effects::default();
    bench
        .shard
        .step(NOW, Input::Image(Arc::new(image)), &mut effects);
    bench.partitions = bench.shard.slots.keys().copied().collect();
    let mut append = |bench: &mut Bench, seconds, mut builder: BatchBuilder| {
        let (reply, answer) = oneshot::channel();
        builder.push(NOW.wall, None, Some(b"value"), &[]);
        let entry = ProducePartition {
            partition: bench.partitions[0],
            records: builder.build(),
            zstd_allowed: true,
        };
        let produce = Produce {
            partitions: [entry].into(),
            acks: Acks::All,
            timeout: Duration::from_secs(seconds),
            reply,
        };
        let command = Input::Command(Command::Produce(produce));
        bench.shard.step(NOW, command, &mut effects);
        answer
    };
    let mut overdue = append(&mut bench, 1, of_producer(0));
    let mut next = append(&mut bench, 60, of_producer(1));
    let mut patient = append(&mut bench, 60, BatchBuilder::new());
    let later = Now {
        monotonic: NOW.monotonic.after(Duration::from_secs(2)),
        ..NOW
    };
    bench.shard.step(later, Input::Tick, &mut effects);
    let produced = overdue.try_recv().unwrap();
    assert!(matches!(*produced.results, [Err(AppendError::TimedOut)]));
    let let_go = produced.left_behind.unwrap().try_recv();
    assert_eq!(let_go, Err(TryRecvError::Closed));
    bench.carry_out(effects);
    bench.end_sync();
    assert_eq!(stored_at(&mut patient), Offset::ZERO);
    assert_eq!(bench.next_offset(0), Offset(1));
    // The log would take it for the producer's first.
    let overtaking = outcome_of(&mut next).unwrap_err();
    assert!(is_not_yet(&overtaking), "{overtaking}");
    for (sequence, offset) in [(0, 1), (1, 2)] {
        let mut again = bench.produce_with(0, of_producer(sequence));
        bench.end_syncs();
        assert_eq!(stored_at(&mut again), Offset(offset));
    }
}

/// What became of the only batch of a request.
fn outcome_of(answer: &mut Answer) -> Result<Appended, AppendError> {
    answer.try_recv().unwrap().results.remove(0)
}

/// Where it was appended.
fn stored_at(answer: &mut Answer) -> Offset {
    outcome_of(answer).unwrap().base_offset
}

/// The beginning of a batch of an idempotent producer that no log knows.
fn of_producer(sequence: i32) -> BatchBuilder {
    BatchBuilder::new().producer(ProducerId(9), ProducerEpoch(0), Sequence(sequence))
}

/// Whether a producer is told to come again, because it is not the turn of its batch yet.
fn is_not_yet(error: &AppendError) -> bool {
    matches!(error, AppendError::Unavailable(Unavailable::NotLeader(_)))
}

/// The log took the later batch for the producer's first, and the earlier one was out of order for ever.
#[test]
fn a_batch_that_finds_no_room_before_the_log_is_open_is_not_overtaken_by_the_next() {
    let (mut bench, effects) = bench_of_unopened("t", 2);
    let large = |mut builder: BatchBuilder| {
        builder.push(NOW.wall, None, Some(&[0; 1_000_000]), &[]);
        builder
    };
    let mut waiting = Vec::new();
    for _ in 0..4 {
        waiting.push(bench.produce_with(1, large(BatchBuilder::new())));
    }
    // Each has two records.
    let first = || large(of_producer(0));
    let second = || {
        let mut builder = of_producer(2);
        builder.push(NOW.wall, None, Some(b"value"), &[]);
        builder
    };
    let refused = |bench: &mut Bench, builder| {
        let answer = bench.produce_with(0, builder).try_recv();
        let result = answer.unwrap().results.remove(0);
        assert!(is_not_yet(&result.unwrap_err()));
    };
    refused(&mut bench, first());
    refused(&mut bench, second());
    let is_of_other =
        |(_, job): &(JobId, Job)| matches!(job, Job::Open(open) if open.name == place("t", 1));
    let (of_other, of_it): (Vec<_>, Vec<_>) = effects.jobs.into_iter().partition(is_of_other);
    for jobs in [of_other, of_it] {
        assert_eq!(jobs.len(), 1);
        bench.carry_out(Effects {
            jobs,
            ..Effects::default()
        });
        refused(&mut bench, second());
    }
    let mut again = [first(), second()].map(|builder| bench.produce_with(0, builder));
    bench.end_syncs();
    let offsets = again.each_mut().map(stored_at);
    assert_eq!(offsets, [Offset(0), Offset(2)]);
}

#[test]
fn a_batch_whose_log_finds_no_space_to_be_opened_is_not_overtaken_by_the_next() {
    let (mut bench, mut effects) = bench_of_unopened("t", 1);
    let mut first = bench.produce_with(0, of_producer(0));
    let Some((id, Job::Open(open))) = effects.jobs.pop() else {
        panic!("the partition is opened first");
    };
    let full = IoError::new("write", Path::new("/data"), io::ErrorKind::StorageFull);
    let done = Done::NotYetOpened(open, NotYet::NoSpace(full));
    bench.take_in(Input::Done(id, done));
    let result = outcome_of(&mut first);
    assert!(matches!(result, Err(AppendError::Storage)), "{result:?}");
    let mut second = bench.produce_with(0, of_producer(1));
    assert!(is_not_yet(&outcome_of(&mut second).unwrap_err()));
    let again = bench.produce_with(0, of_producer(0));
    bench.pass(1_000);
    let mut answers = [again, bench.produce_with(0, of_producer(1))];
    bench.end_syncs();
    let offsets = answers.each_mut().map(stored_at);
    assert_eq!(offsets, [Offset(0), Offset(1)]);
}

/// The log took the later batch for the producer's first, and the one that had been refused was out of order for ever.
#[test]
fn a_batch_that_a_full_disk_does_not_take_is_not_overtaken_by_the_next() {
    let sim = Sim::new(1);
    let mut bench = bench_on(&sim, "t", 1, 1);
    let refuse = |bench: &mut Bench, sequence| {
        sim.fail_next(SimOperation::Write, LOG, ENOSPC);
        let result = outcome_of(&mut bench.produce_with(0, of_producer(sequence)));
        assert!(matches!(result, Err(AppendError::Storage)), "{result:?}");
        outcome_of(&mut bench.produce_with(0, of_producer(sequence + 1))).unwrap_err()
    };
    let store = |bench: &mut Bench, sequences: [i32; 2]| {
        let produce = |sequence| bench.produce_with(0, of_producer(sequence));
        let mut answers = sequences.map(produce);
        bench.end_syncs();
        answers.each_mut().map(stored_at)
    };
    for _ in 0..2 {
        let overtaking = refuse(&mut bench, 0);
        assert!(is_not_yet(&overtaking), "{overtaking}");
    }
    assert_eq!(store(&mut bench, [0, 1]), [Offset(0), Offset(1)]);
    // Of a producer that it knows the log keeps the order itself.
    let overtaking = refuse(&mut bench, 2);
    assert!(
        matches!(overtaking, AppendError::Producer(_)),
        "{overtaking}"
    );
    assert_eq!(store(&mut bench, [2, 3]), [Offset(2), Offset(3)]);
}

#[test]
fn a_batch_that_finds_no_room_for_a_new_segment_is_not_overtaken_by_one_that_needs_none() {
    let sim = Sim::new(1);
    let mut bench = bench_on(&sim, "t", 1, 1);
    bench.configure(0, |config| config.segment_bytes = 2_000);
    drop(bench.produce(0));
    bench.end_syncs();
    // Of two records.
    let large = || {
        let mut builder = of_producer(0);
        builder.push(NOW.wall, None, Some(&[0; 1_900]), &[]);
        builder
    };
    sim.fail_next(SimOperation::Open, "00000000000000000001.log", ENOSPC);
    let result = outcome_of(&mut bench.produce_with(0, large()));
    assert!(matches!(result, Err(AppendError::Storage)), "{result:?}");
    let small = outcome_of(&mut bench.produce_with(0, of_producer(2)));
    assert!(is_not_yet(&small.unwrap_err()));
    let mut again = [large(), of_producer(2)].map(|builder| bench.produce_with(0, builder));
    bench.end_syncs();
    let offsets = again.each_mut().map(stored_at);
    assert_eq!(offsets, [Offset(1), Offset(3)]);
}

/// At acks=1 nobody's time is ever up: they could take the memory of all requests while one log was recovered.
#[test]
fn no_more_batches_wait_for_a_log_to_be_opened_than_there_is_room_for() {
    let (mut bench, mut effects) = bench_of_unopened("t", 1);
    let mut append = || -> Answer {
        let (reply, answer) = oneshot::channel();
        let mut builder = BatchBuilder::new();
        builder.push(NOW.wall, None, Some(&[0; 1_000_000]), &[]);
        let entry = ProducePartition {
            partition: bench.partitions[0],
            records: builder.build(),
            zstd_allowed: true,
        };
        let produce = Produce {
            partitions: [entry].into(),
            acks: Acks::Leader,
            timeout: Duration::from_secs(60),
            reply,
        };
        let command = Input::Command(Command::Produce(produce));
        bench.shard.step(NOW, command, &mut effects);
        answer
    };
    let mut waiting: Vec<Answer> = (0..4).map(|_| append()).collect();
    let mut excess: Vec<Answer> = (0..2).map(|_| append()).collect();
    for answer in &mut excess {
        let result = outcome_of(answer);
        let not_yet = AppendError::from(Unavailable::NotLeader(bench.partitions[0]));
        assert_eq!(result.unwrap_err().to_string(), not_yet.to_string());
    }
    assert!(waiting.iter_mut().all(|answer| answer.try_recv().is_err()));
    bench.carry_out(effects);
    let offsets = waiting.iter_mut().map(stored_at);
    assert_eq!(offsets.collect::<Vec<_>>(), [0, 1, 2, 3].map(Offset));
}

#[test]
fn a_coordinator_whose_partition_waits_for_space_keeps_nobody_waiting() {
    let mut shard = Shard::new(settings(1), NOW);
    let mut effects = Effects::default();
    shard.step(NOW, Input::Image(Arc::new(image("t", 1))), &mut effects);
    let Some((id, Job::Open(open))) = effects.jobs.pop() else {
        panic!("the partition is opened first");
    };
    let partition = *shard.slots.first_key_value().unwrap().0;
    let mut ask = |shard: &mut Shard| {
        let (reply, answer) = oneshot::channel();
        let group = "g".into();
        let request = GroupRequest {
            partition,
            command: GroupCommand::DeleteGroup { group },
            reply,
        };
        let command = Command::Group(Box::new(request));
        shard.step(NOW, Input::Command(command), &mut effects);
        answer
    };
    let mut before = ask(&mut shard);
    assert!(before.try_recv().is_err(), "it is about to be open");
    let full = IoError::new("write", Path::new("/data"), io::ErrorKind::StorageFull);
    let done = Done::NotYetOpened(open, NotYet::NoSpace(full));
    shard.step(NOW, Input::Done(id, done), &mut Effects::default());
    let mut after = ask(&mut shard);
    for answer in [&mut before, &mut after] {
        let refused = answer.try_recv().unwrap();
        assert_eq!(refused, Err(GroupError::CoordinatorLoading));
    }
}

#[test]
fn a_coordinator_stores_as_much_at_once_as_its_topic_allows_at_present() {
    let mut bench = bench_of("__consumer_offsets", 1, 1);
    let commit = || {
        let places = (0..300).map(|partition| place("t", partition));
        commit(places, &"m".repeat(4_000))
    };
    let refused = bench.ask(commit()).try_recv().unwrap();
    let Err(GroupError::CommitTooLarge { max, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(max, 1_048_460);
    let setting = MetadataRecord::ConfigSet {
        resource: ConfigResource::Topic(bench.partitions[0].topic_id),
        name: "max.message.bytes".to_owned(),
        value: "2000000".to_owned(),
    };
    let image = bench.shard.image().apply(&[setting]).unwrap();
    bench.take_in(Input::Image(Arc::new(image)));
    let stored = bench.ask(commit()).try_recv().unwrap();
    assert!(matches!(stored, Ok(GroupReply::OffsetsCommitted(_))));
}

#[test]
fn who_joins_while_the_coordinator_is_read_waits_if_it_is_small_and_still_there() {
    let (mut bench, mut effects) = bench_of_unopened_coordinator();
    let partition = bench.partitions[0];
    let mut join = |group: &str, bytes| {
        let (reply, answer) = oneshot::channel();
        let request = GroupRequest {
            partition,
            command: GroupCommand::Join(join(group, bytes)),
            reply,
        };
        let input = Input::Command(Command::Group(Box::new(request)));
        bench.shard.step(NOW, input, &mut effects);
        answer
    };
    let mut large = join("large", DEFERRED_BYTES_MAX);
    let loading = Err(GroupError::CoordinatorLoading);
    assert_eq!(large.try_recv().unwrap(), loading);
    drop(join("gone", 100));
    let mut small = join("small", 100);
    assert!(small.try_recv().is_err(), "it waits");
    bench.carry_out(effects);
    for (name, is_there) in [("large", false), ("gone", false), ("small", true)] {
        let group = name.into();
        let described = bench.ask(GroupCommand::DescribeGroup { group });
        let described = { described }.try_recv().unwrap();
        assert_eq!(described.is_ok(), is_there, "{name}: {described:?}");
    }
}

/// Such answers are made a few at a time: those that waited for one coordinator kept all others from their thread.
#[test]
fn who_asks_for_what_may_be_long_does_not_wait_while_a_coordinator_is_opened_and_read() {
    let (mut bench, mut effects) = bench_of_unopened_coordinator();
    for awaited in ["opened", "read"] {
        let questions = [
            all_offsets(),
            GroupCommand::DescribeGroup { group: "g".into() },
            GroupCommand::ListGroups(ListGroups::default()),
        ];
        for question in questions {
            let what = format!("{question:?} while it is {awaited}");
            let answer = bench.begin_to_ask(question).try_recv();
            assert_eq!(answer, Ok(Err(GroupError::CoordinatorLoading)), "{what}");
        }
        for (id, job) in std::mem::take(&mut effects.jobs) {
            let done = bench.run(job);
            bench.shard.step(NOW, Input::Done(id, done), &mut effects);
        }
    }
    bench.carry_out(effects);
    assert_eq!(bench.committed(), [], "it serves");
}

#[test]
fn a_heartbeat_does_not_wait_while_the_coordinator_is_read() {
    let (mut bench, _effects) = bench_of_unopened_coordinator();
    let heartbeat = GroupCommand::Heartbeat(Heartbeat {
        group: "g".into(),
        member_id: MemberId::from("m"),
        instance_id: None,
        generation: GenerationId(1),
    });
    let answer = bench.begin_to_ask(heartbeat).try_recv();
    assert_eq!(answer, Ok(Err(GroupError::CoordinatorLoading)));
}

#[test]
fn who_asks_for_the_producers_of_a_log_does_not_wait_until_it_is_open() {
    let (mut bench, _effects) = bench_of_unopened_coordinator();
    let partition = bench.partitions[0];
    let (reply, mut answer) = oneshot::channel();
    let range = ProducerRange {
        partition,
        after: None,
        count_max: 1,
    };
    let ranges = vec![range];
    let describe = Command::DescribeProducers(DescribeProducers { ranges, reply });
    bench.take_in(Input::Command(describe));
    let not_yet = OffsetLookupError::Unavailable(Unavailable::NotLeader(partition));
    assert_eq!(answer.try_recv().unwrap(), [Err(not_yet)]);
}

/// Their clients were told that the time was up, and asked again and again: the memory of what they had asked was in no budget.
#[test]
fn questions_that_nobody_waits_for_are_not_kept_until_a_log_is_open() {
    let (mut bench, effects) = bench_of_unopened("t", 1);
    let partition = bench.partitions[0];
    let live = 8;
    let mut answers = Vec::new();
    for _ in 0..live {
        let (reply, answer) = oneshot::channel();
        let partitions = vec![(partition, None)];
        let delete = Command::DeleteRecords(DeleteRecords { partitions, reply });
        bench.take_in(Input::Command(delete));
        answers.push(answer);
    }
    for _ in 0..10_000 {
        for question in abandoned_questions(partition) {
            bench.take_in(Input::Command(question));
        }
        assert!(bench.shard.deferred.len() <= 2 * live);
    }
    assert!(answers.iter_mut().all(|answer| answer.try_recv().is_err()));
    bench.carry_out(effects);
    bench.end_syncs();
    for answer in &mut answers {
        assert_eq!(answer.try_recv().unwrap(), [Ok(Offset::ZERO)]);
    }
    assert!(bench.shard.deferred.is_empty());
}

fn abandoned_questions(partition: TopicIdPartition) -> [Command; 3] {
    let (reply, _) = oneshot::channel();
    let partitions = vec![(partition, None)];
    let delete = DeleteRecords { partitions, reply };
    let (reply, _) = oneshot::channel();
    let lookups = vec![(partition, LeaderEpoch::NONE, LeaderEpoch::NONE)];
    let epoch_ends = LookupEpochEnds { lookups, reply };
    let (reply, _) = oneshot::channel();
    let lookup = OffsetLookup {
        partition,
        spec: OffsetSpec::Latest,
        current_leader_epoch: LeaderEpoch::NONE,
        isolation: Isolation::ReadUncommitted,
    };
    let lookups = vec![lookup];
    let offsets = LookupOffsets { lookups, reply };
    [
        Command::DeleteRecords(delete),
        Command::LookupEpochEnds(epoch_ends),
        Command::LookupOffsets(offsets),
    ]
}

/// A first join, whose subscription takes so many bytes.
fn join(group: &str, bytes: usize) -> Join {
    Join {
        group: group.into(),
        member_id: MemberId::from(""),
        instance_id: None,
        client_id: "app".into(),
        client_host: "/127.0.0.1".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".into(),
        protocols: vec![Protocol {
            name: "range".into(),
            metadata: vec![0; bytes].into(),
        }],
        requires_known_member_id: false,
        supports_skip_assignment: true,
        random: 1,
    }
}

#[test]
fn a_coordinator_that_is_read_again_has_no_offsets_of_topics_that_are_gone() {
    let mut bench = bench_of("__consumer_offsets", 1, 1);
    let places = ["gone", "__consumer_offsets"].map(|topic| place(topic, 0));
    drop(bench.ask(commit(places.clone(), "")));
    for read in 0..2 {
        bench.read_again();
        assert_eq!(bench.committed(), places[1..], "read {read} times");
    }
}

#[test]
fn a_topic_made_anew_while_its_coordinator_is_opened_has_no_offsets_of_the_old_one() {
    let sim = Sim::new(1);
    let mut former = bench_on(&sim, "__consumer_offsets", 1, 1);
    let images = made_anew(former.shard.image());
    let places = [place("t", 0), place("__consumer_offsets", 0)];
    drop(former.ask(commit(places.clone(), "")));
    let mut bench = Bench {
        partitions: former.partitions,
        ..bench_of_nothing(&sim, 1)
    };
    let mut effects = Effects::default();
    for image in images {
        bench.shard.step(NOW, Input::Image(image), &mut effects);
    }
    bench.carry_out(effects);
    assert_eq!(bench.committed(), places[1..]);
}

/// Its id had been looked up before it waited.
#[test]
fn an_offset_that_waited_for_its_coordinator_is_not_the_next_topics_of_the_name() {
    let mut bench = bench_of_nothing(&Sim::new(1), 1);
    let image = image("__consumer_offsets", 1);
    bench.partitions = vec![TopicIdPartition {
        topic_id: image.topics().next().unwrap().id,
        partition: 0,
    }];
    let [old, gone, new] = made_anew(&image);
    let places = [place("t", 0), place("__consumer_offsets", 0)];
    let mut commit = commit(places.clone(), "");
    if let GroupCommand::CommitOffsets(commit) = &mut commit {
        for offset in &mut commit.offsets {
            let topic = old.topic(&offset.partition.topic).unwrap();
            offset.topic = NamedTopic::ById(topic.id);
        }
    }
    let (reply, mut answer) = oneshot::channel();
    let request = GroupRequest {
        partition: bench.partitions[0],
        command: commit,
        reply,
    };
    let mut effects = Effects::default();
    for input in [
        Input::Image(old),
        Input::Command(Command::Group(Box::new(request))),
        Input::Image(gone),
        Input::Image(new),
    ] {
        bench.shard.step(NOW, input, &mut effects);
    }
    bench.carry_out(effects);
    bench.end_syncs();
    let committed = answer.try_recv().unwrap();
    let topic = places[0].topic.clone();
    let results = vec![Err(GroupError::TopicGone { topic }), Ok(())];
    assert_eq!(committed, Ok(GroupReply::OffsetsCommitted(results)));
    assert_eq!(bench.committed(), places[1..]);
}

#[test]
fn a_topic_made_anew_before_its_coordinator_is_read_again_has_no_offsets_of_the_old_one() {
    let sim = Sim::new(1);
    let mut bench = bench_on(&sim, "__consumer_offsets", 1, 1);
    let [old, gone, new] = made_anew(bench.shard.image()).map(Input::Image);
    bench.take_in(old);
    drop(bench.ask(commit([place("t", 0)], "")));
    // One commit is on its way, and the one behind it fails.
    let other = || commit([place("__consumer_offsets", 0)], "");
    drop(bench.begin_to_ask(other()));
    sim.fail_next(SimOperation::Write, OFFSETS_LOG, ENOSPC);
    let mut failed = bench.begin_to_ask(other());
    assert!(failed.try_recv().unwrap().is_err());
    let describe = GroupCommand::DescribeGroup { group: "g".into() };
    let unsettled = bench.begin_to_ask(describe).try_recv().unwrap();
    assert_eq!(unsettled, Err(GroupError::CoordinatorLoading));
    bench.take_in(gone);
    bench.take_in(new);
    bench.end_syncs();
    assert_eq!(bench.committed(), [place("__consumer_offsets", 0)]);
}

/// It went on until all were recovered, which after a crash may be longer than whoever stops it waits.
#[test]
fn a_stop_waits_for_no_more_recoveries_than_have_begun() {
    let mut bench = bench_of_nothing(&Sim::new(1), 1);
    let image = Input::Image(Arc::new(image("__consumer_offsets", 100)));
    let mut effects = Effects::default();
    bench.shard.step(NOW, image, &mut effects);
    let out = effects.jobs.len();
    assert!((1..100).contains(&out), "{out}");
    bench.shard.step(NOW, Input::Stop, &mut effects);
    bench.carry_out(effects);
    let opened = bench.disk.list(Path::new("/data")).unwrap();
    let opened = opened.iter().filter(|entry| entry.name.starts_with("__"));
    assert_eq!(opened.count(), out);
    assert_eq!(bench.shard.stopped(), Some(false));
}

/// A shard whose coordinators are about to be read, the first of them, with 240 offsets, in several slices.
fn bench_of_long_reading(partitions: i32) -> (Bench, Effects) {
    let mut bench = bench_of("__consumer_offsets", partitions, 1);
    for _ in 0..10 {
        let places = (0..240).map(|number| place("__consumer_offsets", number));
        let stored = bench.ask(commit(places, &"m".repeat(4_000))).try_recv();
        assert!(matches!(stored, Ok(Ok(GroupReply::OffsetsCommitted(_)))));
    }
    let mut effects = Effects::default();
    for &id in &bench.partitions {
        bench.shard.unload_coordinator(id);
        bench.shard.load_coordinator(id, &mut effects);
    }
    (bench, effects)
}

fn is_replay((_, job): &(JobId, Job)) -> bool {
    matches!(job, Job::Replay(_))
}

/// They were read to their end, one and all, which may be longer than whoever stops the broker waits.
#[test]
fn a_stop_waits_for_no_more_of_a_coordinators_partition_than_is_being_read() {
    let (mut bench, mut effects) = bench_of_long_reading(4);
    let out = std::mem::take(&mut effects.jobs);
    assert!((1..4).contains(&out.len()) && out.iter().all(is_replay));
    bench.shard.step(NOW, Input::Stop, &mut effects);
    let mut unfinished = 0;
    for (id, job) in out {
        let done = bench.run(job);
        unfinished += usize::from(matches!(done, Done::PartReplayed(_)));
        bench.shard.step(NOW, Input::Done(id, done), &mut effects);
    }
    assert_eq!(unfinished, 1);
    assert!(!effects.jobs.iter().any(is_replay));
    bench.carry_out(effects);
    assert_eq!(bench.shard.stopped(), Some(true));
}

#[test]
fn a_coordinator_is_read_slice_by_slice_behind_what_is_as_urgent() {
    let (mut bench, mut effects) = bench_of_long_reading(1);
    let mut slices = 0;
    while effects.jobs.iter().any(is_replay) {
        let (id, job) = effects.jobs.pop().unwrap();
        let done = bench.run(job);
        slices += 1;
        let measure = Job::Measure(Vec::new());
        let errand = Errand::Measure { work: 0 };
        bench.shard.order(errand, measure, &mut effects);
        bench.shard.step(NOW, Input::Done(id, done), &mut effects);
        let first = effects.jobs.iter().position(is_replay);
        assert!(first.is_none_or(|place| place == slices));
    }
    assert!(slices > 2, "{slices}");
    bench.carry_out(effects);
    assert_eq!(bench.committed().len(), 240);
}

/// Whoever made a topic, or stopped the broker, waited until each partition had been flushed away by itself.
#[test]
fn a_large_topic_that_is_deleted_holds_up_neither_a_new_one_nor_a_stop() {
    let sim = Sim::new(1);
    let mut bench = bench_on(&sim, "t", 300, 1);
    let mut effects = Effects::default();
    bench.shard.checkpoint(NOW, &mut effects);
    bench.carry_out(effects);
    let delete = metadata::Command::DeleteTopics(DeleteTopics {
        topics: vec![TopicReference::Name("t".to_owned())],
    });
    let gone = after(bench.shard.image(), &delete);
    let new = after(&gone, &create("new", 1, 6));
    let mut effects = Effects::default();
    for image in [gone, new] {
        let image = Input::Image(Arc::new(image));
        bench.shard.step(NOW, image, &mut effects);
    }
    let (_, last) = effects.jobs.last().unwrap();
    let is_new = matches!(last, Job::Open(open) if open.name == place("new", 0));
    assert!(is_new, "it waits behind {last:?}");
    bench.shard.step(NOW, Input::Stop, &mut effects);
    // A few changes for each partition, and what they share.
    sim.stand_still_after(6 * 300);
    bench.carry_out(effects);
    assert!(!sim.stands_still(), "the disk has far more to do");
    assert_eq!(bench.shard.stopped(), Some(true));
    let left = bench.disk.list(Path::new("/data")).unwrap().into_iter();
    let left = left.filter(|entry| entry.is_dir).map(|entry| entry.name);
    let is_deleted = |name: &String| is_deleted_directory(name);
    let (deleted, left): (Vec<_>, Vec<_>) = left.partition(is_deleted);
    assert_eq!(left, ["new-0"]);
    assert_eq!(deleted.len(), 300, "they are unlinked by the next start");
}

/// All 256 of a joint job were unlinked by that, and whatever the shard had to do about files waited for it.
#[test]
fn partitions_that_are_removed_together_are_unlinked_one_by_one_behind_that() {
    let mut bench = bench(20, 1);
    let delete = metadata::Command::DeleteTopics(DeleteTopics {
        topics: vec![TopicReference::Name("t".to_owned())],
    });
    let gone = Input::Image(Arc::new(after(bench.shard.image(), &delete)));
    let mut effects = Effects::default();
    bench.shard.step(NOW, gone, &mut effects);
    let directories = |bench: &Bench| {
        let entries = bench.disk.list(Path::new("/data")).unwrap().into_iter();
        entries.filter(|entry| entry.is_dir).count()
    };
    let mut unlinked = 0;
    while !effects.jobs.is_empty() {
        let (id, job) = effects.jobs.remove(0);
        let unlinks = usize::from(matches!(job, Job::UnlinkDirectory(_)));
        let before = directories(&bench);
        let done = bench.run(job);
        assert_eq!(before - directories(&bench), unlinks, "{done:?}");
        unlinked += unlinks;
        bench.shard.step(NOW, Input::Done(id, done), &mut effects);
    }
    assert_eq!((unlinked, directories(&bench)), (20, 0));
}

/// Whoever had a partition waited for them.
#[test]
fn deleted_directories_of_before_a_start_are_unlinked_when_all_partitions_are_open() {
    for stops in [false, true] {
        let mut bench = bench_of_nothing(&Sim::new(1), 1);
        let data = Path::new("/data");
        for number in 0..20 {
            let name = deleted_directory(&place("gone", number), TopicId(Uuid(9)));
            bench.disk.create_dir_all(&data.join(name)).unwrap();
        }
        let left = |bench: &Bench| {
            let entries = bench.disk.list(data).unwrap();
            let names = entries.iter().map(|entry| &entry.name);
            names.filter(|name| is_deleted_directory(name)).count()
        };
        let swept = sweep(&bench.disk, &bench.checkpoints, data, |_| None).unwrap();
        bench.shard.take_over(swept.doomed, NOW);
        bench.take_in(Input::Image(Arc::new(image("t", 20))));
        assert_eq!(left(&bench), 20);
        if stops {
            bench.take_in(Input::Stop);
        }
        bench.pass(1_000);
        assert_eq!(left(&bench), if stops { 20 } else { 0 });
        assert_eq!(bench.shard.stopped(), stops.then_some(true));
    }
}

/// Its tombstones failed, so it was read again, and wrote them again.
#[test]
fn a_coordinator_that_cannot_forget_on_a_full_disk_tries_again_at_leisure() {
    let sim = Sim::new(1);
    let mut bench = bench_on(&sim, "__consumer_offsets", 1, 1);
    let places = (0..300).map(|partition| place("gone", partition));
    drop(bench.ask(commit(places, "")));
    sim.fail_next(SimOperation::Write, OFFSETS_LOG, ENOSPC);
    bench.read_again();
    assert_eq!(bench.committed().len(), 300, "it serves");
    let mut effects = Effects::default();
    bench.shard.retain(NOW, &mut effects);
    bench.carry_out(effects);
    assert_eq!(bench.committed(), []);
}

#[test]
fn what_is_forgotten_late_is_what_the_topic_had_that_was_deleted() {
    let sim = Sim::new(1);
    let mut bench = bench_on(&sim, "__consumer_offsets", 1, 1);
    let [old, gone, new] = made_anew(bench.shard.image()).map(Input::Image);
    let places = [place("t", 0), place("t", 1)];
    bench.take_in(old);
    drop(bench.ask(commit(places.clone(), "")));
    // When it is deleted, and when the coordinator is read again because of that.
    for _ in 0..2 {
        sim.fail_next(SimOperation::Write, OFFSETS_LOG, ENOSPC);
    }
    bench.take_in(gone);
    bench.take_in(new);
    assert_eq!(bench.committed(), places, "it serves");
    bench.now.wall.0 += 1;
    drop(bench.ask(commit([place("t", 1)], "")));
    let mut effects = Effects::default();
    bench.shard.retain(bench.now, &mut effects);
    bench.carry_out(effects);
    assert_eq!(bench.committed(), places[1..]);
}

/// It was read as far as it is sound, and answered older offsets, or none, as if they were the last.
#[test]
fn a_coordinator_whose_partition_is_damaged_answers_no_offsets_and_is_not_read() {
    let damages: [fn(&File); 2] = [
        |file| file.truncate(file.length().unwrap() / 2).unwrap(),
        |file| file.write_all_at(16, &[9]).unwrap(),
    ];
    for damage in damages {
        let sim = Sim::new(1);
        let mut former = bench_on(&sim, "__consumer_offsets", 1, 1);
        let commit = || commit([place("__consumer_offsets", 0)], "");
        for _ in 0..2 {
            assert!(former.ask(commit()).try_recv().unwrap().is_ok());
        }
        former.take_in(Input::Stop);
        assert_eq!(former.shard.stopped(), Some(true));
        damage(&former.disk.open(Path::new(OFFSETS_LOG)).unwrap());
        let image = Arc::clone(former.shard.image());
        let mut bench = Bench {
            checkpoints: former.checkpoints,
            partitions: former.partitions,
            ..bench_of_nothing(&sim, 1)
        };
        bench.take_in(Input::Image(image));
        let fetch = GroupCommand::FetchOffsets(FetchOffsets {
            group: "g".into(),
            wanted: OffsetsWanted::ALL,
            require_stable: false,
        });
        for command in [fetch, commit()] {
            let (reply, mut answer) = oneshot::channel();
            let request = GroupRequest {
                partition: bench.partitions[0],
                command,
                reply,
            };
            let input = Input::Command(Command::Group(Box::new(request)));
            let mut effects = Effects::default();
            bench.shard.step(NOW, input, &mut effects);
            bench.shard.flush(NOW, &mut effects);
            let refused = answer.try_recv().unwrap();
            assert_eq!(refused, Err(GroupError::NotCoordinator));
            assert!(effects.jobs.is_empty(), "{:?}", effects.jobs);
        }
    }
}

const LOG: &str = "/data/t-0/00000000000000000000.log";
const OFFSETS_LOG: &str = "/data/__consumer_offsets-0/00000000000000000000.log";
