//! AlterConfigs (key 33): replaces the whole dynamic configuration of resources.

use millrace_engine::config::{Alteration, Operation};
use millrace_engine::shard::Stopped;
use millrace_wire::message::alter_configs::{
    AlterConfigsRequest, AlterConfigsRequestResource, AlterConfigsResponse,
    AlterConfigsResponseResource,
};

use super::admin::{Denied, outcome};
use super::configs::{Change, alter, check_count};
use super::context::RequestContext;

pub(super) async fn handle(
    request: AlterConfigsRequest,
    context: &RequestContext,
) -> Result<AlterConfigsResponse, Stopped> {
    let (resources, validate_only) = (request.resources, request.validate_only);
    let responses = alter(context, resources, change, answer, validate_only).await?;
    Ok(AlterConfigsResponse {
        responses,
        ..Default::default()
    })
}

fn answer(
    asked: AlterConfigsRequestResource,
    result: Result<(), Denied>,
) -> AlterConfigsResponseResource {
    let (error_code, error_message) = outcome(result);
    AlterConfigsResponseResource {
        error_code,
        error_message,
        resource_type: asked.resource_type,
        resource_name: asked.resource_name,
    }
}

fn change(resource: &AlterConfigsRequestResource) -> Change {
    let alterations = resource.configs.iter().map(|entry| Alteration {
        name: entry.name.to_string(),
        operation: Operation::Set,
        value: entry.value.as_deref().map(str::to_owned),
    });
    Change {
        kind: resource.resource_type,
        name: resource.resource_name.clone(),
        alterations: check_count(resource.configs.len()).map(|()| alterations.collect()),
        replace: true,
    }
}

#[cfg(test)]
mod tests {
    use millrace_wire::message::alter_configs::AlterConfigsEntry;

    use super::*;

    #[test]
    fn what_is_not_named_is_reset() {
        let entry = AlterConfigsEntry {
            name: "flush.ms".into(),
            value: None,
        };
        let resource = AlterConfigsRequestResource {
            resource_type: 2,
            resource_name: "t".into(),
            configs: vec![entry],
        };
        let change = change(&resource);
        assert!(change.replace);
        let alterations = change.alterations.unwrap();
        assert_eq!(
            (alterations[0].operation, &alterations[0].value),
            (Operation::Set, &None)
        );
    }
}
