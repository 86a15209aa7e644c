//! Questions about partitions: offsets by kind or time, ends of epochs, sizes, producers.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::path::PathBuf;

use super::command::{
    DescribeLogs, DescribeProducers, DirectorySpace, LogDescription, LookupEpochEnds,
    LookupOffsets, MeasureDirectories, OffsetLookup, ProducerRange, Producers, ReplySlot,
};
use super::hosting::Slot;
use super::jobs::Errand;
use super::step::{Effects, Shard};
use crate::io::Space;
use crate::log::{Searched, TimeSearch, TimestampedOffset};
use crate::maintenance::Job;
use crate::partition::{Leader, OffsetAnswer, OffsetLookupError};
use crate::types::{Offset, TopicIdPartition};

/// Lookups in work, by number.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    works: BTreeMap<u64, LookupWork>,
    /// Those with searches that are not ordered yet: each has one in turn.
    searching: VecDeque<u64>,
    searches_out: usize,
    measures: BTreeMap<u64, ReplySlot<Vec<DirectorySpace>>>,
}

type Looked = Result<Option<TimestampedOffset>, OffsetLookupError>;

#[derive(Debug)]
struct LookupWork {
    /// Of the entries.
    partitions: Vec<TopicIdPartition>,
    results: Vec<Option<Looked>>,
    /// Entries that files have to be searched for. What a search holds of its log is made when it is ordered.
    searches: VecDeque<(usize, TimeSearch)>,
    left: usize,
    reply: ReplySlot<Vec<Looked>>,
}

impl Shard {
    pub(super) fn look_up_offsets(&mut self, lookup: LookupOffsets, effects: &mut Effects) {
        let LookupOffsets { lookups, reply } = lookup;
        let number = self.next_serial();
        let count = lookups.len();
        let work = LookupWork {
            partitions: lookups.iter().map(|lookup| lookup.partition).collect(),
            results: vec![None; count],
            searches: VecDeque::new(),
            left: count,
            reply,
        };
        self.lookups.forget_abandoned();
        self.lookups.works.insert(number, work);
        for (index, lookup) in lookups.into_iter().enumerate() {
            match self.look_up_offset(&lookup) {
                Ok(OffsetAnswer::Known(offset)) => self.looked_up(number, index, Ok(Some(offset))),
                Ok(OffsetAnswer::Search(search)) => self.lookups.search(number, index, search),
                Err(error) => self.looked_up(number, index, Err(error)),
            }
        }
        self.finish_lookup_if_complete(number);
        self.search_on(effects);
    }

    /// Orders searches as far as they may be out, for those who still wait for them.
    fn search_on(&mut self, effects: &mut Effects) {
        while self.lookups.searches_out < SEARCHES_OUT_MAX {
            let Some(next) = self.lookups.next_search() else {
                return;
            };
            let (work, index) = (next.work, next.index);
            match self.leading(next.partition) {
                Ok(leader) => {
                    let lookup = leader.log().time_lookup(next.search);
                    self.lookups.searches_out += 1;
                    self.order(Errand::Lookup { work, index }, Job::Lookup(lookup), effects);
                }
                // It has gone since it was asked.
                Err(unavailable) => self.looked_up(work, index, Err(unavailable.into())),
            }
        }
    }

    /// A part of a search has ended; with the next, where there is one, it is behind the others.
    pub(super) fn searched(
        &mut self,
        number: u64,
        index: usize,
        result: Result<Searched, OffsetLookupError>,
        effects: &mut Effects,
    ) {
        self.lookups.searches_out -= 1;
        match result {
            Ok(Searched::Ended(found)) => self.looked_up(number, index, Ok(found)),
            Ok(Searched::Unreadable) => {
                self.looked_up(number, index, Err(OffsetLookupError::Unreadable));
            }
            Ok(Searched::GoOn(search)) => self.lookups.search(number, index, search),
            Err(error) => self.looked_up(number, index, Err(error)),
        }
        self.search_on(effects);
    }

    fn look_up_offset(&mut self, lookup: &OffsetLookup) -> Result<OffsetAnswer, OffsetLookupError> {
        let leader = self.leading(lookup.partition)?;
        leader.check_epoch(lookup.current_leader_epoch)?;
        Ok(leader.look_up(lookup.spec, lookup.isolation))
    }

    /// One entry of a lookup has its answer.
    fn looked_up(&mut self, number: u64, index: usize, result: Looked) {
        let Some(work) = self.lookups.works.get_mut(&number) else {
            return;
        };
        if let Some(entry @ None) = work.results.get_mut(index) {
            *entry = Some(result);
            work.left -= 1;
        }
        self.finish_lookup_if_complete(number);
    }

    fn finish_lookup_if_complete(&mut self, number: u64) {
        let works = &mut self.lookups.works;
        let complete = works.get(&number).is_some_and(|work| work.left == 0);
        if complete && let Some(work) = works.remove(&number) {
            let results = work.results.into_iter().flatten().collect();
            // Whoever asked may have gone.
            let _ = work.reply.send(results);
        }
    }

