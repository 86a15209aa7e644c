//! DescribeConfigs (key 32): configuration values of topics, brokers and groups, and where each comes from.

use std::collections::BTreeSet;
use std::sync::Arc;

use millrace_engine::config::Kind;
use millrace_engine::metadata::MetadataImage;
use millrace_engine::shard::Stopped;
use millrace_engine::types::{BrokerId, TopicName};
use millrace_wire::message::describe_configs::{
    DescribeConfigsEntry, DescribeConfigsRequest, DescribeConfigsRequestResource,
    DescribeConfigsResponse, DescribeConfigsResponseResource, DescribeConfigsSynonym,
};
use millrace_wire::{ErrorCode, Str};
use tracing::level_filters::LevelFilter;

use super::admin::Denied;
use super::configs::{ROOT_LOGGER, check_count, kind};
use super::context::RequestContext;
use crate::config::{ConfigView, Entry};
use crate::net::Pace;

pub(super) async fn handle(
    request: DescribeConfigsRequest,
    context: &RequestContext,
) -> Result<DescribeConfigsResponse, Stopped> {
    let settings = context.settings();
    let resources = context.in_peace(request.resources, each_once).await?;
    context
        .answers_many(resources.len().saturating_mul(ELEMENTS_EACH))
        .await;
    let image = Arc::clone(&context.image());
    let shown = Shown {
        image: &image,
        view: &settings.view,
        node: context.node_id(),
        synonyms: request.include_synonyms,
        documentation: request.include_documentation,
    };
    let pace = Pace::of_elements();
    let mut results = Vec::with_capacity(resources.len());
    let mut left_bytes = ANSWER_BYTES_MAX;
    for asked in resources {
        let keys = asked.configuration_keys.as_ref().map_or(0, Vec::len);
        pace.after(ELEMENTS_EACH.max(keys)).await;
        let result = match left_bytes {
            0 => refused(asked, Denied::new(ErrorCode::InvalidRequest, TOO_MUCH)),
            _ => shown.resource(asked),
        };
        left_bytes = left_bytes.saturating_sub(weight(&result));
        pace.add(result.configs.len().saturating_mul(ELEMENTS_PER_ENTRY));
        results.push(result);
    }
    Ok(DescribeConfigsResponse {
        results,
        ..Default::default()
    })
}

/// The same without repetitions: a few bytes ask for hundreds of settings, so nothing is described twice in one answer.
fn each_once(
    mut resources: Vec<DescribeConfigsRequestResource>,
) -> Vec<DescribeConfigsRequestResource> {
    let mut seen = BTreeSet::new();
    resources.retain(|asked| seen.insert(identity(asked)));
    resources
}

/// What is asked for, however it is spelled: `7`, `07` and `+7` are one broker.
fn identity(asked: &DescribeConfigsRequestResource) -> (i8, Str, Option<Vec<Str>>) {
    let name = match asked.resource_type {
        kind::BROKER | kind::BROKER_LOGGER => asked.resource_name.parse::<i32>().map_or_else(
            |_| asked.resource_name.clone(),
            |number| number.to_string().into(),
        ),
        _ => asked.resource_name.clone(),
    };
    (asked.resource_type, name, asked.configuration_keys.clone())
}

/// About the bytes of a description.
fn weight(result: &DescribeConfigsResponseResource) -> usize {
    let text = |text: &Option<Str>| text.as_ref().map_or(0, |text| text.len());
    let settings = result.configs.iter().map(|entry| {
        let synonyms = entry.synonyms.iter();
        let synonyms: usize = synonyms
            .map(|synonym| synonym.name.len() + text(&synonym.value) + ENTRY_BYTES)
            .sum();
        entry.name.len() + text(&entry.value) + text(&entry.documentation) + synonyms + ENTRY_BYTES
    });
    settings.sum()
}

fn refused(
    asked: DescribeConfigsRequestResource,
    denied: Denied,
) -> DescribeConfigsResponseResource {
    DescribeConfigsResponseResource {
        error_code: denied.code,
        // Kafka says nothing with an empty text here, and not with null.
        error_message: Some(denied.message.unwrap_or_default()),
        resource_type: asked.resource_type,
        resource_name: asked.resource_name,
        ..Default::default()
    }
}

/// What there is to show, and how much of it is asked for.
struct Shown<'a> {
    image: &'a MetadataImage,
    view: &'a ConfigView,
    node: BrokerId,
    synonyms: bool,
    documentation: bool,
}

