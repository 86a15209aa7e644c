//! Compaction of the logs that a shard leads: which is next, when, at what rate; and what becomes of the pieces.
//!
//! The dirtiest log of the shard that is due comes first, as in Kafka; how many run at once is counted over all shards, which
//! take turns. Reads and appends never wait for a compaction: they find the old files until the new ones are taken in.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::hosting::{Slot, fault};
use super::jobs::Errand;
use super::step::{Effects, Shard, Timer};
use super::timers::TimerKey;
use crate::config::Overrides;
use crate::io::IoError;
use crate::log::clean::{CleanError, Failed, Next};
use crate::log::{CleanLimits, CleanStats, Cleaning, Dirt};
use crate::maintenance::Job;
use crate::types::{Monotonic, Now, TopicIdPartition};

/// `log.cleaner.*`, as it holds at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct CleanerSettings {
    /// `log.cleaner.enable`.
    pub enabled: bool,
    /// `log.cleaner.threads`: compactions at once, over all shards.
    pub threads: usize,
    /// `log.cleaner.dedupe.buffer.size`: memory for the keys of all of them, in bytes.
    pub key_memory_bytes: u64,
    /// `log.cleaner.io.buffer.load.factor`: how full that may get, 0 to 1.
    pub load_factor: f64,
    /// `log.cleaner.io.max.bytes.per.second`: of all of them, reads and writes together.
    pub bytes_per_second_max: Option<f64>,
    /// `log.cleaner.backoff.ms`.
    pub backoff: Duration,
    /// Bytes that a compaction reads before other jobs get their turn; a single batch may be more.
    pub slice_bytes: u64,
}

/// Kafka's defaults.
impl Default for CleanerSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            threads: 1,
            key_memory_bytes: 128 << 20,
            load_factor: 0.9,
            bytes_per_second_max: None,
            backoff: Duration::from_secs(15),
            slice_bytes: SLICE_BYTES,
        }
    }
}

impl CleanerSettings {
    /// How many compactions may run.
    const fn seats(&self) -> usize {
        if self.enabled { self.threads } else { 0 }
    }
}

/// Makes the settings out of what was changed at run time for the whole cluster and for this broker.
#[derive(Clone)]
pub struct CleanerSource(pub Arc<MakeCleanerSettings>);

/// Out of the overrides of the cluster and of the broker.
pub type MakeCleanerSettings = dyn Fn(&Overrides, &Overrides) -> CleanerSettings + Send + Sync;

impl CleanerSource {
    /// The same settings for ever.
    #[must_use]
    pub fn fixed(settings: CleanerSettings) -> Self {
        Self(Arc::new(move |_, _| settings.clone()))
    }
}

impl fmt::Debug for CleanerSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CleanerSource")
    }
}

/// What each shard is given of compaction.
#[derive(Clone, Debug)]
pub struct CleanerShare {
    /// The settings.
    pub settings: CleanerSource,
    /// Counts the compactions of all shards.
    pub seats: CleanerSeats,
    /// Random, so that no client can choose keys that fall together.
    pub seed: u64,
}

/// The compactions that run on this broker, and the shards that wait for one to end. Who has waited for the longest comes first:
/// a shard that always has a log to compact keeps no other from it.
#[derive(Clone, Debug, Default)]
pub struct CleanerSeats(Arc<Mutex<Seating>>);

#[derive(Debug, Default)]
struct Seating {
    taken: usize,
    /// The numbers of those who wait.
    waiting: BTreeSet<u64>,
    /// The number that was given out last.
    number: u64,
}

/// The right to one compaction, given back when it is dropped.
#[derive(Debug)]
struct Seat(CleanerSeats);

/// A place among those who wait for a seat, given up when it is dropped.
#[derive(Debug)]
struct Place {
    seats: CleanerSeats,
    number: u64,
}

impl CleanerSeats {
    /// One of `seats` for whoever has `place`, or else a place among those who wait.
    fn take(&self, seats: usize, place: &mut Option<Place>) -> Option<Seat> {
        let mut seating = self.lock();
        let number = match place {
            Some(place) => place.number,
            None => seating.next_number(),
        };
        if seating.has_one_for(number, seats) {
            seating.taken += 1;
            // Who gives up a place asks for it, too.
            drop(seating);
            *place = None;
            return Some(Seat(self.clone()));
        }
        seating.waiting.insert(number);
        drop(seating);
        place.get_or_insert_with(|| Place {
            seats: self.clone(),
            number,
        });
        None
    }

