//! What must hold, one checker per file. They see what clients see and nothing of the broker's insides.

pub(crate) mod acknowledged_survives;
pub(crate) mod compacted;
pub(crate) mod deleted_stays_deleted;
pub(crate) mod everyone_is_answered;
pub(crate) mod exactly_once;
pub(crate) mod files_agree;
pub(crate) mod gapless;
pub(crate) mod group_generations;
pub(crate) mod group_offsets;
pub(crate) mod high_watermark;
pub(crate) mod metadata_stays;
pub(crate) mod own_records;
pub(crate) mod recovery_settles;
pub(crate) mod static_members;
pub(crate) mod visible_stays;
pub(crate) mod written_in_order;

use std::collections::BTreeMap;

use millrace_engine::types::{Offset, Timestamp, TopicIdPartition};

use self::deleted_stays_deleted::DeletedStaysDeleted;
use self::written_in_order::WrittenInOrder;

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The invariant's id.
    pub(crate) invariant: &'static str,
    /// What was seen.
    pub(crate) text: String,
}

/// What a checker says.
pub(crate) type Verdict = Result<(), Violation>;

/// A batch as a reader got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SeenBatch {
    pub(crate) base: Offset,
    /// Offset behind its last record.
    pub(crate) next: Offset,
    /// Over all of its bytes.
    pub(crate) digest: u64,
    /// The numbers of the messages in it.
    pub(crate) ids: Vec<u64>,
    /// Where each of them stands.
    pub(crate) offsets: Vec<Offset>,
}

/// A partition read from its start to its high watermark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) log_start: Offset,
    pub(crate) high_watermark: Offset,
    pub(crate) batches: Vec<SeenBatch>,
    /// Of a compacted topic.
    pub(crate) compacted: bool,
    /// Of one whose delete markers go after a while.
    pub(crate) loses_markers: bool,
    /// Nothing was compacted meanwhile.
    pub(crate) at_rest: bool,
}

/// Everything readable at one time.
pub(crate) type Readings = BTreeMap<TopicIdPartition, Reading>;

/// All checkers.
#[derive(Debug, Default)]
pub(crate) struct Checkers {
    pub(crate) acknowledged: acknowledged_survives::AcknowledgedSurvives,
    pub(crate) visible: visible_stays::VisibleStays,
    pub(crate) once: exactly_once::ExactlyOnce,
    pub(crate) watermark: high_watermark::HighWatermark,
    pub(crate) groups: group_offsets::GroupOffsets,
    pub(crate) generations: group_generations::GroupGenerations,
    pub(crate) statics: static_members::StaticMembers,
    pub(crate) deleted: DeletedStaysDeleted,
    pub(crate) compacted: compacted::Compacted,
    pub(crate) own: own_records::OwnRecords,
    pub(crate) order: WrittenInOrder,
    pub(crate) metadata: metadata_stays::MetadataStays,
}

impl Checkers {
    /// Judges a whole reading.
    pub(crate) fn audit(&mut self, readings: &Readings) -> Verdict {
        for (partition, reading) in readings {
            if reading.compacted {
                self.compacted.audit(*partition, reading)?;
            } else {
                gapless::check(*partition, reading)?;
                self.acknowledged.audit(*partition, reading)?;
                self.visible.audit(*partition, reading)?;
            }
            WrittenInOrder::check(*partition, reading, &self.own)?;
            self.watermark.observe(*partition, reading.high_watermark)?;
            for batch in &reading.batches {
                self.once.observe(*partition, batch)?;
            }
        }
        Ok(())
    }

    /// A log was seen to start there. Of a topic with retention what is older than `kept_from` may be gone.
    pub(crate) fn log_starts(
        &self,
        partition: TopicIdPartition,
        log_start: Offset,
        kept_from: Option<Timestamp>,
    ) -> Verdict {
        self.deleted.observe(partition, log_start)?;
        let Some(gone) = self.deleted.unasked(partition, log_start) else {
            return Ok(());
        };
        let Some(kept_from) = kept_from else {
            return Err(DeletedStaysDeleted::lost(partition, &gone));
        };
        match self.acknowledged.newest_in(partition, &gone) {
            Some((base, timestamp)) if timestamp >= kept_from => Err(
                DeletedStaysDeleted::too_young(partition, &gone, base, timestamp, kept_from),
            ),
            _ => Ok(()),
        }
    }

    /// The topic of these partitions was deleted: nothing is promised any more.
    pub(crate) fn forget(&mut self, partition: TopicIdPartition) {
        self.acknowledged.forget(partition);
        self.visible.forget(partition);
        self.once.forget(partition);
        self.watermark.forget(partition);
        self.deleted.forget(partition);
        self.order.forget(partition);
    }

    /// The power failed: what only page caches held may be gone, in the partitions named with all they showed.
    pub(crate) fn power_failed(&mut self, cached: &[TopicIdPartition]) {
        self.acknowledged.power_failed();
        self.compacted.power_failed();
        self.order.power_failed();
        for partition in cached {
            self.visible.forget(*partition);
            self.once.forget(*partition);
            self.watermark.forget(*partition);
        }
    }

    /// The broker stopped in order: whatever it said is as safe as anything.
    pub(crate) fn settled(&mut self) {
        self.acknowledged.settled();
        self.compacted.settled();
    }
}
