//! The event loop of the generator: one thread, epoll, and a timer for loads with a pace.
//!
//! A run has a warm-up, a measured time, and an end in which everything sent is answered and everything acknowledged is
//! consumed. Figures cover the measured time only, which goes on until there are some.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

use super::clock::nanos;
use super::consumer::Consumer;
use super::process::{Process, Usage};
use super::producer::{Producer, Sending};
use super::system_calls::SystemCalls;
use crate::Outcome;

/// Connections and how they are driven.
pub(super) struct Load {
    pub(super) producers: Vec<Producer>,
    pub(super) consumers: Vec<Consumer>,
    /// Requests per second of all producers together; none: as many as their windows take.
    pub(super) rate: Option<f64>,
    /// Requests that each producer sends at most.
    pub(super) limit: u64,
    /// Whether consumers follow the producers, and have to reach their end.
    pub(super) tail: bool,
    /// Requests of all producers after which the measured time ends early; a quarter of it at most is warm-up.
    pub(super) budget: u64,
    /// Ends the measured time early, when somebody else says so.
    pub(super) over: Option<Arc<AtomicBool>>,
    /// Counts the broker's system calls in the measured time.
    pub(super) system_calls: Option<SystemCalls>,
}

/// What happened in the measured time.
pub(super) struct Measured {
    pub(super) seconds: f64,
    pub(super) cpu_seconds: f64,
    /// Of the generator itself.
    pub(super) own_cpu_seconds: f64,
    /// Times that threads of the broker left their cores.
    pub(super) switches: u64,
    /// Where they were to be counted.
    pub(super) system_calls: Option<u64>,
    pub(super) requests: u64,
    pub(super) fetches: u64,
    pub(super) batches_fetched: u64,
    /// From the intended moment of sending to the acknowledgement, in nanoseconds.
    pub(super) latency: Histogram<u64>,
    /// From the intended moment of sending to the consumer.
    pub(super) end_to_end: Histogram<u64>,
}

/// Counts at one moment.
struct Snapshot {
    at: u64,
    usage: Usage,
    own_cpu_seconds: f64,
    requests: u64,
    fetches: u64,
    batches_fetched: u64,
}

/// The moments at which paced requests are due.
struct Pace {
    begin: u64,
    interval: f64,
    given: u64,
    timer: TimerFd,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    WarmUp,
    Measured,
    End,
}

impl Load {
    /// Drives the load and says what it cost.
    pub(super) fn run(
        &mut self,
        process: Process,
        warm_up: Duration,
        measured: Duration,
    ) -> Outcome<Measured> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let both = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        for (index, producer) in self.producers.iter().enumerate() {
            epoll.add(
                &producer.stream,
                EpollEvent::new(both, u64::try_from(index)?),
            )?;
        }
        let incoming = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        for (index, consumer) in self.consumers.iter().enumerate() {
            let data = CONSUMERS + u64::try_from(index)?;
            epoll.add(&consumer.stream, EpollEvent::new(incoming, data))?;
        }
        let begin = nanos();
        let mut pace = self.rate.map(|rate| Pace::new(rate, begin)).transpose()?;
        if let Some(pace) = &pace {
            epoll.add(&pace.timer, EpollEvent::new(incoming, TIMER))?;
        }

