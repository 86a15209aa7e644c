//! `kafka-configs`: shows and changes the configuration of topics, brokers and groups.
//!
//! Quotas and credentials (users, clients, ips) are other requests and not served here.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use millrace_wire::message::describe_configs::{
    DescribeConfigsEntry, DescribeConfigsRequest, DescribeConfigsRequestResource,
    DescribeConfigsSynonym,
};
use millrace_wire::message::incremental_alter_configs::{
    IncrementalAlterConfigsEntry, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsRequestResource,
};
use millrace_wire::{ErrorCode, Str};

use super::Failure;
use crate::admin::{Admin, AdminError, Target};
use crate::flags::{Connect, refuse_zookeeper};
use crate::print::joined;
use crate::properties;

/// Shows and changes the configuration of topics, brokers and groups
#[derive(Args, Debug, Default)]
pub(crate) struct Flags {
    #[command(flatten)]
    connect: Connect,
    /// Show the configuration
    #[arg(long)]
    describe: bool,
    /// Change the configuration
    #[arg(long)]
    alter: bool,
    /// With --describe: all values, not only those that were set
    #[arg(long)]
    all: bool,
    /// topics, brokers or groups
    #[arg(long, value_name = "TYPE")]
    entity_type: Option<String>,
    /// Name of the topic or group, or number of the broker
    #[arg(long, value_name = "NAME")]
    entity_name: Option<String>,
    /// The default of all brokers
    #[arg(long)]
    entity_default: bool,
    /// Short for --entity-type topics --entity-name NAME
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,
    /// Short for --entity-type brokers --entity-name NUMBER
    #[arg(long, value_name = "NUMBER")]
    broker: Option<String>,
    /// Short for --entity-type brokers --entity-default
    #[arg(long)]
    broker_defaults: bool,
    /// Short for --entity-type groups --entity-name NAME
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
    /// Quotas and credentials of a user: not served yet
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Quotas of all users: not served yet
    #[arg(long)]
    user_defaults: bool,
    /// Quotas of a client id: not served yet
    #[arg(long, value_name = "ID")]
    client: Option<String>,
    /// Quotas of all client ids: not served yet
    #[arg(long)]
    client_defaults: bool,
    /// Quotas of an address: not served yet
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<String>,
    /// Quotas of all addresses: not served yet
    #[arg(long)]
    ip_defaults: bool,
    // No doc comment: rustdoc takes the brackets for a link.
    #[arg(long, value_name = "LIST", help = "Values to set: k1=v1,k2=[v1,v2]")]
    add_config: Option<String>,
    /// A properties file with values to set
    #[arg(long, value_name = "FILE")]
    add_config_file: Option<PathBuf>,
    /// Values to take back: k1,k2; may be repeated
    #[arg(long, value_name = "LIST")]
    delete_config: Vec<String>,
    /// Without effect: nothing is asked back
    #[arg(long, hide = true)]
    force: bool,
    /// Gone with ZooKeeper
    #[arg(long, hide = true)]
    zookeeper: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Topic,
    Broker,
    Group,
}

impl Kind {
    /// The number in requests.
    fn resource_type(self) -> i8 {
        match self {
            Self::Topic => 2,
            Self::Broker => 4,
            Self::Group => 32,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Broker => "broker",
            Self::Group => "group",
        }
    }
}

/// Whose configuration it is.
#[derive(Debug, PartialEq, Eq)]
struct Entity {
    kind: Kind,
    /// `None`: all of the kind. Empty: the default of all brokers.
    name: Option<String>,
}

/// Runs the command; `given` are the arguments as one text, which Kafka repeats in errors.
pub(crate) async fn run(flags: Flags, given: &str, out: &mut dyn Write) -> Result<(), Failure> {
    let entity = flags.entity()?;
    let mut admin = flags.connect.admin()?;
    let result = if flags.alter {
        alter(&flags, &entity, &mut admin, out).await
    } else {
        describe(&flags, &entity, &mut admin, out).await
    };
    match result {
        Err(Failure::Admin(error)) => {
            let text = format!("Error while executing config command with args '{given}'");
            Err(Failure::Text(format!("{text}\n{}", error.as_exception())))
        }
        result => result,
    }
}

