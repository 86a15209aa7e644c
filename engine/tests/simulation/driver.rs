//! A broker without threads: shards, their rings, the queue of jobs and the metadata, all moved by hand.
//!
//! It does what the shell around the shards does, in an order that a seed decides. It knows no client and judges nothing.

use std::collections::VecDeque;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millrace_engine::config::TopicDefaults;
use millrace_engine::group::GroupConfig;
use millrace_engine::io::{Action, Clock, Completion, Disk, Outcome, Random, Ring, Sim, SimClock};
use millrace_engine::log::Cleaning;
use millrace_engine::log::checkpoint::CleanShutdown;
use millrace_engine::log::clean::Next;
use millrace_engine::log::names::{FLUSH_FAILED, partition_of_directory};
use millrace_engine::maintenance::{
    Checkpoints, Done, Job, JobId, NotYet, REPLAY_SLICE_BYTES, sweep,
};
use millrace_engine::metadata::{MetadataImage, Reply};
use millrace_engine::shard::command::{Command, FetchId};
use millrace_engine::shard::{
    CleanerSeats, CleanerSettings, CleanerShare, CleanerSource, Effects, Input, LogDirectory,
    Shard, ShardIndex, ShardSettings, TopicDefaultsSource, shard_of,
};
use millrace_engine::types::{Now, Timestamp, TopicIdPartition, TopicName};
use millrace_engine::verify::{Report, VerifyOptions, verify};

use crate::controller::{self, BROKER, Controller, DIRECTORY};

/// The machine, what is installed on it, and the broker if it runs.
pub(crate) struct Machine {
    pub(crate) sim: Sim,
    pub(crate) shard_count: usize,
    /// Syncs of the rings are answered and not done: the lie that the checkers have to find.
    pub(crate) syncs_are_lies: bool,
    /// Of two requests to write the second is handed over first: another such lie.
    pub(crate) writes_overtake: bool,
    /// The one that is overtaken.
    kept_back: Option<(TopicIdPartition, Command)>,
    /// How many batches were opened or packed beside other work.
    pub(crate) unpacked: u64,
    /// How much is read of a coordinator at a time, from the next start on.
    pub(crate) replay_slice_bytes: usize,
    /// How often a coordinator was read in part, and others got their turn.
    pub(crate) parts_replayed: u64,
    disk: Disk,
    clock: Clock,
    hands: SimClock,
    pub(crate) controller: Controller,
    running: Option<Running>,
    fetches: u64,
    cleaner: CleanerShare,
    /// Whether compactions begin.
    compacts: Arc<AtomicBool>,
    /// How many writes were cut off that had found no room.
    pub(crate) cut_backs: u64,
    /// How many jobs found no room and are to be tried again.
    pub(crate) put_off: u64,
    /// How many lives ended amid a compaction that had put some groups in place and had more to come.
    pub(crate) ended_amid_groups: u64,
}

struct Running {
    seats: Vec<Seat>,
    checkpoints: Checkpoints,
    /// Jobs that no thread has begun, in the order they were ordered.
    jobs: VecDeque<(usize, JobId, Job)>,
}

struct Seat {
    shard: Shard,
    ring: Ring,
    /// Completions made up by a lie.
    made_up: Vec<Completion>,
    results: VecDeque<(JobId, Done)>,
    effects: Effects,
}

impl Machine {
    pub(crate) fn new(seed: u64, shard_count: usize) -> Self {
        let sim = Sim::new(seed);
        sim.show_old_blocks(&LEFT_BEHIND);
        let (clock, hands) = Clock::sim(Timestamp(1_700_000_000_000));
        let disk = sim.disk();
        disk.create_dir_all(&directory()).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        let controller = Controller::new(&disk, seed);
        let compacts = Arc::new(AtomicBool::new(true));
        Self {
            disk,
            sim,
            shard_count,
            syncs_are_lies: false,
            writes_overtake: false,
            kept_back: None,
            unpacked: 0,
            replay_slice_bytes: REPLAY_SLICE_BYTES,
            parts_replayed: 0,
            clock,
            hands,
            controller,
            running: None,
            fetches: 0,
            cleaner: cleaner(CleanerSettings::default(), &compacts),
            compacts,
            cut_backs: 0,
            put_off: 0,
            ended_amid_groups: 0,
        }
    }

