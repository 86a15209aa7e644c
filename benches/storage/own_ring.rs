//! The engine's ring on tokio, as a shard uses it: submit, wait, reap. It writes inline what is short (see
//! `engine/src/io`), so only longer writes and syncs go through the kernel's queues.

use bytes::Bytes;
use millrace_engine::io::{Action, File, IoBackend, LocalRing, Ring, Ticket};
use tokio::runtime::{Builder, Runtime};

use super::Storage;

pub(crate) struct OwnRing {
    ring: LocalRing,
    runtime: Runtime,
}

impl OwnRing {
    async fn perform(&self, action: Action) {
        self.ring.submit(Ticket(0), action);
        self.ring.ready().await;
        let mut completions = Vec::with_capacity(1);
        self.ring.reap(&mut completions);
        for completion in completions {
            completion.result.expect("a sound disk with room");
        }
    }
}

impl Storage for OwnRing {
    const NAME: &'static str = "own ring";

    type Opened = File;

    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_io().build();
        let runtime = runtime.expect("a runtime");
        let ring = Ring::open(&IoBackend::probe()).expect("a ring");
        let inside = runtime.enter();
        let ring = LocalRing::new(ring).expect("a watched ring");
        drop(inside);
        Self { ring, runtime }
    }

    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    async fn open(&self, file: &File) -> File {
        file.clone()
    }

    async fn write(&self, file: &File, position: u64, buffers: Vec<Bytes>) {
        let file = file.clone();
        self.perform(Action::Write {
            file,
            position,
            buffers,
        })
        .await;
    }

    async fn sync(&self, file: &File) {
        self.perform(Action::Sync { file: file.clone() }).await;
    }
}
