//! What `kafka-consumer-perf-test` counts, and the lines it prints: Kafka's columns.
//!
//! The time spent joining the group is counted apart, from the start or the loss of the last partition to the first new one.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::date_format::DateFormat;
use crate::measure::{MEGABYTE, fixed, millis, real};

/// The names of the columns.
pub(super) fn header(detailed: bool) -> String {
    let first = if detailed {
        "time, threadId"
    } else {
        "start.time, end.time"
    };
    format!(
        "{first}, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, rebalance.time.ms, fetch.time.ms, fetch.MB.sec, fetch.nMsg.sec"
    )
}

/// What was read so far.
#[derive(Debug)]
pub(super) struct Progress {
    /// Records read.
    pub(super) records: u64,
    bytes: u64,
    format: DateFormat,
    /// Wall clock and running clock of the same moment.
    start: (Timestamp, Instant),
    end: Instant,
    last_record: Instant,
    /// When the last report was made, and what had been read then.
    reported: (Instant, u64, u64),
}

impl Progress {
    /// Counts from now on.
    pub(super) fn begin(format: DateFormat) -> Self {
        let now = Instant::now();
        Self {
            records: 0,
            bytes: 0,
            format,
            start: (Timestamp::now(), now),
            end: now,
            last_record: now,
            reported: (now, 0, 0),
        }
    }

    /// Counts a record; whether a report is due after it.
    pub(super) fn count(&mut self, bytes: usize, reporting_interval_ms: u64) -> bool {
        self.records += 1;
        self.bytes += u64::try_from(bytes).unwrap_or_default();
        self.last_record = Instant::now();
        millis(self.last_record.duration_since(self.reported.0)) >= reporting_interval_ms
    }

    /// How long no record has come.
    pub(super) fn idle(&self) -> Duration {
        self.last_record.elapsed()
    }

    /// Ends the time that counts.
    pub(super) fn end(&mut self) {
        self.end = Instant::now();
    }

    /// The line about what came since the last report, which this one then is.
    pub(super) fn report(&mut self, joined_ms: u64) -> String {
        let (since, records, bytes) = self.reported;
        let now = self.last_record;
        self.reported = (now, self.records, self.bytes);
        let elapsed_ms = millis(now.duration_since(since));
        let megabytes = real(self.bytes - bytes) / MEGABYTE;
        let records = real(self.records - records);
        let fetch_ms = elapsed_ms.saturating_sub(joined_ms);
        let fetch_rate = |amount: f64| match elapsed_ms > joined_ms {
            true => rate(amount, fetch_ms),
            false => 0.0,
        };
        format!(
            "{}, 0, {}, {}, {}, {}, {}, {}, {}, {}",
            self.wall_clock(now),
            fixed(real(self.bytes) / MEGABYTE, 4),
            fixed(rate(megabytes, elapsed_ms), 4),
            self.records,
            fixed(rate(records, elapsed_ms), 4),
            joined_ms,
            signed(elapsed_ms, joined_ms),
            fixed(fetch_rate(megabytes), 4),
            fixed(fetch_rate(records), 4),
        )
    }

    /// The line about everything.
    pub(super) fn summary(&self, joined_ms: u64) -> String {
        let elapsed_ms = millis(self.end.duration_since(self.start.1));
        let megabytes = real(self.bytes) / MEGABYTE;
        let records = real(self.records);
        let fetch_ms = elapsed_ms.saturating_sub(joined_ms);
        format!(
            "{}, {}, {}, {}, {}, {}, {}, {}, {}, {}",
            self.wall_clock(self.start.1),
            self.wall_clock(self.end),
            fixed(megabytes, 4),
            fixed(rate(megabytes, elapsed_ms), 4),
            self.records,
            fixed(rate(records, elapsed_ms), 4),
            joined_ms,
            signed(elapsed_ms, joined_ms),
            fixed(rate(megabytes, fetch_ms), 4),
            fixed(rate(records, fetch_ms), 4),
        )
    }

    fn wall_clock(&self, at: Instant) -> String {
        let passed = at.duration_since(self.start.1);
        let time = self.start.0.checked_add(passed);
        self.format.print(time.unwrap_or(self.start.0))
    }
}