    /// Broker settings of compaction from the next start on.
    pub(crate) fn set_cleaner(&mut self, settings: CleanerSettings) {
        self.cleaner = cleaner(settings, &self.compacts);
    }

    /// Whether there are threads for compactions from now on; those that run come to their end.
    pub(crate) fn compact(&self, compacts: bool) {
        self.compacts.store(compacts, Ordering::Relaxed);
    }

    pub(crate) fn compacts(&self) -> bool {
        self.compacts.load(Ordering::Relaxed)
    }

    pub(crate) fn now(&self) -> Now {
        self.clock.now()
    }

    pub(crate) fn next_fetch_id(&mut self) -> FetchId {
        self.fetches += 1;
        FetchId(self.fetches)
    }

    /// Makes a topic that has to come about.
    pub(crate) fn create_topic(
        &mut self,
        name: &str,
        partitions: i32,
        settings: &[(&str, &str)],
        random: u128,
    ) {
        let command = controller::create_topic(name, partitions, settings, random);
        let reply = self.controller.propose(&command).unwrap().unwrap();
        assert!(
            matches!(&reply, Reply::CreateTopics(made) if made.iter().all(|(_, made)| made.is_ok())),
            "{reply:?}"
        );
    }

    pub(crate) fn delete_topic(&mut self, name: &str) {
        let command = controller::delete_topic(name);
        self.controller.propose(&command).unwrap().unwrap();
    }

    /// The partition that stands by that name at present.
    pub(crate) fn partition(&self, topic: &str, number: i32) -> Option<TopicIdPartition> {
        let name: TopicName = topic.parse().unwrap();
        let topic = self.controller.image.topic(&name)?;
        topic.partition(number)?;
        Some(TopicIdPartition {
            topic_id: topic.id,
            partition: number,
        })
    }

    /// Whether a topic has this setting of its own at present.
    pub(crate) fn is_set(&self, topic: &str, setting: &str, value: &str) -> bool {
        let image = &self.controller.image;
        let name: TopicName = topic.parse().unwrap();
        image.topic(&name).is_some_and(|topic| {
            let found = image.topic_overrides(topic.id).get(setting);
            found.is_some_and(|found| found == value)
        })
    }

    /// Starts the broker on what the disk holds.
    pub(crate) fn start(&mut self) {
        self.sim.go_on();
        assert!(self.try_start().unwrap(), "the broker starts");
    }

    /// The same; false when it was stopped before it ran. What it cannot start on is said.
    pub(crate) fn try_start(&mut self) -> Result<bool, String> {
        match self.start_as_the_engine_does() {
            Ok(()) => Ok(true),
            Err(_) if self.sim.stands_still() => Ok(false),
            Err(error) => Err(error.to_string()),
        }
    }

    fn start_as_the_engine_does(&mut self) -> Result<(), Box<dyn Error>> {
        let path = directory();
        let checkpoints = Checkpoints::default();
        checkpoints.load(&self.disk, &path)?;
        let clean = CleanShutdown::take(&self.disk, &path)?;
        self.controller.open(clean)?;
        let image = Arc::clone(&self.controller.image);
        let swept = sweep(&self.disk, &checkpoints, &path, |name| image.topic_of(name))?;
        // A full disk is no reason not to start.
        if let Some(error) = swept.refused.into_iter().next()
            && self.sim.stands_still()
        {
            return Err(error.into());
        }
        let now = self.now();
        let mut doomed = swept.doomed;
        let seats = (0..self.shard_count).map(|index| {
            let mut seat = Seat {
                shard: Shard::new(self.settings(index, clean), now),
                ring: self.sim.ring(),
                made_up: Vec::new(),
                results: VecDeque::new(),
                effects: Effects::default(),
            };
            seat.shard.take_over(std::mem::take(&mut doomed), now);
            seat.adopt(&image, now);
            seat
        });
        self.running = Some(Running {
            seats: seats.collect(),
            checkpoints,
            jobs: VecDeque::new(),
        });
        self.collect_jobs();
        Ok(())
    }

