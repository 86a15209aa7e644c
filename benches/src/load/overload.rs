//! More than a broker can take: clients that are offered twice the sustainable rate, each of which sends what its window
//! lets it and gives up the rest, as a client library does when its buffer is full.
//!
//! The sustainable rate is found first, by the same clients sending as fast as answers come.

use std::time::Duration;

use hdrhistogram::Histogram;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::clock::nanos;
use super::figures::Figures;
use super::idle::settle;
use super::producer::{Producer, Sending};
use super::round::Round;
use super::run::{Load, histogram};
use super::scenario::Scenario;
use super::target::Target;
use crate::Outcome;

/// How long the parts take.
#[derive(Clone, Copy, Debug)]
pub struct OverloadTimes {
    /// Each measurement of the sustainable rate, and of latencies at half of it.
    pub calm: Duration,
    /// The overload.
    pub overload: Duration,
}

/// What was offered during some time, and what became of it.
struct Offered {
    offered: u64,
    /// Answered, per client.
    accepted: Vec<u64>,
    /// From sending to the acknowledgement, over the first and the second half.
    latency: [Histogram<u64>; 2],
    /// The p99 of each tenth of a second, in nanoseconds, and whether all that was offered could be sent.
    tenths: Vec<(u64, bool)>,
}

impl Scenario {
    /// Measures what the broker sustains, offers twice as much, and sees how soon it is itself again.
    ///
    /// # Errors
    /// The broker refuses anything, loses something that it acknowledged, or goes away.
    pub fn overload(&self, target: &Target, times: OverloadTimes) -> Outcome<Figures> {
        let process = target.process;
        let round = Round::begin(self, target, self.name)?;
        let mut load = round.load(self.connections)?;
        let measured = load.run(process, times.calm / 2, times.calm)?;
        let sustainable = measured.requests as f64 / measured.seconds;
        let calm = offer(&mut load, sustainable / 2.0, times.calm)?;
        settle(process)?;
        let resident_before = process.resident_bytes()?;
        process.forget_most_resident()?;

        let mut flood = offer(&mut load, sustainable * 2.0, times.overload)?;
        let resident_most = process.resident_bytes_max()?;
        // What is still in flight is the overload's, too: the time until full speed begins now.
        let after = offer(&mut load, sustainable / 2.0, times.calm)?;
        let again = load.run(process, times.calm / 2, times.calm)?;
        let calm_p99 = calm.quantile(0.99).max(CALM_NANOS_MIN);
        let calm_again = after
            .tenths
            .windows(CALM_TENTHS)
            .position(|tenths| {
                let calm = |&(p99, all_sent): &(u64, bool)| p99 <= 2 * calm_p99 && all_sent;
                tenths.iter().all(calm)
            })
            .unwrap_or(after.tenths.len());

        let seconds = times.overload.as_secs_f64();
        let accepted: u64 = flood.accepted.iter().sum();
        let mut figures = Figures::default();
        figures.push("sustainable requests/s", sustainable);
        figures.push("offered requests/s", flood.offered as f64 / seconds);
        figures.push("accepted requests/s", accepted as f64 / seconds);
        figures.push("calm p99 ms", calm.quantile(0.99) as f64 / 1e6);
        let least = flood.accepted.iter().min().copied().unwrap_or_default();
        let most = flood.accepted.iter().max().copied().unwrap_or_default();
        figures.push("least/most served", least as f64 / most.max(1) as f64);
        let halves = flood.latency.each_mut();
        let [first, second] = halves.map(|half| half.value_at_quantile(0.99) as f64 / 1e6);
        figures.push("first half p99 ms", first);
        figures.push("second half p99 ms", second);
        figures.push("max ms", flood.slowest() as f64 / 1e6);
        figures.push("resident before MB", resident_before as f64 / 1e6);
        figures.push("most resident MB", resident_most as f64 / 1e6);
        figures.push("calm again after s", calm_again as f64 / 10.0);
        let speed = again.requests as f64 / again.seconds / sustainable;
        figures.push("speed after/before", speed);
        figures.push("errors", 0.0);
        target.delete_topic(&round.topic)?;
        Ok(figures)
    }
}

impl Offered {
    fn new(clients: usize) -> Outcome<Self> {
        Ok(Self {
            offered: 0,
            accepted: vec![0; clients],
            latency: [histogram()?, histogram()?],
            tenths: Vec::new(),
        })
    }

    fn quantile(&self, quantile: f64) -> u64 {
        let halves = self.latency.iter();
        let values = halves.map(|half| half.value_at_quantile(quantile));
        values.max().unwrap_or_default()
    }

    fn slowest(&self) -> u64 {
        self.latency
            .iter()
            .map(Histogram::max)
            .max()
            .unwrap_or_default()
    }

