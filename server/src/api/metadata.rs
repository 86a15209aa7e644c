//! Metadata (key 3): brokers, topics, partitions, as the client's listener and version show them; makes topics that are
//! asked for by name where that is allowed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millrace_engine::metadata::{MetadataImage, Partition, Topic, is_internal};
use millrace_engine::shard::Stopped;
use millrace_engine::types::TopicName;
use millrace_wire::message::metadata::{
    MetadataBroker, MetadataRequest, MetadataRequestTopic, MetadataResponse,
    MetadataResponsePartition, MetadataResponseTopic,
};
use millrace_wire::{ErrorCode, Str, Uuid};

use super::brokers::{authorized, numbers, offline_replicas};
use super::context::RequestContext;
use super::creation::{OFFSETS_TOPIC, create};
use super::topics::{topic_id, wire_id};

pub(super) async fn handle(
    request: MetadataRequest,
    context: &RequestContext,
) -> Result<MetadataResponse, Stopped> {
    let version = context.version();
    let asked = move |topics| asked(topics, version);
    let mut answers = match context.in_peace(request.topics, asked).await? {
        Asked::All => {
            let image = Arc::clone(&context.image());
            context.answers_many(image.topic_count()).await;
            let weigh = |image: &MetadataImage, (): &()| image.topics().map(weight).sum();
            make_room(context, &image, (), weigh).await?;
            let all = move |image: Arc<MetadataImage>| {
                let topics = image.topics();
                topics
                    .map(|topic| describe(&image, topic, version))
                    .collect()
            };
            context.in_peace(image, all).await?
        }
        Asked::Ids(ids) => {
            let image = Arc::clone(&context.image());
            let weigh = |image: &MetadataImage, ids: &Vec<Uuid>| {
                let found = ids.iter().filter_map(|&id| image.topic_by_id(topic_id(id)));
                found.map(weight).sum()
            };
            let ids = make_room(context, &image, ids, weigh).await?;
            let each = move |ids: Vec<Uuid>| {
                ids.into_iter()
                    .map(|id| by_id(&image, id, version))
                    .collect()
            };
            context.in_peace(ids, each).await?
        }
        Asked::Names(names) => {
            let may_create = (request.allow_auto_topic_creation || version < SWITCH_FIRST)
                && context.settings().config.new_topics.auto_create;
            by_name(names, may_create, context).await?
        }
        Asked::Wrongly(topics) => topics.into_iter().map(refused).collect(),
    };
    if request.include_topic_authorized_operations {
        for answer in answers
            .iter_mut()
            .filter(|answer| !answer.error_code.is_error())
        {
            answer.topic_authorized_operations = authorized::TOPIC;
        }
    }
    let image = context.image();
    let brokers = context
        .brokers(&image)
        .into_iter()
        .map(|broker| MetadataBroker {
            node_id: broker.id,
            host: broker.host,
            port: broker.port,
            rack: broker.rack,
        });
    let asked = request.include_cluster_authorized_operations;
    Ok(MetadataResponse {
        brokers: brokers.collect(),
        cluster_id: Some(image.cluster_id().into()),
        controller_id: context.controller(&image),
        topics: answers,
        cluster_authorized_operations: if asked {
            authorized::CLUSTER
        } else {
            authorized::NOT_ASKED
        },
        ..Default::default()
    })
}

/// What a request wants to hear about.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    All,
    /// Each once, in the order of the request.
    Names(Vec<Str>),
    /// Each once, in the order of the request.
    Ids(Vec<Uuid>),
    /// Ids, or no names, in a version that has fields for them but does not serve them.
    Wrongly(Vec<MetadataRequestTopic>),
}

