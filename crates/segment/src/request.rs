//! From a service request to a task of one segment.

use redkite_index::vector::Range;
use redkite_service::{RangeBounds, RetrieveRequest, SearchRequest};
use redkite_types::{CollectionSchema, Timestamp};

use crate::{RetrieveTask, SearchTask};

impl<'a> SearchTask<'a> {
    /// What a request asks of one segment at a read point.
    #[must_use]
    pub fn of(request: &'a SearchRequest, schema: &'a CollectionSchema, read_timestamp: Timestamp) -> Self {
        Self {
            schema,
            field: request.field,
            metric: request.metric,
            queries: &request.queries.values,
            limit: request.limit,
            ef: request.params.ef,
            nprobe: request.params.nprobe,
            range: request.range.map(range),
            filter: request.filter.as_deref(),
            output: &request.output,
            read_timestamp,
            expired_before: request.expired_before,
        }
    }
}

impl<'a> RetrieveTask<'a> {
    /// What a request asks of one segment at a read point.
    #[must_use]
    pub fn of(request: &'a RetrieveRequest, schema: &'a CollectionSchema, read_timestamp: Timestamp) -> Self {
        Self {
            schema,
            filter: request.filter.as_deref(),
            output: &request.output,
            limit: request.limit,
            read_timestamp,
            expired_before: request.expired_before,
        }
    }
}

fn range(bounds: RangeBounds) -> Range {
    Range::radius(bounds.radius, bounds.range_filter)
}
