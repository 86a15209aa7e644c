//! The control thread: the one place where cluster metadata changes. Proposals come in over a bounded channel, are made
//! durable one after the other, and every new image is shown to all shards.
//!
//! It decides nothing itself and blocks on nothing but the journal's disk.

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot, watch};

use crate::metadata::{Command, Metadata, MetadataImage, ProposeError, Reply, StorageError};

/// A proposal and where its outcome goes.
#[derive(Debug)]
struct Proposal {
    command: Command,
    outcome: oneshot::Sender<Result<Reply, ControlError>>,
}

/// Why a proposal came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The proposal was refused or could not be made durable.
    #[error(transparent)]
    Refused(#[from] ProposeError),
    /// The broker is stopping.
    #[error("the broker is stopping")]
    Stopped,
}

/// The running control thread.
#[derive(Debug)]
pub struct Control {
    thread: JoinHandle<Result<(), StorageError>>,
}

/// A way to propose changes and to see what they made of the cluster.
#[derive(Clone, Debug)]
pub struct ControlHandle {
    proposals: mpsc::Sender<Proposal>,
    image: watch::Receiver<Arc<MetadataImage>>,
}

/// A change that was handed in.
#[derive(Debug)]
pub struct Proposed {
    answer: oneshot::Receiver<Result<Reply, ControlError>>,
}

impl Proposed {
    /// Waits until the change is durable.
    ///
    /// # Errors
    /// As [`ControlHandle::propose`].
    pub async fn outcome(self) -> Result<Reply, ControlError> {
        self.answer.await.map_err(|_| ControlError::Stopped)?
    }
}

impl Control {
    /// Starts the thread on an open journal. It ends when every handle is gone.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(metadata: Metadata) -> std::io::Result<(Self, ControlHandle)> {
        let (desk, handle) = Desk::new(metadata);
        let thread = std::thread::Builder::new().name("control".to_owned());
        let thread = thread.spawn(move || desk.serve())?;
        Ok((Self { thread }, handle))
    }

    /// Waits until the journal is closed.
    ///
    /// # Errors
    /// The journal could not be closed in order; the next start will read it all.
    pub fn join(self) -> Result<(), StorageError> {
        // A panic has been reported by the panic hook; the journal is then as a crash leaves it.
        self.thread.join().unwrap_or(Ok(()))
    }
}

impl ControlHandle {
    /// Proposes a change and waits until it is durable.
    ///
    /// # Errors
    /// It was refused, the journal's disk failed, or the broker is stopping.
    pub async fn propose(&self, command: Command) -> Result<Reply, ControlError> {
        self.hand_in(command).await?.outcome().await
    }

    /// Hands a change in, as soon as there is room. Whoever stops waiting for that has changed nothing; from then on it is
    /// dealt with in its turn, whether or not somebody waits for it.
    ///
    /// # Errors
    /// The broker is stopping.
    pub async fn hand_in(&self, command: Command) -> Result<Proposed, ControlError> {
        let (outcome, answer) = oneshot::channel();
        let proposal = Proposal { command, outcome };
        let sent = self.proposals.send(proposal).await;
        sent.map_err(|_| ControlError::Stopped)?;
        Ok(Proposed { answer })
    }

    /// The newest image.
    #[must_use]
    pub fn image(&self) -> Arc<MetadataImage> {
        Arc::clone(&self.image.borrow())
    }

    /// A view of the image that tells when it changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<MetadataImage>> {
        self.image.clone()
    }
}

/// Where proposals are dealt with: what the thread does, for whoever moves it.
pub(crate) struct Desk {
    metadata: Metadata,
    inbox: mpsc::Receiver<Proposal>,
    publish: watch::Sender<Arc<MetadataImage>>,
}

impl Desk {
    /// A desk on an open journal, and the way to it.
    pub(crate) fn new(metadata: Metadata) -> (Self, ControlHandle) {
        let (proposals, inbox) = mpsc::channel(PROPOSALS_MAX);
        let (publish, image) = watch::channel(Arc::clone(metadata.image()));
        let desk = Self {
            metadata,
            inbox,
            publish,
        };
        (desk, ControlHandle { proposals, image })
    }

    /// Deals with proposals until every handle is gone, and closes the journal.
    fn serve(mut self) -> Result<(), StorageError> {
        while let Some(proposal) = self.inbox.blocking_recv() {
            self.decide(proposal);
        }
        self.close()
    }

    /// Deals with one proposal if one waits; says whether one did.
    pub(crate) fn serve_next(&mut self) -> bool {
        let next = self.inbox.try_recv().ok();
        next.map(|proposal| self.decide(proposal)).is_some()
    }

    /// Closes the journal.
    ///
    /// # Errors
    /// As [`Control::join`].
    pub(crate) fn close(self) -> Result<(), StorageError> {
        self.metadata.close()
    }

    fn decide(&mut self, proposal: Proposal) {
        let Proposal { command, outcome } = proposal;
        let answer = match self.metadata.propose(&command) {
            Ok((image, reply)) => {
                // Shown before it is answered: whoever hears of a topic finds it.
                self.publish.send_replace(image);
                Ok(reply)
            }
            Err(error) => {
                if let ProposeError::Storage(error) = &error {
                    tracing::error!(%error, "the metadata journal cannot take a change");
                }
                Err(error.into())
            }
        };
        // The asker may have gone; the change stands.
        let _ = outcome.send(answer);
    }
}

/// How many proposals may wait; those behind wait for room.
const PROPOSALS_MAX: usize = 64;
