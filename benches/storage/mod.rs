//! Ways to write and sync a file from an asynchronous core: ours, two runtimes that offer the same, and none.

mod by_glommio;
mod by_tokio_uring;
mod inline;
mod own_ring;

use bytes::Bytes;
use millrace_engine::io::File;

pub(crate) use by_glommio::Glommio;
pub(crate) use by_tokio_uring::TokioUring;
pub(crate) use inline::Inline;
pub(crate) use own_ring::OwnRing;

/// One way. Every method panics when the disk refuses.
pub(crate) trait Storage {
    /// What it is called in the results.
    const NAME: &'static str;

    /// A file as this way holds it.
    type Opened;

    /// The way, ready.
    fn new() -> Self;

    /// Runs `future` on this thread, in the runtime that belongs to the way.
    fn block_on<F: Future>(&self, future: F) -> F::Output;

    /// Takes over a file of the engine.
    async fn open(&self, file: &File) -> Self::Opened;

    /// Writes all of `buffers`, one after the other.
    async fn write(&self, file: &Self::Opened, position: u64, buffers: Vec<Bytes>);

    /// Makes what was written durable (fdatasync).
    async fn sync(&self, file: &Self::Opened);
}
