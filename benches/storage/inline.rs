//! Blocking calls on the thread itself: the floor for CPU time, and what a core must not do while others wait.

use bytes::Bytes;
use millrace_engine::io::File;
use tokio::runtime::{Builder, Runtime};

use super::Storage;

pub(crate) struct Inline {
    runtime: Runtime,
}

impl Storage for Inline {
    const NAME: &'static str = "inline";

    type Opened = File;

    fn new() -> Self {
        let runtime = Builder::new_current_thread().build();
        let runtime = runtime.expect("a runtime");
        Self { runtime }
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    async fn open(&self, file: &File) -> File {
        file.clone()
    }

    async fn write(&self, file: &File, position: u64, buffers: Vec<Bytes>) {
        let written = file.write_buffers_at(position, &buffers);
        written.expect("a disk with room");
    }

    async fn sync(&self, file: &File) {
        file.sync_data().expect("a sound disk");
    }
}
