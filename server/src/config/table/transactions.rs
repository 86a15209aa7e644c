//! Rows about transactions and idempotent producers.
//!
//! Facts only: names, types, defaults and bounds as Kafka 4.3 defines them.

use millrace_engine::config::Allowed::Anything;
use millrace_engine::config::Handling::{Accepted, Honoured, Pending, Refused};
use millrace_engine::config::{Allowed, Property};
use millrace_engine::properties;

use super::words::TRANSACTIONS;

pub(super) const ROWS: &[Property] = properties! {
    "transaction.max.timeout.ms": Int = "900000", Allowed::at_least(1), ReadOnly, Pending(TRANSACTIONS),
        "The longest transaction a producer may ask for.";
    "transactional.id.expiration.ms": Int = "604800000", Allowed::at_least(1), ReadOnly, Pending(TRANSACTIONS),
        "How long an unused transactional id is remembered.";
    "transaction.state.log.num.partitions": Int = "50", Allowed::at_least(1), ReadOnly, Pending(TRANSACTIONS),
        "Partitions of __transaction_state, fixed when it is made.";
    "transaction.state.log.replication.factor": Short = "3", Allowed::at_least(1), ReadOnly, Pending(TRANSACTIONS),
        "Replicas of __transaction_state; lowered to the number of brokers.";
    "transaction.state.log.min.isr": Int = "2", Allowed::at_least(1), ReadOnly, Pending(TRANSACTIONS),
        "In-sync replicas that __transaction_state needs; lowered to the number of brokers.";
    "transaction.state.log.segment.bytes": Int = "104857600", Allowed::at_least(1), ReadOnly, Accepted,
        "Segment size of __transaction_state; the broker's default size is used.";
    "transaction.state.log.load.buffer.size": Int = "5242880", Allowed::at_least(1), ReadOnly, Accepted,
        "Read size when transactions are loaded; the engine decides.";
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": Int = "10000", Allowed::at_least(1), ReadOnly, Pending(TRANSACTIONS),
        "How often expired transactions are looked for.";
    "transaction.remove.expired.transaction.cleanup.interval.ms": Int = "3600000", Allowed::at_least(1), ReadOnly, Pending(TRANSACTIONS),
        "How often expired transactional ids are looked for.";
    "transaction.partition.verification.enable": Boolean = "true", Anything, ClusterWide, Pending(TRANSACTIONS),
        "Whether a transactional batch must belong to an open transaction.";
    "transaction.two.phase.commit.enable": Boolean = "false", Anything, ReadOnly, Refused("two-phase commit (KIP-939) does not exist here"),
        "Whether transactions may be prepared and stay open.";
    "producer.id.expiration.ms": Int = "86400000", Allowed::at_least(1), ClusterWide, Honoured,
        "How long the state of an idle producer is kept.";
    "add.partitions.to.txn.retry.backoff.ms": Int = "20", Allowed::at_least(1), ReadOnly, Accepted,
        "First pause before a partition is added to a transaction again.";
    "add.partitions.to.txn.retry.backoff.max.ms": Int = "100", Allowed::at_least(0), ReadOnly, Accepted,
        "Longest such pause.";
};
