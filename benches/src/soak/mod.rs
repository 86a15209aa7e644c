//! A broker's everyday life, for as long as one likes: topics come and go, members join and leave, retention and compaction
//! turn the disk over, and now and then the broker is started anew. What it occupies has to stay flat.

mod groups;
mod records;
mod topics;
mod vitals;
mod work;

pub use vitals::{Flatness, Vitals};
pub use work::{Done, Plan, Work};
