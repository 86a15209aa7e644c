//! Readers: those that tail the topics, and the one that reads everything there is.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use bytes::Bytes;
use millrace_engine::partition::{Isolation, ReadError, Unavailable};
use millrace_engine::record::{BATCH_HEADER_LENGTH, BatchHeader, check_crc, records};
use millrace_engine::shard::command::{Command, Fetch, FetchPartition, Fetched};
use millrace_engine::types::{LeaderEpoch, Offset, TopicIdPartition};
use tokio::sync::oneshot;

use super::{ANSWER_ROUNDS_MAX, World};
use crate::clients::{Answer, PendingFetch};
use crate::faults::one_of;
use crate::invariants::{
    Reading, Readings, SeenBatch, Verdict, Violation, acknowledged_survives, everyone_is_answered,
};
use crate::topics::is_compacted;

impl World {
    pub(super) fn read(&mut self) {
        let index = self.below(self.readers.len());
        let topic = self.readers[index].topic;
        if self.readers[index].pending.is_some() {
            return;
        }
        if is_compacted(topic) && self.random.chance(1, 6) {
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

    pub(super) fn hear_reader(&mut self, index: usize) -> Verdict {
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
                self.log_starts(partition, fetched.log_start_offset)?;
                let gaps = self.is_compacted(partition);
                let batches = self.batches(partition, &fetched, offset, *first, gaps)?;
                *first &= fetched.extent.is_none();
                let mut next = offset;
                for batch in batches {
                    assert!(
                        batch.next <= fetched.high_watermark,
                        "{batch:?} {fetched:?}"
                    );
                    if gaps {
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
                self.log_starts(partition, log_start_offset)?;
                Ok(log_start_offset)
            }
            Err(ReadError::Unavailable(_) | ReadError::Storage) => Ok(offset),
        }
    }

    fn log_starts(&self, partition: TopicIdPartition, log_start: Offset) -> Verdict {
        let kept_from = self.kept_from(partition);
        self.checkers.log_starts(partition, log_start, kept_from)
    }

    /// The whole batches of an answer.
    fn batches(
        &self,
        partition: TopicIdPartition,
        fetched: &Fetched,
        offset: Offset,
        first: bool,
        gaps: bool,
    ) -> Result<Vec<SeenBatch>, Violation> {
        let Some(extent) = &fetched.extent else {
            return Ok(Vec::new());
        };
        let mut bytes = vec![0; usize::try_from(extent.length).unwrap()];
        if extent
            .file
            .read_exact_at(extent.position, &mut bytes)
            .is_err()
        {
            return Ok(Vec::new());
        }
        let bytes = Bytes::from(bytes);
        let mut found: Vec<SeenBatch> = Vec::new();
        let mut position = 0;
        while bytes.len() - position >= BATCH_HEADER_LENGTH {
            let header = BatchHeader::parse(&bytes[position..])
                .map_err(|error| acknowledged_survives::spoiled(&error))?;
            let end = position + header.length_bytes();
            if end > bytes.len() {
                break;
            }
            let batch = bytes.slice(position..end);
            check_crc(&batch).map_err(|error| acknowledged_survives::spoiled(&error))?;
            found.push(self.seen(partition, &header, &batch)?);
            position = end;
        }
        if first {
            let whole = found.first();
            assert!(
                whole.is_some_and(|batch| (gaps || batch.base <= offset) && offset < batch.next),
                "the first batch of an answer is whole and holds {offset}: {whole:?}"
            );
        }
        Ok(found)
    }

    fn seen(
        &self,
        partition: TopicIdPartition,
        header: &BatchHeader,
        batch: &Bytes,
    ) -> Result<SeenBatch, Violation> {
        let mut digest = DefaultHasher::new();
        batch.hash(&mut digest);
        let (mut ids, mut offsets) = (Vec::new(), Vec::new());
        for record in records(batch, 1 << 20).unwrap() {
            let record = record.unwrap();
            ids.push(self.checkers.own.check(partition, &record)?);
            offsets.push(record.offset);
        }
        Ok(SeenBatch {
            base: header.base_offset(),
            next: header.next_offset(),
            digest: digest.finish(),
            ids,
            offsets,
        })
    }

    /// Reads everything there is, from outside.
    pub(crate) fn read_all(&mut self) -> Result<Readings, Violation> {
        // A partition that was never opened finds no room on a full disk; the others do.
        self.machine.sim.set_capacity_bytes(1 << 40);
        let mut readings = Readings::new();
        for topic in self.topics.clone() {
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
            loses_markers: self.loses_markers(id),
            at_rest: !self.machine.compacts(),
        };
        let mut position = Offset::ZERO;
        for _ in 0..ANSWER_ROUNDS_MAX {
            let answer = self.fetch(&[(id, position)], 1 << 20, 0, Duration::ZERO);
            let result = self.wait_for(answer, "a reader")?.remove(0);
            match result {
                Ok(fetched) => {
                    reading.log_start = fetched.log_start_offset;
                    self.log_starts(id, reading.log_start)?;
                    // Retention may go on between two answers.
                    reading
                        .batches
                        .retain(|batch| reading.log_start < batch.next);
                    reading.high_watermark = fetched.high_watermark;
                    if fetched.extent.is_none() {
                        return Ok(reading);
                    }
                    let batches = self.batches(id, &fetched, position, true, reading.compacted)?;
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
                Err(error) => return Err(acknowledged_survives::unreadable(id, &error)),
            }
        }
        Err(everyone_is_answered::violated("a reader of everything"))
    }

    pub(super) fn wait_for<T>(&mut self, mut answer: Answer<T>, who: &str) -> Result<T, Violation> {
        for _ in 0..ANSWER_ROUNDS_MAX {
            match answer.try_recv() {
                Ok(answer) => return Ok(answer),
                Err(_) => self.machine.pump(&mut self.random),
            }
        }
        Err(everyone_is_answered::violated(who))
    }
}
