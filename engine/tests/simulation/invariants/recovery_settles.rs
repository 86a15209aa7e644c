//! INV-REC-1: a recovery leaves nothing for the next one to change.

use super::{Readings, Verdict, Violation};

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
