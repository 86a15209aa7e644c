//! The leader's part over one log: takes batches in order, says what the disk has to do next, and knows how far
//! readers may see and who may be told.
//!
//! At most one write and one sync are in flight. A sync covers what was written before it began; what arrives meanwhile
//! is written at once and joins the next sync: that is the group commit.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::error::{AppendError, DeleteRecordsError, ReadError, Unavailable};
use super::rules::rules;
use super::unpacking::{Arrival, Unpacking};
use super::waiting::{Acks, Appended, Told, Waiter, WaitingRoom};
use crate::config::TopicConfig;
use crate::io::{File, IoError};
use crate::log::{
    self, AppendPlan, CutBack, DeleteJob, EarliestTurns, EpochEnd, EpochsJob, EpochsWritten,
    FlushJob, Flushed, Log, Preallocation, ProducerTurn, ReadExtent, ReadPlan, RollJob,
    RolledSegment, Staged, SyncPlan, TimeSearch, TimestampedOffset,
};
use crate::record::{
    Allowance, BatchHeader, Begun, PackedBatch, PreparedBatch, RecordError, Rules, TimestampType,
    begin, prepare,
};
use crate::types::{
    LeaderEpoch, Monotonic, Now, Offset, Timestamp, TopicIdPartition, TopicPartition,
};

/// How far a reader may see (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Up to the high watermark.
    ReadUncommitted,
    /// Up to the last stable offset.
    ReadCommitted,
}

/// Which offset is looked for (the special timestamps of ListOffsets).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The end of what the asker may read.
    Latest,
    /// The log start offset.
    Earliest,
    /// The record with the largest timestamp (KIP-734).
    MaxTimestamp,
    /// The first record with this timestamp or a later one.
    AtOrAfter(Timestamp),
}

/// What an offset lookup comes to.
#[derive(Debug)]
pub enum OffsetAnswer {
    /// Known at once.
    Known(TimestampedOffset),
    /// To be looked up in the files, away from the shard: [`Log::time_lookup`].
    Search(TimeSearch),
}

/// What the disk has to do next for a partition.
#[derive(Debug)]
pub enum Work {
    /// Write `buffers` at `position`; then [`Leader::written`].
    Write {
        /// The active segment.
        file: File,
        /// Where its written part ends.
        position: u64,
        /// Small batches together; of larger ones headers and payloads in turn.
        buffers: Vec<Bytes>,
    },
    /// Close the active segment and begin another; then [`Leader::rolled`].
    Roll(RollJob),
    /// Cut a failed write off the file; then [`Leader::cut_back`].
    CutBack(CutBack),
    /// Reserve space ahead of the writes; then [`Leader::preallocated`].
    Preallocate(Preallocation),
    /// Write the leader epochs down; then [`Leader::epochs_written`].
    Epochs(EpochsJob),
    /// Open a client's batch; then [`Leader::unpacked`].
    Unpack(Box<PackedBatch>),
}

/// A fault after which a partition must not go on: its files are not what we believe them to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fault(pub String);

/// A batch as a client sent it.
#[derive(Debug)]
pub struct Offered {
    /// The bytes, not yet checked.
    pub records: Bytes,
    /// Whether the client's protocol version may carry zstd (KIP-110).
    pub zstd_allowed: bool,
    /// What its answer waits for.
    pub acks: Acks,
    /// Who is to be told.
    pub waiter: Waiter,
}

/// A group commit to be carried out.
#[derive(Debug)]
pub struct GroupCommit {
    /// To be synced, each.
    pub files: Vec<File>,
    /// How many batches were written since the one before.
    pub batches: usize,
}

/// The sync in flight.
#[derive(Debug)]
struct Syncing {
    plan: SyncPlan,
    files_left: usize,
}

/// A partition that this broker leads.
#[derive(Debug)]
pub struct Leader {
    id: TopicIdPartition,
    name: TopicPartition,
    epoch: LeaderEpoch,
    log: Log,
    config: Arc<TopicConfig>,
    rules: Rules,
    /// Batches that have to be opened first, and those behind them.
    unpacking: Unpacking,
    /// Checked batches that have no offset yet, because the segment is full.
    backlog: VecDeque<Arrival>,
    /// What was refused and may come again, of producers that the log does not know; until it is taken.
    refused: EarliestTurns,
    writing: Option<AppendPlan>,
    syncing: Option<Syncing>,
    /// The segment is being rolled or cut: nothing may be written or synced meanwhile.
    segment_busy: bool,
    /// The cut that follows a failed write.
    cut_due: Option<CutBack>,
    /// An epochs or preallocation job is out; one at a time is plenty.
    chore_busy: bool,
    /// The epochs could not be written for want of space: the next flush does it.
    epochs_delayed: bool,
    /// A flush job is out; another would do the same.
    flush_busy: bool,
    /// What is written is to be synced so that the recovery point can move, also where writes are cached.
    sync_wanted: bool,
    waiting: WaitingRoom,
    /// First offset not yet committed (exclusive bound of reads). Never goes back. INV-HW-1.
    high_watermark: Offset,
    /// Since when there are written records that no sync has covered, for `flush.ms`.
    unflushed_since: Option<Monotonic>,
    /// How many batches were written since a group commit began.
    uncovered_batches: usize,
    /// Its shard knows that there may be work.
    touched: bool,
}

