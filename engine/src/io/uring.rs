//! The ring inside: one io_uring and the slots that own what the kernel works on.
//!
//! It turns tasks into entries, submits each when it is pushed, and pushes the rest of a short transfer again. It
//! does not know who waits for a task, and nothing in it blocks except its end.

#![expect(
    unsafe_code,
    reason = "entries carry raw pointers into buffers that the slots own"
)]

mod scratch;

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use io_uring::{IoUring, Probe, opcode, squeue, types};
use nix::errno::Errno;
use nix::libc;
use nix::sys::eventfd::EventFd;

use self::scratch::Scratch;
use super::action::{Completion, Job, Outcome, Task, read_outcome};
use super::error::IoError;
use super::file::slices_after;
use super::queue::Queue;

/// An io_uring with everything it has in flight.
pub(super) struct Uring {
    ring: IoUring,
    /// Signalled by the kernel for every completion.
    event: Arc<EventFd>,
    /// What the kernel works on; the index is the entry's `user_data`. A slot is emptied only by its completion.
    slots: Vec<Option<Slot>>,
    /// Indexes of empty slots.
    free: Vec<usize>,
    /// Jobs for which there is no slot yet.
    waiting: Queue,
    scratch: Scratch,
}

/// One entry in the kernel's hands. The buffers are on the heap, so the slot itself may move.
struct Slot {
    job: Job,
    /// Where the current entry reads from or writes to, for entries of many buffers.
    vectors: Vec<libc::iovec>,
    /// How often the kernel asked to be asked again.
    retries: u32,
}

/// What a completed entry means for its task.
enum Progress {
    Again,
    Done(Result<Outcome, IoError>),
}

impl Uring {
    /// A ring for the calling thread, which must be the only one to use it. The error says what the kernel lacks or
    /// forbids.
    pub(super) fn open(event: Arc<EventFd>) -> io::Result<Self> {
        let ring = build()?;
        check_operations(&ring)?;
        ring.submitter().register_eventfd(event.as_raw_fd())?;
        let slots = (0..IN_FLIGHT_MAX).map(|_| None).collect();
        Ok(Self {
            ring,
            event,
            slots,
            free: (0..IN_FLIGHT_MAX).rev().collect(),
            waiting: Queue::new(READING_AHEAD_MAX),
            scratch: Scratch::new(),
        })
    }

    /// Hands the job to the kernel, or lets it wait for a slot.
    pub(super) fn submit(&mut self, job: Job) {
        self.waiting.push(job);
        self.start_waiting();
        self.flush();
    }

    /// Moves what has completed to `done`, and starts what that makes room for.
    pub(super) fn reap(&mut self, done: &mut VecDeque<Completion>) {
        // With deferred task work no completion appears before the kernel is entered for it.
        if self.ring.submission().taskrun() {
            self.flush();
        }
        loop {
            let Some(entry) = self.ring.completion().next() else {
                break;
            };
            self.complete(entry.user_data(), entry.result(), done);
        }
        self.start_waiting();
        self.flush();
    }

    fn complete(&mut self, index: u64, result: i32, done: &mut VecDeque<Completion>) {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        let slot = self.slots.get_mut(index).and_then(Option::as_mut);
        assert!(
            slot.is_some(),
            "the kernel completed entry {index}, which is not in flight"
        );
        let Some(slot) = slot else { return };
        match slot.advance(result) {
            Progress::Again => self.push(index),
            Progress::Done(result) => {
                done.push_back(Completion {
                    ticket: slot.job.ticket,
                    result,
                });
                self.waiting.ended(slot.job.reads_ahead());
                self.slots[index] = None;
                self.free.push(index);
            }
        }
    }

    fn start_waiting(&mut self) {
        while let Some(&index) = self.free.last()
            && let Some(job) = self.waiting.begin()
        {
            self.free.pop();
            self.slots[index] = Some(Slot {
                job,
                vectors: Vec::new(),
                retries: 0,
            });
            self.push(index);
        }
    }

    /// Queues the next entry of the task in slot `index`.
    fn push(&mut self, index: usize) {
        let Some(slot) = self.slots[index].as_mut() else {
            return;
        };
        let entry = slot.entry(&self.scratch).user_data(index as u64);
        // SAFETY: every pointer in the entry leads into heap memory owned by `self.slots[index]` or by
        // `self.scratch`, and the descriptor is kept open by the file in the slot. The slot is emptied only when the
        // entry's completion is reaped, and `drop` frees slots and scratch only after it has reaped all of them.
        let pushed = unsafe { self.ring.submission().push(&entry) };
        assert!(
            pushed.is_ok(),
            "the queue has one entry per slot, yet slot {index} found it full"
        );
    }

    /// Gives the kernel all queued entries and lets it post what it has finished.
    fn flush(&mut self) {
        loop {
            let queue = self.ring.submission();
            if queue.is_empty() && !queue.taskrun() {
                return;
            }
            drop(queue);
            match self.ring.submit() {
                Ok(_) => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let errno = error.raw_os_error();
                    assert!(
                        matches!(errno, Some(libc::EAGAIN | libc::EBUSY | libc::ENOMEM)),
                        "the kernel refuses entries it accepted before: {error}"
                    );
                    // Short of memory: the entries stay queued, and the signal brings us back to them.
                    let _ = self.event.write(1);
                    return;
                }
            }
        }
    }
}

