//! What is wanted of each scenario: by the floor, by Kafka, or in plain figures.

use super::scenario::Scenario;

/// One wish. It is met when the figure is at most, or at least, `factor` times what it is measured by.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    /// Name of the figure.
    pub figure: &'static str,
    /// On which side of the bound the figure should be.
    pub side: Side,
    /// How many times the measure.
    pub factor: f64,
    /// What it is measured by.
    pub measure: Measure,
}

/// On which side of a bound a figure should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Not above it.
    AtMost,
    /// Not below it.
    AtLeast,
}

/// What a goal is measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// The same figure of the floor.
    Floor,
    /// The same figure of Apache Kafka.
    Kafka,
    /// The plain number.
    Plain,
}

impl Scenario {
    /// What is wanted of it.
    #[must_use]
    pub fn goals(&self) -> Vec<Goal> {
        use Measure::{Floor, Kafka, Plain};
        use Side::{AtLeast, AtMost};
        let goal = |figure, side, factor, measure| Goal {
            figure,
            side,
            factor,
            measure,
        };
        let mut goals = match self.name {
            "tiny" => vec![
                goal("CPU-us/request", AtMost, 2.0, Floor),
                goal("requests/s", AtLeast, 5.0, Kafka),
            ],
            "tiny-rate" => vec![goal("CPU-us/request", AtMost, 0.1, Kafka)],
            "typical" | "typical-idempotent" => vec![goal("CPU-s/GB", AtMost, 1.5, Floor)],
            "typical-durable" => vec![
                goal("CPU-s/GB", AtMost, 1.6, Floor),
                goal("MB/s", AtLeast, 0.8, Floor),
            ],
            "bulk" => vec![goal("CPU-s/GB", AtMost, 1.15, Floor)],
            "catch-up-1" | "catch-up-4" => vec![goal("CPU-s/GB", AtMost, 1.3, Floor)],
            "fan-out" => vec![goal("CPU-s/GB", AtMost, 0.1, Kafka)],
            "end-to-end" => vec![
                goal("CPU-us/request", AtMost, 0.1, Kafka),
                goal("end-to-end p50 ms", AtMost, 0.5, Kafka),
                goal("end-to-end p99 ms", AtMost, 0.5, Kafka),
                goal("end-to-end p99.9 ms", AtMost, 0.5, Kafka),
            ],
            "partitions" => vec![
                goal("CPU-us/request", AtMost, 0.05, Kafka),
                goal("first writes CPU-s", AtMost, 0.2, Plain),
            ],
            "connections" => vec![
                goal("kB/connection", AtMost, 4.0, Plain),
                goal("idle CPU ms/s", AtMost, 0.1, Plain),
            ],
            "start" => vec![
                goal("clean start ms", AtMost, 100.0, Plain),
                goal("start after SIGKILL ms", AtMost, 500.0, Plain),
            ],
            "headline-1" | "headline-1-durable" => {
                vec![goal("records/s", AtLeast, 821_557.0, Plain)]
            }
            "headline-3" | "headline-3-durable" => {
                vec![goal("records/s", AtLeast, 2_024_032.0, Plain)]
            }
            _ => Vec::new(),
        };
        goals.push(goal("most resident MB", AtMost, 100.0, Plain));
        goals
    }
}
