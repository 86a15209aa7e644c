//! Changing configurations: what the two APIs for it make of a resource and its changes.
//!
//! Topics are checked by the controller, which owns their state; brokers and groups here, against the tables of
//! properties. Sentences and codes are Kafka's.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::Arc;

use millrace_engine::config::{AlterError, Alteration, Operation, Overrides};
use millrace_engine::metadata::{
    AlterConfigs, AlterResource, Command, ConfigResource, Edit, MetadataImage, Reply,
};
use millrace_engine::shard::Stopped;
use millrace_engine::types::{BrokerId, TopicName};
use millrace_wire::{ErrorCode, Str};

use super::admin::{Denied, propose};
use super::context::RequestContext;
use super::error::ToErrorCode;
use crate::config::{BrokerResource, ConfigView};
use crate::net::Pace;

/// The kinds of resources, as they travel.
pub(super) mod kind {
    pub(in crate::api) const TOPIC: i8 = 2;
    pub(in crate::api) const BROKER: i8 = 4;
    pub(in crate::api) const BROKER_LOGGER: i8 = 8;
    pub(in crate::api) const CLIENT_METRICS: i8 = 16;
    pub(in crate::api) const GROUP: i8 = 32;
}

/// Refuses to go over more settings of one resource than there could be.
pub(super) fn check_count(settings: usize) -> Result<(), Denied> {
    if settings <= SETTINGS_MAX {
        return Ok(());
    }
    let text = format!("A resource may name {SETTINGS_MAX} settings at a time, not {settings}.");
    Err(Denied::new(ErrorCode::InvalidRequest, text))
}

/// Many times as many as any resource has.
const SETTINGS_MAX: usize = 2_000;

/// The changes to one resource, as a client asks for them.
#[derive(Clone, Debug)]
pub(super) struct Change {
    /// One of [`kind`], or nothing that is known.
    pub(super) kind: i8,
    /// Which one of that kind.
    pub(super) name: Str,
    /// What to change, unless the request itself is wrong.
    pub(super) alterations: Result<Vec<Alteration>, Denied>,
    /// Whatever is not named goes back to its default (AlterConfigs).
    pub(super) replace: bool,
}

/// Makes the changes that each of `resources` asks for, and answers each with what came of it, in their order.
///
/// # Errors
/// The broker is stopping.
pub(super) async fn alter<R: Send + 'static, A: Send + 'static>(
    context: &RequestContext,
    resources: Vec<R>,
    change: fn(&R) -> Change,
    answer: fn(R, Result<(), Denied>) -> A,
    validate_only: bool,
) -> Result<Vec<A>, Stopped> {
    let changes = move |resources: Vec<R>| {
        let changes = resources.iter().map(change).collect();
        (resources, changes)
    };
    let (resources, changes) = context.in_peace(resources, changes).await?;
    let results = make(context, changes, validate_only).await?;
    let answers = move |(resources, results): (Vec<R>, Vec<_>)| {
        let resources = resources.into_iter().zip(results);
        resources
            .map(|(asked, result)| answer(asked, result))
            .collect()
    };
    context.in_peace((resources, results), answers).await
}

/// Makes the changes, resource by resource; as many results as `changes`, in their order.
async fn make(
    context: &RequestContext,
    changes: Vec<Change>,
    validate_only: bool,
) -> Result<Vec<Result<(), Denied>>, Stopped> {
    let settings = context.settings();
    let surroundings = Surroundings {
        image: &context.image(),
        view: &settings.view,
        node: context.node_id(),
    };
    let (changes, twice) = context.in_peace(changes, named_twice).await?;
    let pace = Pace::of_elements();
    let mut checked = Vec::with_capacity(changes.len());
    let mut resources = Vec::new();
    for change in &changes {
        let alterations = change.alterations.as_ref().map_or(0, Vec::len);
        pace.after(1 + alterations).await;
        checked.push(surroundings.check(change, &twice).map(|resource| {
            let is_proposed = resource.is_some();
            resources.extend(resource);
            is_proposed
        }));
    }
    context.in_peace((changes, twice), drop).await?;
    if resources.is_empty() {
        return context
            .in_peace(checked, |checked| {
                let checked = checked.into_iter();
                checked.map(|result| result.map(drop)).collect()
            })
            .await;
    }
    let command = Command::AlterConfigs(AlterConfigs {
        resources,
        topic_defaults: Arc::new(settings.config.topic_defaults.clone()),
        validate_only,
    });
    // These requests carry no time of their own.
    let results = match propose(context, command, 0).await? {
        Ok(Reply::AlterConfigs(results)) => Ok(results),
        // Another question was answered: what became of this one is unknown.
        Ok(_) => return Err(Stopped),
        Err(denied) => Err(denied),
    };
    let outcomes = |(checked, results)| outcomes(checked, results);
    context.in_peace((checked, results), outcomes).await
}

