//! The helm of a shard: the shard with all that a step of it needs but the ring. One thread at a time holds it.
//!
//! It is the shard's own thread, which nobody disturbs while it is awake. While it sleeps, a thread with a small command for the
//! shard steps it in its stead: to wake the other thread and be woken by it costs ten times the work itself. What only the
//! own thread can do (entries for its ring, an earlier alarm) is left for it, and then it is woken.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll};

use tokio::sync::{Notify, mpsc, watch};

use super::command::Command;
use super::directories::FailedDirectory;
use super::step::{Effects, Input, Shard};
use crate::io::{Action, Clock, Completion, Ticket, perform_at_once};
use crate::maintenance::{Done, JobId, PoolHandle};
use crate::metadata::MetadataImage;
use crate::types::Monotonic;

/// The helm of one shard, as all threads see it.
#[derive(Debug)]
pub(super) struct Helm {
    shard: Mutex<Helmed>,
    /// Whether the shard's thread sleeps, or is about to: only a hint.
    asleep: AtomicBool,
    /// Something was left for the shard's own thread.
    left: Notify,
}

/// A shard and what a step of it needs.
#[derive(Debug)]
pub(super) struct Helmed {
    shard: Shard,
    clock: Clock,
    commands: mpsc::Receiver<Command>,
    /// Whether the shard's thread has drawn commands that it has not taken in yet.
    in_hand: bool,
    image: watch::Receiver<Arc<MetadataImage>>,
    pool: PoolHandle,
    results: mpsc::Sender<(JobId, Done)>,
    effects: Effects,
    /// When the shard's thread wakes up by itself.
    alarm: Option<Monotonic>,
}

/// What a step needs besides the shard and its commands.
#[derive(Debug)]
pub(super) struct Tackle {
    pub(super) clock: Clock,
    /// Where images come from.
    pub(super) image: watch::Receiver<Arc<MetadataImage>>,
    /// Who runs jobs.
    pub(super) pool: PoolHandle,
    /// Where the results of jobs go.
    pub(super) results: mpsc::Sender<(JobId, Done)>,
}

impl Helm {
    pub(super) fn new(shard: Shard, commands: mpsc::Receiver<Command>, tackle: Tackle) -> Self {
        let Tackle {
            clock,
            image,
            pool,
            results,
        } = tackle;
        Self {
            shard: Mutex::new(Helmed {
                shard,
                clock,
                commands,
                in_hand: false,
                image,
                pool,
                results,
                effects: Effects::default(),
                alarm: None,
            }),
            asleep: AtomicBool::new(false),
            left: Notify::new(),
        }
    }

    /// The helm, for the shard's own thread. Another holds it for some microseconds at most.
    pub(super) fn take(&self) -> MutexGuard<'_, Helmed> {
        self.shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Steps a sleeping shard on the thread of whoever has `command` for it.
    ///
    /// # Errors
    /// The command, which has to go by the mailbox: the shard's thread is awake, or has commands that came before, or the command
    /// is better done there.
    #[expect(
        clippy::result_large_err,
        reason = "it is not an error, and goes on to the mailbox as it is"
    )]
    pub(super) fn steer(&self, command: Command) -> Result<(), Command> {
        if !self.asleep.load(Ordering::Acquire) || !is_light(&command) {
            return Err(command);
        }
        let mut helmed = match self.shard.try_lock() {
            Ok(helmed) => helmed,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return Err(command),
        };
        if !helmed.is_free() {
            return Err(command);
        }
        let owner_is_needed = helmed.steer(command);
        drop(helmed);
        if owner_is_needed {
            self.left.notify_one();
        }
        Ok(())
    }

    /// To be called by the shard's thread before it sleeps, and when it has woken up.
    pub(super) fn sleeps(&self, asleep: bool) {
        self.asleep.store(asleep, Ordering::Release);
    }

    /// Waits until something was left for the shard's own thread.
    pub(super) async fn left(&self) {
        self.left.notified().await;
    }
}

impl Helmed {
    /// The shard, to look at.
    pub(super) const fn shard(&self) -> &Shard {
        &self.shard
    }

    /// Draws commands that came by the mailbox, at most as many as one turn takes in, for the shard's thread; waits for the first.
    pub(super) fn poll_draw(
        &mut self,
        context: &mut Context<'_>,
        commands: &mut Vec<Command>,
    ) -> Poll<usize> {
        let count = self
            .commands
            .poll_recv_many(context, commands, COMMANDS_PER_TURN);
        self.in_hand |= !commands.is_empty();
        count
    }

