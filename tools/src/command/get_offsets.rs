//! `kafka-get-offsets`: offsets of partitions at a point in time.

use std::collections::BTreeMap;
use std::io::Write;

use clap::Args;

use super::Failure;
use crate::admin::{Admin, TopicPartition};
use crate::flags::{Connect, TopicFilter, parts};

/// Shows the offsets of partitions
#[derive(Args, Debug)]
pub(crate) struct Flags {
    #[command(flatten)]
    connect: Connect,
    /// The same as --bootstrap-server, under its old name
    #[arg(long, value_name = "HOST:PORT,...")]
    broker_list: Option<String>,
    /// The topics, as a regular expression; all of them if left out
    #[arg(long)]
    topic: Option<String>,
    /// The partitions, as 0,1,2; all of them if left out
    #[arg(long, value_name = "LIST")]
    partitions: Option<String>,
    /// Topics and partitions together: topic, topic:1, topic:0-3 (3 excluded), topic:5-, topic:-3, with commas between
    #[arg(long, value_name = "LIST")]
    topic_partitions: Option<String>,
    /// Milliseconds, or -1 or latest, -2 or earliest, -3 or max-timestamp, -4 or earliest-local, -5 or latest-tiered,
    /// -6 or earliest-pending-upload
    #[arg(
        long,
        value_name = "TIME",
        default_value = "latest",
        allow_hyphen_values = true
    )]
    time: String,
    /// Leave out internal topics
    #[arg(long)]
    exclude_internal_topics: bool,
    /// Without effect, as in Kafka before 3.0, which still had it
    #[arg(long, value_name = "COUNT", hide = true)]
    offsets: Option<i32>,
    /// Without effect, as in Kafka before 3.0, which still had it
    #[arg(long, value_name = "MS", hide = true)]
    max_wait_ms: Option<i32>,
}

impl Flags {
    fn connect(&self) -> Connect {
        let mut connect = self.connect.clone();
        connect.bootstrap_server = connect.bootstrap_server.or(self.broker_list.clone());
        connect
    }
}

/// Which partitions of which topics.
#[derive(Debug)]
struct Rule {
    topic: TopicFilter,
    partitions: Partitions,
}

#[derive(Debug, PartialEq, Eq)]
enum Partitions {
    All,
    Listed(Vec<i32>),
    /// The lower bound is inclusive, the upper one is not.
    Between(Option<i32>, Option<i32>),
}

impl Partitions {
    fn contains(&self, partition: i32) -> bool {
        match self {
            Self::All => true,
            Self::Listed(list) => list.contains(&partition),
            Self::Between(low, high) => {
                low.is_none_or(|low| partition >= low) && high.is_none_or(|high| partition < high)
            }
        }
    }
}

/// Runs the command.
pub(crate) async fn run(flags: Flags, out: &mut dyn Write) -> Result<(), Failure> {
    let mut admin = flags.connect().admin()?;
    let result = offsets(&flags, &mut admin).await;
    let offsets = result.map_err(|failure| Failure::Text(format!("Error occurred: {failure}")))?;
    for (partition, offset) in offsets.values() {
        writeln!(out, "{}:{}:{offset}", partition.topic, partition.partition)?;
    }
    Ok(())
}

/// By the name Kafka's tool sorts by: "topic-partition" as text.
async fn offsets(
    flags: &Flags,
    admin: &mut Admin,
) -> Result<BTreeMap<String, (TopicPartition, i64)>, Failure> {
    let rules = rules(flags)?;
    let time = parse_time(&flags.time)?;
    let mut wanted = Vec::new();
    for topic in admin.topics(None).await? {
        if topic.is_internal && flags.exclude_internal_topics {
            continue;
        }
        let name = topic.name.as_deref().unwrap_or_default();
        for partition in topic
            .partitions
            .iter()
            .map(|partition| partition.partition_index)
        {
            let applies =
                |rule: &Rule| rule.topic.is_match(name) && rule.partitions.contains(partition);
            if rules.iter().any(applies) {
                wanted.push(TopicPartition {
                    topic: name.to_owned(),
                    partition,
                });
            }
        }
    }
    if wanted.is_empty() {
        let text = "Could not match any topic-partitions with the specified filters";
        return Err(Failure::Text(text.to_owned()));
    }
    let mut found = BTreeMap::new();
    for (partition, answer) in admin.list_offsets(&wanted, time).await? {
        match answer {
            Ok(-1) => {}
            Ok(offset) => drop(found.insert(partition.to_string(), (partition, offset))),
            Err(code) => eprintln!(
                "Skip getting offsets for topic-partition {partition} due to error: {}",
                code.message()
            ),
        }
    }
    Ok(found)
}