    fn settings(&self, index: usize, clean: bool) -> ShardSettings {
        let defaults = Arc::new(TopicDefaults::default());
        let log_directory = LogDirectory {
            place: 0,
            id: DIRECTORY,
            path: directory(),
            clean,
        };
        ShardSettings {
            broker: BROKER,
            shard: ShardIndex(index),
            shards: self.shard_count,
            log_directories: vec![log_directory],
            topic_defaults: TopicDefaultsSource(Arc::new(move |_, _| Arc::clone(&defaults))),
            groups: GroupConfig {
                session_timeout_min_ms: 10,
                initial_rebalance_delay: Duration::from_millis(30),
                ..GroupConfig::default()
            },
            replay_slice_bytes: self.replay_slice_bytes,
            producer_id_expiration_ms: Arc::new(86_400_000.into()),
            retention_check_interval: Duration::from_secs(2),
            checkpoint_interval: Duration::from_secs(1),
            cleaner: self.cleaner.clone(),
            // Fewer than there are partitions, so that some wait for their turn.
            syncs_in_flight_max: 2,
        }
    }

    /// Hands a command to the shard it is for, which by then has the newest metadata.
    pub(crate) fn send(&mut self, partition: TopicIdPartition, command: Command) {
        let writes = matches!(command, Command::Produce(_));
        if writes && self.writes_overtake && self.kept_back.is_none() {
            self.kept_back = Some((partition, command));
            return;
        }
        self.hand_over(partition, command);
        if writes {
            self.let_go();
        }
    }

    fn let_go(&mut self) {
        if let Some((partition, command)) = self.kept_back.take() {
            self.hand_over(partition, command);
        }
    }

    fn hand_over(&mut self, partition: TopicIdPartition, command: Command) {
        let (now, image) = (self.now(), Arc::clone(&self.controller.image));
        let ShardIndex(owner) = shard_of(partition, self.shard_count);
        if let Some(running) = &mut self.running {
            let seat = &mut running.seats[owner];
            seat.adopt(&image, now);
            seat.step(now, Input::Command(command));
        }
        self.collect_jobs();
    }

    /// Lets one shard see the newest metadata.
    pub(crate) fn publish(&mut self, index: usize) {
        let (now, image) = (self.now(), Arc::clone(&self.controller.image));
        self.with_seat(index, |seat, _| seat.adopt(&image, now));
    }

    /// Lets a shard hand out its disk work.
    pub(crate) fn flush(&mut self, index: usize) {
        let now = self.now();
        let lie = self.syncs_are_lies;
        self.with_seat(index, |seat, _| {
            seat.shard.flush(now, &mut seat.effects);
            seat.submit(lie);
        });
    }

    /// Takes in what a shard's ring has done.
    pub(crate) fn reap(&mut self, index: usize) {
        let now = self.now();
        self.with_seat(index, |seat, _| {
            let mut completions = std::mem::take(&mut seat.made_up);
            seat.ring.reap(&mut completions);
            for completion in completions {
                seat.step(now, Input::Completed(completion));
            }
        });
    }

