//! Which indexes does a segment need, and which of its index files are of no use any more?

use std::collections::BTreeMap;

use redkite_catalog::{
    Entry, IndexMethod, IndexRecord, Metadata, SegmentIndexFile, SegmentRecord, SegmentState,
};
use redkite_types::{CollectionId, IndexId, limits};

use crate::step::{Step, Steps};

/// Whether the segment is large enough, and alive, to be indexed.
pub(crate) fn wants_indexes(segment: &SegmentRecord) -> bool {
    !matches!(segment.state, SegmentState::Dropped { .. }) && segment.rows >= limits::MIN_ROWS_TO_INDEX
}

/// The definitions for which the segment has neither a file nor a reason why there is none.
pub(crate) fn missing<'a>(
    metadata: &'a Metadata,
    segment: &'a SegmentRecord,
) -> impl Iterator<Item = &'a IndexRecord> {
    let definitions = metadata.indexes.get(&segment.collection).filter(|_| wants_indexes(segment));
    definitions.into_iter().flat_map(|record| &record.indexes).filter(|index| {
        !segment.indexes.contains_key(&index.id) && !segment.index_failures.contains_key(&index.id)
    })
}

/// Removes files of dropped definitions from the records, and marks exact scans as built: they need
/// no file, but progress counts them. The mark has an empty path.
pub(crate) fn plan(metadata: &Metadata, collection: CollectionId) -> Vec<Step> {
    let definitions = metadata.indexes.get(&collection);
    let methods: BTreeMap<IndexId, IndexMethod> = definitions
        .iter()
        .flat_map(|record| &record.indexes)
        .map(|index| (index.id, index.spec.method))
        .collect();
    let mut steps = Steps::new("index files");
    for segment in metadata.segments_of(collection) {
        if let Some(record) = adjusted(segment, &methods) {
            steps.next().relies_on(&collection, definitions).replace(
                &(collection, record.id),
                Some(segment),
                &record,
            );
        }
    }
    steps.finish()
}

fn adjusted(
    segment: &Entry<SegmentRecord>,
    methods: &BTreeMap<IndexId, IndexMethod>,
) -> Option<SegmentRecord> {
    if matches!(segment.state, SegmentState::Dropped { .. }) {
        return None;
    }
    let stale = segment.indexes.keys().chain(segment.index_failures.keys());
    let stale = stale.into_iter().any(|index| !methods.contains_key(index));
    let flat: Vec<_> = methods
        .iter()
        .filter(|(index, method)| {
            **method == IndexMethod::Flat && wants_indexes(segment) && !segment.indexes.contains_key(index)
        })
        .map(|(index, _)| *index)
        .collect();
    if !stale && flat.is_empty() {
        return None;
    }
    let mut record = (*segment.record).clone();
    record.indexes.retain(|index, _| methods.contains_key(index));
    record.index_failures.retain(|index, _| methods.contains_key(index));
    for index in flat {
        record.indexes.insert(index, SegmentIndexFile { path: String::new(), bytes: 0 });
    }
    Some(record)
}