impl Flags {
    fn entity(&self) -> Result<Entity, Failure> {
        refuse_zookeeper(self.zookeeper.as_deref())?;
        let usage = |text: &str| Err(Failure::Usage(text.to_owned()));
        if self.describe == self.alter {
            return usage("Command must include exactly one action: --describe, --alter");
        }
        if self.connect.bootstrap_server.is_none() {
            return usage("Either --bootstrap-server or --bootstrap-controller must be specified.");
        }
        if self.is_quota() {
            return Err(not_served(QUOTAS));
        }
        let short = [
            (Kind::Topic, self.topic.clone()),
            (Kind::Broker, self.broker.clone()),
            (Kind::Broker, self.broker_defaults.then(String::new)),
            (Kind::Group, self.group.clone()),
        ];
        let mut named = short
            .into_iter()
            .filter_map(|(kind, name)| name.map(|name| (kind, name)));
        let entity = match (&self.entity_type, named.next()) {
            (None, None) => return usage("At least one entity type must be specified"),
            (Some(_), Some(_)) => {
                return usage(
                    "--entity-{type,name,default} should not be used in conjunction with specific entity flags",
                );
            }
            (None, Some((kind, name))) => Entity {
                kind,
                name: Some(name),
            },
            (Some(kind), None) => {
                let name = self.entity_name.clone();
                let name = name.or_else(|| self.entity_default.then(String::new));
                Entity {
                    kind: parse_kind(kind)?,
                    name,
                }
            }
        };
        if named.next().is_some() || (self.entity_name.is_some() && self.entity_default) {
            return usage("Only 'users' and 'clients' entity types may be specified together");
        }
        if entity.kind == Kind::Broker {
            let name = entity.name.as_deref().unwrap_or_default();
            if !name.is_empty() && name.parse::<i32>().is_err() {
                let text = format!(
                    "The entity name for brokers must be a valid integer broker id, but it is: {name}"
                );
                return Err(Failure::Usage(text));
            }
        } else if entity.name.as_deref() == Some("") {
            return usage("--entity-default is for brokers");
        }
        if self.alter {
            if entity.name.is_none() {
                if entity.kind == Kind::Broker {
                    return usage(
                        "An entity-name or default entity must be specified with --alter of users, clients, brokers or ips",
                    );
                }
                let text = format!(
                    "An entity-name must be specified with --alter of {}s",
                    entity.kind.name()
                );
                return Err(Failure::Usage(text));
            }
            if self.add_config.is_some() && self.add_config_file.is_some() {
                return usage("Only one of --add-config or --add-config-file must be specified");
            }
            let added = self.add_config.is_some() || self.add_config_file.is_some();
            if !added && self.delete_config.is_empty() {
                return usage(
                    "At least one of --add-config, --add-config-file, or --delete-config must be specified with --alter",
                );
            }
        }
        Ok(entity)
    }

    /// Whether a flag names a user, a client id or an address.
    fn is_quota(&self) -> bool {
        let named = [&self.user, &self.client, &self.ip];
        named.iter().any(|name| name.is_some())
            || self.user_defaults
            || self.client_defaults
            || self.ip_defaults
    }
}

/// What the entities without an API here are for.
const QUOTAS: &str = "Quotas and credentials of users, clients and ips";

fn not_served(what: &str) -> Failure {
    Failure::Usage(format!(
        "{what} are not served by Millrace yet: nothing was read or changed."
    ))
}

async fn describe(
    flags: &Flags,
    entity: &Entity,
    admin: &mut Admin,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    if let Some(name) = entity.name.as_deref().filter(|name| !name.is_empty())
        && !exists(entity.kind, name, admin).await?
    {
        writeln!(
            out,
            "The {} '{name}' doesn't exist and doesn't have dynamic config.",
            entity.kind.name()
        )?;
        return Ok(());
    }
    let names = match (&entity.name, entity.kind) {
        (Some(name), _) => vec![name.clone()],
        (None, Kind::Topic) => admin.topic_names(true).await?,
        (None, Kind::Group) => {
            let groups = admin.groups(&[], &[]).await?;
            groups
                .iter()
                .map(|group| group.group_id.to_string())
                .collect()
        }
        (None, Kind::Broker) => {
            let nodes = admin.nodes().await?;
            let numbers = nodes.iter().map(|node| node.id.to_string());
            numbers.chain([String::new()]).collect()
        }
    };
    for name in names {
        if name.is_empty() {
            writeln!(out, "Default configs for brokers in the cluster are:")?;
        } else {
            let extent = if flags.all { "All" } else { "Dynamic" };
            writeln!(
                out,
                "{extent} configs for {} {name} are:",
                entity.kind.name()
            )?;
        }
        let mut entries = read(admin, entity.kind, &name).await?;
        entries.sort_by(|left, right| left.name.cmp(&right.name));
        let dynamic = dynamic_source(entity.kind, &name);
        for entry in &entries {
            if (flags.all && !name.is_empty()) || entry.config_source == dynamic {
                writeln!(out, "  {}", line(entry))?;
            }
        }
    }
    Ok(())
}

