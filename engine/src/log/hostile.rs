//! The room's doors for fuzzing: any bytes as the files of a partition's directory, or as one of the small ones.
//!
//! It mends magic and checksums of the batches, which no fuzzer guesses, so that what lies behind them is reached.

mod small;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::{Log, OpenOptions, ReadPlan, names, open};
use crate::config::TopicConfig;
use crate::io::{Disk, Sim};
use crate::record::{BatchBuilder, BatchHeader, Batches, PreparedBatch};
use crate::types::{LeaderEpoch, Offset, Timestamp};

pub use small::read_small_hostile;

const DIRECTORY: &str = "/t-0";
const NOW: Timestamp = Timestamp(1_000);
const SOUND: &str = "a sound log can be read to its end";

/// Opens what `data` says was left behind: bit 0 of the first byte marks a clean stop, bit 2 leaves the record file as it
/// is (so that it may have message sets of the formats before record batches), the second byte is the recovery point, four small files (leader epochs, offset index, time index, producer snapshot at the recovery point) follow
/// with their lengths in two bytes each, and all the rest is the record file. Never panics on the bytes.
///
/// # Panics
/// When a log that was opened cannot be read, appended to and opened again: that is the finding.
pub fn recover_hostile(data: &[u8]) {
    let Some((&[flags, recovery_point], _)) = data.split_first_chunk() else {
        return;
    };
    let recovery_point = Offset(recovery_point.into());
    let disk = Sim::new(0).disk();
    lay_out(&disk, Path::new(DIRECTORY), data);
    let options = OpenOptions {
        directory: DIRECTORY.into(),
        clean: flags & 1 == 1,
        recovery_point,
        log_start_offset: Offset::ZERO,
        cleaned_to: Offset::NONE,
        config: Arc::new(TopicConfig::default()),
        now: NOW,
    };
    let Ok((mut log, _)) = open(&disk, options.clone()) else {
        return;
    };
    // A damaged log answers what lies before the damage, and says so beyond it.
    if log.damage().is_some() {
        let _ = read_from(&disk, &mut log);
        return;
    }
    match read_from(&disk, &mut log) {
        Ok(reached) => assert_eq!(reached, log.log_end_offset(), "{SOUND}"),
        // What no start reads may be damaged: who reads there is told.
        Err(refused) => {
            assert!(options.clean || refused < recovery_point, "{SOUND}");
            return;
        }
    }
    append(&mut log);
    let again = OpenOptions {
        clean: false,
        recovery_point: log.recovery_point(),
        log_start_offset: log.log_start_offset(),
        ..options.clone()
    };
    let (mut reopened, report) = open(&disk, again).expect("a log that was opened opens again");
    assert!(report.cuts.is_empty(), "what was sound is cut: {report:?}");
    if let Some(damage) = report.damage {
        // It reads anew what producers wrote, below what the first had to read.
        let unread = options.clean || damage.offset < recovery_point;
        assert!(unread, "what was sound is damaged: {damage:?}");
        return;
    }
    assert_eq!(
        reopened.log_end_offset(),
        log.log_end_offset(),
        "a log ends where it ended"
    );
    let reached = read_from(&disk, &mut reopened);
    assert_eq!(reached, Ok(log.log_end_offset()), "{SOUND}");
}

/// Puts the files that `data` describes into a new partition's directory.
pub(crate) fn lay_out(disk: &Disk, directory: &Path, data: &[u8]) {
    let Some((&[flags, recovery_point], data)) = data.split_first_chunk() else {
        return;
    };
    let recovery_point = Offset(recovery_point.into());
    disk.create_dir_all(directory)
        .expect("an empty disk takes a directory");
    let segment = |ending| names::segment_file(directory, Offset::ZERO, ending);
    let small = [
        directory.join(names::LEADER_EPOCH_CHECKPOINT),
        segment(names::OFFSET_INDEX),
        segment(names::TIME_INDEX),
        names::segment_file(directory, recovery_point, names::SNAPSHOT),
    ];
    let mut rest = data;
    for path in small {
        let Some((length, after)) = rest.split_first_chunk() else {
            break;
        };
        let length = usize::from(u16::from_be_bytes(*length)).min(after.len());
        let (content, after) = after.split_at(length);
        if !content.is_empty() {
            put(disk, &path, content);
        }
        rest = after;
    }
    let records = match flags & 4 {
        0 => mend(rest),
        _ => rest.to_vec(),
    };
    put(disk, &segment(names::LOG), &records);
}

