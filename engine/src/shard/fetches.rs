//! Fetches: looked up partition by partition, then answered, or parked until a high watermark moves or their time is
//! up.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::path::Path;

use bytes::Bytes;

use super::command::{Fetch, FetchId, FetchPartition, Fetched, ReplySlot};
use super::hosting::Slot;
use super::jobs::Errand;
use super::news::NewsReply;
use super::step::{Effects, Pending, Scan, Shard, Timer};
use super::timers::TimerKey;
use crate::io::{Action, IoError};
use crate::log::{EpochEnd, IndexJob, LoadedIndex, ReadExtent, ReadPlan, WalkError};
use crate::maintenance::Job;
use crate::partition::{ReadError, Unavailable};
use crate::types::{Monotonic, Now, Offset, TopicIdPartition};

/// Fetches in work, and who waits for which partition.
#[derive(Debug, Default)]
pub(super) struct Fetches {
    works: BTreeMap<u64, FetchWork>,
    by_id: BTreeMap<FetchId, u64>,
    /// Fetches by the partitions they read, parked or not.
    readers: BTreeMap<TopicIdPartition, BTreeSet<u64>>,
    /// Fetches that are to look again with the next [`Shard::flush`], or a later one: once, whatever of theirs has moved.
    woken: BTreeSet<u64>,
    /// The one that did last; those behind it come first.
    looked_last: u64,
    /// A timer is set for those that are left.
    looks_on: bool,
    /// Indexes that are being loaded, and who waits for them.
    loads: BTreeMap<IndexLoad, Vec<FetchPlace>>,
}

/// An index on its way: at most one of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct IndexLoad {
    partition: TopicIdPartition,
    /// Of its segment.
    base_offset: Offset,
    /// Whether the one on the disk is not to be believed.
    rebuilds: bool,
}

/// Which partition of which fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FetchPlace {
    /// The fetch, as the shard numbers them.
    pub(super) fetch: u64,
    /// The partition's place in the request.
    pub(super) index: usize,
    /// The partition.
    pub(super) partition: TopicIdPartition,
}

#[derive(Debug)]
pub(super) struct FetchWork {
    pub(super) id: FetchId,
    pub(super) partitions: Vec<FetchPartition>,
    findings: Vec<Option<Finding>>,
    /// Partition by partition, where its lookup has come to: past the offset asked for in gaps of a compacted log.
    reached: Vec<Offset>,
    /// Partitions that are still being looked up.
    looking_up: usize,
    parked: bool,
    /// Something it waits for has happened since it began to look.
    overtaken: bool,
    /// Answer as soon as nothing is being looked up, whatever there is.
    hurried: bool,
    bytes_max: u64,
    bytes_min: u64,
    deadline: Monotonic,
    timer: Option<TimerKey>,
    pub(super) reply: Reply,
}

/// Who is answered, and how.
#[derive(Debug)]
pub(super) enum Reply {
    /// All partitions, in their order.
    All(ReplySlot<Results>),
    /// What was looked at of a standing read.
    News(NewsReply),
}

/// One result per partition.
pub(super) type Results = Vec<Result<Fetched, ReadError>>;

/// When a fetch is to be answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) bytes_max: u64,
    pub(super) bytes_min: u64,
    pub(super) deadline: Monotonic,
}

/// What the lookup in one partition came to.
type Finding = Result<Found, ReadError>;

#[derive(Debug)]
enum Found {
    Extent(ReadExtent),
    Nothing,
    Diverging(EpochEnd),
}

impl Shard {
    pub(super) fn fetch(&mut self, fetch: Fetch, now: Now, effects: &mut Effects) {
        let Fetch {
            id,
            partitions,
            bytes_max,
            bytes_min,
            deadline,
            reply,
        } = fetch;
        let terms = Terms {
            bytes_max,
            bytes_min,
            deadline,
        };
        let number = self.next_serial();
        for wanted in &partitions {
            self.fetches.read_by(number, wanted.partition);
        }
        let work = FetchWork::new(id, partitions, terms, Reply::All(reply), now);
        self.begin_fetch(number, work, now, effects);
    }

    /// Begins a fetch whose partitions know of it.
    pub(super) fn begin_fetch(
        &mut self,
        number: u64,
        work: FetchWork,
        now: Now,
        effects: &mut Effects,
    ) {
        self.fetches.by_id.insert(work.id, number);
        self.fetches.works.insert(number, work);
        self.look_up_fetch(number, now, effects);
    }