        let mut timeline = self.tail.then(|| Vec::with_capacity(TIMELINE_CAPACITY));
        let mut scratch = vec![0; SCRATCH_BYTES];
        let mut events = vec![EpollEvent::empty(); EVENTS_MAX];
        let mut latency = histogram()?;
        let mut end_to_end = histogram()?;
        let warm_until = begin + u64::try_from(warm_up.as_nanos())?;
        let measured = u64::try_from(measured.as_nanos())?;
        let mut measure_until = warm_until + measured;
        let mut phase = Phase::WarmUp;
        let mut first = None;
        let mut last = None;
        let mut system_calls = None;
        for consumer in &mut self.consumers {
            consumer.ask()?;
        }
        let mut now = begin;
        self.send(now, &mut pace, phase, &mut timeline)?;
        loop {
            let answered = self.answered();
            if phase == Phase::WarmUp && (now >= warm_until || answered >= self.budget / 4) {
                let begun = self.snapshot(process)?;
                // The warm-up may have taken longer than it should.
                measure_until = measure_until.max(begun.at + measured);
                first = Some(begun);
                if let Some(system_calls) = &mut self.system_calls {
                    system_calls.begin()?;
                }
                phase = Phase::Measured;
            }
            let spent = answered >= self.budget || self.is_spent();
            let over = now >= measure_until || self.is_over();
            let told = || first.as_ref().is_some_and(|first| self.tells_since(first));
            if phase == Phase::Measured && (spent || (over && told())) {
                let counted = self.system_calls.take().map(SystemCalls::finish);
                system_calls = counted.transpose()?;
                last = Some(self.snapshot(process)?);
                phase = Phase::End;
            }
            if phase == Phase::End && self.is_finished() {
                break;
            }
            if now > measure_until + END_NANOS_MAX {
                return Err(self.unfinished().into());
            }
            let count = epoll.wait(&mut events, EpollTimeout::from(TURN_MILLIS))?;
            now = nanos();
            for event in &events[..count] {
                let stopped = phase == Phase::End && self.has_caught_up(event.data());
                self.handle(
                    *event,
                    stopped,
                    &mut scratch,
                    timeline.as_ref(),
                    (phase == Phase::Measured).then_some((&mut latency, &mut end_to_end)),
                )?;
            }
            self.send(now, &mut pace, phase, &mut timeline)?;
        }
        let (first, last) = first.zip(last).ok_or("nothing was measured")?;
        Ok(Measured {
            seconds: (last.at - first.at) as f64 / 1e9,
            cpu_seconds: last.usage.seconds_since(&first.usage),
            own_cpu_seconds: last.own_cpu_seconds - first.own_cpu_seconds,
            switches: last.usage.switches_since(&first.usage),
            system_calls,
            requests: last.requests - first.requests,
            fetches: last.fetches - first.fetches,
            batches_fetched: last.batches_fetched - first.batches_fetched,
            latency,
            end_to_end,
        })
    }

    fn handle(
        &mut self,
        event: EpollEvent,
        stopped: bool,
        scratch: &mut [u8],
        timeline: Option<&Vec<u64>>,
        histograms: Option<(&mut Histogram<u64>, &mut Histogram<u64>)>,
    ) -> Outcome<()> {
        let (latency, end_to_end) = histograms.unzip();
        match event.data() {
            TIMER => Ok(()),
            data if data >= CONSUMERS => {
                let consumer = &mut self.consumers[usize::try_from(data - CONSUMERS)?];
                consumer.receive(scratch, stopped, nanos, timeline, end_to_end)
            }
            data => {
                let producer = &mut self.producers[usize::try_from(data)?];
                if event.events().contains(EpollFlags::EPOLLIN) {
                    producer.receive(nanos, latency)?;
                }
                Ok(())
            }
        }
    }

    fn send(
        &mut self,
        now: u64,
        pace: &mut Option<Pace>,
        phase: Phase,
        timeline: &mut Option<Vec<u64>>,
    ) -> Outcome<()> {
        let sending = match (phase, &pace) {
            (Phase::End, _) => Sending::Stopped,
            (_, Some(_)) => Sending::Paced,
            (_, None) => Sending::Free,
        };
        if let (Sending::Paced, Some(pace)) = (sending, pace) {
            pace.give(now, &mut self.producers)?;
        }
        for producer in &mut self.producers {
            producer.send(now, sending, self.limit, timeline)?;
        }
        Ok(())
    }

    /// Whether all that may be sent was sent and answered.
    fn is_spent(&self) -> bool {
        let spent = |producer: &Producer| producer.answered >= self.limit;
        !self.producers.is_empty() && self.producers.iter().all(spent)
    }

    /// Whether everybody's figures since then are of something: on a busy machine a time may pass in which nothing is answered.
    fn tells_since(&self, first: &Snapshot) -> bool {
        let answered = self.producers.is_empty() || self.answered() > first.requests;
        let fetched = self.consumers.is_empty() || self.fetched() > first.batches_fetched;
        answered && fetched
    }

    fn is_over(&self) -> bool {
        let over = self.over.as_ref();
        over.is_some_and(|over| over.load(Ordering::Relaxed))
    }

    /// Whether this consumer, or whatever it is, has got all there is for it.
    fn has_caught_up(&self, data: u64) -> bool {
        let index = data.checked_sub(CONSUMERS).map(usize::try_from);
        let Some(Ok(index)) = index else { return true };
        let consumer = self.consumers.get(index);
        !self.tail || consumer.is_none_or(|consumer| consumer.batches >= self.sent())
    }

    fn is_finished(&self) -> bool {
        let caught_up = |consumer: &Consumer| !self.tail || consumer.batches >= self.sent();
        self.producers.iter().all(Producer::is_idle) && self.consumers.iter().all(caught_up)
    }

    fn unfinished(&self) -> String {
        let idle = self.producers.iter().filter(|producer| producer.is_idle());
        format!(
            "{} of {} producers have all their answers; of {} batches the consumers saw {:?}",
            idle.count(),
            self.producers.len(),
            self.sent(),
            self.consumers
                .iter()
                .map(|consumer| consumer.batches)
                .collect::<Vec<_>>()
        )
    }

    fn answered(&self) -> u64 {
        let answered = self.producers.iter().map(|producer| producer.answered);
        answered.sum()
    }

    fn fetched(&self) -> u64 {
        self.consumers.iter().map(|consumer| consumer.batches).sum()
    }

    fn sent(&self) -> u64 {
        self.producers.iter().map(|producer| producer.sent).sum()
    }

    fn snapshot(&self, process: Process) -> Outcome<Snapshot> {
        let usage = getrusage(UsageWho::RUSAGE_SELF)?;
        let own = [usage.user_time(), usage.system_time()];
        let own = own.map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6);
        Ok(Snapshot {
            usage: process.usage()?,
            at: nanos(),
            own_cpu_seconds: own.iter().sum(),
            requests: self.answered(),
            fetches: self.consumers.iter().map(|consumer| consumer.answers).sum(),
            batches_fetched: self.fetched(),
        })
    }
}