/// Whether there is such a topic, broker or group, or a configuration for such a group.
async fn exists(kind: Kind, name: &str, admin: &mut Admin) -> Result<bool, AdminError> {
    match kind {
        Kind::Topic => {
            let known = admin.topics(Some(&[name.to_owned()])).await?;
            Ok(known
                .first()
                .is_some_and(|topic| !topic.error_code.is_error()))
        }
        Kind::Broker => {
            let nodes = admin.nodes().await?;
            Ok(nodes.iter().any(|node| node.id.to_string() == name))
        }
        Kind::Group => {
            let groups = admin.groups(&[], &[]).await?;
            if groups.iter().any(|group| group.group_id == name) {
                return Ok(true);
            }
            let dynamic = dynamic_source(kind, name);
            let entries = read(admin, kind, name).await?;
            Ok(entries.iter().any(|entry| entry.config_source == dynamic))
        }
    }
}

async fn read(
    admin: &mut Admin,
    kind: Kind,
    name: &str,
) -> Result<Vec<DescribeConfigsEntry>, AdminError> {
    let request = DescribeConfigsRequest {
        resources: vec![DescribeConfigsRequestResource {
            resource_type: kind.resource_type(),
            resource_name: name.into(),
            configuration_keys: None,
        }],
        include_synonyms: true,
        include_documentation: false,
    };
    let response = admin.ask(target(kind, name), &request).await?;
    let mut entries = Vec::new();
    for result in response.results {
        AdminError::check(result.error_code, result.error_message.as_deref())?;
        entries.extend(result.configs);
    }
    Ok(entries)
}

async fn alter(
    flags: &Flags,
    entity: &Entity,
    admin: &mut Admin,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let name = entity.name.as_deref().unwrap_or_default();
    let mut added = parse_added(flags.add_config.as_deref().unwrap_or_default())?;
    if let Some(path) = &flags.add_config_file {
        added.extend(properties::load(path)?);
    }
    let set = added
        .iter()
        .map(|(name, value)| IncrementalAlterConfigsEntry {
            name: Str::from(name),
            config_operation: SET,
            value: Some(Str::from(value)),
        });
    let deleted = flags.delete_config.iter().flat_map(|list| list.split(','));
    let delete = deleted.map(|name| IncrementalAlterConfigsEntry {
        name: name.trim().into(),
        config_operation: DELETE,
        value: None,
    });
    let request = IncrementalAlterConfigsRequest {
        resources: vec![IncrementalAlterConfigsRequestResource {
            resource_type: entity.kind.resource_type(),
            resource_name: name.into(),
            configs: set.chain(delete).collect(),
        }],
        validate_only: false,
    };
    let response = admin.ask(target(entity.kind, name), &request).await?;
    for result in &response.responses {
        if result.error_code != ErrorCode::None {
            let error = AdminError::refused(result.error_code, result.error_message.as_deref());
            return Err(error.into());
        }
    }
    if name.is_empty() {
        writeln!(
            out,
            "Completed updating default config for brokers in the cluster."
        )?;
    } else {
        writeln!(
            out,
            "Completed updating config for {} {name}.",
            entity.kind.name()
        )?;
    }
    Ok(())
}

/// Operations of IncrementalAlterConfigs.
const SET: i8 = 0;
const DELETE: i8 = 1;

/// What a broker was told is known to that broker; the rest to all.
fn target(kind: Kind, name: &str) -> Target {
    match (kind, name.parse()) {
        (Kind::Broker, Ok(id)) => Target::Node(id),
        _ => Target::Any,
    }
}

/// The source of values that were set for the entity itself.
fn dynamic_source(kind: Kind, name: &str) -> i8 {
    match kind {
        Kind::Topic => 1,
        Kind::Broker if name.is_empty() => 3,
        Kind::Broker => 2,
        Kind::Group => 8,
    }
}

