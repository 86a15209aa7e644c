use bytes::Bytes;
use nix::libc;

use super::*;
use crate::io::{Action, Completion, File, LockError, Outcome, Ticket};

const SEEDS: std::ops::Range<u64> = 0..64;

fn path(text: &str) -> &Path {
    Path::new(text)
}

/// A machine with the durable directory `/data`.
fn machine(seed: u64) -> (Sim, Disk) {
    let sim = Sim::new(seed);
    let disk = sim.disk();
    disk.create_dir_all(path("/data")).unwrap();
    disk.sync_dir(path("/")).unwrap();
    (sim, disk)
}

/// A durable, empty file.
fn created(disk: &Disk, at: &str) -> File {
    let file = disk.create_new(path(at)).unwrap();
    disk.sync_dir(path("/data")).unwrap();
    file
}

fn content(disk: &Disk, at: &str) -> Vec<u8> {
    disk.read(path(at), u64::MAX).unwrap()
}

/// Reaps until `count` completions came.
fn turned(ring: &mut Ring, count: usize) -> Vec<Completion> {
    let mut found = Vec::new();
    while found.len() < count {
        ring.reap(&mut found);
    }
    found
}

#[test]
fn a_synced_write_survives_every_crash() {
    for seed in SEEDS {
        let (sim, disk) = machine(seed);
        let file = created(&disk, "/data/a");
        file.write_all_at(0, &[1; 5000]).unwrap();
        file.sync_data().unwrap();
        sim.crash();
        assert_eq!(content(&disk, "/data/a"), [1; 5000], "seed {seed}");
    }
}

#[test]
fn an_unsynced_write_may_vanish_or_stay_or_tear_between_sectors() {
    let (mut vanished, mut stayed, mut torn) = (0, 0, 0);
    for seed in SEEDS {
        let (sim, disk) = machine(seed);
        let file = created(&disk, "/data/a");
        file.write_all_at(0, &[1; 4096]).unwrap();
        file.sync_data().unwrap();
        file.write_all_at(100, &[2; 3900]).unwrap();
        sim.crash();
        let found = content(&disk, "/data/a");
        let twos = found.iter().filter(|&&byte| byte == 2).count();
        match twos {
            0 => vanished += 1,
            3900 => stayed += 1,
            _ => torn += 1,
        }
        assert_eq!(found.len(), 4096);
        for (index, sector) in found.chunks(content::SECTOR_BYTES).enumerate() {
            let from = index * content::SECTOR_BYTES;
            let part = |at: usize| (100..4000).contains(&(from + at));
            let written: Vec<u8> = sector
                .iter()
                .enumerate()
                .filter(|&(at, _)| part(at))
                .map(|(_, &b)| b)
                .collect();
            let whole = written.iter().all(|&b| b == 1) || written.iter().all(|&b| b == 2);
            assert!(whole, "seed {seed}: sector {index} is torn");
        }
    }
    assert!(
        vanished > 0 && stayed > 0 && torn > 0,
        "{vanished} {stayed} {torn}"
    );
}

#[test]
fn unsynced_writes_may_arrive_out_of_order() {
    let reordered = SEEDS.filter(|&seed| {
        let (sim, disk) = machine(seed);
        let file = created(&disk, "/data/a");
        file.write_all_at(0, &[1; 512]).unwrap();
        file.write_all_at(512, &[2; 512]).unwrap();
        sim.crash();
        let found = content(&disk, "/data/a");
        found.len() == 1024 && found[0] == 0 && found[512] == 2
    });
    assert!(reordered.count() > 0);
}

