//! One replica's log, in Kafka's on-disk format.

pub mod checkpoint;
pub mod leader_epochs;
pub mod names;
pub mod offset_index;
pub mod producer_snapshot;
pub mod producer_state;
pub mod time_index;
