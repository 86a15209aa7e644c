//! OffsetFetch (key 9): how far groups have read.
//!
//! Up to version 7 a request is about one group, from version 8 about several; from version 10 topics are named by id. All
//! forms become one question per group, and its answer is dressed in the form it was asked in.

use std::collections::BTreeSet;
use std::sync::Arc;

use millrace_engine::group::{
    FetchOffsets, FetchedOffset, GroupCommand, GroupId, GroupReply, OffsetsWanted,
};
use millrace_engine::metadata::MetadataImage;
use millrace_engine::shard::Stopped;
use millrace_engine::types::{TopicName, TopicPartition};
use millrace_wire::message::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestGroupTopic,
    OffsetFetchRequestTopic, OffsetFetchResponse, OffsetFetchResponseGroup,
    OffsetFetchResponseGroupPartition, OffsetFetchResponseGroupTopic, OffsetFetchResponsePartition,
    OffsetFetchResponseTopic,
};
use millrace_wire::{ErrorCode, Str};

use super::context::RequestContext;
use super::coordination::{Answer, PARTITIONS_PER_COMMAND, ask, ask_each, in_parts};
use super::error::ToErrorCode;
use super::topics::{each_once, topic_id, wire_id};
use crate::net::Pace;

pub(super) async fn handle(
    request: OffsetFetchRequest,
    context: &RequestContext,
) -> Result<OffsetFetchResponse, Stopped> {
    context.answers_much().await;
    let version = context.version();
    let image = Arc::clone(&context.image());
    let require_stable = request.require_stable;
    let questions = {
        let image = Arc::clone(&image);
        move |request: OffsetFetchRequest| {
            let groups = without_repetitions(groups(request, version));
            let (mut counts, mut questions) = (Vec::with_capacity(groups.len()), Vec::new());
            for group in &groups {
                let parts = commands(question(group, version, &image, require_stable));
                counts.push(parts.len());
                questions.extend(parts);
            }
            (groups, counts, questions)
        }
    };
    let (groups, mut counts, questions) = context.in_peace(request, questions).await?;
    let parts = ask_each(context, questions, picked).await?;
    let parts = with_the_rest(parts, &groups, &mut counts, require_stable, context).await?;
    let offsets = parts.iter().flatten().flatten();
    let bytes = offsets.map(|offset| OFFSET_BYTES + offset.metadata.len());
    context.answers_bytes(bytes.sum()).await;
    let response = move |(groups, parts): (Vec<_>, Vec<_>)| {
        let mut parts = parts.into_iter();
        let groups = groups.into_iter().zip(counts).map(|(group, count)| {
            let answer = joined(parts.by_ref().take(count));
            answer_of(group, answer, version, &image)
        });
        response(groups.collect(), version)
    };
    context.in_peace((groups, parts), response).await
}

/// Some offsets of a group.
type Part = Answer<Vec<FetchedOffset>>;

fn picked(reply: GroupReply) -> Option<Vec<FetchedOffset>> {
    match reply {
        GroupReply::OffsetsFetched(offsets) => Some(offsets),
        _ => None,
    }
}

/// Goes on asking about groups of which everything is wanted, until it is there. `counts` tells of how many parts each group has.
async fn with_the_rest(
    parts: Vec<Part>,
    groups: &[OffsetFetchRequestGroup],
    counts: &mut [usize],
    require_stable: bool,
    context: &RequestContext,
) -> Result<Vec<Part>, Stopped> {
    let pace = Pace::of_elements();
    let mut all = Vec::with_capacity(parts.len());
    let mut parts = parts.into_iter();
    for (group, count) in groups.iter().zip(counts) {
        pace.after(1).await;
        all.extend(parts.by_ref().take(*count));
        while group.topics.is_none()
            && let Some(after) = left_off(all.last())
        {
            let question = GroupCommand::FetchOffsets(FetchOffsets {
                group: GroupId::from(&*group.group_id),
                wanted: next_after(Some(after)),
                require_stable,
            });
            all.push(ask(context, question, picked).await?);
            *count += 1;
        }
    }
    Ok(all)
}