impl Leader {
    /// Leads `log` from `epoch` on. All that recovery kept is committed: it was made durable before this.
    #[must_use]
    pub fn new(
        id: TopicIdPartition,
        name: TopicPartition,
        mut log: Log,
        epoch: LeaderEpoch,
        config: Arc<TopicConfig>,
    ) -> Self {
        // The settings may have changed while the log was being opened.
        log.set_config(Arc::clone(&config));
        log.start_leader_epoch(epoch);
        let high_watermark = log.log_end_offset();
        log.release_below(high_watermark);
        Self {
            id,
            name,
            epoch,
            high_watermark,
            rules: rules(&config),
            log,
            config,
            unpacking: Unpacking::default(),
            backlog: VecDeque::new(),
            refused: EarliestTurns::default(),
            writing: None,
            syncing: None,
            segment_busy: false,
            cut_due: None,
            chore_busy: false,
            epochs_delayed: false,
            flush_busy: false,
            sync_wanted: false,
            waiting: WaitingRoom::default(),
            unflushed_since: None,
            uncovered_batches: 0,
            touched: false,
        }
    }

    /// The partition by name, for log lines and checkpoints.
    #[must_use]
    pub const fn name(&self) -> &TopicPartition {
        &self.name
    }

    /// The log, to look at.
    #[must_use]
    pub const fn log(&self) -> &Log {
        &self.log
    }

    /// The log, for jobs that hand their results back to it.
    pub const fn log_mut(&mut self) -> &mut Log {
        &mut self.log
    }

    /// First offset that readers may not see.
    #[must_use]
    pub const fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// First offset that `read_committed` readers may not see. Without transactions that is the high watermark.
    #[must_use]
    pub const fn last_stable_offset(&self) -> Offset {
        self.high_watermark
    }

    /// The leader epoch.
    #[must_use]
    pub const fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// The effective topic settings.
    #[must_use]
    pub fn config(&self) -> &TopicConfig {
        &self.config
    }

    /// New settings and a new epoch, from the metadata. A promise that was made looser may let some go at once.
    pub fn reconfigure(&mut self, config: Arc<TopicConfig>, epoch: LeaderEpoch, told: &mut Told) {
        self.rules = rules(&config);
        self.log.set_config(Arc::clone(&config));
        self.config = config;
        if epoch > self.epoch {
            self.epoch = epoch;
            self.log.start_leader_epoch(epoch);
        }
        self.advance(told);
    }

    /// Whether a request that believes in `requested` may be served ([`LeaderEpoch::NONE`] always may; KIP-320).
    ///
    /// # Errors
    /// The asker, or this broker, is behind.
    pub fn check_epoch(&self, requested: LeaderEpoch) -> Result<(), Unavailable> {
        let (partition, current) = (self.id, self.epoch);
        match requested {
            LeaderEpoch::NONE => Ok(()),
            _ if requested < current => Err(Unavailable::FencedLeaderEpoch {
                partition,
                requested,
                current,
            }),
            _ if requested > current => Err(Unavailable::UnknownLeaderEpoch {
                partition,
                requested,
                current,
            }),
            _ => Ok(()),
        }
    }

    /// Checks what a client sent, as far as `allowance` goes, and appends it behind all that came before. The waiter is told in
    /// `told`, now or by a later call.
    pub fn append(
        &mut self,
        offered: Offered,
        now: Now,
        allowance: &mut Allowance,
        told: &mut Told,
    ) {
        let (acks, waiter) = (offered.acks, offered.waiter);
        match self.check(offered, now, allowance) {
            Ok(begun) => self.receive(begun, acks, waiter, now, told),
            Err(error) => told.push((waiter, Err(error))),
        }
    }

    /// Notes that there may be work; true if that is news since [`Self::looks_for_work`].
    pub fn touch(&mut self) -> bool {
        !std::mem::replace(&mut self.touched, true)
    }

