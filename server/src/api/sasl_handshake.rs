//! SaslHandshake (key 17): nobody logs in here, and who means to is told at once that its listener is none for that.

use millrace_engine::shard::Stopped;
use millrace_wire::ErrorCode;
use millrace_wire::message::sasl_handshake::{SaslHandshakeRequest, SaslHandshakeResponse};

use super::context::RequestContext;

pub(super) async fn handle(
    _request: SaslHandshakeRequest,
    _context: &RequestContext,
) -> Result<SaslHandshakeResponse, Stopped> {
    Ok(SaslHandshakeResponse {
        error_code: ErrorCode::IllegalSaslState,
        mechanisms: Vec::new(),
    })
}
