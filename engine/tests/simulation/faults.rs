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
    /// The process is killed, or the power fails, before it changes the disk for the time after so many.
    Amid {
        /// How many changes are still made.
        changes: u64,
        /// Whether it is the power.
        power_cut: bool,
    },
    /// The same, before it does this.
    At {
        /// What it is about to do.
        step: Step,
        /// Whether it is the power.
        power_cut: bool,
    },
    /// The broker is stopped in order, and the power may fail behind it.
    Stop {
        /// Whether it does.
        then_power_cut: bool,
    },
}

impl Blow {
    pub(crate) fn choose(random: &mut Random) -> Self {
        match random.below(16) {
            12..=15 => Self::amid(random),
            0..=2 => Self::PowerCut,
            10..=11 => {
                let (operation, path_end) = amid_compaction(random);
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

    /// One that falls while the metadata is changed.
    pub(crate) fn in_the_journal(random: &mut Random) -> Self {
        let power_cut = random.chance(1, 2);
        if random.chance(1, 2) {
            let changes = random.below(25);
            return Self::Amid { changes, power_cut };
        }
        let step = one_of(random, &JOURNAL_STEPS);
        Self::At { step, power_cut }
    }

    /// Whether what was not synced may be gone behind it.
    pub(crate) const fn cuts_power(self) -> bool {
        match self {
            Self::PowerCut | Self::PowerCutInJob(..) | Self::PowerCutInCompaction(..) => true,
            Self::Amid { power_cut, .. } | Self::At { power_cut, .. } => power_cut,
            Self::Stop { then_power_cut } => then_power_cut,
            Self::Kill => false,
        }
    }

    /// One without warning.
    pub(crate) fn sudden(random: &mut Random) -> Self {
        match random.below(12) {
            0 => Self::PowerCut,
            1 => Self::Kill,
            2..=4 => Self::At {
                step: one_of(random, &STEPS),
                power_cut: random.chance(1, 2),
            },
            5..=7 => Self::At {
                step: amid_compaction(random),
                power_cut: random.chance(1, 2),
            },
            _ => Self::amid(random),
        }
    }

    fn amid(random: &mut Random) -> Self {
        let changes_max = one_of(random, &[6, 30, 120]);
        Self::Amid {
            changes: random.below(changes_max),
            power_cut: random.chance(1, 2),
        }
    }
}

fn amid_compaction(random: &mut Random) -> Step {
    if random.chance(1, 14) {
        return NOWHERE;
    }
    one_of(random, &COMPACTION_STEPS)
}

/// Where a start is cut short.
pub(crate) fn amid_start(random: &mut Random) -> Step {
    one_of(random, &STARTING_STEPS)
}

/// All places that a running broker comes to.
pub(crate) fn running_steps() -> impl Iterator<Item = Step> {
    let all = STEPS.into_iter().chain(JOURNAL_STEPS);
    all.chain(COMPACTION_STEPS)
}

/// All that only a start comes to.
pub(crate) fn starting_steps() -> impl Iterator<Item = Step> {
    STARTING_STEPS.into_iter()
}

pub(crate) fn one_of<T: Copy>(random: &mut Random, choices: &[T]) -> T {
    choices[usize::try_from(random.below(choices.len() as u64)).unwrap()]
}

/// Something done to a path that ends so.
pub(crate) type Step = (SimOperation, &'static str);

/// Places where a job can be cut short.
const STEPS: [Step; 19] = [
    (SimOperation::Resize, ".log"),
    (SimOperation::Sync, ".log"),
    (SimOperation::Write, ".index.tmp"),
    (SimOperation::Sync, ".index.tmp"),
    (SimOperation::Sync, ".timeindex.tmp"),
    (SimOperation::Write, ".snapshot"),
    (SimOperation::Sync, ".snapshot"),
    (SimOperation::Write, ".windows"),
    (SimOperation::Sync, ".windows"),
    (SimOperation::Write, ".tmp"),
    (SimOperation::Sync, ".tmp"),
    (SimOperation::Name, ""),
    (SimOperation::Name, ".log"),
    (SimOperation::Name, "-delete"),
    (SimOperation::Open, ".log"),
    (SimOperation::SyncDir, ""),
    (SimOperation::SyncDir, "/data"),
    (SimOperation::Read, ".log"),
    (SimOperation::Open, ""),
];

/// Places where a change of the metadata or a snapshot of it can be cut short.
const JOURNAL_STEPS: [Step; 9] = [
    (SimOperation::Write, ".journal"),
    (SimOperation::Sync, ".journal"),
    (SimOperation::Resize, ".journal"),
    (SimOperation::Write, ".journal.tmp"),
    (SimOperation::Sync, ".journal.tmp"),
    (SimOperation::Name, ".journal.tmp"),
    (SimOperation::Name, ".snapshot.tmp"),
    (SimOperation::Name, ".snapshot"),
    (SimOperation::SyncDir, "__cluster_metadata-0"),
];

/// Places where a start can be cut short that nothing comes to later.
const STARTING_STEPS: [Step; 3] = [
    (SimOperation::Write, ".vote.tmp"),
    (SimOperation::Sync, ".vote.tmp"),
    (SimOperation::Name, ".vote.tmp"),
];

/// Places where a compaction can be cut short.
const COMPACTION_STEPS: [Step; 13] = [
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
    (SimOperation::SyncDir, "-0"),
];

/// Nothing comes to it: nothing goes wrong but the power.
const NOWHERE: Step = (SimOperation::Name, ".never");
