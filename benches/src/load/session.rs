//! What one fetch of a session costs: a consumer that waits, and a write to one of its partitions that ends the wait.

use std::time::Duration;

use bytes::Bytes;
use millrace_wire::message::fetch::{
    FetchRequest, FetchRequestPartition, FetchRequestTopic, FetchResponse,
};

use super::clock::nanos;
use super::figures::Figures;
use super::frames::FETCH_VERSION;
use super::round::RoundTimes;
use super::system_calls::SystemCalls;
use super::target::{Target, Topic};
use crate::{Client, Outcome};

/// A consumer in the middle of its session.
struct Reader {
    client: Client,
    session_id: i32,
    session_epoch: i32,
    offsets: Vec<i64>,
    /// What the next request has to name.
    moved: Option<i32>,
}

/// Fetches with a session of all partitions of `topic`, one after the other, each of which brings one batch.
pub(super) fn session(
    target: &Target,
    topic: &Topic,
    batch: &Bytes,
    times: RoundTimes,
) -> Outcome<Figures> {
    let mut writer = target.client()?;
    let mut reader = Reader::open(target, topic)?;
    let mut turn = |count: u64| -> Outcome<()> {
        // Not one after the other, so that neighbours do not help each other.
        let partition = i32::try_from(count * STRIDE % u64::from(topic.partitions.unsigned_abs()))?;
        reader.ask(topic)?;
        writer.produce(&topic.name, partition, batch, -1)?;
        reader.take(partition, batch)
    };
    let mut count = 0;
    let mut turns = |time: Duration| -> Outcome<u64> {
        let (begun, first) = (nanos(), count);
        while u128::from(nanos() - begun) < time.as_nanos() {
            turn(count)?;
            count += 1;
        }
        Ok(count - first)
    };
    turns(times.warm_up)?;
    let process = target.process;
    let counter = times.system_calls.then(|| SystemCalls::attach(process));
    let mut counter = counter.transpose()?;
    if let Some(counter) = &mut counter {
        counter.begin()?;
    }
    let before = process.usage()?;
    let begun = nanos();
    let fetches = turns(times.measured)?;
    let seconds = (nanos() - begun) as f64 / 1e9;
    let after = process.usage()?;
    let each = |value: f64| value / fetches as f64;
    let mut figures = Figures::default();
    let cpu_seconds = after.seconds_since(&before);
    figures.push("CPU-us/fetch", each(cpu_seconds * 1e6));
    figures.push("fetches/s", fetches as f64 / seconds);
    let switches = after.switches_since(&before);
    figures.push("switches/request", each(switches as f64));
    if let Some(counter) = counter {
        figures.push("syscalls/request", each(counter.finish()? as f64));
    }
    figures.push(
        "most resident MB",
        process.resident_bytes_max()? as f64 / 1e6,
    );
    Ok(figures)
}

impl Reader {
    /// Opens a session with all partitions from their start on.
    fn open(target: &Target, topic: &Topic) -> Outcome<Self> {
        let mut reader = Self {
            client: target.client()?,
            session_id: 0,
            session_epoch: 0,
            offsets: vec![0; usize::try_from(topic.partitions)?],
            moved: None,
        };
        let all = (0..topic.partitions).map(|partition| reader.read(partition));
        let request = reader.request(topic, all.collect::<Outcome<_>>()?, 0);
        let response = reader.client.ask(&request, FETCH_VERSION)?;
        reader.note(&response)?;
        Ok(reader)
    }

    fn read(&self, partition: i32) -> Outcome<FetchRequestPartition> {
        Ok(FetchRequestPartition {
            partition,
            fetch_offset: self.offsets[usize::try_from(partition)?],
            partition_max_bytes: BYTES_MAX,
            ..Default::default()
        })
    }

    fn request(
        &self,
        topic: &Topic,
        partitions: Vec<FetchRequestPartition>,
        max_wait_ms: i32,
    ) -> FetchRequest {
        let named = FetchRequestTopic {
            topic_id: topic.id,
            partitions,
            ..Default::default()
        };
        FetchRequest {
            max_wait_ms,
            min_bytes: 1,
            max_bytes: BYTES_MAX,
            session_id: self.session_id,
            session_epoch: self.session_epoch,
            topics: Some(named)
                .filter(|topic| !topic.partitions.is_empty())
                .into_iter()
                .collect(),
            ..Default::default()
        }
    }

    fn ask(&mut self, topic: &Topic) -> Outcome<()> {
        let moved = self.moved.map(|partition| self.read(partition));
        let request = self.request(topic, moved.into_iter().collect::<Outcome<_>>()?, WAIT_MS);
        self.client.send(&request, FETCH_VERSION)
    }

    /// Takes an answer, which has to be about this one partition with this one batch.
    fn take(&mut self, partition: i32, batch: &Bytes) -> Outcome<()> {
        let response = self.client.receive::<FetchRequest>(FETCH_VERSION)?;
        self.note(&response)?;
        let mut found = response
            .responses
            .iter()
            .flat_map(|topic| &topic.partitions);
        let (Some(found), None) = (found.next(), found.next()) else {
            return Err(format!("a fetch after one write answers {response:?}").into());
        };
        let bytes = found.records.as_ref().map_or(0, |records| records.length());
        if found.partition_index != partition || bytes != batch.len() {
            return Err(format!("{partition} was written to, the answer is {found:?}").into());
        }
        self.offsets[usize::try_from(partition)?] = found.high_watermark;
        self.moved = Some(partition);
        Ok(())
    }

    fn note(&mut self, response: &FetchResponse) -> Outcome<()> {
        if response.error_code.is_error() || response.session_id == 0 {
            return Err(format!("no session: {}", response.error_code).into());
        }
        self.session_id = response.session_id;
        self.session_epoch += 1;
        Ok(())
    }
}

/// Shares no factor with the numbers of partitions.
const STRIDE: u64 = 7;
const BYTES_MAX: i32 = 1 << 20;
const WAIT_MS: i32 = 30_000;
