//! How soon a broker serves a gigabyte that it finds on its disk.

use std::path::Path;

use millrace_wire::message::list_offsets::{
    ListOffsetsRequest, ListOffsetsRequestPartition, ListOffsetsRequestTopic,
};

use super::broker::{Broker, Home, Program};
use super::clock::{nanos, rest};
use super::figures::Figures;
use super::round::fill;
use super::scenario::Scenario;
use super::target::Target;
use crate::Outcome;

impl Scenario {
    /// One round of starts: data is written, then the broker is started after an orderly stop and after SIGKILL. What is
    /// timed ends when every partition answers with the end that it had.
    ///
    /// # Errors
    /// The broker does not start, or does not have what it had.
    pub fn starts(&self, program: &Program, directory: &Path) -> Outcome<Figures> {
        let home = Home::new(directory)?;
        let broker = Broker::start(program, &home)?;
        fill(self, &broker.target(), TOPIC, START_BYTES)?;
        let ends = ends(&broker.target(), self.partitions)?;
        let mut figures = Figures::default();

        broker.stop()?;
        let (broker, seconds, cpu_seconds) = self.timed(program, &home, &ends)?;
        figures.push("clean start ms", seconds * 1e3);
        figures.push("clean start CPU-s", cpu_seconds);

        broker.stop()?;
        let home = Home::new(directory)?;
        let broker = Broker::start(program, &home)?;
        fill(self, &broker.target(), TOPIC, START_BYTES)?;
        // SIGKILL.
        drop(broker);
        let (broker, seconds, cpu_seconds) = self.timed(program, &home, &ends)?;
        figures.push("start after SIGKILL ms", seconds * 1e3);
        figures.push("start after SIGKILL CPU-s", cpu_seconds);
        let process = broker.target().process;
        figures.push("resident MB", process.resident_bytes()? as f64 / 1e6);
        Ok(figures)
    }

    fn timed(
        &self,
        program: &Program,
        home: &Home,
        expected: &[i64],
    ) -> Outcome<(Broker, f64, f64)> {
        let begun = nanos();
        let broker = Broker::start(program, home)?;
        let mut found = None;
        while found.as_deref() != Some(expected) {
            if nanos() - begun > PATIENCE_NANOS {
                return Err(format!("partitions end at {found:?}, not at {expected:?}").into());
            }
            // Unknown topics and leaders that are not there yet are what a start looks like.
            found = ends(&broker.target(), self.partitions).ok();
            rest(std::time::Duration::from_millis(1));
        }
        let seconds = (nanos() - begun) as f64 / 1e9;
        let cpu_seconds = broker.target().process.cpu_seconds()?;
        Ok((broker, seconds, cpu_seconds))
    }
}

fn ends(target: &Target, partitions: i32) -> Outcome<Vec<i64>> {
    let partition = |partition_index| ListOffsetsRequestPartition {
        partition_index,
        timestamp: -1,
        ..Default::default()
    };
    let request = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsRequestTopic {
            name: TOPIC.into(),
            partitions: (0..partitions).map(partition).collect(),
        }],
        ..Default::default()
    };
    let response = target.client()?.ask(&request, 7)?;
    let results = response.topics.iter().flat_map(|topic| &topic.partitions);
    let mut ends: Vec<(i32, i64)> = Vec::new();
    for result in results {
        if result.error_code.is_error() {
            return Err(format!("no end: {}", result.error_code).into());
        }
        ends.push((result.partition_index, result.offset));
    }
    ends.sort_unstable();
    Ok(ends.into_iter().map(|(_, end)| end).collect())
}

const TOPIC: &str = "start";
const START_BYTES: usize = 1 << 30;
const PATIENCE_NANOS: u64 = 120_000_000_000;