    /// How many compactions run.
    fn taken(&self) -> usize {
        self.lock().taken
    }

    fn lock(&self) -> MutexGuard<'_, Seating> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seating {
    const fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// Whether one of `seats` is left for `number` by those who sit and those who were there before.
    fn has_one_for(&self, number: u64, seats: usize) -> bool {
        let before = self.waiting.range(..number).count();
        self.taken + before < seats
    }
}

impl Place {
    /// Whether one of `seats` is free for whoever has it.
    fn is_next(&self, seats: usize) -> bool {
        self.seats.lock().has_one_for(self.number, seats)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.seats.lock().waiting.remove(&self.number);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.lock().taken -= 1;
    }
}

/// The compactions of a shard.
#[derive(Debug, Default)]
pub(super) struct Compactions {
    running: BTreeMap<TopicIdPartition, Compaction>,
    /// Logs that could not be compacted, until the next start.
    refused: BTreeSet<TopicIdPartition>,
    /// Logs whose last compaction found no room.
    put_off: BTreeMap<TopicIdPartition, PutOff>,
    /// Where the shard waits for a seat, while it has a log to compact.
    place: Option<Place>,
    /// When it looks again.
    timer: Option<TimerKey>,
}

#[derive(Debug)]
struct Compaction {
    _seat: Seat,
    began: Monotonic,
    /// It holds back to keep its rate.
    waiting: Option<Waiting>,
    /// The checkpoints say that recovery begins above what is compacted, and that there may be gaps below.
    noted: bool,
}

/// A compaction between two slices.
#[derive(Debug)]
struct Waiting {
    cleaning: Box<Cleaning>,
    /// Bytes of the last slice, and when it had moved them.
    moved: u64,
    since: Monotonic,
}

/// Each try fills the disk until it fails, so the next comes later each time; others have their turn meanwhile.
#[derive(Clone, Copy, Debug)]
struct PutOff {
    until: Monotonic,
    pause: Duration,
}

impl Compactions {
    /// Says for how long.
    fn put_off(&mut self, id: TopicIdPartition, now: Monotonic) -> Duration {
        let before = self.put_off.get(&id);
        let pause = before.map_or(PUT_OFF_MIN, |before| PUT_OFF_MAX.min(2 * before.pause));
        let until = now.after(pause);
        self.put_off.insert(id, PutOff { until, pause });
        pause
    }

    fn may_begin(&self, id: TopicIdPartition, now: Monotonic) -> bool {
        let put_off = self.put_off.get(&id);
        !self.refused.contains(&id) && put_off.is_none_or(|put_off| put_off.until <= now)
    }
}

impl Shard {
    /// Begins what compactions are due, unless it is another shard's turn.
    pub(super) fn clean_logs(&mut self, now: Now, effects: &mut Effects) {
        let seats = self.cleaner_settings().seats();
        let place = self.compactions.place.as_ref();
        if seats > 0 && place.is_some_and(|place| !place.is_next(seats)) {
            self.clean_again_after(SEATS_LOOKED_AT_EVERY, now);
        } else {
            self.begin_compactions(now, effects);
        }
    }

    /// The settings that hold now.
    fn cleaner_settings(&self) -> CleanerSettings {
        let cluster = self.image.cluster_overrides();
        let broker = self.image.broker_overrides(self.settings.broker);
        (self.settings.cleaner.settings.0)(cluster, broker)
    }

    /// Begins what compactions are due and find a seat, and looks again after a while.
    fn begin_compactions(&mut self, now: Now, effects: &mut Effects) {
        let settings = self.cleaner_settings();
        let seats = if self.stopping { 0 } else { settings.seats() };
        let mut waits = false;
        while seats > 0
            && !waits
            && let Some((id, dirt)) = self.dirtiest(now)
        {
            let place = &mut self.compactions.place;
            match self.settings.cleaner.seats.take(seats, place) {
                Some(seat) => self.begin_compaction(id, &dirt, seat, &settings, now, effects),
                None => waits = true,
            }
        }
        let pause = settings.backoff.max(BACKOFF_MIN);
        // A shard that has a seat looks for the next as its compaction ends, and is behind those then who have none.
        if waits && self.compactions.running.is_empty() {
            self.clean_again_after(pause.min(SEATS_LOOKED_AT_EVERY), now);
        } else {
            self.compactions.place = None;
            self.clean_again_after(pause, now);
        }
    }

