//! INV-REC-1: a recovery leaves nothing for the next one to change.

use super::metadata_stays::Facts;
use super::{Readings, Verdict, Violation};

pub(crate) fn check_metadata(first: &Facts, second: &Facts) -> Verdict {
    if first == second {
        return Ok(());
    }
    Err(Violation {
        invariant: "INV-REC-1",
        text: format!("the metadata was {first:?} and became {second:?}"),
    })
}

pub(crate) fn check(first: &Readings, second: &Readings) -> Verdict {
    for (partition, before) in first {
        let after = second.get(partition);
        if after != Some(before) {
            return Err(Violation {
                invariant: "INV-REC-1",
                text: format!("{partition:?}: {before:?} became {after:?}"),
            });
        }
    }
    Ok(())
}
