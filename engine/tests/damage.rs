//! Every kind of file of a log directory, damaged in every way: `verify` says so, and a start recovers from the log or
//! refuses; it never serves less than was acknowledged as if that were all.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use bytes::Bytes;
use millrace_engine::config::{Alteration, TopicDefaults};
use millrace_engine::io::Disk;
use millrace_engine::log::verify::{Cure, Finding, Sort};
use millrace_engine::metadata::{
    Command as Change, CreateTopics, Metadata, MetadataOptions, NewTopic, Reply,
};
use millrace_engine::partition::{Acks, AppendError, Appended, Isolation};
use millrace_engine::record::{BatchBuilder, BatchHeader, check_crc};
use millrace_engine::shard::Gateway;
use millrace_engine::shard::command::{
    Command, DeleteRecords, Fetch, FetchPartition, Produce, ProducePartition,
};
use millrace_engine::types::{
    BrokerId, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp,
    TopicIdPartition, TopicName,
};
use millrace_engine::verify::{Report, VerifyError, VerifyOptions, verify};
use millrace_engine::{Engine, EngineOptions, IoChoice, StartError};
use tokio::sync::oneshot;

/// Records of the one partition there is; each is a batch.
const RECORDS: i64 = 40;

const METADATA: &str = "__cluster_metadata-0";

fn options(directory: &Path) -> EngineOptions {
    let texts = [
        ("segment.bytes", "1048576"),
        ("index.interval.bytes", "200"),
    ];
    let texts: BTreeMap<_, _> = texts.map(|(name, text)| (name, text.to_owned())).into();
    EngineOptions {
        shards: Some(1),
        pin: false,
        io: IoChoice::Threads,
        ..EngineOptions::new(vec![directory.to_owned()], TopicDefaults::new(texts))
    }
}

fn with_engine<Work, Output>(directory: &Path, work: Work) -> Result<Output, Box<StartError>>
where
    Work: AsyncFn(Gateway) -> Output + Send + Sync + Clone + 'static,
    Output: Send + 'static,
{
    let (sender, receiver) = mpsc::sync_channel(1);
    let task = move |gateway: Gateway| {
        let (work, sender) = (work.clone(), sender.clone());
        let future = async move { sender.send(work(gateway).await).unwrap() };
        Box::pin(future) as std::pin::Pin<Box<dyn Future<Output = ()>>>
    };
    let engine = Engine::start(options(directory), Arc::new(task)).map_err(Box::new)?;
    let output = receiver.recv_timeout(Duration::from_secs(30)).unwrap();
    engine.stop();
    Ok(output)
}

fn partition(gateway: &Gateway) -> Option<TopicIdPartition> {
    let name: TopicName = "t".parse().unwrap();
    let topic_id = gateway.image().topic(&name)?.id;
    let partition = 0;
    Some(TopicIdPartition {
        topic_id,
        partition,
    })
}

fn batch(number: i64) -> Bytes {
    let sequence = Sequence(i32::try_from(number).unwrap());
    let builder = BatchBuilder::new();
    let mut builder = builder.producer(ProducerId(7), ProducerEpoch(0), sequence);
    let value = format!("{number:0100}").repeat(1000);
    let timestamp = Timestamp(1_700_000_000_000 + number);
    builder.push(timestamp, None, Some(value.as_bytes()), &[]);
    builder.build()
}

async fn append(gateway: &Gateway, number: i64) -> Result<Appended, AppendError> {
    let partition = partition(gateway).unwrap();
    let (reply, answer) = oneshot::channel();
    let produce = Produce {
        partitions: [ProducePartition {
            partition,
            records: batch(number),
            zstd_allowed: true,
        }]
        .into(),
        acks: Acks::All,
        timeout: Duration::from_secs(10),
        reply,
    };
    let owner = gateway.owner(partition);
    let sent = gateway.send(owner, Command::Produce(produce)).await;
    sent.unwrap();
    answer.await.unwrap().results.remove(0)
}

/// A directory with a topic of several segments, left by a clean stop, with two snapshots of the metadata.
fn intact(directory: &Path) {
    intact_with(directory, Vec::new());
}

