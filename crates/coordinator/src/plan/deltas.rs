//! Which delta files has everybody applied, and when is it time to fold them into the segments?

use std::collections::BTreeSet;

use redkite_catalog::{DeltaFile, Entry, Metadata, SegmentRecord, SegmentState, ShardCheckpoint};
use redkite_types::{CollectionId, SegmentId, ShardId, Timestamp};

use super::busy::Busy;
use super::serving::placed;
use crate::command::millis;
use crate::data::FoldSettings;
use crate::step::Step;

/// Segments of one fold: its result is one record, which must fit into a transaction. The deltas stay
/// until the folds that follow have reached the others.
const SEGMENTS_AT_ONCE: usize = 2000;

/// A fold that is due.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fold {
    pub(crate) shard: ShardId,
    pub(crate) segments: Vec<SegmentId>,
    pub(crate) deltas: Vec<DeltaFile>,
    /// Deletes to be looked up in each segment.
    pub(crate) rows: u64,
}

/// Removes delta files from checkpoints that no segment needs any more.
///
/// While a flush is committing in parts, a segment that needs a recorded delta may yet appear.
pub(crate) fn prune(metadata: &Metadata, collection: CollectionId) -> Vec<Step> {
    let mut steps = Vec::new();
    for (shard, checkpoint) in checkpoints(metadata, collection) {
        if checkpoint.deltas.is_empty() || !checkpoint.ahead.is_empty() {
            continue;
        }
        let Some(needed) = needed_after(metadata, *shard) else {
            steps.push(without_deltas_through(shard, checkpoint, Timestamp::MAX));
            continue;
        };
        if checkpoint.deltas.iter().any(|delta| delta.through <= needed) {
            steps.push(without_deltas_through(shard, checkpoint, needed));
        }
    }
    steps
}

/// The leader writes the same record: a conflict plans again.
fn without_deltas_through(shard: &ShardId, checkpoint: &Entry<ShardCheckpoint>, through: Timestamp) -> Step {
    let mut record = (*checkpoint.record).clone();
    record.deltas.retain(|delta| delta.through > through);
    let mut step = Step::new("deltas applied");
    step.replace(shard, Some(checkpoint), &record);
    step
}

/// Every segment of the shard has, or cannot be concerned by, the deletes up to here; `None` if there
/// is no segment at all. A delete concerns rows that are older than itself only.
fn needed_after(metadata: &Metadata, shard: ShardId) -> Option<Timestamp> {
    let mut in_use = None;
    let segments = metadata.segments_of(shard.collection).filter(|segment| segment.shard == shard);
    segments
        .filter(|segment| match segment.state {
            SegmentState::Building | SegmentState::Flushed => true,
            // A node may have to open it again as long as it answers for it.
            SegmentState::Dropped { .. } => {
                in_use.get_or_insert_with(|| placed(metadata, shard.collection)).contains(&segment.id)
            }
        })
        .map(|segment| segment.deletes_through.max(segment.min_timestamp))
        .min()
}

/// The folds that are due: per shard its segments that lag, except those being compacted.
pub(crate) fn folds(
    metadata: &Metadata,
    collection: CollectionId,
    busy: &Busy,
    avoid: &BTreeSet<ShardId>,
    settings: &FoldSettings,
    now: Timestamp,
) -> Vec<Fold> {
    checkpoints(metadata, collection)
        .filter(|(shard, _)| !busy.folding_shards.contains(shard) && !avoid.contains(shard))
        .filter(|(_, checkpoint)| is_due(&checkpoint.deltas, settings, now))
        .filter_map(|(shard, checkpoint)| fold(metadata, *shard, &checkpoint.deltas, busy))
        .collect()
}

fn is_due(deltas: &[DeltaFile], settings: &FoldSettings, now: Timestamp) -> bool {
    let Some(oldest) = deltas.iter().map(|delta| delta.through).min() else {
        return false;
    };
    let bytes: u64 = deltas.iter().map(|delta| delta.bytes).sum();
    let rows: u64 = deltas.iter().map(|delta| delta.rows).sum();
    deltas.len() >= settings.max_files
        || bytes >= settings.max_bytes.0
        || rows >= settings.max_rows
        || now.physical().saturating_sub(oldest.physical()) >= millis(settings.max_age)
}

fn fold(metadata: &Metadata, shard: ShardId, deltas: &[DeltaFile], busy: &Busy) -> Option<Fold> {
    let through = deltas.iter().map(|delta| delta.through).max()?;
    let concerned = |segment: &&Entry<SegmentRecord>| {
        segment.shard == shard
            && !matches!(segment.state, SegmentState::Dropped { .. })
            && segment.deletes_through < through
            && !busy.compacting.contains(&segment.id)
            && !busy.folding.contains(&segment.id)
    };
    let segments = metadata.segments_of(shard.collection).filter(concerned).map(|segment| segment.id);
    let segments: Vec<_> = segments.take(SEGMENTS_AT_ONCE).collect();
    let rows = deltas.iter().map(|delta| delta.rows).sum();
    (!segments.is_empty()).then(|| Fold { shard, segments, deltas: deltas.to_vec(), rows })
}

fn checkpoints(
    metadata: &Metadata,
    collection: CollectionId,
) -> impl Iterator<Item = (&ShardId, &Entry<ShardCheckpoint>)> {
    metadata.checkpoints.range(ShardId { collection, ordinal: 0 }..=ShardId { collection, ordinal: u16::MAX })
}
