//! Random histories of appends, compactions and restarts against a plain list of all that was ever appended.

use proptest::prelude::*;

use super::*;
use crate::record::{BatchBuilder, Compression, PreparedBatch, RecordHeader};
use crate::types::{ProducerEpoch, ProducerId, Sequence};

/// One record of a batch: key, value, headers.
#[derive(Clone, Debug)]
struct Planned {
    key: Option<u8>,
    value: Option<Vec<u8>>,
    header: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Append {
        records: Vec<Planned>,
        codec: u8,
        producer: Option<i64>,
        stamped: bool,
    },
    Roll,
    /// Time passes, then everything that may be is compacted.
    Clean {
        after_ms: i64,
        few_keys: bool,
    },
    /// Closed in order, or not, with or without the snapshots.
    Restart {
        in_order: bool,
        snapshots: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let value = prop::option::weighted(0.75, prop::collection::vec(any::<u8>(), 0..60));
    let record = (prop::option::weighted(0.95, 0_u8..7), value, any::<bool>())
        .prop_map(|(key, value, header)| Planned { key, value, header });
    let records = prop::collection::vec(record, 1..6);
    prop_oneof![
        12 => (records, 0_u8..5, prop::option::of(0_i64..3), prop::bool::weighted(0.1)).prop_map(
            |(records, codec, producer, stamped)| Step::Append { records, codec, producer, stamped }
        ),
        1 => Just(Step::Roll),
        3 => (0_i64..900, prop::bool::weighted(0.3))
            .prop_map(|(after_ms, few_keys)| Step::Clean { after_ms, few_keys }),
        1 => (any::<bool>(), any::<bool>())
            .prop_map(|(in_order, snapshots)| Step::Restart { in_order, snapshots }),
    ]
}

/// What is known from outside.
#[derive(Default)]
struct Model {
    /// All records ever appended, by offset.
    records: Vec<Record>,
    /// When a compaction first went over each offset.
    first_cleaned: BTreeMap<i64, i64>,
    cleaned_to: i64,
    sequences: BTreeMap<i64, i32>,
}

impl Model {
    fn check(&self, found: &[Batch], now: i64) {
        let mut next = Offset::ZERO;
        for batch in found {
            assert!(batch.header.base_offset() >= next, "offsets never change");
            next = batch.header.next_offset();
        }
        let records = all_records(found);
        for record in &records {
            let place = usize::try_from(record.offset.0).unwrap();
            assert_eq!(
                record, &self.records[place],
                "the same bytes at the same offset"
            );
        }
        assert_eq!(folded(&records), folded(&self.records), "a consumer from 0");
        let mut newest = BTreeMap::new();
        for record in &self.records {
            if let Some(key) = &record.key {
                newest.insert(key.clone(), record);
            }
        }
        for record in newest.values().filter(|record| record.value.is_none()) {
            let cleaned = self.first_cleaned.get(&record.offset.0);
            let kept = cleaned.is_none_or(|first| now < first + 1_000);
            let here = records.iter().any(|found| found == *record);
            assert!(here || !kept, "{record:?} may still be asked for at {now}");
        }
    }