    fn tenth(&mut self, elapsed: u64) -> Outcome<&mut (u64, bool)> {
        let number = usize::try_from(elapsed / TENTH_NANOS)?;
        if self.tenths.len() <= number {
            self.tenths.resize(number + 1, (0, true));
        }
        Ok(&mut self.tenths[number])
    }
}

/// Offers requests at `rate` to the clients in turn for so long. What a full window cannot take is given up.
fn offer(load: &mut Load, rate: f64, duration: Duration) -> Outcome<Offered> {
    let clients = load.producers.len();
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let both = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
    for (index, producer) in load.producers.iter().enumerate() {
        let event = EpollEvent::new(both, u64::try_from(index)?);
        epoll.add(&producer.stream, event)?;
    }
    let before: Vec<u64> = load.producers.iter().map(|one| one.answered).collect();
    let mut events = vec![EpollEvent::empty(); clients];
    let mut result = Offered::new(clients)?;
    let mut answers = histogram()?;
    let begin = nanos();
    let length = u64::try_from(duration.as_nanos())?;
    loop {
        let now = nanos();
        let elapsed = now - begin;
        if elapsed >= length {
            break;
        }
        let all_sent = give(load, &mut result, due_by(elapsed, rate))?;
        result.tenth(elapsed)?.1 &= all_sent;
        for producer in &mut load.producers {
            producer.send(now, Sending::Paced, u64::MAX, &mut None)?;
        }
        let count = epoll.wait(&mut events, EpollTimeout::from(TURN_MILLIS))?;
        for event in &events[..count] {
            let producer = &mut load.producers[usize::try_from(event.data())?];
            producer.receive(nanos, Some(&mut answers))?;
        }
        if (nanos() - begin) / TENTH_NANOS > elapsed / TENTH_NANOS {
            result.tenth(elapsed)?.0 = answers.value_at_quantile(0.99);
            let half = usize::from(elapsed > length / 2);
            result.latency[half].add(&answers)?;
            answers.reset();
        }
    }
    for ((sum, producer), before) in result
        .accepted
        .iter_mut()
        .zip(&mut load.producers)
        .zip(before)
    {
        *sum = producer.answered - before;
        producer.due.clear();
    }
    Ok(result)
}

/// Hands out requests until `due` have been offered in all; whether every client could take its own.
fn give(load: &mut Load, result: &mut Offered, due: u64) -> Outcome<bool> {
    let clients = load.producers.len();
    let now = nanos();
    let mut all_taken = true;
    while result.offered < due {
        let turn = usize::try_from(result.offered)? % clients;
        let producer: &mut Producer = &mut load.producers[turn];
        if producer.has_room() {
            producer.due.push_back(now);
        } else {
            all_taken = false;
        }
        result.offered += 1;
    }
    Ok(all_taken)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count of requests, which is not negative and far from 2^64"
)]
fn due_by(elapsed_nanos: u64, rate: f64) -> u64 {
    (elapsed_nanos as f64 / 1e9 * rate) as u64
}

const TENTH_NANOS: u64 = 100_000_000;
const TURN_MILLIS: u8 = 1;
/// How many tenths of a second in a row have to be calm.
const CALM_TENTHS: usize = 5;
/// Below this the disk's own moods decide.
const CALM_NANOS_MIN: u64 = 10_000_000;

#[cfg(test)]
mod tests {
    use millrace_server::Server;
    use millrace_server::config::{Sources, load};

    use super::*;
    use crate::Shape;
    use crate::load::{Kind, Process, scenario_named};

    /// The short form of `--bin overload`: what is asked of a moment's overload, whatever the machine.
    #[test]
    fn an_overloaded_broker_refuses_nothing_and_starves_nobody() {
        let _turn = crate::in_turn();
        let directory = tempfile::tempdir().unwrap();
        let overrides = [
            "listeners=PLAINTEXT://127.0.0.1:0".to_owned(),
            format!("log.dirs={}", directory.path().display()),
            "request.memory.bytes=1048576".to_owned(),
        ];
        let sources = Sources {
            file: None,
            environment: Vec::new(),
            overrides: overrides.to_vec(),
        };
        let broker = Server::start(load(&sources).unwrap()).unwrap();
        let target = Target {
            address: broker.addresses.first().unwrap().1,
            process: Process(std::process::id()),
            kind: Kind::Millrace,
        };
        let scenario = Scenario {
            shape: Shape::of(4, 1_024),
            connections: 16,
            ..*scenario_named("overload").unwrap()
        };
        let times = OverloadTimes {
            calm: Duration::from_millis(500),
            overload: Duration::from_secs(2),
        };
        let figures = scenario.overload(&target, times).unwrap();
        let value = |name| figures.value(name).unwrap();
        // It refused nothing, or there were no figures. How fairly and how soon, the machine decides, too.
        assert!(value("accepted requests/s") > 0.0, "{figures}");
        assert!(value("least/most served") > 0.0, "{figures}");
        assert!(broker.stop());
    }
}