fn asked(topics: Option<Vec<MetadataRequestTopic>>, version: i16) -> Asked {
    let Some(topics) = topics else {
        return Asked::All;
    };
    if version == 0 && topics.is_empty() {
        return Asked::All;
    }
    let by_id = |topic: &MetadataRequestTopic| topic.topic_id != Uuid::ZERO;
    if version < IDS_FIRST
        && topics
            .iter()
            .any(|topic| by_id(topic) || topic.name.is_none())
    {
        return Asked::Wrongly(topics);
    }
    // As in Kafka: one id, and only ids count.
    if topics.iter().any(by_id) {
        let mut seen = BTreeSet::new();
        let ids = topics
            .iter()
            .map(|topic| topic.topic_id)
            .filter(|&id| id != Uuid::ZERO);
        return Asked::Ids(ids.filter(|&id| seen.insert(id)).collect());
    }
    let mut seen = BTreeSet::new();
    let names = topics.into_iter().filter_map(|topic| topic.name);
    Asked::Names(names.filter(|name| seen.insert(name.clone())).collect())
}

fn refused(topic: MetadataRequestTopic) -> MetadataResponseTopic {
    MetadataResponseTopic {
        error_code: ErrorCode::InvalidRequest,
        name: Some(topic.name.unwrap_or_default()),
        topic_id: topic.topic_id,
        ..Default::default()
    }
}

fn by_id(image: &MetadataImage, id: Uuid, version: i16) -> MetadataResponseTopic {
    match image.topic_by_id(topic_id(id)) {
        Some(topic) => describe(image, topic, version),
        None => MetadataResponseTopic {
            error_code: ErrorCode::UnknownTopicId,
            name: None,
            topic_id: id,
            ..Default::default()
        },
    }
}

async fn by_name(
    mut names: Vec<Str>,
    may_create: bool,
    context: &RequestContext,
) -> Result<Vec<MetadataResponseTopic>, Stopped> {
    let version = context.version();
    let mut image = Arc::clone(&context.image());
    let mut failures = BTreeMap::new();
    if may_create {
        let known = Arc::clone(&image);
        let look_up = move |names: Vec<Str>| (missing(&names, &known), names);
        let missing;
        (missing, names) = context.in_peace(names, look_up).await?;
        if !missing.is_empty() {
            let created = create(context, &missing).await?;
            failures = missing.into_iter().zip(created).collect();
            image = Arc::clone(&context.image());
        }
    }
    let weigh = |image: &MetadataImage, names: &Vec<Str>| {
        let found = names.iter().filter_map(|name| image.topic(&**name));
        found.map(weight).sum()
    };
    let names = make_room(context, &image, names, weigh).await?;
    let look_up = move |names: Vec<Str>| {
        let answer = |name: Str| match failures.get(&*name) {
            // The name collides with another; anything else may pass, and clients ask again for an unknown topic.
            Some(Err(
                code @ (ErrorCode::InvalidTopicException | ErrorCode::InvalidReplicationFactor),
            )) => nothing_known(name, *code),
            _ => known(&image, name, version),
        };
        names.into_iter().map(answer).collect()
    };
    context.in_peace(names, look_up).await
}

/// Names of topics that could be, and are not. Those of coordinators that there are not yet would be made as topics like any other.
fn missing(names: &[Str], image: &MetadataImage) -> Vec<String> {
    let possible = names.iter().flat_map(|name| name.parse::<TopicName>());
    possible
        .filter(|name| image.topic(name).is_none())
        .filter(|name| !is_internal(name.as_str()) || name.as_str() == OFFSETS_TOPIC)
        .map(|name| name.as_str().to_owned())
        .collect()
}

fn known(image: &MetadataImage, name: Str, version: i16) -> MetadataResponseTopic {
    match name.parse::<TopicName>().map(|name| image.topic(&name)) {
        Ok(Some(topic)) => describe(image, topic, version),
        Ok(None) => nothing_known(name, ErrorCode::UnknownTopicOrPartition),
        Err(_) => nothing_known(name, ErrorCode::InvalidTopicException),
    }
}

fn nothing_known(name: Str, error_code: ErrorCode) -> MetadataResponseTopic {
    MetadataResponseTopic {
        error_code,
        is_internal: is_internal(&name),
        name: Some(name),
        ..Default::default()
    }
}

