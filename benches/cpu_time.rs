//! Processor time as what Criterion measures: what a broker costs, whoever else runs on the machine.

use std::time::Duration;

use criterion::Throughput;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

/// User and system time of the process, kernel workers of its rings included, or of the calling thread alone.
pub(crate) struct CpuTime(pub(crate) UsageWho);

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        let usage = getrusage(self.0).expect("resource usage is always known");
        duration(usage.user_time()) + duration(usage.system_time())
    }

    fn end(&self, start: Duration) -> Duration {
        self.start().saturating_sub(start)
    }

    fn add(&self, first: &Duration, second: &Duration) -> Duration {
        *first + *second
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    // Where the clock of the processor did not tick, a rate would have no value.
    #[expect(clippy::cast_precision_loss, reason = "a benchmark lasts seconds")]
    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos().max(1) as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        &CpuTimeFormatter
    }
}

fn duration(time: TimeVal) -> Duration {
    let seconds = Duration::from_secs(time.tv_sec().unsigned_abs());
    seconds + Duration::from_micros(time.tv_usec().unsigned_abs())
}

/// Times as Criterion writes them, and for bytes the seconds that a gigabyte costs.
struct CpuTimeFormatter;

impl ValueFormatter for CpuTimeFormatter {
    fn scale_values(&self, typical: f64, values: &mut [f64]) -> &'static str {
        WallTime.formatter().scale_values(typical, values)
    }

    fn scale_throughputs(
        &self,
        typical: f64,
        throughput: &Throughput,
        values: &mut [f64],
    ) -> &'static str {
        let Throughput::Bytes(bytes) = throughput else {
            return WallTime
                .formatter()
                .scale_throughputs(typical, throughput, values);
        };
        #[expect(clippy::cast_precision_loss, reason = "a length of a few megabytes")]
        let bytes = *bytes as f64;
        // Nanoseconds per byte are seconds per gigabyte.
        for value in values {
            *value /= bytes;
        }
        "CPU-s/GB"
    }

    fn scale_for_machines(&self, values: &mut [f64]) -> &'static str {
        WallTime.formatter().scale_for_machines(values)
    }
}
