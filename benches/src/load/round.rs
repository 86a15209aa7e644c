//! A round of a scenario, from an empty topic to figures.

use std::net::TcpStream;
use std::rc::Rc;
use std::time::Duration;

use hdrhistogram::Histogram;
use millrace_engine::record::Compression;
use millrace_engine::types::Timestamp;
use millrace_wire::frame::response_frame;
use millrace_wire::message::FetchResponse;
use millrace_wire::message::fetch::{FetchResponsePartition, FetchResponseTopic, Records};

use super::clock::{nanos, unix_millis};
use super::consumer::Consumer;
use super::figures::Figures;
use super::floor::{FloorLayout, FloorSlot};
use super::frames::{FETCH_VERSION, FetchFrame, ProduceAnswer, ProduceFrames};
use super::idle::{idle, settle};
use super::parked::parked;
use super::producer::{Producer, ProducerPlan};
use super::read_back::read_back;
use super::run::{Load, Measured};
use super::scenario::{Durability, Scenario, Work};
use super::session::session;
use super::system_calls::SystemCalls;
use super::target::{Kind, Target, Topic};
use crate::{Client, Outcome};

/// How long a round takes.
#[derive(Clone, Copy, Debug)]
pub struct RoundTimes {
    /// Before anything is counted.
    pub warm_up: Duration,
    /// What is counted.
    pub measured: Duration,
    /// Bytes written after which the measured time ends early.
    pub bytes_max: u64,
    /// Whether everything is read again afterwards.
    pub read_back: bool,
    /// Whether the broker's system calls are counted, which costs it time.
    pub system_calls: bool,
}

impl Scenario {
    /// One round on a topic of its own, which is deleted afterwards.
    ///
    /// # Errors
    /// The broker refuses something, loses something, or goes away.
    pub fn round(&self, target: &Target, times: RoundTimes) -> Outcome<Figures> {
        if let Work::Idle(count) = self.work {
            return idle(target, count);
        }
        let name = format!("{}-{}", self.name, nanos());
        let round = Round::begin(self, target, &name)?;
        let figures = match self.work {
            Work::Produce => round.produce(times),
            Work::FirstWrites => round.first_writes(times),
            Work::CatchUp(consumers) => round.catch_up(consumers, times),
            Work::ColdCatchUp(bytes) => round.cold_catch_up(bytes, times),
            Work::Tail(consumers) => round.tail(consumers, times),
            Work::Session => session(target, &round.topic, &round.batch, times),
            Work::Parked(count) => parked(target, &round.topic, &round.batch, count, times),
            Work::Idle(_) | Work::Start => Err("this scenario has no rounds of requests".into()),
        };
        // Also after a round that failed: what it wrote would burden the next one.
        let deleted = target.delete_topic(&round.topic);
        let figures = figures?;
        deleted?;
        Ok(figures)
    }
}

/// A round with its topic and its frames.
pub(super) struct Round<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) target: &'a Target,
    pub(super) topic: Topic,
    pub(super) batch: bytes::Bytes,
    frames: ProduceFrames,
    answer: Rc<ProduceAnswer>,
}

impl<'a> Round<'a> {
    pub(super) fn begin(scenario: &'a Scenario, target: &'a Target, name: &str) -> Outcome<Self> {
        let topic = target.create_topic(name, scenario.partitions, scenario.durability)?;
        let time = Timestamp(unix_millis());
        let batch = scenario.shape.batch_at(time, Compression::None);
        let per_request = scenario.partitions_per_request;
        // Small requests leave together, as the client libraries do it; large ones one by one.
        let copies = (COPIES_BYTES / (batch.len() * usize::try_from(per_request)?))
            .clamp(1, scenario.window);
        let frames = ProduceFrames::new(&topic, &batch, per_request, scenario.acks, copies)?;
        let answer = Rc::new(ProduceAnswer::new(&topic, per_request)?);
        // What the round before left behind is not to be counted here.
        settle(target.process)?;
        let round = Self {
            scenario,
            target,
            topic,
            batch,
            frames,
            answer,
        };
        if target.kind == Kind::Floor {
            round.tell_floor()?;
        }
        Ok(round)
    }

