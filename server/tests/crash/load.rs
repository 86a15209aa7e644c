//! What the broker is busy with while it is killed: producers of three kinds and a consuming group.
//!
//! Nobody here judges; everything that clients were told is kept for the ledger.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::BaseRecord;
use rdkafka::{Message, Offset, TopicPartitionList};

use crate::support::broker::Broker;
use crate::support::librdkafka::{Sender, consumer};
use crate::support::{PATIENCE, eventually};

/// Partitions of each topic.
pub(crate) const PARTITIONS: i32 = 4;
/// The consuming group.
pub(crate) const GROUP: &str = "workers";
/// Its members.
const MEMBERS: usize = 2;
/// Records a producer has under way at most: enough for batches, not for minutes of catching up.
const UNDER_WAY_MAX: usize = 400;
/// Records after which a producer counts as at work.
const AT_WORK_COUNT: u64 = 100;
/// Makes segments roll.
const PADDING: &str = "................................................................................\
    ................................................................................";

/// How a producer asks for acknowledgement, and the topic it writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// Idempotent, acks=all.
    Idempotent,
    /// acks=all; a retry may double a record.
    All,
    /// acks=1; a retry may double a record.
    Leader,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Idempotent, Self::All, Self::Leader];

    pub(crate) fn topic(self) -> &'static str {
        match self {
            Self::Idempotent => "idempotent",
            Self::All => "acks-all",
            Self::Leader => "acks-1",
        }
    }

    fn of_topic(topic: &str) -> Self {
        let kind = Self::ALL.into_iter().find(|kind| kind.topic() == topic);
        kind.unwrap_or_else(|| panic!("{topic} is not a topic of this test"))
    }

    fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Idempotent => &[("enable.idempotence", "true"), ("message.timeout.ms", "0")],
            Self::All => &[("acks", "all"), ("message.timeout.ms", "0")],
            Self::Leader => &[("acks", "1"), ("message.timeout.ms", "0")],
        }
    }
}

/// One partition of one of the topics.
pub(crate) type Place = (Kind, i32);

/// What clients were told.
#[derive(Default)]
pub(crate) struct Told {
    /// Acknowledged records: where, at which offset, and the number in them.
    pub(crate) acknowledged: Vec<(Place, i64, usize)>,
    /// Records that members of the group got.
    pub(crate) seen: Vec<(Place, i64, usize)>,
    /// The largest offset whose commit was acknowledged.
    pub(crate) committed: BTreeMap<Place, i64>,
    /// Acknowledged commits.
    pub(crate) commits: u64,
    /// Acknowledged records of each kind, all in all.
    counts: BTreeMap<Kind, u64>,
}

/// Producers and members at work.
pub(crate) struct Load {
    told: Arc<Mutex<Told>>,
    producing: Arc<AtomicBool>,
    consuming: Arc<AtomicBool>,
    sent: HashMap<Kind, Arc<AtomicUsize>>,
    reached: Arc<Mutex<BTreeMap<Place, i64>>>,
    producers: Mutex<Vec<JoinHandle<()>>>,
    members: Mutex<Vec<JoinHandle<()>>>,
}

impl Load {
    /// Sets everyone to work.
    pub(crate) fn start(broker: &Broker) -> Self {
        let load = Self {
            told: Arc::default(),
            producing: Arc::new(AtomicBool::new(true)),
            consuming: Arc::new(AtomicBool::new(true)),
            sent: Kind::ALL.map(|kind| (kind, Arc::default())).into(),
            reached: Arc::default(),
            producers: Mutex::default(),
            members: Mutex::default(),
        };
        for kind in Kind::ALL {
            let producer = Producer {
                kind,
                sender: Sender::new(broker, kind.settings()),
                told: Arc::clone(&load.told),
                sent: Arc::clone(&load.sent[&kind]),
            };
            let producing = Arc::clone(&load.producing);
            locked(&load.producers).push(std::thread::spawn(move || producer.work(&producing)));
        }
        for _ in 0..MEMBERS {
            let consumer = consumer(broker, GROUP, &[("session.timeout.ms", "10000")]);
            let topics: Vec<&str> = Kind::ALL.iter().map(|kind| kind.topic()).collect();
            consumer.subscribe(&topics).expect("a subscription");
            let member = Member {
                consumer,
                told: Arc::clone(&load.told),
                reached: Arc::clone(&load.reached),
            };
            let consuming = Arc::clone(&load.consuming);
            locked(&load.members).push(std::thread::spawn(move || member.work(&consuming)));
        }
        load
    }

    /// Takes what clients were told since this was last asked. Commits accumulate.
    pub(crate) fn take_told(&self) -> Told {
        let mut told = locked(&self.told);
        let committed = told.committed.clone();
        let counts = told.counts.clone();
        let commits = told.commits;
        std::mem::replace(
            &mut *told,
            Told {
                committed,
                commits,
                counts,
                ..Told::default()
            },
        )
    }

    /// Waits until clients have found the broker again: every producer was acknowledged some records, the group a commit.
    pub(crate) fn wait_until_all_are_at_work(&self) {
        let now = || {
            let told = locked(&self.told);
            (told.counts.clone(), told.commits)
        };
        let (counts, commits) = now();
        eventually("all clients to be at work again", || {
            let (counts_now, commits_now) = now();
            let producing = Kind::ALL.iter().all(|kind| {
                let before = counts.get(kind).copied().unwrap_or(0);
                counts_now
                    .get(kind)
                    .is_some_and(|now| *now >= before + AT_WORK_COUNT)
            });
            (producing && commits_now > commits).then_some(())
        });
    }