impl Pace {
    fn new(rate: f64, begin: u64) -> Outcome<Self> {
        Ok(Self {
            begin,
            interval: 1e9 / rate,
            given: 0,
            timer: TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK)?,
        })
    }

    /// Hands what is due to the producers in turn, and sets the timer for what comes next.
    fn give(&mut self, now: u64, producers: &mut [Producer]) -> Outcome<()> {
        let mut next = self.due_at(self.given);
        let mut fresh = self.given == 0;
        while next <= now {
            let turn = usize::try_from(self.given)? % producers.len();
            producers[turn].due.push_back(next);
            self.given += 1;
            next = self.due_at(self.given);
            fresh = true;
        }
        if fresh {
            let at = TimeSpec::from_duration(Duration::from_nanos(next));
            let flags = TimerSetTimeFlags::TFD_TIMER_ABSTIME;
            self.timer.set(Expiration::OneShot(at), flags)?;
        }
        Ok(())
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a run lasts minutes, and its moments are not negative"
    )]
    fn due_at(&self, number: u64) -> u64 {
        self.begin + (number as f64 * self.interval) as u64
    }
}

/// From a microsecond to a minute, three digits.
pub(super) fn histogram() -> Outcome<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1_000, 60_000_000_000, 3)?)
}

const CONSUMERS: u64 = 1 << 32;
const TIMER: u64 = u64::MAX;
const EVENTS_MAX: usize = 64;
const TURN_MILLIS: u8 = 5;
const SCRATCH_BYTES: usize = 256 << 10;
const TIMELINE_CAPACITY: usize = 1 << 20;
/// How long the answers to what was sent may take.
const END_NANOS_MAX: u64 = 60_000_000_000;
