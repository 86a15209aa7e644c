//! The topics of the simulation: what is promised of each differs.

use crate::clients::{DISTILLED, PACKED};

/// A topic of the simulation.
#[derive(Clone, Copy)]
pub(crate) struct Topic {
    pub(crate) name: &'static str,
    pub(crate) partitions: i32,
    pub(crate) settings: &'static [(&'static str, &'static str)],
}

impl Topic {
    pub(crate) fn setting(&self, name: &str) -> Option<&'static str> {
        let found = self.settings.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| *value)
    }
}

pub(crate) const STEADY: &str = "steady";
pub(crate) const CACHED: &str = "cached";
/// Cached, and no record is acknowledged before it is synced.
pub(crate) const COUNTED: &str = "counted";
pub(crate) const BRIEF: &str = "brief";
pub(crate) const OFFSETS: &str = "__consumer_offsets";

/// They come and go, and nobody writes to them.
pub(crate) const SIDE_TOPICS: [&str; 4] = ["side-0", "side-1", "side-2", "side-3"];

pub(crate) const TOPICS: [Topic; 7] = [
    Topic {
        name: STEADY,
        partitions: 2,
        settings: &[("segment.ms", "700"), ("index.interval.bytes", "500")],
    },
    Topic {
        name: CACHED,
        partitions: 1,
        settings: &[
            ("write.caching", "true"),
            ("segment.ms", "900"),
            ("index.interval.bytes", "500"),
            ("flush.ms", "400"),
        ],
    },
    Topic {
        name: COUNTED,
        partitions: 1,
        settings: &[
            ("write.caching", "true"),
            ("segment.ms", "800"),
            ("index.interval.bytes", "500"),
            ("flush.messages", "1"),
        ],
    },
    Topic {
        name: BRIEF,
        partitions: 1,
        settings: &[("segment.ms", "400"), ("index.interval.bytes", "500")],
    },
    Topic {
        name: "short",
        partitions: 1,
        settings: &[
            ("segment.ms", "300"),
            ("index.interval.bytes", "500"),
            ("retention.ms", "2500"),
            ("file.delete.delay.ms", "100"),
        ],
    },
    Topic {
        name: DISTILLED,
        partitions: 2,
        settings: &[
            ("cleanup.policy", "compact"),
            ("min.cleanable.dirty.ratio", "0.01"),
            ("segment.ms", "200"),
            ("index.interval.bytes", "500"),
            ("file.delete.delay.ms", "100"),
        ],
    },
    Topic {
        name: PACKED,
        partitions: 1,
        settings: &[
            ("compression.type", "lz4"),
            ("segment.ms", "600"),
            ("index.interval.bytes", "500"),
        ],
    },
];
