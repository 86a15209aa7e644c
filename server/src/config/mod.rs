//! The broker's configuration: where values come from, what holds, what a client may see and change.
//!
//! Everything derives from the tables of properties: the broker's here, the topics' in the engine. Names as text end
//! here; the rest of the server sees [`BrokerConfig`].

mod broker;
mod document;
mod entry;
mod environment;
mod listeners;
mod load;
#[cfg(test)]
mod obeyed;
mod properties_file;
mod providers;
mod report;
mod settings;
pub mod table;
mod view;

pub use broker::{
    BrokerConfig, CleanerConfig, GroupConfig, IoBackendChoice, ListenerLimits, LogFormat,
    NewTopicConfig, OffsetConfig, ProducerConfig, SocketConfig, StorageConfig,
};
pub use document::configuration_document;
pub use entry::{Entry, Source, Synonym};
pub use listeners::{Advertised, Endpoint, Listener, ListenerError, Listeners, SecurityProtocol};
pub use load::{Loaded, Sources, load, load_hostile};
pub use report::{Fault, LoadError, Note, NoteKind};
pub use settings::{Origin, Setting, Settings};
pub use view::{BrokerResource, ConfigView, GroupAlterError};
