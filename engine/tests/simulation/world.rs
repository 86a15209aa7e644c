//! The machine with its clients and checkers: one random step after the other.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use bytes::Bytes;
use millrace_engine::group::{
    CommitOffsets, FetchOffsets, GroupCommand, GroupId, GroupReply, MemberId, OffsetToCommit,
    partition_for,
};
use millrace_engine::io::Random;
use millrace_engine::log::ProducerError;
use millrace_engine::partition::{Acks, AppendError, Isolation, ReadError, Unavailable};
use millrace_engine::record::{BATCH_HEADER_LENGTH, BatchHeader, check_crc, records};
use millrace_engine::shard::CleanerSettings;
use millrace_engine::shard::command::{
    Command, DeleteRecords, Fetch, FetchPartition, Fetched, GroupRequest, Produce, ProducePartition,
};
use millrace_engine::types::{GenerationId, LeaderEpoch, Offset, TopicIdPartition, TopicPartition};
use tokio::sync::oneshot;

use crate::clients::{Answer, DISTILLED, Deletion, Group, PendingFetch, Producer, Reader, id_of};
use crate::driver::Machine;
use crate::faults::{Blow, one_of};
use crate::invariants::acknowledged_survives::Grade;
use crate::invariants::exactly_once::ExactlyOnce;
use crate::invariants::{
    Checkers, Reading, Readings, SeenBatch, Verdict, Violation, everyone_is_answered,
};

pub(crate) struct World {
    pub(crate) machine: Machine,
    pub(crate) random: Random,
    pub(crate) checkers: Checkers,
    /// How many batches were acknowledged and how many blows fell: a quiet simulation proves nothing.
    pub(crate) acknowledged: u64,
    pub(crate) blows: u64,
    pub(crate) stops_in_order: u64,
    /// Partitions that a fault took offline.
    pub(crate) offline: u64,
    producers: Vec<Producer>,
    readers: Vec<Reader>,
    groups: Vec<Group>,
    deletions: Vec<Deletion>,
    next_message: u64,
    trace: DefaultHasher,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::seeded(seed ^ 0x5eed);
        let shards = 1 + usize::try_from(random.below(2)).unwrap();
        let mut machine = Machine::new(seed, shards);
        for topic in &TOPICS {
            machine.create_topic(topic.name, topic.partitions, topic.settings, random.u128());
        }
        let offsets = [
            ("cleanup.policy", "compact"),
            ("min.cleanable.dirty.ratio", "0.01"),
            ("segment.ms", "500"),
        ];
        machine.create_topic(OFFSETS, 2, &offsets, random.u128());
        machine.set_cleaner(CleanerSettings {
            // Some compactions get through only in part.
            key_memory_bytes: 24 * one_of(&mut random, &[5, 50, 50_000]),
            slice_bytes: one_of(&mut random, &[700, 5_000, 1 << 20]),
            backoff: Duration::from_millis(150),
            ..CleanerSettings::default()
        });
        machine.start();
        let mut producers = Vec::new();
        let mut readers = Vec::new();
        for topic in &TOPICS {
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
        Self {
            machine,
            random,
            checkers: Checkers::default(),
            acknowledged: 0,
            blows: 0,
            stops_in_order: 0,
            offline: 0,
            producers,
            readers,
            groups: groups.collect(),
            deletions: Vec::new(),
            next_message: 0,
            trace: DefaultHasher::new(),
        }
    }