/// The resources that stand among the changes more than once.
fn named_twice(changes: Vec<Change>) -> (Vec<Change>, BTreeSet<(i8, Str)>) {
    let mut seen = BTreeSet::new();
    let keys = changes.iter().map(|change| (change.kind, &change.name));
    let twice = keys.filter(|&key| !seen.insert(key));
    let twice = twice.map(|(kind, name)| (kind, name.clone())).collect();
    (changes, twice)
}

/// What became of each change: it was refused, had nothing to propose, or has the next of the results.
fn outcomes<E: ToErrorCode + Display>(
    checked: Vec<Result<bool, Denied>>,
    results: Result<Vec<Result<(), E>>, Denied>,
) -> Vec<Result<(), Denied>> {
    let (mut results, denied) = match results {
        Ok(results) => (results.into_iter(), None),
        Err(denied) => (Vec::new().into_iter(), Some(denied)),
    };
    let mut outcome = |is_proposed| match (&denied, is_proposed) {
        (Some(denied), _) => Err(denied.clone()),
        (None, false) => Ok(()),
        (None, true) => match results.next() {
            Some(result) => result.map_err(|error| Denied::of(&error)),
            None => Err(Denied::plain(ErrorCode::UnknownServerError)),
        },
    };
    checked
        .into_iter()
        .map(|result| result.and_then(&mut outcome))
        .collect()
}

/// What changes are judged by.
struct Surroundings<'a> {
    image: &'a MetadataImage,
    view: &'a ConfigView,
    node: BrokerId,
}

impl Surroundings<'_> {
    /// What to propose (`None`: nothing), or why not.
    fn check(
        &self,
        change: &Change,
        twice: &BTreeSet<(i8, Str)>,
    ) -> Result<Option<AlterResource>, Denied> {
        let invalid = |text: String| Err(Denied::new(ErrorCode::InvalidRequest, text));
        if !twice.is_empty() && twice.contains(&(change.kind, change.name.clone())) {
            return invalid("Each resource must appear at most once.".to_owned());
        }
        let alterations = change.alterations.as_deref().map_err(Denied::clone)?;
        match change.kind {
            kind::TOPIC => self.topic(change, alterations).map(Some),
            kind::BROKER => self.broker(change, alterations).map(Some),
            // Its levels are set at start; AlterConfigs does not know the kind at all.
            kind::BROKER_LOGGER if !change.replace => {
                self.logger(change, alterations).map(|()| None)
            }
            kind::CLIENT_METRICS => invalid("Client metrics are not supported.".to_owned()),
            kind::GROUP => self.group(change, alterations).map(Some),
            unknown => invalid(format!("Unknown resource type {unknown}")),
        }
    }

    fn topic(&self, change: &Change, alterations: &[Alteration]) -> Result<AlterResource, Denied> {
        if change.name.is_empty() {
            let text = "Default topic resources are not allowed.";
            return Err(Denied::new(ErrorCode::InvalidRequest, text));
        }
        let name: TopicName = change.name.parse().map_err(|error| Denied::of(&error))?;
        if self.image.topic(&name).is_none() {
            let text = format!("The topic '{name}' does not exist.");
            return Err(Denied::new(ErrorCode::UnknownTopicOrPartition, text));
        }
        Ok(AlterResource::Topic {
            name: change.name.to_string(),
            alterations: alterations.to_vec(),
            replace: change.replace,
        })
    }

    fn broker(&self, change: &Change, alterations: &[Alteration]) -> Result<AlterResource, Denied> {
        let (sort, resource) = if change.name.is_empty() {
            (
                BrokerResource::ClusterDefault,
                ConfigResource::ClusterDefault,
            )
        } else {
            let expected = self.node;
            let number = node_number(&change.name)?;
            if number != expected {
                let text =
                    format!("Unexpected broker id, expected {expected}, but received {number}");
                return Err(Denied::new(ErrorCode::InvalidRequest, text));
            }
            (BrokerResource::One, ConfigResource::Broker(expected))
        };
        let current = self.image.overrides_of(&resource);
        let none = Overrides::new();
        let from = if change.replace { &none } else { current };
        let next = self.view.alter_broker(sort, from, alterations);
        let next = next.map_err(|error| broker_denied(&error))?;
        let default = |name: &str| self.view.broker_list_default(name);
        Ok(checked(
            resource,
            alterations,
            next,
            change.replace,
            default,
        ))
    }

    fn group(&self, change: &Change, alterations: &[Alteration]) -> Result<AlterResource, Denied> {
        if change.name.is_empty() {
            let text = "Default group resources are not allowed.";
            return Err(Denied::new(ErrorCode::InvalidRequest, text));
        }
        let resource = ConfigResource::Group(Arc::from(&*change.name));
        let current = self.image.overrides_of(&resource);
        let none = Overrides::new();
        let from = if change.replace { &none } else { current };
        let next = self.view.alter_group(from, alterations);
        let next = next.map_err(|error| Denied::of(&error))?;
        let default = |name: &str| self.view.group_list_default(name);
        Ok(checked(
            resource,
            alterations,
            next,
            change.replace,
            default,
        ))
    }

    fn logger(&self, change: &Change, alterations: &[Alteration]) -> Result<(), Denied> {
        let expected = self.node;
        let number = node_number(&change.name)?;
        if number != expected {
            let text = format!("Unexpected node id. Expected {expected}, but received {number}");
            return Err(Denied::new(ErrorCode::InvalidRequest, text));
        }
        match alterations.first() {
            None => Ok(()),
            Some(alteration) => Err(logger_denied(alteration)),
        }
    }
}