/// An amount per second.
fn rate(amount: f64, elapsed_ms: u64) -> f64 {
    amount * 1000.0 / real(elapsed_ms)
}

fn signed(elapsed_ms: u64, joined_ms: u64) -> i128 {
    i128::from(elapsed_ms) - i128::from(joined_ms)
}

/// The time spent joining the group.
#[derive(Debug)]
pub(super) struct Joining(Mutex<Joined>);

#[derive(Debug)]
struct Joined {
    since: Instant,
    total_ms: u64,
    round_ms: u64,
    partitions: BTreeSet<(String, i32)>,
}

impl Joining {
    /// The group is being joined from now on.
    pub(super) fn begin() -> Self {
        Self(Mutex::new(Joined {
            since: Instant::now(),
            total_ms: 0,
            round_ms: 0,
            partitions: BTreeSet::new(),
        }))
    }

    fn joined(&self) -> std::sync::MutexGuard<'_, Joined> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These partitions are ours now.
    pub(super) fn assigned(&self, partitions: Vec<(String, i32)>) {
        let mut joined = self.joined();
        if joined.partitions.is_empty() {
            let elapsed_ms = millis(joined.since.elapsed());
            joined.total_ms += elapsed_ms;
            joined.round_ms += elapsed_ms;
        }
        joined.partitions.extend(partitions);
    }

    /// These partitions are ours no more.
    pub(super) fn revoked(&self, partitions: &[(String, i32)]) {
        let mut joined = self.joined();
        joined
            .partitions
            .retain(|place| !partitions.contains(place));
        if joined.partitions.is_empty() {
            joined.since = Instant::now();
        }
    }

    /// Milliseconds in all.
    pub(super) fn total_ms(&self) -> u64 {
        self.joined().total_ms
    }

    /// Milliseconds since this was asked last.
    pub(super) fn take_round_ms(&self) -> u64 {
        std::mem::take(&mut self.joined().round_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(elapsed_ms: u64) -> Progress {
        let format = DateFormat::parse("'T'").unwrap();
        let mut progress = Progress::begin(format);
        progress.records = 2000;
        progress.bytes = 3 * 1024 * 1024;
        progress.end = progress.start.1 + Duration::from_millis(elapsed_ms);
        progress.last_record = progress.end;
        progress
    }

    #[test]
    fn the_summary_has_kafkas_columns() {
        let line = progress(2000).summary(500);
        assert_eq!(
            line,
            "T, T, 3.0000, 1.5000, 2000, 1000.0000, 500, 1500, 2.0000, 1333.3333"
        );
        let columns = |text: &str| text.split(", ").count();
        assert_eq!(columns(&line), columns(&header(false)));
        assert!(progress(0).summary(0).contains("Infinity"));
    }

    #[test]
    fn a_report_is_about_the_time_since_the_last_one() {
        let mut progress = progress(2000);
        let line = progress.report(500);
        assert_eq!(
            line,
            "T, 0, 3.0000, 1.5000, 2000, 1000.0000, 500, 1500, 2.0000, 1333.3333"
        );
        progress.records += 10;
        progress.last_record += Duration::from_millis(1000);
        let line = progress.report(1000);
        assert_eq!(
            line,
            "T, 0, 3.0000, 0.0000, 2010, 10.0000, 1000, 0, 0.0000, 0.0000"
        );
        let columns = |text: &str| text.split(", ").count();
        assert_eq!(columns(&line), columns(&header(true)));
    }

    #[test]
    fn joining_counts_until_the_first_partition_only() {
        let joining = Joining::begin();
        let place = |partition: i32| ("t".to_owned(), partition);
        joining.joined().since -= Duration::from_millis(40);
        joining.assigned(vec![place(0)]);
        let first = joining.total_ms();
        assert!(first >= 40, "{first}");
        joining.joined().since -= Duration::from_secs(40);
        joining.assigned(vec![place(1)]);
        joining.revoked(&[place(0)]);
        assert_eq!(joining.total_ms(), first);
        assert_eq!(joining.take_round_ms(), first);
        assert_eq!(joining.take_round_ms(), 0);
    }
}
