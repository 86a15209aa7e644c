//! ListOffsets (key 2): the offset of a point in time, or of a place such as the end of a partition.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millrace_engine::log::TimestampedOffset;
use millrace_engine::metadata::MetadataImage;
use millrace_engine::partition::{Isolation, OffsetSpec};
use millrace_engine::shard::Stopped;
use millrace_engine::shard::command::{Command, LookupOffsets, OffsetLookup};
use millrace_engine::types::{LeaderEpoch, Timestamp, TopicIdPartition};
use millrace_wire::ErrorCode;
use millrace_wire::message::list_offsets::{
    ListOffsetsRequest, ListOffsetsRequestPartition, ListOffsetsResponse,
    ListOffsetsResponsePartition, ListOffsetsResponseTopic,
};

use super::context::RequestContext;
use super::scatter::{Question, ask};
use super::topics::partition_by_name;

pub(super) async fn handle(
    request: ListOffsetsRequest,
    context: &RequestContext,
) -> Result<ListOffsetsResponse, Stopped> {
    let (version, image) = (context.version(), Arc::clone(&context.image()));
    let resolve = move |request: ListOffsetsRequest| {
        let lookups = lookups(&request, version, &image);
        (request, lookups)
    };
    let (request, lookups) = context.in_peace(request, resolve).await?;
    let command = |lookups, reply| Command::LookupOffsets(LookupOffsets { lookups, reply });
    let found = ask(context, lookups, command).await?;
    context.in_peace((request, found), response).await
}

impl Question for OffsetLookup {
    fn partition(&self) -> TopicIdPartition {
        self.partition
    }
}

/// For every partition of the request, in order, what to look up or why not.
fn lookups(
    request: &ListOffsetsRequest,
    version: i16,
    image: &MetadataImage,
) -> Vec<Result<OffsetLookup, ErrorCode>> {
    let isolation = match request.isolation_level {
        1 => Isolation::ReadCommitted,
        _ => Isolation::ReadUncommitted,
    };
    let repeated = repeated(request);
    let mut lookups = Vec::new();
    for topic in &request.topics {
        let name = &*topic.name;
        let repeated = repeated.get(name);
        lookups.extend(topic.partitions.iter().map(|asked| {
            let index = asked.partition_index;
            if repeated.is_some_and(|repeated| repeated.contains(&index)) {
                return Err(ErrorCode::InvalidRequest);
            }
            let partition = partition_by_name(image, name, index)?;
            // A place without an offset is no error: nothing is looked up and nothing is answered.
            let spec = spec(asked.timestamp, version)?.ok_or(ErrorCode::None)?;
            let current_leader_epoch = LeaderEpoch(asked.current_leader_epoch);
            Ok(OffsetLookup {
                partition,
                spec,
                current_leader_epoch,
                isolation,
            })
        }));
    }
    lookups
}

fn response(
    (request, found): (
        ListOffsetsRequest,
        Vec<Result<Option<TimestampedOffset>, ErrorCode>>,
    ),
) -> ListOffsetsResponse {
    let mut found = found.into_iter();
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().zip(found.by_ref());
        let partitions = partitions.map(|(asked, found)| partition(asked, found));
        ListOffsetsResponseTopic {
            partitions: partitions.collect(),
            name: topic.name,
        }
    });
    ListOffsetsResponse {
        topics: topics.collect(),
        ..Default::default()
    }
}

fn partition(
    asked: &ListOffsetsRequestPartition,
    found: Result<Option<TimestampedOffset>, ErrorCode>,
) -> ListOffsetsResponsePartition {
    let mut answer = ListOffsetsResponsePartition {
        partition_index: asked.partition_index,
        ..Default::default()
    };
    match found {
        Ok(Some(found)) => {
            answer.offset = found.offset.0;
            answer.leader_epoch = found.leader_epoch.0;
            answer.timestamp = match asked.timestamp {
                LATEST | EARLIEST | EARLIEST_LOCAL => -1,
                _ => found.timestamp.0,
            };
        }
        Ok(None) => {}
        Err(error_code) => answer.error_code = error_code,
    }
    answer
}

