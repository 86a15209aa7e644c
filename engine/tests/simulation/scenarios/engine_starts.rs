//! The engine as a whole over two log directories, its metadata beside them: starts and stops that end amid.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use millrace_engine::config::TopicDefaults;
use millrace_engine::io::{Clock, Sim, SimClock, SimOperation};
use millrace_engine::metadata::MetadataImage;
use millrace_engine::partition::{Acks, AppendError, Isolation};
use millrace_engine::record::BatchBuilder;
use millrace_engine::shard::Gateway;
use millrace_engine::shard::command::{Command, Fetch, FetchPartition};
use millrace_engine::types::{LeaderEpoch, Offset, Timestamp, TopicIdPartition, TopicName};
use millrace_engine::{EngineOptions, SimulatedEngine, StartError};
use tokio::sync::oneshot;

use crate::clients::{Answer, produce};
use crate::controller::{BROKER, create_topic};

/// A machine, and the engine when it runs.
struct Host {
    sim: Sim,
    clock: Clock,
    hands: SimClock,
    /// Each start draws other random numbers.
    starts: u64,
    engine: Option<SimulatedEngine>,
    /// How many records were acknowledged in each partition.
    stored: i64,
}

impl Host {
    fn new(seed: u64) -> Self {
        let (clock, hands) = Clock::sim(Timestamp(1_700_000_000_000));
        Self {
            sim: Sim::new(seed),
            clock,
            hands,
            starts: 0,
            engine: None,
            stored: 0,
        }
    }

    fn try_start(&mut self) -> Result<(), Box<StartError>> {
        self.starts += 1;
        let started = SimulatedEngine::start(&self.sim, &self.clock, self.starts, &options());
        self.engine = Some(started?);
        Ok(())
    }

    /// Starts in peace.
    fn start(&mut self) {
        self.sim.go_on();
        self.try_start().unwrap();
        self.settle();
    }

    /// Starts, and stands still after so many changes of the disk.
    fn start_amid(&mut self, changes: u64) {
        self.sim.stand_still_after(changes);
        // Whatever it says of a disk that takes nothing any more.
        if self.try_start().is_ok() {
            for _ in 0..TURNS_AMID {
                self.turn();
            }
        }
    }

    fn stop(&mut self) -> bool {
        self.engine.take().unwrap().stop()
    }

    /// The process is killed, or the power fails.
    fn end(&mut self, power_cut: bool) {
        self.engine = None;
        if power_cut {
            self.sim.crash();
        }
    }

    fn turn(&mut self) -> bool {
        self.engine.as_mut().unwrap().turn()
    }

    fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            if !self.turn() {
                return;
            }
        }
        panic!("the engine does not come to rest");
    }

    fn wait_for<T>(&mut self, mut answer: Answer<T>) -> T {
        for _ in 0..SECONDS_MAX {
            self.settle();
            if let Ok(answer) = answer.try_recv() {
                return answer;
            }
            self.hands.advance(Duration::from_secs(1));
        }
        panic!("nobody answers");
    }

    fn gateway(&self) -> Gateway {
        self.engine.as_ref().unwrap().gateway()
    }

    fn image(&self) -> Arc<MetadataImage> {
        Arc::clone(&self.gateway().image())
    }

    fn partitions(&self) -> Vec<TopicIdPartition> {
        let name: TopicName = "t".parse().unwrap();
        let image = self.image();
        let topic = image.topic(&name);
        let of = |topic_id| {
            (0..PARTITIONS).map(move |partition| TopicIdPartition {
                topic_id,
                partition,
            })
        };
        topic.map_or_else(Vec::new, |topic| of(topic.id).collect())
    }

    /// Makes the topic, if it is not there.
    fn make_topic(&mut self) {
        if self.partitions().is_empty() {
            let command = create_topic("t", PARTITIONS, &[], self.starts.into());
            at_once(self.gateway().hand_in(command)).unwrap();
            self.settle();
        }
        for directory in DIRECTORIES {
            let entries = self.sim.disk().list(Path::new(directory)).unwrap();
            let partition = entries.iter().find(|entry| entry.name.starts_with("t-"));
            assert!(partition.is_some(), "{directory} has no partition");
        }
    }

    fn produce(&mut self, id: TopicIdPartition) -> Result<Offset, AppendError> {
        let gateway = self.gateway();
        let mut builder = BatchBuilder::new();
        builder.push(gateway.now().wall, None, Some(b"one of many"), &[]);
        let timeout = Duration::from_secs(60);
        let (command, answer) = produce(id, builder.build(), Acks::All, timeout);
        gateway.try_send(gateway.owner(id), command).unwrap();
        let result = self.wait_for(answer).results.remove(0);
        result.map(|appended| appended.base_offset)
    }

    /// One more record in each partition, durable, behind all that there were.
    fn store(&mut self, blow: &str) {
        for id in self.partitions() {
            let offset = self.produce(id).unwrap();
            assert_eq!(offset, Offset(self.stored), "{blow}: {id:?}");
        }
        self.stored += 1;
    }

    /// Everything that was stored is there.
    fn read(&mut self, blow: &str) {
        let partitions = self.partitions();
        assert!(!partitions.is_empty(), "{blow}: the topic is gone");
        for id in partitions {
            let gateway = self.gateway();
            let (reply, answer) = oneshot::channel();
            let fetch = Fetch {
                id: gateway.next_fetch_id(),
                partitions: vec![FetchPartition {
                    partition: id,
                    offset: Offset::ZERO,
                    bytes_max: 1 << 20,
                    current_leader_epoch: LeaderEpoch::NONE,
                    last_fetched_epoch: LeaderEpoch::NONE,
                    isolation: Isolation::ReadUncommitted,
                }],
                bytes_max: 1 << 20,
                bytes_min: 0,
                deadline: gateway.now().monotonic,
                reply,
            };
            let shard = gateway.owner(id);
            gateway.try_send(shard, Command::Fetch(fetch)).unwrap();
            let fetched = self.wait_for(answer).remove(0).unwrap();
            let ends = (fetched.log_start_offset, fetched.high_watermark);
            assert_eq!(ends, (Offset::ZERO, Offset(self.stored)), "{blow}: {id:?}");
            assert!(fetched.extent.is_some(), "{blow}: {id:?}");
        }
    }

    /// How many of its log directories the broker uses.
    fn directories_in_use(&self) -> usize {
        let image = self.image();
        image.broker(BROKER).unwrap().log_directories.len()
    }
}