    /// To be called before [`Self::next_work`] is asked until there is none.
    pub fn looks_for_work(&mut self) {
        self.touched = false;
    }

    /// Appends a batch of the broker's own making.
    pub fn append_own(&mut self, records: Bytes, waiter: Waiter, now: Now, told: &mut Told) {
        match prepare(records, &self.own_rules(), now.wall) {
            Ok(batch) => self.receive(Begun::Ready(batch), Acks::All, waiter, now, told),
            Err(error) => told.push((waiter, Err(error.into()))),
        }
    }

    /// The coordinators bound their records themselves, and a user's `max.message.bytes` must not stop them. Their batches stay as
    /// they are made: no shard waits for a codec, nor their replies behind one.
    fn own_rules(&self) -> Rules {
        Rules {
            message_bytes_max: usize::MAX,
            compression_target: None,
            ..self.rules.clone()
        }
    }

    fn receive(&mut self, begun: Begun, acks: Acks, waiter: Waiter, now: Now, told: &mut Told) {
        match begun {
            Begun::Ready(batch) if self.unpacking.is_empty() => {
                let arrival = Arrival {
                    batch,
                    acks,
                    waiter,
                };
                self.arrive(arrival, now, told);
            }
            begun => self.unpacking.push(begun, acks, waiter),
        }
    }

    /// A batch has been opened: it is appended, or its sender told why not, and so are those that waited behind it.
    pub fn unpacked(
        &mut self,
        result: Result<PreparedBatch, RecordError>,
        now: Now,
        told: &mut Told,
    ) {
        match self.unpacking.unpacked(result) {
            Some(Ok(arrival)) => self.arrive(arrival, now, told),
            Some(Err((waiter, error))) => told.push((waiter, Err(error))),
            None => {}
        }
        while let Some(arrival) = self.unpacking.pop_ready() {
            self.arrive(arrival, now, told);
        }
    }

    fn check(
        &self,
        offered: Offered,
        now: Now,
        allowance: &mut Allowance,
    ) -> Result<Begun, AppendError> {
        let Offered {
            records,
            zstd_allowed,
            acks,
            ..
        } = offered;
        let mut none = Allowance::none();
        let allowance = if self.packs_nothing_at_once() {
            &mut none
        } else {
            allowance
        };
        let (in_sync, replicas) = (1, 1);
        // As in Kafka, a partition is not asked for more replicas than it has.
        let required = self.config.min_insync_replicas.min(replicas);
        if acks == Acks::All && required > in_sync {
            return Err(AppendError::NotEnoughReplicas { in_sync, required });
        }
        let begun = if zstd_allowed {
            begin(records, &self.rules, now.wall, allowance)
        } else {
            begin(
                records,
                &Rules {
                    zstd_allowed,
                    ..self.rules.clone()
                },
                now.wall,
                allowance,
            )
        }?;
        if begun.header().attributes().is_transactional() {
            return Err(AppendError::Transactional);
        }
        Ok(begun)
    }

    /// Whether so much waits to be written that nothing more is opened: an opened batch is in no budget, and may take a thousand
    /// times what its request did. The write, roll or cut that they wait for has this looked at again.
    fn is_behind(&self) -> bool {
        !self.backlog.is_empty() || self.log.unwritten_bytes() > UNWRITTEN_BYTES_MAX
    }

    /// Whether what is packed anew would only add to what waits.
    fn packs_nothing_at_once(&self) -> bool {
        self.rules.compression_target.is_some()
            && (self.is_behind() || self.unpacking.ready_bytes() > UNWRITTEN_BYTES_MAX)
    }

    fn arrive(&mut self, arrival: Arrival, now: Now, told: &mut Told) {
        let open = self.backlog.is_empty() && self.cut_due.is_none() && !self.segment_busy;
        let left = if open {
            self.stage(arrival, now, told)
        } else {
            Some(arrival)
        };
        self.backlog.extend(left);
    }

    /// Gives a batch its offsets; hands it back when the segment has to be rolled first.
    fn stage(&mut self, arrival: Arrival, now: Now, told: &mut Told) -> Option<Arrival> {
        let Arrival {
            batch,
            acks,
            waiter,
        } = arrival;
        let stamped_by_us =
            batch.header().attributes().timestamp_type() == TimestampType::LogAppendTime;
        let append_time = if stamped_by_us {
            batch.header().max_timestamp()
        } else {
            Timestamp::NONE
        };
        match self.log.stage(batch, self.epoch, now.wall) {
            Ok(Staged::Assigned {
                base_offset,
                last_offset,
            }) => {
                self.park(acks, waiter, base_offset, last_offset, append_time, told);
            }
            Ok(Staged::Duplicate {
                base_offset,
                last_offset,
                timestamp,
            }) => {
                let append_time = if stamped_by_us {
                    timestamp
                } else {
                    Timestamp::NONE
                };
                self.park(acks, waiter, base_offset, last_offset, append_time, told);
            }
            Err(refused) => match refused.error {
                log::AppendError::RollNeeded(_) | log::AppendError::RollInProgress => {
                    return Some(Arrival {
                        batch: refused.batch,
                        acks,
                        waiter,
                    });
                }
                error => told.push((waiter, Err(self.refusal(error)))),
            },
        }
        None
    }

