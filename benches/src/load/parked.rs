//! Many fetches that wait: what they cost while nothing happens, and what each of them costs when it is woken.

use std::time::Duration;

use bytes::Bytes;
use millrace_wire::message::fetch::FetchRequest;

use super::clock::{nanos, rest};
use super::figures::Figures;
use super::idle::settle;
use super::round::RoundTimes;
use super::target::{Target, Topic};
use crate::{Client, Outcome, fetch_request};

/// A connection with one fetch that waits.
struct Parked {
    client: Client,
    partition: i32,
    offset: i64,
}

/// Parks `count` fetches, as many on each partition, and writes to one partition after the other.
pub(super) fn parked(
    target: &Target,
    topic: &Topic,
    batch: &Bytes,
    count: usize,
    times: RoundTimes,
) -> Outcome<Figures> {
    let process = target.process;
    let partitions = usize::try_from(topic.partitions)?;
    let resident = process.resident_bytes()?;
    let mut waiting: Vec<Vec<Parked>> = Vec::new();
    waiting.resize_with(partitions, Vec::new);
    for number in 0..count {
        let partition = number % partitions;
        let mut parked = Parked {
            client: target.greeted()?,
            partition: i32::try_from(partition)?,
            offset: 0,
        };
        parked.ask(topic)?;
        waiting[partition].push(parked);
    }
    settle(process)?;
    let each = process.resident_bytes()?.saturating_sub(resident) as f64 / count as f64;
    let before = process.usage()?;
    rest(IDLE_TIME);
    let idle = process.usage()?.seconds_since(&before);

    let mut writer = target.client()?;
    let mut writes = 0;
    let mut turns = |time: Duration| -> Outcome<u64> {
        let begun = nanos();
        let mut wakes = 0;
        while u128::from(nanos() - begun) < time.as_nanos() {
            let here = &mut waiting[writes % partitions];
            writer.produce(&topic.name, i32::try_from(writes % partitions)?, batch, -1)?;
            writes += 1;
            for parked in here {
                parked.take(batch)?;
                parked.ask(topic)?;
                wakes += 1;
            }
        }
        Ok(wakes)
    };
    turns(times.warm_up)?;
    let before = process.usage()?;
    let begun = nanos();
    let wakes = turns(times.measured)?;
    let seconds = (nanos() - begun) as f64 / 1e9;
    let after = process.usage()?;
    let mut figures = Figures::default();
    let cpu_seconds = after.seconds_since(&before);
    figures.push("CPU-us/wake", cpu_seconds * 1e6 / wakes as f64);
    figures.push("wakes/s", wakes as f64 / seconds);
    figures.push("idle CPU ms/s", idle * 1e3 / IDLE_TIME.as_secs_f64());
    figures.push("kB/connection", each / 1e3);
    figures.push(
        "most resident MB",
        process.resident_bytes_max()? as f64 / 1e6,
    );
    Ok(figures)
}

impl Parked {
    fn ask(&mut self, topic: &Topic) -> Outcome<()> {
        let request = fetch_request(&topic.name, self.partition, self.offset, WAIT_MS);
        self.client.send(&request, FETCH_VERSION)
    }

    fn take(&mut self, batch: &Bytes) -> Outcome<()> {
        let response = self.client.receive::<FetchRequest>(FETCH_VERSION)?;
        let mut found = response
            .responses
            .iter()
            .flat_map(|topic| &topic.partitions);
        let found = found.next().ok_or("an answer without a partition")?;
        let bytes = found.records.as_ref().map_or(0, |records| records.length());
        if bytes != batch.len() {
            return Err(format!("a woken fetch answers {found:?}").into());
        }
        self.offset = found.high_watermark;
        Ok(())
    }
}

/// By name.
const FETCH_VERSION: i16 = 11;
const IDLE_TIME: Duration = Duration::from_secs(3);
/// Longer than a round.
const WAIT_MS: i32 = 600_000;
