//! DescribeCluster (key 60): the members of the cluster, brokers or controllers (KIP-700, KIP-919).

use crate::error_code::ErrorCode;
use crate::text::Str;

messages! {
    DescribeCluster: versions 0..=2, flexible 0..;

    request {
        /// Asks for the members of the cluster.
        struct DescribeClusterRequest {
            include_cluster_authorized_operations: bool,
            /// 1: brokers, 2: controllers.
            endpoint_type: i8 [1..] = 1,
            include_fenced_brokers: bool [2..],
        }
    }

    response {
        /// The members of the cluster.
        struct DescribeClusterResponse {
            throttle_time_ms: i32,
            error_code: ErrorCode,
            error_message: Option<Str>,
            endpoint_type: i8 [1..] = 1,
            cluster_id: Str,
            controller_id: i32 = -1,
            brokers: Vec<DescribeClusterBroker>,
            /// Bit mask of what the client may do (bit = operation code); `i32::MIN` if it did not ask.
            cluster_authorized_operations: i32 = i32::MIN,
        }

        /// One member.
        struct DescribeClusterBroker {
            broker_id: i32,
            host: Str,
            port: i32,
            rack: Option<Str>,
            is_fenced: bool [2..],
        }
    }
}
