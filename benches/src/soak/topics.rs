//! Topics that live for a moment: made, written to, read, deleted.

use std::sync::atomic::Ordering;

use millrace_wire::ErrorCode;
use millrace_wire::message::delete_topics::{DeleteTopicsRequest, DeleteTopicsRequestTopic};

use super::work::Scene;
use crate::{Client, Outcome, Shape};

pub(super) fn make_and_delete(scene: &Scene) -> Outcome<()> {
    let batch = Shape::of(10, 100).batch(millrace_engine::record::Compression::None);
    scene.keep_pace(scene.plan.topics, |client, number| {
        // Names come back, as they do in life: what an older topic left behind would be in the way.
        let name = format!("passing-{}", number % NAMES);
        match client.create_topic(&name, 2) {
            // Cut off by a restart and made all the same, or not deleted then.
            Err(error) if !error.to_string().contains("TopicAlreadyExists") => return Err(error),
            _ => {}
        }
        for partition in 0..2 {
            client.produce(&name, partition, &batch, -1)?;
            client.fetch(&name, partition, 0)?;
        }
        delete(client, &name)?;
        scene.done.topics.fetch_add(1, Ordering::Relaxed);
        Ok(())
    })
}

fn delete(client: &mut Client, name: &str) -> Outcome<()> {
    let request = DeleteTopicsRequest {
        topics: vec![DeleteTopicsRequestTopic {
            name: Some(name.into()),
            ..Default::default()
        }],
        timeout_ms: 30_000,
        ..Default::default()
    };
    let response = client.ask(&request, 6)?;
    match response.responses.first().map(|topic| topic.error_code) {
        Some(ErrorCode::None | ErrorCode::UnknownTopicOrPartition) => Ok(()),
        refused => Err(format!("topic {name} is not deleted: {refused:?}").into()),
    }
}

const NAMES: u64 = 50;