    fn refusal(&self, error: log::AppendError) -> AppendError {
        match error {
            log::AppendError::Producer(error) => AppendError::Producer(error),
            log::AppendError::BatchTooLarge {
                length_bytes,
                segment_bytes,
            } => AppendError::BatchTooLarge {
                length_bytes,
                segment_bytes,
            },
            log::AppendError::FencedLeaderEpoch { .. } => Unavailable::NotLeader(self.id).into(),
            log::AppendError::OffsetsExhausted { .. }
            | log::AppendError::Damaged(_)
            | log::AppendError::CutPending
            | log::AppendError::RollNeeded(_)
            | log::AppendError::RollInProgress => AppendError::Storage,
        }
    }

    fn park(
        &mut self,
        acks: Acks,
        waiter: Waiter,
        base_offset: Offset,
        last_offset: Offset,
        log_append_time: Timestamp,
        told: &mut Told,
    ) {
        let log_start_offset = self.log.log_start_offset();
        let appended = Appended {
            base_offset,
            log_append_time,
            log_start_offset,
        };
        let end = Offset(last_offset.0 + 1);
        let reached = match acks {
            Acks::None | Acks::Leader => end <= self.unflushed_bound(),
            Acks::All => end <= self.promised_end(),
        };
        if reached {
            told.push((waiter, Ok(appended)));
        } else {
            self.waiting.enter(acks, end, waiter, appended);
        }
    }

    /// What the disk has to do next, if anything. Ask until it says nothing; a group commit is asked for with
    /// [`Leader::sync_due`], because it may have to wait for its turn.
    pub fn next_work(&mut self, now: Now) -> Option<Work> {
        if !self.is_behind()
            && let Some(packed) = self.unpacking.next()
        {
            return Some(Work::Unpack(packed));
        }
        if let Some(cut) = self
            .cut_due
            .take_if(|_| !self.segment_busy && self.syncing.is_none())
        {
            self.segment_busy = true;
            return Some(Work::CutBack(cut));
        }
        if !self.segment_busy && self.cut_due.is_none() {
            let work = self.next_write(now);
            if work.is_some() {
                return work;
            }
        }
        self.next_chore()
    }

    fn next_write(&mut self, now: Now) -> Option<Work> {
        if self.writing.is_some() {
            return None;
        }
        if let Some(mut plan) = self.log.take_plan() {
            let work = Work::Write {
                file: plan.file.clone(),
                position: plan.position,
                buffers: std::mem::take(&mut plan.buffers),
            };
            self.writing = Some(plan);
            return Some(work);
        }
        if self.backlog.is_empty() || self.syncing.is_some() {
            return None;
        }
        let job = self.log.begin_roll(now.wall)?;
        self.segment_busy = true;
        Some(Work::Roll(job))
    }

    /// Begins the next group commit, of all that is written: each of the files is to be made durable; then
    /// [`Leader::synced`], once for each. `None` when none is due, or all is durable without one.
    pub fn begin_sync(&mut self, now: Now, told: &mut Told) -> Option<GroupCommit> {
        if !self.sync_due(now) {
            return None;
        }
        let plan = self.log.plan_sync()?;
        self.unflushed_since = None;
        self.sync_wanted = false;
        if plan.files.is_empty() {
            // Retention has taken away what was not durable.
            self.log.synced(&plan);
            self.advance(told);
            return None;
        }
        let files = plan.files.clone();
        self.syncing = Some(Syncing {
            files_left: files.len(),
            plan,
        });
        let batches = std::mem::take(&mut self.uncovered_batches);
        Some(GroupCommit { files, batches })
    }