/// The same of a topic with these settings.
fn intact_with(directory: &Path, settings: Vec<Alteration>) {
    let wrote = with_engine(directory, async move |gateway: Gateway| {
        let topic = NewTopic {
            name: "t".to_owned(),
            partitions: 1,
            replication_factor: 1,
            assignments: Vec::new(),
            settings: settings.clone(),
            random: gateway.random(),
        };
        let create = CreateTopics {
            topics: vec![topic],
            partitions_default: 1,
            replication_factor_default: 1,
            partitions_max: 10,
            topic_defaults: Arc::new(TopicDefaults::default()),
            validate_only: false,
        };
        let created = gateway.propose(Change::CreateTopics(create)).await;
        assert!(matches!(created, Ok(Reply::CreateTopics(_))));
        for number in 0..RECORDS {
            let appended = append(&gateway, number).await;
            assert_eq!(appended.unwrap().base_offset, Offset(number));
        }
    });
    wrote.unwrap();
    for _ in 0..2 {
        let home = directory.join(METADATA);
        let cluster = fs::read_to_string(directory.join("meta.properties")).unwrap();
        let cluster = cluster
            .lines()
            .find_map(|line| line.strip_prefix("cluster.id="));
        let options = MetadataOptions::default();
        let disk = Disk::real();
        let mut metadata =
            Metadata::open(&disk, &home, BrokerId(1), cluster.unwrap(), options).unwrap();
        metadata.write_snapshot().unwrap();
        metadata.close().unwrap();
    }
}

/// What a reader gets who begins at offset 0.
#[derive(Debug, PartialEq, Eq)]
enum Served {
    /// Every record.
    All,
    /// Some, then an error or a batch with a wrong checksum; or an error at once.
    Refused { after: i64 },
    /// Fewer than were acknowledged, as if that were all.
    Less { end: i64, why: String },
}

async fn read(gateway: Gateway) -> Served {
    let Some(partition) = partition(&gateway) else {
        let why = "the topic is unknown".to_owned();
        return Served::Less { end: 0, why };
    };
    let mut next = 0;
    while next < RECORDS {
        let (reply, answer) = oneshot::channel();
        let wanted = FetchPartition {
            partition,
            offset: Offset(next),
            bytes_max: 1 << 20,
            current_leader_epoch: LeaderEpoch::NONE,
            last_fetched_epoch: LeaderEpoch::NONE,
            isolation: Isolation::ReadUncommitted,
        };
        let fetch = Fetch {
            id: gateway.next_fetch_id(),
            partitions: vec![wanted],
            bytes_max: 1 << 20,
            bytes_min: 1,
            deadline: gateway.now().monotonic.after(Duration::from_millis(300)),
            reply,
        };
        let owner = gateway.owner(partition);
        gateway.send(owner, Command::Fetch(fetch)).await.unwrap();
        let Ok(fetched) = answer.await.unwrap().remove(0) else {
            return Served::Refused { after: next };
        };
        let Some(extent) = fetched.extent else {
            let why = format!("high watermark {}", fetched.high_watermark);
            return Served::Less { end: next, why };
        };
        let mut bytes = vec![0; usize::try_from(extent.length).unwrap()];
        if extent
            .file
            .read_exact_at(extent.position, &mut bytes)
            .is_err()
        {
            return Served::Refused { after: next };
        }
        let mut rest = &bytes[..];
        while let Ok(header) = BatchHeader::parse(rest) {
            let Some(whole) = rest.get(..header.length_bytes()) else {
                break;
            };
            if check_crc(whole).is_err() {
                return Served::Refused { after: next };
            }
            if header.base_offset() != Offset(next) {
                let why = format!("offset {} follows", header.base_offset());
                return Served::Less { end: next, why };
            }
            let sent = batch(next);
            assert_eq!(
                whole[21..],
                sent[21..],
                "record {next} is not what was sent"
            );
            next += 1;
            rest = &rest[header.length_bytes()..];
        }
    }
    Served::All
}

/// A way to damage a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    FlipBit,
    Truncate,
    ZeroFill,
    AppendGarbage,
    Delete,
    Replace,
}

const HARMS: [Harm; 6] = [
    Harm::FlipBit,
    Harm::Truncate,
    Harm::ZeroFill,
    Harm::AppendGarbage,
    Harm::Delete,
    Harm::Replace,
];