    /// Looks all partitions of a fetch up; where something was found before, only how far it reaches now, if that is known. Says how many
    /// there are.
    fn look_up_fetch(&mut self, number: u64, now: Now, effects: &mut Effects) -> usize {
        self.take_news(number);
        self.sort_news(number);
        let Some(work) = self.fetches.works.get_mut(&number) else {
            return 0;
        };
        let partitions = work.partitions.clone();
        let before = std::mem::take(&mut work.findings);
        work.findings = partitions.iter().map(|_| None).collect();
        work.reached = partitions.iter().map(|wanted| wanted.offset).collect();
        work.looking_up = partitions.len();
        work.parked = false;
        work.overtaken = false;
        let mut bytes_left = work.bytes_max;
        for (index, partition) in partitions.iter().enumerate() {
            let limit = partition.bytes_max.min(bytes_left);
            let found = match before.get(index) {
                Some(Some(Ok(Found::Extent(read)))) => Some(read),
                _ => None,
            };
            let step = self.begin_read(partition, limit, found);
            if let Ok(ReadStep::Plan(ReadPlan::Ready(read))) = &step {
                bytes_left = bytes_left.saturating_sub(read.extent.length);
            }
            let place = FetchPlace {
                fetch: number,
                index,
                partition: partition.partition,
            };
            self.take_step(place, step, effects);
        }
        self.finish_fetch_if_complete(number, now, effects);
        partitions.len()
    }

    fn begin_read(
        &mut self,
        wanted: &FetchPartition,
        limit: u64,
        found: Option<&ReadExtent>,
    ) -> Result<ReadStep, ReadError> {
        let leader = match self.slots.get_mut(&wanted.partition) {
            // Parked with the others until it is open, or the time is up.
            Some(Slot::Opening(_)) => return Ok(ReadStep::Plan(ReadPlan::Empty)),
            _ => self.leading(wanted.partition)?,
        };
        leader.check_epoch(wanted.current_leader_epoch)?;
        if let Some(end) = leader.divergence(wanted.last_fetched_epoch, wanted.offset)? {
            return Ok(ReadStep::Diverging(end));
        }
        let (offset, isolation) = (wanted.offset, wanted.isolation);
        let plan = match found {
            Some(found) => leader.read_again(offset, limit, isolation, found),
            None => leader.read(offset, limit, isolation),
        };
        plan.map(ReadStep::Plan)
    }

    /// Goes on with one partition of a fetch.
    fn take_step(
        &mut self,
        place: FetchPlace,
        mut step: Result<ReadStep, ReadError>,
        effects: &mut Effects,
    ) {
        let finding = loop {
            let plan = match step {
                Err(error) => break Err(error),
                Ok(ReadStep::Diverging(end)) => break Ok(Found::Diverging(end)),
                Ok(ReadStep::Plan(plan)) => plan,
            };
            match plan {
                ReadPlan::Empty => break Ok(Found::Nothing),
                ReadPlan::Ready(read) => break Ok(Found::Extent(read)),
                ReadPlan::Scan(lookup) => {
                    let (file, position, length) = lookup.action();
                    let action = Action::Read {
                        file: file.clone(),
                        position,
                        length,
                    };
                    if let Some(base_offset) = lookup.closed_segment() {
                        self.indexes.used((place.partition, base_offset));
                    }
                    self.act(Pending::Scan(Scan { place, lookup }), action, effects);
                    return;
                }
                ReadPlan::LoadIndex(job) => {
                    self.load_index(place, *job, effects);
                    return;
                }
                // A compaction may have left any number of empty segments in a row.
                ReadPlan::Again { offset } => {
                    if let Some(work) = self.fetches.works.get_mut(&place.fetch)
                        && let Some(reached) = work.reached.get_mut(place.index)
                    {
                        *reached = offset;
                    }
                    step = self.read_on(place);
                }
            }
        };
        let Some(work) = self.fetches.works.get_mut(&place.fetch) else {
            return;
        };
        if let Some(entry @ None) = work.findings.get_mut(place.index) {
            *entry = Some(finding);
            work.looking_up -= 1;
        }
    }

