//! Records that retention and compaction have to get rid of again, and a consumer behind them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use millrace_engine::io::Random;
use millrace_engine::record::BatchBuilder;
use millrace_engine::types::Timestamp;

use super::work::Scene;
use crate::load::{read_on, rest, unix_millis};
use crate::{Client, Outcome};

/// Written without an end, and held small by retention.
pub(super) const TURNED_OVER: &str = "turned-over";
/// Few keys written again and again.
const REWRITTEN: &str = "rewritten";

pub(super) fn create_topics(client: &mut Client) -> Outcome<()> {
    let retention = RETENTION_BYTES.to_string();
    let segment = SEGMENT_BYTES.to_string();
    let turned_over = [
        ("retention.bytes", retention.as_str()),
        ("segment.bytes", segment.as_str()),
        ("file.delete.delay.ms", "1000"),
    ];
    client.create_topic_with(TURNED_OVER, PARTITIONS, &turned_over)?;
    let rewritten = [
        ("cleanup.policy", "compact"),
        ("segment.bytes", segment.as_str()),
        ("min.cleanable.dirty.ratio", "0.3"),
        ("file.delete.delay.ms", "1000"),
    ];
    client.create_topic_with(REWRITTEN, PARTITIONS, &rewritten)
}

/// Three quarters of the bytes go where retention works.
pub(super) fn turn_over(scene: &Scene) -> Outcome<()> {
    produce(scene, TURNED_OVER, scene.plan.bytes / 4 * 3, None)
}

/// A quarter goes where compaction does.
pub(super) fn rewrite_keys(scene: &Scene) -> Outcome<()> {
    produce(scene, REWRITTEN, scene.plan.bytes / 4, Some(KEYS))
}

fn produce(scene: &Scene, topic: &str, bytes: u64, keys: Option<u64>) -> Outcome<()> {
    let mut random = Random::seeded(5);
    scene.keep_pace(bytes / BATCH_BYTES, |client, number| {
        let batch = batch(&mut random, keys);
        let partition = i32::try_from(number % PARTITIONS.unsigned_abs() as u64)?;
        client.produce(topic, partition, &batch, -1)?;
        let length = u64::try_from(batch.len())?;
        scene.done.bytes.fetch_add(length, Ordering::Relaxed);
        Ok(())
    })
}

fn batch(random: &mut Random, keys: Option<u64>) -> Bytes {
    let now = Timestamp(unix_millis());
    let mut builder = BatchBuilder::new();
    let mut value = vec![0; VALUE_BYTES];
    while builder.length_bytes() + VALUE_BYTES < BATCH_LENGTH {
        value[..8].copy_from_slice(&random.u64().to_be_bytes());
        let key = keys.map(|keys| (random.u64() % keys).to_be_bytes());
        builder.push(now, key.as_ref().map(|key| &key[..]), Some(&value), &[]);
    }
    builder.build()
}

/// Follows the first partition of the topic that retention turns over: whole batches in order, without a gap but where
/// retention was faster.
pub(super) fn follow(scene: &Scene) -> Outcome<()> {
    let mut client = None;
    let mut offset = 0;
    while !scene.is_over() {
        let fetched = scene.insist(&mut client, |client| {
            match client.fetch(TURNED_OVER, 0, offset) {
                Err(error) if error.to_string().contains("OFFSET_OUT_OF_RANGE") => Ok(None),
                records => Ok(Some(records?)),
            }
        });
        let Some(records) = fetched? else {
            // Retention has passed by: on from where it is now.
            offset = scene.insist(&mut client, |client| client.log_start(TURNED_OVER, 0))?;
            continue;
        };
        let (next, _) = read_on(records, offset)?;
        let followed = u64::try_from(next - offset)?;
        offset = next;
        scene.done.followed.fetch_add(followed, Ordering::Relaxed);
        if followed == 0 {
            rest(Duration::from_millis(100));
        }
    }
    Ok(())
}

const PARTITIONS: i32 = 4;
/// Of a partition.
const RETENTION_BYTES: u64 = 256 << 20;
const SEGMENT_BYTES: u64 = 32 << 20;
const BATCH_LENGTH: usize = 64 << 10;
const BATCH_BYTES: u64 = 64 << 10;
const VALUE_BYTES: usize = 1_024;
const KEYS: u64 = 10_000;