    /// Runs one of the jobs that the two maintenance threads would run next.
    pub(crate) fn run_job(&mut self, random: &mut Random) {
        let disk = self.disk.clone();
        if let Some(running) = &mut self.running {
            let among = running.jobs.len().min(2) as u64;
            if among == 0 {
                return;
            }
            let chosen = usize::try_from(random.below(among)).unwrap();
            let (index, id, job) = running.jobs.remove(chosen).unwrap();
            self.unpacked += u64::from(matches!(job, Job::Unpack(_)));
            let done = job.run(&disk, &running.checkpoints);
            match &done {
                Done::CutBack(_) => self.cut_backs += 1,
                Done::PutOff(..) | Done::NotYetOpened(_, NotYet::NoSpace(_)) => self.put_off += 1,
                Done::PartReplayed(_) => self.parts_replayed += 1,
                _ => {}
            }
            running.seats[index].results.push_back((id, done));
        }
    }

    /// Brings a shard the result of a job.
    pub(crate) fn deliver(&mut self, index: usize) {
        let now = self.now();
        self.with_seat(index, |seat, _| {
            if let Some((id, done)) = seat.results.pop_front() {
                seat.step(now, Input::Done(id, done));
            }
        });
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.hands.advance(time);
        let now = self.now();
        for index in 0..self.shard_count {
            self.with_seat(index, |seat, _| seat.step(now, Input::Tick));
        }
    }

    fn with_seat(&mut self, index: usize, act: impl FnOnce(&mut Seat, &Checkpoints)) {
        if let Some(running) = &mut self.running {
            act(&mut running.seats[index], &running.checkpoints);
        }
        self.collect_jobs();
    }

    fn collect_jobs(&mut self) {
        if let Some(running) = &mut self.running {
            for (index, seat) in running.seats.iter_mut().enumerate() {
                let jobs = seat.effects.jobs.drain(..);
                running.jobs.extend(jobs.map(|(id, job)| (index, id, job)));
            }
        }
    }

    /// Whether no job waits and no result is to be delivered.
    pub(crate) fn is_idle(&self) -> bool {
        self.running.as_ref().is_none_or(|running| {
            running.jobs.is_empty() && running.seats.iter().all(|seat| seat.results.is_empty())
        })
    }

    /// How many partitions are marked as having had a fault, not counting those that were set aside.
    pub(crate) fn marks(&self) -> u64 {
        let entries = self.disk.list(&directory()).unwrap();
        let marked = entries.iter().filter(|entry| {
            let mark = directory().join(&entry.name).join(FLUSH_FAILED);
            partition_of_directory(&entry.name).is_some() && self.disk.exists(&mark).unwrap()
        });
        marked.count() as u64
    }

