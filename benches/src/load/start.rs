//! How soon a broker serves a gigabyte that it finds on its disk.

use std::path::Path;
use std::time::Duration;

use super::broker::{Broker, Home, Program};
use super::clock::{nanos, rest};
use super::figures::Figures;
use super::round::fill;
use super::scenario::Scenario;
use super::target::ends;
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
        let expected = ends(&mut broker.target().client()?, TOPIC, self.partitions)?;
        let mut figures = Figures::default();

        broker.stop()?;
        let (broker, seconds, cpu_seconds) = self.timed(program, &home, &expected)?;
        figures.push("clean start ms", seconds * 1e3);
        figures.push("clean start CPU-s", cpu_seconds);

        broker.stop()?;
        let home = Home::new(directory)?;
        let broker = Broker::start(program, &home)?;
        fill(self, &broker.target(), TOPIC, START_BYTES)?;
        // SIGKILL.
        drop(broker);
        let (broker, seconds, cpu_seconds) = self.timed(program, &home, &expected)?;
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
            let mut client = broker.target().client()?;
            found = ends(&mut client, TOPIC, self.partitions).ok();
            rest(Duration::from_millis(1));
        }
        let seconds = (nanos() - begun) as f64 / 1e9;
        let cpu_seconds = broker.target().process.cpu_seconds()?;
        Ok((broker, seconds, cpu_seconds))
    }
}

const TOPIC: &str = "start";
const START_BYTES: usize = 1 << 30;
const PATIENCE_NANOS: u64 = 120_000_000_000;