    fn clean_again_after(&mut self, pause: Duration, now: Now) {
        let timer = self.timers.set(now.monotonic.after(pause), Timer::Clean);
        if let Some(before) = self.compactions.timer.replace(timer) {
            self.timers.cancel(before);
        }
    }

    /// The dirtiest of the logs that are due.
    fn dirtiest(&self, now: Now) -> Option<(TopicIdPartition, Dirt)> {
        let due = self.slots.iter().filter_map(|(id, slot)| {
            let Slot::Leading(leader) = slot else {
                return None;
            };
            let dirt = leader.log().dirt(now.wall, leader.last_stable_offset())?;
            let due = dirt.is_due(leader.config().min_cleanable_dirty_ratio);
            let may_begin = self.compactions.may_begin(*id, now.monotonic);
            (due && may_begin).then_some((*id, dirt))
        });
        due.max_by(|(_, one), (_, other)| one.ratio().total_cmp(&other.ratio()))
    }

    fn begin_compaction(
        &mut self,
        id: TopicIdPartition,
        dirt: &Dirt,
        seat: Seat,
        settings: &CleanerSettings,
        now: Now,
        effects: &mut Effects,
    ) {
        let seats = settings.threads.max(1);
        let memory = settings.key_memory_bytes / u64::try_from(seats).unwrap_or(1);
        let limits = CleanLimits {
            key_memory_bytes: memory.max(KEY_MEMORY_BYTES_MIN),
            load_factor: settings.load_factor,
            slice_bytes: settings.slice_bytes,
            seed: self.settings.cleaner.seed,
        };
        let Some(Slot::Leading(leader)) = self.slots.get_mut(&id) else {
            return;
        };
        tracing::debug!(partition = %leader.name(), ?dirt, "begins to compact");
        let cleaning = leader.log_mut().begin_clean(dirt, limits, now.wall);
        let compaction = Compaction {
            _seat: seat,
            began: now.monotonic,
            waiting: None,
            noted: false,
        };
        self.compactions.running.insert(id, compaction);
        self.order_next_piece(id, cleaning, now, effects);
    }

    fn order_next_piece(
        &mut self,
        id: TopicIdPartition,
        mut cleaning: Box<Cleaning>,
        now: Now,
        effects: &mut Effects,
    ) {
        let Some(Slot::Leading(leader)) = self.slots.get_mut(&id) else {
            self.compactions.running.remove(&id);
            return self.let_go(cleaning, effects);
        };
        // Retention, or other settings, may have overtaken it.
        let overtaken = match cleaning.next() {
            Next::Swap => !leader.log_mut().begin_swap(&mut cleaning),
            Next::Slice | Next::Directory => !leader.config().cleanup_policy.compact,
            Next::End => false,
        };
        if overtaken || self.stopping {
            cleaning.give_up();
        }
        let mut line = None;
        let errand = match cleaning.next() {
            Next::Slice => Errand::Clean(id),
            Next::Directory => Errand::CleanFiles(id),
            Next::Swap => {
                let running = self.compactions.running.get_mut(&id);
                if running.is_some_and(|one| !std::mem::replace(&mut one.noted, true)) {
                    line = self.checkpoint_line(id);
                }
                Errand::CleanFiles(id)
            }
            Next::End => return self.end_compaction(id, &cleaning, now, effects),
        };
        self.order(errand, Job::Clean { cleaning, line }, effects);
    }

