//! InitProducerId (key 22): gives a producer its id and epoch, for idempotence and transactions.

use crate::error_code::ErrorCode;
use crate::text::Str;

messages! {
    InitProducerId: versions 0..=5, flexible 2..;

    request {
        /// Asks for a producer id, or for a new epoch of one.
        struct InitProducerIdRequest {
            /// Null: idempotence only.
            transactional_id: Option<Str>,
            transaction_timeout_ms: i32,
            producer_id: i64 [3..] = -1,
            producer_epoch: i16 [3..] = -1,
        }
    }

    response {
        /// The producer id and epoch.
        struct InitProducerIdResponse {
            throttle_time_ms: i32,
            error_code: ErrorCode,
            producer_id: i64 = -1,
            producer_epoch: i16,
        }
    }
}
