//! Topics that come into being because somebody needs them: automatic creation, and the topic of committed offsets.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use millrace_engine::config::Alteration;
use millrace_engine::control::ControlError;
use millrace_engine::metadata::{
    Command, ControllerError, CreateTopics, CreatedTopic, NewTopic, Reply,
};
use millrace_engine::shard::Stopped;
use millrace_wire::ErrorCode;

use super::context::RequestContext;
use super::error::ToErrorCode;

/// The topic of committed offsets.
pub(super) const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// Makes topics with the broker's defaults (internal ones with theirs) and waits until the metadata shows them. One result per name, in
/// order; a topic that somebody else made in the meantime is as good. Clients hear little of why one cannot be made, and come
/// again: the log says it.
///
/// # Errors
/// The broker is stopping.
pub(super) async fn create(
    context: &RequestContext,
    names: &[String],
) -> Result<Vec<Result<(), ErrorCode>>, Stopped> {
    let settings = context.settings();
    let new_topics = &settings.config.new_topics;
    let command = CreateTopics {
        topics: names.iter().map(|name| new_topic(context, name)).collect(),
        partitions_default: new_topics.partitions,
        replication_factor_default: new_topics.replication_factor,
        partitions_max: PARTITIONS_MAX,
        topic_defaults: Arc::new(settings.config.topic_defaults.clone()),
        validate_only: false,
    };
    match context.propose(Command::CreateTopics(command)).await {
        Ok(Reply::CreateTopics(results)) => {
            report(context, refusals(&results));
            // By name: a client may ask for very many.
            let results: BTreeMap<String, _> = results.into_iter().collect();
            let outcome = |name: &String| match results.get(name) {
                Some(Ok(_) | Err(ControllerError::TopicExists { .. })) => Ok(()),
                // Unknown like any topic that is not there, for whoever only asked about it.
                Some(Err(ControllerError::MetadataTopic)) => {
                    Err(ErrorCode::UnknownTopicOrPartition)
                }
                Some(Err(error)) => Err(error.error_code()),
                None => Err(ErrorCode::UnknownServerError),
            };
            Ok(names.iter().map(outcome).collect())
        }
        Ok(_) => Ok(vec![Err(ErrorCode::UnknownServerError); names.len()]),
        Err(ControlError::Stopped) => Err(Stopped),
        Err(error @ ControlError::Refused(_)) => {
            report(context, names.iter().map(|name| (name, &error)));
            Ok(vec![Err(error.error_code()); names.len()])
        }
    }
}

/// The topics that are not there, and why. Nobody may have that of the metadata, and whoever asked about it wanted no more.
fn refusals(
    results: &[(String, Result<CreatedTopic, ControllerError>)],
) -> impl Iterator<Item = (&String, &ControllerError)> {
    results.iter().filter_map(|(name, result)| match result {
        Ok(_) | Err(ControllerError::TopicExists { .. } | ControllerError::MetadataTopic) => None,
        Err(error) => Some((name, error)),
    })
}

/// One line, however many topics there are: a client may ask for very many, again and again.
fn report<'a, E: Display + 'a>(
    context: &RequestContext,
    mut refused: impl Iterator<Item = (&'a String, &'a E)>,
) {
    let Some((name, error)) = refused.next() else {
        return;
    };
    match refused.count() {
        0 => context.report(&format_args!("topic {name} cannot be created: {error}")),
        others => context.report(&format_args!(
            "topic {name} and {others} others cannot be created: {error}"
        )),
    }
}

fn new_topic(context: &RequestContext, name: &str) -> NewTopic {
    let (mut partitions, mut replication_factor, mut settings) = (-1, -1, Vec::new());
    if name == OFFSETS_TOPIC {
        let offsets = context.settings();
        let offsets = &offsets.config.offsets;
        (partitions, replication_factor) = (offsets.partitions, offsets.replication_factor);
        // Small, because a coordinator reads all of a partition when it starts; topics take no less than the bound.
        let segment_bytes = offsets.segment_bytes.max(SEGMENT_BYTES_MIN);
        settings = vec![
            Alteration::set("cleanup.policy", "compact"),
            Alteration::set("compression.type", "producer"),
            Alteration::set("segment.bytes", segment_bytes.to_string()),
        ];
    }
    NewTopic {
        name: name.to_owned(),
        partitions,
        replication_factor,
        assignments: Vec::new(),
        settings,
        random: context.gateway().random(),
    }
}

/// The most partitions that one request may make or add, as in Kafka.
pub(super) const PARTITIONS_MAX: usize = 10_000;
/// The least that segment.bytes of a topic may be.
const SEGMENT_BYTES_MIN: u32 = 1 << 20;