impl Shown<'_> {
    fn resource(&self, asked: DescribeConfigsRequestResource) -> DescribeConfigsResponseResource {
        let keys_asked = asked.configuration_keys.as_ref().map_or(0, Vec::len);
        if let Err(denied) = check_count(keys_asked) {
            return refused(asked, denied);
        }
        // Null and empty both ask for everything.
        let keys = asked.configuration_keys.iter().flatten();
        let names: BTreeSet<String> = keys.map(ToString::to_string).collect();
        match self.configs(asked.resource_type, &asked.resource_name, &names) {
            Ok(configs) => DescribeConfigsResponseResource {
                configs,
                ..refused(asked, Denied::silent(ErrorCode::None))
            },
            Err(denied) => refused(asked, denied),
        }
    }

    fn configs(
        &self,
        kind: i8,
        name: &str,
        names: &BTreeSet<String>,
    ) -> Result<Vec<DescribeConfigsEntry>, Denied> {
        let invalid = |text: &str| Err(Denied::new(ErrorCode::InvalidRequest, text));
        let entries = match kind {
            kind::TOPIC => {
                let name: TopicName = name.parse().map_err(|error| Denied::of(&error))?;
                let topic = self.image.topic(&name);
                let topic = topic.ok_or(Denied::silent(ErrorCode::UnknownTopicOrPartition))?;
                self.view.describe_topic(&topic.overrides, names)
            }
            kind::BROKER if name.is_empty() => self.view.describe_cluster(names),
            kind::BROKER => {
                self.check_number(name, "expected {} or empty string, but received {}")?;
                self.view.describe_broker(names)
            }
            kind::BROKER_LOGGER if name.is_empty() => {
                return invalid("Broker id must not be empty");
            }
            kind::BROKER_LOGGER => {
                self.check_number(name, "expected {} but received {}")?;
                return Ok(loggers(names));
            }
            kind::CLIENT_METRICS if name.is_empty() => {
                return invalid("Client metrics subscription name must not be empty");
            }
            kind::CLIENT_METRICS => return invalid("Client metrics are not supported."),
            kind::GROUP if name.is_empty() => return invalid("Group name must not be empty"),
            kind::GROUP => self
                .view
                .describe_group(self.image.group_overrides(name), names),
            _ => return Err(Denied::plain(ErrorCode::InvalidRequest)),
        };
        Ok(entries.into_iter().map(|entry| self.entry(entry)).collect())
    }

    /// Refuses what is not this broker's number; `rule` has a place for the right one and one for the one received.
    fn check_number(&self, name: &str, rule: &str) -> Result<(), Denied> {
        let text = match name.parse() {
            Ok(number) if BrokerId(number) == self.node => return Ok(()),
            Ok(number) => {
                let rule = rule.replacen("{}", &self.node.to_string(), 1);
                format!(
                    "Unexpected broker id, {}",
                    rule.replacen("{}", &number.to_string(), 1)
                )
            }
            Err(_) => format!("Broker id must be an integer, but it is: {name}"),
        };
        Err(Denied::new(ErrorCode::InvalidRequest, text))
    }

    fn entry(&self, entry: Entry) -> DescribeConfigsEntry {
        let synonyms = if self.synonyms {
            entry.synonyms
        } else {
            Vec::new()
        };
        let synonyms = synonyms.into_iter().map(|synonym| DescribeConfigsSynonym {
            name: Str::from(synonym.name),
            value: synonym.value.map(Str::from),
            source: synonym.source as i8,
        });
        DescribeConfigsEntry {
            name: Str::from(entry.name),
            value: entry.value.map(Str::from),
            read_only: entry.read_only,
            config_source: entry.source as i8,
            is_sensitive: entry.sensitive,
            synonyms: synonyms.collect(),
            config_type: entry.kind.map_or(0, type_number),
            documentation: self
                .documentation
                .then(|| Str::from_static(entry.documentation)),
        }
    }
}

/// The number of a type, as it travels; 0 stands for an unknown one.
const fn type_number(kind: Kind) -> i8 {
    match kind {
        Kind::Boolean => 1,
        Kind::String => 2,
        Kind::Int => 3,
        Kind::Short => 4,
        Kind::Long => 5,
        Kind::Double => 6,
        Kind::List => 7,
        Kind::Class => 8,
        Kind::Password => 9,
    }
}

/// The one logger, with the most talkative level that is let through. Kafka has one for each Java class.
fn loggers(names: &BTreeSet<String>) -> Vec<DescribeConfigsEntry> {
    if !names.is_empty() && !names.contains(ROOT_LOGGER) {
        return Vec::new();
    }
    vec![DescribeConfigsEntry {
        name: Str::from_static(ROOT_LOGGER),
        value: Some(Str::from(LevelFilter::current().to_string().to_uppercase())),
        read_only: true,
        config_source: SOURCE_BROKER_LOGGER,
        documentation: Some(Str::default()),
        ..Default::default()
    }]
}

