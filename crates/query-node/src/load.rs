//! One segment, from files to readable. Why no delete is lost on the way: see the crate.

use std::sync::Arc;
use std::time::Duration;

use redkite_catalog::{Record, SegmentIndexFile, SegmentRecord, ShardCheckpoint};
use redkite_runtime::{Backoff, blocking};
use redkite_segment::{SealedSegment, read_deltas};
use redkite_service::Delete;
use redkite_storage::format::RowDeletes;
use redkite_types::{CollectionId, SegmentId, ShardId, Timestamp};

use crate::Environment;
use crate::error::{Error, Result};
use crate::holder::{Held, Holder, Place};

/// Opens a segment with its deletes and finished indexes; `None` if it lost its place meanwhile.
pub(crate) async fn load(
    environment: &Environment,
    holder: &Holder,
    place: Place,
) -> Result<Option<Arc<Held>>> {
    let collection = place.collection;
    let record = segment_record(environment, collection, place.segment).await?;
    check_memory(environment, holder, &record)?;
    let segment = SealedSegment::load(&*environment.store, &record).await?;
    let held = Arc::new(Held::new(collection, record.shard, segment, record.deletes_through));
    attach_indexes(environment, &held, &record).await;
    if !holder.feed(place, &held) {
        return Ok(None);
    }
    let mut missing = record.deletes_through;
    let mut backoff = Backoff::new(Duration::from_millis(5), Duration::from_secs(1));
    loop {
        apply_missed(environment, &held, missing).await?;
        match held.deletes.lock().end_loading() {
            Ok(()) => break,
            Err(after) => missing = after,
        }
        if !holder.wants(place) {
            return Ok(None);
        }
        backoff.wait().await;
    }
    // Reads the disk: not on the threads that search.
    let warmed = held.clone();
    blocking(move || warmed.segment.warm()).await?;
    match held.spoilt() {
        Some(reason) => Err(Error::Spoilt { reason }),
        None => Ok(Some(held)),
    }
}

/// A node that is told how much memory it may use takes no more than fits.
fn check_memory(environment: &Environment, holder: &Holder, record: &SegmentRecord) -> Result<()> {
    let limit = environment.settings.memory_limit;
    let (held, bytes) = (holder.bytes(), record.bytes);
    match limit > 0 && held.saturating_add(bytes) > limit {
        true => Err(Error::Memory { bytes, held, limit }),
        false => Ok(()),
    }
}

/// Applies every delete after a timestamp: the leader's buffer first, then the files.
pub(crate) async fn apply_missed(
    environment: &Environment,
    held: &Arc<Held>,
    after: Timestamp,
) -> Result<()> {
    let leader = environment.shards.leader(held.shard).await?;
    let buffered = leader.deletes_after(held.shard, after).await?;
    apply(held, buffered.deletes).await?;
    // A delta vanishes from the checkpoint only after its content is in the segment's own record.
    for delta in checkpoint(environment, held.shard).await?.deltas {
        if delta.through > after {
            let deletes = read_deltas(&*environment.store, &delta.path).await?;
            let held = held.clone();
            blocking(move || held.segment.apply_deltas(&deletes)).await?;
        }
    }
    let now = segment_record(environment, held.collection, held.segment.id()).await?;
    if let Some(deletes) = now.deletes.filter(|_| now.deletes_through > after) {
        let bytes = environment.store.get(&deletes.path).await.map_err(redkite_segment::Error::from)?;
        let folded = RowDeletes::decode(&deletes.path, &bytes).map_err(redkite_segment::Error::from)?;
        held.segment.apply_row_deletes(&folded);
    }
    held.deletes.lock().add(after, buffered.through);
    Ok(())
}

/// Attaches finished indexes that are not attached, forgets those that were dropped; whether one was
/// attached. An index that cannot be opened costs speed, not answers: the segment is searched without it.
pub(crate) async fn attach_indexes(environment: &Environment, held: &Held, record: &SegmentRecord) -> bool {
    let mut new = false;
    let definitions = environment.view.read(|metadata| {
        metadata.indexes.get(&held.collection).map(|entry| entry.record.clone()).unwrap_or_default()
    });
    let attached = held.segment.indexes();
    for id in attached.iter().filter(|id| !record.indexes.contains_key(id)) {
        held.segment.detach_index(*id);
    }
    for definition in &definitions.indexes {
        let Some(file) = record.indexes.get(&definition.id) else { continue };
        if attached.contains(&definition.id) || !has_content(file) || !held.trusts(definition.id) {
            continue;
        }
        match held.segment.load_index(&*environment.store, definition, file).await {
            Ok(()) => new = true,
            Err(error) => {
                if error.is_damage() {
                    held.distrust(definition.id);
                }
                let error = Error::from(error).chain();
                tracing::error!(segment = %held.segment.id(), index = definition.name, error, "index not opened");
            }
        }
    }
    new
}

/// Nothing to index leaves an index without a file.
pub(crate) fn has_content(file: &SegmentIndexFile) -> bool {
    !file.path.is_empty()
}

/// The segment's record as it is now.
async fn segment_record(
    environment: &Environment,
    collection: CollectionId,
    segment: SegmentId,
) -> Result<SegmentRecord> {
    let stored = environment.kv.get(&SegmentRecord::key(&(collection, segment))).await?;
    let stored = stored.ok_or(Error::NoSegment { segment })?;
    SegmentRecord::decode(&stored.value).map_err(|source| Error::Record { segment, source })
}

/// The shard's checkpoint as it is now; a shard that never flushed has none.
async fn checkpoint(environment: &Environment, shard: ShardId) -> Result<ShardCheckpoint> {
    let stored = environment.kv.get(&ShardCheckpoint::key(&shard)).await?;
    let decode = |stored: redkite_cluster::kv::KeyValue| ShardCheckpoint::decode(&stored.value);
    let decoded = stored.map(decode).transpose();
    Ok(decoded
        .map_err(|error| redkite_service::Error::internal(format!("checkpoint of shard {shard}: {error}")))?
        .unwrap_or_default())
}

/// Applies deletes of the shard as far as they concern the segment.
async fn apply(held: &Arc<Held>, deletes: Vec<Arc<Delete>>) -> Result<()> {
    let held = held.clone();
    Ok(blocking(move || held.apply(&deletes)).await?)
}