    /// Ends the producers once all they sent is acknowledged.
    pub(crate) fn stop_sending(&self) {
        self.producing.store(false, Ordering::SeqCst);
        for producer in std::mem::take(&mut *locked(&self.producers)) {
            producer
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    }

    /// How many records of the kind were sent, all of them acknowledged once sending has stopped.
    pub(crate) fn sent(&self, kind: Kind) -> usize {
        self.sent[&kind].load(Ordering::SeqCst)
    }

    /// Waits until the group got every record, and ends its members.
    pub(crate) fn wait_until_everything_is_consumed(&self, ends: &BTreeMap<Place, i64>) {
        let deadline = Instant::now() + 2 * PATIENCE;
        loop {
            let reached = locked(&self.reached).clone();
            let behind: Vec<_> = ends
                .iter()
                .map(|(place, end)| (place, end - reached.get(place).copied().unwrap_or(0)))
                .filter(|(_, missing)| *missing > 0)
                .collect();
            if behind.is_empty() {
                break;
            }
            assert!(
                Instant::now() < deadline,
                "the group does not get to the end: {behind:?}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        self.consuming.store(false, Ordering::SeqCst);
        for member in std::mem::take(&mut *locked(&self.members)) {
            member
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    }
}

/// Sends numbered records and keeps what is acknowledged.
struct Producer {
    kind: Kind,
    sender: Sender,
    told: Arc<Mutex<Told>>,
    sent: Arc<AtomicUsize>,
}

impl Producer {
    fn work(&self, producing: &AtomicBool) {
        let mut acknowledged = 0;
        while producing.load(Ordering::SeqCst) {
            let number = self.sent.load(Ordering::SeqCst);
            if number - acknowledged < UNDER_WAY_MAX {
                self.send(number);
                self.sent.store(number + 1, Ordering::SeqCst);
            } else {
                std::thread::sleep(Duration::from_millis(1));
            }
            acknowledged += self.keep(self.sender.take_reported());
        }
        self.keep(self.sender.finish());
    }

    fn send(&self, number: usize) {
        let value = format!("{number} {PADDING}");
        let partition = i32::try_from(number).unwrap_or(0) % PARTITIONS;
        let record = BaseRecord::with_opaque_to(self.kind.topic(), number)
            .partition(partition)
            .payload(value.as_bytes());
        self.sender
            .send(record)
            .unwrap_or_else(|error| panic!("{:?}: {error}", self.kind));
    }

    fn keep(&self, reported: Vec<(usize, crate::support::librdkafka::Delivery)>) -> usize {
        let count = reported.len();
        let mut told = locked(&self.told);
        *told.counts.entry(self.kind).or_default() += u64::try_from(count).unwrap_or(0);
        for (number, delivery) in reported {
            let (partition, offset) = delivery
                .unwrap_or_else(|error| panic!("{:?} record {number} failed: {error}", self.kind));
            told.acknowledged
                .push(((self.kind, partition), offset, number));
        }
        count
    }
}

/// Reads, and commits what it read.
struct Member {
    consumer: BaseConsumer,
    told: Arc<Mutex<Told>>,
    /// Where the group is, the furthest member per partition.
    reached: Arc<Mutex<BTreeMap<Place, i64>>>,
}

impl Member {
    fn work(&self, consuming: &AtomicBool) {
        let mut uncommitted = 0;
        let mut committed_at = Instant::now();
        while consuming.load(Ordering::SeqCst) {
            // Errors are the kills; librdkafka goes on by itself.
            if let Some(Ok(message)) = self.consumer.poll(Duration::from_millis(20)) {
                let place = (Kind::of_topic(message.topic()), message.partition());
                let number = number_in(message.payload().unwrap_or_default());
                locked(&self.told)
                    .seen
                    .push((place, message.offset(), number));
                let mut reached = locked(&self.reached);
                let next = reached.entry(place).or_default();
                *next = (*next).max(message.offset() + 1);
                uncommitted += 1;
            }
            let due = committed_at.elapsed() > Duration::from_millis(50);
            if uncommitted > 0 && due {
                self.commit();
                uncommitted = 0;
                committed_at = Instant::now();
            }
        }
    }

    fn commit(&self) {
        let Ok(position) = self.consumer.position() else {
            return;
        };
        let mut offsets = TopicPartitionList::new();
        let mut places = Vec::new();
        for element in position.elements() {
            if let Offset::Offset(offset) = element.offset() {
                let added = offsets.add_partition_offset(
                    element.topic(),
                    element.partition(),
                    Offset::Offset(offset),
                );
                added.expect("a partition in the list");
                places.push((
                    (Kind::of_topic(element.topic()), element.partition()),
                    offset,
                ));
            }
        }
        if places.is_empty() || self.consumer.commit(&offsets, CommitMode::Sync).is_err() {
            return;
        }
        let mut told = locked(&self.told);
        told.commits += 1;
        for (place, offset) in places {
            let largest = told.committed.entry(place).or_default();
            *largest = (*largest).max(offset);
        }
    }
}

/// The number a record's value begins with.
pub(crate) fn number_in(value: &[u8]) -> usize {
    let text = String::from_utf8_lossy(value);
    let number = text.split(' ').next().and_then(|word| word.parse().ok());
    number.unwrap_or_else(|| panic!("{text:?} does not begin with a number"))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
