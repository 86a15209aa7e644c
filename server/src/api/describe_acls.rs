//! DescribeAcls (key 29): there is no authorizer, and tools go by that: an empty list would mean one without rules, which lets nobody in.

use millrace_engine::shard::Stopped;
use millrace_wire::message::describe_acls::{DescribeAclsRequest, DescribeAclsResponse};
use millrace_wire::{ErrorCode, Str};

use super::context::RequestContext;

pub(super) async fn handle(
    _request: DescribeAclsRequest,
    _context: &RequestContext,
) -> Result<DescribeAclsResponse, Stopped> {
    Ok(DescribeAclsResponse {
        error_code: ErrorCode::SecurityDisabled,
        // Not the sentence of the other two, as in Kafka.
        error_message: Some(Str::from_static(
            "No Authorizer is configured on the broker",
        )),
        ..Default::default()
    })
}