fn node_number(name: &str) -> Result<BrokerId, Denied> {
    name.parse().map(BrokerId).map_err(|_| {
        let text = format!("Node id must be an integer, but it is: {name}");
        Denied::new(ErrorCode::InvalidRequest, text)
    })
}

/// What becomes of each override of `resource`: with `replace` exactly `next`, else what `alterations` say. Additions to
/// lists are left to the controller, so that one made meanwhile by somebody else stays; `default` is the list that holds
/// where none is set.
fn checked(
    resource: ConfigResource,
    alterations: &[Alteration],
    next: Overrides,
    replace: bool,
    default: impl Fn(&str) -> String,
) -> AlterResource {
    let edit = |wish: &Alteration| {
        let given = wish.value.as_deref().unwrap_or_default().trim().to_owned();
        let edit = match wish.operation {
            Operation::Set => Edit::Set(given),
            Operation::Delete => Edit::Reset,
            Operation::Append => Edit::Append {
                elements: given,
                default: default(&wish.name),
            },
            Operation::Subtract => Edit::Subtract {
                elements: given,
                default: default(&wish.name),
            },
        };
        (wish.name.clone(), edit)
    };
    let changes = if replace {
        let all = next.into_iter();
        all.map(|(name, value)| (name, Edit::Set(value))).collect()
    } else {
        alterations.iter().map(edit).collect()
    };
    AlterResource::Checked {
        resource,
        changes,
        replace,
    }
}

/// Kafka words and numbers some refusals differently for brokers.
fn broker_denied(error: &AlterError) -> Denied {
    match error {
        AlterError::Value(_) => Denied::new(ErrorCode::InvalidRequest, error.to_string()),
        AlterError::NotAList { operation, name } => Denied::new(
            ErrorCode::InvalidConfig,
            format!(
                "Config value {} is not allowed for config key: {name}",
                operation.to_lowercase()
            ),
        ),
        AlterError::Unknown { name, .. } => Denied::new(
            ErrorCode::InvalidConfig,
            format!("Unknown config name: {name}"),
        ),
        error => Denied::new(error.error_code(), error.to_string()),
    }
}