#[test]
fn a_new_sector_that_did_not_arrive_holds_zeros_or_what_its_blocks_held_before() {
    let (mut zeros, mut old, mut noise) = (0, 0, 0);
    for seed in SEEDS {
        for shows_old_blocks in [false, true] {
            let (sim, disk) = machine(seed);
            if shows_old_blocks {
                sim.show_old_blocks(&[".old"]);
            }
            let left = created(&disk, "/data/a.old");
            left.write_all_at(0, &[7; 512]).unwrap();
            left.sync_data().unwrap();
            let file = created(&disk, "/data/a");
            file.write_all_at(0, &[1; 100]).unwrap();
            file.sync_data().unwrap();
            file.write_all_at(100, &[2; 1400]).unwrap();
            sim.crash();
            let found = content(&disk, "/data/a");
            assert_eq!(found[..100], [1; 100], "what was synced stays");
            assert_eq!(content(&disk, "/data/a.old"), [7; 512]);
            for sector in found.chunks(512).skip(1) {
                let all = |byte| sector.iter().all(|&found| found == byte);
                match (all(0), all(7), all(2)) {
                    (true, ..) => zeros += 1,
                    (_, true, _) if shows_old_blocks => old += 1,
                    (_, _, true) => {}
                    _ if shows_old_blocks => noise += 1,
                    _ => panic!("seed {seed}: {sector:?} from nowhere"),
                }
            }
        }
    }
    assert!(zeros > 0 && old > 0 && noise > 0, "{zeros} {old} {noise}");
}

#[test]
fn an_unsynced_truncation_may_be_undone_and_a_synced_one_never() {
    let mut undone = 0;
    for seed in SEEDS {
        for sync in [false, true] {
            let (sim, disk) = machine(seed);
            let file = created(&disk, "/data/a");
            file.write_all_at(0, &[1; 1000]).unwrap();
            file.sync_data().unwrap();
            file.truncate(10).unwrap();
            if sync {
                file.sync_data().unwrap();
            }
            assert_eq!(file.length().unwrap(), 10);
            sim.crash();
            let back = content(&disk, "/data/a").len() == 1000;
            assert!(!(back && sync), "seed {seed}");
            undone += u32::from(back);
        }
    }
    assert!(undone > 0);
}

#[test]
fn a_rename_without_a_sync_of_the_directory_may_be_undone_but_never_halved() {
    let mut undone = 0;
    for seed in SEEDS {
        for sync in [false, true] {
            let (sim, disk) = machine(seed);
            created(&disk, "/data/old");
            disk.rename(path("/data/old"), path("/data/new")).unwrap();
            if sync {
                disk.sync_dir(path("/data")).unwrap();
            }
            sim.crash();
            let old = disk.exists(path("/data/old")).unwrap();
            let new = disk.exists(path("/data/new")).unwrap();
            assert!(old != new, "seed {seed}");
            assert!(new || !sync, "seed {seed}");
            undone += u32::from(old);
        }
    }
    assert!(undone > 0);
}

#[test]
fn a_rename_between_directories_is_durable_in_both_or_neither() {
    for seed in SEEDS {
        let (sim, disk) = machine(seed);
        created(&disk, "/data/a");
        disk.create_dir_all(path("/data/sub")).unwrap();
        disk.sync_dir(path("/data")).unwrap();
        disk.rename(path("/data/a"), path("/data/sub/a")).unwrap();
        if seed % 2 == 0 {
            disk.sync_dir(path("/data")).unwrap();
        }
        sim.crash();
        let here = disk.exists(path("/data/a")).unwrap();
        let there = disk.exists(path("/data/sub/a")).unwrap();
        assert!(here != there, "seed {seed}");
        assert!(there || seed % 2 == 1, "seed {seed}");
    }
}

#[test]
fn a_name_without_a_sync_of_its_directory_may_be_gone_though_the_file_was_synced() {
    let (mut gone, mut back) = (0, 0);
    for seed in SEEDS {
        let (sim, disk) = machine(seed);
        created(&disk, "/data/b");
        let file = disk.create_new(path("/data/a")).unwrap();
        file.write_all_at(0, b"bytes").unwrap();
        file.sync_all().unwrap();
        disk.remove_file(path("/data/b")).unwrap();
        sim.crash();
        match disk.exists(path("/data/a")).unwrap() {
            true => assert_eq!(content(&disk, "/data/a"), b"bytes"),
            false => gone += 1,
        }
        back += u32::from(disk.exists(path("/data/b")).unwrap());
    }
    assert!(gone > 0 && back > 0, "{gone} {back}");
}

