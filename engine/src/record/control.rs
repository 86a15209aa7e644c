//! Control records: the markers that end a transaction in a partition.
//!
//! Other control records (of raft logs and snapshots) are told apart and left unread. When a marker is due is the
//! transaction room's business.

use bytes::Bytes;

use super::builder::BatchBuilder;
use super::error::{InvalidBatch, RecordError};
use super::record::Record;
use crate::types::{ProducerEpoch, ProducerId, Sequence, Timestamp};

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransactionOutcome {
    /// Its records are to be skipped.
    Abort,
    /// Its records count.
    Commit,
}

/// The record that ends a producer's transaction in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndTransactionMarker {
    /// How it ended.
    pub outcome: TransactionOutcome,
    /// Term of the transaction coordinator that decided: markers of an older term are refused.
    pub coordinator_epoch: i32,
}

/// A control record, by its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlRecord {
    /// The end of a transaction.
    EndTransaction(EndTransactionMarker),
    /// Of a kind that stored partitions do not act on; readers pass over it.
    Other {
        /// The type number of the key.
        kind: i16,
    },
}

const ABORT: i16 = 0;
const COMMIT: i16 = 1;
/// Newer versions append fields, which are passed over.
const VERSION: i16 = 0;

impl EndTransactionMarker {
    /// The control batch with this marker, at offset 0 until it is stamped.
    #[must_use]
    pub fn batch(self, id: ProducerId, epoch: ProducerEpoch, now: Timestamp) -> Bytes {
        let mut builder = BatchBuilder::new()
            .producer(id, epoch, Sequence::NONE)
            .transactional()
            .control();
        builder.push(now, Some(&self.key()), Some(&self.value()), &[]);
        builder.build()
    }

    /// The record's key: version and type.
    #[must_use]
    pub fn key(self) -> Vec<u8> {
        let kind = match self.outcome {
            TransactionOutcome::Abort => ABORT,
            TransactionOutcome::Commit => COMMIT,
        };
        [VERSION.to_be_bytes(), kind.to_be_bytes()].concat()
    }

    /// The record's value: version and coordinator epoch.
    #[must_use]
    pub fn value(self) -> Vec<u8> {
        let mut value = VERSION.to_be_bytes().to_vec();
        value.extend_from_slice(&self.coordinator_epoch.to_be_bytes());
        value
    }
}

impl ControlRecord {
    /// Reads a record of a control batch.
    ///
    /// # Errors
    /// [`RecordError::InvalidBatch`] when key or value are missing, too short or of a negative version.
    pub fn decode(record: &Record) -> Result<Self, RecordError> {
        let (kind, _) = versioned::<2>(record.key.as_ref(), "its key is no version and type")?;
        let kind = i16::from_be_bytes(kind);
        let outcome = match kind {
            ABORT => TransactionOutcome::Abort,
            COMMIT => TransactionOutcome::Commit,
            kind => return Ok(Self::Other { kind }),
        };
        let (epoch, _) = versioned::<4>(
            record.value.as_ref(),
            "its value is no version and coordinator epoch",
        )?;
        Ok(Self::EndTransaction(EndTransactionMarker {
            outcome,
            coordinator_epoch: i32::from_be_bytes(epoch),
        }))
    }
}

/// The `N` bytes after a version that is not negative, and what follows them.
fn versioned<'a, const N: usize>(
    bytes: Option<&'a Bytes>,
    problem: &'static str,
) -> Result<([u8; N], &'a [u8]), RecordError> {
    let split = || {
        let (version, rest) = bytes?.split_first_chunk::<2>()?;
        if i16::from_be_bytes(*version) < 0 {
            return None;
        }
        let (field, rest) = rest.split_first_chunk::<N>()?;
        Some((*field, rest))
    };
    split().ok_or_else(|| InvalidBatch::ControlRecord(problem).into())
}
