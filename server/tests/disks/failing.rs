//! A disk that fails under one of two log directories: a fault of one partition's files takes that partition away, one of
//! the whole disk its directory; the rest goes on, and after a restart on a healed disk nothing acknowledged is missing.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use millrace_wire::ErrorCode;
use millrace_wire::message::DescribeLogDirsRequest;
use tempfile::TempDir;

use crate::failing_disk::{Cache, FailingDisk, Fault};
use crate::ledger::{Acknowledged, TOPIC, check, count, produce};
use crate::skipped;
use crate::support::broker::Broker;
use crate::support::eventually;
use crate::support::librdkafka::create_topic;
use crate::support::records::batch;
use crate::support::wire::{Limits, Wire};

/// Two in each directory.
const PARTITIONS: i32 = 4;

/// A broker with a sound log directory, which has the metadata, and one on a disk that can fail; and a producer.
struct Scene {
    broker: Broker,
    disk: FailingDisk,
    sound: TempDir,
    /// The partitions on the disk that can fail.
    endangered: Vec<i32>,
    acknowledged: Acknowledged,
    producing: Arc<AtomicBool>,
    producer: JoinHandle<usize>,
}

impl Scene {
    /// Everything in place and some records acknowledged, or a word on why nothing is tested.
    fn set(cache: Cache, settings: &[(&str, &str)]) -> Option<Self> {
        let disk = match FailingDisk::mount(cache) {
            Ok(disk) => disk,
            Err(why) => {
                skipped(&why);
                return None;
            }
        };
        let sound = tempfile::Builder::new()
            .prefix("millrace-sound-")
            .tempdir()
            .expect("a temporary directory");
        let both = format!("{},{}", sound.path().display(), disk.path().display());
        let mut all = vec![("log.dirs", both.as_str())];
        all.extend_from_slice(settings);
        let broker = Broker::start_on_a_lasting_port(&all);
        create_topic(&broker, TOPIC, PARTITIONS, &[]);
        let (acknowledged, producing) = (Acknowledged::default(), Arc::new(AtomicBool::new(true)));
        let producer = produce(&broker, &acknowledged, &producing, PARTITIONS);
        eventually("the first records", || {
            (count(&acknowledged) > 1_000).then_some(())
        });
        let names = fs::read_dir(disk.path()).expect("the disk can be listed");
        let prefix = format!("{TOPIC}-");
        let numbers = names.filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            name.strip_prefix(&prefix)?.parse().ok()
        });
        let endangered: Vec<i32> = numbers.collect();
        assert_eq!(endangered.len(), 2, "partitions are spread");
        Some(Self {
            broker,
            disk,
            sound,
            endangered,
            acknowledged,
            producing,
            producer,
        })
    }

    fn produced(&self, partition: i32) -> ErrorCode {
        let mut wire = Wire::connect(&self.broker);
        wire.produce(TOPIC, partition, batch(&["x"])).error_code
    }

    fn wait_until_offline(&self, partition: i32) {
        eventually("the partition to be offline", || {
            let read = Wire::connect(&self.broker).fetch(TOPIC, partition, 0, Limits::default());
            (read.error_code == ErrorCode::KafkaStorageError).then_some(())
        });
        assert_eq!(self.produced(partition), ErrorCode::KafkaStorageError);
    }

    fn assert_all_served_but(&self, offline: &[i32]) {
        for partition in 0..PARTITIONS {
            let expected = match offline.contains(&partition) {
                true => ErrorCode::KafkaStorageError,
                false => ErrorCode::None,
            };
            assert_eq!(self.produced(partition), expected, "{partition}");
        }
    }

    /// What DescribeLogDirs says of the sound directory and of the other one.
    fn described(&self) -> [ErrorCode; 2] {
        let answer = Wire::connect(&self.broker).ask(&DescribeLogDirsRequest::default(), 4);
        let codes: BTreeMap<PathBuf, ErrorCode> = answer
            .results
            .iter()
            .map(|result| (PathBuf::from(&*result.log_dir), result.error_code))
            .collect();
        [codes[self.sound.path()], codes[self.disk.path()]]
    }

    /// Heals the disk and starts the broker again; everything is served, and the producer comes to its end.
    fn heal(mut self) {
        self.disk.fail(Fault::None);
        self.broker.kill();
        // What the kernel could not write back of the old process, and has told nobody yet, it tells the first who syncs the file.
        for entry in fs::read_dir(self.disk.path()).expect("the disk can be listed") {
            let path = entry.expect("an entry").path();
            for file in fs::read_dir(path).into_iter().flatten().flatten() {
                let _ = fs::File::open(file.path()).and_then(|file| file.sync_data());
            }
        }
        self.heal_and(|_| {});
    }

    /// As [`Scene::heal`], with a look at the disk once the broker has recovered.
    fn heal_and(mut self, look: impl FnOnce(&FailingDisk)) {
        self.disk.fail(Fault::None);
        self.broker.kill();
        self.broker.start_again();
        self.assert_all_served_but(&[]);
        look(&self.disk);
        assert_eq!(self.described(), [ErrorCode::None; 2]);
        self.producing.store(false, Ordering::SeqCst);
        let sent = self.producer.join();
        let sent = sent.unwrap_or_else(|_| panic!("the producer failed"));
        let numbers = check(&self.broker, &self.acknowledged, PARTITIONS);
        let ours = numbers.iter().filter(|number| **number < sent).count();
        assert_eq!(ours, sent, "each record once");
        assert_eq!(count(&self.acknowledged), sent);
        self.broker.restart();
        check(&self.broker, &self.acknowledged, PARTITIONS);
        println!("{sent} records, all there once");
    }
}

