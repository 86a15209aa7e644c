//! What a broker does with a replica: the role over a log. Plain and synchronous; the disk's work goes out as values
//! and its results come back in.
//!
//! It knows no other partition, no thread and no request.

mod error;
mod leader;
mod rules;
mod unpacking;
mod waiting;

pub use error::{AppendError, DeleteRecordsError, OffsetLookupError, ReadError, Unavailable};
pub use leader::{
    Fault, GroupCommit, Isolation, Leader, Offered, OffsetAnswer, OffsetSpec, RetentionWork, Work,
};
pub use waiting::{Acks, Appended, Told, Waiter};
