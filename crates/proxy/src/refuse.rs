//! Refusals of requests, in Milvus's words.

use std::fmt::Display;

use redkite_service::Error;

/// Something about the input is wrong.
pub(crate) fn invalid(what: impl Display) -> Error {
    Error::invalid(format!("{what}: invalid parameter"))
}

/// A value is not the expected one.
pub(crate) fn mismatch(expected: impl Display, actual: impl Display, what: impl Display) -> Error {
    Error::invalid(format!("{what}: invalid parameter[expected={expected}][actual={actual}]"))
}

/// A parameter that must be given is not.
pub(crate) fn missing(what: impl Display) -> Error {
    Error::MissingParameter { reason: what.to_string() }
}

/// Something Milvus can do and Redkite cannot.
pub(crate) fn unsupported(what: impl Display) -> Error {
    Error::NotSupported { what: what.to_string() }
}

/// A partition is named though rows choose theirs by key.
pub(crate) fn named_partition() -> Error {
    invalid("not support manually specifying the partition names if partition key mode is used")
}
