//! What compaction knows of transactions: records of aborted ones go, and a marker goes once nothing of its transaction
//! is left.
//!
//! It follows the batches of a log in order, with the list of aborted transactions from the `.txnindex` files.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use crate::record::control::{ControlRecord, TransactionOutcome};
use crate::record::{BatchHeader, records};
use crate::types::{Offset, ProducerId};

/// Control batches are tiny; a larger body is none of ours.
const CONTROL_BODY_BYTES_MAX: usize = 64 * 1024;
/// Bytes of one entry of a `.txnindex` file: version, producer id, first and last offset, last stable offset.
const ABORTED_BYTES: usize = 34;
/// Kafka's only version of an entry.
const VERSION: i16 = 0;

/// An aborted transaction, as a `.txnindex` file lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Aborted {
    pub(super) first_offset: Offset,
    /// Of its marker.
    pub(super) last_offset: Offset,
    pub(super) producer_id: ProducerId,
    pub(super) last_stable_offset: Offset,
}

impl Aborted {
    /// The contents of a `.txnindex` file; `None` when they cannot be one.
    pub(super) fn decode(bytes: &[u8]) -> Option<Vec<Self>> {
        let (entries, rest) = bytes.as_chunks::<ABORTED_BYTES>();
        let decoded = entries.iter().map(|entry| {
            let (version, rest) = entry.split_first_chunk::<2>()?;
            let mut numbers = rest
                .as_chunks::<8>()
                .0
                .iter()
                .map(|b| i64::from_be_bytes(*b));
            let mut next = || numbers.next();
            let (producer_id, first_offset) = (ProducerId(next()?), Offset(next()?));
            let (last_offset, last_stable_offset) = (Offset(next()?), Offset(next()?));
            (i16::from_be_bytes(*version) == VERSION).then_some(Self {
                first_offset,
                last_offset,
                producer_id,
                last_stable_offset,
            })
        });
        decoded.collect::<Option<_>>().filter(|_| rest.is_empty())
    }

    /// The contents of the `.txnindex` file with these entries.
    pub(super) fn encode(entries: &[Self]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(entries.len() * ABORTED_BYTES);
        for entry in entries {
            bytes.extend_from_slice(&VERSION.to_be_bytes());
            bytes.extend_from_slice(&entry.producer_id.0.to_be_bytes());
            for offset in [
                entry.first_offset,
                entry.last_offset,
                entry.last_stable_offset,
            ] {
                bytes.extend_from_slice(&offset.0.to_be_bytes());
            }
        }
        bytes
    }
}

/// Where a walk through a log stands with regard to transactions.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    /// Not reached yet, by first offset.
    ahead: VecDeque<Aborted>,
    /// Aborted ones that were begun, and whether a batch of theirs was met.
    aborted: BTreeMap<ProducerId, (Aborted, bool)>,
    /// Producers of whom a batch of another transaction was met.
    committed: BTreeSet<ProducerId>,
    /// Aborted ones of which something is left, to be listed where their marker stands.
    listed: Vec<Aborted>,
}

impl Transactions {
    /// A walk that begins at `from`, with the aborted transactions of the log.
    pub(super) fn from(from: Offset, aborted: &[Aborted]) -> Self {
        let mut ahead: Vec<Aborted> = aborted.to_vec();
        ahead.retain(|aborted| aborted.last_offset >= from);
        ahead.sort_unstable();
        ahead.dedup();
        Self {
            ahead: ahead.into(),
            ..Self::default()
        }
    }

    /// Takes notice of the next batch. True when it counts for nothing: its transaction was aborted, or it is a marker
    /// of one of which no batch is left.
    pub(super) fn note(&mut self, header: &BatchHeader, batch: &Bytes) -> bool {
        let last_offset = header.last_offset();
        while let Some(next) = self.ahead.pop_front() {
            if next.first_offset > last_offset {
                self.ahead.push_front(next);
                break;
            }
            self.aborted
                .entry(next.producer_id)
                .or_insert((next, false));
        }
        let attributes = header.attributes();
        if attributes.is_control() {
            return self.note_marker(header, batch);
        }
        if !attributes.is_transactional() {
            return false;
        }
        if let Some((_, met)) = self.aborted.get_mut(&header.producer_id()) {
            *met = true;
            return true;
        }
        self.committed.insert(header.producer_id());
        false
    }

