//! DeleteTopics (key 20): deletes topics, from version 6 by name or by id.

use millrace_engine::metadata::{
    Command, ControllerError, DeleteTopics, DeletedTopic, Reply, TopicReference,
};
use millrace_engine::shard::Stopped;
use millrace_wire::message::delete_topics::{
    DeleteTopicsRequest, DeleteTopicsRequestTopic, DeleteTopicsResponse, DeleteTopicsResponseTopic,
};
use millrace_wire::{ErrorCode, Str, Uuid};

use super::admin::{Denied, propose};
use super::context::RequestContext;
use super::topics::{topic_id, wire_id};

pub(super) async fn handle(
    request: DeleteTopicsRequest,
    context: &RequestContext,
) -> Result<DeleteTopicsResponse, Stopped> {
    let version = context.version();
    let timeout_ms = request.timeout_ms;
    let enabled = context.settings().config.new_topics.delete_enabled;
    let asked = move |request| {
        let (references, responses) = asked(request, version);
        let topics = enabled.then(|| references.clone());
        (topics, references, responses)
    };
    let (topics, references, responses) = context.in_peace(request, asked).await?;
    let results = match topics {
        None => Err(disabled(version)),
        Some(topics) if topics.is_empty() => Ok(Vec::new()),
        Some(topics) => {
            let command = Command::DeleteTopics(DeleteTopics { topics });
            match propose(context, command, timeout_ms).await? {
                Ok(Reply::DeleteTopics(results)) => Ok(results),
                // Another question was answered: what became of this one is unknown.
                Ok(_) => return Err(Stopped),
                Err(denied) => Err(denied),
            }
        }
    };
    let all = |(mut responses, references, results)| {
        add_answers(&mut responses, references, results);
        responses
    };
    let all = context.in_peace((responses, references, results), all);
    Ok(DeleteTopicsResponse {
        responses: all.await?,
        ..Default::default()
    })
}

/// What became of each topic that was asked for.
type Results = Vec<(TopicReference, Result<DeletedTopic, ControllerError>)>;

/// Answers what was asked for by what became of it, or by why nothing could be done.
fn add_answers(
    responses: &mut Vec<DeleteTopicsResponseTopic>,
    asked: Vec<TopicReference>,
    results: Result<Results, Denied>,
) {
    match results {
        Ok(results) => {
            let results = results.into_iter();
            responses.extend(results.map(|(asked, result)| answer(&asked, result)));
        }
        Err(denied) => {
            let refuse = |asked| refused_reference(asked, denied.clone());
            responses.extend(asked.iter().map(refuse));
        }
    }
}

/// What is asked for, and the answers to what makes no sense.
fn asked(
    request: DeleteTopicsRequest,
    version: i16,
) -> (Vec<TopicReference>, Vec<DeleteTopicsResponseTopic>) {
    let topics = in_newest_form(request, version);
    let mut references = Vec::with_capacity(topics.len());
    let mut responses = Vec::new();
    for topic in topics {
        match reference(&topic) {
            Ok(reference) => references.push(reference),
            Err(denied) => responses.push(refused(topic.name, topic.topic_id, denied)),
        }
    }
    (references, responses)
}

fn in_newest_form(request: DeleteTopicsRequest, version: i16) -> Vec<DeleteTopicsRequestTopic> {
    if version >= BY_ID_FIRST {
        return request.topics;
    }
    let names = request.topic_names.into_iter();
    let topics = names.map(|name| DeleteTopicsRequestTopic {
        name: Some(name),
        topic_id: Uuid::ZERO,
    });
    topics.collect()
}

fn reference(topic: &DeleteTopicsRequestTopic) -> Result<TopicReference, Denied> {
    match (&topic.name, topic.topic_id) {
        (Some(name), Uuid::ZERO) => Ok(TopicReference::Name(name.to_string())),
        (Some(_), _) => Err(Denied::new(
            ErrorCode::InvalidRequest,
            "You may not specify both topic name and topic id.",
        )),
        (None, Uuid::ZERO) => Err(Denied::new(
            ErrorCode::InvalidRequest,
            "Neither topic name nor id were specified.",
        )),
        (None, id) => Ok(TopicReference::Id(topic_id(id))),
    }
}

