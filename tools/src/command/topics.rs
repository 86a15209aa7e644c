//! `kafka-topics`: creates, lists, describes, grows and deletes topics.
//!
//! What a description looks like is in `describe`; which topic names and values are good is for the broker to say.

mod describe;

use std::io::Write;

use clap::Args;
use millrace_wire::message::create_partitions::{
    CreatePartitionsAssignment, CreatePartitionsRequest, CreatePartitionsRequestTopic,
};
use millrace_wire::message::create_topics::{
    CreateTopicsAssignment, CreateTopicsRequest, CreateTopicsRequestConfig,
    CreateTopicsRequestTopic,
};
use millrace_wire::message::delete_topics::{DeleteTopicsRequest, DeleteTopicsRequestTopic};
use millrace_wire::{ErrorCode, Str};

use super::Failure;
use crate::admin::{Admin, AdminError, Target};
use crate::flags::{Connect, TopicFilter, missing, parts, refuse_together, refuse_zookeeper};
use crate::print::{self, joined};

/// Creates, lists, describes, changes and deletes topics
#[derive(Args, Debug, Default)]
pub(crate) struct Flags {
    #[command(flatten)]
    connect: Connect,
    /// List all topics
    #[arg(long)]
    list: bool,
    /// Create a topic
    #[arg(long)]
    create: bool,
    /// Delete topics
    #[arg(long)]
    delete: bool,
    /// Change the number of partitions
    #[arg(long)]
    alter: bool,
    /// Show topics and their partitions
    #[arg(long)]
    describe: bool,
    /// The topic; but for --create a regular expression
    #[arg(long)]
    topic: Option<String>,
    /// The id of the topic to describe
    #[arg(long, allow_hyphen_values = true)]
    topic_id: Option<String>,
    /// A property of the new topic, as name=value; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    config: Vec<String>,
    /// How many partitions the topic is to have
    #[arg(long, value_name = "COUNT", allow_hyphen_values = true)]
    partitions: Option<i32>,
    /// How many replicas each partition of the new topic is to have
    #[arg(long, value_name = "COUNT", allow_hyphen_values = true)]
    replication_factor: Option<i32>,
    /// Brokers of each partition: b1:b2 for the first, then a comma, b1:b2 for the second, ...
    #[arg(long, value_name = "LIST")]
    replica_assignment: Option<String>,
    /// With --describe: only partitions with replicas that are not in sync
    #[arg(long)]
    under_replicated_partitions: bool,
    /// With --describe: only partitions whose leader is not available
    #[arg(long)]
    unavailable_partitions: bool,
    /// With --describe: only partitions with fewer in-sync replicas than min.insync.replicas
    #[arg(long)]
    under_min_isr_partitions: bool,
    /// With --describe: only partitions with just as many in-sync replicas as min.insync.replicas
    #[arg(long)]
    at_min_isr_partitions: bool,
    /// With --describe: only topics with properties of their own
    #[arg(long)]
    topics_with_overrides: bool,
    /// With --alter, --delete, --describe: a topic that does not exist is no error
    #[arg(long)]
    if_exists: bool,
    /// With --create: a topic that exists is no error
    #[arg(long)]
    if_not_exists: bool,
    /// With --list, --describe: leave out internal topics
    #[arg(long)]
    exclude_internal: bool,
    /// With --describe: how many partitions to ask for at a time
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 2000,
        hide_default_value = true
    )]
    partition_size_limit_per_response: i32,
    /// Without effect: nothing is asked back
    #[arg(long, hide = true)]
    force: bool,
    /// Without effect, as in Kafka since 4.0
    #[arg(long, value_name = "NAME", hide = true)]
    delete_config: Vec<String>,
    /// Gone with ZooKeeper
    #[arg(long, hide = true)]
    zookeeper: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(flags: Flags, out: &mut dyn Write) -> Result<(), Failure> {
    flags.check()?;
    let mut admin = flags.connect.admin()?;
    let result = if flags.create {
        create(&flags, &mut admin, out).await
    } else if flags.alter {
        alter(&flags, &mut admin).await
    } else if flags.list {
        list(&flags, &mut admin, out).await
    } else if flags.describe {
        describe::run(&flags, &mut admin, out).await
    } else {
        delete(&flags, &mut admin).await
    };
    match result {
        Err(failure @ (Failure::Text(_) | Failure::Admin(_))) => {
            // Kafka's tool says it on the standard output.
            writeln!(out, "Error while executing topic command : {failure}")?;
            Err(Failure::Reported)
        }
        result => result,
    }
}