    /// Draws what came since, if it still fits in the turn.
    pub(super) fn draw(&mut self, commands: &mut Vec<Command>) {
        while commands.len() < COMMANDS_PER_TURN {
            let Ok(command) = self.commands.try_recv() else {
                break;
            };
            commands.push(command);
        }
        self.in_hand |= !commands.is_empty();
    }

    /// Whether another than the shard's thread may use the helm: nothing that the same connection sent before may be overtaken.
    /// That lies in the mailbox, or was drawn already.
    fn is_free(&self) -> bool {
        self.commands.is_empty() && !self.commands.is_closed() && !self.in_hand
    }

    /// Takes in one thing that happened.
    pub(super) fn step(&mut self, input: Input) {
        self.shard.step(self.clock.now(), input, &mut self.effects);
    }

    /// Takes in what came at one moment: what the ring has done, then commands, which are never older than the image that their
    /// sender saw. Commands beyond what one turn may take stay in hand.
    pub(super) fn take_in(
        &mut self,
        completions: &mut Vec<Completion>,
        commands: &mut Vec<Command>,
    ) {
        self.adopt_news();
        let now = self.clock.now();
        for completion in completions.drain(..) {
            let input = Input::Completed(completion);
            self.shard.step(now, input, &mut self.effects);
        }
        for command in commands.drain(..taken_in_one_turn(commands)) {
            let input = Input::Command(command);
            self.shard.step(now, input, &mut self.effects);
        }
        self.in_hand = !commands.is_empty();
        self.shard.step(now, Input::Tick, &mut self.effects);
    }

    /// Adopts the newest image if it is another than before.
    fn adopt_news(&mut self) {
        // An error says that nothing new will come.
        if self.image.has_changed().unwrap_or(false) {
            self.adopt_image();
        }
    }

    /// Adopts the newest image.
    pub(super) fn adopt_image(&mut self) {
        let image = Arc::clone(&self.image.borrow_and_update());
        if !Arc::ptr_eq(&image, self.shard.image()) {
            self.step(Input::Image(image));
        }
    }

    /// Hands jobs out, and to the caller what the disk has to do. Swaps with `actions`, which is empty.
    pub(super) fn hand_out(&mut self, actions: &mut Vec<(Ticket, Action)>) {
        self.shard.flush(self.clock.now(), &mut self.effects);
        std::mem::swap(actions, &mut self.effects.actions);
        for (id, job) in self.effects.jobs.drain(..) {
            // The pool's queue has room for every job that shards may have out; it refuses only when it is gone.
            if self.pool.order(id, job, &self.results).is_err() {
                tracing::error!("the maintenance threads are gone");
            }
        }
    }

    /// Log directories that were found to have failed since the last call, for the shard's own thread to report.
    pub(super) fn failed_directories(&mut self) -> Vec<FailedDirectory> {
        std::mem::take(&mut self.effects.failed_directories)
    }

    /// Notes when the shard's thread will wake up by itself.
    pub(super) const fn set_alarm(&mut self, due: Option<Monotonic>) {
        self.alarm = due;
    }

    /// Takes no more commands; those that came are dropped, which tells their senders that the shard has stopped.
    pub(super) fn close(&mut self) {
        self.commands.close();
        while self.commands.try_recv().is_ok() {}
    }

    /// Deals with `command` as far as it goes without the ring. True when the shard's own thread has to go on.
    fn steer(&mut self, command: Command) -> bool {
        self.adopt_news();
        self.step(Input::Command(command));
        let mut actions = Vec::new();
        let mut left = Vec::new();
        loop {
            self.hand_out(&mut actions);
            if actions.is_empty() {
                break;
            }
            for (ticket, action) in actions.drain(..) {
                match perform_at_once(action) {
                    Ok(result) => self.step(Input::Completed(Completion { ticket, result })),
                    Err(action) => left.push((ticket, action)),
                }
            }
        }
        let is_earlier = self
            .shard
            .next_deadline()
            .is_some_and(|deadline| self.alarm.is_none_or(|alarm| deadline < alarm));
        // Before those of the next round.
        self.effects.actions = left;
        let has_work =
            !self.effects.actions.is_empty() || !self.effects.failed_directories.is_empty();
        has_work || is_earlier
    }
}

