//! CreateTopics (key 19): creates topics.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millrace_engine::config::Alteration;
use millrace_engine::metadata::{
    Command, ControllerError, CreateTopics, CreatedTopic, NewTopic, Reply,
};
use millrace_engine::shard::Stopped;
use millrace_engine::types::BrokerId;
use millrace_wire::message::create_topics::{
    CreateTopicsRequest, CreateTopicsRequestTopic, CreateTopicsResponse,
    CreateTopicsResponseConfig, CreateTopicsResponseTopic,
};
use millrace_wire::{ErrorCode, Str};

use super::admin::{Denied, propose};
use super::configs::check_count;
use super::context::RequestContext;
use super::creation::PARTITIONS_MAX;
use super::describe_configs::{ELEMENTS_EACH, ELEMENTS_PER_ENTRY};
use super::topics::wire_id;
use crate::config::{ConfigView, Entry};
use crate::net::Pace;

pub(super) async fn handle(
    request: CreateTopicsRequest,
    context: &RequestContext,
) -> Result<CreateTopicsResponse, Stopped> {
    let settings = context.settings();
    let pace = Pace::of_elements();
    let mut randoms = Vec::with_capacity(request.topics.len());
    for _ in &request.topics {
        pace.after(1).await;
        randoms.push(context.gateway().random());
    }
    let (topics, mut answers) = context.in_peace((request.topics, randoms), judge).await?;
    if !topics.is_empty() {
        if context.version() >= CONFIGS_FIRST {
            let shown = topics.len().min(PARTITIONS_MAX);
            context
                .answers_many(shown.saturating_mul(ELEMENTS_EACH))
                .await;
        }
        let names = |topics: Vec<NewTopic>| {
            let names: BTreeSet<_> = topics.iter().map(|topic| topic.name.clone()).collect();
            (topics, names)
        };
        let (topics, names) = context.in_peace(topics, names).await?;
        let command = Command::CreateTopics(CreateTopics {
            topics,
            partitions_default: settings.config.new_topics.partitions,
            replication_factor_default: settings.config.new_topics.replication_factor,
            partitions_max: PARTITIONS_MAX,
            topic_defaults: Arc::new(settings.config.topic_defaults.clone()),
            validate_only: request.validate_only,
        });
        match propose(context, command, request.timeout_ms).await? {
            Ok(Reply::CreateTopics(results)) => {
                for (name, result) in results {
                    pace.after(1).await;
                    let answer = match result {
                        Ok(topic) => created(&topic, &settings.view, context.version()),
                        Err(error) => refused(Str::from(name), Denied::of(&error)),
                    };
                    let entries = answer.configs.as_ref().map_or(0, Vec::len);
                    pace.add(entries.saturating_mul(ELEMENTS_PER_ENTRY));
                    answers.push(answer);
                }
                context.in_peace(names, drop).await?;
            }
            // Another question was answered: what became of this one is unknown.
            Ok(_) => return Err(Stopped),
            Err(denied) => {
                for name in names {
                    pace.after(1).await;
                    answers.push(refused(Str::from(name), denied.clone()));
                }
            }
        }
    }
    Ok(CreateTopicsResponse {
        topics: answers,
        ..Default::default()
    })
}

/// The topics that could be made, and answers for the others.
fn judge(
    (asked, randoms): (Vec<CreateTopicsRequestTopic>, Vec<u128>),
) -> (Vec<NewTopic>, Vec<CreateTopicsResponseTopic>) {
    // Of their full size at once: to copy a hundred thousand of them takes its time.
    let mut topics = Vec::with_capacity(asked.len());
    let mut answers = Vec::with_capacity(asked.len());
    // First, as in Kafka: what stands twice is not made once because the other is refused for something else.
    let repeated = repeated(&asked);
    let duplicate = Denied::of(&ControllerError::DuplicateTopicName);
    let duplicates = repeated.iter();
    answers.extend(duplicates.map(|name| refused(name.clone(), duplicate.clone())));
    let asked = asked.into_iter().zip(randoms);
    for (topic, random) in asked.filter(|(topic, _)| !repeated.contains(&topic.name)) {
        match new_topic(&topic, random) {
            Ok(new) => topics.push(new),
            Err(denied) => answers.push(refused(topic.name, denied)),
        }
    }
    (topics, answers)
}

/// The names that stand more than once.
fn repeated(topics: &[CreateTopicsRequestTopic]) -> BTreeSet<Str> {
    let mut seen = BTreeSet::new();
    let names = topics.iter().map(|topic| &topic.name);
    names.filter(|name| !seen.insert(*name)).cloned().collect()
}

fn new_topic(topic: &CreateTopicsRequestTopic, random: u128) -> Result<NewTopic, Denied> {
    let assignments = topic.assignments.iter().map(|assignment| {
        let brokers = assignment.broker_ids.iter().map(|&id| BrokerId(id));
        (assignment.partition_index, brokers.collect())
    });
    Ok(NewTopic {
        name: topic.name.to_string(),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: assignments.collect(),
        settings: settings(topic)?,
        random,
    })
}

/// The settings of a new topic; of a key given twice the last value counts, as in Kafka.
fn settings(topic: &CreateTopicsRequestTopic) -> Result<Vec<Alteration>, Denied> {
    check_count(topic.configs.len())?;
    let without = topic.configs.iter().filter(|config| config.value.is_none());
    let names: Vec<&str> = without.map(|config| &*config.name).collect();
    if !names.is_empty() {
        let text = format!(
            "Null value not supported for topic configs: {}",
            names.join(",")
        );
        return Err(Denied::new(ErrorCode::InvalidConfig, text));
    }
    let values = topic.configs.iter();
    let values = values.map(|config| (&*config.name, config.value.as_deref().unwrap_or_default()));
    let last: BTreeMap<&str, &str> = values.collect();
    Ok(last
        .into_iter()
        .map(|(name, value)| Alteration::set(name, value))
        .collect())
}