impl Drop for Uring {
    /// Waits until the kernel has let go of every buffer; jobs that have not begun never do.
    fn drop(&mut self) {
        drop(self.waiting.give_up());
        while self.slots.iter().any(Option::is_some) {
            match self.ring.submit_and_wait(1) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => {
                    // The kernel may still write there: leaking is the only safe end.
                    Box::leak(Box::new(std::mem::take(&mut self.slots)));
                    Box::leak(Box::new(std::mem::replace(
                        &mut self.scratch,
                        Scratch::new(),
                    )));
                    return;
                }
            }
            loop {
                let Some(entry) = self.ring.completion().next() else {
                    break;
                };
                let index = usize::try_from(entry.user_data()).unwrap_or(usize::MAX);
                if let Some(slot) = self.slots.get_mut(index) {
                    *slot = None;
                }
            }
        }
    }
}

impl Slot {
    /// The entry for what is left of the task.
    fn entry(&mut self, scratch: &Scratch) -> squeue::Entry {
        let raw = self
            .job
            .task
            .file()
            .descriptor()
            .map_or(-1, |descriptor| descriptor.as_raw_fd());
        let descriptor = types::Fd(raw);
        self.vectors.clear();
        match &mut self.job.task {
            Task::Write {
                position,
                buffers,
                done,
                ..
            } => {
                let slices = slices_after(buffers, *done);
                self.vectors.extend(slices.iter().map(|slice| libc::iovec {
                    iov_base: slice.as_ptr().cast_mut().cast(),
                    iov_len: slice.len(),
                }));
                opcode::Writev::new(descriptor, self.vectors.as_ptr(), count(&self.vectors))
                    .offset(position.saturating_add(*done))
                    .build()
            }
            Task::Sync { .. } => opcode::Fsync::new(descriptor)
                .flags(types::FsyncFlags::DATASYNC)
                .build(),
            Task::Read {
                position,
                buffer,
                done,
                ..
            } => {
                let at = position.saturating_add(*done as u64);
                let rest = buffer.get_mut(*done..).unwrap_or_default();
                let length = u32::try_from(rest.len())
                    .unwrap_or(u32::MAX)
                    .min(READ_BYTES_MAX);
                opcode::Read::new(descriptor, rest.as_mut_ptr(), length)
                    .offset(at)
                    .build()
            }
            Task::ReadAhead {
                position,
                length,
                done,
                ..
            } => {
                scratch.cover(length.saturating_sub(*done), &mut self.vectors);
                opcode::Readv::new(descriptor, self.vectors.as_ptr(), count(&self.vectors))
                    .offset(position.saturating_add(*done))
                    .build()
            }
        }
    }

    fn advance(&mut self, result: i32) -> Progress {
        let Ok(moved) = usize::try_from(result) else {
            let errno = Errno::from_raw(-result);
            self.retries += 1;
            let again = matches!(errno, Errno::EINTR | Errno::EAGAIN);
            if again && self.retries <= RETRIES_MAX {
                return Progress::Again;
            }
            return Progress::Done(Err(self.job.task.failed(errno)));
        };
        let ended = moved == 0;
        match &mut self.job.task {
            Task::Sync { .. } => Progress::Done(Ok(Outcome::Synced)),
            Task::Write { length, done, .. } => {
                *done += moved as u64;
                if *done >= *length {
                    return Progress::Done(Ok(Outcome::Written { length: *length }));
                }
                if ended {
                    return Progress::Done(Err(self.job.task.failed(io::ErrorKind::WriteZero)));
                }
                Progress::Again
            }
            Task::Read { buffer, done, .. } => {
                *done += moved;
                if ended || *done >= buffer.len() {
                    return Progress::Done(Ok(read_outcome(buffer, *done)));
                }
                Progress::Again
            }
            Task::ReadAhead { length, done, .. } => {
                *done += moved as u64;
                if ended || *done >= *length {
                    return Progress::Done(Ok(Outcome::ReadAhead));
                }
                Progress::Again
            }
        }
    }
}

/// The leanest ring this kernel gives: completions posted only when we ask (6.1), without interrupting us (5.19), or
/// the plain one.
fn build() -> io::Result<IoUring> {
    let leanest = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_cqsize(COMPLETIONS_MAX)
        .build(ENTRIES);
    let unknown = |error: &io::Error| error.raw_os_error() == Some(libc::EINVAL);
    match leanest {
        Err(error) if unknown(&error) => {}
        built => return built,
    }
    let lean = IoUring::builder()
        .setup_coop_taskrun()
        .setup_taskrun_flag()
        .setup_cqsize(COMPLETIONS_MAX)
        .build(ENTRIES);
    match lean {
        Err(error) if unknown(&error) => IoUring::builder().build(ENTRIES),
        built => built,
    }
}

fn check_operations(ring: &IoUring) -> io::Result<()> {
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe)?;
    let needed = [
        opcode::Writev::CODE,
        opcode::Readv::CODE,
        opcode::Read::CODE,
        opcode::Fsync::CODE,
    ];
    if needed.iter().all(|&code| probe.is_supported(code)) && ring.params().is_feature_nodrop() {
        Ok(())
    } else {
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn count(vectors: &[libc::iovec]) -> u32 {
    u32::try_from(vectors.len()).unwrap_or(u32::MAX)
}

/// Entries in the submission queue: small, because group commit keeps few in flight and each ring costs memory.
const ENTRIES: u32 = 64;
/// One slot per entry, so that a push always finds room.
const IN_FLIGHT_MAX: usize = 64;
/// The others are left for what commits and lookups wait for.
const READING_AHEAD_MAX: usize = 48;
/// Twice the slots: the completion queue cannot overflow.
const COMPLETIONS_MAX: u32 = 128;
const _: () = assert!(IN_FLIGHT_MAX == ENTRIES as usize && COMPLETIONS_MAX >= ENTRIES);
/// The kernel moves less than 2 GiB per entry.
const READ_BYTES_MAX: u32 = 1 << 30;
/// EAGAIN from a regular file is a passing shortage; past this many it is an error.
const RETRIES_MAX: u32 = 1000;

#[cfg(test)]
mod tests;
