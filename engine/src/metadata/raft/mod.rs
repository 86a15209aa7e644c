//! Makes metadata durable in the shape of a raft log: entries with term and index, a vote, snapshots.
//!
//! Now there is one voter, so an entry is committed when it is on stable storage here. The files have what a raft
//! library asks of its storage (append, truncate the suffix, purge the prefix, a vote, snapshots), so that a cluster
//! can stand on them later. They live in `__cluster_metadata-0` in the first of `log.dirs`: Kafka's name for the place,
//! with our own names inside, so that neither program mistakes the other's files for its own:
//!
//! - `millrace-metadata.journal`: the entries, see [`journal`];
//! - `millrace-metadata.vote`: the term and the vote, see [`vote`];
//! - `millrace-metadata-INDEX-TERM.snapshot`: the image after an entry, see [`snapshot`].
//!
//! Everything here blocks; it runs on the control thread.

mod check;
pub mod entry;
mod error;
mod hostile;
pub mod journal;
mod node;
pub mod snapshot;
pub mod vote;

pub use check::{MetadataCheck, MetadataFile, check};
pub use entry::{Entry, LogPosition};
pub use error::{OpenError, ProposeError, StorageError};
pub use hostile::open_hostile;
pub use journal::{Journal, Reserve};
pub use node::{LogStatus, Metadata, MetadataOptions};

#[cfg(test)]
mod tests;
