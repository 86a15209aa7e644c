use bytes::Bytes;
use tempfile::TempDir;

use super::*;

fn disk() -> (Disk, TempDir) {
    (Disk::real(), TempDir::new().unwrap())
}

#[test]
fn what_is_written_at_a_position_is_read_back_from_it() {
    let (disk, dir) = disk();
    let file = disk.create_new(&dir.path().join("a")).unwrap();
    file.write_all_at(3, b"hello").unwrap();
    let mut bytes = [0xff; 8];
    file.read_exact_at(0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"\0\0\0hello");
    assert_eq!(file.length().unwrap(), 8);
    file.sync_data().unwrap();
    file.sync_all().unwrap();
}

#[test]
fn more_buffers_than_one_call_takes_are_all_written() {
    let (disk, dir) = disk();
    let file = disk.create_new(&dir.path().join("a")).unwrap();
    let buffers: Vec<Bytes> = (0..2500_u32)
        .map(|i| {
            if i % 7 == 0 {
                Bytes::new()
            } else {
                Bytes::from(i.to_be_bytes().to_vec())
            }
        })
        .collect();
    let expected: Vec<u8> = buffers.iter().flatten().copied().collect();
    let length = file.write_buffers_at(5, &buffers).unwrap();
    assert_eq!(length, expected.len() as u64);
    let mut found = vec![0; expected.len()];
    file.read_exact_at(5, &mut found).unwrap();
    assert_eq!(found, expected);
}

#[test]
fn a_read_past_the_end_is_short_and_an_exact_one_fails() {
    let (disk, dir) = disk();
    let file = disk.create_new(&dir.path().join("a")).unwrap();
    file.write_all_at(0, b"abc").unwrap();
    let mut bytes = [0; 8];
    assert_eq!(file.read_at(1, &mut bytes).unwrap(), 2);
    assert_eq!(file.read_at(3, &mut bytes).unwrap(), 0);
    let error = file.read_exact_at(1, &mut bytes).unwrap_err();
    assert_eq!(error.source.kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn preallocation_leaves_the_length_alone_and_truncation_does_not() {
    let (disk, dir) = disk();
    let file = disk.create_new(&dir.path().join("a")).unwrap();
    file.preallocate(0, 1 << 20).unwrap();
    assert_eq!(file.length().unwrap(), 0);
    file.write_all_at(0, &[7; 100]).unwrap();
    file.truncate(40).unwrap();
    assert_eq!(file.length().unwrap(), 40);
}

#[test]
fn opening_distinguishes_missing_from_present() {
    let (disk, dir) = disk();
    let path = dir.path().join("a");
    assert!(disk.open(&path).unwrap_err().is_not_found());
    assert!(!disk.exists(&path).unwrap());
    let first = disk.open_or_create(&path).unwrap();
    assert!(disk.create_new(&path).unwrap_err().is_already_there());
    assert!(disk.exists(&path).unwrap());
    let second = disk.open(&path).unwrap();
    assert!(first == first.clone() && first != second);
    let read_only = disk.open_read_only(&path).unwrap();
    assert!(read_only.write_all_at(0, b"x").is_err());
}

#[test]
fn an_atomic_write_replaces_the_whole_file_and_leaves_nothing_beside_it() {
    let (disk, dir) = disk();
    let path = dir.path().join("checkpoint");
    disk.write_atomic(&path, b"a longer first version").unwrap();
    disk.write_atomic(&path, b"second").unwrap();
    assert_eq!(disk.read(&path, 100).unwrap(), b"second");
    let names: Vec<_> = disk
        .list(dir.path())
        .unwrap()
        .into_iter()
        .map(|e| e.name)
        .collect();
    assert_eq!(names, ["checkpoint"]);
}

#[test]
fn a_file_longer_than_its_reader_expects_is_refused() {
    let (disk, dir) = disk();
    let path = dir.path().join("a");
    disk.write_atomic(&path, &[0; 11]).unwrap();
    let error = disk.read(&path, 10).unwrap_err();
    assert_eq!(error.source.kind(), io::ErrorKind::FileTooLarge);
}

#[test]
fn a_listing_is_sorted_and_knows_directories() {
    let (disk, dir) = disk();
    disk.create_dir_all(&dir.path().join("b/c")).unwrap();
    disk.create_new(&dir.path().join("a"))
        .unwrap()
        .write_all_at(0, b"123")
        .unwrap();
    disk.rename(&dir.path().join("a"), &dir.path().join("z"))
        .unwrap();
    disk.sync_dir(dir.path()).unwrap();
    let expected = [
        Entry {
            name: "b".into(),
            is_dir: true,
            length: 0,
        },
        Entry {
            name: "z".into(),
            is_dir: false,
            length: 3,
        },
    ];
    assert_eq!(disk.list(dir.path()).unwrap(), expected);
    disk.remove_file(&dir.path().join("z")).unwrap();
    disk.remove_dir_all(&dir.path().join("b")).unwrap();
    assert_eq!(disk.list(dir.path()).unwrap(), []);
}

#[test]
fn a_locked_directory_is_refused_with_its_holder_until_the_lock_is_dropped() {
    let (disk, dir) = disk();
    let lock = disk.lock_dir(dir.path()).unwrap();
    let refused = disk.lock_dir(dir.path()).unwrap_err();
    let text = refused.to_string();
    assert!(
        matches!(refused, LockError::InUse { process, .. } if process == Some(std::process::id()))
    );
    assert!(text.contains("in use by another process"), "{text}");
    drop(lock);
    disk.lock_dir(dir.path()).unwrap();
}

#[test]
fn a_file_system_has_room() {
    let (disk, dir) = disk();
    let space = disk.space(dir.path()).unwrap();
    assert!(space.total_bytes >= space.usable_bytes && space.total_bytes > 0);
}