fn options() -> EngineOptions {
    let directories = DIRECTORIES.iter().map(PathBuf::from).collect();
    EngineOptions {
        metadata_directory: Some(PathBuf::from("/metadata")),
        shards: Some(2),
        ..EngineOptions::new(directories, TopicDefaults::default())
    }
}

/// What comes of something that has nothing to wait for.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}

/// What the process or the machine dies amid.
#[derive(Clone, Copy, Debug)]
enum Amid {
    TheFirstStart,
    AStart { in_order: bool },
    AStop,
}

fn play(amid: Amid, changes: u64, power_cut: bool) {
    let blow = format!("amid {amid:?}, after {changes} changes, by a power cut: {power_cut}");
    let mut host = Host::new(changes);
    if !matches!(amid, Amid::TheFirstStart) {
        host.start();
        host.make_topic();
        host.store("before");
    }
    match amid {
        Amid::TheFirstStart => host.start_amid(changes),
        Amid::AStart { in_order } => {
            if in_order {
                assert!(host.stop(), "a stop in peace is one in order");
            }
            host.end(false);
            host.start_amid(changes);
        }
        Amid::AStop => {
            host.sim.stand_still_after(changes);
            let in_order = host.stop();
            assert!(in_order || host.sim.stands_still(), "{blow}");
        }
    }
    host.end(power_cut);
    host.start();
    host.make_topic();
    host.store(&blow);
    host.end(true);
    host.start();
    host.read(&blow);
}

#[test]
fn an_engine_that_ended_amid_a_start_or_a_stop_starts_and_has_what_was_acknowledged() {
    for changes in 0..CHANGES_MAX {
        for (place, amid) in (0..).zip([
            Amid::TheFirstStart,
            Amid::AStart { in_order: true },
            Amid::AStart { in_order: false },
            Amid::AStop,
        ]) {
            play(amid, changes, (changes + place) % 2 == 0);
        }
    }
}

#[test]
fn a_log_directory_that_takes_nothing_is_given_up_until_the_next_start() {
    let mut host = Host::new(1);
    host.start();
    host.make_topic();
    host.store("before");
    let image = host.image();
    let directories = image.broker(BROKER).unwrap().log_directories.clone();
    let mut there = host.partitions().into_iter().filter(|id| {
        let partition = image.partition(*id).unwrap();
        partition.directory_of(BROKER) == directories.last().copied()
    });
    let (first, second) = (there.next().unwrap(), there.next().unwrap());
    // The sync of one of its partitions, and what is tried then.
    let log = format!("/two/t-{}/00000000000000000000.log", first.partition);
    host.sim.fail_next(SimOperation::Sync, &log, EIO);
    for shard in 0..2 {
        let probe = format!("/two/.probe-{shard}.tmp");
        host.sim.fail_next(SimOperation::Open, &probe, EIO);
    }
    assert!(host.produce(first).is_err());
    host.settle();
    assert_eq!(host.directories_in_use(), 1);
    let refused = host.produce(second);
    assert!(refused.is_err(), "{refused:?}");
    host.sim.forget_plans();
    host.end(false);
    host.start();
    assert_eq!(host.directories_in_use(), 2);
    assert!(host.produce(second).is_ok());
}

/// All of it was unlinked first.
#[test]
fn a_start_serves_before_it_has_unlinked_what_a_stop_left_of_deleted_topics() {
    let mut host = Host::new(1);
    host.start();
    host.make_topic();
    host.store("before");
    assert!(host.stop());
    let disk = host.sim.disk();
    let left = DIRECTORIES.map(|directory| {
        let left = Path::new(directory).join(OF_A_DELETED_TOPIC);
        disk.create_dir_all(&left).unwrap();
        let log = left.join("00000000000000000000.log");
        disk.write_atomic(&log, b"records").unwrap();
        left
    });
    let are_there = || left.each_ref().map(|left| disk.exists(left).unwrap());
    host.try_start().unwrap();
    assert_eq!(are_there(), [true; 2]);
    host.store("beside them");
    host.hands.advance(Duration::from_secs(1));
    host.settle();
    assert_eq!(are_there(), [false; 2]);
}

const DIRECTORIES: [&str; 2] = ["/one", "/two"];
const OF_A_DELETED_TOPIC: &str = "gone-0.AAAAAAAAAAAAAAAAAAAAAQ-delete";
const PARTITIONS: i32 = 4;
const CHANGES_MAX: u64 = 80;
const TURNS_AMID: usize = 60;
const TURNS_MAX: usize = 20_000;
const SECONDS_MAX: usize = 30;
const EIO: i32 = 5;