/// Waits until there is room for the topics that were asked for; `weigh` says how many topics of a few partitions they are worth.
async fn make_room<A: Send + 'static>(
    context: &RequestContext,
    image: &Arc<MetadataImage>,
    asked: A,
    weigh: impl FnOnce(&MetadataImage, &A) -> usize + Send + 'static,
) -> Result<A, Stopped> {
    let image = Arc::clone(image);
    let weigh = move |asked| (weigh(&image, &asked), asked);
    let (elements, asked) = context.in_peace(asked, weigh).await?;
    context.answers_many(elements).await;
    Ok(asked)
}

/// How many topics of a few partitions this one is worth.
fn weight(topic: &Arc<Topic>) -> usize {
    1 + topic.partitions.len() / PARTITIONS_OF_A_TOPIC
}

fn describe(image: &MetadataImage, topic: &Topic, version: i16) -> MetadataResponseTopic {
    let partitions = topic.partitions();
    MetadataResponseTopic {
        name: Some(topic.name.as_str().into()),
        topic_id: wire_id(topic.id),
        is_internal: topic.is_internal(),
        partitions: partitions
            .map(|(index, partition)| describe_partition(image, index, partition, version))
            .collect(),
        ..Default::default()
    }
}

fn describe_partition(
    image: &MetadataImage,
    partition_index: i32,
    partition: &Partition,
    version: i16,
) -> MetadataResponsePartition {
    let leads = image.is_online(partition, partition.leader);
    let offline_replicas = offline_replicas(image, partition);
    // The oldest clients cannot be told which replicas are away, so they are told that one is.
    let hidden = version == 0 && !offline_replicas.is_empty();
    MetadataResponsePartition {
        error_code: match leads {
            false => ErrorCode::LeaderNotAvailable,
            true if hidden => ErrorCode::ReplicaNotAvailable,
            true => ErrorCode::None,
        },
        partition_index,
        leader_id: if leads { partition.leader.0 } else { -1 },
        leader_epoch: partition.leader_epoch.0,
        replica_nodes: numbers(&partition.replicas),
        isr_nodes: numbers(&partition.isr),
        offline_replicas,
    }
}

/// A few partitions.
const PARTITIONS_OF_A_TOPIC: usize = 10;
/// The first version that can ask not to create topics.
const SWITCH_FIRST: i16 = 4;
/// The first version that serves topic ids.
const IDS_FIRST: i16 = 12;

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> MetadataRequestTopic {
        MetadataRequestTopic {
            name: Some(name.into()),
            ..Default::default()
        }
    }

    #[test]
    fn topics_of_coordinators_that_there_are_not_yet_are_not_made_for_whoever_asks_of_them() {
        let names = ["t", "__consumer_offsets", "__transaction_state", "a b"].map(Str::from);
        let missing = missing(&names, &MetadataImage::empty());
        assert_eq!(missing, ["t", "__consumer_offsets"]);
    }

    #[test]
    fn no_topics_mean_all_of_them_in_version_0_and_none_of_them_later() {
        assert_eq!(asked(Some(Vec::new()), 0), Asked::All);
        assert_eq!(asked(Some(Vec::new()), 1), Asked::Names(Vec::new()));
        assert_eq!(asked(None, 1), Asked::All);
    }

    #[test]
    fn a_topic_named_twice_is_answered_once() {
        let topics = vec![named("b"), named("a"), named("b")];
        assert_eq!(
            asked(Some(topics), 9),
            Asked::Names(vec!["b".into(), "a".into()])
        );
    }

    #[test]
    fn a_topic_of_an_unknown_id_has_no_name() {
        let answer = by_id(&MetadataImage::empty(), Uuid(7), 12);
        assert_eq!(answer.error_code, ErrorCode::UnknownTopicId);
        assert_eq!((answer.name, answer.topic_id), (None, Uuid(7)));
    }

    #[test]
    fn topic_ids_are_served_from_version_12() {
        let topic = MetadataRequestTopic {
            topic_id: Uuid(7),
            name: None,
        };
        let topics = || Some(vec![topic.clone(), topic.clone()]);
        assert_eq!(asked(topics(), 12), Asked::Ids(vec![Uuid(7)]));
        assert_eq!(
            asked(topics(), 10),
            Asked::Wrongly(vec![topic.clone(), topic.clone()])
        );
    }
}
