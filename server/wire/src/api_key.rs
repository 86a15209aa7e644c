//! The numbers and names of the APIs, and the versions of those this crate has messages for.

use std::fmt;
use std::ops::RangeInclusive;

use crate::message::for_each_api;
use crate::message::{self, Message};

macro_rules! api_keys {
    ($($name:ident = $number:literal,)*) => {
        /// An API this crate has the messages of.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ApiKey {
            $(
                #[doc = concat!("Key ", stringify!($number), ".")]
                $name = $number,
            )*
        }

        impl ApiKey {
            /// All of them, by number.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The API with this number, if its messages are known.
            #[must_use]
            pub const fn from_number(number: i16) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The number in request headers.
            #[must_use]
            pub const fn number(self) -> i16 {
                match self {
                    $(Self::$name => $number,)*
                }
            }

            /// The name Kafka prints.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }
        }
    };
}

api_keys! {
    Produce = 0,
    Fetch = 1,
    ListOffsets = 2,
    Metadata = 3,
    OffsetCommit = 8,
    OffsetFetch = 9,
    FindCoordinator = 10,
    JoinGroup = 11,
    Heartbeat = 12,
    LeaveGroup = 13,
    SyncGroup = 14,
    DescribeGroups = 15,
    ListGroups = 16,
    SaslHandshake = 17,
    ApiVersions = 18,
    CreateTopics = 19,
    DeleteTopics = 20,
    DeleteRecords = 21,
    InitProducerId = 22,
    OffsetForLeaderEpoch = 23,
    DescribeAcls = 29,
    CreateAcls = 30,
    DeleteAcls = 31,
    DescribeConfigs = 32,
    AlterConfigs = 33,
    DescribeLogDirs = 35,
    CreatePartitions = 37,
    DeleteGroups = 42,
    IncrementalAlterConfigs = 44,
    OffsetDelete = 47,
    DescribeCluster = 60,
    DescribeProducers = 61,
    DescribeTopicPartitions = 75,
}

macro_rules! message_facts {
    ($($name:ident $request:ident $response:ident,)*) => {
        impl ApiKey {
            /// The versions whose messages this crate can read and write.
            #[must_use]
            pub const fn versions(self) -> RangeInclusive<i16> {
                match self {
                    $(Self::$name => message::$request::VERSIONS,)*
                }
            }

            /// The first version with compact lengths and tagged fields; `i16::MAX` if there is none.
            #[must_use]
            pub const fn flexible_first(self) -> i16 {
                match self {
                    $(Self::$name => message::$request::FLEXIBLE_FIRST,)*
                }
            }
        }
    };
}

for_each_api!(message_facts);

impl ApiKey {
    /// The versions a broker says it serves, as Kafka 4.3 does.
    ///
    /// They are [`Self::versions`], except that Produce starts at 0: librdkafka tests for the range 0 to 0 before it
    /// compresses (KAFKA-18659). Produce 0 to 2 are refused all the same.
    #[must_use]
    pub const fn advertised_versions(self) -> RangeInclusive<i16> {
        match self {
            Self::Produce => 0..=*self.versions().end(),
            _ => self.versions(),
        }
    }

    /// Whether this version has compact lengths and tagged fields.
    #[must_use]
    pub const fn is_flexible(self, version: i16) -> bool {
        version >= self.flexible_first()
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name Kafka prints for any API it has or had, for log lines about those we do not serve.
#[must_use]
pub fn api_name(number: i16) -> Option<&'static str> {
    let name = match number {
        4 => "LeaderAndIsr",
        5 => "StopReplica",
        6 => "UpdateMetadata",
        7 => "ControlledShutdown",
        24 => "AddPartitionsToTxn",
        25 => "AddOffsetsToTxn",
        26 => "EndTxn",
        27 => "WriteTxnMarkers",
        28 => "TxnOffsetCommit",
        34 => "AlterReplicaLogDirs",
        36 => "SaslAuthenticate",
        38 => "CreateDelegationToken",
        39 => "RenewDelegationToken",
        40 => "ExpireDelegationToken",
        41 => "DescribeDelegationToken",
        43 => "ElectLeaders",
        45 => "AlterPartitionReassignments",
        46 => "ListPartitionReassignments",
        48 => "DescribeClientQuotas",
        49 => "AlterClientQuotas",
        50 => "DescribeUserScramCredentials",
        51 => "AlterUserScramCredentials",
        52 => "Vote",
        53 => "BeginQuorumEpoch",
        54 => "EndQuorumEpoch",
        55 => "DescribeQuorum",
        56 => "AlterPartition",
        57 => "UpdateFeatures",
        58 => "Envelope",
        59 => "FetchSnapshot",
        62 => "BrokerRegistration",
        63 => "BrokerHeartbeat",
        64 => "UnregisterBroker",
        65 => "DescribeTransactions",
        66 => "ListTransactions",
        67 => "AllocateProducerIds",
        68 => "ConsumerGroupHeartbeat",
        69 => "ConsumerGroupDescribe",
        70 => "ControllerRegistration",
        71 => "GetTelemetrySubscriptions",
        72 => "PushTelemetry",
        73 => "AssignReplicasToDirs",
        74 => "ListConfigResources",
        76 => "ShareGroupHeartbeat",
        77 => "ShareGroupDescribe",
        78 => "ShareFetch",
        79 => "ShareAcknowledge",
        80 => "AddRaftVoter",
        81 => "RemoveRaftVoter",
        82 => "UpdateRaftVoter",
        83 => "InitializeShareGroupState",
        84 => "ReadShareGroupState",
        85 => "WriteShareGroupState",
        86 => "DeleteShareGroupState",
        87 => "ReadShareGroupStateSummary",
        88 => "StreamsGroupHeartbeat",
        89 => "StreamsGroupDescribe",
        90 => "DescribeShareGroupOffsets",
        91 => "AlterShareGroupOffsets",
        92 => "DeleteShareGroupOffsets",
        _ => return ApiKey::from_number(number).map(ApiKey::name),
    };
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_those_of_kafka_4_3() {
        // Printed by kafka-broker-api-versions of 4.3.1 against its own broker.
        let printed = "0:0-13 1:4-18 2:1-11 3:0-13 8:2-10 9:1-10 10:0-6 11:0-9 12:0-4 13:0-5 14:0-5 15:0-6 16:0-5 \
            17:0-1 18:0-4 19:2-7 20:1-6 21:0-2 22:0-5 23:2-4 29:1-3 30:1-3 31:1-3 32:1-4 33:0-2 35:1-5 37:0-3 42:0-2 44:0-1 47:0-0 \
            60:0-2 61:0-0 75:0-0";
        let ours: Vec<String> = ApiKey::ALL
            .iter()
            .map(|key| {
                let versions = key.advertised_versions();
                format!("{}:{}-{}", key.number(), versions.start(), versions.end())
            })
            .collect();
        assert_eq!(ours.join(" "), printed);
    }

    #[test]
    fn every_key_up_to_92_has_a_name() {
        for number in 0..=92 {
            assert!(api_name(number).is_some(), "key {number} has no name");
        }
        assert_eq!(api_name(35), Some("DescribeLogDirs"));
        assert_eq!(api_name(-1), None);
        assert_eq!(api_name(93), None);
    }
}
