//! The only place where the engine's errors become Kafka's codes. Exhaustive: a new variant must be given its code here.

#![deny(clippy::wildcard_enum_match_arm)]

use millrace_engine::config::AlterError;
use millrace_engine::control::ControlError;
use millrace_engine::group::GroupError;
use millrace_engine::log::ProducerError;
use millrace_engine::metadata::{ControllerError, ProposeError, StorageError};
use millrace_engine::partition::{
    AppendError, DeleteRecordsError, OffsetLookupError, ReadError, Unavailable,
};
use millrace_engine::record::RecordError;
use millrace_engine::types::TopicNameError;
use millrace_wire::ErrorCode;

use crate::config::GroupAlterError;

/// An error that clients can be told.
pub(crate) trait ToErrorCode {
    /// Kafka's code for it.
    fn error_code(&self) -> ErrorCode;
}

impl ToErrorCode for Unavailable {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Unknown(_) => ErrorCode::UnknownTopicOrPartition,
            Self::NotLeader(_) => ErrorCode::NotLeaderOrFollower,
            Self::Offline(_) => ErrorCode::KafkaStorageError,
            Self::FencedLeaderEpoch { .. } => ErrorCode::FencedLeaderEpoch,
            Self::UnknownLeaderEpoch { .. } => ErrorCode::UnknownLeaderEpoch,
        }
    }
}

impl ToErrorCode for AppendError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Unavailable(error) => error.error_code(),
            Self::Record(error) => error.error_code(),
            Self::Producer(error) => error.error_code(),
            // No code says "not yet"; this one at least stops the producer with a sentence about versions.
            Self::Transactional => ErrorCode::UnsupportedVersion,
            Self::NotEnoughReplicas { .. } => ErrorCode::NotEnoughReplicas,
            Self::Storage => ErrorCode::KafkaStorageError,
            Self::BatchTooLarge { .. } => ErrorCode::RecordListTooLarge,
            Self::TimedOut => ErrorCode::RequestTimedOut,
        }
    }
}

impl ToErrorCode for RecordError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Corrupt(_) => ErrorCode::CorruptMessage,
            Self::TooLarge { .. } | Self::BodyTooLarge { .. } => ErrorCode::MessageTooLarge,
            Self::InvalidBatch(_) | Self::InvalidRecords(_) => ErrorCode::InvalidRecord,
            Self::InvalidTimestamps(_)
            | Self::InvalidBatchTimestamp { .. }
            | Self::InvalidTimestampType => ErrorCode::InvalidTimestamp,
            Self::UnknownCompression { .. } | Self::ZstdNotAllowed => {
                ErrorCode::UnsupportedCompressionType
            }
        }
    }
}

impl ToErrorCode for ProducerError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Fenced { .. } => ErrorCode::InvalidProducerEpoch,
            Self::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
        }
    }
}

impl ToErrorCode for ReadError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Unavailable(error) => error.error_code(),
            Self::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            Self::Storage => ErrorCode::KafkaStorageError,
        }
    }
}

impl ToErrorCode for OffsetLookupError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Unavailable(error) => error.error_code(),
            Self::Storage => ErrorCode::KafkaStorageError,
            // As Kafka, for records that end too early. Of no use to ask again.
            Self::Unreadable => ErrorCode::InvalidRecord,
        }
    }
}

impl ToErrorCode for DeleteRecordsError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Unavailable(error) => error.error_code(),
            Self::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            Self::PolicyViolation => ErrorCode::PolicyViolation,
            Self::Storage => ErrorCode::KafkaStorageError,
        }
    }
}

impl ToErrorCode for GroupError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::GroupIdInvalid => ErrorCode::InvalidGroupId,
            Self::TextTooLong { .. } => ErrorCode::InvalidRequest,
            Self::InvalidSessionTimeout { .. } => ErrorCode::InvalidSessionTimeout,
            Self::InconsistentProtocol { .. } => ErrorCode::InconsistentGroupProtocol,
            Self::MemberIdRequired { .. } => ErrorCode::MemberIdRequired,
            Self::UnknownMember { .. } => ErrorCode::UnknownMemberId,
            Self::FencedInstanceId { .. } => ErrorCode::FencedInstanceId,
            Self::IllegalGeneration { .. } => ErrorCode::IllegalGeneration,
            Self::RebalanceInProgress { .. } | Self::Superseded { .. } => {
                ErrorCode::RebalanceInProgress
            }
            Self::GroupMaxSizeReached { .. } => ErrorCode::GroupMaxSizeReached,
            Self::GroupRecordTooLarge { .. } => ErrorCode::MessageTooLarge,
            Self::NonEmptyGroup { .. } => ErrorCode::NonEmptyGroup,
            Self::GroupIdNotFound { .. } => ErrorCode::GroupIdNotFound,
            Self::SubscribedToTopic { .. } => ErrorCode::GroupSubscribedToTopic,
            Self::TopicGone { .. } => ErrorCode::UnknownTopicId,
            Self::OffsetMetadataTooLarge { .. } => ErrorCode::OffsetMetadataTooLarge,
            Self::CommitTooLarge { .. } => ErrorCode::InvalidCommitOffsetSize,
            // Clients try again. That the group is full would end them.
            Self::OutOfMemory { .. } | Self::TooManyReserved { .. } => {
                ErrorCode::CoordinatorNotAvailable
            }
            Self::CoordinatorLoading => ErrorCode::CoordinatorLoadInProgress,
            Self::NotCoordinator => ErrorCode::NotCoordinator,
        }
    }
}

