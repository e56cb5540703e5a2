//! How far is an index, over all segments?

use redkite_catalog::{CollectionRecord, IndexRecord, Metadata, SegmentRecord};
use redkite_proto::common::IndexState;
use redkite_proto::milvus::IndexDescription;
use redkite_types::{FieldSchema, IndexId, limits};

use crate::convert::schema::pairs;
use crate::define;
use crate::define::index::JsonPath;

/// Rows and state of one index.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Progress {
    /// Rows of all segments.
    pub(crate) total: u64,
    /// Rows of segments that have the index, or are too small to need it.
    pub(crate) indexed: u64,
    /// Reasons why it cannot be built, by segment.
    pub(crate) failure: String,
}

impl Progress {
    /// Over the collection's flushed segments.
    pub(crate) fn of(metadata: &Metadata, collection: &CollectionRecord, index: IndexId) -> Self {
        let mut progress = Self::default();
        let segments = metadata.segments_of(collection.id).filter(|segment| segment.is_flushed());
        // Segments of dropped partitions are given up a little later.
        for segment in segments.filter(|segment| collection.partition_by_id(segment.partition).is_some()) {
            progress.add(segment, index);
        }
        progress
    }

    fn add(&mut self, segment: &SegmentRecord, index: IndexId) {
        self.total += segment.rows;
        let needs_none = segment.rows < limits::MIN_ROWS_TO_INDEX;
        if needs_none || segment.indexes.contains_key(&index) {
            self.indexed += segment.rows;
        } else if let Some(reason) = segment.index_failures.get(&index) {
            self.failure += &format!("{}: {reason};", segment.id);
        }
    }

    /// Where the whole is.
    pub(crate) fn state(&self) -> IndexState {
        if !self.failure.is_empty() {
            IndexState::Failed
        } else if self.indexed < self.total {
            IndexState::InProgress
        } else {
            IndexState::Finished
        }
    }
}

/// An index as `DescribeIndex` shows it.
pub(crate) fn describe(
    metadata: &Metadata,
    collection: &CollectionRecord,
    index: &IndexRecord,
) -> IndexDescription {
    let progress = Progress::of(metadata, collection, index.id);
    let field = collection.schema.field_by_id(index.field);
    IndexDescription {
        index_name: index.name.clone(),
        index_id: index.id.0,
        params: pairs(index.params.iter().cloned()),
        field_name: field.map(|field| shown_field(field, index)).unwrap_or_default(),
        indexed_rows: rows(progress.indexed),
        total_rows: rows(progress.total),
        pending_index_rows: rows(progress.total - progress.indexed),
        state: progress.state().into(),
        index_state_fail_reason: progress.failure,
        ..IndexDescription::default()
    }
}

/// The field's name; of the dynamic field the undeclared key that is indexed.
fn shown_field(field: &FieldSchema, index: &IndexRecord) -> String {
    let path = define::index::path_of(field, index).filter(|_| field.dynamic);
    path.as_ref().and_then(JsonPath::key).unwrap_or(&field.name).to_owned()
}

/// A number of rows, for the wire.
pub(crate) fn rows(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use redkite_catalog::{SegmentIndexFile, SegmentState};
    use redkite_types::{CollectionId, PartitionId, SegmentId, ShardId, Timestamp};

    use super::*;

    fn segment(rows: u64) -> SegmentRecord {
        SegmentRecord {
            id: SegmentId(9),
            collection: CollectionId(7),
            partition: PartitionId(70),
            shard: ShardId { collection: CollectionId(7), ordinal: 0 },
            state: SegmentState::Flushed,
            rows,
            bytes: 0,
            min_timestamp: Timestamp::ZERO,
            max_timestamp: Timestamp::ZERO,
            schema_version: 0,
            data: String::new(),
            deletes_through: Timestamp::ZERO,
            deletes: None,
            indexes: BTreeMap::new(),
            index_failures: BTreeMap::new(),
            sources: Vec::new(),
            created_at: Timestamp::ZERO,
        }
    }

    fn over(segments: &[SegmentRecord]) -> Progress {
        let mut progress = Progress::default();
        segments.iter().for_each(|segment| progress.add(segment, IndexId(1)));
        progress
    }

    #[test]
    fn an_index_is_finished_when_every_large_segment_has_it() {
        let mut built = segment(5000);
        built.indexes.insert(IndexId(1), SegmentIndexFile { path: String::new(), bytes: 0 });
        assert_eq!(over(&[]).state(), IndexState::Finished);
        assert_eq!(over(&[segment(1023), built.clone()]).state(), IndexState::Finished);
        let waiting = over(&[built.clone(), segment(2000)]);
        assert_eq!((waiting.total, waiting.indexed), (7000, 5000));
        assert_eq!(waiting.state(), IndexState::InProgress);
        let mut failed = segment(2000);
        failed.index_failures.insert(IndexId(1), "no memory".to_owned());
        let failed = over(&[built, failed]);
        assert_eq!((failed.state(), failed.failure.as_str()), (IndexState::Failed, "9: no memory;"));
    }
}
