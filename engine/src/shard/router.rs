//! Which shard owns a partition: arithmetic, the same on every thread, with nothing to keep or to lock.

use crate::types::TopicIdPartition;

/// A shard's place among the shards of this process, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardIndex(pub usize);

/// The owner of `partition` among `shards` shards.
///
/// Neighbouring partitions of a topic land on neighbouring cores, and topics start at different ones, so that many
/// one-partition topics spread as well as one topic of many partitions.
#[must_use]
pub fn shard_of(partition: TopicIdPartition, shards: usize) -> ShardIndex {
    debug_assert!(shards > 0, "a process has at least one shard");
    let topic = partition.topic_id.0.0;
    let start = topic ^ (topic >> 64);
    let place = start.wrapping_add(u128::from(partition.partition.unsigned_abs()));
    let shard = place % (shards.max(1) as u128);
    ShardIndex(usize::try_from(shard).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{TopicId, Uuid};

    #[test]
    fn the_partitions_of_a_topic_go_round_all_shards() {
        let topic_id = TopicId(Uuid(0x1234_5678_9abc_def0_1122_3344_5566_7788));
        let owner = |partition| {
            shard_of(
                TopicIdPartition {
                    topic_id,
                    partition,
                },
                4,
            )
            .0
        };
        let mut owners: Vec<usize> = (0..4).map(owner).collect();
        assert_eq!(owner(4), owners[0]);
        owners.sort_unstable();
        assert_eq!(owners, [0, 1, 2, 3]);
    }
}
