//! `kafka-topics --describe`: topics, their properties and their partitions.
//!
//! Brokers that do not serve DescribeTopicPartitions are asked for plain metadata; then eligible leaders are unknown.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use millrace_wire::message::describe_configs::{
    DescribeConfigsEntry, DescribeConfigsRequest, DescribeConfigsRequestResource,
};
use millrace_wire::message::describe_topic_partitions::{
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsRequestTopic,
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use millrace_wire::{Str, Uuid};

use super::{Failure, Flags, existing};
use crate::admin::{Admin, AdminError, Target};
use crate::print::joined;

/// A topic as it is printed.
#[derive(Debug, Default)]
struct Description {
    name: String,
    id: Uuid,
    partitions: Vec<DescribeTopicPartitionsResponsePartition>,
    configs: Vec<DescribeConfigsEntry>,
}

/// Runs the action.
pub(super) async fn run(
    flags: &Flags,
    admin: &mut Admin,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let names = match flags.topic_id.as_deref() {
        Some(id) => with_id(flags, id, admin).await?,
        None => existing(flags, admin).await?,
    };
    if names.is_empty() {
        return Ok(());
    }
    let mut topics = described(flags, admin, &names).await?;
    add_configs(admin, &mut topics).await?;
    let nodes = admin.nodes().await?;
    let alive: BTreeSet<i32> = nodes.iter().map(|node| node.id).collect();
    for topic in &topics {
        print(flags, topic, &alive, out)?;
    }
    Ok(())
}

async fn with_id(flags: &Flags, id: &str, admin: &mut Admin) -> Result<Vec<String>, Failure> {
    let wanted = id.parse::<Uuid>();
    let wanted = wanted.map_err(|error| Failure::Text(error.to_string()))?;
    let topics = admin.topics(None).await?;
    let found = topics.iter().find(|topic| topic.topic_id == wanted);
    let name = found.and_then(|topic| topic.name.as_ref().map(ToString::to_string));
    if name.is_none() && !flags.if_exists {
        return Err(Failure::Text(format!(
            "TopicId '{id}' does not exist as expected"
        )));
    }
    Ok(name.into_iter().collect())
}

async fn described(
    flags: &Flags,
    admin: &mut Admin,
    names: &[String],
) -> Result<Vec<Description>, Failure> {
    let mut topics: Vec<Description> = Vec::new();
    let mut request = DescribeTopicPartitionsRequest {
        topics: names
            .iter()
            .map(|name| DescribeTopicPartitionsRequestTopic {
                name: Str::from(name),
            })
            .collect(),
        response_partition_limit: flags.partition_size_limit_per_response,
        cursor: None,
    };
    loop {
        let response = match admin.ask(Target::Any, &request).await {
            Err(AdminError::Unsupported { .. }) => return from_metadata(admin, names).await,
            response => response?,
        };
        for topic in response.topics {
            add(&mut topics, topic)?;
        }
        let Some(cursor) = response.next_cursor else {
            break;
        };
        request
            .topics
            .retain(|topic| topic.name >= cursor.topic_name);
        request.cursor = Some(cursor);
    }
    for topic in &mut topics {
        topic
            .partitions
            .sort_by_key(|partition| partition.partition_index);
    }
    Ok(topics)
}

/// A topic may go on in the next page.
fn add(
    topics: &mut Vec<Description>,
    page: DescribeTopicPartitionsResponseTopic,
) -> Result<(), Failure> {
    AdminError::check(page.error_code, None)?;
    let name = page.name.as_deref().unwrap_or_default();
    match topics.last_mut().filter(|last| last.name == name) {
        Some(last) => last.partitions.extend(page.partitions),
        None => topics.push(Description {
            name: name.to_owned(),
            id: page.topic_id,
            partitions: page.partitions,
            configs: Vec::new(),
        }),
    }
    Ok(())
}

async fn from_metadata(admin: &mut Admin, names: &[String]) -> Result<Vec<Description>, Failure> {
    let mut topics = Vec::new();
    for topic in admin.topics(Some(names)).await? {
        AdminError::check(topic.error_code, None)?;
        let partition = |partition: millrace_wire::message::metadata::MetadataResponsePartition| {
            DescribeTopicPartitionsResponsePartition {
                partition_index: partition.partition_index,
                leader_id: partition.leader_id,
                replica_nodes: partition.replica_nodes,
                isr_nodes: partition.isr_nodes,
                ..Default::default()
            }
        };
        let mut partitions: Vec<_> = topic.partitions.into_iter().map(partition).collect();
        partitions.sort_by_key(|partition| partition.partition_index);
        topics.push(Description {
            name: topic.name.as_deref().unwrap_or_default().to_owned(),
            id: topic.topic_id,
            partitions,
            configs: Vec::new(),
        });
    }
    Ok(topics)
}

async fn add_configs(admin: &mut Admin, topics: &mut [Description]) -> Result<(), Failure> {
    let resource = |topic: &Description| DescribeConfigsRequestResource {
        resource_type: TOPIC_RESOURCE,
        resource_name: Str::from(&topic.name),
        configuration_keys: None,
    };
    for topics in topics.chunks_mut(CONFIGS_AT_ONCE) {
        let request = DescribeConfigsRequest {
            resources: topics.iter().map(resource).collect(),
            ..Default::default()
        };
        let response = admin.ask(Target::Any, &request).await?;
        let mut configs: BTreeMap<&str, &mut Vec<DescribeConfigsEntry>> = topics
            .iter_mut()
            .map(|topic| (topic.name.as_str(), &mut topic.configs))
            .collect();
        for result in response.results {
            AdminError::check(result.error_code, result.error_message.as_deref())?;
            if let Some(configs) = configs.get_mut(result.resource_name.as_str()) {
                **configs = result.configs;
            }
        }
    }
    Ok(())
}

/// Topics whose properties are asked for at once: a broker's answer to very many has its limit.
const CONFIGS_AT_ONCE: usize = 1_000;

/// The number for topics in requests about configuration.
const TOPIC_RESOURCE: i8 = 2;

/// The config source of a built-in default.
const DEFAULT_SOURCE: i8 = 5;

fn print(
    flags: &Flags,
    topic: &Description,
    alive: &BTreeSet<i32>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let reported = flags.under_replicated_partitions
        || flags.unavailable_partitions
        || flags.under_min_isr_partitions
        || flags.at_min_isr_partitions;
    let overrides = || {
        topic
            .configs
            .iter()
            .filter(|entry| entry.config_source != DEFAULT_SOURCE)
    };
    if !reported && (!flags.topics_with_overrides || overrides().next().is_some()) {
        let configs = overrides().map(|entry| {
            format!(
                "{}={}",
                entry.name,
                entry.value.as_deref().unwrap_or("null")
            )
        });
        write!(out, "Topic: {}", topic.name)?;
        if topic.id != Uuid::ZERO {
            write!(out, "\tTopicId: {}", topic.id)?;
        }
        let replicas = topic
            .partitions
            .first()
            .map_or(0, |first| first.replica_nodes.len());
        writeln!(
            out,
            "\tPartitionCount: {}\tReplicationFactor: {replicas}\tConfigs: {}",
            topic.partitions.len(),
            joined(configs, ",")
        )?;
    }
    if flags.topics_with_overrides {
        return Ok(());
    }
    let isr_min = topic
        .configs
        .iter()
        .find(|entry| entry.name == "min.insync.replicas");
    let isr_min = isr_min
        .and_then(|entry| entry.value.as_deref()?.parse().ok())
        .unwrap_or(1);
    for partition in &topic.partitions {
        if !reported || is_reported(flags, partition, isr_min, alive) {
            writeln!(out, "{}", partition_line(&topic.name, partition))?;
        }
    }
    Ok(())
}

fn is_reported(
    flags: &Flags,
    partition: &DescribeTopicPartitionsResponsePartition,
    isr_min: usize,
    alive: &BTreeSet<i32>,
) -> bool {
    let in_sync = partition.isr_nodes.len();
    let leaderless = partition.leader_id < 0;
    (flags.under_replicated_partitions && partition.replica_nodes.len() > in_sync)
        || (flags.unavailable_partitions && (leaderless || !alive.contains(&partition.leader_id)))
        || (flags.under_min_isr_partitions && (leaderless || in_sync < isr_min))
        || (flags.at_min_isr_partitions && in_sync == isr_min)
}

fn partition_line(topic: &str, partition: &DescribeTopicPartitionsResponsePartition) -> String {
    let leader = match partition.leader_id {
        id if id < 0 => "none".to_owned(),
        id => id.to_string(),
    };
    let known = |list: &Option<Vec<i32>>| match list {
        Some(list) => joined(list, ","),
        None => "N/A".to_owned(),
    };
    format!(
        "\tTopic: {topic}\tPartition: {}\tLeader: {leader}\tReplicas: {}\tIsr: {}\tElr: {}\tLastKnownElr: {}",
        partition.partition_index,
        joined(&partition.replica_nodes, ","),
        joined(&partition.isr_nodes, ","),
        known(&partition.eligible_leader_replicas),
        known(&partition.last_known_elr),
    )
}

#[cfg(test)]
mod tests {
    use millrace_wire::ErrorCode;
    use millrace_wire::message::describe_configs::{
        DescribeConfigsResponse, DescribeConfigsResponseResource,
    };

    use super::*;
    use crate::admin::stub::{self, Question};

    #[tokio::test]
    async fn properties_of_very_many_topics_are_asked_for_piece_by_piece() {
        let answer = |question: &mut Question| {
            let one = |(number, asked): (usize, DescribeConfigsRequestResource)| {
                let error_code = match number < 1_000 {
                    true => ErrorCode::None,
                    false => ErrorCode::InvalidRequest,
                };
                let config = DescribeConfigsEntry {
                    name: "x.name".into(),
                    value: Some(asked.resource_name.clone()),
                    ..Default::default()
                };
                DescribeConfigsResponseResource {
                    error_code,
                    resource_type: asked.resource_type,
                    resource_name: asked.resource_name,
                    configs: vec![config],
                    ..Default::default()
                }
            };
            question.answer(|request: DescribeConfigsRequest| DescribeConfigsResponse {
                results: request.resources.into_iter().enumerate().map(one).collect(),
                ..Default::default()
            });
        };
        let topic = |number: u32| Description {
            name: format!("t{number}"),
            ..Default::default()
        };
        let mut topics: Vec<Description> = (0..2_500).map(topic).collect();
        let mut admin = stub::admin(answer).await;
        add_configs(&mut admin, &mut topics).await.unwrap();
        for topic in &topics {
            let [config] = topic.configs.as_slice() else {
                unreachable!("{topic:?} has one property");
            };
            assert_eq!(config.value.as_deref(), Some(topic.name.as_str()));
        }
    }

    fn printed(flags: &Flags) -> String {
        let partition = |index, leader, isr: &[i32]| DescribeTopicPartitionsResponsePartition {
            partition_index: index,
            leader_id: leader,
            replica_nodes: vec![1, 2],
            isr_nodes: isr.to_vec(),
            ..Default::default()
        };
        let config = |name: &'static str, value: &'static str, source| DescribeConfigsEntry {
            name: Str::from_static(name),
            value: Some(Str::from_static(value)),
            config_source: source,
            ..Default::default()
        };
        let topic = Description {
            name: "t".into(),
            id: Uuid(1),
            partitions: vec![partition(0, 1, &[1, 2]), partition(1, -1, &[])],
            configs: vec![config("retention.ms", "5", 1), config("segment.ms", "6", 5)],
        };
        let mut out = Vec::new();
        print(flags, &topic, &BTreeSet::from([1, 2]), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_description_has_kafkas_lines() {
        let expected = "Topic: t\tTopicId: AAAAAAAAAAAAAAAAAAAAAQ\tPartitionCount: 2\tReplicationFactor: 2\tConfigs: retention.ms=5\n\
            \tTopic: t\tPartition: 0\tLeader: 1\tReplicas: 1,2\tIsr: 1,2\tElr: N/A\tLastKnownElr: N/A\n\
            \tTopic: t\tPartition: 1\tLeader: none\tReplicas: 1,2\tIsr: \tElr: N/A\tLastKnownElr: N/A\n";
        assert_eq!(printed(&Flags::default()), expected);
    }

    #[test]
    fn reports_show_only_the_partitions_concerned() {
        let flags = Flags {
            under_replicated_partitions: true,
            ..Default::default()
        };
        let text = printed(&flags);
        assert_eq!(text.lines().count(), 1);
        assert!(text.contains("Partition: 1"), "{text}");
        let flags = Flags {
            topics_with_overrides: true,
            ..Default::default()
        };
        assert_eq!(printed(&flags).lines().count(), 1);
    }
}
