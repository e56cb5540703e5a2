//! What does a client read when a request fails? Errors as Milvus's `Status`.
//!
//! Clients look at `code` (new ones), `error_code` (old ones), `reason` and, to decide on a repetition,
//! `retriable`. An error of the caller's input is never retriable.

use std::collections::HashMap;

use redkite_proto::common::{ErrorCode, Status};
use redkite_service::{Code, Error, Retry};

/// Key in `extra_info` that says whose fault it is.
const INPUT_ERROR: &str = "is_input_error";

/// Nothing went wrong.
pub(crate) fn success() -> Status {
    Status::default()
}

/// What the client is told about an error.
#[allow(deprecated, reason = "old clients read error_code")]
pub(crate) fn of(error: &Error) -> Status {
    let input = error.is_input();
    let mut extra_info = HashMap::new();
    if input {
        extra_info.insert(INPUT_ERROR.to_owned(), "true".to_owned());
    }
    let reason = error.to_string();
    Status {
        code: error.code() as i32,
        error_code: legacy(error.code()).into(),
        detail: reason.clone(),
        reason,
        retriable: !input && error.retry() == Retry::Yes,
        extra_info,
    }
}

/// What `DescribeCollection` says about a missing collection: clients that came before the error
/// codes recognise it by this text and by error code 1.
#[allow(deprecated, reason = "old clients read error_code")]
pub(crate) fn of_describe(error: &Error) -> Status {
    let mut status = of(error);
    if let Error::CollectionNotFound { database, collection } = error {
        status.error_code = ErrorCode::UnexpectedError.into();
        status.reason = format!("can't find collection[database={database}][collection={collection}]");
        status.extra_info.insert(INPUT_ERROR.to_owned(), "true".to_owned());
    }
    status
}

