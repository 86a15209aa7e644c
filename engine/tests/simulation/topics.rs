//! The topics of the simulation: what is promised of each differs.

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
/// Compacted; what is deleted leaves its marker for good.
pub(crate) const DISTILLED: &str = "distilled";
/// Compacted in many groups of few records, and a delete marker goes after a while.
pub(crate) const SIFTED: &str = "sifted";
/// Compacted, and let go of after a while.
pub(crate) const FLEETING: &str = "fleeting";
/// The broker packs what is sent to it; what is large is packed beside other work, and what follows waits for that.
pub(crate) const PACKED: &str = "packed";
pub(crate) const OFFSETS: &str = "__consumer_offsets";

/// They come and go, and nobody writes to them.
pub(crate) const SIDE_TOPICS: [&str; 4] = ["side-0", "side-1", "side-2", "side-3"];

/// Whether its messages have keys, of which the last one counts.
pub(crate) fn is_compacted(topic: &str) -> bool {
    [DISTILLED, SIFTED, FLEETING].contains(&topic)
}

pub(crate) const TOPICS: [Topic; 9] = [
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
        partitions: 1,
        settings: &[
            ("cleanup.policy", "compact"),
            ("min.cleanable.dirty.ratio", "0.01"),
            ("segment.ms", "200"),
            ("index.interval.bytes", "500"),
            ("file.delete.delay.ms", "100"),
        ],
    },
    Topic {
        name: SIFTED,
        partitions: 1,
        settings: &[
            ("cleanup.policy", "compact"),
            ("min.cleanable.dirty.ratio", "0.01"),
            ("segment.ms", "200"),
            // A group holds no more log than four entries are for, and nearly every batch has one.
            ("segment.index.bytes", "48"),
            ("index.interval.bytes", "100"),
            // Every key is soon written again.
            ("delete.retention.ms", "100"),
            ("file.delete.delay.ms", "100"),
        ],
    },
    Topic {
        name: FLEETING,
        partitions: 1,
        settings: &[
            ("cleanup.policy", "compact,delete"),
            ("min.cleanable.dirty.ratio", "0.01"),
            ("segment.ms", "300"),
            ("index.interval.bytes", "500"),
            ("retention.ms", "2500"),
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