/// Behind what there may be more.
fn left_off(part: Option<&Part>) -> Option<TopicPartition> {
    let offsets = part?.as_ref().ok()?;
    let is_full = offsets.len() >= PARTITIONS_PER_COMMAND;
    let last = offsets.last().filter(|_| is_full)?;
    Some(last.partition.clone())
}

fn next_after(after: Option<TopicPartition>) -> OffsetsWanted {
    OffsetsWanted::Next {
        after,
        count_max: PARTITIONS_PER_COMMAND,
    }
}

/// What is asked, in the form of the newest versions.
fn groups(request: OffsetFetchRequest, version: i16) -> Vec<OffsetFetchRequestGroup> {
    if version >= MANY_FIRST {
        return request.groups;
    }
    let topic = |topic: OffsetFetchRequestTopic| OffsetFetchRequestGroupTopic {
        name: topic.name,
        partition_indexes: topic.partition_indexes,
        ..Default::default()
    };
    vec![OffsetFetchRequestGroup {
        group_id: request.group_id,
        topics: request
            .topics
            .map(|topics| topics.into_iter().map(topic).collect()),
        ..Default::default()
    }]
}

/// The same without repetitions: four bytes ask for some kilobytes that came with a commit, and a few for all that a group has
/// committed, so nothing is answered twice.
fn without_repetitions(mut groups: Vec<OffsetFetchRequestGroup>) -> Vec<OffsetFetchRequestGroup> {
    let mut seen = BTreeSet::new();
    groups.retain(|group| seen.insert(group.group_id.clone()));
    for topics in groups.iter_mut().filter_map(|group| group.topics.as_mut()) {
        let topics = topics.iter_mut().map(|topic| {
            let key = (topic.name.clone(), topic.topic_id);
            (key, &mut topic.partition_indexes)
        });
        each_once(topics, |&index| index);
    }
    groups
}

fn question(
    group: &OffsetFetchRequestGroup,
    version: i16,
    image: &MetadataImage,
    require_stable: bool,
) -> FetchOffsets {
    let named = |topics: &Vec<OffsetFetchRequestGroupTopic>| {
        let mut partitions = Vec::new();
        for topic in topics {
            if let Ok(name) = name_of(topic, version, image) {
                let in_topic = topic.partition_indexes.iter();
                partitions.extend(in_topic.map(|&partition| TopicPartition {
                    topic: name.clone(),
                    partition,
                }));
            }
        }
        OffsetsWanted::Of(partitions)
    };
    let topics = group.topics.as_ref();
    FetchOffsets {
        group: GroupId::from(&*group.group_id),
        wanted: topics.map_or_else(|| next_after(None), named),
        require_stable,
    }
}

/// The commands that the question is, or the first of them.
fn commands(question: FetchOffsets) -> Vec<GroupCommand> {
    let FetchOffsets {
        group,
        wanted,
        require_stable,
    } = question;
    let part = |wanted| {
        GroupCommand::FetchOffsets(FetchOffsets {
            group: group.clone(),
            wanted,
            require_stable,
        })
    };
    match wanted {
        OffsetsWanted::Of(named) => in_parts(named, |some| part(OffsetsWanted::Of(some))),
        next @ OffsetsWanted::Next { .. } => vec![part(next)],
    }
}

/// What the parts of a question were answered, as one answer. All are taken, also behind a refusal: what follows is about others.
fn joined(parts: impl Iterator<Item = Part>) -> Part {
    let parts: Vec<Part> = parts.collect();
    let mut offsets = Vec::new();
    for part in parts {
        offsets.extend(part?);
    }
    Ok(offsets)
}

