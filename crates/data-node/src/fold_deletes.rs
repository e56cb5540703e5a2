//! Delta files become delete files of segments.

use bytes::Bytes;
use redkite_catalog::{DeletesFile, DeltaFile, TaskOutcome};
use redkite_runtime::failpoint::reach;
use redkite_storage::layout::ObjectPath;
use redkite_types::{SegmentId, ShardId, Timestamp};

use crate::Environment;
use crate::compact::{Deltas, apply, read_all};
use crate::error::Result;
use crate::failpoint::BEFORE_FOLDED;

/// Writes a delete file for every segment that has deleted rows.
pub(crate) async fn run(
    environment: &Environment,
    shard: ShardId,
    segments: &[SegmentId],
    deltas: &[DeltaFile],
) -> Result<TaskOutcome> {
    let through = deltas.iter().map(|delta| delta.through).max().unwrap_or_default();
    let mut files = Vec::with_capacity(segments.len());
    // One segment at a time: a shard may have many, and deltas are small beside a segment.
    let deltas = read_all(environment, deltas).await?;
    for segment in segments {
        files.push((*segment, fold(environment, shard, *segment, deltas.clone(), through).await?));
    }
    Ok(TaskOutcome::DeletesFolded { files, through })
}

async fn fold(
    environment: &Environment,
    shard: ShardId,
    segment: SegmentId,
    deltas: Deltas,
    through: Timestamp,
) -> Result<Option<DeletesFile>> {
    let record = environment.segment(shard.collection, segment)?;
    let opened = environment.open(&record).await?;
    let applied = apply(vec![(opened, record.deletes_through)], deltas).await?;
    let deletes = applied[0].fold_deletes(through);
    if deletes.is_empty() {
        return Ok(None);
    }
    reach(BEFORE_FOLDED)?;
    let path =
        ObjectPath::SegmentDeletes { collection: record.collection, segment: record.id, through }.to_string();
    let bytes = Bytes::from(deletes.encode());
    let file = DeletesFile { path, rows: deletes.len() as u64, bytes: bytes.len() as u64 };
    environment.store.put(&file.path, bytes).await?;
    Ok(Some(file))
}
