//! A log in a directory of its own, filled with one batch again and again.

use std::path::Path;
use std::sync::Arc;

use millrace_engine::config::TopicConfig;
use millrace_engine::io::{Disk, File};
use millrace_engine::log::{AppendPlan, Log, OpenOptions, open};
use millrace_engine::record::PreparedBatch;
use millrace_engine::types::{LeaderEpoch, Offset};

use crate::batches::NOW;

/// A log of one segment. Whoever fills it writes its plans.
#[derive(Debug)]
pub struct Segment {
    disk: Disk,
    log: Log,
    batch: PreparedBatch,
}

impl Segment {
    /// An empty log in `directory`, which is made new, and the batch to fill it with.
    ///
    /// # Panics
    /// When the disk refuses.
    #[must_use]
    pub fn create(directory: &Path, batch: PreparedBatch) -> Self {
        let disk = Disk::real();
        if disk.exists(directory).expect("a readable disk") {
            disk.remove_dir_all(directory).expect("a writable disk");
        }
        let options = OpenOptions {
            directory: directory.to_owned(),
            clean: false,
            recovery_point: Offset::ZERO,
            log_start_offset: Offset::ZERO,
            cleaned_to: Offset::NONE,
            config: Arc::new(TopicConfig::default()),
            now: NOW,
        };
        let (log, _) = open(&disk, options).expect("a writable disk");
        Self { disk, log, batch }
    }

    /// The log.
    pub fn log(&mut self) -> &mut Log {
        &mut self.log
    }

    /// How many records each batch has.
    #[must_use]
    pub fn records_per_batch(&self) -> i64 {
        self.batch.record_count().into()
    }

    /// The file that is written to.
    ///
    /// # Panics
    /// Never: an open log has an active segment.
    #[must_use]
    pub fn file(&self) -> File {
        let (file, _) = self
            .log
            .position_of(self.log.log_end_offset())
            .expect("an open log has an active segment");
        file
    }

    /// The next write: one batch.
    ///
    /// # Panics
    /// When the segment is full or the last plan was not handed to [`Self::written`].
    pub fn next_write(&mut self) -> AppendPlan {
        let batches = [self.batch.clone()];
        let plan = self.log.plan_append(batches, LeaderEpoch(0), NOW);
        plan.expect("the segment has room")
            .expect("one write at a time")
    }

    /// The write is done; space is kept ready for more, as the maintenance threads do.
    ///
    /// # Panics
    /// When the disk refuses.
    pub fn written(&mut self, plan: &AppendPlan) {
        self.log.appended(plan);
        if let Some(space) = self.log.preallocation_due() {
            space.run(&self.disk).expect("a disk with room");
        }
    }

    /// Appends `count` batches by blocking writes.
    ///
    /// # Panics
    /// When the disk refuses.
    pub fn fill(&mut self, count: usize) {
        for _ in 0..count {
            let plan = self.next_write();
            let written = plan.file.write_buffers_at(plan.position, &plan.buffers);
            written.expect("a disk with room");
            self.written(&plan);
        }
    }
}
