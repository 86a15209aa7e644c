//! Questions to group coordinators: which partition of `__consumer_offsets` a group belongs to, the way there and back.
//!
//! It knows no request and no answer; those are the business of each API's file.

use millrace_engine::group::{GroupCommand, GroupError, GroupReply, OffsetsWanted, partition_for};
use millrace_engine::metadata::{MetadataImage, Topic};
use millrace_engine::shard::Stopped;
use millrace_engine::shard::command::{Command, GroupRequest};
use millrace_engine::types::{TopicIdPartition, TopicName, TopicPartition};
use tokio::sync::oneshot;

use super::context::RequestContext;
use super::creation::OFFSETS_TOPIC;
use crate::net::Pace;

/// What a coordinator said, as far as the question goes.
pub(super) type Answer<T> = Result<T, GroupError>;

/// Asks the coordinator of the one group that `command` concerns. `pick` takes what the command is answered with.
///
/// # Errors
/// The broker is stopping, or the coordinator answered another question.
pub(super) async fn ask<T>(
    context: &RequestContext,
    command: GroupCommand,
    pick: impl Fn(GroupReply) -> Option<T>,
) -> Result<Answer<T>, Stopped> {
    let image = context.image();
    let place = command
        .group()
        .and_then(|group| coordinator_of(&image, group.as_str()));
    let Some(place) = place else {
        // It may name very many members or offsets.
        context.in_peace(command, drop).await?;
        return Ok(Err(GroupError::NotCoordinator));
    };
    let answer = receive(send(context, place, command).await?, pick).await?;
    if let Err(error @ GroupError::OutOfMemory { .. }) = &answer {
        context.report(error);
    }
    Ok(answer)
}

/// As [`ask`], for a question whose answer may wait for other members for minutes: ends with
/// [`GroupError::NotCoordinator`] when the broker stops, so that the stop need not wait.
///
/// # Errors
/// As [`ask`].
pub(super) async fn ask_parked<T>(
    context: &RequestContext,
    command: GroupCommand,
    pick: impl Fn(GroupReply) -> Option<T>,
) -> Result<Answer<T>, Stopped> {
    context.parks();
    let mut stopping = context.client().stopping();
    tokio::select! {
        answer = ask(context, command, pick) => answer,
        _ = stopping.wait_for(|&stopping| stopping) => Ok(Err(GroupError::NotCoordinator)),
    }
}

/// As [`ask`] for many groups at a time; the answers are in the order of `commands`.
///
/// # Errors
/// As [`ask`].
pub(super) async fn ask_each<T>(
    context: &RequestContext,
    commands: Vec<GroupCommand>,
    pick: impl Fn(GroupReply) -> Option<T>,
) -> Result<Vec<Answer<T>>, Stopped> {
    let image = context.image();
    let pace = Pace::of_elements();
    let mut asked = Vec::with_capacity(commands.len());
    for command in commands {
        pace.after(elements(&command)).await;
        let place = command
            .group()
            .and_then(|group| coordinator_of(&image, group.as_str()));
        asked.push(match place {
            Some(place) => Some(send(context, place, command).await?),
            None => None,
        });
    }
    let mut answers = Vec::with_capacity(asked.len());
    for slot in asked {
        // Nothing is waited for where there is no coordinator.
        pace.after(1).await;
        answers.push(match slot {
            Some(slot) => receive(slot, &pick).await?,
            None => Err(GroupError::NotCoordinator),
        });
    }
    Ok(answers)
}

/// What a command makes its coordinator go over, as far as it says.
fn elements(command: &GroupCommand) -> usize {
    match command {
        GroupCommand::FetchOffsets(fetch) => match &fetch.wanted {
            OffsetsWanted::Of(partitions) => partitions.len(),
            OffsetsWanted::Next { count_max, .. } => *count_max,
        },
        GroupCommand::DeleteOffsets(delete) => delete.partitions.len(),
        _ => 1,
    }
}

/// Some hundred microseconds' worth for the coordinator's shard.
pub(super) const PARTITIONS_PER_COMMAND: usize = 1_000;

/// Members that one request may be about, in one turn of the coordinator's shard. The record of a group that has half of them is larger
/// than the largest record by default.
pub(super) const MEMBERS_MAX: usize = 20_000;

/// What concerns `partitions` as one command, or as several for very many: the coordinator's shard has other clients' turns between
/// them. One where there are none.
pub(super) fn in_parts(
    partitions: Vec<TopicPartition>,
    command: impl Fn(Vec<TopicPartition>) -> GroupCommand,
) -> Vec<GroupCommand> {
    if partitions.len() <= PARTITIONS_PER_COMMAND {
        return vec![command(partitions)];
    }
    let mut parts = Vec::with_capacity(partitions.len().div_ceil(PARTITIONS_PER_COMMAND));
    let mut partitions = partitions.into_iter();
    while partitions.len() > 0 {
        let some = partitions.by_ref().take(PARTITIONS_PER_COMMAND);
        parts.push(command(some.collect()));
    }
    parts
}

/// Asks every coordinator of this broker the same question; one answer each, none where there are no coordinators yet.
///
/// # Errors
/// As [`ask`].
pub(super) async fn ask_everywhere<T>(
    context: &RequestContext,
    command: &GroupCommand,
    pick: impl Fn(GroupReply) -> Option<T>,
) -> Result<Vec<Answer<T>>, Stopped> {
    let image = context.image();
    let node = context.node_id();
    let mut asked = Vec::new();
    if let Some(topic) = offsets_topic(&image) {
        for (partition, state) in topic.partitions() {
            if state.leader == node {
                let place = TopicIdPartition {
                    topic_id: topic.id,
                    partition,
                };
                asked.push(send(context, place, command.clone()).await?);
            }
        }
    }
    let mut answers = Vec::with_capacity(asked.len());
    for slot in asked {
        answers.push(receive(slot, &pick).await?);
    }
    Ok(answers)
}

/// The partition that keeps `group`; `None` before the first client looked for a coordinator, which makes the topic.
fn coordinator_of(image: &MetadataImage, group: &str) -> Option<TopicIdPartition> {
    let topic = offsets_topic(image)?;
    let count = topic.partition_count();
    (count > 0).then(|| TopicIdPartition {
        topic_id: topic.id,
        partition: partition_for(group, count),
    })
}

fn offsets_topic(image: &MetadataImage) -> Option<&Topic> {
    let name: TopicName = OFFSETS_TOPIC.parse().ok()?;
    image.topic(&name).map(|topic| &**topic)
}

type Slot = oneshot::Receiver<Result<GroupReply, GroupError>>;

async fn send(
    context: &RequestContext,
    partition: TopicIdPartition,
    command: GroupCommand,
) -> Result<Slot, Stopped> {
    let (reply, slot) = oneshot::channel();
    let gateway = context.gateway();
    let request = GroupRequest {
        partition,
        command,
        reply,
    };
    gateway
        .send(gateway.owner(partition), Command::Group(Box::new(request)))
        .await?;
    Ok(slot)
}

async fn receive<T>(
    slot: Slot,
    pick: impl Fn(GroupReply) -> Option<T>,
) -> Result<Answer<T>, Stopped> {
    match slot.await.map_err(|_| Stopped)? {
        // An answer to another question means that the coordinator lost its way; what became of this one is unknown.
        Ok(reply) => pick(reply).map(Ok).ok_or(Stopped),
        Err(error) => Ok(Err(error)),
    }
}
