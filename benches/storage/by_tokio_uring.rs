//! tokio-uring: a ring inside tokio's own loop.

use bytes::Bytes;
use millrace_engine::io::File;
use tokio_uring::Runtime;

use super::Storage;

pub(crate) struct TokioUring {
    runtime: Runtime,
}

impl Storage for TokioUring {
    const NAME: &'static str = "tokio-uring";

    type Opened = tokio_uring::fs::File;

    fn new() -> Self {
        let runtime = Runtime::new(&tokio_uring::builder()).expect("a runtime");
        Self { runtime }
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    async fn open(&self, file: &File) -> tokio_uring::fs::File {
        let opened = std::fs::OpenOptions::new().write(true).open(file.path());
        tokio_uring::fs::File::from_std(opened.expect("the file is there"))
    }

    async fn write(&self, file: &tokio_uring::fs::File, position: u64, buffers: Vec<Bytes>) {
        let (written, _) = file.writev_at_all(buffers, Some(position)).await;
        written.expect("a disk with room");
    }

    async fn sync(&self, file: &tokio_uring::fs::File) {
        file.sync_data().await.expect("a sound disk");
    }
}
