use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::io::action::{Action, Ticket};
use crate::io::disk::Disk;
use crate::io::queue::tests::{read_ahead, sync};

fn slot(dir: &TempDir, action: impl FnOnce(crate::io::File) -> Action) -> Slot {
    let file = Disk::real().open_or_create(&dir.path().join("f")).unwrap();
    let task = Task::of(action(file)).unwrap();
    Slot {
        job: Job {
            ticket: Ticket(1),
            task,
        },
        vectors: Vec::new(),
        retries: 0,
    }
}

fn lengths(slot: &Slot) -> Vec<usize> {
    slot.vectors.iter().map(|vector| vector.iov_len).collect()
}

#[test]
fn a_short_write_goes_on_with_what_is_left() {
    let dir = TempDir::new().unwrap();
    let buffers = vec![
        Bytes::from_static(b"abcd"),
        Bytes::new(),
        Bytes::from_static(b"efg"),
    ];
    let mut slot = slot(&dir, |file| Action::Write {
        file,
        position: 10,
        buffers,
    });
    let scratch = Scratch::new();
    slot.entry(&scratch);
    assert_eq!(lengths(&slot), [4, 3]);
    assert!(matches!(slot.advance(2), Progress::Again));
    slot.entry(&scratch);
    assert_eq!(lengths(&slot), [2, 3]);
    assert!(matches!(slot.advance(-libc::EINTR), Progress::Again));
    assert!(matches!(slot.advance(3), Progress::Again));
    slot.entry(&scratch);
    assert_eq!(lengths(&slot), [2]);
    let Progress::Done(Ok(outcome)) = slot.advance(2) else {
        unreachable!()
    };
    assert_eq!(outcome, Outcome::Written { length: 7 });
}

#[test]
fn a_write_that_makes_no_headway_is_an_error() {
    let dir = TempDir::new().unwrap();
    let buffers = vec![Bytes::from_static(b"abcd")];
    let mut slot = slot(&dir, |file| Action::Write {
        file,
        position: 0,
        buffers,
    });
    let Progress::Done(Err(error)) = slot.advance(0) else {
        unreachable!()
    };
    assert_eq!(error.source.kind(), io::ErrorKind::WriteZero);
    let Progress::Done(Err(error)) = slot.advance(-libc::ENOSPC) else {
        unreachable!()
    };
    assert!(error.is_out_of_space());
}

#[test]
fn reading_ahead_covers_any_length_with_the_same_memory() {
    let dir = TempDir::new().unwrap();
    let length = scratch::READ_AHEAD_BYTES_MAX as u64 + 1;
    let mut slot = slot(&dir, |file| Action::ReadAhead {
        file,
        position: 0,
        length,
    });
    let scratch = Scratch::new();
    slot.entry(&scratch);
    assert_eq!(
        lengths(&slot).iter().sum::<usize>(),
        scratch::READ_AHEAD_BYTES_MAX
    );
    assert!(matches!(
        slot.advance(scratch::READ_AHEAD_BYTES_MAX as i32),
        Progress::Again
    ));
    slot.entry(&scratch);
    assert_eq!(lengths(&slot), [1]);
    assert!(matches!(
        slot.advance(1),
        Progress::Done(Ok(Outcome::ReadAhead))
    ));
}

#[test]
fn a_sync_finds_a_slot_however_much_is_to_be_read_ahead() {
    let event = Arc::new(EventFd::new().unwrap());
    let Ok(mut uring) = Uring::open(event) else {
        eprintln!("SKIPPED: this kernel gives no ring");
        return;
    };
    let dir = TempDir::new().unwrap();
    let file = Disk::real().open_or_create(&dir.path().join("f")).unwrap();
    for number in 0..100 {
        uring.submit(read_ahead(number, &file));
    }
    uring.submit(sync(100, &file));
    // Nothing has been reaped, so no slot has been emptied.
    let slots = uring.slots.iter().flatten();
    let (ahead, others): (Vec<&Slot>, Vec<&Slot>) = slots.partition(|slot| slot.job.reads_ahead());
    assert_eq!(ahead.len(), READING_AHEAD_MAX);
    assert!(matches!(*others, [Slot { job, .. }] if job.ticket == Ticket(100)));
    let mut done = VecDeque::new();
    while done.len() < 101 {
        uring.reap(&mut done);
        std::hint::spin_loop();
    }
}