    /// Below the end of a compaction each key stands once, and every record has one.
    fn check_cleaned(&self, found: &[Batch]) {
        let mut seen = BTreeMap::new();
        for record in all_records(found) {
            if record.offset.0 < self.cleaned_to {
                let key = record.key.clone().expect("records without keys are gone");
                let before = seen.insert(key, record.offset);
                assert_eq!(before, None, "{record:?} is not the only one of its key");
            }
        }
    }
}

fn build(model: &mut Model, step: &Step, now: i64) -> Bytes {
    let Step::Append {
        records,
        codec,
        producer,
        stamped,
    } = step
    else {
        panic!("{step:?}");
    };
    let compression = Compression::from_id(*codec).unwrap();
    let mut builder = BatchBuilder::new().compression(compression);
    if *stamped {
        builder = builder.log_append_time(Timestamp(now));
    }
    if let Some(id) = producer {
        let sequence = model.sequences.entry(*id).or_default();
        builder = builder.producer(ProducerId(*id), ProducerEpoch(0), Sequence(*sequence));
        *sequence += i32::try_from(records.len()).unwrap();
    }
    for (place, record) in records.iter().enumerate() {
        let key = record.key.map(|key| vec![key; 1 + usize::from(key) * 4]);
        let header = RecordHeader {
            key: Bytes::from_static(b"h"),
            value: None,
        };
        let headers: Vec<RecordHeader> = record.header.then_some(header).into_iter().collect();
        let timestamp = Timestamp(now - 5 * place as i64);
        builder.push(timestamp, key.as_deref(), record.value.as_deref(), &headers);
        model.records.push(Record {
            offset: Offset(model.records.len() as i64),
            timestamp: if *stamped { Timestamp(now) } else { timestamp },
            key: key.map(Bytes::from),
            value: record.value.clone().map(Bytes::from),
            headers,
        });
    }
    builder.build()
}

fn restart(fixture: &Fixture, log: Log, in_order: bool, snapshots: bool) -> Log {
    let (point, cleaned_to) = (log.recovery_point(), log.clean.cleaned_to);
    let point = if in_order {
        fixture.close(log).recovery_point
    } else {
        drop(log);
        point
    };
    if !snapshots {
        for name in fixture.names() {
            if name.ends_with(".snapshot") || name.ends_with(".windows") {
                fixture
                    .disk
                    .remove_file(&fixture.path().join(name))
                    .unwrap();
            }
        }
    }
    let (mut log, report) = fixture.open(in_order, point.0);
    assert!(
        report.cuts.is_empty() && report.damage.is_none(),
        "{report:?}"
    );
    log.set_cleaned_to(cleaned_to);
    log
}

fn play(steps: &[Step]) {
    let fixture = Fixture::new(compacted(700));
    let mut log = fixture.fresh();
    let mut model = Model::default();
    let mut now = 10_000;
    for step in steps {
        match step {
            Step::Append { .. } => {
                let batch = build(&mut model, step, now);
                let prepared = PreparedBatch::from_builder(&batch).unwrap();
                fixture.append(&mut log, &prepared);
            }
            Step::Roll => {
                if log.active_base_offset() < log.log_end_offset() {
                    fixture.roll(&mut log);
                }
            }
            Step::Clean { after_ms, few_keys } => {
                now += after_ms;
                let limits = CleanLimits {
                    key_memory_bytes: if *few_keys { 3 * 24 } else { 1 << 16 },
                    ..LIMITS
                };
                while clean(&mut log, &fixture.disk, now, limits)
                    .unwrap()
                    .is_some()
                {
                    for offset in model.cleaned_to..log.clean.cleaned_to.0 {
                        model.first_cleaned.insert(offset, now);
                    }
                    model.cleaned_to = log.clean.cleaned_to.0;
                    let found = batches(&fixture, &mut log);
                    model.check(&found, now);
                    model.check_cleaned(&found);
                }
            }
            Step::Restart {
                in_order,
                snapshots,
            } => {
                let before = last_sequences(&log);
                log = restart(&fixture, log, *in_order, *snapshots);
                assert_eq!(
                    last_sequences(&log),
                    before,
                    "what producers may send again"
                );
            }
        }
        assert_eq!(log.log_end_offset().0, model.records.len() as i64);
    }
    let found = batches(&fixture, &mut log);
    model.check(&found, now);
    for offset in 0..model.records.len() as i64 {
        let bytes = fixture.read(&mut log, offset, 1, i64::MAX).unwrap();
        let next = found
            .iter()
            .find(|batch| batch.header.last_offset().0 >= offset);
        assert_eq!(
            Some(&bytes),
            next.map(|batch| &batch.bytes),
            "a read at {offset}"
        );
    }
}

fn last_sequences(log: &Log) -> Vec<(ProducerId, Sequence)> {
    let all = log.producers();
    all.map(|(id, producer)| (id, producer.last_sequence()))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn compaction_leaves_what_a_map_would_hold(steps in prop::collection::vec(step(), 1..70)) {
        play(&steps);
    }
}
