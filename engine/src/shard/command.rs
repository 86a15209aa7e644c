//! What can be asked of a shard, and what it answers: the engine's own words for the requests of clients.
//!
//! Every command carries the slot its answer goes into. Nothing here knows how a request looked on the wire.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;
use tokio::sync::oneshot;

use crate::group::{GroupCommand, GroupError, GroupReply};
use crate::log::{EpochEnd, Extent, Producer, TimestampedOffset};
use crate::partition::{
    Acks, AppendError, Appended, DeleteRecordsError, Isolation, OffsetLookupError, OffsetSpec,
    ReadError,
};
use crate::types::{LeaderEpoch, Monotonic, Offset, ProducerId, TopicIdPartition};

/// One thing asked of one shard.
#[derive(Debug)]
pub enum Command {
    /// Append record batches.
    Produce(Produce),
    /// Read record batches, waiting for more if asked to.
    Fetch(Fetch),
    /// Read what is new in partitions that the shard remembers, waiting for more if asked to.
    FetchNews(FetchNews),
    /// Answer a parked [`Fetch`] or [`FetchNews`] now, with what there is.
    WakeFetch(FetchId),
    /// Forget the partitions of a standing read.
    ForgetStanding(StandingId),
    /// Find offsets by kind or by time.
    LookupOffsets(LookupOffsets),
    /// Find where leader epochs ended.
    LookupEpochEnds(LookupEpochEnds),
    /// Move the log start offset forward.
    DeleteRecords(DeleteRecords),
    /// Tell the sizes and bounds of partitions.
    DescribeLogs(DescribeLogs),
    /// Tell how much room the log directories have.
    MeasureDirectories(MeasureDirectories),
    /// Tell what is known of idempotent producers.
    DescribeProducers(DescribeProducers),
    /// Something for a group coordinator of this shard.
    Group(Box<GroupRequest>),
}

/// Where an answer goes. Dropped unanswered, it tells the asker that the shard stopped.
pub type ReplySlot<T> = oneshot::Sender<T>;

/// Batches for partitions of one shard.
#[derive(Debug)]
pub struct Produce {
    /// One entry per partition; a partition that stands twice is appended to twice, in order.
    pub partitions: SmallVec<[ProducePartition; 1]>,
    /// What the answer waits for.
    pub acks: Acks,
    /// How long an answer to [`Acks::All`] may wait for the high watermark.
    pub timeout: Duration,
    /// One result per entry, in the order of `partitions`.
    pub reply: ReplySlot<Produced>,
}

/// What became of the batches of a [`Produce`].
#[derive(Debug)]
pub struct Produced {
    /// In their order. Most often it is one.
    pub results: SmallVec<[Result<Appended, AppendError>; 1]>,
    /// Where time was up before all of them were told of: ends when the shard has let go of their bytes.
    pub left_behind: Option<oneshot::Receiver<()>>,
}

impl IntoIterator for Produced {
    type Item = Result<Appended, AppendError>;
    type IntoIter = smallvec::IntoIter<[Self::Item; 1]>;

    fn into_iter(self) -> Self::IntoIter {
        self.results.into_iter()
    }
}

/// What goes to one partition.
#[derive(Debug)]
pub struct ProducePartition {
    /// Which one.
    pub partition: TopicIdPartition,
    /// The bytes as the client sent them: exactly one record batch, not yet checked.
    pub records: Bytes,
    /// Whether the client's protocol version may carry zstd (KIP-110: Produce 7 and later).
    pub zstd_allowed: bool,
}

/// Names a parked fetch, so that it can be woken. Unique over the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FetchId(pub u64);