    /// Whether a group commit is to begin as soon as it may. Durable topics sync whatever is written; the others when
    /// `flush.messages` or `flush.ms` say so.
    #[must_use]
    pub fn sync_due(&self, now: Now) -> bool {
        if self.syncing.is_some() || self.segment_busy || self.cut_due.is_some() {
            return false;
        }
        let unsynced = self.log.log_end_offset().0 - self.log.durable_end_offset().0;
        if unsynced <= 0 {
            return false;
        }
        let many = self
            .config
            .flush_messages
            .is_some_and(|messages| unsynced.unsigned_abs() >= messages);
        !self.config.write_caching
            || many
            || self.sync_wanted
            || self
                .flush_deadline()
                .is_some_and(|deadline| deadline <= now.monotonic)
    }

    /// From when on `flush.ms` asks for a sync of what is written. Each group commit brings another time.
    #[must_use]
    pub fn flush_deadline(&self) -> Option<Monotonic> {
        let flush_ms = self.config.flush_ms.filter(|_| self.config.write_caching)?;
        let delay = Duration::from_millis(u64::try_from(flush_ms).unwrap_or(0));
        Some(self.unflushed_since?.after(delay))
    }

    fn next_chore(&mut self) -> Option<Work> {
        if self.chore_busy {
            return None;
        }
        let work = match self.log.epochs_job().filter(|_| !self.epochs_delayed) {
            Some(job) => Work::Epochs(job),
            None if self.segment_busy => return None,
            None => Work::Preallocate(self.log.preallocation_due()?),
        };
        self.chore_busy = true;
        Some(work)
    }

    /// The write in flight has ended.
    ///
    /// # Errors
    /// The device failed; the partition has to go offline. A full disk is no fault: those who waited for the write are
    /// told, and what it left behind is cut off.
    pub fn written(
        &mut self,
        result: Result<(), IoError>,
        now: Now,
        told: &mut Told,
    ) -> Result<(), Fault> {
        let Some(plan) = self.writing.take() else {
            return Err(Fault(format!(
                "{}: a write ended that was not begun",
                self.name
            )));
        };
        match result {
            Ok(()) => {
                self.log.appended(&plan);
                self.uncovered_batches += plan.batches.len();
                self.unflushed_since.get_or_insert(now.monotonic);
                self.advance(told);
                Ok(())
            }
            Err(error) if error.is_out_of_space() => {
                let undone = self.log.append_failed(&plan);
                let (from, watermark) = (undone.from_offset, self.high_watermark);
                assert!(
                    from >= watermark,
                    "INV-HW-1: offset {from} is taken back, readers saw up to {watermark}"
                );
                self.waiting.lost(undone.from_offset, told);
                // Batches that were repeated may have waited behind those, and for nothing else.
                self.waiting.written(self.unflushed_bound(), told);
                self.waiting.committed(self.promised_end(), told);
                self.cut_due = Some(undone.cut);
                self.refused.extend(undone.of_unknown);
                self.refuse_backlog(told);
                Ok(())
            }
            Err(error) => Err(Fault(error.to_string())),
        }
    }

    /// One file of the sync in flight is durable, or not.
    ///
    /// # Errors
    /// A failed sync leaves the page cache claiming what the device does not have: the partition has to go offline.
    pub fn synced(&mut self, result: Result<(), IoError>, told: &mut Told) -> Result<(), Fault> {
        result.map_err(|error| Fault(error.to_string()))?;
        let Some(syncing) = &mut self.syncing else {
            return Err(Fault(format!(
                "{}: a sync ended that was not begun",
                self.name
            )));
        };
        syncing.files_left = syncing.files_left.saturating_sub(1);
        if syncing.files_left == 0
            && let Some(done) = self.syncing.take()
        {
            self.log.synced(&done.plan);
            self.advance(told);
        }
        Ok(())
    }

    /// A roll has ended; the batches behind it get their offsets.
    ///
    /// # Errors
    /// The device failed. When the disk is full the old segment goes on, and those who waited are told.
    pub fn rolled(
        &mut self,
        result: Result<RolledSegment, IoError>,
        now: Now,
        told: &mut Told,
    ) -> Result<(), Fault> {
        self.segment_busy = false;
        match result {
            Ok(rolled) => {
                self.log.finish_roll(rolled);
                self.advance(told);
                self.stage_backlog(now, told);
                Ok(())
            }
            Err(error) if only_full(&error) => {
                self.roll_put_off(now, told);
                Ok(())
            }
            Err(error) => Err(Fault(error.to_string())),
        }
    }

    /// There is no room for a roll at present: the old segment goes on, and those who cannot do without a new one are told.
    pub fn roll_put_off(&mut self, now: Now, told: &mut Told) {
        self.segment_busy = false;
        self.log.roll_failed();
        self.stage_backlog(now, told);
        if !self.backlog.is_empty() {
            self.refuse_backlog(told);
        }
    }