fn put(disk: &Disk, path: &Path, content: &[u8]) {
    let file = disk.create_new(path).expect("a new file");
    file.write_all_at(0, content)
        .expect("an empty disk has room");
}

/// The same bytes, the batches among them with the right magic and checksum as far as their lengths lead.
fn mend(bytes: &[u8]) -> Vec<u8> {
    const MAGIC_AT: usize = 16;
    const CRC_AT: usize = 17;
    const SUMMED_FROM: usize = 21;
    let mut mended = bytes.to_vec();
    let mut rest = &mut mended[..];
    while let Some(magic) = rest.get_mut(MAGIC_AT) {
        *magic = 2;
        let Ok(header) = BatchHeader::parse(rest) else {
            break;
        };
        let Some((batch, after)) = rest.split_at_mut_checked(header.length_bytes()) else {
            break;
        };
        let crc = crc32c::crc32c(&batch[SUMMED_FROM..]);
        batch[CRC_AT..SUMMED_FROM].copy_from_slice(&crc.to_be_bytes());
        rest = after;
    }
    mended
}

fn append(log: &mut Log) {
    let mut batch = BatchBuilder::new();
    batch.push(NOW, None, Some(b"v"), &[]);
    let batch = PreparedBatch::from_builder(&batch.build()).expect("a batch of our own");
    let epoch = log.latest_epoch().max(LeaderEpoch(0));
    // It may need a roll or offsets that are not left.
    let Ok(Some(plan)) = log.plan_append([batch], epoch, NOW) else {
        return;
    };
    plan.file
        .write_buffers_at(plan.position, &plan.buffers)
        .expect("a disk without faults");
    log.appended(&plan);
}

/// Reads from the start on as far as it goes, and answers how far that was, or where a read was refused.
fn read_from(disk: &Disk, log: &mut Log) -> Result<Offset, Offset> {
    let mut offset = log.log_start_offset();
    let end = log.log_end_offset();
    while let Some(next) = read_once(disk, log, offset, end).map_err(|Refused| offset)? {
        assert!(next > offset, "a read from {offset} goes on at {next}");
        offset = next;
    }
    Ok(offset)
}

/// A read was answered with an error.
struct Refused;

/// The offset behind what one read answers; `None` when that is nothing.
fn read_once(
    disk: &Disk,
    log: &mut Log,
    offset: Offset,
    end: Offset,
) -> Result<Option<Offset>, Refused> {
    let mut plan = log.read(offset, u64::MAX, end).map_err(|_| Refused)?;
    loop {
        plan = match plan {
            ReadPlan::Empty => return Ok(None),
            ReadPlan::Again { offset } => return Ok(Some(offset)),
            ReadPlan::Ready(found) => {
                let extent = found.extent;
                let length = usize::try_from(extent.length).expect("an extent lies in its file");
                let mut bytes = vec![0; length];
                extent
                    .file
                    .read_exact_at(extent.position, &mut bytes)
                    .expect("an extent lies in its file");
                let batches = Batches::new(Bytes::from(bytes));
                let last = batches
                    .map(|batch| batch.expect("an extent holds batches"))
                    .last();
                return Ok(last.map(|batch| batch.header.next_offset()));
            }
            ReadPlan::Scan(lookup) => {
                let (file, position, length) = lookup.action();
                let mut bytes = vec![0; usize::try_from(length).expect("32 bits fit")];
                let count = file
                    .read_full_at(position, &mut bytes)
                    .expect("a disk without faults");
                bytes.truncate(count);
                lookup.resume(&Bytes::from(bytes)).map_err(|_| Refused)?
            }
            ReadPlan::LoadIndex(job) => {
                log.install_index(job.run(disk).map_err(|_| Refused)?);
                log.read(offset, u64::MAX, end).map_err(|_| Refused)?
            }
        };
    }
}