/// The name under which offsets of the topic are stored; otherwise what its partitions are answered. A topic that does
/// not exist may have offsets all the same, one without a possible name has none.
fn name_of(
    topic: &OffsetFetchRequestGroupTopic,
    version: i16,
    image: &MetadataImage,
) -> Result<TopicName, ErrorCode> {
    if version >= BY_ID_FIRST {
        let found = image.topic_by_id(topic_id(topic.topic_id));
        return found
            .map(|topic| topic.name.clone())
            .ok_or(ErrorCode::UnknownTopicId);
    }
    topic.name.parse().map_err(|_| ErrorCode::None)
}

fn answer_of(
    group: OffsetFetchRequestGroup,
    answer: Answer<Vec<FetchedOffset>>,
    version: i16,
    image: &MetadataImage,
) -> OffsetFetchResponseGroup {
    let (topics, error_code) = match (answer, group.topics) {
        (Ok(offsets), Some(topics)) => (as_asked(topics, offsets, version, image), ErrorCode::None),
        (Ok(offsets), None) => (by_topic(&offsets, version, image), ErrorCode::None),
        // Version 1 has no room for the refusal but beside each partition.
        (Err(error), Some(topics)) if version < TOP_LEVEL_FIRST => {
            (refused(topics, error.error_code()), ErrorCode::None)
        }
        (Err(error), _) => (Vec::new(), error.error_code()),
    };
    OffsetFetchResponseGroup {
        group_id: group.group_id,
        topics,
        error_code,
    }
}

/// The answer to a question that named partitions, in its order.
fn as_asked(
    topics: Vec<OffsetFetchRequestGroupTopic>,
    offsets: Vec<FetchedOffset>,
    version: i16,
    image: &MetadataImage,
) -> Vec<OffsetFetchResponseGroupTopic> {
    let mut offsets = offsets.into_iter();
    let answered = topics.into_iter().map(|topic| {
        let refused = name_of(&topic, version, image).err();
        let partitions = topic.partition_indexes.iter().map(|&index| match refused {
            Some(error_code) => without_offset(index, error_code),
            None => match offsets.next() {
                Some(offset) => partition(&offset),
                None => without_offset(index, ErrorCode::UnknownServerError),
            },
        });
        OffsetFetchResponseGroupTopic {
            partitions: partitions.collect(),
            name: topic.name,
            topic_id: topic.topic_id,
        }
    });
    answered.collect()
}

/// The answer to a question for everything. By id only what has one: the offsets of a topic just deleted are on their
/// way out.
fn by_topic(
    offsets: &[FetchedOffset],
    version: i16,
    image: &MetadataImage,
) -> Vec<OffsetFetchResponseGroupTopic> {
    let topics = offsets.chunk_by(|one, next| one.partition.topic == next.partition.topic);
    let answered = topics.filter_map(|offsets| {
        let name = &offsets.first()?.partition.topic;
        let mut topic = OffsetFetchResponseGroupTopic {
            partitions: offsets.iter().map(partition).collect(),
            ..Default::default()
        };
        if version >= BY_ID_FIRST {
            topic.topic_id = wire_id(image.topic(name)?.id);
        } else {
            topic.name = Str::from(name.as_str());
        }
        Some(topic)
    });
    answered.collect()
}

fn refused(
    topics: Vec<OffsetFetchRequestGroupTopic>,
    error_code: ErrorCode,
) -> Vec<OffsetFetchResponseGroupTopic> {
    let topics = topics
        .into_iter()
        .map(|topic| OffsetFetchResponseGroupTopic {
            partitions: topic
                .partition_indexes
                .iter()
                .map(|&index| without_offset(index, error_code))
                .collect(),
            name: topic.name,
            topic_id: topic.topic_id,
        });
    topics.collect()
}

fn partition(fetched: &FetchedOffset) -> OffsetFetchResponseGroupPartition {
    OffsetFetchResponseGroupPartition {
        partition_index: fetched.partition.partition,
        committed_offset: fetched.offset.0,
        committed_leader_epoch: fetched.leader_epoch.0,
        metadata: Some(Str::from(&*fetched.metadata)),
        error_code: ErrorCode::None,
    }
}

