//! Questions that several commands ask: which topics there are, offsets of partitions, groups and their offsets.
//!
//! What takes a leader or a coordinator is split up and sent to each; the answers come back in one map.

use std::collections::BTreeMap;
use std::fmt;

use millrace_wire::message::find_coordinator::FindCoordinatorRequest;
use millrace_wire::message::list_groups::{ListGroupsRequest, ListGroupsResponse, ListedGroup};
use millrace_wire::message::list_offsets::{
    ListOffsetsRequest, ListOffsetsRequestPartition, ListOffsetsRequestTopic,
};
use millrace_wire::message::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseTopic,
};
use millrace_wire::message::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchResponse,
};
use millrace_wire::{ErrorCode, Str};

use super::{Admin, AdminError, Node, Target};

/// A partition of a topic, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TopicPartition {
    /// The topic.
    pub(crate) topic: String,
    /// Its partition.
    pub(crate) partition: i32,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// What was found for a partition: the offset (-1: none), or why there is no answer.
pub(crate) type OffsetAnswer = Result<i64, ErrorCode>;

/// The offsets a group has committed, with the leader epoch committed beside (-1: none).
pub(crate) type GroupOffsets = BTreeMap<TopicPartition, (i64, i32)>;

/// The last version of OffsetFetch and OffsetCommit that names topics instead of giving their ids.
pub(crate) const OFFSETS_BY_NAME_VERSION: i16 = 9;

