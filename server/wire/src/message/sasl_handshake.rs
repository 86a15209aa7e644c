//! SaslHandshake (key 17): chooses how to log in. Never became flexible.

use crate::error_code::ErrorCode;
use crate::text::Str;

messages! {
    SaslHandshake: versions 0..=1, flexible never;

    request {
        /// How the client wants to log in. What follows are bare tokens after version 0, and SaslAuthenticate after version 1.
        struct SaslHandshakeRequest {
            mechanism: Str,
        }
    }

    response {
        /// Whether it may.
        struct SaslHandshakeResponse {
            error_code: ErrorCode,
            /// Those that the broker offers.
            mechanisms: Vec<Str>,
        }
    }
}
