//! The broker's own log: lines on standard error, as text or as JSON.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, Note, NoteKind};

/// Starts the log of this process. `RUST_LOG` says what is logged; without it everything from `info` up.
pub fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // A line that cannot be written is lost: saying so on the same stream would panic.
        .log_internal_errors(false)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().init(),
    }
}

/// Says what is worth saying about the configuration.
pub fn tell(notes: &[Note]) {
    for note in notes {
        match note.kind {
            NoteKind::WithoutEffect | NoteKind::Pending => tracing::info!("{note}"),
            NoteKind::Unknown
            | NoteKind::Retired
            | NoteKind::Lowered
            | NoteKind::Repeated
            | NoteKind::Advice => tracing::warn!("{note}"),
        }
    }
}