#[test]
fn an_atomic_write_is_the_old_or_the_new_after_any_crash_and_the_new_once_it_returned() {
    for seed in SEEDS {
        let (sim, disk) = machine(seed);
        disk.write_atomic(path("/data/c"), b"old").unwrap();
        sim.fail_next(SimOperation::SyncDir, "/data", libc::EIO);
        disk.write_atomic(path("/data/c"), b"newer").unwrap_err();
        sim.crash();
        let found = content(&disk, "/data/c");
        assert!(
            found == b"old" || found == b"newer",
            "seed {seed}: {found:?}"
        );
        disk.write_atomic(path("/data/c"), b"newest").unwrap();
        sim.crash();
        assert_eq!(content(&disk, "/data/c"), b"newest");
    }
}

#[test]
fn a_failed_sync_loses_writes_that_a_later_sync_does_not_bring_back() {
    let lost = SEEDS.filter(|&seed| {
        let (sim, disk) = machine(seed);
        let file = created(&disk, "/data/a");
        file.write_all_at(0, &[1; 2048]).unwrap();
        sim.fail_next(SimOperation::Sync, "a", libc::EIO);
        assert!(file.sync_data().unwrap_err().is_device_fault());
        file.sync_data().unwrap();
        let mut cached = [0; 2048];
        file.read_exact_at(0, &mut cached).unwrap();
        assert_eq!(cached, [1; 2048]);
        sim.crash();
        content(&disk, "/data/a") != [1; 2048]
    });
    assert!(lost.count() > 0);
}

#[test]
fn a_sync_on_a_ring_promises_nothing_that_was_written_after_it_was_submitted() {
    let mut lost = 0;
    for seed in SEEDS {
        let (sim, disk) = machine(seed);
        let file = created(&disk, "/data/a");
        file.write_all_at(0, &[1; 512]).unwrap();
        let mut ring = sim.ring();
        ring.submit(Ticket(1), Action::Sync { file: file.clone() });
        file.write_all_at(512, &[2; 512]).unwrap();
        turned(&mut ring, 1);
        sim.crash();
        let found = content(&disk, "/data/a");
        assert!(found.starts_with(&[1; 512]), "seed {seed}");
        lost += u64::from(!found.ends_with(&[2; 512]));
    }
    assert!(lost > 0 && lost < SEEDS.end, "{lost}");
}

#[test]
fn a_full_disk_takes_what_fits_and_says_so() {
    let (sim, disk) = machine(1);
    let file = created(&disk, "/data/a");
    sim.set_capacity_bytes(1000);
    file.write_all_at(0, &[1; 600]).unwrap();
    assert!(
        file.write_all_at(600, &[2; 600])
            .unwrap_err()
            .is_out_of_space()
    );
    assert_eq!(file.length().unwrap(), 1000);
    file.write_all_at(0, &[3; 1000]).unwrap();
    let other = created(&disk, "/data/b");
    assert!(other.preallocate(0, 1).unwrap_err().is_out_of_space());
    assert_eq!(disk.space(path("/data")).unwrap().usable_bytes, 0);
    disk.remove_file(path("/data/a")).unwrap();
    assert!(
        other.preallocate(0, 600).unwrap_err().is_out_of_space(),
        "the handle keeps it"
    );
    drop(file);
    other.preallocate(0, 600).unwrap();
    other.write_all_at(0, &[1; 600]).unwrap();
    assert_eq!(disk.space(path("/data")).unwrap().usable_bytes, 400);
}

#[test]
fn on_a_full_disk_some_names_find_no_room_and_nothing_was_reserved_where_that_cannot_be() {
    let (mut refused, mut taken) = (0, 0);
    for seed in SEEDS {
        let (sim, disk) = machine(seed);
        let file = created(&disk, "/data/a.log");
        sim.reserve_nothing_for(&[".log"]);
        sim.let_names_take_room();
        sim.set_capacity_bytes(10_000);
        file.preallocate(0, 20_000).unwrap();
        assert_eq!(disk.space(path("/data")).unwrap().usable_bytes, 10_000);
        created(&disk, "/data/b");
        file.write_all_at(0, &[1; 10_000]).unwrap();
        let made = disk.create_new(path("/data/c")).map(drop);
        let renamed = disk.rename(path("/data/b"), path("/data/d"));
        assert_eq!(disk.exists(path("/data/c")).unwrap(), made.is_ok());
        assert_eq!(disk.exists(path("/data/b")).unwrap(), renamed.is_err());
        for result in [made, renamed] {
            match result {
                Ok(()) => taken += 1,
                Err(error) => {
                    assert!(error.is_out_of_space(), "seed {seed}: {error}");
                    refused += 1;
                }
            }
        }
    }
    assert!(
        refused > 20 && taken > 20,
        "{refused} refused, {taken} taken"
    );
}

