//! The same behaviour is asked of the ring and of the threads.

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::io::{Disk, File, LocalRing, nowait};

/// More than any thread writes itself.
const BIG: usize = (2 << 20) + 1;

fn backends() -> Vec<IoBackend> {
    let threads = IoBackend::Threads {
        reason: "test".into(),
    };
    match IoBackend::probe() {
        IoBackend::Uring => vec![IoBackend::Uring, threads],
        IoBackend::Threads { .. } => vec![threads],
    }
}

/// Runs `test` once with each backend, an empty file of its own and a tokio thread.
fn on_each(test: impl AsyncFn(LocalRing, File)) {
    for backend in backends() {
        let dir = beside_this_program();
        let file = Disk::real().create_new(&dir.path().join("f")).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .unwrap();
        runtime.block_on(async {
            let ring = Ring::open(&backend).unwrap();
            assert_eq!(ring.backend(), &backend);
            test(LocalRing::new(ring).unwrap(), file).await;
        });
    }
}

async fn completions(ring: &LocalRing, count: usize) -> Vec<Completion> {
    let mut found = Vec::new();
    while found.len() < count {
        ring.ready().await;
        ring.reap(&mut found);
    }
    found.sort_by_key(|completion| completion.ticket);
    found
}

async fn one(ring: &LocalRing, action: Action) -> Result<Outcome, IoError> {
    ring.submit(Ticket(1), action);
    completions(ring, 1).await.pop().unwrap().result
}

/// Runs `work` while a shard loop, which has nothing to do, reaps.
async fn beside_a_loop<T>(ring: &LocalRing, work: impl Future<Output = T>) -> T {
    let idle = async {
        loop {
            ring.ready().await;
        }
    };
    tokio::select! { biased; found = work => found, () = idle => unreachable!() }
}

fn pattern(length: usize, seed: u8) -> Bytes {
    (0..length)
        .map(|i| (i as u8).wrapping_mul(31).wrapping_add(seed))
        .collect()
}

fn write(file: &File, position: u64, buffers: Vec<Bytes>) -> Action {
    Action::Write {
        file: file.clone(),
        position,
        buffers,
    }
}

fn read(file: &File, position: u64, length: u32) -> Action {
    Action::Read {
        file: file.clone(),
        position,
        length,
    }
}

#[test]
fn what_was_written_and_synced_is_read_back() {
    on_each(async |ring, file| {
        for (position, length) in [(0, 10), (7, BIG), (3, INLINE), (1, INLINE - 1)] {
            let bytes = pattern(length, 1);
            let written = one(&ring, write(&file, position, vec![bytes.clone()]))
                .await
                .unwrap();
            assert_eq!(
                written,
                Outcome::Written {
                    length: length as u64
                }
            );
            let synced = one(&ring, Action::Sync { file: file.clone() })
                .await
                .unwrap();
            assert_eq!(synced, Outcome::Synced);
            let found = one(&ring, read(&file, position, length as u32))
                .await
                .unwrap();
            assert_eq!(found, Outcome::Read(bytes));
        }
        assert_eq!(ring.in_flight(), 0);
    });
}

#[test]
fn more_buffers_than_one_call_takes_are_all_written_before_the_write_completes() {
    on_each(async |ring, file| {
        let buffers: Vec<Bytes> = (0..2500).map(|i| pattern(i % 97, i as u8)).collect();
        let expected: Vec<u8> = buffers.iter().flatten().copied().collect();
        assert!(expected.len() > INLINE);
        let written = one(&ring, write(&file, 5, buffers)).await.unwrap();
        assert_eq!(
            written,
            Outcome::Written {
                length: expected.len() as u64
            }
        );
        let found = one(&ring, read(&file, 5, u32::MAX)).await.unwrap();
        assert_eq!(found, Outcome::Read(expected.into()));
    });
}

#[test]
fn nothing_to_write_is_written_at_once() {
    on_each(async |ring, file| {
        let written = one(&ring, write(&file, 9, vec![Bytes::new()]))
            .await
            .unwrap();
        assert_eq!(written, Outcome::Written { length: 0 });
        assert_eq!(file.length().unwrap(), 0);
    });
}

