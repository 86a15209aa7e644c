//! IncrementalAlterConfigs (key 44): changes single values of the dynamic configuration of resources (KIP-339).

use millrace_engine::config::{Alteration, Operation};
use millrace_engine::shard::Stopped;
use millrace_wire::ErrorCode;
use millrace_wire::message::incremental_alter_configs::{
    IncrementalAlterConfigsEntry, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsRequestResource, IncrementalAlterConfigsResponse,
    IncrementalAlterConfigsResponseResource,
};

use super::admin::{Denied, outcome};
use super::configs::{Change, alter, check_count};
use super::context::RequestContext;

pub(super) async fn handle(
    request: IncrementalAlterConfigsRequest,
    context: &RequestContext,
) -> Result<IncrementalAlterConfigsResponse, Stopped> {
    let (resources, validate_only) = (request.resources, request.validate_only);
    let responses = alter(context, resources, change, answer, validate_only).await?;
    Ok(IncrementalAlterConfigsResponse {
        responses,
        ..Default::default()
    })
}

fn change(resource: &IncrementalAlterConfigsRequestResource) -> Change {
    let alterations = || resource.configs.iter().map(alteration).collect();
    Change {
        kind: resource.resource_type,
        name: resource.resource_name.clone(),
        alterations: check_count(resource.configs.len()).and_then(|()| alterations()),
        replace: false,
    }
}

fn answer(
    asked: IncrementalAlterConfigsRequestResource,
    result: Result<(), Denied>,
) -> IncrementalAlterConfigsResponseResource {
    let (error_code, error_message) = outcome(result);
    IncrementalAlterConfigsResponseResource {
        error_code,
        error_message,
        resource_type: asked.resource_type,
        resource_name: asked.resource_name,
    }
}

fn alteration(entry: &IncrementalAlterConfigsEntry) -> Result<Alteration, Denied> {
    let operation = match entry.config_operation {
        0 => Operation::Set,
        1 => Operation::Delete,
        2 => Operation::Append,
        3 => Operation::Subtract,
        unknown => {
            let text = format!("Unknown config operation {unknown}");
            return Err(Denied::new(ErrorCode::InvalidRequest, text));
        }
    };
    Ok(Alteration {
        name: entry.name.to_string(),
        operation,
        value: entry.value.as_deref().map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_told_by_their_numbers() {
        let entry = |config_operation| IncrementalAlterConfigsEntry {
            name: "cleanup.policy".into(),
            config_operation,
            value: Some("compact".into()),
        };
        let operation = |number| alteration(&entry(number)).map(|alteration| alteration.operation);
        assert_eq!(operation(0), Ok(Operation::Set));
        assert_eq!(operation(1), Ok(Operation::Delete));
        assert_eq!(operation(2), Ok(Operation::Append));
        assert_eq!(operation(3), Ok(Operation::Subtract));
        assert_eq!(operation(9).unwrap_err().code, ErrorCode::InvalidRequest);
    }
}