    /// A piece is done, or has failed.
    pub(super) fn cleaned(
        &mut self,
        id: TopicIdPartition,
        result: Result<Box<Cleaning>, Box<Failed>>,
        now: Now,
        effects: &mut Effects,
    ) {
        let Some(Slot::Leading(leader)) = self.slots.get_mut(&id) else {
            // Deleted or offline meanwhile.
            self.compactions.running.remove(&id);
            let cleaning = result.unwrap_or_else(|failed| failed.cleaning);
            return self.let_go(cleaning, effects);
        };
        let mut cleaning = match result {
            Ok(cleaning) => cleaning,
            Err(failed) => return self.compaction_failed(id, *failed, now, effects),
        };
        if let Some(swapped) = cleaning.take_swapped() {
            let doomed = leader.log_mut().swapped(swapped);
            self.unlink_later(id, doomed, now);
        }
        let waiting = Waiting {
            moved: cleaning.take_moved_bytes(),
            cleaning,
            since: now.monotonic,
        };
        self.go_on_at_rate(id, waiting, now, effects);
    }

    /// A compaction may have waited long enough to keep its rate.
    pub(super) fn clean_on(&mut self, id: TopicIdPartition, now: Now, effects: &mut Effects) {
        let running = self.compactions.running.get_mut(&id);
        if let Some(waiting) = running.and_then(|compaction| compaction.waiting.take()) {
            self.go_on_at_rate(id, waiting, now, effects);
        }
    }

    /// Goes on with a compaction, or looks again when it has kept its rate, which is what is set then.
    fn go_on_at_rate(
        &mut self,
        id: TopicIdPartition,
        waiting: Waiting,
        now: Now,
        effects: &mut Effects,
    ) {
        let settings = self.cleaner_settings();
        let rate = settings.bytes_per_second_max.filter(|_| !self.stopping);
        let rate = rate.map(|rate| rate / share(self.settings.cleaner.seats.taken()));
        let Some(compaction) = self.compactions.running.get_mut(&id) else {
            return self.let_go(waiting.cleaning, effects);
        };
        match goes_on_at(waiting.since, waiting.moved, rate, now.monotonic) {
            Some(due) => {
                compaction.waiting = Some(waiting);
                self.timers.set(due, Timer::CleanOn(id));
            }
            None => self.order_next_piece(id, waiting.cleaning, now, effects),
        }
    }

    /// The partition is gone, or offline: its compaction leaves its seat to another. What is still out of it is let go
    /// of when it comes back.
    pub(super) fn forget_compaction(&mut self, id: TopicIdPartition, effects: &mut Effects) {
        let compaction = self.compactions.running.remove(&id);
        if let Some(waiting) = compaction.and_then(|compaction| compaction.waiting) {
            self.let_go(waiting.cleaning, effects);
        }
        self.compactions.put_off.remove(&id);
    }

    /// Its log is gone from here, and to give back its memory and its files may take long. What it has written goes
    /// with the directory, or at the next start.
    pub(super) fn let_go(&mut self, cleaning: Box<Cleaning>, effects: &mut Effects) {
        self.order(Errand::LetGo, Job::LetGo(cleaning), effects);
    }

    fn compaction_failed(
        &mut self,
        id: TopicIdPartition,
        failed: Failed,
        now: Now,
        effects: &mut Effects,
    ) {
        let Failed {
            error,
            mut cleaning,
        } = failed;
        if let CleanError::HalfSwapped(error) = &error {
            self.half_swapped(id, error, now, effects);
            return self.let_go(cleaning, effects);
        }
        if let Some(Slot::Leading(leader)) = self.slots.get(&id) {
            let partition = leader.name();
            let full = matches!(&error, CleanError::Io(error) if error.is_out_of_space());
            if full {
                let pause = self.compactions.put_off(id, now.monotonic);
                tracing::warn!(%partition, %error, ?pause, "the compaction is put off");
            } else {
                tracing::error!(%partition, %error, "is not compacted any more until a restart");
                self.compactions.refused.insert(id);
            }
        }
        cleaning.give_up();
        self.order_next_piece(id, cleaning, now, effects);
    }

    /// Segments are being replaced, and nobody goes on with it: only a start sorts the files out.
    pub(super) fn half_swapped(
        &mut self,
        id: TopicIdPartition,
        error: &IoError,
        now: Now,
        effects: &mut Effects,
    ) {
        self.compactions.running.remove(&id);
        self.take_offline(id, &fault(error), now, effects);
    }