fn created(topic: &CreatedTopic, view: &ConfigView, version: i16) -> CreateTopicsResponseTopic {
    let mut answer = CreateTopicsResponseTopic {
        name: Str::from(topic.name.as_str()),
        topic_id: wire_id(topic.id),
        num_partitions: topic.partitions,
        replication_factor: topic.replication_factor,
        ..Default::default()
    };
    if version >= CONFIGS_FIRST {
        let entries = view.describe_topic(&topic.overrides, &BTreeSet::new());
        answer.configs = Some(entries.into_iter().map(config).collect());
    }
    answer
}

fn config(entry: Entry) -> CreateTopicsResponseConfig {
    CreateTopicsResponseConfig {
        name: Str::from(entry.name),
        value: entry.value.map(Str::from),
        read_only: entry.read_only,
        config_source: entry.source as i8,
        is_sensitive: entry.sensitive,
    }
}

fn refused(name: Str, denied: Denied) -> CreateTopicsResponseTopic {
    CreateTopicsResponseTopic {
        name,
        error_code: denied.code,
        error_message: denied.message,
        configs: Some(Vec::new()),
        ..Default::default()
    }
}

/// The first version whose answer shows the topic's configuration (KIP-525).
const CONFIGS_FIRST: i16 = 5;

#[cfg(test)]
mod tests {
    use millrace_engine::config::Overrides;
    use millrace_engine::types::{TopicId, Uuid};
    use millrace_wire::Message;
    use millrace_wire::message::create_topics::{
        CreateTopicsAssignment, CreateTopicsRequestConfig,
    };

    use super::*;
    use crate::config::{Sources, load};

    fn topic(configs: &[(&str, Option<&str>)]) -> CreateTopicsRequestTopic {
        let config = |&(name, value): &(&str, Option<&str>)| CreateTopicsRequestConfig {
            name: name.into(),
            value: value.map(Into::into),
        };
        CreateTopicsRequestTopic {
            name: "t".into(),
            num_partitions: -1,
            replication_factor: -1,
            configs: configs.iter().map(config).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn a_request_becomes_a_wish_for_a_topic() {
        let mut asked = topic(&[("flush.ms", Some("1")), ("flush.ms", Some("2"))]);
        asked.assignments = vec![CreateTopicsAssignment {
            partition_index: 0,
            broker_ids: vec![1],
        }];
        let wish = new_topic(&asked, 5).unwrap();
        assert_eq!(wish.settings, [Alteration::set("flush.ms", "2")]);
        assert_eq!(wish.assignments, [(0, vec![BrokerId(1)])]);
        assert_eq!((wish.partitions, wish.replication_factor), (-1, -1));
    }

    #[test]
    fn a_setting_without_value_is_refused_in_kafkas_words() {
        let denied = new_topic(&topic(&[("retention.ms", None)]), 5).unwrap_err();
        let text = "Null value not supported for topic configs: retention.ms";
        assert_eq!(denied, Denied::new(ErrorCode::InvalidConfig, text));
    }

    #[test]
    fn a_topic_named_twice_is_not_made_also_where_one_of_them_is_refused_before() {
        let other = CreateTopicsRequestTopic {
            name: "u".into(),
            ..topic(&[])
        };
        let asked = vec![topic(&[("retention.ms", None)]), other, topic(&[])];
        let (wishes, answers) = judge((asked, vec![5, 6, 7]));
        let made: Vec<_> = wishes
            .iter()
            .map(|wish| (&*wish.name, wish.random))
            .collect();
        assert_eq!(made, [("u", 6)]);
        let duplicate = Denied::new(ErrorCode::InvalidRequest, "Duplicate topic name.");
        assert_eq!(answers, [refused("t".into(), duplicate)]);
    }

    #[test]
    fn the_answer_shows_the_whole_configuration_from_version_5() {
        let view = load(&Sources::default()).unwrap().view;
        let made = CreatedTopic {
            id: TopicId(Uuid(5)),
            name: "t".parse().unwrap(),
            partitions: 3,
            replication_factor: 1,
            overrides: Overrides::from([("retention.ms".to_owned(), "5000".to_owned())]),
        };
        let answer = created(&made, &view, 7);
        let configs = answer.configs.clone().unwrap();
        assert!(configs.len() >= 33);
        let retention = configs
            .iter()
            .find(|config| &*config.name == "retention.ms")
            .unwrap();
        assert_eq!(
            (retention.value.as_deref(), retention.config_source),
            (Some("5000"), 1)
        );
        let cleanup = configs
            .iter()
            .find(|config| &*config.name == "cleanup.policy")
            .unwrap();
        assert_eq!(
            (cleanup.value.as_deref(), cleanup.config_source),
            (Some("delete"), 5)
        );
        let old = created(&made, &view, 2);
        for version in 2..=7 {
            let topics = vec![if version < 5 {
                old.clone()
            } else {
                answer.clone()
            }];
            let response = CreateTopicsResponse {
                topics,
                ..Default::default()
            };
            assert!(response.to_bytes(version).is_ok(), "version {version}");
        }
    }
}