const SOURCE_BROKER_LOGGER: i8 = 6;
/// Memory that a description may take when all is asked for, in elements of [`RequestContext::answers_many`].
pub(super) const ELEMENTS_EACH: usize = 16;
/// The description of a setting takes as long as so many elements of a [`Pace`].
pub(super) const ELEMENTS_PER_ENTRY: usize = 4;
/// What one answer may take; ten thousand topics without documentation are a quarter of it. More is refused, resource by resource.
const ANSWER_BYTES_MAX: usize = 128 * 1024 * 1024;
const TOO_MUCH: &str = "The answer is too large; describe fewer resources at a time.";
/// What an entry takes beside its texts, in memory.
const ENTRY_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use millrace_wire::Message;

    use super::super::test_image::image_with;
    use super::*;
    use crate::config::{Sources, load};

    fn describe(kind: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsResponseResource {
        let overrides = vec!["log.retention.hours=5".to_owned()];
        let view = load(&Sources {
            overrides,
            ..Sources::default()
        })
        .unwrap()
        .view;
        let image = image_with(&[("t", 1)]);
        let shown = Shown {
            image: &image,
            view: &view,
            node: BrokerId(1),
            synonyms: true,
            documentation: true,
        };
        shown.resource(DescribeConfigsRequestResource {
            resource_type: kind,
            resource_name: name.into(),
            configuration_keys: keys.map(|keys| keys.iter().map(|&key| key.into()).collect()),
        })
    }

    #[test]
    fn null_and_empty_keys_ask_for_everything() {
        for keys in [None, Some(&[][..])] {
            assert_eq!(describe(2, "t", keys).configs.len(), 34);
            assert!(describe(4, "1", keys).configs.len() >= 340);
            assert_eq!(describe(32, "g", keys).configs.len(), 17);
            assert_eq!(describe(4, "", keys).configs.len(), 0);
        }
        assert_eq!(
            describe(2, "t", Some(&["retention.ms", "nokey"]))
                .configs
                .len(),
            1
        );
    }

    #[test]
    fn an_entry_tells_its_type_its_source_and_the_chain_behind_it() {
        let answer = describe(2, "t", Some(&["retention.ms"]));
        assert_eq!(
            (answer.error_code, answer.error_message.as_deref()),
            (ErrorCode::None, Some(""))
        );
        let retention = &answer.configs[0];
        assert_eq!(retention.value.as_deref(), Some("18000000"));
        assert_eq!((retention.config_type, retention.config_source), (5, 4));
        assert_eq!(&*retention.synonyms[0].name, "log.retention.hours");
        assert!(
            retention
                .documentation
                .as_deref()
                .is_some_and(|text| !text.is_empty())
        );
    }

    #[test]
    fn refusals_are_worded_as_kafka_words_them() {
        // Measured at Kafka 4.3.1.
        let malformed = ErrorCode::InvalidRequest.message();
        let cases = [
            (2, "nope", ErrorCode::UnknownTopicOrPartition, ""),
            (
                2,
                "",
                ErrorCode::InvalidTopicException,
                "Topic name is invalid: the empty string is not allowed",
            ),
            (
                4,
                "77",
                ErrorCode::InvalidRequest,
                "Unexpected broker id, expected 1 or empty string, but received 77",
            ),
            (
                4,
                "abc",
                ErrorCode::InvalidRequest,
                "Broker id must be an integer, but it is: abc",
            ),
            (
                8,
                "",
                ErrorCode::InvalidRequest,
                "Broker id must not be empty",
            ),
            (
                8,
                "77",
                ErrorCode::InvalidRequest,
                "Unexpected broker id, expected 1 but received 77",
            ),
            (
                16,
                "",
                ErrorCode::InvalidRequest,
                "Client metrics subscription name must not be empty",
            ),
            (
                32,
                "",
                ErrorCode::InvalidRequest,
                "Group name must not be empty",
            ),
            (99, "x", ErrorCode::InvalidRequest, malformed),
        ];
        for (kind, name, code, text) in cases {
            let answer = describe(kind, name, None);
            let found = (
                answer.error_code,
                answer.error_message.as_deref(),
                answer.configs.len(),
            );
            assert_eq!(found, (code, Some(text), 0), "{kind} {name}");
        }
    }

    #[test]
    fn the_root_logger_is_the_only_one() {
        let answer = describe(8, "1", Some(&["root", "nope"]));
        assert_eq!(answer.configs.len(), 1);
        assert_eq!(describe(8, "1", Some(&["nope"])).configs.len(), 0);
        let response = DescribeConfigsResponse {
            results: vec![answer],
            ..Default::default()
        };
        assert!((1..=4).all(|version| response.to_bytes(version).is_ok()));
    }
}
