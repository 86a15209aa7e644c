//! Where read-ahead puts the bytes that nobody wants.
//!
//! It owns the memory and hands out pointers to it; who may still write there is the ring's business.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use nix::libc;

use crate::io::action::SCRATCH_BYTES;

/// Memory that read-ahead pours into and nobody looks at, so that many entries may write it at once.
pub(super) struct Scratch {
    memory: NonNull<u8>,
}

impl Scratch {
    pub(super) fn new() -> Self {
        // SAFETY: the layout is not of size zero; the memory is freed by `drop` with the same layout.
        let memory = unsafe { alloc_zeroed(SCRATCH_LAYOUT) };
        NonNull::new(memory).map_or_else(
            || handle_alloc_error(SCRATCH_LAYOUT),
            |memory| Self { memory },
        )
    }

    /// Vectors for the first of `length` bytes, all over the same memory; at most [`READ_AHEAD_BYTES_MAX`].
    pub(super) fn cover(&self, length: u64, vectors: &mut Vec<libc::iovec>) {
        let length = usize::try_from(length)
            .unwrap_or(usize::MAX)
            .min(READ_AHEAD_BYTES_MAX);
        let mut left = length;
        while left > 0 {
            let piece = left.min(SCRATCH_BYTES);
            vectors.push(libc::iovec {
                iov_base: self.memory.as_ptr().cast(),
                iov_len: piece,
            });
            left -= piece;
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with the same layout, freed once; `Uring::drop` has reaped every entry that
        // could write there before its fields are dropped.
        unsafe { dealloc(self.memory.as_ptr(), SCRATCH_LAYOUT) }
    }
}

/// Per entry; the next one follows when it is in.
pub(super) const READ_AHEAD_BYTES_MAX: usize = 1 << 20;
const SCRATCH_LAYOUT: Layout = match Layout::from_size_align(SCRATCH_BYTES, 4096) {
    Ok(layout) => layout,
    Err(_) => Layout::new::<u8>(),
};
