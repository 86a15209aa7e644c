//! FindCoordinator (key 10): which broker looks after a group: the leader of its partition of the offsets topic, which is
//! made when it is first needed.

use std::sync::Arc;

use millrace_engine::group::partition_for;
use millrace_engine::metadata::{MetadataImage, Topic};
use millrace_engine::shard::Stopped;
use millrace_engine::types::TopicName;
use millrace_wire::message::find_coordinator::{
    FindCoordinatorEntry, FindCoordinatorRequest, FindCoordinatorResponse,
};
use millrace_wire::{ErrorCode, Str};

use super::context::RequestContext;
use super::creation::{OFFSETS_TOPIC, create};
use crate::net::Pace;

pub(super) async fn handle(
    request: FindCoordinatorRequest,
    context: &RequestContext,
) -> Result<FindCoordinatorResponse, Stopped> {
    let is_batched = context.version() >= LISTS_FIRST;
    let keys = if is_batched {
        request.coordinator_keys
    } else {
        vec![request.key]
    };
    // Once for all keys: where it cannot be made each attempt is work for the controller.
    let topic = match request.key_type {
        GROUP if !keys.is_empty() => offsets_topic(context).await?,
        _ => Err(plain(ErrorCode::InvalidRequest)),
    };
    let mut entries = Vec::with_capacity(keys.len());
    let pace = Pace::of_elements();
    for key in keys {
        pace.after(1).await;
        let found = match request.key_type {
            GROUP => match &topic {
                Ok(topic) => coordinator_of_group(&key, topic, context),
                Err(error) => Err(error.clone()),
            },
            TRANSACTION => {
                let text = Str::from_static("transactions are not supported yet");
                Err((ErrorCode::UnsupportedVersion, text))
            }
            _ => Err(plain(ErrorCode::InvalidRequest)),
        };
        let no_message = Str::from_static(if is_batched { "" } else { "NONE" });
        entries.push(
            found.unwrap_or_else(|(error_code, message)| FindCoordinatorEntry {
                error_code,
                error_message: Some(message),
                node_id: -1,
                port: -1,
                ..Default::default()
            }),
        );
        if let Some(entry) = entries.last_mut() {
            entry.key = key;
            entry.error_message.get_or_insert(no_message);
        }
    }
    if is_batched {
        return Ok(FindCoordinatorResponse {
            coordinators: entries,
            ..Default::default()
        });
    }
    let entry = entries.pop().unwrap_or_default();
    Ok(FindCoordinatorResponse {
        error_code: entry.error_code,
        error_message: entry.error_message,
        node_id: entry.node_id,
        host: entry.host,
        port: entry.port,
        ..Default::default()
    })
}

/// The coordinator, or the code and sentence for the client.
type Found = Result<FindCoordinatorEntry, (ErrorCode, Str)>;

fn coordinator_of_group(group: &str, topic: &Topic, context: &RequestContext) -> Found {
    let unavailable = || plain(ErrorCode::CoordinatorNotAvailable);
    if topic.partition_count() < 1 {
        return Err(unavailable());
    }
    let partition = topic.partition(partition_for(group, topic.partition_count()));
    let image = context.image();
    let partition = partition.filter(|partition| image.is_online(partition, partition.leader));
    let leader = partition.and_then(|partition| context.broker(&image, partition.leader));
    let broker = leader.ok_or_else(unavailable)?;
    Ok(FindCoordinatorEntry {
        node_id: broker.id,
        host: broker.host,
        port: broker.port,
        ..Default::default()
    })
}

async fn offsets_topic(
    context: &RequestContext,
) -> Result<Result<Arc<Topic>, (ErrorCode, Str)>, Stopped> {
    if let Some(topic) = find(&context.image()) {
        return Ok(Ok(topic));
    }
    // What went wrong stands in the log; clients only know how to come again.
    create(context, &[OFFSETS_TOPIC.to_owned()]).await?;
    Ok(find(&context.image()).ok_or_else(|| plain(ErrorCode::CoordinatorNotAvailable)))
}

fn find(image: &MetadataImage) -> Option<Arc<Topic>> {
    let name = OFFSETS_TOPIC.parse::<TopicName>().ok()?;
    image.topic(&name).cloned()
}

fn plain(code: ErrorCode) -> (ErrorCode, Str) {
    (code, Str::from_static(code.message()))
}

/// The first version with a list of keys.
const LISTS_FIRST: i16 = 4;
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
