//! `millrace verify-log` as a program: what it prints, and its exit code.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::Path;
use std::process::Command;

use millrace_engine::record::BatchBuilder;
use millrace_engine::types::{LeaderEpoch, Offset, Timestamp};

/// A log directory with one partition of three batches, as a killed broker leaves it.
fn log_directory(home: &Path) {
    let properties = "version=1\nnode.id=1\ncluster.id=x\ndirectory.id=AAAAAAAAAAAAAAAAAAAAAg\n";
    fs::write(home.join("meta.properties"), properties).unwrap();
    let partition = home.join("t-0");
    fs::create_dir(&partition).unwrap();
    let metadata = "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAw";
    fs::write(partition.join("partition.metadata"), metadata).unwrap();
    let mut log = Vec::new();
    for offset in 0..3 {
        let builder = BatchBuilder::new().at(Offset(offset));
        let mut builder = builder.leader_epoch(LeaderEpoch(0));
        builder.push(Timestamp(1000 + offset), None, Some(&[b'x'; 100]), &[]);
        log.extend_from_slice(&builder.build());
    }
    fs::write(partition.join("00000000000000000000.log"), log).unwrap();
}

/// The lines of a run, with the directory taken out, and its exit code.
fn verify(home: &Path, flags: &[&str]) -> (Vec<String>, i32) {
    let program = env!("CARGO_BIN_EXE_millrace");
    let mut command = Command::new(program);
    let output = command
        .arg("verify-log")
        .arg(home)
        .args(flags)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    let text = text.replace(&home.display().to_string(), "DIR");
    let lines = text.lines().map(str::to_owned).collect();
    (lines, output.status.code().unwrap())
}

#[test]
fn a_sound_directory_is_one_line_and_exit_code_0() {
    let home = tempfile::tempdir().unwrap();
    log_directory(home.path());
    let bytes = fs::metadata(home.path().join("t-0/00000000000000000000.log"))
        .unwrap()
        .len();
    let line = format!(
        "0 faults in 1 partitions, 1 segments, 3 batches, {bytes} bytes of records (directory not left in order)"
    );
    assert_eq!(verify(home.path(), &[]), (vec![line], 0));
}

#[test]
fn a_fault_is_exit_code_1_until_it_is_repaired() {
    let home = tempfile::tempdir().unwrap();
    log_directory(home.path());
    fs::write(
        home.path().join("t-0/00000000000000000000.index"),
        b"no index",
    )
    .unwrap();
    fs::write(
        home.path().join("t-0/00000000000000000000.log.deleted"),
        b"",
    )
    .unwrap();
    let (lines, code) = verify(home.path(), &[]);
    assert_eq!(code, 1);
    assert!(
        lines[0].starts_with(
            "FAULT DIR/t-0/00000000000000000000.index at byte 0: offset index: expected "
        ),
        "{lines:?}"
    );
    assert!(
        lines[1].starts_with("NOTE DIR/t-0/00000000000000000000.log.deleted: "),
        "{lines:?}"
    );
    let (lines, code) = verify(home.path(), &["--repair"]);
    assert_eq!(code, 0, "{lines:?}");
    let done: Vec<_> = lines
        .iter()
        .filter(|line| line.starts_with("DONE "))
        .collect();
    assert_eq!(
        done,
        [
            "DONE removed DIR/t-0/00000000000000000000.log.deleted",
            "DONE rebuilt the indexes of DIR/t-0/00000000000000000000.log from its records"
        ]
    );
    let (lines, code) = verify(home.path(), &[]);
    assert_eq!((lines.len(), code), (1, 0), "{lines:?}");
}

#[test]
fn a_repair_that_fails_in_one_partition_tells_what_it_did_and_found_in_the_others() {
    let home = tempfile::tempdir().unwrap();
    log_directory(home.path());
    for name in ["a-0", "z-0"] {
        let partition = home.path().join(name);
        fs::create_dir(&partition).unwrap();
        for file in ["partition.metadata", "00000000000000000000.log"] {
            fs::copy(home.path().join("t-0").join(file), partition.join(file)).unwrap();
        }
        fs::write(partition.join("00000000000000000000.log.deleted"), "").unwrap();
    }
    // No index can be written where a directory has its name.
    fs::write(home.path().join("t-0/00000000000000000000.index"), "x").unwrap();
    fs::create_dir(home.path().join("t-0/00000000000000000000.timeindex")).unwrap();
    let (lines, code) = verify(home.path(), &["--repair"]);
    assert_eq!(code, 1, "{lines:?}");
    let has = |begin: &str| lines.iter().any(|line| line.starts_with(begin));
    assert!(has("DONE removed DIR/a-0/"), "{lines:?}");
    assert!(
        has("FAULT DIR/t-0/00000000000000000000.index "),
        "{lines:?}"
    );
    assert!(has("NOTE DIR/z-0/"), "{lines:?}");
    let last = lines.last().unwrap();
    assert!(last.starts_with("the repair failed: "), "{lines:?}");
    assert!(!has("DONE removed DIR/z-0/"), "{lines:?}");
}

#[test]
fn damaged_records_stay_a_fault_whatever_is_repaired() {
    let home = tempfile::tempdir().unwrap();
    log_directory(home.path());
    let log = home.path().join("t-0/00000000000000000000.log");
    let mut bytes = fs::read(&log).unwrap();
    bytes[100] ^= 1;
    fs::write(&log, &bytes).unwrap();
    for flags in [&[][..], &["--repair"]] {
        let (lines, code) = verify(home.path(), flags);
        assert_eq!(code, 1);
        assert!(
            lines[0].starts_with("FAULT DIR/t-0/00000000000000000000.log at byte 0: records: expected the next record batch, found corrupt record batch: stored CRC-32C"),
            "{lines:?}"
        );
        assert_eq!(fs::read(&log).unwrap(), bytes);
    }
}

#[test]
fn the_properties_file_of_the_broker_is_read_and_one_that_is_not_there_is_said() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("data");
    fs::create_dir(&directory).unwrap();
    log_directory(&directory);
    let file = home.path().join("server.properties");
    let config = ["--config", file.to_str().unwrap()];
    let (lines, code) = verify(&directory, &config);
    assert_eq!((lines.len(), code), (1, 1), "{lines:?}");
    assert!(lines[0].contains("server.properties: "), "{lines:?}");
    fs::write(&file, "write.caching=true\n").unwrap();
    let (lines, code) = verify(&directory, &config);
    assert_eq!((lines.len(), code), (1, 0), "{lines:?}");
}

#[test]
fn what_is_no_log_directory_is_refused_and_left_as_it_is() {
    let home = tempfile::tempdir().unwrap();
    let (lines, code) = verify(home.path(), &["--repair"]);
    assert_eq!((lines.len(), code), (1, 1), "{lines:?}");
    assert!(lines[0].contains("is no log directory"), "{lines:?}");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}
