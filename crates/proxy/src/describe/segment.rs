//! Segments and who serves them.

use std::collections::BTreeMap;

use redkite_catalog::{CollectionRecord, Metadata, SegmentRecord};
use redkite_proto::common::{SegmentLevel, SegmentState};
use redkite_proto::milvus::{PersistentSegmentInfo, QuerySegmentInfo};
use redkite_types::{NodeId, SegmentId};

use super::collection::channel;
use super::index::rows;

/// The sealed segments of a collection. All files are sorted by primary key.
pub(crate) fn persistent(metadata: &Metadata, collection: &CollectionRecord) -> Vec<PersistentSegmentInfo> {
    metadata
        .segments_of(collection.id)
        .filter(|segment| segment.is_flushed())
        // Segments of dropped partitions are given up a little later.
        .filter(|segment| collection.partition_by_id(segment.partition).is_some())
        .map(|segment| PersistentSegmentInfo {
            segment_id: segment.id.0,
            collection_id: collection.id.0,
            partition_id: segment.partition.0,
            num_rows: rows(segment.rows),
            state: SegmentState::Flushed.into(),
            level: SegmentLevel::L1.into(),
            is_sorted: true,
            insert_channel: channel(segment.shard),
            compaction_from: segment.sources.iter().map(|id| id.0).collect(),
            ..PersistentSegmentInfo::default()
        })
        .collect()
}

/// The sealed segments that are being served.
pub(crate) fn served(metadata: &Metadata, collection: &CollectionRecord) -> Vec<QuerySegmentInfo> {
    let mut holders: BTreeMap<SegmentId, Vec<NodeId>> = BTreeMap::new();
    for (_, view) in metadata.views_of(collection.id) {
        for served in &view.segments {
            holders.entry(served.segment).or_default().push(served.node);
        }
    }
    holders
        .into_iter()
        .filter_map(|(id, nodes)| {
            let segment = metadata.segments.get(&(collection.id, id))?;
            Some(served_segment(metadata, segment, &nodes))
        })
        .collect()
}

fn served_segment(metadata: &Metadata, segment: &SegmentRecord, nodes: &[NodeId]) -> QuerySegmentInfo {
    let held = nodes
        .iter()
        .find_map(|node| metadata.held.get(&(*node, segment.collection))?.segments.get(&segment.id));
    let defined = metadata.indexes.get(&segment.collection);
    let defined = defined.into_iter().flat_map(|record| &record.indexes);
    // There is room for one; most want to know of the vectors'.
    let definition = defined
        .filter(|index| segment.indexes.contains_key(&index.id))
        .max_by_key(|index| index.spec.method.is_vector());
    QuerySegmentInfo {
        segment_id: segment.id.0,
        collection_id: segment.collection.0,
        partition_id: segment.partition.0,
        mem_size: rows(held.map_or(segment.bytes, |held| held.resident_bytes + held.mapped_bytes)),
        num_rows: rows(segment.rows),
        index_name: definition.map(|index| index.name.clone()).unwrap_or_default(),
        index_id: definition.map_or(0, |index| index.id.0),
        node_ids: nodes.iter().map(|node| node.0).collect(),
        state: SegmentState::Sealed.into(),
        level: SegmentLevel::L1.into(),
        is_sorted: true,
        ..QuerySegmentInfo::default()
    }
}