/// Reads of partitions of one shard.
#[derive(Debug)]
pub struct Fetch {
    /// The name to wake it by.
    pub id: FetchId,
    /// What to read, most important first: later entries get what `bytes_max` leaves.
    pub partitions: Vec<FetchPartition>,
    /// Most bytes over all partitions; the first batch found comes whole even so (KIP-74).
    pub bytes_max: u64,
    /// Fewest bytes over all partitions worth an answer before `deadline`; 0 answers at once.
    pub bytes_min: u64,
    /// When to answer with whatever there is.
    pub deadline: Monotonic,
    /// One result per entry, in the order of `partitions`.
    pub reply: ReplySlot<Vec<Result<Fetched, ReadError>>>,
}

/// Names a standing read: partitions that a shard remembers from one [`FetchNews`] to the next. Unique over the life of the
/// process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StandingId(pub u64);

/// One of the fetches of a standing read, which come one after the other. Only partitions are looked at that were put, that
/// something happened to, or that had more than nothing when they were answered last; the cost is theirs alone.
#[derive(Debug)]
pub struct FetchNews {
    /// The name to wake it by.
    pub id: FetchId,
    /// Whose partitions.
    pub standing: StandingId,
    /// Whether the standing read begins with this, without partitions.
    pub begins: bool,
    /// Places whose partitions are no longer read.
    pub remove: Vec<u64>,
    /// Partitions that are read from now on, or in another way, by their places: lower ones come first and get more of
    /// `bytes_max`. No partition stands at two places.
    pub put: Vec<(u64, FetchPartition)>,
    /// As in [`Fetch`].
    pub bytes_max: u64,
    /// As in [`Fetch`].
    pub bytes_min: u64,
    /// As in [`Fetch`].
    pub deadline: Monotonic,
    /// Where the answer goes.
    pub reply: ReplySlot<News>,
}

/// What was looked at, by place, in order: whoever is not there has neither records nor an error, and its bounds are as
/// they were answered last. `None` when the shard knows of no such standing read: it has to begin anew.
pub type News = Option<Vec<(u64, Result<Fetched, ReadError>)>>;

/// A read of one partition.
#[derive(Clone, Copy, Debug)]
pub struct FetchPartition {
    /// Which one.
    pub partition: TopicIdPartition,
    /// The first offset wanted.
    pub offset: Offset,
    /// Most bytes from this partition.
    pub bytes_max: u64,
    /// The epoch the reader believes in; [`LeaderEpoch::NONE`] skips the check (KIP-320).
    pub current_leader_epoch: LeaderEpoch,
    /// The epoch of the last record the reader has; [`LeaderEpoch::NONE`] skips the check (KIP-595).
    pub last_fetched_epoch: LeaderEpoch,
    /// How far it may see.
    pub isolation: Isolation,
}

/// What a read found. The bytes stay in the file.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Exclusive bound of what any reader may see.
    pub high_watermark: Offset,
    /// Exclusive bound for [`Isolation::ReadCommitted`].
    pub last_stable_offset: Offset,
    /// First offset still there.
    pub log_start_offset: Offset,
    /// The epoch the partition is led under.
    pub leader_epoch: LeaderEpoch,
    /// The bytes: whole batches, but for the last, which the byte limit may cut. `None`: nothing new, or no room for it.
    pub extent: Option<Extent>,
    /// More lies behind the segment that the bytes are from, or there was no room left for what there is: waiting would not show it.
    pub has_more: bool,
    /// Set when the reader's history differs from ours: where the epochs part (KIP-595). Then there is no extent.
    pub diverging: Option<EpochEnd>,
}

/// Offsets to look up on one shard.
#[derive(Debug)]
pub struct LookupOffsets {
    /// Which and how.
    pub lookups: Vec<OffsetLookup>,
    /// One result per entry, in order; `None` where no record is that young.
    pub reply: ReplySlot<Vec<Result<Option<TimestampedOffset>, OffsetLookupError>>>,
}

