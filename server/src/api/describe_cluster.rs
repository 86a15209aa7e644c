//! DescribeCluster (key 60): the brokers, as clients of this listener reach them.

use millrace_engine::shard::Stopped;
use millrace_wire::ErrorCode;
use millrace_wire::message::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};

use super::brokers::authorized;
use super::context::RequestContext;

pub(super) async fn handle(
    request: DescribeClusterRequest,
    context: &RequestContext,
) -> Result<DescribeClusterResponse, Stopped> {
    if let Err((error_code, message)) = check_endpoint_type(request.endpoint_type) {
        return Ok(DescribeClusterResponse {
            error_code,
            error_message: Some(message.into()),
            ..Default::default()
        });
    }
    let image = context.image();
    let brokers = context
        .brokers(&image)
        .into_iter()
        .map(|broker| DescribeClusterBroker {
            broker_id: broker.id,
            host: broker.host,
            port: broker.port,
            rack: broker.rack,
            is_fenced: false,
        });
    let asked = request.include_cluster_authorized_operations;
    Ok(DescribeClusterResponse {
        cluster_id: image.cluster_id().into(),
        controller_id: context.controller(&image),
        brokers: brokers.collect(),
        cluster_authorized_operations: if asked {
            authorized::CLUSTER
        } else {
            authorized::NOT_ASKED
        },
        ..Default::default()
    })
}

/// Only brokers can be asked about here. The sentences are Kafka's.
fn check_endpoint_type(endpoint_type: i8) -> Result<(), (ErrorCode, String)> {
    match endpoint_type {
        1 => Ok(()),
        2 => Err((
            ErrorCode::MismatchedEndpointType,
            "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER"
                .to_owned(),
        )),
        other => Err((
            ErrorCode::UnsupportedEndpointType,
            format!("Unsupported endpoint type {other}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_are_not_to_be_found_on_a_broker_listener() {
        let code = |endpoint_type| check_endpoint_type(endpoint_type).map_err(|(code, _)| code);
        assert_eq!(code(1), Ok(()));
        assert_eq!(code(2), Err(ErrorCode::MismatchedEndpointType));
        assert_eq!(code(0), Err(ErrorCode::UnsupportedEndpointType));
    }
}