impl ToErrorCode for ControlError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Refused(error) => error.error_code(),
            Self::Stopped => ErrorCode::NotController,
        }
    }
}

impl ToErrorCode for ProposeError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Refused(error) => error.error_code(),
            Self::Storage(StorageError::EntryTooLong { .. }) => ErrorCode::PolicyViolation,
            Self::Storage(
                StorageError::Io(_)
                | StorageError::Damaged { .. }
                | StorageError::NewerVersion { .. }
                | StorageError::Offline { .. },
            ) => ErrorCode::KafkaStorageError,
            Self::Inconsistent(_) => ErrorCode::UnknownServerError,
        }
    }
}

impl ToErrorCode for ControllerError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::TopicName(error) => error.error_code(),
            Self::TopicCollides { .. } => ErrorCode::InvalidTopicException,
            Self::TopicExists { .. } => ErrorCode::TopicAlreadyExists,
            Self::UnknownTopic { .. } | Self::UnknownPartition { .. } => {
                ErrorCode::UnknownTopicOrPartition
            }
            Self::UnknownTopicId { .. } => ErrorCode::UnknownTopicId,
            Self::DuplicateTopicName
            | Self::DuplicateTopicId
            | Self::DuplicateResource
            | Self::MetadataTopic
            | Self::AssignmentAndReplicationFactor { .. }
            | Self::AssignmentAndPartitions { .. } => ErrorCode::InvalidRequest,
            Self::SettingTooLong { .. } => ErrorCode::InvalidConfig,
            Self::ReplicationFactorNotPositive { .. } | Self::TooFewBrokers { .. } => {
                ErrorCode::InvalidReplicationFactor
            }
            Self::PartitionsNotPositive { .. }
            | Self::SamePartitions { .. }
            | Self::FewerPartitions { .. } => ErrorCode::InvalidPartitions,
            Self::TooManyPartitions { .. }
            | Self::InternalTopicGrows { .. }
            | Self::GroupSettingsFull { .. }
            | Self::SettingsFull { .. } => ErrorCode::PolicyViolation,
            Self::AssignmentCount { .. }
            | Self::AssignmentTwice { .. }
            | Self::AssignmentGap { .. }
            | Self::AssignmentEmpty
            | Self::AssignmentUnknownBroker { .. }
            | Self::AssignmentCordonedBroker { .. }
            | Self::AssignmentBrokerTwice { .. }
            | Self::AssignmentUneven { .. } => ErrorCode::InvalidReplicaAssignment,
            Self::Settings(error) => error.error_code(),
            Self::UnknownBroker { .. } => ErrorCode::BrokerIdNotRegistered,
            Self::NoLogDirectory { .. }
            | Self::UnknownDirectory { .. }
            | Self::NotAReplica { .. } => ErrorCode::LogDirNotFound,
            Self::ProducerIdsExhausted => ErrorCode::UnknownServerError,
        }
    }
}

impl ToErrorCode for AlterError {
    fn error_code(&self) -> ErrorCode {
        if self.is_invalid_request() {
            ErrorCode::InvalidRequest
        } else {
            ErrorCode::InvalidConfig
        }
    }
}

impl ToErrorCode for GroupAlterError {
    fn error_code(&self) -> ErrorCode {
        match self {
            Self::Alter(error) => error.error_code(),
            Self::TooSmall { .. } | Self::TooGreat { .. } => ErrorCode::InvalidConfig,
        }
    }
}

impl ToErrorCode for TopicNameError {
    fn error_code(&self) -> ErrorCode {
        ErrorCode::InvalidTopicException
    }
}