    pub(super) fn look_up_epoch_ends(&mut self, lookup: LookupEpochEnds) {
        let mut results = Vec::with_capacity(lookup.lookups.len());
        for (id, current, wanted) in lookup.lookups {
            results.push(
                self.leading(id)
                    .map_err(OffsetLookupError::from)
                    .and_then(|leader| {
                        leader.check_epoch(current)?;
                        Ok(leader.epoch_end(wanted))
                    }),
            );
        }
        // Whoever asked may have gone.
        let _ = lookup.reply.send(results);
    }

    pub(super) fn describe_producers(&mut self, describe: DescribeProducers) {
        let described = |leader: &mut Leader, range: &ProducerRange| {
            let log = leader.log();
            let described = log.producers_after(range.after).take(range.count_max);
            Producers {
                count: log.producer_count(),
                described: described.map(|(id, producer)| (id, *producer)).collect(),
            }
        };
        let results = describe
            .ranges
            .iter()
            .map(|range| Ok(described(self.leading(range.partition)?, range)))
            .collect();
        // Whoever asked may have gone.
        let _ = describe.reply.send(results);
    }

    pub(super) fn describe_logs(&self, describe: DescribeLogs) {
        let from = describe.after.map_or(Bound::Unbounded, Bound::Excluded);
        let slots = self.slots.range((from, Bound::Unbounded));
        let descriptions = slots.filter_map(|(id, slot)| self.describe_log(*id, slot));
        let descriptions = descriptions.take(describe.count_max).collect();
        // Whoever asked may have gone.
        let _ = describe.reply.send(descriptions);
    }

    fn describe_log(&self, id: TopicIdPartition, slot: &Slot) -> Option<LogDescription> {
        let directory = self.log_directory_of(id)?;
        let mut description = LogDescription {
            partition: id,
            directory: directory.path.clone(),
            size_bytes: 0,
            log_start_offset: Offset::ZERO,
            high_watermark: Offset::ZERO,
            log_end_offset: Offset::ZERO,
            offline: false,
        };
        match slot {
            Slot::Leading(leader) => {
                description.size_bytes = leader.log().size_bytes();
                description.log_start_offset = leader.log().log_start_offset();
                description.high_watermark = leader.high_watermark();
                description.log_end_offset = leader.log().log_end_offset();
            }
            Slot::Opening(_) => {}
            Slot::Offline => description.offline = true,
        }
        Some(description)
    }

    /// Asks the file systems of the directories that have not failed, away from the shard: one that hangs would hold up all of it.
    pub(super) fn measure_directories(
        &mut self,
        measure: MeasureDirectories,
        effects: &mut Effects,
    ) {
        let work = self.next_serial();
        self.lookups.measures.insert(work, measure.reply);
        let directories = self.settings.log_directories.iter();
        let paths = directories
            .filter(|directory| !self.has_failed(directory.id))
            .map(|directory| directory.path.clone())
            .collect();
        self.order(Errand::Measure { work }, Job::Measure(paths), effects);
    }

    /// The file systems have answered.
    pub(super) fn measured(&mut self, number: u64, spaces: Vec<(PathBuf, Space)>) {
        let Some(reply) = self.lookups.measures.remove(&number) else {
            return;
        };
        let spaces = spaces.into_iter().map(|(directory, space)| DirectorySpace {
            directory,
            total_bytes: space.total_bytes,
            usable_bytes: space.usable_bytes,
        });
        // Whoever asked may have gone.
        let _ = reply.send(spaces.collect());
    }
}

/// A search that is to be ordered.
#[derive(Debug)]
struct NextSearch {
    work: u64,
    /// The entry.
    index: usize,
    partition: TopicIdPartition,
    search: TimeSearch,
}

impl Lookups {
    /// Notes a search of work `number`.
    fn search(&mut self, number: u64, index: usize, search: TimeSearch) {
        let Some(work) = self.works.get_mut(&number) else {
            return;
        };
        if work.searches.is_empty() {
            self.searching.push_back(number);
        }
        work.searches.push_back((index, search));
    }

    /// Clients come and go faster than files are searched.
    fn forget_abandoned(&mut self) {
        let works = &mut self.works;
        self.searching.retain(|number| {
            let wanted = works
                .get(number)
                .is_some_and(|work| !work.reply.is_closed());
            if !wanted {
                works.remove(number);
            }
            wanted
        });
    }

    /// The next search that somebody waits for.
    fn next_search(&mut self) -> Option<NextSearch> {
        loop {
            let number = self.searching.pop_front()?;
            let work = self.works.get_mut(&number)?;
            if work.reply.is_closed() {
                self.works.remove(&number);
                continue;
            }
            let (index, search) = work.searches.pop_front()?;
            if !work.searches.is_empty() {
                self.searching.push_back(number);
            }
            return Some(NextSearch {
                work: number,
                index,
                partition: *work.partitions.get(index)?,
                search,
            });
        }
    }
}