/// The code that clients before 2.3 read.
fn legacy(code: Code) -> ErrorCode {
    match code {
        Code::ServiceNotReady => ErrorCode::NotReadyServe,
        Code::MemoryLimitExceeded => ErrorCode::InsufficientMemoryToLoad,
        Code::DiskLimitExceeded => ErrorCode::DiskQuotaExhausted,
        Code::RateLimit => ErrorCode::RateLimit,
        Code::CollectionNotFound => ErrorCode::CollectionNotExists,
        Code::SchemaMismatch => ErrorCode::SchemaMismatch,
        Code::PartitionNotFound | Code::ReplicaNotFound => ErrorCode::MetaFailed,
        Code::ChannelNotAvailable => ErrorCode::NoReplicaAvailable,
        Code::SegmentNotFound => ErrorCode::SegmentNotFound,
        Code::IndexNotFound => ErrorCode::IndexNotExist,
        Code::NodeNotMatch => ErrorCode::NodeIdNotMatch,
        Code::InvalidParameter | Code::MissingParameter | Code::ParameterTooLarge => {
            ErrorCode::IllegalArgument
        }
        Code::ServiceUnavailable
        | Code::TooManyRequests
        | Code::Internal
        | Code::Unimplemented
        | Code::CollectionNotLoaded
        | Code::CollectionNumLimit
        | Code::CollectionNotFullyLoaded
        | Code::CollectionLoaded
        | Code::IllegalSchema
        | Code::PartitionNotLoaded
        | Code::PartitionNotFullyLoaded
        | Code::GeneralCapacityExceeded
        | Code::SegmentNotLoaded
        | Code::ResourceGroupNotFound
        | Code::ResourceGroupExists
        | Code::ResourceGroupNumLimit
        | Code::ResourceGroupIllegalConfig
        | Code::ResourceGroupNodeNotEnough
        | Code::IndexNotSupported
        | Code::IndexDuplicate
        | Code::DatabaseNotFound
        | Code::DatabaseNumLimit
        | Code::DatabaseInvalidName
        | Code::NodeNotFound
        | Code::IoFailed
        | Code::AliasNotFound
        | Code::AliasCollectionConflict
        | Code::AliasExists
        | Code::FieldNotFound
        | Code::FieldInvalidName
        | Code::QueryPlan
        | Code::OperationNotSupported
        | Code::Canceled
        | Code::Timeout
        | Code::Unexpected => ErrorCode::UnexpectedError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> String {
        value.to_owned()
    }

    fn every_error() -> Vec<Error> {
        vec![
            Error::NotReady { role: text("proxy"), node: 1, state: text("starting") },
            Error::Unavailable { reason: text("r") },
            Error::ConnectionLost { what: text("w") },
            Error::Internal { reason: text("r") },
            Error::Unimplemented { what: text("w") },
            Error::DiskFull { reason: text("r") },
            Error::OutOfMemory { reason: text("r") },
            Error::CollectionNotFound { database: text("d"), collection: text("c") },
            Error::CollectionNotLoaded { collection: text("c") },
            Error::CollectionNotFullyLoaded { collection: text("c") },
            Error::CollectionLoaded { collection: text("c"), reason: text("r") },
            Error::CollectionNumLimit { limit: 7 },
            Error::IllegalSchema { collection: text("c"), reason: text("r") },
            Error::SchemaMismatch { collection: text("c") },
            Error::PartitionNotFound { partition: text("p") },
            Error::PartitionNotLoaded { partition: text("p") },
            Error::GeneralCapacityExceeded { limit: 7 },
            Error::ResourceGroupNotFound { group: text("g") },
            Error::ResourceGroupExists { group: text("g") },
            Error::ResourceGroupNumLimit { group: text("g"), limit: 7 },
            Error::ResourceGroupIllegalConfig { group: text("g"), config: text("c"), reason: text("r") },
            Error::ResourceGroupNodeNotEnough { group: text("g"), current: 1, expected: 2 },
            Error::ShardNotAvailable { shard: text("s") },
            Error::SegmentNotLoaded { segment: 9 },
            Error::IndexNotFound { index: text("i") },
            Error::NoIndexes { collection: text("c") },
            Error::IndexDuplicate { index: text("i"), reason: text("r") },
            Error::IndexNotSupported { reason: text("r") },
            Error::DatabaseNotFound { database: text("d") },
            Error::DatabaseNumLimit { limit: 7 },
            Error::DatabaseInvalidName { database: text("d"), reason: text("r") },
            Error::NodeNotFound { node: 3 },
            Error::NodeUnfit { node: 3, reason: text("r") },
            Error::SegmentNotFound { segment: 3, reason: text("r") },
            Error::NodeNotMatch { expected: 3, actual: 4 },
            Error::Io { reason: text("r") },
            Error::Unsettled { reason: text("r") },
            Error::InvalidParameter { reason: text("r: invalid parameter") },
            Error::MissingParameter { reason: text("r") },
            Error::ParameterTooLarge { reason: text("r") },
            Error::AliasNotFound { database: text("d"), alias: text("a") },
            Error::AliasCollectionConflict { database: text("d"), alias: text("a") },
            Error::AliasExists { database: text("d"), alias: text("a"), collection: text("c") },
            Error::FieldNotFound { field: text("f") },
            Error::FieldInvalidName { field: text("f"), reason: text("r") },
            Error::NotSupported { what: text("w") },
            Error::Fenced { what: text("w") },
            Error::Timeout { what: text("w") },
            Error::Unexpected { reason: text("r") },
        ]
    }

    #[test]
    #[allow(deprecated, reason = "old clients read error_code")]
    fn the_table_of_statuses() {
        let lines = every_error().into_iter().map(|error| {
            let status = of(&error);
            assert_eq!(status.detail, status.reason);
            let flags = [(status.retriable, "retriable"), (!status.extra_info.is_empty(), "input")]
                .into_iter()
                .filter_map(|(set, name)| set.then_some(name))
                .collect::<Vec<_>>()
                .join(" ");
            format!("{} {} [{flags}] {}", status.code, status.error_code, status.reason)
        });
        let table = lines.collect::<Vec<_>>().join("\n");
        assert_eq!(table, include_str!("status_table.txt").trim_end());
    }

    #[test]
    #[allow(deprecated, reason = "old clients read error_code")]
    fn describe_speaks_to_old_clients() {
        let status =
            of_describe(&Error::CollectionNotFound { database: text("default"), collection: text("x") });
        assert_eq!((status.code, status.error_code), (100, 1));
        assert_eq!(status.reason, "can't find collection[database=default][collection=x]");
        let other = of_describe(&Error::DatabaseNotFound { database: text("d") });
        assert_eq!(other, of(&Error::DatabaseNotFound { database: text("d") }));
    }

    #[test]
    fn success_has_no_code() {
        assert_eq!(success(), Status::default());
    }
}