    fn produce(&self, times: RoundTimes) -> Outcome<Figures> {
        let mut load = self.load(self.scenario.connections)?;
        let measured = self.measure(&mut load, times)?;
        let mut figures = self.costs(&measured)?;
        latencies(&mut figures, ACKNOWLEDGED, &measured.latency);
        self.memory(&mut figures)?;
        self.check(&[&load], times)?;
        Ok(figures)
    }

    fn first_writes(&self, times: RoundTimes) -> Outcome<Figures> {
        settle(self.target.process)?;
        let mut first = self.load(1)?;
        let requests = self.scenario.partitions / self.scenario.partitions_per_request;
        first.limit = u64::try_from(requests)?;
        let process = self.target.process;
        let before = process.usage()?;
        let begun = nanos();
        first.run(process, Duration::ZERO, FIRST_WRITES_MAX)?;
        let seconds = (nanos() - begun) as f64 / 1e9;
        settle(process)?;
        let first_cpu = process.usage()?.seconds_since(&before);

        let mut load = self.load(self.scenario.connections)?;
        let measured = self.measure(&mut load, times)?;
        let mut figures = self.costs(&measured)?;
        figures.push("first writes CPU-s", first_cpu);
        figures.push("first writes s", seconds);
        latencies(&mut figures, ACKNOWLEDGED, &measured.latency);
        self.memory(&mut figures)?;
        self.check(&[&first, &load], times)?;
        Ok(figures)
    }

    fn catch_up(&self, consumers: usize, times: RoundTimes) -> Outcome<Figures> {
        let process = self.target.process;
        let batches = CATCH_UP_BYTES / self.batch.len();
        let filling = self.fill(batches)?;
        settle(process)?;
        let mut load = self.load(0)?;
        let end = i64::try_from(batches * self.scenario.shape.record_count)?;
        for index in 0..consumers {
            let mut consumer = self.consumer()?;
            consumer.rewind_at = Some(end);
            // Not all at the same place.
            let place = batches * index / consumers * self.scenario.shape.record_count;
            consumer.offset = i64::try_from(place)?;
            load.consumers.push(consumer);
        }
        let measured = self.measure(&mut load, times)?;
        let gigabytes = self.value_gigabytes(measured.batches_fetched);
        let mut figures = Figures::default();
        figures.push("CPU-s/GB", measured.cpu_seconds / gigabytes);
        figures.push("MB/s", gigabytes * 1e3 / measured.seconds);
        figures.push("fetches/s", measured.fetches as f64 / measured.seconds);
        crossings(&mut figures, &measured, measured.fetches);
        self.processor(&mut figures, &measured);
        self.memory(&mut figures)?;
        self.check(&[&filling], times)?;
        Ok(figures)
    }

    fn tail(&self, consumers: usize, times: RoundTimes) -> Outcome<Figures> {
        let mut load = self.load(self.scenario.connections)?;
        for _ in 0..consumers {
            load.consumers.push(self.consumer()?);
        }
        load.tail = true;
        let measured = self.measure(&mut load, times)?;
        let batches = measured.requests + measured.batches_fetched;
        let gigabytes = self.value_gigabytes(batches);
        let mut figures = Figures::default();
        figures.push("CPU-s/GB", measured.cpu_seconds / gigabytes);
        let requests = measured.requests as f64;
        figures.push("CPU-us/request", measured.cpu_seconds * 1e6 / requests);
        figures.push("requests/s", requests / measured.seconds);
        figures.push("fetches/s", measured.fetches as f64 / measured.seconds);
        figures.push("MB/s", gigabytes * 1e3 / measured.seconds);
        crossings(&mut figures, &measured, measured.requests);
        self.processor(&mut figures, &measured);
        latencies(&mut figures, ACKNOWLEDGED, &measured.latency);
        latencies(&mut figures, END_TO_END, &measured.end_to_end);
        self.memory(&mut figures)?;
        self.check(&[&load], times)?;
        Ok(figures)
    }