    fn end_compaction(
        &mut self,
        id: TopicIdPartition,
        cleaning: &Cleaning,
        now: Now,
        effects: &mut Effects,
    ) {
        let compaction = self.compactions.running.remove(&id);
        let began = compaction.map_or(now.monotonic, |compaction| compaction.began);
        let Some(Slot::Leading(leader)) = self.slots.get_mut(&id) else {
            return;
        };
        let cleaned_to = cleaning.cleaned_to();
        leader.log_mut().end_clean(cleaned_to);
        let name = leader.name().clone();
        let Some(offset) = cleaned_to else {
            tracing::debug!(partition = %name, "the compaction was given up");
            return;
        };
        self.compactions.put_off.remove(&id);
        let stats: &CleanStats = cleaning.stats();
        let elapsed = began.until(now.monotonic);
        tracing::info!(partition = %name, %offset, ?elapsed, %stats, "compacted");
        if let Some(directory) = self.log_directory_of(id) {
            let job = Job::NoteCleaned {
                log_directory: directory.path.clone(),
                name,
                topic_id: id.topic_id,
                offset,
            };
            self.order(Errand::Checkpoint, job, effects);
        }
        self.begin_compactions(now, effects);
    }

    /// The shard stops: what holds back is given up; what is out comes back and is given up then.
    pub(super) fn stop_cleaning(&mut self, now: Now, effects: &mut Effects) {
        self.compactions.place = None;
        let running: Vec<TopicIdPartition> = self.compactions.running.keys().copied().collect();
        for id in running {
            self.clean_on(id, now, effects);
        }
    }
}

/// How long `moved` bytes take at `rate` bytes per second.
#[expect(
    clippy::cast_precision_loss,
    reason = "a rate need not be exact to the byte"
)]
fn pause(moved: u64, rate: f64) -> Duration {
    let seconds = moved as f64 / rate.max(1.0);
    Duration::try_from_secs_f64(seconds).unwrap_or(PAUSE_MAX)
}

/// When a compaction that had moved so many bytes by `since` goes on, or is to be looked at again; `None` for now.
fn goes_on_at(
    since: Monotonic,
    moved: u64,
    rate: Option<f64>,
    now: Monotonic,
) -> Option<Monotonic> {
    let due = since.after(pause(moved, rate?));
    (due > now).then(|| due.min(now.after(RATE_LOOKED_AT_EVERY)))
}

/// By what the rate is divided: those that run share it. Who holds back sees every few seconds how many they are.
#[expect(clippy::cast_precision_loss, reason = "a handful of compactions")]
fn share(running: usize) -> f64 {
    running.max(1) as f64
}