    /// Refuses what has no place in the log yet, all of it: of a producer that it does not know the log takes any batch for the first,
    /// and what is behind a refused one must not overtake that.
    fn refuse_backlog(&mut self, told: &mut Told) {
        let (log, refused) = (&self.log, &mut self.refused);
        let mut note = |header: &BatchHeader| {
            let turn = ProducerTurn::of(header);
            refused.extend(turn.filter(|turn| !log.knows_producer(turn.producer_id)));
        };
        for arrival in self.backlog.drain(..) {
            note(arrival.batch.header());
            told.push((arrival.waiter, Err(AppendError::Storage)));
        }
        self.unpacking.refuse(note, told);
    }

    /// What was refused since the last call and may come again, of producers that the log does not know: the earliest of each.
    /// Until it does come, whoever calls is to let no later one of that producer in.
    #[must_use]
    pub fn take_refused(&mut self) -> EarliestTurns {
        std::mem::take(&mut self.refused)
    }

    /// A failed write has been cut off the file.
    ///
    /// # Errors
    /// It could not be: stale bytes may follow the next write, so the partition has to go offline.
    pub fn cut_back(
        &mut self,
        result: Result<(), IoError>,
        now: Now,
        told: &mut Told,
    ) -> Result<(), Fault> {
        self.segment_busy = false;
        result.map_err(|error| Fault(error.to_string()))?;
        self.log.cut_back();
        self.stage_backlog(now, told);
        Ok(())
    }

    fn stage_backlog(&mut self, now: Now, told: &mut Told) {
        while let Some(arrival) = self.backlog.pop_front() {
            if let Some(arrival) = self.stage(arrival, now, told) {
                self.backlog.push_front(arrival);
                return;
            }
        }
    }

    /// Space has been reserved, or could not be, which costs speed and nothing else.
    pub const fn preallocated(&mut self) {
        self.chore_busy = false;
    }

    /// The leader epochs are written down.
    ///
    /// # Errors
    /// The device failed. A full disk only delays them: they come with the next flush.
    pub fn epochs_written(&mut self, result: Result<EpochsWritten, IoError>) -> Result<(), Fault> {
        self.chore_busy = false;
        match result {
            Ok(written) => {
                self.log.epochs_written(written);
                Ok(())
            }
            Err(error) if error.is_out_of_space() => {
                self.epochs_delayed = true;
                Ok(())
            }
            Err(error) => Err(Fault(error.to_string())),
        }
    }

    /// A flush has ended: the recovery point is up.
    ///
    /// # Errors
    /// The device failed; as with [`Leader::synced`]. A full disk leaves the recovery point where it was.
    pub fn flushed(
        &mut self,
        result: Result<Flushed, IoError>,
        told: &mut Told,
    ) -> Result<(), Fault> {
        self.flush_busy = false;
        match result {
            Ok(flushed) => {
                self.epochs_delayed = false;
                self.log.flushed(flushed);
                self.advance(told);
                Ok(())
            }
            Err(error) if only_full(&error) => Ok(()),
            Err(error) => Err(Fault(error.to_string())),
        }
    }

    /// A flush was ordered and is not carried out.
    pub const fn flush_put_off(&mut self) {
        self.flush_busy = false;
    }

    /// How far batches that are only written may be acknowledged (exclusive): as in Kafka, the append that brings the
    /// records no sync has covered to `flush.messages` is not answered before the sync that covers it.
    fn unflushed_bound(&self) -> Offset {
        let end = self.log.log_end_offset();
        let Some(messages) = self.config.flush_messages else {
            return end;
        };
        let allowed = i64::try_from(messages.saturating_sub(1)).unwrap_or(i64::MAX);
        end.min(Offset(
            self.log.durable_end_offset().0.saturating_add(allowed),
        ))
    }

    /// Tells those whose batches are as far as they wait for, and moves the high watermark to what the topic's promise
    /// covers.
    fn advance(&mut self, told: &mut Told) {
        self.waiting.written(self.unflushed_bound(), told);
        let promised = self.promised_end();
        // A topic whose promise was just tightened has shown more than it would show now; nothing is taken back.
        if promised > self.high_watermark {
            let end = self.log.log_end_offset();
            assert!(
                promised <= end,
                "INV-HW-3: high watermark {promised} is past log end offset {end}"
            );
            self.high_watermark = promised;
            self.log.release_below(promised);
        }
        self.waiting.committed(promised, told);
    }

    /// Where ends what is as safe as the topic promises whoever waits for all to be: below the high watermark while what a topic
    /// showed before it was to cache no more is not synced.
    fn promised_end(&self) -> Offset {
        if self.config.write_caching {
            self.unflushed_bound()
        } else {
            self.log.durable_end_offset()
        }
    }