    /// What is stored.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.sim.set_capacity_bytes(1 << 40);
        let space = self.disk.space(&directory()).unwrap();
        space.total_bytes - space.usable_bytes
    }

    /// What `millrace verify-log` would say of what is stored, while the broker does not run.
    pub(crate) fn verify(&self) -> Report {
        let options = VerifyOptions {
            directory: directory(),
            metadata_directory: None,
            write_caching: None,
            repair: false,
            now: self.now().wall,
        };
        let report = verify(&self.disk, &options, &mut |_| {}).unwrap();
        assert!(report.failed.is_none(), "{:?}", report.failed);
        report
    }

    /// One round of everything that goes on by itself.
    pub(crate) fn pump(&mut self, random: &mut Random) {
        self.let_go();
        for index in 0..self.shard_count {
            self.publish(index);
            self.flush(index);
            self.reap(index);
            self.run_job(random);
            self.deliver(index);
        }
        self.pass(Duration::from_micros(500));
    }

    /// The power fails.
    pub(crate) fn cut_power(&mut self) {
        self.ended_amid_groups += u64::from(self.is_amid_groups());
        self.kept_back = None;
        self.sim.crash();
        self.running = None;
        self.controller.die();
    }

    /// The process is killed: what it had given the kernel is partly still done, and the page cache stays.
    pub(crate) fn kill(&mut self, random: &mut Random) {
        self.ended_amid_groups += u64::from(self.is_amid_groups());
        self.kept_back = None;
        let stood_still = self.sim.stands_still();
        self.sim.go_on();
        self.controller.die();
        if let Some(mut running) = self.running.take() {
            for seat in &mut running.seats {
                if !stood_still {
                    seat.submit(false);
                }
                for _ in 0..random.below(3) {
                    seat.ring.reap(&mut Vec::new());
                }
            }
        }
    }

    /// Whether a compaction has put some of its groups in place, and others not.
    pub(crate) fn is_amid_groups(&self) -> bool {
        let Some(running) = &self.running else {
            return false;
        };
        let ordered = running.jobs.iter().filter_map(|(_, _, job)| match job {
            Job::Clean { cleaning, .. } => Some(cleaning),
            _ => None,
        });
        let results = running.seats.iter().flat_map(|seat| &seat.results);
        let done = results.filter_map(|(_, done)| match done {
            Done::Cleaned(Ok(cleaning)) => Some(cleaning),
            _ => None,
        });
        let is_amid = |cleaning: &Cleaning| {
            cleaning.stats().segments_written > 0 && cleaning.next() != Next::End
        };
        ordered.chain(done).any(|cleaning| is_amid(cleaning))
    }

    /// Stops the broker as an operator does. Says whether everything was left in order.
    pub(crate) fn stop(&mut self, random: &mut Random) -> bool {
        self.let_go();
        let now = self.now();
        for index in 0..self.shard_count {
            self.with_seat(index, |seat, _| seat.step(now, Input::Stop));
        }
        let in_order = 'stopping: {
            for _ in 0..STOP_ROUNDS_MAX {
                self.pump(random);
                let running = self.running.as_ref().unwrap();
                let stopped: Option<Vec<bool>> = running
                    .seats
                    .iter()
                    .map(|seat| seat.shard.stopped())
                    .collect();
                if let Some(stopped) = stopped {
                    break 'stopping stopped.iter().all(|in_order| *in_order);
                }
            }
            panic!("the shards do not stop");
        };
        let running = self.running.take().unwrap();
        let in_order = self.controller.close() && in_order;
        let written = running
            .checkpoints
            .write(&self.disk, &directory(), Vec::new());
        let in_order = in_order && written.is_ok();
        if in_order {
            let marker = CleanShutdown { broker_epoch: -1 };
            return marker.write(&self.disk, &directory()).is_ok();
        }
        false
    }
}

impl Seat {
    fn step(&mut self, now: Now, input: Input) {
        self.shard.step(now, input, &mut self.effects);
    }

    fn adopt(&mut self, image: &Arc<MetadataImage>, now: Now) {
        if !Arc::ptr_eq(image, self.shard.image()) {
            self.step(now, Input::Image(Arc::clone(image)));
        }
    }

    fn submit(&mut self, lie: bool) {
        for (ticket, action) in self.effects.actions.drain(..) {
            if lie && matches!(action, Action::Sync { .. }) {
                let result = Ok(Outcome::Synced);
                self.made_up.push(Completion { ticket, result });
            } else {
                self.ring.submit(ticket, action);
            }
        }
    }
}

fn cleaner(settings: CleanerSettings, compacts: &Arc<AtomicBool>) -> CleanerShare {
    let compacts = Arc::clone(compacts);
    CleanerShare {
        settings: CleanerSource(Arc::new(move |_, _| {
            let on = compacts.load(Ordering::Relaxed);
            CleanerSettings {
                threads: if on { settings.threads } else { 0 },
                ..settings.clone()
            }
        })),
        seats: CleanerSeats::default(),
        seed: 7,
    }
}

fn directory() -> PathBuf {
    PathBuf::from("/data")
}

/// Files whose old bytes may turn up in new ones. Not those of records: an old batch in the place of one of the same
/// offset is as sound as that, so record files want a file system that shows nobody's old blocks.
const LEFT_BEHIND: [&str; 4] = [".index", ".timeindex", ".snapshot", "checkpoint.tmp"];
const STOP_ROUNDS_MAX: usize = 20_000;