/// How many of `commands` are taken in before others have their turn: all, unless it is very much; the first always.
fn taken_in_one_turn(commands: &[Command]) -> usize {
    let mut bytes = 0;
    let fit = commands.iter().take_while(|command| {
        bytes += bytes_to_append(command);
        bytes <= BYTES_PER_TURN
    });
    fit.count().max(1).min(commands.len())
}

/// The bytes that a command has to be checked and written.
fn bytes_to_append(command: &Command) -> usize {
    let Command::Produce(produce) = command else {
        return 0;
    };
    let sizes = produce.partitions.iter().map(|batch| batch.records.len());
    sizes.sum()
}

/// Whether dealing with a command costs less than waking another thread for it.
fn is_light(command: &Command) -> bool {
    match command {
        Command::Produce(_) => bytes_to_append(command) <= LIGHT_BYTES_MAX,
        Command::Fetch(_)
        | Command::FetchNews(_)
        | Command::WakeFetch(_)
        | Command::ForgetStanding(_)
        | Command::LookupOffsets(_) => true,
        Command::LookupEpochEnds(_)
        | Command::DeleteRecords(_)
        | Command::DescribeLogs(_)
        | Command::MeasureDirectories(_)
        | Command::DescribeProducers(_)
        | Command::Group(_) => false,
    }
}

/// Checking and writing this much takes about as long as waking a thread and being woken by it: 20 us.
const LIGHT_BYTES_MAX: usize = 20 << 10;
/// At most so many commands are taken in before their disk work is handed out.
const COMMANDS_PER_TURN: usize = 128;
/// And so many bytes to append, which take about a millisecond to check and to write.
const BYTES_PER_TURN: usize = 1 << 20;

#[cfg(test)]
pub(super) mod tests {
    use std::pin::pin;
    use std::task::Waker;
    use std::time::Duration;

    use bytes::Bytes;
    use tokio::sync::oneshot;

    use super::*;
    use crate::io::Sim;
    use crate::maintenance::{Checkpoints, Pool, PoolThreads};
    use crate::partition::Acks;
    use crate::shard::command::{Fetch, FetchId, Fetched, Produce, ProducePartition, Produced};
    use crate::shard::step::tests::{partition, settings};

    pub(in crate::shard) type Answer =
        oneshot::Receiver<Vec<Result<Fetched, crate::partition::ReadError>>>;

    pub(in crate::shard) struct Bench {
        pub(in crate::shard) helm: Helm,
        pub(in crate::shard) mailbox: mpsc::Sender<Command>,
        _results: mpsc::Receiver<(JobId, Done)>,
        _images: watch::Sender<Arc<MetadataImage>>,
    }

    /// A pool that does nothing.
    pub(in crate::shard) fn idle_pool(sim: &Sim) -> PoolHandle {
        let none = PoolThreads {
            files: 0,
            batches: 0,
            searches: 0,
            replays: 0,
        };
        let checkpoints = Arc::new(Checkpoints::default());
        Pool::start(none, 1, &sim.disk(), &checkpoints).unwrap().1
    }

    pub(in crate::shard) fn bench() -> Bench {
        let (mailbox, commands) = mpsc::channel(4);
        let (results, kept) = mpsc::channel(1);
        let (images, image) = watch::channel(Arc::new(MetadataImage::empty()));
        let pool = idle_pool(&Sim::new(1));
        let clock = Clock::real();
        let shard = Shard::new(settings(1), clock.now());
        let tackle = Tackle {
            clock,
            image,
            pool,
            results,
        };
        Bench {
            helm: Helm::new(shard, commands, tackle),
            mailbox,
            _results: kept,
            _images: images,
        }
    }

    /// A fetch of nothing, which is answered at once or waits for its deadline.
    pub(in crate::shard) fn fetch(wait: Duration) -> (Command, Answer) {
        let (reply, answer) = oneshot::channel();
        let fetch = Fetch {
            id: FetchId(1),
            partitions: Vec::new(),
            bytes_max: 1,
            bytes_min: u64::from(!wait.is_zero()),
            deadline: Clock::real().now().monotonic.after(wait),
            reply,
        };
        (Command::Fetch(fetch), answer)
    }