/// The partitions that stand in the request more than once. By topic first: a name may be long, and is compared once for all
/// partitions behind it.
fn repeated(request: &ListOffsetsRequest) -> BTreeMap<&str, BTreeSet<i32>> {
    let mut all: BTreeMap<&str, Named> = BTreeMap::new();
    for topic in &request.topics {
        let named = all.entry(&*topic.name).or_default();
        let partitions = topic.partitions.iter().map(|asked| asked.partition_index);
        let again = partitions.filter(|&index| !named.once.insert(index));
        named.again.extend(again);
    }
    let again = all.into_iter().map(|(name, named)| (name, named.again));
    again.collect()
}

/// Partitions of one topic.
#[derive(Debug, Default)]
struct Named {
    once: BTreeSet<i32>,
    again: BTreeSet<i32>,
}

/// What a timestamp stands for in this version of the request; `None` for a place that has no offset here.
fn spec(timestamp: i64, version: i16) -> Result<Option<OffsetSpec>, ErrorCode> {
    match timestamp {
        LATEST => Ok(Some(OffsetSpec::Latest)),
        EARLIEST => Ok(Some(OffsetSpec::Earliest)),
        MAX_TIMESTAMP if version >= 7 => Ok(Some(OffsetSpec::MaxTimestamp)),
        // All there is is local.
        EARLIEST_LOCAL if version >= 8 => Ok(Some(OffsetSpec::Earliest)),
        LATEST_TIERED if version >= 9 => Ok(None),
        EARLIEST_PENDING_UPLOAD if version >= 11 => Ok(None),
        0.. => Ok(Some(OffsetSpec::AtOrAfter(Timestamp(timestamp)))),
        _ => Err(ErrorCode::UnsupportedVersion),
    }
}

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
/// KIP-734.
const MAX_TIMESTAMP: i64 = -3;
/// KIP-405.
const EARLIEST_LOCAL: i64 = -4;
/// KIP-1005.
const LATEST_TIERED: i64 = -5;
/// KIP-1023.
const EARLIEST_PENDING_UPLOAD: i64 = -6;

#[cfg(test)]
mod tests {
    use millrace_wire::message::list_offsets::ListOffsetsRequestTopic;

    use super::*;

    #[test]
    fn special_timestamps_need_the_version_that_brought_them() {
        for (timestamp, first) in [(-1, 1), (-2, 1), (-3, 7), (-4, 8), (-5, 9), (-6, 11)] {
            for version in 1..=11 {
                let known = spec(timestamp, version) != Err(ErrorCode::UnsupportedVersion);
                assert_eq!(known, version >= first, "{timestamp} in version {version}");
            }
        }
        assert_eq!(spec(-7, 11), Err(ErrorCode::UnsupportedVersion));
        assert_eq!(spec(5, 1), Ok(Some(OffsetSpec::AtOrAfter(Timestamp(5)))));
        assert_eq!(spec(-5, 9), Ok(None));
    }

    #[test]
    fn a_partition_asked_for_twice_is_found() {
        let partition = |partition_index| ListOffsetsRequestPartition {
            partition_index,
            ..Default::default()
        };
        let topic = |name: &str, partitions: &[i32]| ListOffsetsRequestTopic {
            name: name.into(),
            partitions: partitions.iter().copied().map(partition).collect(),
        };
        let topics = vec![topic("a", &[0, 1]), topic("b", &[0, 0]), topic("a", &[1])];
        let request = ListOffsetsRequest {
            topics,
            ..Default::default()
        };
        let repeated = repeated(&request);
        let expected = [("a", BTreeSet::from([1])), ("b", BTreeSet::from([0]))];
        assert_eq!(repeated, BTreeMap::from(expected));
    }
}
