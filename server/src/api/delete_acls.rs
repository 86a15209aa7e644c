//! DeleteAcls (key 31): refused, for there is no authorizer that would have rules.

use millrace_engine::shard::Stopped;
use millrace_wire::message::delete_acls::{
    DeleteAclsFilterResult, DeleteAclsRequest, DeleteAclsResponse,
};
use millrace_wire::{ErrorCode, Str};

use super::admin::NO_AUTHORIZER;
use super::context::RequestContext;

pub(super) async fn handle(
    request: DeleteAclsRequest,
    context: &RequestContext,
) -> Result<DeleteAclsResponse, Stopped> {
    let refused = DeleteAclsFilterResult {
        error_code: ErrorCode::SecurityDisabled,
        error_message: Some(Str::from_static(NO_AUTHORIZER)),
        matching_acls: Vec::new(),
    };
    let refuse_all = move |request: DeleteAclsRequest| vec![refused; request.filters.len()];
    Ok(DeleteAclsResponse {
        filter_results: context.in_peace(request, refuse_all).await?,
        ..Default::default()
    })
}
