//! The engine without threads, on a simulated machine: one call of [`SimulatedEngine::turn`] does what all its threads
//! would do next. One seed and one sequence of calls give one history, so that whoever fuzzes what stands in front of
//! the engine can go through a finding again.
//!
//! It takes the same steps as [`Engine`](super::Engine), decides nothing, and knows no request.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::{
    EngineOptions, OpenDirectory, StartError, Taken, leave_directories, open_directories,
    shard_settings, sweep_directories,
};
use crate::control::{ControlHandle, Desk};
use crate::io::{Clock, Completion, DirLock, Disk, LocalRing, Random, Sim};
use crate::maintenance::{Checkpoints, Job, JobId};
use crate::shard::command::Command;
use crate::shard::{CleanerSeats, CleanerShare, Effects, Gateway, Input, Shard};
use crate::types::{BrokerId, Monotonic, Now};

/// An engine that is moved by hand. Dropping it is a kill.
pub struct SimulatedEngine {
    seats: Vec<Seat>,
    gateway: Gateway,
    broker: BrokerId,
    desk: Desk,
    control: ControlHandle,
    /// Jobs that no maintenance thread would have begun, in the order they were ordered.
    jobs: VecDeque<(usize, JobId, Job)>,
    checkpoints: Arc<Checkpoints>,
    directories: Vec<OpenDirectory>,
    _home_lock: Option<DirLock>,
    disk: Disk,
    clock: Clock,
}

/// A shard, and what its thread would hold.
struct Seat {
    shard: Shard,
    ring: LocalRing,
    commands: mpsc::Receiver<Command>,
    completions: Vec<Completion>,
    effects: Effects,
}

impl SimulatedEngine {
    /// Starts on what the disk of `sim` holds, at the time of `clock`. `seed` decides all that chance decides beside what
    /// the machine itself does. How to talk to the disk and which cores to use does not matter here.
    ///
    /// # Errors
    /// As [`Engine::start`](super::Engine::start).
    pub fn start(
        sim: &Sim,
        clock: &Clock,
        seed: u64,
        options: &EngineOptions,
    ) -> Result<Self, StartError> {
        let disk = sim.disk();
        let mut random = Random::seeded(seed);
        let checkpoints = Arc::new(Checkpoints::default());
        let Taken {
            metadata,
            directories,
            home_lock,
        } = open_directories(&disk, options, &checkpoints, &mut random)?;
        let mut doomed = sweep_directories(&disk, &checkpoints, &directories, metadata.image());
        let (desk, control) = Desk::new(metadata);
        let count = options.shards.unwrap_or(1).max(1);
        let cleaner = CleanerShare {
            settings: options.cleaner.clone(),
            seats: CleanerSeats::default(),
            seed: random.u64(),
        };
        let mut seats = Vec::with_capacity(count);
        let mut mailboxes = Vec::with_capacity(count);
        for index in 0..count {
            let settings = shard_settings(options, &directories, &cleaner, index, count);
            let (mailbox, commands) = mpsc::channel(MAILBOX_LENGTH);
            mailboxes.push(mailbox);
            let now = clock.now();
            let mut shard = Shard::new(settings, now);
            shard.take_over(std::mem::take(&mut doomed), now);
            seats.push(Seat {
                shard,
                ring: LocalRing::new(sim.ring())?,
                commands,
                completions: Vec::new(),
                effects: Effects::default(),
            });
        }
        let ring = seats.first().map(|seat| seat.ring.clone());
        let gateway = Gateway::by_mailboxes(
            mailboxes,
            control.clone(),
            ring.ok_or(StartError::NoDirectory)?,
            clock.clone(),
            random,
        );
        Ok(Self {
            seats,
            gateway,
            broker: options.broker,
            desk,
            control,
            jobs: VecDeque::new(),
            checkpoints,
            directories,
            _home_lock: home_lock,
            disk,
            clock: clock.clone(),
        })
    }

    /// The door that a connection on the first shard's thread would have.
    #[must_use]
    pub fn gateway(&self) -> Gateway {
        self.gateway.clone()
    }

    /// Does a piece of whatever can be done at this time. False when there was nothing: then only requests or the clock
    /// bring something new.
    pub fn turn(&mut self) -> bool {
        let now = self.clock.now();
        let mut busy = false;
        while self.desk.serve_next() {
            busy = true;
        }
        for index in 0..self.seats.len() {
            let image = self.control.image();
            let Some(seat) = self.seats.get_mut(index) else {
                break;
            };
            if !Arc::ptr_eq(&image, seat.shard.image()) {
                seat.step(now, Input::Image(image));
                busy = true;
            }
            busy |= seat.turn(now);
            for failed in seat.effects.failed_directories.drain(..) {
                self.desk.take_note(failed.command(self.broker));
                busy = true;
            }
            let jobs = seat.effects.jobs.drain(..);
            self.jobs.extend(jobs.map(|(id, job)| (index, id, job)));
        }
        if let Some((index, id, job)) = self.jobs.pop_front() {
            let done = job.run(&self.disk, &self.checkpoints);
            if let Some(seat) = self.seats.get_mut(index) {
                seat.step(now, Input::Done(id, done));
            }
            busy = true;
        }
        busy
    }

    /// When there is something to do next without anybody asking for it.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Monotonic> {
        let deadlines = self.seats.iter();
        deadlines
            .filter_map(|seat| seat.shard.next_deadline())
            .min()
    }

    /// Stops in order, as [`Engine::stop`](super::Engine::stop).
    ///
    /// # Panics
    /// When the shards do not come to an end: that is a finding.
    #[must_use]
    pub fn stop(mut self) -> bool {
        let now = self.clock.now();
        for seat in &mut self.seats {
            seat.step(now, Input::Stop);
        }
        let stopped = |engine: &Self| -> Option<Vec<bool>> {
            engine
                .seats
                .iter()
                .map(|seat| seat.shard.stopped())
                .collect()
        };
        let in_order = loop {
            if let Some(stopped) = stopped(&self) {
                break stopped.into_iter().all(|in_order| in_order);
            }
            let busy = self.turn();
            assert!(busy || stopped(&self).is_some(), "a stop hangs");
        };
        let in_order = in_order & self.desk.close().is_ok();
        leave_directories(&self.disk, &self.checkpoints, &self.directories, in_order)
    }
}

impl Seat {
    fn step(&mut self, now: Now, input: Input) {
        self.shard.step(now, input, &mut self.effects);
    }

    fn turn(&mut self, now: Now) -> bool {
        let mut busy = self.ring.in_flight() > 0;
        let mut completions = std::mem::take(&mut self.completions);
        self.ring.reap(&mut completions);
        for completion in completions.drain(..) {
            self.step(now, Input::Completed(completion));
        }
        self.completions = completions;
        while let Ok(command) = self.commands.try_recv() {
            self.step(now, Input::Command(command));
            busy = true;
        }
        if self
            .shard
            .next_deadline()
            .is_some_and(|due| due <= now.monotonic)
        {
            self.step(now, Input::Tick);
            busy = true;
        }
        self.shard.flush(now, &mut self.effects);
        busy |= !self.effects.actions.is_empty() || !self.effects.jobs.is_empty();
        for (ticket, action) in self.effects.actions.drain(..) {
            self.ring.submit(ticket, action);
        }
        busy
    }
}

/// As many commands as wait for a real shard.
const MAILBOX_LENGTH: usize = 1_024;
