//! One behaviour each.

use std::sync::Arc;

use super::super::super::checkpoint::PartitionMetadata;
use super::super::super::verify::PartitionCheck;
use super::super::super::{TimeSearch, names};
use super::super::key_map::KeyMap;
use super::super::rule::{Judged, Kept, LastBatch, Rule};
use super::super::task::CleanError;
use super::super::transactions::Aborted;
use super::*;
use crate::record::control::{EndTransactionMarker, TransactionOutcome};
use crate::record::{
    BATCH_HEADER_LENGTH, BATCH_OVERHEAD_LENGTH, BatchBuilder, Compression, PreparedBatch,
    TimestampType,
};
use crate::types::{LeaderEpoch, ProducerEpoch, ProducerId, Sequence, TopicId, Uuid};

type Pair<'a> = (&'a str, Option<&'a str>);

fn built(builder: BatchBuilder, pairs: &[Pair<'_>], timestamp: i64) -> Bytes {
    let mut builder = builder;
    for (key, value) in pairs {
        let value = value.map(str::as_bytes);
        builder.push(Timestamp(timestamp), Some(key.as_bytes()), value, &[]);
    }
    builder.build()
}

fn append(fixture: &Fixture, log: &mut Log, pairs: &[Pair<'_>]) {
    append_built(fixture, log, &built(BatchBuilder::new(), pairs, 500));
}

fn append_built(fixture: &Fixture, log: &mut Log, batch: &Bytes) {
    let prepared = PreparedBatch::from_builder(batch).unwrap();
    fixture.append(log, &prepared);
}

/// Judges one batch where `newest` are the newest offsets of keys.
fn judge(batch: &Bytes, newest: &[(&str, i64)], now: i64) -> Judged {
    judge_with(batch, newest, now, &BTreeMap::new(), i64::MAX, false)
}

fn judge_with(
    batch: &Bytes,
    newest: &[(&str, i64)],
    now: i64,
    last_batches: &BTreeMap<ProducerId, LastBatch>,
    upper_bound: i64,
    discarded: bool,
) -> Judged {
    let mut keys = KeyMap::new(100, 1 << 20, 0.9, 1);
    for (key, offset) in newest {
        assert!(keys.put(key.as_bytes(), Offset(*offset)));
    }
    let rule = Rule {
        keys: &keys,
        keys_end: Offset(1_000),
        now: Timestamp(now),
        delete_retention_ms: 100,
        last_batches,
        upper_bound: Offset(upper_bound),
    };
    let batch = Batch {
        header: header_of(batch),
        bytes: batch.clone(),
    };
    rule.judge(&batch, discarded)
}

fn changed(judged: Judged) -> Bytes {
    match judged.kept {
        Kept::Changed(bytes) => bytes,
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_the_newest_record_of_a_key_stays_at_its_offset() {
    let pairs = [("a", Some("1")), ("b", Some("2")), ("a", Some("3"))];
    let batch = built(BatchBuilder::new().at(Offset(10)), &pairs, 500);
    let kept = changed(judge(&batch, &[("a", 12), ("b", 11)], 0));
    let records: Vec<Record> = records(&kept, 1 << 10)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(offsets(&records), [11, 12]);
    assert_eq!(records[0].timestamp, Timestamp(500));
    let judged = judge(&batch, &[("a", 50), ("b", 51)], 0);
    assert_eq!((judged.kept, judged.records_kept), (Kept::Gone, 0));
    assert_eq!(
        judge(&batch, &[], 0).kept,
        Kept::AsIs,
        "keys nobody wrote again"
    );
}

/// The same batch with other records: what is judged has had its checksum checked.
fn with_body(batch: &Bytes, body: &[u8]) -> Bytes {
    let mut bytes = [&batch[..BATCH_HEADER_LENGTH], body].concat();
    let length = i32::try_from(bytes.len() - BATCH_OVERHEAD_LENGTH).unwrap();
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes.into()
}

/// Each header took 64 bytes of memory for its three here, or for next to none where they are packed: a batch of a few
/// KB could take all there is, and again after each start.
#[test]
fn a_record_of_very_many_headers_is_copied_as_it_lies() {
    let pairs = [("a", Some("1")), ("b", Some("2"))];
    let batch = built(BatchBuilder::new(), &pairs, 500);
    let (one, other) = batch[BATCH_HEADER_LENGTH..].split_at(9);
    let count = [0x80_u8, 0x89, 0x7a];
    // The empty key has its length in two bytes, as nobody writes it who encodes it anew; there is no value.
    let headers = [0x80_u8, 0x00, 0x01].repeat(1_000_000);
    let record = [&one[1..8], &count[..], &headers[..]].concat();
    let length = [0x94_u8, 0x9b, 0xee, 0x02];
    let body = [&length[..], &record[..], other].concat();
    let batch = with_body(&batch, &body);
    assert_eq!(judge(&batch, &[], 0).kept, Kept::AsIs);
    let kept = changed(judge(&batch, &[("b", 70)], 0));
    assert!(kept[BATCH_HEADER_LENGTH..] == body[..length.len() + record.len()]);
    let kept = changed(judge(&batch, &[("a", 70)], 0));
    let left: Vec<Record> = records(&kept, 1 << 10)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(offsets(&left), [1]);
}

#[test]
fn a_batch_keeps_its_last_offset_when_its_last_record_goes() {
    let pairs = [("a", Some("1")), ("b", Some("2"))];
    let builder = BatchBuilder::new()
        .at(Offset(10))
        .leader_epoch(LeaderEpoch(4));
    let batch = built(builder.compression(Compression::Zstd), &pairs, 500);
    let header = header_of(&changed(judge(&batch, &[("a", 10), ("b", 70)], 0)));
    assert_eq!(header.base_offset(), Offset(10));
    assert_eq!(header.last_offset(), Offset(11));
    assert_eq!(header.leader_epoch(), LeaderEpoch(4));
    assert_eq!(header.attributes().compression(), Ok(Compression::Zstd));
}

#[test]
fn a_delete_marker_stays_for_delete_retention_after_the_first_compaction() {
    let batch = built(BatchBuilder::new(), &[("a", None), ("b", Some("2"))], 500);
    let newest = [("a", 0), ("b", 1)];
    let marked = changed(judge(&batch, &newest, 10_000));
    let header = header_of(&marked);
    assert!(header.attributes().has_delete_horizon());
    assert_eq!(header.base_timestamp(), Timestamp(10_100));
    let found: Vec<Record> = records(&marked, 1 << 10)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(offsets(&found), [0, 1]);
    assert!(
        found
            .iter()
            .all(|record| record.timestamp == Timestamp(500))
    );
    assert_eq!(judge(&marked, &newest, 10_099).kept, Kept::AsIs);
    let later = changed(judge(&marked, &newest, 10_100));
    let found: Vec<Record> = records(&later, 1 << 10)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(offsets(&found), [1]);
    assert_eq!(found[0].timestamp, Timestamp(500));
}

#[test]
fn records_without_key_and_records_not_looked_at() {
    let mut builder = BatchBuilder::new().at(Offset(998));
    for offset in 998..1_002 {
        let key = (offset % 2 == 0).then_some(&b"a"[..]);
        builder.push(Timestamp(1), key, Some(b"v"), &[]);
    }
    let kept = changed(judge(&builder.build(), &[("a", 998)], 0));
    let found: Vec<Record> = records(&kept, 1 << 10)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    // 999 has no key; from 1000 on nobody has looked for keys.
    assert_eq!(offsets(&found), [998, 1_000, 1_001]);
}

#[test]
fn the_last_batch_of_a_producer_stays_without_records() {
    let id = ProducerId(9);
    let builder = BatchBuilder::new()
        .at(Offset(20))
        .producer(id, ProducerEpoch(2), Sequence(40))
        .compression(Compression::Gzip);
    let batch = built(builder, &[("a", Some("1")), ("a", Some("2"))], 700);
    let last = |offset| {
        let last_offset = Some(Offset(offset));
        let epoch = ProducerEpoch(2);
        BTreeMap::from([(id, LastBatch { last_offset, epoch })])
    };
    let judged = judge_with(&batch, &[("a", 90)], 0, &last(21), i64::MAX, false);
    let empty = changed(judged);
    crate::record::check_crc(&empty).unwrap();
    let header = header_of(&empty);
    assert_eq!((empty.len(), header.record_count()), (61, 0));
    assert_eq!(header.last_offset(), Offset(21));
    assert_eq!(header.producer_epoch(), ProducerEpoch(2));
    assert_eq!(header.last_sequence(), Sequence(41));
    assert_eq!(header.max_timestamp(), Timestamp(700));
    assert_eq!(header.attributes().compression(), Ok(Compression::None));
    // Next time it is as it should be, or nobody needs it any more.
    let judged = judge_with(&empty, &[], 0, &last(21), i64::MAX, false);
    assert_eq!(judged.kept, Kept::AsIs);
    let judged = judge_with(&empty, &[], 0, &last(33), i64::MAX, false);
    assert_eq!(judged.kept, Kept::Gone);
    // The batch at the very end of what is compacted stays too.
    let judged = judge_with(&batch, &[("a", 90)], 0, &last(33), 22, false);
    assert_eq!(changed(judged).len(), 61);
}

#[test]
fn log_append_time_stays_that_of_the_batch() {
    let builder = BatchBuilder::new().log_append_time(Timestamp(4_000));
    let batch = built(builder, &[("a", Some("1")), ("b", None)], 500);
    let kept = changed(judge(&batch, &[("a", 7), ("b", 1)], 9_000));
    let header = header_of(&kept);
    assert_eq!(
        header.attributes().timestamp_type(),
        TimestampType::LogAppendTime
    );
    let record = records(&kept, 1 << 10).unwrap().next().unwrap().unwrap();
    assert_eq!(
        (record.offset, record.timestamp),
        (Offset(1), Timestamp(4_000))
    );
}

#[test]
fn a_marker_goes_some_time_after_the_last_record_of_its_transaction() {
    let marker = EndTransactionMarker {
        outcome: TransactionOutcome::Commit,
        coordinator_epoch: 3,
    };
    let batch = marker.batch(ProducerId(5), ProducerEpoch(0), Timestamp(50));
    let none = BTreeMap::new();
    let judge =
        |batch: &Bytes, now, discarded| judge_with(batch, &[], now, &none, i64::MAX, discarded);
    assert_eq!(judge(&batch, 1_000, false).kept, Kept::AsIs);
    let marked = changed(judge(&batch, 1_000, true));
    let header = header_of(&marked);
    assert!(header.attributes().is_control() && header.attributes().has_delete_horizon());
    assert_eq!(judge(&marked, 1_099, true).kept, Kept::AsIs);
    assert_eq!(judge(&marked, 1_100, true).kept, Kept::Gone);
    // Of an aborted transaction everything goes at once.
    let builder = BatchBuilder::new().producer(ProducerId(5), ProducerEpoch(0), Sequence(0));
    let data = built(builder.transactional(), &[("a", Some("1"))], 1);
    assert_eq!(judge(&data, 0, true).kept, Kept::Gone);
}

#[test]
fn nonsense_that_a_client_compressed_stays_as_it_is() {
    let builder = BatchBuilder::new().compression(Compression::Gzip);
    let mut bytes = built(builder, &[("a", Some("1"))], 1).to_vec();
    let last = bytes.len() - 3;
    bytes[last] ^= 0xff;
    let judged = judge(&Bytes::from(bytes), &[("a", 99)], 0);
    assert_eq!(judged.kept, Kept::AsIs);
}

#[test]
fn small_cleaned_segments_become_one_and_reads_go_on_in_it() {
    let fixture = Fixture::new(compacted(400));
    let mut log = fixture.fresh();
    for round in 0..40 {
        let value = format!("{round:040}");
        append(
            &fixture,
            &mut log,
            &[("a", Some(&value)), ("b", Some(&value))],
        );
    }
    let before = batches(&fixture, &mut log);
    let (segments, end) = (log.segment_count(), log.log_end_offset());
    assert!(segments > 8);
    let stats = clean(&mut log, &fixture.disk, 2_000, LIMITS)
        .unwrap()
        .unwrap();
    // Full ones become small ones first, and then few.
    assert_eq!(stats.segments_read, segments as u64 - 1);
    assert!(stats.bytes_written < stats.bytes_read / 4);
    log.set_cleaned_to(Offset(0));
    clean(&mut log, &fixture.disk, 2_000, LIMITS).unwrap();
    assert_eq!(log.segment_count(), 2);
    let after = batches(&fixture, &mut log);
    assert_eq!(folded(&all_records(&after)), folded(&all_records(&before)));
    assert_eq!((end_of(&after), log.log_end_offset()), (end, end));
    // Any offset of the log may be asked for: the next batch that is left answers.
    for offset in 0..end.0 {
        let bytes = fixture.read(&mut log, offset, 1, end.0).unwrap();
        let next = after
            .iter()
            .find(|batch| batch.header.last_offset().0 >= offset);
        assert_eq!(bytes, next.unwrap().bytes, "at {offset}");
    }
    let leftovers = fixture.names();
    assert!(
        leftovers
            .iter()
            .all(|name| !name.contains("cleaned") && !name.contains("swap")),
        "{leftovers:?}"
    );
}

#[test]
fn whoever_holds_an_old_file_reads_on_in_it() {
    let fixture = Fixture::new(compacted(300));
    let mut log = fixture.fresh();
    for round in 0..12 {
        append(&fixture, &mut log, &[("a", Some(&format!("{round:060}")))]);
    }
    let all = batches(&fixture, &mut log);
    let plan = log.read(Offset(0), u64::MAX, log.log_end_offset()).unwrap();
    let mut scan = log.scan(log.log_end_offset());
    clean(&mut log, &fixture.disk, 2_000, LIMITS)
        .unwrap()
        .unwrap();
    let super::super::super::ReadPlan::Ready(found) = plan else {
        panic!("{plan:?}");
    };
    let mut bytes = vec![0; found.extent.length as usize];
    let file = found.extent.file;
    file.read_exact_at(found.extent.position, &mut bytes)
        .unwrap();
    assert_eq!(bytes[..all[0].bytes.len()], all[0].bytes);
    let mut scanned = 0;
    while scan.next_batch().unwrap().is_some() {
        scanned += 1;
    }
    assert_eq!(
        scanned,
        all.len(),
        "a coordinator that loads sees what was there"
    );
}

#[test]
fn an_index_loaded_for_an_old_file_is_not_taken_for_the_new_one() {
    let fixture = Fixture::new(compacted(2_000));
    let mut log = fixture.fresh();
    for round in 0..60 {
        append(&fixture, &mut log, &[("a", Some(&format!("{round:060}")))]);
    }
    let closed = fixture.close(log);
    let (mut log, _) = fixture.open(true, closed.recovery_point.0);
    log.drop_indexes();
    let end = log.log_end_offset();
    let super::super::super::ReadPlan::LoadIndex(job) = log.read(Offset(0), 1, end).unwrap() else {
        panic!("recent enough to be in memory");
    };
    let before = job.run(&fixture.disk).unwrap();
    clean(&mut log, &fixture.disk, 2_000, LIMITS)
        .unwrap()
        .unwrap();
    let late = job.run(&fixture.disk).unwrap();
    for loaded in [before, late] {
        log.install_index(loaded);
        let found = all_records(&batches(&fixture, &mut log));
        assert_eq!(folded(&found).len(), 1);
    }
}

#[test]
fn the_active_segment_and_what_is_not_committed_stay_as_they_are() {
    let fixture = Fixture::new(compacted(300));
    let mut log = fixture.fresh();
    assert_eq!(log.dirt(Timestamp(0), Offset(0)).unwrap().dirty_bytes, 0);
    for round in 0..12 {
        append(&fixture, &mut log, &[("a", Some(&format!("{round:060}")))]);
    }
    let end = log.log_end_offset();
    let dirt = log.dirt(Timestamp(2_000), end).unwrap();
    assert_eq!(dirt.upper_bound, log.active_base_offset());
    assert!((dirt.ratio() - 1.0).abs() < f64::EPSILON && dirt.is_due(0.5));
    let below = log.dirt(Timestamp(2_000), Offset(7)).unwrap();
    assert!(below.upper_bound <= Offset(7) && below.dirty_bytes < dirt.dirty_bytes);
    clean(&mut log, &fixture.disk, 2_000, LIMITS)
        .unwrap()
        .unwrap();
    let after = log.dirt(Timestamp(2_000), end).unwrap();
    assert_eq!(
        (after.dirty_bytes, after.first_dirty),
        (0, dirt.upper_bound)
    );
    assert!(!after.is_due(0.0));
}

#[test]
fn a_segment_that_was_durable_before_it_was_rolled_is_compacted_also_where_writes_are_cached() {
    let fixture = Fixture::new(TopicConfig {
        write_caching: true,
        ..compacted(100_000)
    });
    let mut log = fixture.fresh();
    append(&fixture, &mut log, &[("a", Some("1"))]);
    let plan = log.plan_sync().unwrap();
    log.synced(&plan);
    let flushed = log.flush_job().run(&fixture.disk).unwrap();
    log.flushed(flushed);
    fixture.roll(&mut log);
    let dirt = log.dirt(Timestamp(2_000), Offset(1)).unwrap();
    assert_eq!(dirt.upper_bound, Offset(1));
    assert!(dirt.dirty_bytes > 0);
}

#[test]
fn young_records_wait_for_min_compaction_lag_and_old_ones_not_beyond_max() {
    let mut settings = compacted(300);
    settings.min_compaction_lag_ms = 100;
    settings.max_compaction_lag_ms = Some(1_000);
    let fixture = Fixture::new(settings);
    let mut log = fixture.fresh();
    for timestamp in [500, 510, 520, 530, 540, 550, 560, 570] {
        let value = "x".repeat(100);
        let batch = built(BatchBuilder::new(), &[("a", Some(&value))], timestamp);
        append_built(&fixture, &mut log, &batch);
    }
    let end = log.log_end_offset();
    let young = log.dirt(Timestamp(599), end).unwrap();
    assert_eq!((young.upper_bound, young.dirty_bytes), (Offset(0), 0));
    let some = log.dirt(Timestamp(630), end).unwrap();
    assert!(
        some.dirty_bytes > 0 && some.upper_bound < log.active_base_offset(),
        "{some:?}"
    );
    assert_eq!(some.overdue_ms, 0);
    let overdue = log.dirt(Timestamp(1_501), end).unwrap();
    assert_eq!(overdue.overdue_ms, 1);
    assert!(overdue.is_due(1.0), "no ratio holds it back");
}

/// Nobody has read how old their first records are.
#[test]
fn segments_that_were_opened_before_their_topic_was_compacted_wait_not_for_ever_either() {
    let fixture = Fixture::new(config(300));
    let mut log = fixture.fresh();
    let value = "x".repeat(60);
    for timestamp in [500, 510, 520, 530, 540, 550] {
        let batch = built(BatchBuilder::new(), &[("a", Some(&value))], timestamp);
        append_built(&fixture, &mut log, &batch);
    }
    let closed = fixture.close(log);
    let (mut log, _) = fixture.open(true, closed.recovery_point.0);
    log.set_config(Arc::new(TopicConfig {
        max_compaction_lag_ms: Some(1_000),
        ..compacted(300)
    }));
    let end = log.log_end_offset();
    let overdue_ms = |now| log.dirt(Timestamp(now), end).unwrap().overdue_ms;
    assert_eq!([1_510, 1_511].map(overdue_ms), [0, 1]);
}

#[test]
fn a_log_whose_policy_or_health_forbids_it_is_not_compacted() {
    let fixture = Fixture::new(config(300));
    let mut log = fixture.fresh();
    append(&fixture, &mut log, &[("a", Some("1"))]);
    assert_eq!(log.dirt(Timestamp(0), Offset(9)), None);
    log.set_config(Arc::new(compacted(300)));
    let dirt = log.dirt(Timestamp(0), Offset(9)).unwrap();
    let cleaning = log.begin_clean(&dirt, LIMITS, Timestamp(0));
    assert_eq!(log.dirt(Timestamp(0), Offset(9)), None, "one at a time");
    drop(cleaning);
    log.end_clean(None);
    assert!(log.dirt(Timestamp(0), Offset(9)).is_some());
}

#[test]
fn a_checkpoint_of_another_life_makes_everything_dirty() {
    let fixture = Fixture::new(compacted(300));
    let mut log = fixture.fresh();
    for round in 0..12 {
        append(&fixture, &mut log, &[("a", Some(&format!("{round:060}")))]);
    }
    let end = log.log_end_offset();
    for (told, expected) in [(5, 5), (900, 0), (-3, 0)] {
        log.set_cleaned_to(Offset(told));
        assert_eq!(
            log.dirt(Timestamp(0), end).unwrap().first_dirty,
            Offset(expected)
        );
    }
}

#[test]
fn little_memory_takes_several_compactions_and_the_same_is_left() {
    let fixture = Fixture::new(compacted(600));
    let mut log = fixture.fresh();
    for round in 0..60 {
        let key = format!("{}", round % 17);
        append(&fixture, &mut log, &[(&key, Some(&format!("{round:050}")))]);
    }
    let expected = folded(&all_records(&batches(&fixture, &mut log)));
    let limits = CleanLimits {
        key_memory_bytes: 6 * 24,
        ..LIMITS
    };
    let mut rounds = 0;
    while let Some(stats) = clean(&mut log, &fixture.disk, 2_000, limits).unwrap() {
        assert!(stats.keys <= 6);
        rounds += 1;
        assert!(rounds < 100, "every round gets on");
        let left = all_records(&batches(&fixture, &mut log));
        assert_eq!(folded(&left), expected, "after round {rounds}");
    }
    assert!(rounds > 3, "{rounds}");
}

/// A log of six segments with two records each, of five keys; three of them fit one cleaned segment.
fn six_segments() -> (Fixture, Log) {
    let fixture = Fixture::new(compacted(300));
    let mut log = fixture.fresh();
    for round in 0..12 {
        let (key, value) = (format!("{}", round % 5), format!("{round:060}"));
        append(&fixture, &mut log, &[(&key, Some(&value))]);
    }
    assert_eq!(log.segment_count(), 6);
    log.set_config(Arc::new(compacted(1_000)));
    (fixture, log)
}

/// Begins to compact, and stops before the first group is put in place.
fn up_to_swap(fixture: &Fixture, log: &mut Log) -> Box<Cleaning> {
    let dirt = log.dirt(Timestamp(2_000), log.log_end_offset()).unwrap();
    let mut cleaning = log.begin_clean(&dirt, LIMITS, Timestamp(2_000));
    while cleaning.next() != Next::Swap {
        cleaning = cleaning.run(&fixture.disk).unwrap();
    }
    cleaning
}

fn delete(fixture: &Fixture, log: &mut Log, count: usize) {
    let doomed = log.delete_segments(count).run(&fixture.disk).unwrap();
    doomed.run(&fixture.disk).unwrap();
}

/// It was given up, and where retention always takes something meanwhile a log was never compacted.
#[test]
fn segments_that_retention_took_meanwhile_are_left_out_of_a_compaction_that_goes_on() {
    for gone in 1..=5 {
        let (fixture, mut log) = six_segments();
        let end = log.active_base_offset();
        let cleaning = up_to_swap(&fixture, &mut log);
        delete(&fixture, &mut log, gone);
        let cleaning = go_on(&mut log, &fixture.disk, cleaning).unwrap();
        assert_eq!(cleaning.cleaned_to(), Some(end), "{gone} are gone");
        let read = 10 - 2 * gone as u64;
        assert_eq!(cleaning.stats().records_read, read, "{gone} are gone");
        let left = offsets(&all_records(&batches(&fixture, &mut log)));
        let start = log.log_start_offset();
        let newest: Vec<i64> = (5..12).filter(|offset| *offset >= start.0).collect();
        assert_eq!(left, newest, "{gone} are gone");
        let unfinished = |name: &String| name.contains("cleaned") || name.contains("swap");
        assert!(!fixture.names().iter().any(unfinished), "{gone} are gone");
    }
}

#[test]
fn what_was_aborted_stays_out_when_the_start_of_its_transaction_is_gone_meanwhile() {
    let fixture = Fixture::new(compacted(1_000));
    let mut log = fixture.fresh();
    let (id, epoch) = (ProducerId(5), ProducerEpoch(0));
    for (sequence, key) in [(0, "a"), (1, "b")] {
        let builder = BatchBuilder::new().producer(id, epoch, Sequence(sequence));
        let batch = built(builder.transactional(), &[(key, Some("1"))], 500);
        append_built(&fixture, &mut log, &batch);
        fixture.roll(&mut log);
    }
    let marker = EndTransactionMarker {
        outcome: TransactionOutcome::Abort,
        coordinator_epoch: 0,
    };
    append_built(&fixture, &mut log, &marker.batch(id, epoch, Timestamp(500)));
    let aborted = Aborted {
        first_offset: Offset(0),
        last_offset: Offset(2),
        producer_id: id,
        last_stable_offset: Offset(0),
    };
    let path = names::segment_file(&fixture.path(), Offset(2), names::TRANSACTION_INDEX);
    let list = fixture.disk.open_or_create(&path).unwrap();
    list.write_all_at(0, &Aborted::encode(&[aborted])).unwrap();
    fixture.roll(&mut log);
    append(&fixture, &mut log, &[("c", Some("1"))]);
    let cleaning = up_to_swap(&fixture, &mut log);
    delete(&fixture, &mut log, 1);
    let cleaning = go_on(&mut log, &fixture.disk, cleaning).unwrap();
    assert_eq!(cleaning.cleaned_to(), Some(Offset(3)));
    let left = offsets(&all_records(&batches(&fixture, &mut log)));
    assert_eq!(left, [3]);
}

#[test]
fn a_compaction_that_the_log_takes_for_ended_puts_nothing_in_place() {
    let (fixture, mut log) = six_segments();
    let listed = fixture.names();
    let mut cleaning = up_to_swap(&fixture, &mut log);
    log.end_clean(None);
    assert!(!log.begin_swap(&mut cleaning));
    cleaning.give_up();
    cleaning.give_up();
    while cleaning.next() != Next::End {
        cleaning = cleaning.run(&fixture.disk).unwrap();
    }
    assert_eq!(cleaning.cleaned_to(), None);
    assert_eq!(fixture.names(), listed);
}

#[test]
fn while_files_are_exchanged_nothing_is_deleted() {
    let (fixture, mut log) = six_segments();
    let mut cleaning = up_to_swap(&fixture, &mut log);
    assert!(log.begin_swap(&mut cleaning));
    log.move_log_start(log.log_end_offset());
    let now = Timestamp(9_000);
    assert_eq!(log.retention(now, log.log_end_offset()).delete, 0);
    cleaning = cleaning.run(&fixture.disk).unwrap();
    let doomed = log.swapped(cleaning.take_swapped().unwrap());
    doomed.run(&fixture.disk).unwrap();
    assert!(log.retention(now, log.log_end_offset()).delete > 0);
}

/// They held back retention for as long as it keeps records, after each start anew.
#[test]
fn segments_without_records_go_with_the_one_behind_them() {
    let fixture = Fixture::new(TopicConfig {
        cleanup_policy: CleanupPolicy {
            delete: true,
            compact: true,
        },
        retention_ms: Some(1_000),
        ..compacted(300)
    });
    let mut log = fixture.fresh();
    let value = "x".repeat(150);
    for (timestamp, key) in [(500, "a"), (510, "a"), (520, "a"), (530, "b"), (540, "c")] {
        let mut builder = BatchBuilder::new();
        if timestamp == 510 {
            builder = builder.producer(ProducerId(1), ProducerEpoch(0), Sequence(0));
        }
        let batch = built(builder, &[(key, Some(&value))], timestamp);
        append_built(&fixture, &mut log, &batch);
    }
    let end = log.log_end_offset();
    clean(&mut log, &fixture.disk, 1_000, LIMITS)
        .unwrap()
        .unwrap();
    let lengths: Vec<u64> = log.segments.iter().map(|segment| segment.length).collect();
    assert_eq!(lengths[..2], [0, 61], "nothing, and a batch of a producer");
    let deleted = |log: &Log| {
        let at = |now| log.retention(Timestamp(now), end).delete;
        [1_520, 1_521, 1_531].map(at)
    };
    assert_eq!(deleted(&log), [0, 3, 4]);
    let closed = fixture.close(log);
    for (in_order, point) in [(true, closed.recovery_point.0), (false, 0)] {
        let (log, _) = fixture.open(in_order, point);
        assert_eq!(deleted(&log), [0, 3, 4]);
    }
}

#[test]
fn a_search_by_time_passes_over_batches_without_records() {
    let fixture = Fixture::new(compacted(300));
    let mut log = fixture.fresh();
    let value = "x".repeat(150);
    for (key, timestamp) in [("a", 900), ("b", 700), ("a", 600)] {
        let id = ProducerId(timestamp);
        let builder = BatchBuilder::new().producer(id, ProducerEpoch(0), Sequence(0));
        append_built(
            &fixture,
            &mut log,
            &built(builder, &[(key, Some(&value))], timestamp),
        );
    }
    fixture.roll(&mut log);
    append_built(
        &fixture,
        &mut log,
        &built(BatchBuilder::new(), &[("c", Some("x"))], 500),
    );
    clean(&mut log, &fixture.disk, 2_000, LIMITS)
        .unwrap()
        .unwrap();
    let left = batches(&fixture, &mut log);
    assert_eq!(
        left[0].header.record_count(),
        0,
        "kept for its producer alone"
    );
    assert_eq!(left[0].header.max_timestamp(), Timestamp(900));
    let end = log.log_end_offset();
    for reopened in [false, true] {
        if reopened {
            let point = log.recovery_point();
            drop(log);
            log = fixture.open(false, point.0).0;
        }
        let greatest = fixture.search(&log, TimeSearch::greatest(end)).unwrap();
        assert_eq!(
            (greatest.timestamp, greatest.offset),
            (Timestamp(700), Offset(1))
        );
        let at_or_after = |time| TimeSearch::at_or_after(Timestamp(time), end);
        assert_eq!(fixture.search(&log, at_or_after(800)), None);
        let found = fixture.search(&log, at_or_after(600)).unwrap();
        assert_eq!(found.offset, Offset(1));
    }
}

#[test]
fn what_a_compaction_leaves_is_found_sound() {
    let fixture = Fixture::new(compacted(400));
    let mut log = fixture.fresh();
    for round in 0..60_i32 {
        let id = ProducerId(i64::from(round / 12));
        let builder = BatchBuilder::new().producer(id, ProducerEpoch(0), Sequence(round % 12));
        let (key, value) = (format!("{}", round % 3), format!("{round:060}"));
        let pairs = [(key.as_str(), Some(value.as_str())), ("x", None)];
        append_built(
            &fixture,
            &mut log,
            &built(builder, &pairs[..1], 900 - i64::from(round)),
        );
        if round % 20 == 10 {
            append(&fixture, &mut log, &pairs);
        }
    }
    clean(&mut log, &fixture.disk, 2_000, LIMITS)
        .unwrap()
        .unwrap();
    let closed = fixture.close(log);
    let check = PartitionCheck {
        directory: fixture.path(),
        clean: true,
        recovery_point: closed.recovery_point,
        log_start_offset: None,
        compacted_to: Offset(i64::MAX),
        caches_writes: false,
        topic_id: None,
        now: Timestamp(2_000),
    };
    let topic_id = TopicId(Uuid(5));
    PartitionMetadata { topic_id }
        .write(&fixture.disk, &fixture.path())
        .unwrap();
    let verified = check.run(&fixture.disk, &mut |_| {}).unwrap();
    let faults: Vec<_> = verified
        .findings
        .iter()
        .filter(|found| found.is_fault())
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
    assert_eq!(verified.end_offset, closed.log_end_offset);
}

#[test]
fn damage_in_a_segment_ends_the_compaction_and_changes_nothing() {
    let fixture = Fixture::new(compacted(300));
    let mut log = fixture.fresh();
    for round in 0..12 {
        append(&fixture, &mut log, &[("a", Some(&format!("{round:060}")))]);
    }
    let path = names::segment_file(&fixture.path(), Offset(0), names::LOG);
    fixture
        .disk
        .open(&path)
        .unwrap()
        .write_all_at(80, b"\xff\xff")
        .unwrap();
    let listed = fixture.names();
    let failed = clean(&mut log, &fixture.disk, 2_000, LIMITS).unwrap_err();
    assert!(
        matches!(failed.error, CleanError::Damaged(_)),
        "{}",
        failed.error
    );
    assert!(
        failed
            .error
            .to_string()
            .contains("00000000000000000000.log")
    );
    let mut cleaning = failed.cleaning;
    assert!(cleaning.sources.is_empty(), "what it held is let go of");
    cleaning.give_up();
    while cleaning.next() != Next::End {
        cleaning = cleaning.run(&fixture.disk).unwrap();
    }
    assert_eq!(fixture.names(), listed);
}

#[test]
fn a_log_with_holes_is_opened_again_as_it_is() {
    let fixture = Fixture::new(compacted(400));
    let mut log = fixture.fresh();
    for round in 0..40 {
        let key = format!("{}", round % 3);
        append(&fixture, &mut log, &[(&key, Some(&format!("{round:060}")))]);
    }
    clean(&mut log, &fixture.disk, 2_000, LIMITS)
        .unwrap()
        .unwrap();
    let before = batches(&fixture, &mut log);
    let (end, point) = (log.log_end_offset(), log.recovery_point());
    let closed = fixture.close(log);
    for (clean_stop, recovery_point) in [
        (true, closed.recovery_point),
        (false, point),
        (false, Offset(0)),
    ] {
        let (mut log, report) = fixture.open(clean_stop, recovery_point.0);
        assert!(
            report.cuts.is_empty() && report.damage.is_none(),
            "{report:?}"
        );
        assert_eq!(log.log_end_offset(), end);
        assert_eq!(batches(&fixture, &mut log), before);
    }
    // Also when the topic is not compacted any more: the checkpoint of the cleaner tells of the gaps.
    let options = super::super::super::OpenOptions {
        config: Arc::new(config(400)),
        cleaned_to: point,
        ..fixture.options(false, 0)
    };
    let (mut log, report) = super::super::super::open(&fixture.disk, options).unwrap();
    assert!(
        report.cuts.is_empty() && report.damage.is_none(),
        "{report:?}"
    );
    assert_eq!(batches(&fixture, &mut log), before);
    drop(log);
    // With the epochs, indexes and snapshots gone too.
    for name in fixture.names() {
        if !name.ends_with(".log") {
            fixture
                .disk
                .remove_file(&fixture.path().join(name))
                .unwrap();
        }
    }
    let (mut log, report) = fixture.open(false, 0);
    assert!(
        report.cuts.is_empty() && report.damage.is_none(),
        "{report:?}"
    );
    assert_eq!(batches(&fixture, &mut log), before);
    assert_eq!(log.latest_epoch(), EPOCH);
}

#[test]
fn the_producers_sequences_can_still_be_told_from_the_log_alone() {
    let fixture = Fixture::new(compacted(300));
    let mut log = fixture.fresh();
    for round in 0..30 {
        let id = ProducerId(i64::from(round % 3));
        let builder = BatchBuilder::new().producer(id, ProducerEpoch(1), Sequence(round / 3));
        let value = format!("{round:060}");
        append_built(
            &fixture,
            &mut log,
            &built(builder, &[("a", Some(&value))], 500),
        );
    }
    fixture.roll(&mut log);
    append(&fixture, &mut log, &[("a", Some("last"))]);
    clean(&mut log, &fixture.disk, 2_000, LIMITS)
        .unwrap()
        .unwrap();
    assert_eq!(all_records(&batches(&fixture, &mut log)).len(), 2);
    let last = |log: &Log| -> Vec<_> {
        let last = log.producers().map(|(id, producer)| {
            let last = producer.window.last().copied();
            (
                id,
                producer.epoch,
                last.map(|last| (last.last_sequence, last.last_offset)),
            )
        });
        last.collect()
    };
    let expected = last(&log);
    assert_eq!(expected.len(), 3);
    drop(log);
    for name in fixture.names() {
        if name.ends_with(names::SNAPSHOT) || name.ends_with(names::WINDOWS) {
            fixture
                .disk
                .remove_file(&fixture.path().join(name))
                .unwrap();
        }
    }
    let (log, _) = fixture.open(false, 0);
    assert_eq!(last(&log), expected);
}