    /// A batch of so many bytes, which are not valid, for a partition that is not there: it is answered at once.
    fn produce(bytes: usize) -> (Command, oneshot::Receiver<Produced>) {
        let (reply, answer) = oneshot::channel();
        let batch = ProducePartition {
            partition: partition(0),
            records: Bytes::from(vec![0; bytes]),
            zstd_allowed: true,
        };
        let produce = Produce {
            partitions: [batch].into(),
            acks: Acks::All,
            timeout: Duration::from_secs(1),
            reply,
        };
        (Command::Produce(produce), answer)
    }

    fn owner_is_called(helm: &Helm) -> bool {
        let mut left = pin!(helm.left());
        left.as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    }

    #[test]
    fn a_sleeping_shard_is_stepped_by_whoever_has_a_command_and_an_awake_one_is_left_alone() {
        let bench = bench();
        let (command, _) = fetch(Duration::ZERO);
        let refused = bench.helm.steer(command);
        assert!(matches!(refused, Err(Command::Fetch(_))));
        let due = bench.helm.take().shard().next_deadline();
        bench.helm.take().set_alarm(due);
        bench.helm.sleeps(true);
        let (command, mut answer) = fetch(Duration::ZERO);
        bench.helm.steer(command).unwrap();
        assert!(answer.try_recv().unwrap().is_empty());
        assert!(!owner_is_called(&bench.helm));
        bench.helm.sleeps(false);
        assert!(bench.helm.steer(fetch(Duration::ZERO).0).is_err());
    }

    #[test]
    fn a_command_does_not_overtake_those_in_the_mailbox() {
        let bench = bench();
        bench.helm.sleeps(true);
        let (first, mut answer) = fetch(Duration::ZERO);
        bench.mailbox.try_send(first).unwrap();
        assert!(bench.helm.steer(fetch(Duration::ZERO).0).is_err());
        let mut commands = Vec::new();
        bench.helm.take().draw(&mut commands);
        // Drawn, and the helm is free: another thread may still take its owner to be asleep.
        assert!(bench.helm.steer(fetch(Duration::ZERO).0).is_err());
        bench.helm.take().take_in(&mut Vec::new(), &mut commands);
        assert!(answer.try_recv().is_ok());
        assert!(bench.helm.steer(fetch(Duration::ZERO).0).is_ok());
    }

    #[test]
    fn what_is_too_much_for_one_turn_stays_in_hand_in_order() {
        let bench = bench();
        bench.helm.sleeps(true);
        let sizes = [10, BYTES_PER_TURN - 10, 10, 2 * BYTES_PER_TURN, 10];
        let (mut commands, answers): (Vec<_>, Vec<_>) = sizes.into_iter().map(produce).unzip();
        let mut answers: Vec<_> = answers.into_iter().enumerate().collect();
        let mut take_in = || {
            let mut helmed = bench.helm.take();
            helmed.draw(&mut commands);
            helmed.take_in(&mut Vec::new(), &mut commands);
            drop(helmed);
            answers.retain_mut(|(_, answer)| answer.try_recv().is_err());
            let missing: Vec<_> = answers.iter().map(|(number, _)| *number).collect();
            let overtakes = bench.helm.steer(fetch(Duration::ZERO).0).is_ok();
            (missing, overtakes)
        };
        assert_eq!(take_in(), (vec![2, 3, 4], false));
        assert_eq!(take_in(), (vec![3, 4], false));
        assert_eq!(take_in(), (vec![4], false));
        assert_eq!(take_in(), (vec![], true));
    }

    #[test]
    fn the_owner_is_called_when_it_would_sleep_too_long() {
        let bench = bench();
        bench.helm.sleeps(true);
        let due = bench.helm.take().shard().next_deadline();
        bench.helm.take().set_alarm(due);
        let (late, mut answer) = fetch(Duration::from_secs(3_000));
        bench.helm.steer(late).unwrap();
        assert!(answer.try_recv().is_err(), "it waits");
        assert!(!owner_is_called(&bench.helm));
        let (soon, _answer) = fetch(Duration::from_secs(3));
        bench.helm.steer(soon).unwrap();
        assert!(owner_is_called(&bench.helm));
    }

    #[test]
    fn large_batches_and_a_shard_that_has_stopped_are_for_the_mailbox() {
        let bench = bench();
        bench.helm.sleeps(true);
        let (produce, _answer) = produce(LIGHT_BYTES_MAX + 1);
        assert!(bench.helm.steer(produce).is_err());
        bench.helm.take().close();
        assert!(bench.helm.steer(fetch(Duration::ZERO).0).is_err());
        assert!(bench.mailbox.try_send(fetch(Duration::ZERO).0).is_err());
    }
}
