//! What is played, and what has to come of it.

mod compaction;
mod endless;
mod failed_syncs;
mod left_out_checks;
mod lying_disk;
mod meddling;
mod metadata;
mod mixed;
mod places;
mod rebalances;
mod replay;
mod sifting;
mod waiting;
