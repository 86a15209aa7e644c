//! CreateAcls (key 30): refused, for there is no authorizer that would keep to the rules.

use millrace_engine::shard::Stopped;
use millrace_wire::message::create_acls::{
    AclCreationResult, CreateAclsRequest, CreateAclsResponse,
};
use millrace_wire::{ErrorCode, Str};

use super::admin::NO_AUTHORIZER;
use super::context::RequestContext;

pub(super) async fn handle(
    request: CreateAclsRequest,
    context: &RequestContext,
) -> Result<CreateAclsResponse, Stopped> {
    let refused = AclCreationResult {
        error_code: ErrorCode::SecurityDisabled,
        error_message: Some(Str::from_static(NO_AUTHORIZER)),
    };
    let refuse_all = move |request: CreateAclsRequest| vec![refused; request.creations.len()];
    Ok(CreateAclsResponse {
        results: context.in_peace(request, refuse_all).await?,
        ..Default::default()
    })
}