fn without_offset(
    partition_index: i32,
    error_code: ErrorCode,
) -> OffsetFetchResponseGroupPartition {
    OffsetFetchResponseGroupPartition {
        partition_index,
        committed_offset: -1,
        committed_leader_epoch: -1,
        metadata: Some(Str::default()),
        error_code,
    }
}

fn response(groups: Vec<OffsetFetchResponseGroup>, version: i16) -> OffsetFetchResponse {
    if version >= MANY_FIRST {
        return OffsetFetchResponse {
            groups,
            ..Default::default()
        };
    }
    let Some(group) = groups.into_iter().next() else {
        return OffsetFetchResponse::default();
    };
    let partition = |partition: OffsetFetchResponseGroupPartition| OffsetFetchResponsePartition {
        partition_index: partition.partition_index,
        committed_offset: partition.committed_offset,
        committed_leader_epoch: partition.committed_leader_epoch,
        metadata: partition.metadata,
        error_code: partition.error_code,
    };
    let topics = group
        .topics
        .into_iter()
        .map(|topic| OffsetFetchResponseTopic {
            name: topic.name,
            partitions: topic.partitions.into_iter().map(partition).collect(),
        });
    OffsetFetchResponse {
        topics: topics.collect(),
        error_code: group.error_code,
        ..Default::default()
    }
}