fn rules(flags: &Flags) -> Result<Vec<Rule>, Failure> {
    let Some(list) = &flags.topic_partitions else {
        let topic = TopicFilter::parse(flags.topic.as_deref().unwrap_or(".*"))?;
        return Ok(vec![Rule {
            topic,
            partitions: parse_list(flags.partitions.as_deref())?,
        }]);
    };
    if flags.topic.is_some() || flags.partitions.is_some() {
        let text = "--topic-partitions cannot be used with --topic or --partitions";
        return Err(Failure::Text(text.to_owned()));
    }
    parts(list).map(parse_rule).collect()
}

fn parse_rule(rule: &str) -> Result<Rule, Failure> {
    let (topic, partitions) = match rule.split_once(':') {
        Some((topic, partitions)) => (topic, partitions),
        None => (rule, ""),
    };
    let invalid = || Failure::Text(format!("Invalid rule specification: {rule}"));
    let bound = |text: &str| match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| invalid()),
    };
    let partitions = match partitions.split_once('-') {
        Some((low, high)) => Partitions::Between(bound(low)?, bound(high)?),
        None => match bound(partitions)? {
            Some(partition) => Partitions::Listed(vec![partition]),
            None => Partitions::All,
        },
    };
    let topic = TopicFilter::parse(if topic.is_empty() { ".*" } else { topic })?;
    Ok(Rule { topic, partitions })
}

fn parse_list(list: Option<&str>) -> Result<Partitions, Failure> {
    let list = list.unwrap_or_default();
    let partition = |text: &str| {
        text.parse().map_err(|_| {
            Failure::Text(format!(
                "--partitions expects a comma separated list of numeric partition ids, but received: {list}"
            ))
        })
    };
    let listed = parts(list).filter(|_| !list.is_empty()).map(partition);
    let listed = listed.collect::<Result<Vec<i32>, _>>()?;
    Ok(match listed.is_empty() {
        true => Partitions::All,
        false => Partitions::Listed(listed),
    })
}

fn parse_time(time: &str) -> Result<i64, Failure> {
    match time {
        "latest" => Ok(-1),
        "earliest" => Ok(-2),
        "max-timestamp" => Ok(-3),
        "earliest-local" => Ok(-4),
        "latest-tiered" => Ok(-5),
        "earliest-pending-upload" => Ok(-6),
        number => number.parse().map_err(|_| {
            Failure::Text(format!(
                "Malformed time argument {number}. Please use -1 or latest / -2 or earliest / -3 or max-timestamp / -4 or earliest-local / -5 or latest-tiered / -6 or earliest-pending-upload, or a specified long format timestamp"
            ))
        }),
    }
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
    fn old_and_new_flags_name_the_brokers() {
        for line in ["--broker-list a:1", "--bootstrap-server a:1"] {
            let words = ["x"].into_iter().chain(line.split(' '));
            let connect = Program::parse_from(words).flags.connect();
            assert_eq!(connect.bootstrap_server.as_deref(), Some("a:1"), "{line}");
        }
    }

    #[test]
    fn flags_of_old_guides_are_taken_and_change_nothing() {
        let old = "x --broker-list a:1 --topic t --time -1 --offsets 1 --max-wait-ms 1000";
        let flags = Program::parse_from(old.split(' ')).flags;
        assert_eq!((flags.topic.as_deref(), &*flags.time), (Some("t"), "-1"));
    }

    #[test]
    fn a_rule_names_topics_and_partitions() {
        let cases = [
            ("t", Partitions::All),
            ("t:1", Partitions::Listed(vec![1])),
            ("t:0-3", Partitions::Between(Some(0), Some(3))),
            ("t:5-", Partitions::Between(Some(5), None)),
            (":-3", Partitions::Between(None, Some(3))),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_rule(text).unwrap().partitions, expected, "{text}");
        }
        assert!(parse_rule("t:x").is_err());
        let between = Partitions::Between(Some(1), Some(3));
        assert_eq!(
            [0, 1, 2, 3].map(|partition| between.contains(partition)),
            [false, true, true, false]
        );
    }

    #[test]
    fn lists_may_end_in_a_comma() {
        let listed = |list: &str| parse_list(Some(list)).unwrap();
        assert_eq!(listed("0,2,"), Partitions::Listed(vec![0, 2]));
        assert_eq!(
            [listed(""), listed(",")],
            [Partitions::All, Partitions::All]
        );
        assert!(parse_list(Some("0,,2")).is_err());
        let words = ["x", "--topic-partitions", "t:0,"];
        let rules = rules(&Program::parse_from(words).flags).unwrap();
        assert_eq!(rules.len(), 1, "{rules:?}");
    }

    #[test]
    fn special_times_have_names() {
        assert_eq!(parse_time("earliest").unwrap(), -2);
        assert_eq!(parse_time("-1").unwrap(), -1);
        assert_eq!(parse_time("1700000000000").unwrap(), 1_700_000_000_000);
        assert!(parse_time("yesterday").is_err());
    }
}