/// How many searches by time one shard has out; their results have room in its channel.
pub(super) const SEARCHES_OUT_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;
    use crate::io::Action;
    use crate::partition::{Acks, Isolation, OffsetSpec};
    use crate::record::{BatchBuilder, Compression};
    use crate::shard::command::{Command, Produce, ProducePartition};
    use crate::shard::step::Input;
    use crate::shard::step::tests::{Bench, Errors, NOW, bench, partition};
    use crate::types::{LeaderEpoch, Timestamp};

    #[test]
    fn searches_go_round_and_those_nobody_waits_for_are_not_made() {
        let mut lookups = Lookups::default();
        let mut begin = |number, count| {
            let (reply, answer) = oneshot::channel();
            let work = LookupWork {
                partitions: vec![partition(0); count],
                results: vec![None; count],
                searches: VecDeque::new(),
                left: count,
                reply,
            };
            lookups.works.insert(number, work);
            for index in 0..count {
                lookups.search(number, index, TimeSearch::greatest(Offset::ZERO));
            }
            answer
        };
        let (_many, gone, _one) = (begin(1, 3), begin(2, 2), begin(3, 1));
        drop(gone);
        let next = || lookups.next_search().map(|next| (next.work, next.index));
        let order: Vec<_> = std::iter::from_fn(next).collect();
        assert_eq!(order, [(1, 0), (3, 0), (1, 1), (1, 2)]);
        assert!(!lookups.works.contains_key(&2));
    }

    #[test]
    fn each_log_is_described_once_however_few_at_a_time() {
        let mut bench = bench(5, 1);
        let mut described = Vec::new();
        for count in [2, 2, 1] {
            let after = described.last().copied();
            let (reply, mut answer) = oneshot::channel();
            bench.take_in(Input::Command(Command::DescribeLogs(DescribeLogs {
                after,
                count_max: 2,
                reply,
            })));
            let found = answer.try_recv().unwrap();
            assert_eq!(found.len(), count);
            described.extend(found.into_iter().map(|log| log.partition));
        }
        assert_eq!(described, bench.partitions);
    }

    #[test]
    fn a_search_goes_on_through_all_segments_whose_headers_promise_what_is_not_there() {
        let mut bench = bench(1, 1);
        bench.configure(0, |config| {
            config.segment_bytes = 150;
            config.write_caching = true;
        });
        let mut builder = BatchBuilder::new().compression(Compression::Gzip);
        builder.push(Timestamp(10), None, Some(b"early"), &[]);
        let mut bytes = builder.build().to_vec();
        bytes[35..43].copy_from_slice(&NOW.wall.0.to_be_bytes());
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        let id = bench.partitions[0];
        for _ in 0..30 {
            let entry = ProducePartition {
                partition: id,
                records: bytes.clone().into(),
                zstd_allowed: true,
            };
            let (reply, mut answer) = oneshot::channel();
            bench.take_in(Input::Command(Command::Produce(Produce {
                partitions: [entry].into(),
                acks: Acks::All,
                timeout: Duration::from_secs(60),
                reply,
            })));
            assert!(answer.try_recv().unwrap().results[0].is_ok());
        }
        drop(bench.produce(0));
        let log = bench.shard.leading(id).unwrap().log();
        assert_eq!(log.segment_count(), 31);
        let timestamp = OffsetSpec::AtOrAfter(Timestamp(11));
        let found = look_up(&mut bench, timestamp).unwrap().unwrap();
        assert_eq!((found.offset, found.timestamp), (Offset(30), NOW.wall));
        let greatest = look_up(&mut bench, OffsetSpec::MaxTimestamp);
        assert_eq!(greatest, Err(OffsetLookupError::Unreadable));
    }

    /// What is answered of the first partition.
    fn look_up(bench: &mut Bench, spec: OffsetSpec) -> Looked {
        let lookup = OffsetLookup {
            partition: bench.partitions[0],
            spec,
            current_leader_epoch: LeaderEpoch::NONE,
            isolation: Isolation::ReadUncommitted,
        };
        let (reply, mut answer) = oneshot::channel();
        let lookups = vec![lookup];
        let command = Command::LookupOffsets(LookupOffsets { lookups, reply });
        bench.take_in(Input::Command(command));
        answer.try_recv().unwrap().remove(0)
    }

    /// Clients ask again and again: each time a line was written.
    #[test]
    fn damage_that_a_search_by_time_meets_is_said_once() {
        let mut bench = bench(1, 1);
        drop(bench.produce(0));
        let Some((_, Action::Sync { file })) = bench.syncs.front() else {
            panic!("nothing is to be synced");
        };
        let magic = 16;
        file.write_all_at(magic, &[9]).unwrap();
        bench.end_sync();
        let errors = Errors::default();
        tracing::subscriber::with_default(errors.clone(), || {
            for _ in 0..3 {
                let found = look_up(&mut bench, OffsetSpec::AtOrAfter(NOW.wall));
                assert_eq!(found, Err(OffsetLookupError::Storage));
            }
        });
        assert_eq!(errors.count(), 1);
    }
}