    fn note_marker(&mut self, header: &BatchHeader, batch: &Bytes) -> bool {
        let producer = header.producer_id();
        if header.record_count() == 0 {
            // It was cleaned before.
            return true;
        }
        let record = records(batch, CONTROL_BODY_BYTES_MAX).ok();
        let record = record.and_then(|mut records| records.next()?.ok());
        match record.map(|record| ControlRecord::decode(&record)) {
            Some(Ok(ControlRecord::EndTransaction(marker))) => match marker.outcome {
                TransactionOutcome::Abort => match self.aborted.remove(&producer) {
                    Some((aborted, true)) => {
                        self.listed.push(aborted);
                        false
                    }
                    _ => true,
                },
                TransactionOutcome::Commit => !self.committed.remove(&producer),
            },
            _ => false,
        }
    }

    /// The aborted transactions to list for what was walked through since the last call.
    pub(super) fn take_listed(&mut self) -> Vec<Aborted> {
        std::mem::take(&mut self.listed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::BatchBuilder;
    use crate::record::control::EndTransactionMarker;
    use crate::types::{LeaderEpoch, ProducerEpoch, Sequence, Timestamp};

    fn aborted(producer: i64, first: i64, last: i64) -> Aborted {
        Aborted {
            first_offset: Offset(first),
            last_offset: Offset(last),
            producer_id: ProducerId(producer),
            last_stable_offset: Offset(first),
        }
    }

    fn note(walk: &mut Transactions, producer: i64, offset: i64, marker: Option<bool>) -> bool {
        let (id, epoch) = (ProducerId(producer), ProducerEpoch(0));
        let batch = match marker {
            None => {
                let mut builder = BatchBuilder::new().producer(id, epoch, Sequence(0));
                builder = builder.transactional();
                builder.push(Timestamp(1), Some(b"k"), Some(b"v"), &[]);
                builder.build()
            }
            Some(commit) => {
                let outcome = if commit {
                    TransactionOutcome::Commit
                } else {
                    TransactionOutcome::Abort
                };
                let marker = EndTransactionMarker {
                    outcome,
                    coordinator_epoch: 0,
                };
                marker.batch(id, epoch, Timestamp(1))
            }
        };
        let header = BatchHeader::parse(&batch).unwrap();
        walk.note(&header.stamped(Offset(offset), LeaderEpoch(0)), &batch)
    }

    #[test]
    fn records_of_aborted_transactions_count_for_nothing_and_others_do() {
        let mut walk = Transactions::from(Offset(0), &[aborted(1, 10, 13)]);
        assert!(!note(&mut walk, 1, 5, None), "an earlier one of its own");
        assert!(
            !note(&mut walk, 1, 6, Some(true)),
            "its marker stays with it"
        );
        assert!(note(&mut walk, 1, 10, None));
        assert!(!note(&mut walk, 2, 11, None));
        assert!(!note(&mut walk, 1, 13, Some(false)), "met a batch of it");
        assert_eq!(walk.take_listed(), [aborted(1, 10, 13)]);
        assert!(!note(&mut walk, 1, 14, None), "the next one is not aborted");
    }

    #[test]
    fn a_marker_whose_records_are_gone_counts_for_nothing() {
        let mut walk = Transactions::from(Offset(0), &[aborted(1, 10, 13), aborted(9, 0, 3)]);
        assert!(note(&mut walk, 2, 12, Some(true)));
        assert!(note(&mut walk, 1, 13, Some(false)));
        assert!(walk.take_listed().is_empty());
    }

    #[test]
    fn a_walk_from_the_middle_forgets_what_ended_before() {
        let mut walk = Transactions::from(Offset(20), &[aborted(1, 10, 13), aborted(2, 15, 25)]);
        assert!(!note(&mut walk, 1, 21, None));
        assert!(note(&mut walk, 2, 22, None));
    }

    #[test]
    fn a_list_of_aborted_transactions_has_kafkas_layout() {
        let entries = [aborted(3, 10, 13), aborted(4, 11, 20)];
        let bytes = Aborted::encode(&entries);
        assert_eq!(bytes.len(), 68);
        assert_eq!(bytes[..10], [0, 0, 0, 0, 0, 0, 0, 0, 0, 3]);
        assert_eq!(Aborted::decode(&bytes).unwrap(), entries);
        assert_eq!(Aborted::decode(&bytes[..40]), None);
        assert_eq!(Aborted::decode(&[1; 34]), None);
    }
}