fn harm(path: &Path, harm: Harm) {
    let mut bytes = fs::read(path).unwrap();
    let third = bytes.len().div_ceil(3);
    match harm {
        // Of a digit it makes a letter, so that a number does not become another one.
        Harm::FlipBit => bytes[third] ^= 0x40,
        Harm::Truncate => bytes.truncate(third * 2 - 1),
        Harm::ZeroFill => bytes[third..]
            .iter_mut()
            .take(third)
            .for_each(|byte| *byte = 0),
        Harm::AppendGarbage => bytes.extend_from_slice(&[0xa5; 17]),
        Harm::Delete => return fs::remove_file(path).unwrap(),
        Harm::Replace => bytes = b"not what should be here".to_vec(),
    }
    fs::write(path, bytes).unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn verified(directory: &Path, repair: bool) -> Report {
    verified_beside(directory, repair, None)
}

/// The same with `write.caching` of a properties file.
fn verified_beside(directory: &Path, repair: bool, write_caching: Option<&str>) -> Report {
    let options = VerifyOptions {
        directory: directory.to_owned(),
        metadata_directory: None,
        write_caching: write_caching.map(str::to_owned),
        repair,
        now: Timestamp(1_700_000_100_000),
    };
    let report = verify(&Disk::real(), &options, &mut |_| {}).unwrap();
    assert!(report.failed.is_none(), "{:?}", report.failed);
    report
}

/// Files of a directory with this ending, by name.
fn files(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .collect();
    paths.sort();
    paths
}

/// Every kind of file there is, one of each, by its place below the directory.
fn kinds(directory: &Path) -> Vec<(PathBuf, Sort)> {
    let t = directory.join("t-0");
    let logs = files(&t, ".log");
    assert!(logs.len() >= 4, "{logs:?}");
    let metadata = directory.join(METADATA);
    let newest = files(&metadata, ".snapshot").pop().unwrap();
    let closed = |ending: &str| logs[1].with_extension(ending);
    let snapshot = files(&t, ".snapshot").pop().unwrap();
    let all = [
        (logs[0].clone(), Sort::Records),
        (logs[1].clone(), Sort::Records),
        (logs[logs.len() - 1].clone(), Sort::Records),
        (closed("index"), Sort::OffsetIndex),
        (closed("timeindex"), Sort::TimeIndex),
        (snapshot.with_extension("windows"), Sort::Windows),
        (snapshot, Sort::Snapshot),
        (t.join("leader-epoch-checkpoint"), Sort::LeaderEpochs),
        (t.join("partition.metadata"), Sort::PartitionMetadata),
        (
            directory.join("recovery-point-offset-checkpoint"),
            Sort::Checkpoint,
        ),
        (
            directory.join("log-start-offset-checkpoint"),
            Sort::Checkpoint,
        ),
        (
            directory.join("replication-offset-checkpoint"),
            Sort::Checkpoint,
        ),
        (directory.join("meta.properties"), Sort::MetaProperties),
        (metadata.join("millrace-metadata.journal"), Sort::Journal),
        (metadata.join("millrace-metadata.vote"), Sort::Vote),
        (newest, Sort::MetadataSnapshot),
    ];
    all.map(|(path, sort)| (path.strip_prefix(directory).unwrap().to_owned(), sort))
        .to_vec()
}

/// What nobody can see, and nobody needs to: the files say nothing that others do not say too.
fn is_no_loss(sort: Sort, harm: Harm) -> bool {
    // Kafka writes no windows; of the metadata the journal reaches back to the snapshot before.
    harm == Harm::Delete && matches!(sort, Sort::Windows | Sort::MetadataSnapshot)
}

/// A start does not read closed segments, nor count them: that one in the middle is gone is for `verify` to find, as it
/// does.
fn is_known_gap(original: &Path, file: &Path, harm: Harm) -> bool {
    let logs = files(&original.join("t-0"), ".log");
    harm == Harm::Delete && original.join(file) == logs[1]
}

#[test]
fn an_intact_directory_has_no_findings() {
    let home = tempfile::tempdir().unwrap();
    intact(home.path());
    let report = verified(home.path(), false);
    assert_eq!(report.findings, []);
    assert!(report.clean);
    assert_eq!((report.partitions, report.batches), (1, 40));
    assert_eq!(with_engine(home.path(), read).unwrap(), Served::All);
    let report = verified(home.path(), false);
    assert_eq!(report.findings, [], "after another start and stop");
}

#[test]
fn records_deleted_up_to_the_middle_of_a_segment_are_no_fault_of_the_leader_epochs() {
    let home = tempfile::tempdir().unwrap();
    intact(home.path());
    let deleted = with_engine(home.path(), async |gateway: Gateway| {
        let partition = partition(&gateway).unwrap();
        let (reply, answer) = oneshot::channel();
        let delete = DeleteRecords {
            partitions: vec![(partition, Some(Offset(3)))],
            reply,
        };
        let owner = gateway.owner(partition);
        let sent = gateway.send(owner, Command::DeleteRecords(delete)).await;
        sent.unwrap();
        answer.await.unwrap().remove(0)
    });
    assert_eq!(deleted.unwrap().unwrap(), Offset(3));
    // The epochs are cut where the log begins by the start after it.
    with_engine(home.path(), async |_| ()).unwrap();
    assert_eq!(verified(home.path(), false).findings, []);
}

#[test]
fn every_damage_to_every_kind_of_file_is_reported_and_never_served_as_whole() {
    let home = tempfile::tempdir().unwrap();
    let original = home.path().join("original");
    intact(&original);
    let mut wrong = Vec::new();
    for (file, sort) in kinds(&original) {
        for kind in HARMS {
            let directory = home.path().join("copy");
            copy(&original, &directory);
            let path = directory.join(&file);
            harm(&path, kind);
            let case = format!("{kind:?} {}", file.display());
            let report = verified(&directory, false);
            let reported = |finding: &Finding| {
                let same = finding.path == path
                    || (kind == Harm::Delete && finding.path.starts_with(path.parent().unwrap()));
                // A companion without its snapshot is what is seen of a snapshot that is gone.
                let alike = sort == Sort::Snapshot && finding.sort == Sort::Windows;
                same && (finding.sort == sort || alike)
            };
            if !report.findings.iter().any(reported) && !is_no_loss(sort, kind) {
                wrong.push(format!("{case}: not reported, but {:?}", report.findings));
            }
            match with_engine(&directory, read) {
                Ok(Served::All | Served::Refused { .. }) => {}
                Ok(Served::Less { .. }) if is_known_gap(&original, &file, kind) => {}
                Ok(less) => wrong.push(format!("{case}: {less:?}")),
                Err(error) => {
                    let text = error.to_string();
                    let name = path.file_name().unwrap().to_string_lossy().into_owned();
                    if !text.contains(&name) && sort != Sort::MetaProperties {
                        wrong.push(format!("{case}: refused with {text:?}"));
                    }
                }
            }
            fs::remove_dir_all(&directory).unwrap();
        }
    }
    assert!(
        wrong.is_empty(),
        "{} cases:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn what_can_be_made_anew_is_whole_after_a_repair() {
    let home = tempfile::tempdir().unwrap();
    let original = home.path().join("original");
    intact(&original);
    let derived = [
        Sort::OffsetIndex,
        Sort::TimeIndex,
        Sort::Snapshot,
        Sort::Windows,
        Sort::LeaderEpochs,
        Sort::PartitionMetadata,
    ];
    for (file, sort) in kinds(&original) {
        if !derived.contains(&sort) {
            continue;
        }
        for kind in HARMS {
            let directory = home.path().join("copy");
            copy(&original, &directory);
            harm(&directory.join(&file), kind);
            let repaired = verified(&directory, true);
            let again = verified(&directory, false);
            assert_eq!(
                again.findings,
                [],
                "{kind:?} {}: did {:?}",
                file.display(),
                repaired.done
            );
            assert_eq!(
                repaired.done.is_empty(),
                is_no_loss(sort, kind),
                "{:?}",
                repaired.done
            );
            assert_eq!(with_engine(&directory, read).unwrap(), Served::All);
            fs::remove_dir_all(&directory).unwrap();
        }
    }
}

#[test]
fn records_are_never_changed_by_a_repair() {
    let home = tempfile::tempdir().unwrap();
    let original = home.path().join("original");
    intact(&original);
    for (file, _) in kinds(&original)
        .into_iter()
        .filter(|(_, sort)| *sort == Sort::Records)
    {
        for kind in HARMS.into_iter().filter(|kind| *kind != Harm::Delete) {
            let directory = home.path().join("copy");
            copy(&original, &directory);
            harm(&directory.join(&file), kind);
            let logs = || -> Vec<_> {
                files(&directory.join("t-0"), ".log")
                    .iter()
                    .map(|path| fs::read(path).unwrap())
                    .collect()
            };
            let before = logs();
            let report = verified(&directory, true);
            assert!(report.has_faults(), "{kind:?} {}", file.display());
            assert_eq!(logs(), before, "{kind:?} {}", file.display());
            fs::remove_dir_all(&directory).unwrap();
        }
    }
}

#[test]
fn all_faults_of_a_log_are_reported_and_not_the_first_only() {
    let home = tempfile::tempdir().unwrap();
    intact(home.path());
    let logs = files(&home.path().join("t-0"), ".log");
    for path in &logs[..2] {
        let mut bytes = fs::read(path).unwrap();
        let last = bytes.len() - 1;
        bytes[100] ^= 1;
        bytes[last] ^= 1;
        fs::write(path, bytes).unwrap();
    }
    let report = verified(home.path(), false);
    let records = report
        .findings
        .iter()
        .filter(|finding| finding.sort == Sort::Records);
    let paths: Vec<_> = records.map(|finding| &finding.path).collect();
    assert_eq!(
        paths,
        [&logs[0], &logs[0], &logs[1], &logs[1]],
        "{:?}",
        report.findings
    );
    assert_eq!(report.batches, 36);
}

/// CRC-32C, bit by bit.
fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
    !bytes
        .iter()
        .fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

#[test]
fn a_compressed_batch_that_is_what_its_client_sent_keeps_nothing_from_being_repaired() {
    let home = tempfile::tempdir().unwrap();
    intact(home.path());
    let logs = files(&home.path().join("t-0"), ".log");
    let sent = |codec: u8| {
        let mut bytes = fs::read(&logs[1]).unwrap();
        let end = BatchHeader::parse(&bytes).unwrap().length_bytes();
        bytes[22] = codec;
        // No length of a record, either.
        bytes[61..71].fill(0xff);
        let sum = crc(&bytes[21..end]);
        bytes[17..21].copy_from_slice(&sum.to_be_bytes());
        fs::write(&logs[1], bytes).unwrap();
    };
    let index = logs[1].with_extension("index");
    harm(&index, Harm::ZeroFill);
    let checkpoint = home.path().join("recovery-point-offset-checkpoint");
    harm(&checkpoint, Harm::ZeroFill);
    let (gzip, control) = (1, 0x20);
    // Nothing of ours lets an uncompressed one in, nor takes a control batch from a client.
    for broken in [0, gzip | control] {
        sent(broken);
        let report = verified(home.path(), true);
        let lost = |finding: &Finding| finding.path == logs[1] && finding.cure == Cure::Restore;
        assert!(report.findings.iter().any(lost), "{:?}", report.findings);
        assert_eq!(report.done, Vec::<String>::new());
    }
    sent(gzip);
    let report = verified(home.path(), true);
    assert_eq!(report.done.len(), 2, "{:?}", report.findings);
    let left = verified(home.path(), false);
    let of_client = |finding: &&Finding| finding.path == logs[1];
    let note = left.findings.iter().find(of_client).unwrap();
    assert_eq!((note.sort, note.cure), (Sort::Records, Cure::LeaveAlone));
    assert!(!left.has_faults(), "{:?}", left.findings);
    assert_eq!(left.batches, u64::try_from(RECORDS).unwrap());
}

#[test]
fn a_torn_tail_behind_the_recovery_point_is_no_fault_and_is_cut_at_the_start() {
    let home = tempfile::tempdir().unwrap();
    intact(home.path());
    fs::remove_file(home.path().join(".kafka_cleanshutdown")).unwrap();
    let last = files(&home.path().join("t-0"), ".log").pop().unwrap();
    harm(&last, Harm::AppendGarbage);
    let report = verified(home.path(), false);
    assert!(!report.has_faults(), "{:?}", report.findings);
    let torn = &report.findings[0];
    assert_eq!(
        (&torn.path, torn.sort, torn.cure),
        (&last, Sort::Records, Cure::AtStart)
    );
    assert_eq!(with_engine(home.path(), read).unwrap(), Served::All);
    assert_eq!(verified(home.path(), false).findings, []);
}

#[test]
fn damage_that_was_found_once_is_found_by_the_start_after_a_stop_in_order_too() {
    let home = tempfile::tempdir().unwrap();
    intact(home.path());
    let mark = home.path().join(".kafka_cleanshutdown");
    fs::remove_file(&mark).unwrap();
    let segment = files(&home.path().join("t-0"), ".log").remove(1);
    let mut bytes = fs::read(&segment).unwrap();
    let first = BatchHeader::parse(&bytes).unwrap();
    // The magic byte of its second batch.
    bytes[first.length_bytes() + 16] ^= 0x40;
    fs::write(&segment, bytes).unwrap();
    let point = first.base_offset().0 + 2;
    let checkpoint = home.path().join("recovery-point-offset-checkpoint");
    fs::write(checkpoint, format!("0\n1\nt 0 {point}\n")).unwrap();
    let epochs = home.path().join("t-0/leader-epoch-checkpoint");
    let before = fs::read(&epochs).unwrap();
    for start in ["first", "second"] {
        let appended = with_engine(home.path(), async |gateway: Gateway| {
            append(&gateway, RECORDS).await
        });
        let refused = matches!(appended.unwrap(), Err(AppendError::Storage));
        assert!(refused, "{start}");
        assert!(!mark.exists(), "{start}");
        assert_eq!(fs::read(&epochs).unwrap(), before, "{start}");
    }
}

#[test]
fn leftovers_are_removed_and_files_of_others_are_kept() {
    let home = tempfile::tempdir().unwrap();
    intact(home.path());
    let leftovers = [
        "t-0/00000000000000000000.index.deleted",
        "t-0/00000000000000000000.log.cleaned",
        "t-0/leader-epoch-checkpoint.tmp",
        "recovery-point-offset-checkpoint.tmp",
        "__cluster_metadata-0/millrace-metadata.vote.tmp",
        "t-1.AAAAAAAAAAAAAAAAAAAAAQ-delete/00000000000000000000.log",
    ];
    let foreign = [
        "t-0/notes.txt",
        "lost+found",
        "__cluster_metadata-0/x",
        "do-not-delete/notes.txt",
    ];
    for directory in ["t-1.AAAAAAAAAAAAAAAAAAAAAQ-delete", "do-not-delete"] {
        fs::create_dir(home.path().join(directory)).unwrap();
    }
    for name in leftovers.iter().chain(&foreign) {
        fs::write(home.path().join(name), "x").unwrap();
    }
    let report = verified(home.path(), false);
    assert!(!report.has_faults(), "{:?}", report.findings);
    let of = |sort: Sort| {
        report
            .findings
            .iter()
            .filter(|finding| finding.sort == sort)
            .count()
    };
    assert_eq!(
        (of(Sort::Leftover), of(Sort::Foreign)),
        (leftovers.len(), foreign.len())
    );
    let repaired = verified(home.path(), true);
    assert_eq!(repaired.done.len(), leftovers.len(), "{:?}", repaired.done);
    for name in leftovers {
        assert!(!home.path().join(name).exists(), "{name}");
    }
    for name in foreign {
        assert!(home.path().join(name).exists(), "{name}");
    }
}

#[test]
fn an_empty_segment_inside_of_another_is_no_fault_and_the_next_start_removes_it() {
    for offset in [3, RECORDS - 1] {
        let home = tempfile::tempdir().unwrap();
        intact(home.path());
        let path = home.path().join(format!("t-0/{offset:020}.log"));
        fs::write(&path, "").unwrap();
        let report = verified(home.path(), false);
        assert!(!report.has_faults(), "{:?}", report.findings);
        assert_eq!(report.findings[0].path, path);
        assert_eq!(with_engine(home.path(), read).unwrap(), Served::All);
        assert!(!path.exists());
        assert_eq!(verified(home.path(), false).findings, []);
    }
}

#[test]
fn a_directory_in_use_and_one_that_is_none_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let options = VerifyOptions {
        directory: home.path().to_owned(),
        metadata_directory: None,
        write_caching: None,
        repair: true,
        now: Timestamp(0),
    };
    let refused = verify(&Disk::real(), &options, &mut |_| {}).unwrap_err();
    assert!(
        matches!(refused, VerifyError::NoLogDirectory { .. }),
        "{refused}"
    );
    assert_eq!(
        fs::read_dir(home.path()).unwrap().count(),
        0,
        "nothing is left there"
    );
    intact(home.path());
    let used = with_engine(home.path(), async move |_| {
        verify(&Disk::real(), &options, &mut |_| {})
            .unwrap_err()
            .to_string()
    });
    let text = used.unwrap();
    assert!(
        text.contains("in use") && text.contains("stop the broker first"),
        "{text}"
    );
}

#[test]
fn a_log_start_behind_the_end_of_a_log_deletes_nothing() {
    let home = tempfile::tempdir().unwrap();
    intact(home.path());
    let checkpoint = home.path().join("log-start-offset-checkpoint");
    fs::write(&checkpoint, "0\n1\nt 0 90\n").unwrap();
    let before = files(&home.path().join("t-0"), ".log");
    let report = verified(home.path(), false);
    assert!(
        report
            .findings
            .iter()
            .any(|finding| finding.path == checkpoint && finding.is_fault())
    );
    let served = with_engine(home.path(), read).unwrap();
    assert_eq!(served, Served::Refused { after: 0 });
    assert_eq!(files(&home.path().join("t-0"), ".log"), before);
}

/// Nothing was found wrong with it, or a tail that the next start would cut, and that start refused it.
#[test]
fn after_a_kill_a_log_start_behind_the_end_is_a_fault_unless_the_topic_caches_writes() {
    // Of the topic, and of the broker's properties file.
    for (own, by_file, caches) in [
        (Some("false"), None, false),
        (Some("false"), Some("true"), false),
        (Some("true"), None, true),
        (None, None, false),
        (None, Some("true"), true),
    ] {
        let home = tempfile::tempdir().unwrap();
        let own = own.map(|own| Alteration::set("write.caching", own));
        intact_with(home.path(), own.into_iter().collect());
        fs::remove_file(home.path().join(".kafka_cleanshutdown")).unwrap();
        let last = files(&home.path().join("t-0"), ".log").pop().unwrap();
        harm(&last, Harm::AppendGarbage);
        let path = |name: &str| home.path().join(format!("{name}-offset-checkpoint"));
        for (name, offset) in [("recovery-point", 10), ("log-start", 90)] {
            fs::write(path(name), format!("0\n1\nt 0 {offset}\n")).unwrap();
        }
        let report = verified_beside(home.path(), false, by_file);
        let faults = report.findings.iter().filter(|finding| finding.is_fault());
        let faults: Vec<_> = faults.map(|finding| finding.path.clone()).collect();
        if caches {
            assert_eq!(faults, Vec::<PathBuf>::new());
            continue;
        }
        assert_eq!(faults, [path("log-start")]);
        // The broker of this test has no file.
        if by_file.is_some() {
            continue;
        }
        let length = fs::metadata(&last).unwrap().len();
        let served = with_engine(home.path(), read).unwrap();
        assert_eq!(served, Served::Refused { after: 0 });
        assert_eq!(fs::metadata(&last).unwrap().len(), length);
    }
}

#[test]
fn a_partition_that_lost_all_its_segments_is_not_begun_anew() {
    let home = tempfile::tempdir().unwrap();
    intact(home.path());
    for path in files(&home.path().join("t-0"), ".log") {
        fs::remove_file(path).unwrap();
    }
    let report = verified(home.path(), false);
    let lost = |finding: &Finding| finding.sort == Sort::Records && finding.is_fault();
    assert!(report.findings.iter().any(lost), "{:?}", report.findings);
    let served = with_engine(home.path(), read).unwrap();
    assert_eq!(served, Served::Refused { after: 0 });
}

/// Makes the topic one that compaction may have taken offsets from: the cleaner checkpoint names it.
fn make_compacted(directory: &Path) {
    let checkpoint = directory.join("cleaner-offset-checkpoint");
    fs::write(checkpoint, "0\n1\nt 0 1\n").unwrap();
}

#[test]
fn a_segment_gone_from_the_middle_of_a_compacted_log_is_a_fault_that_no_repair_tidies_away() {
    let home = tempfile::tempdir().unwrap();
    intact(home.path());
    make_compacted(home.path());
    assert!(!verified(home.path(), false).has_faults());
    let gone = files(&home.path().join("t-0"), ".log").remove(1);
    fs::remove_file(&gone).unwrap();
    for repair in [true, false] {
        let report = verified(home.path(), repair);
        let lost = |finding: &&Finding| finding.path == gone;
        let found: Vec<_> = report.findings.iter().filter(lost).collect();
        let [lost] = found[..] else {
            panic!("{:?}", report.findings);
        };
        assert_eq!((lost.sort, lost.cure), (Sort::Records, Cure::Restore));
        assert!(gone.with_extension("index").exists(), "{:?}", report.done);
        assert!(gone.with_extension("timeindex").exists());
    }
}

/// Takes a segment from the middle of the log with all its files, as compaction does.
fn take_segment(directory: &Path) {
    let t = directory.join("t-0");
    let log = files(&t, ".log").remove(1);
    for path in files(&t, "") {
        if path.file_stem() == log.file_stem() {
            fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn gaps_of_compaction_are_no_losses_where_the_checkpoint_of_the_cleaner_is_broken() {
    let home = tempfile::tempdir().unwrap();
    intact(home.path());
    take_segment(home.path());
    make_compacted(home.path());
    assert!(!verified(home.path(), false).has_faults());
    let checkpoint = home.path().join("cleaner-offset-checkpoint");
    harm(&checkpoint, Harm::Truncate);
    let repaired = verified(home.path(), true);
    let found: Vec<_> = repaired
        .findings
        .iter()
        .map(|finding| (&finding.path, finding.cure))
        .collect();
    assert_eq!(found, [(&checkpoint, Cure::AtStart)]);
    // Without the file a start would not know that there may be gaps.
    assert_eq!(repaired.done, Vec::<String>::new());
    assert!(checkpoint.exists());
    with_engine(home.path(), async |_| ()).unwrap();
}

/// Nothing tells what was on stable storage, and a gap might pass for the end of what was.
#[test]
fn a_start_beside_a_broken_checkpoint_of_the_cleaner_cuts_no_log_off_at_a_gap() {
    let home = tempfile::tempdir().unwrap();
    intact(home.path());
    take_segment(home.path());
    make_compacted(home.path());
    for name in [".kafka_cleanshutdown", "recovery-point-offset-checkpoint"] {
        fs::remove_file(home.path().join(name)).unwrap();
    }
    let checkpoint = home.path().join("cleaner-offset-checkpoint");
    harm(&checkpoint, Harm::Truncate);
    let logs = || files(&home.path().join("t-0"), ".log");
    let before = logs();
    let served = with_engine(home.path(), read).unwrap();
    let Served::Less { why, .. } = served else {
        panic!("{served:?}");
    };
    assert!(why.ends_with("follows"), "the rest is served: {why}");
    assert_eq!(logs(), before);
}

#[test]
fn a_gap_that_no_recovery_point_vouches_for_is_a_loss_beside_a_broken_checkpoint_of_the_cleaner() {
    let home = tempfile::tempdir().unwrap();
    intact(home.path());
    take_segment(home.path());
    make_compacted(home.path());
    let path = |name: &str| home.path().join(format!("{name}-offset-checkpoint"));
    let broken = ["cleaner", "recovery-point"].map(path);
    for checkpoint in &broken {
        harm(checkpoint, Harm::Truncate);
    }
    let repaired = verified(home.path(), true);
    let lost = |finding: &Finding| finding.sort == Sort::Records && finding.cure == Cure::Restore;
    assert!(
        repaired.findings.iter().any(lost),
        "{:?}",
        repaired.findings
    );
    assert_eq!(repaired.done, Vec::<String>::new());
    assert!(broken.iter().all(|checkpoint| checkpoint.exists()));
}

#[test]
fn index_files_that_interrupted_work_left_are_no_fault() {
    let home = tempfile::tempdir().unwrap();
    intact(home.path());
    make_compacted(home.path());
    let t = home.path().join("t-0");
    let logs = files(&t, ".log");
    // A roll that failed: the segment before goes on past it.
    let inside = t.join(format!("{:020}.index", 1));
    fs::write(&inside, "").unwrap();
    let report = verified(home.path(), false);
    assert!(!report.has_faults(), "{:?}", report.findings);
    assert_eq!(report.findings[0].path, inside);
    // A compaction that had not put its files in place.
    fs::rename(&logs[1], logs[1].with_extension("log.swap")).unwrap();
    let report = verified(home.path(), false);
    assert!(!report.has_faults(), "{:?}", report.findings);
}

/// It was reported as a loss, to be restored from a copy.
#[test]
fn the_directory_of_a_deleted_topic_is_no_loss_and_the_next_start_sets_it_aside() {
    let home = tempfile::tempdir().unwrap();
    intact(home.path());
    // A full disk kept them from being renamed. The topic of one was made anew since, with fewer partitions.
    let left = ["gone-0", "t-1"].map(|name| home.path().join(name));
    for directory in &left {
        copy(&home.path().join("t-0"), directory);
        fs::remove_file(files(directory, ".log").remove(1)).unwrap();
        let metadata = "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAw";
        fs::write(directory.join("partition.metadata"), metadata).unwrap();
    }
    for repair in [false, true] {
        let report = verified(home.path(), repair);
        let found = report.findings.iter();
        let found: Vec<_> = found
            .map(|finding| (&finding.path, finding.sort, finding.cure))
            .collect();
        let set_aside = |path| (path, Sort::PartitionDirectory, Cure::AtStart);
        assert_eq!(found, left.each_ref().map(set_aside));
        assert_eq!(report.done, Vec::<String>::new());
    }
    with_engine(home.path(), async |_| ()).unwrap();
    assert!(left.iter().all(|directory| !directory.exists()));
    assert_eq!(files(home.path(), "-stray").len(), left.len());
}

#[test]
fn a_partition_whose_file_names_another_topic_is_not_taken_for_a_deleted_topics() {
    let home = tempfile::tempdir().unwrap();
    intact(home.path());
    let metadata = "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAw";
    fs::write(home.path().join("t-0/partition.metadata"), metadata).unwrap();
    let report = verified(home.path(), false);
    let is_fault = |finding: &Finding| finding.cure != Cure::AtStart;
    assert!(report.findings.iter().any(is_fault), "{report:?}");
}

#[test]
fn a_partition_whose_directory_is_gone_is_missed() {
    let home = tempfile::tempdir().unwrap();
    intact(home.path());
    fs::remove_dir_all(home.path().join("t-0")).unwrap();
    let report = verified(home.path(), false);
    let [missed] = &report.findings[..] else {
        panic!("{:?}", report.findings);
    };
    assert_eq!(
        (missed.sort, &missed.path),
        (Sort::PartitionDirectory, &home.path().join("t-0"))
    );
    for _ in 0..2 {
        let served = with_engine(home.path(), read).unwrap();
        assert_eq!(served, Served::Refused { after: 0 });
        assert!(!home.path().join("t-0").exists());
    }
}

#[test]
fn checkpoints_that_only_save_time_are_removed_by_a_repair_and_others_are_kept() {
    let home = tempfile::tempdir().unwrap();
    intact(home.path());
    let path = |name: &str| home.path().join(format!("{name}-offset-checkpoint"));
    let log_starts = fs::read(path("log-start")).unwrap();
    for name in ["recovery-point", "replication", "log-start"] {
        harm(&path(name), Harm::ZeroFill);
    }
    let repaired = verified(home.path(), true);
    assert_eq!(repaired.done, Vec::<String>::new(), "a log start is lost");
    fs::write(path("log-start"), log_starts).unwrap();
    let repaired = verified(home.path(), true);
    assert_eq!(repaired.done.len(), 2, "{:?}", repaired.done);
    assert!(!path("recovery-point").exists() && !path("replication").exists());
    assert!(!verified(home.path(), false).has_faults());
    assert_eq!(with_engine(home.path(), read).unwrap(), Served::All);
}

#[test]
fn a_repair_leaves_a_broken_checkpoint_where_a_directory_is_gone_and_a_start_would_begin_it_anew() {
    let home = tempfile::tempdir().unwrap();
    intact(home.path());
    let checkpoint = home.path().join("recovery-point-offset-checkpoint");
    harm(&checkpoint, Harm::ZeroFill);
    fs::remove_dir_all(home.path().join("t-0")).unwrap();
    let repaired = verified(home.path(), true);
    let missed = |finding: &Finding| {
        finding.sort == Sort::PartitionDirectory && finding.cure == Cure::Restore
    };
    // By its high watermark.
    assert!(
        repaired.findings.iter().any(missed),
        "{:?}",
        repaired.findings
    );
    assert_eq!(repaired.done, Vec::<String>::new());
    assert!(checkpoint.exists());
    assert_eq!(repaired.left.len(), 1, "{:?}", repaired.left);
    let name = checkpoint.display().to_string();
    assert!(repaired.left[0].contains(&name), "{:?}", repaired.left);
}
