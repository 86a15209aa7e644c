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
    /// How the journal was when the log last said something of it.
    journal: JournalState,
}

/// Whether the journal takes changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum JournalState {
    Well,
    Full,
    Failed,
}

type Outcome = Result<(Arc<MetadataImage>, Reply), ProposeError>;

impl Desk {
    /// A desk on an open journal, and the way to it.
    pub(crate) fn new(metadata: Metadata) -> (Self, ControlHandle) {
        let (proposals, inbox) = mpsc::channel(PROPOSALS_MAX);
        let (publish, image) = watch::channel(Arc::clone(metadata.image()));
        let desk = Self {
            metadata,
            inbox,
            publish,
            journal: JournalState::Well,
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

    /// Deals with a change at once whose outcome nobody waits for.
    pub(crate) fn take_note(&mut self, command: Command) {
        let (outcome, _) = oneshot::channel();
        self.decide(Proposal { command, outcome });
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
        let proposed = self.metadata.propose(&command);
        self.note(&command, &proposed);
        let answer = match proposed {
            Ok((image, reply)) => {
                // Shown before it is answered: whoever hears of a topic finds it.
                self.publish.send_replace(image);
                Ok(reply)
            }
            Err(error) => Err(error.into()),
        };
        // The asker may have gone; the change stands.
        let _ = outcome.send(answer);
    }

    /// Says what has become of the journal, once: clients may ask again and again. True when there was something to say.
    fn note(&mut self, command: &Command, proposed: &Outcome) -> bool {
        let Some(state) = self.state_shown_by(command, proposed) else {
            return false;
        };
        if std::mem::replace(&mut self.journal, state) == state {
            return false;
        }
        match proposed {
            Ok(_) => tracing::info!("the metadata journal takes changes again"),
            Err(error) => tracing::error!(%error, "the metadata journal cannot take a change"),
        }
        true
    }

    /// How the journal is, if what came of a change tells.
    fn state_shown_by(&self, command: &Command, proposed: &Outcome) -> Option<JournalState> {
        match proposed {
            Ok((image, _)) => {
                let is_written = !Arc::ptr_eq(image, &self.publish.borrow());
                // Where it has its own room others may have none.
                (is_written && !Metadata::has_reserve(command)).then_some(JournalState::Well)
            }
            // Whoever asked for so much is told.
            Err(ProposeError::Storage(StorageError::EntryTooLong { .. })) => None,
            Err(ProposeError::Storage(error)) if error.is_out_of_space() => {
                Some(JournalState::Full)
            }
            Err(ProposeError::Storage(_)) => Some(JournalState::Failed),
            Err(ProposeError::Refused(_) | ProposeError::Inconsistent(_)) => None,
        }
    }
}

/// How many proposals may wait; those behind wait for room.
const PROPOSALS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::io::{Sim, SimOperation};
    use crate::metadata::{MetadataOptions, RegisterBroker};
    use crate::types::{BrokerId, DirectoryId, Uuid};

    const BROKER: BrokerId = BrokerId(1);
    const DIRECTORY: DirectoryId = DirectoryId(Uuid(7));
    const ALLOCATE: Command = Command::AllocateProducerIds { broker: BROKER };
    const EIO: i32 = 5;
    const ENOSPC: i32 = 28;

    fn desk(sim: &Sim) -> Desk {
        let (disk, options) = (sim.disk(), MetadataOptions::default());
        let metadata = Metadata::open(&disk, Path::new("/metadata"), BROKER, "cluster", options);
        let mut metadata = metadata.unwrap();
        let register = RegisterBroker {
            id: BROKER,
            incarnation: Uuid(1),
            endpoints: Vec::new(),
            rack: None,
            log_directories: vec![DIRECTORY],
        };
        let register = Command::RegisterBroker(register);
        metadata.propose(&register).unwrap();
        Desk::new(metadata).0
    }

    /// Whether something is said of the journal when this is asked for.
    fn is_said(desk: &mut Desk, command: &Command) -> bool {
        let proposed = desk.metadata.propose(command);
        desk.note(command, &proposed)
    }

    #[test]
    fn a_journal_that_takes_nothing_is_said_once_and_once_more_when_it_does_again() {
        let sim = Sim::new(1);
        let mut desk = desk(&sim);
        assert!(!is_said(&mut desk, &ALLOCATE));
        for is_first in [true, false] {
            sim.fail_next(SimOperation::Write, ".journal", ENOSPC);
            assert_eq!(is_said(&mut desk, &ALLOCATE), is_first);
        }
        // What makes room has some of its own.
        let cordon = Command::CordonDirectories {
            broker: BROKER,
            directories: vec![DIRECTORY],
        };
        assert!(!is_said(&mut desk, &cordon));
        assert!(is_said(&mut desk, &ALLOCATE), "it takes changes again");
        assert!(!is_said(&mut desk, &ALLOCATE));
        sim.fail_next(SimOperation::Sync, ".journal", EIO);
        assert!(is_said(&mut desk, &ALLOCATE), "it has failed");
        assert!(!is_said(&mut desk, &ALLOCATE), "it is offline");
    }

    #[test]
    fn a_change_that_is_too_large_says_nothing_of_the_journal() {
        let mut desk = desk(&Sim::new(1));
        let too_long = StorageError::EntryTooLong {
            path: PathBuf::from("/metadata"),
            length: 2,
            max: 1,
        };
        assert!(!desk.note(&ALLOCATE, &Err(too_long.into())));
    }
}
