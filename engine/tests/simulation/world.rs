//! The machine with its clients and checkers: one random step after the other.

mod blows;
mod consumers;
mod metadata;
mod offsets;
mod reading;

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use millrace_engine::io::Random;
use millrace_engine::log::ProducerError;
use millrace_engine::maintenance::REPLAY_SLICE_BYTES;
use millrace_engine::partition::{Acks, AppendError};
use millrace_engine::shard::CleanerSettings;
use millrace_engine::shard::command::{Command, DeleteRecords};
use millrace_engine::types::{GenerationId, Offset, Timestamp, TopicIdPartition};
use tokio::sync::oneshot;

use self::metadata::WRITE_CACHING;
use crate::clients::{Deletion, Group, Producer, Reader, produce};
use crate::consumers::Consumer;
use crate::driver::Machine;
use crate::faults::{Step, one_of};
use crate::invariants::acknowledged_survives::Grade;
use crate::invariants::exactly_once::ExactlyOnce;
use crate::invariants::own_records::Message;
use crate::invariants::{Checkers, Verdict};
use crate::topics::{CACHED, COUNTED, OFFSETS, SIFTED, TOPICS, Topic, is_compacted};

pub(crate) struct World {
    pub(crate) machine: Machine,
    pub(crate) random: Random,
    pub(crate) checkers: Checkers,
    /// How many things happened, how many batches were acknowledged and how many blows fell: a quiet simulation proves
    /// nothing.
    pub(crate) steps: u64,
    pub(crate) acknowledged: u64,
    pub(crate) blows: u64,
    pub(crate) stops_in_order: u64,
    /// How often a life ended at a place that a blow had chosen.
    pub(crate) ends_at: HashMap<Step, u64>,
    /// Partitions that a fault took offline.
    pub(crate) offline: u64,
    /// How many times another thing is done before the topic that comes and goes is replaced.
    pub(crate) brief_life: u64,
    /// One of so many rounds amid a death changes the metadata.
    pub(crate) metadata_rest: u64,
    /// The disk is full at times.
    pub(crate) fills_up: bool,
    /// How often `write.caching` of the cached topic was asked to be changed.
    cachings: u64,
    /// How many batches of the cached topic were acknowledged as durable, because it was not cached then.
    pub(crate) uncached: u64,
    /// The journal of this life takes no more.
    journal_failed: bool,
    topics: Vec<Topic>,
    producers: Vec<Producer>,
    readers: Vec<Reader>,
    groups: Vec<Group>,
    consumers: Vec<Consumer>,
    /// Which generation had been shared out when a consumer committed last.
    newest_at_commit: Vec<GenerationId>,
    /// Which incarnation was at work under a consumer's name when it asked last.
    holder_at_ask: Vec<u64>,
    /// How many members ever came without an id.
    incarnations: u64,
    /// The greatest offset that was ever sent for a slot of a group.
    slots_sent: BTreeMap<String, i64>,
    deletions: Vec<Deletion>,
    next_message: u64,
    trace: DefaultHasher,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self::of(seed, &TOPICS)
    }

    /// A machine with these topics only, and that of the offsets.
    pub(crate) fn of(seed: u64, topics: &[Topic]) -> Self {
        let mut random = Random::seeded(seed ^ 0x5eed);
        let shards = 1 + usize::try_from(random.below(2)).unwrap();
        let mut machine = Machine::new(seed, shards);
        machine.sim.let_names_take_room();
        if random.chance(1, 2) {
            // What is reserved for the active segments takes long to fill.
            machine.sim.reserve_nothing_for(&[".log"]);
        }
        for topic in topics {
            machine.create_topic(topic.name, topic.partitions, topic.settings, random.u128());
        }
        let offsets = [
            ("cleanup.policy", "compact"),
            ("min.cleanable.dirty.ratio", "0.01"),
            ("segment.ms", "500"),
            // What marks a deletion goes soon, and what was deleted has to be gone by then.
            ("delete.retention.ms", "300"),
        ];
        machine.create_topic(OFFSETS, 2, &offsets, random.u128());
        machine.set_cleaner(CleanerSettings {
            // Some compactions get through only in part.
            key_memory_bytes: 24 * one_of(&mut random, &[5, 50, 50_000]),
            slice_bytes: one_of(&mut random, &[700, 5_000, 1 << 20]),
            backoff: Duration::from_millis(150),
            ..CleanerSettings::default()
        });
        // Of its own, so that it moves no other choice of the seed.
        let slices = [600, 5_000, REPLAY_SLICE_BYTES];
        machine.replay_slice_bytes = one_of(&mut Random::seeded(seed ^ 0x511ce), &slices);
        machine.start();
        let mut checkers = Checkers::default();
        checkers.metadata.begin(&machine.controller.image).unwrap();
        let mut producers = Vec::new();
        let mut readers = Vec::new();
        for topic in topics {
            for number in 0..topic.partitions {
                let id = i64::try_from(producers.len()).unwrap();
                let writers = [(Acks::All, Some(1_000 + id)), (Acks::Leader, None)];
                for (acks, id) in writers {
                    producers.push(Producer::new(topic.name, number, acks, id));
                }
            }
            producers.push(Producer::new(topic.name, 0, Acks::None, None));
            producers.push(Producer::new(topic.name, 0, Acks::All, None));
            readers.push(Reader {
                topic: topic.name,
                positions: Vec::new(),
                pending: None,
            });
        }
        let groups = (0..3).map(|number| Group {
            name: format!("group-{number}"),
            sent: -1,
            pending: None,
        });
        let mut world = Self {
            machine,
            random,
            checkers,
            steps: 0,
            acknowledged: 0,
            blows: 0,
            stops_in_order: 0,
            ends_at: HashMap::new(),
            offline: 0,
            brief_life: 6,
            metadata_rest: 10,
            fills_up: true,
            cachings: 0,
            uncached: 0,
            journal_failed: false,
            topics: topics.to_vec(),
            producers,
            readers,
            groups: groups.collect(),
            consumers: Self::consumers(),
            newest_at_commit: Vec::new(),
            holder_at_ask: Vec::new(),
            incarnations: 0,
            slots_sent: BTreeMap::new(),
            deletions: Vec::new(),
            next_message: 0,
            trace: DefaultHasher::new(),
        };
        world.newest_at_commit = world.no_generations();
        world.holder_at_ask = vec![0; world.consumers.len()];
        world
    }

    /// A number that stands for all that happened.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut trace = self.trace.clone();
        (self.machine.sim.fingerprint(), self.random.clone().u64()).hash(&mut trace);
        trace.finish()
    }

    /// How many batches were refused because they found no room.
    pub(crate) fn refused(&self) -> u64 {
        self.producers.iter().map(|producer| producer.refused).sum()
    }

    /// Something happens.
    pub(crate) fn step(&mut self) -> Verdict {
        self.steps += 1;
        let index = self.below(self.machine.shard_count);
        let kind = self.random.below(100);
        kind.hash(&mut self.trace);
        match kind {
            0..=31 | 37 if self.topics.is_empty() => self.use_consumer(),
            0..=21 => self.produce(),
            22..=31 => self.read(),
            32..=34 => self.use_group(),
            35..=36 => self.use_consumer(),
            37 => self.delete_records(),
            38 if self.random.chance(1, self.brief_life) => self.replace_brief()?,
            38 => self.change_metadata()?,
            39..=40 => self.machine.publish(index),
            41..=58 => self.machine.flush(index),
            59..=74 => self.machine.reap(index),
            75..=84 => self.machine.run_job(&mut self.random),
            85..=92 => self.machine.deliver(index),
            93 if self.fills_up => self.change_disk_size(),
            _ => {
                let time = Duration::from_micros(self.random.below(60_000));
                self.machine.pass(time);
            }
        }
        self.hear()
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.random.below(end as u64)).unwrap()
    }

    fn produce(&mut self) {
        let index = self.below(self.producers.len());
        let now = self.machine.now().wall;
        let producer = &mut self.producers[index];
        let Some(id) = self.machine.partition(producer.topic, producer.number) else {
            return;
        };
        if producer.target != Some(id) {
            producer.outstanding.clear();
            producer.next_sequence = 0;
            producer.target = Some(id);
        }
        let all_heard = producer.hear();
        let failed = producer
            .outstanding
            .iter()
            .any(|sent| matches!(sent.result, Some(Err(_))));
        if failed && !all_heard {
            return;
        }
        if failed {
            // All of them again, in order; what was done the first time is answered as it was then.
            for place in 0..producer.outstanding.len() {
                self.send(index, place, id);
            }
        } else if producer.outstanding.len() < producer.in_flight_max() {
            let count = 1 + self.random.below(4);
            let ids = (0..count).map(|number| self.next_message + number);
            let sent = producer.prepare(ids.collect(), now);
            self.next_message += count;
            producer.outstanding.push_back(sent);
            let place = self.producers[index].outstanding.len() - 1;
            self.send(index, place, id);
        }
    }

    fn send(&mut self, index: usize, place: usize, id: TopicIdPartition) {
        let producer = &mut self.producers[index];
        let records = producer.batch(&producer.outstanding[place]);
        let timeout = Duration::from_millis(100 + self.random.below(2_000));
        let (command, answer) = produce(id, records, producer.acks, timeout);
        let sent = &mut producer.outstanding[place];
        if is_compacted(producer.topic) {
            self.checkers.compacted.sent(id, &sent.ids);
        }
        let message = Message {
            partition: id,
            producer: index,
            topic: producer.topic,
            timestamp: sent.timestamp,
        };
        self.checkers.own.sent(&sent.ids, message);
        sent.alone = place == 0;
        sent.sendings += 1;
        sent.cachings = self.cachings;
        sent.result = None;
        sent.answer = Some(answer);
        self.machine.send(id, command);
    }

    fn hear(&mut self) -> Verdict {
        for index in 0..self.producers.len() {
            self.hear_producer(index)?;
        }
        for index in 0..self.readers.len() {
            self.hear_reader(index)?;
        }
        for index in 0..self.groups.len() {
            self.hear_group(index)?;
        }
        self.hear_consumers()?;
        let checkers = &mut self.checkers;
        self.deletions
            .retain_mut(|deletion| match deletion.answer.try_recv() {
                Ok(results) => {
                    if let Ok(start) = results[0] {
                        checkers.deleted.deleted(deletion.partition, start);
                    }
                    false
                }
                Err(oneshot::error::TryRecvError::Empty) => true,
                Err(oneshot::error::TryRecvError::Closed) => false,
            });
        Ok(())
    }

    fn hear_producer(&mut self, index: usize) -> Verdict {
        let producer = &mut self.producers[index];
        let all_heard = producer.hear();
        let Some(id) = producer.target else {
            return Ok(());
        };
        // Acknowledged in order; one behind a failed one keeps its answer until that is sent again.
        while let Some(Ok(appended)) = producer
            .outstanding
            .front()
            .and_then(|sent| sent.result.as_ref())
        {
            let base = appended.base_offset;
            let Some(sent) = producer.outstanding.pop_front() else {
                break;
            };
            let uncached = producer.topic == CACHED
                && producer.acks == Acks::All
                && !self.machine.is_set(CACHED, WRITE_CACHING, "true")
                && sent.cachings == self.cachings
                // One that was sent before may be answered as what it was then.
                && sent.sendings == 1;
            self.uncached += u64::from(uncached);
            (index, base, &sent.ids).hash(&mut self.trace);
            let grade = match producer.acks {
                Acks::None => continue,
                _ if uncached => Grade::Power,
                Acks::All if producer.topic != CACHED => Grade::Power,
                Acks::Leader if producer.topic == COUNTED => Grade::Power,
                Acks::Leader | Acks::All => Grade::Process,
            };
            self.acknowledged += 1;
            let checkers = &mut self.checkers;
            checkers.order.acknowledged(id, index, base, grade)?;
            if is_compacted(producer.topic) {
                checkers
                    .compacted
                    .acknowledged(id, base, grade, &sent.ids)?;
            } else {
                checkers
                    .acknowledged
                    .acknowledged(id, base, grade, &sent.ids, sent.timestamp)?;
            }
        }
        if !all_heard {
            return Ok(());
        }
        if producer.identity.is_none() {
            producer.outstanding.clear();
            return Ok(());
        }
        let Some(front) = producer.outstanding.front() else {
            return Ok(());
        };
        if front.alone
            && matches!(
                front.result,
                Some(Err(AppendError::Producer(
                    ProducerError::OutOfOrderSequence { .. }
                )))
            )
        {
            if producer.topic != CACHED {
                return ExactlyOnce::out_of_order(producer.topic, id, &front.ids);
            }
            // The power cut took what came before.
            producer.bump_epoch();
        }
        Ok(())
    }

    fn delete_records(&mut self) {
        // Of compacted topics nothing may be deleted.
        let topic = one_of(&mut self.random, &self.topics);
        if is_compacted(topic.name) {
            return;
        }
        let Some(id) = self.machine.partition(topic.name, 0) else {
            return;
        };
        // A little behind what its reader has seen, so that there is something left to check.
        let seen = self
            .readers
            .iter()
            .flat_map(|reader| &reader.positions)
            .find(|(of, _)| *of == id);
        let back = i64::try_from(self.random.below(40)).unwrap();
        let offset = seen.map_or(Offset::ZERO, |(_, next)| Offset((next.0 - back).max(0)));
        self.checkers.deleted.asked(id, offset);
        let (reply, answer) = oneshot::channel();
        self.deletions.push(Deletion {
            partition: id,
            answer,
        });
        let delete = DeleteRecords {
            partitions: vec![(id, Some(offset))],
            reply,
        };
        self.machine.send(id, Command::DeleteRecords(delete));
    }

    fn change_disk_size(&mut self) {
        let size = if self.random.chance(1, 2) {
            1 << 40
        } else {
            self.machine.used_bytes() + self.random.below(40_000)
        };
        self.machine.sim.set_capacity_bytes(size);
    }

    pub(crate) fn is_cached(&self, partition: TopicIdPartition) -> bool {
        self.machine.partition(CACHED, 0) == Some(partition)
    }

    /// Of a topic with retention: records from before that may be gone.
    pub(crate) fn kept_from(&self, partition: TopicIdPartition) -> Option<Timestamp> {
        let now = self.machine.now().wall;
        self.topics.iter().find_map(|topic| {
            let limit: i64 = topic.setting("retention.ms")?.parse().unwrap();
            let mut numbers = 0..topic.partitions;
            numbers
                .any(|number| self.machine.partition(topic.name, number) == Some(partition))
                .then_some(Timestamp(now.0 - limit))
        })
    }

    fn is_compacted(&self, partition: TopicIdPartition) -> bool {
        let mut compacted = self.topics.iter().filter(|topic| is_compacted(topic.name));
        compacted.any(|topic| self.machine.partition(topic.name, 0) == Some(partition))
    }

    /// Whether a delete marker of it goes after a while.
    fn loses_markers(&self, partition: TopicIdPartition) -> bool {
        self.machine.partition(SIFTED, 0) == Some(partition)
    }
}

const ANSWER_ROUNDS_MAX: usize = 5_000;
