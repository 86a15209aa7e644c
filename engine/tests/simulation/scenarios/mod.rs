//! What is played, and what has to come of it.

mod compaction;
mod endless;
mod engine_starts;
mod failed_syncs;
mod flush_ms;
mod group_offsets;
mod left_out_checks;
mod lying_disk;
mod meddling;
mod metadata;
mod mixed;
mod places;
mod rebalances;
mod removals;
mod replay;
mod sifting;
mod waiting;