/// The first version with an error of its own beside those of the partitions.
const TOP_LEVEL_FIRST: i16 = 2;
/// The first version about several groups.
const MANY_FIRST: i16 = 8;
/// The first version that names topics by id.
const BY_ID_FIRST: i16 = 10;
/// What an offset takes in an answer besides its metadata.
const OFFSET_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use millrace_engine::group::GroupError;
    use millrace_engine::types::{LeaderEpoch, Offset};
    use millrace_wire::{Message, Uuid};

    use super::super::test_image::image_with;
    use super::*;

    fn fetched(topic: &str, partition: i32, offset: i64) -> FetchedOffset {
        FetchedOffset {
            partition: TopicPartition {
                topic: topic.parse().unwrap(),
                partition,
            },
            offset: Offset(offset),
            leader_epoch: LeaderEpoch(2),
            metadata: "note".into(),
        }
    }

    /// The offsets of the one were answered to the other.
    #[test]
    fn a_refused_part_of_one_group_leaves_nothing_for_the_next() {
        let loading = || Err(GroupError::CoordinatorLoading);
        let part = |offset| Ok(vec![fetched("t", 0, offset)]);
        let mut parts = vec![part(1), loading(), part(2), part(3), part(4)].into_iter();
        assert!(joined(parts.by_ref().take(3)).is_err());
        let next = joined(parts.by_ref().take(2)).unwrap();
        assert_eq!(next, [fetched("t", 0, 3), fetched("t", 0, 4)]);
    }

    fn old_request(topics: Option<&[(&str, &[i32])]>) -> OffsetFetchRequest {
        let topic = |&(name, partitions): &(&str, &[i32])| OffsetFetchRequestTopic {
            name: name.into(),
            partition_indexes: partitions.to_vec(),
        };
        OffsetFetchRequest {
            group_id: "g".into(),
            topics: topics.map(|topics| topics.iter().map(topic).collect()),
            ..Default::default()
        }
    }

    fn answered(
        request: OffsetFetchRequest,
        version: i16,
        answer: Answer<Vec<FetchedOffset>>,
        image: &MetadataImage,
    ) -> OffsetFetchResponse {
        let group = groups(request, version).remove(0);
        response(vec![answer_of(group, answer, version, image)], version)
    }

    #[test]
    fn what_is_asked_for_twice_is_answered_once() {
        let asked = |partitions: &[(&str, &[i32])]| {
            let mut group = groups(old_request(Some(partitions)), 7).remove(0);
            group.group_id = "g".into();
            group
        };
        let repeated = vec![
            asked(&[("t", &[1, 0, 1]), ("u", &[1]), ("t", &[2, 0])]),
            asked(&[("t", &[5])]),
        ];
        let once = without_repetitions(repeated);
        assert_eq!(once, [asked(&[("t", &[1, 0]), ("u", &[1]), ("t", &[2])])]);
    }

    #[test]
    fn offsets_come_in_the_order_asked_for() {
        let image = image_with(&[("t", 2)]);
        let request = old_request(Some(&[("b ad", &[0]), ("t", &[1, 0])]));
        let group = &groups(request.clone(), 7)[0];
        let asked = question(group, 7, &image, true);
        assert!(asked.require_stable);
        let OffsetsWanted::Of(partitions) = asked.wanted else {
            panic!("some were asked for");
        };
        assert_eq!(partitions.len(), 2, "a bad name cannot be asked for");
        let answer = Ok(vec![fetched("t", 1, 5), fetched("t", 0, 6)]);
        let response = answered(request, 7, answer, &image);
        assert_eq!(response.topics[0].partitions[0].committed_offset, -1);
        assert_eq!(
            response.topics[0].partitions[0].metadata.as_deref(),
            Some("")
        );
        let partitions = response.topics[1].partitions.iter();
        let offsets: Vec<_> = partitions
            .map(|one| (one.partition_index, one.committed_offset))
            .collect();
        assert_eq!(offsets, [(1, 5), (0, 6)]);
        assert_eq!(
            response.topics[1].partitions[0].metadata.as_deref(),
            Some("note")
        );
    }

    #[test]
    fn everything_comes_topic_by_topic() {
        let image = image_with(&[("t", 2)]);
        let answer = vec![
            fetched("gone", 0, 1),
            fetched("t", 0, 2),
            fetched("t", 1, 3),
        ];
        let response = answered(old_request(None), 7, Ok(answer.clone()), &image);
        let names: Vec<_> = response.topics.iter().map(|topic| &*topic.name).collect();
        assert_eq!(names, ["gone", "t"]);
        let by_id = by_topic(&answer, 10, &image);
        assert_eq!(by_id.len(), 1, "a topic that is gone has no id");
        assert_eq!(by_id[0].partitions.len(), 2);
    }

    #[test]
    fn a_refusal_stands_where_its_version_has_room() {
        let image = image_with(&[("t", 2)]);
        let refuse = || Err(GroupError::NotCoordinator);
        let request = || old_request(Some(&[("t", &[0])]));
        let first = answered(request(), 1, refuse(), &image);
        assert_eq!(
            first.topics[0].partitions[0].error_code,
            ErrorCode::NotCoordinator
        );
        let second = answered(request(), 2, refuse(), &image);
        assert_eq!(
            (second.error_code, second.topics),
            (ErrorCode::NotCoordinator, vec![])
        );
        let many = OffsetFetchRequest {
            groups: vec![OffsetFetchRequestGroup {
                group_id: "g".into(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let eighth = answered(many, 8, refuse(), &image);
        assert_eq!(eighth.groups[0].error_code, ErrorCode::NotCoordinator);
        assert!(eighth.to_bytes(8).is_ok() && first.to_bytes(1).is_ok());
    }

    #[test]
    fn an_unknown_id_is_said_beside_each_partition() {
        let image = image_with(&[("t", 2)]);
        let topic = OffsetFetchRequestGroupTopic {
            topic_id: Uuid(5),
            partition_indexes: vec![0],
            ..Default::default()
        };
        let group = OffsetFetchRequestGroup {
            topics: Some(vec![topic]),
            ..Default::default()
        };
        let answer = answer_of(group, Ok(Vec::new()), 10, &image);
        let partition = &answer.topics[0].partitions[0];
        assert_eq!(partition.error_code, ErrorCode::UnknownTopicId);
        assert_eq!(
            (partition.committed_offset, answer.error_code),
            (-1, ErrorCode::None)
        );
    }
}