/// Some tens of milliseconds of a thread.
const SLICE_BYTES: u64 = 2 << 20;
/// Room for 43,000 keys: with next to none, a log would be written anew for every few keys.
const KEY_MEMORY_BYTES_MIN: u64 = 1 << 20;
/// How often a shard that waits for a seat sees whether it has one. A seat stands empty for so long.
const SEATS_LOOKED_AT_EVERY: Duration = Duration::from_millis(100);
/// A backoff of nothing must not keep the shard busy.
const BACKOFF_MIN: Duration = Duration::from_millis(10);
/// How long a log whose compaction found no room waits at first, and at most.
const PUT_OFF_MIN: Duration = Duration::from_secs(10);
const PUT_OFF_MAX: Duration = Duration::from_secs(600);
/// The longest pause between two slices; only bounds the arithmetic.
const PAUSE_MAX: Duration = Duration::from_secs(3_600);
/// How often a compaction that holds back sees whether it may go faster.
const RATE_LOOKED_AT_EVERY: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::{Sim, SimOperation};
    use crate::log::verify::{Finding, Sort};
    use crate::metadata::{self, DeleteTopics, TopicReference};
    use crate::partition::Fault;
    use crate::shard::step::Input;
    use crate::shard::step::tests::{Bench, NOW, after, bench_on};
    use crate::verify::{VerifyOptions, verify};

    const EIO: i32 = 5;
    const ENOSPC: i32 = 28;

    /// Two logs of a shard; all of them but the last segments may be compacted.
    fn dirty(sim: &Sim) -> Bench {
        let mut bench = bench_on(sim, "t", 2, 2);
        for place in 0..2 {
            bench.configure(place, |config| config.segment_bytes = 100);
            for _ in 0..4 {
                drop(bench.produce(place));
                bench.end_sync();
            }
            bench.configure(place, |config| config.cleanup_policy.compact = true);
        }
        bench
    }

    fn at(seconds: u64) -> Now {
        Now {
            monotonic: NOW.monotonic.after(Duration::from_secs(seconds)),
            ..NOW
        }
    }

    /// Which of the logs is to be compacted next.
    fn next(bench: &Bench, now: Now) -> Option<usize> {
        let (next, _) = bench.shard.dirtiest(now)?;
        bench.partitions.iter().position(|id| *id == next)
    }

    fn compact(bench: &mut Bench, now: Now) {
        let mut effects = Effects::default();
        bench.shard.clean_logs(now, &mut effects);
        bench.carry_out(effects);
    }

    #[test]
    fn there_are_as_many_seats_as_threads_and_a_seat_comes_back() {
        let seats = CleanerSeats::default();
        assert!(seats.take(0, &mut None).is_none());
        let one = seats.take(2, &mut None);
        let two = seats.clone().take(2, &mut None);
        assert!(one.is_some() && two.is_some());
        assert!(seats.take(2, &mut None).is_none());
        drop(one);
        assert!(seats.take(2, &mut None).is_some());
    }

    #[test]
    fn who_waits_for_a_seat_gets_it_before_who_had_it() {
        let seats = CleanerSeats::default();
        let (mut one, mut other) = (None, None);
        let seat = seats.take(1, &mut one);
        assert!(seat.is_some() && one.is_none());
        assert!(seats.take(1, &mut other).is_none());
        drop(seat);
        assert!(seats.take(1, &mut one).is_none(), "it was there before");
        assert!(other.as_ref().unwrap().is_next(1) && !one.as_ref().unwrap().is_next(1));
        assert!(one.as_ref().unwrap().is_next(2), "one for each");
        let seat = seats.take(1, &mut other);
        assert!(seat.is_some() && other.is_none());
        assert!(seats.take(1, &mut other).is_none());
        drop(seat);
        // Who does not want it any more is in nobody's way.
        drop(one);
        assert!(seats.take(1, &mut other).is_some());
        assert!(seats.lock().waiting.is_empty());
    }

    #[test]
    fn a_shard_with_further_logs_to_compact_leaves_the_next_turn_to_another() {
        let mut bench = dirty(&Sim::new(1));
        let seats = bench.shard.settings.cleaner.seats.clone();
        let mut effects = Effects::default();
        bench.shard.clean_logs(NOW, &mut effects);
        let mut other = None;
        assert!(seats.take(1, &mut other).is_none());
        bench.carry_out(effects);
        assert_eq!(next(&bench, NOW), Some(0), "the first is compacted");
        let seat = seats.take(1, &mut other);
        assert!(seat.is_some());
        compact(&mut bench, NOW);
        assert_eq!(next(&bench, NOW), Some(0));
        drop(seat);
        compact(&mut bench, NOW);
        assert_eq!(next(&bench, NOW), None);
        assert!(seats.lock().waiting.is_empty());
    }

    #[test]
    fn a_shard_that_waits_for_a_seat_looks_often_and_one_timer_is_for_all() {
        let mut bench = dirty(&Sim::new(1));
        let seats = bench.shard.settings.cleaner.seats.clone();
        let seat = seats.take(1, &mut None);
        for _ in 0..5 {
            compact(&mut bench, NOW);
        }
        assert_eq!(due(&mut bench, SEATS_LOOKED_AT_EVERY), 1);
        drop(seat);
        compact(&mut bench, NOW);
        assert_eq!(next(&bench, NOW), None);
        assert_eq!(due(&mut bench, SEATS_LOOKED_AT_EVERY), 0);
    }

    #[test]
    fn a_compaction_that_finds_no_room_lets_others_go_first_and_waits_longer_each_time() {
        let sim = Sim::new(1);
        let mut bench = dirty(&sim);
        let no_room = || sim.fail_next(SimOperation::Open, ".log.cleaned", ENOSPC);
        assert_eq!(next(&bench, NOW), Some(1));
        no_room();
        compact(&mut bench, NOW);
        assert_eq!(next(&bench, NOW), Some(0));
        compact(&mut bench, NOW);
        assert_eq!(next(&bench, at(9)), None);
        assert_eq!(next(&bench, at(10)), Some(1));
        no_room();
        compact(&mut bench, at(10));
        assert_eq!(next(&bench, at(19)), None);
        assert_eq!(next(&bench, at(20)), Some(1));
        compact(&mut bench, at(20));
        assert_eq!(next(&bench, at(20)), None);
        assert!(bench.shard.compactions.put_off.is_empty());
    }

    /// What it had removed passed for lost once the topic was not compacted any more.
    #[test]
    fn gaps_of_a_compaction_that_came_to_no_end_are_no_losses() {
        let sim = Sim::new(1);
        let mut bench = dirty(&sim);
        sim.fail_next(SimOperation::Open, "00000000000000000001.log.cleaned", EIO);
        compact(&mut bench, NOW);
        assert_eq!(bench.shard.compactions.refused.len(), 1, "amid its groups");
        bench.configure(1, |config| config.cleanup_policy.compact = false);
        let options = VerifyOptions {
            directory: "/data".into(),
            metadata_directory: None,
            write_caching: None,
            repair: false,
            now: NOW.wall,
        };
        let report = verify(&sim.disk(), &options, &mut |_| {}).unwrap();
        assert_eq!(report.batches, 7, "the first of eight is gone");
        let lost = |finding: &&Finding| finding.sort == Sort::Records && finding.is_fault();
        let lost: Vec<&Finding> = report.findings.iter().filter(lost).collect();
        assert!(lost.is_empty(), "{lost:?}");
    }

    /// Its files are unlinked by then: their last handles were closed on the shard's thread, and the memory for keys
    /// given back.
    #[test]
    fn a_compaction_whose_topic_is_deleted_is_let_go_of_beside_the_shard() {
        let topics = vec![TopicReference::Name("t".to_owned())];
        let delete = metadata::Command::DeleteTopics(DeleteTopics { topics });
        for held_back in [false, true] {
            let mut bench = dirty(&Sim::new(1));
            if held_back {
                bench.shard.settings.cleaner.settings = CleanerSource::fixed(CleanerSettings {
                    bytes_per_second_max: Some(1.0),
                    ..CleanerSettings::default()
                });
            }
            let mut effects = Effects::default();
            bench.shard.clean_logs(NOW, &mut effects);
            let (id, job) = effects.jobs.pop().unwrap();
            let begun = Input::Done(id, bench.run(job));
            bench.shard.step(NOW, begun, &mut effects);
            let (id, job) = effects.jobs.pop().unwrap();
            assert!(matches!(&job, Job::Clean { cleaning, .. } if cleaning.next() == Next::Slice));
            let slice = Input::Done(id, bench.run(job));
            let deleted = Input::Image(Arc::new(after(bench.shard.image(), &delete)));
            let inputs = if held_back {
                [slice, deleted]
            } else {
                [deleted, slice]
            };
            for input in inputs {
                bench.shard.step(NOW, input, &mut effects);
            }
            let jobs = effects.jobs.iter();
            let let_go = jobs.filter(|(_, job)| matches!(job, Job::LetGo(_)));
            assert_eq!(let_go.count(), 1, "held back: {held_back}");
            bench.carry_out(effects);
            assert!(!bench.shard.has_jobs());
        }
    }

    #[test]
    fn a_partition_that_goes_leaves_its_seat_to_another_and_nothing_of_its_compaction() {
        let mut bench = dirty(&Sim::new(1));
        bench.shard.settings.cleaner.settings = CleanerSource::fixed(CleanerSettings {
            bytes_per_second_max: Some(1.0),
            ..CleanerSettings::default()
        });
        let (other, id) = (bench.partitions[0], bench.partitions[1]);
        let seats = bench.shard.settings.cleaner.seats.clone();
        compact(&mut bench, NOW);
        assert!(bench.shard.compactions.running[&id].waiting.is_some());
        bench.shard.compactions.put_off(id, NOW.monotonic);
        let mut effects = Effects::default();
        let fault = Fault("a test".to_owned());
        assert_eq!(seats.taken(), 1);
        bench.shard.take_offline(id, &fault, NOW, &mut effects);
        assert_eq!(seats.taken(), 0);
        assert!(bench.shard.compactions.running.is_empty());
        assert!(bench.shard.compactions.put_off.is_empty());
        let jobs = effects.jobs.iter();
        let let_go = jobs.filter(|(_, job)| matches!(job, Job::LetGo(_)));
        assert_eq!(let_go.count(), 1);
        bench.carry_out(effects);
        compact(&mut bench, NOW);
        assert!(bench.shard.compactions.running.contains_key(&other));
    }

    #[test]
    fn a_compaction_is_put_off_for_some_minutes_at_most() {
        let mut compactions = Compactions::default();
        let id = dirty(&Sim::new(1)).partitions[0];
        for _ in 0..20 {
            compactions.put_off(id, NOW.monotonic);
        }
        assert!(!compactions.may_begin(id, at(599).monotonic));
        assert!(compactions.may_begin(id, at(600).monotonic));
    }

    /// How often it looks for logs to compact within some time.
    fn due(bench: &mut Bench, within: Duration) -> usize {
        let until = NOW.monotonic.after(within);
        let timers = std::iter::from_fn(|| bench.shard.timers.pop_due(until));
        timers.filter(|timer| matches!(timer, Timer::Clean)).count()
    }

    #[test]
    fn a_rate_is_kept_by_pausing() {
        assert_eq!(pause(2_000_000, 1_000_000.0), Duration::from_secs(2));
        assert_eq!(pause(1, 0.0), Duration::from_secs(1));
        assert_eq!(pause(0, 5.0), Duration::ZERO);
    }

    /// Over all of its slices, however often it looks whether another rate holds.
    #[test]
    fn a_compaction_takes_as_long_as_its_rate_says() {
        let mut bench = dirty(&Sim::new(1));
        bench.configure(0, |config| config.cleanup_policy.compact = false);
        bench.shard.settings.cleaner.settings = CleanerSource::fixed(CleanerSettings {
            bytes_per_second_max: Some(10.0),
            slice_bytes: 100,
            ..CleanerSettings::default()
        });
        let id = bench.partitions[1];
        compact(&mut bench, NOW);
        let (mut seconds, mut moved, mut slices) = (0, 0, 0);
        let mut since = None;
        while let Some(compaction) = bench.shard.compactions.running.get(&id) {
            let waiting = compaction.waiting.as_ref().unwrap();
            if since.replace(waiting.since) != Some(waiting.since) {
                moved += waiting.moved;
                slices += 1;
            }
            bench.pass(1_000);
            seconds += 1;
        }
        assert!(slices > 3, "{slices}");
        // Each slice may end some time before the second does.
        let due = moved / 10;
        let kept = (due..=due + slices).contains(&seconds);
        assert!(kept, "{moved} bytes in {seconds} s, by {slices} slices");
    }

    /// However many might run beside them.
    #[test]
    fn compactions_share_the_rate_with_those_that_run() {
        for (logs, each) in [(1, 100.0), (2, 50.0)] {
            let mut bench = dirty(&Sim::new(1));
            bench.configure(0, |config| config.cleanup_policy.compact = logs == 2);
            bench.shard.settings.cleaner.settings = CleanerSource::fixed(CleanerSettings {
                threads: 4,
                bytes_per_second_max: Some(100.0),
                ..CleanerSettings::default()
            });
            compact(&mut bench, NOW);
            let running = bench.shard.compactions.running.values();
            let waiting = running.filter_map(|one| one.waiting.as_ref());
            let moved: Vec<u64> = waiting.map(|waiting| waiting.moved).collect();
            assert_eq!(moved.len(), logs);
            let due = NOW.monotonic.after(pause(moved[0], each));
            assert_eq!(bench.shard.next_deadline(), Some(due));
        }
    }

    #[test]
    fn a_compaction_that_holds_back_hears_of_another_rate_within_seconds() {
        let at = |seconds| Monotonic::default().after(Duration::from_secs(seconds));
        let looked_at = |rate, now| goes_on_at(at(100), 4_000_000, rate, at(now));
        assert_eq!(looked_at(Some(1_000_000.0), 100), Some(at(104)));
        assert_eq!(looked_at(Some(1_000_000.0), 103), Some(at(104)));
        assert_eq!(looked_at(Some(1_000_000.0), 104), None);
        assert_eq!(looked_at(Some(0.0), 100), Some(at(105)));
        assert_eq!(looked_at(Some(0.0), 105), Some(at(110)));
        assert_eq!(looked_at(Some(2_000_000.0), 105), None);
        assert_eq!(looked_at(None, 100), None);
    }
}