#[test]
fn many_more_in_flight_than_the_kernel_takes_all_complete() {
    on_each(async |ring, file| {
        let patterns: Vec<Bytes> = (0..4).map(|i| pattern(BIG, i)).collect();
        let place = |i: u64| (i % 4 * BIG as u64, &patterns[(i % 4) as usize]);
        for i in 0..200 {
            let (position, bytes) = place(i);
            ring.submit(Ticket(i), write(&file, position, vec![bytes.clone()]));
        }
        for completion in completions(&ring, 200).await {
            assert_eq!(
                completion.result.unwrap(),
                Outcome::Written { length: BIG as u64 }
            );
        }
        file.sync_data().unwrap();
        evict(&file);
        for i in 0..200 {
            ring.submit(Ticket(i), read(&file, place(i).0, BIG as u32));
        }
        for (i, completion) in completions(&ring, 200).await.into_iter().enumerate() {
            assert_eq!(completion.ticket, Ticket(i as u64));
            assert_eq!(
                &completion.result.unwrap(),
                &Outcome::Read(place(i as u64).1.clone())
            );
        }
        assert_eq!(ring.in_flight(), 0);
    });
}

#[test]
fn a_read_is_short_at_the_end_of_the_file_and_empty_past_it() {
    on_each(async |ring, file| {
        file.write_all_at(0, b"abcdef").unwrap();
        assert_eq!(
            one(&ring, read(&file, 4, 100)).await.unwrap(),
            Outcome::Read("ef".into())
        );
        assert_eq!(
            one(&ring, read(&file, 6, 100)).await.unwrap(),
            Outcome::Read(Bytes::new())
        );
        let far = one(&ring, read(&file, u64::MAX - 1, u32::MAX))
            .await
            .unwrap();
        assert_eq!(far, Outcome::Read(Bytes::new()));
    });
}

#[test]
fn reading_ahead_completes_also_past_the_end() {
    on_each(async |ring, file| {
        file.write_all_at(0, &pattern(3 << 20, 1)).unwrap();
        file.sync_data().unwrap();
        evict(&file);
        for (position, length) in [(0, 3 << 20), (1 << 20, 8 << 20), (9 << 20, 5), (0, 0)] {
            let action = Action::ReadAhead {
                file: file.clone(),
                position,
                length,
            };
            assert_eq!(one(&ring, action).await.unwrap(), Outcome::ReadAhead);
        }
        assert_resident(&file, 3 << 20);
    });
}

#[test]
fn cold_bytes_are_read_as_well_as_resident_ones() {
    on_each(async |ring, file| {
        let bytes = pattern(3 * BIG, 4);
        file.write_all_at(0, &bytes).unwrap();
        file.sync_data().unwrap();
        evict(&file);
        let found = one(&ring, read(&file, 1, 3 * BIG as u32)).await.unwrap();
        assert_eq!(found, Outcome::Read(bytes.slice(1..)));
    });
}

#[test]
fn a_write_to_a_file_opened_for_reading_fails_with_its_path() {
    on_each(async |ring, file| {
        let read_only = Disk::real().open_read_only(file.path()).unwrap();
        for length in [10, BIG] {
            let action = write(&read_only, 0, vec![pattern(length, 0)]);
            let error = one(&ring, action).await.unwrap_err();
            assert_eq!(
                (error.operation, error.path.as_path()),
                ("write", file.path())
            );
            assert_eq!(error.source.raw_os_error(), Some(libc::EBADF));
        }
    });
}

#[test]
fn a_full_device_is_reported_as_such() {
    on_each(async |ring, _| {
        let full = Disk::real().open(Path::new("/dev/full")).unwrap();
        for length in [10, BIG] {
            let error = one(&ring, write(&full, 0, vec![pattern(length, 0)]))
                .await
                .unwrap_err();
            assert!(error.is_out_of_space(), "{error}");
        }
    });
}

#[test]
fn a_thread_that_never_parks_still_gets_its_completions() {
    on_each(async |ring, file| {
        ring.submit(Ticket(3), write(&file, 0, vec![pattern(BIG, 1)]));
        let mut found = Vec::new();
        while found.is_empty() {
            ring.reap(&mut found);
            std::hint::spin_loop();
        }
        assert_eq!(found[0].ticket, Ticket(3));
    });
}

