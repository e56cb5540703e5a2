//! How many results may be asked for?

use redkite_catalog::CollectionRecord;
use redkite_service::Error;

use super::key_values::{KeyValues, parse_bool};
use crate::proxy::Settings;
use crate::refuse;

/// `limit` and `offset` of collections made for long results. Milvus: `query_mode=large_topk`.
const LARGE_TOP_K: u64 = 1_000_000;

/// The largest `limit + offset` that a collection allows.
pub(crate) fn largest(settings: &Settings, collection: &CollectionRecord) -> i64 {
    let large = collection.properties.get("query_mode").is_some_and(|mode| mode == "large_topk");
    let limit = if large { LARGE_TOP_K.max(settings.max_top_k) } else { settings.max_top_k };
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// Checks one number of results.
pub(crate) fn check(limit: i64, largest: i64) -> Result<(), Error> {
    if (1..=largest).contains(&limit) {
        return Ok(());
    }
    Err(refuse::invalid(format_args!("it should be in range [1, {largest}], but got {limit}")))
}

/// Whether growing rows are left out.
pub(crate) fn ignore_growing(params: KeyValues<'_>) -> Result<bool, Error> {
    match params.get("ignore_growing") {
        None => Ok(false),
        Some(text) => parse_bool(text).ok_or_else(|| refuse::invalid("parse ignore growing field failed")),
    }
}

/// A checked number as a count.
pub(crate) fn count(number: i64) -> usize {
    usize::try_from(number).expect("checked to be in a range of counts")
}