/// A fault in the files of one partition only: not even its neighbour in the directory notices.
fn one_partition_fails(cache: Cache, fault: fn(String) -> Fault) -> Option<(Scene, String)> {
    let scene = Scene::set(cache, &[])?;
    let failing = scene.endangered[0];
    let directory = format!("{TOPIC}-{failing}");
    scene.disk.fail(fault(directory.clone()));
    scene.wait_until_offline(failing);
    scene.assert_all_served_but(&[failing]);
    assert_eq!(scene.described(), [ErrorCode::None; 2]);
    let said = scene.broker.await_printed("is offline until a restart", 1);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains(&directory), "{said:?}");
    scene.disk.fail(Fault::None);
    scene.assert_all_served_but(&[failing]);
    Some((scene, directory))
}

#[test]
fn a_write_that_fails_takes_its_partition_offline_and_no_other() {
    if let Some((scene, _)) = one_partition_fails(Cache::WriteThrough, Fault::Write) {
        scene.heal();
    }
}

#[test]
fn after_a_failed_sync_the_disk_is_believed_and_not_the_page_cache() {
    let Some((scene, directory)) = one_partition_fails(Cache::WriteBack, Fault::Sync) else {
        return;
    };
    let file = scene
        .disk
        .path()
        .join(directory)
        .join("00000000000000000000.log");
    let shown = fs::read(&file).expect("the page cache shows the log");
    let stored = scene.disk.stored(&file);
    assert_ne!(shown, stored, "nothing was lost, so nothing is tested");
    scene.heal_and(|disk| {
        let shown = fs::read(&file).expect("the page cache shows the log");
        assert!(
            shown == disk.stored(&file),
            "the broker serves what is not on the disk"
        );
    });
}

/// All of the disk fails: its directory goes offline as a whole, though only one partition was written to.
fn the_disk_fails(fault: Fault) {
    let Some(scene) = Scene::set(Cache::WriteBack, &[]) else {
        return;
    };
    Wire::connect(&scene.broker).create_topic("idle", PARTITIONS, &[]);
    scene.disk.fail(fault);
    for &partition in &scene.endangered {
        scene.wait_until_offline(partition);
    }
    eventually("the directory to be offline", || {
        (scene.described() == [ErrorCode::None, ErrorCode::KafkaStorageError]).then_some(())
    });
    scene.assert_all_served_but(&scene.endangered);
    let said = scene.broker.await_printed("a log directory has failed", 1);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains(&scene.disk.path().display().to_string()));
    let mut wire = Wire::connect(&scene.broker);
    let offline = (0..PARTITIONS).filter(|partition| {
        wire.list_offset("idle", *partition, -1).error_code == ErrorCode::KafkaStorageError
    });
    assert_eq!(offline.count(), 2, "nobody wrote to them");
    // New partitions go where they can.
    wire.create_topic("new", PARTITIONS, &[]);
    for partition in 0..PARTITIONS {
        wire.append("new", partition, batch(&["n"]));
    }
    scene.heal();
}

#[test]
fn a_disk_that_is_read_only_takes_its_log_directory_offline_and_new_partitions_go_elsewhere() {
    the_disk_fails(Fault::ReadOnly);
}

#[test]
fn a_disk_that_is_gone_takes_its_log_directory_offline_and_new_partitions_go_elsewhere() {
    the_disk_fails(Fault::Gone);
}

#[test]
fn a_disk_that_fails_while_nobody_writes_is_found_at_the_next_checkpoint() {
    let settings = [("log.flush.offset.checkpoint.interval.ms", "500")];
    let Some(scene) = Scene::set(Cache::WriteBack, &settings) else {
        return;
    };
    scene.producing.store(false, Ordering::SeqCst);
    eventually("the producer to end", || {
        scene.producer.is_finished().then_some(())
    });
    scene.disk.fail(Fault::Gone);
    eventually("the directory to be offline", || {
        (scene.described() == [ErrorCode::None, ErrorCode::KafkaStorageError]).then_some(())
    });
    scene.assert_all_served_but(&scene.endangered);
    scene.heal();
}
