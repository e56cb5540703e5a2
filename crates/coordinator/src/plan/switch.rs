//! When does a compacted segment take the place of its sources?
//!
//! Once nothing about it is missing: then one transaction makes it part of the collection and gives
//! up the sources. Readers follow when the query coordinator publishes a view with it.

use redkite_catalog::{Entry, Metadata, SegmentRecord, SegmentState};
use redkite_types::{CollectionId, SegmentId, Timestamp};

use super::index_files;
use crate::step::Step;

/// The switches that are due.
pub(crate) fn plan(metadata: &Metadata, collection: CollectionId, now: Timestamp) -> Vec<Step> {
    let building = metadata.segments_of(collection).filter(|segment| segment.state == SegmentState::Building);
    building
        .filter(|segment| index_files::missing(metadata, segment).next().is_none())
        .map(|segment| {
            let mut step = Step::new("compaction switch");
            // A definition that appears meanwhile is missing in the target: look again.
            step.relies_on(&collection, metadata.indexes.get(&collection));
            let key = (collection, segment.id);
            match sources(metadata, segment) {
                Some(sources) => {
                    step.replace(&key, Some(segment), &with_state(segment, SegmentState::Flushed));
                    give_up(&mut step, &sources, Some(segment.id), now);
                }
                None => {
                    let state = SegmentState::Dropped { at: now, replaced_by: None };
                    step.replace(&key, Some(segment), &with_state(segment, state));
                }
            }
            step
        })
        .collect()
}

/// The sources, if all of them are still part of the collection.
pub(crate) fn sources<'a>(
    metadata: &'a Metadata,
    target: &SegmentRecord,
) -> Option<Vec<&'a Entry<SegmentRecord>>> {
    target
        .sources
        .iter()
        .map(|source| metadata.segments.get(&(target.collection, *source)).filter(|entry| entry.is_flushed()))
        .collect()
}

/// Drops segments whose rows are elsewhere now, or nowhere.
pub(crate) fn give_up(
    step: &mut Step,
    segments: &[&Entry<SegmentRecord>],
    replaced_by: Option<SegmentId>,
    at: Timestamp,
) {
    for segment in segments {
        let dropped = with_state(segment, SegmentState::Dropped { at, replaced_by });
        step.replace(&(segment.collection, segment.id), Some(segment), &dropped);
    }
}

fn with_state(segment: &SegmentRecord, state: SegmentState) -> SegmentRecord {
    SegmentRecord { state, ..segment.clone() }
}