    /// Appends so many batches as fast as it goes.
    pub(super) fn fill(&self, batches: usize) -> Outcome<Load> {
        let mut load = self.load(1)?;
        load.rate = None;
        load.limit = u64::try_from(batches)?;
        load.run(self.target.process, Duration::ZERO, FILL_MAX)?;
        Ok(load)
    }

    pub(super) fn load(&self, connections: usize) -> Outcome<Load> {
        let mut producers = Vec::new();
        for number in 0..connections {
            let identity = self
                .scenario
                .idempotent
                .then(|| self.target.producer_identity());
            let first_partition = i32::try_from(number)? * self.scenario.partitions_per_request;
            let plan = ProducerPlan {
                frames: self.frames.clone(),
                answer: Rc::clone(&self.answer),
                window: self.scenario.window,
                records_per_batch: i32::try_from(self.scenario.shape.record_count)?,
                identity: identity.transpose()?,
                first_partition: first_partition % self.scenario.partitions,
                partitions: self.scenario.partitions,
            };
            let stream = TcpStream::connect(self.target.address)?;
            producers.push(Producer::new(stream, plan)?);
        }
        Ok(Load {
            producers,
            consumers: Vec::new(),
            rate: self.scenario.rate,
            limit: u64::MAX,
            tail: false,
            budget: u64::MAX,
            over: None,
            system_calls: None,
        })
    }

    fn measure(&self, load: &mut Load, times: RoundTimes) -> Outcome<Measured> {
        let process = self.target.process;
        let counter = times.system_calls.then(|| SystemCalls::attach(process));
        load.system_calls = counter.transpose()?;
        load.budget = times.bytes_max / u64::try_from(self.frames.length())?;
        load.run(process, times.warm_up, times.measured)
    }

    pub(super) fn consumer(&self) -> Outcome<Consumer> {
        Consumer::new(
            TcpStream::connect(self.target.address)?,
            FetchFrame::new(&self.topic, 0, FETCH_BYTES)?,
            self.batch.len(),
            i64::try_from(self.scenario.shape.record_count)?,
        )
    }

    fn costs(&self, measured: &Measured) -> Outcome<Figures> {
        let batches = measured.requests * u64::try_from(self.scenario.partitions_per_request)?;
        let gigabytes = self.value_gigabytes(batches);
        let requests = measured.requests as f64;
        let records = batches * u64::try_from(self.scenario.shape.record_count)?;
        let mut figures = Figures::default();
        figures.push("CPU-s/GB", measured.cpu_seconds / gigabytes);
        figures.push("CPU-us/request", measured.cpu_seconds * 1e6 / requests);
        figures.push("requests/s", requests / measured.seconds);
        figures.push("MB/s", gigabytes * 1e3 / measured.seconds);
        figures.push("records/s", records as f64 / measured.seconds);
        crossings(&mut figures, measured, measured.requests);
        self.processor(&mut figures, measured);
        Ok(figures)
    }

    fn processor(&self, figures: &mut Figures, measured: &Measured) {
        figures.push("broker cores", measured.cpu_seconds / measured.seconds);
        figures.push(
            "generator cores",
            measured.own_cpu_seconds / measured.seconds,
        );
    }

    pub(super) fn memory(&self, figures: &mut Figures) -> Outcome<()> {
        let process = self.target.process;
        figures.push("resident MB", process.resident_bytes()? as f64 / 1e6);
        figures.push(
            "most resident MB",
            process.resident_bytes_max()? as f64 / 1e6,
        );
        Ok(())
    }

    /// Gigabytes of record values in so many batches.
    pub(super) fn value_gigabytes(&self, batches: u64) -> f64 {
        let shape = self.scenario.shape;
        batches as f64 * (shape.record_count * shape.value_bytes) as f64 / 1e9
    }

    pub(super) fn check(&self, loads: &[&Load], times: RoundTimes) -> Outcome<()> {
        if self.target.kind == Kind::Floor || !times.read_back {
            return Ok(());
        }
        let per_batch = u64::try_from(self.scenario.shape.record_count)?;
        let mut acknowledged = vec![0; usize::try_from(self.topic.partitions)?];
        for producer in loads.iter().flat_map(|load| &load.producers) {
            for (sum, batches) in acknowledged.iter_mut().zip(&producer.acknowledged) {
                *sum += batches * per_batch;
            }
        }
        read_back(self.target, &self.topic, &acknowledged)
    }

