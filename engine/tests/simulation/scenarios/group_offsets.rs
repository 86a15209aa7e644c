//! What the checker of group offsets finds out.

use crate::invariants::group_offsets::GroupOffsets;

#[test]
fn an_offset_that_is_lost_or_comes_back_is_found_out() {
    let look = |offsets: &mut GroupOffsets, offset| {
        let found = offsets.fetched("g", offset, 9);
        found.map_err(|found| found.invariant)
    };
    let mut offsets = GroupOffsets::default();
    offsets.committed("g", 5);
    assert_eq!(look(&mut offsets, -1), Err("INV-OFFSET-1"));
    assert_eq!(look(&mut offsets, 4), Err("INV-OFFSET-1"));
    assert_eq!(look(&mut offsets, 10), Err("INV-OFFSET-1"));
    assert_eq!(look(&mut offsets, 6), Ok(()));
    offsets.deleted("g", 7);
    assert_eq!(look(&mut offsets, -1), Ok(()));
    assert_eq!(look(&mut offsets, 6), Err("INV-OFFSET-2"));
    assert_eq!(look(&mut offsets, 8), Ok(()));
    assert_eq!(look(&mut offsets, -1), Err("INV-OFFSET-1"));
    // Nobody knows, until somebody looks or commits.
    offsets.may_be_deleted("g", 8);
    assert_eq!(look(&mut offsets, 8), Ok(()));
    assert_eq!(look(&mut offsets, -1), Err("INV-OFFSET-1"));
    offsets.may_be_deleted("g", 8);
    assert_eq!(look(&mut offsets, -1), Ok(()));
    assert_eq!(look(&mut offsets, 8), Err("INV-OFFSET-2"));
}
