//! glommio: a runtime of its own around several rings. It has no vectored write, so header and payload are copied
//! together first.

use bytes::Bytes;
use glommio::io::{BufferedFile, OpenOptions};
use glommio::{LocalExecutor, LocalExecutorBuilder, Placement};
use millrace_engine::io::File;

use super::Storage;

pub(crate) struct Glommio {
    executor: LocalExecutor,
}

impl Storage for Glommio {
    const NAME: &'static str = "glommio";

    type Opened = BufferedFile;

    fn new() -> Self {
        let executor = LocalExecutorBuilder::new(Placement::Unbound)
            .io_memory(IO_MEMORY_BYTES)
            .make();
        let executor = executor.expect("an executor");
        Self { executor }
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.executor.run(future)
    }

    async fn open(&self, file: &File) -> BufferedFile {
        let opened = OpenOptions::new()
            .write(true)
            .buffered_open(file.path())
            .await;
        opened.expect("the file is there")
    }

    async fn write(&self, file: &BufferedFile, position: u64, buffers: Vec<Bytes>) {
        let bytes = buffers.concat();
        let length = bytes.len();
        let written = file.write_at(bytes, position).await;
        let written = written.expect("a disk with room");
        assert_eq!(written, length, "a write to a disk with room is not short");
    }

    async fn sync(&self, file: &BufferedFile) {
        file.fdatasync().await.expect("a sound disk");
    }
}

/// Its registered buffers, which nothing here uses; less than the usual limit of locked memory.
const IO_MEMORY_BYTES: usize = 1 << 20;