#[test]
fn short_reads_and_errors_come_at_the_rate_that_was_set() {
    let (sim, disk) = machine(3);
    let file = created(&disk, "/data/a");
    file.write_all_at(0, &[1; 100]).unwrap();
    sim.set_faults(Faults {
        short_reads: 500_000,
        read_errors: 100_000,
        ..Faults::default()
    });
    let (mut short, mut failed) = (0, 0);
    for _ in 0..1000 {
        let mut buffer = [0; 100];
        match file.read_at(0, &mut buffer) {
            Ok(count) => short += u32::from(count < 100),
            Err(error) => {
                assert!(error.is_device_fault());
                failed += 1;
            }
        }
    }
    assert!(
        (300..600).contains(&short) && (50..150).contains(&failed),
        "{short} {failed}"
    );
}

#[test]
fn what_was_open_before_a_crash_is_void_after_it() {
    let (sim, disk) = machine(1);
    let file = created(&disk, "/data/a");
    let lock = disk.lock_dir(path("/data")).unwrap();
    assert!(matches!(
        disk.lock_dir(path("/data")),
        Err(LockError::InUse { .. })
    ));
    let mut ring = sim.ring();
    ring.submit(Ticket(1), Action::Sync { file: file.clone() });
    sim.crash();
    assert_eq!(
        file.length().unwrap_err().source.raw_os_error(),
        Some(libc::ESTALE)
    );
    let mut found = Vec::new();
    ring.reap(&mut found);
    assert!(found.is_empty());
    let again = disk.lock_dir(path("/data")).unwrap();
    drop(lock);
    assert!(
        disk.lock_dir(path("/data")).is_err(),
        "the old lock must not release the new one"
    );
    drop(again);
    disk.lock_dir(path("/data")).unwrap();
}

#[test]
fn an_unlinked_file_stays_readable_while_a_handle_lives() {
    let (_sim, disk) = machine(1);
    let file = created(&disk, "/data/a");
    file.write_all_at(0, b"kept").unwrap();
    disk.remove_dir_all(path("/data")).unwrap();
    disk.sync_dir(path("/")).unwrap();
    let mut bytes = [0; 4];
    file.read_exact_at(0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"kept");
    assert!(!disk.exists(path("/data")).unwrap());
}

#[test]
fn paths_are_refused_as_a_real_disk_refuses_them() {
    let (_sim, disk) = machine(1);
    created(&disk, "/data/a");
    assert!(disk.open(path("/data/missing")).unwrap_err().is_not_found());
    assert!(
        disk.create_new(path("/missing/a"))
            .unwrap_err()
            .is_not_found()
    );
    assert!(
        disk.create_new(path("/data/a"))
            .unwrap_err()
            .is_already_there()
    );
    assert!(disk.open(path("/data")).is_err());
    assert!(disk.create_dir_all(path("/data/a/b")).is_err());
    assert!(disk.rename(path("/data"), path("/data/b")).is_err());
    let read_only = disk.open_read_only(path("/data/a")).unwrap();
    assert!(read_only.write_all_at(0, b"x").is_err());
}

#[test]
fn ring_completions_come_in_an_order_that_the_seed_decides() {
    let order = |seed| {
        let (sim, disk) = machine(seed);
        let file = created(&disk, "/data/a");
        let mut ring = sim.ring();
        for i in 0..8 {
            let buffers = vec![Bytes::from(vec![i as u8; 10])];
            ring.submit(
                Ticket(i),
                Action::Write {
                    file: file.clone(),
                    position: i * 10,
                    buffers,
                },
            );
        }
        assert_eq!((ring.in_flight(), file.length().unwrap()), (8, 0));
        let done = turned(&mut ring, 8);
        assert_eq!((ring.in_flight(), file.length().unwrap()), (0, 80));
        done.into_iter()
            .map(|completion| completion.ticket.0)
            .collect::<Vec<_>>()
    };
    assert_eq!(order(1), order(1));
    assert_ne!(order(1), order(2));
}