/// Every change of a logger is refused: the level is chosen at start.
fn logger_denied(alteration: &Alteration) -> Denied {
    let Alteration {
        name,
        operation,
        value,
    } = alteration;
    let value = value.as_deref().unwrap_or_default();
    let (code, text) = match operation {
        Operation::Append => (
            ErrorCode::InvalidRequest,
            "APPEND operation is not allowed for the BROKER_LOGGER resource".to_owned(),
        ),
        Operation::Subtract => (
            ErrorCode::InvalidRequest,
            "SUBTRACT operation is not allowed for the BROKER_LOGGER resource".to_owned(),
        ),
        _ if name != ROOT_LOGGER => (
            ErrorCode::InvalidConfig,
            format!("Logger {name} does not exist!"),
        ),
        Operation::Delete => (
            ErrorCode::InvalidRequest,
            "Removing the log level of the root logger is not allowed".to_owned(),
        ),
        Operation::Set if !LOG_LEVELS.contains(&value) => (
            ErrorCode::InvalidConfig,
            format!(
                "Cannot set the log level of {name} to {value} as it is not a supported log level. Valid log levels \
                 are {}",
                LOG_LEVELS.join(", ")
            ),
        ),
        Operation::Set => (
            ErrorCode::InvalidRequest,
            format!("Cannot update these configs dynamically: [{name}]"),
        ),
    };
    Denied::new(code, text)
}

/// The one logger there is.
pub(super) const ROOT_LOGGER: &str = "root";

const LOG_LEVELS: &[&str] = &["DEBUG", "ERROR", "FATAL", "INFO", "TRACE", "WARN"];

#[cfg(test)]
mod tests {
    use super::super::test_image::image_with;
    use super::*;
    use crate::config::{Sources, load};

    fn change(kind: i8, name: &str, alterations: &[Alteration]) -> Change {
        let alterations = Ok(alterations.to_vec());
        Change {
            kind,
            name: name.into(),
            alterations,
            replace: false,
        }
    }

    #[test]
    fn a_resource_names_so_many_settings_at_a_time() {
        assert_eq!(check_count(2_000), Ok(()));
        let code = check_count(2_001).map_err(|denied| denied.code);
        assert_eq!(code, Err(ErrorCode::InvalidRequest));
    }

    fn check_all(changes: &[Change]) -> Vec<Result<Option<AlterResource>, Denied>> {
        let view = load(&Sources::default()).unwrap().view;
        let image = image_with(&[("t", 1)]);
        let surroundings = Surroundings {
            image: &image,
            view: &view,
            node: BrokerId(1),
        };
        let (changes, twice) = named_twice(changes.to_vec());
        let checked = changes.iter();
        checked
            .map(|change| surroundings.check(change, &twice))
            .collect()
    }

    fn denied(change: Change) -> (ErrorCode, String) {
        let denied = check_all(&[change]).remove(0).unwrap_err();
        (denied.code, denied.message.unwrap().to_string())
    }

    fn set(name: &str, value: &str) -> [Alteration; 1] {
        [Alteration::set(name, value)]
    }