impl Admin {
    /// Topics with their partitions; all of them if no names are given. None is created by asking.
    pub(crate) async fn topics(
        &mut self,
        names: Option<&[String]>,
    ) -> Result<Vec<MetadataResponseTopic>, AdminError> {
        let named = |name: &String| MetadataRequestTopic {
            name: Some(Str::from(name)),
            ..Default::default()
        };
        let request = MetadataRequest {
            topics: names.map(|names| names.iter().map(named).collect()),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        let metadata: MetadataResponse = self.ask(Target::Any, &request).await?;
        AdminError::check(metadata.error_code, None)?;
        self.learn(&metadata);
        Ok(metadata.topics)
    }

    /// Names of all topics, sorted.
    pub(crate) async fn topic_names(
        &mut self,
        internal_too: bool,
    ) -> Result<Vec<String>, AdminError> {
        let topics = self.topics(None).await?;
        let listed = topics
            .iter()
            .filter(|topic| internal_too || !topic.is_internal);
        let mut names: Vec<String> = listed
            .filter_map(|topic| topic.name.as_ref().map(ToString::to_string))
            .collect();
        names.sort();
        Ok(names)
    }

    /// All partitions of the topics, which must exist.
    pub(crate) async fn partitions_of(
        &mut self,
        names: &[String],
    ) -> Result<Vec<TopicPartition>, AdminError> {
        let mut found = Vec::new();
        for topic in self.topics(Some(names)).await? {
            AdminError::check(topic.error_code, None)?;
            let name = topic.name.as_deref().unwrap_or_default();
            found.extend(topic.partitions.iter().map(|partition| TopicPartition {
                topic: name.to_owned(),
                partition: partition.partition_index,
            }));
        }
        Ok(found)
    }

    /// The leader of each partition; an error where there is none.
    pub(crate) async fn leaders(
        &mut self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Result<i32, ErrorCode>>, AdminError> {
        let mut names: Vec<String> = partitions
            .iter()
            .map(|partition| partition.topic.clone())
            .collect();
        names.sort();
        names.dedup();
        let mut leaders: BTreeMap<TopicPartition, Result<i32, ErrorCode>> = BTreeMap::new();
        if names.is_empty() {
            return Ok(leaders);
        }
        let topics = self.topics(Some(&names)).await?;
        let known = leaders_by_place(&topics);
        for partition in partitions {
            let place = (partition.topic.as_str(), partition.partition);
            let leader = match known.get(&place) {
                None => Err(ErrorCode::UnknownTopicOrPartition),
                Some(leader) if *leader < 0 => Err(ErrorCode::LeaderNotAvailable),
                Some(leader) => Ok(*leader),
            };
            leaders.insert(partition.clone(), leader);
        }
        Ok(leaders)
    }

    /// The offset of a point in time in each partition: milliseconds, or -1 (end), -2 (start), and so on.
    pub(crate) async fn list_offsets(
        &mut self,
        partitions: &[TopicPartition],
        timestamp: i64,
    ) -> Result<BTreeMap<TopicPartition, OffsetAnswer>, AdminError> {
        let mut found = BTreeMap::new();
        let mut by_leader: BTreeMap<i32, Vec<TopicPartition>> = BTreeMap::new();
        for (partition, leader) in self.leaders(partitions).await? {
            match leader {
                Ok(leader) => by_leader.entry(leader).or_default().push(partition),
                Err(code) => drop(found.insert(partition, Err(code))),
            }
        }
        for (leader, partitions) in by_leader {
            let request = ListOffsetsRequest {
                replica_id: -1,
                topics: offsets_topics(&partitions, timestamp),
                timeout_ms: 30_000,
                ..Default::default()
            };
            let response = self.ask(Target::Node(leader), &request).await?;
            for topic in &response.topics {
                for partition in &topic.partitions {
                    let key = TopicPartition {
                        topic: topic.name.to_string(),
                        partition: partition.partition_index,
                    };
                    let answer = match partition.error_code {
                        ErrorCode::None => Ok(partition.offset),
                        code => Err(code),
                    };
                    found.insert(key, answer);
                }
            }
        }
        Ok(found)
    }

    /// The broker that coordinates a group.
    pub(crate) async fn coordinator(&mut self, group: &str) -> Result<Node, AdminError> {
        let request = FindCoordinatorRequest {
            key: group.into(),
            key_type: 0,
            coordinator_keys: vec![group.into()],
        };
        let deadline = tokio::time::Instant::now() + self.api_timeout;
        loop {
            let answer = self.ask(Target::Any, &request).await?;
            // Up to version 3 the answer stands in the response itself.
            let (node, code, message) = match answer.coordinators.first() {
                Some(entry) => (
                    (entry.node_id, &entry.host, entry.port),
                    entry.error_code,
                    entry.error_message.as_deref(),
                ),
                None => (
                    (answer.node_id, &answer.host, answer.port),
                    answer.error_code,
                    answer.error_message.as_deref(),
                ),
            };
            let over = tokio::time::Instant::now() >= deadline;
            if !code.is_retriable() || over {
                AdminError::check(code, message)?;
                let (id, host, port) = node;
                let node = Node {
                    id,
                    host: host.to_string(),
                    port,
                    rack: None,
                };
                self.nodes.entry(id).or_insert_with(|| node.clone());
                return Ok(node);
            }
            tokio::time::sleep(super::RETRY_PAUSE).await;
        }
    }

    /// What the group has committed.
    pub(crate) async fn group_offsets(&mut self, group: &str) -> Result<GroupOffsets, AdminError> {
        let coordinator = self.coordinator(group).await?;
        let request = OffsetFetchRequest {
            group_id: group.into(),
            topics: None,
            groups: vec![OffsetFetchRequestGroup {
                group_id: group.into(),
                topics: None,
                ..Default::default()
            }],
            ..Default::default()
        };
        let code_of = |response: &OffsetFetchResponse| {
            let group = response.groups.first();
            group.map_or(response.error_code, |group| group.error_code)
        };
        let target = Target::Node(coordinator.id);
        let response = self
            .ask_patiently_up_to(target, &request, OFFSETS_BY_NAME_VERSION, code_of)
            .await?;
        AdminError::check(code_of(&response), None)?;
        Ok(committed(&response))
    }

    /// The groups of all brokers, sorted by name. Filters that are empty let everything pass.
    pub(crate) async fn groups(
        &mut self,
        states: &[String],
        types: &[String],
    ) -> Result<Vec<ListedGroup>, AdminError> {
        let texts = |list: &[String]| list.iter().map(Str::from).collect();
        let request = ListGroupsRequest {
            states_filter: texts(states),
            types_filter: texts(types),
        };
        let code_of = |response: &ListGroupsResponse| response.error_code;
        let mut found = Vec::new();
        for node in self.nodes().await? {
            let target = Target::Node(node.id);
            let response = self.ask_patiently(target, &request, code_of).await?;
            AdminError::check(response.error_code, None)?;
            found.extend(response.groups);
        }
        found.sort_by(|left, right| left.group_id.cmp(&right.group_id));
        found.dedup_by(|left, right| left.group_id == right.group_id);
        Ok(found)
    }
}

/// The leader of each partition (below 0: none), by topic and number.
fn leaders_by_place(topics: &[MetadataResponseTopic]) -> BTreeMap<(&str, i32), i32> {
    let mut leaders = BTreeMap::new();
    for topic in topics {
        let name = topic.name.as_deref().unwrap_or_default();
        for partition in &topic.partitions {
            leaders.insert((name, partition.partition_index), partition.leader_id);
        }
    }
    leaders
}

fn offsets_topics(partitions: &[TopicPartition], timestamp: i64) -> Vec<ListOffsetsRequestTopic> {
    let mut topics: BTreeMap<&str, Vec<ListOffsetsRequestPartition>> = BTreeMap::new();
    for partition in partitions {
        topics
            .entry(&partition.topic)
            .or_default()
            .push(ListOffsetsRequestPartition {
                partition_index: partition.partition,
                timestamp,
                ..Default::default()
            });
    }
    let topic = |(name, partitions): (&str, _)| ListOffsetsRequestTopic {
        name: name.into(),
        partitions,
    };
    topics.into_iter().map(topic).collect()
}

/// The offsets in an answer of any version; those that were never committed are left out.
fn committed(response: &OffsetFetchResponse) -> GroupOffsets {
    let old = response.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|partition| {
            let place = (topic.name.to_string(), partition.partition_index);
            (
                place,
                partition.committed_offset,
                partition.committed_leader_epoch,
            )
        })
    });
    let new = response
        .groups
        .iter()
        .flat_map(|group| &group.topics)
        .flat_map(|topic| {
            topic.partitions.iter().map(|partition| {
                let place = (topic.name.to_string(), partition.partition_index);
                (
                    place,
                    partition.committed_offset,
                    partition.committed_leader_epoch,
                )
            })
        });
    let committed = old.chain(new).filter(|(_, offset, _)| *offset >= 0);
    committed
        .map(|((topic, partition), offset, epoch)| {
            (TopicPartition { topic, partition }, (offset, epoch))
        })
        .collect()
}
