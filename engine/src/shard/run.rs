//! The thin loop around a shard on a real thread: it waits for whatever comes next, lets the shard step, and carries
//! out the effects. Everything with a decision in it is in `step`.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::command::Command;
use super::step::{Effects, Input, Shard};
use crate::control::ControlHandle;
use crate::io::{Clock, Completion, LocalRing};
use crate::maintenance::{Done, JobId, PoolHandle};
use crate::metadata::MetadataImage;

/// What a shard's loop listens to and acts through.
pub(super) struct Loop {
    pub(super) shard: Shard,
    pub(super) clock: Clock,
    pub(super) ring: LocalRing,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) image: watch::Receiver<Arc<MetadataImage>>,
    pub(super) control: ControlHandle,
    pub(super) pool: PoolHandle,
    pub(super) results: mpsc::Receiver<(JobId, Done)>,
    pub(super) results_sender: mpsc::Sender<(JobId, Done)>,
    pub(super) stop: oneshot::Receiver<()>,
}

impl Loop {
    /// Runs until told to stop and everything is closed. True when all logs were closed in order.
    pub(super) async fn run(mut self) -> bool {
        let mut effects = Effects::default();
        let mut inbox = Vec::with_capacity(COMMANDS_PER_TURN);
        let mut completions: Vec<Completion> = Vec::new();
        let mut stopping = false;
        self.adopt_image(&mut effects);
        loop {
            self.carry_out(&mut effects);
            if let Some(in_order) = self.shard.stopped() {
                return in_order;
            }
            let pause = self.pause();
            tokio::select! {
                biased;
                () = self.ring.ready() => {}
                Some((id, done)) = self.results.recv() => {
                    let now = self.clock.now();
                    self.shard.step(now, Input::Done(id, done), &mut effects);
                }
                _ = &mut self.stop, if !stopping => {
                    stopping = true;
                    let now = self.clock.now();
                    self.shard.step(now, Input::Stop, &mut effects);
                }
                Ok(()) = self.image.changed() => {}
                1.. = self.commands.recv_many(&mut inbox, COMMANDS_PER_TURN) => {}
                () = tokio::time::sleep(pause) => {}
            }
            // However busy the ring is, commands get their turn in every round.
            while inbox.len() < COMMANDS_PER_TURN {
                let Ok(command) = self.commands.try_recv() else {
                    break;
                };
                inbox.push(command);
            }
            // A command is never older than the image its sender saw, so the image comes first.
            self.adopt_image(&mut effects);
            let now = self.clock.now();
            self.ring.reap(&mut completions);
            for completion in completions.drain(..) {
                self.shard
                    .step(now, Input::Completed(completion), &mut effects);
            }
            for command in inbox.drain(..) {
                self.shard.step(now, Input::Command(command), &mut effects);
            }
            self.shard.step(now, Input::Tick, &mut effects);
        }
    }

    fn adopt_image(&mut self, effects: &mut Effects) {
        let image = Arc::clone(&self.image.borrow_and_update());
        if !Arc::ptr_eq(&image, self.shard.image()) {
            self.shard
                .step(self.clock.now(), Input::Image(image), effects);
        }
    }

    fn carry_out(&mut self, effects: &mut Effects) {
        self.shard.flush(self.clock.now(), effects);
        for (ticket, action) in effects.actions.drain(..) {
            self.ring.submit(ticket, action);
        }
        for failed in effects.failed_directories.drain(..) {
            let report = failed.report(self.shard.broker(), self.control.clone());
            tokio::task::spawn_local(report);
        }
        for (id, job) in effects.jobs.drain(..) {
            // The pool's queue has room for every job that shards may have out; it refuses only when it is gone.
            if self.pool.order(id, job, &self.results_sender).is_err() {
                tracing::error!("the maintenance threads are gone");
            }
        }
    }

    fn pause(&self) -> Duration {
        let now = self.clock.now().monotonic;
        self.shard
            .next_deadline()
            .map_or(PAUSE_MAX, |due| now.until(due).min(PAUSE_MAX))
    }
}

/// How many commands are taken in before their disk work is handed out.
const COMMANDS_PER_TURN: usize = 128;
/// The longest sleep; only bounds the arithmetic.
const PAUSE_MAX: Duration = Duration::from_secs(3_600);