impl Flags {
    fn check(&self) -> Result<(), Failure> {
        refuse_zookeeper(self.zookeeper.as_deref())?;
        let actions = [
            self.create,
            self.list,
            self.alter,
            self.describe,
            self.delete,
        ];
        if actions.iter().filter(|given| **given).count() != 1 {
            let text = "Command must include exactly one action: --list, --describe, --create, --alter or --delete";
            return Err(Failure::Usage(text.to_owned()));
        }
        if !self.delete_config.is_empty() {
            eprintln!(
                "delete-config option is no longer supported and deprecated since version 4.0. The config will be fully removed in future releases."
            );
        }
        if self.connect.bootstrap_server.is_none() {
            return Err(Failure::Usage(
                "--bootstrap-server must be specified".to_owned(),
            ));
        }
        if self.describe && self.if_exists && self.topic.is_none() && self.topic_id.is_none() {
            let text = "--topic or --topic-id is required to describe a topic";
            return Err(Failure::Usage(text.to_owned()));
        }
        if !self.list && !self.describe && self.topic.is_none() {
            return Err(missing("topic"));
        }
        if self.alter && !self.config.is_empty() {
            let text = "Option combination \"[[bootstrap-server], [config]]\" can't be used with option \"[alter]\" (To alter topic configurations, the kafka-configs tool can be used.)";
            return Err(Failure::Usage(text.to_owned()));
        }
        if self.alter && self.partitions.is_none() {
            return Err(missing("partitions"));
        }
        self.check_together()
    }

    fn check_together(&self) -> Result<(), Failure> {
        let create = ("create", self.create);
        let list = ("list", self.list);
        let alter = ("alter", self.alter);
        let describe = ("describe", self.describe);
        let delete = ("delete", self.delete);
        let assigned = self.replica_assignment.is_some();
        let no_create = [list, alter, describe, delete];
        let no_describe = [create, list, alter, delete];
        refuse_together(("config", !self.config.is_empty()), &no_create)?;
        refuse_together(
            ("partitions", self.partitions.is_some()),
            &[list, describe, delete],
        )?;
        refuse_together(
            ("replication-factor", self.replication_factor.is_some()),
            &no_create,
        )?;
        refuse_together(("replica-assignment", assigned), &[list, describe, delete])?;
        if self.create {
            let counts = [
                ("partitions", self.partitions.is_some()),
                ("replication-factor", self.replication_factor.is_some()),
            ];
            refuse_together(("replica-assignment", assigned), &counts)?;
        }
        let overrides = ("topics-with-overrides", self.topics_with_overrides);
        let reports = [
            (
                "under-replicated-partitions",
                self.under_replicated_partitions,
            ),
            ("under-min-isr-partitions", self.under_min_isr_partitions),
            ("at-min-isr-partitions", self.at_min_isr_partitions),
            ("unavailable-partitions", self.unavailable_partitions),
        ];
        for report in reports {
            refuse_together(report, &no_describe)?;
            refuse_together(report, &[overrides])?;
        }
        refuse_together(overrides, &no_describe)?;
        refuse_together(("topic-id", self.topic_id.is_some()), &no_describe)?;
        refuse_together(("if-exists", self.if_exists), &[create, list])?;
        refuse_together(("if-not-exists", self.if_not_exists), &no_create)?;
        refuse_together(
            ("exclude-internal", self.exclude_internal),
            &[create, alter, delete],
        )
    }
}

async fn create(flags: &Flags, admin: &mut Admin, out: &mut dyn Write) -> Result<(), Failure> {
    let name = flags.topic.clone().unwrap_or_default();
    let configs = parse_configs(&flags.config)?;
    let assignments = parse_assignment(flags.replica_assignment.as_deref())?;
    if name.contains(['.', '_']) {
        writeln!(
            out,
            "WARNING: Due to limitations in metric names, topics with a period ('.') or underscore ('_') could collide. To avoid issues it is best to use either, but not both."
        )?;
    }
    let replication_factor = match flags.replication_factor.map(i16::try_from) {
        None => -1,
        Some(Ok(factor)) if factor >= 1 => factor,
        Some(_) => {
            let text = "The replication factor must be between 1 and 32767 inclusive";
            return Err(Failure::Text(text.to_owned()));
        }
    };
    if flags.partitions.is_some_and(|count| count < 1) {
        return Err(Failure::Text(
            "The partitions must be greater than 0".to_owned(),
        ));
    }
    let assignment = |(index, broker_ids)| CreateTopicsAssignment {
        partition_index: index,
        broker_ids,
    };
    let request = CreateTopicsRequest {
        topics: vec![CreateTopicsRequestTopic {
            name: Str::from(&name),
            num_partitions: flags.partitions.unwrap_or(-1),
            replication_factor,
            assignments: (0..).zip(assignments).map(assignment).collect(),
            configs,
        }],
        ..Default::default()
    };
    let response = admin.ask(Target::Controller, &request).await?;
    for topic in &response.topics {
        if topic.error_code == ErrorCode::TopicAlreadyExists && flags.if_not_exists {
            return Ok(());
        }
        AdminError::check(topic.error_code, topic.error_message.as_deref())?;
    }
    writeln!(out, "Created topic {name}.")?;
    Ok(())
}

