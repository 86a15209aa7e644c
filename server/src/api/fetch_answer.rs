//! Answers to a Fetch: results become partitions of a response, and pieces of encoding with extents between them.

use bytes::Bytes;
use millrace_engine::log::Extent;
use millrace_engine::partition::{Isolation, ReadError};
use millrace_engine::shard::command::Fetched;
use millrace_engine::types::TopicIdPartition;
use millrace_wire::frame::response_pieces;
use millrace_wire::message::fetch::{
    FetchCurrentLeader, FetchDivergingEpoch, FetchNodeEndpoint, FetchResponse,
    FetchResponsePartition, FetchResponseTopic, Records,
};
use millrace_wire::{ErrorCode, Piece, Str, Uuid};

use super::brokers::LeaderHints;
use super::context::RequestContext;
use super::error::ToErrorCode;
use super::fetch_session::TopicKey;
use super::{Closing, Part, Parts};

/// An answer that has not been put into the form of a response.
#[derive(Default)]
pub(super) struct Dressed {
    /// Without its topics.
    response: FetchResponse,
    /// Partition by partition.
    answers: Vec<PartitionAnswer>,
}

/// The answer for a partition of a topic.
pub(super) type PartitionAnswer = (TopicKey, FetchResponsePartition, Option<Extent>);

/// The response as encoded pieces with the extents where their records belong.
pub(super) async fn encode(dressed: Dressed, context: &RequestContext) -> Result<Parts, Closing> {
    let (correlation_id, version) = (context.correlation_id(), context.version());
    let encode = move |dressed: Dressed| {
        let (responses, extents) = gather(dressed.answers);
        let response = FetchResponse {
            responses,
            ..dressed.response
        };
        (response_pieces(correlation_id, &response, version), extents)
    };
    let (pieces, extents) = context.in_peace(dressed, encode).await?;
    let pieces = pieces.map_err(|error| context.formless(&error))?;
    let parts = pieces.into_iter().map(|piece| match piece {
        Piece::Bytes(bytes) => Some(Part::Bytes(bytes)),
        Piece::Records { index, .. } => extents.get(index).cloned().map(Part::Extent),
    });
    let parts: Option<Parts> = parts.collect();
    parts.ok_or_else(|| context.refuse("the answer lost an extent"))
}

/// Bytes of records.
pub(super) fn length(extent: Option<&Extent>) -> u64 {
    extent.map_or(0, |extent| extent.length)
}

/// Holds the response to its limit, in the order of the request. Each shard kept it on its own; together they may exceed it.
/// The first extent is whole or cut by its shard after its first batch. A later one that does not fit is left out: cut
/// here it could end inside its first batch, which clients take for a failure to make progress.
pub(super) fn hold_within<'a>(found: impl Iterator<Item = &'a mut Fetched>, bytes_max: u64) {
    let mut left = bytes_max;
    let mut is_first = true;
    for fetched in found {
        let bytes = length(fetched.extent.as_ref());
        if bytes > left && !is_first {
            fetched.extent = None;
        } else if bytes > 0 {
            left = left.saturating_sub(bytes);
            is_first = false;
        }
    }
}

/// Makes answers out of results.
pub(super) struct Dressing<'a> {
    context: &'a RequestContext,
    isolation: Isolation,
    hints: LeaderHints,
}

/// What came of a partition: what it is to the engine, and what that said; or why it was not asked.
pub(super) type FetchResult = Result<(TopicIdPartition, Result<Fetched, ReadError>), ErrorCode>;

impl<'a> Dressing<'a> {
    pub(super) fn new(context: &'a RequestContext, isolation: Isolation) -> Self {
        Self {
            context,
            isolation,
            hints: LeaderHints::default(),
        }
    }

    /// The answer for one partition, and where its records lie.
    pub(super) fn dress(
        &mut self,
        partition_index: i32,
        result: FetchResult,
    ) -> (FetchResponsePartition, Option<Extent>) {
        let version = self.context.version();
        let dressed = dress(version, self.isolation, partition_index, result);
        let (mut response, extent, elsewhere) = dressed;
        if let Some(partition) = elsewhere {
            self.hint(partition, &mut response);
        }
        (response, extent)
    }

    /// Says in the answer for `partition` where its leader is.
    pub(super) fn hint(
        &mut self,
        partition: TopicIdPartition,
        response: &mut FetchResponsePartition,
    ) {
        let image = self.context.image();
        if let Some((leader_id, leader_epoch)) = self.hints.leader(self.context, &image, partition)
        {
            response.current_leader = FetchCurrentLeader {
                leader_id,
                leader_epoch,
            };
        }
    }

    /// The whole response, of the answers that the client is to hear.
    pub(super) fn respond(self, session_id: i32, answers: Vec<PartitionAnswer>) -> Dressed {
        let node_endpoints = self.hints.endpoints().map(|broker| FetchNodeEndpoint {
            node_id: broker.id,
            host: broker.host,
            port: broker.port,
            rack: broker.rack,
        });
        let response = FetchResponse {
            session_id,
            node_endpoints: node_endpoints.collect(),
            ..Default::default()
        };
        Dressed { response, answers }
    }
}

