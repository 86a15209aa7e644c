//! What ends the broker's lives, how it begins the next, and how it comes to rest.

use std::hash::Hash;
use std::time::Duration;

use millrace_engine::types::{Offset, TopicIdPartition};

use super::{ANSWER_ROUNDS_MAX, World};
use crate::faults::{Blow, Step, amid_start};
use crate::invariants::{
    Verdict, Violation, acknowledged_survives, everyone_is_answered, files_agree,
};
use crate::topics::CACHED;

impl World {
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

    /// Lets the compactions that run come to their end, and begins no others.
    pub(crate) fn stop_compacting(&mut self) {
        self.machine.compact(false);
        self.machine.sim.set_capacity_bytes(1 << 40);
        self.come_to_rest();
        // One that was put off goes on.
        self.machine.pass(Duration::from_millis(1_100));
        self.come_to_rest();
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
            Blow::Amid { changes, power_cut } => {
                if !self.machine.sim.stands_still() {
                    self.machine.sim.stand_still_after(changes);
                }
                self.end_amid(power_cut)?;
            }
            Blow::At { step, power_cut } => {
                self.machine.sim.stand_still_at(step.0, step.1);
                if self.end_amid(power_cut)? {
                    *self.ends_at.entry(step).or_default() += 1;
                }
            }
            Blow::Stop { then_power_cut } => {
                let in_order = self.machine.stop(&mut self.random);
                self.hear()?;
                self.stops_in_order += u64::from(in_order);
                if in_order {
                    self.checkers.settled();
                    let (disk, report) = (self.machine.sim.disk(), self.machine.verify());
                    files_agree::check(&disk, &report)?;
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
        if blow.cuts_power() {
            self.power_failed();
        }
        Ok(())
    }

    /// Lets the broker go on until it stands still, or long enough, and ends it there. Whether it stood still.
    fn end_amid(&mut self, power_cut: bool) -> Result<bool, Violation> {
        for _ in 0..ROUNDS_AMID_MAX {
            if self.machine.sim.stands_still() {
                break;
            }
            self.machine.pump(&mut self.random);
            self.machine.pass(Duration::from_millis(2));
            if self.random.chance(1, self.metadata_rest) {
                self.change_metadata()?;
            }
            self.use_consumer();
            self.hear()?;
        }
        self.hear()?;
        let stood_still = self.machine.sim.stands_still();
        if power_cut {
            self.machine.cut_power();
        } else {
            self.machine.kill(&mut self.random);
        }
        Ok(stood_still)
    }

    /// Starts the broker, which may be struck again while it starts and while it recovers, and then again.
    pub(crate) fn start(&mut self) -> Verdict {
        while self.random.chance(1, 3) {
            let power_cut = self.random.chance(1, 2);
            let started = match self.random.below(6) {
                0..=2 => {
                    let changes = self.random.below(40);
                    self.machine.sim.stand_still_after(changes);
                    self.try_start()?
                }
                3 => {
                    let step = amid_start(&mut self.random);
                    self.start_towards(step)?
                }
                _ => self.try_start()?,
            };
            if started {
                for _ in 0..self.random.below(12) {
                    self.machine.run_job(&mut self.random);
                    self.machine.deliver(0);
                }
            }
            let blow = if self.machine.sim.stands_still() {
                Blow::Amid {
                    changes: 0,
                    power_cut,
                }
            } else {
                self.machine.sim.go_on();
                Blow::choose(&mut self.random)
            };
            self.strike(blow)?;
        }
        self.begin()
    }

    /// Starts the broker, which stands still when it comes to this. Whether it runs.
    pub(crate) fn start_towards(&mut self, step: Step) -> Result<bool, Violation> {
        self.machine.sim.stand_still_at(step.0, step.1);
        let started = self.try_start()?;
        if self.machine.sim.stands_still() {
            *self.ends_at.entry(step).or_default() += 1;
        }
        Ok(started)
    }

    /// Starts the broker in peace.
    pub(crate) fn begin(&mut self) -> Verdict {
        self.machine.sim.go_on();
        self.try_start().map(|_| ())
    }

    fn try_start(&mut self) -> Result<bool, Violation> {
        let started = self.machine.try_start();
        let started = started.map_err(|error| acknowledged_survives::refused(&error))?;
        if started {
            self.journal_failed = false;
            let image = &self.machine.controller.image;
            self.checkers.metadata.started(image)?;
        }
        Ok(started)
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
        let consumers = &self.consumers;
        if let Some(consumer) = consumers.iter().find(|one| one.pending.is_some()) {
            return Some(format!("a consumer of {}", consumer.group));
        }
        if let Some(group) = self.groups.iter().find(|group| group.pending.is_some()) {
            return Some(group.name.clone());
        }
        (!self.deletions.is_empty()).then(|| "a DeleteRecords".to_owned())
    }
}

const EIO: i32 = 5;
const ROUNDS_AMID_MAX: usize = 80;