    /// Where to read from `offset` on, at most `bytes_max` bytes unless the first batch alone is longer.
    ///
    /// # Errors
    /// The offset is out of range, or the files do not hold what they should.
    pub fn read(
        &self,
        offset: Offset,
        bytes_max: u64,
        isolation: Isolation,
    ) -> Result<ReadPlan, ReadError> {
        let read = |log: &Log, bound| log.read(offset, bytes_max, bound);
        self.read_by(offset, isolation, read)
    }

    /// The same, where an earlier read of the same `offset` has `found` something.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_again(
        &self,
        offset: Offset,
        bytes_max: u64,
        isolation: Isolation,
        found: &ReadExtent,
    ) -> Result<ReadPlan, ReadError> {
        let read = |log: &Log, bound| log.read_again(offset, bytes_max, bound, found);
        self.read_by(offset, isolation, read)
    }

    /// Has the log read below the bound, if there may be something.
    fn read_by(
        &self,
        offset: Offset,
        isolation: Isolation,
        read: impl FnOnce(&Log, Offset) -> Result<ReadPlan, log::ReadError>,
    ) -> Result<ReadPlan, ReadError> {
        let bound = match isolation {
            Isolation::ReadUncommitted => self.high_watermark,
            Isolation::ReadCommitted => self.last_stable_offset(),
        };
        // Before all else: an offset that was there must look neither like one still to come nor like one never given.
        let damaged = self.log.damage();
        if damaged.is_some_and(|damage| offset >= damage.offset) {
            return Err(ReadError::Storage);
        }
        if offset < self.log.log_start_offset() || offset > self.log.log_end_offset() {
            return Err(self.out_of_range(offset));
        }
        if offset >= bound {
            return Ok(ReadPlan::Empty);
        }
        read(&self.log, bound).map_err(|error| self.read_refusal(offset, &error))
    }

    /// Whether `offset` lies in a closed segment: what is found there is never all there is.
    #[must_use]
    pub fn has_closed_segment_after(&self, offset: Offset) -> bool {
        offset < self.log.active_base_offset()
            && self.log.active_base_offset() < self.high_watermark
    }

    /// What a failed read means to the reader.
    #[must_use]
    pub fn read_refusal(&self, offset: Offset, error: &log::ReadError) -> ReadError {
        match error {
            log::ReadError::OutOfRange { .. } => self.out_of_range(offset),
            log::ReadError::Damaged(_) | log::ReadError::Corrupt { .. } => ReadError::Storage,
        }
    }

    fn out_of_range(&self, requested: Offset) -> ReadError {
        ReadError::OutOfRange {
            requested,
            log_start_offset: self.log.log_start_offset(),
            high_watermark: self.high_watermark,
        }
    }

    /// Where the reader's history and ours part, if they do: the reader's last record was of `last_fetched_epoch` and
    /// it goes on at `offset` (KIP-595).
    ///
    /// # Errors
    /// The epoch is newer than any of ours: the reader is told its offset is out of range, as Kafka does.
    pub fn divergence(
        &self,
        last_fetched_epoch: LeaderEpoch,
        offset: Offset,
    ) -> Result<Option<EpochEnd>, ReadError> {
        if last_fetched_epoch == LeaderEpoch::NONE {
            return Ok(None);
        }
        let Some(end) = self.epoch_end(last_fetched_epoch) else {
            return Err(self.out_of_range(offset));
        };
        let parts = end.epoch < last_fetched_epoch || end.end_offset < offset;
        Ok(parts.then_some(end))
    }

    /// Where leader epoch `epoch`, or the last before it, ended; `None` when it is unknown.
    #[must_use]
    pub fn epoch_end(&self, epoch: LeaderEpoch) -> Option<EpochEnd> {
        self.log.epoch_end_offset(epoch)
    }

    /// Answers an offset lookup, or says what has to be looked up.
    #[must_use]
    pub fn look_up(&self, spec: OffsetSpec, isolation: Isolation) -> OffsetAnswer {
        let bound = match isolation {
            Isolation::ReadUncommitted => self.high_watermark,
            Isolation::ReadCommitted => self.last_stable_offset(),
        };
        let known = |offset, leader_epoch| {
            OffsetAnswer::Known(TimestampedOffset {
                offset,
                timestamp: Timestamp::NONE,
                leader_epoch,
            })
        };
        match spec {
            OffsetSpec::Latest => known(bound, self.epoch),
            OffsetSpec::Earliest => {
                let start = self.log.log_start_offset();
                known(start, self.log.epoch_of(start).unwrap_or(self.epoch))
            }
            OffsetSpec::MaxTimestamp => OffsetAnswer::Search(TimeSearch::greatest(bound)),
            OffsetSpec::AtOrAfter(time) => {
                OffsetAnswer::Search(TimeSearch::at_or_after(time, bound))
            }
        }
    }

    /// Moves the log start offset to `offset`, `None` being the high watermark. The caller makes it safe on disk before
    /// it answers. Says the new start.
    ///
    /// # Errors
    /// Beyond the high watermark, or the topic is compacted only.
    pub fn delete_records(&mut self, offset: Option<Offset>) -> Result<Offset, DeleteRecordsError> {
        let policy = self.config.cleanup_policy;
        if policy.compact && !policy.delete {
            return Err(DeleteRecordsError::PolicyViolation);
        }
        let requested = offset.unwrap_or(self.high_watermark);
        let high_watermark = self.high_watermark;
        if requested < Offset::ZERO || requested > high_watermark {
            return Err(DeleteRecordsError::OutOfRange {
                requested,
                high_watermark,
            });
        }
        self.log.move_log_start(requested);
        let start = self.log.log_start_offset();
        assert!(
            start <= high_watermark,
            "INV-HW-2: log start offset {start} is past high watermark {high_watermark}"
        );
        Ok(start)
    }

    /// Segments that retention lets go of. When the active segment itself has expired it is rolled, too; the next call
    /// then lets go of it.
    pub fn retain(&mut self, now: Now) -> RetentionWork {
        let mut work = RetentionWork::default();
        if self.segment_busy || self.cut_due.is_some() {
            return work;
        }
        let plan = self.log.retention(now.wall, self.high_watermark);
        if plan.delete > 0 {
            work.delete = Some(self.log.delete_segments(plan.delete));
        }
        if plan.roll_first && self.writing.is_none() && self.syncing.is_none() {
            work.roll = self.log.begin_roll(now.wall);
            self.segment_busy = work.roll.is_some();
        }
        work
    }

    /// Brings the recovery point up to what is durable, if it is behind, and asks for a sync of what is not: the next
    /// call gets to that.
    #[must_use]
    pub fn flush_work(&mut self) -> Option<FlushJob> {
        if !self.flush_due() {
            return None;
        }
        self.flush_busy = true;
        Some(self.log.flush_job())
    }

    /// Whether [`Self::flush_work`] has any; it asks for the sync, too.
    pub fn flush_due(&mut self) -> bool {
        let durable = self.log.durable_end_offset();
        self.sync_wanted = durable < self.log.log_end_offset();
        let behind = self.log.recovery_point() < durable;
        behind && !self.flush_busy && !self.segment_busy && self.cut_due.is_none()
    }

    /// Whether every batch that was taken is committed, or has failed.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.unpacking.is_empty()
            && self.backlog.is_empty()
            && self.log.next_offset() <= self.high_watermark
    }

    /// Whether nothing of this partition is in flight or about to be, so that it may be closed.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.writing.is_none()
            && self.log.next_offset() == self.log.log_end_offset()
            && self.waiting.is_empty()
            && self.syncing.is_none()
            && !self.segment_busy
            && !self.chore_busy
            && self.cut_due.is_none()
            && self.backlog.is_empty()
            && self.unpacking.is_empty()
    }

    /// Gives the log up, for closing or dropping it. Whoever still waits is told that the partition is gone.
    #[must_use]
    pub fn into_log(mut self, told: &mut Told) -> Log {
        self.waiting.lost(Offset(-1), told);
        let backlog = self.backlog.drain(..).map(|arrival| arrival.waiter);
        for waiter in backlog.chain(self.unpacking.drain()) {
            told.push((waiter, Err(AppendError::Storage)));
        }
        self.log
    }
}

/// What retention asks of the disk.
#[derive(Debug, Default)]
pub struct RetentionWork {
    /// Take the oldest segments away.
    pub delete: Option<DeleteJob>,
    /// Roll the expired active segment; then [`Leader::rolled`].
    pub roll: Option<RollJob>,
}

/// A few batches of the default largest size: enough for the disk to have work while the next is opened.
const UNWRITTEN_BYTES_MAX: u64 = 4 << 20;

/// Whether an error says no more than that the disk is full. A sync of records that fails is never only that: the page
/// cache may claim from then on what the device does not have.
fn only_full(error: &IoError) -> bool {
    let records = error.path.extension().is_some_and(|ending| ending == "log");
    error.is_out_of_space() && !(error.is_failed_sync() && records)
}

#[cfg(test)]
mod tests;