#[test]
fn a_ring_reads_what_was_written_whole_in_spite_of_short_reads() {
    let (sim, disk) = machine(1);
    let file = created(&disk, "/data/a");
    file.write_all_at(0, b"0123456789").unwrap();
    sim.set_faults(Faults {
        short_reads: 900_000,
        ..Faults::default()
    });
    let mut ring = sim.ring();
    ring.submit(
        Ticket(1),
        Action::Read {
            file: file.clone(),
            position: 2,
            length: 100,
        },
    );
    let done = turned(&mut ring, 1).pop().unwrap();
    assert_eq!(
        done.result.unwrap(),
        Outcome::Read(Bytes::from_static(b"23456789"))
    );
}

#[test]
fn a_ring_takes_no_file_of_another_machine() {
    let (sim, _) = machine(1);
    let dir = tempfile::TempDir::new().unwrap();
    let real = Disk::real().create_new(&dir.path().join("a")).unwrap();
    let mut ring = sim.ring();
    ring.submit(Ticket(1), Action::Sync { file: real });
    assert!(turned(&mut ring, 1)[0].result.is_err());
}

#[test]
fn tasks_on_a_simulated_ring_are_served_by_whoever_waits_for_it() {
    let (sim, disk) = machine(1);
    let file = created(&disk, "/data/a");
    let ring = crate::io::LocalRing::new(sim.ring()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let served = runtime.block_on(async {
        let idle = async {
            loop {
                ring.ready().await;
            }
        };
        let work = async {
            let buffers = vec![Bytes::from_static(b"abc")];
            ring.perform(Action::Write {
                file: file.clone(),
                position: 0,
                buffers,
            })
            .await?;
            ring.perform(Action::Sync { file: file.clone() }).await?;
            ring.perform(Action::Read {
                file: file.clone(),
                position: 1,
                length: 9,
            })
            .await
        };
        tokio::select! { served = work => served, () = idle => unreachable!() }
    });
    assert_eq!(served.unwrap(), Outcome::Read(Bytes::from_static(b"bc")));
}

/// Some of everything, decided by the seed, with crashes.
fn history(seed: u64) -> (u64, Vec<String>) {
    let (sim, disk) = machine(seed);
    let mut random = Random::seeded(seed.wrapping_add(1));
    let mut events = Vec::new();
    for _ in 0..4 {
        let faults = Faults {
            read_errors: 10_000,
            short_reads: 50_000,
            write_errors: 20_000,
            sync_errors: 20_000,
        };
        sim.set_faults(faults);
        let mut ring = sim.ring();
        let names = ["/data/a", "/data/b", "/data/c"];
        let mut done = Vec::new();
        for step in 0..60 {
            let name = path(names[random.below(3) as usize]);
            let Ok(file) = disk.open_or_create(name) else {
                continue;
            };
            let position = random.below(3000);
            let buffers = vec![Bytes::from(vec![step as u8; random.below(2000) as usize])];
            let action = match random.below(6) {
                0 => Action::Sync { file },
                1 => Action::Read {
                    file,
                    position,
                    length: 500,
                },
                2 => {
                    let _ = disk.rename(name, path("/data/c"));
                    continue;
                }
                3 => {
                    let _ = disk.sync_dir(path("/data"));
                    continue;
                }
                _ => Action::Write {
                    file,
                    position,
                    buffers,
                },
            };
            ring.submit(Ticket(step), action);
            ring.reap(&mut done);
        }
        events.extend(done.iter().map(|completion| format!("{completion:?}")));
        sim.crash();
        events.push(format!("{:?}", disk.list(path("/data")).unwrap()));
    }
    (sim.fingerprint(), events)
}

#[test]
fn a_seed_replays_bit_for_bit() {
    let mut fingerprints = BTreeSet::new();
    for seed in 0..8 {
        let first = history(seed);
        assert_eq!(first, history(seed), "seed {seed}");
        fingerprints.insert(first.0);
    }
    assert_eq!(fingerprints.len(), 8);
}
