//! What was acknowledged has to be readable: everything is fetched, checked, and counted.

use bytes::Bytes;
use millrace_engine::record::{Batches, check_crc};
use millrace_wire::Uuid;
use millrace_wire::message::fetch::{
    FetchRequest, FetchRequestPartition, FetchRequestTopic, Records,
};

use super::frames::FETCH_VERSION;
use super::target::{Target, Topic};
use crate::{Client, Outcome};

/// Reads the whole topic. Each partition must hold exactly what was acknowledged of it, without gaps or damage.
pub(super) fn read_back(target: &Target, topic: &Topic, acknowledged: &[u64]) -> Outcome<()> {
    let mut client = target.client()?;
    for (partition, &expected) in acknowledged.iter().enumerate() {
        let partition = i32::try_from(partition)?;
        let found = count_records(&mut client, topic.id, partition, expected)?;
        if found != expected {
            return Err(format!(
                "{}-{partition}: {expected} records were acknowledged, {found} can be read",
                topic.name
            )
            .into());
        }
    }
    Ok(())
}

fn count_records(client: &mut Client, topic: Uuid, partition: i32, expected: u64) -> Outcome<u64> {
    let mut offset = 0;
    let mut count = 0;
    loop {
        // Once everything is there the end is looked at too, without waiting for more.
        let wait_ms = if count < expected { 5_000 } else { 0 };
        let records = fetch(client, topic, partition, offset, wait_ms)?;
        let (next, more) = read_on(records, offset)?;
        if more == 0 {
            return Ok(count);
        }
        (offset, count) = (next, count + more);
    }
}

/// Checks that whole batches follow `offset` without a gap; says where they end, and how many records they have.
///
/// # Errors
/// There is a gap, or a damaged batch.
pub(crate) fn read_on(records: Bytes, mut offset: i64) -> Outcome<(i64, u64)> {
    let mut count = 0;
    for batch in Batches::new(records) {
        // The byte limit may cut the last one.
        let Ok(batch) = batch else { break };
        let base_offset = batch.header.base_offset().0;
        if base_offset != offset {
            return Err(format!("offset {base_offset} follows where {offset} should").into());
        }
        check_crc(&batch.bytes)?;
        offset = batch.header.next_offset().0;
        count += u64::try_from(batch.header.record_count())?;
    }
    Ok((offset, count))
}

fn fetch(
    client: &mut Client,
    topic_id: Uuid,
    partition: i32,
    fetch_offset: i64,
    max_wait_ms: i32,
) -> Outcome<Bytes> {
    let request = FetchRequest {
        max_wait_ms,
        min_bytes: 1,
        max_bytes: FETCH_BYTES_MAX,
        topics: vec![FetchRequestTopic {
            topic_id,
            partitions: vec![FetchRequestPartition {
                partition,
                fetch_offset,
                partition_max_bytes: FETCH_BYTES_MAX,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let response = client.ask(&request, FETCH_VERSION)?;
    let mut results = response
        .responses
        .into_iter()
        .flat_map(|topic| topic.partitions);
    let result = results.next().ok_or("an answer without the partition")?;
    if response.error_code.is_error() || result.error_code.is_error() {
        return Err(format!("a fetch is refused: {}", result.error_code).into());
    }
    match result.records {
        Some(Records::Bytes(records)) => Ok(records),
        Some(Records::Elsewhere { .. }) | None => Ok(Bytes::new()),
    }
}

const FETCH_BYTES_MAX: i32 = 8 << 20;

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use millrace_engine::record::Compression;
    use millrace_engine::types::Timestamp;
    use millrace_server::Server;
    use millrace_server::config::{Sources, load};

    use super::super::clock::unix_millis;
    use super::super::process::Process;
    use super::super::scenario::Durability;
    use super::super::target::Kind;
    use super::*;
    use crate::Shape;

    fn target(address: SocketAddr) -> Target {
        Target {
            address,
            process: Process(std::process::id()),
            kind: Kind::Millrace,
        }
    }

    #[test]
    fn other_than_what_was_acknowledged_is_a_fault() {
        let directory = tempfile::tempdir().unwrap();
        let data = format!("log.dirs={}", directory.path().display());
        let overrides = vec!["listeners=PLAINTEXT://127.0.0.1:0".to_owned(), data];
        let sources = Sources {
            file: None,
            environment: Vec::new(),
            overrides,
        };
        let broker = Server::start(load(&sources).unwrap()).unwrap();
        let target = target(broker.addresses.first().unwrap().1);
        let topic = target.create_topic("t", 2, Durability::Device).unwrap();
        let time = Timestamp(unix_millis());
        let batch = Shape::of(3, 10).batch_at(time, Compression::None);
        let mut client = target.client().unwrap();
        for _ in 0..2 {
            client.produce("t", 1, &batch, -1).unwrap();
        }
        read_back(&target, &topic, &[0, 6]).unwrap();
        let error = read_back(&target, &topic, &[0, 3]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "t-1: 3 records were acknowledged, 6 can be read"
        );
        assert!(broker.stop());
    }
}
