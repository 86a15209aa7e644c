//! Reads and writes that never wait for the device, and the question whether a range is in memory.
//!
//! Each answers how far it got; the reason it stopped there is found out by whoever does the rest and may wait.

#![expect(
    unsafe_code,
    reason = "preadv2, pwritev2 and cachestat have no safe wrappers"
)]

use std::io::IoSlice;
use std::os::fd::{AsRawFd, BorrowedFd};

use bytes::Bytes;
use nix::errno::Errno;
use nix::libc;

use super::file::{File, bytes_in, signed, slices_after};

/// Bytes of `buffers` that went into the page cache at `position` without waiting. Takes note when the file system
/// refuses the notion itself.
pub(super) fn write(file: &File, position: u64, buffers: &[Bytes]) -> u64 {
    let mut done = 0;
    let length = bytes_in(buffers);
    while done < length {
        let slices = slices_after(buffers, done);
        match write_once(file, position.saturating_add(done), &slices) {
            Ok(0) | Err(Errno::EAGAIN) => break,
            Ok(count) => done += count as u64,
            Err(Errno::EINTR) => {}
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => {
                file.refuses_nowait_writes();
                break;
            }
            Err(_) => break,
        }
    }
    done
}

/// Bytes read at `position` that were in memory, up to the length of `buffer`.
pub(super) fn read(file: &File, position: u64, buffer: &mut [u8]) -> usize {
    let Some(descriptor) = file.descriptor() else {
        return 0;
    };
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match read_once(descriptor, position.saturating_add(done as u64), rest) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(Errno::EINTR) => {}
            Err(_) => break,
        }
    }
    done
}

/// The `length` bytes at `position`, if all of them were in memory. Nothing is written into the new memory before the kernel does.
pub(super) fn read_new(file: &File, position: u64, length: usize) -> Option<Vec<u8>> {
    let descriptor = file.descriptor()?;
    let mut buffer = Vec::with_capacity(length);
    while buffer.len() < length {
        let at = position.checked_add(buffer.len() as u64)?;
        let missing = length - buffer.len();
        let room = &mut buffer.spare_capacity_mut()[..missing];
        let vector = libc::iovec {
            iov_base: room.as_mut_ptr().cast(),
            iov_len: room.len(),
        };
        match read_into(descriptor, at, &vector) {
            Ok(0) => return None,
            // SAFETY: the kernel says that it has filled so many bytes of the spare room, which begins at the length and was
            // borrowed from `buffer` until the call returned; it never says more than it was given.
            Ok(count) => unsafe { buffer.set_len(buffer.len() + count) },
            Err(Errno::EINTR) => {}
            Err(_) => return None,
        }
    }
    Some(buffer)
}

/// Whether the range is in memory and up to date, as far as can be told for a microsecond or two: the kernel counts
/// its pages, and the first and the last one are touched, because a page still on its way counts as well.
pub(super) fn is_resident(file: &File, position: u64, length: u64) -> bool {
    let Some(descriptor) = file.descriptor() else {
        return true;
    };
    let Some(last) = length
        .checked_sub(1)
        .and_then(|rest| position.checked_add(rest))
    else {
        return true;
    };
    match pages_cached(descriptor, position, length) {
        Some(cached) if cached < pages_spanned(position, last) => false,
        Some(_) => touches(descriptor, position) && touches(descriptor, last),
        None => {
            let mut at = position;
            while at < last && touches(descriptor, at) {
                at = at.saturating_add(SAMPLE_BYTES);
            }
            at >= last && touches(descriptor, last)
        }
    }
}

/// Whether one byte can be had without waiting. Where the file system cannot say, the count of pages has to do.
fn touches(descriptor: BorrowedFd<'_>, position: u64) -> bool {
    loop {
        match read_once(descriptor, position, &mut [0]) {
            Ok(_) | Err(Errno::EOPNOTSUPP) => return true,
            Err(Errno::EINTR) => {}
            Err(_) => return false,
        }
    }
}

fn write_once(file: &File, position: u64, slices: &[IoSlice<'_>]) -> Result<usize, Errno> {
    let descriptor = file.descriptor().ok_or(Errno::EOPNOTSUPP)?;
    let offset = signed(position).map_err(|_| Errno::EOVERFLOW)?;
    let count = libc::c_int::try_from(slices.len()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: `IoSlice` has the layout of `iovec` (promised by std); the slices and the bytes they borrow outlive the
    // call, which only reads them and keeps no pointer; `descriptor` is open for as long as `file` is borrowed.
    let written = unsafe {
        libc::pwritev2(
            descriptor.as_raw_fd(),
            slices.as_ptr().cast(),
            count,
            offset,
            libc::RWF_NOWAIT,
        )
    };
    Errno::result(written).map(|written| usize::try_from(written).unwrap_or(0))
}

fn read_once(descriptor: BorrowedFd<'_>, position: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
    let vector = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    read_into(descriptor, position, &vector)
}

/// One read into the memory that `vector` describes, which the caller has borrowed mutably until this returns.
fn read_into(
    descriptor: BorrowedFd<'_>,
    position: u64,
    vector: &libc::iovec,
) -> Result<usize, Errno> {
    let offset = signed(position).map_err(|_| Errno::EOVERFLOW)?;
    // SAFETY: both callers made `vector` from memory that they hold mutably until the call returns; the kernel writes at most
    // its length into it and keeps no pointer; `descriptor` is borrowed, hence open.
    let count =
        unsafe { libc::preadv2(descriptor.as_raw_fd(), vector, 1, offset, libc::RWF_NOWAIT) };
    Errno::result(count).map(|count| usize::try_from(count).unwrap_or(0))
}

/// Pages of the range that the page cache holds; `None` where the kernel (before 6.5) or the file system cannot tell.
fn pages_cached(descriptor: BorrowedFd<'_>, position: u64, length: u64) -> Option<u64> {
    let range = CacheStatRange {
        offset: position,
        length,
    };
    let mut found = CacheStat::default();
    // SAFETY: both structures have the kernel's layout (repr(C), five and two u64), live on this stack frame and are
    // used by the kernel during the call only; `descriptor` is borrowed, hence open.
    let result = unsafe {
        libc::syscall(
            SYS_CACHESTAT,
            descriptor.as_raw_fd(),
            &raw const range,
            &raw mut found,
            0 as libc::c_uint,
        )
    };
    (result == 0).then_some(found.cached)
}

fn pages_spanned(first: u64, last: u64) -> u64 {
    let page = page_bytes();
    (last / page).saturating_sub(first / page).saturating_add(1)
}

/// The size of a page of memory.
pub(super) fn page_bytes() -> u64 {
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
    let size = size
        .ok()
        .flatten()
        .and_then(|size| u64::try_from(size).ok());
    size.filter(|&size| size > 0).unwrap_or(4096)
}

#[repr(C)]
struct CacheStatRange {
    offset: u64,
    length: u64,
}

#[repr(C)]
#[derive(Default)]
struct CacheStat {
    cached: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// One number on every architecture we build for; libc does not name it on all of them.
const SYS_CACHESTAT: libc::c_long = 451;

/// How far apart bytes are touched where pages cannot be counted.
const SAMPLE_BYTES: u64 = 16 << 10;