#[test]
fn tasks_and_the_loop_each_get_their_own_results() {
    on_each(async |ring, file| {
        let (big, small) = (pattern(BIG, 1), pattern(100, 2));
        ring.submit(Ticket(7), write(&file, 0, vec![big.clone()]));
        let writing = ring.perform(write(&file, BIG as u64, vec![big.clone()]));
        let shards = async {
            let found = completions(&ring, 1).await;
            // Stays in the loop for the tasks.
            future_forever(&ring).await;
            found
        };
        let tasks = async {
            assert_eq!(
                writing.await.unwrap(),
                Outcome::Written { length: BIG as u64 }
            );
            let inline = ring
                .perform(write(&file, 0, vec![small.clone()]))
                .await
                .unwrap();
            assert_eq!(inline, Outcome::Written { length: 100 });
            ring.perform(Action::Sync { file: file.clone() })
                .await
                .unwrap();
            ring.perform(read(&file, 0, 100)).await.unwrap()
        };
        let found = tokio::select! { found = tasks => found, _ = shards => unreachable!() };
        assert_eq!(found, Outcome::Read(small));
        assert_eq!(ring.in_flight(), 0);
    });
}

async fn future_forever(ring: &LocalRing) {
    loop {
        ring.ready().await;
    }
}

#[test]
fn a_task_that_gives_up_leaves_its_action_to_complete() {
    on_each(async |ring, file| {
        let mut writing = Box::pin(ring.perform(write(&file, 0, vec![pattern(BIG, 1)])));
        let early = futures_poll(writing.as_mut()).await;
        drop(writing);
        assert!(early.is_none());
        beside_a_loop(&ring, ring.perform(Action::Sync { file: file.clone() }))
            .await
            .unwrap();
        while ring.in_flight() > 0 {
            ring.reap(&mut Vec::new());
        }
        assert_eq!(file.length().unwrap(), BIG as u64);
    });
}

/// Polls once.
async fn futures_poll<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        std::task::Poll::Ready(found) => std::task::Poll::Ready(Some(found)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}

#[test]
fn a_ring_dropped_with_work_in_flight_lets_go_of_every_buffer() {
    on_each(async |ring, file| {
        let buffer = pattern(BIG, 1);
        for i in 0..150 {
            ring.submit(
                Ticket(i),
                write(&file, i % 4 * BIG as u64, vec![buffer.clone()]),
            );
        }
        drop(ring);
        assert!(buffer.is_unique());
    });
}

#[test]
fn a_backend_says_why_it_is_not_the_ring() {
    let refused = |errno| why_not(&io::Error::from_raw_os_error(errno));
    assert!(refused(libc::EPERM).contains("io_uring"));
    assert!(refused(libc::ENOSYS).contains("seccomp"));
    let shown = IoBackend::Threads {
        reason: refused(libc::ENOSYS),
    }
    .to_string();
    assert!(
        shown.starts_with("threads (this kernel has no io_uring"),
        "{shown}"
    );
}

/// Where temporary files are may be memory, which nothing can be dropped from.
pub(in crate::io) fn beside_this_program() -> TempDir {
    let program = std::env::current_exe().unwrap();
    TempDir::new_in(program.parent().unwrap()).unwrap()
}

/// Demands that the first `length` bytes are in memory, unless the file system does not even tell of one read just now.
pub(in crate::io) fn assert_resident(file: &File, length: u64) {
    let resident = nowait::is_resident(file, 0, length);
    file.read_exact_at(0, &mut [0]).unwrap();
    if !resident && nowait::read(file, 0, &mut [0]) == 0 {
        let path = file.path().display();
        eprintln!("SKIPPED a check: the file system does not tell what of {path} is in memory");
        return;
    }
    assert!(resident);
}

pub(in crate::io) fn evict(file: &File) {
    use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
    let descriptor = file.descriptor().unwrap();
    posix_fadvise(descriptor, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
}

const INLINE: usize = 64 << 10;
