//! Several segments of one shard and partition become one.

use std::sync::Arc;

use redkite_catalog::{CollectionRecord, DeltaFile, SegmentRecord, SegmentState};
use redkite_runtime::blocking;
use redkite_runtime::failpoint::reach;
use redkite_segment::{SealedSegment, read_deltas};
use redkite_storage::format::KeyDeletes;
use redkite_storage::layout::ObjectPath;
use redkite_types::{CollectionId, PartitionId, SegmentId, ShardId, Timestamp};

use crate::Environment;
use crate::error::{Error, Result};
use crate::failpoint::BEFORE_MERGED;

/// Milvus: `common.CollectionTTLConfigKey`.
const TTL_PROPERTY: &str = "collection.ttl.seconds";

/// What to merge.
pub(crate) struct Job {
    pub(crate) collection: CollectionId,
    pub(crate) partition: PartitionId,
    pub(crate) shard: ShardId,
    pub(crate) sources: Vec<SegmentId>,
    pub(crate) target: SegmentId,
}

/// Writes the merged segment; `None` if no row survives.
///
/// Deletes are applied as far as they are in files. Later ones reach the new segment as they reach
/// every other: through delta files and the shard's leader.
pub(crate) async fn run(environment: &Environment, job: Job) -> Result<Option<Box<SegmentRecord>>> {
    // Deltas first: a delta that is folded away afterwards is then in the sidecars read below.
    let (collection, deltas) = environment.view.read(|metadata| {
        let collection = metadata.collections.get(&job.collection).map(|entry| entry.record.clone());
        let deltas = metadata.checkpoints.get(&job.shard).map(|entry| entry.deltas.clone());
        (collection, deltas.unwrap_or_default())
    });
    let collection = collection.ok_or(Error::NoCollection { collection: job.collection })?;
    let read = read_all(environment, &deltas).await?;
    let mut segments = Vec::with_capacity(job.sources.len());
    for source in &job.sources {
        let record = environment.segment(job.collection, *source)?;
        segments.push((environment.open(&record).await?, record.deletes_through));
    }
    let folded = segments.iter().map(|(_, folded)| *folded).min().unwrap_or_default();
    let segments = apply(segments, read).await?;
    let deletes_through = deltas.iter().map(|delta| delta.through).fold(folded, Timestamp::max);

    let path = ObjectPath::SegmentData { collection: job.collection, segment: job.target }.to_string();
    let mut writer = environment.store.writer(&path).await?;
    let expired_before = expired_before(&collection, environment.clock.now_millis());
    let schema = collection.schema.clone();
    let (stats, writer) = environment
        .cpu
        .run(move || {
            let sources: Vec<&SealedSegment> = segments.iter().collect();
            redkite_segment::compact(&sources, &schema, Timestamp::MAX, expired_before, &mut writer)
                .map(|stats| (stats, writer))
        })
        .await??;
    if stats.rows == 0 {
        return Ok(None);
    }
    reach(BEFORE_MERGED)?;
    let bytes = environment.store.publish(writer).await?;
    Ok(Some(Box::new(SegmentRecord {
        id: job.target,
        collection: job.collection,
        partition: job.partition,
        shard: job.shard,
        state: SegmentState::Building,
        rows: stats.rows,
        bytes,
        min_timestamp: stats.min_timestamp,
        max_timestamp: stats.max_timestamp,
        schema_version: collection.schema.version,
        data: path,
        deletes_through,
        deletes: None,
        indexes: Default::default(),
        index_failures: Default::default(),
        sources: job.sources,
        created_at: Timestamp::from_physical(environment.clock.now_millis()),
    })))
}

/// Delta files that were read, and up to when each has deletes.
pub(crate) type Deltas = Arc<Vec<(Timestamp, KeyDeletes)>>;

/// Reads delta files.
pub(crate) async fn read_all(environment: &Environment, deltas: &[DeltaFile]) -> Result<Deltas> {
    let mut read = Vec::with_capacity(deltas.len());
    for delta in deltas {
        read.push((delta.through, read_deltas(&*environment.store, &delta.path).await?));
    }
    Ok(Arc::new(read))
}

/// Applies to each segment the deltas it has not folded in.
pub(crate) async fn apply(
    segments: Vec<(SealedSegment, Timestamp)>,
    deltas: Deltas,
) -> Result<Vec<SealedSegment>> {
    blocking(move || {
        for (segment, folded_through) in &segments {
            for (_, deletes) in deltas.iter().filter(|(through, _)| through > folded_through) {
                segment.apply_deltas(deletes)?;
            }
        }
        Ok(segments.into_iter().map(|(segment, _)| segment).collect())
    })
    .await
}

/// Rows from before this are expired, if the collection has a time to live.
fn expired_before(collection: &CollectionRecord, now_millis: u64) -> Option<Timestamp> {
    let seconds: u64 =
        collection.properties.get(TTL_PROPERTY)?.parse().ok().filter(|seconds| *seconds > 0)?;
    Some(Timestamp::from_physical(now_millis.saturating_sub(seconds.saturating_mul(1000))))
}