    #[test]
    fn refusals_are_worded_as_kafka_words_them() {
        // Measured at Kafka 4.3.1.
        let flush = set("flush.ms", "1");
        let threads = set("log.cleaner.threads", "1");
        let append = [Alteration {
            operation: Operation::Append,
            ..set("log.cleaner.threads", "1")[0].clone()
        }];
        let cases = [
            (
                2,
                "",
                &flush,
                ErrorCode::InvalidRequest,
                "Default topic resources are not allowed.",
            ),
            (
                2,
                "nope",
                &flush,
                ErrorCode::UnknownTopicOrPartition,
                "The topic 'nope' does not exist.",
            ),
            (
                4,
                "77",
                &threads,
                ErrorCode::InvalidRequest,
                "Unexpected broker id, expected 1, but received 77",
            ),
            (
                4,
                "abc",
                &threads,
                ErrorCode::InvalidRequest,
                "Node id must be an integer, but it is: abc",
            ),
            (
                4,
                "1",
                &set("log.dirs", "/x"),
                ErrorCode::InvalidRequest,
                "Cannot update these configs dynamically: [log.dirs]",
            ),
            (
                4,
                "",
                &set("cordoned.log.dirs", "/x"),
                ErrorCode::InvalidRequest,
                "Cannot update these configs at default cluster level, broker id must be specified: [cordoned.log.dirs]",
            ),
            (
                4,
                "1",
                &append,
                ErrorCode::InvalidConfig,
                "Config value append is not allowed for config key: log.cleaner.threads",
            ),
            (
                8,
                "77",
                &set("root", "INFO"),
                ErrorCode::InvalidRequest,
                "Unexpected node id. Expected 1, but received 77",
            ),
            (
                8,
                "1",
                &set("nope", "INFO"),
                ErrorCode::InvalidConfig,
                "Logger nope does not exist!",
            ),
            (
                32,
                "",
                &flush,
                ErrorCode::InvalidRequest,
                "Default group resources are not allowed.",
            ),
            (
                32,
                "g",
                &set("nokey", "1"),
                ErrorCode::InvalidConfig,
                "Unknown group config name: nokey",
            ),
            (
                99,
                "x",
                &flush,
                ErrorCode::InvalidRequest,
                "Unknown resource type 99",
            ),
        ];
        for (kind, name, alterations, code, text) in cases {
            let found = denied(change(kind, name, alterations));
            assert_eq!(found, (code, text.to_owned()));
        }
        let (code, _) = denied(change(2, "b ad", &flush));
        assert_eq!(code, ErrorCode::InvalidTopicException);
        let (code, _) = denied(change(4, "1", &set("log.cleaner.threads", "abc")));
        assert_eq!(code, ErrorCode::InvalidRequest);
    }

    #[test]
    fn a_resource_named_twice_is_not_changed_and_others_are() {
        let flush = set("flush.ms", "1");
        let twice = change(2, "t", &flush);
        let checked = check_all(&[twice.clone(), change(4, "", &[]), twice]);
        let text = "Each resource must appear at most once.";
        let denied = Err(Denied::new(ErrorCode::InvalidRequest, text));
        assert_eq!((&checked[0], &checked[2]), (&denied, &denied));
        assert!(checked[1].is_ok());
    }

    #[test]
    fn an_unknown_key_of_a_broker_is_kept_and_is_no_list_to_add_to() {
        let wish = set("nokey", "1");
        assert!(check_all(&[change(4, "1", &wish)])[0].is_ok());
        for operation in [Operation::Append, Operation::Subtract] {
            let [wish] = wish.clone();
            let refused = denied(change(4, "1", &[Alteration { operation, ..wish }]));
            let text = "Unknown config name: nokey".to_owned();
            assert_eq!(refused, (ErrorCode::InvalidConfig, text));
        }
    }

    #[test]
    fn a_read_only_key_may_be_reset() {
        let reset = Alteration {
            operation: Operation::Delete,
            ..set("log.dirs", "")[0].clone()
        };
        assert!(check_all(&[change(4, "1", &[reset])])[0].is_ok());
    }

    #[test]
    fn only_what_was_asked_for_is_proposed_and_lists_are_added_to_where_they_are() {
        let wish = |operation, name: &str, value: &str| Alteration {
            operation,
            ..Alteration::set(name, value)
        };
        let alterations = [
            wish(Operation::Set, "max.connections", " 7 "),
            wish(Operation::Append, "log.cleanup.policy", "compact"),
            wish(Operation::Delete, "log.retention.ms", ""),
        ];
        let proposed = check_all(&[change(4, "", &alterations)]).remove(0);
        let Ok(Some(AlterResource::Checked {
            changes, replace, ..
        })) = proposed
        else {
            panic!("{proposed:?}")
        };
        assert!(!replace);
        let append = Edit::Append {
            elements: "compact".to_owned(),
            default: "delete".to_owned(),
        };
        let expected = [
            ("log.cleanup.policy".to_owned(), append),
            ("log.retention.ms".to_owned(), Edit::Reset),
            ("max.connections".to_owned(), Edit::Set("7".to_owned())),
        ];
        assert_eq!(changes.into_iter().collect::<Vec<_>>(), expected);

        let all = Change {
            replace: true,
            ..change(4, "", &set("max.connections", "7"))
        };
        let proposed = check_all(&[all]).remove(0);
        assert!(
            matches!(&proposed, Ok(Some(AlterResource::Checked { replace: true, changes, .. })) if changes.len() == 1),
            "{proposed:?}"
        );
    }
}
