//! `kafka-log-dirs`: what lies in the log directories of brokers, as JSON.

use std::collections::BTreeSet;
use std::io::Write;

use clap::Args;
use millrace_wire::ErrorCode;
use millrace_wire::message::describe_log_dirs::{DescribeLogDirsDirectory, DescribeLogDirsRequest};
use serde_json::Value;

use super::Failure;
use crate::admin::{AdminError, Target, exception};
use crate::flags::{Connect, missing};
use crate::print::joined;

/// Shows what lies in the log directories of brokers
#[derive(Args, Debug)]
pub(crate) struct Flags {
    #[command(flatten)]
    connect: Connect,
    /// Describe the log directories
    #[arg(long)]
    describe: bool,
    /// The topics, as topic1,topic2; all of them if left out
    #[arg(
        long,
        value_name = "LIST",
        default_value = "",
        hide_default_value = true
    )]
    topic_list: String,
    /// The brokers, as 0,1,2; all of them if left out
    #[arg(
        long,
        value_name = "LIST",
        default_value = "",
        hide_default_value = true
    )]
    broker_list: String,
}

/// Runs the command.
pub(crate) async fn run(flags: Flags, out: &mut dyn Write) -> Result<(), Failure> {
    let mut admin = flags.connect.admin()?;
    if !flags.describe {
        return Err(missing("describe"));
    }
    let topics: BTreeSet<&str> = split(&flags.topic_list).collect();
    let brokers = brokers(&flags.broker_list)?;
    let alive: BTreeSet<i32> = admin.nodes().await?.iter().map(|node| node.id).collect();
    let unknown: Vec<i32> = brokers.difference(&alive).copied().collect();
    if !unknown.is_empty() {
        return Err(Failure::Text(format!(
            "ERROR: The given brokers do not exist from --broker-list: {}. Current existent brokers: {}",
            joined(unknown, ","),
            joined(alive, ",")
        )));
    }
    let brokers = if brokers.is_empty() { alive } else { brokers };
    writeln!(out, "Querying brokers for log directories information")?;
    out.flush()?;
    let mut descriptions = Vec::new();
    for broker in &brokers {
        let request = DescribeLogDirsRequest { topics: None };
        let response = admin.ask(Target::Node(*broker), &request).await?;
        AdminError::check(response.error_code, None)?;
        let dirs: Vec<String> = response
            .results
            .iter()
            .map(|dir| directory(dir, &topics))
            .collect();
        let dirs = joined(dirs, ",");
        descriptions.push(format!(r#"{{"broker":{broker},"logDirs":[{dirs}]}}"#));
    }
    writeln!(
        out,
        "Received log directory information from brokers {}",
        joined(brokers, ",")
    )?;
    writeln!(
        out,
        "{}",
        format_args!(
            r#"{{"brokers":[{}],"version":1}}"#,
            joined(descriptions, ",")
        )
    )?;
    Ok(())
}

/// A directory as JSON, with the keys in the order in which Kafka's tool happens to print them.
fn directory(directory: &DescribeLogDirsDirectory, topics: &BTreeSet<&str>) -> String {
    let wanted = directory.topics.iter();
    let wanted = wanted.filter(|topic| topics.is_empty() || topics.contains(&*topic.name));
    let partitions = wanted.flat_map(|topic| {
        topic.partitions.iter().map(|partition| {
            let name = Value::from(format!("{}-{}", topic.name, partition.partition_index));
            let (size, lag) = (partition.partition_size, partition.offset_lag);
            let future = partition.is_future_key;
            format!(r#"{{"partition":{name},"size":{size},"offsetLag":{lag},"isFuture":{future}}}"#)
        })
    });
    let partitions = joined(partitions, ",");
    let error = match directory.error_code {
        ErrorCode::None => Value::Null,
        code => exception(code).into(),
    };
    let name = Value::from(&*directory.log_dir);
    format!(r#"{{"partitions":[{partitions}],"error":{error},"logDir":{name}}}"#)
}

fn brokers(list: &str) -> Result<BTreeSet<i32>, Failure> {
    let number = |text: &str| {
        text.parse()
            .map_err(|_| Failure::Usage(format!("For input string: \"{text}\"")))
    };
    split(list).map(number).collect()
}

fn split(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use millrace_wire::message::describe_log_dirs::{
        DescribeLogDirsResponsePartition, DescribeLogDirsResponseTopic,
    };

    use super::*;

    #[test]
    fn a_directory_lists_the_partitions_of_the_wanted_topics() {
        let topic = |name: &str| DescribeLogDirsResponseTopic {
            name: name.into(),
            partitions: vec![DescribeLogDirsResponsePartition {
                partition_index: 1,
                partition_size: 9,
                ..Default::default()
            }],
        };
        let dir = DescribeLogDirsDirectory {
            error_code: ErrorCode::KafkaStorageError,
            log_dir: "/d".into(),
            topics: vec![topic("a"), topic("b")],
            ..Default::default()
        };
        let expected = r#"{"partitions":[{"partition":"b-1","size":9,"offsetLag":0,"isFuture":false}],"error":"org.apache.kafka.common.errors.KafkaStorageException","logDir":"/d"}"#;
        assert_eq!(directory(&dir, &BTreeSet::from(["b"])), expected);
    }
}
