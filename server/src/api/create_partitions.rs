//! CreatePartitions (key 37): adds partitions to topics.

use std::collections::BTreeSet;

use millrace_engine::metadata::{Command, ControllerError, CreatePartitions, GrowTopic, Reply};
use millrace_engine::shard::Stopped;
use millrace_engine::types::BrokerId;
use millrace_wire::message::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsRequestTopic, CreatePartitionsResponse,
    CreatePartitionsResponseTopic,
};
use millrace_wire::{ErrorCode, Str};

use super::admin::{Denied, outcome, propose};
use super::context::RequestContext;
use super::creation::PARTITIONS_MAX;

pub(super) async fn handle(
    request: CreatePartitionsRequest,
    context: &RequestContext,
) -> Result<CreatePartitionsResponse, Stopped> {
    let wishes = |topics: Vec<CreatePartitionsRequestTopic>| {
        let names: BTreeSet<Str> = topics.iter().map(|topic| topic.name.clone()).collect();
        let topics: Vec<_> = topics.iter().map(grow).collect();
        (topics, names)
    };
    let (topics, names) = context.in_peace(request.topics, wishes).await?;
    let command = Command::CreatePartitions(CreatePartitions {
        topics,
        partitions_max: PARTITIONS_MAX,
        validate_only: request.validate_only,
    });
    let results = match propose(context, command, request.timeout_ms).await? {
        Ok(Reply::CreatePartitions(results)) => {
            let answers = |(results, _)| answers(results);
            context.in_peace((results, names), answers).await?
        }
        // Another question was answered: what became of this one is unknown.
        Ok(_) => return Err(Stopped),
        Err(denied) => {
            let refuse = |(names, denied): (BTreeSet<_>, Denied)| {
                let names = names.into_iter();
                names
                    .map(|name| answer(name, Err(denied.clone())))
                    .collect()
            };
            context.in_peace((names, denied), refuse).await?
        }
    };
    Ok(CreatePartitionsResponse {
        results,
        ..Default::default()
    })
}

fn answers<T>(
    results: Vec<(String, Result<T, ControllerError>)>,
) -> Vec<CreatePartitionsResponseTopic> {
    let results = results.into_iter();
    results
        .map(|(name, result)| answer(Str::from(name), result.map(drop).map_err(|e| denied(&e))))
        .collect()
}

fn grow(topic: &CreatePartitionsRequestTopic) -> GrowTopic {
    let assignments = topic.assignments.as_ref().map(|assignments| {
        let brokers = assignments.iter().map(|assignment| {
            assignment
                .broker_ids
                .iter()
                .map(|&id| BrokerId(id))
                .collect()
        });
        brokers.collect()
    });
    GrowTopic {
        name: topic.name.to_string(),
        count: topic.count,
        assignments,
    }
}

fn denied(error: &ControllerError) -> Denied {
    match error {
        // Kafka leaves the sentence to the client here.
        ControllerError::UnknownTopic { .. } => Denied::silent(ErrorCode::UnknownTopicOrPartition),
        error => Denied::of(error),
    }
}

fn answer(name: Str, result: Result<(), Denied>) -> CreatePartitionsResponseTopic {
    let (error_code, error_message) = outcome(result);
    CreatePartitionsResponseTopic {
        name,
        error_code,
        error_message,
    }
}

#[cfg(test)]
mod tests {
    use millrace_wire::message::create_partitions::CreatePartitionsAssignment;

    use super::*;

    #[test]
    fn no_assignments_and_an_empty_list_of_them_are_not_the_same() {
        let mut topic = CreatePartitionsRequestTopic {
            name: "t".into(),
            count: 3,
            ..Default::default()
        };
        assert_eq!(grow(&topic).assignments, None);
        topic.assignments = Some(vec![CreatePartitionsAssignment {
            broker_ids: vec![1, 2],
        }]);
        let brokers = vec![vec![BrokerId(1), BrokerId(2)]];
        assert_eq!(grow(&topic).assignments, Some(brokers));
    }

    #[test]
    fn refusals_carry_kafkas_sentences() {
        let fewer = ControllerError::FewerPartitions {
            topic: "perf".parse().unwrap(),
            current: 4,
            requested: 2,
        };
        let entry = answer("perf".into(), Err(denied(&fewer)));
        assert_eq!(entry.error_code, ErrorCode::InvalidPartitions);
        let text = "The topic perf currently has 4 partition(s); 2 would not be an increase.";
        assert_eq!(entry.error_message.as_deref(), Some(text));
        let unknown = ControllerError::UnknownTopic {
            name: "x".to_owned(),
        };
        assert_eq!(denied(&unknown).message, None);
    }
}
