//! INV-GAP-1: the batches of a log that is not compacted follow each other without a gap, up to the high watermark.

use millrace_engine::types::TopicIdPartition;

use super::{Reading, Verdict, Violation};

pub(crate) fn check(partition: TopicIdPartition, reading: &Reading) -> Verdict {
    let broken = |text: String| {
        Err(Violation {
            invariant: "INV-GAP-1",
            text: format!("{partition:?}: {text}"),
        })
    };
    let mut expected = reading.log_start;
    for (place, batch) in reading.batches.iter().enumerate() {
        let inside = place == 0 && batch.base <= expected && expected < batch.next;
        if batch.base != expected && !inside {
            return broken(format!("{batch:?} follows {expected}"));
        }
        expected = batch.next;
    }
    if expected != reading.high_watermark {
        return broken(format!(
            "batches end at {expected}, the high watermark is {}",
            reading.high_watermark
        ));
    }
    Ok(())
}