async fn list(flags: &Flags, admin: &mut Admin, out: &mut dyn Write) -> Result<(), Failure> {
    let names = matching(flags, admin).await?;
    writeln!(out, "{}", joined(names, "\n"))?;
    Ok(())
}

async fn alter(flags: &Flags, admin: &mut Admin) -> Result<(), Failure> {
    let assignments = parse_assignment(flags.replica_assignment.as_deref())?;
    let names = existing(flags, admin).await?;
    if names.is_empty() {
        return Ok(());
    }
    let mut topics = Vec::new();
    for topic in admin.topics(Some(&names)).await? {
        // The assignment lists all partitions; only the new ones travel.
        let new = assignments.iter().skip(topic.partitions.len());
        let new = new.map(|brokers| CreatePartitionsAssignment {
            broker_ids: brokers.clone(),
        });
        topics.push(CreatePartitionsRequestTopic {
            name: topic.name.unwrap_or_default(),
            count: flags.partitions.unwrap_or(-1),
            assignments: (!assignments.is_empty()).then(|| new.collect()),
        });
    }
    let request = CreatePartitionsRequest {
        topics,
        timeout_ms: TIMEOUT_MS,
        validate_only: false,
    };
    let response = admin.ask(Target::Controller, &request).await?;
    for topic in &response.results {
        AdminError::check(topic.error_code, topic.error_message.as_deref())?;
    }
    Ok(())
}

async fn delete(flags: &Flags, admin: &mut Admin) -> Result<(), Failure> {
    let names = existing(flags, admin).await?;
    delete_named(&names, admin).await
}

/// Deletes all that can be; the first topic that cannot be says why it failed.
async fn delete_named(names: &[String], admin: &mut Admin) -> Result<(), Failure> {
    let mut deleted = Ok(());
    let length = u64::try_from(names.len()).unwrap_or(u64::MAX);
    let bar = print::progress(length, "deleting", print::Unit::Pieces);
    for chunk in names.chunks(DELETED_AT_ONCE) {
        let topic = |name: &String| DeleteTopicsRequestTopic {
            name: Some(Str::from(name)),
            ..Default::default()
        };
        let request = DeleteTopicsRequest {
            // Versions from 6 on have the first list, the others the second.
            topics: chunk.iter().map(topic).collect(),
            topic_names: chunk.iter().map(Str::from).collect(),
            timeout_ms: TIMEOUT_MS,
        };
        let response = admin.ask(Target::Controller, &request).await?;
        for topic in &response.responses {
            let message = topic.error_message.as_deref();
            deleted = deleted.and(AdminError::check(topic.error_code, message));
        }
        bar.inc(u64::try_from(chunk.len()).unwrap_or_default());
    }
    bar.finish_and_clear();
    deleted.map_err(Failure::Admin)
}

/// How long the broker may take.
const TIMEOUT_MS: i32 = 30_000;

/// Topics per request; a large cluster takes its time for each.
const DELETED_AT_ONCE: usize = 100;

/// The topics that the flags mean.
async fn matching(flags: &Flags, admin: &mut Admin) -> Result<Vec<String>, Failure> {
    let names = admin.topic_names(!flags.exclude_internal).await?;
    let Some(list) = &flags.topic else {
        return Ok(names);
    };
    let filter = TopicFilter::parse(list)?;
    Ok(names
        .into_iter()
        .filter(|name| filter.is_match(name))
        .collect())
}

/// The topics that the flags mean; an error if a name is given and there is none.
async fn existing(flags: &Flags, admin: &mut Admin) -> Result<Vec<String>, Failure> {
    let names = matching(flags, admin).await?;
    match &flags.topic {
        Some(topic) if names.is_empty() && !topic.is_empty() && !flags.if_exists => Err(
            Failure::Text(format!("Topic '{topic}' does not exist as expected")),
        ),
        _ => Ok(names),
    }
}

fn parse_configs(given: &[String]) -> Result<Vec<CreateTopicsRequestConfig>, Failure> {
    let config = |text: &String| {
        let parts: Vec<&str> = text.split('=').map(str::trim).collect();
        match parts.as_slice() {
            [name, value] if !value.is_empty() => Ok(CreateTopicsRequestConfig {
                name: (*name).into(),
                value: Some((*value).into()),
            }),
            _ => Err(Failure::Text(
                "requirement failed: Invalid topic config: all configs to be added must be in the format \"key=val\".".to_owned(),
            )),
        }
    };
    given.iter().map(config).collect()
}