    /// Has an index loaded that a lookup needs, unless it is on its way: a fetch may ask for one segment thousands of times.
    fn load_index(&mut self, place: FetchPlace, job: IndexJob, effects: &mut Effects) {
        let load = IndexLoad {
            partition: place.partition,
            base_offset: job.base_offset(),
            rebuilds: job.rebuilds(),
        };
        let waiting = self.fetches.loads.entry(load).or_default();
        waiting.push(place);
        if waiting.len() == 1 {
            self.order(Errand::LoadIndex(load), Job::LoadIndex(job), effects);
        }
    }

    /// Reads from where the lookup has come to.
    fn read_on(&mut self, place: FetchPlace) -> Result<ReadStep, ReadError> {
        let Some(work) = self.fetches.works.get(&place.fetch) else {
            return Ok(ReadStep::Plan(ReadPlan::Empty));
        };
        let (wanted, offset) = (work.partitions[place.index], work.reached[place.index]);
        let limit = work.bytes_max.min(wanted.bytes_max);
        self.leading(wanted.partition)?
            .read(offset, limit, wanted.isolation)
            .map(ReadStep::Plan)
    }

    /// The bytes a lookup asked for have come.
    pub(super) fn scanned(
        &mut self,
        scan: Scan,
        bytes: Result<Bytes, IoError>,
        now: Now,
        effects: &mut Effects,
    ) {
        let Scan { place, lookup } = scan;
        let file = lookup.action().0.clone();
        let plan = match bytes {
            Ok(bytes) => lookup.resume(&bytes).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let step = plan
            .map(ReadStep::Plan)
            .map_err(|error| self.read_fault(place.partition, file.path(), &error));
        self.take_step(place, step, effects);
        self.finish_fetch_if_complete(place.fetch, now, effects);
    }

    /// An index that lookups asked for is loaded.
    pub(super) fn index_loaded(
        &mut self,
        load: IndexLoad,
        result: Result<LoadedIndex, WalkError>,
        now: Now,
        effects: &mut Effects,
    ) {
        let loaded = match result {
            Ok(loaded) => {
                if let Ok(leader) = self.leading(load.partition) {
                    leader.log_mut().install_index(loaded);
                }
                Ok(())
            }
            Err(error) => {
                let refusal = self.read_fault(load.partition, error.path(), &error.to_string());
                if let WalkError::Fault(fault) = error
                    && let Ok(leader) = self.leading(load.partition)
                {
                    leader.log_mut().index_failed(load.base_offset, fault);
                }
                Err(refusal)
            }
        };
        for place in self.fetches.loads.remove(&load).unwrap_or_default() {
            let step = loaded.clone().and_then(|()| self.read_on(place));
            self.take_step(place, step, effects);
            self.finish_fetch_if_complete(place.fetch, now, effects);
        }
        self.note_loaded_index(load.partition, load.base_offset);
    }

    fn read_fault(&mut self, id: TopicIdPartition, file: &Path, error: &str) -> ReadError {
        let Some(Slot::Leading(leader)) = self.slots.get(&id) else {
            return Unavailable::Offline(id).into();
        };
        let partition = leader.name();
        if self.reported.is_news(file) {
            tracing::error!(%partition, error, "cannot be read");
        } else {
            tracing::debug!(%partition, error, "cannot be read");
        }
        ReadError::Storage
    }

    fn finish_fetch_if_complete(&mut self, number: u64, now: Now, effects: &mut Effects) {
        let Some(work) = self.fetches.works.get(&number) else {
            return;
        };
        if work.looking_up > 0 || work.parked {
            return;
        }
        // Not of those that wait for room on a full disk, which may be long.
        let opening = work
            .partitions
            .iter()
            .any(|wanted| self.is_awaited(wanted.partition));
        let enough = work.findings.iter().any(is_urgent)
            || self.has_more(work)
            || (!opening && work.bytes_found() >= work.bytes_min);
        if enough || work.hurried || work.deadline <= now.monotonic {
            self.answer_fetch(number);
        } else if work.overtaken {
            self.look_up_fetch(number, now, effects);
        } else {
            self.park_fetch(number);
        }
    }

    /// Whether a partition has more than was found, in its next segment: waiting would not show it.
    fn has_more(&self, work: &FetchWork) -> bool {
        let mut findings = work.partitions.iter().zip(&work.findings);
        findings.any(|(wanted, finding)| {
            matches!(finding, Some(Ok(Found::Extent(_))))
                && match self.slots.get(&wanted.partition) {
                    Some(Slot::Leading(leader)) => leader.has_closed_segment_after(wanted.offset),
                    Some(Slot::Opening(_) | Slot::Offline) | None => false,
                }
        })
    }

    fn park_fetch(&mut self, number: u64) {
        let Some(work) = self.fetches.works.get_mut(&number) else {
            return;
        };
        work.parked = true;
        if work.timer.is_none() {
            work.timer = Some(self.timers.set(work.deadline, Timer::Fetch(number)));
        }
    }

    /// Something readers of `id` wait for has happened: they look again, those that are looking as soon as they are
    /// through.
    pub(super) fn wake_readers(&mut self, id: TopicIdPartition) {
        let readers = self.fetches.readers.get(&id).into_iter().flatten();
        self.fetches.woken.extend(readers);
        self.fetches.woken.extend(self.standings.stir(id));
    }

    /// Has those look again that were woken. One record may wake very many, of thousands of partitions each: what one turn has
    /// no time for is left to the next.
    pub(super) fn look_again(&mut self, now: Now, effects: &mut Effects) {
        let mut looks = 0;
        while looks < LOOKS_PER_TURN {
            let Some(number) = self.fetches.take_woken() else {
                return;
            };
            looks += 1;
            match self.fetches.works.get_mut(&number) {
                Some(work) if work.parked => looks += self.look_up_fetch(number, now, effects),
                Some(work) => work.overtaken = true,
                None => {}
            }
        }
        if !self.fetches.woken.is_empty() && !self.fetches.looks_on {
            self.fetches.looks_on = true;
            self.timers.set(now.monotonic, Timer::LookOn);
        }
    }

    /// Further fetches are to look again, with the flush that ends this turn.
    pub(super) const fn look_on(&mut self) {
        self.fetches.looks_on = false;
    }

    /// Answers a fetch as soon as nothing of it is being looked up.
    pub(super) fn hurry_fetch(&mut self, id: FetchId) {
        if let Some(number) = self.fetches.by_id.get(&id).copied() {
            self.fetch_timed_out(number);
        }
    }

    /// The time of a fetch is up.
    pub(super) fn fetch_timed_out(&mut self, number: u64) {
        let Some(work) = self.fetches.works.get_mut(&number) else {
            return;
        };
        work.hurried = true;
        if work.parked {
            self.answer_fetch(number);
        }
    }

    fn answer_fetch(&mut self, number: u64) {
        // What became due since the last lookup is told with its bounds, as what was looked up is.
        self.take_news(number);
        let Some(work) = self.fetches.works.remove(&number) else {
            return;
        };
        self.fetches.by_id.remove(&work.id);
        if let Some(timer) = work.timer {
            self.timers.cancel(timer);
        }
        for wanted in &work.partitions {
            self.fetches.no_longer_read_by(number, wanted.partition);
        }
        if let Reply::News(news) = &work.reply {
            self.rest_news(news, &work);
        }
        let mut bytes_left = work.bytes_max;
        let mut nothing_yet = true;
        let mut results = Vec::with_capacity(work.partitions.len());
        let mut findings = work.findings.into_iter();
        for wanted in &work.partitions {
            let finding = findings.next().flatten().unwrap_or(Ok(Found::Nothing));
            let result = finding.and_then(|found| self.fetched(wanted, found));
            results.push(result.map(|(mut fetched, first_batch_length)| {
                let Some(mut extent) = fetched.extent.take() else {
                    return fetched;
                };
                // KIP-74: the first batch of the answer is whole, whatever the limits; later ones keep them.
                let room = if nothing_yet {
                    bytes_left.max(first_batch_length)
                } else {
                    bytes_left
                };
                if room < first_batch_length {
                    // It counted as found, and waiting brings no more room.
                    fetched.has_more = true;
                    return fetched;
                }
                extent.length = extent.length.min(room);
                nothing_yet = false;
                bytes_left = bytes_left.saturating_sub(extent.length);
                fetched.extent = Some(extent);
                fetched
            }));
        }
        match work.reply {
            // Whoever asked may have gone.
            Reply::All(reply) => drop(reply.send(results)),
            Reply::News(news) => news.answer(results),
        }
    }

    /// A finding with the bounds of its partition as they are now, and the length of its first batch.
    fn fetched(
        &mut self,
        wanted: &FetchPartition,
        found: Found,
    ) -> Result<(Fetched, u64), ReadError> {
        let leader = self.leading(wanted.partition)?;
        let mut fetched = Fetched {
            high_watermark: leader.high_watermark(),
            last_stable_offset: leader.last_stable_offset(),
            log_start_offset: leader.log().log_start_offset(),
            leader_epoch: leader.epoch(),
            extent: None,
            has_more: false,
            diverging: None,
        };
        let mut first_batch_length = 0;
        match found {
            Found::Extent(read) => {
                first_batch_length = read.first_batch_length;
                fetched.has_more = leader.has_closed_segment_after(wanted.offset);
                fetched.extent = Some(read.extent);
            }
            Found::Diverging(end) => fetched.diverging = Some(end),
            Found::Nothing => {}
        }
        Ok((fetched, first_batch_length))
    }

    /// Answers every fetch with what there is, because the broker stops.
    pub(super) fn answer_all_fetches(&mut self) {
        let numbers: Vec<u64> = self.fetches.works.keys().copied().collect();
        for number in numbers {
            self.fetch_timed_out(number);
        }
    }
}

/// The first step of a read.
#[derive(Debug)]
enum ReadStep {
    Plan(ReadPlan),
    Diverging(EpochEnd),
}

/// Errors and diverging epochs are answered at once.
const fn is_urgent(finding: &Option<Finding>) -> bool {
    matches!(finding, Some(Err(_) | Ok(Found::Diverging(_))))
}

impl Fetches {
    /// A fetch reads this partition, and wants to hear of what happens to it.
    pub(super) fn read_by(&mut self, number: u64, partition: TopicIdPartition) {
        self.readers.entry(partition).or_default().insert(number);
    }