/// The answer for one partition, where its records lie, and the partition if the answer should say where its leader is.
pub(super) fn dress(
    version: i16,
    isolation: Isolation,
    partition_index: i32,
    result: FetchResult,
) -> (
    FetchResponsePartition,
    Option<Extent>,
    Option<TopicIdPartition>,
) {
    let mut response = FetchResponsePartition {
        partition_index,
        high_watermark: -1,
        records: Some(Records::Bytes(Bytes::new())),
        // Transactions do not exist yet, so none was aborted; who did not ask gets null, as from Kafka.
        aborted_transactions: match isolation {
            Isolation::ReadCommitted => Some(Vec::new()),
            Isolation::ReadUncommitted => None,
        },
        ..Default::default()
    };
    let (mut extent, mut elsewhere) = (None, None);
    match result {
        Ok((_, Ok(fetched))) => {
            response.high_watermark = fetched.high_watermark.0;
            response.last_stable_offset = fetched.last_stable_offset.0;
            response.log_start_offset = fetched.log_start_offset.0;
            if let Some(end) = fetched.diverging {
                response.diverging_epoch = FetchDivergingEpoch {
                    epoch: end.epoch.0,
                    end_offset: end.end_offset.0,
                };
            } else if let Some(found) = fetched.extent {
                match u32::try_from(found.length) {
                    Ok(length) => {
                        response.records = Some(Records::Elsewhere { length });
                        extent = Some(found);
                    }
                    Err(_) => response.error_code = ErrorCode::UnknownServerError,
                }
            }
        }
        Ok((partition, Err(error))) => {
            response.error_code = error.error_code();
            let is_elsewhere = matches!(
                response.error_code,
                ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch
            );
            elsewhere = is_elsewhere.then_some(partition);
        }
        Err(error_code) => response.error_code = error_code,
    }
    if response.error_code == ErrorCode::KafkaStorageError && version < STORAGE_ERROR_FIRST {
        // As in Kafka: clients of that time take what they do not know for something that trying again does not help.
        response.error_code = ErrorCode::NotLeaderOrFollower;
    }
    (response, extent, elsewhere)
}

/// A response that says no more than that the request is refused.
pub(super) fn refusal(error_code: ErrorCode) -> Dressed {
    let response = FetchResponse {
        error_code,
        ..Default::default()
    };
    Dressed {
        response,
        ..Default::default()
    }
}

/// Puts partitions that follow each other and belong to one topic under one topic, and takes out the extents in the order in
/// which their records are encoded.
fn gather(answers: Vec<PartitionAnswer>) -> (Vec<FetchResponseTopic>, Vec<Extent>) {
    let mut topics: Vec<FetchResponseTopic> = Vec::new();
    let mut extents = Vec::new();
    let mut last = None;
    let mut answers = answers.into_iter();
    while let Some((key, response, extent)) = answers.next() {
        extents.extend(extent);
        if last.as_ref() != Some(&key) {
            let (topic, topic_id) = match &key {
                TopicKey::Name(name) => (Str::from(&**name), Uuid::ZERO),
                TopicKey::Id(id) => (Str::default(), *id),
            };
            let others = answers.as_slice().iter();
            let others = others.take_while(|(other, ..)| *other == key).count();
            topics.push(FetchResponseTopic {
                topic,
                topic_id,
                partitions: Vec::with_capacity(1 + others),
            });
            last = Some(key);
        }
        if let Some(topic) = topics.last_mut() {
            topic.partitions.push(response);
        }
    }
    (topics, extents)
}

/// The first version whose clients know [`ErrorCode::KafkaStorageError`].
const STORAGE_ERROR_FIRST: i16 = 6;

#[cfg(test)]
mod tests {
    use millrace_engine::types::{self, LeaderEpoch, Offset, TopicId};

    use super::*;

    fn fetched(length: u64) -> Fetched {
        let directory = tempfile::tempdir().unwrap();
        let file = millrace_engine::io::Disk::real().create_new(&directory.path().join("log"));
        let file = file.unwrap();
        Fetched {
            high_watermark: Offset(1),
            last_stable_offset: Offset(1),
            leader_epoch: LeaderEpoch(0),
            log_start_offset: Offset(0),
            extent: (length > 0).then_some(Extent {
                file,
                position: 0,
                length,
            }),
            has_more: false,
            diverging: None,
        }
    }

    #[test]
    fn old_clients_are_told_of_a_failed_disk_in_words_they_know() {
        let partition = TopicIdPartition {
            topic_id: TopicId(types::Uuid(1)),
            partition: 0,
        };
        let told = |version| {
            let result = Ok((partition, Err(ReadError::Storage)));
            let (response, ..) = dress(version, Isolation::ReadUncommitted, 0, result);
            response.error_code
        };
        assert_eq!(told(5), ErrorCode::NotLeaderOrFollower);
        assert_eq!(told(6), ErrorCode::KafkaStorageError);
    }

    #[test]
    fn the_first_records_come_whole_and_later_ones_only_if_they_fit() {
        let held = |lengths: &[u64], bytes_max| -> Vec<u64> {
            let mut found: Vec<Fetched> = lengths.iter().map(|&length| fetched(length)).collect();
            hold_within(found.iter_mut(), bytes_max);
            let extents = found.iter().map(|fetched| fetched.extent.as_ref());
            extents.map(length).collect()
        };
        assert_eq!(held(&[0, 50, 30, 20], 10), [0, 50, 0, 0]);
        assert_eq!(held(&[50, 60, 20], 100), [50, 0, 20]);
    }
}