fn source_name(source: i8) -> &'static str {
    match source {
        1 => "DYNAMIC_TOPIC_CONFIG",
        2 => "DYNAMIC_BROKER_CONFIG",
        3 => "DYNAMIC_DEFAULT_BROKER_CONFIG",
        4 => "STATIC_BROKER_CONFIG",
        5 => "DEFAULT_CONFIG",
        6 => "DYNAMIC_BROKER_LOGGER_CONFIG",
        7 => "DYNAMIC_CLIENT_METRICS_CONFIG",
        8 => "DYNAMIC_GROUP_CONFIG",
        _ => "UNKNOWN",
    }
}

fn line(entry: &DescribeConfigsEntry) -> String {
    let synonym = |synonym: &DescribeConfigsSynonym| {
        let value = synonym.value.as_deref().unwrap_or("null");
        format!("{}:{}={value}", source_name(synonym.source), synonym.name)
    };
    format!(
        "{}={} sensitive={} synonyms={{{}}}",
        entry.name,
        entry.value.as_deref().unwrap_or("null"),
        entry.is_sensitive,
        joined(entry.synonyms.iter().map(synonym), ", ")
    )
}

fn parse_kind(text: &str) -> Result<Kind, Failure> {
    match text {
        "topics" => Ok(Kind::Topic),
        "brokers" => Ok(Kind::Broker),
        "groups" => Ok(Kind::Group),
        "users" | "clients" | "ips" => Err(not_served(QUOTAS)),
        "broker-loggers" => Err(not_served("Log levels of brokers")),
        "client-metrics" => Err(not_served("Subscriptions to metrics of clients")),
        _ => Err(Failure::Usage(format!(
            "Invalid entity type {text}, the entity type must be one of topics, clients, users, brokers, ips, broker-loggers, client-metrics, groups with a --bootstrap-server or --bootstrap-controller argument"
        ))),
    }
}

/// Parses `k1=v1,k2=[v1,v2]`: a comma inside brackets belongs to the value.
fn parse_added(list: &str) -> Result<Vec<(String, String)>, Failure> {
    let mut depth = 0_usize;
    let entries = list.split(|letter| {
        match letter {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        letter == ',' && depth == 0
    });
    let entry = |entry: &str| {
        match entry.split_once('=') {
        Some((name, value)) => {
            let value: String = value.chars().filter(|letter| !"[]".contains(*letter)).collect();
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        None => Err(Failure::Usage(
            "requirement failed: Invalid entity config: all configs to be added must be in the format \"key=val\" or  \"key=[val1,val2]\" to group values which contain commas.".to_owned(),
        )),
    }
    };
    entries.filter(|text| !text.is_empty()).map(entry).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        flags: Flags,
    }

    #[test]
    fn a_value_in_brackets_may_have_commas() {
        let found = parse_added("a=1,cleanup.policy=[compact,delete],b=").unwrap();
        let expected = [("a", "1"), ("cleanup.policy", "compact,delete"), ("b", "")];
        assert_eq!(
            found,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        assert!(parse_added("a").is_err());
    }

    #[test]
    fn a_line_names_value_and_synonyms() {
        let entry = DescribeConfigsEntry {
            name: "retention.ms".into(),
            value: Some("1000".into()),
            synonyms: vec![DescribeConfigsSynonym {
                name: "retention.ms".into(),
                value: Some("1000".into()),
                source: 1,
            }],
            ..Default::default()
        };
        let expected =
            "retention.ms=1000 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:retention.ms=1000}";
        assert_eq!(line(&entry), expected);
    }

    #[test]
    fn zookeeper_is_answered_with_what_to_use_instead() {
        let flags = Flags {
            zookeeper: Some("z:2181".into()),
            describe: true,
            ..Default::default()
        };
        let text = flags.entity().unwrap_err().to_string();
        assert!(text.contains("use --bootstrap-server"), "{text}");
    }

    #[test]
    fn short_flags_name_the_entity() {
        let connect = Connect {
            bootstrap_server: Some("a:1".into()),
            command_config: None,
        };
        let flags = Flags {
            connect,
            describe: true,
            broker_defaults: true,
            ..Default::default()
        };
        let expected = Entity {
            kind: Kind::Broker,
            name: Some(String::new()),
        };
        assert_eq!(flags.entity().unwrap(), expected);
        let flags = Flags {
            topic: Some("t".into()),
            ..flags
        };
        assert!(flags.entity().is_err());
    }

    #[test]
    fn scripts_that_force_an_alteration_need_not() {
        let line = "x --bootstrap-server a:1 --alter --topic t --add-config a=b --force";
        let Program { flags } = Program::parse_from(line.split(' '));
        assert_eq!(flags.entity().unwrap().kind, Kind::Topic);
    }
}