    fn tell_floor(&self) -> Outcome<()> {
        let fetch = FetchFrame::new(&self.topic, 0, FETCH_BYTES)?;
        let per_fetch = usize::try_from(FETCH_BYTES)? / self.batch.len() * self.batch.len();
        let (fetch_head, fetch_tail) = fetch_answer(&self.topic, per_fetch)?;
        let slots = self.frames.slots().iter().map(|slot| FloorSlot {
            index: slot.index,
            batch: slot.batch,
        });
        let layout = FloorLayout {
            round: nanos(),
            durable: self.topic.durability == Durability::Device,
            produce_length: self.frames.length(),
            produce_answer: self.answer.frame.to_vec(),
            slots: slots.collect(),
            batch_length: self.batch.len(),
            records_per_batch: i64::try_from(self.scenario.shape.record_count)?,
            fetch_head,
            fetch_tail,
            fetch_bytes: per_fetch,
            fetch_offset: fetch.offset,
        };
        Client::connect(self.target.address)?.exchange(&layout.encode())
    }
}

/// Makes a topic and fills it with so many bytes, in batches and partitions as in `scenario`.
///
/// # Errors
/// The broker refuses something or goes away.
pub fn fill(scenario: &Scenario, target: &Target, topic: &str, bytes: usize) -> Outcome<()> {
    let round = Round::begin(scenario, target, topic)?;
    round.fill(bytes / round.batch.len())?;
    settle(target.process)
}

/// The bytes before and behind the records of an answer to a Fetch.
fn fetch_answer(topic: &Topic, records_bytes: usize) -> Outcome<(Vec<u8>, Vec<u8>)> {
    let response = FetchResponse {
        responses: vec![FetchResponseTopic {
            topic: topic.name.as_str().into(),
            topic_id: topic.id,
            partitions: vec![FetchResponsePartition {
                records: Some(Records::Bytes(vec![0xff; records_bytes].into())),
                ..Default::default()
            }],
        }],
        ..Default::default()
    };
    let frame = response_frame(0, &response, FETCH_VERSION)?;
    // Behind the records stand the tags: of the partition, of the topic, and of the response, all empty.
    let tail = frame.len() - TAGS_BEHIND_RECORDS;
    let head = tail - records_bytes;
    if frame[head..tail].iter().any(|&byte| byte != 0xff) {
        return Err("the records are not where they were expected".into());
    }
    Ok((frame[..head].to_vec(), frame[tail..].to_vec()))
}

/// How often the broker went into the kernel, and left its cores, for each request.
fn crossings(figures: &mut Figures, measured: &Measured, requests: u64) {
    let each = |count: u64| count as f64 / requests as f64;
    figures.push("switches/request", each(measured.switches));
    if let Some(count) = measured.system_calls {
        figures.push("syscalls/request", each(count));
    }
}

fn latencies(figures: &mut Figures, names: [&'static str; 5], histogram: &Histogram<u64>) {
    let quantiles = [0.5, 0.99, 0.999, 0.9999, 1.0];
    for (name, quantile) in names.into_iter().zip(quantiles) {
        figures.push(name, histogram.value_at_quantile(quantile) as f64 / 1e6);
    }
}

const ACKNOWLEDGED: [&str; 5] = ["ack p50 ms", "p99 ms", "p99.9 ms", "p99.99 ms", "max ms"];
const END_TO_END: [&str; 5] = [
    "end-to-end p50 ms",
    "end-to-end p99 ms",
    "end-to-end p99.9 ms",
    "end-to-end p99.99 ms",
    "end-to-end max ms",
];
const COPIES_BYTES: usize = 128 << 10;
const FETCH_BYTES: i32 = 1 << 20;
const CATCH_UP_BYTES: usize = 512 << 20;
const TAGS_BEHIND_RECORDS: usize = 3;
const FIRST_WRITES_MAX: Duration = Duration::from_secs(60);
const FILL_MAX: Duration = Duration::from_secs(120);
