//! One core and what it owns. The shard itself is a plain state machine (`step`); a thin loop (`run`) is its shell on a
//! real thread. Only this room knows all the others.

mod admission;
mod cleaning;
pub mod command;
mod coordinators;
mod deletions;
mod directories;
mod early;
mod fetches;
mod gateway;
mod helm;
mod hosting;
mod housekeeping;
mod indexes;
mod jobs;
mod lookups;
mod news;
mod produces;
mod refused;
mod reported;
mod router;
mod run;
mod standings;
mod start;
mod step;
mod timers;

pub use cleaning::{
    CleanerSeats, CleanerSettings, CleanerShare, CleanerSource, MakeCleanerSettings,
};
pub use directories::FailedDirectory;
pub use gateway::{Gateway, HandedIn, NotSent, Stopped, ThreadImage};
pub use router::{ShardIndex, shard_of};
pub(crate) use start::Seat;
pub use start::{ShardTask, Shards};
pub use step::{
    Effects, Input, LogDirectory, MakeTopicDefaults, Shard, ShardSettings, TopicDefaultsSource,
};