    /// A number that stands for all that happened.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut trace = self.trace.clone();
        (self.machine.sim.fingerprint(), self.random.clone().u64()).hash(&mut trace);
        trace.finish()
    }

    /// Something happens.
    pub(crate) fn step(&mut self) -> Verdict {
        let index = self.below(self.machine.shard_count);
        let kind = self.random.below(100);
        kind.hash(&mut self.trace);
        match kind {
            0..=21 => self.produce(),
            22..=31 => self.read(),
            32..=36 => self.use_group(),
            37 => self.delete_records(),
            38 if self.random.chance(1, 6) => self.replace_brief(),
            39..=40 => self.machine.publish(index),
            41..=58 => self.machine.flush(index),
            59..=74 => self.machine.reap(index),
            75..=84 => self.machine.run_job(&mut self.random),
            85..=92 => self.machine.deliver(index),
            93 if self.random.chance(1, 20) => self.change_disk_size(),
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
        let (reply, answer) = oneshot::channel();
        let producer = &mut self.producers[index];
        let records = producer.batch(&producer.outstanding[place]);
        let sent = &mut producer.outstanding[place];
        sent.alone = place == 0;
        sent.result = None;
        sent.answer = Some(answer);
        let entry = ProducePartition {
            partition: id,
            records,
            zstd_allowed: true,
        };
        let produce = Produce {
            partitions: vec![entry],
            acks: producer.acks,
            timeout: Duration::from_millis(100 + self.random.below(2_000)),
            reply,
        };
        self.machine.send(id, Command::Produce(produce));
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
            (index, base, &sent.ids).hash(&mut self.trace);
            let grade = match producer.acks {
                Acks::None => continue,
                Acks::All if producer.topic != CACHED => Grade::Power,
                Acks::Leader if producer.topic == COUNTED => Grade::Power,
                Acks::Leader | Acks::All => Grade::Process,
            };
            self.acknowledged += 1;
            let checkers = &mut self.checkers;
            if producer.topic == DISTILLED {
                checkers
                    .compacted
                    .acknowledged(id, base, grade, &sent.ids)?;
            } else {
                checkers
                    .acknowledged
                    .acknowledged(id, base, grade, &sent.ids)?;
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

    fn read(&mut self) {
        let index = self.below(self.readers.len());
        let topic = self.readers[index].topic;
        if self.readers[index].pending.is_some() {
            return;
        }
        if topic == DISTILLED && self.random.chance(1, 6) {
            // A consumer that begins at the beginning, whatever goes on.
            self.readers[index].positions.clear();
        }
        let mut by_shard: BTreeMap<usize, Vec<(TopicIdPartition, Offset)>> = BTreeMap::new();
        for number in 0..4 {
            let Some(id) = self.machine.partition(topic, number) else {
                continue;
            };
            let positions = &mut self.readers[index].positions;
            let known = positions.iter().find(|(known, _)| *known == id).copied();
            let position = known.unwrap_or_else(|| {
                positions.push((id, Offset::ZERO));
                (id, Offset::ZERO)
            });
            let owner = millrace_engine::shard::shard_of(id, self.machine.shard_count);
            by_shard.entry(owner.0).or_default().push(position);
        }
        let shards: Vec<usize> = by_shard.keys().copied().collect();
        if shards.is_empty() {
            return;
        }
        let shard = one_of(&mut self.random, &shards);
        let asked = by_shard.remove(&shard).unwrap_or_default();
        let bytes_max = 1 + self.random.below(20_000);
        let bytes_min = one_of(&mut self.random, &[0, 1, 1, 3_000]);
        let wait = Duration::from_millis(self.random.below(500));
        let answer = self.fetch(&asked, bytes_max, bytes_min, wait);
        self.readers[index].pending = Some(PendingFetch { asked, answer });
    }

    fn fetch(
        &mut self,
        asked: &[(TopicIdPartition, Offset)],
        bytes_max: u64,
        bytes_min: u64,
        wait: Duration,
    ) -> Answer<Vec<Result<Fetched, ReadError>>> {
        let partition_bytes_max = 1 + self.random.below(10_000);
        let partitions = asked.iter().map(|(partition, offset)| FetchPartition {
            partition: *partition,
            offset: *offset,
            bytes_max: partition_bytes_max,
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
            deadline: self.machine.now().monotonic.after(wait),
            reply,
        };
        self.machine.send(asked[0].0, Command::Fetch(fetch));
        answer
    }

    fn hear_reader(&mut self, index: usize) -> Verdict {
        let Some(pending) = &mut self.readers[index].pending else {
            return Ok(());
        };
        let results = match pending.answer.try_recv() {
            Ok(results) => results,
            Err(oneshot::error::TryRecvError::Empty) => return Ok(()),
            Err(oneshot::error::TryRecvError::Closed) => {
                self.readers[index].pending = None;
                return Ok(());
            }
        };
        let Some(pending) = self.readers[index].pending.take() else {
            return Ok(());
        };
        let mut first = true;
        for ((partition, offset), result) in pending.asked.into_iter().zip(results) {
            let next = self.take_answer(partition, offset, result, &mut first)?;
            let positions = &mut self.readers[index].positions;
            if let Some(position) = positions.iter_mut().find(|(of, _)| *of == partition) {
                position.1 = next;
            }
        }
        Ok(())
    }

    /// Checks one partition of an answer; says where to read on.
    fn take_answer(
        &mut self,
        partition: TopicIdPartition,
        offset: Offset,
        result: Result<Fetched, ReadError>,
        first: &mut bool,
    ) -> Result<Offset, Violation> {
        match result {
            Ok(fetched) => {
                self.checkers
                    .watermark
                    .observe(partition, fetched.high_watermark)?;
                self.checkers
                    .deleted
                    .observe(partition, fetched.log_start_offset)?;
                let gaps = self.is_compacted(partition);
                let batches = self.batches(&fetched, offset, *first, gaps);
                *first &= fetched.extent.is_none();
                let mut next = offset;
                for batch in batches {
                    assert!(
                        batch.next <= fetched.high_watermark,
                        "{batch:?} {fetched:?}"
                    );
                    if self.is_compacted(partition) {
                        self.checkers.compacted.observe(partition, &batch)?;
                    } else {
                        self.checkers.visible.observe(partition, &batch)?;
                    }
                    self.checkers.once.observe(partition, &batch)?;
                    (partition, &batch.ids).hash(&mut self.trace);
                    next = batch.next;
                }
                Ok(next)
            }
            Err(ReadError::OutOfRange {
                log_start_offset,
                high_watermark,
                ..
            }) => {
                if offset > high_watermark && !self.is_cached(partition) {
                    return Err(Violation {
                        invariant: "INV-HW-1",
                        text: format!(
                            "{partition:?}: was read to {offset}, ends at {high_watermark}"
                        ),
                    });
                }
                Ok(log_start_offset)
            }
            Err(ReadError::Unavailable(_) | ReadError::Storage) => Ok(offset),
        }
    }

    /// The whole batches of an answer.
    fn batches(
        &self,
        fetched: &Fetched,
        offset: Offset,
        first: bool,
        gaps: bool,
    ) -> Vec<SeenBatch> {
        let Some(extent) = &fetched.extent else {
            return Vec::new();
        };
        let mut bytes = vec![0; usize::try_from(extent.length).unwrap()];
        if extent
            .file
            .read_exact_at(extent.position, &mut bytes)
            .is_err()
        {
            return Vec::new();
        }
        let bytes = Bytes::from(bytes);
        let mut found: Vec<SeenBatch> = Vec::new();
        let mut position = 0;
        while bytes.len() - position >= BATCH_HEADER_LENGTH {
            let header = BatchHeader::parse(&bytes[position..]).unwrap();
            let end = position + header.length_bytes();
            if end > bytes.len() {
                break;
            }
            let batch = bytes.slice(position..end);
            check_crc(&batch).unwrap();
            found.push(seen(&header, &batch));
            position = end;
        }
        if first {
            let whole = found.first();
            assert!(
                whole.is_some_and(|batch| (gaps || batch.base <= offset) && offset < batch.next),
                "the first batch of an answer is whole and holds {offset}: {whole:?}"
            );
        }
        found
    }

    fn use_group(&mut self) {
        let index = self.below(self.groups.len());
        let group = &mut self.groups[index];
        let number = partition_for(&group.name, 2);
        let Some(id) = self.machine.partition(OFFSETS, number) else {
            return;
        };
        if group.pending.is_some() {
            return;
        }
        let place = TopicPartition {
            topic: STEADY.parse().unwrap(),
            partition: 0,
        };
        let name = GroupId::from(group.name.as_str());
        let (command, committing) = if self.random.chance(2, 3) {
            group.sent += 1;
            let offset = OffsetToCommit {
                partition: place,
                offset: Offset(group.sent),
                leader_epoch: LeaderEpoch::NONE,
                metadata: "".into(),
            };
            let commit = CommitOffsets {
                group: name,
                member_id: MemberId::from(""),
                instance_id: None,
                generation: GenerationId(-1),
                retention_ms: None,
                offsets: vec![offset],
            };
            (GroupCommand::CommitOffsets(commit), Some(group.sent))
        } else {
            let fetch = FetchOffsets {
                group: name,
                partitions: Some(vec![place]),
                require_stable: false,
            };
            (GroupCommand::FetchOffsets(fetch), None)
        };
        let (reply, answer) = oneshot::channel();
        group.pending = Some((committing, answer));
        let request = GroupRequest {
            partition: id,
            command,
            reply,
        };
        self.machine.send(id, Command::Group(Box::new(request)));
    }

    fn hear_group(&mut self, index: usize) -> Verdict {
        let group = &mut self.groups[index];
        let Some((committing, answer)) = &mut group.pending else {
            return Ok(());
        };
        let committing = *committing;
        let answer = match answer.try_recv() {
            Ok(answer) => Some(answer),
            Err(oneshot::error::TryRecvError::Empty) => return Ok(()),
            Err(oneshot::error::TryRecvError::Closed) => None,
        };
        group.pending = None;
        match (answer, committing) {
            (Some(Ok(GroupReply::OffsetsCommitted(results))), Some(offset))
                if results.iter().all(Result::is_ok) =>
            {
                self.checkers.groups.committed(&group.name, offset);
            }
            (Some(Ok(GroupReply::OffsetsFetched(offsets))), None) => {
                let found = offsets[0].offset.0;
                (index, found).hash(&mut self.trace);
                self.checkers
                    .groups
                    .fetched(&group.name, found, group.sent)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn delete_records(&mut self) {
        // Of compacted topics nothing may be deleted.
        let topic = one_of(&mut self.random, &TOPICS[..5]);
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

    /// The topic is deleted and made again by the same name, or only one of the two.
    fn replace_brief(&mut self) {
        if let Some(id) = self.machine.partition(BRIEF, 0) {
            self.machine.delete_topic(BRIEF);
            self.checkers.forget(id);
            self.deletions.retain(|deletion| deletion.partition != id);
            for producer in self.producers.iter_mut().filter(|one| one.topic == BRIEF) {
                producer.outstanding.clear();
                producer.target = None;
            }
            for reader in self.readers.iter_mut().filter(|one| one.topic == BRIEF) {
                reader.pending = None;
                reader.positions.clear();
            }
            if self.random.chance(1, 2) {
                return;
            }
        }
        let random = self.random.u128();
        let brief = TOPICS.iter().find(|topic| topic.name == BRIEF).unwrap();
        self.machine.create_topic(BRIEF, 1, brief.settings, random);
    }

    fn change_disk_size(&mut self) {
        let size = if self.random.chance(1, 2) {
            1 << 40
        } else {
            200_000 + self.random.below(400_000)
        };
        self.machine.sim.set_capacity_bytes(size);
    }

    pub(crate) fn is_cached(&self, partition: TopicIdPartition) -> bool {
        self.machine.partition(CACHED, 0) == Some(partition)
    }

    fn is_compacted(&self, partition: TopicIdPartition) -> bool {
        let distilled = |number| self.machine.partition(DISTILLED, number);
        (0..2).any(|number| distilled(number) == Some(partition))
    }

    pub(crate) fn power_failed(&mut self) {
        let cached: Vec<TopicIdPartition> = self.machine.partition(CACHED, 0).into_iter().collect();
        self.checkers.power_failed(&cached);
        for reader in &mut self.readers {
            for position in &mut reader.positions {
                if cached.contains(&position.0) {
                    position.1 = Offset::ZERO;
                }
            }
        }
    }

    /// Lets the machine do all that it was given.
    pub(crate) fn come_to_rest(&mut self) {
        for _ in 0..ANSWER_ROUNDS_MAX {
            if self.machine.is_idle() {
                return;
            }
            self.machine.pump(&mut self.random);
        }
    }

    /// Ends the broker's life one way or another.
    pub(crate) fn strike(&mut self, blow: Blow) -> Verdict {
        format!("{blow:?}").hash(&mut self.trace);
        self.blows += 1;
        match blow {
            Blow::PowerCut => self.machine.cut_power(),
            Blow::PowerCutInJob(operation, path_end) => {
                self.machine.sim.fail_next(operation, path_end, EIO);
                self.machine.run_job(&mut self.random);
                self.machine.cut_power();
            }
            Blow::PowerCutInCompaction(operation, path_end) => {
                self.machine.sim.fail_next(operation, path_end, EIO);
                for _ in 0..self.random.below(150) {
                    self.machine.pump(&mut self.random);
                    self.machine.pass(Duration::from_millis(2));
                }
                self.hear()?;
                self.machine.cut_power();
            }
            Blow::Kill => self.machine.kill(&mut self.random),
            Blow::Stop { then_power_cut } => {
                let in_order = self.machine.stop(&mut self.random);
                self.hear()?;
                self.stops_in_order += u64::from(in_order);
                if in_order {
                    self.checkers.settled();
                }
                if then_power_cut {
                    self.machine.cut_power();
                    if !in_order {
                        self.power_failed();
                    }
                }
                return self.hear();
            }
        }
        // What was answered before is heard before.
        self.hear()?;
        if blow != Blow::Kill {
            self.power_failed();
        }
        Ok(())
    }

    /// Reads everything there is, from outside.
    pub(crate) fn read_all(&mut self) -> Result<Readings, Violation> {
        // A partition that was never opened finds no room on a full disk; the others do.
        self.machine.sim.set_capacity_bytes(1 << 40);
        let mut readings = Readings::new();
        for topic in &TOPICS {
            for number in 0..topic.partitions {
                if let Some(id) = self.machine.partition(topic.name, number) {
                    let reading = self.read_partition(id)?;
                    readings.insert(id, reading);
                }
            }
        }
        Ok(readings)
    }

    fn read_partition(&mut self, id: TopicIdPartition) -> Result<Reading, Violation> {
        let mut reading = Reading {
            log_start: Offset::ZERO,
            high_watermark: Offset::ZERO,
            batches: Vec::new(),
            compacted: self.is_compacted(id),
        };
        let mut position = Offset::ZERO;
        for _ in 0..ANSWER_ROUNDS_MAX {
            let answer = self.fetch(&[(id, position)], 1 << 20, 0, Duration::ZERO);
            let result = self.wait_for(answer, "a reader")?.remove(0);
            match result {
                Ok(fetched) => {
                    reading.log_start = fetched.log_start_offset;
                    reading.high_watermark = fetched.high_watermark;
                    if fetched.extent.is_none() {
                        return Ok(reading);
                    }
                    let batches = self.batches(&fetched, position, true, reading.compacted);
                    position = batches.last().map_or(position, |batch| batch.next);
                    reading.batches.extend(batches);
                }
                Err(ReadError::OutOfRange {
                    log_start_offset, ..
                }) => position = log_start_offset,
                // It is being opened.
                Err(ReadError::Unavailable(Unavailable::NotLeader(_))) => {
                    self.machine.pump(&mut self.random);
                }
                Err(error) => panic!("{id:?} cannot be read: {error}"),
            }
        }
        Err(everyone_is_answered::violated("a reader of everything"))
    }

    fn wait_for<T>(&mut self, mut answer: Answer<T>, who: &str) -> Result<T, Violation> {
        for _ in 0..ANSWER_ROUNDS_MAX {
            match answer.try_recv() {
                Ok(answer) => return Ok(answer),
                Err(_) => self.machine.pump(&mut self.random),
            }
        }
        Err(everyone_is_answered::violated(who))
    }

    /// Lets everything come to rest; whoever still waits then waits in vain.
    pub(crate) fn rest(&mut self) -> Verdict {
        self.machine.sim.set_capacity_bytes(1 << 40);
        for round in 0..ANSWER_ROUNDS_MAX {
            self.machine.pump(&mut self.random);
            if round % 20 == 0 {
                self.machine.pass(Duration::from_millis(200));
            }
            self.hear()?;
            let waiting = self.waiting();
            if waiting.is_none() {
                return Ok(());
            }
        }
        match self.waiting() {
            Some(who) => Err(everyone_is_answered::violated(&who)),
            None => Ok(()),
        }
    }

    fn waiting(&self) -> Option<String> {
        for producer in &self.producers {
            if producer
                .outstanding
                .iter()
                .any(|sent| sent.answer.is_some())
            {
                return Some(format!(
                    "a producer to {} {:?}",
                    producer.topic, producer.acks
                ));
            }
        }
        if let Some(reader) = self.readers.iter().find(|reader| reader.pending.is_some()) {
            return Some(format!("a reader of {}", reader.topic));
        }
        if let Some(group) = self.groups.iter().find(|group| group.pending.is_some()) {
            return Some(group.name.clone());
        }
        (!self.deletions.is_empty()).then(|| "a DeleteRecords".to_owned())
    }
}

fn seen(header: &BatchHeader, batch: &Bytes) -> SeenBatch {
    let mut digest = DefaultHasher::new();
    batch.hash(&mut digest);
    let (mut ids, mut offsets) = (Vec::new(), Vec::new());
    for record in records(batch, 1 << 20).unwrap() {
        let record = record.unwrap();
        ids.push(id_of(&record));
        offsets.push(record.offset);
    }
    SeenBatch {
        base: header.base_offset(),
        next: header.next_offset(),
        digest: digest.finish(),
        ids,
        offsets,
    }
}

/// A topic of the simulation.
#[derive(Clone, Copy)]
struct Topic {
    name: &'static str,
    partitions: i32,
    settings: &'static [(&'static str, &'static str)],
}

const STEADY: &str = "steady";
const CACHED: &str = "cached";
/// Cached, and no record is acknowledged before it is synced.
const COUNTED: &str = "counted";
const BRIEF: &str = "brief";
const OFFSETS: &str = "__consumer_offsets";

const TOPICS: [Topic; 6] = [
    Topic {
        name: STEADY,
        partitions: 2,
        settings: &[("segment.ms", "700")],
    },
    Topic {
        name: CACHED,
        partitions: 1,
        settings: &[
            ("write.caching", "true"),
            ("segment.ms", "900"),
            ("flush.ms", "400"),
        ],
    },
    Topic {
        name: COUNTED,
        partitions: 1,
        settings: &[
            ("write.caching", "true"),
            ("segment.ms", "800"),
            ("flush.messages", "1"),
        ],
    },
    Topic {
        name: BRIEF,
        partitions: 1,
        settings: &[("segment.ms", "400")],
    },
    Topic {
        name: "short",
        partitions: 1,
        settings: &[
            ("segment.ms", "300"),
            ("retention.ms", "2500"),
            ("file.delete.delay.ms", "100"),
        ],
    },
    Topic {
        name: DISTILLED,
        partitions: 2,
        settings: &[
            ("cleanup.policy", "compact"),
            ("min.cleanable.dirty.ratio", "0.01"),
            ("segment.ms", "200"),
            ("file.delete.delay.ms", "100"),
        ],
    },
];

const EIO: i32 = 5;
const ANSWER_ROUNDS_MAX: usize = 5_000;