/// One lookup.
#[derive(Clone, Copy, Debug)]
pub struct OffsetLookup {
    /// In which partition.
    pub partition: TopicIdPartition,
    /// What to look for.
    pub spec: OffsetSpec,
    /// The epoch the asker believes in; [`LeaderEpoch::NONE`] skips the check.
    pub current_leader_epoch: LeaderEpoch,
    /// What "latest" means to the asker.
    pub isolation: Isolation,
}

/// Ends of leader epochs to look up on one shard (KIP-101, KIP-320).
#[derive(Debug)]
pub struct LookupEpochEnds {
    /// Partition, the epoch the asker believes in, the epoch to look up.
    pub lookups: Vec<(TopicIdPartition, LeaderEpoch, LeaderEpoch)>,
    /// One result per entry, in order; `None` where the epoch is unknown.
    pub reply: ReplySlot<Vec<Result<Option<EpochEnd>, OffsetLookupError>>>,
}

/// Records to forget on one shard.
#[derive(Debug)]
pub struct DeleteRecords {
    /// Partition and the first offset to keep; `None` stands for the high watermark.
    pub partitions: Vec<(TopicIdPartition, Option<Offset>)>,
    /// The new log start offset of each, in order, once that is safe on disk.
    pub reply: ReplySlot<Vec<Result<Offset, DeleteRecordsError>>>,
}

/// Logs of one shard to describe, some at a time: there may be very many, and the shard has other clients' turns in between.
#[derive(Debug)]
pub struct DescribeLogs {
    /// Those behind this one; `None` stands for the first.
    pub after: Option<TopicIdPartition>,
    /// At most so many.
    pub count_max: usize,
    /// In the order of their partitions. Where they are fewer than asked for there are no others.
    pub reply: ReplySlot<Vec<LogDescription>>,
}

/// One partition's log as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDescription {
    /// Which partition.
    pub partition: TopicIdPartition,
    /// Which of `log.dirs` holds it.
    pub directory: PathBuf,
    /// Bytes of its segments.
    pub size_bytes: u64,
    /// First offset still there.
    pub log_start_offset: Offset,
    /// Exclusive bound of what readers see.
    pub high_watermark: Offset,
    /// The next offset to be given.
    pub log_end_offset: Offset,
    /// Whether a fault has taken it offline.
    pub offline: bool,
}

/// Room to be measured. Any shard can be asked.
#[derive(Debug)]
pub struct MeasureDirectories {
    /// The log directories in use whose file systems answered.
    pub reply: ReplySlot<Vec<DirectorySpace>>,
}

/// How much the file system of a log directory holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectorySpace {
    /// Which of `log.dirs`.
    pub directory: PathBuf,
    /// Capacity in bytes.
    pub total_bytes: u64,
    /// What the broker may still write, in bytes.
    pub usable_bytes: u64,
}

/// Producers to describe on one shard.
#[derive(Debug)]
pub struct DescribeProducers {
    /// Which of them.
    pub ranges: Vec<ProducerRange>,
    /// One result per entry, in order.
    pub reply: ReplySlot<Vec<Result<Producers, OffsetLookupError>>>,
}

/// Some of the producers that a partition remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerRange {
    /// The partition.
    pub partition: TopicIdPartition,
    /// Those with higher ids than this; from the first on without one.
    pub after: Option<ProducerId>,
    /// At most so many: 0 for whoever wants to know only how many there are.
    pub count_max: usize,
}

/// Producers that a partition remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Producers {
    /// How many it remembers.
    pub count: usize,
    /// Those of the range, by id.
    pub described: Vec<(ProducerId, Producer)>,
}

/// A command for the group coordinator that lives with one partition of `__consumer_offsets`.
#[derive(Debug)]
pub struct GroupRequest {
    /// That partition; it belongs to this shard.
    pub partition: TopicIdPartition,
    /// What is asked of the coordinator.
    pub command: GroupCommand,
    /// The coordinator's answer, given once what it decided is durable.
    pub reply: ReplySlot<Result<GroupReply, GroupError>>,
}
