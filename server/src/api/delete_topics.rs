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
    let asked = asked(&request, version);
    let mut references = Vec::new();
    let mut responses = Vec::new();
    for topic in asked {
        match reference(&topic) {
            Ok(reference) => references.push(reference),
            Err(denied) => responses.push(refused(topic.name, topic.topic_id, denied)),
        }
    }
    if !context.settings().config.new_topics.delete_enabled {
        let all = references.into_iter();
        responses.extend(all.map(|reference| refused_reference(&reference, disabled(version))));
    } else if !references.is_empty() {
        let command = Command::DeleteTopics(DeleteTopics {
            topics: references.clone(),
        });
        match propose(context, command, request.timeout_ms).await? {
            Ok(Reply::DeleteTopics(results)) => {
                responses.extend(
                    results
                        .into_iter()
                        .map(|(asked, result)| answer(&asked, result)),
                );
            }
            // Another question was answered: what became of this one is unknown.
            Ok(_) => return Err(Stopped),
            Err(denied) => {
                let all = references.iter();
                responses.extend(all.map(|asked| refused_reference(asked, denied.clone())));
            }
        }
    }
    Ok(DeleteTopicsResponse {
        responses,
        ..Default::default()
    })
}

/// What is asked, in the form of the newest version.
fn asked(request: &DeleteTopicsRequest, version: i16) -> Vec<DeleteTopicsRequestTopic> {
    if version >= BY_ID_FIRST {
        return request.topics.clone();
    }
    let names = request.topic_names.iter();
    let topics = names.map(|name| DeleteTopicsRequestTopic {
        name: Some(name.clone()),
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
        let topics = asked(&request, 5);
        let asked = reference(&topics[0]).unwrap();
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
