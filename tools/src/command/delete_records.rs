//! `kafka-delete-records`: deletes records of partitions up to given offsets.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use millrace_wire::message::delete_records::{
    DeleteRecordsRequest, DeleteRecordsRequestPartition, DeleteRecordsRequestTopic,
};
use millrace_wire::{ErrorCode, Str};
use serde_json::Value;

use super::Failure;
use crate::admin::{Target, TopicPartition, exception};
use crate::flags::{Connect, missing};
use crate::print::joined;

/// Deletes the records of partitions below given offsets
#[derive(Args, Debug)]
pub(crate) struct Flags {
    #[command(flatten)]
    connect: Connect,
    /// The offsets, as {"partitions": [{"topic": "foo", "partition": 1, "offset": 1}], "version": 1}; offset -1 deletes all
    #[arg(long, value_name = "FILE")]
    offset_json_file: Option<PathBuf>,
}

/// Runs the command.
pub(crate) async fn run(flags: Flags, out: &mut dyn Write) -> Result<(), Failure> {
    let path = flags
        .offset_json_file
        .as_ref()
        .ok_or_else(|| missing("offset-json-file"))?;
    let mut admin = flags.connect.admin()?;
    let text = std::fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
    let offsets = parse(&text)?;
    writeln!(out, "Executing records delete operation")?;
    out.flush()?;
    let partitions: Vec<TopicPartition> = offsets.keys().cloned().collect();
    let mut by_leader: BTreeMap<i32, Vec<(TopicPartition, i64)>> = BTreeMap::new();
    let mut results: BTreeMap<TopicPartition, Result<i64, ErrorCode>> = BTreeMap::new();
    for (partition, leader) in admin.leaders(&partitions).await? {
        let offset = offsets.get(&partition).copied().unwrap_or_default();
        match leader {
            Ok(leader) => by_leader
                .entry(leader)
                .or_default()
                .push((partition, offset)),
            Err(code) => drop(results.insert(partition, Err(code))),
        }
    }
    for (leader, partitions) in by_leader {
        let response = admin
            .ask(Target::Node(leader), &request(&partitions))
            .await?;
        for topic in &response.topics {
            for partition in &topic.partitions {
                let key = TopicPartition {
                    topic: topic.name.to_string(),
                    partition: partition.partition_index,
                };
                let result = match partition.error_code {
                    ErrorCode::None => Ok(partition.low_watermark),
                    code => Err(code),
                };
                results.insert(key, result);
            }
        }
    }
    writeln!(out, "Records delete operation completed:")?;
    for (partition, result) in results {
        match result {
            Ok(offset) => writeln!(out, "partition: {partition}\tlow_watermark: {offset}")?,
            Err(code) => {
                let error = format!("{}: {}", exception(code), code.message());
                writeln!(out, "partition: {partition}\terror: {error}")?;
            }
        }
    }
    Ok(())
}

fn request(partitions: &[(TopicPartition, i64)]) -> DeleteRecordsRequest {
    let mut topics: BTreeMap<&str, Vec<DeleteRecordsRequestPartition>> = BTreeMap::new();
    for (partition, offset) in partitions {
        let entry = DeleteRecordsRequestPartition {
            partition_index: partition.partition,
            offset: *offset,
        };
        topics.entry(&partition.topic).or_default().push(entry);
    }
    let topic = |(name, partitions): (&str, _)| DeleteRecordsRequestTopic {
        name: Str::from(name),
        partitions,
    };
    DeleteRecordsRequest {
        topics: topics.into_iter().map(topic).collect(),
        timeout_ms: 30_000,
    }
}

fn parse(text: &str) -> Result<BTreeMap<TopicPartition, i64>, Failure> {
    let fail = |text: String| Failure::Text(text);
    let json: Value = serde_json::from_str(text)
        .map_err(|_| fail("The input string is not a valid JSON".to_owned()))?;
    let version = json.get("version").map_or(Some(1), Value::as_i64);
    if version != Some(1) {
        let found = json
            .get("version")
            .map(ToString::to_string)
            .unwrap_or_default();
        return Err(fail(format!("Not supported version field value {found}")));
    }
    let partitions = json.get("partitions").and_then(Value::as_array);
    let partitions = partitions.ok_or_else(|| fail("Missing partitions field".to_owned()))?;
    let mut offsets = BTreeMap::new();
    let mut duplicates = Vec::new();
    for entry in partitions {
        let parsed = || {
            let topic = entry.get("topic")?.as_str()?.to_owned();
            let partition = i32::try_from(entry.get("partition")?.as_i64()?).ok()?;
            Some((
                TopicPartition { topic, partition },
                entry.get("offset")?.as_i64()?,
            ))
        };
        let (partition, offset) = parsed().ok_or_else(|| {
            fail(format!(
                "A partition needs a topic, a partition and an offset, found {entry}"
            ))
        })?;
        if offsets.insert(partition.clone(), offset).is_some() {
            duplicates.push(partition);
        }
    }
    if !duplicates.is_empty() {
        let list = joined(duplicates, ",");
        return Err(fail(format!(
            "Offset json file contains duplicate topic partitions: {list}"
        )));
    }
    Ok(offsets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_from_kafkas_json() {
        let text = r#"{"partitions":[{"topic":"t","partition":1,"offset":-1}],"version":1}"#;
        let found = parse(text).unwrap();
        let key = TopicPartition {
            topic: "t".into(),
            partition: 1,
        };
        assert_eq!(found, BTreeMap::from([(key, -1)]));
    }

    #[test]
    fn bad_files_are_refused_in_kafkas_words() {
        let cases = [
            ("x", "The input string is not a valid JSON"),
            ("{}", "Missing partitions field"),
            (r#"{"version":2}"#, "Not supported version field value 2"),
            (
                r#"{"partitions":[{"topic":"t","partition":1,"offset":1},{"topic":"t","partition":1,"offset":2}]}"#,
                "Offset json file contains duplicate topic partitions: t-1",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text).unwrap_err().to_string(), expected);
        }
    }
}
