//! What befalls the broker, and how often.

use millrace_engine::io::{Random, SimOperation};

/// How a run of the broker ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blow {
    /// The power fails.
    PowerCut,
    /// The power fails in the middle of a job.
    PowerCutInJob(SimOperation, &'static str),
    /// The power fails while logs are compacted, some time after this went wrong.
    PowerCutInCompaction(SimOperation, &'static str),
    /// The process is killed; the machine goes on.
    Kill,
    /// The broker is stopped in order, and the power may fail behind it.
    Stop {
        /// Whether it does.
        then_power_cut: bool,
    },
}

impl Blow {
    pub(crate) fn choose(random: &mut Random) -> Self {
        match random.below(12) {
            0..=2 => Self::PowerCut,
            10..=11 => {
                let (operation, path_end) = one_of(random, &COMPACTION_STEPS);
                Self::PowerCutInCompaction(operation, path_end)
            }
            3..=5 => {
                let (operation, path_end) = one_of(random, &STEPS);
                Self::PowerCutInJob(operation, path_end)
            }
            6..=7 => Self::Kill,
            _ => Self::Stop {
                then_power_cut: random.chance(1, 2),
            },
        }
    }
}

pub(crate) fn one_of<T: Copy>(random: &mut Random, choices: &[T]) -> T {
    choices[usize::try_from(random.below(choices.len() as u64)).unwrap()]
}

/// Places where a job can be cut short.
const STEPS: [(SimOperation, &str); 12] = [
    (SimOperation::Resize, ".log"),
    (SimOperation::Sync, ".log"),
    (SimOperation::Write, ".index"),
    (SimOperation::Write, ".tmp"),
    (SimOperation::Sync, ".tmp"),
    (SimOperation::Name, ""),
    (SimOperation::Name, ".log"),
    (SimOperation::Open, ".log"),
    (SimOperation::SyncDir, ""),
    (SimOperation::SyncDir, "/data"),
    (SimOperation::Read, ".log"),
    (SimOperation::Open, ""),
];

/// Places where a compaction can be cut short.
const COMPACTION_STEPS: [(SimOperation, &str); 13] = [
    (SimOperation::Open, ".log.cleaned"),
    (SimOperation::Write, ".log.cleaned"),
    (SimOperation::Sync, ".log.cleaned"),
    (SimOperation::Write, ".index.cleaned"),
    (SimOperation::Sync, ".timeindex.cleaned"),
    (SimOperation::Name, ".index.cleaned"),
    (SimOperation::Name, ".log.cleaned"),
    (SimOperation::Name, ".log"),
    (SimOperation::Name, ".index"),
    (SimOperation::Name, ".index.swap"),
    (SimOperation::Name, ".log.swap"),
    (SimOperation::Write, "cleaner-offset-checkpoint.tmp"),
    // Nothing goes wrong but the power.
    (SimOperation::Name, ".never"),
];
