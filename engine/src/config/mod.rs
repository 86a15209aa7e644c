//! Configuration as facts: the shape of a property, the topic properties, and what altering them means.
//!
//! Names as text live in the rows and nowhere else; the rest of the engine sees [`TopicConfig`]. Broker properties,
//! files and listeners are the server's and unknown here.

mod alter;
mod property;
mod table;
mod topic;
mod topic_properties;

pub use alter::{
    AlterError, Alteration, Operation, Unknown, alter, alter_topic, appended, subtracted,
};
pub use property::{Allowed, Dynamic, Handling, Kind, Property, Twin, Value, ValueError};
pub use table::Table;
pub use topic::{
    CleanupPolicy, CompressionType, Overrides, TimestampSource, TopicConfig, TopicDefaults,
};
pub use topic_properties::{RETIRED_TOPIC_KEYS, TOPIC_PROPERTIES};
