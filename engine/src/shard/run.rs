//! The thin loop around a shard on a real thread: it waits for whatever comes next, lets the shard step, and carries
//! out the effects. Everything with a decision in it is in `step`.

use std::future::{poll_fn, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{spawn_local, yield_now};
use tokio::time::{Instant, Sleep, sleep};

use super::command::Command;
use super::helm::Helm;
use super::step::Input;
use crate::control::ControlHandle;
use crate::io::{Action, Clock, Completion, LocalRing, Ticket};
use crate::maintenance::{Done, JobId};
use crate::metadata::MetadataImage;
use crate::types::Monotonic;

/// What a shard's loop listens to and acts through.
pub(super) struct Loop {
    pub(super) helm: Arc<Helm>,
    pub(super) clock: Clock,
    pub(super) ring: LocalRing,
    pub(super) image: watch::Receiver<Arc<MetadataImage>>,
    pub(super) control: ControlHandle,
    pub(super) results: mpsc::Receiver<(JobId, Done)>,
    pub(super) stop: oneshot::Receiver<()>,
}

impl Loop {
    /// Runs until told to stop and everything is closed. True when all logs were closed in order.
    pub(super) async fn run(mut self) -> bool {
        let helm = Arc::clone(&self.helm);
        let mut actions: Vec<(Ticket, Action)> = Vec::new();
        let mut commands = Vec::new();
        let mut completions: Vec<Completion> = Vec::new();
        let mut stopping = false;
        let mut alarm = Alarm::new();
        helm.take().adopt_image();
        loop {
            {
                let mut helmed = helm.take();
                helmed.hand_out(&mut actions);
                if let Some(in_order) = helmed.shard().stopped() {
                    helmed.close();
                    return in_order;
                }
                for failed in helmed.failed_directories() {
                    spawn_local(failed.report(helmed.shard().broker(), self.control.clone()));
                }
                alarm.set(helmed.shard().next_deadline(), &self.clock);
                helmed.set_alarm(alarm.due);
            }
            for (ticket, action) in actions.drain(..) {
                self.ring.submit(ticket, action);
            }
            // What was too much for one turn goes on after a turn of the others.
            let goes_on = !commands.is_empty();
            if goes_on {
                yield_now().await;
            }
            tokio::select! {
                biased;
                () = self.ring.ready() => {}
                Some((id, done)) = self.results.recv() => helm.take().step(Input::Done(id, done)),
                _ = &mut self.stop, if !stopping => {
                    stopping = true;
                    helm.take().step(Input::Stop);
                }
                Ok(()) = self.image.changed() => {}
                1.. = poll_fn(|context| helm.take().poll_draw(context, &mut commands)),
                    if !goes_on => {}
                () = helm.left() => {}
                () = &mut alarm.sleep => alarm.rang(),
                () = ready(()), if goes_on => {}
            }
            // However busy the ring is, results and commands get their turn in every round.
            {
                let mut helmed = helm.take();
                // No more than there are jobs out: others are handed out only in the next round.
                while let Ok((id, done)) = self.results.try_recv() {
                    helmed.step(Input::Done(id, done));
                }
                helmed.draw(&mut commands);
            }
            gather(&helm, &mut commands, GATHER_MAX).await;
            self.ring.reap(&mut completions);
            helm.take().take_in(&mut completions, &mut commands);
        }
    }
}

/// Where several commands are in hand, more are on their way: what comes within one look at the sockets, and within another for
/// each that brought something, joins them, and batches of one partition leave as one write. A command that is alone goes on.
/// Looks end when they have taken `most`.
async fn gather(helm: &Helm, commands: &mut Vec<Command>, most: Duration) {
    let begun = Instant::now();
    let mut before = 1;
    while commands.len() > before && begun.elapsed() < most {
        before = commands.len();
        yield_now().await;
        helm.take().draw(commands);
    }
}

/// Rings no later than asked for. A timer that is set again and again for an earlier moment than its thread knows of costs the
/// thread a system call and a look at its sockets each time; and most deadlines are taken back long before they come. So the
/// alarm is moved forward only, and what rings for nothing is one step without news.
struct Alarm {
    sleep: Pin<Box<Sleep>>,
    /// When it will ring; `None` when it has.
    due: Option<Monotonic>,
}

impl Alarm {
    fn new() -> Self {
        Self {
            sleep: Box::pin(sleep(PAUSE_MAX)),
            due: None,
        }
    }

    fn set(&mut self, deadline: Option<Monotonic>, clock: &Clock) {
        if let Some(due) = self.due
            && deadline.is_none_or(|deadline| due <= deadline)
        {
            return;
        }
        let now = clock.now().monotonic;
        let pause = deadline.map_or(PAUSE_MAX, |deadline| now.until(deadline).min(PAUSE_MAX));
        self.sleep.as_mut().reset(Instant::now() + pause);
        self.due = Some(now.after(pause));
    }

    const fn rang(&mut self) {
        self.due = None;
    }
}

/// The longest that commands in hand wait for others.
const GATHER_MAX: Duration = Duration::from_micros(100);
/// The longest sleep; only bounds the arithmetic.
const PAUSE_MAX: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::control::Desk;
    use crate::io::Sim;
    use crate::maintenance::Job;
    use crate::partition::Acks;
    use crate::record::BatchBuilder;
    use crate::shard::command::{MeasureDirectories, Produce, ProducePartition};
    use crate::shard::helm::Tackle;
    use crate::shard::helm::tests::{bench, fetch, idle_pool};
    use crate::shard::step::Effects;
    use crate::shard::step::tests::{NOW, bench_on, partition, registered};
    use crate::types::TopicIdPartition;

    const HOUR: Duration = Duration::from_secs(3_600);

    /// A small batch for `id`, and for a partition that is not there so much that nothing else fits in the turn: the loop
    /// goes on with others in hand, and each of its rounds has something to write.
    fn produce(id: TopicIdPartition) -> Command {
        let mut builder = BatchBuilder::new();
        builder.push(NOW.wall, None, Some(b"value"), &[]);
        let small = (id, builder.build());
        let large = (partition(0), Bytes::from(vec![0; 2 << 20]));
        let entry = |(partition, records)| ProducePartition {
            partition,
            records,
            zstd_allowed: true,
        };
        Command::Produce(Produce {
            partitions: [small, large].into_iter().map(entry).collect(),
            acks: Acks::All,
            timeout: HOUR,
            reply: oneshot::channel().0,
        })
    }

    /// Its ring has always done something when it is asked, as under a load of small writes.
    #[tokio::test]
    async fn what_a_job_came_to_is_taken_in_soon_however_much_is_written() {
        let sim = Sim::new(1);
        let opened = bench_on(&sim, "t", 1, 1);
        let (id, mut shard) = (opened.partitions[0], opened.shard);
        let (reply, mut measured) = oneshot::channel();
        let measure = Command::MeasureDirectories(MeasureDirectories { reply });
        let mut effects = Effects::default();
        shard.step(NOW, Input::Command(measure), &mut effects);
        let Some((job, Job::Measure(_))) = effects.jobs.pop() else {
            panic!("the directories are measured by a job");
        };

        let (_desk, control) = Desk::new(registered(&sim));
        let (clock, _) = Clock::sim(NOW.wall);
        let (mailbox, commands) = mpsc::channel(4);
        let (results_sender, results) = mpsc::channel(1);
        let (_images, image) = watch::channel(Arc::clone(shard.image()));
        let (_stop, stop) = oneshot::channel();
        let tackle = Tackle {
            clock: clock.clone(),
            image: image.clone(),
            pool: idle_pool(&sim),
            results: results_sender.clone(),
        };
        let shard_loop = Loop {
            helm: Arc::new(Helm::new(shard, commands, tackle)),
            clock,
            ring: LocalRing::new(sim.ring()).unwrap(),
            image,
            control,
            results,
            stop,
        };

        let busy = async {
            for turn in 0..120 {
                while mailbox.try_send(produce(id)).is_ok() {}
                // By then the loop has all in hand that it takes, and goes through a round in two turns.
                if turn == 100 {
                    let done = Done::Measured(Vec::new());
                    results_sender.try_send((job, done)).unwrap();
                }
                yield_now().await;
            }
        };
        tokio::select! {
            biased;
            _ = shard_loop.run() => unreachable!(),
            () = busy => {}
        }
        assert!(measured.try_recv().is_ok());
    }

    #[tokio::test]
    async fn several_commands_wait_for_those_that_come_meanwhile_and_one_alone_does_not() {
        let bench = bench();
        let send = || {
            let command = fetch(Duration::ZERO).0;
            bench.mailbox.try_send(command).unwrap();
        };
        let mut commands = Vec::new();
        send();
        bench.helm.take().draw(&mut commands);
        let late = async { send() };
        tokio::join!(biased; gather(&bench.helm, &mut commands, HOUR), late);
        assert_eq!(commands.len(), 1);
        bench.helm.take().draw(&mut commands);
        let late = async {
            send();
            yield_now().await;
            send();
        };
        tokio::join!(biased; gather(&bench.helm, &mut commands, HOUR), late);
        assert_eq!(commands.len(), 4);
    }
}