/// Clients older than version 3 do not know the code for it.
const fn disabled(version: i16) -> Denied {
    Denied::silent(if version >= 3 {
        ErrorCode::TopicDeletionDisabled
    } else {
        ErrorCode::InvalidRequest
    })
}

fn answer(
    asked: &TopicReference,
    result: Result<DeletedTopic, ControllerError>,
) -> DeleteTopicsResponseTopic {
    match result {
        Ok(deleted) => DeleteTopicsResponseTopic {
            name: Some(Str::from(deleted.name.as_str())),
            topic_id: wire_id(deleted.id),
            ..Default::default()
        },
        Err(error) => refused_reference(asked, Denied::of(&error)),
    }
}

fn refused_reference(asked: &TopicReference, denied: Denied) -> DeleteTopicsResponseTopic {
    match asked {
        TopicReference::Name(name) => refused(Some(Str::from(name)), Uuid::ZERO, denied),
        TopicReference::Id(id) => refused(None, wire_id(*id), denied),
    }
}

fn refused(name: Option<Str>, topic_id: Uuid, denied: Denied) -> DeleteTopicsResponseTopic {
    DeleteTopicsResponseTopic {
        name,
        topic_id,
        error_code: denied.code,
        error_message: denied.message,
    }
}

/// The first version that names topics by name or by id.
const BY_ID_FIRST: i16 = 6;

#[cfg(test)]
mod tests {
    use millrace_wire::Message;

    use super::*;

    #[test]
    fn a_topic_is_named_by_exactly_one_of_name_and_id() {
        let topic = |name: Option<&str>, id| DeleteTopicsRequestTopic {
            name: name.map(Into::into),
            topic_id: Uuid(id),
        };
        let name = reference(&topic(Some("t"), 0));
        assert_eq!(name, Ok(TopicReference::Name("t".to_owned())));
        let id = reference(&topic(None, 7));
        assert_eq!(id, Ok(TopicReference::Id(topic_id(Uuid(7)))));
        let both = reference(&topic(Some("t"), 7)).unwrap_err();
        let text = "You may not specify both topic name and topic id.";
        assert_eq!(both, Denied::new(ErrorCode::InvalidRequest, text));
        let neither = reference(&topic(None, 0)).unwrap_err();
        assert_eq!(neither.code, ErrorCode::InvalidRequest);
    }

    #[test]
    fn old_versions_answer_by_name_and_hear_of_disabled_deletion_in_old_words() {
        let request = DeleteTopicsRequest {
            topic_names: vec!["t".into()],
            ..Default::default()
        };
        let asked = asked(request, 5).0.remove(0);
        let gone = ControllerError::UnknownTopic {
            name: "t".to_owned(),
        };
        let response = DeleteTopicsResponse {
            responses: vec![answer(&asked, Err(gone))],
            ..Default::default()
        };
        let entry = &response.responses[0];
        assert_eq!(entry.error_code, ErrorCode::UnknownTopicOrPartition);
        let text = "This server does not host this topic-partition.";
        assert_eq!(entry.error_message.as_deref(), Some(text));
        assert!((1..=5).all(|version| response.to_bytes(version).is_ok()));
        assert_eq!(disabled(2).code, ErrorCode::InvalidRequest);
        assert_eq!(disabled(3).code, ErrorCode::TopicDeletionDisabled);
    }

    #[test]
    fn a_deleted_topic_is_told_with_name_and_id() {
        let deleted = DeletedTopic {
            id: topic_id(Uuid(7)),
            name: "t".parse().unwrap(),
        };
        let entry = answer(&TopicReference::Name("t".to_owned()), Ok(deleted));
        assert_eq!(
            (entry.name.as_deref(), entry.topic_id),
            (Some("t"), Uuid(7))
        );
        assert_eq!(
            (entry.error_code, entry.error_message),
            (ErrorCode::None, None)
        );
    }
}