    fn no_longer_read_by(&mut self, number: u64, partition: TopicIdPartition) {
        if let Some(readers) = self.readers.get_mut(&partition) {
            readers.remove(&number);
            if readers.is_empty() {
                self.readers.remove(&partition);
            }
        }
    }

    /// The next that is to look again. They take turns, however often some of them are woken.
    fn take_woken(&mut self) -> Option<u64> {
        let behind = (Bound::Excluded(self.looked_last), Bound::Unbounded);
        let next = self.woken.range(behind).next();
        let number = *next.or_else(|| self.woken.first())?;
        self.woken.remove(&number);
        self.looked_last = number;
        Some(number)
    }

    pub(super) fn work_mut(&mut self, number: u64) -> Option<&mut FetchWork> {
        self.works.get_mut(&number)
    }
}

impl FetchWork {
    pub(super) fn new(
        id: FetchId,
        partitions: Vec<FetchPartition>,
        terms: Terms,
        reply: Reply,
        now: Now,
    ) -> Self {
        let Terms {
            bytes_max,
            bytes_min,
            deadline,
        } = terms;
        Self {
            id,
            findings: Vec::new(),
            reached: Vec::new(),
            partitions,
            looking_up: 0,
            parked: false,
            overtaken: false,
            hurried: bytes_min == 0 || deadline <= now.monotonic,
            bytes_max,
            bytes_min,
            deadline,
            timer: None,
            reply,
        }
    }

    /// Brings its partitions, and what was found in them, into another order: `order` has the present place of each.
    pub(super) fn arrange(&mut self, order: &[usize]) {
        let partitions = order.iter().map(|&place| self.partitions[place]);
        self.partitions = partitions.collect();
        let findings = order.iter().map(|&place| {
            let finding = self.findings.get_mut(place);
            finding.and_then(Option::take)
        });
        self.findings = findings.collect();
    }

    /// Whether the lookup of this partition came to nothing, without error.
    pub(super) fn found_nothing(&self, index: usize) -> bool {
        matches!(self.findings.get(index), Some(Some(Ok(Found::Nothing))))
    }

    fn bytes_found(&self) -> u64 {
        let found = self
            .findings
            .iter()
            .flatten()
            .filter_map(|finding| match finding {
                Ok(Found::Extent(read)) => Some(read.extent.length),
                Ok(Found::Nothing | Found::Diverging(_)) | Err(_) => None,
            });
        found.sum()
    }
}

/// How many partitions are looked at again in one turn, but for the rest of a fetch that was begun: about a millisecond.
const LOOKS_PER_TURN: usize = 2_000;

#[cfg(test)]
mod tests;