/// Parses `1:2,2:3`: the brokers of each partition.
fn parse_assignment(list: Option<&str>) -> Result<Vec<Vec<i32>>, Failure> {
    let mut partitions: Vec<Vec<i32>> = Vec::new();
    let entries = list.filter(|list| !list.is_empty()).into_iter();
    for (index, entry) in entries.flat_map(parts).enumerate() {
        let mut brokers = Vec::new();
        for text in entry.split(':') {
            let id = text.trim().parse::<i32>();
            let id =
                id.map_err(|_| Failure::Text(format!("For input string: \"{}\"", text.trim())))?;
            if brokers.contains(&id) {
                let text =
                    format!("Partition replica lists may not contain duplicate entries: {id}");
                return Err(Failure::Text(text));
            }
            brokers.push(id);
        }
        if partitions
            .first()
            .is_some_and(|first| first.len() != brokers.len())
        {
            let list = joined(&brokers, ", ");
            let text = format!("Partition {index} has different replication factor: [{list}]");
            return Err(Failure::Text(text));
        }
        partitions.push(brokers);
    }
    Ok(partitions)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use millrace_wire::message::delete_topics::{DeleteTopicsResponse, DeleteTopicsResponseTopic};

    use super::*;
    use crate::admin::stub::{self, Question};

    #[tokio::test]
    async fn a_topic_that_cannot_be_deleted_keeps_no_other_from_it() {
        let deleted = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&deleted);
        let answer = move |question: &mut Question| {
            let one = |topic: DeleteTopicsRequestTopic| {
                let error_code = match topic.name.as_deref() {
                    Some("t7") => ErrorCode::UnknownTopicOrPartition,
                    Some("t207") => ErrorCode::TopicAuthorizationFailed,
                    _ => ErrorCode::None,
                };
                if !error_code.is_error() {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
                DeleteTopicsResponseTopic {
                    name: topic.name,
                    error_code,
                    ..Default::default()
                }
            };
            question.answer(|request: DeleteTopicsRequest| DeleteTopicsResponse {
                responses: request.topics.into_iter().map(one).collect(),
                ..Default::default()
            });
        };
        let names: Vec<String> = (0..250).map(|number| format!("t{number}")).collect();
        let mut admin = stub::admin(answer).await;
        let error = delete_named(&names, &mut admin).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            ErrorCode::UnknownTopicOrPartition.message()
        );
        assert_eq!(deleted.load(Ordering::Relaxed), 248);
    }

    #[test]
    fn an_assignment_lists_brokers_partition_by_partition() {
        assert_eq!(parse_assignment(Some("1:2,2:3")).unwrap(), [[1, 2], [2, 3]]);
        assert_eq!(parse_assignment(Some("1,2,")).unwrap(), [[1], [2]]);
        assert!(parse_assignment(None).unwrap().is_empty());
        let error = parse_assignment(Some("1:1")).unwrap_err().to_string();
        assert_eq!(
            error,
            "Partition replica lists may not contain duplicate entries: 1"
        );
        let error = parse_assignment(Some("1:2,3")).unwrap_err().to_string();
        assert_eq!(error, "Partition 1 has different replication factor: [3]");
    }

    #[test]
    fn zookeeper_is_answered_with_what_to_use_instead() {
        let flags = Flags {
            zookeeper: Some("z:2181".into()),
            list: true,
            ..Default::default()
        };
        let text = flags.check().unwrap_err().to_string();
        assert!(
            text.contains("--bootstrap-server") && !text.contains('\n'),
            "{text}"
        );
    }

    #[test]
    fn flags_of_other_actions_are_refused_in_kafkas_words() {
        let flags = Flags {
            connect: Connect {
                bootstrap_server: Some("a:1".into()),
                command_config: None,
            },
            list: true,
            partitions: Some(3),
            ..Default::default()
        };
        let text = flags.check().unwrap_err().to_string();
        assert_eq!(
            text,
            "Option \"[partitions]\" can't be used with option \"[list]\""
        );
    }

    #[test]
    fn a_topic_config_is_a_name_and_a_value() {
        let parsed = parse_configs(&["retention.ms = 5".to_owned()]).unwrap();
        assert_eq!(
            (&*parsed[0].name, parsed[0].value.as_deref()),
            ("retention.ms", Some("5"))
        );
        assert!(parse_configs(&["retention.ms".to_owned()]).is_err());
    }
}
