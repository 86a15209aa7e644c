//! What `kafka-producer-perf-test` counts, and the lines it prints: Kafka's, to the letter.
//!
//! Times are milliseconds since the run began. Kafka takes its percentiles from at most 500,000 latencies; here all count.

use std::collections::BTreeMap;

use crate::measure::{MEGABYTE, fixed, real};

/// Counts of records that were delivered.
#[derive(Debug)]
pub(super) struct Stats {
    start_ms: u64,
    reporting_interval_ms: u64,
    total: Counts,
    window: Counts,
    window_start_ms: u64,
    /// How many records took so many milliseconds.
    latencies: BTreeMap<u64, u64>,
    steady: bool,
    hushed: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    records: u64,
    bytes: u64,
    latency_ms: u64,
    latency_max_ms: u64,
}

impl Counts {
    fn add(&mut self, latency_ms: u64, bytes: u64) {
        self.records += 1;
        self.bytes += bytes;
        self.latency_ms += latency_ms;
        self.latency_max_ms = self.latency_max_ms.max(latency_ms);
    }
}

impl Stats {
    /// Counts from `start_ms` on.
    pub(super) fn new(start_ms: u64, reporting_interval_ms: u64) -> Self {
        Self {
            start_ms,
            reporting_interval_ms,
            total: Counts::default(),
            window: Counts::default(),
            window_start_ms: start_ms,
            latencies: BTreeMap::new(),
            steady: false,
            hushed: false,
        }
    }

    /// The same for what comes after the warm-up.
    pub(super) fn steady(start_ms: u64, reporting_interval_ms: u64) -> Self {
        let steady = true;
        Self {
            steady,
            ..Self::new(start_ms, reporting_interval_ms)
        }
    }

    /// Ends the lines about the last seconds; others have begun to give them.
    pub(super) fn hush(&mut self) {
        self.hushed = true;
    }

    /// Counts a record; the result is what is to be printed if the last report is long enough ago.
    pub(super) fn record(&mut self, latency_ms: u64, bytes: usize, now_ms: u64) -> Vec<String> {
        let bytes = u64::try_from(bytes).unwrap_or_default();
        self.total.add(latency_ms, bytes);
        self.window.add(latency_ms, bytes);
        *self.latencies.entry(latency_ms).or_default() += 1;
        let mut lines = Vec::new();
        if now_ms.saturating_sub(self.window_start_ms) >= self.reporting_interval_ms {
            if self.steady && self.total.records == self.window.records {
                lines.push("In steady state.".to_owned());
            }
            if !self.hushed {
                lines.push(self.report(now_ms));
            }
            self.window = Counts::default();
            self.window_start_ms = now_ms;
        }
        lines
    }

    fn report(&self, now_ms: u64) -> String {
        let (records, megabytes) = rates(&self.window, self.window_start_ms, now_ms);
        format!(
            "{} records sent, {} records/sec ({} MB/sec), {} ms avg latency, {} ms max latency.",
            self.window.records,
            fixed(records, 1),
            fixed(megabytes, 2),
            fixed(average(&self.window), 1),
            fixed(real(self.window.latency_max_ms), 1),
        )
    }

    /// The line about everything.
    pub(super) fn summary(&self, now_ms: u64) -> String {
        let (records, megabytes) = rates(&self.total, self.start_ms, now_ms);
        format!(
            "{}{} records sent, {} records/sec ({} MB/sec), {} ms avg latency, {} ms max latency, {} ms 50th, {} ms 95th, {} ms 99th, {} ms 99.9th.",
            self.total.records,
            if self.steady { " steady state" } else { "" },
            fixed(records, 6),
            fixed(megabytes, 2),
            fixed(average(&self.total), 2),
            fixed(real(self.total.latency_max_ms), 2),
            self.at_rank(500),
            self.at_rank(950),
            self.at_rank(990),
            self.at_rank(999),
        )
    }

    /// The latency that this share of records, in thousandths, stayed below or had: 0 if there is none.
    fn at_rank(&self, thousandths: u64) -> u64 {
        let rank = self.total.records * thousandths / 1000;
        let mut passed = 0;
        for (latency_ms, count) in &self.latencies {
            passed += count;
            if passed > rank {
                return *latency_ms;
            }
        }
        0
    }
}

/// Records and mebibytes per second.
fn rates(counts: &Counts, start_ms: u64, now_ms: u64) -> (f64, f64) {
    let seconds = real(now_ms.saturating_sub(start_ms)) / 1000.0;
    let megabytes = real(counts.bytes) / MEGABYTE;
    (real(counts.records) / seconds, megabytes / seconds)
}

fn average(counts: &Counts) -> f64 {
    real(counts.latency_ms) / real(counts.records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_is_kafkas_line() {
        let mut stats = Stats::new(1000, 5000);
        for latency_ms in 1..=1000 {
            assert!(stats.record(latency_ms, 1024, 2000).is_empty());
        }
        assert_eq!(
            stats.summary(3000),
            "1000 records sent, 500.000000 records/sec (0.49 MB/sec), 500.50 ms avg latency, 1000.00 ms max latency, 501 ms 50th, 951 ms 95th, 991 ms 99th, 1000 ms 99.9th."
        );
    }

    #[test]
    fn a_window_is_reported_when_its_time_is_up_and_a_new_one_begins() {
        let mut stats = Stats::new(0, 5000);
        assert!(stats.record(3, 100, 4999).is_empty());
        let line = "2 records sent, 0.4 records/sec (0.00 MB/sec), 4.0 ms avg latency, 5.0 ms max latency.";
        assert_eq!(stats.record(5, 100, 5000), [line]);
        assert!(stats.record(1, 100, 9999).is_empty());
        let line = "2 records sent, 0.4 records/sec (0.00 MB/sec), 1.0 ms avg latency, 1.0 ms max latency.";
        assert_eq!(stats.record(1, 100, 10_000), [line]);
    }

    #[test]
    fn the_steady_state_takes_the_reports_over() {
        let mut total = Stats::new(0, 10);
        let mut steady = Stats::steady(5, 10);
        total.hush();
        assert!(total.record(1, 1, 20).is_empty());
        let lines = steady.record(1, 1, 20);
        assert_eq!(lines[0], "In steady state.");
        assert_eq!(lines.len(), 2);
        assert_eq!(steady.record(1, 1, 40).len(), 1);
        assert!(
            steady
                .summary(100)
                .starts_with("2 steady state records sent, ")
        );
    }

    #[test]
    fn nothing_delivered_is_no_number() {
        let line = Stats::new(0, 5000).summary(1000);
        assert!(
            line.contains("0 records sent, 0.000000 records/sec (0.00 MB/sec), NaN ms avg latency"),
            "{line}"
        );
    }
}
