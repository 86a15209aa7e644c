//! Metadata for the tests of handlers, made the way the controller makes it.

use std::sync::Arc;

use millrace_engine::metadata::{
    Command, CreateTopics, MetadataImage, NewTopic, RegisterBroker, decide,
};
use millrace_engine::types::{BrokerId, DirectoryId, Uuid};

/// One broker, number 1, with these topics and their counts of partitions.
pub(super) fn image_with(topics: &[(&str, i32)]) -> MetadataImage {
    let register = Command::RegisterBroker(RegisterBroker {
        id: BrokerId(1),
        incarnation: Uuid(1),
        endpoints: Vec::new(),
        rack: None,
        log_directories: vec![DirectoryId(Uuid(9))],
    });
    let new_topic = |(number, &(name, partitions)): (u128, &(&str, i32))| NewTopic {
        name: name.to_owned(),
        partitions,
        replication_factor: 1,
        assignments: Vec::new(),
        settings: Vec::new(),
        random: 77 + number,
    };
    let create = Command::CreateTopics(CreateTopics {
        topics: (0..).zip(topics).map(new_topic).collect(),
        partitions_default: 1,
        replication_factor_default: 1,
        partitions_max: 100,
        topic_defaults: Arc::default(),
        validate_only: false,
    });
    [register, create]
        .iter()
        .fold(MetadataImage::empty(), |image, command| {
            let decision = decide(&image, command).unwrap();
            image.apply(&decision.records).unwrap()
        })
}
