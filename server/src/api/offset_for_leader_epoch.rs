//! OffsetForLeaderEpoch (key 23): where a leader epoch ended, so that a client can see whether its position still lies in
//! our history (KIP-101, KIP-320).
//!
//! The pattern of all handlers that ask partitions: one image turns names into ids, one [`ask`] goes to all shards
//! concerned, and the results, which come in the order of the request, are dressed as its answer.

use std::sync::Arc;

use millrace_engine::log::EpochEnd;
use millrace_engine::metadata::MetadataImage;
use millrace_engine::shard::Stopped;
use millrace_engine::shard::command::{Command, LookupEpochEnds};
use millrace_engine::types::{LeaderEpoch, TopicIdPartition};
use millrace_wire::ErrorCode;
use millrace_wire::message::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    OffsetForLeaderEpochResponsePartition, OffsetForLeaderEpochResponseTopic,
};

use super::context::RequestContext;
use super::scatter::{Question, ask};
use super::topics::partition_by_name;

pub(super) async fn handle(
    request: OffsetForLeaderEpochRequest,
    context: &RequestContext,
) -> Result<OffsetForLeaderEpochResponse, Stopped> {
    let image = Arc::clone(&context.image());
    let resolve = move |request: OffsetForLeaderEpochRequest| {
        let lookups = lookups(&request, &image);
        (request, lookups)
    };
    let (request, lookups) = context.in_peace(request, resolve).await?;
    let command = |lookups, reply| Command::LookupEpochEnds(LookupEpochEnds { lookups, reply });
    let ends = ask(context, lookups, command).await?;
    context.in_peace((request, ends), response).await
}

impl Question for (TopicIdPartition, LeaderEpoch, LeaderEpoch) {
    fn partition(&self) -> TopicIdPartition {
        self.0
    }
}

/// For every partition of the request, in order: which it is, the epoch that the client believes in, the one it asks about; or
/// why nothing is looked up.
fn lookups(
    request: &OffsetForLeaderEpochRequest,
    image: &MetadataImage,
) -> Vec<Result<(TopicIdPartition, LeaderEpoch, LeaderEpoch), ErrorCode>> {
    let mut lookups = Vec::new();
    for topic in &request.topics {
        lookups.extend(topic.partitions.iter().map(|asked| {
            let partition = partition_by_name(image, &topic.topic, asked.partition)?;
            let believed = LeaderEpoch(asked.current_leader_epoch);
            Ok((partition, believed, LeaderEpoch(asked.leader_epoch)))
        }));
    }
    lookups
}

fn response(
    (request, ends): (
        OffsetForLeaderEpochRequest,
        Vec<Result<Option<EpochEnd>, ErrorCode>>,
    ),
) -> OffsetForLeaderEpochResponse {
    let mut ends = ends.into_iter();
    let topics = request
        .topics
        .into_iter()
        .map(|topic| OffsetForLeaderEpochResponseTopic {
            partitions: topic
                .partitions
                .iter()
                .zip(ends.by_ref())
                .map(|(asked, end)| {
                    let mut answer = OffsetForLeaderEpochResponsePartition {
                        partition: asked.partition,
                        ..Default::default()
                    };
                    match end {
                        Ok(Some(end)) => {
                            answer.leader_epoch = end.epoch.0;
                            answer.end_offset = end.end_offset.0;
                        }
                        Ok(None) => {}
                        Err(error_code) => answer.error_code = error_code,
                    }
                    answer
                })
                .collect(),
            topic: topic.topic,
        });
    OffsetForLeaderEpochResponse {
        topics: topics.collect(),
        ..Default::default()
    }
}
